"""The man pages build, and tell every option that the program knows."""
import re
import subprocess

import tap

for page, command in [('berth.1', [f'{tap.release}/berth', 'help']),
                      ('berth-serve.1', [f'{tap.release}/berth', 'serve', '--help']),
                      ('berth-load.1', [f'{tap.release}/berth', 'load', '--help']),
                      ('berth-mount.1', [f'{tap.release}/berth', 'mount', '--help']),
                      ('berth-unmount.1', [f'{tap.release}/berth', 'unmount', '--help']),
                      ('berth-doctor.1', [f'{tap.release}/berth', 'doctor', '--help'])]:
    with open(f'{tap.release}/man/{page}', encoding='utf-8') as file:
        text = file.read()
    tap.check(f'{page} is a man page', [] if text.count('.SH') >= 4 else ['fewer than four sections'])
    known = set(re.findall(r'--[a-z][a-z-]+', subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout))
    told = set(re.findall(r'--[a-z][a-z-]+', text.replace('\\-', '-')))
    tap.check(f'{page} tells every option', sorted(known - told) if known or page == 'berth.1' else ['--help names none'])
tap.finish()
