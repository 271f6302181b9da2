/* What the kernel tells of itself, read from files of the test's own. */
#include "folder.h"
#include "help.h"

#include <errno.h>

static struct folder *at;
static char room[256];

static const char *path_of(const char *name)
{
        snprintf(room, sizeof(room), "%s/%s", at->path, name);
        return room;
}

/* A file and the folders above it. */
static const char *put(const char *name, const char *content)
{
        char part[256];
        for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
                snprintf(part, sizeof(part), "%.*s", (int)(slash - name), name);
                assert_true(mkdirat(at->fd, part, 0755) == 0 || errno == EEXIST);
        }
        FILE *file = fopen(path_of(name), "w");
        assert_non_null(file);
        fputs(content, file);
        fclose(file);
        return room;
}

static int setup(void **state)
{
        int error = folder_setup(state);
        at = *state;
        return error;
}

static void a_file_is_read_whole_and_ends_with_nul(void **state)
{
        (void)state;
        char out[32];
        memset(out, 'x', sizeof(out));
        assert_int_equal(proc_read(put("file", "twelve bytes"), out, sizeof(out)), 12);
        assert_string_equal(out, "twelve bytes");
        assert_int_equal(proc_read(put("file", ""), out, sizeof(out)), 0);
        assert_string_equal(out, "");
}

static void a_file_longer_than_the_room_is_cut(void **state)
{
        (void)state;
        char *out = malloc(4);
        assert_int_equal(proc_read(put("file", "twelve bytes"), out, 4), 3);
        assert_string_equal(out, "twe");
        assert_int_equal(proc_read(path_of("file"), out, 1), 0);
        assert_string_equal(out, "");
        free(out);
}

static void a_file_that_cannot_be_read_says_why(void **state)
{
        (void)state;
        char out[8];
        uint64_t value;
        assert_int_equal(proc_read(path_of("none"), out, sizeof(out)), -ENOENT);
        assert_int_equal(proc_read(at->path, out, sizeof(out)), -EISDIR);
        assert_int_equal(proc_number(path_of("none"), 0, &value), -ENOENT);
        assert_int_equal(proc_net_counter(path_of("none"), "A:", "b", &value), -ENOENT);
        assert_int_equal(proc_line_value(at->path, "A:", "b", &value), -EISDIR);
}

static void numbers_are_taken_by_their_place(void **state)
{
        (void)state;
        uint64_t value;
        put("file", "4096\t131072  6291456\n");
        assert_int_equal(proc_number(path_of("file"), 0, &value), 0);
        assert_int_equal(value, 4096);
        assert_int_equal(proc_number(path_of("file"), 1, &value), 0);
        assert_int_equal(value, 131072);
        assert_int_equal(proc_number(path_of("file"), 2, &value), 0);
        assert_int_equal(value, 6291456);
        assert_int_equal(proc_number(path_of("file"), 3, &value), -ENOENT);
}

static void max_is_the_largest_number(void **state)
{
        (void)state;
        uint64_t value;
        assert_int_equal(proc_number(put("file", "max\n"), 0, &value), 0);
        assert_true(value == UINT64_MAX);
        assert_int_equal(proc_number(put("file", "18446744073709551615"), 0, &value), 0);
        assert_true(value == UINT64_MAX);
}

static void what_is_no_number_is_refused(void **state)
{
        (void)state;
        static const char *const wrong[] = {
                "18446744073709551616", "99999999999999999999999", "-1", "0x10", "12a", "maximum", "\xb2"
        };
        uint64_t value;
        for (size_t i = 0; i < array_count(wrong); i++)
                assert_int_equal(proc_number(put("file", wrong[i]), 0, &value), -EINVAL);
        assert_int_equal(proc_number(put("file", ""), 0, &value), -ENOENT);
        assert_int_equal(proc_number(put("file", " \n"), 0, &value), -ENOENT);
}

static void a_counter_is_found_below_its_name(void **state)
{
        (void)state;
        uint64_t value;
        put("netstat", "TcpExt: SyncookiesSent ListenOverflows Last\nTcpExt: 1 22 333\n"
                       "TcpExtra: ListenOverflows\nTcpExtra: 9\n"
                       "IpExt: InOctets\nIpExt: 4444\n");
        assert_int_equal(proc_net_counter(path_of("netstat"), "TcpExt:", "ListenOverflows", &value), 0);
        assert_int_equal(value, 22);
        assert_int_equal(proc_net_counter(path_of("netstat"), "TcpExt:", "Last", &value), 0);
        assert_int_equal(value, 333);
        assert_int_equal(proc_net_counter(path_of("netstat"), "IpExt:", "InOctets", &value), 0);
        assert_int_equal(value, 4444);
        assert_int_equal(proc_net_counter(path_of("netstat"), "TcpExt:", "Overflows", &value), -ENOENT);
        assert_int_equal(proc_net_counter(path_of("netstat"), "Tcp:", "Last", &value), -ENOENT);
}

