"""What the mount asks of berth, verb by verb (src/mount/remote.h)."""
import hashlib
import os

import pytest
from test_dav_mount import NAMES
from verbs import needs_verbs, start_verbs, url_of  # noqa: F401 (a fixture)

pytestmark = needs_verbs


@pytest.fixture
def verbs(tree, start_verbs):  # noqa: F811
    verbs = start_verbs(url_of(tree.server.address, tree.url))
    assert verbs('connect')[:5] == [b'2', b'1', b'1', b'1', b'1']
    return verbs


@pytest.fixture
def kept(tree, verbs):
    tree.file('file', b'0123456789')
    return verbs


def test_what_is_no_folder_and_what_is_not_there(tree, start_verbs):  # noqa: F811
    tree.file('file')
    assert start_verbs(url_of(tree.server.address, tree.url + 'none')).fails('connect') == 'ENOENT'
    assert start_verbs(url_of(tree.server.address, tree.url + 'file')).fails('connect') in ('ENOTDIR', 'ENOENT')
    for url in ('ftp://127.0.0.1/', 'http://127.0.0.1/?query', 'http://127.0.0.1/#x', 'nothing', 'http://'):
        assert start_verbs(url).started == 'EINVAL', url


def test_a_server_that_is_read_only(serve, start_verbs):  # noqa: F811
    server = serve()
    (server.folder / 'file').write_bytes(b'x')
    verbs = start_verbs(url_of(server.address))
    assert verbs('connect')[3] == b'0'
    real, told = (server.folder / 'file').stat(), verbs.stat('file')
    assert (told.size, told.mode, told.inode, told.mtime_ns) == (1, real.st_mode & 0o7777, real.st_ino, real.st_mtime_ns)
    for words in (['put', 'new', 'x'], ['mkdir', 'new'], ['remove', 'file'], ['move', 'file', 'new']):
        assert verbs.fails(*words) == 'EROFS', words


# ---- looking ----

def test_attributes(tree, kept):
    os.chmod(tree.path / 'file', 0o640)
    os.utime(tree.path / 'file', ns=(1, 1500000000_123456789))
    os.link(tree.path / 'file', tree.path / 'twin')
    real, told = (tree.path / 'file').stat(), kept.stat('file')
    assert (told.kind, told.size, told.mode, told.links, told.inode) == ('file', 10, 0o640, 2, real.st_ino)
    assert told.mtime_ns == real.st_mtime_ns and told.tag == tree.etag('file')
    assert kept.stat('').kind == 'folder' and kept.stat('').inode == tree.path.stat().st_ino
    assert kept.fails('stat', 'none') == 'ENOENT' and kept.fails('stat', 'file/none') == 'ENOENT'


def test_listings(tree, kept):
    (tree.path / 'folder').mkdir()
    tree.file('folder/member')
    os.symlink('no/where', tree.path / 'link')
    listed = kept.list()
    assert list(listed)[0] == b'' and set(listed) == {b'', b'file', b'folder', b'link'}
    assert [listed[name].kind for name in (b'', b'file', b'folder', b'link')] == ['folder', 'file', 'folder', 'link']
    assert listed[b'link'].size == 8 and kept('readlink', 'link') == [b'no/where']
    assert set(kept.list('folder')) == {b'', b'member'}
    assert kept.fails('list', 'none') == 'ENOENT' and kept.fails('list', 'file') == 'ENOTDIR'
    assert kept.fails('readlink', 'file') == 'EINVAL' and kept.fails('readlink', 'none') == 'ENOENT'


@pytest.mark.parametrize('name', NAMES)
def test_names_of_any_bytes(tree, verbs, name):
    text = os.fsdecode(name)
    verbs('put', name, b'content')
    assert tree.read(text) == b'content' and set(verbs.list()) == {b'', name}
    assert verbs.stat(name).size == 7 and verbs('get', name, size=100) == [b'content']
    verbs('mkdir', b'folder of ' + name[:240])
    verbs('move', name, b'folder of ' + name[:240] + b'/' + name)
    assert set(verbs.list(b'folder of ' + name[:240])) == {b'', name}
    verbs('link', b'folder of ' + name[:240] + b'/' + name, name)
    verbs('remove', b'folder of ' + name[:240] + b'/' + name)
    verbs('rmdir', b'folder of ' + name[:240])
    assert tree.names() == [text]


def test_many_members(verbs, tree):
    for number in range(3000):
        (tree.path / f'{number}').touch()
    assert int(verbs('count', '')[0]) == 3001


def test_room(verbs, tree):
    available, used = map(int, verbs('space', ''))
    room = os.statvfs(tree.path)
    assert abs(available - room.f_bavail * room.f_frsize) < 1 << 30 and used > 0


