#!/usr/bin/python3
"""Counts test results for ./dev test.

tally.py RESULTS NAME FILE     count a JUnit file, print its line and the names of what failed
tally.py RESULTS NAME --failed it could not even be built
tally.py RESULTS --total       print the sum; exits 1 when something failed or nothing ran
"""
import os
import sys
import xml.etree.ElementTree as xml


def line(passed, failed, skipped):
    return f'{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else '')


def count(path):
    """(passed, failed, skipped) and the names of the failed. A file that is missing or empty is a failure."""
    cases = list(xml.parse(path).iter('testcase')) if os.path.exists(path) else []
    failed = [c for c in cases if c.find('failure') is not None or c.find('error') is not None]
    skipped = [c for c in cases if c not in failed and c.find('skipped') is not None]
    names = [f"{c.get('classname', '')} {c.get('name')}" for c in failed]
    if not cases:
        return (0, 1, 0), ['nothing ran']
    return (len(cases) - len(failed) - len(skipped), len(failed), len(skipped)), names


def main(results, name, path=None):
    if name == '--total':
        with open(results, encoding='ascii') as file:
            rows = [tuple(map(int, row.split())) for row in file]
        total = tuple(map(sum, zip(*rows))) if rows else (0, 0, 0)
        print(line(*total))
        return 1 if total[1] or not total[0] else 0
    counts, names = ((0, 1, 0), ['does not build']) if path == '--failed' else count(path)
    print(f'{name:8} {line(*counts)}')
    for failed in names:
        print(f'         FAILED {failed}')
    with open(results, 'a', encoding='ascii') as file:
        print(*counts, file=file)
    return 0


sys.exit(main(*sys.argv[1:]))