static void a_counter_without_a_number_is_no_counter(void **state)
{
        (void)state;
        uint64_t value;
        put("snmp", "Tcp: MaxConn Missing\nTcp: -1\nUdp: Lonely\n");
        assert_int_equal(proc_net_counter(path_of("snmp"), "Tcp:", "MaxConn", &value), -EINVAL);
        assert_int_equal(proc_net_counter(path_of("snmp"), "Tcp:", "Missing", &value), -ENOENT);
        assert_int_equal(proc_net_counter(path_of("snmp"), "Udp:", "Lonely", &value), -ENOENT);
}

static void a_line_tells_pairs_of_names_and_numbers(void **state)
{
        (void)state;
        uint64_t value;
        put("sockstat", "sockets: used 10\nTCP: inuse 5 orphan 6 tw 7 alloc 8 mem 9\nTCP6: tw 11\n");
        assert_int_equal(proc_line_value(path_of("sockstat"), "TCP:", "orphan", &value), 0);
        assert_int_equal(value, 6);
        assert_int_equal(proc_line_value(path_of("sockstat"), "TCP:", "mem", &value), 0);
        assert_int_equal(value, 9);
        assert_int_equal(proc_line_value(path_of("sockstat"), "TCP:", "5", &value), -ENOENT);
        assert_int_equal(proc_line_value(path_of("sockstat"), "UDP:", "inuse", &value), -ENOENT);
}

static void a_line_without_names_has_one_number(void **state)
{
        (void)state;
        uint64_t value;
        put("meminfo", "MemTotal:       24682416 kB\nMemAvailable:   24320020 kB\nMax open files   unlimited  files");
        assert_int_equal(proc_line_value(path_of("meminfo"), "MemAvailable:", NULL, &value), 0);
        assert_int_equal(value, 24320020);
        assert_int_equal(proc_line_value(path_of("meminfo"), "Max open files", NULL, &value), 0);
        assert_true(value == UINT64_MAX);
        assert_int_equal(proc_line_value(path_of("meminfo"), "Mem", NULL, &value), -ENOENT);
}

/* ---- control groups ---- */

static void assert_group(const char *controller, uint64_t limit, uint64_t used, const char *folder)
{
        struct proc_cgroup group;
        assert_int_equal(proc_cgroup(at->path, controller, &group), 0);
        assert_int_equal(group.limit, limit);
        assert_int_equal(group.used, used);
        assert_string_equal(group.folder, path_of(folder));
}

static void the_tightest_group_of_version_2_counts(void **state)
{
        (void)state;
        put("proc/self/cgroup", "0::/a/b\n");
        put("sys/fs/cgroup/a/memory.max", "1000\n");
        put("sys/fs/cgroup/a/memory.current", "400\n");
        put("sys/fs/cgroup/a/b/memory.max", "max\n");
        put("sys/fs/cgroup/a/b/memory.current", "300\n");
        assert_group("memory", 1000, 400, "sys/fs/cgroup/a");
        put("sys/fs/cgroup/a/b/memory.max", "850\n"); /* 550 left, above 600 */
        assert_group("memory", 850, 300, "sys/fs/cgroup/a/b");
        put("sys/fs/cgroup/a/memory.current", "990\n"); /* neighbours have taken it */
        assert_group("memory", 1000, 990, "sys/fs/cgroup/a");
        put("sys/fs/cgroup/a/memory.current", "1001\n"); /* above its limit for a moment */
        assert_group("memory", 1000, 1001, "sys/fs/cgroup/a");
}

static void version_1_is_found_among_its_controllers(void **state)
{
        (void)state;
        put("proc/self/cgroup", "9:name=systemd:/\n8:pids:/p\n4:memory:/m\n1:cpu,cpuacct:/\n0::/unified\n");
        put("sys/fs/cgroup/memory/m/memory.limit_in_bytes", "5000\n");
        put("sys/fs/cgroup/memory/m/memory.usage_in_bytes", "70\n");
        put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        put("sys/fs/cgroup/memory/memory.usage_in_bytes", "900\n");
        put("sys/fs/cgroup/pids/p/pids.max", "32\n");
        put("sys/fs/cgroup/pids/p/pids.current", "3\n");
        assert_group("memory", 5000, 70, "sys/fs/cgroup/memory/m");
        assert_group("pids", 32, 3, "sys/fs/cgroup/pids/p");
}

static void parts_of_the_path_that_only_the_host_has_are_passed_by(void **state)
{
        (void)state;
        put("proc/self/cgroup", "0::/docker/0123:4567\n");
        put("sys/fs/cgroup/memory.max", "77\n");
        put("sys/fs/cgroup/memory.current", "7\n");
        assert_group("memory", 77, 7, "sys/fs/cgroup");
}

