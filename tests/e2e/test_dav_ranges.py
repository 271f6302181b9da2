"""Writing parts of a file: PUT with Content-Range, PATCH in SabreDAV's form and as message/byterange, and making it durable."""
import fcntl
import os
import struct

import pytest
from conftest import eventually
from dav import STRONG_ETAG, chunked, token_of, upload
from test_dav_put import in_parallel, reset
from wire import request

SABRE = 'Content-Type: application/x-sabredav-partialupdate'
BYTERANGE = 'Content-Type: message/byterange'
DIGITS = b'0123456789'


def put_range(tree, name, where, body, *fields, **options):
    """`where` is that of a Content-Range: 'a-b/len'."""
    return tree.put(name, body, f'Content-Range: bytes {where}', *fields, **options)


def sabre(tree, name, where, body, *fields, **options):
    """`where` is that of X-Update-Range."""
    return tree.ask('PATCH', name, SABRE, f'X-Update-Range: {where}', *fields, body=body, **options)


def byterange(tree, name, where, body=b'', *fields, **options):
    part = f'Content-Range: bytes {where}\r\n\r\n'.encode() + body
    return tree.ask('PATCH', name, BYTERANGE, *fields, body=part, **options)


def by_put(tree, name, first, body, *fields, **options):
    return put_range(tree, name, f'{first}-{first + len(body) - 1}/*', body, *fields, **options)


def by_sabre(tree, name, first, body, *fields, **options):
    return sabre(tree, name, f'bytes={first}-{first + len(body) - 1}', body, *fields, **options)


def by_byterange(tree, name, first, body, *fields, **options):
    return byterange(tree, name, f'{first}-{first + len(body) - 1}/*', body, *fields, **options)


@pytest.fixture(params=[by_put, by_sabre, by_byterange], ids=['put', 'sabredav', 'byterange'])
def write(request):
    """write(tree, name, first, body, *fields): the same in each of the forms."""
    return request.param


@pytest.fixture
def digits(tree):
    tree.put('file', DIGITS)
    return tree


def changed(tree, answer, content, status=204):
    """It was done, and the answer tells the new entity-tag."""
    assert answer.status == status, f'{answer} {answer.body}'
    assert STRONG_ETAG.fullmatch(answer.get('ETag') or ''), answer
    got = tree.get('file')
    assert got.body == content and got.get('ETag') == answer.get('ETag')
    return True


# ---- what all forms have in common ----

def test_within_a_file(digits, write):
    before = digits.etag('file')
    assert changed(digits, write(digits, 'file', 2, b'abc'), b'01abc56789')
    assert digits.etag('file') != before


def test_across_and_past_the_end(digits, write):
    assert changed(digits, write(digits, 'file', 8, b'abcd'), b'01234567abcd')
    assert changed(digits, write(digits, 'file', 12, b'!'), b'01234567abcd!')
    assert changed(digits, write(digits, 'file', 20, b'gap'), b'01234567abcd!' + bytes(7) + b'gap')


def test_into_a_file_that_is_not_there(tree, write):
    """PUT makes it, PATCH wants one."""
    if write is by_put:
        assert changed(tree, write(tree, 'file', 3, b'abc'), bytes(3) + b'abc', status=201)
    else:
        assert write(tree, 'file', 3, b'abc').status == 404 and tree.names() == []
    assert write(tree, 'none/file', 0, b'abc').status in (404, 409)


def test_far_behind_the_end_costs_no_room(digits, write):
    far = 5 << 30
    assert write(digits, 'file', far, b'end').status == 204
    stat = (digits.path / 'file').stat()
    assert stat.st_size == far + 3 and stat.st_blocks * 512 < 1 << 20
    assert digits.get('file', f'Range: bytes={far - 2}-').body == b'\0\0end'
    assert digits.get('file', 'Range: bytes=0-11').body == DIGITS + b'\0\0'


def test_a_range_as_large_as_uploads(tree, write, blob):
    tree.put('file', blob)
    assert write(tree, 'file', 1000001, blob[:5 << 20]).status == 204
    assert tree.read('file') == blob[:1000001] + blob[:5 << 20] + blob[1000001 + (5 << 20):]


def test_conditions(digits, write):
    etag = digits.etag('file')
    for field in ('If-Match: "x"', 'If-None-Match: *', f'If-None-Match: {etag}', f'If-Match: W/{etag}',
                  'If-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT'):
        assert write(digits, 'file', 2, b'no', field).status == 412, field
    assert write(digits, 'new', 0, b'no', 'If-Match: *').status == 412
    assert digits.etag('file') == etag and digits.read('file') == DIGITS and digits.names() == ['file']
    first = write(digits, 'file', 2, b'a', f'If-Match: {etag}')
    assert changed(digits, first, b'01a3456789')
    assert write(digits, 'file', 2, b'b', f'If-Match: {etag}').status == 412
    assert changed(digits, write(digits, 'file', 2, b'c', f'If-Match: {first.get("ETag")}'), b'01c3456789')
    assert write(digits, 'file', 2, b'd', 'If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT').status == 204, 'not for this method'
    if write is by_put:
        assert write(digits, 'new', 0, b'x', 'If-None-Match: *').status == 201


