"""What a mount is for: programs that know nothing of it do their work in it, and every byte is where it belongs, also when
the server dies, connections break and ports are few. BERTH_LONG (./dev test --long) does each at full size."""
import contextlib
import errno
import filecmp
import hashlib
import os
import random
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from conftest import LONG, TOOLS, Server, eventually
from mount import BY, ESTABLISHED, TIME_WAIT, Network, Proxy
from ports import is_free, lasting_ports
from test_clients import needs

MIB = 1 << 20
CONNECTIONS = 8


def tool(name):
    path = TOOLS / name
    if not path.exists():
        pytest.skip(f'{path} is not built')
    return path


# ---- files to work with ----

@pytest.fixture
def model(tmp_path, blob):
    """Files as people have them: small, empty, large, of any name, executable, read-only, links, with times in nanoseconds."""
    path = tmp_path / 'model'
    chance = random.Random(11)
    for name, content in (('plain.txt', b'text\n'), ('empty', b''), ('large.bin', blob), ('with space & more.txt', b'x' * 5000),
                          ('Grüße/日本語.txt', b'utf-8'), ('Grüße/100%.txt', b'percent'), ('deep/er/still/file', b'deep'),
                          ('.hidden/.file', b'hidden'), ('odd\\name?#*"\'', b'odd'), ('page.bin', blob[:4096]),
                          ('extent.bin', blob[:4 * MIB]), ('extent+1.bin', blob[:4 * MIB + 1])):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    for number in range(200):
        folder = path / f'many/{number % 7}'
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'file-{number}').write_bytes(chance.randbytes(chance.randrange(9000)))
    (path / 'plain.txt').chmod(0o755)
    (path / 'empty').chmod(0o400)
    (path / 'link').symlink_to('deep/er/still/file')
    (path / 'nowhere').symlink_to('not/there')
    (path / 'nothing').mkdir()
    for number, (folder, _, names) in enumerate(os.walk(path, topdown=False)):
        for name in [*names, '.']:
            os.utime(os.path.join(folder, name), ns=(10 ** 18, 16 * 10 ** 17 + number * 10 ** 9 + 123456789), follow_symlinks=False)
    return path


def summary(top, times=True):
    """{name: what can be compared}: kind, permission bits, time of modification, target or checksum."""
    found = {}
    for folder, folders, names in os.walk(top):
        for name in folders + names:
            path = os.path.join(folder, name)
            state, what = os.lstat(path), None
            if os.path.islink(path):
                found[os.path.relpath(path, top)] = ('link', os.readlink(path))
                continue
            if not os.path.isdir(path):
                with open(path, 'rb') as file:
                    what = hashlib.file_digest(file, 'sha256').hexdigest() if hasattr(hashlib, 'file_digest') \
                        else hashlib.sha256(file.read()).hexdigest()
            found[os.path.relpath(path, top)] = (state.st_mode, what, times and state.st_mtime_ns)
    return found


def same_as(one, other, times=True):
    mine, theirs = summary(one, times), summary(other, times)
    differing = {name: (mine.get(name), theirs.get(name)) for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)}
    assert not differing, differing
    assert mine
    return True


def check_counters(mount):
    """Whatever was done, no more connections than it may have, but for those of a server that went away."""
    stats = mount.stats()
    if stats is not None:
        assert 0 < stats['connections-opened'] <= CONNECTIONS, stats
        assert stats['requests'] > 0, stats


# ---- the founding failure ----

SMALL_FILES = """
import os, sys
for number in range(int(sys.argv[1])):
    if number % 1000 == 0:
        os.mkdir(f'folder{number // 1000}')
    with open(f'folder{number // 1000}/{number}', 'wb') as file:
        file.write(b'%d\\n' % number * 100)
"""


@pytest.fixture
def network():
    """With 200 ports for clients."""
    network = Network(200)
    yield network
    network.close()


