"""The same verbs on other WebDAV servers: what they can is asked, the rest is refused in order, and nothing is lost."""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import pytest
from conftest import ROOT
from ports import lasting_ports
from verbs import between, needs_verbs, start_verbs, url_of  # noqa: F401 (fixtures)

sys.path.insert(0, str(ROOT / 'bench'))
PEERS = {'apache': 'apache2', 'lighttpd': 'lighttpd', 'rclone': 'rclone'}
MODULES = {'apache': '/usr/lib/apache2/modules/mod_dav_fs.so', 'lighttpd': '/usr/lib/lighttpd/mod_webdav.so'}
pytestmark = needs_verbs


def is_up(port):
    try:
        socket.create_connection(('127.0.0.1', port)).close()
    except OSError:
        return False
    return True


class Peer:
    def __init__(self, name, folder):
        import contest  # the bench's
        self.name, self.path = name, folder / 'served'
        self.path.mkdir()
        commands = {'apache': apache, 'lighttpd': lighttpd, 'rclone': rclone}
        self.address = ('127.0.0.1', lasting_ports())
        folder.chmod(0o777)
        self.path.chmod(0o777)
        self.process = subprocess.Popen(commands[name](contest, self.address[1], self.path, folder),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not is_up(self.address[1]):
            assert self.process.poll() is None and time.monotonic() < deadline, f'{name} does not start'
            time.sleep(0.05)


def apache(_, port, root, folder):
    (folder / 'locks').mkdir()
    (folder / 'locks').chmod(0o777)
    modules = ''.join(f'LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n'
                      for name in ('mpm_event', 'authz_core', 'dir', 'dav', 'dav_fs'))
    user = 'User www-data\nGroup www-data\n' if os.geteuid() == 0 else ''
    (folder / 'apache.conf').write_text(
        f'ServerRoot {folder}\nDefaultRuntimeDir {folder}\nPidFile {folder}/pid\nErrorLog {folder}/errors\n'
        f'ServerName 127.0.0.1\nListen 127.0.0.1:{port}\n{modules}{user}DavLockDB {folder}/locks/locks\n'
        f'DocumentRoot {root}\n<Directory />\nRequire all granted\n</Directory>\n<Directory {root}>\nDav On\n</Directory>\n')
    return ['apache2', '-D', 'FOREGROUND', '-f', str(folder / 'apache.conf')]


def lighttpd(contest, port, root, folder):
    command = contest.lighttpd(port, root, folder)
    (folder / 'uploads').mkdir()
    with open(folder / 'lighttpd.conf', 'a', encoding='ascii') as file:
        file.write(f'server.modules = ( "mod_webdav" )\nserver.upload-dirs = ( "{folder}/uploads" )\n'
                   'webdav.activate = "enable"\nwebdav.is-readonly = "disable"\n'
                   f'webdav.sqlite-db-name = "{folder}/webdav.db"\n')
    return command


def rclone(_, port, root, folder):
    (folder / 'rclone.conf').touch()
    return ['rclone', 'serve', 'webdav', str(root), '--addr', f'127.0.0.1:{port}', '--vfs-cache-mode', 'off', '--no-checksum',
            '--dir-cache-time', '0s', '--quiet', '--config', str(folder / 'rclone.conf'), '--cache-dir', str(folder / 'cache')]


@pytest.fixture(scope='module', params=PEERS)
def peer(request):
    """Not in pytest's folders, which each run of it makes its owner's alone: Apache gives up being root."""
    name = request.param
    if not shutil.which(PEERS[name], path=f'{os.environ["PATH"]}:/usr/sbin') or not pathlib.Path(MODULES.get(name, '/')).exists():
        pytest.skip(f'no {name} here')
    folder = pathlib.Path(tempfile.mkdtemp(prefix='berth-peer-'))
    peer = Peer(name, folder)
    yield peer
    peer.process.terminate()
    peer.process.wait(20)
    shutil.rmtree(folder)


@pytest.fixture
def folder(peer, request):
    """A name of the test's own; (peer, name, path)."""
    path = peer.path / request.function.__name__
    path.mkdir()
    path.chmod(0o777)
    return path


@pytest.fixture
def verbs(peer, folder, start_verbs):  # noqa: F811
    verbs = start_verbs(url_of(peer.address, f'/{folder.name}/'))
    ranges, berth, locks, writable, _, why = verbs('connect')
    assert (ranges, berth, writable, why) == (b'0', b'0', b'1', b'') and locks == b'1'
    return verbs


NAMES = ['plain', 'with space', 'ü', '100%', '%41', 'a?b', 'a#b', 'a;b', 'a+b', "a'b", 'a&b<c>', 'x' * 200]


def test_names(verbs, folder):
    for name in NAMES:
        verbs('put', name, b'content')
        assert (folder / name).read_bytes() == b'content' and verbs.stat(name).size == 7
        verbs('mkdir', name[:100] + '.folder')
        verbs('move', name, name[:100] + '.folder/' + name)
        assert set(verbs.list(name[:100] + '.folder')) - {b''} == {name.encode()}
        assert verbs.stat(name[:100] + '.folder').kind == 'folder'
    assert set(verbs.list()) - {b''} == {(name[:100] + '.folder').encode() for name in NAMES}
    assert verbs.fails('list', 'none') == 'ENOENT' and verbs.fails('stat', 'none') == 'ENOENT'


def test_content(verbs, folder, tmp_path, blob):
    verbs('put', 'file', size=300000)
    assert verbs('get', 'file', first=10, size=5) == [(folder / 'file').read_bytes()[10:15]]
    assert verbs('get', 'file', first=300000, size=5) == [b''] and verbs.stat('file').size == 300000
    (tmp_path / 'local').write_bytes(blob)
    verbs('upload', 'file', tmp_path / 'local')
    assert (folder / 'file').read_bytes() == blob
    verbs('download', 'file', tmp_path / 'back', match=verbs.tag('file'))
    assert (tmp_path / 'back').read_bytes() == blob
    assert verbs.fails('write', 'file', b'x') == 'EOPNOTSUPP' and verbs.fails('truncate', 'file', to=1) == 'EOPNOTSUPP'
    verbs('sync', 'file')
    verbs('put', 'empty', b'')
    assert (folder / 'empty').read_bytes() == b''


def test_conditions(peer, verbs, folder):
    verbs('put', 'file', b'one')
    assert verbs.tag('file').startswith('W/') == (peer.name == 'apache'), 'its tags of this second are weak'
    os.utime(folder / 'file', (1, 1))
    tag = verbs.tag('file')
    assert tag or peer.name == 'rclone'
    if peer.name != 'rclone':  # which does not look
        assert verbs.fails('put', 'file', b'two', absent=1) == 'EEXIST' and verbs.fails('put', 'file', b'two', match='"x"') == 'ESTALE'
        verbs('put', 'file', b'three', match=tag)
        assert (folder / 'file').read_bytes() == b'three'


def test_folders_and_renaming(peer, verbs, folder):
    verbs('mkdir', 'folder')
    assert peer.name == 'rclone' or verbs.fails('mkdir', 'folder') == 'EEXIST'
    verbs('put', 'folder/member', b'x')
    assert verbs.fails('rmdir', 'folder') == 'ENOTEMPTY'
    verbs('mkdir', 'empty')
    verbs('put', 'file', b'file')
    assert verbs.fails('move', 'empty', 'folder', folder=1) == 'ENOTEMPTY' and verbs.fails('move', 'file', 'folder') == 'EISDIR'
    assert verbs.fails('move', 'folder', 'file', folder=1) == 'ENOTDIR' and verbs.fails('move', 'none', 'x') == 'ENOENT'
    verbs('move', 'folder', 'empty', folder=1)
    assert sorted(os.listdir(folder)) == ['empty', 'file'] and os.listdir(folder / 'empty') == ['member']
    verbs('put', 'other', b'other')
    verbs('move', 'file', 'other')
    assert (folder / 'other').read_bytes() == b'file'
    assert verbs.fails('move', 'other', 'empty/member', keep=1) == 'EEXIST'
    verbs('remove', 'empty/member')
    verbs('rmdir', 'empty')
    verbs('remove', 'other')
    assert verbs.fails('remove', 'other') == 'ENOENT' and os.listdir(folder) == []


def test_what_only_berth_has(verbs):
    verbs('put', 'file', b'x')
    for words in (['symlink', 'link', 'file'], ['link', 'file', 'twin'], ['set', 'file']):
        assert verbs.fails(*words, mode=600) == 'EOPNOTSUPP'


def test_locks(verbs):
    verbs('put', 'file', b'x')
    token = verbs('lock', 'file')[0]
    assert verbs.fails('lock', 'file') == 'EBUSY' and verbs.fails('put', 'file', b'y') == 'EBUSY'
    verbs('put', 'file', b'y', token=token)
    verbs('refresh', 'file', token)
    verbs('unlock', 'file', token)
    verbs('put', 'file', b'z')


def test_a_lost_lock_is_found(peer, folder, between, start_verbs):  # noqa: F811
    if peer.name != 'apache':
        pytest.skip('the owner is not told, or a token looks like none')
    proxy = between(peer.address)
    verbs = start_verbs(url_of(proxy.address, f'/{folder.name}/'))
    verbs('connect')
    verbs('put', 'file', b'x')
    proxy.plan[:] = ['lose']
    verbs('put', 'file', b'y', token=verbs('lock', 'file')[0])


def test_attributes_of_users(peer, verbs):
    verbs('put', 'file', b'x')
    try:
        verbs('setxattr', 'file', 'name', bytes(range(256)))
    except Exception as error:
        assert peer.name == 'rclone' and error.name == 'EOPNOTSUPP', error
        return
    assert verbs('getxattr', 'file', 'name', size=256) == [bytes(range(256))]
    assert verbs('listxattr', 'file', size=100) == [b'user.name\0']
    verbs('removexattr', 'file', 'name')
    assert verbs.fails('getxattr', 'file', 'name', size=256) == 'ENODATA' and verbs('listxattr', 'file') == []


def test_room(verbs):
    available, used = verbs('space', '')
    assert int(available) >= -1 and int(used) >= -1