def test_locks(digits, write):
    token = token_of(digits.lock('file'))
    assert write(digits, 'file', 2, b'no').status == 423
    assert changed(digits, write(digits, 'file', 2, b'yes', f'If: (<{token}>)'), b'01yes56789')


def test_each_write_has_an_entity_tag_of_its_own(digits, write):
    etags = [write(digits, 'file', 2, b'same').get('ETag') for _ in range(50)]
    assert len(set(etags)) == 50


def test_what_was_written_is_seen_at_once_by_all(tree, write):
    tree.put('file', bytes(100000))
    readers = [tree.connect() for _ in range(6)]
    for number in range(60):
        body = b'%06d' % number
        answer = write(tree, 'file', 50000, body, connection=readers[number % 6])
        got = readers[number * 5 % 6].ask(tree.href('file'), 'Range: bytes=49999-50006')
        assert got.body == b'\0' + body + b'\0' and got.get('ETag') == answer.get('ETag')
    for reader in readers:
        reader.socket.close()


def test_writers_of_different_parts(tree, write):
    """Eight at a time, each its own blocks."""
    tree.put('file', b'')

    def fill(number):
        with tree.connect() as connection:
            for block in range(number, 128, 8):
                assert write(tree, 'file', block * 1000, b'%03d\n' % block * 250, connection=connection).status == 204
    in_parallel(*[lambda number=number: fill(number) for number in range(8)])
    assert tree.read('file') == b''.join(b'%03d\n' % block * 250 for block in range(128))


def test_no_update_is_lost_between_many_writers(tree, write):
    tree.put('file', b'000')

    def count():
        with tree.connect() as connection:
            for _ in range(8):
                while True:
                    got = connection.ask(tree.href('file'))
                    body = b'%03d' % (int(got.body) + 1)
                    answer = write(tree, 'file', 0, body, f'If-Match: {got.get("ETag")}', connection=connection)
                    if answer.status == 204:
                        break
                    assert answer.status == 412, answer
    in_parallel(*[count] * 8)
    assert tree.read('file') == b'064'


