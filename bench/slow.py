#!/usr/bin/python3
"""Slow clients by the thousand while a normal one asks; see docs/benchmarks.md.

slowhttptest in its three modes (heads that drip in, bodies that drip in, answers that are hardly read) holds its connections
while a bystander asks for 1 KiB every 50 ms. Then `berth load` reads one file of 100 MiB by many slow connections at once: what that
costs in the server's memory.
"""
import argparse
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

from contest import KIB, MIB, TITLES, Bystander, Wrong, berth, machine, server, settings, table

MODES = {'heads that drip in': ['-H', '-i', '5'], 'bodies that drip in': ['-B', '-i', '5', '-s', '8192', '-t', 'PUT'],
         'answers hardly read': ['-X', '-w', '10', '-y', '20', '-n', '5', '-z', '32', '-k', '3']}
# Two threads, as a machine of two cores has by itself: 8,192 requests, since each head that drips in holds one.
SERVERS = {engine: berth(engine, '--writable', '--threads', '2') for engine in ('uring', 'epoll')}
BYSTANDER_MS, GROWTH_BYTES = 100, 10 * MIB
SETTLE_SECONDS = 4


def user_bytes(pid):
    for line in pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text(encoding='ascii').splitlines():
        if line.startswith('Rss:'):
            return int(line.split()[1]) * KIB
    raise Wrong('no Rss')


def attacked(port, mode, folder):
    """The bystander's p99 and longest while slowhttptest holds its connections."""
    name = 'large.bin' if '-X' in mode else 'upload.bin' if '-B' in mode else '1k.bin'
    with open(folder / 'slowhttptest', 'w', encoding='utf-8') as output:
        attack = subprocess.Popen(['slowhttptest', *mode, '-c', str(options.slow), '-r', str(options.slow // 4), '-l', str(options.seconds),
                                   '-p', '5', '-u', f'http://127.0.0.1:{port}/{name}'], stdout=output, stderr=output)
        try:
            bystander = Bystander(port)
            bystander.start()
            attack.wait(options.seconds + 60)
        finally:
            attack.kill()
            attack.wait()
    return bystander.stop(0)


def read_slowly(pid, port):
    """By how much the server grows with the slow readers, and how many of them there were."""
    before = user_bytes(pid)
    load = subprocess.Popen([str(settings.berth), 'load', '--connections', str(options.readers), '--slow', '20000', '--quiet', '--hold',
                             str(options.seconds), f'http://127.0.0.1:{port}/large.bin'], stdout=subprocess.DEVNULL)
    try:
        time.sleep(options.seconds)
        after = user_bytes(pid)
        count = len([line for line in pathlib.Path('/proc/net/tcp').read_text(encoding='ascii').splitlines()[1:]
                     if line.split()[1].endswith(f':{port:04X}') and line.split()[3] == '01'])
    finally:
        load.terminate()
        load.wait(60)
    return after - before, count


def measure(name, root, folder):
    rows = []
    with server(name, root, folder, SERVERS) as (pid, port):
        for title, mode in MODES.items():
            p99, longest = attacked(port, mode, folder)
            rows.append((f'{options.slow:,} slow clients: {title}', TITLES[name], f'p99 {p99:.1f} ms, longest {longest:.0f} ms',
                         f'p99 {BYSTANDER_MS} ms', 'PASS' if p99 <= BYSTANDER_MS else 'MISS'))
            time.sleep(SETTLE_SECONDS)
        growth, count = read_slowly(pid, port)
        good = growth <= GROWTH_BYTES and count >= options.readers
        rows.append((f'{options.readers:,} slow readers of one file of 100 MiB', TITLES[name], f'{growth / MIB:.1f} MiB more, {count:,} reading',
                     '10 MiB', 'PASS' if good else 'MISS'))
    return rows


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    rows = []
    with tempfile.TemporaryDirectory(prefix='berth-slow-') as top:
        folder = pathlib.Path(top)
        root = folder / 'files'
        root.mkdir()
        (root / '1k.bin').write_bytes(os.urandom(KIB))
        (root / 'large.bin').write_bytes(os.urandom(MIB) * 100)
        machine()
        for name in SERVERS:
            rows += measure(name, root, folder)
    table(['', 'server', 'measured', 'required', ''], rows)
    return int(any(row[-1] == 'MISS' for row in rows))


def arguments():
    parser = argparse.ArgumentParser(prog='./dev bench slow', description='slow clients by the thousand')
    parser.add_argument('--slow', type=int, default=5000, help='connections of slowhttptest (default %(default)s)')
    parser.add_argument('--readers', type=int, default=10000, help='slow readers of one file (default %(default)s)')
    parser.add_argument('--seconds', type=int, default=20, help='for each (default %(default)s)')
    parser.add_argument('--berth', type=pathlib.Path, default='build/berth', help='the program (default %(default)s)')
    args = parser.parse_args()
    settings.berth = args.berth.resolve()
    return args


options = arguments()
sys.exit(main())
