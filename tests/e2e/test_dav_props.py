"""PROPFIND and PROPPATCH: live properties, dead ones, what is refused, and the sequences of real clients."""
import email.utils
import os
import re
import shutil
import time
import xml.etree.ElementTree as ElementTree

import pytest
from dav import (DAV, POSIX, WIN32, clark, classes, decode, encode, error_names, locks_of, multistatus, propfind_body,
                 remove_property, set_property, token_of, update_body, upload)
from wire import request

OWN = '{urn:test}'
QUOTA = ('quota-available-bytes', 'quota-used-bytes')
ALL = {'creationdate', 'displayname', 'getetag', 'getlastmodified', 'lockdiscovery', 'resourcetype', 'supportedlock'}
OF_FILES = ALL | {'getcontentlength', 'getcontenttype'}


def local_names(elements):
    return {name.removeprefix(DAV) for name in elements}


# ---- who is told of ----

@pytest.fixture
def garden(tree):
    for name in ('file.txt', 'ü %.html', 'folder/within', 'folder/deep/er'):
        tree.file(name, name.encode())
    return tree


def test_depth_0_and_1(garden):
    assert set(garden.propfind('')) == {''}
    members = garden.propfind('', depth=1)
    assert set(members) == {'', 'file.txt', 'ü %.html', 'folder/'}
    assert [name for name, member in members.items() if member.is_folder()] == ['', 'folder/']
    assert set(garden.propfind('folder', depth=1)) == {'folder/', 'folder/within', 'folder/deep/'}, 'its slash need not be asked'
    assert set(garden.propfind('file.txt', depth=1)) == {'file.txt'}


def test_depth_infinity_is_off_unless_allowed(garden):
    for fields in (['Depth: infinity'], ['Depth: Infinity'], []):
        answer = garden.ask('PROPFIND', '', *fields)
        assert answer.status == 403 and error_names(answer) == ['propfind-finite-depth'], answer
    assert garden.ask('PROPFIND', '', 'Depth: 2').status == 400
    assert garden.ask('PROPFIND', '', 'Depth: none').status == 400


def test_depth_infinity_when_allowed(serve_tree):
    tree = serve_tree('--propfind-infinity')
    names = ['a', 'b/c', 'b/d/e', 'b/d/f']
    for name in names:
        tree.file(name)
    everything = {'', 'b/', 'b/d/', *names}
    assert set(tree.propfind('', depth='infinity')) == everything
    assert {path[1:] for path in multistatus(tree.ask('PROPFIND', ''))} == everything
    assert set(tree.propfind('b', depth=1)) == {'b/', 'b/c', 'b/d/'}


def test_nothing_there(tree):
    assert tree.ask('PROPFIND', 'none', 'Depth: 0').status == 404
    assert tree.ask('PROPFIND', 'none/none', 'Depth: 1').status == 404
    assert tree.ask('PROPPATCH', 'none', body=update_body(set_property('<N:a xmlns:N="urn:test"/>'))).status == 404


# ---- what is told ----

@pytest.mark.parametrize('body', [None, '', '<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>',
                                  '<propfind xmlns="DAV:"><unknown xmlns="urn:x"/><allprop/></propfind>'])
def test_allprop(garden, body):
    garden.proppatch('file.txt', set_property('<N:own xmlns:N="urn:test">mine</N:own>'))
    members = garden.propfind('', depth=1, body=body)
    assert OF_FILES <= local_names(members['file.txt'].found) and ALL <= local_names(members['folder/'].found)
    assert members['file.txt'].found[OWN + 'own'].text == 'mine'
    assert not any(member.failed for member in members.values()), 'allprop knows what there is'
    assert not any(local_names(member.found) & set(QUOTA) for member in members.values())


def test_propname(garden):
    garden.proppatch('file.txt', set_property('<N:own xmlns:N="urn:test">mine</N:own>'))
    member = garden.member('file.txt', body='<propfind xmlns="DAV:"><propname/></propfind>')
    assert OF_FILES <= local_names(member.found) and OWN + 'own' in member.found
    assert not any(len(element) or element.text for element in member.found.values()), 'names only'


def test_include(garden):
    member = garden.member('', body=propfind_body(all_and=[*QUOTA, OWN + 'none']))
    assert ALL | set(QUOTA) <= local_names(member.found)


