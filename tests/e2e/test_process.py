"""The program as a process: its start-up line, options, exit codes and signals."""
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import COMMAND, END, Server, eventually, run
from ports import lasting_ports
from wire import request


def one_line(result, code):
    assert result.returncode == code, result
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith('berth: ') and len(lines[0]) < 300, result.stderr
    return lines[0]


# ---- start ----

def test_the_start_up_line_tells_what_matters(serve, engine):
    server = serve('--threads=3')
    line = server.start_line
    assert str(server.folder) in line and engine in line and '3 threads' in line
    assert f'http://127.0.0.1:{server.address[1]}/' in line
    limits = re.compile(r'^berth: up to \d+ connections, \d+ requests and \d+ downloads at a time; '
                        r'then \d+ MiB here and \d+ MiB in the kernel$', re.MULTILINE)
    eventually(lambda: limits.search(server.stderr()))


@pytest.mark.parametrize('arguments', [
    ['--nonsense'], ['-x'], ['--threads=0'], ['--threads=x'], ['--threads=-1'], ['--threads'], ['--engine=kqueue'],
    ['--engine='],
    ['--log-format=xml'], ['--symlinks=always'], ['--max-line=12x'], ['--max-head=100000'], ['--max-head=0'],
    ['--grace=-1'],
    ['--listen=nonsense'], ['--listen=127.0.0.1'], ['--listen=127.0.0.1:99999'], ['--listen=unix:'], ['--listen=[::1'],
    ['--listen=::1:x'],
    ['.', 'surplus'],
])
def test_wrong_options_end_with_2(arguments):
    line = one_line(run('serve', *arguments), 2)
    assert arguments[-1].split('=')[0].lstrip('-') in line


@pytest.mark.parametrize('ports', ['9000-8999', '0-10', '65530-65536', '10000-10256', '80-', '-80', '80-x', '80--90',
                                   '1-2-3'])
def test_a_malformed_range_of_ports_ends_with_2(ports):
    line = one_line(run('serve', f'--listen=127.0.0.1:{ports}', '.'), 2)
    assert '--listen' in line and ports in line


@pytest.mark.parametrize('value', ['', '0', '-1', '+1', 'x', '1x', '1.5', ' 1', '0x10', '18446744073709551616'])
def test_values_of_bounds_that_are_none_end_with_2(value):
    for option in ['connections', 'requests', 'max-sends', 'memory', 'per-address', 'backlog', 'head-timeout',
                   'idle-timeout', 'body-min-rate']:
        if (option, value) != ('body-min-rate', '0'):  # that is: no least rate
            assert f'--{option}' in one_line(run('serve', f'--{option}={value}', '.'), 2)
    assert '--memory' in one_line(run('serve', f'--memory={value}K', '.'), 2)


def test_a_missing_folder_ends_with_1(tmp_path):
    line = one_line(run('serve', '--listen=127.0.0.1:0', tmp_path / 'missing'), 1)
    assert 'missing' in line and 'No such file' in line
    (tmp_path / 'file').touch()
    assert 'Not a directory' in one_line(run('serve', '--listen=127.0.0.1:0', tmp_path / 'file'), 1)


def test_a_port_in_use_ends_with_1(shared, engine):
    host, port = shared.address
    line = one_line(run('serve', f'--listen={host}:{port}', f'--engine={engine}', '.'), 1)
    assert str(port) in line and 'in use' in line
    assert shared.fetch('/').status == 200


def test_an_address_of_another_machine_ends_with_1():
    assert '192.0.2.1' in one_line(run('serve', '--listen=192.0.2.1:0', '.'), 1)


def test_a_log_that_cannot_be_opened_ends_with_1(tmp_path):
    result = run('serve', '--listen=127.0.0.1:0', f'--access-log={tmp_path}/none/log', tmp_path)
    assert 'none/log' in one_line(result, 1)


def test_help_of_a_command():
    assert run('help', 'serve').stdout == run('serve', '--help').stdout
    result = run('help', 'sevre')
    assert result.returncode == 2 and "'sevre' is no command" in result.stderr


def test_help_and_version():
    result = run('serve', '--help')
    assert result.returncode == 0 and '--listen' in result.stdout and result.stderr == ''
    assert run('--help').returncode == 0
    assert re.search(r'\d+\.\d+', run('--version').stdout)
    assert run().returncode == 2 and run('nonsense').returncode == 2


def test_quiet_says_nothing(tmp_path):
    port = lasting_ports()
    command = [*COMMAND, 'serve', '--quiet', f'--listen=127.0.0.1:{port}', str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(('127.0.0.1', port)).close()
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    process.send_signal(END)
    assert process.communicate(timeout=15)[1] == b''
    assert process.returncode == 0


def test_the_engine_may_come_from_the_environment(tmp_path, engine):
    server = Server(tmp_path, env={**os.environ, 'BERTH_ENGINE': engine})
    try:
        assert engine in server.start_line
    finally:
        server.close()


# ---- end ----

@pytest.mark.parametrize('number', sorted({END, signal.SIGINT}))
def test_a_quiet_server_ends_at_once(serve, number):
    server = serve()
    with server.connect() as connection, server.connect():
        connection.ask('/')
        start = time.monotonic()
        server.stop(number)
        assert time.monotonic() - start < 15, 'the grace is 30 s'
        connection.expect_end()


def test_half_a_head_does_not_hold_up_the_end(serve):
    server = serve()
    with server.connect() as connection:
        connection.send(b'GET / HTTP/1.1\r\nHost: x\r\n')
        time.sleep(0.3)
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 15, 'the grace is 30 s'


def start_download(server, size=16 << 20):
    (server.folder / 'large').write_bytes(b'x' * size)
    connection = server.connect(receive_buffer=4096)
    connection.send(request('/large'))
    connection.read_head()
    return connection


def test_sigterm_finishes_a_download(serve):
    server = serve()
    with start_download(server) as connection:
        server.process.send_signal(END)
        time.sleep(0.3)
        assert server.process.poll() is None
        with pytest.raises(OSError):
            server.fetch('/')
        assert connection.read(16 << 20) == b'x' * (16 << 20)
        connection.expect_end()
    server.stop()


def test_sigterm_answers_what_was_asked_already(serve):
    """Every request that the server has begun to read gets an answer, and the last one says that it is the last."""
    server = serve()
    (server.folder / 'file').write_bytes(b'content')
    answers = []

    def ask():
        with server.connect() as connection:
            try:
                while True:
                    answers.append(connection.ask('/file'))
                    if answers[-1].get('Connection') == 'close':
                        connection.expect_end()
                        return
            except (AssertionError, ConnectionResetError, BrokenPipeError) as error:
                answers.append(error)
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(answers) > 20)
    server.stop()
    for thread in threads:
        thread.join()
    broken = [a for a in answers if isinstance(a, AssertionError) and 'within a line: b\'\'' not in str(a)]
    assert not broken


def test_the_grace_is_bounded(serve):
    server = serve('--grace=1')
    with start_download(server):
        start = time.monotonic()
        server.stop()
        assert 0.5 < time.monotonic() - start < 15


def test_a_second_sigterm_ends_at_once(serve):
    server = serve('--grace=60')
    with start_download(server):
        server.process.send_signal(END)
        time.sleep(0.3)
        assert server.process.poll() is None
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 30
