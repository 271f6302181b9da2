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


folders = sorted(os.listdir(f'{tap.source}/src'))
tap.check('every folder of src/ has its place in the order',
          [f for f in folders if os.path.isdir(f'{tap.source}/src/{f}') and f not in uses])
for name in uses:
    tap.check(f'src/{name} includes only what is above it', list(problems(name)))
tap.check('the public header stands alone', [
    line for line in open(f'{tap.source}/include/berth/port.h', encoding='utf-8') if re.match(r'\s*#\s*include\s*"', line)])
tap.finish()
