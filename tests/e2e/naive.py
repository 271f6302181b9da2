"""The naive way to write to a server, each 4 KiB as a request on a connection of its own:  naive.py HOST PORT PATH COUNT

Tells at the end how many writes were done, and the name of the error that ended it before.
"""
import errno
import http.client
import sys

BLOCK = 4096


def write(host, port, path, offset, total):
    connection = http.client.HTTPConnection(host, port, timeout=20)
    try:
        connection.request('PUT', path, b'x' * BLOCK, {'Content-Range': f'bytes {offset}-{offset + BLOCK - 1}/{total}'})
        response = connection.getresponse()
        response.read()
    finally:
        connection.close()  # by the client, as it does not know of another write
    if response.status >= 300:
        raise SystemExit(f'answered {response.status}')


def main(host, port, path, count):
    done, problem = 0, 'none'
    try:
        while done < count:
            write(host, port, path, done * BLOCK, count * BLOCK)
            done += 1
    except OSError as error:
        problem = errno.errorcode.get(error.errno, str(error))
    print(done, problem)


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