def test_prop_tells_what_was_asked_and_nothing_else(garden):
    member = garden.member('file.txt', 'getetag', 'getcontentlength', OWN + 'none', 'none', '{}none')
    assert local_names(member.found) == {'getetag', 'getcontentlength'}
    assert member.failed == {OWN + 'none': 404, DAV + 'none': 404, 'none': 404}
    member = garden.member('folder/', 'getcontentlength', 'resourcetype')
    assert local_names(member.found) >= {'resourcetype'}


def test_live_properties_say_what_get_says(garden):
    for name in ('file.txt', 'ü %.html'):
        head, member = garden.ask('HEAD', name), garden.member(name)
        assert member.text('getetag') == head.get('ETag')
        assert member.text('getlastmodified') == head.get('Last-Modified')
        assert member.text('getcontentlength') == head.get('Content-Length')
        assert member.text('getcontenttype') == head.get('Content-Type')
        assert member.text('displayname') == name
        assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', member.text('creationdate'))
        assert not len(member.found[clark('resourcetype')]) and not member.locks()
        entries = member.found[clark('supportedlock')].findall(f'{DAV}lockentry')
        assert {scope.tag for entry in entries for scope in entry.find(f'{DAV}lockscope')} == {f'{DAV}exclusive', f'{DAV}shared'}


def test_hrefs_are_encoded_and_lead_where_they_say(garden):
    for member in garden.propfind('', depth=1).values():
        assert garden.ask('HEAD', target=member.href).status == 200
        assert member.href.endswith('/') == member.is_folder()


@pytest.mark.parametrize('markup', ['<&">\'', ']]>', '&amp;'])
def test_markup_in_names(garden, markup):
    garden.file(markup)
    assert garden.member(markup).text('displayname') == markup


def test_quota(garden):
    for name in ('', 'folder/'):
        member = garden.member(name, *QUOTA)
        stat = os.statvfs(garden.path)
        available = int(member.text('quota-available-bytes'))
        assert abs(available - stat.f_bavail * stat.f_frsize) < 1 << 30, 'others write here, too'
        assert int(member.text('quota-used-bytes')) >= 0


def test_posix_properties(tree):
    path = tree.file('file')
    path.chmod(0o640)
    os.utime(path, ns=(1, 1700000000_123456789))
    names = [POSIX + name for name in ('mode', 'mtime', 'inode', 'links', 'target')]
    member = tree.member('file', *names)
    assert [member.text(name) for name in names[:4]] == ['0640', '1700000000.123456789', str(path.stat().st_ino), '1']
    assert member.failed == {POSIX + 'target': 404}
    assert not any(name.startswith(POSIX) for name in tree.member('file').found), 'only who asks is told'
    tree.proppatch('file', set_property('<B:mode xmlns:B="urn:berth:posix">0600</B:mode>'),
                   set_property('<B:mtime xmlns:B="urn:berth:posix">1600000000.000000007</B:mtime>'))
    assert path.stat().st_mode & 0o7777 == 0o600 and path.stat().st_mtime_ns == 1600000000_000000007
    for xml in ('<B:mode xmlns:B="urn:berth:posix">rw</B:mode>', '<B:mode xmlns:B="urn:berth:posix">99999</B:mode>',
                '<B:mtime xmlns:B="urn:berth:posix">yesterday</B:mtime>', '<B:inode xmlns:B="urn:berth:posix">1</B:inode>'):
        assert set(tree.proppatch('file', set_property(xml)).failed.values()) <= {403, 409, 422}, xml
    assert path.stat().st_mode & 0o7777 == 0o600 and path.stat().st_mtime_ns == 1600000000_000000007
    os.mkdir(tree.path / 'folder')
    tree.proppatch('folder', set_property('<B:mode xmlns:B="urn:berth:posix">0750</B:mode>'))
    assert (tree.path / 'folder').stat().st_mode & 0o7777 == 0o750


