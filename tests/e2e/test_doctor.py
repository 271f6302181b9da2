"""berth doctor, on a machine made of files: $BERTH_DOCTOR_ROOT stands for /. One test looks at the real one."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from conftest import PROGRAM, SANITIZER

FILE = 'etc/sysctl.d/90-berth.conf'
NETSTAT = ['ListenOverflows', 'ListenDrops', 'TCPReqQFullDoCookies', 'TCPReqQFullDrop', 'TCPAbortOnMemory',
           'TCPMemoryPressures', 'TCPTimeWaitOverflow', 'PruneCalled', 'TCPBacklogDrop']

# All that 100,000 connections need, and nothing more than a machine would have.
SYSCTLS = {
    'vm.overcommit_memory': 0,
    'fs.nr_open': 1048576,
    'fs.file-max': 2000000,
    'fs.file-nr': '500\t0\t2000000',
    'fs.epoll.max_user_watches': 5000000,
    'fs.fuse.max_pages_limit': 256,
    'kernel.io_uring_disabled': 0,
    'net.core.somaxconn': 4096,
    'net.core.netdev_max_backlog': 1000,
    'net.ipv4.tcp_max_syn_backlog': 4096,
    'net.ipv4.tcp_syncookies': 1,
    'net.ipv4.tcp_abort_on_overflow': 0,
    'net.ipv4.ip_local_port_range': '1024\t65535',
    'net.ipv4.ip_unprivileged_port_start': 1024,
    'net.ipv4.tcp_tw_reuse': 1,
    'net.ipv4.tcp_max_tw_buckets': 131072,
    'net.ipv4.tcp_max_orphans': 131072,
    'net.ipv4.tcp_fin_timeout': 60,
    'net.ipv4.tcp_mem': '190000\t250000\t380000',
    'net.ipv4.tcp_rmem': '4096\t131072\t6291456',
    'net.ipv4.tcp_wmem': '4096\t16384\t4194304',
    'net.ipv4.tcp_ehash_entries': 131072,
    'net.netfilter.nf_conntrack_max': 262144,
    'net.netfilter.nf_conntrack_count': 20,
}
GIB = 1 << 30


class Machine:
    """A folder with the files of a machine on which 100,000 connections fit."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        for name, value in SYSCTLS.items():
            self.sysctl(name, value)
        self.limits(nofile=20000)
        self.memory(total=16 * GIB, available=8 * GIB)
        self.put('proc/self/status', 'Name:\tberth\nSeccomp:\t0\nSeccomp_filters:\t0\n')
        self.put('proc/self/cgroup', '0::/\n')
        self.put('proc/net/sockstat', 'sockets: used 10\nTCP: inuse 5 orphan 0 tw 3 alloc 7 mem 1\n')
        self.put('proc/net/softnet_stat', '000000d7 00000000 00000024\n000000d7 00000000 00000024\n')
        self.netstat()
        self.put('sys/kernel/mm/transparent_hugepage/enabled', 'always [madvise] never\n')
        (self.root / 'etc/sysctl.d').mkdir(parents=True)

    def put(self, path, content):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def path(self, name):
        return self.root / 'proc/sys' / name.replace('.', '/')

    def sysctl(self, name, value):
        self.put(self.path(name).relative_to(self.root), f'{value}\n')

    def now(self, name):
        return ' '.join(self.path(name).read_text().split())

    def remove(self, path):
        (self.root / path).unlink()

    def spoil(self, path):
        """Makes it unreadable, for root as well."""
        self.remove(path)
        (self.root / path).mkdir()

    def limits(self, nofile, soft=None):
        self.put('proc/self/limits', 'Limit                     Soft Limit           Hard Limit           Units     \n'
                 f'Max open files            {soft or nofile:<20} {nofile:<20} files     \n'
                 'Max locked memory         8388608              8388608              bytes     \n')

    def memory(self, total, available):
        self.put('proc/meminfo', f'MemTotal: {total >> 10} kB\nMemFree: 1 kB\nMemAvailable: {available >> 10} kB\n'
                 'CommitLimit: 200000 kB\nCommitted_AS: 150000 kB\n')

    def netstat(self, **counts):
        self.put('proc/net/netstat', f'TcpExt: {" ".join(NETSTAT)}\n'
                 f'TcpExt: {" ".join(str(counts.get(name, 0)) for name in NETSTAT)}\nIpExt: InOctets\nIpExt: 7\n')

    def run(self, *options, **more):
        return run(*options, env={**os.environ, 'BERTH_DOCTOR_ROOT': str(self.root)}, **more)

    def report(self, *options, connections=100000):
        """The JSON report and the exit status, which always says the same as the report."""
        result = self.run('--json', *([f'--connections={connections}'] if connections else []), *options)
        report = json.loads(result.stdout)
        if not options:
            assert ['fits', 'does not fit', 'cannot tell'][result.returncode] == report['verdict']
        return Report(report, result.returncode)

    def row(self, name, **more):
        return self.report(**more).row(name)


