#!/usr/bin/python3
"""WebDAV: berth, Apache mod_dav, lighttpd mod_webdav and rclone list, write, copy and delete the same files.

As in serve.py each server runs alone, pinned to one core, its client pinned to another, and rounds are interleaved: a
round of a row asks every server once, and each round starts with another server. A round starts the server afresh,
warms it up, measures for the given seconds (but one whole operation at least) and compares what is then on the disk
with what it must be. Before what is timed, what was written earlier goes to the disk. The median over the rounds
counts.

A file's creation costs ext4 several times as much while the inodes around it are newly deleted: it passes over those of
the last minutes one by one. So nobody's files are removed before the end, and each run writes to a folder which ext4
puts somewhere else (chattr +T). Replacing a file by renaming deletes an inode, too, but there it is the server's own
doing.
"""
import argparse
import collections
import contextlib
import http.client
import mmap
import os
import pathlib
import re
import resource
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import types
import xml.etree.ElementTree

from contest import (GIB, KIB, MIB, TICKS, TITLES, Wrong, apache_webdav, berth, busy_seconds, cpu_seconds, family,
                     lighttpd, machine, processes, rclone_webdav, read_head, server, settings, table)

FILES, FILE_SIZE = 10_000, KIB  # of the folder that is listed, copied and deleted
PUT_SIZE, PUT_CONNECTIONS, OVERWRITTEN = 4 * KIB, 16, 1000
MEMORY = '256M'  # what berth is told, and must keep
PATIENCE_SECONDS = 300


# ---- the contestants, set up as a good administrator would for speed; all of them with locks ----

def lighttpd_webdav(port, root, folder):
    command = lighttpd(port, root, folder)
    (folder / 'uploads').mkdir()
    with open(folder / 'lighttpd.conf', 'a', encoding='ascii') as file:
        file.write(f"""
server.modules = ( "mod_webdav" )
server.upload-dirs = ( "{folder}/uploads" )
server.max-request-size = 0
webdav.activate = "enable"
webdav.is-readonly = "disable"
webdav.sqlite-db-name = "{folder}/webdav.db"
""")
    return command


PEERS = {'apache': apache_webdav, 'lighttpd': lighttpd_webdav, 'rclone': rclone_webdav}
WRITABLE = ('--writable', '--memory', MEMORY)
ENGINES = {engine: berth(engine, *WRITABLE) for engine in ('uring', 'epoll')}
DURABLE = {engine: berth(engine, *WRITABLE, '--durable') for engine in ('uring', 'epoll')}
SERVERS = {**PEERS, **ENGINES}


# ---- what is taken of a server ----

Sample = collections.namedtuple('Sample', 'seconds cpu units others')


def kernel_seconds():
    """What the kernel's own threads took; they write back what was put, which is no disturbance."""
    return sum(ticks for parent, ticks in processes().values() if parent == 2) / TICKS


class Meter:
    """Takes a Sample of the time between `with` and its end; units may be set in between."""

    def __init__(self, pid, units=1):
        self.pid, self.units, self.sample = pid, units, None

    def __enter__(self):
        self.cpu, self.busy, self.kernel = cpu_seconds(self.pid), busy_seconds(), kernel_seconds()
        self.start = time.monotonic()
        return self

    def __exit__(self, *_):
        seconds = time.monotonic() - self.start
        cpu, kernel = cpu_seconds(self.pid) - self.cpu, max(0, kernel_seconds() - self.kernel)
        busy, clients = (after - before for after, before in zip(busy_seconds(), self.busy))
        self.sample = Sample(seconds, cpu, self.units, busy - clients - cpu - kernel)


def peak_memory(pid):
    """The most that was resident at a time, of all processes of the server, added up."""
    peak = 0
    for process in family(pid):
        with contextlib.suppress(OSError, TypeError):
            status = pathlib.Path(f'/proc/{process}/status').read_text(encoding='utf-8')
            peak += int(re.search(r'^VmHWM:\s+(\d+) kB', status, re.M)[1]) * KIB
    return peak


