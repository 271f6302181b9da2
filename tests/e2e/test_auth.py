"""--auth, --auth-tokens, --access: who is asked, who gets what, and what nobody gets to see."""
import base64
import json
import signal
import subprocess
import time

import pytest
from conftest import WINDOWS, eventually, run
from test_admin import AdminServer
from wire import Connection, request

# The password is "secret", as cheap as each kind allows; SLOW is bcrypt at the cost that htpasswd -BC 12 gives it.
BCRYPT = '$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW'
SHA256 = '$5$rounds=1000$saltsalt$eKLZU9t9OoPWrqOQsoTIKG0aYkZ5rGOoOQhiIvoSWX2'
YESCRYPT = '$y$j75$saltsaltsalt$jyf/lxrpdyAIshWRo1x5DRC6KIE7sNRRtjcomR3PgHA'
SLOW = '$2b$12$abcdefghijklmnopqrstuuT1Iwu6o8Wx7BoOyIMHfgVJq6JO/IJhW'
if WINDOWS:  # checks nothing else
    BCRYPT = YESCRYPT = SHA256
    SLOW = '$5$rounds=60000$saltsalt$.gTeOathDltXabTw2TplQqLk2Y5a36eja7SuYbU5rLD'
TOKEN = 'robots-token-0123456789'
PASSWORDS = f'# users\nalice:{BCRYPT}\nbob:{SHA256}\nJürgen:{YESCRYPT}\n'
TOKENS = f'robot:{TOKEN}\n'
CHECKS = 'berth_password_checks_total'
REFUSALS = 'berth_refusals_total{reason="auth"}'


def basic(name, password='secret'):
    return 'Authorization: Basic ' + base64.b64encode(f'{name}:{password}'.encode()).decode()


def bearer(token=TOKEN):
    return f'Authorization: Bearer {token}'


def challenges(response):
    return [value for name, value in response.fields if name == 'WWW-Authenticate']


@pytest.fixture
def files(tmp_path):
    """Writes the files of secrets and rules; gives the option for each."""
    options = {'passwords': '--auth', 'tokens': '--auth-tokens', 'rules': '--access'}

    def write(**contents):
        for name, content in contents.items():
            path = tmp_path / name
            path.touch(mode=0o600)
            path.write_text(content, encoding='utf-8')
        return [f'{options[name]}={tmp_path / name}' for name in contents]
    return write


@pytest.fixture
def guarded(engine, tmp_path, files):
    """Starts a server with these files: guarded('--threads=1', passwords=...)."""
    servers = []
    folder = tmp_path / 'served'
    for name in ['file', 'public/file', 'private/file', 'private/shared/file', 'Private/file']:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(f'content of {name}\n')

    def start(*options, listen=('127.0.0.1:0',), **contents):
        servers.append(AdminServer(folder, *files(**contents), *options, engine=engine, listen=listen))
        return servers[-1]
    yield start
    for server in servers:
        server.close()


# ---- the challenge ----

def test_who_says_nothing_is_challenged(guarded):
    server = guarded(passwords=PASSWORDS, tokens=TOKENS)
    response = server.fetch('/file')
    assert response.status == 401 and b'content of' not in response.body
    assert challenges(response) == ['Basic realm="berth", charset="UTF-8"', 'Bearer realm="berth"']
    head = server.fetch('/file', method='HEAD')
    assert head.status == 401 and challenges(head)
    assert server.fetch('/missing').status == 401
    assert server.fetch('/').status == 401
    assert server.fetch('/', method='OPTIONS').status == 401
    assert server.fetch('*', method='OPTIONS').status == 401
    assert server.fetch('/file', method='DELETE').status == 401


def test_only_what_there_is_is_asked_for(guarded):
    assert challenges(guarded(passwords=PASSWORDS).fetch('/')) == ['Basic realm="berth", charset="UTF-8"']
    response = guarded('--auth-realm=say "please" \\', tokens=TOKENS).fetch('/')
    assert challenges(response) == ['Bearer realm="say \\"please\\" \\\\"']


