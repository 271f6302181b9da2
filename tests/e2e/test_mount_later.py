"""`berth mount --close later`: close() returns at once, and all that was written arrives all the same, or is told and kept."""
import contextlib
import errno
import itertools
import os
import signal
import stat
import threading
import time

import pytest
from conftest import eventually, halt
from test_mount_files import MIB, fails, kept, only_berth, opened, unmount_with_losses, whole  # noqa: F401
from test_mount_proof import Mortal

pytestmark = only_berth
SECOND = 1_000_000_000


def served(place):
    """The names on the server, but for the folder in which it makes its changes."""
    return [name for name in os.listdir(place.folder) if name != '.berth-staging']


@pytest.fixture
def later(mount):
    """Mounts with it; what is known lasts."""
    def start(*options, **more):
        return whole(mount('--close=later', '--attr-ttl=100', *options, **more))
    return start


@contextlib.contextmanager
def stopped(place):
    """The server answers nothing meanwhile."""
    halt(place.mounted.server.process)
    try:
        yield
    finally:
        place.mounted.server.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def waits(call, *arguments):
    """It is still at it after a while; and done when the server goes on."""
    done = []
    thread = threading.Thread(target=lambda: done.append(call(*arguments)))
    thread.start()
    time.sleep(0.7)
    try:
        assert thread.is_alive(), 'it did not wait'
        yield
    finally:
        thread.join(60)
    assert done, 'it failed, or waits still'


def pending(place):
    return place.mounted.stats()['pending-files']


def all_sent(place):
    eventually(lambda: pending(place) == 0)


# ---- nobody waits ----

@pytest.mark.parametrize('flags', [os.O_CREAT, os.O_CREAT | os.O_EXCL])
def test_files_are_made_read_and_set_while_the_server_is_silent(later, flags):
    place = later()
    (place.path / 'folder').mkdir()
    with stopped(place):
        for i in range(100):
            with opened(place.path / f'folder/{i}', os.O_WRONLY | flags) as file:
                os.write(file, b'%d' % i * 1000)
                os.fchmod(file, 0o640)
            os.utime(place.path / f'folder/{i}', ns=(SECOND, i * SECOND + 7))
            os.chmod(place.path / f'folder/{i}', 0o600)
        assert pending(place) == 100
        for i in range(100):
            assert (place.path / f'folder/{i}').read_bytes() == b'%d' % i * 1000
            assert (place.path / f'folder/{i}').stat().st_mtime_ns == i * SECOND + 7
        assert sorted(os.listdir(place.folder / 'folder')) == []
    all_sent(place)
    place.mounted.unmount()
    for i in range(100):
        status = (place.folder / f'folder/{i}').stat()
        assert (place.folder / f'folder/{i}').read_bytes() == b'%d' % i * 1000
        assert (status.st_mtime_ns, stat.S_IMODE(status.st_mode)) == (i * SECOND + 7, 0o600)


def test_without_it_close_waits(mount):
    place = whole(mount())
    (place.path / 'folder').mkdir()
    with contextlib.ExitStack() as stack:
        with stopped(place):
            stack.enter_context(waits((place.path / 'folder/file').write_bytes, b'content'))
            assert pending(place) == 0


def test_unmounting_waits_for_everything(later):
    place = later()
    (place.path / 'folder').mkdir()
    with contextlib.ExitStack() as stack:
        with stopped(place):
            for i in range(50):
                place.file(f'folder/{i}', b'%d' % i * 5000)
            stack.enter_context(waits(place.mounted.unmount))
    for i in range(50):
        assert place.served(f'folder/{i}') == b'%d' % i * 5000


@pytest.mark.parametrize('content', [b'', b'content'])
def test_a_file_is_as_old_as_its_last_write_and_not_as_its_sending(later, content):
    place = later()
    os.listdir(place.path)
    with stopped(place):
        seen = place.file('file', content).stat().st_mtime_ns
        time.sleep(1.5)
    place.mounted.unmount()
    assert (place.folder / 'file').stat().st_mtime_ns == seen


def test_mode_and_time_of_a_folder_wait_for_the_files_in_it(later):
    place = later()
    for name in ('folder', 'other'):
        (place.path / name).mkdir()
    with stopped(place):
        for name, i in itertools.product(('folder', 'other'), range(20)):
            place.file(f'{name}/{i}')
        for name in ('folder', 'other'):
            os.utime(place.path / name, ns=(0, 5 * SECOND + 3))
            os.chmod(place.path / name, 0o555)
        place.file('other/more')  # which moves its time
        assert (place.path / 'folder').stat().st_mtime_ns == 5 * SECOND + 3
        assert stat.S_IMODE((place.path / 'folder').stat().st_mode) == 0o555
    place.mounted.unmount()
    assert len(os.listdir(place.folder / 'folder')) == 20
    assert (place.folder / 'folder').stat().st_mtime_ns == 5 * SECOND + 3
    assert (place.folder / 'other').stat().st_mtime_ns != 5 * SECOND + 3
    for name in ('folder', 'other'):
        assert stat.S_IMODE((place.folder / name).stat().st_mode) == 0o555


