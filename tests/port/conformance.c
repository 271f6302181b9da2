/* One suite for every engine: `conformance ENGINE [FILTER]`. Each test is named for what it proves; basics first.
 * FILTER takes the wildcards * and ?. */
#include "lab.h"

#include <signal.h>
#include <stdio.h>

static const struct test_list *const lists[] = {
        &connect_tests, &stream_tests, &rest_tests,  &file_tests, &close_tests,  &buffer_tests,
        &bound_tests,   &handle_tests, &plain_tests, &time_tests, &thread_tests,
};

/* A container may forbid io_uring, which is no fault of ours; then the epoll engine is what runs there. */
static bool forbidden(const char *engine)
{
        struct berth_port *port;
        int error = berth_port_create(&port, &(struct berth_port_config){ .engine = engine });
        berth_port_destroy(port);
        return strcmp(engine, "uring") == 0 && (error == -ENOSYS || error == -EPERM);
}

int main(int argc, char **argv)
{
        if (argc < 2) {
                fprintf(stderr, "conformance ENGINE [FILTER]\n");
                return 2;
        }
        lab_engine = argv[1];
        if (forbidden(lab_engine)) {
                printf("1..0 # SKIP no io_uring here\n");
                return 0;
        }
        if (argc > 2)
                cmocka_set_test_filter(argv[2]);
#ifdef SIGPIPE
        signal(SIGPIPE, SIG_DFL); /* sending to nobody must not raise it */
#endif

        struct CMUnitTest all[256];
        size_t count = 0;
        for (size_t i = 0; i < array_count(lists); i++) {
                if (count + lists[i]->count > array_count(all))
                        return 2;
                memcpy(all + count, lists[i]->tests, lists[i]->count * sizeof(*all));
                count += lists[i]->count;
        }
        return _cmocka_run_group_tests(argv[1], all, count, NULL, NULL);
}
