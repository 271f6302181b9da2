"""A folder that somebody else holds: who wants to change it waits, and nobody else does."""
import base64
import fcntl
import hashlib
import os
import threading

import pytest
from dav import lock_body, set_property, update_body

COUNT = 24  # more than there are workers


@pytest.fixture
def held(serve_tree):
    """A tree whose folder `held` another process would be changing; call the third to let it go."""
    tree = serve_tree('--threads=1')
    tree.file('held/file')
    tree.file('other/file')
    descriptor = os.open(tree.path / 'held', os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield tree, lambda: fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def started(works):
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


def test_others_are_served_while_many_wait_for_one_folder(held):
    tree, let_go = held
    statuses = []
    threads = started([lambda index=index: statuses.append(tree.put(f'held/{index}', b'1').status) for index in range(COUNT)])
    for index in range(8):
        assert tree.put(f'other/{index}', b'1').status == 201
        assert tree.get('other/').status == 200
    assert not statuses and tree.names('held') == ['file']
    let_go()
    for thread in threads:
        thread.join()
    assert statuses == [201] * COUNT


def test_what_waited_is_done_once_and_as_it_was_asked_for(held):
    tree, let_go = held
    digest = base64.b64encode(hashlib.sha256(b'right').digest()).decode()
    update = update_body(set_property('<a xmlns="urn:a">value</a>'))
    wanted = {
        'PUT': (201, lambda: tree.put('held/put', b'right', f'Repr-Digest: sha-256=:{digest}:')),
        'PROPPATCH': (207, lambda: tree.ask('PROPPATCH', 'held/file', body=update)),
        'LOCK': (201, lambda: tree.ask('LOCK', 'held/locked', body=lock_body())),
        'MKCOL': (201, lambda: tree.ask('MKCOL', 'held/folder')),
        'COPY': (201, lambda: tree.to('COPY', 'other/file', 'held/copy')),
        'LINK': (201, lambda: tree.to('LINK', 'other/file', 'held/link')),
    }
    got = {}

    def ask(name):
        got[name] = wanted[name][1]().status
    threads = started([lambda name=name: ask(name) for name in wanted])
    tree.put('other/new', b'1')
    let_go()
    for thread in threads:
        thread.join()
    assert got == {name: status for name, (status, _) in wanted.items()}
    assert tree.read('held/put') == b'right'


def test_who_leaves_while_waiting_changes_nothing(held):
    tree, let_go = held
    connections = [tree.connect() for _ in range(COUNT)]
    for index, connection in enumerate(connections):
        connection.send(f'PUT {tree.href(f"held/{index}")} HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n1'.encode())
    assert tree.put('other/new', b'1').status == 201
    for connection in connections:
        connection.socket.close()
    assert tree.put('other/new', b'2').status == 204
    let_go()
    assert tree.put('held/new', b'1').status == 201


def test_who_waits_too_long_is_told(held):
    tree, _ = held
    answer = tree.put('held/file', b'1')
    assert answer.status == 503 and answer.get('Retry-After')
    assert tree.read('held/file') == b'content\n'


def test_the_end_does_not_wait_for_the_folder_longer_than_the_grace(held):
    tree, _ = held
    with tree.connect() as connection:
        connection.send(f'PUT {tree.href("held/new")} HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n1'.encode())
        tree.put('other/new', b'1')
        tree.server.stop()
