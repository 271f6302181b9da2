"""PUT: a file appears whole or not at all, is checked before it appears, and is seen by everybody at once."""
import base64
import contextlib
import hashlib
import itertools
import os
import re
import socket
import struct
import subprocess
import threading
import time
import unicodedata
import zlib

import pytest
from conftest import WINDOWS, eventually
from dav import STRONG_ETAG, chunked, encode, token_of, upload
from wire import request

KIBI, MEBI = 1 << 10, 1 << 20


def in_parallel(*works):
    """Runs them at the same time, each in its thread, and raises what any of them raised."""
    failures = []

    def guarded(work):
        try:
            work()
        except BaseException as failure:  # noqa: to be raised again
            failures.append(failure)
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def reset(connection):
    """Ends it with a reset instead of an orderly end."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    connection.socket.close()


# ---- the file arrives ----

def test_a_new_file_and_a_replaced_one(tree):
    created = tree.put('file', b'first')
    assert created.status == 201 and STRONG_ETAG.fullmatch(created.get('ETag'))
    got = tree.get('file')
    assert got.body == b'first' and got.get('ETag') == created.get('ETag')
    replaced = tree.put('file', b'the second')
    assert replaced.status == 204 and STRONG_ETAG.fullmatch(replaced.get('ETag'))
    assert replaced.get('ETag') != created.get('ETag')
    assert tree.get('file').body == b'the second' and tree.get('file').get('ETag') == replaced.get('ETag')
    assert tree.names() == ['file']


def test_an_empty_file(tree):
    assert tree.put('sized', b'').status == 201
    assert tree.ask('PUT', 'without').status == 201  # gvfs: neither Content-Length nor Transfer-Encoding
    with tree.connect() as connection:
        connection.send(request(tree.href('chunked'), 'Transfer-Encoding: chunked', method='PUT') + b'0\r\n\r\n')
        assert connection.read_response('PUT').status == 201
        connection.expect_open(tree.href('chunked'))
    assert [tree.read(name) for name in tree.names()] == [b'', b'', b'']


@pytest.mark.parametrize('size', [1, 4095, 4096, 65536, 65537, 3 * MEBI + 1])
def test_sizes(tree, blob, size):
    assert tree.put('file', blob[:size]).status == 201
    assert tree.read('file') == blob[:size] and tree.get('file').body == blob[:size]


@pytest.mark.parametrize('size', [1, 17, 4096, 100000])
def test_chunks_of_sizes(tree, blob, size):
    content = blob[:size * 30 + 1]
    body = chunked(content, size, extension=b';name="value"', trailers=b'X-Checksum: 1\r\n')
    with tree.connect() as connection:
        connection.send(request(tree.href('file'), 'Transfer-Encoding: chunked', method='PUT'))
        connection.send(body)
        assert connection.read_response('PUT').status == 201
        connection.expect_open(tree.href('file'))
    assert tree.read('file') == content


def test_a_chunked_body_of_finder(tree, blob):
    fields = ['Transfer-Encoding: chunked', f'X-Expected-Entity-Length: {len(blob)}', 'User-Agent: WebDAVFS/3.0.0']
    with tree.connect() as connection:
        connection.send(request(tree.href('file'), *fields, method='PUT'))
        connection.send(chunked(blob, 64 << 10))
        assert connection.read_response('PUT').status == 201
    assert tree.read('file') == blob


def test_a_body_byte_by_byte(tree):
    with tree.connect() as connection:
        connection.dribble(request(tree.href('sized'), 'Content-Length: 30', method='PUT') + b'x' * 30)
        assert connection.read_response('PUT').status == 201
        connection.dribble(request(tree.href('chunked'), 'Transfer-Encoding: chunked', method='PUT') + chunked(b'y' * 30, 7))
        assert connection.read_response('PUT').status == 201
    assert tree.read('sized') == b'x' * 30 and tree.read('chunked') == b'y' * 30


def test_requests_behind_an_upload_on_one_connection(tree):
    with tree.connect() as connection:
        put = request(tree.href('file'), 'Content-Length: 5', method='PUT') + b'hello'
        connection.send(put + request(tree.href('file')) + put.replace(b'hello', b'world') + request(tree.href('file')))
        assert connection.read_response('PUT').status == 201
        assert connection.read_response().body == b'hello'
        assert connection.read_response('PUT').status == 204
        assert connection.read_response().body == b'world'


def test_many_uploads_at_a_time(tree, blob):
    contents = {f'file{n}': blob[n * 1000:n * 1000 + MEBI + n] for n in range(32)}
    with_connections = [(tree.connect(), name, content) for name, content in contents.items()]
    for connection, name, content in with_connections:
        connection.send(request(tree.href(name), f'Content-Length: {len(content)}', method='PUT'))
    for at in range(0, MEBI, 256 << 10):  # all of them are under way before the first is complete
        for connection, _, content in with_connections:
            connection.send(content[at:at + (256 << 10)] if at + (256 << 10) < MEBI else content[at:])
    for connection, name, content in with_connections:
        assert connection.read_response('PUT').status == 201
        connection.socket.close()
        assert tree.read(name) == content


def test_more_large_uploads_than_there_are_blocks_for(serve_tree, blob):
    tree = serve_tree('--threads=1')
    contents = {f'file{n}': blob[n:] + blob[:n] for n in range(24)}

    def put(name):
        assert tree.put(name, contents[name]).status == 201
    in_parallel(*(lambda name=name: put(name) for name in contents))
    assert all(tree.read(name) == content for name, content in contents.items())


def test_a_large_upload_that_comes_in_drips_and_bursts(tree, blob):
    content = blob[:2 * MEBI + 77]
    with tree.connect() as connection:
        connection.send(request(tree.href('file'), f'Content-Length: {len(content)}', method='PUT'))
        at = 0
        for size in itertools.cycle([1, 3000, 70000, 5, 300000, 262144]):
            connection.send(content[at:at + size])
            at += size
            if at >= len(content):
                break
            time.sleep(0.01)
        assert connection.read_response('PUT').status == 201
        connection.expect_open(tree.href('file'))
    assert tree.read('file') == content


def test_a_large_upload_in_bounded_memory(serve_tree, blob):
    tree = serve_tree('--threads=1')
    tree.put('warm', blob)
    before = tree.server.rss()
    with tree.connect() as connection:
        connection.send(request(tree.href('large'), f'Content-Length: {len(blob) * 20}', method='PUT'))
        for _ in range(20):
            connection.send(blob)
        assert connection.read_response('PUT').status == 201
    assert tree.server.rss() - before < 32 * MEBI
    assert os.path.getsize(tree.path / 'large') == len(blob) * 20


def test_permissions_of_a_replaced_file_stay(tree):
    path = tree.file('file')
    path.chmod(0o640)
    assert tree.put('file', b'new').status == 204
    assert path.stat().st_mode & 0o7777 == 0o640


# ---- names ----

NAMES = ['plain', 'with space', 'ü', unicodedata.normalize('NFD', 'ü'), '100%', '%41', 'a?b', 'a#b', 'a;b=c&d', '<&">\'', 'a\\b',
         os.fsdecode(b'latin-1 \xe9'), os.fsdecode(b'\xff\xfe'), 'tab\tand\nline', '\x01\x7f', '日本語' * 28, 'x' * 255, '*', '~', 'C:',
         'end.', 'end ', 'x..']


@pytest.mark.parametrize('name', NAMES, ids=lambda name: encode(name)[:20])
def test_names_of_any_bytes(tree, name):
    assert tree.put(name, b'of any name').status == 201
    assert tree.names() == [name] and tree.get(name).body == b'of any name'
    assert set(tree.propfind('', depth=1)) == {'', name}
    assert tree.to('MOVE', name, 'other').status == 201
    assert tree.to('COPY', 'other', name).status == 201
    assert tree.ask('DELETE', name).status == 204 and tree.names() == ['other']


def test_uppercase_and_lowercase_escapes_are_the_same(tree):
    assert tree.ask('PUT', target=tree.url + 'a%c3%bc%2d', body=b'1').status == 201
    assert tree.ask('PUT', target=tree.url + '%61%C3%BC-', body=b'2').status == 204
    assert tree.names() == ['aü-']


@pytest.mark.parametrize('name', ['x' * 256, 'a%00b', '/'.join(['d' * 200] * 25), 'a%2fb'])
def test_names_that_cannot_be(tree, name):
    response = tree.ask('PUT', target=tree.url + name, body=b'no')
    assert 400 <= response.status < 500, response
    assert tree.names() == []


# ---- where no file can be ----

def test_a_folder_is_no_file(tree):
    (tree.path / 'folder').mkdir()
    for target in ('folder', 'folder/', ''):
        response = tree.put(target, b'no')
        assert response.status == 405 and 'PUT' not in response.get('Allow').split(', '), response
    assert tree.put('new/', b'no').status in (400, 405, 409)
    assert tree.names() == ['folder'] and tree.names('folder') == []


def test_no_folder_above(tree):
    tree.file('file')
    assert tree.put('none/file', b'no').status == 409
    assert tree.put('file/below', b'no').status == 409
    assert tree.names() == ['file']


def test_malformed_bodies_change_nothing(tree):
    tree.file('file', b'old')
    for body in (b'zz\r\n', b'5\r\nhello', b'5\r\nhelloXX0\r\n\r\n', b'-1\r\n', b'ffffffffffffffffff\r\n'):
        with tree.connect() as connection:
            connection.send(request(tree.href('file'), 'Transfer-Encoding: chunked', method='PUT') + body)
            connection.end_sending()
            answer = connection.read_to_end()
            assert answer[:13] in (b'', b'HTTP/1.1 400 ', b'HTTP/1.1 413 '), answer
    for fields in (['Content-Length: 3', 'Transfer-Encoding: chunked'], ['Content-Length: 3', 'Content-Length: 4'],
                   ['Content-Length: -3'], ['Transfer-Encoding: gzip, chunked']):
        with tree.connect() as connection:
            answer = upload(connection, tree.href('file'), b'new', *fields)
            assert answer.status in (400, 501), answer
    assert tree.read('file') == b'old' and tree.names() == ['file']
    eventually(lambda: not tree.unfinished())


# ---- Expect: 100-continue ----

def expect(tree, name, *fields, method='PUT', size=1 << 30):
    """What the server says before any byte of the body."""
    with tree.connect() as connection:
        connection.send(request(tree.href(name), f'Content-Length: {size}', 'Expect: 100-continue', *fields, method=method))
        return connection.read_response(method)


def test_a_client_that_asks_first_is_told_to_go_on(tree, blob):
    for framing, body in ((f'Content-Length: {MEBI}', blob[:MEBI]), ('Transfer-Encoding: chunked', chunked(blob[:MEBI], 9999))):
        with tree.connect() as connection:
            connection.send(request(tree.href('file'), framing, 'Expect: 100-continue', method='PUT'))
            assert connection.read_response('PUT').status == 100
            connection.send(body)
            assert connection.read_response('PUT').status in (201, 204)
            connection.expect_open(tree.href('file'))
        assert tree.read('file') == blob[:MEBI]


def test_who_is_refused_anyway_need_not_send_the_body(tree, serve_tree):
    (tree.path / 'folder').mkdir()
    tree.file('file')
    assert expect(tree, 'none/file').status == 409
    assert expect(tree, 'folder').status == 405
    assert expect(tree, 'file', 'If-None-Match: *').status == 412
    assert expect(tree, 'file', 'If-Match: "another"').status == 412
    assert expect(tree, 'none', 'If-Match: *').status == 412
    assert expect(tree, 'new', 'Repr-Digest: sha-256=malformed').status == 400
    assert expect(tree, 'new', 'Content-Range: malformed').status == 400
    assert expect(tree, 'file', 'Content-Type: text/plain', method='PATCH').status == 415
    assert expect(serve_tree('--max-upload=1M'), 'new', size=MEBI + 1).status == 413
    assert tree.names() == ['file', 'folder']


def test_who_meets_a_lock_need_not_send_the_body(tree):
    token_of(tree.lock('locked'))
    assert expect(tree, 'locked').status == 423


def test_an_unknown_expectation(tree):
    assert tree.ask('PUT', 'file', 'Expect: the-unexpected', body=b'1').status == 417
    assert tree.names() == []


# ---- conditions, and races ----

def test_conditions(tree):
    assert tree.put('file', b'0', 'If-Match: *').status == 412
    assert tree.put('file', b'1', 'If-None-Match: *').status == 201
    etag = tree.etag('file')
    for field in ('If-None-Match: *', f'If-None-Match: {etag}', f'If-None-Match: "x", W/{etag}', 'If-Match: "x"',
                  f'If-Match: W/{etag}', 'If-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT'):
        response = tree.put('file', b'no', field)
        assert response.status == 412, field
    assert tree.read('file') == b'1' and tree.etag('file') == etag
    assert tree.put('file', b'2', f'If-Match: "x", {etag}').status == 204
    assert tree.put('file', b'3', 'If-Match: *').status == 204
    assert tree.put('file', b'4', 'If-None-Match: "x"').status == 204
    assert tree.put('file', b'5', 'If-Unmodified-Since: Fri, 01 Jan 2100 00:00:00 GMT').status == 204
    assert tree.put('file', b'6', 'If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT').status == 204, 'that is for reading'
    assert tree.put('file', b'7', f'If-Match: {etag}').status == 412
    assert tree.read('file') == b'6'


def count_up(connection, target, times):
    """Reads a number and writes the next, as often as it takes to be the one who did."""
    for _ in range(times):
        while True:
            got = connection.ask(target)
            body = b'%d' % (int(got.body) + 1)
            fields = [f'If-Match: {got.get("ETag")}', f'Content-Length: {len(body)}']
            answer = connection.ask(target, *fields, method='PUT', body=body)
            if answer.status == 204:
                break
            assert answer.status == 412, answer


@pytest.mark.parametrize('processes', [1, 2])
def test_no_update_is_lost_between_many_writers(serve_tree, processes):
    trees = [serve_tree('--threads=2') for _ in range(processes)]
    trees[0].put('number', b'0')
    connections = [tree.connect() for tree in trees for _ in range(8 // processes)]
    in_parallel(*[lambda one=one: count_up(one, trees[0].href('number'), 12) for one in connections])
    for connection in connections:
        connection.socket.close()
    assert trees[0].read('number') == b'96'


@pytest.mark.parametrize('processes', [1, 2])
def test_of_many_who_create_one_does(serve_tree, processes):
    trees = [serve_tree('--threads=2') for _ in range(processes)]
    for attempt in range(10):
        answers = {}

        def create(number, name=f'file{attempt}'):
            body = b'by %d' % number
            answers[number] = trees[number % processes].put(name, body, 'If-None-Match: *').status
        in_parallel(*[lambda number=number: create(number) for number in range(12)])
        (winner,) = [number for number, status in answers.items() if status == 201]
        assert sorted(set(answers.values())) == [201, 412]
        assert trees[0].read(f'file{attempt}') == b'by %d' % winner


def test_what_was_written_is_seen_at_once_by_all(serve_tree):
    tree = serve_tree('--threads=2')
    readers = [tree.connect() for _ in range(8)]
    tree.put('file', b'%08d' % 0)
    etags = set()
    for number, reader in zip(range(1, 201), itertools.cycle(readers)):
        writer = readers[number * 3 % 8]
        body = b'%08d' % number  # of one size always, and within one tick of the clock
        answer = writer.ask(tree.href('file'), 'Content-Length: 8', method='PUT', body=body)
        assert answer.status == 204
        got = reader.ask(tree.href('file'))
        assert got.body == body and got.get('ETag') == answer.get('ETag')
        assert readers[number * 5 % 8].ask(tree.href('file'), f'If-None-Match: {answer.get("ETag")}').status == 304
        etags.add(answer.get('ETag'))
    assert len(etags) == 200
    assert readers[0].ask(tree.href('file'), method='DELETE').status == 204
    assert [reader.ask(tree.href('file')).status for reader in readers] == [404] * 8
    for reader in readers:
        reader.socket.close()


def test_readers_of_the_old_file_keep_reading_it(tree, blob):
    old = blob * 3
    tree.file('file', old)
    with tree.connect(receive_buffer=4096) as reader:
        reader.send(request(tree.href('file')))
        reader.read_head()
        beginning = reader.read(100000)
        assert tree.put('file', b'new').status == 204
        assert tree.get('file').body == b'new'
        assert tree.ask('DELETE', 'file').status == 204
        reader.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MEBI)
        assert beginning + reader.read(len(old) - 100000) == old


# ---- interrupted ----

@pytest.mark.parametrize('end', ['close', 'reset', 'half-close'])
@pytest.mark.parametrize('framing', ['sized', 'chunked'])
def test_an_interrupted_upload_leaves_the_old_file_and_nothing_else(tree, blob, framing, end):
    tree.file('file', b'old')
    fields, body = [f'Content-Length: {len(blob)}'], blob[:len(blob) // 2]
    if framing == 'chunked':
        fields, body = ['Transfer-Encoding: chunked'], chunked(body, 10000).removesuffix(b'0\r\n\r\n')
    for name in ('file', 'new'):
        connection = tree.connect()
        connection.send(request(tree.href(name), *fields, method='PUT'))
        connection.send(body)
        assert tree.get('file').body == b'old' and tree.ask('HEAD', 'new').status == 404
        assert set(tree.propfind('', depth=1)) == {'', 'file'}
        if end == 'reset':
            reset(connection)
        elif end == 'half-close':
            connection.end_sending()
            assert connection.read_to_end()[:13] in (b'', b'HTTP/1.1 400 ')
        connection.socket.close()
    eventually(lambda: not tree.unfinished())
    assert tree.names() == ['file'] and tree.read('file') == b'old'


def test_uploads_that_are_reset_are_noticed_each_time(serve_tree, blob):
    """io_uring may forget to tell of a reset that comes right behind bytes: then the server has to look by itself."""
    tree = serve_tree('--threads=2')

    def break_off():
        for _ in range(15):
            connection = tree.connect()
            connection.send(request(tree.href('file'), f'Content-Length: {len(blob)}', method='PUT') + blob[:2 * MEBI])
            reset(connection)
    in_parallel(*[break_off] * 8)
    eventually(lambda: not tree.unfinished(), 15)
    assert tree.names() == (['.berth-staging'] if WINDOWS else [])


def test_an_encoding_of_the_body_is_not_understood(tree):
    assert tree.put('file', b'x', 'Content-Encoding: gzip').status == 415
    assert tree.put('file', b'x', 'Content-Encoding: identity').status == 201
    assert tree.read('file') == b'x'


def test_a_server_that_ends_leaves_only_what_was_put_there(serve_tree):
    tree = serve_tree()
    tree.put('file', b'1')
    tree.put('file', b'2')
    tree.ask('MKCOL', 'folder')
    tree.to('COPY', 'file', 'folder/copy')
    tree.to('MOVE', 'folder', 'moved')
    tree.server.stop()
    assert tree.names() == ['file', 'moved'] and tree.names('moved') == ['copy']


# ---- limits, and no room ----

def test_max_upload(serve_tree, blob):
    tree = serve_tree('--max-upload=1M')
    assert tree.put('sized', blob[:MEBI]).status == 201
    with tree.connect() as connection:
        answer = upload(connection, tree.href('chunked'), chunked(blob[:MEBI], 10000), 'Transfer-Encoding: chunked')
        assert answer.status == 201
    with tree.connect() as connection:
        answer = upload(connection, tree.href('sized'), blob[:MEBI + 1], f'Content-Length: {MEBI + 1}')
        assert answer.status == 413
    with tree.connect() as connection:
        answer = upload(connection, tree.href('chunked'), chunked(blob[:MEBI + 1], 10000), 'Transfer-Encoding: chunked')
        assert answer.status == 413
    assert tree.read('sized') == tree.read('chunked') == blob[:MEBI]
    eventually(lambda: not tree.unfinished())


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB and 40 files."""
    if os.geteuid() != 0:
        pytest.skip('mounting takes root')
    path = tmp_path / 'small'
    path.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=4m,nr_inodes=40', 'tmpfs', path]).returncode:
        pytest.skip('no mounting here')
    yield path
    subprocess.run(['umount', '-l', path], check=True)


