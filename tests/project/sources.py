"""No C file lies about unbuilt: each is named in the meson.build beside it."""
import os
import re

import tap

for top in ['src', 'tests', 'fuzz', 'examples']:
    forgotten = []
    for folder, _, names in os.walk(f'{tap.source}/{top}'):
        plan = os.path.join(folder, 'meson.build')
        words = set(re.findall(r'\w+', open(plan, encoding='utf-8').read())) if os.path.exists(plan) else set()
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix == '.c' and stem not in words and re.sub(r'^(test|fuzz)_', '', stem) not in words:
                forgotten.append(os.path.relpath(os.path.join(folder, name), tap.source))
    tap.check(f'every C file of {top}/ is built', forgotten)
tap.finish()
