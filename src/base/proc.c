/* What the kernel tells of itself in files: /proc, /sys and the folders of control groups.
 *
 * Every question opens its file anew: such files have no size and no history, they are made at the moment of reading.
 * Nothing is allocated; a file that is longer than the room for it is cut.
 */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum {
        LINE_FILE_BYTES = 32 << 10, /* /proc/net/netstat has about 8 KiB */
        NUMBER_FILE_BYTES = 512,
};

int proc_read(const char *path, char *out, size_t size)
{
        ensure(size > 0);
        int descriptor = open(path, O_RDONLY | O_CLOEXEC);
        if (descriptor < 0)
                return -errno;
        size_t used = 0;
        int error = 0;
        while (used < size - 1 && !error) {
                ssize_t got = read(descriptor, out + used, size - 1 - used);
                if (got == 0)
                        break;
                if (got > 0)
                        used += (size_t)got;
                else if (errno != EINTR)
                        error = -errno;
        }
        close(descriptor);
        out[error ? 0 : used] = '\0';
        return error ? error : (int)used;
}

static bool is_separator(char c)
{
        return c == ' ' || c == '\t' || c == '\n';
}

/* The next word of a span; {NULL, 0} at its end. */
static struct span next_word(struct span *rest)
{
        while (rest->size > 0 && is_separator(*rest->data)) {
                rest->data++;
                rest->size--;
        }
        struct span word = { rest->size > 0 ? rest->data : NULL, 0 };
        while (word.size < rest->size && !is_separator(rest->data[word.size]))
                word.size++;
        rest->data += word.size;
        rest->size -= word.size;
        return word;
}

static int parse_number(struct span word, uint64_t *value)
{
        if (!word.data)
                return -ENOENT;
        if (span_equal(word, SPAN("max")) || span_equal(word, SPAN("unlimited"))) {
                *value = UINT64_MAX;
                return 0;
        }
        uint64_t sum = 0;
        for (size_t i = 0; i < word.size; i++) {
                unsigned digit = (unsigned)(unsigned char)word.data[i] - '0';
                if (digit > 9 || __builtin_mul_overflow(sum, 10, &sum) || __builtin_add_overflow(sum, digit, &sum))
                        return -EINVAL;
        }
        *value = sum;
        return 0;
}

int proc_number(const char *path, unsigned field, uint64_t *value)
{
        char content[NUMBER_FILE_BYTES];
        int size = proc_read(path, content, sizeof(content));
        if (size < 0)
                return size;
        struct span rest = { content, (size_t)size }, word = { NULL, 0 };
        for (unsigned i = 0; i <= field; i++)
                word = next_word(&rest);
        return parse_number(word, value);
}

/* Cuts the next line that begins with `group` and a separator, and returns what follows; {NULL, 0} when none does. */
static struct span next_line_of(struct span *rest, struct span group)
{
        while (rest->data) {
                struct span line = span_cut(rest, '\n');
                if (line.size <= group.size || !is_separator(line.data[group.size]))
                        continue;
                if (memcmp(line.data, group.data, group.size) == 0)
                        return (struct span){ line.data + group.size, line.size - group.size };
        }
        return (struct span){ NULL, 0 };
}

int proc_net_counter(const char *path, const char *group, const char *name, uint64_t *value)
{
        char content[LINE_FILE_BYTES];
        int size = proc_read(path, content, sizeof(content));
        if (size < 0)
                return size;
        struct span rest = { content, (size_t)size };
        struct span names = next_line_of(&rest, span_of(group)), values = next_line_of(&rest, span_of(group));
        if (!names.data || !values.data)
                return -ENOENT;
        for (;;) {
                struct span one = next_word(&names), number = next_word(&values);
                if (!one.data)
                        return -ENOENT;
                if (span_equal(one, span_of(name)))
                        return parse_number(number, value);
        }
}

int proc_line_value(const char *path, const char *group, const char *name, uint64_t *value)
{
        char content[LINE_FILE_BYTES];
        int size = proc_read(path, content, sizeof(content));
        if (size < 0)
                return size;
        struct span rest = { content, (size_t)size };
        struct span line = next_line_of(&rest, span_of(group));
        if (!line.data)
                return -ENOENT;
        if (!name)
                return parse_number(next_word(&line), value);
        for (;;) {
                struct span one = next_word(&line), number = next_word(&line);
                if (!one.data)
                        return -ENOENT;
                if (span_equal(one, span_of(name)))
                        return parse_number(number, value);
        }
}

/* ---- control groups ---- */

struct controller {
        const char *name;
        struct {
                const char *limit, *used;
        } files[2]; /* by version, 1 and 2 */
};

static const struct controller controllers[] = {
        { "memory", { { "memory.limit_in_bytes", "memory.usage_in_bytes" }, { "memory.max", "memory.current" } } },
        { "pids", { { "pids.max", "pids.current" }, { "pids.max", "pids.current" } } },
};

/* Version 1 has no word for "no limit", but a number near 2^63. */
static const uint64_t NO_LIMIT = UINT64_C(1) << 62;

static const struct controller *controller_named(const char *name)
{
        for (size_t i = 0; i < array_count(controllers); i++)
                if (strcmp(controllers[i].name, name) == 0)
                        return &controllers[i];
        return NULL;
}

static bool lists_word(struct span words, struct span word)
{
        while (words.data)
                if (span_equal(span_cut(&words, ','), word))
                        return true;
        return false;
}

