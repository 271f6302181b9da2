"""Ways to a server that asks who comes, or stands behind TLS, a socket or a proxy; and what is said where there is no way."""
import contextlib
import os
import socket
import ssl
import subprocess
import threading
import urllib.parse

import pytest
from conftest import PROGRAM, Server
from mount import BY, is_mounted
from test_auth import PASSWORDS, TOKEN, TOKENS
from verbs import Listener, between  # noqa: F401 (a fixture)

pytestmark = pytest.mark.skipif(BY != 'berth', reason='these are about berth mount')

REFUSED = 'refused: the server does not take this user and password'
NONE = 'refused: needs a password (--user NAME) or a token (--bearer-file FILE)'
USER = ['--user', 'alice', '--password-file']


@pytest.fixture
def here(may_mount, tmp_path):
    folder = tmp_path / 'here'
    folder.mkdir()
    yield folder
    while is_mounted(folder):
        subprocess.run(['umount', '-l', folder], check=False)


@pytest.fixture
def secret(tmp_path):
    """Writes a file that only its owner reads."""
    def write(name, content):
        path = tmp_path / name
        path.touch(mode=0o600)
        path.write_text(content, encoding='utf-8')
        return path
    return write


@pytest.fixture
def serving(tmp_path):
    """Starts servers of one folder."""
    (tmp_path / 'served').mkdir()
    with contextlib.ExitStack() as stack:
        def start(*options, **more):
            server = Server(tmp_path / 'served', '--writable', *options, **more)
            stack.callback(server.close)
            return server
        yield start


@pytest.fixture
def guarded(serving, secret):
    return serving(f'--auth={secret("passwords", PASSWORDS)}', f'--auth-tokens={secret("tokens", TOKENS)}')


def berth(*arguments, environment=None):
    clean = {name: value for name, value in os.environ.items()
             if not name.lower().endswith('_proxy') and name != 'BERTH_PASSWORD'}
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, start_new_session=True, env={**clean, **(environment or {})})


def url_of(address, scheme='http', user=''):
    return f'{scheme}://{user}{address[0]}:{address[1]}/'


def works(server, here, url, *options, environment=None):
    said = berth('mount', *options, url, here, environment=environment)
    assert said.returncode == 0 and 'is mounted on' in said.stderr, said
    (here / 'file').write_bytes(b'content')
    assert (server.folder / 'file').read_bytes() == b'content' == (here / 'file').read_bytes()
    said = berth('unmount', here)
    assert said.returncode == 0, said
    (server.folder / 'file').unlink()


def refused(here, words, url, *options, code=1, environment=None):
    said = berth('mount', *options, url, here, environment=environment)
    assert said.returncode == code and words in said.stderr and not is_mounted(here), said
    assert 'secret' not in said.stderr and 'wrong-word' not in said.stderr


# ---- who comes ----

def test_a_password_by_all_ways(guarded, here, secret, tmp_path):
    url, file = url_of(guarded.address), secret('password', 'secret\nnot this\n')
    works(guarded, here, url, *USER, file)
    works(guarded, here, url, '--user', 'alice', environment={'BERTH_PASSWORD': 'secret'})
    works(guarded, here, url_of(guarded.address, user='alice:secret@'))
    works(guarded, here, url_of(guarded.address, user=f'{urllib.parse.quote("Jürgen")}:secret@'))
    works(guarded, here, url_of(guarded.address, user='alice@'), '--password-file', file)
    works(guarded, here, url, '-o', f'username=alice,password-file={file}')


def test_netrc(guarded, here, secret, tmp_path):
    file = secret('.netrc', 'machine 127.0.0.1 login bob password secret\n')
    works(guarded, here, url_of(guarded.address), f'--netrc={file}')
    works(guarded, here, url_of(guarded.address), '--netrc', environment={'HOME': str(tmp_path)})
    other = secret('other', 'machine elsewhere.example login bob password secret\n')
    refused(here, REFUSED, url_of(guarded.address), f'--netrc={other}')


