"""Starts the program under test and, at the end of each server, looks for what it may have left behind."""
import contextlib
import ctypes
import itertools
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time

import dav
import mount as mounts
import pytest
import windows
import wire

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.path.abspath(os.environ.get('BERTH', ROOT / 'build' / 'berth'))
WRAPPER = os.environ.get('BERTH_WRAPPER', '').split()  # what starts it: Wine for a berth.exe
WINDOWS = PROGRAM.endswith('.exe')
COMMAND = [*WRAPPER, PROGRAM]
END = signal.SIGINT if WINDOWS else signal.SIGTERM  # what asks it to finish
SANITIZER = re.compile(r'AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|invariant|assert', re.IGNORECASE)
STOP_SECONDS = 60
TOOLS = pathlib.Path(PROGRAM).parent / 'tests' / 'tools'
LONG = bool(os.environ.get('BERTH_LONG'))  # ./dev test --long


def began(code, said):
    """Wine ends now and then with 1 before the program has begun. That one always says why it ends."""
    return not WINDOWS or code != 1 or said


def run(*arguments, timeout=30):
    """The program with these, to its end."""
    for _ in range(3):
        result = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)
        if began(result.returncode, result.stdout + result.stderr):
            break
    return result


def pytest_configure(config):
    config.addinivalue_line('markers', 'long: takes minutes; only ./dev test --long runs it')
    config.addinivalue_line('markers', 'alone: wants the machine for itself; ./dev test runs it when the others are through')


def pytest_ignore_collect(collection_path):
    return True if collection_path.suffix == '.py' and not windows.applies(collection_path.stem, WINDOWS) else None


def pytest_collection_modifyitems(items):
    for item in items:
        reason = windows.why_not(item.nodeid) if WINDOWS else None
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))
        if item.get_closest_marker('long') and not LONG:
            item.add_marker(pytest.mark.skip(reason='./dev test --long runs it'))


# Those that take longest, first: at the end nobody is to wait for one of them.
FIRST = ['test_slow', 'test_bounds', 'test_mount_proof', 'test_mount_files', 'test_refusals']


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """What a process is given of them at a time (pytest -n): all of a file that have the same server, which is berth on one
    engine or one of the others."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file, _, test = nodeid.partition('::')
            return ' '.join([pathlib.PurePath(file).stem, *re.findall('uring|epoll|apache|lighttpd(?:-locks)?|rclone|sabre',
                                                                      test.partition('[')[2])])

        def _assign_work_unit(self, node):
            first = next((scope for name in FIRST for scope in self.workqueue if scope.split()[0] == name), None)
            if first:
                self.workqueue.move_to_end(first, last=False)
            super()._assign_work_unit(node)
    return Scheduling(config, log)


def has_io_uring():
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(425, 0, None)  # io_uring_setup: EINVAL or EFAULT where it exists and is allowed
    return descriptor < 0 and ctypes.get_errno() in (14, 22)


if WINDOWS:
    ENGINES = ['iocp']
else:
    ENGINES = [pytest.param('uring', marks=pytest.mark.skipif(not has_io_uring(), reason='no io_uring here')), 'epoll']


def eventually(holds, seconds=20):
    """Waits until it holds: for what the server may notice a moment later."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, 'it does not come about'
        time.sleep(0.02)


def halt(process):
    """Stops it for a while (SIGCONT goes on). The signal reaches one thread after the other."""
    process.send_signal(signal.SIGSTOP)
    tasks = pathlib.Path(f'/proc/{process.pid}/task')
    eventually(lambda: all(re.search(r'^State:\s+T', (task / 'status').read_text(), re.M) for task in tasks.iterdir()))


