"""LOCK, UNLOCK and the If header: who holds a lock may write, nobody else, whichever server is asked."""
import base64
import time
import xml.etree.ElementTree as ElementTree

import pytest
from conftest import eventually
from dav import DAV, Lock, chunked, clark, error_names, lock_body, locks_of, set_property, token_of, upload, xml_of
from test_dav_put import in_parallel
from wire import request

PROPERTY = set_property('<N:p xmlns:N="urn:test">v</N:p>')


def submit(*tokens):
    return 'If: ' + ' '.join(f'(<{token}>)' for token in tokens)


def tagged(tree, name, token):
    return f'If: <http://test{tree.href(name)}> (<{token}>)'


@pytest.fixture
def locked(tree):
    """A file 'file' with an exclusive lock: tree.token."""
    tree.put('file', b'old')
    tree.token = token_of(tree.lock('file'))
    return tree


# ---- making them ----

def test_an_exclusive_lock(tree):
    tree.put('file', b'old')
    answer = tree.lock('file', depth='0', timeout='Second-600')
    assert answer.status == 200
    token, (lock,) = token_of(answer), locks_of(answer)
    assert lock.exclusive and lock.depth == '0' and lock.root == tree.href('file')
    assert lock.owner.find(f'{DAV}href').text == 'http://example.org/me'
    assert 590 <= int(lock.timeout.removeprefix('Second-')) <= 600
    (told,) = tree.member('file', 'lockdiscovery').locks()
    assert (told.token, told.root, told.exclusive, told.depth) == (token, lock.root, True, '0')
    assert told.owner.find(f'{DAV}href').text == 'http://example.org/me'
    assert tree.unlock('file', token).status == 204
    assert tree.member('file', 'lockdiscovery').locks() == []
    assert tree.put('file', b'free').status == 204


def test_a_lock_on_a_file_tells_its_tag(tree):
    """So who locks it to write to it knows whether it is what he has seen."""
    tree.put('file', b'old')
    assert tree.lock('file').get('ETag') == tree.ask('HEAD', 'file').get('ETag')
    tree.ask('MKCOL', 'folder')
    assert tree.lock('folder').get('ETag') is None and tree.lock('new').get('ETag') is None


def test_each_lock_has_a_token_of_its_own(tree):
    tokens = set()
    for number in range(20):
        tree.put(f'file{number}')
        tokens.add(token_of(tree.lock(f'file{number}')))
    assert len(tokens) == 20


def test_a_lock_on_what_is_not_there_makes_an_empty_file(tree):
    answer = tree.lock('new')
    assert answer.status == 201
    token = token_of(answer)
    assert tree.read('new') == b'' and tree.put('new', b'no').status == 423
    assert tree.put('new', b'yes', submit(token)).status == 204
    assert tree.lock('none/new').status == 409
    assert tree.lock('new/below').status == 409
    assert tree.names() == ['new']


def test_a_second_lock(locked):
    for scope in ('exclusive', 'shared'):
        answer = locked.lock('file', scope=scope)
        assert answer.status == 423 and error_names(answer) == ['no-conflicting-lock'], answer
    assert locked.unlock('file', locked.token).status == 204
    assert locked.lock('file').status == 200


def test_of_many_who_lock_one_does(tree):
    for number in range(10):
        tree.put(f'file{number}')
        answers = []
        in_parallel(*[lambda name=f'file{number}': answers.append(tree.lock(name).status)] * 8)
        assert sorted(answers) == [200] + [423] * 7


def test_shared_locks(tree):
    tree.put('file', b'old')
    one, two = [token_of(tree.lock('file', scope='shared')) for _ in range(2)]
    assert one != two
    assert {lock.token for lock in tree.member('file', 'lockdiscovery').locks()} == {one, two}
    assert not any(lock.exclusive for lock in tree.member('file', 'lockdiscovery').locks())
    assert tree.lock('file').status == 423
    assert tree.put('file', b'no').status == 423
    assert tree.put('file', b'by one', submit(one)).status == 204
    assert tree.put('file', b'by two', submit(two)).status == 204
    assert tree.unlock('file', one).status == 204
    assert tree.put('file', b'no').status == 423
    assert tree.put('file', b'no', submit(one)).status == 412
    assert tree.unlock('file', two).status == 204
    assert tree.put('file', b'free').status == 204


