#!/usr/bin/python3
"""User memory of an idle keep-alive connection, of berth, nginx, h2o and lighttpd; see docs/benchmarks.md.

A server set up for so many connections gets them, one after another; each asks once for a file of 1 KiB and stays. After
a quiet moment the server's memory (Pss, all processes) is compared with that of the same server freshly started for
64 connections and left alone. So what is allocated beforehand for connections counts like what grows with them; `growth`
is the part that came with the connections.
"""
import argparse
import contextlib
import os
import pathlib
import re
import resource
import socket
import statistics
import sys
import tempfile
import time

from contest import KIB, PEERS, SERVERS, TITLES, Wrong, ask, family, machine, server, settings, table

SETTLE_SECONDS = 8  # berth parks a connection 2 s after its last request, and gives memory back in the seconds after


def memory_bytes(pid):
    total = 0
    for process in family(pid):
        with contextlib.suppress(OSError):
            rollup = pathlib.Path(f'/proc/{process}/smaps_rollup').read_text(encoding='ascii')
            total += int(re.search(r'^Pss:\s+(\d+) kB', rollup, re.M)[1]) * KIB
    return total


def alone(name, root, folder):
    """A server for 64 connections that has served one request and rests."""
    settings.connections = 64
    with server(name, root, folder) as (pid, port):
        with socket.create_connection(('127.0.0.1', port)) as connection:
            ask(connection, port, '1k.bin', KIB)
        time.sleep(SETTLE_SECONDS / 2)
        return memory_bytes(pid)


def crowded(name, root, folder):
    """(before, after): the server for the crowd, without it and with it."""
    settings.connections = options.connections * 9 // 8  # nginx closes idle ones when a sixteenth is left
    with server(name, root, folder) as (pid, port), contextlib.ExitStack() as crowd:
        with socket.create_connection(('127.0.0.1', port)) as connection:
            ask(connection, port, '1k.bin', KIB)
        time.sleep(SETTLE_SECONDS / 2)
        before = memory_bytes(pid)
        connections = []
        for _ in range(options.connections):
            connection = crowd.enter_context(socket.create_connection(('127.0.0.1', port), timeout=20))
            if len(ask(connection, port, '1k.bin', KIB)) < KIB:
                connection.recv(KIB)
            connections.append(connection)
        time.sleep(SETTLE_SECONDS)
        after = memory_bytes(pid)
        for connection in connections:
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                if not connection.recv(1):
                    raise Wrong(f'{name} has closed a connection')
        return before, after


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.connections + 500 > hard:
        print(f'RLIMIT_NOFILE is {hard}: too low for {options.connections} connections', file=sys.stderr)
        return 1
    totals, growths = {}, {}
    with tempfile.TemporaryDirectory(prefix='berth-idle-') as top:
        folder = pathlib.Path(top)
        folder.chmod(0o755)
        root = folder / 'files'
        root.mkdir()
        (root / '1k.bin').write_bytes(os.urandom(KIB))
        for name in options.servers:
            rounds = []
            for turn in range(options.rounds):
                base = alone(name, root, folder)
                before, after = crowded(name, root, folder)
                rounds.append(((after - base) / options.connections, (after - before) / options.connections))
                print(f'{name:9} round {turn + 1}  {rounds[-1][0]:7.0f} B, growth {rounds[-1][1]:7.0f} B', file=sys.stderr,
                      flush=True)
            totals[name], growths[name] = (statistics.median(values) for values in zip(*rounds))
    machine(options.servers)
    print(f'User memory in bytes for each of {options.connections} idle keep-alive connections; median of '
          f'{options.rounds} rounds\n')
    table(['', 'bytes per connection', 'of it growth'],
          [[TITLES.get(name, name), f'{totals[name]:.0f}', f'{growths[name]:.0f}'] for name in options.servers])
    best = min((totals[name] for name in options.servers if name in PEERS), default=None)
    missed = False
    for name in options.servers:
        if best and name not in PEERS:
            verdict = 'PASS' if totals[name] <= best / 5 else 'MISS'
            missed |= verdict == 'MISS'
            print(f'{TITLES[name]}: {totals[name] / best:.2f} of the best of them; required at most 0.20: {verdict}')
    return int(missed)


def arguments():
    parser = argparse.ArgumentParser(prog='./dev bench idle', description='memory of idle connections')
    parser.add_argument('--connections', type=int, default=8000)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--servers', default=','.join(SERVERS), help='of: %(default)s')
    parser.add_argument('--berth', type=pathlib.Path, default='build/berth', help='the program (default %(default)s)')
    args = parser.parse_args()
    args.servers = args.servers.split(',')
    for name in args.servers:
        if name not in SERVERS:
            parser.error(f'{name} is none of: {" ".join(SERVERS)}')
    settings.berth = args.berth.resolve()
    return args


options = arguments()
os.environ['PATH'] += ':/usr/sbin:/sbin'
sys.exit(main())