def test_with_rules_alone_nothing_is_asked_for(guarded):
    server = guarded(rules='/:*:read\n/private:*:none\n')
    assert server.fetch('/file').status == 200
    assert server.fetch('/file', basic('alice')).status == 200
    response = server.fetch('/private/file')
    assert response.status == 403 and not challenges(response)


# ---- credentials ----

@pytest.mark.parametrize('name', ['alice', 'bob', 'Jürgen'])
def test_the_right_password_opens(guarded, name):
    server = guarded(passwords=PASSWORDS)
    assert server.fetch('/file', basic(name)).body == b'content of file\n'
    wrong = server.fetch('/file', basic(name, 'Secret'))
    assert wrong.status == 401 and challenges(wrong)
    assert server.fetch('/missing', basic(name)).status == 404
    assert server.fetch('/file', basic(name), method='DELETE').status == 405


@pytest.mark.parametrize('field', [
    basic('nobody'), basic('alice', ''), basic('', 'secret'), 'Authorization: Basic', 'Authorization: Basic !!',
    'Authorization: Digest x', 'Authorization:', bearer(), 'Authorization: Bearer alice'])
def test_wrong_credentials_are_challenged(guarded, field):
    response = guarded(passwords=PASSWORDS).fetch('/file', field)
    assert response.status == 401 and challenges(response)


def test_two_fields_are_none(guarded):
    server = guarded(passwords=PASSWORDS)
    assert server.fetch('/file', basic('alice'), basic('alice')).status == 401


def test_bearer_tokens(guarded):
    server = guarded(tokens=TOKENS)
    assert server.fetch('/file', bearer()).status == 200
    assert server.fetch('/file', bearer().replace('Bearer', 'bEARER')).status == 200
    assert server.fetch('/file', bearer(TOKEN[:-1])).status == 401
    assert server.fetch('/file', basic('robot', TOKEN)).status == 401


def test_curl_is_understood(guarded):
    server = guarded(passwords=PASSWORDS)
    url = f'http://127.0.0.1:{server.address[1]}/file'
    result = subprocess.run(['curl', '-s', '--anyauth', '-u', 'alice:secret', url], capture_output=True, timeout=30)
    assert result.stdout == b'content of file\n'


# ---- rules ----

RULES = ('/:*:read\n'
         '/private:*:none\n'
         '/private:alice:write\n'
         '/private:robot:read\n'
         '/private/shared:bob,alice:read\n')


def test_rules_by_path_and_user(guarded):
    server = guarded(passwords=PASSWORDS, tokens=TOKENS, rules=RULES)
    everybody = {None: None, 'alice': basic('alice'), 'bob': basic('bob'), 'robot': bearer()}
    wanted = {
        '/file': [200, 200, 200, 200],
        '/public/file': [200, 200, 200, 200],
        '/private': [401, 301, 403, 301],
        '/private/': [401, 200, 403, 200],
        '/private/file': [401, 200, 403, 200],
        '/private/shared/file': [401, 200, 200, 200],
        '/Private/file': [401, 200, 403, 200] if WINDOWS else [200, 200, 200, 200],
        '/private/missing': [401, 404, 403, 404],
    }
    for path, statuses in wanted.items():
        fields = [[field] if field else [] for field in everybody.values()]
        assert [server.fetch(path, *one).status for one in fields] == statuses, path
    # Other methods change things; 405 is what this server says to them once they are allowed.
    changing = [server.fetch(path, *([field] if field else []), method='DELETE').status
                for path in ['/file', '/private/file'] for field in everybody.values()]
    assert changing == [401, 403, 403, 403, 401, 405, 403, 403]


@pytest.mark.parametrize('path', [
    '/private/file', '//private/file', '/private//file', '/./private/file', '/private/./file', '/%70rivate/file',
    '/priv%61te/%66ile', '/%2e/private/file', '/private/file?x', '/private/%2e/file', 'http://x/private/file',
    '///./%2e//private/file', '/private/', '/private', '/private/.', '/private//', '/private/%2E', '/private?json'])
def test_no_spelling_gets_around_a_rule(guarded, path):
    server = guarded(passwords=PASSWORDS, rules=RULES)
    response = server.fetch(path)
    assert response.status == 401 and b'content of' not in response.body
    assert server.fetch(path, basic('bob')).status == 403
    assert server.fetch(path, basic('alice')).status in (200, 301)


