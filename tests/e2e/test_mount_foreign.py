"""Mounts of other servers than berth: what they can is used, the rest is whole files or an error that says so."""
import errno
import hashlib
import itertools
import os
import pathlib
import random
import re
import shutil
import stat
import subprocess
import time

import pytest
from conftest import eventually
from foreign import KINDS, Foreign
from mount import BY

pytestmark = pytest.mark.skipif(BY != 'berth', reason='these are about berth mount')

WHOLE, LOCKS, ATTRIBUTES, REFUSES = 'whole', 'locks', 'attributes', 'refuses'
CAN = {
    'apache': {WHOLE, LOCKS, ATTRIBUTES},
    'lighttpd': {WHOLE},
    'lighttpd-locks': {WHOLE, LOCKS, ATTRIBUTES},
    'rclone': {WHOLE, LOCKS, ATTRIBUTES, REFUSES},  # PROPPATCH is allowed, and refused for all that is not its own
    'sabre': set(),
}
MIB = 1 << 20
numbers = itertools.count(1)


@pytest.fixture(scope='module', params=KINDS)
def foreign(request, may_mount):
    server = Foreign(request.param)
    yield server
    server.close()


@pytest.fixture
def shares(foreign, mount):
    """Mounts a folder of the test's own on that server: shares(*options). `.folder` is what is served."""
    name = f'share{next(numbers)}'
    foreign.make_folder(name)

    def start(*options):
        one = mount('--retry=10', *options, url=f'{foreign.url}{name}/', folder=foreign.folder / name)
        one.can = CAN[foreign.kind]
        return one
    return start


@pytest.fixture
def share(shares):
    return shares()


def checksum(data):
    return hashlib.sha256(data).hexdigest()


def served(share, name):
    return (share.folder / name).read_bytes()


def same(share, name, content):
    """Here, on the server, and here once more with nothing in any cache."""
    assert checksum((share.path / name).read_bytes()) == checksum(content)
    assert checksum(served(share, name)) == checksum(content)
    share.again()
    assert checksum((share.path / name).read_bytes()) == checksum(content)
    assert (share.path / name).stat().st_size == len(content)


def fails(call, *arguments, **options):
    with pytest.raises(OSError) as caught:
        call(*arguments, **options)
    return caught.value.errno


# ---- what is said ----

def test_what_does_not_work_there_is_said_once(share):
    eventually(lambda: 'with this server:' in share.stderr())  # a line of its own
    said = share.stderr()
    assert said.count('is mounted on') == 1 and said.count('with this server:') == 1, said
    assert ('sent whole' in said) == (WHOLE in share.can)
    assert ('no locks' in said) == (LOCKS not in share.can)
    assert ('no extended attributes' in said) == (ATTRIBUTES not in share.can)
    assert 'modes, times and links' in said


def test_nothing_is_written_to_find_out(foreign, shares):
    share = shares()
    share.again()
    assert list(share.folder.iterdir()) == [] and os.listdir(share.path) == []


# ---- content ----

@pytest.mark.parametrize('size', [0, 1, 5000, MIB + 1, 8 * MIB])
def test_a_new_file(share, blob, size):
    (share.path / 'file').write_bytes(blob[:size])
    same(share, 'file', blob[:size])


@pytest.mark.parametrize('first,size', [(0, 10), (3 * MIB + 77, 100_000), (8 * MIB - 5, 10)])
def test_a_part_is_overwritten(share, blob, first, size):
    (share.folder / 'file').write_bytes(blob)
    (share.folder / 'file').chmod(0o666)
    part = random.Random(2).randbytes(size)
    with open(share.path / 'file', 'r+b') as file:
        file.seek(first)
        file.write(part)
    same(share, 'file', blob[:first] + part + blob[first + size:])


