"""`berth mount` and `berth unmount` as commands: background, errors in words, statistics, the end, /etc/fstab's way."""
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time

import pytest

import mount as mounts
from conftest import PROGRAM, ROOT, Server, eventually, halt
from test_clients import needs

pytestmark = pytest.mark.skipif(mounts.BY != 'berth', reason='these are about berth mount')


def berth(*arguments, seconds=60, **options):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=seconds,
                          stdin=subprocess.DEVNULL, **options)


@pytest.fixture
def here(may_mount, tmp_path):
    """A folder to mount at; whatever is left there is taken away."""
    folder = tmp_path / 'here'
    folder.mkdir()
    yield folder
    while mounts.is_mounted(folder):
        subprocess.run(['umount', '-l', folder], check=False)


@pytest.fixture
def share(tmp_path):
    (tmp_path / 'served').mkdir()
    server = Server(tmp_path / 'served', '--writable', '--hidden')
    yield server
    server.close()


def url_of(share):
    return 'http://{}:{}/'.format(*share.address)


def process_of(folder):
    said = berth('mount', '--stats', folder)
    assert said.returncode == 0, said
    return int(re.search(r'^pid (\d+)$', said.stdout, re.M)[1])


def is_running(process):
    try:
        return pathlib.Path(f'/proc/{process}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def test_mount_returns_when_the_folder_stands_and_unmount_when_all_is_sent(share, here, tmp_path):
    said = berth('mount', '--log-file', tmp_path / 'log', url_of(share), here)
    assert said.returncode == 0 and f'is mounted on {here}' in said.stderr, said
    process = process_of(here)
    (here / 'file').write_bytes(b'content')
    said = berth('unmount', here)
    assert (said.returncode, said.stderr) == (0, '')
    assert not mounts.is_mounted(here) and not is_running(process)
    assert (share.folder / 'file').read_bytes() == b'content'


def test_the_source_is_told_without_the_password(share, here):
    url = url_of(share).replace('http://', 'http://name:secret@')
    assert berth('mount', '-q', url, here).returncode == 0
    words = pathlib.Path(f'/proc/{process_of(here)}/cmdline').read_text()
    assert 'secret' not in words and 'secret' not in pathlib.Path('/proc/self/mounts').read_text()
    assert berth('unmount', here).returncode == 0


@pytest.mark.parametrize('path, words', [
    ('nothing/', 'the server has no such folder'),
    ('file', 'is a file, not a folder'),
])
def test_what_cannot_be_mounted_is_said_in_words(share, here, path, words):
    (share.folder / 'file').write_bytes(b'content')
    said = berth('mount', url_of(share) + path, here)
    assert said.returncode == 1 and words in said.stderr, said
    assert not mounts.is_mounted(here)


def test_no_server_is_said_soon(here):
    began = time.monotonic()
    said = berth('mount', 'http://127.0.0.1:1/', here)
    assert said.returncode == 1 and 'cannot be reached (Failed to connect to 127.0.0.1 port 1' in said.stderr, said
    assert time.monotonic() - began < 30


def test_where_one_cannot_mount(share, here, tmp_path):
    url = url_of(share)
    said = berth('mount', url, tmp_path / 'nowhere')
    assert said.returncode == 1 and 'there is no such folder' in said.stderr
    (tmp_path / 'file').touch()
    said = berth('mount', url, tmp_path / 'file')
    assert said.returncode == 1 and 'is not a folder' in said.stderr
    (here / 'something').touch()
    said = berth('mount', url, here)
    assert said.returncode == 1 and 'is not empty' in said.stderr
    assert berth('mount', '-q', '-o', 'nonempty', url, here).returncode == 0
    said = berth('mount', url, here)
    assert said.returncode == 1 and 'already mounted there by berth' in said.stderr
    assert berth('unmount', here).returncode == 0


@pytest.mark.skipif(os.path.exists('/dev/log'), reason='there is a system log here')
def test_without_a_system_log_messages_are_not_lost(share, here, tmp_path):
    state = {**os.environ, 'XDG_STATE_HOME': str(tmp_path / 'state')}
    said = berth('mount', url_of(share), here, env=state)
    log = tmp_path / 'state/berth/mount.log'
    assert said.returncode == 0 and f'messages of the background go to {log}' in said.stderr, said
    os.kill(process_of(here), signal.SIGUSR1)
    eventually(lambda: 'connections-peak' in log.read_text())
    assert berth('unmount', here).returncode == 0
    (tmp_path / 'file').touch()
    said = berth('mount', '-q', url_of(share), here, env={**state, 'XDG_STATE_HOME': str(tmp_path / 'file')})
    assert said.returncode == 0 and 'messages of the background are lost' in said.stderr, said
    assert berth('unmount', here).returncode == 0


@pytest.mark.parametrize('option', [[], ['-o', 'nonempty']])
def test_what_it_needs_cannot_lie_in_the_mount_itself(share, here, tmp_path, option):
    (here / 'link').symlink_to(here)
    for state in (here, here / 'not/there/yet', here / 'link' / 'x', tmp_path / 'other' / '..' / 'here'):
        (tmp_path / 'other').mkdir(exist_ok=True)
        said = berth('mount', *option, url_of(share), here, env={**os.environ, 'XDG_STATE_HOME': str(state)})
        assert said.returncode == 1 and 'lies in the mount itself (XDG_STATE_HOME)' in said.stderr, said
    for log in (here / 'log', os.path.relpath(here / 'log')):
        said = berth('mount', *option, '--log-file', log, url_of(share), here)
        assert said.returncode == 1 and '--log-file' in said.stderr and 'lies in the mount itself' in said.stderr, said
    (here / 'link').unlink()
    assert not mounts.is_mounted(here) and list(here.iterdir()) == []
    beside = {**os.environ, 'XDG_STATE_HOME': f'{here}-state', 'TMPDIR': str(here)}  # another is taken for the latter
    assert berth('mount', '-q', url_of(share), here, env=beside).returncode == 0
    assert berth('unmount', here).returncode == 0


def test_a_folder_in_use_stays_mounted(share, here):
    assert berth('mount', '-q', url_of(share), here).returncode == 0
    with open(here / 'file', 'wb') as file:
        file.write(b'content')
        said = berth('unmount', here)
        assert said.returncode == 1 and 'in use' in said.stderr, said
        os.kill(process_of(here), signal.SIGTERM)
        time.sleep(0.3)
        assert mounts.is_mounted(here)
    assert berth('unmount', here).returncode == 0
    assert (share.folder / 'file').read_bytes() == b'content'


def test_the_end_does_not_wait_for_a_server_that_is_away_when_nothing_is_to_be_sent(here, tmp_path):
    (tmp_path / 'mortal').mkdir()
    server = Server(tmp_path / 'mortal', '--writable', '--hidden')
    assert berth('mount', '-q', '--attr-ttl', '0.2', url_of(server), here).returncode == 0
    (here / 'file').write_bytes(b'content')
    server.kill()
    server.close()
    time.sleep(0.5)
    began = time.monotonic()
    assert here.is_dir(), 'its root is known'
    assert berth('unmount', here).returncode == 0
    assert time.monotonic() - began < 20, 'not 60 s, which is --retry'


def test_all_statistics_are_in_the_manual(share, here):
    assert berth('mount', '-q', url_of(share), here).returncode == 0
    os.mkdir(here / 'folder')
    os.rename(here / 'folder', here / 'other')
    os.rmdir(here / 'other')
    said = berth('mount', '--stats', here).stdout
    assert berth('unmount', here).returncode == 0
    manual = (ROOT / 'man/berth-mount.1.scd').read_text(encoding='utf-8')
    names = [line.split()[0] for line in said.splitlines()]
    assert len(names) > 30 and [name for name in names if f'*{name}*' not in manual] == []
    assert [re.search(rf'^{name} (\d+)$', said, re.M)[1] for name in ('folders-made', 'moves', 'deletes')] == ['1', '1', '1']


@pytest.mark.parametrize('option', ['ro=1', 'rw=no', 'allow_other=yes', 'nonempty=1'])
def test_what_takes_no_value_gets_none(share, here, option):
    said = berth('mount', '-o', option, url_of(share), here)
    assert said.returncode == 2 and f'-o {option}: takes no value' in said.stderr


@pytest.mark.parametrize('retry', ['0', '0.05', '50ms'])
def test_without_a_try_nothing_could_be_mounted(share, here, retry):
    said = berth('mount', '--retry', retry, url_of(share), here)
    assert said.returncode == 2 and f'--retry {retry}: expected at least 0.1' in said.stderr


@needs('setpriv')
def test_who_has_not_mounted_it_is_told_so(share, may_mount):
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)  # others get there
        here = pathlib.Path(above) / 'here'
        here.mkdir()
        assert berth('mount', '-q', '-o', 'allow_other', url_of(share), here).returncode == 0
        said = subprocess.run(['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', PROGRAM, 'unmount', str(here)],
                              capture_output=True, text=True, timeout=60, check=False)
        still = mounts.is_mounted(here)
        assert berth('unmount', here).returncode == 0
        assert said.returncode == 1 and 'only who mounted it, or root, may unmount it' in said.stderr and still, said


