"""The mount's client when things go wrong: answers lost, servers away, slow or full; and how it connects."""
import base64
import contextlib
import re
import shutil
import ssl
import subprocess
import threading
import time

import pytest
from conftest import Server
from verbs import Listener, Refused, between, needs_verbs, read_message, start_verbs, url_of  # noqa: F401 (fixtures)

pytestmark = needs_verbs

BUSY = b'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n%b\r\n'


@pytest.fixture
def through(tree, between, start_verbs):  # noqa: F811
    """through(plan): the proxy, and verbs behind it, connected."""
    def start(*plan, **options):
        tree.file('file', b'0123456789')
        proxy = between(tree.server.address)
        verbs = start_verbs(url_of(proxy.address, tree.url), **options)
        verbs('connect')
        proxy.plan[:] = plan
        proxy.seen.clear()
        return proxy, verbs
    return start


class Slow:
    """Measures what is within."""

    def __enter__(self):
        self.start = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.start


# ---- answers that are lost ----

LOST = {
    'put': (['put', 'new', b'content'], {}),
    'put absent': (['put', 'new', b'content'], {'absent': 1}),
    'put match': (['put', 'file', b'content'], {'match': True}),
    'put large': (['put', 'file'], {'match': True, 'size': 300000}),
    'write': (['write', 'file', b'AB'], {'match': True, 'first': 3}),
    'write large': (['write', 'file'], {'match': True, 'first': 3, 'size': 3000000}),
    'truncate': (['truncate', 'file'], {'match': True, 'to': 20}),
    'set': (['set', 'file'], {'match': True, 'mode': 600, 'mtime': 5, 'ns': 7}),
    'mkdir': (['mkdir', 'folder'], {}),
    'symlink': (['symlink', 'link', 'a target'], {}),
    'link': (['link', 'file', 'twin'], {}),
    'remove': (['remove', 'file'], {}),
    'move': (['move', 'file', 'moved'], {}),
    'move keep': (['move', 'file', 'moved'], {'keep': 1}),
    'stat': (['stat', 'file'], {}),
    'list': (['list', ''], {}),
    'get': (['get', 'file'], {'size': 5, 'first': 2}),
}


@pytest.mark.parametrize('how', ['lose', 5, 60])
@pytest.mark.parametrize('verb', LOST)
def test_a_lost_answer_goes_unnoticed(tree, through, verb, how):
    """The proxy's number: the answer ends within its head."""
    proxy, verbs = through()
    words, options = LOST[verb]
    if 'match' in options:
        options = {**options, 'match': verbs.tag('file')}
    proxy.plan[:] = [how]
    answer = verbs(*words, **options)
    assert proxy.seen[-1][0] == 'pass' and len(proxy.seen) >= 2
    if words[0] in ('put', 'write', 'truncate', 'set'):
        assert answer[0].decode() == tree.etag(words[1]), 'the tag is that of now'
    state = {name: (tree.path / name).lstat() for name in tree.names()}
    expected = {'remove': [], 'move': ['moved'], 'put': sorted({'file', words[1]}), 'mkdir': ['file', 'folder'],
                'symlink': ['file', 'link'], 'link': ['file', 'twin']}.get(words[0], ['file'])
    assert sorted(state) == expected


@contextlib.contextmanager
def meanwhile(proxy, happens):
    """That happens after a request that was carried out, and before it comes again since its answer was lost."""
    proxy.plan[:], original, happened = ['lose'], proxy.ask, []

    def ask(request):
        result = original(request)
        if proxy.seen[-1][0] == 'lose':
            happens()
            happened.append(True)
        return result
    proxy.ask = ask
    yield
    proxy.ask = original
    assert happened


def test_a_change_by_another_is_no_success(tree, through):
    proxy, verbs = through()
    for words, options in ((['write', 'file', b'AB'], {'first': 3}), (['put', 'file', b'mine'], {})):
        tag = verbs.tag('file')
        with meanwhile(proxy, lambda: tree.file('file', b'somebody else was here')):
            assert verbs.fails(*words, match=tag, **options) == 'ESTALE'
        assert tree.read('file') == b'somebody else was here'


BODY = bytes(range(1, 101))


