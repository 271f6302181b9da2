#!/usr/bin/python3
"""A small WebDAV server that writes parts of files as SabreDAV does (PATCH with X-Update-Range): sabre.py PORT FOLDER.

https://sabre.io/dav/http-patch/: 204 and the new entity-tag, 411 without a length, 412, 415 of another type, 416."""
import email.utils
import hashlib
import http.server
import os
import pathlib
import re
import shutil
import sys
import urllib.parse
from xml.sax.saxutils import escape

FOLDER = pathlib.Path(sys.argv[2]).resolve()
PARTIAL = 'application/x-sabredav-partialupdate'


def tag_of(path):
    state = path.stat()
    return '"' + hashlib.md5(f'{state.st_ino} {state.st_size} {state.st_mtime_ns}'.encode()).hexdigest() + '"'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, server_version, disable_nagle_algorithm = 'HTTP/1.1', 'stand-in for SabreDAV', True

    def log_message(self, *_):
        pass

    @property
    def target(self):
        return FOLDER / urllib.parse.unquote(self.path, errors='surrogateescape').strip('/')

    def answer(self, status, body=b'', **fields):
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace('_', '-'), value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def content(self):
        return self.rfile.read(int(self.headers.get('Content-Length', 0)))

    def refused(self):
        """By If-Match or If-None-Match."""
        match, path = self.headers.get('If-Match'), self.target
        if self.headers.get('If-None-Match') == '*' and path.exists():
            return True
        return bool(match) and (not path.exists() or (match != '*' and tag_of(path) not in match))

    def do_OPTIONS(self):
        methods = 'OPTIONS, GET, HEAD, DELETE, PROPFIND, PUT, COPY, MOVE, PATCH'
        self.answer(200, Allow=methods, DAV='1, 3, extended-mkcol, sabredav-partialupdate', Accept_Ranges='bytes')

    def response_of(self, path):
        name = urllib.parse.quote(os.fsencode('/' + str(path.relative_to(FOLDER)) if path != FOLDER else '/'))
        state, kind, more = path.stat(), '', ''
        if path.is_dir():
            name, kind = name.rstrip('/') + '/', '<d:collection/>'
        else:
            more = f'<d:getcontentlength>{state.st_size}</d:getcontentlength><d:getetag>{escape(tag_of(path))}</d:getetag>'
        date = email.utils.formatdate(state.st_mtime, usegmt=True)
        return (f'<d:response><d:href>{name}</d:href><d:propstat><d:prop><d:resourcetype>{kind}</d:resourcetype>'
                f'<d:getlastmodified>{date}</d:getlastmodified>{more}</d:prop><d:status>HTTP/1.1 200 OK</d:status></d:propstat>'
                '</d:response>')

    def do_PROPFIND(self):
        self.content()
        path = self.target
        if not path.exists():
            return self.answer(404)
        members = sorted(path.iterdir()) if self.headers.get('Depth') == '1' and path.is_dir() else []
        body = ''.join(self.response_of(member) for member in [path, *members])
        body = f'<?xml version="1.0"?><d:multistatus xmlns:d="DAV:">{body}</d:multistatus>'
        return self.answer(207, body.encode(), Content_Type='application/xml; charset=utf-8')

    def do_GET(self):
        path = self.target
        if not path.is_file():
            return self.answer(404)
        if self.refused():
            return self.answer(412)
        data, size = path.read_bytes(), path.stat().st_size
        part = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range', ''))
        if not part:
            return self.answer(200, data, ETag=tag_of(path))
        first, last = int(part[1]), min(int(part[2] or size), size - 1)
        if first >= size:
            return self.answer(416, Content_Range=f'bytes */{size}')
        return self.answer(206, data[first:last + 1], ETag=tag_of(path), Content_Range=f'bytes {first}-{last}/{size}')

    do_HEAD = do_GET

    def do_PUT(self):
        data, path = self.content(), self.target
        if self.refused():
            return self.answer(412)
        if not path.parent.is_dir() or path.is_dir() or self.headers.get('Content-Range'):
            return self.answer(409 if not path.parent.is_dir() else 405 if path.is_dir() else 400)
        status = 204 if path.exists() else 201
        path.write_bytes(data)
        return self.answer(status, ETag=tag_of(path))

    def do_PATCH(self):
        data, path = self.content(), self.target
        if not path.is_file():
            return self.answer(404)
        if self.refused():
            return self.answer(412)
        if self.headers.get('Content-Type') != PARTIAL:
            return self.answer(415)
        part = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('X-Update-Range', ''))
        if not part or (part[2] and int(part[2]) - int(part[1]) + 1 != len(data)):
            return self.answer(416)
        with open(path, 'r+b') as file:
            file.seek(int(part[1]))
            file.write(data)
        return self.answer(204, ETag=tag_of(path))

    def do_DELETE(self):
        path = self.target
        if not path.exists():
            return self.answer(404)
        if self.refused():
            return self.answer(412)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        return self.answer(204)

    def do_MKCOL(self):
        path = self.target
        if path.exists() or not path.parent.is_dir():
            return self.answer(405 if path.exists() else 409)
        path.mkdir()
        return self.answer(201)

    def do_MOVE(self):
        path = self.target
        self.path = urllib.parse.urlsplit(self.headers['Destination']).path
        to = self.target
        if not path.exists():
            return self.answer(404)
        if to.exists() and self.headers.get('Overwrite', 'T') == 'F':
            return self.answer(412)
        status = 204 if to.exists() else 201
        if to.is_dir():
            shutil.rmtree(to)
        path.rename(to)
        return self.answer(status)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128


Server(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
