"""Small files that are read one after the other are fetched ahead, and nobody ever reads what is not so any more."""
import contextlib
import itertools
import mmap
import os
import random
import struct
import threading
import time

import pytest
from conftest import eventually
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


def test_what_is_here_comes_with_the_opening(mount):
    mounted = mount('--attr-ttl=100')
    tree = fill(mounted)
    for name in as_listed(mounted):
        read(mounted, tree, [name])
        time.sleep(0.02)  # so that the next one has come
    assert ahead(mounted)[1] >= FILES - 5
    assert mounted.stats()['reads'] <= FILES // 3, 'the others were in the page cache'
    requests = mounted.stats()['requests']
    read(mounted, tree, tree)
    assert mounted.stats()['requests'] == requests


def test_who_passes_the_page_cache_by_is_given_it_all_the_same(mount):
    mounted = mount()
    tree = fill(mounted)
    room = mmap.mmap(-1, 8192)
    for name in as_listed(mounted):
        descriptor = os.open(mounted.path / name, os.O_RDONLY | os.O_DIRECT)
        assert os.preadv(descriptor, [room], 0) == len(tree[name]) and room[:len(tree[name])] == tree[name]
        os.close(descriptor)
        time.sleep(0.01)
    assert ahead(mounted)[1] >= FILES - 5 and mounted.stats()['reads'] >= FILES


def test_nothing_old_stays_while_files_are_read_and_changed_on_both_sides(mount):
    """Versions are numbers, and each file is full of its own."""
    mounted = mount('--attr-ttl=0.3')
    count, words = 30, 700
    (mounted.folder / 'folder').mkdir()
    names = [f'folder/file{number:02}' for number in range(count)]
    versions, until, wrong = itertools.count(1), time.monotonic() + 6, []

    def content():
        return struct.pack('<I', next(versions)) * words

    def change_there():
        while time.monotonic() < until:
            name = random.choice(names)
            (mounted.folder / 'new').write_bytes(content())
            (mounted.folder / 'new').replace(mounted.folder / name)
            time.sleep(0.005)

    def change_here():
        while time.monotonic() < until:
            with contextlib.suppress(OSError), open(mounted.path / random.choice(names), 'r+b') as file:  # ESTALE: a conflict
                file.write(content())
            time.sleep(0.02)

    def read_all():
        while time.monotonic() < until:
            for name in names:
                with contextlib.suppress(OSError):
                    if len((mounted.path / name).read_bytes()) != 4 * words:
                        wrong.append(name)
    for name in names:
        (mounted.folder / name).write_bytes(content())
    threads = [threading.Thread(target=work) for work in (change_there, change_here, read_all, read_all)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and ahead(mounted)[1] > 50
    time.sleep(0.5)
    for name in names:
        eventually(lambda: (mounted.path / name).read_bytes() == (mounted.folder / name).read_bytes())  # noqa: B023
    mounted.kill()  # a conflict may have been lost, of which unmounting would tell


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
