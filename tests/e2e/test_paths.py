"""Which names lead where: encodings, hidden files, links, and nothing outside the root."""
import os

import pytest
from conftest import WINDOWS, eventually
from windows import may_be_a_name


@pytest.fixture
def tree(site):
    """A file beside the root that must never be seen."""
    outside = site.server.folder.parent / 'outside'
    outside.mkdir(exist_ok=True)
    (outside / 'secret').write_text('outside world')
    site.file('sub/deep/file', b'deep')
    site.file('file', b'top')
    return site


@pytest.mark.parametrize('path, body', [
    ('sub/deep/file', b'deep'), ('sub//deep///file', b'deep'), ('./sub/./deep/file', b'deep'),
    ('%73ub/%64eep/fil%65', b'deep'),
    ('sub/%2E/deep/file', b'deep'), ('fil%65', b'top'),
])
def test_ways_to_name_a_file(tree, path, body):
    assert tree.fetch(path).body == body


@pytest.mark.parametrize('path', [
    '..', '../', '../../etc/passwd', '%2e%2e/', '.%2E/file', '%2E./file', 'sub/../file', 'sub/%2e%2e/file',
    '..%2ffile', 'sub%2fdeep',
    'sub/..%2f..', '%2e%2e%2f%2e%2e%2fetc%2fpasswd', '../../outside/secret', 'file/', 'file/..', 'file/x',
    'sub/deep/none', 'a' * 256,
    '/'.join(['a'] * 2000), '..;/', '...', '..%c0%af', '%252e%252e/file',
], ids=lambda path: path[:30])
def test_what_gets_404(tree, path):
    response = tree.fetch(path)
    assert response.status == 404
    assert b'outside world' not in response.body


def test_above_the_root_there_is_nothing(shared):
    for target in ('/..', '/../', '/../../../../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '/./../etc/passwd'):
        assert shared.fetch(target).status == 404


@pytest.mark.parametrize('name', [
    'ünï', 'e\u0301', '日本語', '🙂', 'space d', 'plus+', 'per%cent', 'a;b', 'semi:colon', "quote'", 'star*', 'tilde~',
])
def test_utf8_names(site, name):
    site.file(name, name.encode())
    raw = ''.join(f'%{byte:02x}' for byte in name.encode())
    assert site.fetch(raw).body == name.encode()


def test_raw_bytes_above_ascii_are_taken_as_they_are(site):
    site.file('ünï', b'yes')
    assert site.server.fetch(site.url.encode() + 'ünï'.encode()).status in (200, 400)


def test_names_with_every_byte(site):
    with site.connect() as connection:
        for byte in set(range(1, 256)) - {ord('/'), ord('.')}:
            name = b'n' + bytes([byte])
            if WINDOWS and not may_be_a_name(name):
                continue
            with open(os.fsencode(site.path) + b'/' + name, 'wb') as file:
                file.write(bytes([byte]))
            assert connection.ask(f'{site.url}n%{byte:02X}').body == bytes([byte])


# ---- hidden files ----

@pytest.fixture
def dotted(site):
    for name in ('.secret', '.git/config', 'sub/.env', '...', '..x'):
        site.file(name)
    site.file('seen')
    return site


def test_hidden_files_are_not_there(dotted):
    for name in ('.secret', '%2esecret', '.git/config', '.git/', '.git', 'sub/.env', '...', '..x'):
        assert dotted.fetch(name).status == 404
    assert dotted.fetch('seen').status == 200
    assert b'secret' not in dotted.fetch().body


def test_hidden_shows_them(serve):
    server = serve('--hidden')
    (server.folder / '.secret').write_text('dot')
    (server.folder / '.git').mkdir()
    assert server.fetch('/.secret').body == b'dot'
    assert server.fetch('/.git/').status == 200
    assert b'.secret' in server.fetch('/').body
    assert server.fetch('/../').status == 404


# ---- links ----

def make_links(folder):
    (folder / 'file').write_text('inside')
    (folder / 'sub').mkdir()
    (folder / 'sub/file').write_text('sub')
    for name, target in {'to-file': 'file', 'to-sub': 'sub', 'sub/up': '../file', 'absolute': '/etc/passwd',
                         'out': '../../etc/passwd', 'out-folder': '..', 'inside-absolute': folder / 'file',
                         'dangling': 'nowhere', 'circle': 'circle', 'magic': '/proc/self/root'}.items():
        (folder / name).symlink_to(target)


def test_links_inside_are_followed(serve):
    server = serve()
    make_links(server.folder)
    assert server.fetch('/to-file').body == b'inside'
    assert server.fetch('/to-sub/file').body == b'sub'
    assert server.fetch('/sub/up').body == b'inside'
    assert server.fetch('/to-sub').status == 301
    for name in ('absolute', 'out', 'out-folder', 'out-folder/', 'inside-absolute', 'dangling', 'circle', 'magic',
                 'magic/etc/passwd'):
        assert server.fetch('/' + name).status == 404, name
    page = server.fetch('/').body
    assert b'"to-file"' in page and b'"to-sub/"' in page
    assert not any(name in page for name in (b'absolute"', b'"out', b'dangling"', b'circle"', b'magic"'))


def test_symlinks_never(serve):
    server = serve('--symlinks=never')
    make_links(server.folder)
    for name in ('to-file', 'to-sub', 'to-sub/', 'to-sub/file', 'sub/up', 'absolute'):
        assert server.fetch('/' + name).status == 404, name
    assert server.fetch('/sub/file').body == b'sub'
    assert b'to-' not in server.fetch('/').body


def test_the_root_itself_may_be_a_link(serve, tmp_path):
    (tmp_path / 'real').mkdir()
    (tmp_path / 'real/file').write_text('x')
    (tmp_path / 'link').symlink_to('real')
    assert serve(folder=tmp_path / 'link').fetch('/file').body == b'x'


def test_a_link_that_turns_outward_later_is_noticed(site):
    site.file('file', b'inside')
    (site.path / 'link').symlink_to('file')
    with site.connect() as connection:
        assert connection.ask(site.url + 'link').body == b'inside'
        (site.path / 'link').unlink()
        (site.path / 'link').symlink_to('/etc/passwd')
        eventually(lambda: connection.ask(site.url + 'link').status == 404)


# ---- other kinds ----

def test_a_fifo_neither_hangs_nor_shows(site):
    os.mkfifo(site.path / 'fifo')
    (site.path / 'to-fifo').symlink_to('fifo')
    site.file('file')
    for name in ('fifo', 'to-fifo', 'fifo/'):
        assert site.fetch(name).status in (403, 404)
    assert b'fifo"' not in site.fetch().body


def test_what_cannot_be_read_is_refused(site):
    path = site.file('locked')
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip('root reads everything')
    assert site.fetch('locked').status in (403, 404)


@pytest.mark.parametrize('length', [4083, 4084, 4085, 4094, 4095, 4096])
def test_a_path_of_the_greatest_length_is_answered(serve, length):
    server = serve('--precompressed')
    for path in ('/' + 'a' * length + '/', '/' + 'a' * length, '/' + 'a/' * (length // 2)):
        assert server.fetch(path, 'Accept-Encoding: gzip').status == 404
    assert server.fetch('/').status == 200
