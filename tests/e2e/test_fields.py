"""What the head of an answer says: types, dates, variants."""
import email.utils
import gzip
import os
import time

import pytest
from conftest import Server, eventually


@pytest.mark.parametrize('name, kind', [
    ('a.txt', 'text/plain; charset=utf-8'), ('a.html', 'text/html; charset=utf-8'),
    ('A.HTM', 'text/html; charset=utf-8'),
    ('a.css', 'text/css; charset=utf-8'), ('a.js', 'text/javascript; charset=utf-8'), ('a.json', 'application/json'),
    ('a.png', 'image/png'), ('a.b.jpeg', 'image/jpeg'), ('a.svg', 'image/svg+xml'), ('a.mp4', 'video/mp4'),
    ('a.pdf', 'application/pdf'), ('a.wasm', 'application/wasm'), ('a.woff2', 'font/woff2'),
    ('a.zip', 'application/zip'),
    ('none', 'application/octet-stream'), ('a.unheardof', 'application/octet-stream'),
    ('a.', 'application/octet-stream'),
])
def test_content_type(site, name, kind):
    site.file(name)
    got = site.fetch(name).get('Content-Type')
    if name == 'a.js':
        assert got in (kind, kind.replace('text', 'application'), 'application/javascript')
    else:
        assert got == kind


def test_dates(site):
    path = site.file('file')
    os.utime(path, (784111777, 784111777))
    response = site.fetch('file')
    assert response.get('Last-Modified') == 'Sun, 06 Nov 1994 08:49:37 GMT'
    date = email.utils.parsedate_to_datetime(response.get('Date'))
    assert abs(date.timestamp() - time.time()) < 10
    assert len(response.get('Date')) == 29


def test_last_modified_is_never_in_the_future(site):
    """RFC 9110 8.8.2.1."""
    path = site.file('file')
    os.utime(path, (time.time() + 86400,) * 2)
    modified = site.fetch('file').get('Last-Modified')
    assert modified is None or email.utils.parsedate_to_datetime(modified).timestamp() < time.time() + 3


def test_error_pages_say_what_and_show_nothing_raw(shared):
    response = shared.fetch('/no%3Cscript%3Esuch%22file')
    assert response.status == 404 and response.get('Content-Type') == 'text/html; charset=utf-8'
    assert b'404 Not Found' in response.body and b'<script' not in response.body


# ---- --precompressed ----

@pytest.fixture(scope='module')
def variants(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp('variants')
    for name, codings in {'all.txt': ('br', 'zst', 'gz'), 'gz.txt': ('gz',), 'none.txt': ()}.items():
        (folder / name).write_bytes(b'plain ' * 100)
        for coding in codings:
            (folder / f'{name}.{coding}').write_bytes(b'as ' + coding.encode())
    (folder / 'real.txt.gz').write_bytes(gzip.compress(b'real'))
    (folder / 'real.txt').write_bytes(b'real')
    server = Server(folder, '--precompressed', engine=engine)
    yield server
    server.close()


@pytest.mark.parametrize('name, accepted, coding', [
    ('all.txt', 'gzip, br, zstd', 'br'),
    ('all.txt', 'gzip, zstd', 'zstd'),
    ('all.txt', 'gzip', 'gzip'),
    ('all.txt', 'X-GZIP', 'gzip'),
    ('all.txt', 'gzip;q=0.9, br;q=0.5, zstd;q=0.1', 'gzip'),
    ('all.txt', 'br;q=0, zstd;q=0.000, gzip;q=0.001, identity;q=0', 'gzip'),
    ('all.txt', 'br;q=0.5, identity;q=0.8', None),
    ('all.txt', '*', 'br'),
    ('all.txt', '*, br;q=0', 'zstd'),
    ('all.txt', 'identity', None),
    ('all.txt', 'deflate', None),
    ('all.txt', '', None),
    ('all.txt', None, None),
    ('gz.txt', 'br, zstd, gzip', 'gzip'),
    ('gz.txt', 'br', None),
    ('none.txt', 'br, zstd, gzip', None),
])
def test_the_best_variant_that_is_there(variants, name, accepted, coding):
    fields = [] if accepted is None else [b'Accept-Encoding: ' + accepted.encode()]
    for _ in range(2):  # the second time it is known
        response = variants.fetch('/' + name, *fields)
        assert response.status == 200
        assert response.get('Content-Encoding') == coding
        suffix = {'br': b'br', 'zstd': b'zst', 'gzip': b'gz', None: None}[coding]
        assert response.body == (b'as ' + suffix if suffix else b'plain ' * 100)
        assert response.get('Vary') == 'Accept-Encoding'
        assert response.get('Content-Type') == 'text/plain; charset=utf-8'


def test_variants_have_etags_and_ranges_of_their_own(variants):
    plain = variants.fetch('/all.txt')
    coded = variants.fetch('/all.txt', 'Accept-Encoding: br')
    assert plain.get('ETag') != coded.get('ETag')
    part = variants.fetch('/all.txt', 'Accept-Encoding: br', 'Range: bytes=3-', f'If-Range: {coded.get("ETag")}')
    assert (part.status, part.body, part.get('Content-Encoding')) == (206, b'br', 'br')
    assert part.get('Content-Range') == 'bytes 3-4/5'
    assert variants.fetch('/all.txt', 'Accept-Encoding: br', f'If-None-Match: {coded.get("ETag")}').status == 304
    assert variants.fetch('/all.txt', 'Accept-Encoding: br', f'If-None-Match: {plain.get("ETag")}').status == 200


def test_the_variant_itself_is_a_plain_file(variants):
    response = variants.fetch('/real.txt.gz', 'Accept-Encoding: gzip')
    assert response.get('Content-Encoding') is None and gzip.decompress(response.body) == b'real'
    assert response.get('Content-Type') in ('application/gzip', 'application/octet-stream', 'application/x-gzip')


def test_without_the_option_nothing_varies(site):
    site.file('file.txt')
    site.file('file.txt.gz', b'gz')
    response = site.fetch('file.txt', 'Accept-Encoding: gzip')
    assert response.get('Content-Encoding') is None and response.body == b'content\n'
    assert response.get('Vary') is None


def test_a_variant_that_appears_later_is_found_soon(variants):
    (variants.folder / 'later.txt').write_bytes(b'plain')
    assert variants.fetch('/later.txt', 'Accept-Encoding: gzip').body == b'plain'
    (variants.folder / 'later.txt.gz').write_bytes(b'gz')
    eventually(lambda: variants.fetch('/later.txt', 'Accept-Encoding: gzip').body == b'gz')
