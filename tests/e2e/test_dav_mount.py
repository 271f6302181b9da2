"""What a mount needs beside RFC 4918: mode and time with the content, rename and rmdir as POSIX has them, users'
attributes, links meant themselves, names of any bytes."""
import base64
import os
import stat

import pytest
from dav import POSIX, decode, empty_elements, remove_property, set_property, token_of

LINK = 'Content-Type: application/vnd.berth.symlink'
SABRE = 'Content-Type: application/x-sabredav-partialupdate'
BYTERANGE = 'Content-Type: message/byterange'
OWN = 'Berth-Links: own'
RENAME = 'Berth-Overwrite: posix'
MODE = 'Berth-Mode: 0640'
MTIME = 'Berth-Mtime: 1500000000.123456789'
MTIME_NS = 1500000000_123456789
ATTRIBUTE = '{urn:berth:attribute}'


def dressed(path, mode=0o640, mtime=MTIME_NS):
    stat = path.lstat()
    assert (stat.st_mode & 0o7777, stat.st_mtime_ns) == (mode, mtime)
    return True


def tells_state(tree, name, answer):
    """The answer's tag and inode are those of what stands there now."""
    assert answer.get('Berth-Inode') == str((tree.path / name).lstat().st_ino)
    assert answer.get('ETag') == tree.member(name, 'getetag').text('getetag')
    return True


# ---- mode and time ----

@pytest.mark.parametrize('size', [0, 10, 100000])
def test_a_file_comes_with_mode_and_time(tree, blob, size):
    for status in (201, 204, 204):
        answer = tree.put('file', blob[:size], MODE, MTIME)
        assert answer.status == status and tells_state(tree, 'file', answer) and dressed(tree.path / 'file')
        assert answer.get('X-OC-MTime') is None
    assert tree.put('file', b'x', 'Berth-Mode: 0400').status == 204
    assert (tree.path / 'file').stat().st_mode & 0o7777 == 0o400
    plain = tree.put('file', b'y')
    assert plain.get('Berth-Inode') is None and (tree.path / 'file').stat().st_mode & 0o7777 == 0o400


def test_a_time_of_its_own_goes_before_that_of_owncloud(tree):
    assert tree.put('file', b'x', MTIME, 'X-OC-Mtime: 1').get('X-OC-MTime') is None
    assert (tree.path / 'file').stat().st_mtime_ns == MTIME_NS
    assert tree.put('file', b'x', MODE, 'X-OC-Mtime: 1').get('X-OC-MTime') == 'accepted'
    assert dressed(tree.path / 'file', mtime=1_000000000)


def test_times_before_1970(tree):
    assert tree.put('file', b'x', 'Berth-Mtime: -2.5').status == 201
    assert (tree.path / 'file').stat().st_mtime_ns == -1_500000000
    assert tree.member('file', POSIX + 'mtime').text(POSIX + 'mtime') == '-2.500000000'
    assert tree.get('file').status == 200


@pytest.mark.parametrize('field', ['Berth-Mode: rw', 'Berth-Mode: 10000', 'Berth-Mode: ', 'Berth-Mtime: now', 'Berth-Mtime: ',
                                   'Berth-Mtime: 1.0000000001', 'Berth-Links: others', 'Berth-Overwrite: T',
                                   'Berth-Mode: 0600\r\nBerth-Mode: 0600', 'Berth-Mtime: 1\r\nBerth-Mtime: 1'])
def test_malformed_fields_change_nothing(tree, field):
    tree.file('file')
    for method in ('PUT', 'MKCOL', 'DELETE', 'PATCH'):
        answer = tree.ask(method, 'new' if method == 'MKCOL' else 'file', field, body=b'' if method == 'PUT' else None)
        assert answer.status == 400, f'{method}: {answer}'
    assert tree.names() == ['file'] and tree.read('file') == b'content\n'


@pytest.mark.parametrize('mode', ['4755', '2755', '1777'])
def test_nobody_runs_a_file_as_the_server(tree, mode):
    field = f'Berth-Mode: {mode}'
    tree.file('file')
    for answer in (tree.put('new', b'x', field), tree.put('file', b'x', field),
                   tree.put('file', b'x', field, 'Content-Range: bytes 0-0/*'), tree.ask('PATCH', 'file', field)):
        assert (answer.status, answer.get('Berth-Error')) == (403, 'EPERM'), answer
    assert tree.names() == ['file'] and tree.read('file') == b'content\n'


