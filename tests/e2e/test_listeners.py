"""Where the server listens: IPv6, unix sockets, several addresses, sockets that systemd passes."""
import concurrent.futures
import contextlib
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading

import pytest
from conftest import PROGRAM
from mount import Network
from ports import lasting_ports
from test_admin import AdminServer
from wire import Connection, fetch

ACTIVATE = '''
import os, sys
for number, descriptor in enumerate(sys.argv[1].split(',')):
    os.dup2(int(descriptor), 100 + number)
for number in range(len(sys.argv[1].split(','))):
    os.dup2(100 + number, 3 + number, inheritable=True)
    os.close(100 + number)
os.environ.update(LISTEN_FDS=str(number + 1), LISTEN_PID=os.environ.get('WRONG_PID') or str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
'''


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(('::1', 0))
        return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason='no IPv6 here')


@needs_ipv6
def test_ipv6(serve):
    server = serve(listen=['[::1]:0'])
    assert server.address[0] == '::1'
    assert server.fetch('/').status == 200


def test_several_addresses(serve, tmp_path):
    listen = ['127.0.0.1:0', '127.0.0.2:0', f'unix:{tmp_path}/socket'] + (['[::1]:0'] if has_ipv6() else [])
    server = serve(listen=listen)
    (server.folder / 'file').write_text('same')
    assert len(server.addresses) == len(listen)
    for address in server.addresses:
        assert fetch(address, '/file').body == b'same'


def test_a_unix_socket(serve, tmp_path):
    path = f'{tmp_path}/berth.socket'
    server = serve(f'--access-log={tmp_path}/log', listen=[f'unix:{path}'])
    with Connection(path) as connection:
        assert connection.ask('/').status == 200
        assert connection.ask('/missing').status == 404
    server.stop()
    assert not os.path.exists(path)
    assert (tmp_path / 'log').read_text().count('"GET /') == 2


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(serve, tmp_path):
    path = f'{tmp_path}/socket'
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    serve(listen=[f'unix:{path}'])
    assert fetch(path, '/').status == 200
    with pytest.raises(AssertionError, match='exit 1'):
        serve(listen=[f'unix:{path}'])
    assert fetch(path, '/').status == 200


def test_a_file_that_is_no_socket_stays(serve, tmp_path):
    (tmp_path / 'file').write_text('precious')
    with pytest.raises(AssertionError, match='exit 1'):
        serve(listen=[f'unix:{tmp_path}/file'])
    assert (tmp_path / 'file').read_text() == 'precious'


def test_a_port_that_was_chosen_is_not_let_go(tmp_path):
    """Between the choice and the first connection others choose too: here 20 ports are wanted of 22, by ten at once."""
    network = Network(22)
    with contextlib.ExitStack() as stack, concurrent.futures.ThreadPoolExecutor(10) as pool:
        stack.callback(network.close)
        def start(_):
            return AdminServer(tmp_path, '--threads=2', wrapper=network.wrapper)
        for server in pool.map(start, range(10)):
            stack.callback(server.close)


@pytest.mark.parametrize('kind', ['tcp', 'unix'])
def test_an_address_that_is_free_in_a_moment_is_waited_for(serve, tmp_path, kind):
    """As that of a server that was killed: the kernel takes its rings apart after its end."""
    path = f'{tmp_path}/socket'
    held = socket.create_server(('127.0.0.1', lasting_ports())) if kind == 'tcp' else socket.socket(socket.AF_UNIX)
    if kind == 'unix':
        held.bind(path)
        held.listen()
    address = path if kind == 'unix' else held.getsockname()
    where = f'unix:{path}' if kind == 'unix' else '{}:{}'.format(*address)
    release = threading.Timer(0.1, held.close)
    release.start()
    try:
        server = serve(listen=[where])
    finally:
        release.join()
    assert fetch(address, '/').status == 200 and 'in use' not in server.stderr()


def test_an_address_that_stays_in_use_is_said(tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as held:
        where = '{}:{}'.format(*held.getsockname())
        said = subprocess.run([PROGRAM, 'serve', f'--listen={where}', tmp_path], capture_output=True, text=True, timeout=10)
    assert said.returncode == 1 and said.stderr.count('in use') == 1, said


def activated(serve, sockets, **environment):
    wrapper = [sys.executable, '-c', ACTIVATE, ','.join(str(s.fileno()) for s in sockets)]
    return serve(listen=[], wrapper=wrapper, pass_fds=[s.fileno() for s in sockets], env={**os.environ, **environment})


def test_socket_activation(serve):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        address = listener.getsockname()
        server = activated(serve, [listener])
    assert server.addresses == [address]
    for _ in range(5):
        assert server.fetch('/').status == 200


def test_activation_with_a_tcp_and_a_unix_socket(serve, tmp_path):
    path = f'{tmp_path}/socket'
    with socket.create_server(('127.0.0.1', 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        server = activated(serve, [tcp, unix])
    for address in server.addresses:
        assert fetch(address, '/').status == 200
    server.stop()
    assert stat.S_ISSOCK(os.stat(path).st_mode), 'the socket is systemd\'s to remove'


def test_activation_meant_for_another_process_is_not_taken(serve):
    with socket.create_server(('127.0.0.1', 0)) as listener:
        wrapper = [sys.executable, '-c', ACTIVATE, str(listener.fileno())]
        server = serve(wrapper=wrapper, pass_fds=[listener.fileno()], env={**os.environ, 'WRONG_PID': '1'})
        assert server.address != listener.getsockname()
    assert server.fetch('/').status == 200


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which('setpriv'), reason='takes root and setpriv')
def test_a_port_that_is_not_for_everybody_is_refused_with_the_reason(tmp_path):
    without = ['setpriv', '--bounding-set=-net_bind_service', '--inh-caps=-net_bind_service']
    result = subprocess.run([*without, PROGRAM, 'serve', '--listen=127.0.0.1:81', tmp_path], capture_output=True, text=True, timeout=30)
    assert result.returncode == 1
    assert result.stderr == ('berth: cannot listen on http://127.0.0.1:81/: Permission denied (ports below '
                             "net.ipv4.ip_unprivileged_port_start (1024 unless it was changed) are root's)\n")
