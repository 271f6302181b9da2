"""Parts of files: RFC 9110 14."""
import email.parser
import email.policy
import os
import re

import pytest

CONTENT = bytes(range(256)) * 40  # 10,240 bytes


@pytest.fixture
def file(site):
    site.file('file.bin', CONTENT)
    return lambda *fields, **options: site.fetch('file.bin', *fields, **options)


def parts_of(response):
    """[(first, last, size, bytes)] of a multipart/byteranges body."""
    kind = response.get('Content-Type')
    boundary = re.fullmatch(r'multipart/byteranges; ?boundary="?([\w.-]+)"?', kind)[1].encode()
    pieces = response.body.split(b'\r\n--' + boundary) if response.body.startswith(b'\r\n') else \
        (b'\r\n' + response.body).split(b'\r\n--' + boundary)
    assert pieces[0] == b'' and pieces[-1].rstrip(b'\r\n') == b'--', pieces[-1]
    parts = []
    for piece in pieces[1:-1]:
        head, body = piece.removeprefix(b'\r\n').split(b'\r\n\r\n', 1)
        fields = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + b'\r\n\r\n')
        assert fields['Content-Type'] == 'application/octet-stream'
        first, last, size = map(int, re.fullmatch(r'bytes (\d+)-(\d+)/(\d+)', fields['Content-Range']).groups())
        parts.append((first, last, size, body))
    return parts


@pytest.mark.parametrize('asked, first, last', [
    ('0-0', 0, 0), ('0-', 0, 10239), ('5-9', 5, 9), ('10239-', 10239, 10239), ('-1', 10239, 10239),
    ('-100', 10140, 10239),
    ('-99999', 0, 10239), ('9000-99999', 9000, 10239), ('9000-99999999999999999999', 9000, 10239), ('5-9 ,', 5, 9),
    ('20000-30000, 5-9', 5, 9),
])
def test_one_range(file, asked, first, last):
    response = file(f'Range: bytes={asked}')
    assert response.status == 206
    assert response.get('Content-Range') == f'bytes {first}-{last}/10240'
    assert response.body == CONTENT[first:last + 1]
    assert response.get('ETag') and response.get('Content-Type') == 'application/octet-stream'


def test_several_ranges_come_in_parts(file):
    response = file('Range: bytes=0-9, 100-199,-5')
    assert response.status == 206 and response.get('Content-Range') is None
    assert parts_of(response) == [(0, 9, 10240, CONTENT[:10]), (100, 199, 10240, CONTENT[100:200]),
                                  (10235, 10239, 10240, CONTENT[-5:])]


def test_several_ranges_leave_the_connection_in_step(site, file):
    with site.connect() as connection:
        for _ in range(3):
            assert len(parts_of(connection.ask(site.url + 'file.bin', 'Range: bytes=9-10,0-3'))) == 2
        connection.expect_open()


def test_ranges_of_a_large_file(site, blob):
    site.file('blob.bin', blob)
    middle = 3 << 20
    response = site.fetch('blob.bin', f'Range: bytes=1-{middle},{middle + 5}-{middle + 5},-1000000')
    bodies = [body for *_, body in parts_of(response)]
    assert bodies == [blob[1:middle + 1], blob[middle + 5:middle + 6], blob[-1000000:]]


@pytest.mark.parametrize('asked', ['10240-', '10240-10250', '99999999999999999999-', '-0', '20000-,-0'])
def test_nothing_within_the_file_gets_416(file, asked):
    response = file(f'Range: bytes={asked}')
    assert response.status == 416
    assert response.get('Content-Range') == 'bytes */10240'


@pytest.mark.parametrize('asked', [
    ','.join(['0-'] * 100), ','.join(['0-10239'] * 10), ','.join(f'{n}-{n}' for n in range(0, 1000, 3)),
    '0-9,5-14,8-20',
], ids=['all of it, often', 'all of it, ten times', 'many bytes', 'overlapping'])
def test_abuse_is_refused(file, asked):
    """RFC 9110 14.2: overlapping or silly sets may be refused or ignored; they must not multiply the file."""
    response = file(f'Range: bytes={asked}')
    assert response.status in (200, 416)
    assert len(response.body) <= len(CONTENT)


@pytest.mark.parametrize('value', [
    'bytes=', 'bytes=a-b', 'bytes=5-3', 'bytes', 'bytes=--5', 'bytes=1-2-3', 'bytes 0-1', 'lines=0-1', '0-1',
    'bytes=0x0-1',
    'bytes=1 - 2', 'bytes=-', 'bytes=0-1;2-3',
])
def test_what_is_no_range_is_ignored(file, value):
    response = file(f'Range: {value}')
    assert response.status == 200 and response.body == CONTENT


def test_only_get_has_ranges(file):
    response = file('Range: bytes=0-1', method='HEAD')
    assert response.status == 200 and response.get('Content-Length') == '10240'


def test_ranges_are_announced(file):
    assert file().get('Accept-Ranges') == 'bytes'


def test_an_empty_file_has_no_range(site):
    site.file('empty.bin', b'')
    for asked in ('0-0', '0-', '-5'):
        response = site.fetch('empty.bin', f'Range: bytes={asked}')
        assert response.status in (200, 416)
        assert response.status == 200 or response.get('Content-Range') == 'bytes */0'


# ---- If-Range ----

def test_if_range_with_the_etag(file):
    etag = file().get('ETag')
    assert file('Range: bytes=1-3', f'If-Range: {etag}').status == 206
    for other in ('"x"', f'W/{etag}', etag.strip('"'), f'{etag}, "x"'):
        response = file('Range: bytes=1-3', f'If-Range: {other}')
        assert response.status == 200 and response.body == CONTENT
    assert file('Range: bytes=99999-', 'If-Range: "x"').status == 200


def test_if_range_with_the_date(site, file):
    os.utime(site.path / 'file.bin', (1000000000, 1000000000))
    date = file().get('Last-Modified')
    assert date == 'Sun, 09 Sep 2001 01:46:40 GMT'
    assert file('Range: bytes=1-3', f'If-Range: {date}').status == 206
    for other in ('Sun, 09 Sep 2001 01:46:41 GMT', 'Sun, 09 Sep 2001 01:46:39 GMT', 'yesterday'):
        assert file('Range: bytes=1-3', f'If-Range: {other}').status == 200