def test_a_token(guarded, here, secret):
    works(guarded, here, url_of(guarded.address), '--bearer-file', secret('token', TOKEN + '\n'))
    refused(here, 'does not take this token', url_of(guarded.address), '--bearer-file', secret('wrong', 'wrong-word-0123456789\n'))


def test_wrong_ones(guarded, here, secret):
    url, wrong = url_of(guarded.address), secret('wrong', 'wrong-word\n')
    refused(here, NONE, url)
    refused(here, REFUSED, url, *USER, wrong)
    refused(here, REFUSED, url_of(guarded.address, user='alice:wrong-word@'))
    refused(here, REFUSED, url, '--user', 'nobody', environment={'BERTH_PASSWORD': 'wrong-word'})


def test_what_makes_no_sense_is_said_before_anybody_is_asked(guarded, here, secret, tmp_path):
    url, file = url_of(guarded.address), secret('password', 'secret\n')
    for words, options in (
            ('no terminal to ask at', ['--user', 'alice']),
            ('exclude each other', [*USER, file, '--bearer-file', file]),
            ('whose?', ['--password-file', file]),
            ('No such file', [*USER, tmp_path / 'none']),
            ('its first line is empty', [*USER, secret('empty', '\nsecret\n')]),
            ('No such file', ['--bearer-file', tmp_path / 'none']),
            ('No such file', [f'--netrc={tmp_path}/none'])):
        refused(here, words, url, *options, code=2)
    refused(here, 'exclude each other', url_of(guarded.address, user='alice:secret@'), *USER, file, code=2)


def test_a_password_that_others_can_read_is_told(guarded, here, secret):
    file = secret('password', 'secret\n')
    file.chmod(0o644)
    said = berth('mount', *USER, file, url_of(guarded.address), here)
    assert said.returncode == 0 and 'can be read by others' in said.stderr
    assert berth('unmount', here).returncode == 0


# ---- TLS ----

@pytest.fixture(scope='module')
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp('certificate')
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost',
                    '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', folder / 'key.pem', '-out', folder / 'cert.pem'],
                   check=True, capture_output=True)
    return folder


def tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / 'cert.pem', certificate / 'key.pem')
    return context


def test_a_certificate_of_ones_own(serving, here, between, certificate, tmp_path):  # noqa: F811
    server = serving()
    url = url_of(between(server.address, context=tls(certificate)).address, 'https')
    refused(here, 'certificate is not trusted (SSL certificate problem: self-signed certificate)', url)
    for options in (['--cacert'], ['--insecure', '--cert']):
        refused(here, '--cert, --key or --cacert cannot be used (', url, *options, tmp_path / 'none.pem')
    refused(here, 'cannot be used (unable to set private key file', url, '--insecure', '--cert', certificate / 'cert.pem')
    works(server, here, url, '--cacert', certificate / 'cert.pem')
    works(server, here, url, '--insecure')
    works(server, here, url.replace('https', 'davs'), '--insecure')
    refused(here, 'certificate is not trusted', url.replace('127.0.0.1', 'localhost'), '--cacert', certificate / 'cert.pem')


def test_a_certificate_of_the_client(serving, here, between, certificate):  # noqa: F811
    server, context = serving(), tls(certificate)
    context.load_verify_locations(certificate / 'cert.pem')
    context.verify_mode = ssl.CERT_REQUIRED
    url = url_of(between(server.address, context=context).address, 'https')
    trust = ['--cacert', certificate / 'cert.pem']
    refused(here, 'it wants a certificate (--cert)', url, *trust, '--retry', '1')
    works(server, here, url, *trust, '--cert', certificate / 'cert.pem', '--key', certificate / 'key.pem')


# ---- other ways ----

