"""What is berth.exe's own: what Windows has not says so in a line, and how it ends."""
import concurrent.futures
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest
import wire
from conftest import eventually, run
from dav import POSIX, encode, set_property
from test_admin import admin  # noqa: a fixture
from test_dav_put import NAMES
from windows import may_be_a_name
from wire import request


def said(result, code):
    """Its one line; Wine may say something, too."""
    assert result.returncode == code, result
    lines = [line for line in result.stderr.splitlines() if line.startswith('berth: ')]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize('command', ['mount', 'unmount'])
def test_what_is_not_there_says_so(command):
    assert said(run(command, 'http://127.0.0.1:1/', 'X:'), 2) == f'berth: {command}: not on Windows'


@pytest.mark.parametrize('command', ['serve', 'load', 'doctor'])
def test_help_speaks_of_this_system(command):
    text = run('help', command).stdout
    assert text.startswith(f'Usage: berth {command}')
    for word in ('unix:', 'systemd', 'SIGHUP', 'SIGTERM', 'htpasswd', 'uring', 'sysctl', 'sudo', '~/', 'links', '@'):
        assert word not in text, word
    assert command != 'serve' or '--accept-depth' in text and 'openssl passwd -6' in text


def test_paths_of_the_programs_own_files_may_be_long(serve, tmp_path):
    deep = tmp_path / ('a' * 100) / ('b' * 100) / ('c' * 100)
    deep.mkdir(parents=True)
    assert len(str(deep)) > 300
    (deep / 'site').mkdir()
    (deep / 'site' / 'file').write_bytes(b'content')
    (deep / 'tokens').write_text('alice:0123456789abcdef\n')
    server = serve(f'--access-log={deep}/log', f'--auth-tokens={deep}/tokens', folder=deep / 'site')
    response = server.fetch('/file', 'Authorization: Bearer 0123456789abcdef')
    assert response.body == b'content' and server.fetch('/file').status == 401
    url = 'http://{}:{}/file'.format(*server.address)
    result = run('load', '-q', '-c', 1, '--hold', 0, '-H', 'Authorization: Bearer 0123456789abcdef', f'--json={deep}/figures', url)
    assert result.returncode == 0 and json.loads((deep / 'figures').read_text())['connections']
    server.stop()
    assert 'GET /file HTTP/1.1' in (deep / 'log').read_text()


def test_unix_sockets_are_refused(tmp_path):
    line = said(run('serve', f'--listen=unix:{tmp_path}/socket', tmp_path), 1)
    assert f'unix:{tmp_path}/socket' in line and 'Address family not supported' in line


def test_an_address_in_use_is_told(serve, tmp_path):
    server = serve()
    line = said(run('serve', f'--listen=127.0.0.1:{server.address[1]}', tmp_path), 1)
    assert str(server.address[1]) in line and 'Address already in use' in line


HALF = b'GET /file HTTP/1.1\r\nHost: '


def half_asked(stack, server, count):
    """Connections that have begun a request, and so have one of the server's as long as they are open."""
    connections = [stack.enter_context(server.connect()) for _ in range(count)]
    for connection in connections:
        connection.send(HALF)
    return connections


def resting(stack, server, count):
    """Connections that have been answered, and stay."""
    connections = [stack.enter_context(server.connect()) for _ in range(count)]
    for connection in connections:
        assert connection.ask('/file').body == b'content'
    return connections


def busy(server, admin):
    body = wire.fetch(admin, '/metrics').body.decode()
    return int(re.search(r'^berth_connections\{state="busy"\} (\d+)$', body, re.M)[1])


@pytest.fixture
def threaded(serve):
    """A server with so many threads; it has a file, and `admin` tells its metrics."""
    def start(threads, *options, **more):
        server = serve(f'--threads={threads}', '--admin=127.0.0.1:0', *options, **more)
        (server.folder / 'file').write_bytes(b'content')
        line = re.compile(r'metrics at http://127\.0\.0\.1:(\d+)/metrics\n')
        eventually(lambda: line.search(server.stderr()))
        server.admin = '127.0.0.1', int(line.search(server.stderr())[1])
        return server
    return start


