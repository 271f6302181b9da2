"""The kernel refuses for real: descriptors, memory of the process, of its control group, of TCP. The server lives, serves
those inside, takes others again as soon as there is room, and counts."""
import contextlib
import os
import pathlib
import re
import resource
import signal
import subprocess
import threading
import time

import pytest
from conftest import PROGRAM, eventually, halt
from patience import in_the_background, patience  # noqa: F401: a fixture
from test_admin import AdminServer, admin  # noqa: F401: a fixture
from test_bounds import HALF_A_HEAD, OTHER_HALF, is_gone, is_instrumented, large_file, ready, refusals, slow_download
from test_slow import Crowd
from wire import Connection, request

MEGABYTE = 1 << 20


def limit(server, which, value):
    """The soft limit, which is the one that counts and can be raised again. Returns what it was."""
    before, hard = resource.prlimit(server.process.pid, which)
    resource.prlimit(server.process.pid, which, (value, hard))
    return before


def open_descriptors(server):
    return len(os.listdir(f'/proc/{server.process.pid}/fd'))


@contextlib.contextmanager
def few_descriptors(server, more):
    """So many more than are open now; as many as before afterwards. Nor can the metrics be asked for meanwhile."""
    before = limit(server, resource.RLIMIT_NOFILE, open_descriptors(server) + more)
    try:
        yield
    finally:
        limit(server, resource.RLIMIT_NOFILE, before)


# ---- descriptors ----

@in_the_background
def test_connections_without_descriptors_wait_or_replace_the_idle(admin, engine):
    """On io_uring connections need none, and all are taken."""
    server = admin('--threads=1', '--connections=500')
    server.fetch('/file')
    with contextlib.ExitStack() as stack, few_descriptors(server, 20):
        crowd = [stack.enter_context(server.connect()) for _ in range(60)]
        busy = crowd[:5]
        for connection in busy:
            connection.send(HALF_A_HEAD)
        for connection in crowd[5:]:
            connection.send(request('/', method='OPTIONS'))  # whose answer needs no file
        answered = ready_within(crowd[5:], 15)
        assert len(answered) == 55 and all(one.read_response().status == 204 for one in answered)
        for connection in busy:
            connection.send(OTHER_HALF)
            assert connection.read_response().body == b'content', 'who is inside is served'
    if engine == 'epoll':
        assert refusals(server, 'descriptors') > 0 and refusals(server, 'shed_idle') > 0
    else:
        assert refusals(server, 'descriptors') == 0
    assert server.fetch('/file').body == b'content'
    server.becomes('berth_pool_used{pool="connections"}', 0)


def ready_within(crowd, seconds):
    """Those that have an answer, or their end, by then."""
    waiting, deadline = set(crowd), time.monotonic() + seconds
    while waiting and time.monotonic() < deadline:
        waiting.difference_update(ready(waiting, 0.1))
    return [connection for connection in crowd if connection not in waiting]


@in_the_background
def test_who_waits_for_a_descriptor_is_taken_when_one_is_free(admin, engine):
    if engine != 'epoll':
        pytest.skip('connections need no descriptors')
    server = admin('--threads=1', '--connections=500')
    large_file(server)
    server.fetch('/file')
    server.fetch('/large', 'Range: bytes=0-1')
    with contextlib.ExitStack() as stack, few_descriptors(server, 6):
        downloads = [slow_download(server, stack) for _ in range(4)]
        crowd = [stack.enter_context(server.connect()) for _ in range(5)]
        for connection in crowd:
            connection.send(HALF_A_HEAD)
        late = stack.enter_context(server.connect())
        late.send(request('/', method='OPTIONS'))
        assert not ready_within([late], 1.5)
        downloads[0].socket.close()
        crowd[0].socket.close()
        crowd[1].socket.close()
        crowd[2].socket.close()
        assert late.read_response().status == 204
        for connection in downloads[1:]:
            assert connection.read(100000) == bytes(100000)
    assert refusals(server, 'descriptors') > 0 and refusals(server, 'shed_idle') == 0


