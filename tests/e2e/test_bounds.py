"""Walks into each bound of `berth serve`. At every one of them the same must hold: those inside are served on, who waits
is served as soon as there is room, nothing accepted is lost, and each refusal is counted by its reason.

What takes seconds of waiting happens in the background while the other tests run (patience.py).
"""
import contextlib
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import PROGRAM, eventually
from patience import in_the_background, patience  # noqa: F401: a fixture
from ports import lasting_ports
from test_admin import admin  # noqa: F401: a fixture
from wire import TIMEOUT, Connection, fetch, request

MEGABYTE = 1 << 20
HALF_A_HEAD = b'GET /file HTTP/1.1\r\nHos'
OTHER_HALF = b't: x\r\n\r\n'


def refusals(server, reason):
    return server.metric(f'berth_refusals_total{{reason="{reason}"}}')


def state(server, name):
    return server.metric(f'berth_connections{{state="{name}"}}')


def run(*options, timeout=20):
    command = [PROGRAM, 'serve', '--listen=127.0.0.1:0', *options, '.']
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def one_line(result, code):
    assert result.returncode == code, result
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith('berth: ') and len(lines[0]) < 300, result.stderr
    return lines[0]


def is_gone(connection):
    """The server has closed or reset it; what it had sent before is read away."""
    connection.socket.settimeout(0.02)
    try:
        while connection.socket.recv(1 << 16):
            pass
        return 'closed'
    except ConnectionResetError:
        return 'reset'
    except TimeoutError:
        return None


def ready(crowd, seconds):
    """Those that have an answer, or their end. There are too many descriptors for select()."""
    poll, by_descriptor = select.poll(), {connection.socket.fileno(): connection for connection in crowd}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    return [by_descriptor[descriptor] for descriptor, _ in poll.poll(seconds * 1000)]


def has_answer(connection, seconds):
    return bool(ready([connection], seconds))


def bodies_as_they_come(crowd):
    """Reads the answers in whatever order they come and closes at once, so that each place is free again."""
    bodies, left = [], set(crowd)
    while left:
        answered = ready(left, TIMEOUT)
        assert answered, f'{len(left)} of {len(crowd)} are not answered'
        for connection in answered:
            left.remove(connection)
            bodies.append(connection.read_response().body)
            connection.socket.close()
    return bodies


def large_file(server, size=64 * MEGABYTE, name='large'):
    """Zeros without disk space."""
    with open(server.folder / name, 'wb') as file:
        file.truncate(size)
    return size


def slow_download(server, stack, target='/large', *fields, **options):
    """Someone who has asked and read the head, and does not go on."""
    connection = stack.enter_context(Connection(server.address, receive_buffer=4096, **options))
    connection.send(request(target, *fields))
    connection.read_head()
    return connection


def log_lines(server, path, count=None):
    """The access log as JSON, once `count` lines have been written."""
    if count is not None:
        eventually(lambda: path.exists() and len(path.read_text().splitlines()) >= count)
    return [json.loads(line) for line in path.read_text().splitlines()]


def timed(connection, start):
    """The answer, and how long after `start` it came. A server that says so ends the connection, and in order."""
    response = connection.read_response()
    seconds = time.monotonic() - start
    if response.get('Connection') == 'close':
        connection.expect_end()
    return response, seconds


# ---- --connections ----

@pytest.mark.parametrize('threads', [1, 2, 3])
def test_every_place_can_be_taken(admin, threads):
    """The kernel deals connections to the threads unevenly; all are served until the whole server is full."""
    server = admin('--connections=20', f'--threads={threads}')
    for turn in range(4):
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(server.connect()) for _ in range(20)]
            random.shuffle(crowd)
            for connection in crowd:
                connection.send(request('/file'))
            for connection in crowd:
                assert connection.read_response().body == b'content'
            for connection in crowd:
                assert connection.ask('/file').status == 200
            if turn == 3:
                server.becomes('berth_pool_used{pool="connections"}', 20)
        if turn == 3:
            server.becomes('berth_pool_used{pool="connections"}', 0)
    assert server.metric('berth_pool_limit{pool="connections"}') == 20
    assert refusals(server, 'shed_idle') == 0


def test_places_of_a_full_shard_are_found_on_the_others_at_once(admin):
    """Who comes to a full shard does not wait for the second's round, nor for anybody's leaving."""
    server = admin('--connections=60', '--threads=3')
    with contextlib.ExitStack() as stack:
        waits = []
        for _ in range(60):
            start = time.monotonic()
            stack.enter_context(server.connect()).ask('/file')
            waits.append(time.monotonic() - start)
        assert sum(wait > 0.5 for wait in waits) < 5, waits