def test_folders_are_shared_and_guarded(tree):
    """By set-group-id and sticky, which on a folder give nobody anything; set-user-id is refused."""
    assert tree.ask('MKCOL', 'shared', 'Berth-Mode: 2775').status == 201
    assert tree.ask('MKCOL', 'shared/below', 'Berth-Mode: 0755').status == 201
    assert tree.ask('MKCOL', 'guarded', 'Berth-Mode: 1777').status == 201
    modes = {name: stat.S_IMODE((tree.path / name).stat().st_mode) for name in ('shared', 'shared/below', 'guarded')}
    assert modes == {'shared': 0o2775, 'shared/below': 0o2755, 'guarded': 0o1777}
    assert tree.ask('PATCH', 'shared', 'Berth-Mode: 0755').status == 204
    assert stat.S_IMODE((tree.path / 'shared').stat().st_mode) == 0o755
    for method, name in (('PATCH', 'shared'), ('MKCOL', 'new')):
        answer = tree.ask(method, name, 'Berth-Mode: 4755')
        assert (answer.status, answer.get('Berth-Error')) == (403, 'EPERM')
    assert tree.names() == ['guarded', 'shared']


def byterange(content_range, body=b''):
    return b'Content-Range: ' + content_range + b'\r\n\r\n' + body


RANGES = {
    'put': lambda tree, *fields: tree.put('file', b'XY', 'Content-Range: bytes 1-2/*', *fields),
    'sabre': lambda tree, *fields: tree.ask('PATCH', 'file', SABRE, 'X-Update-Range: bytes=1-2', *fields, body=b'XY'),
    'append': lambda tree, *fields: tree.ask('PATCH', 'file', SABRE, 'X-Update-Range: append', *fields, body=b'XY'),
    'byterange': lambda tree, *fields: tree.ask('PATCH', 'file', BYTERANGE, *fields, body=byterange(b'bytes 1-2/*', b'XY')),
    'size': lambda tree, *fields: tree.ask('PATCH', 'file', BYTERANGE, *fields, body=byterange(b'bytes */3')),
    'put size': lambda tree, *fields: tree.put('file', b'', 'Content-Range: bytes */3', *fields),
    'large': lambda tree, *fields: tree.put('file', b'X' * 100000, 'Content-Range: bytes 1-100000/*', *fields),
}


@pytest.mark.parametrize('form', RANGES)
def test_a_range_comes_with_mode_and_time(tree, form):
    tree.file('file', b'content\n')
    first = RANGES[form](tree, MODE, MTIME)
    assert first.status == 204 and tells_state(tree, 'file', first) and dressed(tree.path / 'file')
    again = RANGES[form](tree, MODE, MTIME)
    assert again.status == 204 and again.get('ETag') != first.get('ETag'), 'the tag always moves'
    assert dressed(tree.path / 'file', mtime=MTIME_NS + 1)
    assert RANGES[form](tree).get('Berth-Inode') is None
    assert (tree.path / 'file').stat().st_mode & 0o7777 == 0o640


def test_a_range_of_a_new_file(tree):
    answer = tree.put('file', b'XY', 'Content-Range: bytes 3-4/*', MODE, MTIME)
    assert answer.status == 201 and tells_state(tree, 'file', answer) and dressed(tree.path / 'file')
    assert tree.read('file') == b'\0\0\0XY'


@pytest.mark.parametrize('sync', [[], ['Sync: data']])
def test_mode_and_time_alone(tree, sync):
    tree.file('file')
    (tree.path / 'folder').mkdir()
    for name in ('file', 'folder'):
        answer = tree.ask('PATCH', name, MODE, MTIME, *sync)
        assert answer.status == 204 and tells_state(tree, name, answer) and dressed(tree.path / name)
    tag = tree.etag('file')
    assert tree.ask('PATCH', 'file', 'Berth-Mode: 0600', 'If-Match: "x"', *sync).status == 412
    assert tree.ask('PATCH', 'file', 'Berth-Mode: 0600', f'If-Match: {tag}', *sync).get('ETag') == tag
    assert tree.ask('PATCH', 'none', MODE, *sync).status == 404
    assert dressed(tree.path / 'file', 0o600) and tree.read('file') == b'content\n'