@pytest.mark.parametrize('stands, ends', [
    pytest.param(b'old' + BODY[:40], 'done', id='the file ends with its beginning'),
    pytest.param(b'old', 'done', id='nothing of it, the file ends before it'),
    pytest.param(b'old' + BODY[:40] + bytes(60) + b'more', 'done', id='zeros follow, where there was a hole'),
    pytest.param(b'old' + BODY[:40] + bytes(59) + b'x' + b'more', 'ESTALE', id='other bytes follow'),
    pytest.param(b'old' + bytes(100) + b'more', 'ESTALE', id='zeros alone are no part of it'),
    pytest.param(b'ol', 'ESTALE', id='the file is shorter than before'),
])
def test_a_write_that_was_cut_short_is_made_again(tree, through, stands, ends):
    """As a server leaves it that is killed while it writes in place."""
    proxy, verbs = through()
    tree.file('file', b'old' + bytes(100) + b'more' if stands.endswith(b'more') else b'old')
    tag = verbs.tag('file')
    with meanwhile(proxy, lambda: tree.file('file', stands)):
        if ends == 'done':
            verbs('write', 'file', BODY, match=tag, first=3)
        else:
            assert verbs.fails('write', 'file', BODY, match=tag, first=3) == ends
    assert tree.read('file') == (b'old' + BODY + stands[103:] if ends == 'done' else stands)


def test_who_holds_the_lock_does_not_write_over_what_is_not_his_at_all(tree, through):
    proxy, verbs = through()
    token, tag = verbs('lock', 'file')[0], verbs.tag('file')
    with meanwhile(proxy, lambda: (tree.path / 'file').write_bytes(b'o' * 110)):
        assert verbs.fails('write', 'file', BODY, match=tag, first=3, token=token) == 'ESTALE'
    assert tree.read('file') == b'o' * 110


def test_who_holds_the_lock_makes_it_again_whatever_follows(tree, through):
    proxy, verbs = through()
    tree.file('file', b'o' * 110)
    token = verbs('lock', 'file')[0]
    torn = b'ooo' + BODY[:40] + b'o' * 67
    with meanwhile(proxy, lambda: (tree.path / 'file').write_bytes(torn)):
        verbs('write', 'file', BODY, match=verbs.tag('file'), first=3, token=token)
    assert tree.read('file') == b'ooo' + BODY + b'o' * 7
    with meanwhile(proxy, lambda: (tree.path / 'file').write_bytes(torn)):
        assert verbs.fails('write', 'file', BODY, match=verbs.tag('file'), first=3) == 'EBUSY', 'without the token'


@pytest.mark.parametrize('words, options', [
    (['put', 'file', b'other'], {}),
    (['put', 'new', b'other'], {'absent': 1}),
    (['write', 'file', b'AB'], {'first': 2}),
    (['truncate', 'file'], {'to': 3}),
])
def test_what_comes_along_is_set_when_the_server_was_killed_before(tree, through, words, options):
    """It had written the content, and not yet set mode and time, nor made it durable: so nothing of these is carried out."""
    proxy, verbs = through()
    if words[1] == 'file':
        options = {**options, 'match': verbs.tag('file')}
    proxy.plan[:] = ['lose']
    original, asked = proxy.ask, []

    def ask(request):
        asked.append(request)
        if proxy.seen[-1][0] == 'lose':
            request = re.sub(rb'(Berth-Mode|Berth-Mtime|Sync): .*\r\n', b'', request)
        return original(request)
    proxy.ask = ask
    durable = {} if words[0] == 'truncate' else {'durable': 1}
    answer = verbs(*words, mode=640, mtime=1500000000, ns=5, **durable, **options)
    real = (tree.path / words[1]).stat()
    assert (real.st_mode & 0o7777, real.st_mtime_ns) == (0o640, 1500000000_000000005)
    assert answer[0].decode() == tree.etag(words[1]), 'the tag is that of now'
    assert not durable or (b'PATCH' in asked[-1] and b'Sync: data' in asked[-1])


def test_what_exists_is_still_an_error(tree, through):
    """A refusal that no lost answer explains."""
    proxy, verbs = through()
    (tree.path / 'folder').mkdir()
    for words, options, error in ((['put', 'file', b'x'], {'absent': 1}, 'EEXIST'), (['mkdir', 'file'], {}, 'EEXIST'),
                                  (['symlink', 'file', 'x'], {}, 'EEXIST'), (['move', 'none', 'x'], {}, 'ENOENT')):
        proxy.plan[:] = ['refuse']
        assert verbs.fails(*words, **options) == error, words


def test_a_lock_whose_answer_is_lost_is_found(tree, through):
    proxy, verbs = through('lose')
    token = verbs('lock', 'file')[0]
    verbs('write', 'file', b'x', token=token)
    proxy.plan[:] = ['lose']
    verbs('unlock', 'file', token)
    assert tree.ask('PUT', 'file', body=b'y').status == 204
    tree.lock('file')
    proxy.plan[:] = ['lose']
    assert verbs.fails('lock', 'file') == 'EBUSY'