def test_threads_are_as_many_as_asked_for_or_as_there_are_cores(serve):
    assert '3 threads)' in serve('--threads=3').start_line
    cores = len(os.sched_getaffinity(0))
    assert f'{cores} thread{"s" if cores > 1 else ""})' in serve().start_line


def test_connections_are_reckoned_at_what_they_take_of_the_pool(serve):
    server = serve('--connections=10000', '--threads=2')
    eventually(lambda: f'and {10000 * 9000 >> 20} MiB in the kernel' in server.stderr())


@pytest.mark.parametrize('threads', [2, 4])
def test_every_thread_serves(threaded, threads):
    server = threaded(threads, f'--requests={threads}')  # one each: all are in use only where all serve
    with contextlib.ExitStack() as stack:
        waiting = half_asked(stack, server, threads)
        eventually(lambda: busy(server, server.admin) == threads)
        for connection in waiting:
            connection.send(b'x\r\n\r\n')
            assert connection.read_response().body == b'content'


@pytest.mark.parametrize('threads, iocp', [(2, ''), (4, ''), (1, 'again'), (3, 'again')])  # again: sockets are used again
def test_of_thousands_of_short_connections_none_is_lost(threaded, monkeypatch, threads, iocp):
    monkeypatch.setenv('BERTH_IOCP', iocp)
    server = threaded(threads)
    count, clients = 2000, 8

    def ask_often(_):
        for _ in range(count // clients):
            assert server.fetch('/file').body == b'content'
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask_often, range(clients)))
    body = wire.fetch(server.admin, '/metrics').body.decode()
    assert f'\nberth_accepted_total {count}\n' in body
    eventually(lambda: '\nberth_port_handles 0\n' in wire.fetch(server.admin, '/metrics').body.decode())


def test_the_bound_of_connections_is_that_of_all_threads(threaded):
    server = threaded(4, '--connections=8')
    with contextlib.ExitStack() as stack:
        connections = half_asked(stack, server, 8)
        eventually(lambda: busy(server, server.admin) == 8)
        late = stack.enter_context(server.connect())
        late.send(request('/file'))
        late.socket.settimeout(2)
        with pytest.raises(socket.timeout):
            late.read_head()
        late.socket.settimeout(30)
        for connection in connections[3:5]:  # wherever they are
            connection.socket.close()
        assert late.read_response().body == b'content'


def test_who_is_idle_at_any_thread_makes_room(threaded):
    server = threaded(4, '--connections=8')
    with contextlib.ExitStack() as stack:
        resting(stack, server, 8)
        for _ in range(12):
            with server.connect() as late:
                assert late.ask('/file').body == b'content'


def test_the_bound_for_an_address_is_that_of_all_threads(threaded):
    server = threaded(3, '--per-address=6')
    with contextlib.ExitStack() as stack:
        connections = resting(stack, server, 6)
        with server.connect() as seventh:
            assert seventh.read_response().status == 503
        connections[0].socket.close()

        def served():
            with server.connect() as again:
                again.send(request('/file'))
                return again.read_response().status == 200
        eventually(served)


@pytest.mark.parametrize('options, iocp', [
    (['--accept-depth=2'], ''), (['--send-depth=8'], ''), (['--accept-data', '--head-timeout=2'], ''),
    (['--accept-depth=4', '--send-depth=64', '--accept-data'], 'refuse'), ([], 'refuse'), ([], 'refuse,transmit')])