def test_a_file_grows_at_its_end(share, blob):
    content = blob[:100_000]
    (share.path / 'file').write_bytes(content)
    for number in range(3):
        with open(share.path / 'file', 'ab') as file:
            file.write(b'line %d\n' % number)
        content += b'line %d\n' % number
    same(share, 'file', content)


@pytest.mark.parametrize('size', [0, 1, 70_000, 100_000, 3 * MIB])
@pytest.mark.parametrize('is_open', [False, True])
def test_a_file_is_cut_or_made_longer(share, blob, size, is_open):
    (share.path / 'file').write_bytes(blob[:100_000])
    if is_open:
        with open(share.path / 'file', 'r+b') as file:
            file.truncate(size)
    else:
        os.truncate(share.path / 'file', size)
    same(share, 'file', blob[:min(size, 100_000)].ljust(size, b'\0'))


def test_writing_and_cutting_by_turns(share):
    """Against a model, with other programs' eyes in between."""
    chance, model = random.Random(5), bytearray()
    with open(share.path / 'file', 'w+b', buffering=0) as file:
        for step in range(120):
            what = chance.randrange(6)
            if what < 3:
                first, data = chance.randrange(300_000), chance.randbytes(chance.randrange(1, 50_000))
                model.extend(bytes(max(0, first + len(data) - len(model))))
                model[first:first + len(data)] = data
                os.pwrite(file.fileno(), data, first)
            elif what == 3:
                size = chance.randrange(300_000)
                model[size:] = bytes(max(0, size - len(model)))
                os.ftruncate(file.fileno(), size)
            elif what == 4:
                first = chance.randrange(300_000)
                assert os.pread(file.fileno(), 50_000, first) == model[first:first + 50_000], step
            elif step % 4 == 0:
                os.fsync(file.fileno())
                assert served(share, 'file') == model, step
    same(share, 'file', bytes(model))


def test_temporary_files_are_not_in_the_mount_itself(shares, monkeypatch, tmp_path, blob):
    """They would wait for themselves."""
    monkeypatch.setenv('TMPDIR', str(tmp_path / 'mount1'))
    share = shares()
    assert share.path == tmp_path / 'mount1'
    (share.path / 'file').write_bytes(blob)
    same(share, 'file', blob)


def test_fsync_waits_for_the_upload(share, blob):
    with open(share.path / 'file', 'wb') as file:
        for end in (5000, 2 * MIB):
            file.write(blob[file.tell():end])
            file.flush()
            os.fsync(file.fileno())
            assert served(share, 'file') == blob[:end]


# ---- names ----

def test_folders(share):
    share.path.joinpath('a/b c/ü%41#').mkdir(parents=True)
    assert (share.folder / 'a/b c/ü%41#').is_dir()
    assert fails(os.mkdir, share.path / 'a') == errno.EEXIST
    assert fails(os.rmdir, share.path / 'a') == errno.ENOTEMPTY
    (share.path / 'a/b c/file').write_bytes(b'content')
    assert fails(os.rmdir, share.path / 'a/b c') == errno.ENOTEMPTY
    assert fails(os.unlink, share.path / 'a') == errno.EISDIR
    share.again()
    assert sorted(os.listdir(share.path / 'a/b c')) == ['file', 'ü%41#']
    os.unlink(share.path / 'a/b c/file')
    os.rmdir(share.path / 'a/b c/ü%41#')
    os.removedirs(share.path / 'a/b c')
    assert list(share.folder.iterdir()) == []


def test_rmdir_asks_what_is_in_it_now(share):
    """The server would remove all of it."""
    (share.path / 'folder').mkdir()
    assert os.listdir(share.path / 'folder') == []
    (share.folder / 'folder/other').write_bytes(b'by somebody else')
    assert fails(os.rmdir, share.path / 'folder') == errno.ENOTEMPTY
    assert served(share, 'folder/other') == b'by somebody else'


