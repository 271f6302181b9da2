"""Conditional requests in the order of RFC 9110 13.2.2, and validators that tell when a file has changed."""
import os
import time

import pytest
from conftest import eventually

EARLIER, SAME, LATER = (f'Sun, 09 Sep 2001 01:46:{second} GMT' for second in (39, 40, 41))


@pytest.fixture
def file(site):
    path = site.file('file.txt')
    os.utime(path, (1000000000, 1000000000))
    etag = site.fetch('file.txt').get('ETag')

    def ask(*fields, **options):
        return site.fetch('file.txt', *(field.replace('ETAG', etag) for field in fields), **options)
    return ask


CASES = [
    # (status, fields), in the order of the five steps
    (200, ['If-Match: ETAG']),
    (200, ['If-Match: "x", ETAG']),
    (200, ['If-Match: "x"', 'If-Match: ETAG']),
    (200, ['If-Match: *']),
    (412, ['If-Match: "x"']),
    (412, ['If-Match: W/ETAG']),
    (412, ['If-Match: "x"', 'If-None-Match: ETAG']),
    (412, ['If-Match: "x"', f'If-Unmodified-Since: {LATER}']),
    (200, ['If-Match: ETAG', f'If-Unmodified-Since: {EARLIER}']),
    (412, [f'If-Unmodified-Since: {EARLIER}']),
    (200, [f'If-Unmodified-Since: {SAME}']),
    (200, [f'If-Unmodified-Since: {LATER}']),
    (200, ['If-Unmodified-Since: some day']),
    (412, [f'If-Unmodified-Since: {EARLIER}', 'If-None-Match: ETAG']),
    (304, ['If-None-Match: ETAG']),
    (304, ['If-None-Match: W/ETAG']),
    (304, ['If-None-Match: "x" , ETAG']),
    (304, ['If-None-Match: *']),
    (200, ['If-None-Match: "x"']),
    (200, ['If-None-Match: "x"', f'If-Modified-Since: {LATER}']),
    (304, ['If-None-Match: ETAG', f'If-Modified-Since: {EARLIER}']),
    (200, [f'If-Modified-Since: {EARLIER}']),
    (304, [f'If-Modified-Since: {SAME}']),
    (304, [f'If-Modified-Since: {LATER}']),
    (304, ['If-Modified-Since: Sunday, 09-Sep-01 01:46:40 GMT']),
    (304, ['If-Modified-Since: Sun Sep  9 01:46:40 2001']),
    (200, ['If-Modified-Since: 1000000000']),
    (304, ['If-Match: ETAG', 'If-None-Match: ETAG']),
    (304, ['If-None-Match: ETAG', 'Range: bytes=0-1']),
    (304, ['If-None-Match: ETAG', 'Range: bytes=99-']),
    (412, ['If-Match: "x"', 'Range: bytes=0-1']),
    (206, ['If-Match: ETAG', 'Range: bytes=0-1']),
    (206, ['If-Match: ETAG', 'Range: bytes=0-1', 'If-Range: ETAG']),
    (200, ['If-Match: ETAG', 'Range: bytes=0-1', 'If-Range: "x"']),
]


@pytest.mark.parametrize('status, fields', CASES, ids=[' + '.join(fields) for _, fields in CASES])
def test_conditions(file, status, fields):
    response = file(*fields)
    assert response.status == status
    if status == 304:
        assert response.get('ETag') and response.get('Date')
        assert response.get('Content-Length') is None and response.get('Content-Range') is None
    if not any(field.startswith('Range') for field in fields):
        assert file(*fields, method='HEAD').status == status


def test_a_missing_file_is_missing_whatever_the_condition(site):
    for field in ('If-None-Match: *', 'If-Match: *', f'If-Modified-Since: {LATER}', 'Range: bytes=0-1'):
        assert site.fetch('none', field).status == 404


def test_conditions_leave_the_connection_in_step(site, file):
    with site.connect() as connection:
        for fields in (['If-None-Match: *'], ['If-Match: "x"'], ['If-Modified-Since: ' + LATER]):
            connection.ask(site.url + 'file.txt', *fields)
        connection.expect_open()


# ---- validators ----

def test_etag_is_strong_and_stays(site):
    site.file('file')
    etags = {site.fetch('file').get('ETag') for _ in range(5)}
    assert len(etags) == 1
    etag = etags.pop()
    assert etag.startswith('"') and etag.endswith('"') and len(etag) > 4


def test_files_with_equal_content_have_etags_of_their_own(site):
    times = (1000000000, 1000000000)
    for name in 'ab':
        os.utime(site.file(name), times)
    assert site.fetch('a').get('ETag') != site.fetch('b').get('ETag')


def change_by_rename(path):
    path.with_suffix('.new').write_bytes(b'CONTENT\n')
    os.replace(path.with_suffix('.new'), path)


def change_in_place(path):
    with open(path, 'r+b') as file:
        file.write(b'CONTENT\n')


def append(path):
    with open(path, 'ab') as file:
        file.write(b'more\n')


def touch(path):
    os.utime(path)


@pytest.mark.parametrize('change', [change_by_rename, change_in_place, append, touch])
def test_a_change_shows_at_once(site, change):
    """Also a change within the same tick of the file system's clock is a pause of at most some ms away."""
    path = site.file('file')
    with site.connect() as connection:
        seen = set()
        for _ in range(5):
            response = connection.ask(site.url + 'file')
            assert response.body == path.read_bytes()
            seen.add(response.get('ETag'))
            time.sleep(0.02)
            change(path)
        assert len(seen) == 5


def test_a_file_that_appears_is_found_and_one_that_goes_is_not(site):
    with site.connect() as connection:
        for _ in range(3):
            assert connection.ask(site.url + 'file').status == 404
            path = site.file('file')
            assert connection.ask(site.url + 'file').status == 200
            path.unlink()


def test_a_file_becomes_a_folder_and_back(site):
    path = site.file('thing')
    with site.connect() as connection:
        assert connection.ask(site.url + 'thing').status == 200
        path.unlink()
        path.mkdir()
        assert connection.ask(site.url + 'thing').status == 301
        path.rmdir()
        site.file('thing', b'again')
        assert connection.ask(site.url + 'thing').body == b'again'


def test_a_folder_renamed_away_takes_its_files_along(site):
    site.file('old/file')
    with site.connect() as connection:
        assert connection.ask(site.url + 'old/file').status == 200
        (site.path / 'old').rename(site.path / 'new')
        assert connection.ask(site.url + 'new/file').status == 200
        eventually(lambda: connection.ask(site.url + 'old/file').status == 404)
