"""The access log: its three formats, what it escapes, and reopening it."""
import json
import os
import re
import signal
import subprocess
import time

import pytest
from conftest import eventually
from wire import request

COMMON = re.compile(r'(\S+) - - \[(\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "([^"]*)" (\d{3}) (\d+|-)')
COMBINED = re.compile(COMMON.pattern + r' "([^"]*)" "([^"]*)"')


def lines_after_stop(server, path):
    server.stop()
    text = path.read_text(encoding='ascii')
    assert text == '' or text.endswith('\n')
    return text.splitlines()


@pytest.fixture
def log(tmp_path):
    return tmp_path / 'access.log'


def test_combined_is_the_default(serve, log):
    server = serve(f'--access-log={log}', '--threads=1')
    (server.folder / 'file').write_bytes(b'12345')
    server.fetch('/file?q=1', 'Referer: http://from/', 'User-Agent: some agent/1.0')
    server.fetch('/file', method='HEAD')
    server.fetch('/missing', version='1.0')
    server.fetch('/file', 'Range: bytes=1-2')
    server.fetch('/file', 'If-None-Match: *')
    rows = [COMBINED.fullmatch(line).groups() for line in lines_after_stop(server, log)]
    assert rows[0][0] == '127.0.0.1'
    assert rows[0][2:] == ('GET /file?q=1 HTTP/1.1', '200', '5', 'http://from/', 'some agent/1.0')
    assert rows[1][2:] == ('HEAD /file HTTP/1.1', '200', rows[1][4], '-', '-') and rows[1][4] in '-0'
    assert rows[2][2:4] == ('GET /missing HTTP/1.0', '404')
    assert rows[3][2:5] == ('GET /file HTTP/1.1', '206', '2')
    assert rows[4][2:4] == ('GET /file HTTP/1.1', '304') and rows[4][4] in '-0'
    logged = time.mktime(time.strptime(rows[0][1].split()[0], '%d/%b/%Y:%H:%M:%S'))
    assert abs(logged - time.time()) < 60


def test_common(serve, log):
    server = serve(f'--access-log={log}', '--log-format=common')
    server.fetch('/', 'User-Agent: x')
    line, = lines_after_stop(server, log)
    assert COMMON.fullmatch(line)


def test_json(serve, log):
    server = serve(f'--access-log={log}', '--log-format=json')
    (server.folder / 'file').write_bytes(b'12345')
    server.fetch('/file?"\\', b'User-Agent: "quoted\\" \xff \xc3\xa9', 'Referer: r')
    server.stop()
    line, = log.read_text(encoding='utf-8').splitlines()
    row = json.loads(line)
    assert row['method'] == 'GET' and row['target'] == '/file?"\\' and row['status'] == 200 and row['bytes'] == 5
    assert row['client'] == '127.0.0.1' and row['referer'] == 'r' and row['user_agent'] == '"quoted\\" \ufffd é'
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z', row['time'])


def test_nothing_can_forge_a_line_or_a_field(serve, log):
    server = serve(f'--access-log={log}')
    server.fetch('/"x\\', b'User-Agent: a" "b\\n \xc3\xa9 \x1b'.replace(b'\x1b', b'\t'))
    for bad in (b'GET /\x1b[31m"\r\n\r\n',
                b'GET / HTTP/1.1\r\nHost: a\r\nX: 1\n1.2.3.4 - - [x] "GET /forged HTTP/1.1" 200 1\r\n\r\n'):
        with server.connect() as connection:
            connection.send(bad)
            assert connection.read_response().status == 400
    for line in lines_after_stop(server, log):
        assert COMBINED.fullmatch(line), line
        assert '\x1b' not in line and '\t' not in line and 'forged' not in line


def test_refused_requests_are_logged(serve, log):
    server = serve(f'--access-log={log}', '--threads=1')
    for data in (b'nonsense\r\n\r\n', request('/', 'Content-Length: x'), request('/x' * 5000),
                 request('/', method='PUT')):
        with server.connect() as connection:
            connection.send(data)
            connection.read_response()
    statuses = [COMBINED.fullmatch(line)[4] for line in lines_after_stop(server, log)]
    assert statuses == ['400', '400', '414', '405']


def test_every_request_of_a_pipeline_has_its_line(serve, log):
    server = serve(f'--access-log={log}')
    with server.connect() as connection:
        connection.send(b''.join(request(f'/{n}') for n in range(3000)))
        for _ in range(3000):
            connection.read_response()
    lines = lines_after_stop(server, log)
    assert [COMBINED.fullmatch(line)[3].split()[1] for line in lines] == [f'/{n}' for n in range(3000)]


def test_lines_reach_the_file_soon(serve, log):
    server = serve(f'--access-log={log}')
    server.fetch('/soon')
    eventually(lambda: '/soon' in log.read_text())


def test_dash_is_standard_output(serve):
    server = serve('--access-log=-', stdout=subprocess.PIPE)
    server.fetch('/here')
    server.stop()
    assert b'"GET /here HTTP/1.1" 404' in server.process.stdout.read()
    server.process.stdout.close()


def test_hangup_reopens(serve, log):
    server = serve(f'--access-log={log}')
    with server.connect() as connection:
        connection.ask('/before')
        eventually(lambda: '/before' in log.read_text())
        os.rename(log, log.with_suffix('.1'))
        server.process.send_signal(signal.SIGHUP)
        eventually(log.exists)
        connection.ask('/after')
        eventually(lambda: '/after' in log.read_text())
    assert '/after' not in log.with_suffix('.1').read_text() and '/before' not in log.read_text()
    server.check_descriptors()


def test_hangup_goes_on_in_the_old_file_when_the_new_cannot_be_opened(serve, tmp_path):
    (tmp_path / 'logs').mkdir()
    server = serve(f'--access-log={tmp_path}/logs/log')
    os.rename(tmp_path / 'logs', tmp_path / 'moved')
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: 'logs/log' in server.stderr().split('\n', 1)[1])
    server.fetch('/still')
    eventually(lambda: '/still' in (tmp_path / 'moved/log').read_text())


def test_hangup_without_a_log_is_harmless(serve):
    server = serve()
    server.process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    assert server.fetch('/').status == 200