/* The process's group in *path, after a line of /proc/self/cgroup: "4:memory:/group" is version 1, "0::/group" 2. A
 * controller is in one of the two. Returns the version, or 0 when there is none; *mount is the folder of all groups,
 * below /sys/fs/cgroup. */
static int group_of(struct span lines, struct span controller, struct span *mount, struct span *path)
{
        int version = 0;
        while (lines.data) {
                struct span line = span_cut(&lines, '\n');
                struct span number = span_cut(&line, ':');
                struct span names = span_cut(&line, ':');
                bool unified = names.size == 0 && span_equal(number, SPAN("0"));
                if (!line.data || (unified ? version != 0 : !lists_word(names, controller)))
                        continue;
                version = unified ? 2 : 1;
                *mount = names;
                *path = line;
        }
        return version;
}

/* Cached files, which the kernel drops when it needs room, are no used memory. Version 1 counts the groups below only
 * in its total_ lines. */
static uint64_t file_cache(const char *folder)
{
        static const char *const lines[][2] = { { "total_inactive_file", "inactive_file" },
                                                { "total_active_file", "active_file" } };
        char path[PATH_MAX + 32];
        uint64_t cache = 0;
        snprintf(path, sizeof(path), "%s/memory.stat", folder);
        for (size_t i = 0; i < array_count(lines); i++) {
                uint64_t bytes = 0;
                if (proc_line_value(path, lines[i][0], NULL, &bytes) < 0)
                        proc_line_value(path, lines[i][1], NULL, &bytes);
                cache += bytes;
        }
        return cache;
}

/* Looks at one group: 0 and *out when it limits more tightly than *out does, else why not. */
static int take_if_tighter(const char *folder, const struct controller *controller, int version,
                           struct proc_cgroup *out)
{
        char file[PATH_MAX + 32];
        uint64_t limit, used = 0;
        snprintf(file, sizeof(file), "%s/%s", folder, controller->files[version - 1].limit);
        int error = proc_number(file, 0, &limit);
        if (error)
                return error;
        if (limit >= NO_LIMIT)
                return -ENOENT;
        snprintf(file, sizeof(file), "%s/%s", folder, controller->files[version - 1].used);
        error = proc_number(file, 0, &used);
        if (error)
                return error;
        if (strcmp(controller->name, "memory") == 0)
                used -= min_of(file_cache(folder), used);
        if (out->folder[0] && limit - min_of(used, limit) >= out->limit - min_of(out->used, out->limit))
                return -ENOENT;
        out->limit = limit;
        out->used = used;
        snprintf(out->folder, sizeof(out->folder), "%s", folder);
        return 0;
}

/* From the group itself up to the mount. In a container the path may be one that only the host has: then those parts
 * that are not there are passed by, and the mount itself is the container's group. */
static int tightest(char *folder, size_t mount_bytes, const struct controller *controller, int version,
                    struct proc_cgroup *out)
{
        int first_error = 0;
        for (;;) {
                int error = take_if_tighter(folder, controller, version, out);
                if (error && error != -ENOENT && !first_error)
                        first_error = error;
                char *slash = strrchr(folder + mount_bytes, '/');
                if (!slash)
                        break;
                *slash = '\0';
        }
        if (out->folder[0])
                return 0;
        return first_error ? first_error : -ENOENT;
}

int proc_cgroup(const char *root, const char *controller, struct proc_cgroup *out)
{
        const struct controller *one = controller_named(controller);
        ensure(one);
        char content[8192], folder[PATH_MAX];
        snprintf(folder, sizeof(folder), "%s/proc/self/cgroup", root);
        int size = proc_read(folder, content, sizeof(content));
        if (size < 0)
                return size == -ENOENT ? -ENODATA : size; /* that is not the same as no limit */
        struct span mount, path;
        int version = group_of((struct span){ content, (size_t)size }, span_of(controller), &mount, &path);
        if (version == 0)
                return -ENOENT;
        int mount_bytes = snprintf(folder, sizeof(folder), "%s/sys/fs/cgroup%s%.*s", root, mount.size ? "/" : "",
                                   (int)mount.size, mount.data);
        if (path.size > 1 && (size_t)mount_bytes + path.size < sizeof(folder))
                snprintf(folder + mount_bytes, sizeof(folder) - (size_t)mount_bytes, "%.*s", (int)path.size, path.data);
        *out = (struct proc_cgroup){ .folder = "" };
        return tightest(folder, (size_t)mount_bytes, one, version, out);
}

int proc_cgroup_memory(const char *root, uint64_t *limit, uint64_t *used)
{
        struct proc_cgroup group;
        int error = proc_cgroup(root, "memory", &group);
        if (error)
                return error;
        *limit = group.limit;
        *used = group.used;
        return 0;
}

uint64_t proc_free_memory(const char *root, bool *grouped)
{
        char path[PATH_MAX];
        uint64_t kib, limit, used, bytes = UINT64_MAX;
        snprintf(path, sizeof(path), "%s/proc/meminfo", root);
        if (proc_line_value(path, "MemAvailable:", NULL, &kib) == 0)
                bytes = kib << 10;
        bool tighter = proc_cgroup_memory(root, &limit, &used) == 0 && limit - min_of(used, limit) < bytes;
        if (grouped)
                *grouped = tighter;
        return tighter ? limit - min_of(used, limit) : bytes;
}