@pytest.mark.parametrize('framing', ['sized', 'chunked'])
def test_a_full_disk_leaves_the_old_file_whole(small_disk, serve_tree, blob, framing):
    tree = serve_tree(folder=small_disk)
    assert tree.put('file', blob[:MEBI]).status == 201
    free = os.statvfs(small_disk).f_bavail
    fields, body = [f'Content-Length: {len(blob)}'], blob
    if framing == 'chunked':
        fields, body = ['Transfer-Encoding: chunked'], chunked(blob, 10000)
    for name in ('file', 'new'):
        with tree.connect() as connection:
            answer = upload(connection, tree.href(name), body, *fields)
            assert answer.status == 507, answer
    assert tree.get('file').body == blob[:MEBI] and 'new' not in tree.names()
    eventually(lambda: not tree.unfinished())
    eventually(lambda: os.statvfs(small_disk).f_bavail >= free - 2)  # pages; staging is a folder
    assert tree.put('file', blob[:2 * MEBI]).status == 204, 'there is room for that'


@pytest.mark.parametrize('how, size', [('held', 7 * MEBI // 2), ('aside', 2 * MEBI), ('aside', 8 * MEBI)])
def test_a_full_disk_leaves_a_file_as_it_was_that_is_to_grow(small_disk, serve_tree, blob, how, size):
    """A range of 256 KiB to 4 MiB is held in memory, but not that of a message/byterange: of 2 MiB there is room for what
    comes, but not for it in the file as well."""
    tree = serve_tree(folder=small_disk)
    tree.put('file', blob[:MEBI])
    etag, blocks = tree.etag('file'), (small_disk / 'file').stat().st_blocks
    for first in (MEBI, MEBI - 10, 3 * MEBI):
        fields, body = ['Content-Type: application/x-sabredav-partialupdate', f'X-Update-Range: bytes={first}-{first - 1 + size}'], blob[:size]
        if how == 'aside':
            fields = ['Content-Type: message/byterange']
            body = f'Content-Range: bytes {first}-{first - 1 + size}/*\r\n\r\n'.encode() + body
        with tree.connect() as connection:
            answer = upload(connection, tree.href('file'), body, *fields, f'Content-Length: {len(body)}', method='PATCH')
            assert answer.status == 507, answer
    assert tree.get('file').body == blob[:MEBI] and tree.etag('file') == etag
    assert (small_disk / 'file').stat().st_blocks == blocks
    eventually(lambda: not tree.unfinished())


@pytest.mark.parametrize('size', [256 * KIBI - 1, 256 * KIBI, 256 * KIBI + 1, MEBI, 4 * MEBI - 1, 4 * MEBI, 4 * MEBI + 1])
def test_ranges_that_are_held_and_others(serve_tree, blob, size):
    """In memory or aside, by blocks or pieces: the same bytes. Some come with the head, and each goes by itself."""
    tree = serve_tree()
    tree.put('file', blob[:100])
    fields = [f'Content-Range: bytes 50-{49 + size}/*', f'Content-Length: {size}']
    with tree.connect() as connection:
        for offset in (0, 77):
            body = blob[offset:offset + size]
            assert upload(connection, tree.href('file'), body, *fields).status == 204
            assert tree.read('file') == blob[:50] + body
    digest = base64.b64encode(hashlib.sha256(blob[:size]).digest()).decode()
    for value, status in ((digest, 204), (digest[::-1], 400)):
        with tree.connect() as connection:
            answer = upload(connection, tree.href('file'), blob[:size], *fields, f'Content-Digest: sha-256=:{value}:')
            assert answer.status == status, answer


def test_many_held_ranges_at_a_time(serve_tree, blob):
    """More than there are blocks for, some of which never end: the others go on, and nothing of the broken ones is there."""
    tree = serve_tree('--threads=1')
    for number in range(24):
        tree.put(f'file{number}', blob[:100])
    with contextlib.ExitStack() as stack:
        pending = [stack.enter_context(tree.connect()) for _ in range(24)]
        for number, connection in enumerate(pending):
            connection.send(f'PUT {tree.href(f"file{number}")} HTTP/1.1\r\nHost: x\r\nContent-Range: bytes 100-{99 + 2 * MEBI}/*\r\n'
                            f'Content-Length: {2 * MEBI}\r\n\r\n'.encode() + blob[100:100 + MEBI])
        for number, connection in enumerate(pending):
            if number % 3:
                connection.send(blob[100 + MEBI:100 + 2 * MEBI])
                assert connection.read_response('PUT').status == 204, number
    for number in range(24):
        whole = 2 * MEBI if number % 3 else 0
        assert tree.read(f'file{number}') == blob[:100 + whole], number


def test_no_room_for_another_name(small_disk, serve_tree):
    tree = serve_tree(folder=small_disk)
    tree.file('source')
    statuses = [tree.ask('MKCOL', f'folder{number}').status for number in range(60)]
    made = statuses.count(201)
    assert 0 < made < 60 and set(statuses) == {201, 507}
    assert tree.put('file', b'no').status == 507
    assert tree.to('COPY', 'source', 'copy').status == 507
    assert tree.get('source').status == 200 and 'copy' not in tree.names() and 'file' not in tree.names()
    assert tree.ask('DELETE', 'folder0').status == 204
    assert tree.put('file', b'yes').status == 201


# ---- times and digests ----

def test_the_clients_time(tree):
    for number, name in enumerate(('new', 'new', 'other')):
        when = 1500000000 + number
        answer = tree.put(name, b'%d' % number, f'X-OC-Mtime: {when}')
        assert answer.status in (201, 204) and answer.get('X-OC-MTime') == 'accepted'
        assert int((tree.path / name).stat().st_mtime) == when
        assert tree.ask('HEAD', name).get('ETag') == answer.get('ETag')
    assert tree.ask('HEAD', 'other').get('Last-Modified') == 'Fri, 14 Jul 2017 02:40:02 GMT'


def digest_field(algorithm, content):
    value = base64.b64encode(hashlib.new(algorithm.replace('-', ''), content).digest()).decode()
    return f'{algorithm}=:{value}:'


CONTENT = b'that is to arrive as it is'
GOOD = [f'Repr-Digest: {digest_field("sha-256", CONTENT)}', f'Content-Digest: {digest_field("sha-256", CONTENT)}',
        f'Repr-Digest: {digest_field("sha-512", CONTENT)}',
        f'Content-Digest: unknown=:AAAA:, {digest_field("sha-512", CONTENT)}, {digest_field("sha-256", CONTENT)}',
        f'OC-Checksum: SHA1:{hashlib.sha1(CONTENT).hexdigest()}', f'OC-Checksum: MD5:{hashlib.md5(CONTENT).hexdigest()}',
        f'OC-Checksum: ADLER32:{zlib.adler32(CONTENT):08x}', f'OC-Checksum: SHA256:{hashlib.sha256(CONTENT).hexdigest()}']


def framed(tree, name, field, content, framing):
    if framing == 'sized':
        return tree.put(name, content, field)
    with tree.connect() as connection:
        return upload(connection, tree.href(name), chunked(content, 7), 'Transfer-Encoding: chunked', field)


@pytest.mark.parametrize('framing', ['sized', 'chunked'])
@pytest.mark.parametrize('field', GOOD, ids=lambda field: field[:22])
def test_a_digest_is_verified(tree, field, framing):
    assert framed(tree, 'file', field, CONTENT, framing).status == 201
    etag = tree.etag('file')
    assert framed(tree, 'file', field, CONTENT[:-1] + b'!', framing).status == 400
    assert framed(tree, 'new', field, CONTENT[:-1], framing).status == 400
    assert tree.names() == ['file'] and tree.read('file') == CONTENT and tree.etag('file') == etag


@pytest.mark.parametrize('field', ['Repr-Digest: unknown=:AAAA:', 'OC-Checksum: SHA3-256:0000'])
def test_a_digest_of_an_unknown_kind_is_ignored(tree, field):
    assert tree.put('file', CONTENT, field).status == 201


@pytest.mark.parametrize('field', ['Repr-Digest: sha-256=:AAAA:', 'Repr-Digest: sha-256', 'Content-Digest: sha-256=:***:',
                                   'OC-Checksum: SHA1:xyz', 'OC-Checksum: MD5:00'])
def test_a_digest_that_cannot_be_is_refused(tree, field):
    assert tree.put('file', CONTENT, field).status == 400
    assert tree.names() == []


def test_a_digest_that_is_wanted_is_told(tree):
    answer = tree.put('file', CONTENT, 'Want-Repr-Digest: sha-256=10, sha-512=0')
    assert answer.get('Repr-Digest') == digest_field('sha-256', CONTENT)
    answer = tree.put('file', CONTENT, 'Want-Repr-Digest: sha-256=1, sha-512=9')
    assert digest_field('sha-512', CONTENT) in answer.get('Repr-Digest').split(', ')
    assert tree.put('file', CONTENT, 'Want-Repr-Digest: unknown=10').get('Repr-Digest') is None
    assert tree.put('file', CONTENT).get('Repr-Digest') is None


def test_a_checksum_is_told_by_propfind(tree):
    checksum = hashlib.sha1(CONTENT).hexdigest()
    tree.put('file', CONTENT, f'OC-Checksum: SHA1:{checksum}')
    told = tree.member('file', '{http://owncloud.org/ns}checksums').found['{http://owncloud.org/ns}checksums']
    assert re.search(f'SHA1:{checksum}', ''.join(told.itertext()), re.IGNORECASE)
    tree.put('file', b'something else')
    member = tree.member('file', '{http://owncloud.org/ns}checksums')
    assert checksum not in ''.join(''.join(element.itertext()) for element in member.found.values())


def test_two_trees_of_one_folder(serve_tree):
    """Two servers: what one writes the other serves."""
    one, other = serve_tree(), serve_tree()
    one.put('file', b'1')
    assert other.get('file').body == b'1'
    other.put('file', b'second')
    eventually(lambda: one.get('file').body == b'second')
    one.ask('DELETE', 'file')
    eventually(lambda: other.get('file').status == 404)
