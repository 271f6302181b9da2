"""Small files that are read one after the other are fetched ahead, and nobody ever reads what is not so any more."""
import os
import random
import time

import pytest
from mount import BY, Proxy
from test_mount_proof import tool

pytestmark = pytest.mark.skipif(BY != 'berth', reason='counted by berth mount')
FILES = 60


def fill(mounted, count=FILES, size=3000, folder='folder'):
    """On the server; {name: content}."""
    chance = random.Random(23)
    (mounted.folder / folder).mkdir()
    tree = {f'{folder}/file{number}': chance.randbytes(size + number) for number in range(count)}
    for name, content in tree.items():
        (mounted.folder / name).write_bytes(content)
    return tree


def read(mounted, tree, names):
    for name in names:
        assert (mounted.path / name).read_bytes() == tree[name], name


def ahead(mounted):
    stats = mounted.stats()
    return stats['files-ahead'], stats['files-ahead-used']


def as_listed(mounted, folder='folder'):
    return [f'{folder}/{name}' for name in os.listdir(mounted.path / folder)]


@pytest.mark.parametrize('order', [as_listed, lambda mounted: sorted(as_listed(mounted))], ids=['as listed', 'by name'])
def test_one_after_the_other(mount, order):
    mounted = mount()
    tree = fill(mounted)
    read(mounted, tree, order(mounted))
    asked, used = ahead(mounted)
    assert asked == used >= FILES - 5
    assert mounted.stats()['bytes-dropped'] == 0


def test_from_folder_to_folder(mount):
    """In the next one it does not begin anew."""
    mounted = mount()
    trees = {folder: fill(mounted, 20, folder=folder) for folder in 'abcde'}
    for folder, tree in trees.items():
        read(mounted, tree, sorted(as_listed(mounted, folder)))
    asked, used = ahead(mounted)
    assert asked == used >= 100 - 4 - 5


def test_in_no_order(mount):
    mounted = mount()
    tree = fill(mounted, 200)
    names = list(tree)
    random.Random(5).shuffle(names)
    read(mounted, tree, names)
    asked, used = ahead(mounted)
    assert asked - used <= 40, 'it learns that it does not pay'


def test_a_single_file_is_no_order(mount):
    mounted = mount('--attr-ttl=10')
    tree = fill(mounted)
    os.listdir(mounted.path / 'folder')
    before = mounted.stats()['requests']
    for _ in range(5):
        read(mounted, tree, ['folder/file7'])
    assert ahead(mounted) == (0, 0) and mounted.stats()['requests'] == before + 1


def test_it_can_be_turned_off(mount):
    mounted = mount('--read-ahead=0')
    tree = fill(mounted)
    read(mounted, tree, sorted(as_listed(mounted)))
    assert ahead(mounted) == (0, 0)


def test_its_memory_has_a_bound(mount):
    """An eighth of 2 MiB has room for three of them."""
    mounted = mount('--read-ahead=2M')
    tree = fill(mounted, size=80000)
    read(mounted, tree, sorted(as_listed(mounted)))
    asked, used = ahead(mounted)
    assert asked == used > 40


def test_large_files_among_them_are_passed_over(mount):
    mounted = mount()
    tree = fill(mounted)
    for number in (20, 21, 40):
        tree[f'folder/file{number}'] *= 100
        (mounted.folder / f'folder/file{number}').write_bytes(tree[f'folder/file{number}'])
    read(mounted, tree, sorted(as_listed(mounted)))
    asked, used = ahead(mounted)
    assert asked == used >= FILES - 10


def test_who_pauses_is_given_the_file_that_he_reads(mount):
    """What was fetched for him goes after five seconds; what takes its place is not his."""
    mounted = mount('--attr-ttl=100')
    tree = fill(mounted, 120)
    names = sorted(as_listed(mounted))
    for first in (0, 4, 11):
        read(mounted, tree, names[first:first + 4])
        time.sleep(5.2)
    read(mounted, tree, names[15:])


def test_what_changes_on_the_server_is_read_as_it_is_when_the_attributes_are_asked_for_again(mount):
    mounted = mount('--attr-ttl=0.5')
    tree = fill(mounted)
    names = sorted(as_listed(mounted))
    read(mounted, tree, names[:10])
    assert ahead(mounted)[0] > 5
    for name in names[10:]:
        tree[name] = b'new ' + tree[name]
        (mounted.folder / name).write_bytes(tree[name])
    mounted.run('sleep', '0.6')
    read(mounted, tree, names[10:])


def test_what_is_removed_on_the_server(mount):
    mounted = mount('--attr-ttl=0.5')
    tree = fill(mounted)
    names = sorted(as_listed(mounted))
    read(mounted, tree, names[:10])
    for name in names[10:40]:
        (mounted.folder / name).unlink()
    mounted.run('sleep', '0.6')
    for name in names[10:40]:
        with pytest.raises(FileNotFoundError):
            (mounted.path / name).read_bytes()
    read(mounted, tree, names[40:])


def test_what_this_mount_writes_is_read_at_once(mount):
    mounted = mount()
    tree = fill(mounted)
    names = sorted(as_listed(mounted))
    read(mounted, tree, names[:10])
    for name in names[10:30]:
        tree[name] = b'mine' + tree[name][4:]
        with open(mounted.path / name, 'r+b') as file:
            file.write(b'mine')
            file.flush()
            read(mounted, tree, [name])
    read(mounted, tree, names[10:])


def test_connections_break_meanwhile(mount):
    """What was fetched ahead and failed is asked for again by who wants it."""
    mounted = mount()
    tree = fill(mounted)
    proxy = Proxy(tool('proxy'), mounted.server.address, '--reset-every=40000', '--seed=3')
    try:
        broken = mount(url='http://{}:{}/'.format(*proxy.address), folder=mounted.folder)
        for _ in range(3):
            read(broken, tree, sorted(as_listed(broken)))
            broken.again()
        broken.unmount()
    finally:
        assert proxy.close()['resets'] > 0
