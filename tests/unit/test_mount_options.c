/* The command line of `berth mount`. */
#include "help.h"
#include "mount/mount_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

enum { MIB = 1 << 20, MAX_ARGUMENTS = 24 };

static struct mount_options options;

/* Parses a line of words; the words may be written to, as those of main() may. */
static int parse_as(const char *program, const char *line)
{
        static char copy[1024];
        char *words[MAX_ARGUMENTS] = { (char *)(uintptr_t)program }, *rest = copy;
        int count = 1;
        snprintf(copy, sizeof(copy), "%s", line);
        mount_options_finish(&options);
        for (char *word; (word = strsep(&rest, " ")) && count < MAX_ARGUMENTS - 1;)
                words[count++] = word;
        return mount_options_parse(&options, count, words);
}

static int parse(const char *line)
{
        return parse_as("mount", line);
}

static void test_what_holds_without_options(void **state)
{
        (void)state;
        assert_int_equal(parse("http://host/dir /mnt"), 0);
        assert_string_equal(options.url, "http://host/dir");
        assert_string_equal(options.client.url, "http://host/dir");
        assert_string_equal(options.folder, "/mnt");
        assert_int_equal(options.client.connections, 8);
        assert_int_equal(options.client.retry_ms, 60000);
        assert_int_equal(options.write_buffer_bytes, 64 * MIB);
        assert_int_equal(options.extent_bytes, 4 * MIB);
        assert_int_equal(options.read_ahead_bytes, 32 * MIB);
        assert_int_equal(options.cache_bytes, 64 * MIB);
        assert_int_equal(options.flush_after_ms, 5000);
        assert_int_equal(options.ttl_ms, 5000);
        assert_int_equal(options.umask, 022);
        assert_false(options.read_only || options.allow_other || options.helper);
        assert_null(options.client.user);
}

static void test_long_options_may_stand_anywhere(void **state)
{
        (void)state;
        assert_int_equal(parse("--connections 4 http://host/ --write-buffer=16M /mnt --extent 1M --read-only"), 0);
        assert_int_equal(options.client.connections, 4);
        assert_int_equal(options.write_buffer_bytes, 16 * MIB);
        assert_int_equal(options.extent_bytes, MIB);
        assert_true(options.read_only);
        assert_string_equal(options.folder, "/mnt");
}

static void test_close_waits_or_sends_later(void **state)
{
        (void)state;
        assert_int_equal(parse("http://h/ /mnt"), 0);
        assert_false(options.close_later);
        assert_int_equal(parse("-o close=later http://h/ /mnt"), 0);
        assert_true(options.close_later);
        assert_int_equal(parse("--close later --close wait http://h/ /mnt"), 0);
        assert_false(options.close_later);
        assert_int_equal(parse("--close soon http://h/ /mnt"), -EINVAL);
}

static void test_times_have_units(void **state)
{
        static const struct {
                const char *text;
                unsigned ms;
        } rows[] = {
                { "5", 5000 }, { "5s", 5000 }, { "500ms", 500 }, { "0.25", 250 }, { ".5", 500 }, { "2m", 120000 }
        };
        (void)state;
        for (unsigned i = 0; i < array_count(rows); i++) {
                char line[80];
                snprintf(line, sizeof(line), "--flush-after %s http://h/ /mnt", rows[i].text);
                assert_int_equal(parse(line), 0);
                assert_int_equal(options.flush_after_ms, rows[i].ms);
        }
        assert_int_equal(parse("--attr-ttl 0 --retry 0.1 http://h/ /mnt"), 0);
        assert_int_equal(options.ttl_ms, 0);
        assert_int_equal(options.client.retry_ms, 100);
        assert_int_equal(parse("--retry 0 http://h/ /mnt"), -EINVAL);
}