class Report:
    def __init__(self, report, status):
        self.all, self.status = report, status

    def row(self, name):
        return next(row for row in self.all['rows'] if row['name'] == name)

    def symptom(self, name):
        return next(symptom for symptom in self.all['symptoms'] if symptom['name'] == name)

    def spare(self):
        """Files beside the connections."""
        return 256 + 1088 * self.all['assumptions']['processors']

    def verdicts(self):
        return {row['name']: row['verdict'] for row in self.all['rows']}

    def gives_first(self):
        return {bound['name']: bound['connections'] for bound in self.all['arithmetic']['gives_first']}


def run(*options, **more):
    result = subprocess.run([PROGRAM, 'doctor', *options], capture_output=True, text=True, check=False, timeout=60,
                            **more)
    assert not SANITIZER.search(result.stderr), result.stderr
    return result


@pytest.fixture
def machine():
    root = tempfile.mkdtemp(prefix='berth-doctor-')
    os.chmod(root, 0o755)
    yield Machine(root)
    shutil.rmtree(root)


# ---- the real machine, only looked at ----

def test_the_real_machine_is_told_as_text_and_as_json():
    environment = {name: value for name, value in os.environ.items() if name != 'BERTH_DOCTOR_ROOT'}
    text = run(env=environment)
    assert text.returncode in (0, 1, 2) and not text.stderr
    assert 'net.core.somaxconn' in text.stdout and 'WHAT GIVES FIRST' in text.stdout
    result = run('--json', '--connections', '1000', env=environment)
    report = Report(json.loads(result.stdout), result.returncode)
    assert not result.stderr
    assert report.row('RLIMIT_NOFILE')['now'] and report.row('fs.file-max')['now'].isdigit()
    assert report.all['verdict'] == ['fits', 'does not fit', 'cannot tell'][result.returncode]
    assert report.all['assumptions']['connections'] == 1000


# ---- rows ----

def test_a_machine_with_all_that_is_needed_fits(machine):
    report = machine.report()
    assert report.status == 0
    assert set(report.verdicts().values()) == {'ok'}
    assert all(row['now'] and row['needed'] and row['why'] and row['how'] for row in report.all['rows'])
    assert {row['role'] for row in report.all['rows']} == {'server', 'client', 'both'}


@pytest.mark.parametrize('name, value, verdict, needed, status', [
    ('fs.file-max', 100000, 'raise', None, 1),
    ('net.ipv4.tcp_mem', '100 200 99999', 'raise', '50000 75000 100000', 0),
    ('net.netfilter.nf_conntrack_max', 65536, 'raise', '100020', 1),
    ('net.core.somaxconn', 128, 'raise', '1000', 0),
    ('net.ipv4.tcp_max_syn_backlog', 512, 'raise', '1000', 0),
    ('net.core.netdev_max_backlog', 300, 'raise', '1000', 0),
    ('net.ipv4.ip_local_port_range', '32768 60999', 'raise', '1024 65535', 0),
    ('net.ipv4.tcp_max_tw_buckets', 4096, 'raise', '100000', 0),
    ('net.ipv4.tcp_max_orphans', 4096, 'raise', '100000', 0),
    ('net.ipv4.tcp_ehash_entries', 1024, 'raise', '25000', 0),
    ('fs.fuse.max_pages_limit', 32, 'raise', '256', 0),
    ('net.ipv4.tcp_fin_timeout', 600, 'lower', '60', 0),
    ('net.ipv4.tcp_rmem', '65536 131072 6291456', 'lower', '42949 131072 6291456', 0),
    ('net.ipv4.tcp_wmem', '65536 131072 4194304', 'lower', '42949 131072 4194304', 0),
    ('net.ipv4.tcp_tw_reuse', 0, 'change', '1', 0),
    ('net.ipv4.tcp_tw_reuse', 2, 'change', '1', 0),
    ('net.ipv4.tcp_syncookies', 0, 'change', '1', 0),
    ('net.ipv4.tcp_syncookies', 2, 'change', '1', 0),
    ('net.ipv4.tcp_abort_on_overflow', 1, 'change', '0', 0),
    ('vm.overcommit_memory', 2, 'change', '0', 1),
])
def test_a_value_that_does_not_do_is_told(machine, name, value, verdict, needed, status):
    machine.sysctl(name, value)
    report = machine.report()
    row = report.row(name)
    needed = needed or str(100000 + 500 + report.spare())
    assert (row['verdict'], row['needed'], report.status) == (verdict, needed, status)
    assert row['must'] == (status == 1)
    assert row['now'].startswith(' '.join(str(value).split()))
    assert f'sysctl -w {name}' in row['how'] or 'command line' in row['how']
    assert [v for n, v in report.verdicts().items() if n != name and v != 'ok'] == []


