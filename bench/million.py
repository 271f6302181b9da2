#!/usr/bin/python3
"""A million connections, then two, held by one `berth serve` and opened by one `berth load` over loopback on this machine;
see docs/benchmarks.md. Needs root: it raises limits of the kernel for the time of the run and puts them back.

For each size: the crowd opens, the memory is taken (user memory of the server; the kernel's slab, both ends together and
by halves), 5,000 requests a second go over random connections, the crowd closes in order. Then it is opened once
more and killed (kill -9) while a bystander goes on asking.
"""
import argparse
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from contest import KIB, MIB, Wrong, ask, machine, settings, table

# Limits for the run; raised only where they are lower. tcp_mem is in pages, and bounds data under way.
LIMITS = {
    'net.ipv4.ip_local_port_range': '1024 65535',
    'net.ipv4.tcp_mem': '1000000 1500000 2000000',
    'net.core.somaxconn': '65535',
    'net.ipv4.tcp_max_syn_backlog': '65535',
    'net.core.netdev_max_backlog': '65536',
    'net.ipv4.tcp_max_orphans': '2097152',
    'fs.file-max': '8000000',
    'net.netfilter.nf_conntrack_max': '4194304',
}

# Required, seconds to open for a million and for two.
SECONDS = {1_000_000: 45, 2_000_000: 100}
USER_BYTES, KERNEL_BYTES, P99_MS, BYSTANDER_MS = 128 * MIB, 4200, 50, 100


# ---- limits ----

def sysctl_path(name):
    return pathlib.Path('/proc/sys', *name.split('.')) if 'ip_local' not in name else \
        pathlib.Path('/proc/sys/net/ipv4/ip_local_port_range')


class Limits:
    """Raises them, and puts back what was there."""

    def __init__(self):
        self.before = {}

    def __enter__(self):
        for name, wanted in LIMITS.items():
            path = sysctl_path(name)
            if not path.exists():
                continue
            now = path.read_text(encoding='ascii').split()
            lower = 'range' in name or any(int(a) < int(b) for a, b in zip(now, wanted.split()))
            if lower and now != wanted.split():
                path.write_text(wanted, encoding='ascii')
                self.before[path] = ' '.join(now)
        return self

    def __exit__(self, *_):
        for path, value in self.before.items():
            path.write_text(value, encoding='ascii')


# ---- what there is ----

def meminfo(name):
    return int(re.search(rf'^{name}:\s+(\d+) kB', pathlib.Path('/proc/meminfo').read_text(encoding='ascii'), re.M)[1]) * KIB


def user_bytes(pid):
    rollup = pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text(encoding='ascii')
    return int(re.search(r'^Rss:\s+(\d+) kB', rollup, re.M)[1]) * KIB


class Server:
    def __init__(self, folder, connections):
        self.port, self.admin = free_port(), free_port()
        self.errors = open(folder / 'serve', 'w+', encoding='utf-8')
        self.process = subprocess.Popen(
            [str(settings.berth), 'serve', '--connections', str(connections + 1000), '--listen', f'127.0.0.1:{self.port}',
             '--admin', f'127.0.0.1:{self.admin}', '--idle-timeout', '3600', '--head-timeout', '3600', str(folder / 'files')],
            stderr=self.errors)
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


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def wait_until(holds, seconds, otherwise):
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise Wrong(otherwise)
        time.sleep(0.2)


def crowd(server, count, folder, *more):
    return subprocess.Popen([str(settings.berth), 'load', '--connections', str(count), '--json', str(folder / 'crowd.json'),
                             '--quiet', *more, f'http://127.0.0.1:{server.port}/1k.bin'],
                            stdout=open(folder / 'crowd', 'w', encoding='utf-8'), stderr=subprocess.STDOUT)