def test_everything_is_served_however_the_completion_port_is_used(threaded, monkeypatch, options, iocp):
    monkeypatch.setenv('BERTH_IOCP', iocp)  # refuse: every eighth call is refused at first, and half of the accepts
    server = threaded(3, *options)
    large = os.urandom(3 << 20)
    (server.folder / 'large').write_bytes(large)
    (server.folder / 'many').mkdir()
    for n in range(400):
        (server.folder / 'many' / f'file number {n}').touch()

    def ask(n):
        with server.connect() as connection:
            for _ in range(3):
                assert connection.ask('/file').body == b'content'
            assert connection.ask('/large').body == large
            assert connection.ask('/large', 'Range: bytes=1000000-1999999').body == large[1000000:2000000]
            assert len(json.loads(connection.ask('/many/?json').body)['entries']) == 400
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(10)))
    if '--head-timeout=2' in options:
        with server.connect() as silent:
            silent.expect_end()


def test_draining_while_connections_are_handed_over(threaded):
    server = threaded(4, '--grace=20')
    served, ended = [], []

    def ask_until_nobody_listens(_):
        while True:
            try:
                with server.connect() as connection:
                    connection.send(request('/file'))
                    served.append(connection.read_response().body)
            except ConnectionRefusedError:
                return
            except (ConnectionError, AssertionError) as error:
                ended.append(str(error))
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        clients = [pool.submit(ask_until_nobody_listens, n) for n in range(6)]
        eventually(lambda: len(served) > 50)
        server.stop()
        for client in clients:
            client.result(60)
    assert set(served) == {b'content'}
    assert not [error for error in ended if re.search("early|within a line: b'[^']", error)]  # whole, or not at all


def test_a_request_in_progress_at_any_thread_is_finished(threaded):
    server = threaded(4, '--grace=20')
    (server.folder / 'large').write_bytes(b'x' * (8 << 20))
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(server.connect(receive_buffer=4096)) for _ in range(8)]
        for reader in readers:
            reader.send(request('/large'))
        heads = [reader.read_head() for reader in readers]
        server.process.send_signal(signal.SIGINT)
        eventually(lambda: 'finishing' in server.stderr())
        for reader, head in zip(readers, heads):
            assert len(reader.read(int(head.get('Content-Length')))) == 8 << 20
        server.stop()


def test_metrics_tell_what_windows_knows(admin):  # noqa: F811
    server = admin()
    metrics = server.metrics()
    assert -5 < time.time() - metrics['process_start_time_seconds'] < 60
    assert abs(metrics['process_resident_memory_bytes'] - server.rss()) < 8 << 20
    assert metrics['process_virtual_memory_bytes'] > 0 and metrics['berth_kernel_memory_available_bytes'] > 0
    assert 'process_open_handles' in metrics and 'process_open_fds' not in metrics
    eventually(lambda: server.fetch('/file').status == 200 and server.metric('process_cpu_seconds_total') > 0)


def test_every_address_answers(serve):
    server = serve('--threads=2', listen=('127.0.0.1:0', '[::1]:0', '127.0.0.1:0'))
    (server.folder / 'file').write_bytes(b'content')
    for address in server.addresses:
        server.address = address
        assert server.fetch('/file').body == b'content'


@pytest.mark.parametrize('hash', ['$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW',
                                  '$y$j75$saltsaltsalt$jyf/lxrpdyAIshWRo1x5DRC6KIE7sNRRtjcomR3PgHA'])
def test_hashes_that_cannot_be_checked_are_refused_at_start(tmp_path, hash):
    (tmp_path / 'passwords').write_text(f'# users\nalice:{hash}\n')
    line = said(run('serve', '--listen=127.0.0.1:0', f'--auth={tmp_path}/passwords', tmp_path), 2)
    assert 'passwords:2:' in line and 'alice' in line and 'openssl passwd -6' in line