def test_options_advertise_it(tree):
    tree.file('file')
    for target in ('', 'file', 'none'):
        answer = tree.ask('OPTIONS', target)
        assert answer.status in (200, 204), answer
        assert {'1', '2', '3', 'sabredav-partialupdate', '<urn:berth:posix>'} <= set(classes(answer))
        assert answer.get('MS-Author-Via') == 'DAV'
        patches = [one.strip() for one in answer.get('Accept-Patch').split(',')]
        assert set(patches) == {'application/x-sabredav-partialupdate', 'message/byterange'}
    allowed = set(tree.ask('OPTIONS', 'file').get('Allow').split(', '))
    assert {'OPTIONS', 'GET', 'HEAD', 'PUT', 'DELETE', 'COPY', 'MOVE', 'PROPFIND', 'PROPPATCH', 'LOCK', 'UNLOCK', 'PATCH'} <= allowed
    assert tree.ask('OPTIONS', target='*').status in (200, 204)


def test_a_server_that_is_read_only_tells_what_can_be_read(serve):
    answer = serve().fetch('/', method='OPTIONS')
    assert set(classes(answer)) == {'1', '3', '<urn:berth:posix>'} and 'PUT' not in answer.get('Allow')


# ---- dead properties ----

VALUES = {
    'text': '<N:p xmlns:N="urn:test">plain text</N:p>',
    'empty': '<N:p xmlns:N="urn:test"/>',
    'escapes': '<N:p xmlns:N="urn:test">&lt;a&gt; &amp; &#8364; &quot;</N:p>',
    'white space': '<N:p xmlns:N="urn:test">  two  spaces \t </N:p>',
    'elements': '<N:p xmlns:N="urn:test"><N:a><N:b/>mixed<N:c>x</N:c> text</N:a></N:p>',
    'many spaces': '<N:p xmlns:N="urn:test"><a xmlns="urn:a"><b xmlns="urn:b"/><O:c xmlns:O="urn:c" O:at="1" other="2"/></a></N:p>',
    'none': '<p xmlns="">no namespace</p>',
    'default': '<p xmlns="urn:test"><q>default</q></p>',
    'xml': '<N:p xmlns:N="urn:test" xml:lang="de"><N:q xml:lang="en" xml:space="preserve">x</N:q></N:p>',
    'unicode': '<N:p xmlns:N="urn:test">&#x10000; \U0001f600 \u00fc \u0410</N:p>',
    'odd names': '<N:p-._1 xmlns:N="http://example.org/a?b=c&amp;d#e"/>',
    'comments': '<N:p xmlns:N="urn:test">a<!-- gone -->b<![CDATA[<c>]]></N:p>',
    'entities': '<N:p xmlns:N="urn:test" at="&quot;&lt;&#10;"><a at="\'"/></N:p>',
}


def canonical(element):
    """What matters of a property: names, attributes, text; not prefixes."""
    return (element.tag, sorted(element.attrib.items()), element.text or '',
            [(canonical(child), child.tail or '') for child in element])


@pytest.mark.parametrize('xml', VALUES.values(), ids=VALUES)
def test_dead_properties_come_back_as_they_were(tree, xml):
    wanted = ElementTree.fromstring(xml)
    for name in ('file', 'folder/'):
        tree.file('file') if name == 'file' else (tree.path / name).mkdir()
        member = tree.proppatch(name, set_property(xml))
        assert list(member.found) == [wanted.tag] and not member.failed
        space_and_name = wanted.tag if wanted.tag.startswith('{') else '{}' + wanted.tag
        told = tree.member(name, space_and_name).found[wanted.tag]
        told.attrib = {key: value for key, value in told.attrib.items() if key in wanted.attrib}
        wanted.attrib = {key: value for key, value in wanted.attrib.items() if key.endswith('}lang')}
        told.attrib = {key: value for key, value in told.attrib.items() if key in wanted.attrib}
        assert canonical(told)[1:] == canonical(wanted)[1:], ElementTree.tostring(told)
        assert wanted.tag in tree.member(name).found


def test_the_language_of_a_property_is_that_around_it(tree):
    tree.file('file')
    body = ('<D:propertyupdate xmlns:D="DAV:" xml:lang="en"><D:set><D:prop xml:lang="fr"><N:one xmlns:N="urn:test">un</N:one>'
            '<N:two xmlns:N="urn:test" xml:lang="de">zwei</N:two></D:prop></D:set></D:propertyupdate>')
    assert tree.ask('PROPPATCH', 'file', body=body).status == 207
    found = tree.member('file').found
    language = '{http://www.w3.org/XML/1998/namespace}lang'
    assert [found[OWN + name].get(language) for name in ('one', 'two')] == ['fr', 'de']


