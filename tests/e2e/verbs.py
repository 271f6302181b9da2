"""The mount's client (tests/mount/verbs.c), asked for one verb after the other, and servers that treat it badly."""
import contextlib
import os
import pathlib
import re
import socket
import ssl
import subprocess
import threading
import urllib.parse

import pytest
from conftest import PROGRAM, SANITIZER

VERBS = pathlib.Path(PROGRAM).parent / 'tests/mount/verbs'
needs_verbs = pytest.mark.skipif(not VERBS.exists(), reason=f'{VERBS} is not built')


class Refused(Exception):
    """A verb failed; the name of its errno, and the words behind it."""

    def __init__(self, name, words):
        super().__init__(f'{name} {words}')
        self.name, self.words = name, words


def bare(value):
    data = os.fsencode(value) if isinstance(value, (str, os.PathLike)) else value if isinstance(value, bytes) else str(value).encode()
    return '%2D' if data == b'-' else urllib.parse.quote(data, safe='/')


def line_of(words, options):
    return ' '.join([*(bare(word) or '-' for word in words), *(f'{name}={bare(value)}' for name, value in options.items())])


class Verbs:
    def __init__(self, url, environment=None, **options):
        command = [str(VERBS), f'url={url}', *(f'{name}={value}' for name, value in options.items())]
        clean = {name: value for name, value in os.environ.items() if not name.lower().endswith('_proxy')}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env={**clean, **(environment or {})})
        self.started = self.process.stdout.readline().strip().decode()

    def send(self, *words, **options):
        self.process.stdin.write(line_of(words, options).encode() + b'\n')
        self.process.stdin.flush()

    def receive(self):
        line = self.process.stdout.readline()
        assert line.endswith(b'\n'), self.process.stderr.read().decode()
        name, *words = line.split()
        words = [urllib.parse.unquote_to_bytes(b'' if word == b'-' else word) for word in words]
        if name not in (b'OK', b'MORE'):
            raise Refused(name.decode(), words)
        return words

    def __call__(self, *words, **options):
        self.send(*words, **options)
        return self.receive()

    def many(self, threads, times, *words, **options):
        """How many failed, microseconds, and those of the processor."""
        self.process.stdin.write(f'many {threads} {times} {line_of(words, options)}\n'.encode())
        self.process.stdin.flush()
        return [int(word) for word in self.receive()]

    def fails(self, *words, **options):
        with pytest.raises(Refused) as caught:
            self(*words, **options)
        return caught.value.name

    def stat(self, name):
        kind, size, mode, has_mode, links, inode, seconds, nanoseconds, tag = self('stat', name)
        return Stat(kind.decode(), int(size), int(mode, 8), has_mode == b'1', int(links), int(inode), int(seconds),
                    int(nanoseconds), tag.decode())

    def list(self, name=''):
        words = self('list', name)
        return {words[at]: Stat(words[at + 1].decode(), int(words[at + 2]), int(words[at + 3], 8), words[at + 4] == b'1',
                                int(words[at + 5]), int(words[at + 6]), int(words[at + 7]), int(words[at + 8]),
                                words[at + 9].decode()) for at in range(0, len(words), 10)}

    def tag(self, name):
        return self.stat(name).tag

    def counters(self):
        names = ('requests', 'retries', 'opened', 'open', 'peak', 'sent', 'received')
        return dict(zip(names, map(int, self('counters'))))

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(30)
        errors = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        assert code == 0 and not SANITIZER.search(errors), f'exit {code}: {errors}'


class Stat:
    def __init__(self, kind, size, mode, has_mode, links, inode, seconds, nanoseconds, tag):
        self.kind, self.size, self.mode, self.has_mode, self.links, self.inode = kind, size, mode, has_mode, links, inode
        self.mtime_ns, self.tag = seconds * 10 ** 9 + nanoseconds, tag


@pytest.fixture
def start_verbs():
    """Starts clients; each ends in order."""
    with contextlib.ExitStack() as stack:
        def start(url, **options):
            verbs = Verbs(url, **options)
            stack.callback(verbs.close)
            return verbs
        yield start