def test_a_rule_holds_for_every_spelling_of_its_path(serve, tmp_path):
    (tmp_path / 'rules').write_text('/:*:read\n/Geheim/Ärger:*:none\n', encoding='utf-8')
    server = serve(f'--access={tmp_path}/rules')
    folder = server.folder / 'Geheim' / 'Ärger'
    folder.mkdir(parents=True)
    (folder / 'file').write_bytes(b'secret')
    (server.folder / 'Geheim' / 'other').write_bytes(b'other')
    assert server.fetch('/geheim/other').body == b'other'
    for path in ('Geheim/%C3%84rger', 'geheim/%C3%84RGER', 'GEHEIM/%C3%A4rger', 'geheim/%C3%A4rger'):
        for end in ('/file', '/', '/FILE', '/?json'):
            response = server.fetch(f'/{path}{end}')
            assert response.status == 403 and b'secret' not in response.body, path + end


@pytest.mark.parametrize('name', [name for name in NAMES if not may_be_a_name(os.fsencode(name))], ids=encode)
def test_a_name_that_no_file_has_is_neither_found_nor_made(tree, name):
    tree.file('plain')
    assert tree.get(name).status == 404 and tree.ask('DELETE', name).status == 404
    for answer in (tree.put(name, b'x'), tree.ask('MKCOL', name), tree.to('COPY', 'plain', name), tree.to('MOVE', 'plain', name)):
        assert answer.status == 403
    assert tree.names() == ['plain']


def test_a_mode_is_told_and_no_other_is_set(tree):
    path = tree.file('file')

    def set_mode(mode):
        return tree.proppatch('file', set_property(f'<B:mode xmlns:B="urn:berth:posix">{mode}</B:mode>'))

    def told(name):
        return tree.member(name, POSIX + 'mode').text(POSIX + 'mode')
    assert (told('file'), told('')) == ('0644', '0755')
    assert set_mode('0644').failed == {}
    for mode in ('0600', '0444', '0755'):
        assert set_mode(mode).failed == {POSIX + 'mode': 403}
    assert told('file') == '0644' and path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o444)
    eventually(lambda: told('file') == '0444')


def test_changes_from_outside_are_seen_soon(site):
    path = site.file('thing', b'old')
    with site.connect() as connection:
        def is_seen(status, body=None):
            response = connection.ask(site.url + 'thing')
            return response.status == status and (body is None or response.body == body)
        assert is_seen(200, b'old')
        path.write_bytes(b'longer')
        eventually(lambda: is_seen(200, b'longer'))
        site.file('other', b'another').replace(path)
        eventually(lambda: is_seen(200, b'another'))
        path.unlink()
        eventually(lambda: is_seen(404))
        path.mkdir()
        eventually(lambda: is_seen(301))


def test_names_are_utf_8_on_every_way(serve, tmp_path):
    folder = tmp_path / 'Grün €'
    folder.mkdir()
    (folder / 'naïve 文.txt').write_bytes(b'content')
    log = tmp_path / 'log ü'
    server = serve(f'--access-log={log}', folder=folder)
    assert 'Grün €' in server.start_line
    assert server.fetch('/na%C3%AFve%20%E6%96%87.txt').body == b'content'
    server.stop()
    assert 'GET /na%C3%AFve%20%E6%96%87.txt HTTP/1.1' in log.read_text()


def test_a_second_ctrl_c_cuts_off_what_is_in_progress(serve):
    server = serve('--grace=60')
    (server.folder / 'large').write_bytes(b'x' * (16 << 20))
    with server.connect(receive_buffer=4096) as connection:
        connection.send(request('/large'))
        connection.read_head()
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert server.process.poll() is None
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 30


@pytest.mark.parametrize('part', ['basic', 'copymove', 'http'])
def test_litmus(tree, tmp_path, part):
    url = 'http://{}:{}{}'.format(*tree.server.address, tree.url)
    result = subprocess.run(['litmus', '-k', url], capture_output=True, timeout=120, cwd=tmp_path,
                            env={**os.environ, 'TESTS': part})
    assert result.returncode == 0 and b'0 failed. 100.0%' in result.stdout, result.stdout
