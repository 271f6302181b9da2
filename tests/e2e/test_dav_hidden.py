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