@in_the_background
def test_a_newcomer_takes_the_place_of_the_one_quiet_longest(admin):
    server = admin('--connections=20', '--threads=1')
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(server.connect()) for _ in range(20)]
        for connection in crowd:
            connection.ask('/file')
            time.sleep(0.01)
        oldest = crowd[0]
        for connection in [*crowd[1:], oldest, crowd[1]]:  # 2 is now the one quiet longest, then 3
            connection.ask('/file')
        server.becomes('berth_connections{state="resting"}', 20)
        assert stack.enter_context(server.connect()).ask('/file').body == b'content'
        assert is_gone(crowd[2]) == 'reset'
        others = crowd[:2] + crowd[3:]
        assert [is_gone(one) for one in others] == [None] * 19, 'one place was needed, not more'
        for connection in others:
            connection.socket.settimeout(TIMEOUT)
            assert connection.ask('/file').body == b'content'
        server.becomes('berth_refusals_total{reason="shed_idle"}', 1)
        assert refusals(server, 'connections') >= 1


@in_the_background
def test_who_never_said_anything_goes_first(admin):
    server = admin('--connections=10', '--threads=1')
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(server.connect())
        crowd = [stack.enter_context(server.connect()) for _ in range(9)]
        for connection in crowd:
            connection.ask('/file')
        server.becomes('berth_connections{state="resting"}', 10)
        assert stack.enter_context(server.connect()).ask('/file').status == 200
        assert is_gone(silent) == 'reset'
        assert [is_gone(one) for one in crowd] == [None] * 9


@pytest.mark.parametrize('threads', [1, 2])
def test_who_is_busy_is_never_sent_away(admin, threads):
    """All places download: newcomers wait, and each gets in when one leaves; none is lost."""
    server = admin('--connections=6', f'--threads={threads}')
    size = large_file(server, 16 * MEGABYTE)
    with contextlib.ExitStack() as stack:
        downloads = [slow_download(server, stack) for _ in range(6)]
        newcomers = [stack.enter_context(server.connect()) for _ in range(5)]
        for connection in newcomers:
            connection.send(request('/file', 'Connection: close'))
        assert not [one for one in newcomers if has_answer(one, 0.5)]
        downloads.pop().socket.close()
        start = time.monotonic()
        assert bodies_as_they_come(newcomers) == [b'content'] * 5  # one after the other through the one free place
        assert time.monotonic() - start < 4, 'not one a second'
        for connection in downloads:
            assert connection.read(size) == bytes(size)
        assert refusals(server, 'connections') >= 1 and refusals(server, 'shed_idle') == 0
        for connection in downloads:
            connection.expect_open('/file')


def test_many_more_clients_than_places_are_all_served(admin):
    server = admin('--connections=4', '--threads=2')
    results = []

    def ask():
        for _ in range(10):
            results.append(server.fetch('/file', 'Connection: close').body)
    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [b'content'] * 120


@pytest.mark.skipif(not shutil.which('ss'), reason='ss is not installed')
def test_never_more_than_the_bound_are_open(admin):
    """Seen from outside: sockets of the process that are connections."""
    server = admin('--connections=15', '--threads=3')
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(server.connect()) for _ in range(40)]
        for connection in crowd:
            connection.send(HALF_A_HEAD)
        for _ in range(4):
            assert accepted_sockets(server) <= 15
            time.sleep(0.2)
        eventually(lambda: accepted_sockets(server) == 15)
        assert refusals(server, 'connections') >= 1
        for connection in crowd:
            connection.send(OTHER_HALF[:-2] + b'Connection: close\r\n\r\n')
        start = time.monotonic()
        assert bodies_as_they_come(crowd) == [b'content'] * 40
        assert time.monotonic() - start < 10, 'not one a second'


def accepted_sockets(server):
    """Established, at the server's address, and accepted by somebody: those still in a queue have no inode."""
    command = ['ss', '-Hten', 'state', 'established', f'sport = :{server.address[1]}']
    lines = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.splitlines()
    return sum('ino:0 ' not in line and 'ino:' in line for line in lines)


def test_fewer_connections_than_threads(admin):
    server = admin('--connections=2', '--threads=4')
    with server.connect() as one, server.connect() as other:
        assert one.ask('/file').status == other.ask('/file').status == 200
    assert server.metric('berth_shards') == 2


# ---- --requests ----

def test_requests_beyond_the_bound_wait_and_come_in_their_order(admin, tmp_path):
    log = tmp_path / 'log'
    server = admin('--requests=1', '--threads=1', f'--access-log={log}', '--log-format=json')
    with contextlib.ExitStack() as stack:
        holder, *others = [stack.enter_context(server.connect()) for _ in range(9)]
        holder.send(HALF_A_HEAD)
        server.becomes('berth_connections{state="busy"}', 1)
        for number, connection in enumerate(others):
            connection.send(request(f'/{number}'))
            time.sleep(0.02)
        server.becomes('berth_connections{state="waiting"}', 8)
        holder.send(OTHER_HALF)
        assert holder.read_response().body == b'content'
        for connection in others:
            assert connection.read_response().status == 404
    targets = [line['target'] for line in log_lines(server, log, 9)]
    assert targets == ['/file', *(f'/{number}' for number in range(8))]
    assert refusals(server, 'requests') == 0