@pytest.mark.parametrize('path', [
    '/public/../private/file', '/public/%2e%2e/private/file', '/public/.%2E/private/file',
    '/public%2f..%2fprivate/file', '/private%2ffile', '/private%00/file', '/PRIVATE/file'])
def test_what_names_nothing_shows_nothing(guarded, path):
    server = guarded(passwords=PASSWORDS, rules=RULES)
    for fields in [[], [basic('bob')], [basic('alice')]]:
        response = server.fetch(path, *fields)
        assert response.status in (400, 404) and b'content of' not in response.body


def test_an_index_and_a_coded_variant_are_asked_about_themselves(guarded):
    server = guarded('--precompressed', passwords=PASSWORDS,
                     rules='/:*:read\n/public/index.html:*:none\n/file.gz:*:none\n')
    (server.folder / 'public' / 'index.html').write_text('content of the index')
    (server.folder / 'file.gz').write_text('content of the variant')
    folder = server.fetch('/public/')
    assert folder.status == 200 and b'content of the index' not in folder.body
    assert server.fetch('/file', 'Accept-Encoding: gzip').body == b'content of file\n'


# ---- the connection ----

def test_the_connection_is_kept_after_a_challenge(guarded):
    server = guarded(passwords=PASSWORDS, rules='/private:alice:read\n')
    with server.connect() as connection:
        assert connection.ask('/private/file').status == 401
        assert connection.ask('/private/file', basic('bob')).status == 403
        assert connection.ask('/private/file', basic('alice')).status == 200
        assert connection.ask('/private/file').status == 401  # nothing is remembered of the connection
        connection.send(request('/private/file') + request('/private/file', basic('alice')))
        assert [connection.read_response().status for _ in range(2)] == [401, 200]


def test_a_body_is_skipped_and_the_connection_kept(guarded):
    server = guarded(passwords=PASSWORDS)
    body = b'GET /forged HTTP/1.1\r\nHost: x\r\n\r\n' * 1000
    chunked = b'%x\r\n%s\r\n0\r\n\r\n' % (len(body), body)
    with server.connect() as connection:
        for method in ['PUT', 'GET']:
            response = connection.ask('/file', f'Content-Length: {len(body)}', method=method, body=body)
            assert response.status == 401 and challenges(response)
            response = connection.ask('/file', 'Transfer-Encoding: chunked', method=method, body=chunked)
            assert response.status == 401 and challenges(response)
        assert connection.ask('/file', basic('alice')).status == 200


def test_a_body_that_waits_for_100_is_refused_before_it_comes(guarded):
    server = guarded(passwords=PASSWORDS)
    for field, status in [('X: y', 401), (basic('alice', 'wrong'), 401)]:
        with server.connect() as connection:
            fields = ['Expect: 100-continue', 'Content-Length: 1000000', field]
            response = connection.ask('/file', *fields, method='PUT')
            assert response.status == status and response.get('Connection') == 'close'
            connection.expect_end()
    with server.connect() as connection:
        connection.send(request('/file', 'Expect: 100-continue', 'Content-Length: 4', basic('alice')))
        assert connection.read_response().status == 100
        connection.send(b'body')
        assert connection.read_response().status == 200


def test_a_very_long_body_ends_the_connection(guarded):
    server = guarded(passwords=PASSWORDS)
    with server.connect() as connection:
        response = connection.ask('/file', f'Content-Length: {1 << 40}', method='PUT')
        assert response.status == 401 and response.get('Connection') == 'close'


# ---- what it costs ----

def test_a_password_is_hashed_once(guarded):
    server = guarded('--threads=1', passwords=f'alice:{SLOW}\n')
    start = time.monotonic()
    with server.connect() as connection:
        for _ in range(500):
            assert connection.ask('/file', basic('alice')).status == 200
    assert server.fetch('/file', basic('alice')).status == 200
    assert time.monotonic() - start < 60  # 500 hashes would take some minutes
    assert server.metric(CHECKS) == 1
    for _ in range(2):
        assert server.fetch('/file', basic('alice', 'wrong')).status == 401
    assert server.metric(CHECKS) == 2
    assert server.metric(REFUSALS) == 2


