"""libberth shows exactly the functions of include/berth/port.h, as a shared library and as an archive."""
import re

import tap

with open(f'{tap.source}/include/berth/port.h', encoding='utf-8') as file:
    declared = set(re.findall(r'^BERTH_API[^;]*?\b(berth_\w+)\(', file.read(), re.M))


def defined(*nm):
    return {line.split()[-1] for line in tap.output('nm', '--defined-only', *nm).splitlines() if len(line.split()) == 3}


for what, names in [('libberth.so', defined('-D', f'{tap.release}/src/libberth.so')),
                    ('libberth.a', defined('-g', f'{tap.release}/src/libberth.a'))]:
    tap.check(f'{what} shows only what port.h declares', sorted(names - declared))
    tap.check(f'{what} has all that port.h declares', sorted(declared - names))
tap.finish()