@in_the_background
def test_those_at_rest_wait_in_the_same_line(admin, tmp_path):
    """Some were quiet for long and hold no memory, some have just come. Each kind keeps its order."""
    log = tmp_path / 'log'
    server = admin('--requests=1', '--threads=1', f'--access-log={log}', '--log-format=json')
    with contextlib.ExitStack() as stack:
        holder, *resting = [stack.enter_context(server.connect()) for _ in range(6)]
        for connection in resting:
            connection.ask('/resting')
        server.becomes('berth_connections{state="resting"}', 6)
        fresh = [stack.enter_context(server.connect()) for _ in range(5)]
        holder.send(HALF_A_HEAD)
        server.becomes('berth_connections{state="busy"}', 1)
        asked = [one for pair in zip(resting, fresh) for one in pair]
        for number, connection in enumerate(asked):
            connection.send(request(f'/{number}'))
            time.sleep(0.02)
        server.becomes('berth_connections{state="waiting"}', 10)
        holder.send(OTHER_HALF)
        for connection in [holder, *asked]:
            connection.read_response()
    targets = [line['target'] for line in log_lines(server, log, 16)]
    assert targets[5] == '/file'
    assert [target for target in targets[6:] if int(target[1:]) % 2 == 0] == [f'/{n}' for n in range(0, 10, 2)]
    assert [target for target in targets[6:] if int(target[1:]) % 2 == 1] == [f'/{n}' for n in range(1, 10, 2)]


@in_the_background
def test_newcomers_do_not_overtake_one_who_rested(admin, tmp_path):
    """One that was at rest has still to receive when its turn comes; nobody takes the turn meanwhile."""
    log = tmp_path / 'log'
    server = admin('--requests=1', '--threads=1', f'--access-log={log}', '--log-format=json')
    ended = threading.Event()

    def hammer():
        with server.connect() as connection:
            while not ended.is_set():
                connection.ask('/hammer')
    with server.connect() as rested:
        rested.ask('/rested')
        server.becomes('berth_connections{state="resting"}', 1)
        threads = [threading.Thread(target=hammer) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.3)
            start = time.monotonic()
            for _ in range(3):
                assert rested.ask('/rested').status == 404
            assert time.monotonic() - start < 9
        finally:
            ended.set()
            for thread in threads:
                thread.join()


def test_bytes_of_those_who_wait_are_kept(admin):
    """Requests one behind the other, and the second part of one that comes while it waits."""
    server = admin('--requests=1', '--threads=1')
    for number in range(20):
        (server.folder / f'{number}').write_bytes(b'%d' % number * 100)
    with server.connect() as holder, server.connect() as piped, server.connect() as cut:
        holder.send(HALF_A_HEAD)
        server.becomes('berth_connections{state="busy"}', 1)
        piped.send(b''.join(request(f'/{number}') for number in range(10)))
        cut.send(request('/15')[:-2])
        server.becomes('berth_connections{state="waiting"}', 2)
        piped.send(b''.join(request(f'/{number}') for number in range(10, 20)))
        cut.send(b'\r\n')
        time.sleep(0.1)
        holder.send(OTHER_HALF)
        assert holder.read_response().body == b'content'
        for number in range(20):
            assert piped.read_response().body == b'%d' % number * 100
        assert cut.read_response().body == b'15' * 100


def test_a_request_and_the_end_of_its_client_wait_together(admin):
    server = admin('--requests=1', '--threads=1')
    with server.connect() as holder, server.connect() as half_closed, server.connect() as gone:
        holder.send(HALF_A_HEAD)
        server.becomes('berth_connections{state="busy"}', 1)
        half_closed.send(request('/file'))
        half_closed.end_sending()
        gone.send(request('/file'))
        server.becomes('berth_connections{state="waiting"}', 2)
        gone.socket.close()
        holder.send(OTHER_HALF)
        holder.read_response()
        assert half_closed.read_response().body == b'content'
        half_closed.expect_end()
    server.becomes('berth_pool_used{pool="requests"}', 0)