def test_several_who_come_at_once_share_a_hash(guarded):
    """No more are made than at a time: who waited asks again before."""
    server = guarded('--threads=1', passwords=f'alice:{SLOW}\n')
    connections = [server.connect() for _ in range(12)]
    for connection in connections:
        connection.send(request('/file', basic('alice')))
    for connection in connections:
        assert connection.read_response().status == 200
        connection.socket.close()
    assert 1 <= server.metric(CHECKS) <= 2


def test_others_are_served_while_a_password_is_hashed(guarded):
    server = guarded('--threads=1', passwords=f'alice:{SLOW}\n', rules='/:*:read\n/private:alice:read\n')
    with server.connect() as slow:
        slow.send(request('/private/file', basic('alice')))
        assert server.fetch('/file').status == 200
        assert slow.read_response().status == 200


def test_who_leaves_while_a_password_is_hashed_is_forgotten(guarded):
    server = guarded('--threads=1', passwords=f'alice:{SLOW}\n')
    for _ in range(5):
        with server.connect() as connection:
            connection.send(request('/file', basic('alice', str(_))))
    eventually(lambda: server.metric('berth_pool_used{pool="connections"}') == 0, 20)
    assert server.metric('berth_pool_used{pool="requests"}') == 0
    assert server.fetch('/file', basic('alice')).status == 200  # their places are free again


def test_who_guesses_is_slowed(guarded):
    server = guarded('--threads=1', passwords=PASSWORDS, rules='/:alice:read\n/public:*:read\n')
    times = []
    with server.connect() as connection:
        for attempt in range(5):
            start = time.monotonic()
            assert connection.ask('/file', basic('alice', f'guess {attempt}')).status == 401
            times.append(time.monotonic() - start)
        assert times[3] >= 0.25 and times[4] >= 0.25 + 0.5  # before the check, and behind it
        assert connection.ask('/public/file').status == 200
        assert connection.ask('/file').status == 401  # who says nothing guesses nothing
        assert server.metric(REFUSALS) == 5


def test_a_known_password_is_not_slowed_by_who_guesses(guarded):
    """Another one behind the same address has come before, and goes on while a guess waits."""
    server = guarded('--threads=1', passwords=PASSWORDS)
    assert server.fetch('/file', basic('alice')).status == 200
    for attempt in range(6):
        if attempt == 5:
            guess = server.connect()
            guess.send(request('/file', basic('alice', 'another guess')))
        else:
            server.fetch('/file', basic('alice', 'guess'))
    assert server.fetch('/file', basic('alice')).status == 200
    guess.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        guess.socket.recv(1)
    guess.socket.close()


def test_who_leaves_while_slowed_is_forgotten(guarded):
    server = guarded('--threads=1', passwords=PASSWORDS)
    for attempt in range(6):
        with server.connect() as connection:
            connection.send(request('/file', basic('alice', 'guess')))
            if attempt < 5:
                connection.read_response()
            else:
                connection.socket.setsockopt(1, 13, b'\1\0\0\0\0\0\0\0')  # SO_LINGER 0: a reset
    eventually(lambda: server.metric('berth_pool_used{pool="connections"}') == 0, 20)
    server.stop()


def test_the_end_does_not_wait_for_who_is_slowed(guarded):
    """Beyond the grace. All at once, so that the longest wait is reached soon."""
    server = guarded('--threads=1', '--grace=0', passwords=PASSWORDS)
    server.fetch('/file', basic('alice', 'guess'))
    guesses = [server.connect() for _ in range(12)]
    for guess in guesses:
        guess.send(request('/file', basic('alice', 'guess')))
    eventually(lambda: server.metric(REFUSALS) == 13)
    start = time.monotonic()
    server.stop()
    assert time.monotonic() - start < 4  # the longest wait is 5 s
    for guess in guesses:
        guess.socket.close()