@needs('ip')
def test_the_naive_way_runs_out_of_ports(network, tmp_path):
    """What the mount is measured by: each write on a connection of its own, under the same limits."""
    server = Server(tmp_path, '--writable', wrapper=network.wrapper)
    (tmp_path / 'file').touch()
    try:
        said = network.run(sys.executable, os.path.join(os.path.dirname(__file__), 'naive.py'), '127.0.0.1',
                           str(server.address[1]), '/file', '2000').split()
        waiting = network.count(server.address[1])[TIME_WAIT]
    finally:
        server.close()
    assert said[1] == 'EADDRNOTAVAIL' and int(said[0]) <= 200, said
    assert waiting >= 190, 'a port for each write'


@needs('ip')
def test_small_writes_and_files_with_few_ports(network, mount):
    """Never more sockets than --connections, none left waiting, and nothing lost."""
    megabytes, files = (1024, 100_000) if LONG else (32, 1000)
    mounted = mount(f'--connections={CONNECTIONS}', wrapper=network.wrapper)
    stop = network.watch(mounted.server.address[1])
    try:
        mounted.run('dd', 'if=/dev/urandom', f'of={mounted.path.parent}/source', 'bs=1M', f'count={megabytes}')
        mounted.run('dd', f'if={mounted.path.parent}/source', 'of=large', 'bs=4k', 'conv=fsync', seconds=600)
        mounted.run(sys.executable, '-c', SMALL_FILES, files, seconds=3600)
        mounted.run('sync', '-f', '.')
    finally:
        stop()
    assert network.most[ESTABLISHED] <= CONNECTIONS and network.most[TIME_WAIT] <= CONNECTIONS, network.most
    check_counters(mounted)
    assert filecmp.cmp(mounted.path.parent / 'source', mounted.folder / 'large', shallow=False)
    for number in range(files):
        assert (mounted.folder / f'folder{number // 1000}/{number}').read_bytes() == b'%d\n' % number * 100
    mounted.unmount()
    assert network.count(mounted.server.address[1])[TIME_WAIT] <= CONNECTIONS


# ---- exercisers ----

@pytest.mark.parametrize('seed', [1, 2, 3, 4])
def test_fsx(mount, seed):
    """One file or four that are written to by turns; longer than an extent, and not."""
    mounted = mount(*(['--extent=64K'] if seed % 2 else []))
    options = ['--files', 4, '--size', 70_000] if seed > 2 else ['--size', 2 * MIB]
    output = mounted.run(tool('fsx'), '--seed', seed, '--operations', 100_000 if LONG else 2500, *options, 'file', seconds=3600)
    assert output == ''
    check_counters(mounted)


JOBS = {
    'random': ['--rw=randwrite', '--bsrange=512-128k', '--ioengine=psync', '--end_fsync=1'],
    'fsyncs': ['--rw=randrw', '--bs=4k', '--ioengine=psync', '--fsync=32'],
    'mapped': ['--rw=randwrite', '--bs=4k', '--ioengine=mmap'],
    'streams': ['--rw=write', '--bs=16k', '--ioengine=psync', '--numjobs=4', '--end_fsync=1'],
}


@needs('fio')
@pytest.mark.parametrize('job', JOBS)
def test_fio(mount, job):
    """It reads back and compares checksums; another time after the mount was made afresh."""
    mounted = mount()
    size = {'random': 1024, 'fsyncs': 64, 'mapped': 256, 'streams': 256}[job] if LONG else 8
    command = ['fio', f'--name={job}', *JOBS[job], f'--size={size}M', '--verify=crc32c', '--verify_fatal=1', '--fallocate=none',
               '--verify_state_save=0', '--randseed=7', '--output-format=terse']
    mounted.run(*command, '--do_verify=1', seconds=1200)
    mounted.again()
    if job != 'fsyncs':  # a run that only verifies knows what a run that only wrote has written
        mounted.run(*command, '--verify_only=1', seconds=1200)


# ---- programs ----

