"""Each folder of src/ includes only what stands above it, and nobody's private headers."""
import glob
import os
import re

import tap

# Folder: what it may include beside its own headers. ARCHITECTURE.md tells why.
uses = {
    'base': [],
    'port': ['base', 'berth'],
    'crypto': ['base'],
    'http': ['base'],
    'dav': ['base', 'http'],
    'auth': ['base', 'crypto'],
    'store': ['base', 'port', 'berth'],
    'serve': ['base', 'port', 'berth', 'crypto', 'http', 'dav', 'auth', 'store', 'web'],
    'mount': ['base', 'http', 'dav'],
    'load': ['base', 'port', 'berth', 'http', 'web'],
    'doctor': ['base'],
    'cli': ['base', 'port', 'berth', 'http', 'dav', 'auth', 'store', 'serve', 'mount', 'load', 'doctor'],
}


def problems(folder):
    for path in sorted(glob.glob(f'{tap.source}/src/{folder}/*.[ch]')):
        with open(path, encoding='utf-8') as file:
            lines = file.read().splitlines()
        where = os.path.relpath(path, tap.source)
        for number, line in enumerate(lines, 1):
            include = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
            if not include:
                continue
            target, _, header = include[1].rpartition('/')
            target = target or folder
            if target != folder and target not in uses[folder]:
                yield f'{where}:{number} includes {include[1]}'
            elif header.endswith('_priv.h') and header != f'{folder}_priv.h':
                yield f'{where}:{number} includes the private {header}'
            elif target in uses and not os.path.exists(f'{tap.source}/src/{target}/{header}'):
                yield f'{where}:{number} includes {include[1]}, which is not there'


# Which system it is, only these may ask; elsewhere a system has files of its own (NAME_win.c).
PORTING = ('base', 'port', 'store')
SYSTEM = re.compile(r'\b(_WIN32|_WIN64|__MINGW32__|__linux__|__unix__)\b|#\s*include\s*<(windows|winsock2|winternl)\.h>')


def asks_for_the_system(folder):
    for path in sorted(glob.glob(f'{tap.source}/src/{folder}/*.[ch]')):
        if path.endswith(('_win.c', '_win.h', '/reader_xmllite.c')):
            continue
        with open(path, encoding='utf-8') as file:
            for number, line in enumerate(file, 1):
                if SYSTEM.search(line):
                    yield f'{os.path.relpath(path, tap.source)}:{number} {line.strip()}'


folders = sorted(os.listdir(f'{tap.source}/src'))
tap.check('every folder of src/ has its place in the order',
          [f for f in folders if os.path.isdir(f'{tap.source}/src/{f}') and f not in uses])
for name in uses:
    tap.check(f'src/{name} includes only what is above it', list(problems(name)))
for name in uses:
    if name not in PORTING:
        tap.check(f'src/{name} does not know which system it is on', list(asks_for_the_system(name)))
tap.check('the public header stands alone', [
    line for line in open(f'{tap.source}/include/berth/port.h', encoding='utf-8') if re.match(r'\s*#\s*include\s*"', line)])
tap.finish()