def test_locks_have_a_bound(tree):
    tree.put('file', b'old')
    statuses = [tree.lock('file', scope='shared').status for _ in range(100)]
    assert statuses[0] == 200 and statuses[-1] in (423, 503, 507), statuses
    assert len(tree.member('file', 'lockdiscovery').locks()) == statuses.count(200)


def test_owners(tree):
    for number, owner in enumerate(('plain text', '<D:href>a</D:href><x:y xmlns:x="urn:x">b</x:y>', '&lt;&amp;&gt;', 'ü', '')):
        tree.put(f'file{number}')
        answer = tree.ask('LOCK', f'file{number}', 'Depth: 0', body=lock_body(owner=owner))
        (lock,) = locks_of(answer)
        if owner:
            assert lock.owner is not None
            model = ElementTree.fromstring(f'<D:owner xmlns:D="DAV:">{owner}</D:owner>')
            assert ''.join(lock.owner.itertext()) == ''.join(model.itertext())
            assert [child.tag for child in lock.owner] == [child.tag for child in model]
    tree.put('file')
    answer = tree.ask('LOCK', 'file', 'Depth: 0', body=lock_body(owner='x' * 20000))
    assert answer.status in (400, 413, 507) or len(''.join(locks_of(answer)[0].owner.itertext())) == 20000, answer


BAD = {
    'no scope': ('<D:lockinfo xmlns:D="DAV:"><D:locktype><D:write/></D:locktype></D:lockinfo>', {400, 422}),
    'no type': ('<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope></D:lockinfo>', {400, 422}),
    'another scope': ('<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:some/></D:lockscope><D:locktype><D:write/></D:locktype>'
                      '</D:lockinfo>', {400, 422}),
    'another type': ('<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:read/></D:locktype>'
                     '</D:lockinfo>', {400, 422}),
    'cut off': ('<D:lockinfo xmlns:D="DAV:">', {400}),
    'another root': ('<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>', {400}),
    'empty': ('', {400}),
}


@pytest.mark.parametrize('body, statuses', BAD.values(), ids=BAD)
def test_locks_that_cannot_be(tree, body, statuses):
    tree.put('file')
    assert tree.ask('LOCK', 'file', 'Depth: 0', body=body).status in statuses
    assert tree.ask('LOCK', 'new', 'Depth: 0', body=body).status in statuses
    assert tree.ask('LOCK', 'file', 'Depth: 1', body=lock_body()).status == 400
    assert not tree.member('file').locks() and tree.names() == ['file']


# ---- how long ----

def test_timeouts(tree):
    for number, (asked, least, most) in enumerate((('Second-100', 95, 100), ('Infinite, Second-4100000000', 100, 2 ** 32),
                                                   ('Second-4100000000', 100, 2 ** 32), ('Extend, Second-77', 70, 77),
                                                   ('nonsense', 1, 2 ** 32))):
        tree.put(f'file{number}')
        (lock,) = locks_of(tree.lock(f'file{number}', timeout=asked))
        seconds = 2 ** 32 if lock.timeout == 'Infinite' else int(lock.timeout.removeprefix('Second-'))
        assert least <= seconds <= most, f'{asked}: {lock.timeout}'


def test_locks_expire(tree):
    tree.put('file', b'old')
    (tree.path / 'folder').mkdir()
    token = token_of(tree.lock('file', timeout='Second-3'))
    token_of(tree.lock('folder', timeout='Second-1', depth='infinity'))
    token_of(tree.lock('new', timeout='Second-3'))
    assert tree.put('file', b'no').status == 423
    eventually(lambda: tree.put('file', b'free').status == 204)
    eventually(lambda: tree.put('folder/file', b'free').status == 201)
    eventually(lambda: not tree.member('new').locks())
    assert tree.put('file', b'no', submit(token)).status == 412
    assert tree.unlock('file', token).status == 409
    assert tree.ask('LOCK', 'file', submit(token), body=b'').status == 412
    assert tree.lock('file').status == 200


