"""Many clients in a process of their own, so that they can be killed all at once:  crowd.py HOST PORT COUNT KIND

KIND is what each of them does, once: `silent` nothing, `ask` a request whose answer it reads, `head` half a head,
`slow` the request of /large, of which it reads nothing. When all have done it, "ready" and how many are open is
written; then a line on standard input says what comes next: `fin` closes all, `read N` reads N bytes of up to 100 and
tells how many were right, those of a file of zeros, `send` sends a byte on each. The end of standard input ends all.
"""
import resource
import socket
import sys
import time

ASKS = {'silent': b'', 'ask': b'GET /file HTTP/1.1\r\nHost: x\r\n\r\n', 'head': b'GET /file HTTP/1.1\r\nHos',
        'slow': b'GET /large HTTP/1.1\r\nHost: x\r\n\r\n'}
IP_BIND_ADDRESS_NO_PORT = 24  # connect() chooses one that is free for both ends, and quickly


def raise_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connect(address, kind, number):
    """From one of several addresses: one has 28,000 ports to one of ours."""
    client = socket.socket()
    client.settimeout(60)
    if kind == 'slow':
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    if address[0].startswith('127.'):
        client.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((f'127.0.1.{1 + number // 10000}', 0))
    client.connect(address)
    return client


def take(client, size):
    data = b''
    while len(data) < size:
        piece = client.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def read_each(clients, size, heads):
    """Past the head only zeros come."""
    right = 0
    for number, client in list(enumerate(clients))[::-(-len(clients) // 100)]:
        data = take(client, size)
        if number not in heads and b'\r\n\r\n' in data:
            heads.add(number)
            data = data.split(b'\r\n\r\n', 1)[1] + take(client, 1)
        right += number in heads and bool(data) and not data.strip(b'\0')
    return right


def main(host, port, count, kind):
    raise_limit()
    clients, heads = [], set()
    start = time.monotonic()
    for number in range(int(count)):
        try:
            clients.append(connect((host, int(port)), kind, number))
            clients[-1].sendall(ASKS[kind])
            if kind == 'ask' and b'HTTP/1.1 200' not in clients[-1].recv(4096):
                clients.pop()
        except OSError as error:
            print(error, file=sys.stderr)
            break
    print('ready', len(clients), round(time.monotonic() - start, 2), flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == 'fin':
            for client in clients:
                client.close()
            print('closed', flush=True)
        elif word == 'read':
            print('right', read_each(clients, int(rest[0]), heads), flush=True)
        elif word == 'send':
            for client in reversed(clients):
                try:
                    client.send(b'G')
                except OSError:
                    pass
            print('sent', flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
