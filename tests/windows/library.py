"""libberth.dll exports what include/berth/port.h declares and needs nothing but Windows; examples/echo.c on it answers
this machine's clients."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.environ['BERTH_SOURCE'], 'tests/project'))
import echo
import tap

with open(f'{tap.source}/include/berth/port.h', encoding='utf-8') as file:
    declared = set(re.findall(r'^BERTH_API[^;]*?\b(berth_\w+)\(', file.read(), re.M))

dump = tap.output('x86_64-w64-mingw32-objdump', '-p', f'{tap.build}/src/libberth.dll')
exported = set(re.findall(r'^\s*\[\s*\d+\] (\w+)$', dump, re.M))
needed = {name.lower() for name in re.findall(r'DLL Name: (\S+)', dump)}
tap.check('libberth.dll exports what port.h declares and nothing else', sorted(exported ^ declared))
tap.check('libberth.dll needs what Windows has', sorted(
    needed - {'advapi32.dll', 'kernel32.dll', 'msvcrt.dll', 'ntdll.dll', 'ws2_32.dll'}))
tap.check('there is an import library',
          [] if os.path.exists(f'{tap.build}/src/libberth.dll.a') else ['no libberth.dll.a'])
tap.check('echo.exe answers', echo.talk('/usr/lib/wine/wine64', f'{tap.build}/examples/echo.exe',
                                        environment={**os.environ, 'WINEPATH': f'{tap.build}/src'}))
tap.finish()