static void without_a_limit_there_is_none(void **state)
{
        (void)state;
        struct proc_cgroup group;
        assert_int_equal(proc_cgroup(at->path, "memory", &group), -ENODATA); /* whether there is one is not known */
        put("proc/self/cgroup", "");
        assert_int_equal(proc_cgroup(at->path, "memory", &group), -ENOENT);
        put("proc/self/cgroup", "3:cpu:/\n");
        assert_int_equal(proc_cgroup(at->path, "memory", &group), -ENOENT);
        put("proc/self/cgroup", "0::/\n");
        assert_int_equal(proc_cgroup(at->path, "memory", &group), -ENOENT);
        put("sys/fs/cgroup/memory.max", "max\n");
        assert_int_equal(proc_cgroup(at->path, "memory", &group), -ENOENT);
}

static void a_limit_that_cannot_be_read_is_an_error(void **state)
{
        (void)state;
        struct proc_cgroup group;
        put("proc/self/cgroup", "0::/a\n");
        put("sys/fs/cgroup/a/memory.max", "a lot\n");
        assert_int_equal(proc_cgroup(at->path, "memory", &group), -EINVAL);
}

static void cached_files_are_no_used_memory(void **state)
{
        (void)state;
        uint64_t limit, used;
        put("proc/self/cgroup", "0::/\n");
        put("sys/fs/cgroup/memory.max", "1000\n");
        put("sys/fs/cgroup/memory.current", "900\n");
        put("sys/fs/cgroup/memory.stat", "anon 300\ninactive_file 500\nactive_file 100\n");
        assert_int_equal(proc_cgroup_memory(at->path, &limit, &used), 0);
        assert_int_equal(limit, 1000);
        assert_int_equal(used, 300);
        put("proc/self/cgroup", "4:memory:/\n");
        put("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n");
        put("sys/fs/cgroup/memory/memory.usage_in_bytes", "900\n");
        put("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 500\ntotal_active_file 300\n");
        assert_int_equal(proc_cgroup_memory(at->path, &limit, &used), 0);
        assert_int_equal(used, 100);
}

static void free_memory_is_the_system_s_or_the_group_s(void **state)
{
        (void)state;
        bool grouped = true;
        assert_true(proc_free_memory(at->path, &grouped) == UINT64_MAX);
        assert_false(grouped);
        put("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:   5 kB\n");
        assert_int_equal(proc_free_memory(at->path, NULL), 5120);
        put("proc/self/cgroup", "0::/\n");
        put("sys/fs/cgroup/memory.max", "9000\n");
        put("sys/fs/cgroup/memory.current", "1000\n");
        assert_int_equal(proc_free_memory(at->path, &grouped), 5120);
        assert_false(grouped);
        put("sys/fs/cgroup/memory.current", "4000\n");
        assert_int_equal(proc_free_memory(at->path, &grouped), 5000);
        assert_true(grouped);
        put("sys/fs/cgroup/memory.current", "9001\n"); /* above its limit for a moment */
        assert_int_equal(proc_free_memory(at->path, &grouped), 0);
        put("proc/meminfo", "");
        put("sys/fs/cgroup/memory.current", "4000\n");
        assert_int_equal(proc_free_memory(at->path, &grouped), 5000);
        assert_true(grouped);
}

static void this_process_has_a_limit_or_none(void **state)
{
        (void)state;
        uint64_t limit = 0, used = 0;
        int error = proc_cgroup_memory("", &limit, &used);
        assert_true(error == 0 ? limit > 0 : error == -ENOENT || error == -EACCES);
}

int main(void)
{
#define in_folder(test) cmocka_unit_test_setup_teardown(test, setup, folder_teardown)
        const struct CMUnitTest tests[] = {
                in_folder(a_file_is_read_whole_and_ends_with_nul),
                in_folder(a_file_longer_than_the_room_is_cut),
                in_folder(a_file_that_cannot_be_read_says_why),
                in_folder(numbers_are_taken_by_their_place),
                in_folder(max_is_the_largest_number),
                in_folder(what_is_no_number_is_refused),
                in_folder(a_counter_is_found_below_its_name),
                in_folder(a_counter_without_a_number_is_no_counter),
                in_folder(a_line_tells_pairs_of_names_and_numbers),
                in_folder(a_line_without_names_has_one_number),
                in_folder(the_tightest_group_of_version_2_counts),
                in_folder(version_1_is_found_among_its_controllers),
                in_folder(parts_of_the_path_that_only_the_host_has_are_passed_by),
                in_folder(without_a_limit_there_is_none),
                in_folder(a_limit_that_cannot_be_read_is_an_error),
                in_folder(cached_files_are_no_used_memory),
                in_folder(free_memory_is_the_system_s_or_the_group_s),
                in_folder(this_process_has_a_limit_or_none),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
