"""Folders and names: MKCOL, DELETE, COPY, MOVE, and the requests by which a mount makes links."""
import filecmp
import os

import pytest
from dav import multistatus, set_property, token_of
from test_dav_put import in_parallel

PROPERTY = '<N:colour xmlns:N="urn:test">red</N:colour>'


def bare(response, *statuses):
    """One of these, and not a multistatus: RFC 4918 wants one only when single members failed."""
    assert response.status in statuses, f'{response} {response.body}'
    assert response.status != 207
    return True


def colour(tree, name):
    member = tree.member(name, '{urn:test}colour')
    return member.text('{urn:test}colour') if member.found else None


def same_trees(one, other):
    comparison = filecmp.dircmp(one, other, ignore=[], hide=[])
    assert not comparison.left_only and not comparison.right_only and not comparison.funny_files
    _, differing, errors = filecmp.cmpfiles(one, other, comparison.common_files, shallow=False)
    assert not differing and not errors
    return all(same_trees(one / name, other / name) for name in comparison.common_dirs)


@pytest.fixture
def forest(tree):
    """source/: files, folders, an empty one, names with odd bytes."""
    for name in ('source/a', 'source/b ü %', 'source/deep/er/c', 'source/deep/d'):
        tree.file(name, name.encode())
    (tree.path / 'source/empty').mkdir()
    return tree


# ---- MKCOL ----

def test_mkcol(tree):
    for name in ('folder', 'slash/', 'folder/within', 'ü %'):
        assert bare(tree.ask('MKCOL', name), 201)
    assert tree.ask('MKCOL', 'sized', body=b'').status == 201
    assert tree.names() == sorted(['folder', 'slash', 'ü %', 'sized']) and tree.names('folder') == ['within']


def test_mkcol_where_it_cannot_be(tree):
    tree.file('file')
    for name in ('file', '', 'file/'):
        answer = tree.ask('MKCOL', name)
        assert answer.status == 405 and 'MKCOL' not in answer.get('Allow').split(', '), answer
    assert tree.ask('MKCOL', 'none/folder').status == 409
    assert tree.ask('MKCOL', 'file/folder').status == 409
    assert tree.ask('MKCOL', 'new', 'Content-Type: application/xml', body=b'<mkcol/>').status == 415
    assert tree.ask('MKCOL', 'new', 'If-Match: *').status == 412
    assert tree.names() == ['file'] and tree.read('file') == b'content\n'


# ---- DELETE ----

def test_delete(forest):
    assert bare(forest.ask('DELETE', 'source/a'), 204)
    assert forest.ask('DELETE', 'source/a').status == 404
    assert forest.ask('DELETE', 'none/a').status == 404
    assert bare(forest.ask('DELETE', 'source/empty'), 204)
    assert forest.ask('DELETE', 'source', 'Depth: 0').status == 409
    assert forest.ask('DELETE', 'source', 'Depth: 1').status == 400
    assert forest.names('source') == ['b ü %', 'deep']
    assert bare(forest.ask('DELETE', 'source/', 'Depth: infinity'), 204)
    assert forest.names() == []
    assert forest.get('source/b ü %').status == 404


def test_delete_on_conditions(tree):
    tree.file('file')
    assert tree.ask('DELETE', 'file', 'If-Match: "x"').status == 412
    assert tree.ask('DELETE', 'file', 'If-None-Match: *').status == 412
    assert tree.names() == ['file']
    assert tree.ask('DELETE', 'file', f'If-Match: {tree.etag("file")}').status == 204


def test_delete_of_what_has_a_fragment_in_its_name(tree):
    tree.file('file')
    assert tree.ask('DELETE', target=tree.url + 'file#part').status == 400
    assert tree.names() == ['file']


def test_the_root_stays(serve_tree):
    tree = serve_tree()
    tree.file('file')
    assert tree.ask('DELETE').status in (403, 405)
    assert tree.to('MOVE', '', 'elsewhere').status in (403, 405)
    assert tree.to('MOVE', 'file', '').status in (403, 405)
    assert tree.to('COPY', 'file', '').status in (403, 405)
    assert tree.names() == ['file'] and tree.read('file') == b'content\n'