def test_a_kept_connection_that_was_closed(through):
    """What may be sent twice is; of the rest nobody knows."""
    proxy, verbs = through('drop', 'pass', 'drop', 'pass')
    before = verbs.counters()
    verbs('stat', 'file')
    with Slow() as slow:
        verbs('stat', 'file')
    assert slow.seconds < 10 and verbs.counters()['retries'] > before['retries']
    verbs('stat', 'file')
    with pytest.raises(Refused) as caught:
        verbs('call', 'DELETE', 'file', once=1)
    assert caught.value.name == 'EIO' and caught.value.words[0] == b'1'
    assert ('pass', 'DELETE') not in proxy.seen


def test_a_large_body_goes_out_again_at_once_when_a_kept_connection_breaks(tree, through):
    """Also by who sent a small one before."""
    proxy, verbs = through('pass', 'refuse', connections=1, stall=30000)
    verbs('put', 'file', b'small')
    with Slow() as slow:
        verbs('put', 'file', size=300000)
    assert slow.seconds < 20 and len(proxy.seen) == 3
    assert tree.read('file') == bytes((at * 31 + at // 251) & 255 for at in range(300000))


def test_what_may_not_be_repeated(through):
    proxy, verbs = through('lose', 'refuse', BUSY % b'')
    assert verbs.fails('call', 'PUT', 'new', b'x', once=1) == 'EIO'
    assert verbs.fails('call', 'PUT', 'new', b'x', once=1) == 'EIO'
    assert verbs('call', 'PUT', 'new', b'x', once=1)[:3] == [b'0', b'204', b'2'], 'refused by the server itself: it is sent again'
    proxy.plan[:] = [b'HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n']
    assert verbs('call', 'PUT', 'new', b'x', once=1)[:3] == [b'1', b'504', b'1']
    proxy.plan[:] = [BUSY % b'']
    assert verbs('call', 'GET', 'file', quick=1)[:3] == [b'0', b'503', b'1']


# ---- servers that are busy or away ----

@pytest.mark.parametrize('status', [b'503 Service Unavailable', b'429 Too Many Requests', b'502 Bad Gateway', b'504 Gateway Timeout'])
def test_a_busy_server_is_asked_again(through, status):
    answer = b'HTTP/1.1 ' + status + b'\r\nContent-Length: 0\r\n\r\n'
    proxy, verbs = through(answer, answer)
    with Slow() as slow:
        verbs('put', 'file', b'x')
    assert 0.14 < slow.seconds < 20 and len(proxy.seen) == 3


@pytest.mark.parametrize('value', [b'1', None])
def test_retry_after(through, value):
    value = value or time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime(time.time() + 2)).encode()
    _, verbs = through(BUSY % (b'Retry-After: ' + value + b'\r\n'))
    with Slow() as slow:
        verbs('stat', 'file')
    assert 0.8 < slow.seconds < 20


def test_retry_after_is_kept_to_the_limit(through):
    proxy, verbs = through(*[BUSY % b'Retry-After: 1000\r\n'] * 100, retry=2000)
    with Slow() as slow:
        assert verbs.fails('stat', 'file') == 'EIO'
    assert 1.4 < slow.seconds < 20 and len(proxy.seen) == 2, 'one more try before the end'


def test_a_server_that_is_away_for_a_while(serve_tree, start_verbs):  # noqa: F811
    tree = serve_tree()
    host, port = tree.server.address
    tree.file('file', b'x')
    verbs = start_verbs(url_of(tree.server.address), retry=20000)
    verbs('connect')
    tree.server.stop()
    verbs.send('stat', 'file')
    time.sleep(1)
    again = Server(tree.path, '--writable', listen=(f'{host}:{port}',))
    try:
        assert verbs.receive()[1] == b'1'
    finally:
        again.close()
    assert verbs.counters()['opened'] <= 2


def test_a_server_that_stays_away(tree, between, start_verbs):  # noqa: F811
    proxy = between(tree.server.address)
    proxy.close()
    verbs = start_verbs(url_of(proxy.address), retry=700)
    with Slow() as slow:
        assert verbs.fails('connect') == 'ECONNREFUSED' and verbs.fails('stat', 'file') == 'EIO'
    assert 1.2 < slow.seconds < 20
    verbs('retry', ms=100)
    with Slow() as sooner:
        assert verbs.many(8, 1, 'counters')[0] == 0 and verbs.fails('stat', 'file') == 'EIO'
    assert sooner.seconds < slow.seconds


def test_a_server_that_says_nothing(through):
    proxy, verbs = through('stall', stall=300, retry=5000)
    with Slow() as slow:
        verbs('stat', 'file')
    assert 0.3 <= slow.seconds < 5
    proxy.plan[:] = ['stall'] * 100
    verbs('retry', ms=1000)
    with Slow() as slow:
        assert verbs.fails('stat', 'file') == 'EIO'
    assert 0.9 < slow.seconds < 20


def test_bytes_that_move_again_are_no_progress(through):
    """Each attempt sends the whole body and is lost: it ends all the same."""
    proxy, verbs = through(*['refuse'] * 1000, retry=2000)
    with Slow() as slow:
        assert verbs.fails('put', 'file', size=300000) == 'EIO'
    assert 1.9 < slow.seconds < 20 and len(proxy.seen) >= 3


def test_given_up(through):
    _, verbs = through('stall', 'stall', retry=60000, stall=60000)
    for words in (['stat', 'file'], ['put', 'file', b'x']):
        verbs('giveup', ms=300)
        with Slow() as slow:
            assert verbs.fails(*words) == 'EINTR'
        assert 0.2 < slow.seconds < 20
    verbs('giveup', ms=0)
    assert verbs.stat('file')


def test_given_up_while_it_waits(through):
    """In the queue behind another, and between two attempts."""
    proxy, verbs = through(*['stall'] * 4, connections=1, retry=60000, stall=60000)
    verbs('giveup', ms=300)
    with Slow() as slow:
        with pytest.raises(Refused):
            verbs.many(4, 1, 'stat', 'file')
    assert slow.seconds < 20
    verbs('giveup', ms=0)
    proxy.plan[:] = [BUSY % b'Retry-After: 50\r\n']
    verbs('giveup', ms=300)
    assert verbs.fails('stat', 'file') == 'EINTR'


# ---- a server that only knows SabreDAV's ranges ----

def test_ranges_of_sabredav(tree, between, start_verbs):  # noqa: F811
    tree.file('file', b'0123456789')
    proxy = between(tree.server.address)
    original = proxy.ask
    proxy.ask = lambda request: original(request).replace(b'DAV: <urn:berth:posix>\r\n', b'')
    verbs = start_verbs(url_of(proxy.address, tree.url))
    assert verbs('connect')[:2] == [b'1', b'0']
    tag = tree.etag('file')
    now = verbs('write', 'file', b'AB', first=2, match=tag)[0]
    assert tree.read('file') == b'01AB456789' and now.decode() == tree.etag('file')
    proxy.plan[:] = ['lose']
    verbs('write', 'file', b'XYZ', first=9, match=now)
    assert tree.read('file') == b'01AB45678XYZ' and proxy.seen[-1][1] in ('GET', 'PROPFIND')
    assert verbs.fails('write', 'file', b'x', first=0, match=tag) == 'ESTALE'
    assert verbs.fails('truncate', 'file', to=1) == 'EOPNOTSUPP'


# ---- connections ----

@pytest.mark.parametrize('connections', [1, 3, 8])
def test_no_more_connections_than_allowed(through, connections):
    proxy, verbs = through(connections=connections)
    assert verbs.many(24, 20, 'stat', 'file')[0] == 0
    counters = verbs.counters()
    assert proxy.peak <= connections and counters['peak'] <= connections
    assert counters['opened'] <= connections == max(connections, counters['open'])
    assert verbs.many(24, 5, 'put', 'file', size=100000)[0] == 0
    assert proxy.accepted <= connections, 'they are kept'


def test_connections_that_are_cut_are_made_anew_within_the_cap(through):
    proxy, verbs = through(*['pass', 'pass', 'lose', 'refuse'] * 50, connections=4, retry=20000)
    assert verbs.many(12, 15, 'stat', 'file')[0] == 0
    assert proxy.peak <= 5 and verbs.counters()['peak'] <= 4, 'the proxy may notice late that one is closed'


def test_unix_sockets(serve, tmp_path, start_verbs):  # noqa: F811
    path = tmp_path / 'socket'
    server = serve('--writable', listen=(f'unix:{path}',))
    verbs = start_verbs('http://any.host.invalid/', unix=path, environment={'http_proxy': 'http://127.0.0.1:1/'})
    verbs('connect')
    verbs('put', 'file', b'x')
    verbs('move', 'file', 'other')
    assert (server.folder / 'other').read_bytes() == b'x'


def test_a_proxy_by_the_environment(tree, between, start_verbs):  # noqa: F811
    tree.file('file', b'x')
    proxy = between(tree.server.address)
    host, port = proxy.address
    verbs = start_verbs(f'http://no.such.host.invalid{tree.url}', environment={'http_proxy': f'http://{host}:{port}'})
    verbs('connect')
    assert verbs.stat('file').size == 1 and len(proxy.seen) == 3
    environment = {'http_proxy': 'http://127.0.0.1:1', 'no_proxy': '127.0.0.1'}
    assert start_verbs(url_of(tree.server.address, tree.url), environment=environment)('connect')


# ---- who asks ----

class Asked(Listener):
    """Remembers the Authorization of each request, and answers 401."""

    def serve(self, connection):
        rest = b''
        while True:
            request, rest = read_message(connection.recv, rest)
            if request is None:
                return
            fields = dict(line.split(b': ', 1) for line in request.partition(b'\r\n\r\n')[0].split(b'\r\n')[1:])
            self.authorization = fields.get(b'Authorization')
            connection.sendall(b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n')


@pytest.fixture
def asked():
    listener = Asked()
    yield listener
    listener.close()


def basic(text):
    return b'Basic ' + base64.b64encode(text)


@pytest.mark.parametrize('options,wanted', [({}, None), ({'user': 'me:s:cret'}, basic(b'me:s:cret')), ({'bearer': 'abc.def'}, b'Bearer abc.def')])
def test_credentials(asked, start_verbs, options, wanted):  # noqa: F811
    verbs = start_verbs(url_of(asked.address), **options)
    with pytest.raises(Refused) as caught:
        verbs('connect')
    assert caught.value.name == 'EACCES' and caught.value.words[5] == b'', 'who asks knows what he tried'
    assert asked.authorization == wanted and asked.accepted == 1


def test_credentials_of_the_url(asked, start_verbs):  # noqa: F811
    host, port = asked.address
    assert start_verbs(f'http://me%40home:s%2Fcret@{host}:{port}/').fails('connect') == 'EACCES'
    assert asked.authorization == basic(b'me@home:s/cret')


def test_credentials_of_netrc(asked, start_verbs, tmp_path):  # noqa: F811
    (tmp_path / '.netrc').write_text('machine 127.0.0.1 login me password secret\n')
    assert start_verbs(url_of(asked.address), netrc=tmp_path / '.netrc').fails('connect') == 'EACCES'
    assert asked.authorization == basic(b'me:secret')
    asked.authorization = None
    assert start_verbs(url_of(asked.address), netrc='', environment={'HOME': str(tmp_path)}).fails('connect') == 'EACCES'
    assert asked.authorization == basic(b'me:secret')


@pytest.fixture(scope='module')
def certificate(tmp_path_factory):
    if not shutil.which('openssl'):
        pytest.skip('no openssl here')
    folder = tmp_path_factory.mktemp('certificate')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost',
                    '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', folder / 'key.pem', '-out', folder / 'cert.pem'],
                   check=True, capture_output=True)
    return folder


