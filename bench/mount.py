#!/usr/bin/python3
"""A network folder mounted: berth mount on berth serve, rclone mount on rclone serve webdav, davfs2 on Apache mod_dav and
sshfs on sshd do the same work by the programs that people use: dd, tar, find, cat, rm.

Rounds are interleaved: a round of a row asks each contestant once, and each round starts with another one. For every
measurement a folder is filled at the server (not through the mount), server and mount are started afresh, with no cache
of their own left, the page cache is dropped, and what the server is going to read is brought back: the client is cold, the
server's disk is not measured. What came out is compared with what it must be. The median over the rounds counts. Client
and server share all cores.

A write has two times. The first is when the program had its answer: fsync had returned and the file was closed; for tar
and rm, which do not fsync, when they ended. The second is when the data was at the server, whole and with the right bytes,
which is looked for in the server's folder from outside; davfs2 is unmounted meanwhile, as it would wait for ten seconds. Where the first is
much shorter than the second, the answer promised nothing about the server.

In the last rows a proxy adds 20 ms to each round trip (tests/tools/proxy.c).

rclone's and davfs2's close does not wait for the server. Berth's does, but for the rows "close later", where it is mounted
with --close later: there like is compared with like.
"""
import argparse
import collections
import contextlib
import getpass
import io
import math
import os
import pathlib
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import types

from contest import (KIB, MIB, Wrong, apache_webdav, busy_seconds, machine, rclone_webdav, server, settings,
                     table)

SMALL_WRITES, LARGE = 256 * MIB, 512 * MIB
FOLDERS, FILES = 10, 1000
OVERWRITTEN = LARGE // 2 // (4 * KIB)  # which 4 KiB of the large file
DELAY_MS = 20
POLL_SECONDS = 0.02


class Late(Wrong):
    """It was not done when our patience ended."""


# ---- the servers: each writes its configuration into a folder and says how it is started ----

def berth_serve(port, root, _):
    return [str(settings.berth), 'serve', '--writable', '--hidden', '--quiet', '--listen', f'127.0.0.1:{port}', str(root)]


def sshd(port, _, folder):
    """With keys of this run alone (make_keys), on a port of its own."""
    (folder / 'sshd.conf').write_text(f"""
ListenAddress 127.0.0.1:{port}
HostKey {options.keys}/host
AuthorizedKeysFile {options.keys}/user.pub
AuthenticationMethods publickey
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
UseDNS no
Subsystem sftp internal-sftp
""")
    return [shutil.which('sshd'), '-D', '-e', '-f', str(folder / 'sshd.conf')]


# ---- the mounts, likewise; all but davfs2's in the foreground ----

def berth_mount(port, where, *_):
    return [str(settings.berth), 'mount', '--foreground', f'http://127.0.0.1:{port}/', str(where)]


def berth_close_later(port, where, *_):
    return [*berth_mount(port, where), '--close=later']


def rclone_mount(port, where, _, folder):
    (folder / 'rclone.conf').touch()
    return ['rclone', 'mount', ':webdav:', str(where), '--webdav-url', f'http://127.0.0.1:{port}/', '--webdav-vendor', 'other',
            '--vfs-cache-mode', 'writes', '--quiet', '--config', str(folder / 'rclone.conf'),
            '--cache-dir', str(folder / 'cache')]


def davfs2(port, where, _, folder):
    """With a buffer of less than 64 KiB this kernel cannot list folders."""
    (folder / 'cache').mkdir()
    (folder / 'cache').chmod(0o777)  # it becomes another user first
    (folder / 'davfs2.conf').write_text(f"""
ask_auth 0
buf_size 256
cache_dir {folder}/cache
cache_size 2048
table_size 4096
""")
    return ['mount', '-t', 'davfs', f'http://127.0.0.1:{port}/', str(where), '-o', f'conf={folder}/davfs2.conf']


def sshfs(port, where, root, _):
    return ['sshfs', '-f', f'{getpass.getuser()}@127.0.0.1:{root}', str(where), '-p', str(port), '-F', '/dev/null',
            '-o', f'IdentityFile={options.keys}/user,UserKnownHostsFile=/dev/null,StrictHostKeyChecking=no,LogLevel=ERROR,'
                  'Ciphers=aes128-gcm@openssh.com']