class Bystander(threading.Thread):
    """Asks every few milliseconds on a connection of its own, until stopped; its latencies, in milliseconds."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.latencies, self.problem, self.ended = port, [], None, threading.Event()

    def run(self):
        try:
            with socket.create_connection(('127.0.0.1', self.port), timeout=20) as connection:
                while not self.ended.wait(0.005):
                    start = time.monotonic()
                    left = KIB - len(ask(connection, self.port, '1k.bin', KIB))
                    while left > 0:
                        left -= len(connection.recv(left))
                    self.latencies.append((time.monotonic() - start) * 1000)
        except (OSError, Wrong) as error:
            self.problem = str(error)

    def stop(self):
        self.ended.set()
        self.join(30)
        if self.problem or not self.latencies:
            raise Wrong(f'the bystander was not answered: {self.problem}')
        ordered = sorted(self.latencies)
        return ordered[len(ordered) * 99 // 100], ordered[-1]


# ---- one size ----

def held(server, count, folder, found):
    """Opens, asks, closes in order."""
    slab_before, memory_before = meminfo('Slab'), meminfo('MemAvailable')
    rss_before = user_bytes(server.process.pid)
    load = crowd(server, count, folder, '--hold', str(options.hold), '--requests-per-second', str(options.rate))
    peak = rss_before

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
    while load.poll() is None:
        peak = max(peak, user_bytes(server.process.pid))
        time.sleep(0.5)
    found['peak'] = peak - rss_before
    found['load'] = json.loads((folder / 'crowd.json').read_text(encoding='utf-8'))
    start = time.monotonic()
    wait_until(lambda: server.open() <= 1, 120, 'the server keeps connections that were closed')
    found['closed'] = time.monotonic() - start


def vanished(server, count, folder, found):
    """Opens, and is killed."""
    rss_before = user_bytes(server.process.pid)
    load = crowd(server, count, folder, '--hold', '600', '--requests-per-second', '0')
    wait_until(lambda: server.open() >= count, 600, 'they do not all come to be open again')
    time.sleep(2)
    bystander = Bystander(server.port)
    bystander.start()
    time.sleep(1)
    start = time.monotonic()
    load.send_signal(signal.SIGKILL)
    load.wait()
    wait_until(lambda: server.open() <= 2, 300, 'the server keeps connections of a crowd that is gone')
    found['gone'] = time.monotonic() - start
    found['bystander'] = bystander.stop()
    time.sleep(4)
    found['left'] = user_bytes(server.process.pid) - rss_before


def measure(count, folder):
    found = {}
    server = Server(folder, count)
    try:
        held(server, count, folder, found)
        print(f'{count:,} held and closed; now once more, to be killed', file=sys.stderr, flush=True)
        vanished(server, count, folder, found)
        found['refused'] = server.metric('berth_refusals_total')
    finally:
        if server.process.poll() is None:
            server.stop()
    return found


# ---- what is printed ----

def verdict(good):
    return 'PASS' if good else 'MISS'


def rows_of(count, found):
    load = found['load']
    connections, latency = load['connections'], load['requests']['latency_us']
    kernel = found['slab'] / 2 / count
    seconds = connections['open_seconds']
    failed = connections['failed']
    return [
        ('connections held', f"{connections['most_open']:,}, {failed} failed", f'{count:,}, 0 failed',
         verdict(connections['most_open'] == count and failed == 0)),
        ('seconds to open', f'{seconds:.1f}', f'{SECONDS.get(count, "-")}', verdict(seconds <= SECONDS.get(count, 1e9))),
        ('user memory of the server above idle, open', f"{found['user'] / MIB:.1f} MiB, {found['user'] / count:.0f} B each",
         '128 MiB', verdict(found['user'] <= USER_BYTES)),
        ('the same at its peak', f"{found['peak'] / MIB:.1f} MiB", '', ''),
        ('kernel memory, half of the slab\'s growth', f'{kernel:.0f} B each', '4,200 B', verdict(kernel <= KERNEL_BYTES)),
        ('all memory that is gone, both ends', f"{found['kernel'] / MIB / 1024:.2f} GiB", '', ''),
        ('requests a second answered', f"{load['requests']['rate']:,.0f}, {load['requests']['failed']} failed",
         f'{options.rate:,}', verdict(load['requests']['rate'] >= options.rate * 0.99)),
        ('p50, p99, p99.9 of these', ', '.join(f'{latency[p] / 1000:.2f}' for p in ('p50', 'p99', 'p99.9')) + ' ms',
         f'p99 {P99_MS} ms', verdict(latency['p99'] / 1000 <= P99_MS)),
        ('lost, reset at the close', f"{connections['lost']}, {connections['reset']}", '0, 0',
         verdict(connections['lost'] == connections['reset'] == 0)),
        ('seconds from the end of the crowd until the last is closed', f"{found['closed']:.1f}", '', ''),
        ('killed: seconds until all are gone', f"{found['gone']:.1f}", '', ''),
        ('killed: bystander\'s p99, longest', f"{found['bystander'][0]:.1f}, {found['bystander'][1]:.0f} ms",
         f'p99 {BYSTANDER_MS} ms', verdict(found['bystander'][0] <= BYSTANDER_MS)),
        ('killed: user memory left above before', f"{found['left'] / MIB:.1f} MiB", '', ''),
    ]


def main():
    if os.geteuid():
        print('needs root: it raises limits of the kernel, and puts them back', file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix='berth-million-') as top, Limits():
        folder = pathlib.Path(top)
        (folder / 'files').mkdir()
        (folder / 'files' / '1k.bin').write_bytes(os.urandom(KIB))
        machine()
        for count in options.connections:
            try:
                found = measure(count, folder)
            except Wrong as wrong:
                print(f'{count:,}: {wrong}\n{(folder / "serve").read_text(encoding="utf-8")}', file=sys.stderr)
                return 1
            print(f'{count:,} connections, server and crowd on this machine\n')
            table(['', 'measured', 'required', ''], rows_of(count, found))
            sys.stdout.flush()
    return 0


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