def test_a_folder_comes_with_mode_and_time(tree):
    answer = tree.ask('MKCOL', 'folder', MODE, MTIME)
    assert answer.status == 201 and dressed(tree.path / 'folder')
    assert answer.get('Berth-Inode') == str((tree.path / 'folder').stat().st_ino)
    assert tree.ask('MKCOL', 'folder', MODE).status == 405
    assert tree.ask('MKCOL', 'plain').get('Berth-Inode') is None


def test_a_link_comes_with_its_own_time(tree):
    tree.file('file')
    before = (tree.path / 'file').stat().st_mtime_ns
    answer = tree.put('link', b'file', LINK, MTIME)
    assert answer.status == 201 and answer.get('Berth-Inode') == str((tree.path / 'link').lstat().st_ino)
    assert (tree.path / 'link').lstat().st_mtime_ns == MTIME_NS
    assert (tree.path / 'file').stat().st_mtime_ns == before
    assert tree.put('other', b'file', LINK, MODE).status == 400
    assert tree.names() == ['file', 'link']


def test_mode_and_time_wait_for_locks_and_conditions(tree):
    tree.file('file')
    token = token_of(tree.lock('file'))
    before = (tree.path / 'file').stat()
    for fields in ([], ['Content-Range: bytes 0-0/*']):
        assert tree.put('file', b'x', MODE, MTIME, *fields).status == 423
    assert tree.ask('PATCH', 'file', MODE, MTIME).status == 423
    after = (tree.path / 'file').stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert tree.ask('PATCH', 'file', MODE, MTIME, f'If: (<{token}>)').status == 204


# ---- rmdir and rename ----

def test_an_empty_folder_goes(tree):
    (tree.path / 'folder').mkdir()
    assert tree.ask('DELETE', 'folder', 'Depth: 0').status == 204
    assert tree.ask('DELETE', 'folder', 'Depth: 0').status == 404
    tree.file('file')
    assert tree.ask('DELETE', 'file', 'Depth: 0').status == 204
    assert tree.names() == []


@pytest.mark.parametrize('member', ['file', '.hidden'])
def test_a_folder_with_something_in_it_stays(tree, member):
    tree.file(f'folder/{member}')
    answer = tree.ask('DELETE', 'folder/', 'Depth: 0')
    assert answer.status == 409 and answer.get('Berth-Error') == 'ENOTEMPTY'
    assert tree.names('folder') == [member]
    assert tree.ask('DELETE', 'folder', 'Depth: 1').status == 400
    assert tree.ask('DELETE', 'folder').status == 204


def test_a_locked_folder_does_not_go(tree):
    (tree.path / 'folder').mkdir()
    token = token_of(tree.lock('folder'))
    assert tree.ask('DELETE', 'folder', 'Depth: 0').status == 423
    assert tree.ask('DELETE', 'folder', 'Depth: 0', f'If: (<{token}>)').status == 204


def test_rename_replaces_as_posix_has_it(tree):
    tree.file('file', b'file')
    tree.file('other', b'other')
    tree.file('full/member', b'member')
    (tree.path / 'empty').mkdir()
    refusals = {('empty', 'full'): 'ENOTEMPTY', ('file', 'full'): 'EISDIR', ('full', 'file'): 'ENOTDIR',
                ('full', 'full/within'): 'EINVAL', ('full/member', 'full'): 'ENOTEMPTY', ('empty', 'file'): 'ENOTDIR'}
    for (source, target), why in refusals.items():
        answer = tree.to('MOVE', source, target, RENAME)
        assert (answer.status, answer.get('Berth-Error')) == (409, why), f'{source} to {target}: {answer}'
    assert tree.to('MOVE', 'full', 'empty', RENAME, 'Overwrite: F').status == 412
    assert tree.names() == ['empty', 'file', 'full', 'other'] and tree.names('full') == ['member']
    assert tree.to('MOVE', 'full', 'empty', RENAME).status == 204
    assert tree.to('MOVE', 'file', 'other', RENAME, 'Overwrite: T').status == 204
    assert tree.to('MOVE', 'other', 'new', RENAME).status == 201
    assert tree.to('MOVE', 'empty', 'newer', RENAME, 'Overwrite: F').status == 201
    assert tree.names() == ['new', 'newer'] and tree.read('new') == b'file' and tree.read('newer/member') == b'member'
    assert tree.to('MOVE', 'none', 'new', RENAME).status == 404
    missing = tree.to('MOVE', 'new', 'none/new', RENAME)
    assert missing.status == 409 and missing.get('Berth-Error') is None
    assert tree.unfinished() == []