def test_a_folder_that_replaced_a_file_is_not_unlinked(share):
    (share.folder / 'name').write_bytes(b'a file')
    assert (share.path / 'name').is_file()
    (share.folder / 'name').unlink()
    (share.folder / 'name').mkdir()
    (share.folder / 'name/kept').write_bytes(b'kept')
    with pytest.raises(OSError):
        os.unlink(share.path / 'name')
    assert served(share, 'name/kept') == b'kept'


def test_renaming(share):
    (share.path / 'one').write_bytes(b'one')
    (share.path / 'two').write_bytes(b'two')
    os.rename(share.path / 'one', share.path / 'two')
    assert served(share, 'two') == b'one' and not (share.folder / 'one').exists()
    assert (share.path / 'two').read_bytes() == b'one'
    share.path.joinpath('from/inner').mkdir(parents=True)
    (share.path / 'from/inner/file').write_bytes(b'x')
    os.rename(share.path / 'from', share.path / 'to')
    assert served(share, 'to/inner/file') == b'x' and (share.path / 'to/inner/file').read_bytes() == b'x'
    assert fails(os.rename, share.path / 'two', share.path / 'to') == errno.EISDIR
    assert fails(os.rename, share.path / 'to', share.path / 'two') == errno.ENOTDIR
    (share.path / 'more').mkdir()
    assert fails(os.rename, share.path / 'more', share.path / 'to') == errno.ENOTEMPTY
    (share.path / 'empty').mkdir()
    os.rename(share.path / 'more', share.path / 'empty')
    share.again()
    assert sorted(os.listdir(share.path)) == ['empty', 'to', 'two']


def test_an_editor_saves(share):
    """To a file beside, which replaces it."""
    (share.path / 'text').write_bytes(b'before')
    for number in range(5):
        content = b'text %d\n' % number * 1000
        with open(share.path / '.text.swp', 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(share.path / '.text.swp', share.path / 'text')
        assert (share.path / 'text').read_bytes() == content
    same(share, 'text', content)


def test_removed_while_open(share, blob):
    (share.path / 'file').write_bytes(blob[:300_000])
    with open(share.path / 'file', 'r+b') as file:
        os.unlink(share.path / 'file')
        assert fails(os.stat, share.path / 'file') == errno.ENOENT and os.listdir(share.path) == []
        assert file.read() == blob[:300_000]
        file.write(b'more')
        file.seek(299_999)
        assert file.read() == blob[299_999:300_000] + b'more'
    eventually(lambda: list(share.folder.iterdir()) == [])


def test_a_listing_of_many(share):
    for number in range(300):
        (share.folder / f'file {number}').write_bytes(b'x' * number)
    with os.scandir(share.path) as found:
        assert {entry.name: entry.stat().st_size for entry in found} == {f'file {number}': number for number in range(300)}


@pytest.fixture
def model(tmp_path, blob):
    path, chance = tmp_path / 'model', random.Random(7)
    for number in range(60):
        folder = path / f'folder {number % 5}' / f'{number % 3}'
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'Datei-{number}-ü').write_bytes(chance.randbytes(chance.choice([0, 3, 700, 9000])))
    (path / 'large').write_bytes(blob[:3 * MIB])
    (path / 'program').write_bytes(b'#!/bin/sh\n')
    (path / 'nothing').mkdir()
    for folder, folders, names in os.walk(path, topdown=False):
        for name in names + folders:
            os.utime(os.path.join(folder, name), (10 ** 9, 10 ** 9))
    return path


def contents(top):
    return {str(path.relative_to(top)): path.is_file() and checksum(path.read_bytes()) for path in pathlib.Path(top).rglob('*')}


@pytest.mark.parametrize('copy', ['cp -r {} .', 'cp -rp {} .', 'tar -C {}/.. -cf - model | tar -xf -', 'rsync -rt {} .'])
def test_a_tree_is_copied(share, model, copy):
    """Without a complaint, though there are no times to be kept."""
    if not shutil.which(copy.split()[0]):
        pytest.skip(f'{copy.split()[0]} is not installed')
    said = share.run('sh', '-ec', copy.format(model, model))
    assert said == ''
    assert contents(share.folder / 'model') == contents(model)
    share.again()
    assert contents(share.path / 'model') == contents(model)
    share.run('rm', '-r', 'model')
    assert list(share.folder.iterdir()) == []


