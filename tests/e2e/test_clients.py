"""Real clients against the server: what matters is that the file arrives, byte for byte."""
import hashlib
import os
import shutil
import subprocess

import pytest
from conftest import WINDOWS


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f'{program} is not installed')


def run(*command, code=0, cwd=None, stdin=None):
    result = subprocess.run([str(part) for part in command], capture_output=True, timeout=60, cwd=cwd, input=stdin)
    assert result.returncode == code, result
    return result.stdout


@pytest.fixture
def big(site, blob):
    site.file('big.bin', blob * 4)
    return site, f'http://127.0.0.1:{site.server.address[1]}{site.url}big.bin', blob * 4


def curl(*arguments, **options):
    return run('curl', '-sS', '--fail', *arguments, **options)


@needs('curl')
def test_curl(big):
    site, url, content = big
    assert curl(url) == content
    assert curl('--http1.0', url) == content
    assert curl('--range', '100-199', url) == content[100:200]
    assert b'\r\nContent-Range: bytes 0-1/' in curl('-i', '--range', '0-1,3-4', url)
    head = curl('-I', url)
    assert head.startswith(b'HTTP/1.1 200 OK\r\n') and f'Content-Length: {len(content)}\r\n'.encode() in head
    assert curl(url, url, '-o', '/dev/null', '-o', '/dev/null', '-w', '%{num_connects} ') == b'1 0 '
    outside = url + '/../../../etc/passwd'
    assert curl('--path-as-is', '-o', '/dev/null', '-w', '%{http_code}', outside, code=22) == b'404'


@needs('curl')
def test_curl_resumes(big, tmp_path):
    _, url, content = big
    (tmp_path / 'part').write_bytes(content[:1234567])
    curl('-C', '-', '-o', tmp_path / 'part', url)
    assert (tmp_path / 'part').read_bytes() == content


@needs('curl')
def test_curl_asks_only_for_what_changed(big, tmp_path):
    _, url, _ = big
    etag = tmp_path / 'etag'
    curl('--etag-save', etag, '-o', tmp_path / 'file', url)
    assert curl('--etag-compare', etag, '-o', tmp_path / 'again', '-w', '%{http_code}', url) == b'304'
    assert curl('-z', tmp_path / 'file', '-R', '-o', tmp_path / 'again', '-w', '%{http_code}', url) == b'304'


@needs('curl')
def test_curl_sends_a_body_with_get(big):
    _, url, content = big
    assert curl('-X', 'GET', '--data', 'x' * 5000, url, url) == content * 2
    chunked = ['-H', 'Transfer-Encoding: chunked', '-H', 'Expect: 100-continue']
    assert curl('-X', 'GET', *chunked, '--data', 'x' * 5000, url) == content


@needs('curl')
@needs('gzip')
def test_curl_compressed(serve):
    server = serve('--precompressed')
    (server.folder / 'page.html').write_bytes(b'<p>text' * 1000)
    run('gzip', '-k', server.folder / 'page.html')
    url = f'http://127.0.0.1:{server.address[1]}/page.html'
    assert curl('--compressed', url) == curl(url) == b'<p>text' * 1000
    assert b'Content-Encoding: gzip\r\n' in curl('-I', '--compressed', url)


@needs('curl')
def test_curl_at_a_unix_socket(serve, tmp_path):
    server = serve(listen=[f'unix:{tmp_path}/socket'])
    (server.folder / 'file').write_bytes(b'content')
    assert curl('--unix-socket', f'{tmp_path}/socket', 'http://any/file') == b'content'


@needs('curl')
def test_curl_in_parallel(site, tmp_path):
    for number in range(30):
        site.file(str(number), b'%d' % number)
    url = f'http://127.0.0.1:{site.server.address[1]}{site.url}[0-29]'
    curl('-Z', '--parallel-max', '20', '-o', tmp_path / 'out-#1', url)
    assert [(tmp_path / f'out-{n}').read_bytes() for n in range(30)] == [b'%d' % n for n in range(30)]


@needs('wget')
def test_wget(big, tmp_path):
    _, url, content = big
    run('wget', '-q', '-O', tmp_path / 'whole', url)
    assert (tmp_path / 'whole').read_bytes() == content
    (tmp_path / 'big.bin').write_bytes(content[:999999])
    run('wget', '-q', '-c', url, cwd=tmp_path)
    assert (tmp_path / 'big.bin').read_bytes() == content
    run('wget', '-q', '-c', url, cwd=tmp_path)  # nothing is left to do


@needs('wget')
def test_wget_mirrors_a_tree_by_its_listings(site, tmp_path):
    names = ['a b/c%d', 'a b/ü', 'x/y/z', 'plain'] + ([] if WINDOWS else ['q?r'])
    for name in names:
        site.file(name, name.encode())
    url = f'http://127.0.0.1:{site.server.address[1]}{site.url}'
    run('wget', '-q', '-r', '-np', '-nH', '--cut-dirs=1', '-e', 'robots=off', '--restrict-file-names=nocontrol',
        '--reject-regex=[?]', url, cwd=tmp_path)
    for name in names:
        assert (tmp_path / name).read_bytes() == name.encode()


@needs('aria2c')
def test_aria2_in_eight_parts(big, tmp_path):
    _, url, content = big
    run('aria2c', '-q', '-x8', '-s8', '-k1M', '--no-conf', '-d', tmp_path, '-o', 'file', url)
    assert hashlib.sha256((tmp_path / 'file').read_bytes()).digest() == hashlib.sha256(content).digest()
    assert not os.path.exists(tmp_path / 'file.aria2')


@needs('aria2c')
def test_aria2_resumes(big, tmp_path):
    _, url, content = big
    (tmp_path / 'file').write_bytes(content[:3 << 20])
    run('aria2c', '-q', '-c', '--no-conf', '-d', tmp_path, '-o', 'file', url)
    assert (tmp_path / 'file').read_bytes() == content