def test_lazily_also_one_in_use(share, here):
    assert berth('mount', '-q', url_of(share), here).returncode == 0
    process = process_of(here)
    with open(here / 'file', 'wb') as file:
        assert berth('unmount', '--lazy', here).returncode == 0
        assert not mounts.is_mounted(here)
        file.write(b'content')
    eventually(lambda: not is_running(process))
    assert (share.folder / 'file').read_bytes() == b'content'


def test_a_mount_whose_process_was_killed_is_taken_away(share, here):
    for command in [['unmount', here], ['mount', '-q', url_of(share), here]]:
        assert berth('mount', '-q', url_of(share), here).returncode == 0
        os.listdir(here)
        os.kill(process_of(here), signal.SIGKILL)
        eventually(lambda: berth('mount', '--stats', here).returncode == 1)
        said = berth(*command)
        assert said.returncode == 0, said
    os.listdir(here)
    assert berth('unmount', here).returncode == 0


def test_nothing_of_berth_there(tmp_path):
    for command in (['unmount'], ['mount', '--stats']):
        said = berth(*command, tmp_path)
        assert said.returncode == 1 and 'nothing is mounted there by berth' in said.stderr, said


def test_signals(share, here, tmp_path):
    log = tmp_path / 'log'
    assert berth('mount', '--log-file', log, url_of(share), here).returncode == 0
    process = process_of(here)
    os.kill(process, signal.SIGUSR1)
    eventually(lambda: 'connections-peak' in log.read_text())
    os.kill(process, signal.SIGHUP)
    os.kill(process, signal.SIGTERM)
    eventually(lambda: not is_running(process) and not mounts.is_mounted(here))


