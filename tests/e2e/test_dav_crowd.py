"""Many at once who write: each is answered, none is cut off."""
import collections
import random

import pytest
from test_dav_put import in_parallel

KIBI = 1 << 10


def put_all(tree, count, body, *fields):
    """So many connections that are there already put a file each at the same moment; {status: how many}."""
    statuses = collections.Counter()
    connections = [tree.connect() for _ in range(count)]

    def put(index):
        target = tree.href(f'file-{index}')
        answer = connections[index].ask(target, f'Content-Length: {len(body)}', *fields, method='PUT', body=body)
        statuses[answer.status] += 1
    in_parallel(*(lambda index=index: put(index) for index in range(count)))
    for connection in connections:
        connection.socket.close()
    assert all(tree.read(f'file-{index}') == body for index in range(count) if (tree.path / f'file-{index}').exists())
    assert len(list(tree.path.glob('file-*'))) == statuses[201]
    return statuses


@pytest.mark.parametrize('size', [12, 64, 300])
def test_as_many_uploads_as_there_may_be_at_once_all_succeed(serve_tree, size):
    """Their bodies come while their names are looked at, and are more than there are buffers."""
    body = random.Random(size).randbytes(size * KIBI)
    assert put_all(serve_tree('--threads=1'), 250, body) == {201: 250}


def test_who_finds_no_place_is_told(serve_tree):
    """Not reset, although the body comes all the same."""
    body = random.Random(4).randbytes(300 * KIBI)
    statuses = put_all(serve_tree('--threads=1'), 700, body)
    assert set(statuses) <= {201, 503} and statuses[201] >= 250, statuses
