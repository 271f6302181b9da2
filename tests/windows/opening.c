/* Names on Windows: what looks like a file's name and means something else there is nobody's, whatever is asked. */
#include "../port/lab.h"

static struct berth_workers *workers;

static void open_lab(struct lab *lab)
{
        assert_int_equal(berth_workers_create(&workers, 1, 8), 0);
        lab_open_bare(lab, &(struct berth_port_config){ .workers = workers });
        lab_make_folder(lab);
        lab_make_file(lab, "file", 10);
        lab_make_subfolder(lab_path(lab, "folder"));
        lab_make_file(lab, "folder/inner", 10);
}

static void close_lab(struct lab *lab)
{
        lab_close(lab);
        berth_workers_destroy(workers);
}

static void check(struct lab *lab, const char *path, unsigned flags, int64_t expected)
{
        int64_t result = lab_try_open(lab, path, flags);
        if (result >= 0)
                lab_check_opened(result);
        if ((result < 0 ? result : 0) != expected)
                fail_msg("\"%s\", flags %u: %lld instead of %lld", path, flags, (long long)result, (long long)expected);
}

static void names_that_mean_something_else_are_not_there(void **state)
{
        (void)state;
        static const char *const names[] = {
                "CON",           "con",      "NUL",          "nul.txt",       "AUX",         "PRN.tar.gz",
                "COM1",          "com9.txt", "LPT3",         "COM\xc2\xb9",   "CONIN$",      "CONOUT$",
                "nul .txt",      "file.",    "file ",        "file...",       "file:stream", "file::$DATA",
                ":file",         "C:",       "C:/windows",   "folder\\inner", "..\\file",    "fi*e",
                "fil?",          "\"file\"", "<file>",       "a|b",           "\x01",        "folder./inner",
                "folder /inner", "...",      "folder/NUL/x", "folder/CON",
        };
        struct lab lab;
        open_lab(&lab);
        for (unsigned i = 0; i < array_count(names); i++) {
                check(&lab, names[i], 0, -ENOENT);
                check(&lab, names[i], BERTH_OPEN_NO_LINKS, -ENOENT);
        }
        close_lab(&lab);
}

static void names_that_mean_something_else_are_not_made(void **state)
{
        (void)state;
        static const char *const names[] = { "CON", "nul.txt", "COM1", "new.", "new ", "file:stream", "folder\\new" };
        struct lab lab;
        open_lab(&lab);
        for (unsigned i = 0; i < array_count(names); i++)
                check(&lab, names[i], BERTH_OPEN_WRITE | BERTH_OPEN_CREATE, -EACCES);
        close_lab(&lab);
}

static void names_that_only_look_like_those_are_files(void **state)
{
        (void)state;
        static const char *const names[] = { "CONSOLE", "nul1", "COM", "COM10", "LPTX", "file.txt",
                                             ".hidden", "a b",  "..a", "x~1y",  "a;b",  "gr\xc3\xbc\xc3\x9f" };
        struct lab lab;
        open_lab(&lab);
        for (unsigned i = 0; i < array_count(names); i++) {
                check(&lab, names[i], BERTH_OPEN_WRITE | BERTH_OPEN_CREATE, 0);
                check(&lab, names[i], 0, 0);
        }
        close_lab(&lab);
}

static void paths_are_utf_8_and_as_long_as_names_may_be(void **state)
{
        (void)state;
        char name[300];
        struct lab lab;
        open_lab(&lab);
        check(&lab, "\xff\xfe", 0, -ENOENT);
        check(&lab, "a\xc3", 0, -ENOENT);
        memset(name, 'n', sizeof(name));
        name[255] = 0;
        check(&lab, name, BERTH_OPEN_WRITE | BERTH_OPEN_CREATE, 0);
        check(&lab, name, 0, 0);
        name[255] = 'n';
        name[256] = 0;
        check(&lab, name, 0, -ENAMETOOLONG);
        close_lab(&lab);
}

static void paths_are_long_and_go_back_and_forth(void **state)
{
        (void)state;
        char path[4000] = "";
        struct lab lab;
        open_lab(&lab);
        for (unsigned i = 0; i < 300; i++)
                strcat(path, i % 2 ? "../" : "folder/");
        strcat(path, "file");
        check(&lab, path, 0, 0);
        check(&lab, "folder//inner", 0, 0);
        check(&lab, "./folder/./inner", 0, 0);
        check(&lab, "folder/", 0, 0);
        check(&lab, "folder/..", BERTH_OPEN_FOLDER, 0);
        check(&lab, "file/", 0, -ENOTDIR);
        check(&lab, "FOLDER/Inner", 0, 0); /* as others of this system see it */
        close_lab(&lab);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_that_mean_something_else_are_not_there),
                cmocka_unit_test(names_that_mean_something_else_are_not_made),
                cmocka_unit_test(names_that_only_look_like_those_are_files),
                cmocka_unit_test(paths_are_utf_8_and_as_long_as_names_may_be),
                cmocka_unit_test(paths_are_long_and_go_back_and_forth),
        };
        lab_engine = "iocp";
        return _cmocka_run_group_tests("opening", tests, array_count(tests), NULL, NULL);
}
