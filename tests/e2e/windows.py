"""What of these tests does not apply to berth.exe, or cannot be seen under Wine, by name and with the reason.
docs/windows.md lists it for people."""
import fnmatch

# Files whose tests apply. The others are about what only Linux has: mounts, control groups, unix sockets, the kernel's
# limits; other servers; crowds of thousands, of which Wine is too slow to show anything.
FILES = ['messages', 'fields', 'ranges', 'conditions', 'folders', 'paths', 'transfers', 'bad_input', 'auth', 'dav_put',
         'dav_ranges', 'dav_tree', 'dav_props', 'dav_expect', 'dav_refusals', 'dav_rights', 'dav_hidden',
         'dav_clients', 'process', 'log', 'load', 'windows']

# The file, a pattern of the test's name (as pytest has it), and why it is not run.
LIMITS = 'it is about a limit of Linux'
NOT = [
    ('load', 'test_it_says_how_many_addresses_are_needed', LIMITS),
    ('load', 'test_too_few_addresses_are_refused_with_the_arithmetic', LIMITS),
    ('load', 'test_epoll_needs_descriptors_and_says_so', LIMITS),
    ('load', 'test_rings_without_direct_descriptors_need_descriptors', LIMITS),
    ('load', 'test_sources_without_the_rings_bind_need_descriptors', LIMITS),
    ('load', 'test_figures_may_go_into_a_pipe', 'there are no named pipes in folders'),
]


def applies(stem, there):
    """Whether a file of tests is for Windows, or where that is not `there` for elsewhere."""
    if not stem.startswith('test_'):
        return True
    return stem.removeprefix('test_') in FILES if there else stem != 'test_windows'


def why_not(nodeid):
    file, _, test = nodeid.rpartition('/')[2].partition('::')
    for where, pattern, reason in NOT:
        if file == f'test_{where}.py' and fnmatch.fnmatchcase(test.partition('[')[0], pattern):
            return reason
    return None
