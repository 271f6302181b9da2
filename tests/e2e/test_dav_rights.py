"""What rules of --access mean for locks that reach down and for conditions about other files."""
import pytest
from dav import Tree, lock_body, token_of
from test_auth import PASSWORDS, basic, files, guarded  # noqa: fixtures

RULES = '/:alice,bob:write\n/folder/alices:alice:write\n/folder/alices:bob:none\n'
ALICE, BOB = basic('alice'), basic('bob')


@pytest.fixture
def both(guarded):  # noqa: F811
    tree = Tree(guarded('--writable', passwords=PASSWORDS, rules=RULES))
    tree.file('folder/alices/file')
    return tree


def test_a_lock_does_not_reach_where_its_maker_may_not_write(both):
    assert both.ask('LOCK', 'folder', BOB, body=lock_body()).status == 403
    assert both.put('folder/alices/file', b'hers', ALICE).status == 204
    assert both.ask('LOCK', 'folder', BOB, 'Depth: 0', body=lock_body()).status == 200
    assert both.put('folder/alices/file', b'still', ALICE).status == 204


def test_who_may_write_all_of_it_may_lock_it(both):
    token_of(both.ask('LOCK', 'folder', ALICE, body=lock_body()))


def test_a_condition_about_a_file_that_may_not_be_read_does_not_hold(both):
    etag = both.ask('HEAD', 'folder/alices/file', ALICE).get('ETag')
    condition = f'If: <{both.href("folder/alices/file")}> ([{etag}])'
    assert both.put('file', b'1', BOB, condition).status == 412
    assert both.put('file', b'1', ALICE, condition).status == 204