def test_what_is_removed_while_open_is_not_pending(later):
    place = later()
    with opened(place.path / 'file', os.O_CREAT | os.O_RDWR) as file:
        os.write(file, b'content')
        os.close(os.dup(file))
        assert pending(place) == 1
        (place.path / 'file').unlink()
        assert pending(place) == 0
        assert os.pread(file, 100, 0) == b'content'
    place.mounted.unmount()
    assert served(place) == []


# ---- who asks for it waits ----

def sync(path):
    with opened(path, os.O_RDONLY) as file:
        os.fsync(file)
    return True


@pytest.mark.parametrize('what', ['folder/file', 'folder'])
def test_fsync_waits(later, what):
    place = later()
    (place.path / 'folder').mkdir()
    with contextlib.ExitStack() as stack:
        with stopped(place):
            for i in range(0 if what == 'folder/file' else 1000):
                place.file(f'folder/{i}', b'content')
            place.file('folder/file', b'content')
            stack.enter_context(waits(sync, place.path / what))
        stack.close()
        assert len(os.listdir(place.folder / 'folder')) == (1 if what == 'folder/file' else 1001)
    assert place.served('folder/file') == b'content'


# ---- what others do to it ----

def test_it_is_written_again_and_cut_before_it_has_arrived(later):
    place = later()
    for i in range(60):
        path = place.file('file', b'one')
        with opened(path, os.O_WRONLY | os.O_APPEND) as file:
            os.write(file, b' and two')
        with opened(path) as file:
            os.pwrite(file, b'O', 0)
        assert path.read_bytes() == b'One and two'
        os.truncate(path, 7)
        assert path.read_bytes() == b'One and'
        path.rename(place.path / f'file{i}')
    place.mounted.unmount()
    assert len(served(place)) == 60
    for i in range(60):
        assert place.served(f'file{i}') == b'One and'


def test_its_name_and_those_above_change_before_it_has_arrived(later):
    place = later()
    for i in range(30):
        (place.path / 'folder').mkdir()
        place.file('folder/tmp', b'%d' % i * 3000)
        place.file('folder/file', b'the one before')
        os.rename(place.path / 'folder/tmp', place.path / 'folder/file')
        place.file('folder/second', b'second')
        os.link(place.path / 'folder/second', place.path / 'folder/third')
        os.rename(place.path / 'folder', place.path / f'folder{i}')
        assert sorted(os.listdir(place.path / f'folder{i}')) == ['file', 'second', 'third']
    place.mounted.unmount()
    for i in range(30):
        assert sorted(os.listdir(place.folder / f'folder{i}')) == ['file', 'second', 'third']
        assert place.served(f'folder{i}/file') == b'%d' % i * 3000
        assert place.served(f'folder{i}/second') == place.served(f'folder{i}/third') == b'second'


def test_it_is_removed_before_it_has_arrived(later, kept):  # noqa: F811
    place = later()
    for i in range(40):
        (place.path / 'folder').mkdir()
        for name in range(i % 5 + 1):
            place.file(f'folder/{name}', bytes(100_000))
            time.sleep(0.001 * (i % 3))
        with fails(errno.ENOTEMPTY):
            (place.path / 'folder').rmdir()
        for name in range(i % 5 + 1):
            (place.path / f'folder/{name}').unlink()
        (place.path / 'folder').rmdir()
    assert place.mounted.stats()['lost-writes'] == 0
    place.mounted.unmount()
    assert served(place) == []
    assert not kept.exists()


def test_a_file_in_parts_is_replaced_and_removed_before_it_has_arrived(later, kept):  # noqa: F811
    place = later('--extent=64K')
    for i in range(20):
        place.file('file', bytes(300_000))
        time.sleep(0.001 * (i % 5))
        if i % 2:
            place.file('file', b'short')
            assert (place.path / 'file').read_bytes() == b'short'
        else:
            place.file('other', b'other')
            os.rename(place.path / 'other', place.path / 'file')
        (place.path / 'file').unlink()
    place.file('file', b'last')
    place.mounted.unmount()
    assert served(place) == ['file']
    assert place.served('file') == b'last'
    assert not kept.exists()


# ---- what does not arrive ----

def open_it(path):
    os.close(os.open(path, os.O_RDONLY))


