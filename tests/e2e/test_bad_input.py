"""What is malformed gets its status; after a framing error the connection closes, and nothing behind it is answered."""
import pytest
from wire import request

HOST = b'Host: test\r\n'
NEXT = b'GET /behind HTTP/1.1\r\nHost: test\r\n\r\n'


def head(*lines, first=b'GET / HTTP/1.1', host=HOST):
    return first + b'\r\n' + host + b''.join(line + b'\r\n' for line in lines) + b'\r\n'


BAD = {
    'no version': (400, b'GET /\r\n\r\n'),
    'one word': (400, b'hello\r\n\r\n'),
    'four words': (400, head(first=b'GET / x HTTP/1.1')),
    'two spaces': (400, head(first=b'GET  / HTTP/1.1')),
    'leading space': (400, b' ' + head()),
    'no target': (400, head(first=b'GET HTTP/1.1')),
    'relative target': (400, head(first=b'GET file HTTP/1.1')),
    'star for GET': (400, head(first=b'GET * HTTP/1.1')),
    'another scheme': (400, head(first=b'GET ftp://test/ HTTP/1.1')),
    'method is no token': (400, head(first=b'G@T / HTTP/1.1')),
    'lower-case version': (400, head(first=b'GET / http/1.1')),
    'version without minor': (400, head(first=b'GET / HTTP/1')),
    'version with two digits': (400, head(first=b'GET / HTTP/1.11')),
    'fragment': (400, head(first=b'GET /#x HTTP/1.1')),
    'NUL in the target': (400, head(first=b'GET /\0 HTTP/1.1')),
    'control byte in the target': (400, head(first=b'GET /\x01 HTTP/1.1')),
    'tab instead of space': (400, head(first=b'GET\t/ HTTP/1.1')),
    'TLS': (400, b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'),
    'bare LF': (400, b'GET / HTTP/1.1\nHost: test\n\n'),
    'bare LF in a field': (400, head(b'X: 1\nY: 2')),
    'bare CR in a field': (400, head(b'X: 1\rY: 2')),
    'bare CR at the end': (400, b'GET / HTTP/1.1\r\r\nHost: test\r\n\r\n'),
    'NUL in a field': (400, head(b'X: a\0b')),
    'control byte in a field': (400, head(b'X: a\x08b')),
    'DEL in a field': (400, head(b'X: a\x7fb')),
    'fold': (400, head(b'X: 1', b' 2')),
    'fold by tab': (400, head(b'X: 1', b'\t2')),
    'fold at once': (400, head(b' X: 1', host=b'')),
    'space before colon': (400, head(b'X : 1')),
    'space before the colon of a length': (400, head(b'Content-Length : 0')),
    'no colon': (400, head(b'X')),
    'no name': (400, head(b': x')),
    'bad name': (400, head(b'X(Y): 1')),
    'two lengths': (400, head(b'Content-Length: 5', b'Content-Length: 6')),
    'two equal lengths': (400, head(b'Content-Length: 0', b'Content-Length: 0')),
    'lengths in a list': (400, head(b'Content-Length: 5, 5')),
    'length with sign': (400, head(b'Content-Length: +5')),
    'negative length': (400, head(b'Content-Length: -1')),
    'hexadecimal length': (400, head(b'Content-Length: 0x5')),
    'empty length': (400, head(b'Content-Length:')),
    'length past 2^64': (400, head(b'Content-Length: 18446744073709551621')),
    'length and coding': (400, head(b'Content-Length: 5', b'Transfer-Encoding: chunked')),
    'coding and length': (400, head(b'Transfer-Encoding: chunked', b'Content-Length: 5')),
    'coding in 1.0': (400, head(b'Transfer-Encoding: chunked', first=b'GET / HTTP/1.0')),
    'no Host': (400, head(host=b'')),
    'two Hosts': (400, head(HOST.strip())),
    'two Hosts in 1.0': (400, head(HOST.strip(), first=b'GET / HTTP/1.0')),
    'bad Host': (400, head(host=b'Host: a b\r\n')),
    'Host with a path': (400, head(host=b'Host: test/x\r\n')),
    'percent at the end': (400, head(first=b'GET /% HTTP/1.1')),
    'one digit behind percent': (400, head(first=b'GET /%2 HTTP/1.1')),
    'no digits behind percent': (400, head(first=b'GET /%zz HTTP/1.1')),
    'encoded NUL': (400, head(first=b'GET /a%00 HTTP/1.1')),
    'unknown coding': (501, head(b'Transfer-Encoding: gzip')),
    'coding on coding': (501, head(b'Transfer-Encoding: gzip, chunked')),
    'chunked twice': (501, head(b'Transfer-Encoding: chunked, chunked')),
    'identity': (501, head(b'Transfer-Encoding: identity')),
    'HTTP/2.0': (505, head(first=b'GET / HTTP/2.0')),
    'HTTP/0.9': (505, head(first=b'GET / HTTP/0.9')),
    'HTTP/1.2': (505, head(first=b'GET / HTTP/1.2')),
    'HTTP/2 preface': (505, b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
}
# These say nothing about where the request ends that could be wrong: the connection may stay.
WELL_FRAMED = {'percent at the end', 'one digit behind percent', 'no digits behind percent', 'encoded NUL'}
ALSO_FINE = {'chunked twice': (400,), 'identity': (400,), 'HTTP/2 preface': (400,), 'fragment': (200, 404),
             'HTTP/1.2': (200,)}


def refused(connection, status, name):
    response = connection.read_response()
    assert response.status == status or response.status in ALSO_FINE.get(name, ()), response
    if name in WELL_FRAMED and response.get('Connection') != 'close':
        assert connection.read_response().status == 404  # NEXT
        return
    if response.status >= 400:
        assert response.get('Connection') == 'close', response
        connection.expect_end()


@pytest.mark.parametrize('name', BAD)
def test_bad_input(shared, name):
    status, data = BAD[name]
    with shared.connect() as connection:
        connection.send(data + NEXT)
        refused(connection, status, name)


@pytest.mark.parametrize('name', BAD)
def test_bad_input_behind_a_good_request(site, name):
    site.file('file')
    status, data = BAD[name]
    with site.connect() as connection:
        connection.send(request(site.url + 'file') * 2 + data + NEXT)
        for _ in range(2):
            assert connection.read_response().body == b'content\n'
        refused(connection, status, name)


@pytest.mark.parametrize('name', [
    'no version', 'fold', 'two lengths', 'bare CR in a field', 'no Host', 'encoded NUL', 'HTTP/2.0',
])
def test_bad_input_a_byte_at_a_time(shared, name):
    status, data = BAD[name]
    with shared.connect() as connection:
        try:
            connection.dribble(data)
        except OSError:  # refused before all of it was sent
            pass
        assert connection.read_response().status == status


CHUNKS = {
    'no size': b'\r\n', 'not hexadecimal': b'g\r\n', 'sign': b'-1\r\n', 'prefix': b'0x1\r\na\r\n0\r\n\r\n',
    'space first': b' 1\r\na\r\n0\r\n\r\n',
    'past 63 bits': b'8000000000000000\r\n', 'many digits': b'0' * 9000 + b'1\r\na\r\n0\r\n\r\n',
    'data too long': b'1\r\nab\r\n0\r\n\r\n',
    'bare LF': b'1\na\n0\n\n', 'bare LF behind data': b'1\r\na\n0\r\n\r\n',
    'endless extension': b'1;' + b'x' * 9000 + b'\r\na\r\n0\r\n\r\n',
    'endless trailer': b'0\r\n' + b'X: y\r\n' * 2000 + b'\r\n', 'NUL': b'1\0\r\na\r\n0\r\n\r\n',
}


@pytest.mark.parametrize('name', CHUNKS)
def test_bad_chunks_are_never_taken_for_a_request(site, name):
    """The response may come before the body is seen; what follows the fault must not be answered."""
    site.file('file')
    with site.connect() as connection:
        connection.send(request(site.url + 'file', 'Transfer-Encoding: chunked') + CHUNKS[name] + NEXT)
        response = connection.read_response()
        assert response.status in (200, 400), response
        if response.status == 200:
            rest = connection.read_to_end()
            assert not rest or rest.startswith(b'HTTP/1.1 400 '), rest
            assert b' 404 ' not in rest
        else:
            connection.expect_end()


# ---- limits ----

def line_of(size):
    """A request line of so many bytes, CRLF not counted."""
    return b'GET /' + b'x' * (size - len('GET / HTTP/1.1')) + b' HTTP/1.1'


def test_a_long_line_gets_414(shared):
    with shared.connect() as connection:
        connection.send(head(first=line_of(8000)))
        assert connection.read_response().status == 404
        connection.send(head(first=line_of(8300)))
        assert connection.read_response().status == 414
        connection.expect_end()


def test_an_endless_line_gets_414_before_its_end(shared):
    with shared.connect() as connection:
        connection.send(b'GET /' + b'x' * 9000)
        assert connection.read_response().status == 414
        connection.expect_end()


@pytest.mark.parametrize('kind, data', [
    ('field line', head(b'X: ' + b'y' * 8300)),
    ('field line without end', b'GET / HTTP/1.1\r\nHost: test\r\nX: ' + b'y' * 9000),
    ('head', head(*[b'X: ' + b'y' * 4000] * 9)),
    ('head without end', b'GET / HTTP/1.1\r\nHost: test\r\n' + (b'X: ' + b'y' * 4000 + b'\r\n') * 9),
    ('fields', head(*[b'X: y'] * 101)),
    ('name', head(b'x' * 8300 + b': y')),
])
def test_too_much_gets_431(shared, kind, data):
    with shared.connect() as connection:
        connection.send(data)
        assert connection.read_response().status == 431
        connection.expect_end()


def test_what_is_just_within_the_limits_is_fine(shared):
    with shared.connect() as connection:
        assert connection.ask('/', *[f'X: {"y" * 3900}'] * 8).status == 200
        assert connection.ask('/', *['X: y'] * 90).status == 200
        assert connection.ask('/', 'X: ' + 'y' * 8100).status == 200
        connection.dribble(request('/', *[f'X: {"y" * 300}'] * 10))
        assert connection.read_response().status == 200
        connection.expect_open()


def field_of(size):
    return b'X: ' + b'y' * size


def statuses_are(server, *cases):
    for data, status in cases:
        with server.connect() as connection:
            connection.send(data)
            assert connection.read_response().status == status


def test_the_limits_are_options(serve):
    server = serve('--max-line=1000', '--max-head=4000')
    statuses_are(server, (head(first=line_of(1100)), 414), (head(first=line_of(900)), 404), (head(field_of(1100)), 431),
                 (head(*[field_of(900)] * 5), 431), (head(*[field_of(900)] * 3), 200))
    server = serve('--max-line=60000', '--max-head=65000')
    statuses_are(server, (head(field_of(59000)), 200), (head(first=line_of(30000)), 404),
                 (head(*[field_of(20000)] * 4), 431))