# ---- attributes ----

def test_modes_are_made_up(share):
    (share.path / 'file').write_bytes(b'x')
    (share.path / 'folder').mkdir()
    for name, mode, other in (('file', 0o644, 0o755), ('folder', 0o755, 0o700)):
        path = share.path / name
        assert stat.S_IMODE(path.stat().st_mode) == mode
        path.chmod(mode)
        assert fails(path.chmod, other) == errno.EOPNOTSUPP
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_no_mode_is_shown_that_is_not_kept(share):
    """Neither that of a new file nor one that is set while it is written, which is passed over so that cp -p goes on."""
    descriptor = os.open(share.path / 'file', os.O_CREAT | os.O_WRONLY, 0o700)
    os.fchmod(descriptor, 0o711)
    assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o644
    os.write(descriptor, b'x')
    os.close(descriptor)
    os.mkdir(share.path / 'folder', 0o700)
    for _ in range(2):
        assert stat.S_IMODE((share.path / 'file').stat().st_mode) == 0o644
        assert stat.S_IMODE((share.path / 'folder').stat().st_mode) == 0o755
        share.again()


def test_times_are_the_servers(share):
    """Setting one is no error and has no effect: that of the server is seen at the latest when the mount looks anew."""
    (share.path / 'file').write_bytes(b'x')
    (share.path / 'folder').mkdir()
    for name in ('file', 'folder'):
        os.utime(share.path / name, (10 ** 9, 10 ** 9))
        os.utime(share.path / name)
    share.run('touch', '-d', '2001-02-03', 'file', 'folder', 'new')
    share.again()
    for name in ('file', 'folder', 'new'):
        assert abs((share.path / name).stat().st_mtime - time.time()) < 60
        assert int((share.path / name).stat().st_mtime) == int((share.folder / name).stat().st_mtime)
    assert served(share, 'file') == b'x' and served(share, 'new') == b''


def test_no_links(share):
    (share.path / 'file').write_bytes(b'x')
    assert fails(os.symlink, 'file', share.path / 'soft') == errno.EOPNOTSUPP
    assert fails(os.link, share.path / 'file', share.path / 'hard') == errno.EOPNOTSUPP
    assert os.listdir(share.path) == ['file']


def test_extended_attributes(share):
    path = share.path / 'file'
    path.write_bytes(b'x')
    if ATTRIBUTES not in share.can or REFUSES in share.can:
        assert fails(os.setxattr, path, 'user.colour', b'blue') == errno.EOPNOTSUPP
        assert os.listxattr(path) == []
        return
    os.setxattr(path, 'user.colour', b'blue \x00\xff')
    share.again()
    assert os.getxattr(path, 'user.colour') == b'blue \x00\xff' and os.listxattr(path) == ['user.colour']
    os.removexattr(path, 'user.colour')
    assert os.listxattr(path) == [] and fails(os.getxattr, path, 'user.colour') == errno.ENODATA


def test_room(share):
    room = os.statvfs(share.path)
    assert room.f_bavail > 0


# ---- others ----

def change_behind(share, name, content):
    """By somebody else, past the server."""
    path = share.folder / name
    path.write_bytes(content)
    os.utime(path, (time.time() + 5, time.time() + 5))


def take_kept(share, content):
    """What could not be sent, from the local folder where it is left."""
    eventually(lambda: 'is kept in' in share.stderr())
    kept = pathlib.Path(re.search(r'is kept in (\S+)', share.stderr())[1])
    assert kept.read_bytes() == content
    kept.unlink()
    share.kill()  # berth unmount says that something was lost


