"""Ports that last: for servers that stand, fall and come back at a place that is known beforehand."""
import contextlib
import os
import random
import socket

import pytest


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('127.0.0.1', port))
            probe.listen()
        except OSError:
            return False
        return True


def _share():
    """The first port and the number of those that are this process's, when several run the tests side by side."""
    with open('/proc/sys/net/ipv4/ip_local_port_range', encoding='ascii') as file:
        first = int(file.read().split()[0])
    workers = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', '1'))
    worker = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))
    each = (first - first // 2) // workers
    return first // 2 + worker * each, each


def lasting_ports(count=1):
    """The first of so many free ones in a row, none of which is given to clients: one of somebody else's might have it
    before the server does; and one who tries again and again while nobody listens would sooner or later be given the very
    port, and be connected to itself."""
    start, many = _share()
    for _ in range(500):
        first = start + random.randrange(many - count + 1)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(('127.0.0.1', port)))
            return first
    return pytest.skip('no free ports in a row')