@needs('tar')
def test_tar(mount, model):
    mounted = mount()
    archive = mounted.path.parent / 'archive.tar'
    subprocess.run(['tar', 'cf', archive, '--format=pax', '-C', model, '.'], check=True)
    mounted.run('tar', 'xpf', archive)
    mounted.again()
    assert mounted.run('tar', 'df', archive) == ''
    assert same_as(model, mounted.path)
    mounted.run('tar', 'cf', 'again.tar', '--format=pax', '--exclude=./again.tar', '.')
    mounted.run('mkdir', 'second')
    mounted.run('tar', 'xpf', 'again.tar', '-C', 'second')
    assert same_as(model, mounted.path / 'second')


@needs('rsync')
def test_rsync(mount, model):
    mounted = mount()
    rsync = ['rsync', '-a', '--itemize-changes', f'{model}/', 'copy']
    mounted.run(*rsync)
    mounted.again()
    assert same_as(model, mounted.path / 'copy')
    assert mounted.run(*rsync, '--checksum', '--dry-run') == ''
    (model / 'plain.txt').write_text('changed')
    (model / 'new').write_text('new')
    (model / 'page.bin').unlink()
    assert len(mounted.run(*rsync, '--delete').splitlines()) >= 3
    with open(model / 'extent.bin', 'r+b') as file:
        file.seek(MIB)
        file.write(b'in the middle')
    mounted.run(*rsync, '--inplace', '--no-whole-file')
    mounted.again()
    assert same_as(model, mounted.path / 'copy')


def test_cp(mount, model, tmp_path):
    """There and back; the server's own folder has the bytes, too."""
    mounted = mount()
    mounted.run('cp', '-a', model, 'copy')
    mounted.run('cp', '-a', 'copy', 'second')
    mounted.run('mv', 'second/many', 'second/moved')
    mounted.again()
    assert same_as(model, mounted.path / 'copy')
    assert same_as(model / 'many', mounted.path / 'second/moved')
    mounted.run('cp', '-a', 'copy', tmp_path / 'back')
    assert same_as(model, tmp_path / 'back')
    for name in ('large.bin', 'Grüße/日本語.txt', 'many/3/file-3'):
        assert filecmp.cmp(model / name, mounted.folder / 'copy' / name, shallow=False)
    mounted.run('rm', '-r', 'copy', 'second')
    assert os.listdir(mounted.folder) == [] or all(name.startswith('.berth') for name in os.listdir(mounted.folder))


GIT = {**os.environ, 'GIT_CONFIG_GLOBAL': '/dev/null', 'GIT_CONFIG_NOSYSTEM': '1', 'GIT_CONFIG_COUNT': '1',
       'GIT_CONFIG_KEY_0': 'safe.directory', 'GIT_CONFIG_VALUE_0': '*',
       **{f'GIT_{who}_{what}': value for who in ('AUTHOR', 'COMMITTER') for what, value in (('NAME', 'a'), ('EMAIL', 'a@example.org'))}}


@pytest.fixture
def history(tmp_path):
    """A repository with some commits and two branches."""
    path, chance = tmp_path / 'history', random.Random(3)
    path.mkdir()

    def git(*command):
        subprocess.run(['git', *command], cwd=path, env=GIT, check=True, capture_output=True)
    git('init', '-q', '-b', 'main')
    for number in range(200 if LONG else 25):
        for _ in range(8):
            file = path / f'folder{chance.randrange(6)}/file{chance.randrange(40)}'
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(chance.randbytes(chance.randrange(6000)).hex().encode())
        if number == 15:
            git('branch', 'other')
        git('add', '-A')
        git('commit', '-q', '-m', str(number))
    return path