@pytest.mark.parametrize('name, verdict, status', [
    ('fs.file-max', 'unknown', 2),
    ('net.ipv4.tcp_mem', 'unknown', 0),
    ('vm.overcommit_memory', 'unknown', 2),
    ('net.core.somaxconn', 'unknown', 0),
    ('net.ipv4.tcp_tw_reuse', 'unknown', 0),
    ('net.ipv4.ip_local_port_range', 'unknown', 0),
    ('net.ipv4.tcp_rmem', 'unknown', 0),
    ('net.netfilter.nf_conntrack_max', 'unknown', 2),
    ('kernel.io_uring_disabled', 'unknown', 0),
    ('fs.fuse.max_pages_limit', 'unknown', 0),
])
def test_a_file_that_cannot_be_read_is_told(machine, name, verdict, status):
    machine.spoil(machine.path(name).relative_to(machine.root))
    report = machine.report()
    row = report.row(name)
    assert (row['verdict'], row['now'], report.status) == (verdict, None, status)
    assert row['error'] == 'Is a directory' and 'Cannot be read: Is a directory' in row['why']
    text = machine.run('--connections=100000')
    assert text.returncode == status and 'Is a directory' in text.stdout


@pytest.mark.parametrize('name', ['net.netfilter.nf_conntrack_max', 'kernel.io_uring_disabled',
                                  'fs.fuse.max_pages_limit', 'net.ipv4.tcp_ehash_entries', 'fs.epoll.max_user_watches'])
def test_what_a_kernel_need_not_have_is_not_here(machine, name):
    machine.remove(machine.path(name))
    report = machine.report()
    assert report.row(name)['verdict'] == 'not here' and report.row(name)['now'] is None
    assert report.status == 0


def test_what_a_kernel_must_have_is_unknown_when_it_is_away(machine):
    machine.remove(machine.path('net.ipv4.tcp_mem'))
    report = machine.report()
    assert report.row('net.ipv4.tcp_mem')['verdict'] == 'unknown' and report.status == 0
    assert 'container' in report.row('net.ipv4.tcp_mem')['why']


@pytest.mark.parametrize('content', ['', 'garbage\n', '-5\n', '99999999999999999999999\n', '1 2\n'])
def test_nonsense_in_a_file_is_unknown(machine, content):
    machine.put('proc/sys/net/ipv4/tcp_mem', content)
    assert machine.row('net.ipv4.tcp_mem')['verdict'] == 'unknown'


def test_a_must_that_fails_goes_before_one_that_is_unknown(machine):
    machine.sysctl('fs.file-max', 1000)
    machine.remove(machine.path('vm.overcommit_memory'))
    assert machine.row('vm.overcommit_memory')['verdict'] == 'unknown'
    assert machine.report().status == 1


def test_an_empty_machine_is_unknown_throughout_but_told(machine):
    shutil.rmtree(machine.root / 'proc')
    shutil.rmtree(machine.root / 'sys')
    for connections in (100000, None):
        report = machine.report(connections=connections)
        assert report.status == 2
        assert set(report.verdicts().values()) <= {'unknown', 'not here', 'ok'}
        assert report.all['arithmetic']['fits'] is None and report.all['arithmetic']['most_connections'] is None
    text = machine.run()
    assert text.returncode == 2 and 'Cannot tell' in text.stdout


# ---- the engine ----

def test_on_io_uring_descriptors_do_not_bound_connections(machine):
    machine.limits(nofile=1024)
    report = machine.report()
    row = report.row('RLIMIT_NOFILE')
    assert (row['verdict'], row['must'], row['needed'], report.status) == ('raise', False, '1563', 0)
    assert 'io_uring' in row['why'] and 'epoll' in row['why']
    assert 'RLIMIT_NOFILE' not in report.gives_first()
    assert report.all['assumptions']['engine'] == 'io_uring'


def test_on_epoll_each_connection_needs_a_descriptor(machine):
    machine.put('io_uring_setup', '1\n')  # EPERM
    spare = machine.report().spare()
    machine.limits(nofile=20000 + spare)
    report = machine.report()
    row = report.row('RLIMIT_NOFILE')
    assert (row['verdict'], row['must'], row['needed'], report.status) == ('raise', True, str(100000 + spare), 1)
    assert report.gives_first()['RLIMIT_NOFILE'] == 20000
    assert report.row('io_uring, seccomp')['verdict'] == 'change'
    assert 'EPERM' in report.row('io_uring, seccomp')['now']
    assert report.all['assumptions']['engine'] == 'epoll'
    machine.limits(nofile='unlimited', soft=1024)  # berth raises the soft limit by itself
    report = machine.report()
    assert report.status == 0 and report.row('RLIMIT_NOFILE')['now'] == '1024, hard unlimited'
    for name in ('fs.nr_open', 'fs.epoll.max_user_watches'):
        machine.sysctl(name, 99999)
        report = machine.report()
        assert report.row(name)['verdict'] == 'raise' and report.status == 1
        machine.sysctl(name, SYSCTLS[name])


def test_on_io_uring_before_6_8_each_connection_needs_a_descriptor(machine):
    machine.put('io_uring_direct', '0\n')
    report = machine.report()
    row = report.row('RLIMIT_NOFILE')
    assert (row['verdict'], row['must'], row['needed']) == ('raise', True, str(100000 + report.spare()))
    assert report.status == 1 and 'Linux 6.8' in row['why']
    assert report.all['assumptions']['engine'] == 'io_uring' and report.all['assumptions']['descriptor_each']
    assert report.row('fs.nr_open')['must'] and not report.row('fs.epoll.max_user_watches')['must']
    machine.limits(nofile=200000)
    assert machine.report().status == 0