Contestant = collections.namedtuple('Contestant', 'title server mount')
PEERS = {
    'rclone': Contestant('rclone mount', rclone_webdav, rclone_mount),
    'davfs2': Contestant('davfs2, Apache', apache_webdav, davfs2),
    'sshfs': Contestant('sshfs, sshd', sshd, sshfs),
}
CONTESTANTS = {'berth': Contestant('berth mount', berth_serve, berth_mount), **PEERS}
SERVERS = {name: one.server for name, one in CONTESTANTS.items()}


def make_keys(folder):
    folder.mkdir(mode=0o700)
    for name in ('host', 'user'):
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', folder / name], check=True)
    return folder


@contextlib.contextmanager
def separation_folder():
    """Where sshd starts as root it wants this one, which its service would make."""
    path = pathlib.Path('/run/sshd')
    mine = os.geteuid() == 0 and not path.exists()
    if mine:
        path.mkdir(mode=0o755)
    try:
        yield
    finally:
        if mine:
            path.rmdir()


# ---- a mount's life ----

@contextlib.contextmanager
def link(port, delay_ms, folder):
    """The port to connect to: the server's own, or that of a proxy before it."""
    if not delay_ms:
        yield port
        return
    with open(folder / 'proxy', 'w', encoding='utf-8') as errors, subprocess.Popen(
            [options.proxy, '--delay-ms', str(delay_ms), f'127.0.0.1:{port}'], stdout=subprocess.PIPE, stderr=errors,
            text=True) as process:
        try:
            yield int(process.stdout.readline().rpartition(':')[2])
        finally:
            process.terminate()


def is_mounted(where):
    """Without asking the mount itself, which may not answer."""
    with open('/proc/self/mounts', encoding='utf-8') as file:
        return any(line.split()[1] == str(where) for line in file)


def served_by(where):
    """The processes that have the mount's folder among their arguments."""
    for name in os.listdir('/proc'):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError), open(f'/proc/{name}/cmdline', 'rb') as file:
                if os.fsencode(where) in file.read().split(b'\0'):
                    yield int(name)


def unmount(name, where):
    """Whoever holds data back is waited for; a mount that does not go is taken away."""
    command = [str(settings.berth), 'unmount', str(where)] if name == 'berth' else ['umount', str(where)]
    with contextlib.suppress(subprocess.TimeoutExpired):
        if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False,
                          timeout=options.patience).returncode == 0:
            return
    take_away(where)


def take_away(where):
    for pid in served_by(where):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    subprocess.run(['umount', '-i', '-l', str(where)], stderr=subprocess.DEVNULL, check=False)
    (pathlib.Path('/run/mount.davfs') / (str(where).strip('/').replace('/', '-') + '.pid')).unlink(missing_ok=True)