def test_dead_properties_change_and_go(tree):
    tree.file('file')
    etag = tree.etag('file')
    for value in ('first', 'second', '2' * 500, ''):
        assert tree.proppatch('file', set_property(f'<N:p xmlns:N="urn:test">{value}</N:p>')).found
        assert (tree.member('file', OWN + 'p').text(OWN + 'p') or '') == value
    assert tree.proppatch('file', remove_property(OWN + 'p')).found
    assert tree.member('file', OWN + 'p').failed == {OWN + 'p': 404}
    assert tree.proppatch('file', remove_property(OWN + 'p')).found, 'removing what is not there is no error'
    assert tree.etag('file') == etag and tree.read('file') == b'content\n'


def test_set_and_remove_in_the_order_of_the_document(tree):
    tree.file('file')
    tree.proppatch('file', set_property('<N:p xmlns:N="urn:test">1</N:p>'), remove_property(OWN + 'p'))
    assert tree.member('file', OWN + 'p').failed
    tree.proppatch('file', remove_property(OWN + 'p'), set_property('<N:p xmlns:N="urn:test">2</N:p>'))
    assert tree.member('file', OWN + 'p').text(OWN + 'p') == '2'


def test_dead_properties_outlive_upload_and_server(serve_tree):
    tree = serve_tree()
    tree.put('file', b'1')
    tree.proppatch('file', set_property('<N:p xmlns:N="urn:test">kept</N:p>'))
    tree.put('file', b'2')
    assert tree.member('file', OWN + 'p').text(OWN + 'p') == 'kept'
    tree.server.stop()
    assert serve_tree().member('file', OWN + 'p').text(OWN + 'p') == 'kept'


@pytest.mark.parametrize('bad', ['<D:getetag>"x"</D:getetag>', '<D:resourcetype><D:collection/></D:resourcetype>',
                                 '<D:lockdiscovery/>', '<D:getcontentlength>5</D:getcontentlength>',
                                 '<D:getlastmodified>yesterday</D:getlastmodified>'])
@pytest.mark.parametrize('first', [True, False])
def test_all_changes_or_none(tree, bad, first):
    tree.file('file')
    tree.proppatch('file', set_property('<N:old xmlns:N="urn:test">old</N:old>'))
    parts = [set_property('<N:old xmlns:N="urn:test">changed</N:old>'), set_property('<N:p xmlns:N="urn:test">new</N:p>'),
             remove_property(OWN + 'old')]
    parts.insert(0 if first else 3, set_property(bad))
    member = tree.proppatch('file', *parts)
    protected = ElementTree.fromstring(f'<x xmlns:D="DAV:">{bad}</x>')[0].tag
    assert not member.found and member.failed.pop(protected) in (403, 409)
    assert member.failed == {OWN + 'old': 424, OWN + 'p': 424}
    if 'getetag' in bad:
        assert member.error is not None and member.error.find(f'{DAV}cannot-modify-protected-property') is not None
    member = tree.member('file', OWN + 'old', OWN + 'p')
    assert member.text(OWN + 'old') == 'old' and member.failed == {OWN + 'p': 404}


def test_no_room_for_properties(tree):
    """Attributes have little room on most file systems: what does not fit is 507, and all that did fit stays."""
    tree.file('file')
    for number in range(200):
        member = tree.proppatch('file', set_property(f'<N:p{number} xmlns:N="urn:test">{"x" * 1000}</N:p{number}>'),
                                set_property(f'<N:with{number} xmlns:N="urn:test"/>'))
        if member.failed:
            break
    else:
        pytest.skip('200 kB of attributes fit on this file system')
    assert number > 0 and set(member.failed.values()) <= {507, 424} and 507 in member.failed.values() and not member.found
    found = tree.member('file').found
    assert {name for name in found if name.startswith(OWN)} == {f'{OWN}{kind}{n}' for n in range(number) for kind in ('p', 'with')}
    assert tree.proppatch('file', remove_property(OWN + 'p0')).found
    assert tree.put('file', b'still').status == 204