@pytest.mark.parametrize('number, seccomp, disabled, words', [
    (1, 2, 0, 'seccomp filter'),
    (1, 0, 2, 'refused'),
    (38, 0, 0, 'before Linux 5.19'),
    (22, 0, 0, 'before Linux 5.19'),
])
def test_why_io_uring_is_not_to_be_had_is_told(machine, number, seccomp, disabled, words):
    machine.put('io_uring_setup', f'{number}\n')
    machine.put('proc/self/status', f'Name:\tberth\nSeccomp:\t{seccomp}\n')
    machine.sysctl('kernel.io_uring_disabled', disabled)
    report = machine.report()
    assert words in report.row('io_uring, seccomp')['why']
    assert report.row('kernel.io_uring_disabled')['verdict'] == ('change' if disabled else 'ok')


def test_io_uring_for_root_alone_is_fine_for_root(machine):
    machine.sysctl('kernel.io_uring_disabled', 1)
    assert machine.row('kernel.io_uring_disabled')['verdict'] == 'ok'


# ---- memory and control groups ----

def test_memory_that_does_not_suffice_does_not_fit(machine):
    report = machine.report('--memory=500M')
    assert report.status == 1 and report.row('memory')['verdict'] == 'raise'
    arithmetic = report.all['arithmetic']
    assert not arithmetic['fits'] and arithmetic['memory_bytes'] == 500 << 20
    assert arithmetic['needed_bytes'] > 500 << 20
    assert machine.report(f'--memory={arithmetic["needed_bytes"] // 1024 + 1}K').status == 0
    assert machine.report(f'--memory={arithmetic["needed_bytes"] - 1}').status == 1


def test_the_arithmetic_adds_up(machine):
    arithmetic = machine.report().all['arithmetic']
    each = arithmetic['kernel_bytes_per_connection']
    assert each == sum(part['bytes'] for part in arithmetic['parts'])
    assert arithmetic['kernel_bytes'] == 100000 * each
    assert arithmetic['user_bytes'] == 100000 * arithmetic['user_bytes_per_connection'] + arithmetic['fixed_bytes']
    assert arithmetic['needed_bytes'] == arithmetic['kernel_bytes'] + arithmetic['user_bytes']
    assert arithmetic['port_sets'] == 4


def test_the_default_is_what_memory_holds(machine):
    report = machine.report(connections=None)
    assumptions, most = report.all['assumptions'], report.all['arithmetic']['most_connections']
    assert not assumptions['connections_given'] and assumptions['memory_from'] == 'MemAvailable'
    assert assumptions['connections'] == 1000000 < most
    machine.memory(total=16 * GIB, available=GIB)
    report = machine.report(connections=None)
    assumptions, most = report.all['assumptions'], report.all['arithmetic']['most_connections']
    assert most * 9 // 10 <= assumptions['connections'] <= most
    assert assumptions['connections'] % 10000 == 0
    assert report.row('memory')['verdict'] == 'ok'
    assert machine.report('--memory=1M', connections=None).all['assumptions']['connections'] == 1


@pytest.mark.parametrize('version', [1, 2])
def test_a_control_group_that_is_tighter_counts(machine, version):
    if version == 1:
        machine.put('proc/self/cgroup', '4:memory:/site\n2:pids:/site\n0::/\n')
        memory, limit, used = 'memory/site', 'memory.limit_in_bytes', 'memory.usage_in_bytes'
        pids, cache = 'pids/site', 'total_inactive_file'
    else:
        machine.put('proc/self/cgroup', '0::/site\n')
        memory, limit, used = 'site', 'memory.max', 'memory.current'
        pids, cache = 'site', 'inactive_file'
    machine.put(f'sys/fs/cgroup/{memory}/{limit}', f'{GIB}\n')
    machine.put(f'sys/fs/cgroup/{memory}/{used}', f'{GIB // 2}\n')
    machine.put(f'sys/fs/cgroup/{memory}/memory.stat', f'anon 5\n{cache} {GIB // 4}\n')
    machine.put(f'sys/fs/cgroup/{pids}/pids.max', '20\n')
    machine.put(f'sys/fs/cgroup/{pids}/pids.current', '10\n')
    report = machine.report(connections=500000)
    assert report.all['assumptions']['memory_from'] == 'control group'
    assert report.all['assumptions']['memory_bytes'] == GIB * 3 // 4
    assert report.row('cgroup memory')['verdict'] == 'raise' and report.row('cgroup memory')['must']
    assert report.row('cgroup memory')['now'] == '1.0 GiB, 768 MiB left'
    assert report.row('cgroup pids')['verdict'] == 'raise' and report.row('cgroup pids')['now'] == '20, 10 used'
    assert report.status == 1
    machine.put(f'sys/fs/cgroup/{pids}/pids.max', 'max\n')
    assert machine.report().row('cgroup pids')['verdict'] == 'ok'
    assert machine.report().status == 0