def test_few_may_wait_at_a_time(guarded):
    """Of four requests one; the others are told to come again, and the right password still works."""
    server = guarded('--threads=1', '--requests=4', passwords=PASSWORDS)
    assert server.fetch('/file', basic('alice')).status == 200
    for _ in range(6):
        server.fetch('/file', basic('alice', 'guess'))
    guesses = [server.connect() for _ in range(3)]
    for guess in guesses:
        guess.send(request('/file', basic('alice', 'guess')))
    assert server.fetch('/file', basic('alice')).status == 200
    answers = [guess.read_response() for guess in guesses]
    assert sorted(answer.status for answer in answers) == [401, 429, 429]
    assert {answer.get('Retry-After') for answer in answers if answer.status == 429} == {'5'}
    for guess in guesses:
        guess.socket.close()


# ---- SIGHUP ----

def test_the_files_are_read_anew(guarded, files):
    server = guarded('--threads=2', passwords=PASSWORDS, tokens=TOKENS, rules='/:alice,robot:read\n')
    with server.connect() as connection:
        assert connection.ask('/file', basic('alice')).status == 200
        assert connection.ask('/file', bearer()).status == 200
        files(passwords=f'alice:{SHA256}\ncarol:{BCRYPT}\n', tokens='robot:another-token-987654321\n',
              rules='/:carol:read\n')
        server.process.send_signal(signal.SIGHUP)
        eventually(lambda: server.fetch('/file', basic('carol')).status == 200)
        eventually(lambda: connection.ask('/file', basic('alice')).status == 403)
        assert connection.ask('/file', bearer()).status == 401


def test_verdicts_do_not_outlive_the_files(guarded, files):
    server = guarded('--threads=1', passwords=PASSWORDS)
    assert server.fetch('/file', basic('alice')).status == 200
    files(passwords=f'bob:{BCRYPT}\n')
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: server.fetch('/file', basic('alice')).status == 401, 20)


def test_a_verdict_by_files_of_before_is_not_kept(guarded, files):
    """The files change while the password is being hashed."""
    server = guarded('--threads=1', passwords=f'alice:{SLOW}\n', rules='/:*:none\n/file:alice:read\n')
    with server.connect() as connection:
        connection.send(request('/file', basic('alice')))
        eventually(lambda: server.metric(CHECKS) == 1)
        files(passwords=f'bob:{BCRYPT}\n')
        server.process.send_signal(signal.SIGHUP)
        assert connection.read_response().status in (401, 200)  # which came first is not said
    eventually(lambda: server.fetch('/file', basic('alice')).status == 401, 20)
    assert server.fetch('/file', basic('bob')).status == 403


@pytest.mark.parametrize('name', ['passwords', 'tokens', 'rules'])
def test_a_bad_file_changes_nothing(guarded, files, name):
    server = guarded(passwords=PASSWORDS, tokens=TOKENS, rules=RULES)
    files(**{'passwords': f'carol:{BCRYPT}\n', name: '# fine\nnonsense\n'})
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: 'stay as they were' in server.stderr())
    assert f'/{name}:2: ' in server.stderr()
    assert server.fetch('/private/file', basic('alice')).status == 200
    assert server.fetch('/private/file', basic('carol')).status == 401


def test_many_reloads_while_passwords_are_checked(guarded):
    """Each request is answered by some state of the files, whole."""
    server = guarded('--threads=2', passwords=PASSWORDS)
    connections = [server.connect() for _ in range(4)]
    for turn in range(30):
        for connection in connections:
            connection.send(request('/file', basic('bob')))
        server.process.send_signal(signal.SIGHUP)
        for connection in connections:
            assert connection.read_response().status == 200
    for connection in connections:
        connection.socket.close()


# ---- at start ----

def refusal(*options):
    """Exit code and line of a server that does not start."""
    result = run('serve', *options, '.')
    line, = result.stderr.splitlines()
    assert line.startswith('berth: ') and len(line) < 300
    return result.returncode, line


@pytest.mark.parametrize('address', ['0.0.0.0', '[::]', '*'])
def test_passwords_in_the_clear_are_refused_on_public_addresses(files, address):
    for option in files(passwords=PASSWORDS, tokens=TOKENS):
        code, line = refusal('--listen=127.0.0.1:0', f'--listen={address}:0', option)
        assert code == 2 and '--allow-plain-auth' in line and 'http://' in line and '127.0.0.1:' not in line