def url_of(address, path='/', scheme='http'):
    return f'{scheme}://{address[0]}:{address[1]}{path}'


# ---- reading messages as they are ----

def read_message(receive, data=b'', is_answer=False, no_body=False):
    """One message as bytes, and what came behind it; None at the end of the connection."""
    while b'\r\n\r\n' not in data:
        more = receive(65536)
        if not more:
            return None, data
        data += more
    head, _, rest = data.partition(b'\r\n\r\n')
    status = int(head.split()[1]) if is_answer else 0
    length = re.search(rb'(?im)^content-length: *(\d+)', head)
    chunked = re.search(rb'(?im)^transfer-encoding: *chunked', head)
    bare = no_body or status in (204, 304) or 100 <= status < 200
    size = 0 if bare else int(length[1]) if length else 0
    if chunked and not bare:
        while not (rest == b'0\r\n\r\n' or b'\r\n0\r\n\r\n' in rest):
            rest += receive(65536)
        end = rest.index(b'0\r\n\r\n') + 5 if rest.startswith(b'0\r\n\r\n') else rest.index(b'\r\n0\r\n\r\n') + 7
        return head + b'\r\n\r\n' + rest[:end], rest[end:]
    while len(rest) < size:
        more = receive(1 << 20)
        if not more:
            return None, head + b'\r\n\r\n' + rest
        rest += more
    return head + b'\r\n\r\n' + rest[:size], rest[size:]


class Listener:
    """Accepts connections on a thread, and serves each on one of its own."""

    def __init__(self, context=None):
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.address = self.socket.getsockname()
        self.context = context
        self.open, self.peak, self.accepted = 0, 0, 0
        self.lock = threading.Lock()
        self.connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with self.lock:
            self.accepted += 1
            self.open += 1
            self.peak = max(self.peak, self.open)
        with contextlib.suppress(OSError, ConnectionError, ssl.SSLError):
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            self.connections.append(connection)
            self.serve(connection)
        with self.lock:
            self.open -= 1
        connection.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Proxy(Listener):
    """Between client and server. `plan` holds a word for each request that comes, then they pass:
    lose: it is carried out, its answer is not told; refuse: it is not even read; a number: so many bytes of the answer;
    stall: nobody answers; bytes: this is the answer, and it is not carried out; drop: it is carried out, the connection is
    kept and closed when the next request comes on it."""

    def __init__(self, upstream, plan=(), context=None):
        self.upstream, self.plan, self.seen = upstream, list(plan), []
        self.released = threading.Event()
        super().__init__(context)

    def next_word(self):
        with self.lock:
            return self.plan.pop(0) if self.plan else 'pass'

    def ask(self, request):
        with socket.create_connection(self.upstream) as server:
            server.sendall(request)
            answer, _ = read_message(server.recv, is_answer=True, no_body=request.startswith(b'HEAD'))
        return answer

    def serve(self, connection):
        rest, dropped = b'', False
        while True:
            if dropped:
                connection.recv(1)
                return
            request, rest = read_message(connection.recv, rest)
            if request is None:
                return
            word = self.next_word()
            self.seen.append((word, request.split(b' ', 1)[0].decode()))
            if word == 'refuse':
                return
            if word == 'stall':
                self.released.wait()
                return
            if isinstance(word, bytes):
                connection.sendall(word)
                continue
            answer = self.ask(request)
            if word == 'lose':
                return
            if isinstance(word, int):
                connection.sendall(answer[:word])
                return
            connection.sendall(answer)
            dropped = word == 'drop'

    def close(self):
        self.released.set()
        super().close()


@pytest.fixture
def between():
    """Starts proxies."""
    with contextlib.ExitStack() as stack:
        def start(upstream, plan=(), **options):
            proxy = Proxy(upstream, plan, **options)
            stack.callback(proxy.close)
            return proxy
        yield start
