"""Requests and responses one after another: methods, versions, keep-alive, pipelines, bodies."""
import re
import time

import pytest
from wire import request


def test_get_answers_with_the_file(site, blob):
    site.file('blob', blob)
    response = site.fetch('blob')
    assert (response.status, response.reason) == (200, 'OK')
    assert response.body == blob


def test_an_empty_file_is_an_empty_body(site):
    site.file('empty', b'')
    with site.connect() as connection:
        response = connection.ask(site.url + 'empty')
        assert response.status == 200 and response.get('Content-Length') == '0'
        assert connection.ask(site.url + 'empty', 'Range: bytes=0-').status in (200, 416)
        connection.expect_open()


def test_head_is_get_without_the_body(site):
    site.file('file.txt')
    with site.connect() as connection:
        got = connection.ask(site.url + 'file.txt')
        head = connection.ask(site.url + 'file.txt', method='HEAD')
        without_date = [[f for f in r.fields if f[0] != 'Date'] for r in (got, head)]
        assert head.status == 200 and without_date[0] == without_date[1]
        assert connection.ask(site.url, method='HEAD').status == 200
        assert connection.ask(site.url + 'missing', method='HEAD').status == 404
        connection.expect_open()


@pytest.mark.parametrize('target', ['*', '/', '/missing'])
def test_options_names_the_methods(shared, target):
    with shared.connect() as connection:
        response = connection.ask(target, method='OPTIONS')
        assert response.status in (200, 204)
        assert {'GET', 'HEAD', 'OPTIONS'} <= set(re.split(r',\s*', response.get('Allow')))
        connection.expect_open()


@pytest.mark.parametrize('method', ['PUT', 'POST', 'DELETE', 'TRACE', 'CONNECTED', 'get'])
def test_other_methods_get_405_with_allow(site, method):
    path = site.file('file')
    response = site.fetch('file', 'Content-Length: 0', method=method)
    assert response.status == 405
    assert 'GET' in response.get('Allow')
    assert path.read_bytes() == b'content\n'


def test_an_absolute_target_and_any_host_are_fine(site):
    site.file('file')
    for target in ('http://elsewhere:80' + site.url + 'file', 'HTTP://x' + site.url + 'file', site.url + 'file?query'):
        assert site.server.fetch(target).body == b'content\n'


# ---- connections ----

def test_a_connection_stays_open_in_1_1(site):
    site.file('file')
    with site.connect() as connection:
        for _ in range(20):
            response = connection.ask(site.url + 'file')
            assert response.body == b'content\n' and response.get('Connection') != 'close'


def test_connection_close_closes(site):
    site.file('file')
    for field in ('Connection: close', 'Connection: foo, Close', 'connection:close'):
        with site.connect() as connection:
            response = connection.ask(site.url + 'file', field)
            assert response.body == b'content\n' and response.get('Connection') == 'close'
            connection.expect_end()


def test_1_0_closes_unless_it_asks_to_stay(site):
    site.file('file')
    with site.connect() as connection:
        assert connection.ask(site.url + 'file', version='1.0').body == b'content\n'
        connection.expect_end()
    with site.connect() as connection:
        response = connection.ask(site.url + 'file', 'Connection: keep-alive', version='1.0')
        assert response.body == b'content\n' and response.get('Connection').lower() == 'keep-alive'
        connection.expect_open(site.url + 'file')


def test_1_0_never_gets_chunks(site):
    site.file('file')
    with site.connect() as connection:
        response = connection.ask(site.url, version='1.0')
        assert response.status == 200 and response.get('Transfer-Encoding') is None
        assert b'</html>' in response.body
        connection.expect_end()


def test_a_pipeline_is_answered_in_order(site):
    for number in range(10):
        site.file(f'{number}', b'%d' % number * (number * 999))
    with site.connect() as connection:
        order = [n * 7 % 10 for n in range(100)]
        connection.send(b''.join(request(f'{site.url}{n}') for n in order))
        for n in order:
            assert connection.read_response().body == b'%d' % n * (n * 999)
        connection.expect_open()


def test_a_pipeline_longer_than_all_buffers_is_answered(site):
    """Far more requests than fit into the socket's buffers, while nobody reads."""
    site.file('file', b'x' * 10)
    bulk = request(site.url + 'file', 'X-Long: ' + 'y' * 900) * 500
    with site.connect() as connection:
        connection.send(bulk)
        for _ in range(500):
            assert connection.read_response().body == b'x' * 10
        connection.expect_open()