def test_an_interrupted_write_changes_nothing(tree, blob):
    tree.put('file', blob)
    etag = tree.etag('file')
    size = 4 << 20
    part = f'Content-Range: bytes 0-{size - 1}/*\r\n\r\n'.encode()
    for method, fields, head in (('PUT', [f'Content-Range: bytes 0-{size - 1}/*'], b''),
                                 ('PATCH', [SABRE, f'X-Update-Range: bytes=0-{size - 1}'], b''),
                                 ('PATCH', [BYTERANGE], part)):
        for end in (reset, lambda connection: connection.socket.close()):
            connection = tree.connect()
            connection.send(request(tree.href('file'), *fields, f'Content-Length: {size + len(head)}', method=method))
            connection.send(head + bytes(size // 2))
            end(connection)
    eventually(lambda: not tree.unfinished())
    assert tree.etag('file') == etag and tree.read('file') == blob


def test_a_folder_has_no_bytes(tree, write):
    assert write(tree, '', 0, b'no').status in (405, 409, 415)
    assert tree.names() == []


# ---- PUT with Content-Range ----

def test_put_of_a_range_that_says_how_large_the_file_will_be(digits):
    assert changed(digits, put_range(digits, 'file', '2-4/10', b'abc'), b'01abc56789')
    assert changed(digits, put_range(digits, 'file', '9-12/13', b'wxyz'), b'01abc5678wxyz')


@pytest.mark.parametrize('where', ['2-4', '4-2/10', '2-4/4', 'x-4/10', '-3/10', '2-/10', '*/10', '2-4/10/10', '2-4/-1', '2-4/ten',
                                   '99999999999999999999-99999999999999999999/*', ''])
def test_put_of_a_malformed_range_replaces_nothing(digits, where):
    assert put_range(digits, 'file', where, b'abc').status == 400
    assert digits.put('file', b'abc', 'Content-Range: lines 2-4/10').status == 400
    assert digits.read('file') == DIGITS


def test_put_of_a_range_with_another_length_than_its_body(digits):
    for where, body in (('2-4/10', b'ab'), ('2-4/10', b'abcd'), ('2-4/10', b''), ('0-0/*', b'')):
        assert put_range(digits, 'file', where, body).status == 400
    for body in (chunked(b'ab'), chunked(b'abcd')):
        with digits.connect() as connection:
            fields = ['Transfer-Encoding: chunked', 'Content-Range: bytes 2-4/10']
            assert upload(connection, digits.href('file'), body, *fields).status == 400
    assert digits.read('file') == DIGITS
    eventually(lambda: not digits.unfinished())


def test_put_of_a_range_in_chunks(digits):
    with digits.connect() as connection:
        fields = ['Transfer-Encoding: chunked', 'Content-Range: bytes 2-4/10']
        assert changed(digits, upload(connection, digits.href('file'), chunked(b'abc', 1), *fields), b'01abc56789')


# ---- PATCH as SabreDAV has it ----

@pytest.mark.parametrize('where, body, content', [
    ('bytes=2-4', b'abc', b'01abc56789'), ('bytes=2-', b'abc', b'01abc56789'), ('bytes=8-', b'abc', b'01234567abc'),
    ('bytes=-3', b'abc', b'0123456abc'), ('bytes=-3', b'abcde', b'0123456abcde'), ('bytes=-10', b'a', b'a123456789'),
    ('append', b'abc', b'0123456789abc'), ('bytes=12-', b'abc', b'0123456789\0\0abc')])
def test_patch_forms(digits, where, body, content):
    assert changed(digits, sabre(digits, 'file', where, body), content)


@pytest.mark.parametrize('where, body, statuses', [
    ('bytes=-11', b'abc', [416]), ('bytes=2-4', b'ab', [400, 416]), ('bytes=2-4', b'abcd', [400, 416]), ('bytes=4-2', b'', [400, 416]),
    ('bytes=', b'abc', [400]), ('bytes=a-b', b'abc', [400]), ('lines=2-4', b'abc', [400]), ('prepend', b'abc', [400])])
def test_patch_forms_that_cannot_be(digits, where, body, statuses):
    answer = sabre(digits, 'file', where, body)
    assert answer.status in statuses, answer
    assert digits.read('file') == DIGITS


def test_patch_wants_a_length_a_range_and_a_type_that_is_known(digits):
    assert digits.ask('PATCH', 'file', SABRE, 'X-Update-Range: bytes=2-4').status == 411
    assert digits.ask('PATCH', 'file', SABRE, body=b'abc').status == 400
    for fields in ([], ['Content-Type: text/plain'], ['Content-Type: application/json-patch+json']):
        answer = digits.ask('PATCH', 'file', *fields, 'X-Update-Range: bytes=2-4', body=b'abc')
        assert answer.status == 415, answer
        assert {'application/x-sabredav-partialupdate', 'message/byterange'} == set(answer.get('Accept-Patch').split(', '))
    assert digits.read('file') == DIGITS
    assert changed(digits, digits.ask('PATCH', 'file', 'Content-Type: application/X-SabreDAV-PartialUpdate; charset=x',
                                      'X-Update-Range: bytes=2-4', body=b'abc'), b'01abc56789')


def test_appending_at_the_same_time_keeps_every_record_whole(tree):
    tree.put('file', b'')

    def append(number):
        with tree.connect() as connection:
            for count in range(12):
                record = b'%d:%02d' % (number, count) * 100 + b'\n'
                assert sabre(tree, 'file', 'append', record, connection=connection).status == 204
    in_parallel(*[lambda number=number: append(number) for number in range(8)])
    records = tree.read('file').splitlines()
    assert sorted(records) == [b'%d:%02d' % (number, count) * 100 for number in range(8) for count in range(12)]


# ---- PATCH as message/byterange ----

def test_a_part_with_further_fields_and_in_chunks(digits):
    part = b'Content-Type: text/plain\r\ncontent-range:  bytes 2-4/10\r\n\r\nabc'
    assert changed(digits, digits.ask('PATCH', 'file', BYTERANGE, body=part), b'01abc56789')
    with digits.connect() as connection:
        answer = upload(connection, digits.href('file'), chunked(part.replace(b'abc', b'ABC'), 5), BYTERANGE,
                        'Transfer-Encoding: chunked', method='PATCH')
        assert changed(digits, answer, b'01ABC56789')


def test_truncating(digits):
    etag = digits.etag('file')
    assert changed(digits, byterange(digits, 'file', '*/4'), b'0123')
    assert changed(digits, byterange(digits, 'file', '*/8'), b'0123' + bytes(4))
    assert byterange(digits, 'file', '*/2', b'', f'If-Match: {etag}').status == 412
    assert changed(digits, byterange(digits, 'file', '*/0', b'', f'If-Match: {digits.etag("file")}'), b'')


def test_truncating_what_is_locked(digits):
    token = token_of(digits.lock('file'))
    assert byterange(digits, 'file', '*/5').status == 423
    assert changed(digits, byterange(digits, 'file', '*/5', b'', f'If: (<{token}>)'), b'01234')


@pytest.mark.parametrize('part', [b'', b'abc', b'\r\n\r\nabc', b'Content-Range: bytes 2-4/10\r\n', b'Content-Range: bytes 2-4/10\r\nabc',
                                  b'Content-Range: bytes 4-2/10\r\n\r\n', b'Content-Range: bytes 2-4/10\r\n\r\nab',
                                  b'Content-Range: bytes 2-4/10\r\n\r\nabcd', b'Content-Type: text/plain\r\n\r\nabc',
                                  b'Content-Range: bytes */4\r\n\r\nabc', b'Content-Range: bytes */*\r\n\r\n',
                                  b'Content-Range: bytes 2-4/10\r\nContent-Range: bytes 5-7/10\r\n\r\nabc',
                                  b'Content-Range: bytes 2-4/10\0\r\n\r\nabc', b'X: ' + b'x' * 20000 + b'\r\n\r\nabc'],
                         ids=lambda part: repr(part[:60])[2:-1])
def test_parts_that_cannot_be(digits, part):
    answer = digits.ask('PATCH', 'file', BYTERANGE, body=part)
    assert answer.status in (400, 413, 416, 422), answer
    assert digits.read('file') == DIGITS


# ---- durable ----

def test_sync_is_answered_like_without(digits):
    assert digits.put('file', b'abc', 'Sync: data').status == 204
    assert changed(digits, by_sabre(digits, 'file', 0, b'x', 'Sync: data'), b'xbc')
    assert changed(digits, by_put(digits, 'file', 0, b'y', 'Sync: data'), b'ybc')
    etag = digits.etag('file')
    assert digits.ask('PATCH', 'file', 'Sync: data', body=b'').status == 204
    assert digits.ask('PATCH', 'file', 'Sync: data').status == 204
    assert digits.ask('PATCH', 'file', 'Sync: data', f'If-Match: {etag}', body=b'').status == 204
    assert digits.ask('PATCH', 'file', 'Sync: data', 'If-Match: "x"', body=b'').status == 412
    assert digits.ask('PATCH', 'none', 'Sync: data', body=b'').status == 404
    assert digits.etag('file') == etag and digits.read('file') == b'ybc'


FS_IOC_FIEMAP = 0xC020660B
WITHOUT_PLACE, WITH_PLACE_ONLY = 0x4, 0x800  # FIEMAP_EXTENT_DELALLOC, FIEMAP_EXTENT_UNWRITTEN


def is_on_disk(path):
    """Whether the file system has given every byte its place and filled it, which it does at the latest for fsync."""
    with open(path, 'rb') as file:
        room = bytearray(struct.pack('=QQLLLL', 0, 2 ** 64 - 1, 0, 0, 16, 0) + bytes(56 * 16))
        try:
            fcntl.ioctl(file, FS_IOC_FIEMAP, room)
        except OSError:
            pytest.skip('this file system does not tell where files lie')
    count = struct.unpack_from('=L', room, 20)[0]
    flags = [struct.unpack_from('=L', room, 32 + 56 * number + 40)[0] for number in range(count)]
    return count > 0 and not any(flag & (WITHOUT_PLACE | WITH_PLACE_ONLY) for flag in flags)


def delays(tree):
    """Whether this file system leaves fresh bytes in memory first, so that one can tell."""
    path = tree.file('probe', os.urandom(50000))
    if is_on_disk(path):
        pytest.skip('this file system gives every byte its place at once')


def test_what_is_to_be_durable_is_on_disk_when_the_answer_comes(tree, write):
    delays(tree)
    body = os.urandom(50000)
    tree.put('lazy', body)
    assert not is_on_disk(tree.path / 'lazy'), 'each upload is made durable, unasked'
    tree.put('eager', body, 'Sync: data')
    assert is_on_disk(tree.path / 'eager')
    assert tree.ask('PATCH', 'lazy', 'Sync: data', body=b'').status == 204
    assert is_on_disk(tree.path / 'lazy')
    tree.put('part', b'')
    assert write(tree, 'part', 100, body, 'Sync: data').status == 204
    assert is_on_disk(tree.path / 'part')


def test_a_durable_server(serve_tree, write):
    tree = serve_tree('--durable')
    delays(tree)
    body = os.urandom(50000)
    tree.put('whole', body)
    tree.put('part', b'')
    write(tree, 'part', 0, body)
    tree.to('COPY', 'whole', 'copy')
    assert [is_on_disk(tree.path / name) for name in ('whole', 'part', 'copy')] == [True] * 3