@pytest.mark.parametrize('threads', [1, 2])
def test_files_that_cannot_be_opened_are_answered_503(admin, threads):
    """Each slow reader has a file of its own; when no descriptor is left there is an answer that says so."""
    server = admin(f'--threads={threads}')
    for number in range(60):
        large_file(server, 32 * MEGABYTE, f'large{number}')
    server.fetch('/file')
    with contextlib.ExitStack() as stack:
        with few_descriptors(server, 40):
            crowd = [stack.enter_context(Connection(server.address, receive_buffer=4096)) for _ in range(60)]
            for number, connection in enumerate(crowd):
                connection.send(request(f'/large{number}'))
            heads, refused = {}, 0
            for connection in ready_within(crowd, 3):
                with contextlib.suppress(ConnectionResetError):
                    heads[connection] = connection.read_head()
            for connection, head in heads.items():
                assert head.status == 200 or (head.status == 503 and head.get('Retry-After') == '1')
                refused += head.status == 503
            inside = [connection for connection in crowd if connection not in heads or heads[connection].status == 200]
            assert inside
            # On epoll some of them may not have been accepted yet; on io_uring each needs a second descriptor, and may
            # have to wait for one of those who leave now.
            for connection in inside[5:]:
                connection.socket.close()
            for connection in inside[:5]:
                if connection not in heads and (late := connection.read_head()).status != 200:
                    assert late.status == 503  # its turn came, and still no descriptor was free
                    continue
                assert connection.read(32 * MEGABYTE) == bytes(32 * MEGABYTE)
        assert refusals(server, 'files') >= refused
        assert refusals(server, 'files') + refusals(server, 'descriptors') > 0
        for connection in crowd:
            connection.socket.close()
        eventually(lambda: server.fetch('/large59', 'Range: bytes=0-4').body == bytes(5))
    server.check_descriptors()


@in_the_background
def test_folders_that_cannot_be_listed_for_want_of_descriptors(admin):
    server = admin('--threads=1')
    with few_descriptors(server, 6):
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(server.connect()) for _ in range(20)]
            for connection in crowd:
                connection.send(request('/'))
            for connection in ready_within(crowd, 3):
                with contextlib.suppress(ConnectionResetError):
                    assert connection.read_response().status in (200, 503)
        time.sleep(1.5)
        assert server.process.poll() is None
    server.becomes('berth_pool_used{pool="connections"}', 0, 10)
    assert server.fetch('/').status == 200


# ---- memory of the process ----

@in_the_background
def test_the_address_space_is_used_up(admin):
    """Whatever a request needs, it is answered, or refused, or its connection ends; the server goes on."""
    if is_instrumented():
        pytest.skip('the sanitizer needs address space of its own')
    server = admin('--threads=2')
    large_file(server, 16 * MEGABYTE)
    for number in range(200):
        (server.folder / f'{number}').write_bytes(bytes(15000))
    server.fetch('/file')
    status = pathlib.Path(f'/proc/{server.process.pid}/status').read_text()
    size = int(re.search(r'VmSize:\s+(\d+) kB', status)[1]) << 10
    asked = [HALF_A_HEAD + b'x' * 3000, request('/'), request('/large'), request('/?json'), HALF_A_HEAD,
             request('/file', f'X: {"x" * 3000}'), request('/large', 'Range: bytes=0-99999,200000-9999999')]
    asked += [request(f'/{number}') for number in range(200)]
    with contextlib.ExitStack() as stack:
        limit(server, resource.RLIMIT_AS, size + 2 * MEGABYTE)
        crowd = []
        for number in range(4000):
            connection = stack.enter_context(Connection(server.address, receive_buffer=4096))
            connection.send(asked[number % len(asked)])
            crowd.append(connection)
        time.sleep(2)
        assert server.process.poll() is None
        alive = sum(is_gone(connection) is None for connection in crowd[:200])
        limit(server, resource.RLIMIT_AS, resource.RLIM_INFINITY)
        assert alive > 0
    eventually(lambda: server.fetch('/file').body == b'content', 15)
    server.becomes('berth_pool_used{pool="connections"}', 0, 20)
    server.check_descriptors()


# ---- memory of the control group ----