def test_reading(tree, kept):
    tag = kept.tag('file')
    assert kept('get', 'file', first=2, size=3) == [b'234'] and kept('get', 'file', first=8, size=100) == [b'89']
    assert kept('get', 'file', first=10, size=5) == [b''] and kept('get', 'file', first=99, size=5, match=tag) == [b'']
    assert kept.fails('get', 'none', size=1) == 'ENOENT'
    tree.file('file', b'another')
    assert kept.fails('get', 'file', size=5, match=tag) == 'ESTALE'


# ---- content ----

def test_a_file_with_mode_and_time(tree, verbs):
    tag, inode = verbs('put', 'file', b'content', mode=640, mtime=1500000000, ns=5, durable=1)
    real = (tree.path / 'file').stat()
    assert tree.read('file') == b'content' and (real.st_mode & 0o7777, real.st_mtime_ns) == (0o640, 1500000000_000000005)
    assert int(inode) == real.st_ino and tag.decode() == tree.etag('file')
    assert verbs('put', 'empty', b'') and tree.read('empty') == b''


@pytest.mark.parametrize('size', [1, 65535, 65536, 65537, 300000, 5 << 20])
def test_bodies_of_all_sizes(tree, verbs, size):
    expected = bytes((at * 31 + at // 251) & 255 for at in range(size))
    tag, _ = verbs('put', 'file', size=size)
    assert tree.read('file') == expected and tag.decode() == tree.etag('file')
    if size > 4:
        verbs('write', 'file', size=size - 3, first=3, match=tag)
        assert tree.read('file') == expected[:3] + expected[:-3]


def test_conditions(tree, kept):
    tag = kept.tag('file')
    assert kept.fails('put', 'file', b'x', absent=1) == 'EEXIST'
    now = kept('put', 'file', b'x', match=tag)[0]
    for words in (['put', 'file', b'y'], ['write', 'file', b'y'], ['truncate', 'file'], ['set', 'file'], ['sync', 'file']):
        assert kept.fails(*words, match=tag, mode=600) == 'ESTALE', words
    assert kept('put', 'file', b'y', match=now) and kept('put', 'new', b'z', absent=1)
    assert kept.fails('put', 'none/file', b'x') == 'ENOENT' and kept.fails('write', 'none', b'x', match='"x"') == 'ESTALE'


def test_parts_of_a_file(tree, kept):
    tag = kept('write', 'file', b'AB', first=2)[0]
    assert tree.read('file') == b'01AB456789'
    tag = kept('write', 'file', b'XY', first=12, match=tag, mtime=77, ns=1, durable=1)[0]
    assert tree.read('file') == b'01AB456789\0\0XY' and (tree.path / 'file').stat().st_mtime_ns == 77_000000001
    tag = kept('truncate', 'file', to=3, match=tag)[0]
    assert tree.read('file') == b'01A'
    kept('truncate', 'file', to=5, match=tag)
    assert tree.read('file') == b'01A\0\0'
    assert kept('sync', 'file') == []


def test_mode_and_time(tree, kept):
    tag, inode = kept('set', 'file', mode=600, mtime=99, ns=9)
    real = (tree.path / 'file').stat()
    assert (real.st_mode & 0o7777, real.st_mtime_ns, real.st_ino) == (0o600, 99_000000009, int(inode))
    assert tag.decode() == tree.etag('file')
    os.symlink('file', tree.path / 'link')
    kept('set', 'link', mtime=5, link=1)
    assert (tree.path / 'link').lstat().st_mtime_ns == 5_000000000 and kept.stat('link').mtime_ns == 5_000000000
    assert (tree.path / 'file').stat().st_mtime_ns == 99_000000009
    assert kept.fails('set', 'none', mode=600) == 'ENOENT'


def test_whole_files_of_a_descriptor(tree, verbs, blob, tmp_path):
    large = blob * 3
    (tmp_path / 'local').write_bytes(large)
    tag = verbs('upload', 'file', tmp_path / 'local', mode=600)[0]
    assert hashlib.sha256(tree.read('file')).digest() == hashlib.sha256(large).digest()
    (tmp_path / 'back').write_bytes(b'x' * (len(large) + 5))
    verbs('download', 'file', tmp_path / 'back', match=tag)
    assert (tmp_path / 'back').read_bytes() == large
    verbs('download', 'file', tmp_path / 'other')
    assert (tmp_path / 'other').read_bytes() == large
    tree.file('file', b'')
    assert verbs.fails('download', 'file', tmp_path / 'back', match=tag) == 'ESTALE'
    verbs('download', 'file', tmp_path / 'back', match=verbs.tag('file'))
    assert (tmp_path / 'back').read_bytes() == b''


# ---- names ----

def test_folders(tree, verbs):
    tag, inode = verbs('mkdir', 'folder', mode=750)
    real = (tree.path / 'folder').stat()
    assert (int(inode), real.st_mode & 0o7777) == (real.st_ino, 0o750)
    assert verbs.fails('mkdir', 'folder') == 'EEXIST' and verbs.fails('mkdir', 'none/folder') == 'ENOENT'
    tree.file('folder/member')
    assert verbs.fails('rmdir', 'folder') == 'ENOTEMPTY' and verbs.fails('remove', 'folder') == 'EISDIR'
    assert verbs.fails('put', 'folder', b'x') == verbs.fails('write', 'folder', b'x') == 'EISDIR'
    verbs('remove', 'folder/member')
    verbs('rmdir', 'folder')
    assert verbs.fails('rmdir', 'folder') == 'ENOENT' and verbs.fails('remove', 'none') == 'ENOENT' and tree.names() == []


def test_links(tree, kept):
    inode = int(kept('symlink', 'link', 'file')[1])
    assert os.readlink(tree.path / 'link') == 'file' and inode == (tree.path / 'link').lstat().st_ino
    assert kept.fails('symlink', 'link', 'other') == 'EEXIST' and kept.stat('link').kind == 'link'
    for target in (b'\xff\n', b' white ', b'<&>', b'x' * 4000):
        kept('symlink', b'l' + target[:3], target)
        assert kept('readlink', b'l' + target[:3]) == [target] and kept.stat(b'l' + target[:3]).size == len(target)
    assert int(kept('link', 'file', 'twin')[1]) == (tree.path / 'file').stat().st_ino
    assert (tree.path / 'twin').stat().st_nlink == 2
    assert kept.fails('link', 'file', 'link') == 'EEXIST' and kept.fails('link', 'none', 'x') == 'ENOENT'


def test_renaming(tree, kept):
    tree.file('other', b'other')
    tree.file('full/member', b'')
    (tree.path / 'empty').mkdir()
    assert kept.fails('move', 'file', 'other', keep=1) == 'EEXIST' and tree.read('other') == b'other'
    assert kept.fails('move', 'empty', 'full', folder=1) == 'ENOTEMPTY' and kept.fails('move', 'file', 'full') == 'EISDIR'
    assert kept.fails('move', 'full', 'file', folder=1) == 'ENOTDIR' and kept.fails('move', 'none', 'x') == 'ENOENT'
    assert kept.fails('move', 'file', 'none/x') == 'ENOENT' and kept.fails('move', 'full', 'full/in', folder=1) == 'EINVAL'
    kept('move', 'full', 'empty', folder=1)
    kept('move', 'file', 'other')
    assert tree.names() == ['empty', 'other'] and tree.names('empty') == ['member'] and tree.read('other') == b'0123456789'


# ---- attributes ----

def test_extended_attributes(tree, kept):
    try:
        os.setxattr(tree.path / 'file', 'user.outside', b'seen')
    except OSError:
        pytest.skip('no user.* attributes here')
    values = {b'plain': b'text', b'\xff\n': bytes(range(256)), b'n' * 250: b'x'}
    for name, value in values.items():
        kept('setxattr', 'file', name, value)
        assert os.getxattr(tree.path / 'file', b'user.' + name) == value
        assert kept('getxattr', 'file', name, size=1000) == [value]
    kept('setxattr', 'file', 'void', b'')
    assert kept('getxattr', 'file', 'void', size=10) == [b''] and kept('getxattr', 'file', 'outside', size=4) == [b'seen']
    names = kept('listxattr', 'file', size=1000)[0].split(b'\0')
    assert sorted(names) == sorted([b'', b'user.outside', b'user.void', *(b'user.' + name for name in values)])
    assert kept.fails('listxattr', 'file', size=5) == 'ERANGE' and kept.fails('getxattr', 'file', 'plain', size=3) == 'ERANGE'
    assert kept('getxattr', 'file', 'plain') == [] and kept('listxattr', 'file') == []
    kept('removexattr', 'file', 'plain')
    assert kept.fails('getxattr', 'file', 'plain', size=10) == 'ENODATA' and kept.fails('removexattr', 'file', 'plain') == 'ENODATA'
    assert kept.fails('setxattr', 'none', 'x', 'y') == 'ENOENT' and kept.fails('getxattr', 'none', 'x') == 'ENOENT'
    assert kept.fails('setxattr', 'file', 'large', size=(64 << 10) + 1) == 'ENOSPC'


# ---- locks ----

def test_locks(tree, kept):
    token = kept('lock', 'file')[0]
    assert kept.fails('lock', 'file') == 'EBUSY' and kept.fails('put', 'file', b'x') == 'EBUSY'
    assert kept.fails('write', 'file', b'x') == 'EBUSY' and kept.fails('remove', 'file') == 'EBUSY'
    kept('write', 'file', b'x', token=token)
    kept('put', 'file', b'y', token=token)
    kept('set', 'file', mode=600, token=token)
    kept('refresh', 'file', token)
    kept('unlock', 'file', token)
    assert kept.fails('refresh', 'file', token) == 'ESTALE'
    kept('remove', 'file')
    assert kept.fails('unlock', 'file', token)
