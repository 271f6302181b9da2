"""`berth load`: what it counts, how it paces, when it refuses, how it ends."""
import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest
from conftest import COMMAND, END, SANITIZER, Server, eventually, halt
from ports import lasting_ports


class Crowd:
    """A running `berth load --json -`."""

    def __init__(self, *options, wrapper=()):
        command = [*wrapper, *COMMAND, 'load', '--json=-', *options]
        self.errors = tempfile.TemporaryFile(mode='w+')
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors, text=True)

    def read(self):
        """What it has said so far."""
        return os.pread(self.errors.fileno(), 1 << 20, 0).decode().replace('\r\n', '\n')

    def until(self, words):
        """Waits for a line of progress, of which there is one a second."""
        eventually(lambda: words in self.read(), 20)

    def wait(self):
        out, _ = self.process.communicate(timeout=60)
        self.stderr = self.read()
        self.errors.close()
        assert not SANITIZER.search(self.stderr), self.stderr
        self.status = self.process.returncode
        self.figures = json.loads(out) if out else None
        return self


@pytest.fixture
def load():
    """load(URL, options...) runs it to its end, load.start(...) only starts it."""
    crowds = []

    def start(*options, **more):
        crowds.append(Crowd(*options, **more))
        return crowds[-1]

    def run(*options, **more):
        return start(*options, **more).wait()
    run.start = start
    yield run
    for crowd in crowds:
        if crowd.process.poll() is None:
            crowd.process.kill()
            crowd.process.communicate()


@pytest.fixture
def load_on(load, engine):
    """The same on either engine."""
    return lambda *options, **more: load(f'--engine={engine}', *options, **more)


def with_file(server):
    (server.folder / 'file').write_bytes(b'x' * 10000)
    server.url = f'http://127.0.0.1:{server.address[1]}/file'
    return server


@pytest.fixture(scope='module')
def target(tmp_path_factory):
    """A server for all tests that do it no harm. It has one file, whose URL is target.url."""
    server = with_file(Server(tmp_path_factory.mktemp('load')))
    yield server
    server.close()


@pytest.fixture
def mortal(tmp_path):
    """A server of the test's own, which may be stopped and killed."""
    server = with_file(Server(tmp_path, listen=[f'127.0.0.1:{lasting_ports()}']))
    yield server
    if server.process.poll() is None:
        server.close()


@contextlib.contextmanager
def answering(answer):
    """A server that gives each connection's first request to answer(connection)."""
    listener = socket.create_server(('127.0.0.1', 0))

    def talk(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            answer(connection)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=[listener.accept()[0]], daemon=True).start()
    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{listener.getsockname()[1]}/'
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


# ---- what it counts ----

def test_each_connection_asks_once(load_on, target):
    crowd = load_on('-c', '50', '--hold', '0.3', target.url)
    connections, requests = crowd.figures['connections'], crowd.figures['requests']
    assert crowd.status == 0 and crowd.figures['good']
    assert connections['opened'] == connections['most_open'] == 50
    assert connections['failed'] == connections['lost'] == connections['reset'] == 0
    assert requests['due'] == requests['answered'] == 50 and requests['statuses'] == {'200': 50}
    assert requests['bytes'] == 50 * 10000
    assert requests['latency_us']['count'] == 50 == sum(n for _, n in crowd.figures['histogram']['counts'])
    assert 0.2 < connections['held_seconds'] < 10


def test_an_idle_crowd_asks_nothing(load_on, target):
    crowd = load_on('-c', '300', '--requests-per-second', '0', '--threads', '2', '--hold', '0.3', target.url)
    assert crowd.status == 0
    assert crowd.figures['connections']['opened'] == 300 and crowd.figures['requests']['due'] == 0


@pytest.mark.parametrize('threads', [1, 3])
def test_a_rate_is_kept_to_the_request(load_on, target, threads):
    """One a second for each connection: an answer may take as long."""
    crowd = load_on('-c', '200', '--requests-per-second', '200', '--threads', str(threads), '--hold', '1', target.url)
    requests = crowd.figures['requests']
    assert crowd.status == 0
    assert abs(requests['due'] - 200) <= threads
    assert requests['answered'] == requests['due'] == requests['latency_us']['count']