def test_refreshing(locked):
    def refresh(*fields):
        return locked.ask('LOCK', 'file', *fields, body=b'')
    answer = refresh(submit(locked.token), 'Timeout: Second-3000')
    assert answer.status == 200 and answer.get('Lock-Token') is None
    (lock,) = locks_of(answer)
    assert lock.token == locked.token and 2900 < int(lock.timeout.removeprefix('Second-')) <= 3000
    (lock,) = locks_of(refresh(tagged(locked, 'file', locked.token), 'Timeout: Second-500'))
    assert 400 < int(lock.timeout.removeprefix('Second-')) <= 500
    assert refresh('Timeout: Second-9').status == 400
    assert refresh(submit('urn:uuid:00000000-0000-4000-8000-000000000000')).status == 412
    assert int(locked.member('file').locks()[0].timeout.removeprefix('Second-')) > 400


def test_a_lock_that_is_refreshed_outlives_its_first_timeout(tree):
    tree.put('file', b'old')
    token = token_of(tree.lock('file', timeout='Second-3'))
    assert tree.ask('LOCK', 'file', submit(token), 'Timeout: Second-600', body=b'').status == 200
    time.sleep(4.1)
    assert tree.put('file', b'no').status == 423


# ---- what they keep from happening ----

def test_what_a_lock_on_a_file_refuses(locked):
    locked.put('other', b'other')
    token = locked.token
    # name of the request, what it does
    asks = {
        'PUT': lambda *fields: locked.put('file', b'new', *fields),
        'PROPPATCH': lambda *fields: locked.ask('PROPPATCH', 'file', *fields, body=(
            f'<D:propertyupdate xmlns:D="DAV:">{PROPERTY}</D:propertyupdate>')),
        'COPY to it': lambda *fields: locked.to('COPY', 'other', 'file', *fields),
        'MOVE': lambda *fields: locked.to('MOVE', 'file', 'moved', *fields),
        'DELETE': lambda *fields: locked.ask('DELETE', 'file', *fields),
    }
    for name, ask in asks.items():
        answer = ask()
        assert answer.status == 423 and error_names(answer) == ['lock-token-submitted'], f'{name}: {answer} {answer.body}'
        href = xml_of(answer).find(f'{DAV}lock-token-submitted/{DAV}href')
        assert href.text == locked.href('file'), name
        wrong = 'urn:uuid:00000000-0000-4000-8000-000000000000'
        assert ask(tagged(locked, 'file', wrong)).status == 412, name
        assert ask(f'If: (<{wrong}>) (Not <{wrong}>)').status == 423, f'{name}: it holds, but submits nothing that helps'
    assert locked.read('file') == b'old' and locked.names() == ['file', 'other']
    assert locked.get('file').status == 200 and locked.to('COPY', 'file', 'copy').status == 201
    assert asks['PUT'](submit(token)).status == 204
    assert asks['PROPPATCH'](submit(token)).status == 207
    assert asks['COPY to it'](tagged(locked, 'file', token)).status == 204
    assert locked.unlock('file', token).status in (204, 409)


def test_who_holds_the_lock_may_delete_and_it_goes_too(locked):
    assert locked.ask('DELETE', 'file', submit(locked.token)).status == 204
    assert locked.put('file', b'free').status == 201
    assert locked.member('file').locks() == []


def test_a_lock_on_a_folder_alone_keeps_its_names(tree):
    tree.file('folder/file', b'old')
    token = token_of(tree.lock('folder', depth='0'))
    assert tree.put('folder/file', b'new').status == 204, 'what is in it is not locked'
    with_token = tagged(tree, 'folder/', token)
    for ask, done in ((lambda *fields: tree.put('folder/new', b'x', *fields), 201),
                      (lambda *fields: tree.ask('MKCOL', 'folder/within', *fields), 201),
                      (lambda *fields: tree.to('COPY', 'folder/file', 'folder/copy', *fields), 201),
                      (lambda *fields: tree.to('MOVE', 'folder/copy', 'moved', *fields), 201),
                      (lambda *fields: tree.lock('folder/unmapped', *fields), 201),
                      (lambda *fields: tree.ask('DELETE', 'folder/file', *fields), 204)):
        answer = ask()
        assert answer.status == 423, answer
        assert ask(with_token).status == done
    assert tree.proppatch('folder/new', PROPERTY).found
    assert tree.ask('PROPPATCH', 'folder', body=f'<D:propertyupdate xmlns:D="DAV:">{PROPERTY}</D:propertyupdate>').status == 423