TOLD_BY = {
    'open': open_it,
    'replace': lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)),
    'rename': lambda path: os.rename(path, path.parent / 'other'),
    'link': lambda path: os.link(path, path.parent / 'other'),
    'time': lambda path: os.utime(path, (1, 1)),
    'truncate': lambda path: os.truncate(path, 5),
    'fsync of the folder': lambda path: sync(path.parent),
}


@pytest.mark.parametrize('call', TOLD_BY)
def test_a_failure_is_told_once_and_what_was_written_is_kept(later, kept, call):  # noqa: F811
    """Also of a file of which a part has arrived, or something stood there before."""
    place = later(serve_options=['--max-upload=100K'])
    (place.folder / 'file').write_bytes(b'as it was')
    place.file('file', b'x' * 200_000)
    eventually(lambda: 'kept in' in place.mounted.stderr())
    assert (kept / 'file.1').read_bytes() == b'x' * 200_000
    with fails(errno.EFBIG):
        TOLD_BY[call](place.path / 'file')
    assert (place.path / 'file').read_bytes() == b'as it was' if call != 'fsync of the folder' else True
    assert place.served('file') == b'as it was'
    assert place.mounted.stats()['lost-writes'] == 1
    unmount_with_losses(place.mounted)


def test_somebody_else_made_it_first(later, kept):  # noqa: F811
    place = later()
    os.listdir(place.path)
    with stopped(place):
        place.file('file', b'ours')
        (place.folder / 'file').write_bytes(b'the other version')
    eventually(lambda: (kept / 'file.1').exists() and (kept / 'file.1').read_bytes() == b'ours')
    with fails(errno.EIO):  # of an ESTALE the kernel would make a second try by itself
        open_it(place.path / 'file')
    eventually(lambda: (place.path / 'file').read_bytes() == b'the other version')
    unmount_with_losses(place.mounted)


def test_the_server_is_killed_meanwhile(mount, tmp_path):
    folder = tmp_path / 'mortal'
    folder.mkdir()
    mortal = Mortal(folder)
    mounted = mount('--close=later', url='http://{}:{}/'.format(*mortal.address), folder=folder)
    mortal.start()
    count = 0
    try:
        while mortal.deaths < 3:
            (mounted.path / f'file{count}').write_bytes(b'%d' % count * 20_000)
            count += 1
            time.sleep(0.002)
    finally:
        mortal.stop()
    with contextlib.closing(mortal.server), contextlib.closing(mounted):
        mounted.unmount()
        for i in range(count):
            assert (folder / f'file{i}').read_bytes() == b'%d' % i * 20_000


# ---- bounds ----

def write_all(place, count, content):
    for i in range(count):
        place.file(f'folder/{i}', content)
    return True


def test_who_writes_more_than_the_buffer_holds_waits(later):
    place = later('--write-buffer=2M', '--extent=256K')
    (place.path / 'folder').mkdir()
    with contextlib.ExitStack() as stack:
        with stopped(place):
            stack.enter_context(waits(write_all, place, 16, bytes(MIB // 2)))
            assert 0 < place.mounted.stats()['buffered-bytes'] <= 2 * MIB
    all_sent(place)
    assert place.mounted.stats()['buffered-bytes-peak'] <= 2 * MIB
    assert all(place.served(f'folder/{i}') == bytes(MIB // 2) for i in range(16))


def test_no_more_than_so_many_files_are_pending(later):
    place = later()
    (place.path / 'folder').mkdir()
    with contextlib.ExitStack() as stack:
        with stopped(place):
            stack.enter_context(waits(write_all, place, 4100, b''))
            eventually(lambda: pending(place) == 4096)
            time.sleep(0.5)
            assert pending(place) == 4096
    all_sent(place)
    place.mounted.unmount()
    assert len(os.listdir(place.folder / 'folder')) == 4100


def test_a_folders_mode_that_is_refused_is_told_to_who_syncs_it(later):
    place = later()
    (place.path / 'folder').mkdir()
    with stopped(place):
        place.file('folder/file')
        (place.path / 'folder').chmod(0o4755)
    with opened(place.path / 'folder', os.O_RDONLY | os.O_DIRECTORY) as folder:
        with fails(errno.EPERM):
            os.fsync(folder)
        os.fsync(folder)
    eventually(lambda: stat.S_IMODE(os.stat(place.path / 'folder').st_mode) == 0o755)
    unmount_with_losses(place.mounted)
    assert served(place) == ['folder']


def test_the_end_does_not_wait_for_each_file_when_the_server_is_gone(later, kept):  # noqa: F811
    place = later('--retry=3')
    assert os.listdir(place.path) == []
    with stopped(place):
        for i in range(40):
            place.file(f'file{i}')
        place.mounted.server.kill()
        began = time.monotonic()
        unmount_with_losses(place.mounted)
    assert time.monotonic() - began < 20
    assert len(os.listdir(kept)) == 40