def test_rename_between_two_names_of_one_file_does_nothing(tree):
    tree.file('file')
    os.link(tree.path / 'file', tree.path / 'twin')
    assert tree.to('MOVE', 'file', 'twin', RENAME).status == 204
    assert tree.names() == ['file', 'twin']


def test_rename_waits_for_locks(tree):
    tree.file('file')
    tree.file('folder/member')
    (tree.path / 'empty').mkdir()
    token_of(tree.lock('folder/member'))
    assert tree.to('MOVE', 'folder', 'empty', RENAME).status in (207, 423)
    token = token_of(tree.lock('empty'))
    assert tree.to('MOVE', 'file', 'empty/file', RENAME).status == 423
    assert tree.to('MOVE', 'file', 'empty/file', RENAME, f'If: <{tree.href("empty")}> (<{token}>)').status == 201


# ---- attributes ----

def attribute(name, value=None):
    local = 'x' + os.fsencode(name).hex()
    if value is None:
        return ATTRIBUTE + local
    return set_property(f'<A:{local} xmlns:A="urn:berth:attribute">{base64.b64encode(value).decode()}</A:{local}>')


def value_of(tree, name, wanted):
    member = tree.member(name, attribute(wanted))
    if not member.found:
        assert member.failed == {attribute(wanted): 404}
        return None
    return base64.b64decode(member.text(attribute(wanted)) or '', validate=True)


@pytest.fixture
def kept(tree):
    """A file and a folder, on a file system that keeps users' attributes."""
    path = tree.file('file')
    (tree.path / 'folder').mkdir()
    try:
        os.setxattr(path, 'user.test', b'1')
        os.removexattr(path, 'user.test')
    except OSError:
        pytest.skip('no user.* attributes here')
    return tree


@pytest.mark.parametrize('where', ['file', 'folder'])
def test_attributes_are_those_of_the_file(kept, where):
    path = kept.path / where
    names = ['mime_type', 'ü', b'\xff\n', 'x' * 250]
    for name in names:
        for value in (b'text', b'', bytes(range(256))):
            assert kept.proppatch(where, attribute(name, value)).failed == {}
            assert os.getxattr(path, b'user.' + os.fsencode(name)) == value and value_of(kept, where, name) == value
    os.setxattr(path, 'user.outside', b'seen')
    assert value_of(kept, where, 'outside') == b'seen'
    assert kept.proppatch(where, remove_property(attribute('ü'))).failed == {}
    assert kept.proppatch(where, remove_property(attribute('never'))).failed == {}
    assert value_of(kept, where, 'ü') is None
    listed = {attribute(name) for name in ['outside', *names] if name != 'ü'}
    everything = kept.member(where)
    assert {name for name in everything.found if name.startswith(ATTRIBUTE)} == listed
    assert base64.b64decode(everything.text(attribute('outside'))) == b'seen'
    assert everything.text(attribute('mime_type')) == base64.b64encode(bytes(range(256))).decode()
    propname = kept.member(where, body='<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>')
    assert {name for name in propname.found if name.startswith(ATTRIBUTE)} == listed
    assert propname.text(attribute('outside')) is None


def test_attributes_come_along(kept):
    kept.proppatch('file', attribute('colour', b'red'))
    kept.to('COPY', 'file', 'copy')
    kept.put('file', b'another')
    kept.to('MOVE', 'file', 'moved', RENAME)
    assert value_of(kept, 'copy', 'colour') == value_of(kept, 'moved', 'colour') == b'red'


def test_attributes_of_the_server_are_its_own(kept):
    kept.proppatch('file', set_property('<N:a xmlns:N="urn:test">1</N:a>'))
    own = [name for name in os.listxattr(kept.path / 'file') if name.startswith('user.berth.')]
    for name in [*own, 'user.berth.lock', 'user.berth.new']:
        name = name.removeprefix('user.')
        assert kept.proppatch('file', attribute(name, b'x')).failed == {attribute(name): 403}
        assert kept.proppatch('file', remove_property(attribute(name))).failed == {attribute(name): 403}
        assert value_of(kept, 'file', name) is None
    assert not any(name.startswith(ATTRIBUTE) for name in kept.member('file').found)
    assert kept.proppatch('file', attribute('berthing', b'x')).failed == {}