def test_delete_tells_which_members_stay(forest):
    token = token_of(forest.lock('source/deep/d'))
    members = multistatus(forest.ask('DELETE', 'source'))
    assert {path: member.status for path, member in members.items()} == {forest.url + 'source/deep/d': 423}
    assert forest.read('source/deep/d') == b'source/deep/d'
    tagged = f'If: <http://test{forest.href("source/deep/d")}> (<{token}>)'
    assert bare(forest.ask('DELETE', 'source', tagged), 204)
    assert forest.names() == []


# ---- COPY and MOVE ----

@pytest.mark.parametrize('method', ['COPY', 'MOVE'])
def test_a_file(forest, method):
    os.utime(forest.path / 'source/a', (1500000000, 1500000000))
    assert bare(forest.to(method, 'source/a', 'copy'), 201)
    assert forest.get('copy').body == b'source/a'
    assert int((forest.path / 'copy').stat().st_mtime) == 1500000000
    assert (forest.get('source/a').status == 200) == (method == 'COPY')


@pytest.mark.parametrize('method', ['COPY', 'MOVE'])
def test_a_folder_with_all_that_is_in_it(forest, method):
    forest.to('COPY', 'source', 'model')
    assert bare(forest.to(method, 'source/', 'target/'), 201)
    assert same_trees(forest.path / 'model', forest.path / 'target')
    assert os.path.exists(forest.path / 'source') == (method == 'COPY')


def test_copy_of_a_folder_alone(forest):
    assert bare(forest.to('COPY', 'source', 'target', 'Depth: 0'), 201)
    assert forest.names('target') == []
    assert forest.names('source') == ['a', 'b ü %', 'deep', 'empty']
    assert forest.to('COPY', 'source/a', 'file', 'Depth: 0').status == 201


@pytest.mark.parametrize('method, depth', [('COPY', '0'), ('COPY', 'infinity'), ('MOVE', 'infinity')])
def test_properties_go_along(forest, method, depth):
    for name in ('', 'deep/', 'deep/d'):
        forest.proppatch(f'source/{name}', set_property(PROPERTY))
    assert bare(forest.to(method, 'source/', 'target/', f'Depth: {depth}'), 201)
    there = {'': 'red'} if depth == '0' else {'': 'red', 'deep/': 'red', 'deep/d': 'red', 'a': None}
    assert {name: colour(forest, f'target/{name}') for name in there} == there


@pytest.mark.parametrize('method', ['COPY', 'MOVE'])
def test_a_files_properties_go_along(forest, method):
    forest.proppatch('source/a', set_property(PROPERTY))
    assert bare(forest.to(method, 'source/a', 'copy'), 201)
    assert colour(forest, 'copy') == 'red'


def test_depths_that_cannot_be(forest):
    assert forest.to('COPY', 'source', 'target', 'Depth: 1').status == 400
    assert forest.to('COPY', 'source', 'target', 'Depth: 2').status == 400
    assert forest.to('MOVE', 'source', 'target', 'Depth: 0').status == 400
    assert forest.names() == ['source']


def test_depth_of_a_file_says_nothing(tree):
    """lftp deletes files with Depth: 0."""
    tree.file('file')
    assert tree.to('MOVE', 'file', 'moved', 'Depth: 0').status == 201
    assert tree.ask('DELETE', 'moved', 'Depth: 0').status == 204
    assert tree.names() == []