def test_strict_overcommit_is_fine_with_room(machine):
    machine.sysctl('vm.overcommit_memory', 2)
    assert machine.row('vm.overcommit_memory')['verdict'] == 'change'  # 49 MiB are left
    assert machine.row('vm.overcommit_memory', connections=1)['verdict'] == 'change'
    meminfo = machine.root / 'proc/meminfo'
    meminfo.write_text(meminfo.read_text().replace('CommitLimit: 200000', 'CommitLimit: 900000'))
    assert machine.row('vm.overcommit_memory')['verdict'] == 'ok'
    meminfo.write_text(meminfo.read_text().replace('CommitLimit', 'Other'))
    assert machine.report().status == 2


def test_huge_pages_are_advice(machine):
    for content, verdict in [('[always] madvise never\n', 'change'), ('always madvise [never]\n', 'ok'),
                             ('?\n', 'unknown')]:
        machine.put('sys/kernel/mm/transparent_hugepage/enabled', content)
        report = machine.report()
        assert report.row('transparent huge pages')['verdict'] == verdict and report.status == 0
    machine.remove('sys/kernel/mm/transparent_hugepage/enabled')
    assert machine.row('transparent huge pages')['verdict'] == 'not here'


def test_a_firewall_that_tracks_nothing_bounds_nothing(machine):
    machine.sysctl('net.netfilter.nf_conntrack_max', 1000)
    machine.sysctl('net.netfilter.nf_conntrack_count', 0)
    report = machine.report()
    assert report.row('net.netfilter.nf_conntrack_max')['verdict'] == 'ok' and report.status == 0
    assert 'conntrack entry' not in [part['what'] for part in report.all['arithmetic']['parts']]


def test_a_firewall_of_which_nothing_is_known_is_unknown(machine):
    machine.spoil(machine.path('net.netfilter.nf_conntrack_count').relative_to(machine.root))
    report = machine.report()
    row = report.row('net.netfilter.nf_conntrack_max')
    assert row['verdict'] == 'unknown' and row['must'] and report.status == 2
    machine.remove(machine.path('net.netfilter.nf_conntrack_max'))
    assert machine.row('net.netfilter.nf_conntrack_max')['verdict'] == 'not here' and machine.report().status == 0


def test_a_control_group_of_which_nothing_is_known_is_unknown(machine):
    machine.remove('proc/self/cgroup')
    report = machine.report()
    assert report.status == 2
    assert report.row('cgroup memory')['verdict'] == report.row('cgroup pids')['verdict'] == 'unknown'


def test_a_table_shared_by_network_namespaces_counts(machine):
    machine.sysctl('net.ipv4.tcp_ehash_entries', -131072)
    assert machine.row('net.ipv4.tcp_ehash_entries')['now'] == '131072'
    machine.sysctl('net.ipv4.tcp_ehash_entries', '-')
    assert machine.row('net.ipv4.tcp_ehash_entries')['verdict'] == 'unknown'


def test_what_gives_first_stands_first(machine):
    machine.sysctl('net.netfilter.nf_conntrack_max', 150020)
    machine.sysctl('fs.file-max', 130000 + 500 + machine.report().spare())
    bounds = machine.report().gives_first()
    assert list(bounds)[:2] == ['fs.file-max', 'net.netfilter.nf_conntrack_max']
    assert bounds['fs.file-max'] == 130000 and bounds['net.netfilter.nf_conntrack_max'] == 150000
    assert list(bounds.values()) == sorted(bounds.values())
    for name, most in bounds.items():
        assert machine.row(name, connections=most)['verdict'] == 'ok'
        assert machine.row(name, connections=most + 1)['verdict'] == 'raise'


def test_combinations_of_ports_are_told(machine):
    machine.sysctl('net.ipv4.ip_local_port_range', '32768 60999')
    why = machine.row('net.ipv4.ip_local_port_range', connections=1000000)['why']
    assert '1,000,000 connections take 71 such combinations, 32 with the widest range' in why
    machine.sysctl('net.ipv4.ip_unprivileged_port_start', 2000)
    assert machine.row('net.ipv4.ip_local_port_range')['needed'] == '2000 65535'
    assert machine.row('net.ipv4.ip_local_port_range', connections=14000)['verdict'] == 'ok'


# ---- symptoms ----

@pytest.mark.parametrize('name', NETSTAT)
def test_a_counter_that_is_not_zero_is_a_symptom(machine, name):
    assert not any(symptom['bad'] for symptom in machine.report().all['symptoms'])
    machine.netstat(**{name: 17})
    report = machine.report()
    assert [symptom['name'] for symptom in report.all['symptoms'] if symptom['bad']] == [name]
    assert report.symptom(name)['value'] == 17 and report.status == 0
    assert report.symptom(name)['meaning'].split('.')[0] in ' '.join(machine.run().stdout.split())