@in_the_background
def test_after_ten_seconds_of_waiting_503(admin):
    """One that has come just now, with a second request behind the first, and one that was at rest."""
    server = admin('--requests=1', '--threads=1')
    with server.connect() as holder, server.connect() as fresh, server.connect() as resting:
        resting.ask('/file')
        server.becomes('berth_connections{state="resting"}', 3)
        holder.send(HALF_A_HEAD)
        server.becomes('berth_connections{state="busy"}', 1)
        start = time.monotonic()
        fresh.send(request('/file') + request('/file'))
        resting.send(request('/file'))
        answers = timed(fresh, start), timed(resting, start)
        for response, _ in answers:
            assert response.status == 503 and response.get('Retry-After') == '10'
            assert response.get('Connection') == 'close' and b'Try later' in response.body
        assert 9 < answers[0][1] < 25
        assert refusals(server, 'requests') == 2
        holder.send(OTHER_HALF)
        assert holder.read_response().body == b'content'
    server.becomes('berth_pool_used{pool="requests"}', 0)
    assert server.fetch('/file').body == b'content'


# ---- --max-sends ----

def test_answers_without_a_file_need_no_place_to_send(admin):
    server = admin('--max-sends=1', '--threads=1')
    large_file(server)
    (server.folder / 'folder').mkdir()
    etag = server.fetch('/file').get('ETag')
    with contextlib.ExitStack() as stack:
        slow = slow_download(server, stack)
        waiting = stack.enter_context(server.connect())
        waiting.send(request('/file'))
        assert server.fetch('/file', method='HEAD').get('Content-Length') == '7'
        assert server.fetch('/file', f'If-None-Match: {etag}').status == 304
        assert server.fetch('/file', 'If-Match: "x"').status == 412
        assert server.fetch('/file', 'Range: bytes=100-').status == 416
        assert server.fetch('/none').status == 404
        assert server.fetch('/folder').status == 301
        assert server.fetch('/folder/').status == 200
        assert server.fetch('/', method='OPTIONS').status == 204
        assert not has_answer(waiting, 0.1)
        slow.socket.close()
        assert waiting.read_response().body == b'content'
    assert refusals(server, 'sends') == 0


@in_the_background
def test_a_slow_download_keeps_its_place_when_it_is_handed_over(admin):
    server = admin('--max-sends=2', '--threads=1')
    size = large_file(server, 16 * MEGABYTE)
    with contextlib.ExitStack() as stack:
        downloads = [slow_download(server, stack) for _ in range(2)]
        server.becomes('berth_connections{state="sending"}', 2)
        waiting = stack.enter_context(server.connect())
        waiting.send(request('/file'))
        assert not has_answer(waiting, 0.3)
        assert downloads[0].read(size) == bytes(size)
        assert waiting.read_response().body == b'content'
        assert not has_answer(stack.enter_context(server.connect()), 0)
        assert downloads[1].read(size) == bytes(size)
        assert downloads[0].ask('/file').body == downloads[1].ask('/file').body == b'content'


def test_places_to_send_are_given_in_the_order_of_asking(admin, tmp_path):
    """Whoever asks for one file after another does not take each place before those who wait."""
    log = tmp_path / 'log'
    server = admin('--max-sends=1', '--threads=1', f'--access-log={log}', '--log-format=json')
    large_file(server)
    (server.folder / 'first').write_bytes(b'first')
    (server.folder / 'second').write_bytes(b'second')
    with contextlib.ExitStack() as stack:
        slow = slow_download(server, stack)
        greedy, first, second = [stack.enter_context(server.connect()) for _ in range(3)]
        greedy.send(request('/file') * 50)
        time.sleep(0.05)
        first.send(request('/first'))
        time.sleep(0.05)
        second.send(request('/second'))
        time.sleep(0.05)
        slow.socket.close()
        assert first.read_response().body == b'first' and second.read_response().body == b'second'
        for _ in range(50):
            assert greedy.read_response().body == b'content'
    targets = [line['target'] for line in log_lines(server, log, 53)]
    assert targets[:4] == ['/large', '/file', '/first', '/second']


def test_who_leaves_while_waiting_for_a_place_takes_none(admin):
    server = admin('--max-sends=1', '--threads=1')
    large_file(server)
    with contextlib.ExitStack() as stack:
        slow = slow_download(server, stack)
        for _ in range(10):
            with server.connect() as connection:
                connection.send(request('/file'))
        waiting = stack.enter_context(server.connect())
        waiting.send(request('/file'))
        time.sleep(0.2)
        slow.socket.close()
        assert waiting.read_response().body == b'content'
        assert server.fetch('/file').body == b'content'


@in_the_background
def test_after_ten_seconds_without_a_place_to_send_503(admin):
    server = admin('--max-sends=1', '--threads=1')
    large_file(server)
    with contextlib.ExitStack() as stack:
        slow = slow_download(server, stack)
        refused = stack.enter_context(server.connect())
        start = time.monotonic()
        refused.send(request('/file'))
        response, seconds = timed(refused, start)
        assert response.status == 503 and response.get('Retry-After') == '10' and 9 < seconds < 25
        assert refusals(server, 'sends') == 1
        assert server.fetch('/file', method='HEAD').status == 200
        slow.socket.close()
        assert server.fetch('/file').body == b'content'


# ---- --per-address ----

