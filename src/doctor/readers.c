/* Readers: the sysctls, and what is none. */
#include "doctor/doctor_priv.h"

#include <errno.h>
#include <stdlib.h>

int doctor_read_setting(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        char path[DOCTOR_PATH_BYTES];
        struct text now = text_in(finding->now, sizeof(finding->now));
        int error = 0;
        doctor_sysctl_path(plan, path, finding->row->name);
        for (unsigned i = 0; i < max_of(finding->row->fields, 1) && !error; i++) {
                error = proc_number(path, i, &finding->value[i]);
                text_format(&now, "%s%llu", i ? " " : "", (unsigned long long)finding->value[i]);
                if (error == -ENOENT && i > 0)
                        error = -EINVAL; /* it is there, but shorter */
        }
        return error;
}

int doctor_read_cgroup_memory(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        uint64_t limit;
        int error = doctor_cgroup_room(plan, &limit, &finding->value[0]);
        if (error == -ENOENT) {
                finding->value[0] = UINT64_MAX;
                doctor_now_is(finding, "no limit");
                return 0;
        }
        if (!error)
                doctor_now_is(finding, "%s, %s left", figure_size(limit).text, figure_size(finding->value[0]).text);
        return error;
}

int doctor_read_cgroup_pids(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        struct proc_cgroup group;
        int error = proc_cgroup(plan->root, "pids", &group);
        if (error == -ENOENT) {
                finding->value[0] = UINT64_MAX;
                doctor_now_is(finding, "no limit");
                return 0;
        }
        if (!error) {
                finding->value[0] = group.limit;
                finding->value[1] = group.used;
                doctor_now_is(finding, "%llu, %llu used", (unsigned long long)group.limit,
                              (unsigned long long)group.used);
        }
        return error;
}

static bool parse_limit(const char *word, uint64_t *value)
{
        char *end;
        *value = UINT64_MAX;
        if (strcmp(word, "unlimited") == 0)
                return true;
        *value = strtoull(word, &end, 10);
        return *word >= '0' && *word <= '9' && !*end;
}

/* A line of /proc/self/limits, "Max open files   1024   1048576   files": the hard limit, which is judged, in the first
 * value and the soft one in the second. */
static int read_limit(const struct doctor_plan *plan, const char *line, struct doctor_finding *finding)
{
        char path[DOCTOR_PATH_BYTES], content[4096], soft[32], hard[32];
        int size = proc_read(doctor_path(plan, path, "/proc/self/limits"), content, sizeof(content));
        const char *found = size < 0 ? NULL : strstr(content, line);
        if (!found)
                return size < 0 ? size : -ENOENT;
        if (sscanf(found + strlen(line), "%31s %31s", soft, hard) != 2 || !parse_limit(hard, &finding->value[0]) ||
            !parse_limit(soft, &finding->value[1]))
                return -EINVAL;
        if (strcmp(soft, hard) == 0)
                doctor_now_is(finding, "%s", hard);
        else
                doctor_now_is(finding, "%s, hard %s", soft, hard);
        return 0;
}

int doctor_read_nofile(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        return read_limit(plan, "Max open files", finding);
}

int doctor_read_memlock(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        return read_limit(plan, "Max locked memory", finding);
}

int doctor_read_uring(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        finding->value[0] = (uint64_t)plan->uring_error;
        if (plan->uring_error)
                doctor_now_is(finding, "%s%s", error_name(plan->uring_error) ? error_name(plan->uring_error) : "error",
                              plan->filtered ? ", filtered" : "");
        else
                doctor_now_is(finding, "works");
        return 0;
}

/* Only mode 2 refuses memory beforehand. The value judged is 0 as long as it does not refuse what berth needs. */
int doctor_read_overcommit(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        char path[DOCTOR_PATH_BYTES];
        uint64_t mode, limit, committed;
        int error = proc_number(doctor_path(plan, path, "/proc/sys/vm/overcommit_memory"), 0, &mode);
        if (error)
                return error;
        doctor_now_is(finding, "%llu", (unsigned long long)mode);
        finding->value[0] = 0;
        if (mode != 2)
                return 0;
        doctor_path(plan, path, "/proc/meminfo");
        error = proc_line_value(path, "CommitLimit:", NULL, &limit);
        if (!error)
                error = proc_line_value(path, "Committed_AS:", NULL, &committed);
        if (error)
                return error;
        uint64_t left = (limit - min_of(committed, limit)) << 10;
        finding->value[0] = left < doctor_capacity_of(plan).user_bytes ? mode : 0;
        doctor_now_is(finding, "2, %s left", figure_size(left).text);
        return 0;
}

/* "always [madvise] never": the chosen one stands in brackets. 1 for always. */
int doctor_read_huge_pages(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        char path[DOCTOR_PATH_BYTES], content[128];
        int size = proc_read(doctor_path(plan, path, "/sys/kernel/mm/transparent_hugepage/enabled"), content,
                             sizeof(content));
        if (size < 0)
                return size;
        struct span rest = { content, (size_t)size };
        span_cut(&rest, '[');
        struct span chosen = span_cut(&rest, ']');
        if (!rest.data)
                return -EINVAL;
        finding->value[0] = span_equal(chosen, SPAN("always"));
        doctor_now_is(finding, "%.*s", (int)chosen.size, chosen.data);
        return 0;
}

/* A network namespace that shares the machine's table shows its number as negative. */
int doctor_read_buckets(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        char path[DOCTOR_PATH_BYTES], content[64];
        doctor_sysctl_path(plan, path, finding->row->name);
        int size = proc_read(path, content, sizeof(content));
        if (size < 0)
                return size;
        char *end, *number = content + (*content == '-');
        finding->value[0] = strtoull(number, &end, 10);
        return *number >= '0' && *number <= '9' && (*end == '\n' || !*end) ? 0 : -EINVAL;
}

/* Without the number of those tracked nobody knows whether the table bounds anything. */
int doctor_read_tracked(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        char path[DOCTOR_PATH_BYTES];
        doctor_sysctl_path(plan, path, finding->row->name);
        int error = proc_number(path, 0, &finding->value[0]);
        if (error)
                return error;
        return plan->tracked_error == -ENOENT ? -ENODATA : plan->tracked_error;
}

int doctor_read_port_range(const struct doctor_plan *plan, struct doctor_finding *finding)
{
        char path[DOCTOR_PATH_BYTES];
        doctor_path(plan, path, "/proc/sys/net/ipv4/ip_local_port_range");
        uint64_t *value = finding->value;
        int error = proc_number(path, 0, &value[1]);
        if (!error)
                error = proc_number(path, 1, &value[2]);
        if (!error && value[2] < value[1])
                error = -EINVAL;
        if (error)
                return error;
        value[0] = value[2] - value[1] + 1;
        doctor_now_is(finding, "%llu %llu", (unsigned long long)value[1], (unsigned long long)value[2]);
        return 0;
}
