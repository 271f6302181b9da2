/* The file that berth doctor --apply writes: read, changed, written. */
#include "help.h"

#include "doctor/doctor_priv.h"

static struct doctor_settings settings;

static void parse(const char *content)
{
        char *copy = exact_copy(content, strlen(content));
        doctor_settings_parse(&settings, (struct span){ copy, strlen(content) });
        free(copy);
}

static void expect(unsigned index, const char *name, const char *value, const char *was)
{
        assert_true(index < settings.count);
        assert_string_equal(settings.list[index].name, name);
        assert_string_equal(settings.list[index].value, value);
        assert_string_equal(settings.list[index].was, was);
}

static void values_and_what_was_before_are_read(void **state)
{
        (void)state;
        parse("# Written by somebody\n\n# was: net.core.somaxconn = 128\nnet.core.somaxconn = 4096\n"
              "\t# was:net.ipv4.tcp_mem=1 2 3\n  net.ipv4.tcp_mem=4 5 6 \nvm.swappiness = 10");
        assert_int_equal(settings.count, 3);
        expect(0, "net.core.somaxconn", "4096", "128");
        expect(1, "net.ipv4.tcp_mem", "4 5 6", "1 2 3");
        expect(2, "vm.swappiness", "10", "");
}

static void lines_that_say_nothing_are_passed_by(void **state)
{
        (void)state;
        parse("# a = b\n; c = d\n= 5\nname =\nname\n# was: lonely = 7\n# was: = 7\n\n");
        assert_int_equal(settings.count, 0);
        parse("");
        assert_int_equal(settings.count, 0);
}

static void names_and_values_that_are_too_long_are_passed_by(void **state)
{
        (void)state;
        char line[400];
        snprintf(line, sizeof(line), "%0*d = 1\nnet.core.somaxconn = %0*d\nfs.nr_open = 2\n", 64, 0, 96, 0);
        parse(line);
        assert_int_equal(settings.count, 1);
        expect(0, "fs.nr_open", "2", "");
        snprintf(line, sizeof(line), "%0*d = %0*d", 63, 0, 95, 0);
        parse(line);
        assert_int_equal(settings.count, 1);
}

static void more_lines_than_there_is_room_for_are_passed_by(void **state)
{
        (void)state;
        char *content = calloc(1, 4096);
        for (int i = 0; i < 100; i++)
                sprintf(content + strlen(content), "name%d = %d\n", i, i);
        parse(content);
        assert_int_equal(settings.count, DOCTOR_ROWS);
        assert_null(doctor_settings_change(&settings, "one.more", "1", "2"));
        free(content);
}

static void the_first_value_before_is_kept(void **state)
{
        (void)state;
        parse("# was: a = 1\na = 2\n");
        assert_non_null(doctor_settings_change(&settings, "a", "2", "3"));
        expect(0, "a", "3", "1");
        assert_string_equal(settings.list[0].from, "2");
        assert_string_equal(settings.list[0].to, "3");
        assert_true(settings.list[0].changed);
        assert_non_null(doctor_settings_change(&settings, "b", "8", "9"));
        expect(1, "b", "9", "8");
}

static void what_is_written_is_read_again(void **state)
{
        (void)state;
        char content[2048];
        struct text text = text_in(content, sizeof(content));
        parse("");
        doctor_settings_change(&settings, "net.core.somaxconn", "128", "4096");
        doctor_settings_change(&settings, "net.ipv4.tcp_mem", "1 2 3", "4 5 6");
        doctor_settings_format(&settings, 1000000, &text);
        assert_false(text.overflow);
        assert_non_null(strstr(content, "for 1000000 connections"));
        assert_non_null(strstr(content, "\n# was: net.core.somaxconn = 128\nnet.core.somaxconn = 4096\n"));
        doctor_settings_parse(&settings, (struct span){ text.data, text.used });
        assert_int_equal(settings.count, 2);
        expect(0, "net.core.somaxconn", "4096", "128");
        expect(1, "net.ipv4.tcp_mem", "4 5 6", "1 2 3");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(values_and_what_was_before_are_read),
                cmocka_unit_test(lines_that_say_nothing_are_passed_by),
                cmocka_unit_test(names_and_values_that_are_too_long_are_passed_by),
                cmocka_unit_test(more_lines_than_there_is_room_for_are_passed_by),
                cmocka_unit_test(the_first_value_before_is_kept),
                cmocka_unit_test(what_is_written_is_read_again),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
