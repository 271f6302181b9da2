"""Other WebDAV servers to mount: Apache mod_dav, lighttpd mod_webdav with and without its database, rclone serve webdav, and
a stand-in for SabreDAV (sabre.py). Each serves a folder of its own at http://127.0.0.1:PORT/."""
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import pytest
from ports import lasting_ports

START_SECONDS = 20
APACHE_MODULES = pathlib.Path('/usr/lib/apache2/modules')
LIGHTTPD_MODULES = pathlib.Path('/usr/lib/lighttpd')


def apache(port, root, folder):
    (folder / 'locks').mkdir()
    (folder / 'locks').chmod(0o777)
    modules = ''.join(f'LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n'
                      for name in ('mpm_event', 'authz_core', 'dav', 'dav_fs'))
    user = 'User www-data\nGroup www-data' if os.geteuid() == 0 else ''
    (folder / 'apache.conf').write_text(f"""
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/errors
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
{modules}
{user}
StartServers 1
ServerLimit 1
ThreadsPerChild 32
MaxRequestWorkers 32
DavLockDB {folder}/locks/locks
DocumentRoot {root}
<Directory {root}>
    Dav On
    Require all granted
</Directory>
""")
    return ['apache2', '-D', 'FOREGROUND', '-f', folder / 'apache.conf']


def lighttpd(port, root, folder, more=''):
    (folder / 'uploads').mkdir()
    (folder / 'lighttpd.conf').write_text(f"""
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.modules = ( "mod_webdav" )
server.upload-dirs = ( "{folder}/uploads" )
server.max-request-size = 0
server.stat-cache-engine = "disable"
mimetype.assign = ( "" => "application/octet-stream" )
webdav.activate = "enable"
webdav.is-readonly = "disable"
{more}
""")
    return ['lighttpd', '-D', '-f', folder / 'lighttpd.conf']


def lighttpd_locks(port, root, folder):
    return lighttpd(port, root, folder, f'webdav.sqlite-db-name = "{folder}/webdav.db"')


def rclone(port, root, folder):
    (folder / 'rclone.conf').touch()
    return ['rclone', 'serve', 'webdav', root, '--addr', f'127.0.0.1:{port}', '--config', folder / 'rclone.conf',
            '--cache-dir', folder / 'cache', '--dir-cache-time', '0s']


def sabre(port, root, _):
    return [sys.executable, pathlib.Path(__file__).parent / 'sabre.py', str(port), root]


KINDS = {'apache': apache, 'lighttpd': lighttpd, 'lighttpd-locks': lighttpd_locks, 'rclone': rclone, 'sabre': sabre}
NEEDS = {
    'apache': ('apache2', APACHE_MODULES / 'mod_dav_fs.so', 'apache2-bin'),
    'lighttpd': ('lighttpd', LIGHTTPD_MODULES / 'mod_webdav.so', 'lighttpd and lighttpd-mod-webdav'),
    'lighttpd-locks': ('lighttpd', LIGHTTPD_MODULES / 'mod_webdav.so', 'lighttpd and lighttpd-mod-webdav'),
    'rclone': ('rclone', None, 'rclone'),
}


class Foreign:
    """A running server. `folder` is what it serves, `kind` its name in KINDS."""

    def __init__(self, kind):
        program, module, package = NEEDS.get(kind, (sys.executable, None, ''))
        if not shutil.which(program) or (module and not module.exists()):
            pytest.skip(f'{kind} is not here: install {package}')
        # Apache gives up being root, and pytest's folders are for their owner alone.
        self.work = work = pathlib.Path(tempfile.mkdtemp(prefix='berth-foreign-'))
        work.chmod(0o711)
        self.kind, self.folder = kind, work / 'served'
        self.folder.mkdir()
        self.folder.chmod(0o777)
        self.port = lasting_ports()
        with open(work / 'output', 'wb') as output:
            command = [str(word) for word in KINDS[kind](self.port, self.folder, work)]
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        self.url = f'http://127.0.0.1:{self.port}/'
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(('127.0.0.1', self.port)).close()
                return
            except OSError:
                said = (work / 'output').read_text()
                assert self.process.poll() is None and time.monotonic() < deadline, f'{kind} does not start: {said}'
                time.sleep(0.02)

    def make_folder(self, name):
        """Which the server may write to, whoever it is."""
        path = self.folder / name
        path.mkdir()
        path.chmod(0o777)
        return path

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.work)