def test_attributes_change_together_or_not(kept):
    os.setxattr(kept.path / 'file', 'user.a', b'before')
    mode = (kept.path / 'file').stat().st_mode
    for bad in (attribute('berth.x', b'x'), set_property('<B:inode xmlns:B="urn:berth:posix">1</B:inode>')):
        member = kept.proppatch('file', attribute('a', b'after'), set_property('<N:a xmlns:N="urn:test">1</N:a>'),
                                set_property('<B:mode xmlns:B="urn:berth:posix">0600</B:mode>'), bad)
        assert member.found == {} and member.failed[attribute('a')] == 424
        assert os.getxattr(kept.path / 'file', 'user.a') == b'before'
        assert os.listxattr(kept.path / 'file') == ['user.a'] and (kept.path / 'file').stat().st_mode == mode


@pytest.mark.parametrize('local,value', [('x6', 'eA=='), ('xzz', 'eA=='), ('y61', 'eA=='), ('x', 'eA=='), ('x4A', 'eA=='),
                                         ('x00', 'eA=='), ('x' + '61' * 251, 'eA=='), ('x61', 'eA='), ('x61', '!!!!'),
                                         ('x61', ' eA== '), ('x61', '<B/>')])
def test_malformed_attributes(kept, local, value):
    member = kept.proppatch('file', set_property(f'<A:{local} xmlns:A="urn:berth:attribute">{value}</A:{local}>'))
    assert member.failed == {ATTRIBUTE + local: 409}
    assert os.listxattr(kept.path / 'file') == []
    if value == 'eA==':
        assert kept.member('file', ATTRIBUTE + local).failed == {ATTRIBUTE + local: 404}


def test_attributes_as_large_as_the_file_system_takes(kept, blob):
    size = 64 << 10
    while size:
        try:
            os.setxattr(kept.path / 'file', 'user.try', blob[:size])
            break
        except OSError:
            size //= 2
    os.removexattr(kept.path / 'file', 'user.try')
    assert kept.proppatch('file', attribute('large', blob[:size])).failed == {}
    assert value_of(kept, 'file', 'large') == blob[:size]
    assert kept.proppatch('file', attribute('large', blob[:(64 << 10) + 1])).failed == {attribute('large'): 507}
    assert os.getxattr(kept.path / 'file', 'user.large') == blob[:size]


def test_attributes_wait_for_locks(kept):
    kept.lock('file')
    body = f'<D:propertyupdate xmlns:D="DAV:">{attribute("a", b"x")}</D:propertyupdate>'
    assert kept.ask('PROPPATCH', 'file', body=body).status == 423
    assert value_of(kept, 'file', 'a') is None


# ---- links themselves ----

@pytest.fixture
def linked(tree):
    """Links: to a file, to a folder, to nothing, out of the tree."""
    tree.file('file', b'behind')
    tree.file('folder/member')
    for name, target in {'to-file': 'file', 'to-folder': 'folder', 'dangling': 'no/such', 'outside': '/etc/passwd'}.items():
        os.symlink(target, tree.path / name)
    return tree


LINKS = ['to-file', 'to-folder', 'dangling', 'outside']


def mtime(seconds):
    return set_property(f'<B:mtime xmlns:B="urn:berth:posix">{seconds}</B:mtime>')


@pytest.mark.parametrize('name', LINKS)
def test_the_time_of_a_link(linked, name):
    others = {other: (linked.path / other).lstat().st_mtime_ns for other in linked.names() if other != name}
    assert linked.proppatch(name, mtime('77.000000005'), fields=[OWN]).failed == {}
    assert (linked.path / name).lstat().st_mtime_ns == 77_000000005
    assert {other: (linked.path / other).lstat().st_mtime_ns for other in others} == others
    assert linked.member(name, POSIX + 'mtime', POSIX + 'target').text(POSIX + 'mtime') == '77.000000005'
    body = f'<D:propfind xmlns:D="DAV:"><D:prop>{empty_elements([POSIX + "mtime", "resourcetype"])}</D:prop></D:propfind>'
    assert b'>77.000000005<' in linked.ask('PROPFIND', name, OWN, 'Depth: 0', body=body).body
    answer = linked.ask('PATCH', name, OWN, 'Berth-Mtime: 78')
    assert answer.status == 204 and answer.get('Berth-Inode') == str((linked.path / name).lstat().st_ino)
    assert (linked.path / name).lstat().st_mtime_ns == 78_000000000