def test_one_address_has_its_part_and_no_more(admin):
    server = admin('--per-address=3', '--threads=2')
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(server.connect(source='127.0.0.2')) for _ in range(3)]
        for connection in crowd:
            assert connection.ask('/file').status == 200
        for asks in [True, False]:
            with server.connect(source='127.0.0.2') as refused:
                if asks:
                    refused.send(request('/file'))
                response = refused.read_response()
                assert response.status == 503 and response.get('Retry-After') == '10'
                refused.expect_end()
        assert refusals(server, 'address') == 2
        with server.connect(source='127.0.0.3') as other:
            assert other.ask('/file').status == 200
        for connection in crowd:
            assert connection.ask('/file').status == 200
        crowd.pop().socket.close()
        eventually(lambda: answered_from(server, '127.0.0.2'))
        assert refusals(server, 'shed_idle') == 0


def answered_from(server, source):
    with server.connect(source=source) as connection:
        return connection.ask('/file').status == 200


def test_those_refused_by_address_do_not_count(admin):
    """However many are told to come again, they keep nobody out once one has left."""
    server = admin('--per-address=1', '--threads=1')
    with server.connect(source='127.0.0.2') as first:
        first.ask('/file')
        for _ in range(50):
            assert not answered_from(server, '127.0.0.2')
    eventually(lambda: answered_from(server, '127.0.0.2'))
    eventually(lambda: answered_from(server, '127.0.0.2'))
    server.check_descriptors()


@in_the_background
def test_an_address_at_rest_and_in_a_download_counts_on(admin):
    server = admin('--per-address=2', '--threads=1')
    large_file(server)
    with contextlib.ExitStack() as stack:
        resting = stack.enter_context(server.connect(source='127.0.0.2'))
        resting.ask('/file')
        slow = slow_download(server, stack, source='127.0.0.2')
        server.becomes('berth_connections{state="sending"}', 1)
        server.becomes('berth_connections{state="resting"}', 1)
        assert not answered_from(server, '127.0.0.2')
        resting.ask('/file')
        slow.socket.close()
        eventually(lambda: answered_from(server, '127.0.0.2'))


def test_ipv6_has_its_bound_too(admin):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(('::1', 0))
    except OSError:
        pytest.skip('no IPv6 here')
    server = admin('--per-address=1', '--threads=1', listen=['[::1]:0', '127.0.0.1:0'])
    with server.connect() as first:
        first.ask('/file')
        assert fetch(server.addresses[0], '/file').status == 503
        assert fetch(server.addresses[1], '/file').status == 200


def test_a_unix_socket_has_no_addresses(admin, tmp_path):
    server = admin('--per-address=1', '--threads=1', listen=['127.0.0.1:0', f'unix:{tmp_path}/socket'])
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            assert stack.enter_context(Connection(f'{tmp_path}/socket')).ask('/file').status == 200


# ---- --memory ----

def is_instrumented():
    return b'__asan_' in pathlib.Path(PROGRAM).read_bytes() or b'__tsan_' in pathlib.Path(PROGRAM).read_bytes()


def stated(server):
    """connections, requests, downloads, MiB here, MiB in the kernel."""
    line = re.compile(r'up to (\d+) connections, (\d+) requests and (\d+) downloads at a time; '
                      r'then (\d+) MiB here and (\d+) MiB in the kernel\n')
    eventually(lambda: line.search(server.stderr()))
    return [int(number) for number in line.search(server.stderr()).groups()]


def least_memory(engine, *options):
    """MiB, as the program says."""
    return int(re.search(r'at least (\d+) MiB', one_line(run('--memory=1M', *options, f'--engine={engine}'), 2))[1])


@pytest.mark.parametrize('more', ['0M', '10m', '65536K', '1G'])
def test_memory_bounds_the_sum_of_all_bounds(serve, engine, more):
    least = least_memory(engine, '--threads=2')
    size = int(more[:-1]) << {'K': 0, 'M': 10, 'm': 10, 'G': 20}[more[-1]]
    server = serve(f'--memory={(least << 10) + size}K', '--threads=2')
    connections, requests, sends, here, _ = stated(server)
    assert here <= least + (size >> 10) and connections >= 512 and requests >= 128 and sends >= 128
    assert here > (least + (size >> 10)) / 2 or connections > 10000


def test_memory_does_not_cut_what_was_given_by_number(serve):
    server = serve('--memory=64M', '--connections=1000', '--requests=100', '--max-sends=200', '--threads=1')
    assert stated(server)[:3] == [1000, 100, 200]


def test_too_little_memory_ends_with_the_arithmetic(engine):
    line = one_line(run('--memory=4M', '--threads=2', f'--engine={engine}'), 2)
    assert re.search(r'--memory: 2 threads with \d+ connections, \d+ requests and \d+ downloads need at least \d+ MiB',
                     line)
    line = one_line(run('--memory=100M', '--requests=100000', f'--engine={engine}'), 2)
    assert '100000 requests' in line
    least = int(re.search(r'at least (\d+) MiB', line)[1])
    assert 2000 < least < 3500


