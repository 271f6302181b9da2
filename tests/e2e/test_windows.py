"""What is berth.exe's own: what Windows has not says so in a line, and how it ends."""
import os
import signal
import subprocess
import time

import pytest
from conftest import COMMAND, eventually
from dav import POSIX, encode, set_property
from test_admin import admin  # noqa: a fixture
from test_dav_put import NAMES
from windows import may_be_a_name
from wire import request


def run(*arguments):
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=30)


def said(result, code):
    """Its one line; Wine may say something, too."""
    assert result.returncode == code, result
    lines = [line for line in result.stderr.splitlines() if line.startswith('berth: ')]
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.mark.parametrize('command', ['mount', 'unmount'])
def test_what_is_not_there_says_so(command):
    assert said(run(command, 'http://127.0.0.1:1/', 'X:'), 2) == f'berth: {command}: not on Windows'


def test_unix_sockets_are_refused(tmp_path):
    line = said(run('serve', f'--listen=unix:{tmp_path}/socket', tmp_path), 1)
    assert f'unix:{tmp_path}/socket' in line and 'Address family not supported' in line


def test_an_address_in_use_is_told(serve, tmp_path):
    server = serve()
    line = said(run('serve', f'--listen=127.0.0.1:{server.address[1]}', tmp_path), 1)
    assert str(server.address[1]) in line and 'Address already in use' in line


def test_metrics_tell_what_windows_knows(admin):  # noqa: F811
    server = admin()
    metrics = server.metrics()
    assert -5 < time.time() - metrics['process_start_time_seconds'] < 60
    assert abs(metrics['process_resident_memory_bytes'] - server.rss()) < 8 << 20
    assert metrics['process_virtual_memory_bytes'] > 0 and metrics['berth_kernel_memory_available_bytes'] > 0
    assert 'process_open_handles' in metrics and 'process_open_fds' not in metrics
    eventually(lambda: server.fetch('/file').status == 200 and server.metric('process_cpu_seconds_total') > 0)


def test_an_address_has_one_thread(serve):
    assert '1 thread)' in serve('--threads=4').start_line
    assert '2 threads)' in serve('--threads=4', listen=('127.0.0.1:0', '127.0.0.1:0')).start_line


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
