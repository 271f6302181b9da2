"""Tests that mostly wait, all at the same time: their bodies run in threads from the beginning of a file on.

    from patience import in_the_background, patience

    @in_the_background
    def test_something(admin, tmp_path): ...

Where such a test stands in its file its outcome is asked for. The body may take `admin`, which starts servers as the
fixture does, `engine`, `tmp_path` and `blob`.
"""
import collections
import concurrent.futures
import inspect

import pytest
from test_admin import AdminServer

bodies = collections.defaultdict(list)


def in_the_background(body):
    def test(patience):
        patience.outcome(body)
    bodies[body.__module__].append(body)
    return test


class Patience:
    def __init__(self, chosen, engine, folder, blob):
        self.engine, self.folder, self.blob, self.servers = engine, folder, blob, []
        self.pool = concurrent.futures.ThreadPoolExecutor(max(len(chosen), 1))
        self.outcomes = {body.__name__: self.pool.submit(self.run, body) for body in chosen}

    def run(self, body):
        folder = self.folder / body.__name__
        folder.mkdir()

        def admin(*options, **more):
            served = folder / f'served{len(self.servers)}'
            served.mkdir()
            (served / 'file').write_bytes(b'content')
            server = AdminServer(served, *options, engine=self.engine, **more)
            self.servers.append(server)
            return server
        given = {'admin': admin, 'engine': self.engine, 'tmp_path': folder, 'blob': self.blob}
        body(**{name: given[name] for name in inspect.signature(body).parameters})

    def outcome(self, body):
        self.outcomes[body.__name__].result(timeout=300)

    def close(self):
        self.pool.shutdown()
        for server in self.servers:
            server.close()


@pytest.fixture(scope='module', autouse=True)
def patience(request, engine, blob, tmp_path_factory):
    wanted = {item.originalname for item in request.session.items if item.module is request.module}
    chosen = [body for body in bodies[request.module.__name__] if body.__name__ in wanted]
    patience = Patience(chosen, engine, tmp_path_factory.mktemp('patience'), blob)
    yield patience
    patience.close()