@pytest.mark.skipif(is_instrumented(), reason='the sanitizer takes more memory than the server')
def test_memory_stays_below_what_was_stated(admin, engine):
    """Walked into with all at once: connections, requests that are half there, downloads, listings, small files."""
    server = admin(f"--memory={least_memory(engine, '--threads=2') + 2}M", '--threads=2')
    connections, requests, _, here, _ = stated(server)
    large_file(server)
    for number in range(1000):
        (server.folder / f'{number}').write_bytes(os.urandom(15000))
    peak, ended = [0], threading.Event()

    def watch():
        while not ended.is_set():
            peak[0] = max(peak[0], server.rss())
            time.sleep(0.01)
    watcher = threading.Thread(target=watch)
    watcher.start()
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Connection(server.address, receive_buffer=4096)) for _ in range(connections - 5)]
        for number, connection in enumerate(crowd):
            kind = number % 5
            connection.send([request(f'/{number}'), request('/large'), request('/'), HALF_A_HEAD + b'x' * 8000,
                             request('/large', 'Range: bytes=0-9999999,20000000-')][kind])
        time.sleep(4)
        for connection in crowd:
            connection.socket.close()
    ended.set()
    watcher.join()
    assert peak[0] < here << 20, f'{peak[0] >> 10} KiB of {here} MiB'
    eventually(lambda: server.fetch('/file').status == 200)


# ---- patience: --head-timeout, --idle-timeout, --body-min-rate ----
# The server counts whole seconds, so one that has only begun may be missing; and who tests may lose another.

@in_the_background
def test_who_says_nothing_is_closed_at_the_head_timeout(admin):
    server = admin('--head-timeout=4', '--threads=1')
    start = time.monotonic()
    with server.connect() as silent, server.connect() as kept:
        kept.ask('/file')
        silent.expect_end()
        assert 2.5 < time.monotonic() - start < 15
        time.sleep(1)
        assert kept.ask('/file').status == 200, 'it had asked already; how long it may rest is another matter'
    assert refusals(server, 'late_head') == 1


@in_the_background
def test_a_head_in_drops_is_answered_408(admin):
    server = admin('--head-timeout=4', '--threads=1')
    start = time.monotonic()
    with server.connect() as connection:
        connection.send(b'GET /file HTTP/1.1\r\nX: ')
        while not has_answer(connection, 0.2):
            connection.send(b'x')
            assert time.monotonic() - start < 15
        assert 2.5 < time.monotonic() - start < 15
        response = connection.read_response()
        assert response.status == 408 and response.get('Connection') == 'close'
        connection.expect_end()
    server.becomes('berth_refusals_total{reason="late_head"}', 1)


@in_the_background
def test_the_second_head_has_as_much_time(admin):
    server = admin('--head-timeout=4', '--threads=1')
    with server.connect() as connection:
        connection.send(request('/file') + HALF_A_HEAD)
        assert connection.read_response().status == 200
        assert connection.read_response().status == 408
        connection.expect_end()


@in_the_background
def test_the_quiet_are_closed_at_the_idle_timeout(admin):
    server = admin('--idle-timeout=4', '--threads=1')
    with server.connect() as quiet, server.connect() as busy:
        start = time.monotonic()
        quiet.ask('/file')
        while not has_answer(quiet, 0.3):
            assert busy.ask('/file').status == 200
            assert time.monotonic() - start < 15
        assert 2.5 < time.monotonic() - start < 15
        quiet.expect_end()
        assert busy.ask('/file').status == 200


@in_the_background
def test_a_slow_download_is_not_idle(admin):
    server = admin('--idle-timeout=4', '--head-timeout=4', '--threads=1')
    size = large_file(server, 16 * MEGABYTE)
    with contextlib.ExitStack() as stack:
        slow = slow_download(server, stack)
        time.sleep(8)
        assert slow.read(size) == bytes(size)
        slow.expect_open('/file')


@in_the_background
def test_one_that_waits_for_its_answer_is_not_idle(admin):
    server = admin('--idle-timeout=1', '--head-timeout=20', '--requests=1', '--threads=1')
    with server.connect() as holder, server.connect() as waiting:
        holder.send(HALF_A_HEAD)
        server.becomes('berth_connections{state="busy"}', 1)
        waiting.send(request('/file'))
        time.sleep(3)
        holder.send(OTHER_HALF)
        assert waiting.read_response().body == b'content'


