"""What programs may expect of any file system, call by call, on a mount; compared with the served folder where that shows it."""
import contextlib
import ctypes
import errno
import fcntl
import itertools
import mmap
import os
import pathlib
import random
import re
import signal
import stat
import subprocess
import sys
import threading
import time

import mount as mounts
import pytest
from conftest import LONG, PROGRAM, SANITIZER, Server, eventually, halt
from test_clients import needs

MIB = 1 << 20
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
LIBC = ctypes.CDLL(None, use_errno=True)

only_berth = pytest.mark.skipif(mounts.BY != 'berth', reason='this is about berth mount')


# ---- where ----

class Place:
    """A folder in the mount, and the same one as the server has it."""

    def __init__(self, mounted, name):
        self.mounted, self.path, self.folder = mounted, mounted.path / name, mounted.folder / name

    def file(self, name, content=b'content\n'):
        (self.path / name).write_bytes(content)
        return self.path / name

    def served(self, name):
        return (self.folder / name).read_bytes()

    def seen(self, name):
        """What was made on the server, once the mount looks again."""
        eventually((self.path / name).exists)
        return self.path / name

    def run(self, code, *arguments, wrapper=()):
        """A Python program in it; what it prints."""
        return subprocess.run([*wrapper, sys.executable, '-c', code, *map(str, arguments)], cwd=self.path, check=True, timeout=120,
                              stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture(scope='module')
def standing(may_mount, tmp_path_factory):
    """One mount for all tests that need no options."""
    top = tmp_path_factory.mktemp('standing')
    (top / 'served').mkdir()
    server = Server(top / 'served', '--writable')
    mounted = mounts.Mount(PROGRAM, url_of(server), server.folder, top / 'mount', '--attr-ttl=0.3', sanitizer=SANITIZER)
    mounted.server = server
    yield mounted
    mounted.close()
    server.close()


numbers = itertools.count(1)


@pytest.fixture
def place(standing, request):
    """A folder of the test's own in it."""
    place = Place(standing, f'{request.function.__name__}-{next(numbers)}')
    place.path.mkdir()
    return place


def url_of(server):
    return 'http://{}:{}/'.format(*server.address)


def whole(mounted):
    return Place(mounted, '.')


@contextlib.contextmanager
def opened(path, flags=os.O_RDWR, mode=0o644):
    """For errors that are no matter at the end."""
    descriptor = os.open(path, flags, mode)
    try:
        yield descriptor
    finally:
        try:
            os.close(descriptor)
        except OSError as problem:
            assert problem.errno == errno.ESTALE


@contextlib.contextmanager
def fails(*numbers):
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno in numbers, caught.value


def renameat2(source, target, flags):
    if LIBC.renameat2(-100, os.fsencode(source), -100, os.fsencode(target), flags) < 0:
        raise OSError(ctypes.get_errno(), 'renameat2')


# ---- reading and writing ----

def test_what_is_written_is_read_and_served(place, blob):
    place.file('file', blob)
    assert (place.path / 'file').read_bytes() == blob
    assert place.served('file') == blob


def test_writes_at_any_offset(place):
    chance, model = random.Random(3), bytearray(300_000)
    with opened(place.file('file', model)) as file:
        for _ in range(300):
            first, data = chance.randrange(len(model)), chance.randbytes(chance.randrange(1, 9000))
            assert os.pwrite(file, data, first) == len(data)
            model[first:first + len(data)] = data
            first, size = chance.randrange(len(model)), chance.randrange(1, 9000)
            assert os.pread(file, size, first) == model[first:first + size]
    assert place.served('file') == model == (place.path / 'file').read_bytes()


def test_a_gap_reads_as_zeros(place):
    with opened(place.path / 'file', os.O_RDWR | os.O_CREAT) as file:
        os.pwrite(file, b'end', 100_000)
        assert os.pread(file, 200_000, 0) == bytes(100_000) + b'end'
    assert place.served('file') == bytes(100_000) + b'end'


def test_a_file_over_4_gib(place):
    with opened(place.path / 'file', os.O_RDWR | os.O_CREAT) as file:
        os.pwrite(file, b'start', 0)
        os.pwrite(file, b'far', 5 << 30)
        assert os.fstat(file).st_size == (5 << 30) + 3
        os.fsync(file)
        assert os.pread(file, 10, 5 << 30) == b'far' and os.pread(file, 10, (5 << 30) - 7) == bytes(7) + b'far'
    with open(place.folder / 'file', 'rb') as served:
        assert served.read(5) == b'start' and served.seek(5 << 30) and served.read() == b'far'
    with open(place.path / 'file', 'rb') as file:
        assert file.seek(-3, os.SEEK_END) == 5 << 30 and file.read() == b'far'
    os.truncate(place.path / 'file', (4 << 30) + 1)
    assert (place.folder / 'file').stat().st_size == (4 << 30) + 1


APPEND = """
import os, sys
file = os.open('log', os.O_WRONLY | os.O_APPEND)
for number in range(500):
    os.write(file, b'%s %06d %s\\n' % (sys.argv[1].encode(), number, b'x' * 60))
    if number == 0:
        print('begun', flush=True)
        input()
os.close(file)
"""


@pytest.mark.parametrize('made_by', ['this mount', 'somebody else'])
def test_appends_of_two_processes_lose_nothing(place, made_by):
    """Both have it open at the same time."""
    (place.path if made_by == 'this mount' else place.folder).joinpath('log').write_bytes(b'start\n')
    place.seen('log')
    writers = [subprocess.Popen([sys.executable, '-c', APPEND, name], cwd=place.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
               for name in 'ab']
    for writer in writers:
        assert writer.stdout.readline() == b'begun\n'
    for writer in writers:
        writer.stdin.write(b'\n')
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    lines = place.served('log').decode().splitlines()
    assert lines[0] == 'start' and sorted(lines[1:]) == [f'{name} {number:06d} {"x" * 60}' for name in 'ab' for number in range(500)]


def test_append_goes_to_the_end_whatever_the_position(place):
    with opened(place.file('file', b'one '), os.O_RDWR | os.O_APPEND) as file:
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, b'two ')
        os.truncate(place.path / 'file', 3)
        os.write(file, b'three')
    assert place.served('file') == b'onethree'


def test_exclusive_creation(place):
    with opened(place.path / 'file', os.O_WRONLY | os.O_CREAT | os.O_EXCL):
        with fails(errno.EEXIST):
            os.open(place.path / 'file', os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with fails(errno.EEXIST):
        os.open(place.path / 'file', os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def test_opening_what_is_not_there_or_no_file(place):
    with fails(errno.ENOENT):
        os.open(place.path / 'nothing', os.O_RDONLY)
    with fails(errno.EISDIR):
        os.open(place.path, os.O_WRONLY)
    place.file('file')
    with fails(errno.ENOTDIR):
        os.open(place.path / 'file' / 'below', os.O_RDONLY)


@pytest.mark.parametrize('size', [0, 1, 5000, 100_000, 5 * MIB, 9 * MIB])
@pytest.mark.parametrize('by', ['path', 'descriptor', 'descriptor with unsent data'])
def test_truncate(place, blob, size, by):
    """Down, up, and across extents; what comes anew is zero."""
    path, model = place.file('file', blob), bytearray(blob)
    if by == 'path':
        os.truncate(path, size)
    else:
        with opened(path) as file:
            if 'unsent' in by:
                os.pwrite(file, b'changed', 4000)
                model[4000:4007] = b'changed'
            os.ftruncate(file, size)
            assert os.fstat(file).st_size == size
            assert os.pread(file, 100, max(size - 10, 0)) == (model + bytes(MIB))[max(size - 10, 0):size]
    assert place.served('file') == (model + bytes(MIB))[:size] == path.read_bytes()


def test_truncate_down_and_up_leaves_zeros(place, blob):
    with opened(place.file('file', blob)) as file:
        os.ftruncate(file, 1000)
        os.ftruncate(file, 100_000)
        os.pwrite(file, b'end', 99_997)
        assert os.pread(file, 100_000, 0) == blob[:1000] + bytes(98_997) + b'end'
    assert place.served('file') == blob[:1000] + bytes(98_997) + b'end'


def test_open_with_truncate_replaces_the_content(place, blob):
    path = place.file('file', blob)
    with opened(path, os.O_RDWR | os.O_TRUNC) as file:
        assert os.fstat(file).st_size == 0 and os.pread(file, 100, 0) == b''
        os.write(file, b'new')
    assert place.served('file') == b'new'
    with opened(path, os.O_WRONLY | os.O_TRUNC):
        pass
    assert place.served('file') == b''


def test_mapped_memory_is_the_file(place):
    with opened(place.file('file', bytes(20_000))) as file:
        with mmap.mmap(file, 20_000) as one, mmap.mmap(file, 20_000, access=mmap.ACCESS_READ) as other:
            one[5000:5006] = b'mapped'
            assert other[5000:5006] == b'mapped' and os.pread(file, 6, 5000) == b'mapped'
            os.pwrite(file, b'written', 9000)
            assert one[9000:9007] == b'written'
            one.flush()
            os.fsync(file)
            assert place.served('file')[4999:5007] == b'\0mapped\0'
            one[0:4] = b'last'
    eventually(lambda: place.served('file')[:5] == b'last\0')


def test_mapped_memory_is_private_if_wanted(place):
    with opened(place.file('file', b'content'), os.O_RDONLY) as file, mmap.mmap(file, 7, access=mmap.ACCESS_COPY) as private:
        private[:4] = b'mine'
        assert os.pread(file, 7, 0) == b'content'
    assert place.served('file') == b'content'


def test_fsync_brings_all_to_the_server(place):
    with opened(place.path / 'file', os.O_WRONLY | os.O_CREAT) as file:
        os.write(file, b'content')
        os.fsync(file)
        assert place.served('file') == b'content'
        os.write(file, b' more')
        os.fdatasync(file)
        assert place.served('file') == b'content more'
    folder = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(folder)
    os.close(folder)


def test_two_descriptors_see_each_other(place):
    path = place.file('file', b'content')
    with opened(path) as one, opened(path, os.O_RDONLY) as other:
        os.pwrite(one, b'CON', 0)
        assert os.pread(other, 100, 0) == b'CONtent'
        os.ftruncate(one, 3)
        assert os.pread(other, 100, 0) == b'CON' and os.fstat(other).st_size == 3


# ---- names ----

def left_behind(folder):
    return [name for name in os.listdir(folder) if name.startswith('.berth-unlinked')]


def test_rename(place):
    place.file('one', b'one')
    os.rename(place.path / 'one', place.path / 'two')
    assert os.listdir(place.path) == ['two'] == os.listdir(place.folder) and place.served('two') == b'one'
    with fails(errno.ENOENT):
        os.rename(place.path / 'one', place.path / 'three')
    (place.path / 'folder').mkdir()
    os.rename(place.path / 'two', place.path / 'folder' / 'two')
    assert place.served('folder/two') == b'one'


def test_rename_over_a_file(place):
    place.file('one', b'one')
    place.file('two', b'two, longer')
    os.rename(place.path / 'one', place.path / 'two')
    assert (place.path / 'two').read_bytes() == b'one' == place.served('two')
    assert os.listdir(place.path) == ['two']


def test_rename_over_an_open_file_leaves_the_old_to_who_has_it(place, blob):
    path = place.file('file', blob)
    place.file('new', b'new')
    with opened(path, os.O_RDONLY) as reader, opened(path) as writer:
        os.rename(place.path / 'new', path)
        assert path.read_bytes() == b'new' and os.listdir(place.path) == ['file']
        assert os.pread(reader, len(blob), 0) == blob and os.fstat(reader).st_size == len(blob)
        os.pwrite(writer, b'still', 100)
        os.fsync(writer)
        assert os.pread(reader, 5, 100) == b'still'
        assert place.served('file') == b'new'
    eventually(lambda: not left_behind(place.mounted.folder))


def test_rename_of_an_open_file(place):
    with opened(place.path / 'one', os.O_RDWR | os.O_CREAT) as file:
        os.write(file, b'before ')
        os.rename(place.path / 'one', place.path / 'two')
        os.write(file, b'after')
        assert os.pread(file, 100, 0) == b'before after'
    assert place.served('two') == b'before after' and os.listdir(place.folder) == ['two']


def test_an_open_file_is_there_while_its_name_changes(place):
    """Attributes and bytes are asked for by a path that may be gone when the server looks."""
    place.file('one', b'x' * 100_000)
    moves = '''
import os, sys
for number in range(int(sys.argv[1])):
    os.rename('one', 'two')
    os.rename('two', 'one')
os.unlink('one')
'''
    with open(place.path / 'one', 'rb') as file:
        mover = subprocess.Popen([sys.executable, '-c', moves, '300'], cwd=place.path)
        looks = 0
        while mover.poll() is None or looks == 0:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.fstat(file.fileno()).st_size == 100_000
            assert os.pread(file.fileno(), 10, looks % 90_000) == b'x' * 10
            looks += 4096
    assert mover.returncode == 0


def test_rename_that_must_not_replace(place):
    one, two = place.file('one', b'one'), place.file('two', b'two')
    with fails(errno.EEXIST):
        renameat2(one, two, RENAME_NOREPLACE)
    renameat2(one, place.path / 'three', RENAME_NOREPLACE)
    assert sorted(os.listdir(place.folder)) == ['three', 'two']
    (place.folder / 'unseen').write_bytes(b'unseen')
    with fails(errno.EEXIST):
        renameat2(two, place.path / 'unseen', RENAME_NOREPLACE)
    assert place.served('unseen') == b'unseen'


def test_two_cannot_change_places(place):
    one, two = place.file('one', b'one'), place.file('two', b'two')
    with fails(errno.EINVAL):
        renameat2(one, two, RENAME_EXCHANGE)
    assert (one.read_bytes(), two.read_bytes()) == (b'one', b'two')


def test_rename_of_folders(place):
    for name in ('source/below', 'empty', 'full/below'):
        (place.path / name).mkdir(parents=True)
    place.file('file')
    with fails(errno.ENOTEMPTY, errno.EEXIST):
        os.rename(place.path / 'source', place.path / 'full')
    with fails(errno.ENOTDIR):
        os.rename(place.path / 'source', place.path / 'file')
    with fails(errno.EISDIR):
        os.rename(place.path / 'file', place.path / 'empty')
    with fails(errno.EINVAL):
        os.rename(place.path / 'source', place.path / 'source/below/deeper')
    os.rename(place.path / 'source', place.path / 'empty')
    assert sorted(os.listdir(place.path)) == ['empty', 'file', 'full'] == sorted(os.listdir(place.folder))
    assert os.listdir(place.path / 'empty') == ['below']


def test_rename_of_a_folder_with_open_files_below(place, blob):
    (place.path / 'one/deep').mkdir(parents=True)
    old = place.file('one/deep/old', b'old content')
    with opened(place.path / 'one/new', os.O_RDWR | os.O_CREAT) as new, opened(old) as writer, opened(old, os.O_RDONLY) as reader:
        os.write(new, blob)
        os.pwrite(writer, b'OLD', 0)
        os.rename(place.path / 'one', place.path / 'two')
        os.write(new, b'more')
        os.pwrite(writer, b'CONTENT', 4)
        assert os.pread(reader, 100, 0) == b'OLD CONTENT'
    assert place.served('two/new') == blob + b'more' and place.served('two/deep/old') == b'OLD CONTENT'
    assert os.listdir(place.folder) == ['two']


def test_unlink_while_open(place, blob):
    path = place.file('file', blob)
    with opened(path) as file:
        os.unlink(path)
        assert os.listdir(place.path) == [] == os.listdir(place.folder) and not path.exists()
        assert os.pread(file, len(blob), 0) == blob
        os.pwrite(file, b'further', len(blob))
        os.pwrite(file, b'on', 10)
        os.fsync(file)
        assert os.pread(file, 20, len(blob) - 3) == blob[-3:] + b'further' and os.pread(file, 2, 10) == b'on'
        os.ftruncate(file, 5)
        assert os.fstat(file).st_size == 5
        path.write_bytes(b'another')
        assert os.pread(file, 100, 0) == blob[:5]
    assert place.served('file') == b'another'
    assert not left_behind(place.mounted.path)
    eventually(lambda: not left_behind(place.mounted.folder))


def test_unlink_of_a_new_file_while_open(place):
    with opened(place.path / 'file', os.O_RDWR | os.O_CREAT) as file:
        os.write(file, b'content')
        os.unlink(place.path / 'file')
        os.write(file, b' and more')
        assert os.pread(file, 100, 0) == b'content and more' and os.fstat(file).st_size == 16
        os.fsync(file)
        place.path.joinpath('file').mkdir()
        os.rmdir(place.path / 'file')
    assert os.listdir(place.folder) == []


def test_unlink_of_what_is_not_there_or_a_folder(place):
    with fails(errno.ENOENT):
        os.unlink(place.path / 'nothing')
    (place.path / 'folder').mkdir()
    with fails(errno.EISDIR, errno.EPERM):
        os.unlink(place.path / 'folder')
    place.file('file')
    with fails(errno.ENOTDIR):
        os.rmdir(place.path / 'file')


def test_folders(place):
    (place.path / 'folder').mkdir(0o750)
    assert stat.S_IMODE((place.folder / 'folder').stat().st_mode) == 0o750
    with fails(errno.EEXIST):
        os.mkdir(place.path / 'folder')
    with fails(errno.ENOENT):
        os.mkdir(place.path / 'nothing' / 'folder')
    file = place.file('folder/file')
    with fails(errno.ENOTEMPTY):
        os.rmdir(place.path / 'folder')
    (place.folder / 'folder/unseen').touch()
    file.unlink()
    with fails(errno.ENOTEMPTY):
        os.rmdir(place.path / 'folder')
    (place.folder / 'folder/unseen').unlink()
    os.rmdir(place.path / 'folder')
    assert os.listdir(place.path) == [] == os.listdir(place.folder)


def test_a_folder_with_an_unsent_file_is_not_empty(place):
    (place.path / 'folder').mkdir()
    with opened(place.path / 'folder/file', os.O_WRONLY | os.O_CREAT):
        with fails(errno.ENOTEMPTY):
            os.rmdir(place.path / 'folder')


@pytest.mark.parametrize('target', ['file', 'not/there', '/absolute/and "odd"', '../..', 'x' * 1000, b'\xff%41 \n'])
def test_symbolic_links(place, target):
    os.symlink(target, os.fsencode(place.path / 'link') if isinstance(target, bytes) else place.path / 'link')
    for path in (place.path, place.folder):
        assert os.readlink(os.fsencode(path / 'link')) == os.fsencode(target)
    state = os.lstat(place.path / 'link')
    assert stat.S_ISLNK(state.st_mode) and state.st_size == len(target)
    os.utime(place.path / 'link', ns=(10 ** 18, 10 ** 18 + 123456789), follow_symlinks=False)
    assert os.lstat(place.path / 'link').st_mtime_ns == 10 ** 18 + 123456789 == os.lstat(place.folder / 'link').st_mtime_ns
    os.rename(place.path / 'link', place.path / 'other')
    os.unlink(place.path / 'other')
    assert os.listdir(place.folder) == []


def test_a_link_is_followed(place):
    place.file('file')
    os.symlink('file', place.path / 'link')
    assert (place.path / 'link').read_bytes() == b'content\n'
    (place.path / 'link').write_bytes(b'by the link')
    assert place.served('file') == b'by the link'


def test_hard_links(place):
    one, two = place.file('one', b'content'), place.path / 'two'
    os.link(one, two)
    assert one.stat().st_ino == two.stat().st_ino and one.stat().st_nlink == 2 == two.stat().st_nlink
    with opened(one) as first, opened(two) as second:
        os.pwrite(first, b'ONE', 0)
        assert os.pread(second, 100, 0) == b'ONEtent'
        os.pwrite(second, b'TWO', 4)
    assert one.read_bytes() == b'ONEtTWO' == two.read_bytes() == place.served('one') == place.served('two')
    with fails(errno.EEXIST):
        os.link(one, two)
    os.unlink(one)
    assert two.read_bytes() == b'ONEtTWO' and two.stat().st_nlink == 1


def test_hard_link_of_an_open_new_file(place):
    with opened(place.path / 'one', os.O_WRONLY | os.O_CREAT) as file:
        os.write(file, b'content')
        os.link(place.path / 'one', place.path / 'two')
        os.write(file, b' more')
    assert place.served('one') == b'content more' == place.served('two')
    assert (place.folder / 'one').samefile(place.folder / 'two')
    with opened(place.path / 'two', os.O_RDONLY) as file:
        os.unlink(place.path / 'two')
        assert os.read(file, 100) == b'content more' and place.served('one') == b'content more'


NAMES = [b'plain', b'\xff\xfe\x80', b'new\nline', b'100%25', b'?query', b'#part', b'a&b;c=d', b'<tag>', b'"quoted"', b"it's",
         b'back\\slash', b' leading', b'trailing ', b'~', b'*', b'\x01\x1f\x7f', 'Grüße 日本'.encode(), b'x' * 255, b'\xe4' * 255,
         b'%2e%2e', b'[::1]', b'a:b', b'+plus+']


@pytest.mark.parametrize('name', NAMES, ids=repr)
def test_names_of_any_bytes(place, name):
    path, folder = os.fsencode(place.path), os.fsencode(place.folder)
    with open(os.path.join(path, name), 'wb') as file:
        file.write(name)
    assert os.listdir(path) == [name] == os.listdir(folder)
    with open(os.path.join(path, name), 'rb') as file:
        assert file.read() == name
    os.rename(os.path.join(path, name), os.path.join(path, b'other'))
    os.mkdir(os.path.join(path, name))
    os.rename(os.path.join(path, b'other'), os.path.join(path, name, b'other'))
    os.symlink(name, os.path.join(path, b'link'))
    assert os.listdir(os.path.join(path, b'link')) == [b'other'] == os.listdir(os.path.join(folder, name))
    os.unlink(os.path.join(path, name, b'other'))
    os.rmdir(os.path.join(path, name))


@pytest.mark.parametrize('name', NAMES, ids=repr)
def test_names_that_the_server_had(place, name):
    path, folder = os.fsencode(place.path / 'sub'), os.fsencode(place.folder / 'sub')
    os.mkdir(folder)
    with open(os.path.join(folder, name), 'wb') as file:
        file.write(name)
    place.seen('sub')
    assert os.listdir(path) == [name]
    with open(os.path.join(path, name), 'rb') as file:
        assert file.read() == name


@only_berth
def test_dot_names_are_served_by_a_server_that_is_told_to(mount):
    place = whole(mount('--attr-ttl=0.3'))
    for number, name in enumerate(('...', '.name', '.berth')):
        place.file(name, b'content')
        assert place.served(name) == b'content' and len(os.listdir(place.path)) == number + 1
    (place.path / '.folder').mkdir()
    os.rename(place.path / '.name', place.path / '.folder/.name')
    assert os.listdir(place.folder / '.folder') == ['.name']
    assert 'begin with a dot' not in place.mounted.stderr()


@only_berth
def test_dot_names_are_refused_at_once_where_they_are_not_served(mount, tmp_path):
    """Not when they are sent: what was written would be left over."""
    (tmp_path / 'plain').mkdir()
    with contextlib.closing(Server(tmp_path / 'plain', '--writable')) as server:
        place = whole(mount(server=server))
        eventually(lambda: 'names that begin with a dot are refused (berth serve --hidden)' in place.mounted.stderr())
        place.file('file', b'content')
        for call, arguments in ((os.open, (place.path / '.name', os.O_WRONLY | os.O_CREAT)), (os.mkdir, (place.path / '.name',)),
                                (os.symlink, ('file', place.path / '.name')), (os.mknod, (place.path / '.name', stat.S_IFREG)),
                                (os.link, (place.path / 'file', place.path / '.name')),
                                (os.rename, (place.path / 'file', place.path / '.name'))):
            with fails(errno.EACCES):
                call(*arguments)
        assert os.listdir(place.path) == ['file'] == place.run('import os; print(*os.listdir())').split()
        assert not (place.path / '.name').exists()
        place.mounted.unmount()


def test_a_name_of_256_bytes_is_too_long(place):
    with fails(errno.ENAMETOOLONG):
        os.open(place.path / ('x' * 256), os.O_WRONLY | os.O_CREAT)


def test_a_folder_of_many_is_listed_whole_while_files_are_removed(place):
    count = 100_000 if LONG else 20_000
    (place.folder / 'many').mkdir()
    for number in range(count):
        os.close(os.open(place.folder / f'many/{number}', os.O_CREAT))
    removed = {str(number) for number in range(0, count, 50)}
    with os.scandir(place.seen('many')) as entries:
        seen = [next(entries).name for _ in range(10)]
        for name in removed:
            os.unlink(place.path / 'many' / name)
        seen += [entry.name for entry in entries]
    assert len(seen) == len(set(seen)) and {str(number) for number in range(count)} - removed <= set(seen)
    assert sorted(os.listdir(place.path / 'many')) == sorted(os.listdir(place.folder / 'many'))
    for entry in itertools.islice(os.scandir(place.path / 'many'), 1000):
        assert entry.stat().st_size == 0


def test_removing_all_while_listing(place):
    """As rm -r does."""
    (place.folder / 'many').mkdir()
    for number in range(3000):
        (place.folder / f'many/{number}').touch()
    with os.scandir(place.seen('many')) as entries:
        for entry in entries:
            os.unlink(entry.path)
    os.rmdir(place.path / 'many')
    assert os.listdir(place.folder) == []


# ---- attributes ----

@pytest.mark.parametrize('mode', [0o600, 0o644, 0o666, 0o755, 0o777, 0o400, 0])
def test_chmod(place, mode):
    path = place.file('file')
    path.chmod(mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode == stat.S_IMODE((place.folder / 'file').stat().st_mode)


@only_berth
@pytest.mark.parametrize('mode', [0o4755, 0o2755, 0o1755])
def test_a_mode_that_no_file_gets(place, mode):
    path = place.file('file')
    for change in (lambda: path.chmod(mode), lambda: os.open(place.path / 'new', os.O_WRONLY | os.O_CREAT, mode)):
        with fails(errno.EPERM):
            change()
    with opened(path) as file:
        os.write(file, b'CON')
        with fails(errno.EPERM):
            os.fchmod(file, mode)
    assert place.served('file') == b'CONtent\n' and not (place.path / 'new').exists()


@only_berth
@pytest.mark.parametrize('mode', [0o700, 0o777, 0o750, 0o2775, 0o1777, 0o3770, 0o755])
def test_chmod_of_a_folder(place, mode):
    path = place.path / 'folder'
    path.mkdir()
    for before in (0o700, 0o3777):
        path.chmod(before)
        path.chmod(mode)
        assert stat.S_IMODE(path.stat().st_mode) == mode == stat.S_IMODE((place.folder / 'folder').stat().st_mode)


@only_berth
def test_set_user_id_is_for_no_folder(place):
    (place.path / 'folder').mkdir()
    with fails(errno.EPERM):
        (place.path / 'folder').chmod(0o4755)


@only_berth
def test_folders_are_made_below_one_with_set_group_id(place):
    (place.path / 'folder').mkdir()
    (place.path / 'folder').chmod(0o2775)
    (place.path / 'folder/below').mkdir(0o755)
    for side in (place.path, place.folder):
        assert stat.S_IMODE((side / 'folder/below').stat().st_mode) == 0o2755


def test_the_mode_of_a_new_file(place):
    before = os.umask(0)
    try:
        for mode in (0o600, 0o666, 0o777, 0o444):
            with opened(place.path / f'{mode:o}', os.O_WRONLY | os.O_CREAT, mode) as file:
                os.write(file, b'content')
            assert stat.S_IMODE((place.folder / f'{mode:o}').stat().st_mode) == mode
            assert stat.S_IMODE((place.path / f'{mode:o}').stat().st_mode) == mode
    finally:
        os.umask(before)


def test_who_opened_a_file_may_write_after_it_is_read_only(place):
    with opened(place.path / 'file', os.O_WRONLY | os.O_CREAT) as file:
        os.write(file, b'content')
        os.fchmod(file, 0o400)
        os.write(file, b' more')
    assert place.served('file') == b'content more' and stat.S_IMODE((place.folder / 'file').stat().st_mode) == 0o400


def test_times_in_nanoseconds(place):
    times = (1_600_000_000_123_456_789, 1_700_000_000_987_654_321)
    (place.path / 'folder').mkdir()
    for path in (place.file('file'), place.path / 'folder'):
        os.utime(path, ns=times)
        assert path.stat().st_mtime_ns == times[1] == (place.folder / path.name).stat().st_mtime_ns
    with opened(place.path / 'open', os.O_RDWR | os.O_CREAT) as file:
        os.write(file, b'content')
        os.utime(file, ns=times)
        assert os.fstat(file).st_mtime_ns == times[1]
    assert (place.folder / 'open').stat().st_mtime_ns == times[1] == (place.path / 'open').stat().st_mtime_ns


def test_times_before_1970_and_after_2038(place):
    for seconds in (-1, -10 ** 9, 2 ** 31 + 5, 2 ** 32 + 5):
        path = place.file(f'file{seconds}')
        os.utime(path, ns=(0, seconds * 10 ** 9 + 5))
        assert path.stat().st_mtime_ns == seconds * 10 ** 9 + 5 == (place.folder / path.name).stat().st_mtime_ns


def test_a_mode_that_is_set_hides_no_change_by_others(place):
    path = place.file('file')
    path.read_bytes()
    (place.folder / 'file').write_bytes(b'somebody else was here, and wrote more')
    path.chmod(0o600)
    eventually(lambda: path.read_bytes() == b'somebody else was here, and wrote more')


def test_a_write_moves_the_time(place):
    path = place.file('file')
    os.utime(path, ns=(0, 10 ** 18))
    began = time.time_ns()
    with opened(path) as file:
        os.write(file, b'CONTENT')
    assert began - 10 ** 8 < path.stat().st_mtime_ns < time.time_ns() + 10 ** 8
    assert path.stat().st_mtime_ns == (place.folder / 'file').stat().st_mtime_ns


def test_the_owner_cannot_change(place):
    path = place.file('file')
    os.chown(path, os.getuid(), os.getgid())
    os.chown(path, -1, -1)
    for owner in ((12345, -1), (-1, 12345)):
        with fails(errno.EPERM):
            os.chown(path, *owner)


DROP = "import os; file = os.open('file', os.O_WRONLY); {}; os.close(file)"


@needs('setpriv')
@pytest.mark.parametrize('change', ["os.write(file, b'x')", 'os.ftruncate(file, 1)', "os.truncate('file', 1)",
                                    "os.open('file', os.O_WRONLY | os.O_TRUNC)"])
def test_set_user_id_is_dropped_by_who_may_not_keep_it(place, change):
    path = place.file('file')
    (place.folder / 'file').chmod(0o6755)  # what the server gives to nobody
    eventually(lambda: path.stat().st_mode & 0o6000)
    place.run(DROP.format(change), wrapper=('setpriv', '--bounding-set=-fsetid'))
    assert stat.S_IMODE(path.stat().st_mode) == 0o755 == stat.S_IMODE((place.folder / 'file').stat().st_mode)


@only_berth
def test_only_files_are_made_by_mknod(place):
    os.mknod(place.path / 'file', stat.S_IFREG | 0o640)
    assert place.served('file') == b'' and stat.S_IMODE((place.folder / 'file').stat().st_mode) == 0o640
    (place.path / 'file').write_bytes(b'content')
    assert place.served('file') == b'content'
    with fails(errno.EEXIST):
        os.mknod(place.path / 'file', stat.S_IFREG | 0o640)
    with fails(errno.EPERM):
        os.mkfifo(place.path / 'fifo')
    with fails(errno.EPERM):
        os.mknod(place.path / 'socket', stat.S_IFSOCK | 0o640)
    assert os.listdir(place.path) == ['file']


def test_syncfs_does_not_stumble_over_what_was_removed(place):
    """The kernel tells the times of what it gathered for at last, also when no name leads there any more."""
    (place.path / 'removed').write_bytes(b'content')
    (place.path / 'removed').unlink()
    (place.path / 'replaced').write_bytes(b'content')
    (place.path / 'other').write_bytes(b'another')
    os.rename(place.path / 'other', place.path / 'replaced')
    for _ in range(2):
        place.run("import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); file = os.open('.', os.O_RDONLY);"
                  "assert libc.syncfs(file) == 0, os.strerror(ctypes.get_errno())")
    assert place.served('replaced') == b'another'


def test_space_is_told(place):
    mine, real = os.statvfs(place.path), os.statvfs(place.folder)
    assert abs(mine.f_bavail * mine.f_frsize - real.f_bavail * real.f_frsize) < 1 << 30
    assert mine.f_namemax == 255 and mine.f_blocks >= mine.f_bavail


@only_berth
def test_space_is_asked_for_as_it_is_mounted(mount):
    mounted = mount('--attr-ttl=60')
    eventually(lambda: mounted.stats()['requests'] == 3)  # what the server can, the root, the space
    os.statvfs(mounted.path)
    assert mounted.stats()['requests'] == 3


@only_berth
def test_programs_are_told_the_size_to_write_in(place):
    assert place.file('file').stat().st_blksize == 4 * MIB


def test_numbers_of_files_stay(mount):
    place = whole(mount('--attr-ttl=0.3'))
    (place.path / 'folder').mkdir()
    place.file('file')
    (place.folder / 'served').touch()
    place.seen('served')
    os.symlink('file', place.path / 'symbolic')
    os.link(place.path / 'file', place.path / 'hard')
    names = ['file', 'folder', 'served', 'symbolic', 'hard']
    numbers = {name: os.lstat(place.path / name).st_ino for name in names}
    for again in (False, True):
        if again:
            place.mounted.again()
        assert {entry.name: entry.inode() for entry in os.scandir(place.path)} == numbers
        assert {name: os.lstat(place.path / name).st_ino for name in names} == numbers
    assert numbers == {name: os.lstat(place.folder / name).st_ino for name in names}
    with opened(place.path / 'file') as file:
        os.write(file, b'changed, and longer')
        os.fsync(file)
        assert os.fstat(file).st_ino == numbers['file']
    assert os.stat(place.path / 'file').st_ino == numbers['file']
    os.rename(place.path / 'file', place.path / 'renamed')
    assert os.stat(place.path / 'renamed').st_ino == numbers['file']


def test_the_number_of_an_open_new_file_stays(place):
    with opened(place.path / 'file', os.O_RDWR | os.O_CREAT) as file:
        number = os.fstat(file).st_ino
        os.write(file, b'content')
        os.fsync(file)
        assert os.fstat(file).st_ino == number == os.stat(place.path / 'file').st_ino


# ---- extended attributes ----

def test_extended_attributes(place):
    for path in (place.file('file'), place.path):
        os.setxattr(path, 'user.one', b'value')
        os.setxattr(path, 'user.bytes', bytes(range(256)))
        os.setxattr(path, 'user.empty', b'')
        os.setxattr(path, 'user.one', b'another')
        assert sorted(os.listxattr(path)) == ['user.bytes', 'user.empty', 'user.one']
        assert os.getxattr(path, 'user.one') == b'another' and os.getxattr(path, 'user.empty') == b''
        assert os.getxattr(path, 'user.bytes') == bytes(range(256))
        os.removexattr(path, 'user.one')
        with fails(errno.ENODATA):
            os.getxattr(path, 'user.one')
        with fails(errno.ENODATA):
            os.removexattr(path, 'user.one')
    assert os.getxattr(place.folder / 'file', 'user.bytes') == bytes(range(256))


@pytest.mark.parametrize('name', ['user.Grüße', 'user.with space', 'user.a.b.c', 'user.<&>"', 'user.1', 'user.a:b', 'user.' + 'x' * 200])
def test_extended_attributes_of_any_name(place, name):
    path = place.file('file')
    os.setxattr(path, name, b'value')
    assert os.listxattr(path) == [name] == os.listxattr(place.folder / 'file') and os.getxattr(path, name) == b'value'
    os.removexattr(path, name)
    assert os.listxattr(path) == []


def test_extended_attributes_made_or_replaced(place):
    path = place.file('file')
    with fails(errno.ENODATA):
        os.setxattr(path, 'user.name', b'value', os.XATTR_REPLACE)
    os.setxattr(path, 'user.name', b'value', os.XATTR_CREATE)
    with fails(errno.EEXIST):
        os.setxattr(path, 'user.name', b'other', os.XATTR_CREATE)
    os.setxattr(path, 'user.name', b'other', os.XATTR_REPLACE)
    assert os.getxattr(place.folder / 'file', 'user.name') == b'other'


def test_extended_attributes_that_are_too_large(place):
    path = place.file('file')
    for size in (1 << 16, (1 << 16) + 1):
        with fails(errno.E2BIG, errno.ENOSPC, errno.ERANGE):
            os.setxattr(path, 'user.large', bytes(size))
    assert os.listxattr(path) == []


def test_extended_attributes_of_an_open_file(place):
    with opened(place.path / 'file', os.O_RDWR | os.O_CREAT) as file:
        os.write(file, b'content')
        os.setxattr(file, 'user.name', b'value')
        assert os.getxattr(file, 'user.name') == b'value'
        os.write(file, b' more')
        os.fsync(file)
    with opened(place.path / 'file') as file:
        os.write(file, b'CONTENT')
        os.setxattr(file, 'user.name', b'other')
        os.write(file, b' MORE')
    assert place.served('file') == b'CONTENT MORE' and os.getxattr(place.folder / 'file', 'user.name') == b'other'


def test_extended_attributes_of_others_are_not_there(place):
    path = place.file('file')
    for name in ('security.selinux', 'trusted.name', 'system.posix_acl_access'):
        with fails(errno.ENODATA, errno.EOPNOTSUPP):
            os.getxattr(path, name)
    with fails(errno.EOPNOTSUPP, errno.EPERM):
        os.setxattr(path, 'trusted.name', b'value')


# ---- locks ----

HOLD = """
import fcntl, os, sys
file = os.open('file', os.O_RDWR)
fcntl.{}(file, fcntl.LOCK_EX{})
print('held', flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize('call, part', [('flock', ''), ('lockf', ', 10, 100')])
def test_locks_between_processes(place, call, part):
    path = place.file('file', bytes(1000))
    holder = subprocess.Popen([sys.executable, '-c', HOLD.format(call, part)], cwd=place.path, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b'held\n'
    with opened(path) as file:
        take = (lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)) if call == 'flock' \
            else lambda: fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 105)
        with fails(errno.EAGAIN, errno.EACCES):
            take()
        if call == 'lockf':
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 110)
        holder.communicate(timeout=20)
        take()


# ---- what others change ----

def test_a_file_changed_elsewhere_is_read_anew(mount):
    place = whole(mount('--attr-ttl=0.2'))
    path = place.file('file', b'first content')
    assert path.read_bytes() == b'first content'
    for content in (b'other content', b'shorter', b'much, much longer than it was before'):
        (place.folder / 'file').write_bytes(content)
        time.sleep(0.3)
        assert path.stat().st_size == len(content)
        assert path.read_bytes() == content


def test_a_file_changed_elsewhere_is_read_anew_though_its_folder_is_listed(mount):
    """With a listing the kernel is told all attributes, and has no reason to ask."""
    place = whole(mount('--attr-ttl=0.2'))
    path = place.file('file', b'first content')
    with opened(path) as file:
        assert os.pread(file, 100, 0) == b'first content'
        (place.folder / 'file').write_bytes(b'other content')
        eventually(lambda: os.listdir(place.path) == ['file'] and path.stat() and os.pread(file, 100, 0) == b'other content')


def test_a_file_that_became_shorter_while_open_is_as_long_for_who_opens_it_next(mount):
    """As long as it is open the kernel keeps the size that it had, and fills up with zeros; close() is a moment before its end."""
    place = whole(mount('--attr-ttl=0.2'))
    path = place.file('file', b'first content')
    with opened(path) as file:
        (place.folder / 'file').write_bytes(b'other')
        eventually(lambda: path.stat() and os.pread(file, 5, 0) == b'other')
    eventually(lambda: path.read_bytes() == b'other')
    with open(path, 'ab') as file:
        file.write(b' end')
    assert path.read_bytes() == place.served('file') == b'other end'


def test_a_file_replaced_elsewhere_is_read_anew(mount):
    place = whole(mount('--attr-ttl=0.2'))
    path = place.file('file', b'first content')
    assert path.read_bytes() == b'first content'
    (place.folder / 'new').write_bytes(b'other')
    os.rename(place.folder / 'new', place.folder / 'file')
    time.sleep(0.3)
    assert path.read_bytes() == b'other'


def test_attributes_and_names_are_looked_at_again(mount):
    place = whole(mount('--attr-ttl=0.5'))
    path = place.file('file')
    assert not (place.path / 'later').exists()
    (place.folder / 'later').touch()
    (place.folder / 'file').chmod(0o600)
    os.utime(place.folder / 'file', ns=(0, 10 ** 18))
    time.sleep(0.7)
    assert (place.path / 'later').exists()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_mtime_ns == 10 ** 18
    assert sorted(os.listdir(place.path)) == ['file', 'later']
    (place.folder / 'later').unlink()
    time.sleep(0.7)
    assert not (place.path / 'later').exists() and os.listdir(place.path) == ['file']


@only_berth
def test_folders_are_listed_ahead_of_who_walks_and_for_nobody_else(mount):
    mounted = mount('--attr-ttl=100')
    for number in range(40):
        (mounted.folder / f'folder{number}').mkdir()
        (mounted.folder / f'folder{number}/file').write_bytes(b'content')
    before = mounted.stats()['listings']
    assert len(os.listdir(mounted.path)) == 40
    time.sleep(0.3)
    assert mounted.stats()['listings'] == before + 1, 'ls alone'
    walks = [sorted(name for _, _, names in os.walk(mounted.path) for name in names) for _ in range(2)]
    assert walks == [['file'] * 40] * 2
    assert before + 41 <= mounted.stats()['listings'] <= before + 44, 'one may end as it is asked for'


@only_berth
def test_what_is_locked_is_looked_at_when_it_changed_only(mount):
    place = whole(mount('--attr-ttl=100'))
    path = place.file('file', b'old')
    assert path.read_bytes() == b'old'
    looks = place.mounted.stats()['looks']
    with open(path, 'r+b') as file:
        file.write(b'n')
    assert place.mounted.stats()['looks'] == looks and place.served('file') == b'nld'
    (place.folder / 'file').write_bytes(b'changed')
    with open(path, 'r+b') as file:
        assert os.fstat(file.fileno()).st_size == 7
        file.write(b'N')
    assert place.mounted.stats()['looks'] == looks + 1 and place.served('file') == b'Nhanged'


@only_berth
def test_what_is_known_is_not_asked_again(mount):
    place = whole(mount('--attr-ttl=100'))
    place.file('file')
    with contextlib.suppress(FileNotFoundError):
        os.stat(place.path / 'nothing')
    os.listdir(place.path)
    before = place.mounted.stats()['requests']
    for _ in range(20):
        os.stat(place.path / 'file')
        assert not (place.path / 'nothing').exists()
        os.listdir(place.path)
    assert place.mounted.stats()['requests'] == before


def test_what_this_mount_changes_is_seen_at_once(mount):
    place = whole(mount('--attr-ttl=100'))
    path = place.path / 'file'
    assert not path.exists() and os.listdir(place.path) == []
    path.write_bytes(b'content')
    assert path.stat().st_size == 7 and os.listdir(place.path) == ['file']
    before = path.stat().st_mtime_ns
    with opened(path, os.O_WRONLY | os.O_APPEND) as file:
        os.write(file, b' more')
        assert path.stat().st_size == 12
    assert path.stat().st_mtime_ns > before
    os.rename(path, place.path / 'other')
    assert not path.exists() and os.listdir(place.path) == ['other']
    os.truncate(place.path / 'other', 3)
    assert (place.path / 'other').read_bytes() == b'con'
    os.mkdir(path)
    assert path.is_dir() and sorted(os.listdir(place.path)) == ['file', 'other']
    os.rmdir(path)
    os.symlink('other', path)
    assert path.is_symlink() and path.read_bytes() == b'con'
    os.unlink(path)
    os.link(place.path / 'other', path)
    assert (place.path / 'other').stat().st_nlink == 2
    os.unlink(path)
    assert (place.path / 'other').stat().st_nlink == 1
    os.unlink(place.path / 'other')
    assert os.listdir(place.path) == [] and not (place.path / 'other').exists()


def test_an_open_reader_sees_the_file_grow(mount):
    """As tail -f looks."""
    place = whole(mount('--attr-ttl=0.1'))
    with opened(place.file('log', b'one\n'), os.O_RDONLY) as reader, open(place.folder / 'log', 'ab') as writer:
        assert os.read(reader, 100) == b'one\n'
        for line in (b'two\n', b'three\n' * 2000):
            writer.write(line)
            writer.flush()
            size = writer.tell()
            eventually(lambda: os.fstat(reader).st_size == size)
            assert os.read(reader, 100_000) == line


def test_an_open_reader_sees_the_file_change(mount):
    place = whole(mount('--attr-ttl=0.1'))
    with opened(place.file('file', b'first content'), os.O_RDONLY) as reader:
        assert os.pread(reader, 100, 0) == b'first content'
        (place.folder / 'file').write_bytes(b'other content')
        eventually(lambda: os.fstat(reader).st_size == 13 and os.pread(reader, 100, 0) == b'other content')


def test_removed_elsewhere(mount):
    place = whole(mount('--attr-ttl=0.1'))
    path = place.file('file')
    (place.folder / 'file').unlink()
    time.sleep(0.2)
    with fails(errno.ENOENT):
        path.read_bytes()
    path.write_bytes(b'made anew')
    assert place.served('file') == b'made anew'


# ---- conflicts ----

def refused(call, *arguments):
    with fails(errno.ESTALE):
        call(*arguments)


def unmount_with_losses(mounted):
    """Which it tells, once more."""
    said = subprocess.run([PROGRAM, 'unmount', str(mounted.path)], capture_output=True, text=True, timeout=60)
    assert said.returncode == 1 and 'could not be sent' in said.stderr, said
    mounted.process.wait(20)
    mounted.kill()


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """Where what could not be sent is left."""
    monkeypatch.setenv('XDG_STATE_HOME', str(tmp_path / 'state'))
    return tmp_path / 'state/berth/unsent'


@only_berth
@pytest.mark.parametrize('how', ['on the disk', 'over WebDAV'])
def test_a_conflict_over_a_new_file(mount, kept, how):
    place = whole(mount())
    file = os.open(place.path / 'file', os.O_RDWR | os.O_CREAT)
    os.write(file, b'ours')
    os.fsync(file)
    if how == 'on the disk':
        (place.folder / 'file').write_bytes(b'the other version')
    else:
        assert place.mounted.server.fetch('/file', 'Content-Length: 17', method='PUT', body=b'the other version').status in (200, 204)
    os.write(file, b' and more')
    refused(os.fsync, file)
    with contextlib.suppress(OSError):
        os.write(file, b'.')
    refused(os.fsync, file)
    refused(os.close, file)
    assert place.served('file') == b'the other version'
    assert place.mounted.stats()['conflicts'] == 1
    eventually(lambda: kept.is_dir() and os.listdir(kept))
    eventually(lambda: (place.path / 'file').read_bytes() == b'the other version')
    (place.path / 'file').write_bytes(b'all is well again')
    assert place.served('file') == b'all is well again'
    unmount_with_losses(place.mounted)


@only_berth
def test_a_conflict_is_told_by_close_alone(mount, kept):
    place = whole(mount())
    (place.folder / 'file').write_bytes(b'first')
    file = os.open(place.path / 'file', os.O_RDWR)
    os.write(file, b'ours')
    (place.folder / 'file').write_bytes(b'the other version')
    refused(os.close, file)
    assert place.served('file') == b'the other version'
    unmount_with_losses(place.mounted)


@only_berth
def test_a_conflict_is_told_by_the_next_write(mount, kept):
    """Also where the kernel gathers writes, which says nothing of its own."""
    place = whole(mount())
    (place.folder / 'file').write_bytes(b'first')
    with opened(place.path / 'file') as file:
        os.write(file, b'ours')
        (place.folder / 'file').write_bytes(b'the other version')
        refused(os.fsync, file)
        time.sleep(0.5)
        refused(os.write, file, b'ours')
    assert place.served('file') == b'the other version'
    unmount_with_losses(place.mounted)


@only_berth
def test_what_the_kernel_had_gathered_is_kept_with_the_rest(mount, kept):
    """A program that is started meanwhile would close its copy of the descriptor, which sends all."""
    place = whole(mount('--flush-after=2'))
    file = os.open(place.path / 'file', os.O_RDWR | os.O_CREAT)
    os.write(file, b'x' * 4096)
    os.fsync(file)
    os.write(file, b'y' * 4096)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # the kernel writes it out
    os.write(file, b'z' * 4096)
    (place.folder / 'file').write_bytes(b'the other version')
    eventually(lambda: b'conflicts 1\n' in os.getxattr(place.path, 'system.berth.stats'))
    refused(os.fsync, file)
    refused(os.close, file)
    eventually(lambda: kept.is_dir() and os.listdir(kept))
    eventually(lambda: (kept / 'file.1').stat().st_size == 12288)
    assert (kept / 'file.1').read_bytes()[4096:] == b'y' * 4096 + b'z' * 4096
    unmount_with_losses(place.mounted)


@only_berth
def test_a_conflict_while_replacing(mount, kept):
    place = whole(mount())
    (place.folder / 'file').write_bytes(b'first')
    file = os.open(place.path / 'file', os.O_WRONLY | os.O_TRUNC)
    os.write(file, b'ours')
    (place.folder / 'file').write_bytes(b'the other version')
    refused(os.close, file)
    assert place.served('file') == b'the other version'
    unmount_with_losses(place.mounted)


@only_berth
def test_somebody_else_made_the_file_first(mount, kept):
    place = whole(mount())
    file = os.open(place.path / 'file', os.O_WRONLY | os.O_CREAT)
    os.write(file, b'ours')
    (place.folder / 'file').write_bytes(b'the other version')
    refused(os.close, file)
    assert place.served('file') == b'the other version'
    unmount_with_losses(place.mounted)


@only_berth
def test_a_file_that_could_not_be_sent_counts_once(mount, kept):
    """Also one that is open still, and whose data was put aside since others wanted its room."""
    place = whole(mount('--write-buffer=1M', '--extent=256K'))
    place.mounted.sanitizer = None  # the kernel may not tell any more that the file is closed
    with opened(place.path / 'file', os.O_RDWR | os.O_CREAT) as file:
        os.write(file, b'ours')
        os.fsync(file)
        (place.folder / 'file').write_bytes(b'the other version')
        os.write(file, bytes(100_000))
        refused(os.fsync, file)

        def is_put_aside():
            (place.path / 'other').write_bytes(bytes(8 * MIB))
            return place.mounted.stats()['lost-writes']
        eventually(is_put_aside, 20)
        said = subprocess.run([PROGRAM, 'unmount', '--lazy', str(place.path)], capture_output=True, text=True, timeout=60)
        assert said.returncode == 1 and said.stderr.startswith('berth: 1 file could not be sent to '), said
    place.mounted.process.wait(20)
    place.mounted.kill()


@only_berth
@pytest.mark.parametrize('how', [os.rename, os.link])
def test_a_name_is_not_given_to_what_could_not_be_sent(mount, kept, how):
    """As when an editor saves: what it replaces stays where the new content does not arrive."""
    place = whole(mount(serve_options=['--max-upload=100K']))
    for name in ('new', *(['file'] if how is os.rename else [])):
        (place.folder / name).write_bytes(b'old')
    file = os.open(place.path / 'new', os.O_WRONLY | os.O_TRUNC)
    os.write(file, bytes(200_000))
    with fails(errno.EFBIG):
        os.fsync(file)  # the kernel gives the mount what it has; a program may pass over the error
    with fails(errno.EFBIG):
        how(place.path / 'new', place.path / 'file')
    assert how is os.link or place.served('file') == b'old'
    assert place.served('new') == b'old'
    with fails(errno.EFBIG):
        os.close(file)
    os.rename(place.path / 'new', place.path / 'other')  # what stands there
    assert place.served('other') == b'old'
    unmount_with_losses(place.mounted)


@only_berth
def test_who_writes_to_parts_holds_a_lock(mount):
    place = whole(mount())
    (place.folder / 'file').write_bytes(b'first')
    with opened(place.path / 'file') as file:
        os.write(file, b'ours')
        assert place.mounted.server.fetch('/file', 'Content-Length: 6', method='PUT', body=b'theirs').status == 423
    assert place.served('file') == b'ourst'
    eventually(lambda: place.mounted.server.fetch('/file', 'Content-Length: 6', method='PUT', body=b'theirs').status in (200, 204))


@only_berth
def test_a_rename_takes_neither_the_lock_nor_what_the_kernel_holds(mount):
    """Who opens it next does not pass the page cache by, in which the first one's bytes are."""
    place = whole(mount())
    (place.folder / 'file').write_bytes(b'first' * 1000)
    with opened(place.path / 'file') as file:
        os.write(file, b'FIRST')
        os.rename(place.path / 'file', place.path / 'renamed')
        assert place.mounted.server.fetch('/renamed', 'Content-Length: 6', method='PUT', body=b'theirs').status == 423
        os.pwrite(file, b'end', 800_000)
        with opened(place.path / 'renamed') as second:
            assert os.pread(second, 10_000, 4995) == b'first' + b'\0' * 9995
            assert os.pread(second, 10, 800_000) == b'end'
    assert len(place.served('renamed')) == 800_003


@only_berth
def test_a_second_writer_after_the_lock_was_lost(mount):
    place = whole(mount())
    (place.folder / 'file').write_bytes(b'first' * 1000)
    with opened(place.path / 'file') as file:
        os.removexattr(place.folder / 'file', 'user.berth.lock')
        os.write(file, b'FIRST')
        os.fsync(file)  # which finds that it is lost
        os.pwrite(file, b'end', 800_000)
        with opened(place.path / 'file') as second:
            assert os.pread(second, 10_000, 4995) == b'first' + b'\0' * 9995
    assert len(place.served('file')) == 800_003


def is_free(path):
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY))
        return True


@only_berth
def test_two_mounts_of_one_folder(mount):
    one = whole(mount('--attr-ttl=0.1'))
    other = whole(mount('--attr-ttl=0.1', server=one.mounted.server))
    (one.folder / 'file').write_bytes(b'first')
    with opened(one.path / 'file') as file:
        os.write(file, b'FI')
        with fails(errno.EBUSY):
            os.open(other.path / 'file', os.O_WRONLY)
        assert (other.path / 'file').read_bytes() in (b'first', b'FIrst')
        os.fsync(file)
        time.sleep(0.2)
        assert (other.path / 'file').read_bytes() == b'FIrst'
    eventually(lambda: is_free(other.path / 'file'))  # close() does not wait for the unlocking
    with opened(other.path / 'file', os.O_WRONLY | os.O_APPEND) as file:
        os.write(file, b' and other')
    time.sleep(0.2)
    assert (one.path / 'file').read_bytes() == b'FIrst and other'


# ---- read-only ----

def changes(top):
    """Each way to change something."""
    path = top / 'file'
    return [lambda: os.open(path, os.O_WRONLY), lambda: os.open(top / 'new', os.O_WRONLY | os.O_CREAT),
            lambda: os.unlink(path), lambda: os.rename(path, top / 'new'), lambda: path.chmod(0o600),
            lambda: os.rmdir(top / 'folder'), lambda: os.mkdir(top / 'new'), lambda: os.truncate(path, 0), lambda: os.utime(path),
            lambda: os.setxattr(path, 'user.name', b''), lambda: os.symlink('file', top / 'link'),
            lambda: os.link(path, top / 'link')]


@only_berth
@pytest.mark.parametrize('who', ['the mount', 'the server'])
def test_read_only(mount, tmp_path, who):
    """Whoever is: what is there is seen with all that belongs to it."""
    served = tmp_path / 'to-read'
    (served / 'folder').mkdir(parents=True)
    (served / 'file').write_bytes(b'content')
    (served / 'file').chmod(0o751)
    os.setxattr(served / 'file', 'user.name', b'value')
    os.symlink('file', served / 'symbolic')
    os.link(served / 'file', served / 'hard')
    server = Server(served, *(['--writable'] if who == 'the mount' else []))
    try:
        mounted = mount(*(['--read-only'] if who == 'the mount' else []), server=server)
        assert 'read-only' in mounted.stderr()
        path = mounted.path / 'file'
        assert path.read_bytes() == b'content' == (mounted.path / 'symbolic').read_bytes()
        for name in ('file', 'hard', 'symbolic', 'folder'):
            ours, real = os.lstat(mounted.path / name), os.lstat(served / name)
            assert (ours.st_mode, ours.st_ino, ours.st_mtime_ns) == (real.st_mode, real.st_ino, real.st_mtime_ns), name
        assert path.stat().st_nlink == 2 and os.getxattr(path, 'user.name') == b'value'
        for change in changes(mounted.path):
            with fails(errno.EROFS):
                change()
        with opened(path, os.O_RDONLY) as file:
            os.fsync(file)
        mounted.close()
    finally:
        server.close()


# ---- a server that is gone, or slow ----

def begin(*command):
    """Not begun in the mount: who starts a program there waits for its chdir()."""
    return subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


WAITING = {
    'read': 'cat {}/file',
    'look': 'stat {}/folder/nothing',
    'list': 'ls {}/folder',
    'mkdir': 'mkdir {}/made',
    'open': 'dd if=/dev/zero of={}/file bs=4k count=1 conv=notrunc',
    'fsync': 'dd if=/dev/zero of={}/new bs=4k count=100 conv=fsync',
    'close': 'cp /bin/true {}/new',
}


@only_berth
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize('what', WAITING)
def test_who_waits_can_be_ended(mount, kept, what, number):
    place = whole(mount('--attr-ttl=100'))
    (place.folder / 'folder').mkdir()
    (place.folder / 'file').write_bytes(b'content')
    os.listdir(place.path)
    server = place.mounted.server.process
    halt(server)
    try:
        waiting = begin(*WAITING[what].format(place.path).split())
        time.sleep(0.7)
        assert waiting.poll() is None, 'it did not wait'
        waiting.send_signal(number)
        assert waiting.wait(30) == -number
    finally:
        server.send_signal(signal.SIGCONT)


@only_berth
def test_memory_is_bounded_while_the_server_is_stuck(mount, monkeypatch):
    monkeypatch.setenv('ASAN_OPTIONS', os.environ.get('ASAN_OPTIONS', '') + ':quarantine_size_mb=1')
    place = whole(mount('--write-buffer=32M'))
    source = place.mounted.path.parent / 'source'
    with open(source, 'wb') as file:
        for _ in range(300):
            file.write(random.randbytes(MIB))
    memory = lambda: int(re.search(r'VmRSS:\s+(\d+) kB', pathlib.Path(f'/proc/{place.mounted.process.pid}/status').read_text())[1]) << 10
    before, most = memory(), 0
    server = place.mounted.server.process
    halt(server)
    writer = begin('dd', f'if={source}', f'of={place.path}/file', 'bs=64k', 'conv=fsync')
    try:
        for _ in range(40):
            most = max(most, memory())
            time.sleep(0.1)
        assert writer.poll() is None
    finally:
        server.send_signal(signal.SIGCONT)
    while writer.poll() is None:
        most = max(most, memory())
        time.sleep(0.05)
    assert writer.returncode == 0
    assert most - before < 32 * MIB + 64 * MIB, (before, most)
    assert place.mounted.stats()['buffered-bytes-peak'] <= 32 * MIB
    subprocess.run(['cmp', source, place.folder / 'file'], check=True)


@only_berth
def test_who_has_nothing_to_do_sleeps(mount):
    place = whole(mount())
    (place.path / 'file').write_bytes(b'content')
    time.sleep(5.5)  # while there was something lately it looks twice a second
    def wakes():
        tasks = pathlib.Path(f'/proc/{place.mounted.process.pid}/task').glob('*/status')
        return sum(int(re.search(r'\nvoluntary_ctxt_switches:\s+(\d+)', task.read_text())[1]) for task in tasks)
    before = wakes()
    time.sleep(3)
    assert wakes() - before < 10
