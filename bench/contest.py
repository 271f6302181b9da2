"""What the benches share: the contestants and how each is set up, a server's life, what it costs, the machine."""
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time
import types

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
TICKS = os.sysconf('SC_CLK_TCK')

# Set by the bench: the program, the server's core and its client's, the connections that a server is set up for.
settings = types.SimpleNamespace(berth=pathlib.Path('build/berth').resolve(), cores=['0', '1'], connections=16384)


class Wrong(Exception):
    """A run that must not count."""


# ---- the contestants: each writes its configuration into a folder and says how it is started ----

def nginx(port, root, folder):
    (folder / 'nginx.conf').write_text(f"""
daemon off; pid {folder}/nginx.pid; error_log stderr error; {'user root;' if os.geteuid() == 0 else ''}
worker_processes 1; worker_rlimit_nofile 20000;
events {{ worker_connections {settings.connections}; use epoll; multi_accept on; }}
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
max-connections: {settings.connections}
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
server.max-connections = {settings.connections}
server.listen-backlog = 4096
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = 300
mimetype.assign = ( "" => "application/octet-stream" )
""")
    return ['lighttpd', '-D', '-f', str(folder / 'lighttpd.conf')]


def rclone_webdav(port, root, folder):
    (folder / 'rclone.conf').touch()
    return ['rclone', 'serve', 'webdav', str(root), '--addr', f'127.0.0.1:{port}', '--vfs-cache-mode', 'off',
            '--no-checksum', '--quiet', '--config', str(folder / 'rclone.conf'), '--cache-dir', str(folder / 'cache')]


def apache_webdav(port, root, folder):
    (folder / 'locks').mkdir()
    (folder / 'locks').chmod(0o777)
    modules = ''.join(f'LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n'
                      for name in ('mpm_event', 'authz_core', 'dav', 'dav_fs'))
    user = 'User www-data\nGroup www-data' if os.geteuid() == 0 else ''
    (folder / 'apache.conf').write_text(f"""
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/errors
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
{modules}
{user}
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
MaxConnectionsPerChild 0
KeepAlive On
KeepAliveTimeout 300
MaxKeepAliveRequests 0
Timeout 300
LimitRequestBody 0
EnableSendfile On
DavLockDB {folder}/locks/locks
DocumentRoot {root}
<Directory />
    AllowOverride None
    Options FollowSymLinks
    Require all granted
</Directory>
<Directory {root}>
    Dav On
</Directory>
""")
    return ['apache2', '-D', 'FOREGROUND', '-f', str(folder / 'apache.conf')]


def berth(engine, *more):
    def command(port, root, _):
        return [str(settings.berth), 'serve', '--threads', '1', '--engine', engine, '--quiet', *more,
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
def server(name, root, folder, contestants=None):
    """Runs one, pinned, and yields its pid and port; ends it and whatever it started, by pid."""
    contestants = contestants or SERVERS
    folder = folder / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    port = free_port()
    command = ['taskset', '-c', settings.cores[0], *contestants[name](port, root, folder)]
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


# ---- a client ----

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


class Bystander(threading.Thread):
    """Asks every 50 ms on a connection of its own, until stopped. Its latencies, in milliseconds, count from when a
    request was due, so that those are told which had to wait for an answer that did not come."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.latencies, self.problem, self.ended = port, [], None, threading.Event()

    def run(self):
        try:
            with socket.create_connection(('127.0.0.1', self.port), timeout=20) as connection:
                due = time.monotonic()
                while not self.ended.is_set():
                    due += 0.05
                    time.sleep(max(0, due - time.monotonic()))
                    left = KIB - len(ask(connection, self.port, '1k.bin', KIB))
                    while left > 0:
                        left -= len(connection.recv(left))
                    self.latencies.append((time.monotonic() - due) * 1000)
        except (OSError, Wrong) as error:
            self.problem = str(error)

    def stop(self, first):
        """p99 and the longest, of those from the first on."""
        self.ended.set()
        self.join(30)
        if self.problem or len(self.latencies) <= first:
            raise Wrong(f'the bystander was not answered: {self.problem}')
        ordered = sorted(self.latencies[first:])
        return ordered[len(ordered) * 99 // 100], ordered[-1]


# ---- what is printed ----

def table(head, rows):
    print('| ' + ' | '.join(head) + ' |\n|' + '---|' * len(head))
    for row in rows:
        print('| ' + ' | '.join(row) + ' |')
    print()


def machine(servers=()):
    """One line: what this was measured on, and against which versions."""
    def first(command):
        with contextlib.suppress(OSError, IndexError):
            return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  check=False).stdout.strip().splitlines()[0]
        return '?'
    cpu = re.search(r'model name\s*: (.*)', pathlib.Path('/proc/cpuinfo').read_text(encoding='utf-8'))
    memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / GIB
    versions = {'nginx': ['nginx', '-v'], 'h2o': ['h2o', '--version'], 'lighttpd': ['lighttpd', '-v'],
                'apache': ['apache2', '-v'], 'rclone': ['rclone', 'version'], 'davfs2': ['mount.davfs', '-V'],
                'sshfs': ['sh', '-c', 'sshfs --version 2>/dev/null']}
    print(f"{cpu[1] if cpu else '?'}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {os.uname().release}; "
          + ', '.join(first(command) for name, command in versions.items() if name in servers) + '\n')
