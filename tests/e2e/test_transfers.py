"""Large files, slow and fast readers, many at a time, files that change while they are sent."""
import hashlib
import os
import socket
import struct
import threading
import time

import pytest
from conftest import eventually
from wire import request

LARGE = 32 << 20


@pytest.fixture(scope='session')
def large(memory_folder):
    """32 MiB that repeat nowhere, and their hash."""
    path = memory_folder / 'large'
    data = os.urandom(LARGE)
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def hash_of_body(connection, size):
    digest = hashlib.sha256()
    while size:
        piece = connection.read(min(size, 1 << 20))
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


def test_a_file_of_more_than_4_gib(site):
    size = 5 << 30
    with open(site.path / 'huge', 'wb') as file:
        file.truncate(size)
        file.seek((1 << 32) - 3)
        file.write(b'across')
        file.seek(size - 3)
        file.write(b'end')
    with site.connect() as connection:
        assert connection.ask(site.url + 'huge', method='HEAD').get('Content-Length') == str(size)
        assert connection.ask(site.url + 'huge', 'Range: bytes=-5').body == b'\0\0end'
        window = f'{(1 << 32) - 3}-{(1 << 32) + 2}'
        response = connection.ask(site.url + 'huge', f'Range: bytes={window}')
        assert response.body == b'across' and response.get('Content-Range') == f'bytes {window}/{size}'
        assert connection.ask(site.url + 'huge', f'Range: bytes={size}-').status == 416
        response = connection.ask(site.url + 'huge', f'Range: bytes={size - (1 << 20)}-')
        assert response.body == bytes((1 << 20) - 3) + b'end'
        connection.send(request(site.url + 'huge'))
        assert connection.read_head().get('Content-Length') == str(size)
        assert connection.read(1 << 20) == bytes(1 << 20)


def test_a_slow_reader_holds_up_nobody(serve, large):
    path, digest = large
    server = serve('--threads=1', folder=path.parent)
    with server.connect(receive_buffer=4096) as slow, server.connect() as fast:
        slow.send(request('/large'))
        size = int(slow.read_head().get('Content-Length'))
        for _ in range(100):
            assert fast.ask('/large', 'Range: bytes=0-99').status == 206
        fast.send(request('/large'))
        fast.read_head()
        assert hash_of_body(fast, LARGE) == digest
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        assert hash_of_body(slow, size) == digest
        slow.expect_open('/none')


def test_a_small_answer_does_not_wait_for_large_ones(serve, large):
    server = serve('--threads=1', folder=large[0].parent)
    ended = threading.Event()

    def pull():
        while not ended.is_set():
            server.fetch('/large')
    threads = [threading.Thread(target=pull) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        with server.connect() as connection:
            waits = []
            for _ in range(50):
                start = time.monotonic()
                connection.ask('/none')
                waits.append(time.monotonic() - start)
            assert sorted(waits)[25] < 1
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_many_clients_at_a_time(site, blob):
    """400 connections, each with requests under way, answered each with its own."""
    for number in range(20):
        site.file(f'{number}', blob[number * 1000:number * 1000 + 997 * number])
    connections = [site.connect() for _ in range(400)]
    try:
        for turn in range(3):
            for number, connection in enumerate(connections):
                connection.send(request(f'{site.url}{(number + turn) % 20}'))
            for number, connection in enumerate(connections):
                which = (number + turn) % 20
                assert connection.read_response().body == blob[which * 1000:which * 1000 + 997 * which]
    finally:
        for connection in connections:
            connection.socket.close()


def test_clients_that_vanish_leave_nothing_behind(serve, large):
    server = serve('--threads=1', folder=large[0].parent)
    asked = [request('/large'), request('/large', 'Range: bytes=0-9,100-9999999'), request('/'), b'GET / HT']
    for number in range(60):
        connection = server.connect(receive_buffer=4096)
        connection.send(asked[number % 4])
        if number % 4 != 3 and number % 3:
            connection.socket.recv(100)
        if number % 2:  # a reset instead of an end
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        connection.socket.close()
    server.check_descriptors()
    assert server.fetch('/large', 'Range: bytes=0-1').status == 206


def test_memory_does_not_grow_with_requests(serve, large):
    server = serve('--threads=1', folder=large[0].parent)

    def work():
        with server.connect() as connection:
            connection.send(request('/large', 'Range: bytes=0-9') * 2000)
            for _ in range(2000):
                assert connection.read_response().status == 206
        for _ in range(50):
            server.fetch('/none')
    work()
    before = server.rss()
    for _ in range(3):
        work()
    assert server.rss() - before < 8 << 20


# ---- files that change while they are sent ----

def start_of_download(site, size=LARGE):
    path = site.path / 'file'
    path.write_bytes(b'a' * size)
    connection = site.connect(receive_buffer=4096)
    connection.send(request(site.url + 'file'))
    assert connection.read_head().get('Content-Length') == str(size)
    connection.read(10000)
    return path, connection


def test_a_file_truncated_while_it_is_sent_ends_the_connection(site):
    path, connection = start_of_download(site)
    os.truncate(path, 100000)
    with connection:
        try:
            got = 10000 + len(connection.read_to_end())
        except ConnectionResetError:
            got = 0
        assert got < LARGE
    assert len(site.fetch('file').body) == 100000


def test_a_file_that_grows_while_it_is_sent_keeps_its_announced_length(site):
    path, connection = start_of_download(site, 4 << 20)
    with open(path, 'ab') as file:
        file.write(b'b' * 100000)
    with connection:
        assert connection.read((4 << 20) - 10000) == b'a' * ((4 << 20) - 10000)
        connection.expect_open(site.url + 'none')


@pytest.mark.parametrize('how', ['removed', 'replaced'])
def test_a_file_removed_or_replaced_is_sent_to_its_end(site, how):
    path, connection = start_of_download(site, 4 << 20)
    if how == 'replaced':
        (site.path / 'new').write_bytes(b'b' * (4 << 20))
        os.replace(site.path / 'new', path)
    else:
        path.unlink()
    with connection:
        assert connection.read((4 << 20) - 10000) == b'a' * ((4 << 20) - 10000)
        assert connection.ask(site.url + 'file').status == (404 if how == 'removed' else 200)


def test_a_removed_file_is_let_go(serve):
    """A known file that is gone must not hold its disk space."""
    server = serve('--threads=1')
    path = server.folder / 'file'
    path.write_bytes(b'x' * (4 << 20))
    assert server.fetch('/file').status == 200
    path.unlink()

    def deleted():
        links = []
        for name in os.listdir(f'/proc/{server.process.pid}/fd'):
            try:
                links.append(os.readlink(f'/proc/{server.process.pid}/fd/{name}'))
            except FileNotFoundError:
                pass
        return [link for link in links if link.endswith(' (deleted)') and 'served' in link]
    server.fetch('/file')
    eventually(lambda: not deleted())
