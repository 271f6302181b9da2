#!/usr/bin/python3
"""Turns files into C constants: embed.py HEADER SOURCE FILE...

web/listing.html becomes `const char web_listing_html[]`, followed by a NUL, and its size in bytes without that
NUL, `web_listing_html_size`.
"""
import os
import re
import sys


def name_of(path):
    return re.sub(r'\W', '_', os.path.basename(os.path.dirname(os.path.abspath(path))) + '_' + os.path.basename(path))


def literal(data):
    """A C string literal a line of the file; octal escapes are always three digits and cannot run on."""
    def escape(byte):
        char = chr(byte)
        if char in '"\\':
            return '\\' + char
        if char == '\n':
            return '\\n'
        if char == '?':  # no trigraphs
            return '\\?'
        return char if 32 <= byte < 127 else f'\\{byte:03o}'
    lines = data.splitlines(keepends=True) or [b'']
    return '\n'.join('        "' + ''.join(map(escape, line)) + '"' for line in lines)


def main(header, source, *paths):
    guard = '/* Made by tools/embed.py from ' + ', '.join(map(os.path.basename, paths)) + '. */\n'
    declarations, definitions = [], []
    for path in paths:
        with open(path, 'rb') as file:
            data = file.read()
        name = name_of(path)
        declarations.append(f'extern const char {name}[{len(data) + 1}];\nenum {{ {name}_size = {len(data)} }};\n')
        definitions.append(f'const char {name}[{len(data) + 1}] =\n{literal(data)};\n')
    with open(header, 'w', encoding='ascii') as out:
        out.write(guard + '#ifndef WEB_H\n#define WEB_H\n\n' + '\n'.join(declarations) + '\n#endif\n')
    with open(source, 'w', encoding='ascii') as out:
        out.write(guard + f'#include "{os.path.basename(header)}"\n\n' + '\n'.join(definitions))


main(*sys.argv[1:])