def test_each_connection_asks_at_its_interval(load_on, target):
    crowd = load_on('-c', '30', '--each-every', '0.5', '--hold', '2', target.url)
    assert crowd.status == 0 and crowd.figures['requests']['answered'] == 120


def test_connections_are_opened_at_their_rate(load, target):
    crowd = load('-c', '50', '--open-rate', '100', '--hold', '0', target.url)
    assert crowd.status == 0 and 0.4 < crowd.figures['connections']['open_seconds'] < 5


def test_the_series_has_a_row_a_second(load, target):
    crowd = load('-c', '10', '--requests-per-second', '100', '--hold', '1.5', target.url)
    series = crowd.figures['series']
    rows = [dict(zip(series['names'], row)) for row in series['rows']]
    assert len(rows) >= 3 and rows[0]['open'] == 0 and rows[1]['open'] == 10 and rows[-1]['open'] == 0
    assert [round(row['seconds']) for row in rows[:2]] == [0, 1]
    assert sum(row['answered'] for row in rows) == crowd.figures['requests']['answered']


def test_several_urls_are_all_asked(load, target):
    other = target.folder / 'other'
    other.write_bytes(b'y')
    crowd = load('-c', '60', '--hold', '0.2', '-H', 'X-Test: 1', target.url, '--url', target.url.replace('file', 'nothing'),
                 target.url.replace('file', 'other'))
    statuses = crowd.figures['requests']['statuses']
    assert set(statuses) == {'200', '404'} and sum(statuses.values()) == 60
    assert crowd.status == 1 and crowd.figures['errors']['request'] == {'status 4xx': statuses['404']}


def test_a_range_of_ports_is_spread_over(load):
    first = lasting_ports(2)
    with contextlib.ExitStack() as stack:
        for port in (first, first + 1):
            stack.enter_context(socket.create_server(('127.0.0.1', port), backlog=64))
        crowd = load('-c', '20', '--requests-per-second', '0', '--hold', '0', '--port-range', f'{first}-{first + 1}',
                     'http://127.0.0.1/')
    assert crowd.figures['addresses']['destinations'] == 2 and crowd.figures['connections']['opened'] == 20


# ---- how it reads ----

def test_slow_readers_take_their_time(load_on, target):
    """10,000 bytes at 10,000 a second: each has one whole, a second one perhaps begun, and no more."""
    crowd = load_on('-c', '5', '--slow', '10000', '--hold', '1.5', target.url)
    requests = crowd.figures['requests']
    assert crowd.status == 0
    assert requests['answered'] == 5 and requests['unfinished'] == 5
    assert 5 * 10000 <= requests['bytes'] <= 5 * 10000 * 2.2


def test_ranges_are_asked_for_and_checked(load_on, target):
    crowd = load_on('-c', '100', '--range', '100', '--requests-per-second', '200', '--hold', '0.5', target.url)
    requests = crowd.figures['requests']
    assert crowd.status == 0 and requests['statuses'] == {'206': requests['answered']}
    assert requests['bytes'] == 100 * requests['answered']


def test_a_range_longer_than_the_file_is_the_file(load, target):
    crowd = load('-c', '4', '--range', '20000', '--each-every', '0.5', '--hold', '1.2', target.url)
    assert crowd.status == 0 and crowd.figures['requests']['bytes'] == 10000 * crowd.figures['requests']['answered']


