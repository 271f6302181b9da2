#!/usr/bin/python3
"""Requests per CPU second of berth, nginx, h2o and lighttpd on the same files; see docs/benchmarks.md.

Each server runs alone, pinned to one core, its client pinned to another. Rounds are interleaved: a round of a row
asks every server once, and each round starts with another server. A round starts the server afresh, warms it up, and
then divides what the client really received by the user and system time that the server (its children and threads
included) took from before the client's start to after its end. The median over the rounds counts.
"""
import argparse
import os
import pathlib
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from contest import (GIB, KIB, MIB, PEERS, SERVERS, TITLES, Wrong, ask, busy_seconds, cpu_seconds, machine, server,
                     settings, table)

# Name: title, file, its bytes, connections, what berth must reach against the best peer on io_uring and on epoll.
ROWS = {
    '1k': ('1 KiB, 64 connections', '1k.bin', KIB, 64, 1.15, 1.0),
    '64k': ('64 KiB, 64 connections', '64k.bin', 64 * KIB, 64, 1.1, 1.0),
    '64k-4000': ('64 KiB, 4,000 connections', '64k.bin', 64 * KIB, 4000, 1.1, 1.0),
    '1g': ('1 GiB, 2 connections', '1g.bin', GIB, 2, 1.0, 1.0),
}


# ---- the clients ----

def check_content(port, root, name, size):
    """One whole small file, compared; the large one by its head and first MiB."""
    wanted = min(size, MIB)
    with socket.create_connection(('127.0.0.1', port), timeout=30) as connection:
        body = ask(connection, port, name, size)
        while len(body) < wanted:
            body += connection.recv(MIB)
        with open(root / name, 'rb') as file:
            if body[:wanted] != file.read(wanted):
                raise Wrong(f'/{name} has other bytes')


