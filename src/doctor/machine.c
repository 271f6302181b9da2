/* One look at the machine, and the plan that follows from it. */
#include "doctor/doctor_priv.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
        DEFAULT_PORTS = 28232, /* 32768 to 60999 */
        DEFAULT_LOWEST_PORT = 1024,
};

const char *doctor_path(const struct doctor_plan *plan, char room[DOCTOR_PATH_BYTES], const char *format, ...)
{
        va_list arguments;
        int used = snprintf(room, DOCTOR_PATH_BYTES, "%s", plan->root);
        ensure(used >= 0 && used < DOCTOR_PATH_BYTES / 2); /* doctor_plan_make saw to that */
        va_start(arguments, format);
        vsnprintf(room + used, (size_t)(DOCTOR_PATH_BYTES - used), format, arguments);
        va_end(arguments);
        return room;
}

void doctor_sysctl_path(const struct doctor_plan *plan, char room[DOCTOR_PATH_BYTES], const char *name)
{
        doctor_path(plan, room, "/proc/sys/%s", name);
        for (char *at = room + strlen(plan->root); *at; at++)
                if (*at == '.')
                        *at = '/';
}

/* A number of a file, or `otherwise` when it cannot be read: for what only refines the plan. */
static uint64_t number_or(const struct doctor_plan *plan, const char *path, unsigned field, uint64_t otherwise)
{
        char room[DOCTOR_PATH_BYTES];
        uint64_t value;
        return proc_number(doctor_path(plan, room, "%s", path), field, &value) ? otherwise : value;
}

/* A line of /proc/meminfo in bytes; 0 when it cannot be read. */
static uint64_t meminfo(const struct doctor_plan *plan, const char *line)
{
        char room[DOCTOR_PATH_BYTES];
        uint64_t value;
        return proc_line_value(doctor_path(plan, room, "/proc/meminfo"), line, NULL, &value) ? 0 : value << 10;
}

int doctor_cgroup_room(const struct doctor_plan *plan, uint64_t *limit, uint64_t *room)
{
        uint64_t used;
        int error = proc_cgroup_memory(plan->root, limit, &used);
        if (error)
                return error;
        *room = *limit - min_of(used, *limit);
        return 0;
}

static void plan_memory(struct doctor_plan *plan, uint64_t given_bytes)
{
        bool grouped;
        uint64_t bytes = proc_free_memory(plan->root, &grouped);
        bool known = bytes != UINT64_MAX;
        plan->machine_bytes = meminfo(plan, "MemTotal:");
        plan->memory_from = grouped ? DOCTOR_MEMORY_CGROUP : known ? DOCTOR_MEMORY_AVAILABLE : DOCTOR_MEMORY_UNKNOWN;
        plan->memory_bytes = known ? bytes : 0;
        if (given_bytes) {
                plan->memory_from = DOCTOR_MEMORY_GIVEN;
                plan->memory_bytes = given_bytes;
        }
}

/* FIXED_FD_INSTALL, from Linux 6.8 on, gives a socket of the ring a descriptor when one is needed after all; berth uses
 * the ring's table only with it. */
static bool can_install(int ring)
{
        enum { OP_FIXED_FD_INSTALL = 54, OPS = 256 };
        struct io_uring_probe *probe = calloc(1, sizeof(*probe) + OPS * sizeof(probe->ops[0]));
        bool can = probe && syscall(SYS_io_uring_register, ring, IORING_REGISTER_PROBE, probe, OPS) == 0 &&
                   probe->last_op >= OP_FIXED_FD_INSTALL &&
                   (probe->ops[OP_FIXED_FD_INSTALL].flags & IO_URING_OP_SUPPORTED);
        free(probe);
        return can;
}

/* Asks for the smallest ring: policy (kernel.io_uring_disabled, seccomp) and age show in the errno. The flag came with
 * Linux 5.19, the first that has all that berth's engine needs; before, it is EINVAL. */
static int try_uring(struct doctor_plan *plan)
{
        struct io_uring_params parameters = { .flags = IORING_SETUP_COOP_TASKRUN };
        if (plan->root[0]) {
                plan->direct = number_or(plan, "/io_uring_direct", 0, 1) != 0;
                return (int)number_or(plan, "/io_uring_setup", 0, 0);
        }
        int descriptor = (int)syscall(SYS_io_uring_setup, 1, &parameters);
        if (descriptor < 0)
                return errno;
        plan->direct = can_install(descriptor);
        close(descriptor);
        return 0;
}

static void plan_ports(struct doctor_plan *plan)
{
        static const char range[] = "/proc/sys/net/ipv4/ip_local_port_range";
        uint64_t first = number_or(plan, range, 0, 0), last = number_or(plan, range, 1, 0);
        plan->ports = last >= first && last > 0 ? last - first + 1 : DEFAULT_PORTS;
        plan->lowest_port = number_or(plan, "/proc/sys/net/ipv4/ip_unprivileged_port_start", 0, DEFAULT_LOWEST_PORT);
        plan->lowest_port = min_of(max_of(plan->lowest_port, DEFAULT_LOWEST_PORT), 65535);
}

void doctor_plan_make(struct doctor_plan *plan, const struct doctor_options *options)
{
        const char *root = getenv("BERTH_DOCTOR_ROOT");
        char path[DOCTOR_PATH_BYTES];
        uint64_t mode = 0;
        ensure(!root || strlen(root) < DOCTOR_PATH_BYTES / 4);
        *plan = (struct doctor_plan){
                .root = root ? root : "",
                .page_bytes = (uint64_t)sysconf(_SC_PAGESIZE),
                .processors = (uint64_t)max_of(sysconf(_SC_NPROCESSORS_ONLN), 1),
        };
        plan->uring_error = try_uring(plan);
        plan->engine = plan->uring_error ? "epoll" : "io_uring";
        plan->filtered = proc_line_value(doctor_path(plan, path, "/proc/self/status"), "Seccomp:", NULL, &mode) == 0 &&
                         mode == 2;
        plan->files_used = number_or(plan, "/proc/sys/fs/file-nr", 0, 0);
        plan->tracked_error = proc_number(doctor_path(plan, path, "/proc/sys/net/netfilter/nf_conntrack_count"), 0,
                                          &plan->tracked);
        plan->tracked = plan->tracked_error ? 0 : plan->tracked;
        plan_ports(plan);
        plan_memory(plan, options->memory_bytes);
        doctor_plan_connections(plan, options->connections);
}
