"""A few lines of the Test Anything Protocol, and where things are."""
import os
import subprocess
import sys

source = os.environ.get('BERTH_SOURCE') or os.path.abspath(os.path.join(os.path.dirname(__file__), '../..'))
build = os.environ.get('BERTH_BUILD') or os.path.join(source, 'build')
release = os.environ.get('RELEASE') or build
done = [0, 0]


def check(name, problems):
    """One result; `problems` is a list, empty when all is well."""
    done[0] += 1
    done[1] += bool(problems)
    print(f"{'not ok' if problems else 'ok'} {done[0]} - {name}")
    for problem in problems:
        print(f'# {problem}')


def finish():
    print(f'1..{done[0]}')
    sys.exit(1 if done[1] else 0)


def output(*command, **options):
    """What a command prints; ends the test when it fails."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    if result.returncode:
        check(' '.join(command), result.stdout.splitlines() or [f'exit {result.returncode}'])
        finish()
    return result.stdout
