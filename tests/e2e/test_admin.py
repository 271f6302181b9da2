"""--admin: /metrics and /health on an address of their own."""
import contextlib
import math
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

import pytest
from conftest import COMMAND, END, STOP_SECONDS, Server, eventually
from wire import Connection, fetch, request

SAMPLE = re.compile(r'([a-z_0-9]+)(?:\{([^}]*)\})? (\S+)')
METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'


class AdminServer(Server):
    """`admin` is where the metrics are."""

    def __init__(self, folder, *options, admin='127.0.0.1:0', **more):
        super().__init__(folder, f'--admin={admin}', *options, **more)

    def _wait_until_up(self):
        addresses = super()._wait_until_up()
        if not addresses:
            return addresses  # it is started once more
        line = re.compile(r'metrics at http://(?:\[([0-9a-f:]+)\]|([\d.]+)):(\d+)/metrics\n')
        eventually(lambda: line.search(self.stderr()))
        six, four, port = line.search(self.stderr()).groups()
        self.admin = six or four, int(port)
        return addresses

    def _descriptors(self):
        """Less the rings: more of them are made when they are needed, and stay."""
        return [link for link in super()._descriptors() if link != 'anon_inode:[io_uring]']

    def ask(self, target='/metrics', **options):
        """One request to the admin address, to the end of the connection."""
        with Connection(self.admin) as connection:
            response = connection.ask(target, **options)
            assert response.get('Connection') == 'close'
            connection.expect_end()
            return response

    def metrics(self):
        """{'name{label="value"}': number}."""
        response = self.ask()
        assert response.status == 200
        lines = [line for line in response.body.decode().splitlines() if not line.startswith('#')]
        samples = [SAMPLE.fullmatch(line) for line in lines]
        assert samples and all(samples), lines
        names = [line.rpartition(' ')[0] for line in lines]
        assert len(set(names)) == len(names), 'a sample stands there twice'
        return {name: float(sample[3]) for name, sample in zip(names, samples)}

    def metric(self, name):
        return self.metrics()[name]

    def becomes(self, name, value, seconds=20):
        eventually(lambda: self.metrics().get(name, 0) == value, seconds)


@pytest.fixture
def admin(engine, tmp_path):
    """Starts a server with --admin and further options."""
    servers = []
    folder = tmp_path / 'served'
    folder.mkdir()
    (folder / 'file').write_bytes(b'content')

    def start(*options, **more):
        servers.append(AdminServer(folder, *options, engine=engine, **more))
        return servers[-1]
    yield start
    for server in servers:
        server.close()


def run(*options):
    command = [*COMMAND, 'serve', '--listen=127.0.0.1:0', *options, '.']
    return subprocess.run(command, capture_output=True, text=True, timeout=STOP_SECONDS)


# ---- what it says ----

@pytest.mark.skipif(not shutil.which('promtool'), reason='promtool is not installed')
def test_promtool_accepts_it_without_a_word(admin):
    server = admin()
    server.fetch('/file')
    server.fetch('/missing')
    server.becomes('berth_requests_total{method="GET",status="404"}', 1)
    checked = subprocess.run(['promtool', 'check', 'metrics'], input=server.ask().body, capture_output=True, timeout=60)
    assert checked.returncode == 0 and checked.stdout + checked.stderr == b'', checked


def test_requests_by_method_and_status(admin):
    server = admin()
    for _ in range(3):
        server.fetch('/file')
    server.fetch('/file', method='HEAD')
    server.fetch('/missing')
    server.fetch('/file', 'Range: bytes=1-2')
    server.fetch('/', method='OPTIONS')
    other = server.fetch('/file', method='BREW').status
    wanted = {('GET', 200): 3, ('HEAD', 200): 1, ('GET', 404): 1, ('GET', 206): 1, ('other', other): 1}
    for (method, status), count in wanted.items():
        server.becomes(f'berth_requests_total{{method="{method}",status="{status}"}}', count)
    metrics = server.metrics()
    assert sum(v for k, v in metrics.items() if k.startswith('berth_requests_total{method="OPTIONS"')) == 1
    assert sum(v for k, v in metrics.items() if k.startswith('berth_requests_total')) == 8
    assert 'berth_requests_total{method="HEAD",status="404"}' not in metrics


