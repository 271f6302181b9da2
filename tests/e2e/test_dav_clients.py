"""Real clients and suites that write: what they put is there, byte for byte, and what they read is what is there."""
import filecmp
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import textwrap

import pytest
from conftest import eventually
from test_clients import curl, needs, run
from test_dav_tree import same_trees


@pytest.fixture
def url(tree):
    host, port = tree.server.address
    return f'http://{host}:{port}{tree.url}'


@pytest.fixture
def model(tmp_path, blob):
    """Files as people have them: small, empty, large, with names of all kinds, in folders."""
    path = tmp_path / 'model'
    for name, content in (('plain.txt', b'text\n'), ('empty', b''), ('large.bin', blob), ('with space & more.txt', b'x' * 5000),
                          ('Grüße/日本語.txt', b'utf-8'), ('Grüße/100%.txt', b'percent'), ('deep/er/still/file', b'deep')):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
        os.utime(path / name, (1600000000, 1600000000))
    (path / 'many').mkdir()
    for number in range(60):
        (path / f'many/{number}').write_bytes(b'%d' % number * number)
    return path


# ---- litmus ----

SUITES = {'basic': 16, 'copymove': 13, 'props': 30, 'locks': 41, 'http': 4}
SUMMARY = re.compile(r"<- summary for `(\w+)': of (\d+) tests run: (\d+) passed, (\d+) failed")