class Group:
    """A control group of its own below ours, of version 1 or 2; removed at the end."""

    def __init__(self):
        name = f'berth-test-{os.getpid()}-{id(self):x}'
        one, two = pathlib.Path('/sys/fs/cgroup/memory'), pathlib.Path('/sys/fs/cgroup')
        self.version = 1 if (one / 'memory.limit_in_bytes').exists() else 2
        self.path = (one if self.version == 1 else two) / name
        if self.version == 2 and not (two / 'cgroup.controllers').exists():
            pytest.skip('no control groups here')
        try:
            if self.version == 2:
                (two / 'cgroup.subtree_control').write_text('+memory')
            self.path.mkdir()
        except OSError as error:
            pytest.skip(f'no control group of our own: {error}')
        self.limit_file = self.path / ('memory.limit_in_bytes' if self.version == 1 else 'memory.max')
        if not self.limit_file.exists():
            self.remove()
            pytest.skip('the control group has no memory')

    def wrapper(self):
        """For a command line: joins before the program starts."""
        return ['/bin/sh', '-c', f'echo $$ > {self.path}/cgroup.procs && exec "$@"', 'sh']

    def limit(self, size):
        self.limit_file.write_text(str(size))

    def used(self):
        name = 'memory.usage_in_bytes' if self.version == 1 else 'memory.current'
        return int((self.path / name).read_text())

    def remove(self):
        eventually(self._removed, 10)

    def _removed(self):
        try:
            self.path.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            return False
        return True


@pytest.fixture
def group():
    group = Group()
    yield group
    group.remove()


@pytest.fixture
def grouped(group, engine, tmp_path):
    """Servers in the group; they end before it does."""
    servers = []
    folder = tmp_path / 'served'
    folder.mkdir()
    (folder / 'file').write_bytes(b'content')

    def start(*options):
        servers.append(AdminServer(folder, *options, engine=engine, wrapper=group.wrapper()))
        return servers[-1]
    yield start
    for server in servers:
        server.close()


@contextlib.contextmanager
def flood(server, connections):
    """All at once, up to 2,000 under way, again and again."""
    command = [PROGRAM, 'load', '--quiet', f'--connections={connections}', '--timeout=5', '--hold=300', '--reconnect',
               f'http://127.0.0.1:{server.address[1]}/file']
    crowd = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield crowd
        crowd.send_signal(signal.SIGCONT)
        crowd.send_signal(signal.SIGINT)  # closes in order
        crowd.wait(60)
    finally:
        crowd.kill()
        crowd.wait()


def is_answered(server):
    with contextlib.suppress(OSError), server.connect() as connection:
        return connection.ask('/file').body == b'content'
    return False


@pytest.mark.skipif(is_instrumented(), reason='the sanitizer takes more memory than the server')
def test_a_group_that_is_nearly_full_takes_no_more(grouped, group):
    """The kernel would end the process; so accepting stops before, however many come at once, and goes on when there is
    room again."""
    group.limit(20 * MEGABYTE)
    server = grouped('--threads=2', '--idle-timeout=25', '--head-timeout=25', '--connections=18000')
    assert int(re.search(r'--backlog 4096 becomes (\d+):', server.stderr())[1]) <= 20 * MEGABYTE // 32 // 4200 // 2
    with flood(server, 8000) as crowd:
        eventually(lambda: server.process.poll() is not None or refusals(server, 'shed_idle') > 0, 60)
        time.sleep(2)
        assert server.process.poll() is None, 'the kernel has ended it'
        assert refusals(server, 'memory') > 0
        halt(crowd)  # its connections stay
        eventually(lambda: is_answered(server), 60)  # those quiet longest go for it
        assert server.metric('berth_pool_used{pool="connections"}') > 500
    # Of a flood some ends are lost in the kernel for good; those connections are closed for being idle.
    server.becomes('berth_pool_used{pool="connections"}', 0, 45)
    eventually(lambda: server.fetch('/file').body == b'content', 20)
    before = refusals(server, 'memory')
    time.sleep(2.2)
    assert refusals(server, 'memory') == before, 'there is room again'