@pytest.mark.parametrize('name', LINKS)
def test_nothing_is_set_through_a_link(linked, name):
    before = [(linked.path / one).lstat().st_mtime_ns for one in (name, 'file', 'folder')]
    assert linked.put(name, b'x', MODE).status == (405 if name == 'to-folder' else 403)
    assert linked.proppatch(name, mtime('77')).failed == {POSIX + 'mtime': 403}
    assert linked.ask('PATCH', name, MTIME).status == 403
    assert linked.proppatch(name, set_property('<B:mode xmlns:B="urn:berth:posix">0600</B:mode>'), fields=[OWN]).found == {}
    assert [(linked.path / one).lstat().st_mtime_ns for one in (name, 'file', 'folder')] == before


@pytest.mark.parametrize('name', LINKS)
def test_links_are_told_as_themselves(linked, name):
    body = f'<D:propfind xmlns:D="DAV:"><D:prop>{empty_elements([POSIX + "inode"])}</D:prop></D:propfind>'
    own = linked.ask('PROPFIND', name, OWN, 'Depth: 1', body=body)
    assert own.status == 207 and own.body.count(b'<D:response>') == 1
    assert f'>{(linked.path / name).lstat().st_ino}<'.encode() in own.body
    listed = linked.propfind('', POSIX + 'target', depth=1)
    assert set(listed) == {'', 'file', 'folder/', *LINKS}
    assert listed[name].text(POSIX + 'target') == os.readlink(linked.path / name)


@pytest.mark.parametrize('name', LINKS)
def test_links_are_moved_copied_linked_and_deleted_themselves(linked, name):
    target = os.readlink(linked.path / name)
    assert linked.to('COPY', name, 'copy').status == 201
    assert linked.to('COPY', name, 'copy', 'Depth: 0').status == 204
    assert linked.to('MOVE', 'copy', 'moved', 'Depth: 0').status == 201
    assert linked.to('MOVE', 'moved', 'copy', RENAME).status == 201
    answer = linked.to('LINK', 'copy', 'twin')
    assert answer.status == 201 and answer.get('Berth-Inode') == str((linked.path / 'copy').lstat().st_ino)
    assert os.readlink(linked.path / 'copy') == os.readlink(linked.path / 'twin') == target
    assert linked.to('MOVE', 'file', 'twin', RENAME).status == 204, 'over the link, not what it leads to'
    for one in ('copy', name):
        assert linked.ask('DELETE', one, 'Depth: 0').status == 204
    assert not os.path.lexists(linked.path / name) and not os.path.lexists(linked.path / 'copy')
    assert linked.read('twin') == b'behind' and linked.names('folder') == ['member']


@pytest.mark.parametrize('name', LINKS)
def test_conditions_on_a_link(linked, name):
    tag = linked.member(name, 'getetag', POSIX + 'target').text('getetag')
    assert linked.ask('DELETE', name, OWN, 'If-Match: "x"').status == 412
    assert linked.ask('DELETE', name, OWN, f'If-Match: {tag}').status == 204
    assert name not in linked.names()


@pytest.mark.parametrize('name', [*LINKS, 'file', 'folder'])
def test_a_new_link_over_a_name(linked, name):
    assert linked.put(name, b'target', LINK, 'If-None-Match: *').status == 412
    assert linked.put(name, b'target', LINK).status in (405, 409)
    assert linked.put('new', b'target', LINK, 'If-None-Match: *').status == 201


@pytest.mark.parametrize('name', LINKS)
def test_links_that_are_never_followed(serve_tree, name):
    tree = serve_tree('--symlinks=never')
    tree.file('file')
    (tree.path / 'folder').mkdir()
    targets = {'to-file': 'file', 'to-folder': 'folder', 'dangling': 'no/such', 'outside': '/etc/passwd'}
    assert tree.put(name, targets[name].encode(), LINK, MTIME).status == 201
    assert tree.to('MOVE', name, 'moved', RENAME).status == 201
    assert tree.to('LINK', 'moved', 'twin').status == 201
    assert tree.proppatch('twin', mtime('5'), fields=[OWN]).failed == {}
    assert (tree.path / 'moved').lstat().st_mtime_ns == 5_000000000
    assert tree.ask('DELETE', 'moved').status == 204 and tree.ask('DELETE', 'twin').status == 204


