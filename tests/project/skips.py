"""What is skipped under Wine is there to be skipped, and docs/windows.md lists it with its reason."""
import fnmatch
import os
import re
import sys

import tap

sys.path.insert(0, os.path.join(tap.source, 'tests/e2e'))
import windows


def text(*path):
    with open(os.path.join(tap.source, *path), encoding='utf-8') as file:
        return file.read()


tests = {name: re.findall(r'^def (test_\w+)', text('tests/e2e', f'test_{name}.py'), re.M) for name in windows.FILES}
page = text('docs/windows.md')
unknown, unlisted = [], []
for reason, files in windows.NOT.items():
    names = dict.fromkeys((file, pattern.partition('[')[0]) for file, patterns in files.items() for pattern in patterns)
    unknown += [f'{file}: {name}' for file, name in names if not fnmatch.filter(tests.get(file, []), name)]
    row = ', '.join(dict.fromkeys(f'`{name}`' for _, name in names))
    unlisted += [] if f'\n| {row} | {reason} |\n' in page else [f'| {row} | {reason} |']
tap.check('what tests/e2e/windows.py skips is a test that applies', unknown)
tap.check('docs/windows.md lists it with its reason', unlisted)
tap.finish()
