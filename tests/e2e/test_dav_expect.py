"""Expect: 100-continue makes no other answer of a request."""
import pytest
from dav import lock_body, propfind_body, token_of
from wire import request

LOCK = lock_body('shared').encode()


def ask(tree, method, name, body, *fields):
    """Waits for 100 (Continue), or takes the answer that comes instead of it."""
    with tree.connect() as connection:
        connection.send(request(tree.href(name), f'Content-Length: {len(body)}', 'Expect: 100-continue', *fields, method=method))
        answer = connection.read_response(method)
        if answer.status == 100:
            connection.send(body)
            answer = connection.read_response(method)
        return answer


def test_a_shared_lock_beside_another(tree):
    tree.file('file')
    token = token_of(tree.ask('LOCK', 'file', body=LOCK))
    assert token_of(ask(tree, 'LOCK', 'file', LOCK)) != token
    assert ask(tree, 'UNLOCK', 'file', b'x', f'Lock-Token: <{token}>').status == 204


def test_a_copy_of_what_is_locked(tree):
    tree.file('file')
    token_of(tree.ask('LOCK', 'file', body=LOCK))
    assert ask(tree, 'COPY', 'file', b'x', f'Destination: {tree.href("copy")}').status == 201


@pytest.mark.parametrize('method', ['PROPFIND', 'DELETE', 'COPY', 'PROPPATCH'])
def test_a_name_in_a_folder_that_is_not_there(tree, method):
    fields = [f'Destination: {tree.href("to")}', 'Depth: infinity' if method == 'DELETE' else 'Depth: 0']
    body = propfind_body('getetag').encode()
    if method == 'PROPPATCH':
        body = b'<propertyupdate xmlns="DAV:"><set><prop><a xmlns="urn:a">1</a></prop></set></propertyupdate>'
    assert ask(tree, method, 'none/file', body, *fields).status == 404


def test_a_locked_file_is_refused_before_the_body(tree):
    tree.file('file')
    token_of(tree.ask('LOCK', 'file', body=LOCK))
    with tree.connect() as connection:
        answer = connection.ask(tree.href('file'), 'Content-Length: 5', 'Expect: 100-continue', method='PUT')
        assert answer.status == 423 and answer.get('Connection') == 'close'