def test_what_could_not_be_sent_is_told_and_kept(share, here, tmp_path):
    log = tmp_path / 'log'
    assert berth('mount', '--retry', '1', '--flush-after', '100s', '--log-file', log, url_of(share), here).returncode == 0
    file = os.open(here / 'lost.file', os.O_CREAT | os.O_WRONLY)
    os.write(file, b'content')
    share.kill()
    with pytest.raises(OSError):
        os.close(file)
    said = berth('unmount', here)
    assert said.returncode == 1 and '1 file could not be sent' in said.stderr, said
    kept = pathlib.Path(re.search(r'is kept in (\S+)', log.read_text())[1])
    assert kept.read_bytes() == b'content' and kept.is_relative_to(mounts.STATE)
    kept.unlink()


def test_who_waits_for_a_server_that_hangs_can_be_killed(share, here):
    assert berth('mount', '-q', '--attr-ttl', '0', url_of(share), here).returncode == 0
    server = share.process
    halt(server)
    try:
        waits = subprocess.Popen(['stat', here / 'file'], stderr=subprocess.DEVNULL)
        time.sleep(0.5)
        waits.terminate()
        assert waits.wait(20) == -signal.SIGTERM
    finally:
        server.send_signal(signal.SIGCONT)
    assert berth('unmount', here).returncode == 0


def test_as_mount_calls_it(share, here, tmp_path):
    helper = tmp_path / 'mount.berth'
    helper.symlink_to(pathlib.Path(PROGRAM).resolve())
    options = 'rw,_netdev,noauto,x-systemd.automount,connections=2,noexec'
    said = subprocess.run([helper, url_of(share), here, '-n', '-o', options], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said
    line = next(line for line in open('/proc/self/mounts', encoding='utf-8') if str(here) in line)
    assert line.startswith(url_of(share)) and 'noexec' in line and ' fuse.berth ' in line
    subprocess.run(['umount', here], check=True)
    said = subprocess.run([helper, url_of(share), here, '-o', 'nonsense'], capture_output=True, text=True, timeout=60)
    assert said.returncode == 2 and 'nonsense' in said.stderr