def test_large_values_are_kept_or_refused_with_a_reason(tree):
    tree.file('file')
    value = 'y' * 50000
    member = tree.proppatch('file', set_property(f'<N:p xmlns:N="urn:test">{value}</N:p>'))
    if member.failed:
        assert member.failed == {OWN + 'p': 507}
    told = tree.member('file', OWN + 'p')
    assert told.failed == {OWN + 'p': 404} if member.failed else told.text(OWN + 'p') == value
    answer = tree.ask('PROPPATCH', 'file', body=update_body(set_property(f'<N:p xmlns:N="urn:test">{"z" * 100000}</N:p>')))
    assert answer.status == 413 or set(multistatus(answer).popitem()[1].failed.values()) == {507}


# ---- times ----

@pytest.mark.parametrize('xml', ['<Z:Win32LastModifiedTime xmlns:Z="urn:schemas-microsoft-com:">{}</Z:Win32LastModifiedTime>',
                                 '<D:getlastmodified>{}</D:getlastmodified>'])
def test_times_that_are_set(tree, xml):
    for name, when in (('file', 1700000000), ('folder/', 1600000000)):
        tree.file('file') if name == 'file' else (tree.path / name).mkdir()
        member = tree.proppatch(name, set_property(xml.format(email.utils.formatdate(when, usegmt=True))))
        assert member.found and not member.failed
        assert int((tree.path / name).stat().st_mtime) == when
        assert tree.member(name).text('getlastmodified') == email.utils.formatdate(when, usegmt=True)
    assert tree.ask('HEAD', 'file').get('Last-Modified') == email.utils.formatdate(1700000000, usegmt=True)


# ---- what is refused ----

BAD_FIND = {
    'cut off': '<D:propfind xmlns:D="DAV:"><D:allprop/>',
    'wrong nesting': '<D:propfind xmlns:D="DAV:"><D:prop></D:propfind></D:prop>',
    'no XML': 'allprop',
    'another root': '<D:lockinfo xmlns:D="DAV:"/>',
    'no namespace': '<propfind><allprop/></propfind>',
    'undeclared prefix': '<D:propfind xmlns:D="DAV:"><D:prop><x:y/></D:prop></D:propfind>',
    'empty declaration': '<D:propfind xmlns:D="DAV:"><D:prop><x:y xmlns:x=""/></D:prop></D:propfind>',
    'nothing asked': '<D:propfind xmlns:D="DAV:"/>',
    'two at once': '<D:propfind xmlns:D="DAV:"><D:allprop/><D:propname/></D:propfind>',
    'two documents': '<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>',
    'document type': '<!DOCTYPE x><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>',
    'entity': '<!DOCTYPE x [<!ENTITY e "allprop">]><D:propfind xmlns:D="DAV:"><D:prop><D:a>&e;</D:a></D:prop></D:propfind>',
    'external': '<!DOCTYPE x SYSTEM "file:///etc/passwd"><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>',
    'laughs': '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "%s"><!ENTITY c "%s">]><D:propfind xmlns:D="DAV:"><D:prop><a>&c;</a></D:prop>'
              '</D:propfind>' % ('&a;' * 1000, '&b;' * 1000),
    'control bytes': '<D:propfind xmlns:D="DAV:"><D:allprop/>\x01</D:propfind>',
    'no UTF-8': b'<D:propfind xmlns:D="DAV:"><D:allprop/>\xff\xfe</D:propfind>',
}


@pytest.mark.parametrize('body', BAD_FIND.values(), ids=BAD_FIND)
def test_malformed_propfind(tree, body):
    assert tree.ask('PROPFIND', '', 'Depth: 0', body=body).status == 400


BAD_UPDATE = {
    'nothing': '',
    'another root': '<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>',
    'cut off': '<D:propertyupdate xmlns:D="DAV:">',
    'undeclared prefix': update_body(set_property('<x:y/>')),
    'no namespace': '<propertyupdate/>',
    'document type': '<!DOCTYPE x [<!ENTITY e "v">]>' + update_body(set_property('<N:p xmlns:N="urn:test">&e;</N:p>'))
                     .removeprefix('<?xml version="1.0" encoding="utf-8"?>'),
}