@pytest.mark.parametrize('method', ['COPY', 'MOVE'])
@pytest.mark.parametrize('source', ['file', 'folder'])
@pytest.mark.parametrize('target', ['file', 'folder'])
def test_over_what_is_there(tree, method, source, target):
    def make(name, kind):
        tree.file(f'{name}/{name}-within' if kind == 'folder' else name, name.encode())
    make('one', source)
    make('two', target)
    assert tree.to(method, 'one', 'two', 'Overwrite: F').status == 412
    assert tree.to(method, 'one', 'two', 'Overwrite: no').status == 400
    expected = b'two'
    assert (tree.read('two/two-within') if target == 'folder' else tree.read('two')) == expected
    assert bare(tree.to(method, 'one', 'two', 'Overwrite: T'), 204)
    if source == 'folder':
        assert tree.names('two') == ['one-within'], 'a folder is replaced, not merged'
    else:
        assert tree.get('two').body == b'one'
    assert tree.names() == (['one', 'two'] if method == 'COPY' else ['two'])


@pytest.mark.parametrize('method', ['COPY', 'MOVE'])
@pytest.mark.parametrize('source', ['file', 'folder'])
@pytest.mark.parametrize('target', ['file', 'folder'])
def test_properties_are_replaced(tree, method, source, target):
    for name, kind in {'one': source, 'two': target}.items():
        tree.file(f'{name}/within' if kind == 'folder' else name)
        tree.proppatch(name, set_property(f'<N:{name} xmlns:N="urn:test"/>'))
    assert bare(tree.to(method, 'one', 'two'), 204)
    names = tree.member('two', '{urn:test}one', '{urn:test}two')
    assert list(names.found) == ['{urn:test}one'] and list(names.failed) == ['{urn:test}two']


@pytest.mark.parametrize('method', ['COPY', 'MOVE'])
def test_where_there_is_nothing(forest, method):
    assert forest.to(method, 'none', 'target').status == 404
    assert forest.to(method, 'source/a', 'none/target').status == 409
    assert forest.to(method, 'source', 'none/target').status == 409
    assert forest.to(method, 'source', 'source/a/target').status == 409
    assert forest.names() == ['source']


@pytest.mark.parametrize('method', ['COPY', 'MOVE'])
def test_into_itself(forest, method):
    for source, target in (('source', 'source'), ('source/', 'source'), ('source', 'source/deep'), ('source', 'source/new'),
                           ('source/a', 'source/a'), ('source/deep', 'source')):
        assert forest.to(method, source, target).status in (403, 409), f'{source} to {target}'
    assert forest.names('source') == ['a', 'b ü %', 'deep', 'empty'] and forest.names('source/deep') == ['d', 'er']
    assert forest.read('source/a') == b'source/a'


@pytest.mark.parametrize('method', ['COPY', 'MOVE'])
def test_on_conditions(forest, method):
    assert forest.to(method, 'source/a', 'target', 'If-Match: "x"').status == 412
    assert forest.names() == ['source']
    assert forest.to(method, 'source/a', 'target', f'If-Match: {forest.etag("source/a")}').status == 201


@pytest.mark.parametrize('method', ['COPY', 'MOVE'])
def test_a_thousand_files(serve_tree, memory_folder, method, engine):
    folder = memory_folder / f'thousand-{method}-{engine}'
    folder.mkdir()
    tree = serve_tree(folder=folder)
    for number in range(1000):
        tree.file(f'source/{number % 10}/{number}', b'%d' % number)
    assert bare(tree.to('COPY', 'source', 'model'), 201)
    assert same_trees(tree.path / 'source', tree.path / 'model')
    assert bare(tree.to(method, 'source', 'target'), 201)
    assert same_trees(tree.path / 'model', tree.path / 'target')
    assert bare(tree.ask('DELETE', 'target'), 204)
    tree.server.stop()
    assert tree.names() == (['model', 'source'] if method == 'COPY' else ['model'])


def test_moves_to_and_fro_at_the_same_time_lose_nothing(tree):
    for number in range(4):
        tree.file(f'a/{number}', b'%d' % number)
    (tree.path / 'b').mkdir()

    def wander(number):
        with tree.connect() as connection:
            for here, there in (('a', 'b'), ('b', 'a')) * 10:
                assert tree.to('MOVE', f'{here}/{number}', f'{there}/{number}', connection=connection).status == 201
    in_parallel(*[lambda number=number: wander(number) for number in range(4)])
    assert [tree.read(f'a/{number}') for number in range(4)] == [b'0', b'1', b'2', b'3'] and tree.names('b') == []


