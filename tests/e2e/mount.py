"""A running `berth mount`, a network of its own for it, and a bad link before it.

BERTH_MOUNT_BY runs the tests on something else, to see whether it is the tests that are wrong: `local` is the served folder
itself, anything else a command that mounts in the foreground, with {url}, {folder} (the served one) and {dir} in it:

    BERTH_MOUNT_BY='rclone mount :webdav: {dir} --webdav-url {url} --vfs-cache-mode writes'

What only berth has (its counters) is then not looked at.
"""
import atexit
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import threading
import time

import pytest

BY = os.environ.get('BERTH_MOUNT_BY', 'berth')
PATIENCE_SECONDS = 30
LIFE_SECONDS = 4 * 3600 if os.environ.get('BERTH_LONG') else 900
CAP_SYS_ADMIN = 21
# What could not be sent is left there by all mounts that tests begin, and not where a real one of this machine looks.
STATE = tempfile.mkdtemp(prefix='berth-state-')
os.environ['XDG_STATE_HOME'] = STATE
atexit.register(shutil.rmtree, STATE, True)
ESTABLISHED, TIME_WAIT = '01', '06'


def why_not(program):
    """Why nothing can be mounted here; None when it can."""
    if BY == 'local':
        return None
    if not os.access('/dev/fuse', os.R_OK | os.W_OK):
        return '/dev/fuse is not there, or not for us'
    capabilities = int(re.search(r'CapEff:\s*(\w+)', pathlib.Path('/proc/self/status').read_text())[1], 16)
    if not capabilities >> CAP_SYS_ADMIN & 1 and (os.geteuid() == 0 or not shutil.which('fusermount3')):
        return 'this process may not mount anything'
    if BY == 'berth' and b'is no command' in subprocess.run([program, 'mount'], stderr=subprocess.PIPE).stderr:
        return 'this berth was built without mount'
    return None


def is_mounted(path):
    """Without asking the mount itself, which may not answer."""
    with open('/proc/self/mounts', encoding='utf-8') as file:
        return any(line.split()[1].encode().decode('unicode_escape') == str(path) for line in file)


class Mount:
    """One of `url`, at `path`. `folder` is the served folder, for looking at what has really arrived."""

    def __init__(self, program, url, folder, path, *options, wrapper=(), sanitizer=None):
        self.program, self.url, self.folder, self.path = program, url, pathlib.Path(folder), pathlib.Path(path)
        self.options, self.wrapper, self.sanitizer = options, wrapper, sanitizer
        self.process = self.errors = self.watchdog = None
        if BY == 'local':
            self.path = self.folder
            return
        self.path.mkdir(exist_ok=True)
        self.start()

    def command(self):
        if BY != 'berth':
            return [word.format(url=self.url, folder=self.folder, dir=self.path) for word in BY.split()]
        return [self.program, 'mount', '--foreground', *self.options, self.url, str(self.path)]

    def start(self):
        self.errors = tempfile.TemporaryFile(mode='w+b')
        self.process = subprocess.Popen([*self.wrapper, *self.command()], stdin=subprocess.DEVNULL, stderr=self.errors)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_mounted(self.path) or (BY == 'berth' and 'mounted' not in self.stderr()):
            assert self.process.poll() is None, f'exit {self.process.returncode}: {self.stderr()}'
            assert time.monotonic() < deadline, f'it does not mount: {self.stderr()}'
            time.sleep(0.01)
        # Who waits for a mount that does not answer can be freed only by its end.
        self.watchdog = threading.Timer(LIFE_SECONDS, self.process.kill)
        self.watchdog.daemon = True
        self.watchdog.start()

    def stderr(self):
        size = os.fstat(self.errors.fileno()).st_size
        return os.pread(self.errors.fileno(), size, 0).decode(errors='replace')

    def stats(self):
        """{name: number}; None when something else is mounted."""
        if BY != 'berth':
            return None
        output = subprocess.run([self.program, 'mount', '--stats', str(self.path)], capture_output=True, text=True,
                                timeout=PATIENCE_SECONDS)
        assert output.returncode == 0, output
        pairs = [line.split() for line in output.stdout.splitlines()]
        return {pair[0]: float(pair[1]) if '.' in pair[1] else int(pair[1]) for pair in pairs
                if len(pair) == 2 and re.fullmatch(r'-?\d+(\.\d+)?', pair[1])}

    def run(self, *command, code=0, seconds=120, stdin=None, environment=None):
        """Runs a program in the mount; ends the mount when that hangs, since nothing else would end the program.
        code None: whatever it ends with. What it wrote on either output is returned; with code None the code, too."""
        with subprocess.Popen([str(part) for part in command], cwd=self.path, stdin=subprocess.PIPE, text=True, errors='replace',
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
            try:
                output = process.communicate(stdin, timeout=seconds)[0]
            except subprocess.TimeoutExpired:
                self.kill()
                process.kill()
                raise AssertionError(f'{command[:6]} hangs in the mount') from None
        if code is None:
            return process.returncode, output
        assert process.returncode == code, f'{command[:6]}: exit {process.returncode}: {output[-3000:]}'
        return output

    def unmount(self, seconds=60):
        """Ends it in order. The returned text is what `berth unmount` had to say."""
        if self.process is None:
            return ''
        command = [self.program, 'unmount', str(self.path)] if BY == 'berth' else ['umount', str(self.path)]
        try:
            said = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
            assert said.returncode == 0, said
            self.process.wait(seconds)
        except subprocess.TimeoutExpired as late:
            self.kill()
            raise AssertionError(f'it does not unmount: {late}') from None
        self.watchdog.cancel()
        errors = self.stderr()
        assert not is_mounted(self.path), 'unmounted, and still there'
        assert not (self.sanitizer and self.sanitizer.search(errors)), errors
        assert BY != 'berth' or self.process.returncode == 0, f'exit {self.process.returncode}: {errors}'
        self.errors.close()
        self.process = None
        return said.stdout + said.stderr

    def again(self):
        """Unmounts and mounts afresh: nothing is in any cache of the mount."""
        if self.process is not None:
            self.unmount()
            self.start()

    def kill(self):
        """At once; whatever waits for it gets an error."""
        if self.process is None:
            return
        self.watchdog.cancel()
        self.process.kill()
        self.process.wait()
        subprocess.run(['umount', '-l', str(self.path)], capture_output=True)
        errors, self.process = self.stderr(), None
        self.errors.close()
        assert not (self.sanitizer and self.sanitizer.search(errors)), errors

    def close(self):
        """Nothing is left mounted, whatever happened."""
        try:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f'the mount ended by itself, exit {self.process.returncode}: {self.stderr()}')
            self.unmount()
        finally:
            if self.process is not None:
                self.kill()


