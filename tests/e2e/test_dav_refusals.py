"""Who may not write, and where nobody may."""
import os
import shutil
import subprocess

import pytest
from conftest import COMMAND, PROGRAM
from dav import Tree, classes, lock_body, set_property, update_body

WRITES = {
    'PUT': dict(body=b'no'), 'DELETE': {}, 'MKCOL': {}, 'PROPPATCH': dict(body=update_body(set_property('<a xmlns="urn:a"/>'))),
    'COPY': dict(fields=['Destination: /copy']), 'MOVE': dict(fields=['Destination: /moved']), 'LOCK': dict(body=lock_body()),
    'UNLOCK': dict(fields=['Lock-Token: <urn:uuid:00000000-0000-4000-8000-000000000000>']),
    'PATCH': dict(fields=['Content-Type: application/x-sabredav-partialupdate', 'X-Update-Range: bytes=0-1'], body=b'no'),
    'LINK': dict(fields=['Destination: /link']),
}


def state(folder):
    """Everything beneath a folder: name, content, where links lead."""
    found = {}
    for path, folders, files in os.walk(folder):
        for name in folders + files:
            full = os.path.join(path, name)
            plain = os.path.isfile(full) and not os.path.islink(full)
            found[full] = open(full, 'rb').read() if plain else os.readlink(full) if os.path.islink(full) else None
    return {name: value for name, value in found.items() if '/.berth-staging' not in name}


def may_run_as_nobody():
    """Not when one of the folders above is its owner's alone."""
    command = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', PROGRAM, '--version']
    return subprocess.run(command, capture_output=True).returncode == 0


# ---- a server that only reads ----

@pytest.mark.parametrize('method', WRITES)
@pytest.mark.parametrize('name', ['file', 'folder/', 'new'])
def test_a_server_that_only_reads_writes_nothing(site, method, name):
    site.file('file')
    (site.path / 'folder').mkdir()
    before = state(site.path)
    options = WRITES[method]
    body = options.get('body', b'')
    body = body.encode() if isinstance(body, str) else body
    fields = [*options.get('fields', []), f'Content-Length: {len(body)}']
    answer = site.fetch(name, *fields, method=method, body=body)
    assert answer.status in (403, 405), answer
    if answer.status == 405:
        allowed = set(answer.get('Allow').split(', '))
        assert {'GET', 'HEAD', 'OPTIONS'} <= allowed and not allowed & set(WRITES)
    with site.connect() as connection:
        fields = [field for field in fields if not field.startswith('Content-Length')]
        answer = connection.ask(site.url + name, *fields, 'Content-Length: 999999', 'Expect: 100-continue', method=method)
        assert answer.status in (403, 405, 413, 417), 'before the body'
    assert state(site.path) == before


def test_a_server_that_only_reads_says_so(site):
    answer = site.fetch('', method='OPTIONS')
    assert not set(answer.get('Allow').split(', ')) & set(WRITES)
    assert '2' not in classes(answer)
    assert answer.get('Accept-Patch') is None


# ---- servers that do not start ----