# ---- locks ----

def test_locks_do_not_travel(tree):
    tree.file('file')
    token = token_of(tree.lock('file'))
    assert tree.to('COPY', 'file', 'copy').status == 201
    assert tree.put('copy', b'free').status == 204
    assert tree.to('MOVE', 'file', 'moved').status == 423
    assert tree.to('MOVE', 'file', 'moved', f'If: (<{token}>)').status == 201
    assert not tree.member('moved', 'lockdiscovery').locks()
    assert tree.put('moved', b'free').status == 204
    assert tree.put('file', b'free').status == 201


@pytest.mark.parametrize('method', ['COPY', 'MOVE'])
def test_a_locked_destination(tree, method):
    tree.file('file', b'new')
    tree.file('locked', b'old')
    token = token_of(tree.lock('locked'))
    assert tree.to(method, 'file', 'locked').status == 423
    assert tree.read('locked') == b'old'
    tagged = f'If: <http://test{tree.href("locked")}> (<{token}>)'
    assert tree.to(method, 'file', 'locked', tagged).status == 204
    assert tree.read('locked') == b'new'


def test_a_folder_locked_as_a_whole(forest):
    forest.file('file')
    token = token_of(forest.lock('source', depth='infinity'))
    assert forest.to('MOVE', 'source/a', 'a').status == 423
    assert forest.to('COPY', 'file', 'source/file').status == 423
    assert forest.ask('MKCOL', 'source/new').status == 423
    assert forest.ask('DELETE', 'source/a').status == 423
    assert forest.to('COPY', 'source/a', 'a').status == 201
    submitted = f'If: <http://test{forest.href("source/")}> (<{token}>)'
    assert forest.to('COPY', 'file', 'source/file', submitted).status == 201
    assert forest.ask('MKCOL', 'source/new', submitted).status == 201
    assert forest.ask('DELETE', 'source/a', submitted).status == 204
    # what was put there is covered, too
    assert forest.put('source/file', b'no').status == 423
    assert forest.member('source/file', 'lockdiscovery').locks()[0].token == token


# ---- Destination ----

@pytest.mark.parametrize('form', ['{path}', 'http://test{path}', 'HTTP://TEST{path}', 'http://test:80{path}', 'https://test{path}',
                                  'https://test:443{path}'])
def test_forms_of_destination(tree, form):
    tree.file('file')
    destination = form.format(path=tree.href('a ü'))
    assert tree.ask('COPY', 'file', f'Destination: {destination}').status == 201
    assert tree.names() == ['a ü', 'file']


def test_a_destination_on_the_port_of_the_host(tree):
    tree.file('file')
    host, port = tree.server.address
    fields = [f'Host: {host}:{port}', f'Destination: http://{host}:{port}{tree.href("copy")}']
    assert tree.ask('COPY', 'file', *fields).status == 201
    fields = [f'Host: {host}:{port}', f'Destination: http://{host}:{port + 1}{tree.href("other")}']
    assert tree.ask('COPY', 'file', *fields).status == 502
    assert tree.names() == ['copy', 'file']


@pytest.mark.parametrize('destination, status', [
    ('http://elsewhere{path}', 502), ('https://test.elsewhere{path}', 502), ('http://test:81{path}', 502),
    ('http://user@elsewhere{path}', 502), ('//elsewhere{path}', 502), ('{path}#part', 400), ('copy', 400), ('http://', 400),
    ('ftp://test{path}', 502), ('{path}%zz', 400), ('{path}%00', 400), ('http://test', 403)])