def test_the_admin_address_does_not_count_itself(admin):
    server = admin()
    for _ in range(5):
        metrics = server.metrics()
    assert metrics['berth_accepted_total'] == metrics['berth_request_duration_seconds_count'] == 0


def test_bytes(admin):
    server = admin()
    (server.folder / 'large').write_bytes(b'x' * 3000000)
    with server.connect() as connection:
        connection.ask('/large')
        connection.ask('/large', method='HEAD')
        connection.ask('/file', 'X-Much: ' + 1000 * 'x')
    server.becomes('berth_response_size_bytes_sum', 3000007)
    server.becomes('berth_sent_bytes_total', 3000007)
    assert 1000 < server.metric('berth_received_bytes_total') < 2000


def histogram(metrics, name):
    buckets = [(float(re.search('le="([^"]*)"', key)[1]), value) for key, value in metrics.items()
               if key.startswith(name + '_bucket{')]
    assert [bound for bound, _ in buckets] == sorted(bound for bound, _ in buckets) and buckets[-1][0] == math.inf
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)
    assert buckets[-1][1] == metrics[name + '_count']
    return dict(buckets), metrics[name + '_sum']


def test_histograms(admin):
    server = admin()
    (server.folder / 'middle').write_bytes(b'x' * 5000)
    for name in ['file', 'file', 'middle']:
        server.fetch('/' + name)
    server.becomes('berth_response_size_bytes_count', 3)
    metrics = server.metrics()
    buckets, total = histogram(metrics, 'berth_response_size_bytes')
    assert buckets[256] == 2 and buckets[4096] == 2 and buckets[16384] == 3 and total == 5014
    buckets, total = histogram(metrics, 'berth_request_duration_seconds')
    assert buckets[math.inf] == 3 and 0 < total < 30


def test_a_slow_answer_counts_with_its_time(admin):
    server = admin()
    (server.folder / 'large').write_bytes(b'x' * (16 << 20))
    with server.connect(receive_buffer=4096) as connection:
        connection.send(request('/large'))
        time.sleep(1.2)
        connection.read_response()
    server.becomes('berth_request_duration_seconds_count', 1)
    buckets, total = histogram(server.metrics(), 'berth_request_duration_seconds')
    assert buckets[1] == 0 and total > 1.2


def test_connections_by_state(admin):
    server = admin()
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(server.connect()).ask('/file')
        server.becomes('berth_connections{state="resting"}', 5)
        assert server.metric('berth_accepted_total') == 5
        server.becomes('berth_pool_used{pool="connections"}', 5)
    server.becomes('berth_connections{state="resting"}', 0)
    server.becomes('berth_pool_used{pool="connections"}', 0)


def test_a_download_is_a_state(admin):
    server = admin()
    (server.folder / 'large').write_bytes(b'x' * (16 << 20))
    with server.connect(receive_buffer=4096) as connection:
        connection.send(request('/large'))
        server.becomes('berth_connections{state="sending"}', 1)
        server.becomes('berth_pool_used{pool="downloads"}', 1)
    server.becomes('berth_connections{state="sending"}', 0)


def test_the_rate_of_accepts(admin):
    server = admin('--threads=1')

    def some_at_once():
        for _ in range(20):
            server.fetch('/file')
        time.sleep(0.2)
        return server.metric('berth_accepts_per_second') > 0
    eventually(some_at_once)
    server.becomes('berth_accepts_per_second', 0)


def test_pools_and_refusals_are_always_there(admin):
    metrics = admin().metrics()
    pools = ['connections', 'active', 'requests', 'downloads', 'buffers', 'files', 'listings', 'long_heads']
    for pool in pools:
        assert 0 <= metrics[f'berth_pool_used{{pool="{pool}"}}'] <= metrics[f'berth_pool_limit{{pool="{pool}"}}']
        assert f'berth_memory_bytes{{pool="{pool}"}}' in metrics
    reasons = ['descriptors', 'memory', 'connections', 'address', 'requests', 'sends', 'listings', 'heads', 'files',
               'shed_idle', 'late_head', 'late_body', 'stalled_reader', 'auth']
    for reason in reasons:
        assert metrics[f'berth_refusals_total{{reason="{reason}"}}'] == 0