@needs('git')
def test_git(mount, history):
    mounted = mount()

    def git(*command):
        return mounted.run('git', '-C', 'clone', *command, environment=GIT, seconds=600)
    mounted.run('git', 'clone', '-q', f'file://{history}', 'clone', environment=GIT, seconds=600)
    assert 'error' not in git('fsck', '--full', '--strict')
    assert git('status', '--porcelain') == ''
    git('checkout', '-q', 'origin/other')
    git('checkout', '-q', 'main')
    (mounted.path / 'clone/new').write_text('new')
    git('add', 'new')
    git('commit', '-q', '-m', 'new')
    git('gc', '-q', '--prune=now')
    mounted.again()
    assert 'error' not in git('fsck', '--full', '--strict')
    assert git('status', '--porcelain') == ''
    assert len(git('log', '--oneline').splitlines()) == (201 if LONG else 26)


@needs('sqlite3')
def test_sqlite(mount):
    """With its rollback journal: transactions, one of them broken off by killing the program."""
    mounted = mount()
    transactions = 400 if LONG else 25
    script = ['pragma journal_mode=delete; pragma synchronous=full; create table numbers (value integer, text text);',
              'create index by_text on numbers (text);']
    for number in range(transactions):
        rows = ','.join(f"({number * 50 + row}, '{hash((number, row))}')" for row in range(50))
        script.append(f'begin; insert into numbers values {rows}; commit;')
    mounted.run('sqlite3', '-bail', 'base.db', stdin='\n'.join(script), seconds=600)
    breaks = 'begin immediate; pragma cache_spill=1; pragma cache_size=5; update numbers set text = text || value;\n.system kill -9 $PPID\n'
    code, _ = mounted.run('sqlite3', 'base.db', stdin=breaks, code=None)
    assert code == -9
    mounted.again()
    total = transactions * 50
    assert mounted.run('sqlite3', 'base.db', 'pragma integrity_check; select count(*), sum(value) from numbers; vacuum; pragma quick_check;') \
        == f'ok\n{total}|{total * (total - 1) // 2}\nok\n'


@needs('make')
@needs('gcc')
def test_make(mount):
    """Compilers, an archive, a linker that maps its output, and times by which make decides."""
    mounted = mount()
    top, count = mounted.path, 100 if LONG else 12
    (top / 'part.h').write_text('int part(int);\n')
    for number in range(count):
        (top / f'part{number}.c').write_text(f'#include "part.h"\n#include <stdio.h>\nint part{number}(void);\n'
                                             f'int part{number}(void) {{ return {number}; }}\n')
    declared = ''.join(f'int part{number}(void);\n' for number in range(count))
    added = ' + '.join(f'part{number}()' for number in range(count))
    (top / 'main.c').write_text(f'#include <stdio.h>\n{declared}int main(void) {{ printf("%d\\n", {added}); return 0; }}\n')
    (top / 'Makefile').write_text(textwrap.dedent('''
        parts = $(patsubst %.c,%.o,$(sort $(wildcard part*.c)))
        program: main.o libparts.a
        \t$(CC) -o $@ main.o libparts.a
        libparts.a: $(parts)
        \trm -f $@; ar rcs $@ $(parts)
        $(parts): part.h
        '''))
    mounted.run('make', '-s', '-j2', 'CC=gcc', 'CFLAGS=-g', seconds=600)
    assert mounted.run('./program') == f'{sum(range(count))}\n'
    assert 'up to date' in mounted.run('make', 'CC=gcc')
    mounted.again()
    assert 'up to date' in mounted.run('make', 'CC=gcc')
    (top / 'part1.c').write_text('int part1(void); int part1(void) { return 1000; }\n')
    rebuilt = mounted.run('make', '-j2', 'CC=gcc', 'CFLAGS=-g')
    assert 'part1.o' in rebuilt and '-o part2.o' not in rebuilt
    assert mounted.run('./program') == f'{sum(range(count)) + 999}\n'


# ---- when things break ----