def test_holes_of_what_could_not_be_sent_are_kept_as_holes(share):
    file = os.open(share.path / 'file', os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.pwrite(file, b'beginning', 0)
    os.pwrite(file, b'end', 4 * MIB)
    change_behind(share, 'file', b'by somebody else')
    assert fails(os.close, file) == errno.ESTALE
    eventually(lambda: 'is kept in' in share.stderr())
    kept = pathlib.Path(re.search(r'is kept in (\S+)', share.stderr())[1])
    assert kept.stat().st_blocks * 512 < MIB
    take_kept(share, b'beginning' + bytes(4 * MIB - 9) + b'end')


@pytest.mark.parametrize('settled', [False, True])
def test_what_somebody_else_wrote_meanwhile_stays(foreign, share, settled):
    """Apache's tags of what was written within a second are weak."""
    (share.path / 'file').write_bytes(b'first')
    if settled:
        time.sleep(2.1)
    file = os.open(share.path / 'file', os.O_RDWR)
    os.pwrite(file, b'mine', 0)
    change_behind(share, 'file', b'by somebody else')
    with pytest.raises(OSError) as caught:
        os.fsync(file)
    assert caught.value.errno == errno.ESTALE
    assert fails(os.close, file) == errno.ESTALE
    assert served(share, 'file') == b'by somebody else'
    assert share.stats()['conflicts'] == 1
    eventually(lambda: (share.path / 'file').read_bytes() == b'by somebody else')
    share.kill()  # berth unmount says that something was lost


def test_a_new_file_replaces_nobodys(share):
    file = os.open(share.path / 'file', os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.write(file, b'mine')
    change_behind(share, 'file', b'by somebody else')
    assert fails(os.close, file) == errno.ESTALE
    assert served(share, 'file') == b'by somebody else'
    take_kept(share, b'mine')


def test_who_reads_goes_on_with_the_new_version(shares, blob):
    share = shares('--attr-ttl=0')
    (share.path / 'file').write_bytes(blob[:MIB])
    with open(share.path / 'file', 'rb') as file:
        assert file.read(10) == blob[:10]
        change_behind(share, 'file', blob[MIB:2 * MIB])
        file.seek(0)
        eventually(lambda: os.stat(share.path / 'file') and os.pread(file.fileno(), MIB, 0) == blob[MIB:2 * MIB])
    assert (share.path / 'file').read_bytes() == blob[MIB:2 * MIB]


def test_two_mounts_of_one_server(shares):
    """Whole files by turns: what one has closed the other one sees."""
    one, other = shares('--attr-ttl=0'), shares('--attr-ttl=0')
    for number in range(6):
        writer, reader = (one, other) if number % 2 else (other, one)
        content = b'version %d\n' % number * (10 + number)
        (writer.path / 'file').write_bytes(content)
        assert (reader.path / 'file').read_bytes() == content


def test_a_lock_of_somebody_else(share):
    """Where the server keeps locks, who wants to change a file in place hears of one when it opens it."""
    if LOCKS not in share.can:
        pytest.skip('no locks there')
    (share.path / 'file').write_bytes(b'content')
    body = '<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>'
    said = subprocess.run(['curl', '-si', '-X', 'LOCK', '-H', 'Timeout: Second-60', '-H', 'Content-Type: application/xml',
                           '--data', body, share.url + 'file'], capture_output=True, text=True, check=True).stdout
    assert ' 200 ' in said.splitlines()[0], said
    assert fails(open, share.path / 'file', 'r+b') == errno.EBUSY
    token = re.search(r'(?i)^lock-token: (\S+)', said, re.M)[1]
    subprocess.run(['curl', '-sf', '-X', 'UNLOCK', '-H', f'Lock-Token: {token}', share.url + 'file'], check=True)
    with open(share.path / 'file', 'r+b') as file:
        file.write(b'C')
    assert served(share, 'file') == b'Content'