def test_destinations_that_cannot_be(tree, destination, status):
    tree.file('file')
    for method in ('COPY', 'MOVE'):
        answer = tree.ask(method, 'file', f'Destination: {destination.format(path=tree.href("copy"))}')
        assert answer.status in ({status, 400} if status == 502 else {status, 400, 405}), answer
        if destination.startswith('http://elsewhere'):
            assert answer.status == 502
    assert tree.names() == ['file']


def test_no_destination(tree):
    tree.file('file')
    assert tree.ask('COPY', 'file').status == 400
    assert tree.ask('MOVE', 'file').status == 400
    assert tree.ask('MOVE', 'file', f'Destination: {tree.href("a")}', f'Destination: {tree.href("b")}').status == 400
    assert tree.names() == ['file']


def test_behind_a_proxy_that_is_trusted(serve_tree):
    """The host of its clients is another than the one it asks for."""
    forwarded = ['X-Forwarded-Host: files.example', 'X-Forwarded-Proto: https']
    trusting = serve_tree('--trust-proxy=127.0.0.0/8')
    trusting.file('file')
    destination = f'Destination: https://files.example{trusting.href("copy")}'
    assert trusting.ask('COPY', 'file', destination, *forwarded).status == 201
    assert trusting.ask('MOVE', 'file', f'Destination: http://elsewhere{trusting.href("x")}', *forwarded).status == 502
    other = serve_tree()
    assert other.ask('COPY', 'file', destination, *forwarded).status == 502
    elsewhere = serve_tree('--trust-proxy=192.0.2.7')
    assert elsewhere.ask('COPY', 'file', destination, *forwarded).status == 502


# ---- links, for a mount ----

def test_symbolic_links(tree):
    tree.file('file', b'behind the link')
    kind = 'Content-Type: application/vnd.berth.symlink'
    assert tree.put('link', b'file', kind).status == 201
    assert os.readlink(tree.path / 'link') == 'file'
    assert tree.get('link').body == b'behind the link'
    assert tree.member('link', '{urn:berth:posix}target').text('{urn:berth:posix}target') == 'file'
    assert '{urn:berth:posix}target' in tree.member('file', '{urn:berth:posix}target').failed
    assert tree.put('dangling', b'no/such/file', kind).status == 201
    assert tree.put('outside', b'/etc/passwd', kind).status == 201
    assert tree.get('outside').status == 404 and tree.get('dangling').status == 404
    assert tree.put('nul', b'a\0b', kind).status == 400
    assert tree.put('empty', b'', kind).status == 400
    assert tree.put('long', b'x' * 5000, kind).status in (400, 413, 414)
    assert tree.ask('DELETE', 'link').status == 204
    assert tree.read('file') == b'behind the link' and tree.names() == ['dangling', 'file', 'outside']


def test_hard_links(tree):
    tree.file('file', b'twice')
    assert tree.to('LINK', 'file', 'name').status == 201
    assert (tree.path / 'file').stat().st_ino == (tree.path / 'name').stat().st_ino
    posix = '{urn:berth:posix}'
    member = tree.member('name', posix + 'links', posix + 'inode')
    assert member.text(posix + 'links') == '2'
    assert member.text(posix + 'inode') == str((tree.path / 'file').stat().st_ino)
    (tree.path / 'folder').mkdir()
    assert tree.to('LINK', 'file', 'name').status in (405, 409, 412)
    assert tree.to('LINK', 'none', 'other').status == 404
    assert tree.to('LINK', 'file', 'none/other').status == 409
    assert tree.to('LINK', 'folder', 'other').status in (403, 405)
    assert tree.ask('LINK', 'file', 'Destination: http://elsewhere/other').status == 502
    assert tree.names() == ['file', 'folder', 'name']


def test_a_hard_link_in_a_locked_folder(tree):
    tree.file('file')
    token = token_of(tree.lock('', depth='0'))
    assert tree.to('LINK', 'file', 'other').status == 423
    assert tree.to('LINK', 'file', 'other', f'If: <http://test{tree.url}> (<{token}>)').status == 201
    assert tree.names() == ['file', 'other']