def test_passwords_in_the_clear_are_allowed_when_asked_for_by_name(guarded):
    server = guarded('--allow-plain-auth', listen=['0.0.0.0:0'], passwords=PASSWORDS)
    assert Connection(('127.0.0.1', server.address[1])).ask('/file').status == 401


def test_rules_alone_are_fine_on_public_addresses(guarded):
    server = guarded(listen=['0.0.0.0:0'], rules='/:*:read\n')
    assert Connection(('127.0.0.1', server.address[1])).ask('/file').status == 200


def test_loopback_and_unix_sockets_are_fine(guarded, tmp_path):
    unix = [] if WINDOWS else [f'unix:{tmp_path}/socket']
    server = guarded(listen=[*unix, '127.0.0.2:0', '[::1]:0'], passwords=PASSWORDS)
    for _ in range(5):
        assert server.fetch('/file', basic('alice', 'wrong')).status == 401
    assert server.fetch('/file', basic('alice')).status == 200


def test_files_that_are_wrong_are_refused(files, tmp_path):
    passwords, = files(passwords='# users\nalice:$apr1$salt$ez2vlPGdaLYkJam5pWs/Y1\n')
    code, line = refusal('--listen=127.0.0.1:0', passwords)
    assert code == 2 and '/passwords:2: ' in line and 'MD5' in line
    code, line = refusal('--listen=127.0.0.1:0', f'--auth={tmp_path}/none')
    assert code == 1 and '/none: No such file' in line
    assert refusal('--listen=127.0.0.1:0', '--auth-realm=a\nb')[0] == 2


# ---- the log ----

def test_the_log_knows_users_and_no_secrets(guarded, tmp_path):
    log = tmp_path / 'log'
    server = guarded(f'--access-log={log}', '--threads=1', tokens=TOKENS,
                     passwords=f'{PASSWORDS}two words "q":{BCRYPT}\n')
    for fields in [[basic('alice')], [bearer()], [basic('two words "q"')], [basic('bob', 'hunter2')], []]:
        server.fetch('/file', *fields)
    server.stop()
    text = log.read_text()
    users = [line.split(' ')[2] for line in text.splitlines()]
    assert users == ['alice', 'robot', r'two\x20words\x20\x22q\x22', '-', '-']
    for secret in ['secret', 'hunter2', TOKEN, 'Basic', 'Bearer', base64.b64encode(b'bob:hunter2').decode()]:
        assert secret not in text and secret not in server.stderr()


def test_the_json_log_has_the_user(guarded, tmp_path):
    log = tmp_path / 'log'
    server = guarded(f'--access-log={log}', '--log-format=json', '--threads=1', passwords=PASSWORDS,
                     rules='/:alice:read\n')
    for fields in [[basic('Jürgen')], [basic('alice')], []]:
        server.fetch('/file', *fields)
    server.stop()
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(row['user'], row['status']) for row in rows] == [('Jürgen', 403), ('alice', 200), ('', 401)]


def test_a_slow_download_is_logged_with_its_user(guarded, tmp_path):
    log = tmp_path / 'log'
    server = guarded(f'--access-log={log}', passwords=PASSWORDS)
    (server.folder / 'large').write_bytes(b'x' * (16 << 20))
    with server.connect(receive_buffer=4096) as connection:
        connection.send(request('/large', basic('alice'), 'Referer: r', 'User-Agent: u'))
        connection.read_head()
        eventually(lambda: server.metric('berth_pool_used{pool="downloads"}') == 1, 10)
        assert connection.read(16 << 20) == b'x' * (16 << 20)
    server.stop()
    line, = log.read_text().splitlines()
    assert line.split(' ')[2] == 'alice' and '"GET /large HTTP/1.1" 200 16777216 "r" "u"' in line


# ---- without it ----

def test_without_these_options_credentials_mean_nothing(site):
    site.file('file')
    assert site.fetch('file', basic('alice')).status == 200
    assert site.fetch('file', 'Authorization: nonsense', 'Authorization: twice').status == 200