@pytest.mark.parametrize('body', BAD_UPDATE.values(), ids=BAD_UPDATE)
def test_malformed_proppatch(tree, body):
    tree.file('file')
    assert tree.ask('PROPPATCH', 'file', body=body).status == 400
    assert not [name for name in tree.member('file').found if name.startswith(OWN)]


def test_other_encodings_that_xml_knows(tree):
    body = '<?xml version="1.0" encoding="utf-16"?><D:propfind xmlns:D="DAV:"><D:prop><D:getetag/></D:prop></D:propfind>'
    assert list(tree.member('', body=body.encode('utf-16')).failed or tree.member('').found)
    body = body.replace('utf-16', 'iso-8859-1').replace('getetag', 'displayname')
    assert tree.member('', body=body.encode('latin-1')).text('displayname') is not None


def test_bodies_too_large_or_too_deep(tree):
    tree.file('file')
    filler = '<!--' + 'x' * (1 << 20) + '-->'
    for method, body in (('PROPFIND', propfind_body('getetag') + filler), ('PROPPATCH', update_body() + filler),
                         ('LOCK', f'<D:lockinfo xmlns:D="DAV:">{filler}</D:lockinfo>')):
        with tree.connect() as connection:
            answer = upload(connection, tree.href('file'), body.encode(), f'Content-Length: {len(body)}', 'Depth: 0', method=method)
            assert answer.status == 413, answer
        with tree.connect() as connection:
            chunks = b'%x\r\n%b\r\n0\r\n\r\n' % (len(body), body.encode())
            answer = upload(connection, tree.href('file'), chunks, 'Transfer-Encoding: chunked', 'Depth: 0', method=method)
            assert answer.status == 413, answer
    deep = '<D:propfind xmlns:D="DAV:"><D:prop>' + '<a>' * 5000 + '</a>' * 5000 + '</D:prop></D:propfind>'
    assert tree.ask('PROPFIND', 'file', 'Depth: 0', body=deep).status in (400, 413)
    many = propfind_body(*[f'{{urn:test}}p{number}' for number in range(5000)])
    assert tree.ask('PROPFIND', 'file', 'Depth: 0', body=many).status == 413
    assert not tree.member('file').locks()


# ---- many ----

@pytest.fixture(scope='session')
def meadow(memory_folder):
    path = memory_folder / 'meadow'
    path.mkdir()
    for number in range(20000):
        (path / f'{number:05}-with-a-name-of-some-length').touch()
    yield path
    shutil.rmtree(path)


def test_twenty_thousand_in_bounded_memory(meadow, serve):
    few = os.environ.get('ASAN_OPTIONS', '') + ':quarantine_size_mb=1:detect_stack_use_after_return=0'  # they keep memory
    server = serve('--writable', '--threads=1', folder=meadow, env={**os.environ, 'ASAN_OPTIONS': few})
    server.fetch('/', 'Depth: 0', method='PROPFIND')
    before = server.rss()
    with server.connect(receive_buffer=4096) as connection:
        connection.send(request('/', 'Depth: 1', method='PROPFIND'))
        head = connection.read_head()
        assert head.status == 207
        time.sleep(0.5)  # whatever it gathers for a slow reader
        assert server.rss() - before < 8 << 20
        assert server.fetch('/none').status == 404, 'the others do not wait'
        length = head.get('Content-Length')
        body = connection.read(int(length)) if length else b''.join(connection.read_chunks())
    assert server.rss() - before < 8 << 20 < len(body)
    hrefs = [element.text for element in ElementTree.fromstring(body).iter(f'{DAV}href') if element.text.startswith('/')]
    assert len(set(hrefs)) == len(hrefs) == 20001


def test_a_reader_that_leaves_in_the_middle(meadow, serve):
    server = serve('--writable', '--threads=1', folder=meadow)
    for _ in range(5):
        with server.connect(receive_buffer=4096) as connection:
            connection.send(request('/', 'Depth: 1', method='PROPFIND'))
            connection.read_head()
    assert server.fetch('/', 'Depth: 0', method='PROPFIND').status == 207


# ---- sequences of real clients (facts/server.md) ----

