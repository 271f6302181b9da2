/* The lab's way to the system: Linux. */
#include "lab.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

uint64_t lab_clock_ms(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

unsigned lab_open_descriptors(void)
{
        unsigned count = 0;
        DIR *folder = opendir("/proc/self/fd");
        assert_non_null(folder);
        while (readdir(folder))
                count++;
        closedir(folder);
        return count;
}

void lab_limit_descriptors(int more)
{
        static struct rlimit before;
        if (before.rlim_cur == 0)
                assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        struct rlimit limit = before;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        if (more != LAB_AS_BEFORE) {
                int lowest = open("/dev/null", O_RDONLY);
                assert_true(lowest >= 0);
                close(lowest);
                limit.rlim_cur = (rlim_t)(lowest + more);
        }
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        if (more == 0)
                assert_int_equal(open("/dev/null", O_RDONLY), -1);
}

double lab_cpu_seconds(void)
{
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void lab_sleep_ms(unsigned ms)
{
        nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 }, NULL);
}

void lab_set_environment(const char *name, const char *value)
{
        if (value)
                setenv(name, value, 1);
        else
                unsetenv(name);
}

const char *lab_lacks(enum lab_feature feature)
{
        (void)feature;
        return NULL;
}

/* ---- plain sockets and pipes ---- */

int lab_plain_listener(struct sockaddr_storage *address, bool listening)
{
        int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t bytes = sizeof(any);
        assert_true(descriptor >= 0);
        assert_int_equal(bind(descriptor, (struct sockaddr *)&any, sizeof(any)), 0);
        if (listening)
                assert_int_equal(listen(descriptor, 64), 0);
        assert_int_equal(getsockname(descriptor, (struct sockaddr *)&any, &bytes), 0);
        memcpy(address, &any, sizeof(any));
        return descriptor;
}

int lab_plain_connect(const struct lab *lab)
{
        int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct linger abort_it = { .l_onoff = 1 };
        assert_true(descriptor >= 0);
        assert_int_equal(connect(descriptor, (const struct sockaddr *)&lab->address, lab->address_bytes), 0);
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &abort_it, sizeof(abort_it));
        return descriptor;
}

void lab_plain_send(int descriptor, const char *data, size_t size)
{
        assert_int_equal(send(descriptor, data, size, 0), size);
}

int lab_plain_duplicate(int descriptor)
{
        return dup(descriptor);
}

void lab_plain_close(int descriptor)
{
        close(descriptor);
}

void lab_pipe(int pipes[2])
{
        assert_int_equal(pipe(pipes), 0);
}

void lab_pipe_write(int descriptor)
{
        assert_int_equal(write(descriptor, "x", 1), 1);
}

void lab_pipe_read(int descriptor)
{
        char byte;
        assert_int_equal(read(descriptor, &byte, 1), 1);
}

void lab_pipe_close(int descriptor)
{
        close(descriptor);
}

/* ---- files ---- */

/* Not on a file system in memory, where nothing is ever cold. */
int lab_system_folder(char *path, size_t size)
{
        snprintf(path, size, "/var/tmp/berth-test-XXXXXX");
        assert_non_null(mkdtemp(path));
        int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(descriptor >= 0);
        return descriptor;
}

void lab_remove_folder(const char *path)
{
        char command[128];
        snprintf(command, sizeof(command), "rm -rf '%s'", path);
        assert_int_equal(system(command), 0);
}

void lab_make_subfolder(const char *path)
{
        assert_int_equal(mkdir(path, 0700), 0);
}

void lab_make_link(const char *target, const char *path)
{
        assert_int_equal(symlink(target, path), 0);
}

void lab_make_fifo(const char *path)
{
        assert_int_equal(mkfifo(path, 0600), 0);
}

void lab_write_file(const char *path, const char *data, size_t size)
{
        int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(descriptor >= 0);
        assert_int_equal(write(descriptor, data, size), size);
        close(descriptor);
}

void lab_cut_file(const char *path, uint64_t size)
{
        assert_int_equal(truncate(path, (off_t)size), 0);
}

void lab_check_opened(int64_t descriptor)
{
        assert_int_equal(fcntl((int)descriptor, F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl((int)descriptor, F_GETFL) & O_NONBLOCK, 0);
        close((int)descriptor);
}

bool lab_make_cold(const struct berth_handle *file)
{
        char byte;
        struct iovec vec = { &byte, 1 };
        int descriptor = berth_file_descriptor(file);
        assert_int_equal(fsync(descriptor), 0);
        assert_int_equal(posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED), 0);
        return preadv2(descriptor, &vec, 1, 0, RWF_NOWAIT) < 0 && errno == EAGAIN;
}
