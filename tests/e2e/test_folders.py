"""Folders: index.html, redirects, and listings as a page and as JSON."""
import html.parser
import json
import os
import threading
import urllib.parse

import pytest
from conftest import WINDOWS
from windows import may_be_a_name
from wire import request

WEIRD = [b'plain', b'with space', b'100%', b'a:b', b'-rf', b'?query=1&x', b'#mark', b'"quoted" \'too\'',
         b'<script>alert(1)<',
         b'&amp;', 'Ärger–日本語'.encode(), b'invalid\xff\xfeutf', b'new\nline', b'\x01\x7f', b'double..',
         b'semi;colon,+=@', b'~back\\slash',
         b'x' * 255, 'ü'.encode() * 127, b' lead and trail ', b'[1]', b'%41', b'javascript:alert(1)']
if WINDOWS:
    WEIRD = [name for name in WEIRD if may_be_a_name(name)]


def weird_folder(site):
    """Every file holds its own name."""
    for name in WEIRD:
        with open(os.fsencode(site.path) + b'/' + name, 'wb') as file:
            file.write(name)


class Page(html.parser.HTMLParser):
    """Collects the links of the table's body."""

    def __init__(self, body):
        super().__init__()
        self.hrefs, self.tags, self.in_rows = [], [], False
        self.feed(body.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.in_rows |= tag == 'tbody'
        if tag == 'a' and self.in_rows:
            self.hrefs.append(dict(attributes)['href'])

    def handle_endtag(self, tag):
        self.in_rows &= tag != 'tbody'


# ---- index.html and redirects ----

def test_index_html_stands_for_its_folder(site):
    site.file('sub/index.html', b'<p>index')
    response = site.fetch('sub/')
    assert response.body == b'<p>index' and response.get('Content-Type') == 'text/html; charset=utf-8'
    assert response.get('ETag')
    assert site.fetch('sub/', 'Range: bytes=0-1').body == b'<p'


def test_a_folder_whose_index_goes_is_listed(site):
    site.file('sub/index.html', b'<p>index')
    assert site.fetch('sub/').body == b'<p>index'
    (site.path / 'sub/index.html').unlink()
    assert b'empty' in site.fetch('sub/').body


@pytest.mark.parametrize('target, location', [
    ('sub', 'sub/'), ('sub?a=b&c', 'sub/?a=b&c'), ('./sub', 'sub/'), ('a%20b', 'a%20b/'), ('sub/../sub', None),
    ('sub?', 'sub/?'),
])
def test_a_folder_without_slash_redirects(site, target, location):
    (site.path / 'sub').mkdir()
    (site.path / 'a b').mkdir()
    response = site.fetch(target)
    if location is None:
        assert response.status == 404
        return
    assert response.status == 301
    assert response.get('Location').rstrip('?') == (site.url + location).rstrip('?')


@pytest.mark.parametrize('target', ['//sub', '///sub', '/%2e/sub', '/.//sub', '//sub?x=//y', '//%73ub'])
def test_a_redirect_never_leaves_for_another_host(shared, target):
    (shared.folder / 'sub').mkdir(exist_ok=True)
    response = shared.fetch(target)
    assert response.status in (301, 404)
    if response.status == 301:
        assert response.get('Location').startswith('/sub/')


def test_a_folder_named_like_a_host_or_a_field(site):
    for name in ('a\r\nX-Evil: 1', 'b\\c', 'd:e'):
        (site.path / name).mkdir()
        response = site.fetch(urllib.parse.quote(name, safe=''))
        assert response.status == 301 and response.get('X-Evil') is None
        assert urllib.parse.unquote(response.get('Location')) == site.url + name + '/'


# ---- listings ----

def test_every_name_is_listed_and_its_link_leads_to_it(site):
    weird_folder(site)
    page = site.fetch()
    assert page.get('Content-Type') == 'text/html; charset=utf-8'
    assert b'<script' not in page.body
    hrefs = [href for href in Page(page.body).hrefs if href != '../']
    assert {urllib.parse.unquote_to_bytes(href).removeprefix(b'./') for href in hrefs} == set(WEIRD)
    with site.connect() as connection:
        for href in hrefs:
            path = urllib.parse.urlsplit(urllib.parse.urljoin(f'http://test{site.url}', href)).path
            assert connection.ask(path).body == urllib.parse.unquote_to_bytes(href).removeprefix(b'./')


def test_json_has_every_name(site):
    weird_folder(site)
    (site.path / 'folder').mkdir()
    os.utime(site.path / 'plain', (1767323045, 1767323045))
    for answer in (site.fetch('?json'), site.fetch('', 'Accept: application/json'), site.fetch('?format=json')):
        assert answer.get('Content-Type') == 'application/json'
        listing = json.loads(answer.body)
        assert listing['path'] == site.url
        assert listing['entries'][0]['name'] == 'folder' and listing['entries'][0]['type'] == 'folder'
        assert listing['entries'][0]['href'] == 'folder/'
        files = listing['entries'][1:]
        assert {urllib.parse.unquote_to_bytes(e['href']).removeprefix(b'./') for e in files} == set(WEIRD)
        names = {e['name'] for e in files}
        assert names >= {name.decode() for name in WEIRD if b'\xff' not in name} and len(names) == len(WEIRD)
        plain = next(e for e in listing['entries'] if e['name'] == 'plain')
        assert plain == {'name': 'plain', 'href': 'plain', 'type': 'file', 'size': 5,
                         'modified': '2026-01-02T03:04:05Z'}


@pytest.mark.parametrize('fields, kind', [
    ([], 'text/html'), (['Accept: */*'], 'text/html'),
    (['Accept: text/html,application/xhtml+xml,*/*;q=0.8'], 'text/html'),
    (['Accept: application/json;q=0.5, text/html'], 'text/html'),
    (['Accept: application/json, text/html;q=0.9'], 'application/json'),
])
def test_accept_chooses_the_form(site, fields, kind):
    response = site.fetch('', *fields)
    assert response.get('Content-Type').startswith(kind) and 'Accept' in response.get('Vary')


def test_orders(site):
    for name, size, modified in (('b', 1, 30), ('A', 3, 10), ('c', 2, 20)):
        path = site.file(name, b'x' * size)
        os.utime(path, (modified, modified))
    (site.path / 'z').mkdir()

    def names(query):
        return ''.join(e['name'] for e in json.loads(site.fetch('?json' + query).body)['entries'])
    orders = {'': 'zAbc', '&order=desc': 'zcbA', '&sort=size': 'zbcA', '&sort=size&order=desc': 'zAcb',
              '&sort=time': 'zAcb', '&sort=none&order=x': 'zAbc'}
    assert {query: names(query) for query in orders} == orders
    page = Page(site.fetch('?sort=size&order=desc').body)
    assert ('th', {'scope': 'col', 'aria-sort': 'descending'}) in page.tags
    assert page.hrefs[1:] == ['z/?sort=size&order=desc', 'A', 'c', 'b']


def test_a_page_needs_nothing_from_elsewhere(site):
    site.file('file')
    page = Page(site.fetch().body)
    for tag, attributes in page.tags:
        assert tag not in ('script', 'link', 'img', 'iframe') and 'style' not in attributes
        assert not any(name.startswith('on') or name == 'src' for name in attributes)


def test_no_listing(serve, tmp_path):
    server = serve('--no-listing')
    (server.folder / 'sub').mkdir()
    (server.folder / 'sub/file').write_text('x')
    assert server.fetch('/').status in (403, 404)
    assert server.fetch('/sub/?json').status in (403, 404)
    assert server.fetch('/sub/file').status == 200
    (server.folder / 'index.html').write_text('index')
    assert server.fetch('/').body == b'index'


# ---- one piece or several ----

@pytest.mark.parametrize('target', ['', '?json'])
@pytest.mark.parametrize('version', ['1.1', '1.0'])
def test_a_short_listing_has_a_length(site, target, version):
    """So that one for HTTP/1.0 does not end with its connection."""
    site.file('entry', b'')
    with site.connect() as connection:
        for _ in range(2):
            response = connection.ask(site.url + target, 'Connection: keep-alive', version=version)
            assert int(response.get('Content-Length')) == len(response.body) > 0
            assert response.get('Transfer-Encoding') is None and b'entry' in response.body
        head = connection.ask(site.url + target, method='HEAD')
        assert head.get('Content-Length') == response.get('Content-Length') and head.body == b''


# ---- many entries ----

COUNT = 5_000 if WINDOWS else 100_000  # Wine takes half a millisecond to look at one


@pytest.fixture(scope='session')
def many(memory_folder):
    folder = memory_folder / 'many'
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    for number in range(COUNT):
        os.mknod(f'entry-{number:06}', dir_fd=descriptor)
    os.close(descriptor)
    return folder


def test_many_entries_stream_in_bounded_memory(serve, many):
    server = serve(folder=many)
    with server.connect() as connection:
        connection.ask('/entry-000000')
        before, most = server.rss(), 0
        connection.send(request('/?json'))
        response = connection.read_head()
        assert response.get('Transfer-Encoding') == 'chunked'
        pieces = []
        for number, chunk in enumerate(connection.read_chunks()):
            pieces.append(chunk)
            if number % 50 == 0:
                most = max(most, server.rss())
        entries = json.loads(b''.join(pieces))['entries']
        assert [e['name'] for e in entries] == [f'entry-{n:06}' for n in range(COUNT)]
        assert most - before < 32 << 20
        page = connection.ask('/')
        assert page.body.count(b'<bdi>entry-') == COUNT and page.body.endswith(b'</html>\n')


def test_a_reader_who_leaves_a_listing_leaves_nothing_behind(serve, many):
    server = serve(folder=many)
    for _ in range(10):
        with server.connect(receive_buffer=4096) as connection:
            connection.send(request('/'))
            connection.read_line()
    server.fetch('/entry-000000')
    server.check_descriptors()


def test_listings_at_a_time(serve, many):
    server = serve(folder=many)
    counts = []

    def read():
        counts.append(server.fetch('/?json').body.count(b'"name":"entry-'))
    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    with server.connect() as connection:  # others are served meanwhile
        assert connection.ask('/entry-000001').status == 200
    for thread in threads:
        thread.join()
    assert counts == [COUNT] * 3