def test_methods_mix_in_a_pipeline(site):
    site.file('file')
    with site.connect() as connection:
        kinds = [('GET', 'file', 200), ('HEAD', 'file', 200), ('GET', 'none', 404), ('GET', '', 200), ('HEAD', '', 200),
                 ('OPTIONS', '', 204), ('GET', 'file', 200)] * 5
        connection.send(b''.join(request(site.url + name, method=method) for method, name, _ in kinds))
        for method, _, status in kinds:
            assert connection.read_response(method).status == status


def test_bytes_may_come_one_at_a_time(site):
    site.file('file')
    with site.connect() as connection:
        connection.dribble(b''.join(request(site.url + 'file', f'X-Number: {n}') for n in range(20)))
        for _ in range(20):
            assert connection.read_response().body == b'content\n'
        connection.dribble(request(site.url + 'file'), pause=0.005)
        assert connection.read_response().body == b'content\n'


def test_what_was_asked_before_a_half_close_is_answered(site, blob):
    site.file('blob', blob)
    with site.connect() as connection:
        connection.send(request(site.url + 'blob') * 2)
        connection.end_sending()
        assert connection.read_response().body == blob
        assert connection.read_response().body == blob
        connection.expect_end()


def test_an_end_within_a_head_closes_quietly(shared):
    for part in (b'', b'GET', b'GET / HTTP/1.1\r\nHost: x\r\n'):
        with shared.connect() as connection:
            connection.send(part)
            connection.end_sending()
            assert connection.read_to_end() == b'' or part


def test_empty_lines_before_a_request_are_skipped(site):
    site.file('file')
    with site.connect() as connection:
        connection.send(b'\r\n' + request(site.url + 'file') + b'\r\n' + request(site.url + 'file'))
        assert connection.read_response().status == 200
        assert connection.read_response().status == 200


def test_a_quiet_connection_wakes_again(site):
    """Longer than a receive stays armed."""
    site.file('file')
    with site.connect() as connection:
        connection.ask(site.url + 'file')
        time.sleep(3.5)
        assert connection.ask(site.url + 'file').body == b'content\n'


# ---- request bodies ----

BODIES = {
    'sized': (('Content-Length: 5',), b'GET /'),
    'sized, none': (('Content-Length: 0',), b''),
    'chunked': (('Transfer-Encoding: chunked',), b'5\r\nGET /\r\n0\r\n\r\n'),
    'chunked, none': (('Transfer-Encoding: chunked',), b'0\r\n\r\n'),
    'extension and trailer': (('Transfer-Encoding: chunked',),
                              b'00a;x="y"\r\n0123456789\r\n0;z\r\nX-Trailer: 1\r\n\r\n'),
    'large': (('Content-Length: 300000',), b'G' * 300000),
    'large, chunked': (('Transfer-Encoding: Chunked',),
                       b'ffff\r\n' + b'G' * 0xffff + b'\r\n' + b'1\r\nG\r\n' * 500 + b'0\r\n\r\n'),
}


@pytest.mark.parametrize('kind', BODIES)
@pytest.mark.parametrize('method', ['GET', 'HEAD', 'OPTIONS'])
def test_a_body_is_skipped_and_the_next_request_answered(site, kind, method):
    site.file('file')
    fields, body = BODIES[kind]
    with site.connect() as connection:
        connection.send(request(site.url + 'file', *fields, method=method) + body + request(site.url + 'missing'))
        assert connection.read_response(method).status in (200, 204)
        assert connection.read_response().status == 404
        connection.expect_open()


def test_a_body_may_come_one_byte_at_a_time(site):
    site.file('file')
    with site.connect() as connection:
        for fields, body in (BODIES['sized'], BODIES['chunked'], BODIES['extension and trailer']):
            connection.send(request(site.url + 'file', *fields))
            connection.dribble(body)
            assert connection.read_response().body == b'content\n'
        connection.expect_open()


def test_expect_continue_is_answered_before_the_body(site):
    site.file('file')
    with site.connect() as connection:
        connection.send(request(site.url + 'file', 'Content-Length: 4', 'Expect: 100-continue'))
        response = connection.read_response()
        if response.status == 100:  # or a final answer at once, RFC 9110 10.1.1
            connection.send(b'body')
            response = connection.read_response()
            connection.expect_open()
        assert response.status == 200


def test_an_unknown_expectation_gets_417(shared):
    assert shared.fetch('/', 'Expect: miracles').status == 417


def test_a_body_of_another_method_is_no_request(site):
    """However a refused body is handled, it must not be taken for a request."""
    site.file('secret', b'smuggled')
    inner = request(site.url + 'secret')
    with site.connect() as connection:
        connection.send(request('/', f'Content-Length: {len(inner)}', method='POST') + inner)
        assert connection.read_response().status == 405
        connection.end_sending()
        assert b'smuggled' not in connection.read_to_end()
