"""WebDAV on top of wire.py: requests that say exactly what they are told to, and multistatus answers taken apart.

What RFC 4918 wants of every such answer is asserted here, so that each test that reads one checks it.
"""
import os
import re
import urllib.parse
import xml.etree.ElementTree as ElementTree

import wire

DAV = '{DAV:}'
POSIX = '{urn:berth:posix}'
WIN32 = '{urn:schemas-microsoft-com:}'
XML_TYPE = re.compile(r'(application|text)/xml; ?charset="?utf-8"?', re.IGNORECASE)
STATUS = re.compile(r'HTTP/1\.1 ([1-5]\d\d) .+')
HREF = re.compile(r"/([A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")
TOKEN = re.compile(r'urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}')
STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]+"')


def encode(name):
    """A path of any bytes as it stands in a request."""
    return urllib.parse.quote(os.fsencode(name))


def decode(href):
    return os.fsdecode(urllib.parse.unquote_to_bytes(href))


def chunked(data, size=1000, extension=b'', trailers=b''):
    pieces = [data[at:at + size] for at in range(0, len(data), size)]
    return b''.join(b'%x%b\r\n%b\r\n' % (len(piece), extension, piece) for piece in pieces) + b'0\r\n' + trailers + b'\r\n'


def status_of(element):
    match = STATUS.fullmatch(element.findtext(f'{DAV}status', ''))
    assert match, ElementTree.tostring(element)
    return int(match[1])


class Member:
    """One <response>: `status` where it has one for the whole, else `found` {name: element} and `failed` {name: status}."""

    def __init__(self, element):
        hrefs = [href.text for href in element.findall(f'{DAV}href')]
        assert len(hrefs) == 1 and HREF.fullmatch(hrefs[0]), hrefs
        self.href, self.path = hrefs[0], decode(hrefs[0])
        self.error = element.find(f'{DAV}error')
        self.status, self.found, self.failed = None, {}, {}
        propstats = element.findall(f'{DAV}propstat')
        if element.find(f'{DAV}status') is not None:
            assert not propstats, 'a status and propstats in one response'
            self.status = status_of(element)
            return
        assert propstats, 'a response of nothing'
        for propstat in propstats:
            self._take(propstat)

    def _take(self, propstat):
        status = status_of(propstat)
        if propstat.find(f'{DAV}error') is not None:
            self.error = propstat.find(f'{DAV}error')
        for element in propstat.find(f'{DAV}prop'):
            if status == 200:
                self.found[element.tag] = element
            else:
                self.failed[element.tag] = status
            assert element.tag not in self.found or element.tag not in self.failed, f'{element.tag} has two statuses'

    def text(self, name):
        return self.found[clark(name)].text

    def is_folder(self):
        return self.found[f'{DAV}resourcetype'].find(f'{DAV}collection') is not None

    def locks(self):
        return [Lock(element) for element in self.found[f'{DAV}lockdiscovery'].findall(f'{DAV}activelock')]


class Lock:
    """What lockdiscovery tells of a lock."""

    def __init__(self, element):
        self.token = element.findtext(f'{DAV}locktoken/{DAV}href')
        self.root = element.findtext(f'{DAV}lockroot/{DAV}href')
        self.depth = element.findtext(f'{DAV}depth')
        self.timeout = element.findtext(f'{DAV}timeout')
        self.owner = element.find(f'{DAV}owner')
        scopes = [child.tag for child in element.find(f'{DAV}lockscope')]
        assert scopes in ([f'{DAV}exclusive'], [f'{DAV}shared']), scopes
        self.exclusive = scopes == [f'{DAV}exclusive']
        assert element.find(f'{DAV}locktype/{DAV}write') is not None
        assert TOKEN.fullmatch(self.token), self.token
        assert self.depth in ('0', 'infinity'), self.depth
        assert re.fullmatch(r'Second-\d+|Infinite', self.timeout), self.timeout


def clark(name):
    """'getetag' or '{space}local' as ElementTree has it."""
    return name if name.startswith('{') else DAV + name


def xml_of(response):
    assert XML_TYPE.fullmatch(response.get('Content-Type') or ''), response
    return ElementTree.fromstring(response.body)


def multistatus(response):
    """{decoded path: Member}; a folder's ends with a slash."""
    assert response.status == 207, f'{response} {response.body[:500]}'
    root = xml_of(response)
    assert root.tag == f'{DAV}multistatus'
    members = [Member(element) for element in root.findall(f'{DAV}response')]
    assert members, 'a multistatus without any response'
    by_path = {member.path: member for member in members}
    assert len(by_path) == len(members), 'the same href twice'
    return by_path


def error_names(response):
    """The conditions in the <error> of a refusal (RFC 4918 16)."""
    root = xml_of(response)
    assert root.tag == f'{DAV}error', response.body
    return [element.tag.removeprefix(DAV) for element in root]


def empty_elements(names):
    """<N:local xmlns:N="space"/> for each."""
    pairs = [clark(name)[1:].split('}') for name in names]
    pairs = [(space.replace('&', '&amp;'), local) for space, local in pairs]
    return ''.join(f'<N:{local} xmlns:N="{space}"/>' if space else f'<{local} xmlns=""/>' for space, local in pairs)


