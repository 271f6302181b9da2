#!/usr/bin/python3
"""Counts test results for ./dev test.

tally.py RESULTS NAME FILE...    count logs of meson (.json) or of pytest (JUnit, .xml); print a line for them
tally.py RESULTS NAME --failed WHY    it could not even begin
tally.py RESULTS NAME --skipped WHY   it cannot be done on this machine
tally.py RESULTS --total         print the sum; exits 1 when something failed or nothing ran
"""
import json
import os
import re
import sys
import xml.etree.ElementTree as xml


def pytest_results(path):
    """(name, 'passed', 'failed' or 'skipped') of each test."""
    for case in xml.parse(path).iter('testcase'):
        kinds = {child.tag for child in case}
        yield (f"{case.get('classname')}.{case.get('name')}",
               'failed' if kinds & {'failure', 'error'} else 'skipped' if 'skipped' in kinds else 'passed')


def meson_results(path):
    """Likewise. A program that speaks TAP counts by its results, any other as one; one that ends badly without
    naming what failed (a crash, a time-out, fewer results than planned) is a failure of its own."""
    with open(path, encoding='utf-8') as file:
        programs = [json.loads(line) for line in file]
    for program in programs:
        name = program['name'].split(' / ')[-1]
        output = program.get('stdout', '')
        planned = sum(int(count) for count in re.findall(r'^1\.\.(\d+)', output, re.M))
        results = [(f'{name}: {text}', 'skipped' if '# SKIP' in text else 'passed' if verdict == 'ok' else 'failed')
                   for verdict, text in re.findall(r'^(ok|not ok) \d+ *-? *(.*)$', output, re.M)]
        bad = program['result'] not in ('OK', 'SKIP') or len(results) != planned
        if bad and 'failed' not in [kind for _, kind in results]:
            results.append((f"{name}: {program['result']}, exit {program.get('returncode')}", 'failed'))
        yield from results or [(name, 'skipped' if program['result'] == 'SKIP' else 'passed')]


def line(passed, failed, skipped):
    return f'{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else '')


def results_in(path):
    """Of a log, which is to hold some."""
    found = []
    if os.path.exists(path):
        found = list((meson_results if path.endswith('.json') else pytest_results)(path))
    return found or [('nothing ran', 'failed')]


def main(results, name, *paths):
    if name == '--total':
        with open(results, encoding='ascii') as file:
            rows = [tuple(map(int, row.split())) for row in file]
        total = tuple(map(sum, zip(*rows))) if rows else (0, 0, 0)
        print(line(*total))
        return 1 if total[1] or not total[0] else 0
    if paths[0].startswith('--'):
        found = [(paths[1], paths[0][2:])]
    else:
        found = [one for path in paths for one in results_in(path)]
    counts = [[kind for _, kind in found].count(kind) for kind in ('passed', 'failed', 'skipped')]
    print(f'{name:8} {line(*counts)}', flush=True)
    for test, kind in found:
        if kind == 'failed' or (kind == 'skipped' and paths[0].startswith('--')):
            print(f'         {kind.upper()} {test}', flush=True)
    with open(results, 'a', encoding='ascii') as file:
        print(*counts, file=file)
    return 0


sys.exit(main(*sys.argv[1:]))