@contextlib.contextmanager
def mounted(run):
    """Mounts into run.where; run.unmount() may do its end earlier."""
    folder = run.folder / f'{run.name}-mount'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run.where = folder / 'here'
    run.where.mkdir()
    with open(folder / 'output', 'wb') as output:
        mount = berth_close_later if run.later and run.name == 'berth' else CONTESTANTS[run.name].mount
        process = subprocess.Popen(mount(run.port, run.where, run.root, folder),
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 20
        while not is_mounted(run.where):
            if process.poll() or time.monotonic() > deadline:
                said = (folder / 'output').read_text(errors='replace').strip()
                raise Wrong('it does not mount: ' + '; '.join(said.splitlines())[:300])
            time.sleep(0.01)
        yield
        if options.stats and run.name == 'berth':
            print(subprocess.run([settings.berth, 'mount', '--stats', run.where], stdout=subprocess.PIPE, text=True,
                                 check=False).stdout, file=sys.stderr)
    except Late:
        take_away(run.where)
        raise
    finally:
        if is_mounted(run.where):
            unmount(run.name, run.where)
        for _ in range(100):
            if process.poll() is not None and not list(served_by(run.where)):
                break
            time.sleep(0.05)
        else:
            take_away(run.where)
        process.wait()


# ---- what is done in a mount ----

def timed(command, cwd, output=subprocess.DEVNULL):
    """How long it took in that mount; raises when it fails or is not done in time."""
    start = time.monotonic()
    with subprocess.Popen([str(part) for part in command], cwd=cwd, stdin=subprocess.DEVNULL, stdout=output,
                          stderr=subprocess.PIPE, text=True) as process:
        try:
            errors = process.communicate(timeout=options.patience)[1]
        except subprocess.TimeoutExpired:
            take_away(cwd)
            process.kill()
            raise Late(f'not done after {options.patience} s') from None
    if process.returncode:
        raise Wrong(f'{command[0]}: ' + errors.strip()[:300])
    return time.monotonic() - start


def wait_until_there(start, holds):
    """Seconds since the start when it holds at the server; infinity when our patience ends before."""
    end = time.monotonic() + options.patience
    while not holds():
        if time.monotonic() > end:
            return math.inf
        time.sleep(POLL_SECONDS)
    return time.monotonic() - start


@contextlib.contextmanager
def flushed(run):
    """davfs2 sends ten seconds after a file was closed, or when it is unmounted; rclone after five."""
    if run.name != 'davfs2':
        yield
        return
    with subprocess.Popen(['umount', run.where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        yield
        try:
            process.wait(options.patience / 4)
        except subprocess.TimeoutExpired:
            take_away(run.where)


def has(path, size, tail, at):
    """The server's file has that size, and these bytes there."""
    try:
        with open(path, 'rb') as file:
            return os.fstat(file.fileno()).st_size == size and os.pread(file.fileno(), len(tail), at) == tail
    except FileNotFoundError:
        return False


def same(one, other, size=-1):
    limit = [] if size < 0 else ['-n', str(size)]
    if subprocess.run(['cmp', '-s', *limit, one, other], check=False).returncode:
        raise Wrong(f'{other} has other bytes')


def write(block, size):
    def work(run):
        with open(options.source, 'rb') as file:
            tail = os.pread(file.fileno(), 4 * KIB, size - 4 * KIB)
        start = time.monotonic()
        answered = timed(['dd', f'if={options.source}', f'of={run.where}/file', f'bs={block}', f'count={size // block}',
                          'conv=fsync', 'status=none'], run.where)
        with flushed(run):
            there = wait_until_there(start, lambda: has(run.root / 'file', size, tail, size - len(tail)))
        if there < math.inf:
            same(options.source, run.root / 'file', size)
        return answered, there
    return work


def read(run):
    seconds = timed(['dd', f'if={run.where}/file', 'of=/dev/null', 'bs=1M', 'status=none'], run.where)
    same(options.source, run.where / 'file')
    return seconds, None


def overwrite(run):
    block = os.urandom(4 * KIB)
    (run.folder / 'block').write_bytes(block)
    start = time.monotonic()
    answered = timed(['dd', f'if={run.folder}/block', f'of={run.where}/file', 'bs=4k', 'count=1', f'seek={OVERWRITTEN}',
                      'conv=notrunc,fsync', 'status=none'], run.where)
    at = OVERWRITTEN * 4 * KIB
    with flushed(run):
        there = wait_until_there(start, lambda: has(run.root / 'file', LARGE, block, at))
    if there < math.inf:
        same(options.source, run.root / 'file', at)
    return answered, there


def untar(run):
    start = time.monotonic()
    answered = timed(['tar', 'xf', options.archive, '--no-same-owner', '-C', run.where], run.where)
    left = list(options.tree.items())

    def all_there():
        while left and has(run.root / left[-1][0], len(left[-1][1]), left[-1][1], 0):
            left.pop()
        return not left
    with flushed(run):
        return answered, wait_until_there(start, all_there)


def find(run):
    with tempfile.TemporaryFile() as output:
        seconds = timed(['find', '.', '-printf', r'%P %y %s %m %T@\n'], run.where, output)
        output.seek(0)
        lines = [line.decode().split() for line in output if not line.startswith((b' ', b'lost+found'))]
    files = {line[0]: int(line[2]) for line in lines if line[1] == 'f'}
    if files != {name: len(content) for name, content in options.tree.items()}:
        raise Wrong(f'find has {len(files)} files, or wrong sizes')
    return seconds, None


def find_warm(run):
    find(run)
    return find(run)


def cat(run):
    with tempfile.TemporaryFile() as output:
        seconds = timed(['sh', '-c', 'cat folder*/*'], run.where, output)
        output.seek(0)
        if output.read() != b''.join(options.tree[name] for name in sorted(options.tree)):
            raise Wrong('cat has other bytes')
    return seconds, None


def remove(run):
    start = time.monotonic()
    answered = timed(['sh', '-c', 'rm -r folder*'], run.where)
    return answered, wait_until_there(start, lambda: not list(run.root.glob('folder*')))


# ---- what is in the server's folder before ----

def nothing(_):
    pass


def large_file(root):
    """A copy, since it is written to."""
    shutil.copyfile(options.source, root / 'file')
    (root / 'file').chmod(0o666)


def small_files(root):
    subprocess.run(['tar', 'xf', options.archive, '--no-same-owner', '-C', root], check=True)
    for path in [*root.glob('*'), *root.glob('*/*')]:
        path.chmod(0o777 if path.is_dir() else 0o666)


def make_source(path):
    """No two MiB of it are the same."""
    block = bytearray(os.urandom(MIB))
    with open(path, 'wb') as file:
        for number in range(LARGE // MIB):
            block[:8] = number.to_bytes(8, 'big')
            block[-8:] = number.to_bytes(8, 'little')
            file.write(block)
    return path


def make_archive(path):
    """The files by name; as a tar archive at that path."""
    chance, tree = random.Random(5), {}
    with tarfile.open(path, 'w') as archive:
        for number in range(FILES):
            if number % (FILES // FOLDERS) == 0:
                folder = tarfile.TarInfo(f'folder{number * FOLDERS // FILES}')
                folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, 1_600_000_000
                archive.addfile(folder)
            info = tarfile.TarInfo(f'{folder.name}/file-{number:04}.txt')
            info.size, info.mode, info.mtime = chance.randrange(2 * KIB, 8 * KIB), 0o644, 1_600_000_000 + number
            tree[info.name] = chance.randbytes(info.size)
            archive.addfile(info, io.BytesIO(tree[info.name]))
    return tree


# ---- rows ----

# delay_ms: of the link; required: how many times faster than the best peer.
Row = collections.namedtuple('Row', 'title work fill delay_ms required')
ROWS = {
    'write4k': Row('write 256 MiB by 4 KiB, fsync', write(4 * KIB, SMALL_WRITES), nothing, 0, 4.0),
    'write1m': Row('write 512 MiB by 1 MiB, fsync', write(MIB, LARGE), nothing, 0, 2.0),
    'read': Row('read 512 MiB, cold', read, large_file, 0, 1.5),
    'untar': Row('untar 1,000 small files', untar, nothing, 0, 4.0),
    'find': Row('find -printf over them, cold', find, small_files, 0, 1.0),
    'findwarm': Row('find -printf over them, warm', find_warm, small_files, 0, 1.0),
    'cat': Row('cat of them all, cold', cat, small_files, 0, 3.0),
    'overwrite': Row('overwrite 4 KiB in 512 MiB, fsync', overwrite, large_file, 0, 1.0),
    'rm': Row('rm -r of the 1,000', remove, small_files, 0, 4.0),
    'untar20': Row(f'untar, {DELAY_MS} ms more round trip', untar, nothing, DELAY_MS, 3.0),
    'untarlater': Row('untar, close later', untar, nothing, 0, 4.0),
    'untarlater20': Row(f'untar over {DELAY_MS} ms, close later', untar, nothing, DELAY_MS, 3.0),
    'find20': Row(f'find, cold, {DELAY_MS} ms more round trip', find, small_files, DELAY_MS, 3.0),
}
CLOSE_LATER = ('untarlater', 'untarlater20')
Result = collections.namedtuple('Result', 'answered there')


def drop_page_cache(root):
    """Then the server has its files again, by whatever name."""
    os.sync()
    with contextlib.suppress(PermissionError):
        pathlib.Path('/proc/sys/vm/drop_caches').write_text('1', encoding='ascii')
    for path in [options.source, options.archive, *root.rglob('*')]:
        if path.is_file():
            with open(path, 'rb') as file:
                while file.read(16 * MIB):
                    pass


def is_disturbed():
    """Whether somebody else takes over a tenth of a core, looked at while we do nothing."""
    before = busy_seconds()[0]
    time.sleep(0.5)
    return busy_seconds()[0] - before > 0.05


def measure(name, row, folder):
    root = pathlib.Path(tempfile.mkdtemp(dir=folder / 'served', prefix=f'{name}-{row}-'))
    root.chmod(0o777)
    ROWS[row].fill(root)
    drop_page_cache(root)
    disturbed.append(is_disturbed())
    run = types.SimpleNamespace(name=name, root=root, folder=folder, later=row in CLOSE_LATER)
    try:
        with server(name, root, folder, SERVERS) as (_, port), link(port, ROWS[row].delay_ms, folder) as run.port, mounted(run):
            return Result(*ROWS[row].work(run))
    finally:
        (root / 'file').unlink(missing_ok=True)  # the small ones stay until the end: see dav.py


def one_round(row, turn, results, folder):
    """Each once; one that has failed or lost our patience is told and not asked again in this row."""
    names = options.contestants
    first = turn % len(names)
    for name in names[first:] + names[:first]:
        if (row, name) in failed or any(result.there == math.inf for result in results[row][name]):
            continue
        try:
            got = measure(name, row, folder)
        except (Wrong, OSError, ValueError, subprocess.SubprocessError) as wrong:
            print(f'{row}, {name}: {type(wrong).__name__}: {wrong}', file=sys.stderr, flush=True)
            failed[row, name] = wrong
            results[row][name] = []
            continue
        results[row][name].append(got)
        there = f', at the server {amount(got.there)}' if got.there else ''
        print(f'{row:12} round {turn + 1}  {name:7} {amount(got.answered):>8}{there}{"  disturbed" * disturbed[-1]}', file=sys.stderr, flush=True)


# ---- what is printed ----

def amount(seconds):
    if seconds == math.inf:
        return f'over {options.patience} s'
    return f'{seconds:.2f} s' if seconds >= 0.995 else f'{seconds * 1000:.0f} ms' if seconds >= 0.01 else f'{seconds * 1000:.1f} ms'


def median(results, row, name, which):
    """None when there is none."""
    values = [getattr(result, which) for result in results[row].get(name, [])]
    if not values or None in values:
        return None
    return math.inf if math.inf in values else statistics.median(values)


def cell(results, row, name, which):
    if (row, name) in failed:
        return f'over {options.patience} s' if isinstance(failed[row, name], Late) else 'failed'
    values = [getattr(result, which) for result in results[row][name]]
    middle = max(values) if math.inf in values else statistics.median(values)
    spread = f' ±{100 * (max(values) - min(values)) / 2 / middle:.0f}%' if len(values) > 1 and middle < math.inf else ''
    return amount(middle) + spread


def ratios(results, row, which):
    """How many times faster berth is than each peer that got so far."""
    mine = median(results, row, 'berth', which)
    found = {peer: median(results, row, peer, which) for peer in options.peers}
    return {peer: value / mine for peer, value in found.items() if value} if mine and mine < math.inf else {}


def ratio_cell(results, row, peer, found, which):
    mine = median(results, row, 'berth', which)
    if found.get(peer) == math.inf or mine and isinstance(failed.get((row, peer)), Late):
        return f'over {options.patience / mine:.1f}'
    return f'{found[peer]:.2f}' if peer in found else ''


def ratio_lines(results, rows, which):
    for row in rows:
        found = ratios(results, row, which)
        yield [ROWS[row].title, *(ratio_cell(results, row, peer, found, which) for peer in options.peers),
               f'{ROWS[row].required:.1f}', verdict(row, found, results[row]['berth'])]


def verdict(row, found, mine):
    """A row that every peer failed is won by doing it."""
    if not mine or math.inf in [result.there for result in mine]:
        return 'MISS'
    return 'PASS' if min(found.values(), default=ROWS[row].required) >= ROWS[row].required else 'MISS'


def report(results):
    titles = ['', *(CONTESTANTS[name].title for name in options.contestants)]
    print(f'Time until the program had its answer (writes: fsync and close had returned); median and half the range of '
          f'{options.rounds} rounds\n')
    table(titles, [[ROWS[row].title, *(cell(results, row, name, 'answered') for name in options.contestants)]
                   for row in options.rows])
    writes = [row for row in options.rows if ROWS[row].work in CHANGES]
    if writes:
        print('Time until the data was at the server\n')
        table(titles, [[ROWS[row].title, *(cell(results, row, name, 'there') for name in options.contestants)]
                       for row in writes])
    if options.without_berth:
        return
    heads = [*(f'to {CONTESTANTS[peer].title}' for peer in options.peers), 'required', '']
    print('How many times faster berth gave the answer than each peer; required is that to the best of them\n')
    table(['', *heads], ratio_lines(results, options.rows, 'answered'))
    if writes:
        print('How many times sooner its data was at the server\n')
        table(['', *heads], ratio_lines(results, writes, 'there'))


CHANGES = [ROWS[row].work for row in ('write4k', 'write1m', 'untar', 'overwrite', 'rm')]


def about(folder):
    machine(['rclone', 'apache', 'davfs2', 'sshfs'])
    kind = subprocess.run(['findmnt', '-n', '-o', 'FSTYPE', '-T', folder], stdout=subprocess.PIPE, text=True, check=False)
    print(f'The served folders lie on {kind.stdout.strip() or "?"}.\n')
    if any(disturbed):
        print(f'**Before {sum(disturbed)} of {len(disturbed)} measurements something else took over a tenth of a core**\n')


# ---- start ----

def arguments():
    parser = argparse.ArgumentParser(prog='./dev bench mount',
                                     description='berth mount against rclone mount, davfs2 and sshfs')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--rows', default=','.join(ROWS), help='of: %(default)s')
    parser.add_argument('--peers', default=','.join(PEERS), help='of: %(default)s; may be empty')
    parser.add_argument('--without-berth', action='store_true', help='the peers alone')
    parser.add_argument('--patience', type=int, default=60, metavar='SECONDS',
                        help='who has not done a row after as long is not asked again (default 60)')
    parser.add_argument('--stats', action='store_true', help='say what berth mount counted')
    parser.add_argument('--berth', type=pathlib.Path, default='build/berth', help='the program (default %(default)s)')
    parser.add_argument('--proxy', type=pathlib.Path, default='build/tests/tools/proxy', help='(default %(default)s)')
    parser.add_argument('--folder', help='where files and configurations go for the time (default: a temporary one)')
    args = parser.parse_args()
    args.rows, args.peers = args.rows.split(','), [peer for peer in args.peers.split(',') if peer]
    args.proxy = args.proxy.resolve()
    args.contestants = ['berth'] * (not args.without_berth) + args.peers
    settings.berth, settings.cores = args.berth.resolve(), [','.join(map(str, os.sched_getaffinity(0)))]
    for given, known in [(args.rows, ROWS), (args.peers, PEERS)]:
        for name in given:
            if name not in known:
                parser.error(f'{name} is none of: {" ".join(known)}')
    if not os.access('/dev/fuse', os.R_OK | os.W_OK):
        parser.error('/dev/fuse is not there, or not for us')
    return args


def main():
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of everything that unmounts and removes
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results = {row: {name: [] for name in CONTESTANTS} for row in options.rows}
    with tempfile.TemporaryDirectory(prefix='berth-bench-', dir=options.folder) as top, separation_folder():
        folder = pathlib.Path(top)
        folder.chmod(0o755)
        (folder / 'served').mkdir()
        subprocess.run(['chattr', '+T', folder / 'served'], stderr=subprocess.DEVNULL, check=False)
        options.keys = make_keys(folder / 'keys')
        options.source = make_source(folder / 'source')
        options.archive = folder / 'files.tar'
        options.tree = make_archive(options.archive)
        for row in options.rows:
            for turn in range(options.rounds):
                one_round(row, turn, results, folder)
        about(folder)
    report(results)
    for (row, name), wrong in failed.items():
        print(f'{CONTESTANTS[name].title} could not do "{ROWS[row].title}": {wrong}\n')
    return int(any(name == 'berth' for _, name in failed))


options = arguments()
failed = {}  # (row, contestant): why
disturbed = []  # of each measurement, whether something else took CPU time before it
sys.exit(main())