@pytest.mark.parametrize('name, path, content, value, limit', [
    ('orphans', 'proc/net/sockstat', 'TCP: inuse 5 orphan 70000 tw 3 alloc 7 mem 1\n', 70000, 131072),
    ('TIME_WAIT', 'proc/net/sockstat', 'TCP: inuse 5 orphan 0 tw 40000 alloc 7 mem 1\n', 40000, 64512),
    ('TCP memory pages', 'proc/net/sockstat', 'TCP: inuse 5 orphan 0 tw 3 alloc 7 mem 250000\n', 250000, 250000),
    ('softnet drops', 'proc/net/softnet_stat', '1 00000010 3\n1 00000002 3\n', 18, None),
    ('open files', 'proc/sys/fs/file-nr', '1900000 0 2000000\n', 1900000, 2000000),
    ('tracked connections', 'proc/sys/net/netfilter/nf_conntrack_count', '250000\n', 250000, 262144),
])
def test_what_is_nearly_full_is_a_symptom(machine, name, path, content, value, limit):
    machine.put(path, content)
    report = machine.report(connections=1000)
    symptom = report.symptom(name)
    assert (symptom['bad'], symptom['value'], symptom['limit']) == (True, value, limit)
    assert [one['name'] for one in report.all['symptoms'] if one['bad']] == [name]


def test_processors_that_no_longer_fit_in_the_room_are_left_out(machine):
    """32 KiB are read; the last line of them may be cut in the middle of a number."""
    machine.put('proc/net/softnet_stat', f'{1:08x} {1:08x} {0:08x}\n' * 2000)
    assert machine.report().symptom('softnet drops')['value'] == 32767 // 27


def test_symptoms_that_cannot_be_read_are_told(machine):
    machine.remove('proc/net/netstat')
    machine.put('proc/net/softnet_stat', 'nonsense\n')
    machine.put('proc/net/sockstat', 'UDP: inuse 5\n')
    report = machine.report()
    for name in [*NETSTAT, 'softnet drops', 'orphans', 'TIME_WAIT']:
        assert report.symptom(name)['error'] and report.symptom(name)['value'] is None
    assert report.status == 0 and 'unknown  ListenOverflows: No such file' in machine.run().stdout


# ---- the table for people ----

def test_the_table_fits_a_hundred_columns(machine):
    machine.sysctl('net.ipv4.tcp_mem', '1000 2000 3000')
    machine.sysctl('fs.file-max', 5000)
    machine.netstat(ListenOverflows=5)
    text = machine.run('--connections=1000000').stdout
    assert max(len(line) for line in text.splitlines()) <= 100
    assert 'net.ipv4.tcp_mem' in text and 'raise (must)' in text and 'to change: sysctl -w net.ipv4.tcp_mem=' in text
    assert '\x1b' not in text
    assert text.count('It does not fit: 1,000,000 connections in 8.0 GiB of memory.\n') == 2
    assert text.startswith('It does not fit') and 'Has to change: fs.file-max' in text
    assert text.count('to change:') < text.count('  both  ') and 'sysctl -w net.ipv4.tcp_fin_timeout' not in text


# ---- apply and undo ----

def lack(machine):
    """Two that must be raised, two that might, two that are for people to decide."""
    for name, value in [('net.ipv4.tcp_mem', '1000\t2000\t3000'), ('fs.file-max', 9000), ('net.core.somaxconn', 128),
                        ('net.ipv4.ip_local_port_range', '32768\t60999'), ('net.ipv4.tcp_abort_on_overflow', 1),
                        ('net.ipv4.tcp_fin_timeout', 600)]:
        machine.sysctl(name, value)


def snapshot(machine):
    return {path: path.read_text() for path in machine.root.rglob('*') if path.is_file()}


def test_apply_raises_what_has_to_be_raised_and_undo_puts_it_back(machine):
    lack(machine)
    before = {name: machine.now(name) for name in SYSCTLS}
    result = machine.run('--connections=100000', '--apply')
    assert result.returncode == 0 and not result.stderr
    assert 'net.core.somaxconn: 128 -> 1000\n' in result.stdout
    assert 'net.ipv4.tcp_mem: 1000 2000 3000 -> 50000 75000 100000\n' in result.stdout
    assert 'net.ipv4.ip_local_port_range: 32768 60999 -> 1024 65535\n' in result.stdout
    assert machine.now('net.core.somaxconn') == '1000' and int(machine.now('fs.file-max')) > 100500
    assert machine.now('net.ipv4.tcp_abort_on_overflow') == '1' and machine.now('net.ipv4.tcp_fin_timeout') == '600'
    content = (machine.root / FILE).read_text()
    assert '# was: net.core.somaxconn = 128\nnet.core.somaxconn = 1000\n' in content
    assert 'abort' not in content
    assert os.stat(machine.root / FILE).st_mode & 0o777 == 0o644
    assert os.listdir(machine.root / 'etc/sysctl.d') == ['90-berth.conf']

    result = machine.run('--undo')
    assert result.returncode == 0 and not result.stderr
    assert 'net.core.somaxconn: 1000 -> 128\n' in result.stdout
    assert {name: machine.now(name) for name in SYSCTLS} == before
    assert os.listdir(machine.root / 'etc/sysctl.d') == []
    result = machine.run('--undo')
    assert result.returncode == 0 and 'Nothing to undo' in result.stdout


def test_apply_writes_nothing_when_nothing_has_to_be_raised(machine):
    before = snapshot(machine)
    result = machine.run('--connections=100000', '--apply')
    assert result.returncode == 0 and 'nothing is changed' in result.stdout
    assert snapshot(machine) == before


