"""What happens where something runs out: descriptors, requests at a time, patience."""
import contextlib
import resource
import shutil
import socket
import time

import pytest
from conftest import run
from wire import request


@pytest.fixture(scope='module', autouse=True)
def descriptors_for_us():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192) if hard > 0 else 8192, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not shutil.which('prlimit'), reason='prlimit is not installed')
def test_more_connections_than_descriptors(serve):
    """Some wait or are closed; the server lives, and serves again as soon as there is room."""
    server = serve('--threads=1', wrapper=['prlimit', '--nofile=100:100'])
    (server.folder / 'file').write_bytes(b'content')
    address = server.address
    crowd = []
    try:
        for _ in range(300):
            crowd.append(socket.create_connection(address, timeout=10))
            crowd[-1].sendall(request('/file'))
        time.sleep(0.5)
        assert server.process.poll() is None
    finally:
        for one in crowd:
            one.close()
    deadline = time.monotonic() + 15
    while True:
        try:
            assert server.fetch('/file').body == b'content'
            break
        except (OSError, AssertionError):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    server.check_descriptors()


def test_a_refusal_for_want_of_descriptors_does_not_spin(serve):
    if not shutil.which('prlimit'):
        pytest.skip('prlimit is not installed')
    server = serve('--threads=1', wrapper=['prlimit', '--nofile=64:64'])
    crowd = [socket.create_connection(server.address, timeout=10) for _ in range(150)]
    try:
        time.sleep(0.3)
        before = cpu_seconds(server)
        time.sleep(1)
        assert cpu_seconds(server) - before < 0.3
    finally:
        for one in crowd:
            one.close()


def cpu_seconds(server):
    with open(f'/proc/{server.process.pid}/stat', encoding='ascii') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_more_requests_than_the_pool_has_wait_their_turn(serve):
    """4,400 readers that do not read hold every request there is; whoever comes then is served once some leave."""
    server = serve('--threads=1')
    (server.folder / 'large').write_bytes(b'x' * (8 << 20))
    (server.folder / 'file').write_bytes(b'content')
    crowd = []
    try:
        for _ in range(4400):
            crowd.append(server.connect(receive_buffer=4096))
            crowd[-1].send(request('/large'))
        with server.connect() as late:
            late.send(request('/file'))
            time.sleep(0.2)
            for one in crowd[:600]:
                one.socket.close()
            response = late.read_response()
            assert response.body == b'content' or response.status == 503
        assert crowd[4399].read_head().status == 200
    finally:
        for one in crowd:
            one.socket.close()
    server.check_descriptors()
    assert server.fetch('/file').body == b'content'


def test_an_idle_server_uses_no_time(serve):
    server = serve()
    connections = [server.connect() for _ in range(50)]
    try:
        for connection in connections:
            connection.ask('/')
        time.sleep(2.5)
        before = cpu_seconds(server)
        time.sleep(1.5)
        assert cpu_seconds(server) - before < 0.1
    finally:
        for connection in connections:
            connection.socket.close()


def test_an_endless_body_is_not_swallowed(site):
    """The announced length is far more than a GET can mean."""
    site.file('file')
    with site.connect() as connection:
        connection.send(request(site.url + 'file', f'Content-Length: {1 << 40}'))
        try:
            for _ in range(100):
                connection.send(b'x' * (1 << 20))
        except OSError:
            return
        assert connection.read_response().status in (200, 413)


def test_bytes_ahead_of_their_time_leave_buffers_for_others(serve):
    """Readers that stall send small pieces behind their request; each would keep a receive buffer."""
    server = serve('--threads=1')
    (server.folder / 'large').write_bytes(b'x' * (8 << 20))
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect(receive_buffer=4096)) for _ in range(400)]
        for connection in connections:
            connection.send(request('/large'))
        for _ in range(5):
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.send(b'G')
            time.sleep(0.05)
        assert server.fetch('/').status == 200


@pytest.mark.parametrize('option', ['accept-depth=4', 'send-depth=4', 'accept-data'])
def test_bounds_of_another_systems_engine_are_refused(engine, option):
    result = run('serve', f'--{option}', f'--engine={engine}', '--listen=127.0.0.1:0', '.')
    assert result.returncode == 2 and result.stderr.count('\n') == 1
    assert result.stderr.startswith(f'berth: --{option.split("=")[0]}: ') and f'the engine here is {engine}\n' in result.stderr
