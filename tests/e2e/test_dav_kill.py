"""kill -9 at any moment: each file is the old one or the new one, what was acknowledged is the new one, and what was left lying
about is gone when the next server starts."""
import hashlib
import random
import threading
import time

import pytest
from conftest import eventually
from wire import request

WRITERS, ROUNDS = 6, 6


def content(name, version, size):
    """A file that proves itself whole: its first line tells what it is, all others follow from that."""
    head = f'{name} {version} {size}\n'.encode()
    return head + hashlib.shake_128(head).digest(size)


def version_of(data, name):
    """Which version that is; fails unless it is whole."""
    head = data[:data.index(b'\n')].decode()
    told, version, size = head.split()
    assert told == name and data == content(name, int(version), int(size)), f'{name}: neither old nor new ({head})'
    return int(version)


class Writer(threading.Thread):
    """Puts one version of a file after the other until the server is gone. `acknowledged`: the last one that was answered;
    `begun`: the last one that was sent at all."""

    def __init__(self, tree, name, version, seed):
        super().__init__()
        self.tree, self.name, self.acknowledged, self.begun = tree, name, version, version
        self.chance = random.Random(seed)
        self.answers, self.early_failure = 0, None

    def run(self):
        try:
            with self.tree.connect() as connection:
                while True:
                    self.put(connection)
        except (OSError, AssertionError) as failure:
            if not self.tree.server.killed:
                self.early_failure = failure

    def put(self, connection):
        self.begun += 1
        body = content(self.name, self.begun, self.chance.choice([10, 5000, 70000, 1 << 20]))
        if self.chance.random() < 0.5:
            connection.send(request(self.tree.href(self.name), f'Content-Length: {len(body)}', method='PUT') + body)
        else:
            chunks = b'%x\r\n%b\r\n0\r\n\r\n' % (len(body), body)
            connection.send(request(self.tree.href(self.name), 'Transfer-Encoding: chunked', method='PUT') + chunks)
        status = connection.read_response('PUT').status
        assert status in (201, 204), status
        self.acknowledged = self.begun
        self.answers += 1


def leftovers(tree):
    """What other servers than the running one have left in staging: it has one folder there at most, and nothing in it."""
    staging = tree.path / '.berth-staging'
    folders = list(staging.iterdir()) if staging.exists() else []
    return [path for path in staging.glob('*/*')] + folders[1:]


@pytest.mark.parametrize('durable', [False, True], ids=['', 'durable'])
def test_killed_while_files_are_put(serve_tree, durable):
    options = ['--durable'] if durable else []
    versions = {f'file{number}': 0 for number in range(WRITERS)}
    chance, answers = random.Random(durable), 0
    for attempt in range(ROUNDS):
        tree = serve_tree('--threads=2', *options)
        assert leftovers(tree) == [], 'of the server that was killed'
        writers = [Writer(tree, name, version, f'{attempt} {name}') for name, version in versions.items()]
        for writer in writers:
            writer.start()
        if attempt % 2:
            eventually(lambda: sum(writer.answers for writer in writers) >= WRITERS)
        time.sleep(chance.uniform(0.02, 0.3))
        tree.server.kill()
        for writer in writers:
            writer.join()
        assert not [writer.early_failure for writer in writers if writer.early_failure]
        for writer in writers:
            versions[writer.name] = check(tree, writer)
            answers += writer.answers
        assert set(tree.names()) <= set(versions) | {'.berth-staging'}
    assert answers > ROUNDS, 'they were killed before they did anything'
    tree = serve_tree(*options)
    assert leftovers(tree) == []
    for name, version in versions.items():
        assert version == 0 or tree.get(name).body == tree.read(name)
    tree.server.stop()
    assert set(tree.names()) <= set(versions)


def check(tree, writer):
    """The file is one of those that were begun, and none before the last that was acknowledged."""
    if not (tree.path / writer.name).exists():
        assert writer.acknowledged == 0, f'{writer.name} is lost'
        return 0
    version = version_of(tree.read(writer.name), writer.name)
    assert writer.acknowledged <= version <= writer.begun, f'{writer.name}: {version} is not what was acknowledged'
    return version


def test_killed_while_trees_are_moved_and_copied(serve_tree):
    """What is moved is at one end or the other, whole; a copy that did not end hides nothing of what was there."""
    tree = serve_tree('--threads=2')
    for number in range(40):
        tree.file(f'source/{number}', content(str(number), 1, 3000))
    tree.server.stop()
    chance, early = random.Random(3), []
    for _ in range(4):
        tree = serve_tree('--threads=2')

        def wander():
            try:
                with tree.connect() as connection:
                    while True:
                        tree.to('MOVE', 'source', 'moved', connection=connection)
                        tree.to('COPY', 'moved', 'copy', connection=connection)
                        tree.to('MOVE', 'moved', 'source', connection=connection)
            except (OSError, AssertionError) as failure:
                if not tree.server.killed:
                    early.append(failure)
        thread = threading.Thread(target=wander)
        thread.start()
        time.sleep(chance.uniform(0.02, 0.15))
        tree.server.kill()
        thread.join()
        assert not early
        ends = [name for name in ('source', 'moved') if (tree.path / name).exists()]
        assert len(ends) == 1
        assert tree.names(ends[0]) == sorted(str(number) for number in range(40))
        assert all(version_of(tree.read(f'{ends[0]}/{number}'), str(number)) == 1 for number in range(40))
        if ends[0] == 'moved':
            (tree.path / 'moved').rename(tree.path / 'source')
    tree = serve_tree()
    assert leftovers(tree) == []


def test_another_servers_staging_is_left_alone_while_it_lives(serve_tree, blob):
    """The second server cleans up at its start: what the first is in the midst of is not its to remove."""
    one = serve_tree()
    one.put('file', b'old')
    with one.connect() as connection:
        connection.send(request('/file', f'Content-Length: {len(blob)}', method='PUT') + blob[:1 << 20])
        other = serve_tree()
        other.put('other', b'other')
        other.server.stop()
        connection.send(blob[1 << 20:])
        assert connection.read_response('PUT').status == 204
    assert one.read('file') == blob
    assert one.put('file', b'and the next').status == 204
