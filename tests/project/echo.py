"""examples/echo.c sends back what it gets, to several at a time, and is short."""
import os
import socket
import subprocess

import tap


def echoed(connection, data):
    connection.sendall(data)
    got = b''
    while len(got) < len(data):
        piece = connection.recv(65536)
        if not piece:
            break
        got += piece
    return got


def talk(*program, environment=None):
    """Problems with an echo server, which prints its address first."""
    server = subprocess.Popen([*program, '0'], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        port = int(server.stdout.readline().rsplit(':', 1)[1])
        connections = [socket.create_connection(('127.0.0.1', port), timeout=20) for _ in range(20)]
        data = os.urandom(50000)
        wrong = [f'connection {i}: other bytes' for i, c in enumerate(connections) if echoed(c, data) != data]
        connections[0].shutdown(socket.SHUT_WR)
        if connections[0].recv(1) != b'':
            wrong.append('no end after the end')
        for connection in connections:
            connection.close()
        if server.poll() is not None:
            wrong.append(f'it ended with {server.returncode}')
        return wrong
    finally:
        server.kill()
        server.wait()


if __name__ == '__main__':
    for engine in ['uring', 'epoll']:
        tap.check(f'echo on {engine}', talk(
            f'{tap.build}/examples/echo', environment={**os.environ, 'BERTH_ENGINE': engine}))
    with open(f'{tap.source}/examples/echo.c', encoding='utf-8') as file:
        lines = len(file.readlines())
    tap.check('echo is under 100 lines', [f'{lines} lines'] if lines >= 100 else [])
    tap.finish()