# ---- a network of its own ----

class Network:
    """A network namespace with a loopback of so many ports; what is started behind `wrapper` is in it. A port that was used
    waits its minute: on loopback Linux would give it away again after a second."""

    def __init__(self, ports):
        self.holder = subprocess.Popen(['unshare', '--net', 'sleep', 'infinity'], stderr=subprocess.PIPE)
        self.proc = pathlib.Path(f'/proc/{self.holder.pid}')
        deadline = time.monotonic() + 10
        while os.readlink(self.proc / 'ns/net') == os.readlink('/proc/self/ns/net'):
            if self.holder.poll() is not None or time.monotonic() > deadline:
                self.close()
                pytest.skip('this process may not make a network of its own')
            time.sleep(0.01)
        self.wrapper = ['nsenter', f'--net={self.proc}/ns/net']
        self.most = {ESTABLISHED: 0, TIME_WAIT: 0}
        self.run('ip', 'link', 'set', 'lo', 'up')
        self.set('ip_local_port_range', f'40000 {40000 + ports - 1}')
        self.set('tcp_tw_reuse', 0)

    def run(self, *command):
        return subprocess.run([*self.wrapper, *command], capture_output=True, text=True, check=True, timeout=60).stdout

    def set(self, name, value):
        self.run('sh', '-c', f'echo {value} >/proc/sys/net/ipv4/{name}')

    def count(self, port):
        """{state: clients' sockets to that port}"""
        counts = {ESTABLISHED: 0, TIME_WAIT: 0}
        for line in (self.proc / 'net/tcp').read_text().splitlines()[1:]:
            _, _, remote, state, *_ = line.split()
            if state in counts and int(remote.rpartition(':')[2], 16) == port:
                counts[state] += 1
        return counts

    def watch(self, port):
        """Counts all the time, into `most`, until it is stopped."""
        ended = threading.Event()

        def look():
            while not ended.wait(0.02):
                for state, count in self.count(port).items():
                    self.most[state] = max(self.most[state], count)
        thread = threading.Thread(target=look, daemon=True)
        thread.start()

        def stop():
            ended.set()
            thread.join()
        return stop

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stderr.close()


# ---- a bad link ----

class Proxy:
    """tests/tools/proxy before a server: Proxy(server.address, '--reset-every=1000000')."""

    def __init__(self, program, address, *options):
        words = [word for option in options for word in option.split('=', 1)]
        self.process = subprocess.Popen([program, *words, '--count', f'{address[0]}:{address[1]}'], stdout=subprocess.PIPE, text=True)
        self.address = ('127.0.0.1', int(self.process.stdout.readline().rpartition(':')[2]))

    def close(self):
        """{name: number} of what it counted."""
        self.process.terminate()
        words = self.process.communicate(timeout=10)[0].split()
        assert self.process.returncode == 0, self.process.returncode
        return dict(zip(words[::2], map(int, words[1::2])))
