#!/usr/bin/python3
"""A million connections, then two, held by one `berth serve` and opened by one `berth load` over loopback on this machine;
see docs/benchmarks.md. Needs root: it raises limits of the kernel for the time of the run and puts them back.

For each size: sockets of earlier runs in TIME_WAIT are waited for, the crowd opens, the memory is taken (user memory of
the server; the kernel's slab, both ends together and by halves), 5,000 requests a second go over random connections, the
crowd closes in order. Then it is opened once more and killed (kill -9) while a bystander goes on asking.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

from contest import KIB, MIB, Bystander, Wrong, ask, free_port, machine, settings, table

# Limits for the run; raised only where they are lower. tcp_mem is in pages, and bounds data under way.
LIMITS = {
    'net.ipv4.ip_local_port_range': '1024 65535',
    'net.ipv4.tcp_mem': '1000000 1500000 2000000',
    'net.core.somaxconn': '65535',
    'net.ipv4.tcp_max_syn_backlog': '65535',
    'net.core.netdev_max_backlog': '65536',
    'net.ipv4.tcp_max_orphans': '2097152',
    'net.ipv4.tcp_max_tw_buckets': '4194304',
    'fs.file-max': '8000000',
    'net.netfilter.nf_conntrack_max': '4194304',
}

# Required: seconds to open for a million and for two, and what it may cost. User memory of the server is 128 MiB for a
# million, and as much for each connection of other sizes.
SECONDS = {1_000_000: 45, 2_000_000: 100}
USER_BYTES = {1_000_000: 128 * MIB}
USER_BYTES_EACH = 134
LEFT_BYTES, KERNEL_BYTES, P99_MS, BYSTANDER_MS = 8 * MIB, 4200, 50, 100
DESCRIPTORS = 20_000  # the hard limit of both processes
QUIET_SOCKETS, QUIET_SECONDS = 1000, 100  # in TIME_WAIT when a size begins; how long these are waited for


# ---- limits ----

@contextlib.contextmanager
def raised_limits():
    """Raises them, and puts back what was there, whatever happens meanwhile."""
    with contextlib.ExitStack() as before:
        for name, wanted in LIMITS.items():
            path = pathlib.Path('/proc/sys', name.replace('.', '/'))
            if not path.exists():
                continue
            now = path.read_text(encoding='ascii').split()
            if now != wanted.split() and ('range' in name or any(int(a) < int(b) for a, b in zip(now, wanted.split()))):
                before.callback(path.write_text, ' '.join(now), encoding='ascii')
                path.write_text(wanted, encoding='ascii')
        yield


def limit_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


# ---- what there is ----

def meminfo(name):
    return int(re.search(rf'^{name}:\s+(\d+) kB', pathlib.Path('/proc/meminfo').read_text(encoding='ascii'), re.M)[1]) * KIB


def user_bytes(pid):
    rollup = pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text(encoding='ascii')
    return int(re.search(r'^Rss:\s+(\d+) kB', rollup, re.M)[1]) * KIB


def tcp_counter(name):
    names, values = [line.split() for line in pathlib.Path('/proc/net/snmp').read_text(encoding='ascii').splitlines()
                     if line.startswith('Tcp:')]
    return int(values[names.index(name)])


def sockets_in_time_wait():
    sockstat = pathlib.Path('/proc/net/sockstat').read_text(encoding='ascii')
    return int(re.search(r'^TCP: .* tw (\d+)', sockstat, re.M)[1])


def wait_for_quiet():
    """Sockets in TIME_WAIT are slab, too: those that die meanwhile would make its growth look smaller than it is."""
    wait_until(lambda: sockets_in_time_wait() < QUIET_SOCKETS, QUIET_SECONDS,
               f'after {QUIET_SECONDS} s there are still {QUIET_SOCKETS:,} sockets in TIME_WAIT')


class Server:
    def __init__(self, folder, connections):
        self.port, self.admin = free_port(), free_port()
        self.errors = open(folder / 'serve', 'w+', encoding='utf-8')
        self.process = subprocess.Popen(
            [str(settings.berth), 'serve', '--connections', str(connections + 1000), '--listen', f'127.0.0.1:{self.port}',
             '--admin', f'127.0.0.1:{self.admin}', '--idle-timeout', '3600', '--head-timeout', '3600', str(folder / 'files')],
            stderr=self.errors, preexec_fn=limit_descriptors)
        wait_until(lambda: self.metric('berth_accepted_total') is not None, 20, 'the server does not start')

    def metric(self, name):
        """The sum of a family, or None."""
        try:
            with urllib.request.urlopen(f'http://127.0.0.1:{self.admin}/metrics', timeout=20) as answer:
                text = answer.read().decode()
        except OSError:
            return None
        return sum(float(value) for value in re.findall(rf'^{name}(?:{{[^}}]*}})? (\S+)$', text, re.M))

    def open(self):
        return int(self.metric('berth_connections') or 0)

    def stop(self):
        self.process.terminate()
        if self.process.wait(120):
            raise Wrong(f'the server ended with {self.process.returncode}')


def wait_until(holds, seconds, otherwise):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise Wrong(otherwise)
        time.sleep(0.2)


@contextlib.contextmanager
def crowd(server, count, folder, *more):
    load = subprocess.Popen([str(settings.berth), 'load', '--connections', str(count), '--json', str(folder / 'crowd.json'),
                             '--quiet', *more, f'http://127.0.0.1:{server.port}/1k.bin'],
                            stdout=open(folder / 'crowd', 'w', encoding='utf-8'), stderr=subprocess.STDOUT,
                            preexec_fn=limit_descriptors)
    try:
        yield load
    finally:
        load.kill()
        load.wait()


# ---- one size ----

def held(server, count, folder, found):
    """Opens, asks, closes in order."""
    slab_before, memory_before = meminfo('Slab'), meminfo('MemAvailable')
    rss_before = peak = user_bytes(server.process.pid)
    with crowd(server, count, folder, '--hold', str(options.hold), '--requests-per-second', str(options.rate)) as load:
        def all_open():
            nonlocal peak
            peak = max(peak, user_bytes(server.process.pid))
            if load.poll() is not None:
                raise Wrong('the crowd ended early: ' + (folder / 'crowd').read_text(encoding='utf-8'))
            return server.open() >= count
        wait_until(all_open, 600, 'they do not all come to be open')
        time.sleep(min(6, options.hold / 2))
        found['slab'] = meminfo('Slab') - slab_before
        found['kernel'] = memory_before - meminfo('MemAvailable')
        found['user'] = user_bytes(server.process.pid) - rss_before
        found['rings'] = int(server.metric('berth_port_rings') or 0)
        resets_before = {name: tcp_counter(name) for name in ('EstabResets', 'OutRsts')}
        while load.poll() is None:
            peak = max(peak, user_bytes(server.process.pid))
            time.sleep(0.5)
        found['peak'] = peak - rss_before
        found['status'] = load.returncode
    found['load'] = json.loads((folder / 'crowd.json').read_text(encoding='utf-8'))
    start = time.monotonic()
    wait_until(lambda: server.open() <= 1, 120, 'the server keeps connections that were closed')
    found['closed'] = time.monotonic() - start
    found['resets'] = {name: tcp_counter(name) - before for name, before in resets_before.items()}


def vanished(server, count, folder, found):
    """Opens, and is killed."""
    rss_before = user_bytes(server.process.pid)
    with crowd(server, count, folder, '--hold', '600', '--requests-per-second', '0') as load:
        wait_until(lambda: server.open() >= count, 600, 'they do not all come to be open again')
        time.sleep(2)
        bystander = Bystander(server.port)
        bystander.start()
        time.sleep(1)
        first = len(bystander.latencies)
        start = time.monotonic()
        load.send_signal(signal.SIGKILL)
        load.wait()
        wait_until(lambda: server.open() <= 2, 300, 'the server keeps connections of a crowd that is gone')
        found['gone'] = time.monotonic() - start
        found['bystander'] = bystander.stop(first)
    time.sleep(4)
    found['left'] = user_bytes(server.process.pid) - rss_before


def measure(count, folder):
    found = {}
    server = None
    wait_for_quiet()
    try:
        server = Server(folder, count)
        held(server, count, folder, found)
        print(f'{count:,} held and closed; now once more, to be killed', file=sys.stderr, flush=True)
        vanished(server, count, folder, found)
    finally:
        if server and server.process.poll() is None:
            server.stop()
    return found


# ---- what is printed ----

def verdict(good):
    return 'PASS' if good else 'MISS'


def rows_of(count, found):
    load = found['load']
    connections, latency = load['connections'], load['requests']['latency_us']
    requests = load['requests']
    missing = requests['due'] - requests['statuses'].get('200', 0)
    kernel = found['slab'] / 2 / count
    seconds = connections['open_seconds']
    failed = connections['failed']
    user = USER_BYTES.get(count, USER_BYTES_EACH * count)
    user_told = f'{user // MIB} MiB' if count in USER_BYTES else f'{USER_BYTES_EACH} B each, {user / MIB:.1f} MiB'
    resets = found['resets']
    return [
        ('connections held, under RLIMIT_NOFILE 20,000', f"{connections['most_open']:,}, {failed} failed", f'{count:,}, 0 failed',
         verdict(connections['most_open'] == count and failed == 0 and found['status'] == 0)),
        ('rings of the server', f"{found['rings']}", '', ''),
        ('seconds to open', f'{seconds:.1f}', f'{SECONDS.get(count, "-")}', verdict(seconds <= SECONDS.get(count, 1e9))),
        ('user memory of the server above idle, open', f"{found['user'] / MIB:.1f} MiB, {found['user'] / count:.0f} B each",
         user_told, verdict(found['user'] <= user)),
        ('the same at its peak', f"{found['peak'] / MIB:.1f} MiB", user_told, verdict(found['peak'] <= user)),
        ('kernel memory, half of the slab\'s growth', f'{kernel:.0f} B each', '4,200 B', verdict(kernel <= KERNEL_BYTES)),
        ('all memory that is gone, both ends', f"{found['kernel'] / MIB / 1024:.2f} GiB", '', ''),
        ('requests a second answered 200', f"{requests['rate']:,.0f}, {missing} not", f'{options.rate:,}, 0 not',
         verdict(requests['rate'] >= options.rate * 0.99 and missing == 0)),
        ('p50, p99, p99.9 of these', ', '.join(f'{latency[p] / 1000:.2f}' for p in ('p50', 'p99', 'p99.9')) + ' ms',
         f'p99 {P99_MS} ms', verdict(latency['p99'] / 1000 <= P99_MS)),
        ('lost, reset, as the crowd counted; open ones ended by a reset, the close included (EstabResets)',
         f"{connections['lost']}, {connections['reset']}; {resets['EstabResets']}", '0, 0; 0',
         verdict(connections['lost'] == connections['reset'] == resets['EstabResets'] == 0)),
        ('stray resets to connections closed already (OutRsts)', f"{resets['OutRsts']}", '', ''),
        ('seconds from the end of the crowd until the last is closed', f"{found['closed']:.1f}", '', ''),
        ('killed: seconds until all are gone', f"{found['gone']:.1f}", '', ''),
        ('killed: bystander\'s p99, longest', f"{found['bystander'][0]:.1f}, {found['bystander'][1]:.0f} ms",
         f'p99 {BYSTANDER_MS} ms', verdict(found['bystander'][0] <= BYSTANDER_MS)),
        ('killed: user memory left above before', f"{found['left'] / MIB:.1f} MiB", '8 MiB',
         verdict(found['left'] <= LEFT_BYTES)),
    ]


def main():
    if os.geteuid():
        print('needs root: it raises limits of the kernel, and puts them back', file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    missed = False
    with tempfile.TemporaryDirectory(prefix='berth-million-') as top, raised_limits():
        folder = pathlib.Path(top)
        (folder / 'files').mkdir()
        (folder / 'files' / '1k.bin').write_bytes(os.urandom(KIB))
        (folder / 'serve').touch()  # a size that never begins has no other messages
        machine()
        for count in options.connections:
            try:
                found = measure(count, folder)
            except Wrong as wrong:
                print(f'{count:,}: {wrong}\n{(folder / "serve").read_text(encoding="utf-8")}', file=sys.stderr)
                return 1
            print(f'{count:,} connections, server and crowd on this machine\n')
            rows = rows_of(count, found)
            missed |= any(row[-1] == 'MISS' for row in rows)
            table(['', 'measured', 'required', ''], rows)
            sys.stdout.flush()
    return int(missed)


def arguments():
    parser = argparse.ArgumentParser(prog='./dev bench million', description='a million connections, then two')
    parser.add_argument('--connections', default='1000000,2000000', help='sizes (default %(default)s)')
    parser.add_argument('--rate', type=int, default=5000, help='requests a second while they are open')
    parser.add_argument('--hold', type=int, default=30, help='seconds for these (default 30)')
    parser.add_argument('--berth', type=pathlib.Path, default='build/berth', help='the program (default %(default)s)')
    args = parser.parse_args()
    args.connections = [int(count) for count in args.connections.split(',')]
    settings.berth = args.berth.resolve()
    return args


options = arguments()
sys.exit(main())
