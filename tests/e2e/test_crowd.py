"""Fifty thousand connections between one `berth serve` and one `berth load`, each allowed 4,096 descriptors."""
import json
import resource
import subprocess

import pytest
from conftest import PROGRAM, eventually

pytestmark = pytest.mark.alone

CONNECTIONS = 50_000
DESCRIPTORS = 4096


def lower_limit():
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


@pytest.fixture
def crowded(serve, engine):
    if engine != 'uring':
        pytest.skip('on epoll each connection needs a descriptor')
    server = serve(f'--connections={CONNECTIONS + 100}', preexec_fn=lower_limit)
    (server.folder / 'song').write_bytes(b'la' * 512)
    return server


def test_a_crowd_far_beyond_the_limit_of_descriptors(crowded, tmp_path):
    host, port = crowded.address
    result = tmp_path / 'crowd.json'
    subprocess.run([PROGRAM, 'load', f'--connections={CONNECTIONS}', '--hold=3', '--requests-per-second=500', '--quiet',
                    f'--json={result}', f'http://{host}:{port}/song'],
                   preexec_fn=lower_limit, check=True, timeout=240, stderr=subprocess.STDOUT)
    told = json.loads(result.read_text())
    connections, requests = told['connections'], told['requests']
    assert connections['most_open'] == CONNECTIONS
    assert (connections['failed'], connections['lost'], connections['reset']) == (0, 0, 0)
    assert requests['failed'] == 0 and requests['statuses'] == {'200': requests['answered']}
    assert requests['answered'] >= 1000
    eventually(lambda: crowded.fetch('/song').status == 200)


def test_a_crowd_that_is_killed_leaves_nothing_behind(crowded):
    host, port = crowded.address
    before = crowded.rss()
    load = subprocess.Popen([PROGRAM, 'load', f'--connections={CONNECTIONS}', '--hold=600', '--requests-per-second=0',
                             f'http://{host}:{port}/song'], preexec_fn=lower_limit, stderr=subprocess.PIPE, text=True)
    try:
        assert any(f'opened {CONNECTIONS:,}' in line for line in load.stderr)
    finally:
        load.kill()
        load.wait()
        load.stderr.close()
    for _ in range(20):
        assert crowded.fetch('/song').status == 200
    eventually(lambda: crowded.rss() < before + (8 << 20), seconds=60)