def test_looking_changes_nothing(machine):
    lack(machine)
    before = snapshot(machine)
    machine.run()
    machine.report()
    assert snapshot(machine) == before


def test_apply_never_lowers(machine):
    machine.sysctl('net.ipv4.tcp_mem', '600000 700000 800000')
    machine.sysctl('net.ipv4.ip_local_port_range', '500 30000')
    assert machine.run('--connections=1000000', '--apply').returncode == 0
    assert machine.now('net.ipv4.tcp_mem') == '600000 750000 1000000'
    assert machine.now('net.ipv4.ip_local_port_range') == '500 65535'
    before = snapshot(machine)
    machine.run('--connections=1000', '--apply')
    assert snapshot(machine) == before


def test_a_second_apply_keeps_what_was_at_first(machine):
    lack(machine)
    machine.run('--connections=100000', '--apply')
    report = machine.report('--apply', connections=200000)
    assert report.status == 0
    assert {'name': 'net.core.somaxconn', 'old': '1000', 'new': '2000', 'error': None} in report.all['changes']
    content = (machine.root / FILE).read_text()
    assert '# was: net.core.somaxconn = 128\nnet.core.somaxconn = 2000\n' in content
    machine.run('--undo')
    assert machine.now('net.core.somaxconn') == '128' and machine.now('net.ipv4.tcp_mem') == '1000 2000 3000'


def test_undo_works_after_the_machine_has_started_anew(machine):
    """The kernel knows nothing of yesterday; the file does."""
    lack(machine)
    machine.run('--connections=100000', '--apply')
    raised = machine.now('fs.file-max')
    machine.sysctl('net.core.somaxconn', 128)  # as if another file of sysctl.d had not let it
    result = machine.run('--undo', '--json')
    changes = {change['name']: change for change in json.loads(result.stdout)['changes']}
    assert 'net.core.somaxconn' not in changes
    assert changes['fs.file-max'] == {'name': 'fs.file-max', 'old': raised, 'new': '9000', 'error': None}
    assert machine.now('net.core.somaxconn') == '128' and not (machine.root / FILE).exists()


def test_undo_leaves_what_somebody_has_changed_since(machine):
    lack(machine)
    machine.run('--connections=100000', '--apply')
    machine.sysctl('net.core.somaxconn', 5000)
    result = machine.run('--undo')
    assert result.returncode == 0 and 'net.core.somaxconn = 5000: left as it is' in result.stderr
    assert machine.now('net.core.somaxconn') == '5000' and machine.now('fs.file-max') == '9000'
    assert not (machine.root / FILE).exists()


def test_undo_writes_to_no_other_names(machine):
    outside = machine.put('proc/sys/kernel/core_pattern', 'new\n')
    machine.put(FILE, '# was: kernel.core_pattern = old\nkernel.core_pattern = new\n'
                '# was: net.ipv4.tcp_max_orphans = 77\nnet.ipv4.tcp_max_orphans = 131072\nvm.swappiness = 1\n')
    result = machine.run('--undo')
    assert result.returncode == 0
    assert outside.read_text() == 'new\n' and machine.now('net.ipv4.tcp_max_orphans') == '77'
    assert 'kernel.core_pattern' in result.stderr and 'vm.swappiness' in result.stderr


def test_apply_keeps_the_lines_of_others(machine):
    lack(machine)
    machine.put(FILE, 'vm.swappiness = 1\n')
    machine.run('--connections=100000', '--apply')
    assert '\nvm.swappiness = 1\n' in (machine.root / FILE).read_text()


def test_apply_makes_the_folder(machine):
    lack(machine)
    (machine.root / 'etc/sysctl.d').rmdir()
    assert machine.run('--connections=100000', '--apply').returncode == 0
    assert (machine.root / FILE).exists()


def test_tcp_mem_is_raised_to_half_of_the_memory_at_most(machine):
    machine.memory(total=16 * GIB, available=16 * GIB)
    result = machine.run('--connections=3000000', '--apply')
    low, pressure, high = map(int, machine.now('net.ipv4.tcp_mem').split())
    assert low <= pressure <= high == 2 * 1024 * 1024
    assert result.returncode == 0 and 'net.ipv4.tcp_mem' in result.stdout
    row = machine.row('net.ipv4.tcp_mem', connections=3000000)
    assert row['verdict'] == 'ok' and 'half' in row['why']
    assert row['apply'] is None


def test_apply_does_nothing_for_more_than_the_machine_could_hold(machine):
    lack(machine)
    before = snapshot(machine)
    result = machine.run('--connections=100000000', '--memory=4T', '--apply')
    assert result.returncode == 2 and "this machine's memory (16 GiB) holds" in result.stderr
    machine.remove('proc/meminfo')
    assert machine.run('--connections=100000', '--apply').returncode == 2
    machine.memory(total=16 * GIB, available=8 * GIB)
    assert snapshot(machine) == before


def as_nobody(machine, *options):
    """Runs it without root's rights."""
    more = {'user': 65534, 'group': 65534, 'extra_groups': []} if os.geteuid() == 0 else {}
    try:
        return machine.run(*options, **more)
    except PermissionError:
        pytest.skip('another user may not run the program here')


