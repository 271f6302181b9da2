#!/usr/bin/python3
"""Requests per CPU second of berth, nginx, h2o and lighttpd on the same files; see docs/benchmarks.md.

Each server runs alone, pinned to one core, its client pinned to another. Rounds are interleaved: a round of a row
asks every server once, and each round starts with another server. A round starts the server afresh, warms it up, and
then divides what the client really received by the user and system time that the server (its children and threads
included) took from before the client's start to after its end. The median over the rounds counts.
"""
import argparse
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
TICKS = os.sysconf('SC_CLK_TCK')

# Name: title, file, its bytes, connections, what berth must reach against the best peer on io_uring and on epoll.
ROWS = {
    '1k': ('1 KiB, 64 connections', '1k.bin', KIB, 64, 1.15, 1.0),
    '64k': ('64 KiB, 64 connections', '64k.bin', 64 * KIB, 64, 1.1, 1.0),
    '64k-4000': ('64 KiB, 4,000 connections', '64k.bin', 64 * KIB, 4000, 1.1, 1.0),
    '1g': ('1 GiB, 2 connections', '1g.bin', GIB, 2, 1.0, 1.0),
}


class Wrong(Exception):
    """A run that must not count."""


# ---- the contestants: each writes its configuration into a folder and says how it is started ----

def nginx(port, root, folder):
    (folder / 'nginx.conf').write_text(f"""
daemon off; pid {folder}/nginx.pid; error_log stderr error; {'user root;' if os.geteuid() == 0 else ''}
worker_processes 1; worker_rlimit_nofile 20000;
events {{ worker_connections 16384; use epoll; multi_accept on; }}
http {{
    access_log off; server_tokens off; default_type application/octet-stream;
    sendfile on; sendfile_max_chunk 2m; tcp_nopush on; tcp_nodelay on;
    keepalive_timeout 300; keepalive_requests 1000000000; reset_timedout_connection on;
    open_file_cache max=1000 inactive=300s; open_file_cache_valid 300s; open_file_cache_min_uses 1;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 127.0.0.1:{port} backlog=4096; root {root}; }}
}}
""")
    return ['nginx', '-p', str(folder), '-c', str(folder / 'nginx.conf')]


def h2o(port, root, folder):
    (folder / 'h2o.conf').write_text(f"""
num-threads: 1
max-connections: 16384
http1-request-timeout: 300
file.send-compressed: OFF
{'user: root' if os.geteuid() == 0 else ''}
error-log: {folder}/errors
hosts:
  default:
    listen: {{ host: 127.0.0.1, port: {port} }}
    paths:
      "/": {{ file.dir: {root} }}
""")
    return ['h2o', '-m', 'worker', '-c', str(folder / 'h2o.conf')]


def lighttpd(port, root, folder):
    (folder / 'lighttpd.conf').write_text(f"""
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.event-handler = "linux-sysepoll"
server.network-backend = "sendfile"
server.stat-cache-engine = "inotify"
server.max-fds = 20000
server.max-connections = 16384
server.listen-backlog = 4096
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = 300
mimetype.assign = ( "" => "application/octet-stream" )
""")
    return ['lighttpd', '-D', '-f', str(folder / 'lighttpd.conf')]


def berth(engine):
    def command(port, root, _):
        return [str(options.berth), 'serve', '--threads', '1', '--engine', engine, '--quiet',
                '--listen', f'127.0.0.1:{port}', str(root)]
    return command


PEERS = {'nginx': nginx, 'h2o': h2o, 'lighttpd': lighttpd}
SERVERS = {**PEERS, 'uring': berth('uring'), 'epoll': berth('epoll')}
TITLES = {'uring': 'berth, io_uring', 'epoll': 'berth, epoll'}


# ---- a server's life and what it costs ----

def processes():
    """pid: (parent, ticks). Ticks are user and system time with those of children that ended and were waited for."""
    table = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f'/proc/{name}/stat', encoding='latin-1') as file:
                fields = file.read().rpartition(')')[2].split()
                table[int(name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    return table


def family(pid):
    """The process and all below it, with their ticks."""
    table, found = processes(), {}
    if pid in table:
        found[pid] = table[pid][1]
    while True:
        more = {p: ticks for p, (parent, ticks) in table.items() if parent in found and p not in found}
        if not more:
            return found
        found.update(more)


def cpu_seconds(pid):
    return sum(family(pid).values()) / TICKS


def busy_seconds():
    """What all cores did so far that was not idling, and what of it the clients did."""
    with open('/proc/stat', encoding='ascii') as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    clients = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return (user + nice + system + irq + softirq) / TICKS, sum(usage.ru_utime + usage.ru_stime for usage in clients)


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(name, root, folder):
    """Runs one, pinned, and yields its pid and port; ends it and whatever it started, by pid."""
    folder = folder / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    port = free_port()
    command = ['taskset', '-c', options.cores[0], *SERVERS[name](port, root, folder)]
    with open(folder / 'output', 'wb') as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(('127.0.0.1', port), timeout=1).close()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise Wrong(f'{name} did not start: ' + (folder / 'output').read_text(errors='replace').strip())
            time.sleep(0.02)
        yield process.pid, port
        if process.poll() is not None:
            raise Wrong(f'{name} ended by itself ({process.returncode})')
    finally:
        below = [pid for pid in family(process.pid) if pid != process.pid]
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


# ---- the clients ----

def read_head(connection):
    """The response's status and length, and how many bytes of the body came along."""
    data = b''
    while b'\r\n\r\n' not in data:
        piece = connection.recv(65536)
        if not piece:
            raise Wrong('connection closed before a response')
        data += piece
    head, _, body = data.partition(b'\r\n\r\n')
    length = re.search(rb'(?im)^content-length: *(\d+)', head)
    return int(head.split()[1]), int(length[1]) if length else -1, body


def ask(connection, port, name, size):
    """Sends a GET; returns what came of the body when the head is as it must be."""
    connection.sendall(f'GET /{name} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n'.encode())
    status, length, body = read_head(connection)
    if (status, length) != (200, size):
        raise Wrong(f'/{name} is answered {status}, {length} bytes')
    return body


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


def table(head, rows):
    print('| ' + ' | '.join(head) + ' |\n|' + '---|' * len(head))
    for row in rows:
        print('| ' + ' | '.join(row) + ' |')
    print()


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


def machine():
    def first(command):
        with contextlib.suppress(OSError, IndexError):
            return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  check=False).stdout.strip().splitlines()[0]
        return '?'
    cpu = re.search(r'model name\s*: (.*)', pathlib.Path('/proc/cpuinfo').read_text(encoding='utf-8'))
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / GIB
    versions = {'nginx': ['nginx', '-v'], 'h2o': ['h2o', '--version'], 'lighttpd': ['lighttpd', '-v']}
    print(f"{cpu[1] if cpu else '?'}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {os.uname().release}; "
          + ', '.join(first(command) for name, command in versions.items() if name in options.servers) + '\n')


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
    args.berth = args.berth.resolve()
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
    machine()
    report(results)
    return 0


options = arguments()
disturbed = []  # of each run, whether something else took CPU time meanwhile
sys.exit(main())