def repeat(operation):
    """Calls it, which gives a Sample, until the time is over."""
    deadline = time.monotonic() + options.seconds
    samples = [operation()]
    while time.monotonic() < deadline:
        samples.append(operation())
    return samples


# ---- PROPFIND ----

LISTED = ('getcontentlength', 'getlastmodified', 'getetag')
LIST = '<prop><resourcetype/>' + ''.join(f'<{name}/>' for name in LISTED) + '</prop>'
ASKED = {
    'propfind': LIST,
    'changed': LIST,
    'allprop': '<allprop/>',
}
answer = bytearray(64 * MIB)


def receive(connection):
    """One whole response into `answer`; returns its length. The end is looked for, nothing else is done meanwhile."""
    view, got, end = memoryview(answer), 0, None
    while end is None or got < end:
        count = connection.recv_into(view[got:])
        if not count:
            raise Wrong(f'the answer ends after {got} bytes')
        got += count
        if end is None and b'\r\n\r\n' in answer[:min(got, 64 * KIB)]:
            head, _, _ = bytes(answer[:64 * KIB]).partition(b'\r\n\r\n')
            length = re.search(rb'(?im)^content-length: *(\d+)', head)
            end = len(head) + 4 + int(length[1]) if length else len(answer)
        if end == len(answer) and answer[got - 7:got] == b'\r\n0\r\n\r\n':
            break
    return got


def body_of(response):
    head, _, body = response.partition(b'\r\n\r\n')
    status = int(head.split()[1])
    if status != 207:
        raise Wrong(f'PROPFIND is answered {status}')
    if not re.search(rb'(?im)^transfer-encoding: *chunked', head):
        return body
    whole, position = [], 0
    while True:
        line_end = body.index(b'\r\n', position)
        size = int(body[position:line_end].partition(b';')[0], 16)
        if not size:
            return b''.join(whole)
        whole.append(body[line_end + 2:line_end + 2 + size])
        position = line_end + 2 + size + 2


def check_listing(body):
    """Every file once, with its size, its date and a tag, and the folder."""
    listed = {}
    for response in xml.etree.ElementTree.fromstring(body).iter('{DAV:}response'):
        found = {}
        for propstat in response.iter('{DAV:}propstat'):
            if ' 200 ' in propstat.findtext('{DAV:}status', ''):
                found = {prop.tag: prop.text for prop in propstat.find('{DAV:}prop')}
        listed[response.findtext('{DAV:}href', '').rstrip('/').rpartition('/')[2]] = found
    folder = listed.pop('many', None)
    if folder is None or set(listed) != set(map(file_name, range(FILES))):
        raise Wrong(f'PROPFIND lists {len(listed)} files' + ', not the folder' * (folder is None))
    for name, found in listed.items():
        lacking = [prop for prop in LISTED if not found.get('{DAV:}' + prop)]
        if lacking or found['{DAV:}getcontentlength'] != str(FILE_SIZE):
            raise Wrong(f'PROPFIND: {name} has {found}')


def listing(run):
    asked = f'<?xml version="1.0" encoding="utf-8"?>\n<propfind xmlns="DAV:">{ASKED[run.row]}</propfind>'
    request = (f'PROPFIND /many/ HTTP/1.1\r\nHost: 127.0.0.1:{run.port}\r\nDepth: 1\r\n'
               f'Content-Type: application/xml\r\nContent-Length: {len(asked)}\r\n\r\n{asked}').encode()
    with socket.create_connection(('127.0.0.1', run.port), timeout=PATIENCE_SECONDS) as connection:
        def once():
            if run.row == 'changed':
                os.utime(run.listed / file_name(0))
            with Meter(run.pid) as meter:
                connection.sendall(request)
                length = receive(connection)
            body = body_of(bytes(answer[:length]))
            if body != run.checked:
                check_listing(body)
                run.checked = body
            return meter.sample
        once()
        return repeat(once)


# ---- PUT of small files ----

PUT_SCRIPT = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(arguments)
    path, size, names = arguments[1], tonumber(arguments[2]), tonumber(arguments[3])
    head = "PUT %s%d HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nContent-Length: " .. size .. "\\r\\n\\r\\n%08d"
    rest = string.rep("x", size - 8)
    number, created, replaced, other = 0, 0, 0, 0