class Server:
    """A running `berth serve`. `address` is that of the first listener, `addresses` all of them."""

    def __init__(self, folder, *options, listen=('127.0.0.1:0',), engine=None, wrapper=(), **process_options):
        self.folder = pathlib.Path(folder)
        command = [*wrapper, *COMMAND, 'serve', *(f'--listen={one}' for one in listen), *options]
        command += [f'--engine={engine}'] if engine else []
        for _ in range(3):
            self.errors = tempfile.TemporaryFile(mode='w+b')
            self.process = subprocess.Popen([*command, str(folder)], stderr=self.errors, **process_options)
            self.addresses = self._wait_until_up()
            if self.addresses:
                break
        self.address = self.addresses[0]
        self.descriptors = self._descriptors()
        self.killed = False

    def stderr(self):
        size = os.fstat(self.errors.fileno()).st_size
        return os.pread(self.errors.fileno(), size, 0).decode(errors='replace').replace('\r\n', '\n')

    def _wait_until_up(self):
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            line = next((line for line in self.stderr().splitlines(keepends=True) if 'serving' in line), '')
            found = re.findall(r'http://(?:\[([0-9a-f:]+)\]|([\d.]+)):(\d+)/|unix:([^\s,]+)', line)
            if line.endswith('\n') and found:
                self.start_line = line
                return [path or (six or four, int(port)) for six, four, port, path in found]
            if not began(self.process.poll(), self.stderr()):
                return []
            assert self.process.poll() is None, f'exit {self.process.returncode}: {self.stderr()}'
            time.sleep(0.01)
        self.process.kill()
        raise AssertionError(f'no start-up line: {self.stderr()!r}')

    def _links(self):
        links = []
        if WINDOWS:  # Wine's descriptors tell nothing of the program's handles
            return links
        for name in os.listdir(f'/proc/{self.process.pid}/fd'):
            try:
                links.append(os.readlink(f'/proc/{self.process.pid}/fd/{name}'))
            except FileNotFoundError:
                pass
        return links

    def _descriptors(self):
        """What is open, less the served files, which the server may keep for the next reader, the folder itself, which it
        opens once more for its first change, and rings, which are made when they are needed and kept."""
        served = str(self.folder.resolve())
        return sorted(link for link in self._links()
                      if link != served and not link.startswith(served + '/') and 'io_uring' not in link)

    def open_files(self):
        """What is open beneath the folder."""
        served = str(self.folder.resolve()) + '/'
        return [link for link in self._links() if link.startswith(served)]

    def rss(self):
        status = pathlib.Path(f'/proc/{self.process.pid}/status').read_text()
        return int(re.search(r'VmRSS:\s+(\d+) kB', status)[1]) << 10

    def connect(self, **options):
        return wire.Connection(self.address, **options)

    def fetch(self, *args, **options):
        return wire.fetch(self.address, *args, **options)

    def check_descriptors(self):
        """Those of the start aside: shards take copies of each other's listening sockets, and keep them."""
        def others(links):
            return [link for link in links if not (link.startswith('socket:') and link in self.descriptors)]
        deadline = time.monotonic() + 10
        while len(now := others(self._descriptors())) > len(others(self.descriptors)):
            assert time.monotonic() < deadline, f'descriptors left open: {now}, at the start {self.descriptors}'
            time.sleep(0.05)

    def stop(self, number=END):
        """Ends it in order and says how it took that."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError('the server does not stop') from None
        errors = self.stderr()
        assert not SANITIZER.search(errors), errors
        assert self.process.returncode == 0, f'exit {self.process.returncode}: {errors}'

    def kill(self):
        """As a power cut would, but for what the kernel still holds."""
        self.killed = True
        self.process.kill()
        self.process.wait()
        errors = self.stderr()
        assert not SANITIZER.search(errors), errors

    def close(self):
        if self.killed:
            self.errors.close()
            return
        try:
            if self.process.poll() is None:
                self.check_descriptors()
            self.stop()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.errors.close()


@pytest.fixture(scope='session', params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture(scope='session')
def shared(engine, tmp_path_factory):
    """One server with the default options for all tests that need no other; its folder is theirs to fill."""
    server = Server(tmp_path_factory.mktemp('site'), engine=engine)
    yield server
    server.close()


@pytest.fixture
def site(shared, request):
    """A folder of the test's own on the shared server: site.path, site.url ('/name/'), site.fetch('file')."""
    return Site(shared, f'{request.function.__name__}-{next(numbers)}')


numbers = itertools.count(1)


class Site:
    def __init__(self, server, name):
        self.server, self.url, self.path = server, f'/{name}/', server.folder / name
        self.path.mkdir()

    def file(self, name, content=b'content\n'):
        path = self.path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content)
        return path

    def fetch(self, name='', *fields, **options):
        return self.server.fetch(self.url + name, *fields, **options)

    def connect(self, **options):
        return self.server.connect(**options)


@pytest.fixture
def serve(engine, tmp_path):
    """Starts a server with options: serve('--hidden'); a second one: serve(..., folder=...)."""
    servers = []

    def start(*options, folder=None, **more):
        if folder is None:
            folder = tmp_path / 'served'
            folder.mkdir(exist_ok=True)
        servers.append(Server(folder, *options, engine=engine, **more))
        return servers[-1]
    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope='session')
def writable(engine, tmp_path_factory):
    """One server that may be written to for all tests that need no options; two threads, so that they may disagree."""
    server = Server(tmp_path_factory.mktemp('writable'), '--writable', '--threads=2', engine=engine)
    yield server
    server.close()


@pytest.fixture
def tree(writable, request):
    """A folder of the test's own on it (dav.Tree)."""
    return dav.Tree(writable, f'{request.function.__name__}-{next(numbers)}')


@pytest.fixture
def serve_tree(serve):
    """Starts a writable server with options; the tree is all that it serves."""
    return lambda *options, **more: dav.Tree(serve('--writable', *options, **more))


@pytest.fixture(scope='session')
def may_mount():
    reason = mounts.why_not(PROGRAM)
    if reason:
        pytest.skip(reason)


@pytest.fixture
def mount(may_mount, tmp_path):
    """Mounts a writable server of its own: mount('--connections=2'); one that runs: mount(server=...), or from elsewhere:
    mount(url=..., folder=...). See mount.py for what it gives. The server is `mount(...).server`. Both run on the
    default engine: what the engine does is no matter for a mount."""
    numbered = itertools.count(1)
    with contextlib.ExitStack() as at_end:
        def start(*options, server=None, url=None, folder=None, serve_options=(), wrapper=()):
            number = next(numbered)
            if not server and not url:
                served = tmp_path / f'served{number}'
                served.mkdir()
                server = Server(served, '--writable', '--hidden', *serve_options, wrapper=wrapper)
                at_end.callback(server.close)
            url = url or 'http://{}:{}/'.format(*server.address)
            one = mounts.Mount(PROGRAM, url, folder or server.folder, tmp_path / f'mount{number}', *options, wrapper=wrapper,
                               sanitizer=SANITIZER)
            at_end.callback(one.close)
            one.server = server
            return one
        yield start


@pytest.fixture(scope='session')
def blob():
    """8 MiB that repeat nowhere."""
    return random.Random(1).randbytes(8 << 20)


@pytest.fixture(scope='session')
def memory_folder():
    """A folder in memory where there is one, for many files."""
    base = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    path = pathlib.Path(tempfile.mkdtemp(prefix='berth-e2e-', dir=base))
    yield path
    shutil.rmtree(path)
