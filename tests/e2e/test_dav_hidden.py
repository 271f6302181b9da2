"""What no path may name is not reached by way of a link either; the staging folder by nobody."""
import pytest

LINK = 'Content-Type: application/vnd.berth.symlink'
METHODS = ['GET', 'HEAD', 'PROPFIND', 'PUT', 'DELETE', 'MKCOL', 'LOCK']


@pytest.mark.parametrize('options', [[], ['--hidden']])
def test_the_staging_folder_is_not_there(serve_tree, options):
    tree = serve_tree(*options)
    tree.put('file', b'one')
    tree.put('file', b'two')  # over a file: that takes the staging folder
    (staging,) = tree.names('.berth-staging')
    (tree.path / 'root').symlink_to('.')
    for path in ('.berth-staging', '.berth-staging/', f'.berth-staging/{staging}/', 'root/.berth-staging/'):
        for method in METHODS:
            answer = tree.ask(method, path, body=b'' if method == 'PUT' else None)
            assert answer.status in (403, 404), f'{method} {path}: {answer}'
    assert tree.names('.berth-staging') == [staging]


@pytest.mark.parametrize('target', ['.berth-staging', './.berth-staging/', 'folder/../.berth-staging'])
@pytest.mark.parametrize('options', [[], ['--hidden']])
def test_no_link_to_the_staging_folder_is_made(serve_tree, options, target):
    tree = serve_tree(*options)
    assert tree.put('link', target.encode(), LINK).status == 403
    assert 'link' not in tree.names()


@pytest.mark.parametrize('target', ['.htpasswd', 'folder/.secret', '../.ssh/key', '.secret/file'])
def test_a_link_to_a_hidden_name_is_made_only_where_hidden_names_are_served(serve_tree, target):
    tree = serve_tree()
    assert tree.put('link', target.encode(), LINK).status == 403
    assert tree.put('beside', b'../folder/./file..', LINK).status == 201
    assert tree.names() == ['beside']


def test_where_they_are_a_link_may_lead_to_them(serve_tree):
    tree = serve_tree('--hidden')
    tree.file('.secret', b'seen')
    assert tree.put('link', b'.secret', LINK).status == 201
    assert tree.get('link').body == b'seen'


def removed_on_a_mount(number):
    return f'.berth-unlinked-{number:032x}'


def test_what_a_mount_removed_while_it_was_open_goes_on(serve_tree):
    """Its name is the mount's secret; no listing tells it."""
    tree, name = serve_tree(), removed_on_a_mount(0xabc)
    tree.file('file', b'content')
    tree.file('other', b'other')
    assert tree.ask('MOVE', 'file', f'Destination: {tree.url}{name}').status == 201
    assert tree.get(name).body == b'content' and set(tree.propfind(name)) == {name}
    assert tree.put(name, b'CON', 'Content-Range: bytes 0-2/*').status == 204 and tree.get(name).body == b'CONtent'
    assert set(tree.propfind('', depth=1)) == {'', 'other'} and name not in tree.get('', 'Accept: application/json').body.decode()
    assert tree.ask('LINK', 'other', f'Destination: {tree.url}{removed_on_a_mount(1)}').status == 201
    for one in (name, removed_on_a_mount(1)):
        assert tree.ask('DELETE', one).status == 204
    assert tree.names() == ['other']


@pytest.mark.parametrize('name', ['.berth-unlinked-', removed_on_a_mount(1)[:-1], removed_on_a_mount(1) + '0',
                                  removed_on_a_mount(1).replace('-0', '-x'), f'.folder/{removed_on_a_mount(1)}',
                                  f'{removed_on_a_mount(1)}/.name'])
def test_nothing_else_has_such_a_name(serve_tree, name):
    tree = serve_tree()
    tree.file('file', b'content')
    assert tree.put(name, b'content').status in (403, 409)
    assert tree.ask('MOVE', 'file', f'Destination: {tree.url}{name}').status == 403
    assert tree.get(name).status == 404 and tree.names() == ['file']


def test_only_a_server_that_may_be_changed_has_them(serve):
    server = serve()
    (server.folder / removed_on_a_mount(1)).write_bytes(b'content')
    assert server.fetch(f'/{removed_on_a_mount(1)}').status == 404


@pytest.mark.parametrize('options, told', [([], False), (['--hidden'], True)])
def test_whether_dot_names_are_served_is_told(serve_tree, options, told):
    tree = serve_tree(*options)
    assert (('DAV', '<urn:berth:posix>, <urn:berth:dot-names>') in tree.ask('OPTIONS', '').fields) == told