def test_what_the_kernel_tells(admin):
    server = admin()
    metrics = server.metrics()
    for name in ['inuse_sockets', 'orphan_sockets', 'timewait_sockets', 'memory_bytes']:
        assert f'berth_kernel_tcp_{name}' in metrics
    netstat = pathlib.Path('/proc/net/netstat').read_text()
    for field, name in [('ListenOverflows', 'listen_overflows'), ('ListenDrops', 'listen_drops'),
                        ('TCPReqQFullDoCookies', 'syn_queue_full_cookies'), ('TCPReqQFullDrop', 'syn_queue_full_drops'),
                        ('TCPAbortOnMemory', 'tcp_aborts_on_memory')]:
        assert (f' {field} ' in netstat) == (f'berth_kernel_{name}_total' in metrics)
    assert 0 < metrics['berth_kernel_files'] < metrics['berth_kernel_files_limit']
    assert metrics['berth_kernel_tcp_inuse_sockets'] >= 2


def test_what_the_process_is(admin, engine):
    server = admin('--threads=2')
    metrics = server.metrics()
    assert abs(metrics['process_resident_memory_bytes'] - server.rss()) < 8 << 20
    assert metrics['process_open_fds'] < metrics['process_max_fds']
    assert abs(metrics['process_open_fds'] - len(os.listdir(f'/proc/{server.process.pid}/fd'))) < 5
    assert -5 < time.time() - metrics['process_start_time_seconds'] < 60
    assert metrics['process_start_time_seconds'] == server.metric('process_start_time_seconds')
    assert metrics['process_cpu_seconds_total'] > 0
    assert metrics['berth_shards'] == 2
    eventually(lambda: (server.metric('berth_port_rings') > 0) == (engine == 'uring'))
    assert [key for key in metrics if key.startswith('berth_build_info') and f'engine="{engine}"' in key]


# ---- health ----

def test_health_until_and_while_the_server_finishes(admin):
    server = admin()
    (server.folder / 'large').write_bytes(b'x' * (16 << 20))
    healthy = server.ask('/health')
    assert healthy.status == 200 and healthy.body == b'ok\n'
    with server.connect(receive_buffer=4096) as connection:
        connection.send(request('/large'))
        connection.read_head()
        server.process.send_signal(END)
        eventually(lambda: server.ask('/health').status == 503)
        assert server.ask('/health').body == b'draining\n'
        assert server.metric('berth_draining') == 1
        assert server.process.poll() is None
        connection.read(16 << 20)
    server.stop()
    with pytest.raises(OSError):
        fetch(server.admin, '/health')


# ---- as a server of its own ----

def test_pages_and_errors(admin):
    server = admin()
    index = server.ask('/')
    assert index.status == 200 and b'/metrics' in index.body and b'/health' in index.body
    assert server.ask('/metrics').get('Content-Type') == METRICS_TYPE
    assert server.ask('/metrics?name=x').status == 200
    for target in ['/nothing', '/metrics/', '/../metrics', '/file']:
        assert server.ask(target).status == 404
    for method in ['POST', 'OPTIONS', 'PUT', 'METRICS']:
        refused = server.ask('/metrics', method=method)
        assert refused.status == 405 and refused.get('Allow') == 'GET, HEAD'


def test_head_is_get_without_the_body(admin):
    server = admin()
    head = server.ask('/health', method='HEAD')
    assert head.status == 200 and head.get('Content-Length') == '3'
    head = server.ask('/metrics', method='HEAD')
    assert head.get('Content-Type') == METRICS_TYPE and int(head.get('Content-Length')) > 5000


@pytest.mark.parametrize('data, status', [
    pytest.param(b'nonsense\r\n\r\n', 400, id='nonsense'),
    pytest.param(b'GET / HTTP/1.1\r\n\r\n', 400, id='no Host'),
    pytest.param(b'GET / HTTP/3.0\r\n\r\n', 505, id='version'),
    pytest.param(b'GET /' + b'x' * 9000 + b' HTTP/1.1\r\n', 414, id='long target'),
    pytest.param(b'GET / HTTP/1.1\r\nA: ' + b'x' * 5000, 431, id='long field'),
    pytest.param(b'GET / HTTP/1.1\r\n' + b'A: bcdefgh\r\n' * 2000, 431, id='many fields'),
])
def test_what_is_no_head_is_refused(admin, data, status):
    server = admin()
    with Connection(server.admin) as connection:
        connection.send(data)
        assert connection.read_response().status == status
        connection.expect_end()
    assert server.ask('/health').status == 200