def refused(folder, *options):
    """It ends at once with one line that says why."""
    command = [*COMMAND, 'serve', *options, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert result.returncode in (1, 2), result
    lines = [line for line in result.stderr.splitlines() if line]
    assert lines and all('Sanitizer' not in line for line in lines), result.stderr
    return result.stderr


@pytest.fixture
def passwords(tmp_path):
    path = tmp_path / 'passwords'
    path.write_text('alice:$6$rounds=1000$alicesalt$9PYB4NMXhlhoki6Gz8JfF50UavdYFC.nkix5LWk8wZfay.Yu6uqmqg/JYkG7wS1QDBx0743l4ksPg5O'
                    'KM6r7C0\n')
    path.chmod(0o600)
    return path


@pytest.mark.parametrize('address', ['0.0.0.0:0', '[::]:0'])
def test_writing_for_everybody_on_a_public_address_is_refused(serve, tmp_path, address):
    assert '--allow-anonymous-writes' in refused(tmp_path, '--writable', f'--listen={address}')
    assert '--allow-anonymous-writes' in refused(tmp_path, '--writable', '--listen=127.0.0.1:0', f'--listen={address}')
    server = serve('--writable', '--allow-anonymous-writes', listen=[address])
    server.address = ('::1' if ':' in address[:3] else '127.0.0.1', server.address[1])
    assert server.fetch('/file', 'Content-Length: 3', method='PUT', body=b'yes').status == 201


def test_reading_on_a_public_address_is_not(serve):
    server = serve(listen=['0.0.0.0:0'])
    server.address = ('127.0.0.1', server.address[1])
    assert server.fetch('/').status == 200


def test_passwords_in_the_clear_on_a_public_address_are_refused(serve, passwords):
    assert '--allow-plain-auth' in refused(passwords.parent, '--writable', f'--auth={passwords}', '--listen=0.0.0.0:0')
    server = serve('--writable', f'--auth={passwords}', '--allow-plain-auth', listen=['0.0.0.0:0'])
    server.address = ('127.0.0.1', server.address[1])
    answer = server.fetch('/file', 'Content-Length: 2', method='PUT', body=b'no')
    assert answer.status == 401 and answer.get('WWW-Authenticate').startswith('Basic realm=')


def test_who_is_unknown_is_asked_for_a_password_before_the_body(serve, passwords):
    server = serve('--writable', f'--auth={passwords}')
    with server.connect() as connection:
        answer = connection.ask('/file', 'Content-Length: 1000000000', 'Expect: 100-continue', method='PUT')
        assert answer.status == 401 and 'Basic' in answer.get('WWW-Authenticate')


@pytest.mark.parametrize('options', [['--max-upload=none'], ['--max-upload=-1'], ['--trust-proxy=everybody'], ['--trust-proxy=10.0.0.0/99'],
                                     ['--auth=/none/such'], ['--durable=maybe']])
def test_options_that_cannot_be(tmp_path, options):
    assert options[0].split('=')[0].removeprefix('--') in refused(tmp_path, '--writable', '--listen=127.0.0.1:0', *options) or \
        '/none/such' in refused(tmp_path, '--writable', '--listen=127.0.0.1:0', *options)


# ---- names that nobody may reach ----

def each_write(tree, name, elsewhere='elsewhere'):
    """Every changing method at a name, and COPY and MOVE and LINK to it; (what, answer)."""
    for method, options in WRITES.items():
        fields = [field.replace('Destination: /', f'Destination: {tree.url}{elsewhere}-') for field in options.get('fields', [])]
        yield method, tree.ask(method, '', *fields, body=options.get('body'), target=tree.url + name)
    for method in ('COPY', 'MOVE', 'LINK'):
        yield f'{method} to it', tree.ask(method, 'file', f'Destination: {tree.url}{name}')


@pytest.mark.parametrize('name', ['.hidden', '.folder/', '.folder/file', 'folder/.hidden', '.new', '.htpasswd', '.berth-staging',
                                  '.berth-staging/x'])
def test_hidden_names(tree, name):
    for path in ('.hidden', '.folder/file', 'folder/.hidden', 'file', '.htpasswd'):
        tree.file(path)
    before = state(tree.path)
    for what, answer in each_write(tree, name):
        assert answer.status in (403, 404, 405, 409), f'{what}: {answer}'
    assert tree.ask('PROPFIND', name, 'Depth: 0').status == 404
    assert state(tree.path) == before
    assert not [path for path in tree.propfind('folder', depth=1) if '.hidden' in path]


def test_hidden_names_when_they_are_served(serve_tree):
    tree = serve_tree('--hidden')
    tree.put('file', b'plain')
    tree.put('file', b'again')
    assert tree.put('.hidden', b'yes').status == 201 and tree.ask('MKCOL', '.folder').status == 201
    assert {'.hidden', '.folder/', 'file'} <= set(tree.propfind('', depth=1))
    assert not [path for path in tree.propfind('', depth=1) if 'berth-staging' in path]
    for what, answer in each_write(tree, '.berth-staging'):
        assert answer.status in (403, 404, 405, 409), f'{what}: {answer}'
    for what, answer in each_write(tree, '.berth-staging/file', 'further'):
        assert answer.status in (403, 404, 405, 409), f'{what}: {answer}'
    assert tree.put('file', b'still').status == 204


@pytest.mark.parametrize('name', ['../escaped', '%2e%2e/escaped', '..%2fescaped', 'folder/../../escaped', 'folder/%2E%2E/%2e./escaped',
                                  './../escaped', '..', '%2e%2e', '..%5cescaped%00'])
def test_ways_out(serve_tree, name):
    tree = serve_tree()
    tree.file('file')
    (tree.path / 'folder').mkdir()
    outside = state(tree.path.parent)
    for what, answer in each_write(tree, name):
        assert 400 <= answer.status < 500, f'{what}: {answer}'
    assert state(tree.path.parent) == outside


def test_dots_within_a_destination_are_not_followed(tree):
    tree.file('folder/file')
    for destination in (f'{tree.url}folder/../copy', f'{tree.url}./copy', f'{tree.url}folder/%2e%2e/copy'):
        answer = tree.ask('COPY', 'folder/file', f'Destination: {destination}')
        assert answer.status == 201 or 400 <= answer.status < 500, answer
        assert tree.names() in (['folder'], ['copy', 'folder'])


def test_paths_too_long(tree):
    tree.file('file')
    for name, statuses in (('x' * 300, (400, 403, 404, 409, 414)), ('/'.join(['y' * 100] * 45), (400, 403, 404, 409, 414)),
                           ('a/' * 2500, (400, 403, 404, 405, 409, 414))):
        for what, answer in each_write(tree, name):
            assert answer.status in statuses, f'{what} {name[:9]}: {answer}'
    assert tree.names() == ['file']


def test_two_hundred_folders_deep(tree):
    name = 'deep' + '/d' * 199
    for depth in range(200):
        assert tree.ask('MKCOL', 'deep' + '/d' * depth).status == 201
    assert tree.put(f'{name}/file', b'at the bottom').status == 201
    assert tree.to('COPY', 'deep', 'copy').status == 201
    assert tree.ask('DELETE', 'deep').status == 204
    assert tree.read(f'copy{name.removeprefix("deep")}/file') == b'at the bottom'


# ---- symbolic links ----

@pytest.fixture
def linked(serve_tree, tmp_path):
    """Links to the outside, and one that stays inside."""
    outside = tmp_path / 'outside'
    (outside / 'folder').mkdir(parents=True)
    (outside / 'secret').write_bytes(b'secret')
    (outside / 'folder/secret').write_bytes(b'secret')

    def start(*options):
        tree = serve_tree(*options)
        tree.file('file')
        tree.file('folder/inside')
        os.symlink(outside / 'secret', tree.path / 'link')
        os.symlink(outside / 'folder', tree.path / 'linked-folder')
        os.symlink('../outside/secret', tree.path / 'folder/relative')
        os.symlink('folder', tree.path / 'within')
        return tree, outside
    return start


@pytest.mark.parametrize('links', ['inside', 'never'])
def test_links_to_the_outside_lead_nowhere(linked, links):
    tree, outside = linked(f'--symlinks={links}')
    before = state(outside)
    assert not [path for path in tree.propfind('', depth=1) if 'linked-folder' in path or path == 'link']
    for name in ('link', 'folder/relative', 'linked-folder/secret', 'linked-folder/new', 'linked-folder/'):
        assert tree.get(name).status == 404
        assert tree.ask('PROPFIND', name, 'Depth: 0').status == 404
        for method in ('PUT', 'MKCOL', 'PATCH', 'PROPPATCH', 'LOCK'):
            options = WRITES[method]
            tree.ask(method, name, *options.get('fields', []), body=options.get('body'))
            assert state(outside) == before, f'{method} {name}'
        tree.to('COPY', 'file', name)
        tree.to('COPY', name, 'copy-of-it')
        assert not os.path.isfile(tree.path / 'copy-of-it') or b'secret' not in (tree.path / 'copy-of-it').read_bytes()
        tree.ask('DELETE', 'copy-of-it')
    assert state(outside) == before


def test_a_folder_with_links_is_copied_moved_and_deleted_without_what_they_lead_to(linked):
    tree, outside = linked()
    before = state(outside)
    assert tree.to('COPY', 'folder', 'copy').status == 201
    assert os.readlink(tree.path / 'copy/relative') == '../outside/secret'
    assert tree.to('MOVE', 'copy', 'moved').status == 201
    assert tree.ask('DELETE', 'moved').status == 204
    assert tree.ask('DELETE', 'folder').status == 204
    tree.ask('DELETE', 'linked-folder')
    assert state(outside) == before


def test_links_that_stay_inside(linked):
    tree, _ = linked()
    assert tree.put('within/new', b'through it').status == 201
    assert tree.read('folder/new') == b'through it'
    assert tree.get('within/inside').status == 200
    assert tree.ask('DELETE', 'within').status == 204
    assert tree.names('folder') == ['inside', 'new', 'relative'], 'the link goes, not what it leads to'


def test_no_links_at_all(linked):
    tree, _ = linked('--symlinks=never')
    assert 400 <= tree.put('within/new', b'no').status < 500
    assert tree.names('folder') == ['inside', 'relative']


# ---- what cannot be served ----

def test_unknown_methods(tree):
    tree.file('file')
    for method in ('REPORT', 'SEARCH', 'ACL', 'BIND', 'MKCALENDAR', 'VERSION-CONTROL', 'POST', 'put', 'PROPFINDX'):
        assert tree.ask(method, 'file', body=b'').status in (405, 501), method


def test_other_kinds_of_files(tree):
    os.mkfifo(tree.path / 'fifo')
    before = os.listdir(tree.path)
    assert tree.get('fifo').status in (403, 404)
    assert 400 <= tree.put('fifo', b'no').status < 500
    assert 400 <= tree.ask('PATCH', 'fifo', *WRITES['PATCH']['fields'], body=b'no').status < 500
    assert [path for path in tree.propfind('', depth=1)] == ['']
    assert os.listdir(tree.path) == before


@pytest.fixture
def serve_nobody(serve, memory_folder, engine):
    """A tree on a server that runs as a user who owns only the folder itself."""
    folder = memory_folder / f'of-nobody-{engine}'
    folder.mkdir()
    memory_folder.chmod(0o755)
    shutil.chown(folder, 'nobody', 'nogroup')
    wrapper = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups']
    yield lambda: Tree(serve('--writable', folder=folder, wrapper=wrapper))
    memory_folder.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which('setpriv') or not may_run_as_nobody(),
                    reason='takes root, setpriv and a program that others may run')
def test_what_the_server_may_not_do_is_forbidden(serve_nobody):
    tree = serve_nobody()
    tree.file('file')
    tree.file('folder/file', b'of root')
    (tree.path / 'folder/within').mkdir()
    (tree.path / 'folder').chmod(0o755)
    before = state(tree.path)
    for what, answer in each_write(tree, 'folder/file'):
        if what in ('PUT', 'DELETE', 'PROPPATCH', 'MOVE', 'LOCK', 'PATCH', 'COPY to it', 'MOVE to it'):
            assert answer.status == 403 or answer.status == 207 and b' 403 ' in answer.body, f'{what}: {answer}'
    for path in tree.path.glob('elsewhere-*'):
        path.unlink()
    assert tree.put('folder/new', b'no').status == 403
    assert tree.ask('MKCOL', 'folder/new').status == 403
    assert tree.ask('DELETE', 'folder').status in (207, 403)
    assert state(tree.path) == before
    assert tree.put('new', b'yes').status == 201