static void test_options_of_fstab(void **state)
{
        (void)state;
        assert_int_equal(parse("http://h/ /mnt -o rw,connections=3,extent=64K,_netdev,noauto,x-systemd.automount,user,"
                               "nosuid,noatime,uid=7,gid=8,umask=077,allow_other,insecure,attr-ttl=1.5,nofail"),
                         0);
        assert_int_equal(options.client.connections, 3);
        assert_int_equal(options.extent_bytes, 64 << 10);
        assert_int_equal(options.mount_flags, MS_NOSUID | MS_NOATIME);
        assert_true(options.set_uid && options.uid == 7 && options.set_gid && options.gid == 8);
        assert_int_equal(options.umask, 077);
        assert_true(options.allow_other && options.client.insecure);
        assert_int_equal(options.ttl_ms, 1500);
        assert_int_equal(parse("http://h/ /mnt -o ro -o suid,nosuid,suid"), 0);
        assert_true(options.read_only);
        assert_int_equal(options.mount_flags, 0);
}

static void test_a_comma_behind_a_backslash_is_part_of_the_value(void **state)
{
        (void)state;
        assert_int_equal(parse("http://h/ /mnt -o unix-socket=/run/a\\,b,ro"), 0);
        assert_string_equal(options.client.unix_socket, "/run/a,b");
        assert_true(options.read_only);
}

static void test_schemes(void **state)
{
        (void)state;
        assert_int_equal(parse("davs://h:8443/x/ /mnt"), 0);
        assert_string_equal(options.url, "https://h:8443/x/");
        assert_int_equal(parse("DAV://h /mnt"), 0);
        assert_string_equal(options.url, "http://h");
        assert_int_equal(parse("ftp://h/ /mnt"), -EINVAL);
        assert_int_equal(parse("http:///x /mnt"), -EINVAL);
        assert_int_equal(parse("http://h/x?y /mnt"), -EINVAL);
}

static void test_a_password_in_the_url_is_taken_out(void **state)
{
        char url[] = "https://al%20ice:s%3Ae@cret@h/x@y", folder[] = "/mnt", name[] = "mount";
        char *words[] = { name, url, folder, NULL };
        (void)state;
        mount_options_finish(&options);
        assert_int_equal(mount_options_parse(&options, 3, words), 0);
        assert_string_equal(options.url, "https://h/x@y");
        assert_string_equal(options.client.user, "al ice:s:e@cret");
        assert_null(strstr(url, "cret"));
}

static void test_the_password_comes_from_a_file_or_the_environment(void **state)
{
        char path[] = "/tmp/berth-password-XXXXXX", line[200];
        int descriptor = mkstemp(path);
        (void)state;
        assert_int_equal(write(descriptor, "pa ss\nmore\n", 11), 11);
        snprintf(line, sizeof(line), "--user bob --password-file %s http://h/ /mnt", path);
        assert_int_equal(parse(line), 0);
        assert_string_equal(options.client.user, "bob:pa ss");
        snprintf(line, sizeof(line), "http://h/ /mnt -o username=eve,password-file=%s", path);
        assert_int_equal(parse(line), 0);
        assert_string_equal(options.client.user, "eve:pa ss");
        snprintf(line, sizeof(line), "--bearer-file %s http://h/ /mnt", path);
        assert_int_equal(parse(line), 0);
        assert_string_equal(options.client.bearer, "pa ss");
        close(descriptor);
        unlink(path);
        assert_int_equal(parse(line), -EINVAL);
        setenv("BERTH_PASSWORD", "from there", 1);
        assert_int_equal(parse("--user bob http://h/ /mnt"), 0);
        assert_string_equal(options.client.user, "bob:from there");
        assert_int_equal(parse("http://carol@h/ /mnt"), 0);
        assert_string_equal(options.client.user, "carol:from there");
        unsetenv("BERTH_PASSWORD");
}