def test_a_unix_socket(serving, here, tmp_path):
    server = serving(listen=(f'unix:{tmp_path}/socket',))
    works(server, here, 'http://anything.example/', '--unix-socket', tmp_path / 'socket',
          environment={'http_proxy': 'http://127.0.0.1:1/'})
    refused(here, f'by {tmp_path}/none: cannot be reached (', 'http://anything.example/', '--unix-socket', tmp_path / 'none', '--retry', '1')


class Forward(Listener):
    """An HTTP proxy: whole URLs are asked for, or a way is opened by CONNECT."""

    def __init__(self):
        self.asked = set()
        super().__init__()

    def serve(self, connection):
        head = b''
        while b'\r\n\r\n' not in head:
            head += connection.recv(65536)
        method, target, _ = head.split(b' ', 2)
        self.asked.add(method.decode())
        url = urllib.parse.urlsplit(target.decode() if method != b'CONNECT' else f'//{target.decode()}')
        with socket.create_connection((url.hostname, url.port)) as server:
            if method == b'CONNECT':
                connection.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
                threading.Thread(target=self.pass_on, args=(connection, server), daemon=True).start()
            else:  # berth takes whole URLs as they are
                server.sendall(head)
                threading.Thread(target=self.pass_on, args=(connection, server), daemon=True).start()
            self.pass_on(server, connection)

    @staticmethod
    def pass_on(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


@pytest.fixture
def forward():
    proxy = Forward()
    yield proxy
    proxy.close()


def test_an_http_proxy(serving, here, forward):
    server, proxy = serving(), url_of(forward.address)
    works(server, here, url_of(server.address), environment={'http_proxy': proxy})
    assert 'OPTIONS' in forward.asked and 'CONNECT' not in forward.asked
    forward.asked.clear()
    works(server, here, url_of(server.address), environment={'http_proxy': proxy, 'no_proxy': '127.0.0.1'})
    assert not forward.asked
    refused(here, 'cannot be reached (Failed to connect to 127.0.0.1 port 1', url_of(server.address), '--retry', '1',
            environment={'http_proxy': 'http://127.0.0.1:1/'})


def test_a_proxy_for_https(serving, here, forward, between, certificate):  # noqa: F811
    server = serving()
    url = url_of(between(server.address, context=tls(certificate)).address, 'https')
    works(server, here, url, '--insecure', environment={'https_proxy': url_of(forward.address)})
    assert forward.asked == {'CONNECT'}


# ---- no way ----

class Answers(Listener):
    """Says the same to everybody."""

    def __init__(self, answer):
        self.answer = answer
        super().__init__()

    def serve(self, connection):
        connection.recv(65536)
        connection.sendall(self.answer)


@pytest.mark.parametrize('answer, words', [
    (b'HTTP/1.1 301 Moved\r\nLocation: https://files.example/dav/\r\nContent-Length: 0\r\n\r\n',
     'the server says that it is at https://files.example/dav/'),
    (b'HTTP/1.1 307 Moved\r\nLocation: /dav/\r\nContent-Length: 0\r\n\r\n', 'the server says that it is at http://127.0.0.1:'),
    (b'HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n', 'the proxy wants a password'),
    (b'HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n', 'the server forbids it (403)'),
    (b'HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n', 'a trouble of its own (500)'),
    (b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', ': no WebDAV server there\n'),
    (b'SSH-2.0-OpenSSH_9.2\r\n', 'no answer of a web server (Received HTTP/0.9'),
])
def test_an_answer_of_something_else(here, answer, words):
    listener = Answers(answer)
    refused(here, words, url_of(listener.address), '--retry', '1')
    listener.close()


def test_tls_where_there_is_none(serving, here):
    refused(here, 'no answer of a web server over TLS, or it wants a certificate (--cert) (', url_of(serving().address, 'https'), '--retry', '1')


def test_a_name_that_nobody_has(here):
    refused(here, 'cannot be reached (Could not resolve host: nobody.invalid)', 'http://nobody.invalid/', '--retry', '1')