end
function request()
    number = number + 1
    return string.format(head, path, names > 0 and number % names or number, number) .. rest
end
function response(status)
    if status == 201 then created = created + 1
    elseif status == 204 or status == 200 then replaced = replaced + 1
    else other = status end
end
function done(summary)
    local e, t = summary.errors, threads[1]
    io.write(string.format("counts %d %d %d %d %d %d %d %d\\n", summary.duration, t:get("created"), t:get("replaced"),
        t:get("other"), e.connect, e.read, e.write, e.timeout))
end
"""


def wrk(run, prefix, names, seconds):
    """(created, replaced, seconds) as wrk counted them."""
    result = subprocess.run(
        ['taskset', '-c', options.cores[1], 'wrk', '-t1', f'-c{PUT_CONNECTIONS}', f'-d{seconds}s', '--timeout', '20s',
         '-s', str(options.script), f'http://127.0.0.1:{run.port}/',
         '--', run.path + prefix, str(PUT_SIZE), str(names)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = re.search(r'^counts (.*)$', result.stdout, re.M)
    if result.returncode or not found:
        raise Wrong('wrk: ' + result.stdout.strip())
    microseconds, created, replaced, *errors = map(int, found[1].split())
    if any(errors):
        raise Wrong('wrk saw (another status, connect, read, write, timeout): ' + ' '.join(map(str, errors)))
    return created, replaced, microseconds / 1e6


def check_put(folder, prefix, least, most):
    """So many files, all whole but what wrk was sending at its end, a handful of them read."""
    paths = [folder / name for name in os.listdir(folder) if re.fullmatch(prefix + r'\d+', name)]
    torn = sum(path.stat().st_size != PUT_SIZE for path in paths)
    if not least <= len(paths) <= most or torn > PUT_CONNECTIONS:
        raise Wrong(f'{len(paths)} files are there, {torn} of another size; wanted {least} to {most}')
    for path in paths[::max(1, len(paths) // 50)]:
        if path.stat().st_size == PUT_SIZE and not re.fullmatch(rb'\d{8}x+', path.read_bytes()):
            raise Wrong(f'{path.name} has other bytes')


def put(run):
    """Each request names another file."""
    wrk(run, 'warm', 0, 1)
    os.sync()
    with Meter(run.pid) as meter:
        created, replaced, seconds = wrk(run, 'new', 0, options.seconds)
        meter.units = created
    if replaced or not created:
        raise Wrong(f'{created} files were created, {replaced} replaced')
    check_put(run.folder, 'new', created, created + PUT_CONNECTIONS)
    return [meter.sample._replace(seconds=seconds)]


def overwrite(run):
    """The same names over and over. RFC 9110 has 204 (or 200) for that; rclone says 201."""
    wrk(run, 'old', OVERWRITTEN, 1)
    for number in range(OVERWRITTEN):
        ask(run, 'PUT', f'{run.path}old{number}', (200, 201, 204), b'%08d' % 0 + b'x' * (PUT_SIZE - 8))
    os.sync()
    with Meter(run.pid) as meter:
        created, replaced, seconds = wrk(run, 'old', OVERWRITTEN, options.seconds)
        meter.units = created + replaced
    if created and (replaced or run.name != 'rclone'):
        raise Wrong(f'{created} of {created + replaced} files were created, not replaced')
    check_put(run.folder, 'old', OVERWRITTEN, OVERWRITTEN)
    return [meter.sample._replace(seconds=seconds)]


# ---- PUT of a large file ----

def make_source():
    """1 GiB that lives in memory; no two MiB of it are the same."""
    source, block = os.memfd_create('source'), bytearray(os.urandom(MIB))
    for number in range(GIB // MIB):
        block[:8] = number.to_bytes(8, 'big')
        os.write(source, block)
    return source


def same_bytes(path, source):
    if path.stat().st_size != GIB:
        return False
    with open(path, 'rb') as file, mmap.mmap(source, GIB, prot=mmap.PROT_READ) as wanted:
        return all(file.read(16 * MIB) == wanted[at:at + 16 * MIB] for at in range(0, GIB, 16 * MIB))


def upload(connection, port, path, source):
    connection.sendall(f'PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {GIB}\r\n\r\n'.encode())
    sent = 0
    while sent < GIB:
        sent += os.sendfile(connection.fileno(), source, sent, GIB - sent)
    return read_head(connection)[0]


def large(run):
    """Each time another name, as a server may remember the one that was removed behind its back."""
    def once():
        run.number += 1
        name = f'large{run.number}'
        os.sync()
        with socket.create_connection(('127.0.0.1', run.port)) as connection:
            # A time-out would make the descriptor non-blocking, for which os.sendfile() has no patience.
            for direction in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
                connection.setsockopt(socket.SOL_SOCKET, direction, struct.pack('ll', PATIENCE_SECONDS, 0))
            with Meter(run.pid, GIB) as meter:
                status = upload(connection, run.port, run.path + name, options.source)
        if status != 201:
            raise Wrong(f'PUT of 1 GiB is answered {status}')
        if not same_bytes(run.folder / name, options.source):
            raise Wrong('the file of 1 GiB has other bytes')
        os.unlink(run.folder / name)
        return meter.sample
    once()
    return repeat(once)


# ---- COPY and DELETE of a folder ----

def file_name(number):
    return f'file-{number:05}.txt'


def make_files(folder):
    folder.mkdir()
    block = os.urandom(FILE_SIZE)
    for number in range(FILES):
        (folder / file_name(number)).write_bytes(block)
        os.utime(folder / file_name(number), (1e9, 1e9))


def ask(run, method, path, wanted, body=None, headers=None):
    connection = http.client.HTTPConnection('127.0.0.1', run.port, timeout=PATIENCE_SECONDS)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        said = response.read(300)
    if response.status not in wanted:
        raise Wrong(f'{method} {path} is answered {response.status} {said!r}')


def copy_folder(run):
    run.number += 1
    name = f'copy{run.number}'
    os.sync()
    with Meter(run.pid) as meter:
        ask(run, 'COPY', '/many/', (200, 201, 204), headers={  # RFC 4918 has 201 for this; lighttpd says 200
            'Destination': f'http://127.0.0.1:{run.port}{run.path}{name}/', 'Depth': 'infinity', 'Overwrite': 'F'})
    with os.scandir(run.folder / name) as entries:
        states = {entry.name: entry.stat() for entry in entries if not entry.name.startswith('.')}
    sizes = {name: state.st_size for name, state in states.items()}
    if any(state.st_nlink > 1 for state in states.values()):
        raise Wrong('COPY makes hard links: further names of the same files, not copies')
    if sizes != {file_name(number): FILE_SIZE for number in range(FILES)}:
        raise Wrong(f'COPY made {len(sizes)} files with {sum(sizes.values())} bytes')
    return meter.sample


def copy(run):
    copy_folder(run)
    return repeat(lambda: copy_folder(run))


def delete(run):
    def once():
        copy_folder(run)
        name = f'copy{run.number}'
        os.sync()
        with Meter(run.pid) as meter:
            ask(run, 'DELETE', f'{run.path}{name}/', (200, 204))
        if (run.folder / name).exists():
            raise Wrong('DELETE left the folder')
        return meter.sample
    return repeat(once)


# ---- rows ----

# unit: 'time' of an operation (the shorter the better), 'requests' per CPU second or 'bytes' per second; the second
# table has CPU time, requests per second and bytes per CPU second. required: how many times better than the best peer.
Row = collections.namedtuple('Row', 'title client unit required')
ROWS = {
    'propfind': Row('PROPFIND of 10,000 files, 4 properties', listing, 'time', 5.0),
    'changed': Row('the same, a file having changed', listing, 'time', None),
    'allprop': Row('PROPFIND of 10,000 files, allprop', listing, 'time', 5.0),
    'put': Row('PUT of 4 KiB, new names', put, 'requests', 3.0),
    'durable': Row('PUT of 4 KiB, new names, --durable', put, 'requests', None),
    '1g': Row('PUT of 1 GiB', large, 'bytes', 1.0),
    'copy': Row('COPY of a folder of 10,000 files', copy, 'time', 1.0),
    'delete': Row('DELETE of a folder of 10,000 files', delete, 'time', 1.0),
    'overwrite': Row('PUT of 4 KiB, over existing files', overwrite, 'requests', 3.0),
}
Result = collections.namedtuple('Result', 'value other memory')


def contestants(row):
    return DURABLE if row == 'durable' else SERVERS


def summary(unit, samples):
    """(what counts, what the second table says)"""
    cpu, seconds, units = (sum(getattr(s, field) for s in samples) for field in ('cpu', 'seconds', 'units'))
    if unit == 'time':
        return statistics.median(s.seconds for s in samples), cpu / len(samples)
    if cpu <= 0:
        raise Wrong('no CPU time was counted')
    if unit == 'requests':
        return units / cpu, units / seconds
    return statistics.median(s.units / s.seconds for s in samples), units / cpu


def measure(name, row, root, folder):
    written = pathlib.Path(tempfile.mkdtemp(dir=root, prefix=f'{name}-{row}-'))
    written.chmod(0o777)
    with server(name, root, folder, contestants(row)) as (pid, port):
        run = types.SimpleNamespace(name=name, row=row, pid=pid, port=port, folder=written, path=f'/{written.name}/',
                                    listed=root / 'many', checked=None, number=0)
        samples = ROWS[row].client(run)
        memory = peak_memory(pid)
    disturbed.append(sum(s.others for s in samples) > sum(s.seconds for s in samples) / 10 + 0.05)
    return Result(*summary(ROWS[row].unit, samples), memory)


# ---- what is printed ----

def amount(unit, value):
    return {'time': f'{value * 1e3:.1f} ms', 'requests': f'{value / 1e3:.2f}k', 'bytes': f'{value / 1e9:.2f} GB'}[unit]


def better(row, mine, theirs):
    return theirs / mine if ROWS[row].unit == 'time' else mine / theirs


def report(results):
    """results[row][server]: a list of Results, empty when it could not be measured."""
    def median(row, name, which=0):
        return statistics.median(r[which] for r in results[row][name])

    def spread(row, name):
        values = [r.value for r in results[row][name]]
        return f' ±{100 * (max(values) - min(values)) / 2 / statistics.median(values):.0f}%' if len(values) > 1 else ''

    def rows(cell):
        return [[ROWS[row].title, *(cell(row, name) if results[row].get(name) else '' for name in options.servers)]
                for row in options.only]

    titles = ['', *(TITLES.get(name, name) for name in options.servers)]
    print('PROPFIND, COPY, DELETE: time of one; PUT of 4 KiB: requests per CPU second of the server; of 1 GiB: bytes '
          f'per second; median and half the range of {options.rounds} rounds of {options.seconds} s\n')
    table(titles, rows(lambda row, name: amount(ROWS[row].unit, median(row, name)) + spread(row, name)))
    print('PROPFIND, COPY, DELETE: CPU time of one; PUT of 4 KiB: requests per second; of 1 GiB: bytes per CPU '
          'second\n')
    table(titles, rows(lambda row, name: amount(ROWS[row].unit, median(row, name, 1))))
    print('Peak of resident memory, all processes of a server, MiB\n')
    table(titles, rows(lambda row, name: f'{max(r.memory for r in results[row][name]) / MIB:.0f}'))
    if any(disturbed):
        print(f'**{sum(disturbed)} of {len(disturbed)} runs were disturbed: something else took over a tenth of a '
              'core**\n')

    peers = [name for name in options.servers if name in PEERS]
    lines = []
    for row in [row for row in options.only if ROWS[row].required]:
        for engine in [name for name in options.servers if results[row].get(name) and name in ENGINES]:
            ratios = {peer: better(row, median(row, engine), median(row, peer)) for peer in peers if results[row][peer]}
            if ratios:
                cells = [f'{ratios[peer]:.2f}' if peer in ratios else '' for peer in peers]
                lines.append([ROWS[row].title, TITLES[engine], *cells, f'{ROWS[row].required:.2f}',
                              verdict(min(ratios.values()) >= ROWS[row].required)])
    if lines:
        print('How many times better berth is than each peer (the quotient of times, or of rates); required is that to '
              'the best of them\n')
        table(['', 'engine', *(f'to {p}' for p in peers), 'required', ''], lines)
    report_memory(results)


def report_memory(results):
    peaks = {engine: max((r.memory for row in options.only for r in results[row].get(engine, [])), default=None)
             for engine in options.servers if engine in ENGINES}
    lines = [[TITLES[engine], f'{peak / MIB:.0f} MiB', MEMORY, verdict(peak < int(MEMORY[:-1]) * MIB)]
             for engine, peak in peaks.items() if peak]
    if lines:
        print(f'The most of that in all rows, of berth started with --memory {MEMORY}\n')
        table(['', 'peak', 'below', ''], lines)


def verdict(kept):
    return 'PASS' if kept else 'MISS'


def one_round(row, turn, results, root, folder):
    """Every server once; one that has failed is told and not asked again in this row."""
    names = [name for name in options.servers if name in contestants(row)]
    first = turn % max(1, len(names))
    for name in names[first:] + names[:first]:
        if (row, name) in failed:
            continue
        try:
            got = measure(name, row, root, folder)
        except (Wrong, OSError, ValueError, http.client.HTTPException, SyntaxError) as wrong:  # SyntaxError: of XML
            print(f'{row}, {name}: {type(wrong).__name__}: {wrong}', file=sys.stderr, flush=True)
            failed.add((row, name))
            results[row][name] = []
            continue
        results[row][name].append(got)
        unit = ROWS[row].unit
        print(f'{row:9} round {turn + 1}  {name:9} {amount(unit, got.value):>10}, {amount(unit, got.other):>10}, '
              f"{got.memory / MIB:4.0f} MiB{'  disturbed' * disturbed[-1]}", file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog='./dev bench dav',
                                     description='WebDAV of berth against Apache, lighttpd and rclone')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seconds', type=int, default=3, help='of measuring in each round (default 3)')
    parser.add_argument('--only', default=','.join(ROWS), help='rows, of: %(default)s')
    parser.add_argument('--servers', default=','.join(SERVERS), help='of: %(default)s')
    parser.add_argument('--berth', type=pathlib.Path, default='build/berth', help='the program (default %(default)s)')
    parser.add_argument('--cores', default='0,1', help="server's and client's (default %(default)s)")
    parser.add_argument('--folder', help='where files and configurations go for the time (default: a temporary one)')
    args = parser.parse_args()
    args.only, args.servers, args.cores = args.only.split(','), args.servers.split(','), args.cores.split(',')
    settings.berth, settings.cores, settings.connections = args.berth.resolve(), args.cores, 256
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
    os.sched_setaffinity(0, {int(options.cores[1])})
    results = {row: {name: [] for name in options.servers} for row in options.only}
    with tempfile.TemporaryDirectory(prefix='berth-bench-', dir=options.folder) as top:
        folder = pathlib.Path(top)
        folder.chmod(0o755)
        root = folder / 'files'
        root.mkdir()
        subprocess.run(['chattr', '+T', root], stderr=subprocess.DEVNULL, check=False)  # other file systems lack it
        make_files(root / 'many')
        options.script = folder / 'put.lua'
        options.script.write_text(PUT_SCRIPT)
        options.source = make_source() if '1g' in options.only else None
        for row in options.only:
            for turn in range(options.rounds):
                one_round(row, turn, results, root, folder)
    machine(options.servers)
    report(results)
    for row, name in sorted(failed):
        print(f'{TITLES.get(name, name)} could not do {row}; see the messages above\n')
    return int(bool(failed))


options = arguments()
disturbed = []  # of each run, whether something else took CPU time meanwhile
failed = set()  # (row, server)
sys.exit(main())