def test_https(tree, between, start_verbs, certificate):  # noqa: F811
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / 'cert.pem', certificate / 'key.pem')
    proxy = between(tree.server.address, context=context)
    url = url_of(proxy.address, tree.url, 'https')
    verbs = start_verbs(url)
    with pytest.raises(Refused) as caught:
        verbs('connect')
    assert caught.value.name == 'EACCES' and b'certificate' in caught.value.words[5]
    for options in ({'authorities': certificate / 'cert.pem'}, {'insecure': 1}):
        verbs = start_verbs(url, **options)
        verbs('connect')
        verbs('put', 'file', size=3000000)
        assert verbs.stat('file').size == 3000000 and verbs('get', 'file', size=3000000, quiet=1) == [b'3000000']
        verbs('move', 'file', 'other')
        assert verbs.many(8, 10, 'stat', 'other')[0] == 0 and verbs.counters()['peak'] <= 8


def test_a_client_certificate(tree, between, start_verbs, certificate):  # noqa: F811
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / 'cert.pem', certificate / 'key.pem')
    context.load_verify_locations(certificate / 'cert.pem')
    context.verify_mode = ssl.CERT_REQUIRED
    proxy = between(tree.server.address, context=context)
    url = url_of(proxy.address, tree.url, 'https')
    assert start_verbs(url, insecure=1, retry=300).fails('connect') == 'EIO'
    start_verbs(url, insecure=1, certificate=certificate / 'cert.pem', key=certificate / 'key.pem')('connect')
