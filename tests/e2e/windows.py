"""What of these tests does not apply to berth.exe, or cannot be seen under Wine, by name and with the reason.
docs/windows.md lists it for people."""
import fnmatch

# The file, a pattern of the test's name (as pytest has it), and why it is not run.
NOT = [
]


def why_not(nodeid):
    file, _, test = nodeid.rpartition('/')[2].partition('::')
    for where, pattern, reason in NOT:
        if file == f'test_{where}.py' and fnmatch.fnmatchcase(test.partition('[')[0], pattern):
            return reason
    return None