def test_a_server_without_ranges_is_told_of(load):
    with answering(lambda c: c.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')) as url:
        crowd = load('-c', '3', '--range', '1', '--hold', '0', url)
    assert crowd.status == 1 and crowd.figures['errors']['request']['not the range'] == 3


def test_latency_counts_from_when_a_request_was_due(load, mortal):
    """A server that stands still for a second makes all requests of that second late, also those that had to wait for a
    connection: a third of the hold is slow."""
    crowd = load.start('-c', '5', '--requests-per-second', '60', '--hold', '3', '--threads', '1', mortal.url)
    crowd.until('opened 5')
    halt(mortal.process)
    time.sleep(1)
    mortal.process.send_signal(signal.SIGCONT)
    crowd.wait()
    latency = crowd.figures['requests']['latency_us']
    assert crowd.figures['requests']['answered'] == 180
    assert latency['p50'] < 400000 and latency['p75'] > 150000
    assert latency['p99'] > 700000 and latency['max'] > 900000


# ---- what goes wrong ----

def test_refused_connections_are_counted_by_their_reason(load_on):
    start = time.monotonic()
    with socket.socket() as deaf:
        deaf.bind(('127.0.0.1', 0))
        crowd = load_on('-c', '20', '--hold', '20', f'http://127.0.0.1:{deaf.getsockname()[1]}/')
    assert crowd.status == 1 and crowd.figures['errors']['connect'] == {'ECONNREFUSED': 20}
    assert time.monotonic() - start < 18, 'nothing is left to hold'


def test_a_connect_that_nobody_answers_times_out(load_on):
    """A full backlog drops what comes."""
    with socket.create_server(('127.0.0.1', 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        crowd = load_on('-c', '3', '--timeout', '0.5', '--hold', '0', f'http://127.0.0.1:{listener.getsockname()[1]}/')
    assert crowd.status == 1 and crowd.figures['errors']['connect'] == {'timeout': 3}


@pytest.mark.parametrize('answer, reason', [
    (b'garbage\r\n\r\n', 'bad response'),
    (b'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n', 'bad response'),
    (b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore', 'bytes not asked for'),
    (b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello', 'closed by the server'),
    (b'HTTP/1.1 200 OK\r\nX: ' + b'x' * 20000, 'bad response'),
    (b'HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n', 'status 5xx'),
    (b'', 'closed by the server'),
])
def test_bad_answers_are_counted_by_what_is_wrong(load, answer, reason):
    with answering(lambda connection: connection.sendall(answer)) as url:
        crowd = load('-c', '4', '--hold', '0', url)
    assert crowd.status == 1
    assert crowd.figures['errors']['request'] == {reason: 4} and crowd.figures['requests']['failed'] == 4


def test_an_answer_that_does_not_come_times_out(load_on):
    with answering(lambda connection: time.sleep(2)) as url:
        crowd = load_on('-c', '3', '--timeout', '0.5', '--hold', '1', url)
    assert crowd.status == 1 and crowd.figures['errors']['request'] == {'timeout': 3}
    assert crowd.figures['requests']['latency_us']['min'] >= 490000


def test_an_announced_end_is_no_loss(load_on):
    with answering(lambda c: c.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody')) as url:
        crowd = load_on('-c', '4', '--hold', '0', url)
        early = load_on('-c', '4', '--hold', '20', url)
    assert crowd.status == 0 and not crowd.figures['deserted']
    assert crowd.figures['connections']['closed_as_announced'] == 4 and crowd.figures['requests']['bytes'] == 16
    assert early.status == 1 and early.figures['deserted'] and early.figures['connections']['lost'] == 0
    assert 'the hold of 20 s ended early: no connection was open any more' in early.stderr


def test_requests_that_no_connection_is_free_for_are_told(load):
    with answering(lambda connection: time.sleep(9)) as url:
        crowd = load('-c', '2', '--requests-per-second', '50', '--timeout', '5', '--hold', '1', url)
    requests = crowd.figures['requests']
    assert crowd.status == 1
    assert requests['due'] == 50 and requests['unsent'] == 48 and requests['unfinished'] == 2
    assert requests['latency_us']['count'] == requests['latency_lower_bounds'] == 50
    assert 400000 < requests['latency_us']['p50'] and requests['latency_us']['max'] > 900000
    assert '50 of 50 are lower bounds' in crowd.stderr


def test_a_client_that_is_kept_waiting_shows_what_it_could_not_ask(load):
    with answering(lambda connection: time.sleep(9)) as url:
        crowd = load('-c', '2', '--each-every', '0.1', '--hold', '1', '--threads', '1', url)
    requests = crowd.figures['requests']
    assert crowd.status == 1 and requests['due'] == 20 and requests['unsent'] == 18 and requests['unfinished'] == 2
    assert requests['latency_us']['count'] == requests['latency_lower_bounds'] == 20
    assert requests['latency_us']['min'] > 900000, 'they waited until the end'


def test_slow_readers_that_are_never_answered_fail(load_on):
    with answering(lambda connection: time.sleep(9)) as url:
        crowd = load_on('-c', '3', '--slow', '1000', '--hold', '0.3', url)
    requests = crowd.figures['requests']
    assert crowd.status == 1 and requests['unfinished'] == requests['latency_lower_bounds'] == 3


def test_the_servers_death_is_a_loss(load, mortal):
    crowd = load.start('-c', '40', '--requests-per-second', '0', '--hold', '20', mortal.url)
    crowd.until('opened 40')
    mortal.process.kill()
    crowd.wait()
    connections = crowd.figures['connections']
    assert crowd.status == 1
    assert connections['lost'] + connections['reset'] == 40 and connections['held_seconds'] < 18
    mortal.process.wait()


def test_a_restarted_server_gets_its_crowd_back(load, mortal):
    crowd = load.start('-c', '30', '--reconnect', '--hold', '60', mortal.url)
    crowd.until('opened 30')
    mortal.stop()
    again = Server(mortal.folder, listen=[f'127.0.0.1:{mortal.address[1]}'])
    crowd.until('opened 60')
    crowd.process.send_signal(signal.SIGINT)
    crowd.wait()
    again.close()
    connections = crowd.figures['connections']
    assert crowd.status == 1 and connections['lost'] + connections['reset'] == 30
    assert connections['opened'] == 60


def test_those_never_tried_are_opened_before_those_that_failed(load):
    """Opening ends although each attempt fails and is repeated."""
    with socket.socket() as deaf:
        deaf.bind(('127.0.0.1', 0))
        crowd = load('-c', '60', '--open-rate', '40', '--reconnect', '--hold', '0', f'http://127.0.0.1:{deaf.getsockname()[1]}/')
    assert crowd.status == 1 and 60 <= crowd.figures['connections']['failed'] <= 65
    assert 1.2 < crowd.figures['connections']['open_seconds'] < 10


# ---- when it refuses ----

def ports():
    with open('/proc/sys/net/ipv4/ip_local_port_range', encoding='ascii') as file:
        first, last = map(int, file.read().split())
    return last - first + 1


def test_it_says_how_many_addresses_are_needed(load, target):
    half = ports() // 2
    crowd = load('-c', '10', '--hold', '0', target.url)
    assert f'10 connections over {half:,} ports' in crowd.stderr and 'need 1 pair of' in crowd.stderr


def test_too_few_addresses_are_refused_with_the_arithmetic(load):
    count = ports() + 1
    crowd = load('-c', str(count), '--source', '127.0.0.1', 'http://127.0.0.1:1/')
    assert crowd.status == 2 and crowd.figures is None
    assert re.search(rf'{count:,} connections over .* need 3 pairs .*; there is 1: 127\.0\.0\.1 to 127\.0\.0\.1:1', crowd.stderr)


def test_sources_are_taken_by_itself_where_they_are_needed(load, target):
    """The kernel's range is left alone; so there is one that needs more sources than this process may have."""
    crowd = load('-c', str(16000000), 'http://127.0.0.1:1/')
    assert crowd.status == 2
    assert re.search(r'16,000,000 connections over .*: 127\.0\.0\.1-127\.0\.\d+\.\d+ to 127\.0\.0\.1:1', crowd.stderr)


def test_given_sources_are_used(load_on):
    seen = set()

    def answer(connection):
        seen.add(connection.getpeername()[0])
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
        time.sleep(3)
    with answering(answer) as url:
        crowd = load_on('-c', '9', '--source', '127.0.0.7-127.0.0.8,127.0.1.1', '--hold', '0', url)
    assert crowd.status == 0 and seen == {'127.0.0.7', '127.0.0.8', '127.0.1.1'}


def test_epoll_needs_descriptors_and_says_so(load, target):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    crowd = load('-c', '200', '--engine=epoll', target.url, wrapper=['prlimit', '--nofile=100:100'])
    assert crowd.status == 2 and 'RLIMIT_NOFILE is 100' in crowd.stderr and hard > 100


def test_rings_without_direct_descriptors_need_descriptors(load, monkeypatch):
    monkeypatch.setenv('BERTH_URING_WITHOUT', 'direct')
    crowd = load('-c', '300', '--engine=uring', '--threads', '2', 'http://127.0.0.1:1/', wrapper=['prlimit', '--nofile=200:200'])
    if 'cannot start' in crowd.stderr:
        pytest.skip('no io_uring here')
    assert crowd.status == 2 and 'before Linux 6.8' in crowd.stderr


def test_sources_without_the_rings_bind_need_descriptors(load, monkeypatch):
    monkeypatch.setenv('BERTH_URING_WITHOUT', 'bind')
    crowd = load('-c', '300', '--engine=uring', '--source', '127.0.0.1-127.0.0.2', 'http://127.0.0.1:1/',
                 wrapper=['prlimit', '--nofile=200:200'])
    if 'cannot start' in crowd.stderr:
        pytest.skip('no io_uring here')
    assert crowd.status == 2 and 'RLIMIT_NOFILE is 200' in crowd.stderr and 'a descriptor for each' in crowd.stderr


@pytest.mark.parametrize('options', [
    [], ['ftp://a/'], ['https://a/'], ['http://a:0/'], ['http://a:9-8/'], ['http:///'],
    ['-c', '0', 'http://127.0.0.1/'], ['-c', 'x', 'http://127.0.0.1/'], ['--hold', '-1', 'http://127.0.0.1/'],
    ['--requests-per-second', '5', '--each-every', '5', 'http://127.0.0.1/'], ['--port-range', '5', 'http://127.0.0.1/'],
    ['--source', 'x', 'http://127.0.0.1/'], ['--source', '::1', 'http://127.0.0.1/'], ['--header', 'x', 'http://127.0.0.1/'],
    ['--header', 'A: b\r\nC: d', 'http://127.0.0.1/'], ['--json', '/nowhere/x', 'http://127.0.0.1/'],
    ['--admin-url', 'x', 'http://127.0.0.1/'], ['--nothing', 'http://127.0.0.1/'], ['--slow', '0', 'http://127.0.0.1/'],
    ['http://127.0.0.1/', 'http://localhost/'], ['http://127.0.0.1:80-90/', 'http://127.0.0.1:85-95/'],
    ['--json', '-', '--report', '-', 'http://127.0.0.1/'],
])
def test_wrong_options_end_with_2_and_a_line(options):
    run = subprocess.run([*COMMAND, 'load', *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20,
                         check=False)
    assert run.returncode == 2 and run.stdout == '' and run.stderr.startswith('berth: '), run.stderr
    assert ('there is no TLS' in run.stderr) == (options == ['https://a/'])


# ---- how it ends ----

@pytest.mark.parametrize('number', sorted({signal.SIGINT, END}))
def test_a_signal_ends_it_with_the_figures(load, target, number):
    crowd = load.start('-c', '30', '--requests-per-second', '100', '--hold', '60', target.url)
    crowd.until('opened 30')
    crowd.process.send_signal(number)
    crowd.wait()
    assert crowd.status == 0 and crowd.figures['interrupted']
    assert crowd.figures['connections']['opened'] == 30 and crowd.figures['requests']['answered'] > 0
    assert crowd.figures['connections']['lost'] == 0
    assert 'connections  30 opened of 30' in crowd.stderr


def test_a_second_signal_ends_it_at_once(load):
    with answering(lambda connection: time.sleep(30)) as url:
        crowd = load.start('-c', '5', '--hold', '60', url)
        crowd.until('opened 5')
        crowd.process.send_signal(signal.SIGINT)
        crowd.until('a second signal ends at once')
        start = time.monotonic()
        crowd.process.send_signal(signal.SIGINT)
        crowd.wait()
    assert time.monotonic() - start < 1.5, 'answers are waited for two seconds'
    assert crowd.figures['connections']['opened'] == 5


def test_a_report_is_one_page_with_the_figures_inside(load, target, tmp_path):
    report = tmp_path / 'report.html'
    crowd = load('-c', '5', '--hold', '0', '--report', str(report), target.url + '?</script><b>')
    page = report.read_text()
    inside = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)[1]
    assert crowd.status == 0 and json.loads(inside) == crowd.figures
    assert not re.search(r'(src|href)=|@import|url\(', page), 'it needs nothing else'
    assert '<b>' not in inside and crowd.figures['options']['urls'] == [target.url + '?</script><b>']


def test_a_report_to_standard_output_stands_there_alone(target):
    run = subprocess.run([*COMMAND, 'load', '-c', '2', '--hold', '0', '--report', '-', target.url + '?' + 'x' * 5000],
                         capture_output=True, text=True, timeout=20, check=False)
    assert run.returncode == 0 and run.stdout.startswith('<!') and run.stdout.rstrip().endswith('</html>')
    assert 'connections  2 opened of 2' in run.stderr and 'x' * 5000 in run.stdout


@pytest.mark.parametrize('options', [[], ['--json=-'], ['--report=-'], ['--json=/dev/full']])
def test_a_full_output_is_a_failure(target, options):
    with open('/dev/full', 'w', encoding='utf-8') as full:
        run = subprocess.run([*COMMAND, 'load', '-c', '2', '--hold', '0', *options, target.url], stdout=full,
                             stderr=subprocess.PIPE, text=True, timeout=20, check=False)
    assert run.returncode == 1 and re.search('No space left|Input/output error', run.stderr)


def test_figures_may_go_into_a_pipe(target, tmp_path):
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    with subprocess.Popen([*COMMAND, 'load', '-q', '-c', '2', '--hold', '0', '--json', str(pipe), target.url],
                          stdout=subprocess.DEVNULL) as process:
        assert json.loads(pipe.read_text())['connections']['opened'] == 2
        assert process.wait(10) == 0


def test_metrics_that_trickle_do_not_hold_up_the_end(load, target):
    def trickle(connection):
        connection.sendall(b'HTTP/1.1 200 OK\r\n')
        for _ in range(100):
            connection.sendall(b'X: y\r\n')
            time.sleep(0.1)
    with answering(trickle) as admin:
        start = time.monotonic()
        crowd = load('-c', '3', '--hold', '0.3', '--admin-url', admin, target.url)
    assert crowd.status == 0 and time.monotonic() - start < 8 and 'no metrics could be read' in crowd.stderr


def test_the_metrics_of_a_dead_server_are_not_repeated(load, target):
    pages = 2 * [b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nberth_connections 7\n']  # one may fall between two rows
    with answering(lambda connection: connection.sendall(pages.pop() if pages else b'')) as admin:
        crowd = load('-c', '3', '--hold', '3.2', '--admin-url', admin, target.url)
    values = [row[-1] for row in crowd.figures['series']['rows']]
    assert 7 in values and values[-1] is None


def test_the_servers_metrics_are_in_the_series(load, target):
    page = b'process_resident_memory_bytes 12345678\nberth_connections{state="resting"} 7\nother 1\n'
    with answering(lambda c: c.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n' + page)) as admin:
        crowd = load('-c', '3', '--hold', '1.2', '--admin-url', admin, target.url)
    series = crowd.figures['series']
    assert series['metrics'] == ['process_resident_memory_bytes', 'berth_connections{state="resting"}']
    assert series['rows'][-1][-2:] == [12345678, 7] and crowd.figures['metrics']['read'] >= 1


def test_progress_is_a_line_a_second(load, target):
    crowd = load('-c', '5', '--requests-per-second', '50', '--hold', '1.5', target.url)
    assert re.search(r'^1\.\d s  opened 5  failed 0  in flight \d+  req/s \d+  p50 [\d.]+ m?s  p99 [\d.]+ m?s$', crowd.stderr,
                     re.MULTILINE)
    quiet = load('-q', '-c', '5', '--requests-per-second', '50', '--hold', '1.1', target.url)
    assert 'in flight' not in quiet.stderr and 'connections  5 opened' in quiet.stderr