def test_a_head_in_small_pieces(admin):
    with Connection(admin().admin) as connection:
        connection.dribble(request('/health'), 0.005)
        assert connection.read_response().body == b'ok\n'


def test_what_comes_behind_the_request_costs_no_answer(admin):
    server = admin()
    for target in ['/health', '/metrics']:
        with Connection(server.admin) as connection:
            connection.send(request(target) + request('/nothing') + b'x' * 200000)
            time.sleep(0.1)
            assert connection.read_response().status == 200
            connection.end_sending()
            connection.expect_end()


def test_half_a_request_ends_when_its_sender_does(admin):
    with Connection(admin().admin) as connection:
        connection.send(b'GET /metr')
        connection.end_sending()
        connection.expect_end()


def test_half_a_head_is_not_waited_for_forever(admin):
    server, start = admin(), time.monotonic()
    with Connection(server.admin) as connection:
        connection.send(b'GET /metr')
        connection.expect_end()
        assert 8 < time.monotonic() - start < 25


def test_those_who_say_nothing_do_not_keep_others_out(admin):
    server = admin()
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(Connection(server.admin)).send(b'G')
        start = time.monotonic()
        assert server.ask('/health').status == 200
        assert time.monotonic() - start < 8  # one that says nothing is waited for ten seconds
    server.check_descriptors()


def test_visitors_do_not_hold_up_the_end(admin):
    server = admin()
    with Connection(server.admin) as silent, Connection(server.admin) as half, server.connect():
        half.send(b'GET /metr')
        server.ask('/health')
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 8
        silent.expect_end()


def test_it_answers_while_the_server_has_all_its_connections(admin):
    server = admin('--threads=1', '--connections=20')
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(server.connect()).send(b'GET /file HTTP/1.1\r\n')
        eventually(lambda: server.metric('berth_pool_used{pool="connections"}') >= 20)
        metrics = server.metrics()
        assert metrics['berth_pool_limit{pool="connections"}'] == 20
        assert metrics['berth_pool_used{pool="connections"}'] <= 21
        eventually(lambda: server.metric('berth_refusals_total{reason="connections"}') > 0)
        assert server.ask('/health').status == 200
    server.becomes('berth_pool_used{pool="connections"}', 0)
    assert server.fetch('/file').status == 200


@pytest.mark.skipif(not shutil.which('prlimit'), reason='prlimit is not installed')
def test_it_answers_while_descriptors_are_short(admin):
    server = admin('--threads=1', wrapper=['prlimit', '--nofile=200:200'])
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(server.connect())
        time.sleep(0.5)
        for _ in range(3):
            assert server.metric('process_max_fds') == 200
            assert server.ask('/health').status == 200


# ---- where ----

def test_ipv6_and_all_addresses(admin):
    server = admin(admin=':0')
    assert server.admin[0] == '0.0.0.0'
    assert fetch(('127.0.0.1', server.admin[1]), '/health').status == 200
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(('::1', 0))
    except OSError:
        pytest.skip('no IPv6 here')
    server = admin(admin='[::1]:0')
    assert server.admin[0] == '::1' and server.ask('/health').status == 200


def test_an_address_in_use_ends_with_1(engine):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        result = run(f'--admin=127.0.0.1:{port}', f'--engine={engine}')
    assert result.returncode == 1
    line = result.stderr.splitlines()[-1]
    assert line.startswith('berth: ') and str(port) in line and 'in use' in line


@pytest.mark.parametrize('address', ['nonsense', '127.0.0.1', '127.0.0.1:99999', '127.0.0.1:1-2', '[::1', '', ':',
                                     'unix:/tmp/berth-admin'])
def test_a_malformed_address_ends_with_2(address):
    result = run(f'--admin={address}')
    assert result.returncode == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith('berth: ') and '--admin' in line
    assert not os.path.exists('/tmp/berth-admin')


def test_without_the_option_there_is_none(serve):
    server = serve()
    assert 'metrics' not in server.stderr()
    assert server.fetch('/metrics').status == 404