@needs('litmus')
def test_litmus(url, tmp_path):
    """Every test of every suite, and no warnings."""
    result = subprocess.run(['litmus', '-k', url], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    output = '\n'.join(line for line in re.split(r'[\r\n]+', result.stdout))
    problems = [line for line in output.splitlines() if re.search('FAIL|WARNING|SKIPPED', line)]
    assert not problems, '\n'.join(problems)
    found = {match[1]: (int(match[2]), int(match[3]), int(match[4])) for match in SUMMARY.finditer(output)}
    assert found == {name: (count, count, 0) for name, count in SUITES.items()}, output
    assert result.returncode == 0


# ---- curl ----

@needs('curl')
def test_curl_puts(tree, url, model, blob):
    assert curl('-T', model / 'large.bin', '-w', '%{http_code}', url + 'file') == b'201'
    assert tree.read('file') == blob
    curl('-T', '-', url + 'chunked', stdin=b'from a pipe')
    assert tree.read('chunked') == b'from a pipe'
    curl('-T', f'{{{model}/plain.txt,{model}/empty}}', url)
    assert tree.read('plain.txt') == b'text\n' and tree.read('empty') == b''
    curl('--http1.0', '-T', model / 'plain.txt', url + 'file')
    assert tree.read('file') == b'text\n'
    curl('-H', 'Expect: 100-continue', '-T', model / 'large.bin', url + 'file')
    assert tree.read('file') == blob
    failed = curl('-H', 'Expect: 100-continue', '-T', model / 'large.bin', '-w', '%{http_code} %{size_upload}', url + 'none/file', code=22)
    assert failed == b'409 0', 'it was told before it sent anything'


@needs('curl')
def test_curl_resumes_an_upload(tree, url, model, blob):
    """-C N sends the rest as PUT with Content-Range; -C - does not look how much there is, and sends all."""
    for resume in ('3000000', '-'):
        tree.put('file', blob[:3000000])
        curl('-C', resume, '-T', model / 'large.bin', url + 'file')
        assert tree.read('file') == blob


@needs('curl')
def test_curl_asks_all_other_methods(tree, url):
    curl('-X', 'MKCOL', url + 'folder')
    curl('-T', '/dev/null', url + 'folder/file')
    curl('-X', 'COPY', '-H', f'Destination: {url}copy', url + 'folder')
    curl('-X', 'MOVE', '-H', f'Destination: {url}moved', url + 'copy')
    assert b'<D:' in curl('-X', 'PROPFIND', '-H', 'Depth: 1', url)
    curl('-X', 'DELETE', url + 'folder')
    assert tree.names() == ['moved'] and tree.names('moved') == ['file']


# ---- cadaver ----

@needs('cadaver')
def test_cadaver(tree, url, model, tmp_path):
    script = f'''
        open {url}
        put {model}/plain.txt
        mkcol folder
        copy plain.txt copy.txt
        move copy.txt folder/moved.txt
        cd folder
        put {model}/large.bin
        ls
        propset moved.txt colour red
        propget moved.txt colour
        lock moved.txt
        put {model}/empty moved.txt
        discover moved.txt
        unlock moved.txt
        get large.bin {tmp_path}/got.bin
        lcd {model}/many
        mput 1 2
        delete 1
        cd ..
        mkcol gone
        rmcol gone
        quit
        '''
    environment = {**os.environ, 'HOME': str(tmp_path)}
    result = subprocess.run(['cadaver'], input=textwrap.dedent(script), text=True, capture_output=True, timeout=60, env=environment)
    output = result.stdout + result.stderr
    assert 'failed' not in output and 'Could not' not in output and 'error' not in output.lower(), output
    assert 'red' in output and 'Scope: exclusive' in output, output
    assert tree.names() == ['folder', 'plain.txt'] and tree.names('folder') == ['2', 'large.bin', 'moved.txt']
    assert filecmp.cmp(tree.path / 'folder/large.bin', tmp_path / 'got.bin', shallow=False)
    assert tree.read('folder/moved.txt') == b''


# ---- rclone ----

@needs('rclone')
@pytest.mark.parametrize('vendor', ['other', 'owncloud'])
def test_rclone(tree, url, model, tmp_path, vendor):
    environment = {**os.environ, 'RCLONE_CONFIG': '/dev/null', 'RCLONE_WEBDAV_URL': url, 'RCLONE_WEBDAV_VENDOR': vendor}

    def rclone(*arguments, code=0):
        result = subprocess.run(['rclone', '--retries=1', *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=90)
        assert result.returncode == code, result
        return result.stdout + result.stderr
    rclone('copy', model, ':webdav:')
    assert same_trees(model, tree.path)
    if vendor == 'owncloud':
        assert int((tree.path / 'plain.txt').stat().st_mtime) == 1600000000
    rclone('check', model, ':webdav:')
    rclone('check', '--download', model, ':webdav:')
    again = rclone('copy', '-v', '--stats-one-line', model, ':webdav:')
    assert 'Copied' not in again, 'there was nothing to be copied again'
    (model / 'plain.txt').write_bytes(b'changed, and longer')
    (model / 'many/new').write_bytes(b'new')
    shutil.rmtree(model / 'deep')
    rclone('sync', model, ':webdav:')
    assert same_trees(model, tree.path)
    rclone('check', model, ':webdav:')
    (tree.path / 'many/1').write_bytes(b'?')
    rclone('check', '--download', model, ':webdav:', code=1)
    rclone('sync', ':webdav:', tmp_path / 'back')
    assert same_trees(tree.path, tmp_path / 'back')
    rclone('moveto', ':webdav:many', ':webdav:moved')
    rclone('purge', ':webdav:moved')
    assert 'many' not in tree.names() and 'moved' not in tree.names()
    assert 'empty' in rclone('lsl', ':webdav:') and rclone('about', ':webdav:').count(':') >= 1


# ---- davfs2 ----

def bounded(*command, seconds=60):
    """Runs it in a group of its own, of which nothing is left after the time."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f'{command} takes longer than {seconds} s')
    assert process.returncode == 0, f'{command}: {output}'
    return output


@pytest.fixture
def davfs(url):
    """mount() gives a mounted folder, unmount() ends it when everything has arrived."""
    if os.geteuid() != 0 or not os.access('/dev/fuse', os.R_OK | os.W_OK) or not shutil.which('mount.davfs'):
        pytest.skip('takes root, /dev/fuse and davfs2')
    base = pathlib.Path(tempfile.mkdtemp(prefix='berth-davfs-'))  # its daemon is not root, and must get there
    base.chmod(0o755)
    point, cache = base / 'mounted', base / 'cache'
    point.mkdir()
    cache.mkdir()
    shutil.chown(cache, 'davfs2', 'davfs2')
    cache.chmod(0o777)
    (base / 'secrets').touch(mode=0o600)
    (base / 'conf').write_text(f'secrets {base}/secrets\nask_auth 0\ncache_dir {cache}\ndelay_upload 0\ndir_refresh 1\n'
                               'file_refresh 0\nuse_locks 1\nlock_timeout 60\n')

    class Davfs:
        def mount(self):
            bounded('mount.davfs', url, point, '-o', f'conf={base}/conf,uid=0,gid=0')
            assert os.path.ismount(point)
            return point

        def unmount(self):
            bounded('umount', point)  # waits for what is still to be sent
            assert not os.path.ismount(point)
    yield Davfs()
    if os.path.ismount(point):
        subprocess.run(['umount', '-l', str(point)], timeout=20)
    eventually(lambda: not daemons_of(url), 20)
    shutil.rmtree(base)


def daemons_of(url):
    found = []
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as file:
                command = file.read()
        except OSError:
            continue
        if b'mount.davfs' in command and url.encode() in command:
            found.append(pid)
    return found


def test_davfs2(davfs, tree, model):
    """Without listing a folder through the mount: on recent kernels davfs2 1.6 fails at that (EINVAL), whatever the server."""
    mounted = davfs.mount()
    run('cp', '-r', f'{model}/.', mounted)
    with open(mounted / 'appended', 'wb') as file:
        for number in range(2000):
            file.write(b'%08d' % number)
    with open(mounted / 'large.bin', 'r+b') as file:
        file.seek(1000000)
        file.write(b'in the middle')
    (mounted / 'plain.txt').rename(mounted / 'renamed.txt')
    (mounted / 'empty').unlink()
    (mounted / 'deep/er/still/file').unlink()
    for name in ('deep/er/still', 'deep/er', 'deep'):
        (mounted / name).rmdir()
    (mounted / 'new folder').mkdir()
    davfs.unmount()
    with open(model / 'large.bin', 'r+b') as file:
        file.seek(1000000)
        file.write(b'in the middle')
    (model / 'plain.txt').rename(model / 'renamed.txt')
    (model / 'empty').unlink()
    shutil.rmtree(model / 'deep')
    (model / 'new folder').mkdir()
    (model / 'appended').write_bytes(b''.join(b'%08d' % number for number in range(2000)))
    assert same_trees(model, tree.path)
    mounted = davfs.mount()
    for path in model.rglob('*'):
        if path.is_file():
            assert filecmp.cmp(path, mounted / path.relative_to(model), shallow=False)
    assert os.statvfs(mounted).f_blocks > 0
    davfs.unmount()


# ---- gvfs ----

@pytest.mark.skipif(not shutil.which('dbus-run-session') or not os.path.exists('/usr/libexec/gvfsd-dav')
                    and not os.path.exists('/usr/lib/gvfs/gvfsd-dav'),
                    reason='gvfs-backends is not installed: fifty packages, so it runs by hand (docs/clients.md)')
def test_gio(tree, url, model, tmp_path):
    dav = url.replace('http://', 'dav://')
    home = tmp_path / 'home'
    (home / 'run').mkdir(parents=True, mode=0o700)
    script = f'''
        set -e
        gio mount {dav}
        gio copy {model}/large.bin {dav}large.bin
        gio copy {model}/plain.txt {dav}plain.txt
        gio mkdir {dav}folder
        gio copy {dav}plain.txt {dav}folder/copy.txt
        gio move {dav}plain.txt {dav}moved.txt
        echo through a pipe | gio save {dav}saved.txt
        echo again | gio save {dav}saved.txt
        gio cat {dav}folder/copy.txt >{tmp_path}/got
        gio copy {dav}large.bin {tmp_path}/large.bin
        gio list {dav} >{tmp_path}/list
        gio copy {model}/empty {dav}doomed
        gio remove {dav}doomed
        gio mount -u {dav}
        '''
    environment = {**os.environ, 'HOME': str(home), 'XDG_RUNTIME_DIR': str(home / 'run'), 'GIO_USE_VFS': 'gvfs'}
    process = subprocess.Popen(['dbus-run-session', '--', 'sh', '-c', script], env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        pytest.fail('gio hangs')
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    assert process.returncode == 0, output
    assert tree.names() == ['folder', 'large.bin', 'moved.txt', 'saved.txt'] and tree.names('folder') == ['copy.txt']
    assert filecmp.cmp(model / 'large.bin', tree.path / 'large.bin', shallow=False)
    assert filecmp.cmp(model / 'large.bin', tmp_path / 'large.bin', shallow=False)
    assert tree.read('saved.txt') == b'again\n' and (tmp_path / 'got').read_bytes() == b'text\n'
    assert sorted((tmp_path / 'list').read_text().split()) == ['folder', 'large.bin', 'moved.txt', 'saved.txt']