static void test_what_is_refused(void **state)
{
        static const char *const lines[] = {
                "",
                "http://h/",
                "http://h/ /a /b",
                "--extent 63K http://h/ /mnt",
                "--extent 65M --write-buffer 1G http://h/ /mnt",
                "--extent 8M --write-buffer 8M http://h/ /mnt",
                "--flush-after 5h http://h/ /mnt",
                "--flush-after -1 http://h/ /mnt",
                "--attr-ttl nan http://h/ /mnt",
                "--connections 0 http://h/ /mnt",
                "--cache-size 1K http://h/ /mnt",
                "--nonsense http://h/ /mnt",
                "-o nonsense http://h/ /mnt",
                "-o remount http://h/ /mnt",
                "-o uid=bob http://h/ /mnt",
                "-o umask=99 http://h/ /mnt",
                "-o connections http://h/ /mnt",
                "-o read-only=1 http://h/ /mnt",
                "-o password=secret http://h/ /mnt",
                "-o stats http://h/ /mnt",
                "--user a:b http://h/ /mnt",
                "--password-file /dev/null http://h/ /mnt",
                "--user a --password-file /dev/null http://h/ /mnt",
                "--user a --password-file /x --bearer-file /x http://h/ /mnt",
                "--cacert /x http://h/ /mnt",
                "--key /x https://h/ /mnt",
                "--log-file= http://h/ /mnt",
                "--stats",
                "--stats http://h/ /mnt",
        };
        (void)state;
        for (unsigned i = 0; i < array_count(lines); i++)
                if (parse(lines[i]) != -EINVAL)
                        fail_msg("taken: %s", lines[i]);
}

static void test_statistics_need_a_folder_only(void **state)
{
        (void)state;
        assert_int_equal(parse("--stats /mnt"), 0);
        assert_true(options.stats);
        assert_string_equal(options.folder, "/mnt");
        assert_int_equal(parse("--help"), 0);
        assert_true(options.help);
}

static void test_called_by_mount(void **state)
{
        (void)state;
        assert_int_equal(parse_as("/sbin/mount.berth", "http://h/ /mnt -n -v -t berth -o rw,retry=3"), 0);
        assert_true(options.helper);
        assert_int_equal(options.client.retry_ms, 3000);
        assert_int_equal(parse_as("/sbin/mount.berth", "http://h/ /mnt -f -s -o nonsense,ro"), 0);
        assert_true(options.fake && options.sloppy && options.read_only);
        assert_int_equal(parse_as("/sbin/mount.berth", "http://h/ /mnt -o nonsense"), -EINVAL);
        assert_int_equal(parse_as("/sbin/mount.berth", "http://h/ /mnt -N 12"), -EINVAL);
}

static void test_the_log_file_is_found_from_elsewhere(void **state)
{
        (void)state;
        assert_int_equal(parse("--log-file x.log http://h/ /mnt"), 0);
        assert_int_equal(*options.log_file, '/');
        assert_int_equal(parse("--log-file /var/x.log http://h/ /mnt"), 0);
        assert_string_equal(options.log_file, "/var/x.log");
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_holds_without_options),
                cmocka_unit_test(test_long_options_may_stand_anywhere),
                cmocka_unit_test(test_close_waits_or_sends_later),
                cmocka_unit_test(test_times_have_units),
                cmocka_unit_test(test_options_of_fstab),
                cmocka_unit_test(test_a_comma_behind_a_backslash_is_part_of_the_value),
                cmocka_unit_test(test_schemes),
                cmocka_unit_test(test_a_password_in_the_url_is_taken_out),
                cmocka_unit_test(test_the_password_comes_from_a_file_or_the_environment),
                cmocka_unit_test(test_what_is_refused),
                cmocka_unit_test(test_statistics_need_a_folder_only),
                cmocka_unit_test(test_called_by_mount),
                cmocka_unit_test(test_the_log_file_is_found_from_elsewhere),
        };
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        mount_options_finish(&options);
        return failed;
}
