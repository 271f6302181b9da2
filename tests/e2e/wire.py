"""HTTP/1.1 as bytes: a client that sends exactly what it is told and believes nothing that it is not shown.

Real clients forgive much. This one fails a test at the first byte of a response that RFC 9112 would not have there.
"""
import re
import socket
import time

TIMEOUT = 60
STATUS_LINE = re.compile(rb'HTTP/1\.1 ([1-5]\d\d) ([\x20-\x7e]*)')
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): "
                        rb"([\x21-\x7e\x80-\xff](?:[\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)")
CHUNK_LINE = re.compile(rb'[0-9a-fA-F]{1,15}')


class Response:
    def __init__(self, status, reason, fields):
        self.status, self.reason, self.fields, self.body = status, reason, fields, b''

    def get(self, name):
        """The value of a field that may stand there once at most; None without it."""
        values = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(values) <= 1, f'{name} stands there {len(values)} times'
        return values[0] if values else None

    def __repr__(self):
        return f'<{self.status} {self.reason} {self.fields} {len(self.body)} bytes>'


class Connection:
    """A connection to an address: (host, port) or the path of a unix socket; `source` is the client's own host."""

    def __init__(self, address, receive_buffer=None, source=None):
        family = socket.AF_INET6 if ':' in address[0] else socket.AF_INET
        if isinstance(address, str):
            family = socket.AF_UNIX
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(TIMEOUT)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect(address)
        if family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b''

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def dribble(self, data, pause=0):
        for at in range(len(data)):
            self.socket.sendall(data[at:at + 1])
            if pause:
                time.sleep(pause)

    def end_sending(self):
        self.socket.shutdown(socket.SHUT_WR)

    # ---- reading ----

    def _more(self):
        data = self.socket.recv(1 << 18)
        self.buffer += data
        return bool(data)

    def read(self, size):
        """Exactly so many bytes."""
        pieces, have = [self.buffer[:size]], min(size, len(self.buffer))
        self.buffer = self.buffer[size:]
        while have < size:
            data = self.socket.recv(min(1 << 18, size - have))
            assert data, f'the connection ended {size - have} bytes early'
            pieces.append(data)
            have += len(data)
        return b''.join(pieces)

    def read_line(self):
        while b'\r\n' not in self.buffer:
            assert len(self.buffer) < 1 << 16, 'a line without end'
            assert self._more(), f'the connection ended within a line: {self.buffer!r}'
        line, self.buffer = self.buffer.split(b'\r\n', 1)
        assert b'\n' not in line and b'\r' not in line, line
        return line

    def read_to_end(self):
        pieces, self.buffer = [self.buffer], b''
        while data := self.socket.recv(1 << 18):
            pieces.append(data)
        return b''.join(pieces)

    def read_head(self):
        line = self.read_line()
        match = STATUS_LINE.fullmatch(line)
        assert match, f'no status line: {line!r}'
        fields = []
        while line := self.read_line():
            field = FIELD_LINE.fullmatch(line)
            assert field, f'no field: {line!r}'
            fields.append((field[1].decode(), field[2].decode('latin-1')))
        return Response(int(match[1]), match[2].decode(), fields)

    def read_response(self, method='GET'):
        """A final response with its body; a 100 (Continue) is one by itself."""
        response = self.read_head()
        length, coding = response.get('Content-Length'), response.get('Transfer-Encoding')
        assert length is None or coding is None, response
        assert length is None or re.fullmatch(r'\d+', length), response
        if response.status >= 200:
            assert response.get('Date') or response.status >= 500, response
        if response.status < 200 or response.status in (204, 304):
            assert coding is None and (length is None or response.status == 304), response
        elif method != 'HEAD':
            response.body = self._read_body(response, length, coding)
        return response

    def _read_body(self, response, length, coding):
        if coding is not None:
            assert coding == 'chunked', response
            return b''.join(self.read_chunks())
        if length is not None:
            return self.read(int(length))
        assert response.get('Connection') == 'close', f'nothing says where the body ends: {response}'
        return self.read_to_end()

    def read_chunks(self):
        while True:
            line = self.read_line()
            assert CHUNK_LINE.fullmatch(line), line
            size = int(line, 16)
            if size == 0:
                assert self.read_line() == b'', 'trailers'
                return
            yield self.read(size)
            assert self.read(2) == b'\r\n', 'a chunk is longer than it said'

    # ---- asking ----

    def ask(self, target='/', *fields, method='GET', version='1.1', body=b''):
        self.send(request(target, *fields, method=method, version=version) + body)
        return self.read_response(method)

    def expect_end(self):
        """The server has closed in order and sent nothing more."""
        rest = self.read_to_end()
        assert rest == b'', f'{rest[:200]!r} behind the response'

    def expect_open(self, target='/'):
        """Nothing more came, and the next request is answered."""
        assert self.buffer == b''
        assert self.ask(target).status < 500


def request(target='/', *fields, method='GET', version='1.1'):
    """The bytes of a request. Fields are 'Name: value' as str or bytes; Host comes by itself unless one is given."""
    def encoded(text):
        return text if isinstance(text, bytes) else text.encode('latin-1')
    lines = [encoded(field) for field in fields]
    if version == '1.1' and not any(line.lower().startswith(b'host') for line in lines):
        lines.insert(0, b'Host: test')
    first = encoded(f'{method} ') + encoded(target) + encoded(f' HTTP/{version}')
    return b''.join(line + b'\r\n' for line in [first, *lines, b''])


def fetch(address, target='/', *fields, **options):
    """One request on a connection of its own."""
    with Connection(address) as connection:
        return connection.ask(target, *fields, **options)