def wrk(port, name, size, connections, seconds):
    """(requests, bytes of bodies, seconds) as wrk counted them."""
    result = subprocess.run(
        ['taskset', '-c', options.cores[1], 'wrk', '-t1', f'-c{connections}', f'-d{seconds}s', '--timeout', '20s',
         '-s', str(options.script), f'http://127.0.0.1:{port}/{name}'],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = re.search(r'^counts (.*)$', result.stdout, re.M)
    if result.returncode or not found:
        raise Wrong('wrk: ' + result.stdout.strip())
    requests, microseconds, received, *errors = map(int, found[1].split())
    if any(errors):
        raise Wrong('wrk saw errors (connect, read, write, status, timeout): ' + ' '.join(map(str, errors)))
    if received < requests * size:
        raise Wrong(f'wrk received {received} bytes in {requests} requests of {size}')
    return requests, requests * size, microseconds / 1e6


WRK_COUNTS = """
function done(summary)
    local e = summary.errors
    io.write(string.format("counts %d %d %d %d %d %d %d %d\\n", summary.requests, summary.duration, summary.bytes,
        e.connect, e.read, e.write, e.status, e.timeout))
end
"""


def sink(port, name, size, connections, seconds):
    """Downloads whole files until the time is over. The kernel drops the bodies (MSG_TRUNC, tcp(7)) where wrk would
    copy them, so that the client is not what is measured."""
    done, problems = [], []
    start = time.monotonic()

    def download():
        os.sched_setaffinity(0, {int(options.cores[1])})
        nowhere = bytearray(4 * MIB)
        try:
            with socket.create_connection(('127.0.0.1', port), timeout=60) as connection:
                while time.monotonic() - start < seconds:
                    left = size - len(ask(connection, port, name, size))
                    while left:
                        got = connection.recv_into(nowhere, min(left, len(nowhere)), socket.MSG_TRUNC)
                        if not got:
                            raise Wrong(f'the download ended {left} bytes early')
                        left -= got
                    done.append(size)
        except (OSError, Wrong) as error:
            problems.append(str(error))

    threads = [threading.Thread(target=download) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise Wrong('; '.join(problems))
    return len(done), sum(done), time.monotonic() - start


# ---- rounds and what is printed ----

def measure(name, row, root, folder):
    """(units per CPU second, units per second, busy share of the server's core); a unit is a request or a byte."""
    _, file, size, connections, _, _ = ROWS[row]
    client = sink if row == '1g' else wrk
    with server(name, root, folder) as (pid, port):
        check_content(port, root, file, size)
        client(port, file, size, connections, 1)
        before, busy_before, clients_before = cpu_seconds(pid), *busy_seconds()
        requests, received, seconds = client(port, file, size, connections, options.seconds)
        cpu = cpu_seconds(pid) - before
        busy, clients = busy_seconds()
    if cpu <= 0:
        raise Wrong('no CPU time was counted')
    others = (busy - busy_before) - (clients - clients_before) - cpu
    disturbed.append(others > seconds / 10)
    units = received if row == '1g' else requests
    return units / cpu, units / seconds, cpu / seconds


def make_files(root):
    block = os.urandom(MIB)
    for name, size in {file: size for _, file, size, *_ in map(ROWS.get, options.only)}.items():
        with open(root / name, 'wb') as file:
            for _ in range(max(1, size // MIB)):
                file.write(block[:min(size, MIB)])
            os.fsync(file.fileno())
        os.utime(root / name, (1e9, 1e9))


def amount(row, value):
    return f'{value / 1e9:.2f} GB' if row == '1g' else f'{value / 1e3:.1f}k'


def report(results):
    """results[row][server]: a list of measurements."""
    def median(row, name, which=0):
        return statistics.median(m[which] for m in results[row][name])

    def spread(row, name):
        values = [m[0] for m in results[row][name]]
        return f' ±{100 * (max(values) - min(values)) / 2 / statistics.median(values):.0f}%' if len(values) > 1 else ''

    titles = [TITLES.get(name, name) for name in options.servers]
    print('Requests (1 GiB: bytes) per CPU second of the server; median and half the range of '
          f'{options.rounds} rounds of {options.seconds} s\n')
    table(['', *titles], [[ROWS[row][0], *(amount(row, median(row, n)) + spread(row, n) for n in options.servers)]
                          for row in options.only])
    print('The same per second, and how busy that kept the server\'s core\n')
    table(['', *titles], [[ROWS[row][0], *(f'{amount(row, median(row, n, 1))} ({median(row, n, 2):.0%})'
                                           for n in options.servers)] for row in options.only])

    peers = [name for name in options.servers if name in PEERS]
    engines = [name for name in options.servers if name not in PEERS]
    lines = []
    for row in options.only if peers else []:
        for engine in engines:
            ratios = {peer: median(row, engine) / median(row, peer) for peer in peers}
            required = ROWS[row][4 if engine == 'uring' else 5]
            verdict = 'PASS' if min(ratios.values()) >= required else 'MISS'
            lines.append([ROWS[row][0], TITLES[engine], *(f'{r:.2f}' for r in ratios.values()), f'{required:.2f}', verdict])
    if any(disturbed):
        print(f'**{sum(disturbed)} of {len(disturbed)} runs were disturbed: something else took over a tenth of a core**\n')
    if lines:
        print('Ratio of berth to each peer; required is the ratio to the best of them\n')
        table(['', 'engine', *(f'to {p}' for p in peers), 'required', ''], lines)


def arguments():
    parser = argparse.ArgumentParser(prog='./dev bench serve', description='berth against nginx, h2o and lighttpd')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seconds', type=int, default=3, help='of measuring in each round (default 3)')
    parser.add_argument('--only', default=','.join(ROWS), help='rows, of: %(default)s')
    parser.add_argument('--servers', default=','.join(SERVERS), help='of: %(default)s')
    parser.add_argument('--berth', type=pathlib.Path, default='build/berth', help='the program (default %(default)s)')
    parser.add_argument('--cores', default='0,1', help="server's and client's (default %(default)s)")
    parser.add_argument('--folder', help='where files and configurations go for the time (default: a temporary one)')
    args = parser.parse_args()
    args.only, args.servers, args.cores = args.only.split(','), args.servers.split(','), args.cores.split(',')
    settings.berth, settings.cores = args.berth.resolve(), args.cores
    for given, known in [(args.only, ROWS), (args.servers, SERVERS)]:
        for name in given:
            if name not in known:
                parser.error(f'{name} is none of: {" ".join(known)}')
    if len(args.cores) != 2 or not {int(core) for core in args.cores} <= os.sched_getaffinity(0):
        parser.error('needs two cores that this process may run on')
    return args


def main():
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results = {row: {name: [] for name in options.servers} for row in options.only}
    with tempfile.TemporaryDirectory(prefix='berth-bench-', dir=options.folder) as top:
        folder = pathlib.Path(top)
        folder.chmod(0o755)
        root = folder / 'files'
        root.mkdir()
        options.script = folder / 'counts.lua'
        options.script.write_text(WRK_COUNTS)
        make_files(root)
        for row in options.only:
            for turn in range(options.rounds):
                first = turn % len(options.servers)
                for name in options.servers[first:] + options.servers[:first]:
                    try:
                        got = measure(name, row, root, folder)
                    except Wrong as wrong:
                        print(f'{row}, {name}: {wrong}', file=sys.stderr)
                        return 1
                    results[row][name].append(got)
                    print(f'{row:9} round {turn + 1}  {name:9} {amount(row, got[0]):>9} per CPU s, '
                          f"{amount(row, got[1]):>9} per s{'  disturbed' * disturbed[-1]}", file=sys.stderr, flush=True)
    machine(options.servers)
    report(results)
    return 0


options = arguments()
disturbed = []  # of each run, whether something else took CPU time meanwhile
sys.exit(main())