class Mortal(threading.Thread):
    """A server that is killed every second and comes back a moment later at the same port."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.address = folder, ('127.0.0.1', lasting_ports())
        self.ended, self.deaths, self.problem = threading.Event(), 0, None
        self.server = self.begin()

    def begin(self):
        eventually(lambda: is_free(self.address[1]))  # the kernel closes what a ring held a moment after the process is gone
        return Server(self.folder, '--writable', '--hidden', listen=['{}:{}'.format(*self.address)])

    def kill(self):
        self.server.kill()
        self.server.close()
        self.deaths += 1

    def run(self):
        try:
            while not self.ended.wait(1):
                self.kill()
                self.server = self.begin()
        except (AssertionError, OSError) as problem:
            self.problem = problem

    def stop(self):
        self.ended.set()
        self.join()
        assert not self.problem, self.problem


def copy_over_and_over(mounted, source, enough):
    """Copies it under new names until that is enough. {name: what cp said, '' when it was done}"""
    results = {}
    while not enough(results):
        name = f'copy{len(results)}'
        code, output = mounted.run('sh', '-c', f'cp {source} {name} && sync {name}', code=None, seconds=300)
        assert code == 0 or output, 'an error that is not told'
        results[name] = output if code else ''
    return results


def check_copies(mounted, source, results):
    """What was not reported is the same, byte for byte."""
    for name, problem in results.items():
        assert problem or filecmp.cmp(source, mounted.folder / name, shallow=False), f'{name} differs, and nobody said so'


@pytest.fixture
def source(tmp_path):
    """1 GiB in the long run."""
    path, chance = tmp_path / 'source', random.Random(17)
    with open(path, 'wb') as file:
        for _ in range(1024 if LONG else 24):
            file.write(chance.randbytes(MIB))
    return path


@pytest.mark.skipif(BY != 'berth', reason='others do not promise that')
def test_the_server_is_killed_every_second_during_a_copy(mount, tmp_path, source):
    """Nobody notices: what was on its way is sent again."""
    folder = tmp_path / 'mortal'
    folder.mkdir()
    mortal = Mortal(folder)
    mounted = mount(f'--connections={CONNECTIONS}', url='http://{}:{}/'.format(*mortal.address), folder=folder)
    mortal.start()
    try:
        results = copy_over_and_over(mounted, source, lambda _: mortal.deaths >= (20 if LONG else 5))
    finally:
        mortal.stop()
    with contextlib.closing(mortal.server), contextlib.closing(mounted):
        stats = mounted.stats()
        assert [problem for problem in results.values() if problem] == []
        assert stats['connections-opened'] <= CONNECTIONS * (mortal.deaths + 1), stats
        mounted.unmount()
        check_copies(mounted, source, results)


@pytest.mark.parametrize('end', ['by a signal', 'alone'])
def test_a_proxy_ends_though_it_has_no_descriptor_left(end):
    """Also when who started it was killed and reads nothing more: a listener that cannot accept must not keep it busy."""
    with socket.create_server(('127.0.0.1', 0)) as upstream:
        program = subprocess.Popen(['prlimit', '--nofile=15', tool('proxy'), '%s:%d' % upstream.getsockname()], stdout=subprocess.PIPE, text=True)
        with program, contextlib.ExitStack() as clients:
            address = ('127.0.0.1', int(program.stdout.readline().rpartition(':')[2]))
            for _ in range(20):
                clients.enter_context(socket.create_connection(address))
            eventually(lambda: len(os.listdir(f'/proc/{program.pid}/fd')) >= 14)
            program.stdout.close()
            if end == 'by a signal':
                program.terminate()
            assert program.wait(timeout=20) == 0


@pytest.mark.skipif(BY == 'local', reason='it is not on the way')
@pytest.mark.parametrize('every, options', [(1_000_000, ('--extent=128K', '--read-ahead=1M')), (5_000_000, ())])
def test_connections_are_reset_at_random(mount, tmp_path, source, every, options):
    """What is asked at a time fits between two resets, or mostly does."""
    folder = tmp_path / 'beyond'
    folder.mkdir()
    server = Server(folder, '--writable', '--hidden')
    proxy = Proxy(tool('proxy'), server.address, f'--reset-every={every}', '--seed=5')
    began = time.monotonic()
    try:
        mounted = mount(*options, url='http://{}:{}/'.format(*proxy.address), folder=folder)
        seconds, most = (60, 8) if LONG else (4, 100)  # 1 GiB each
        results = copy_over_and_over(mounted, source, lambda results: len(results) == most or (
            len(results) > 5 and time.monotonic() - began > seconds))
        mounted.again()
        for name in [name for name, problem in results.items() if not problem][:3]:
            code, output = mounted.run('cmp', source, name, code=None, seconds=300)
            assert code == 0 or 'error' in output.lower(), f'{name} is read with other bytes: {output}'
        mounted.unmount()
        check_copies(mounted, source, results)
        assert len([problem for problem in results.values() if problem]) * 2 <= len(results), results
    finally:
        counted = proxy.close()
        server.close()
    assert counted['resets'] > 0, counted


def fails_to_write(file, content, where):
    try:
        os.pwrite(file, content, where)
    except OSError as problem:
        assert problem.errno == errno.EIO
        return True
    return False


@pytest.fixture
def outage(mount, tmp_path):
    """A file that has its first pages on the server, and the server that has gone."""
    folder = tmp_path / 'mortal'
    folder.mkdir()
    mortal = Mortal(folder)
    mounted = mount('--retry=1.5', '--flush-after=0.3', url='http://{}:{}/'.format(*mortal.address), folder=folder)
    with contextlib.closing(mounted):
        file = os.open(mounted.path / 'file', os.O_RDWR | os.O_CREAT)
        yield file, mortal, mounted
        with contextlib.suppress(OSError):
            os.close(file)
    mortal.server.close()


@pytest.mark.skipif(BY != 'berth', reason='others do not promise that')
def test_pages_that_were_written_before_an_error_was_known_arrive(outage):
    """write(2) has accepted them: the kernel brings them when it likes, and lets go of them whatever it is told."""
    file, mortal, mounted = outage
    os.pwrite(file, b'x' * 8192, 0)
    os.fsync(file)
    mortal.kill()
    os.pwrite(file, b'y' * 8192, 8192)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # the kernel writes them out
    eventually(lambda: fails_to_write(file, b'z' * 8192, 16384))
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    mortal.server = mortal.begin()
    eventually(lambda: not fails_to_write(file, b'w' * 8192, 24576))
    os.fsync(file)
    os.close(file)
    content = (mounted.folder / 'file').read_bytes()
    assert [content[at:at + 8192] == byte * 8192 for at, byte in zip(range(0, 32768, 8192), (b'x', b'y', b'z', b'w'))] == [True] * 4
    assert mounted.stats()['lost-writes'] == 0


@pytest.mark.skipif(BY != 'berth', reason='others do not promise that')
def test_an_attribute_that_cannot_be_set_costs_no_data(outage):
    file, mortal, mounted = outage
    os.write(file, b'content')
    mortal.kill()
    with pytest.raises(OSError):
        os.setxattr(file, 'user.name', b'value')
    mortal.server = mortal.begin()
    os.fsync(file)
    os.close(file)
    assert (mounted.folder / 'file').read_bytes() == b'content'


@pytest.mark.skipif(BY != 'berth', reason='others do not promise that')
def test_no_server_is_an_error_in_time(mount, tmp_path):
    """--retry bounds how long anything may hang; what could not be sent is told by fsync."""
    folder = tmp_path / 'mortal'
    folder.mkdir()
    server = Server(folder, '--writable', '--hidden')
    mounted = mount('--retry=2', url='http://{}:{}/'.format(*server.address), folder=folder)
    mounted.run('sh', '-c', 'echo there >there; sync there')
    server.kill()
    server.close()
    began = time.monotonic()
    code, output = mounted.run('dd', 'if=/dev/zero', 'of=there', 'bs=4k', 'count=100', 'conv=notrunc,fsync', code=None)
    assert code and 'error' in output.lower(), (code, output)
    code, output = mounted.run('cat', 'not-yet-asked-for', code=None)
    assert code and output
    assert time.monotonic() - began < 40
    mounted.kill()