def test_a_lock_of_infinite_depth(tree):
    tree.file('folder/deep/file', b'old')
    answer = tree.lock('folder', depth='infinity')
    token = token_of(answer)
    assert locks_of(answer)[0].depth == 'infinity' and locks_of(answer)[0].root.rstrip('/') == tree.href('folder')
    for name in ('folder/deep/file', 'folder/deep/new', 'folder/new'):
        refused = tree.put(name, b'no')
        assert refused.status == 423
        href = xml_of(refused).find(f'{DAV}lock-token-submitted/{DAV}href').text
        assert href.rstrip('/') == tree.href('folder')
    for name in ('folder/', 'folder/deep/', 'folder/deep/file'):
        (lock,) = tree.member(name, 'lockdiscovery').locks()
        assert lock.token == token and lock.root.rstrip('/') == tree.href('folder')
    assert tree.put('folder/deep/file', b'new', submit(token)).status == 204
    assert tree.put('folder/deep/new', b'new', submit(token)).status == 201
    assert tree.put('folder/deep/file', b'newer', tagged(tree, 'folder/', token)).status == 204
    assert tree.lock('folder/deep/file').status == 423
    # refreshed and unlocked by any member
    assert tree.ask('LOCK', 'folder/deep/file', submit(token), 'Timeout: Second-100', body=b'').status == 200
    assert tree.unlock('folder/deep/file', token).status == 204
    assert tree.put('folder/deep/file', b'free').status == 204 and not tree.member('folder/').locks()


def test_depth_of_a_lock_is_infinity_unless_said(tree):
    tree.file('folder/file')
    token_of(tree.lock('folder', depth=None))
    assert tree.put('folder/file', b'no').status == 423


def test_a_lock_of_infinite_depth_over_locks_beneath_it(tree):
    tree.file('folder/deep/file', b'old')
    token = token_of(tree.lock('folder/deep/file', scope='shared'))
    answer = tree.lock('folder', depth='infinity')
    if answer.status == 207:
        assert b'423' in answer.body
    else:
        assert answer.status == 423 and 'no-conflicting-lock' in error_names(answer)
    assert not tree.member('folder/').locks()
    assert tree.lock('folder', depth='0').status == 200
    assert tree.unlock('folder/deep/file', token).status == 204


# ---- UNLOCK ----

def test_unlock_forms(locked):
    locked.put('other')
    assert locked.ask('UNLOCK', 'file').status == 400
    assert locked.ask('UNLOCK', 'file', 'Lock-Token: nonsense').status in (400, 409)
    answer = locked.unlock('other', locked.token)
    assert answer.status == 409 and error_names(answer) == ['lock-token-matches-request-uri']
    assert locked.unlock('file', 'urn:uuid:00000000-0000-4000-8000-000000000000').status == 409
    assert locked.unlock('none', locked.token).status in (404, 409)
    assert locked.member('file').locks()
    assert locked.ask('UNLOCK', 'file', f'Lock-Token: {locked.token}').status == 204, 'Windows leaves <> away'
    assert not locked.member('file').locks()


# ---- the If header ----