@pytest.mark.parametrize('target', [b'\xff\xfe', b'a\nb', b'\x01', b'a\rb', '<ü&>'.encode(), b' ', b'x' * 4095])
def test_a_target_of_any_bytes(tree, target):
    assert tree.put('link', target, LINK).status == 201
    element = tree.member('link', POSIX + 'target').found[POSIX + 'target']
    text = element.text.encode()
    assert (base64.b64decode(text) if element.get('encoding') == 'base64' else text) == target
    assert os.readlink(os.fsencode(tree.path / 'link')) == target


# ---- names of any bytes ----

NAMES = [b'\xff\xfe', b'a\nb', b'a\rb', b'\x01\x7f', b'"\'', b'100%', b'%41', b'a?b', b'a#b', b'a;b', b' ', b'a b ', b'a\\b',
         b'\\', b'x' * 255, b'\xc3' * 255, 'ü'.encode(), b'a&b<c>', b'a:b', b'*', b'a+b', b'~', b'-', b'%', b'con', b'a=b,c']


@pytest.mark.parametrize('name', NAMES, ids=repr)
def test_a_name_of_any_bytes(tree, name):
    text, moved = os.fsdecode(name), os.fsdecode(b'\xfe' + name[1:])
    assert tree.put(text, b'first', MODE).status == 201
    assert tree.put(text, b'second', MTIME).status == 204
    assert tree.get(text).body == b'second' and os.listdir(os.fsencode(tree.path)) == [name]
    assert set(tree.propfind('', 'getetag', depth=1)) == {'', text}
    assert tree.ask('HEAD', target=tree.url + ''.join(f'%{byte:02x}' for byte in name)).status == 200
    assert decode(tree.member(text, 'getetag').href) == tree.url + text
    for fields in ([], [RENAME]):
        assert tree.to('MOVE', text, moved, *fields).status == (403 if text == moved else 201)
        if text != moved:
            assert os.listdir(os.fsencode(tree.path)) == [os.fsencode(moved)]
            assert tree.to('MOVE', moved, text, *fields).status == 201
    assert tree.to('COPY', text, 'copy').status == 201 and tree.to('LINK', text, 'twin').status == 201
    assert tree.put('link', name, LINK).status == 201 and os.readlink(os.fsencode(tree.path / 'link')) == name
    assert tree.proppatch(text, mtime('9')).failed == {}
    token = token_of(tree.lock(text))
    assert tree.ask('DELETE', text).status == 423
    assert tree.ask('DELETE', text, f'If: (<{token}>)').status == 204
    assert tree.ask('MKCOL', text).status == 201 and tree.put(f'{text}/{text}', b'within').status == 201
    assert set(tree.propfind(text, 'getetag', depth=1)) == {text + '/', f'{text}/{text}'}
    assert tree.ask('DELETE', text, 'Depth: 0').status == 409 and tree.ask('DELETE', text).status == 204


def test_a_name_that_is_too_long(tree):
    assert tree.put('x' * 256, b'').status == 414


def test_hidden_names_are_written_where_they_are_served(serve_tree):
    tree = serve_tree('--hidden')
    assert tree.ask('MKCOL', '.git', MODE).status == 201
    for name in ('.git/HEAD', '.git/.lock', '..data', '...'):
        assert tree.put(name, b'x', MODE).status == 201
        assert tree.put(name, b'y').status == 204
        assert tree.put(name, b'z', 'Content-Range: bytes 0-0/*', MODE).status == 204
    assert tree.to('MOVE', '.git/.lock', '.git/config', RENAME).status == 201
    assert tree.put('.link', b'.git/config', LINK).status == 201
    assert set(tree.propfind('.git', 'getetag', depth=1)) == {'.git/', '.git/HEAD', '.git/config'}
    assert set(tree.propfind('', 'getetag', depth=1)) == {'', '.git/', '..data', '...', '.link'}
    for name in ('.berth-staging', '.berth-staging/x'):
        assert tree.put(name, b'x').status == 403 and tree.to('MOVE', '...', name, RENAME).status == 403
        assert tree.ask('DELETE', name, 'Depth: 0').status == 403 and tree.to('LINK', '...', name).status == 403
    assert tree.ask('DELETE', '.git', 'Depth: 0').status == 409 and tree.ask('DELETE', '.git').status == 204