def test_a_value_that_is_refused_is_told_and_the_rest_is_done(machine):
    lack(machine)
    for path in [machine.root, *machine.root.rglob('*')]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    machine.path('net.core.somaxconn').chmod(0o444)
    result = as_nobody(machine, '--connections=100000', '--apply')
    assert result.returncode == 2
    assert result.stderr == 'berth: net.core.somaxconn: Permission denied: left as it is\n'
    assert machine.now('net.core.somaxconn') == '128' and machine.now('net.ipv4.tcp_mem') == '50000 75000 100000'
    assert 'somaxconn' not in (machine.root / FILE).read_text()


def test_undo_keeps_the_file_when_a_value_is_refused(machine):
    machine.put(FILE, '# was: net.core.somaxconn = 128\nnet.core.somaxconn = 1000\n'
                '# was: fs.file-max = 9000\nfs.file-max = 2000000\n')
    machine.spoil(machine.path('net.core.somaxconn').relative_to(machine.root))
    result = machine.run('--undo')
    assert result.returncode == 2 and 'net.core.somaxconn: Is a directory' in result.stderr
    assert machine.now('fs.file-max') == '9000' and (machine.root / FILE).exists()


@pytest.mark.parametrize('option', ['--apply', '--undo'])
def test_a_settings_file_that_is_a_link_is_left_alone(machine, option):
    lack(machine)
    outside = machine.put('elsewhere', '# was: net.core.somaxconn = 7\nnet.core.somaxconn = 128\n')
    (machine.root / FILE).symlink_to(outside)
    before = snapshot(machine)
    result = machine.run('--connections=100000', option)
    assert result.returncode == 2 and 'no regular file' in result.stderr
    assert snapshot(machine) == before and (machine.root / FILE).is_symlink()


def test_a_file_that_cannot_be_written_changes_nothing(machine):
    lack(machine)
    (machine.root / 'etc/sysctl.d').rmdir()
    (machine.root / 'etc/sysctl.d').write_text('no folder\n')
    before = snapshot(machine)
    result = machine.run('--connections=100000', '--apply')
    assert result.returncode == 2 and 'nothing is changed' in result.stderr
    assert snapshot(machine) == before


@pytest.mark.parametrize('option', ['--apply', '--undo'])
def test_without_rights_nothing_is_changed(machine, option):
    lack(machine)
    if option == '--undo':
        machine.run('--connections=100000', '--apply')
    for path in [machine.root, *machine.root.rglob('*')]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = snapshot(machine)
    try:
        result = as_nobody(machine, '--connections=100000', option)
        assert result.returncode == 2
        assert result.stderr.count('\n') == 1 and 'it needs root' in result.stderr
        assert snapshot(machine) == before
    finally:
        for path in [machine.root, *machine.root.rglob('*')]:
            path.chmod(0o755 if path.is_dir() else 0o644)


# ---- the command line ----

@pytest.mark.parametrize('options, words', [
    (['--connections=0'], '--connections 0: expected a number from 1'),
    (['--connections=-1'], 'expected a number'),
    (['--connections=10k'], 'expected a number'),
    (['--connections='], 'expected a number'),
    (['--connections=99999999999999999999999'], 'expected a number'),
    (['--memory=lots'], '--memory lots: expected a size'),
    (['--memory=8GB'], 'expected a size'),
    (['--memory=1'], 'expected a size'),
    (['--memory=99999999T'], 'expected a size'),
    (['--memory='], 'expected a size'),
    (['--apply', '--undo'], 'exclude each other'),
    (['--colour'], '--colour'),
    (['folder'], "'folder'"),
])
def test_wrong_usage_is_told_in_a_line_and_nothing_else(machine, options, words):
    before = snapshot(machine)
    result = machine.run(*options)
    assert result.returncode == 2 and not result.stdout
    assert words in result.stderr and result.stderr.count('\n') == 1 and result.stderr.startswith('berth: ')
    assert snapshot(machine) == before


@pytest.mark.parametrize('option', ['-c', '-n'])
def test_connections_have_two_short_names(machine, option):
    assert machine.report(option, '4711', connections=None).all['assumptions']['connections'] == 4711


def test_sizes_have_binary_suffixes(machine):
    for text, size in [('1024K', 1 << 20), ('8m', 8 << 20), ('2G', 2 << 30), ('1T', 1 << 40), ('3000000', 3000000)]:
        assert machine.report(f'--memory={text}').all['assumptions']['memory_bytes'] == size


def test_help_tells_the_options_and_examples():
    result = run('--help')
    assert result.returncode == 0 and not result.stderr
    for words in ['--connections', '--memory', '--apply', '--undo', '--json', 'Examples:',
                  '/etc/sysctl.d/90-berth.conf']:
        assert words in result.stdout


def test_a_full_output_is_an_error(machine):
    with open('/dev/full', 'w', encoding='utf-8') as full:
        result = subprocess.run([PROGRAM, 'doctor'], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
                                env={**os.environ, 'BERTH_DOCTOR_ROOT': str(machine.root)})
    assert result.returncode == 2 and 'standard output' in result.stderr