def test_if(locked):
    held = ['(<T>)', '(<T> [E])', '(["x"]) (<T>)', '(<T> ["x"]) ([E] <T>)', '(Not <DAV:no-lock> <T>)', '(<T>) (Not <DAV:no-lock>)',
            '(<T> Not ["x"])', '<http://test/PATH> (<T>)', '</PATH> (<T> [E])', '<http://test/NONE> (["x"]) <http://test/PATH> (<T>)',
            '  ( <T>   [E] )  ', '(<T> ["x"]) ([E])']
    fails = ['(<T> ["x"])', '(Not <T>)', '(["x"])', '(<T> Not [E])', '(<DAV:no-lock>)', '<http://test/NONE> (<T>)',
             '(<T> <DAV:no-lock>)']
    submits_nothing = ['([E])', '(Not <DAV:no-lock>)', '(Not ["x"])']
    for fields, status in ((held, 204), (fails, 412), (submits_nothing, 423)):
        for field in fields:
            value = field.replace('<T>', f'<{locked.token}>').replace('[E]', f'[{locked.etag("file")}]')
            value = value.replace('/PATH', locked.href('file')).replace('/NONE', locked.href('none'))
            answer = locked.put('file', b'new', f'If: {value}')
            assert answer.status == status, f'{field}: {answer}'


@pytest.mark.parametrize('field', ['', '()', '(', '(<urn:x>', 'urn:x', '(<urn:x>) <http://test/> (<urn:x>)', '(Not)', '([])',
                                   '<http://test/>', '(<urn:x>)x', '(["x)', '(<urn:x>)' * 200, '([x])', '(Not Not <urn:x>)'])
def test_malformed_if(locked, field):
    assert locked.put('file', b'no', f'If: {field}').status == 400
    assert locked.read('file') == b'old'


def test_if_is_for_reading_too(locked):
    assert locked.get('file', f'If: (<{locked.token}>)').status in (200, 412)
    assert locked.get('file', 'If: (["x"])').status in (200, 412)
    assert locked.ask('DELETE', 'none', 'If: (["x"])').status in (404, 412)


def test_a_lock_is_checked_again_when_the_body_has_come(tree, blob):
    """Somebody locks the file while an upload to it is under way."""
    tree.put('file', b'old')
    with tree.connect() as connection:
        connection.send(request(tree.href('file'), f'Content-Length: {len(blob)}', method='PUT') + blob[:1 << 20])
        token = token_of(tree.lock('file'))
        connection.send(blob[1 << 20:])
        assert connection.read_response('PUT').status == 423
    assert tree.read('file') == b'old'
    with tree.connect() as connection:
        answer = upload(connection, tree.href('file'), chunked(b'mine'), 'Transfer-Encoding: chunked', submit(token))
        assert answer.status == 204


# ---- several servers, several users ----

def test_two_servers_over_one_folder(serve_tree):
    one, other = serve_tree(), serve_tree()
    one.file('folder/file', b'old')
    token = token_of(one.lock('folder/file'))
    assert other.put('folder/file', b'no').status == 423 and other.lock('folder/file').status == 423
    (lock,) = other.member('folder/file', 'lockdiscovery').locks()
    assert lock.token == token
    assert other.put('folder/file', b'yes', submit(token)).status == 204
    assert other.ask('LOCK', 'folder/file', submit(token), 'Timeout: Second-77', body=b'').status == 200
    assert int(one.member('folder/file').locks()[0].timeout.removeprefix('Second-')) <= 77
    assert other.unlock('folder/file', token).status == 204
    assert one.put('folder/file', b'free').status == 204
    token_of(other.lock('folder', depth='infinity'))
    assert one.put('folder/new', b'no').status == 423
    for number in range(10):
        answers = []
        works = [lambda tree=tree: answers.append(tree.lock(f'new{number}').status) for tree in (one, other) * 3]
        in_parallel(*works)
        assert sorted(answers)[:1] in ([200], [201]) and sorted(answers)[1:] == [423] * 5


def test_locks_outlive_the_server(serve_tree):
    tree = serve_tree()
    tree.put('file', b'old')
    (tree.path / 'folder').mkdir()
    token, deep = token_of(tree.lock('file')), token_of(tree.lock('folder', depth='infinity'))
    tree.server.stop()
    tree = serve_tree()
    assert tree.put('file', b'no').status == 423 and tree.put('folder/new', b'no').status == 423
    assert tree.put('file', b'yes', submit(token)).status == 204
    assert tree.unlock('file', token).status == 204 and tree.unlock('folder', deep).status == 204
    assert tree.put('folder/new', b'free').status == 201