def test_a_group_full_of_file_contents_is_not_full(grouped, group, engine):
    """What the kernel keeps of files it gives back when it is needed."""
    server = grouped('--threads=1')
    size = 96 * MEGABYTE
    with open(server.folder / 'large', 'wb') as file:
        for _ in range(96):
            file.write(os.urandom(MEGABYTE))
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    server.fetch('/file')
    time.sleep(1.2)
    group.limit(group.used() + 48 * MEGABYTE)
    with server.connect() as connection:
        connection.send(request('/large'))
        connection.read_head()
        for _ in range(size // MEGABYTE):
            assert len(connection.read(MEGABYTE)) == MEGABYTE
    assert group.used() > 0.8 * int(group.limit_file.read_text()), 'the contents are charged to the group'
    time.sleep(1.5)
    waits = []
    for _ in range(10):
        start = time.monotonic()
        with server.connect() as connection:
            assert connection.ask('/file').body == b'content'
        waits.append(time.monotonic() - start)
        time.sleep(0.2)
    assert sum(wait > 0.5 for wait in waits) < 3, waits
    assert refusals(server, 'memory') == 0 and refusals(server, 'shed_idle') == 0


@pytest.mark.skipif(is_instrumented(), reason='the sanitizer takes more memory than the server')
def test_a_small_group_has_small_bounds(grouped, group, engine):
    """Without --memory what the group may have is the bound: walking into everything at once does not end the server."""
    group.limit(96 * MEGABYTE)
    server = grouped('--threads=2', '--idle-timeout=300', '--head-timeout=300')
    eventually(lambda: 'up to' in server.stderr())
    connections, here = map(int, re.search(r'up to (\d+) connections,.* then (\d+) MiB here', server.stderr()).groups())
    assert here + connections * 4200 // MEGABYTE <= 96
    large_file(server, 16 * MEGABYTE)
    with contextlib.ExitStack() as stack:
        crowd = []
        for number in range(3000):
            connection = stack.enter_context(Connection(server.address, receive_buffer=4096))
            connection.send([HALF_A_HEAD, request('/large'), request('/file')][number % 3])
            crowd.append(connection)
        time.sleep(3)
        assert server.process.poll() is None, 'the kernel has ended it'
    eventually(lambda: server.fetch('/file').body == b'content', 20)


# ---- memory of TCP ----

TCP_MEM = pathlib.Path('/proc/sys/net/ipv4/tcp_mem')


@contextlib.contextmanager
def little_tcp_memory(pages):
    """For the whole system, so not for long."""
    before = TCP_MEM.read_text()
    try:
        TCP_MEM.write_text(f'{pages} {pages} {pages}')
    except OSError as error:
        pytest.skip(f'tcp_mem cannot be set: {error}')
    try:
        yield
    finally:
        TCP_MEM.write_text(before)
        assert TCP_MEM.read_text() == before


def kernel_count(name):
    lines = [line.split() for line in pathlib.Path('/proc/net/netstat').read_text().splitlines()]
    return next(int(values[keys.index(name)]) for keys, values in zip(lines[::2], lines[1::2]) if name in keys)


@pytest.mark.alone
def test_tcp_memory_is_used_up(admin):
    """The kernel drops what it has no room for; answers come late, none comes wrong, and all goes on afterwards."""
    server = admin('--threads=2')
    data = os.urandom(8 * MEGABYTE)
    (server.folder / 'large').write_bytes(data)
    results = []

    def download():
        with server.connect() as connection:
            results.append(connection.ask('/large').body == data)
    threads = [threading.Thread(target=download) for _ in range(6)]
    with contextlib.ExitStack() as stack:
        slow = [slow_download(server, stack) for _ in range(20)]
        pressures = kernel_count('TCPMemoryPressures')
        with little_tcp_memory(64):
            for thread in threads:
                thread.start()
            time.sleep(1.5)
            assert server.process.poll() is None
        assert kernel_count('TCPMemoryPressures') > pressures
        for thread in threads:
            thread.join()
        assert results == [True] * 6
        for connection in slow[:5]:
            assert connection.read(len(data)) == data
            connection.expect_open('/file')
    assert server.fetch('/file').body == b'content'
    server.becomes('berth_pool_used{pool="connections"}', 0, 20)
    server.check_descriptors()