def test_explorer_saves_a_file(tree):
    """Windows MiniRedirector: LOCK without Depth, UNLOCK without <>, a folder without its slash."""
    with tree.connect() as connection:
        def ask(method, name, *fields, **more):
            fields = ('User-Agent: Microsoft-WebDAV-MiniRedir/10.0.19045', 'Connection: Keep-Alive', *fields)
            return tree.ask(method, name, *fields, connection=connection, **more)
        answer = connection.ask('/', 'Host: test', 'translate: f', method='OPTIONS')
        assert {'1', '2'} <= set(classes(answer)) and answer.get('MS-Author-Via') == 'DAV'
        assert multistatus(ask('PROPFIND', '', 'Depth: 0', 'translate: f', body=b''))
        assert ask('PROPFIND', 'new.docx', 'Depth: 0', body=b'').status == 404
        assert ask('PUT', 'new.docx', body=b'').status == 201
        answer = ask('LOCK', 'new.docx', 'Timeout: Second-3600', 'Content-Type: text/xml; charset="utf-8"', body=(
            '<?xml version="1.0" encoding="utf-8" ?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
            '<D:locktype><D:write/></D:locktype><D:owner><D:href>DOMAIN\\user</D:href></D:owner></D:lockinfo>'))
        token = token_of(answer)
        held = f'If: (<{token}>)'
        times = ('<?xml version="1.0" encoding="utf-8" ?><D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:">'
                 '<D:set><D:prop><Z:Win32CreationTime>Tue, 14 Nov 2023 22:13:00 GMT</Z:Win32CreationTime>'
                 '<Z:Win32LastAccessTime>Tue, 14 Nov 2023 22:13:10 GMT</Z:Win32LastAccessTime>'
                 '<Z:Win32LastModifiedTime>Tue, 14 Nov 2023 22:13:20 GMT</Z:Win32LastModifiedTime>'
                 '<Z:Win32FileAttributes>00000020</Z:Win32FileAttributes></D:prop></D:set></D:propertyupdate>')
        (member,) = multistatus(ask('PROPPATCH', 'new.docx', held, body=times)).values()
        assert len(member.found) == 4 and not member.failed
        assert ask('HEAD', 'new.docx').status == 200
        assert ask('PUT', 'new.docx', held, body=b'the document').status == 204
        (member,) = multistatus(ask('PROPPATCH', 'new.docx', held, body=times)).values()
        assert len(member.found) == 4
        assert ask('UNLOCK', 'new.docx', f'Lock-Token: {token}').status == 204
        (member,) = multistatus(ask('PROPFIND', 'new.docx', 'Depth: 0', body=b'')).values()
        assert member.text('getlastmodified') == 'Tue, 14 Nov 2023 22:13:20 GMT'
        assert member.found[WIN32 + 'Win32FileAttributes'].text == '00000020'
        assert ask('MKCOL', 'New folder', body=b'').status == 201
        assert ask('MOVE', 'New folder', f'Destination: http://test{tree.href("Reports")}', 'Overwrite: F', body=b'').status == 201
        assert ask('MOVE', 'new.docx', f'Destination: http://test{tree.href("Reports/new.docx")}', 'Overwrite: F').status == 201
        assert ask('DELETE', 'Reports').status == 204
    assert tree.names() == []