def test_a_file_that_was_moved_by_hand_is_free(tree):
    tree.put('file', b'old')
    tree.lock('file')
    (tree.path / 'file').rename(tree.path / 'moved')
    eventually(lambda: tree.put('moved', b'free').status == 204)


# Their passwords are "secret of alice" and "secret of bob"; sha512-crypt of few rounds.
USERS = '''
alice:$6$rounds=1000$alicesalt$9PYB4NMXhlhoki6Gz8JfF50UavdYFC.nkix5LWk8wZfay.Yu6uqmqg/JYkG7wS1QDBx0743l4ksPg5OKM6r7C0
bob:$6$rounds=1000$bobsalt$EPoR1xBtM6uQxo7grJTp00wu70UHXjhSAeyHzatHQJXYBNfgg2xhWvo7fhZdLTKogK0y3brfmrP9aVAcUqiwh.
'''


def basic(user):
    return 'Authorization: Basic ' + base64.b64encode(f'{user}:secret of {user}'.encode()).decode()


@pytest.fixture
def users(serve_tree, tmp_path):
    """A server that knows alice and bob."""
    (tmp_path / 'users').write_text(USERS)
    (tmp_path / 'users').chmod(0o600)
    return serve_tree(f'--auth={tmp_path}/users')


def test_another_users_token_is_worth_nothing(users):
    assert users.put('file', b'who').status == 401
    assert users.put('file', b'old', basic('alice')).status == 201
    token = token_of(users.lock('file', basic('alice')))
    assert users.put('file', b'no', basic('bob')).status == 423
    assert users.put('file', b'no', basic('bob'), submit(token)).status in (403, 423)
    assert users.unlock('file', token, basic('bob')).status in (403, 423)
    assert users.ask('LOCK', 'file', basic('bob'), submit(token), body=b'').status in (403, 412, 423)
    assert users.ask('DELETE', 'file', basic('bob'), submit(token)).status in (403, 423)
    assert users.unlock('file', token).status == 401
    assert users.read('file') == b'old'
    assert users.put('file', b'yes', basic('alice'), submit(token)).status == 204
    assert users.unlock('file', token, basic('alice')).status == 204
    assert users.put('file', b'free', basic('bob')).status == 204


def test_lockdiscovery_tells_of_no_lock_elsewhere(locked):
    locked.put('other')
    members = locked.propfind('', 'lockdiscovery', depth=1)
    assert [name for name, member in members.items() if member.locks()] == ['file']
    assert isinstance(members['file'].locks()[0], Lock) and clark('lockdiscovery') in members['other'].found


@pytest.mark.parametrize('depth', [1, 'infinity'])
def test_a_listing_tells_each_member_of_the_lock_on_the_folder(serve_tree, depth):
    tree = serve_tree('--propfind-infinity')
    for name in ('above/folder/file', 'above/folder/inner/file'):
        tree.file(name)
    token = token_of(tree.ask('LOCK', 'above/folder', 'Depth: infinity', body=lock_body()))
    members = tree.propfind('above/folder', 'lockdiscovery', depth=depth)
    assert len(members) == (3 if depth == 1 else 4)
    for member in members.values():
        assert [lock.token for lock in member.locks()] == [token], member.path
    members = tree.propfind('above', 'lockdiscovery', depth=1)
    assert [len(members[name].locks()) for name in ('above/', 'above/folder/')] == [0, 1]


def test_a_lock_of_depth_0_is_not_told_of_members(tree):
    tree.file('folder/file')
    token_of(tree.ask('LOCK', 'folder', 'Depth: 0', body=lock_body()))
    members = tree.propfind('folder', 'lockdiscovery', depth=1)
    assert [len(members[name].locks()) for name in ('folder/', 'folder/file')] == [1, 0]


def test_a_lock_that_is_refused_makes_no_file(tree):
    assert tree.ask('LOCK', 'new', body=lock_body(owner='x' * 2000)).status == 507
    assert tree.names() == []