def classes(response):
    """What the DAV fields of an answer to OPTIONS list; they may be several, since some clients only look at the first."""
    values = [value for name, value in response.fields if name.lower() == 'dav']
    return [one.strip() for value in values for one in value.split(',')]


def propfind_body(*names, all_and=None):
    inner = f'<D:prop>{empty_elements(names)}</D:prop>'
    if all_and is not None:
        inner = f'<D:allprop/><D:include>{empty_elements(all_and)}</D:include>'
    return f'<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:">{inner}</D:propfind>'


def update_body(*parts):
    """Parts are XML: set(...), remove(...)."""
    return '<?xml version="1.0" encoding="utf-8"?><D:propertyupdate xmlns:D="DAV:">%s</D:propertyupdate>' % ''.join(parts)


def set_property(xml):
    return f'<D:set><D:prop>{xml}</D:prop></D:set>'


def remove_property(name):
    return f'<D:remove><D:prop>{empty_elements([name])}</D:prop></D:remove>'


def lock_body(scope='exclusive', owner='<D:href>http://example.org/me</D:href>'):
    return (f'<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:{scope}/></D:lockscope>'
            f'<D:locktype><D:write/></D:locktype><D:owner>{owner}</D:owner></D:lockinfo>')


def token_of(response):
    """The token of a lock that was just made; header and body must agree."""
    assert response.status in (200, 201), f'{response} {response.body}'
    field = response.get('Lock-Token') or ''
    assert field[:1] == '<' and field[-1:] == '>' and TOKEN.fullmatch(field[1:-1]), response
    assert field[1:-1] in [lock.token for lock in locks_of(response)]
    return field[1:-1]


def locks_of(response):
    """Of the answer to a LOCK."""
    root = xml_of(response)
    assert root.tag == f'{DAV}prop', response.body
    return [Lock(element) for element in root.findall(f'{DAV}lockdiscovery/{DAV}activelock')]


class Tree:
    """A folder on a server that may be written to: the test's own. Names are relative to it and may have any bytes."""

    def __init__(self, server, name=''):
        self.server, self.url, self.path = server, f'/{name}/' if name else '/', server.folder / name
        self.path.mkdir(exist_ok=True)

    def href(self, name=''):
        return self.url + encode(name)

    def file(self, name, content=b'content\n'):
        """Made without the server."""
        path = self.path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content)
        return path

    def read(self, name):
        return (self.path / name).read_bytes()

    def names(self, folder=''):
        return sorted(os.listdir(self.path / folder))

    def connect(self, **options):
        return self.server.connect(**options)

    def ask(self, method, name='', *fields, body=None, connection=None, target=None):
        """One request, on a connection of its own unless one is given; a body that is given has a Content-Length."""
        body = body.encode() if isinstance(body, str) else body
        if body is not None:
            fields += (f'Content-Length: {len(body)}',)
        target = self.href(name) if target is None else target
        if connection:
            return connection.ask(target, *fields, method=method, body=body or b'')
        with self.connect() as own:
            return own.ask(target, *fields, method=method, body=body or b'')

    def get(self, name, *fields, **options):
        return self.ask('GET', name, *fields, **options)

    def put(self, name, body=b'', *fields, **options):
        return self.ask('PUT', name, *fields, body=body, **options)

    def etag(self, name):
        response = self.ask('HEAD', name)
        assert response.status == 200, response
        return response.get('ETag')

    def to(self, method, source, destination, *fields, **options):
        """COPY or MOVE."""
        return self.ask(method, source, f'Destination: http://test{self.href(destination)}', *fields, **options)

    def propfind(self, name='', *names, depth=0, body=None, **options):
        """{path relative to the tree: Member}."""
        body = propfind_body(*names) if names else body
        members = multistatus(self.ask('PROPFIND', name, f'Depth: {depth}', body=body, **options))
        assert all(path.startswith(self.url) for path in members), list(members)
        return {path.removeprefix(self.url): member for path, member in members.items()}

    def member(self, name, *names, **options):
        """Of one file or folder."""
        (member,) = self.propfind(name, *names, **options).values()
        return member

    def proppatch(self, name, *parts, fields=(), **options):
        """The one Member of the answer."""
        (member,) = multistatus(self.ask('PROPPATCH', name, *fields, body=update_body(*parts), **options)).values()
        return member

    def lock(self, name, *fields, scope='exclusive', depth='0', timeout='Second-600', **options):
        fields += (f'Depth: {depth}',) if depth else ()
        return self.ask('LOCK', name, f'Timeout: {timeout}', *fields, body=lock_body(scope), **options)

    def unlock(self, name, token, *fields, **options):
        return self.ask('UNLOCK', name, f'Lock-Token: <{token}>', *fields, **options)

    # ---- what uploads leave behind ----

    def unfinished(self):
        """Files of uploads: names in the staging folder, and files without a name that the server holds open."""
        staging = self.server.folder / '.berth-staging'
        named = [path for path in staging.glob('*/*')] if staging.exists() else []
        return named + [link for link in self.server.open_files() if link.endswith(' (deleted)')]


def upload(connection, target, body, *fields, method='PUT'):
    """Sends a body which the server may refuse before it has all of it, and returns the answer."""
    connection.send(wire.request(target, *fields, method=method))
    try:
        connection.send(body)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return connection.read_response(method)