def test_finder_copies_a_file(tree, blob):
    """macOS: chunked, quota, NFD names, look-ups of what is not there."""
    name = 'Mu\u0308nchen.pdf'
    with tree.connect() as connection:
        def ask(method, name, *fields, **more):
            return tree.ask(method, name, 'User-Agent: WebDAVFS/3.0.0 (03008000) Darwin/21.6.0', *fields, connection=connection, **more)
        assert {'1', '2'} <= set(classes(ask('OPTIONS', '')))
        wanted = propfind_body('getlastmodified', 'getcontentlength', 'creationdate', 'resourcetype', *QUOTA)
        (member,) = multistatus(ask('PROPFIND', '', 'Depth: 0', body=wanted)).values()
        assert int(member.text('quota-available-bytes')) > 0
        for missing in ('.DS_Store', '._.', f'._{name}', '.hidden', '.ql_disablethumbnails', 'Contents'):
            assert ask('PROPFIND', missing, 'Depth: 0', body=wanted).status == 404
        assert ask('PUT', name, body=b'').status == 201
        token = token_of(ask('LOCK', name, 'Depth: 0', 'Timeout: Second-600', body=(
            '<?xml version="1.0" encoding="utf-8"?>\n<D:lockinfo xmlns:D="DAV:">\n<D:lockscope><D:exclusive/></D:lockscope>\n'
            '<D:locktype><D:write/></D:locktype>\n<D:owner>\n<D:href>http://www.apple.com/webdav_fs/</D:href>\n</D:owner>\n'
            '</D:lockinfo>\n')))
        held = f'If: (<{token}>)'
        connection.send(request(tree.href(name), held, 'Transfer-Encoding: Chunked', f'X-Expected-Entity-Length: {len(blob)}',
                                method='PUT'))
        for at in range(0, len(blob), 1 << 20):
            connection.send(b'%x\r\n%b\r\n' % (1 << 20, blob[at:at + (1 << 20)]))
        connection.send(b'0\r\n\r\n')
        assert connection.read_response('PUT').status == 204
        (member,) = multistatus(ask('PROPFIND', name, 'Depth: 0', body=wanted)).values()
        assert member.text('getcontentlength') == str(len(blob))
        refreshed = ask('LOCK', name, held, 'Timeout: Second-600', body=b'')
        assert refreshed.status == 200 and locks_of(refreshed)[0].token == token
        assert ask('UNLOCK', name, f'Lock-Token: <{token}>').status == 204
        members = multistatus(ask('PROPFIND', '', 'Depth: 1', body=wanted))
        assert {decode(member.href).removeprefix(tree.url) for member in members.values()} == {'', name}
    assert tree.names() == [name] and tree.read(name) == blob


def test_office_edits_a_document(tree):
    """Word: a lock to save with, refreshed, and the document written twice under it."""
    tree.file('plan.docx', b'as it was')
    with tree.connect() as connection:
        def ask(method, name, *fields, **more):
            return tree.ask(method, name, 'User-Agent: Microsoft Office Word 2014', *fields, connection=connection, **more)
        assert ask('OPTIONS', '').get('MS-Author-Via') == 'DAV'
        assert ask('HEAD', 'plan.docx').status == 200
        token = token_of(ask('LOCK', 'plan.docx', 'Timeout: Second-3600', 'If-None-Match: "no such"', body=(
            '<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
            '<D:locktype><D:write/></D:locktype><D:owner><D:href>user</D:href></D:owner></D:lockinfo>')))
        held = f'If: (<{token}>)'
        etag = ask('GET', 'plan.docx').get('ETag')
        answer = ask('PUT', 'plan.docx', f'If: (<{token}> [{etag}])', body=b'first save')
        assert answer.status == 204
        assert ask('PUT', 'plan.docx', f'If: (<{token}> [{etag}])', body=b'no').status == 412
        for _ in range(3):
            refreshed = ask('LOCK', 'plan.docx', held, 'Timeout: Second-3600')
            assert refreshed.status == 200 and refreshed.get('Lock-Token') is None
        assert tree.put('plan.docx', b'somebody else').status == 423
        assert ask('PUT', 'plan.docx', held, body=b'second save').status == 204
        assert ask('UNLOCK', 'plan.docx', f'Lock-Token: <{token}>').status == 204
        assert ask('UNLOCK', 'plan.docx', f'Lock-Token: <{token}>').status == 409
    assert tree.read('plan.docx') == b'second save'


def test_konqueror_lists_a_folder(garden):
    """KDE reads these of every member; gvfs writes escapes in upper case."""
    body = propfind_body('creationdate', 'getcontentlength', 'displayname', 'source', 'getcontentlanguage', 'getcontenttype',
                         'executable', 'getlastmodified', 'getetag', 'supportedlock', 'lockdiscovery', 'resourcetype')
    members = garden.propfind('', depth=1, body=body)
    for member in members.values():
        assert member.text('displayname') is not None and len(member.found[clark('supportedlock')]) == 2
        assert set(member.failed.values()) == {404}
    hrefs = {member.href for member in members.values()}
    assert garden.url + encode('ü %.html') in hrefs and garden.url + '%C3%BC%20%25.html' in hrefs