@in_the_background
def test_a_body_that_comes_too_slowly_is_answered_408(admin):
    """It may be twenty seconds behind the rate, no more."""
    server = admin('--body-min-rate=1000', '--threads=1')
    with server.connect() as connection:
        start = time.monotonic()
        connection.send(request('/file', 'Content-Length: 1000000'))
        while not has_answer(connection, 0.1):
            connection.send(b'x' * 10)
            assert time.monotonic() - start < 40
        assert 18 < time.monotonic() - start < 35
        response, _ = timed(connection, start)
        assert response.status == 408 and response.get('Connection') == 'close'
    assert refusals(server, 'late_body') == 1


@in_the_background
def test_a_body_above_the_least_rate_may_take_its_time(admin):
    """At twice the rate, for longer than one may be behind it."""
    server = admin('--body-min-rate=1000', '--threads=1')
    with server.connect() as connection:
        connection.send(request('/file', 'Content-Length: 48000'))
        start, sent = time.monotonic(), 0
        while sent < 48000:
            time.sleep(0.1)
            due = min(int(2000 * (time.monotonic() - start)), 48000)
            connection.send(b'x' * (due - sent))
            sent = due
        assert timed(connection, start)[0].status == 200
    assert refusals(server, 'late_body') == 0


@in_the_background
def test_without_a_least_rate_a_body_has_only_to_move(admin):
    server = admin('--body-min-rate=0', '--threads=1')
    with server.connect() as connection:
        connection.send(request('/file', 'Content-Length: 23'))
        for _ in range(23):
            connection.send(b'x')
            time.sleep(1)
        assert connection.read_response().status == 200
    assert refusals(server, 'late_body') == 0


# ---- --backlog ----

def somaxconn():
    return int(pathlib.Path('/proc/sys/net/core/somaxconn').read_text())


def listen_queue(port):
    """The backlog that the kernel has noted: the send queue of a listening socket, as ss shows it."""
    result = subprocess.run(['ss', '-Hltn', f'sport = :{port}'], capture_output=True, text=True, timeout=10)
    return [int(line.split()[2]) for line in result.stdout.splitlines()]


@pytest.mark.skipif(not shutil.which('ss'), reason='ss is not installed')
def test_the_backlog_is_what_was_asked_for(serve):
    server = serve('--backlog=37', '--threads=2')
    assert listen_queue(server.address[1]) == [37, 37]
    assert 'somaxconn' not in server.stderr()


def test_a_backlog_that_the_kernel_cuts_is_told(serve):
    server = serve(f'--backlog={somaxconn() + 1}')
    eventually(lambda: 'somaxconn' in server.stderr())
    line = next(line for line in server.stderr().splitlines() if 'somaxconn' in line)
    assert f'--backlog {somaxconn() + 1} to {somaxconn()}' in line
    assert server.fetch('/').status == 200


def test_a_burst_within_the_backlog_is_taken_whole(admin):
    """While nothing is accepted, as many wait as the backlog says, and all are served in the end."""
    server = admin('--connections=2', '--backlog=100', '--threads=1')
    large_file(server)
    with contextlib.ExitStack() as stack:
        slow = [slow_download(server, stack) for _ in range(2)]
        crowd = [stack.enter_context(server.connect()) for _ in range(90)]
        for connection in crowd:
            connection.send(request('/file', 'Connection: close'))
        time.sleep(0.2)
        for connection in slow:
            connection.socket.close()
        assert bodies_as_they_come(crowd) == [b'content'] * 90


# ---- --listen with a range ----

@pytest.mark.parametrize('threads', [1, 2])
def test_every_port_of_a_range(serve, threads):
    first = lasting_ports(10)
    server = serve(f'--threads={threads}', listen=[f'127.0.0.1:{first}-{first + 9}', '127.0.0.1:0'])
    for port in range(first, first + 10):
        assert fetch(('127.0.0.1', port), '/').status == 200
    assert server.addresses[0] == ('127.0.0.1', first) and len(server.addresses) >= 2


def test_the_bound_holds_over_all_ports(admin):
    first = lasting_ports(5)
    server = admin('--connections=10', '--threads=2', listen=[f'127.0.0.1:{first}-{first + 4}'])
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Connection(('127.0.0.1', first + number % 5))) for number in range(10)]
        for connection in crowd:
            assert connection.ask('/file').status == 200
        large_file(server)
        for connection in crowd:
            connection.send(HALF_A_HEAD)
        late = stack.enter_context(Connection(('127.0.0.1', first + 3)))
        late.send(request('/file'))
        assert not has_answer(late, 0.5)
        crowd[0].socket.close()
        assert late.read_response().body == b'content'


def test_one_port_of_the_range_in_use_ends_with_1(engine):
    first = lasting_ports(6)
    with socket.create_server(('127.0.0.1', first + 4)):
        command = [PROGRAM, 'serve', f'--listen=127.0.0.1:{first}-{first + 5}', f'--engine={engine}', '.']
        result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    line = one_line(result, 1)
    assert f'127.0.0.1:{first + 4}' in line and 'in use' in line


def test_as_many_ports_as_there_may_be(serve):
    first = lasting_ports(256)
    server = serve('--threads=2', listen=[f'127.0.0.1:{first}-{first + 255}'])
    for port in [first, first + 100, first + 255]:
        assert fetch(('127.0.0.1', port), '/').status == 200
    line = server.start_line
    assert len(line) < 1000 and 'engine' not in line
    assert re.search(r'\((uring|epoll), 2 threads\)\n$', line), 'the line is whole'
    shown = re.findall(r'http://127\.0\.0\.1:(\d+)(?=[/-])', line)
    assert shown and all(first <= int(port) <= first + 255 for port in shown), 'no port is cut within'


def test_more_connections_than_descriptors_is_refused_where_each_needs_one(engine):
    result = run('--connections=50000000', f'--engine={engine}', '--threads=1', '--memory=1M')
    line = [line for line in result.stderr.splitlines() if line.startswith('berth: ')][-1]
    assert result.returncode == 2
    assert 'RLIMIT_NOFILE' in line or '--memory' in line


# ---- how connections end ----

def test_a_client_that_goes_on_sending_reads_the_whole_answer(admin):
    """Bytes behind a request with Connection: close: a plain close would make the kernel reset the connection."""
    server = admin('--threads=1')
    (server.folder / 'page').write_bytes(b'x' * 300000)
    for late in [0, 0.2]:
        with Connection(server.address, receive_buffer=8192) as connection:
            connection.send(request('/page', 'Connection: close'))
            time.sleep(late)
            connection.send(b'y' * 100000)
            time.sleep(0.3)
            response = connection.read_response()
            assert response.status == 200 and len(response.body) == 300000
            connection.send(b'z' * 1000)
            connection.expect_end()


@in_the_background
def test_after_its_end_the_server_waits_for_the_clients(admin):
    server = admin('--threads=1')
    start = time.monotonic()
    with server.connect() as connection:
        connection.send(request('/file', 'Connection: close'))
        assert connection.read_response().status == 200
        connection.expect_end()
        server.becomes('berth_connections{state="lingering"}', 1, 3)
        server.becomes('berth_connections{state="lingering"}', 0)
        assert 3 < time.monotonic() - start < 20


def test_a_refused_client_that_sends_on_reads_its_answer(admin):
    server = admin('--per-address=1', '--threads=1')
    with server.connect(source='127.0.0.2'), server.connect(source='127.0.0.2') as refused:
        for _ in range(20):
            with contextlib.suppress(OSError):
                refused.send(b'x' * 10000)
            time.sleep(0.01)
        assert refused.read_response().status == 503
        refused.expect_end()


def end_of_each_state(server, stack):
    """Connections in every state there is; {name: connection}."""
    connections = {}
    for name in ['resting', 'silent']:
        connections[name] = stack.enter_context(server.connect())
    connections['resting'].ask('/file')
    connections['sending'] = slow_download(server, stack)
    server.becomes('berth_connections{state="resting"}', 2)
    server.becomes('berth_connections{state="sending"}', 1)
    connections['busy'] = slow_download(server, stack, '/large', 'Range: bytes=0-9999999,20000000-50000000')
    connections['lingering'] = stack.enter_context(server.connect())
    connections['lingering'].send(request('/file', 'Connection: close'))
    connections['lingering'].read_response()
    connections['lingering'].expect_end()
    connections['head'] = stack.enter_context(server.connect())
    connections['head'].send(HALF_A_HEAD)
    server.becomes('berth_connections{state="busy"}', 2)
    connections['waiting'] = stack.enter_context(server.connect())
    connections['waiting'].send(request('/file'))
    connections['resting-waits'] = stack.enter_context(server.connect())
    server.becomes('berth_connections{state="waiting"}', 1)
    return connections


@in_the_background
def test_sigterm_with_connections_in_every_state(admin):
    server = admin('--requests=2', '--threads=1', '--grace=2')
    large_file(server)
    with contextlib.ExitStack() as stack:
        connections = end_of_each_state(server, stack)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        answer = connections['waiting'].read_response()
        assert answer.body == b'content' and answer.get('Connection') == 'close'
        for name in ['resting', 'silent', 'head', 'waiting']:
            eventually(lambda connection=connections[name]: is_gone(connection) == 'closed')
        assert server.process.poll() is None, 'downloads have their time'
        assert server.process.wait(20) == 0
        assert 1 < time.monotonic() - start < 20
        for name in ['sending', 'busy']:
            assert is_gone(connections[name]) == 'reset', 'what is cut off must not look whole'


@in_the_background
def test_a_second_sigterm_with_connections_in_every_state(admin):
    server = admin('--requests=2', '--threads=1', '--grace=60')
    large_file(server)
    with contextlib.ExitStack() as stack:
        end_of_each_state(server, stack)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 30
