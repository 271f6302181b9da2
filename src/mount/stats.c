/* What a mount has done, for people and for `berth unmount`: read through the mount itself, as extended attributes
 * of its root that no listing names. So no socket has to be found. Who mounted it may
 * read them, root, and with allow_other everybody. */
#include "mount/command.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { STATS_BYTES = 8192 };

/* ---- writing ---- */

static void line(struct text *text, const char *name, uint64_t value)
{
        text_format(text, "%s %llu\n", name, (unsigned long long)value);
}

/* How many requests each of the programs' or the kernel's would have been. */
static void ratio(struct text *text, const char *name, uint64_t many, uint64_t few)
{
        text_format(text, "%s %.1f\n", name, few ? (double)many / (double)few : 0.0);
}

static void put_requests(struct text *text, struct mount *mount)
{
        const struct mount_counters *counters = &mount->counters;
        const struct client_counters *client = client_counters(mount->client);
        line(text, "operations", counters->operations);
        line(text, "requests", client->requests);
        line(text, "listings", counters->listings);
        line(text, "looks", counters->looks);
        line(text, "puts", counters->puts);
        line(text, "range-writes", counters->range_writes);
        line(text, "syncs", counters->syncs);
        line(text, "deletes", client->deletes);
        line(text, "moves", client->moves);
        line(text, "folders-made", client->folders);
        line(text, "locks", counters->locks);
        line(text, "retries", client->retries);
        line(text, "conflicts", counters->conflicts);
        line(text, "connections-opened", client->connections_opened);
        line(text, "connections-open", client->connections_open);
        line(text, "connections-peak", client->connections_peak);
        line(text, "bytes-sent", client->bytes_sent);
        line(text, "bytes-received", client->bytes_received);
}

static void put_writing(struct text *text, struct mount *mount)
{
        const struct mount_counters *counters = &mount->counters;
        line(text, "writes", counters->kernel_writes);
        line(text, "bytes-written", counters->kernel_write_bytes);
        line(text, "file-bytes-sent", counters->sent_bytes);
        ratio(text, "writes-per-request", counters->kernel_writes, counters->puts + counters->range_writes);
        line(text, "buffered-bytes", counters->buffered_bytes);
        line(text, "buffered-bytes-peak", counters->buffered_peak_bytes);
        line(text, "buffer-waits", counters->buffer_waits);
        line(text, "pending-files", counters->pending_files);
        line(text, "lost-writes", counters->lost_writes);
}

static void put_reading(struct text *text, struct mount *mount)
{
        const struct mount_counters *counters = &mount->counters;
        const struct ahead_counters *ahead = ahead_counters(mount->ahead);
        const struct small_counters *small = small_counters(mount);
        line(text, "reads", counters->kernel_reads);
        line(text, "bytes-read", counters->kernel_read_bytes);
        line(text, "reads-ahead", ahead->reads);
        line(text, "read-hits", ahead->hits);
        line(text, "read-requests", ahead->requests);
        line(text, "bytes-asked", ahead->bytes_asked);
        line(text, "bytes-dropped", ahead->bytes_dropped + small->dropped_bytes);
        line(text, "files-ahead", small->asked);
        line(text, "files-ahead-used", small->used);
}

static void put_tree(struct text *text, struct mount *mount)
{
        struct tree_counters tree;
        tree_count(mount->tree, &tree);
        line(text, "cache-hits", tree.hits);
        line(text, "cache-misses", tree.misses);
        line(text, "names", tree.names);
        line(text, "nodes", tree.nodes);
        line(text, "cache-bytes", tree.bytes);
}

size_t stats_write(struct mount *mount, char *out, size_t size)
{
        struct text text = text_in(out, size - 1);
        line(&text, "pid", (uint64_t)getpid());
        text_format(&text, "url %s\n", mount->options.url);
        text_format(&text, "server %s\n", mount->remote.can.server);
        line(&text, "retry-ms", mount->options.client.retry_ms);
        put_requests(&text, mount);
        put_writing(&text, mount);
        put_reading(&text, mount);
        put_tree(&text, mount);
        out[text.used] = '\0';
        return text.used;
}

/* ---- answering ---- */

static void answer_text(fuse_req_t request, const char *text, size_t used, size_t size)
{
        if (size == 0)
                fuse_reply_xattr(request, used);
        else if (used > size)
                fuse_reply_err(request, ERANGE);
        else
                fuse_reply_buf(request, text, used);
}

static void answer_stats(fuse_req_t request, size_t size)
{
        char text[STATS_BYTES];
        answer_text(request, text, stats_write(mount_of(request), text, sizeof(text)), size);
}

/* Asked without a buffer it only tells how large an answer can be. Those that were given up before count as well. */
static void answer_flush(fuse_req_t request, size_t size)
{
        char text[FLUSH_ANSWER_BYTES] = "", state[FLUSH_ANSWER_BYTES - 32] = "";
        int used = (int)sizeof(text);
        if (size > 0) {
                file_send_all(mount_of(request));
                const char *below = local_state(state, sizeof(state)) < 0 ? "" : "/unsent";
                used = snprintf(text, sizeof(text), "%llu %s%s",
                                (unsigned long long)mount_of(request)->counters.unsent_files, *below ? state : "",
                                below);
        }
        answer_text(request, text, (size_t)used, size);
}

/* The kernel does not check, for this kind of name. */
static bool may_ask(fuse_req_t request)
{
        uid_t uid = fuse_req_ctx(request)->uid;
        return uid == 0 || uid == getuid() || mount_of(request)->options.allow_other;
}

bool control_answer(fuse_req_t request, fuse_ino_t number, const char *name, size_t size)
{
        if (number != FUSE_ROOT_ID || strncmp(name, CONTROL_PREFIX, strlen(CONTROL_PREFIX)) != 0)
                return false;
        bool stats = strcmp(name, STATS_ATTRIBUTE) == 0;
        if (!stats && strcmp(name, FLUSH_ATTRIBUTE) != 0)
                return false;
        operation_begin(request);
        if (!may_ask(request))
                fuse_reply_err(request, EACCES);
        else if (stats)
                answer_stats(request, size);
        else
                answer_flush(request, size);
        return true;
}

/* ---- asking ---- */

uint64_t stats_number(const char *text, const char *name)
{
        size_t length = strlen(name);
        for (const char *at = text; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
                if (strncmp(at, name, length) == 0 && at[length] == ' ')
                        return strtoull(at + length + 1, NULL, 10);
        return UINT64_MAX;
}

ssize_t stats_read(const char *folder, char *out, size_t size)
{
        ssize_t n = getxattr(folder, STATS_ATTRIBUTE, out, size - 1);
        if (n < 0)
                return -errno;
        out[n] = '\0';
        return n;
}

static int complain_of(const char *folder, int error)
{
        switch (error) {
        case -ENOTCONN:
        case -ECONNABORTED:
                complain("%s: the process of this mount is gone (berth unmount cleans up)", folder);
                break;
        case -EACCES:
        case -EPERM:
                complain("%s: mounted by somebody else, who did not say -o allow_other", folder);
                break;
        case -ENODATA:
        case -EOPNOTSUPP:
                complain("%s: nothing is mounted there by berth", folder);
                break;
        default:
                complain("%s: %s", folder, strerror(-error));
        }
        return COMMAND_FAILED;
}

int stats_command(const char *folder)
{
        char text[STATS_BYTES];
        struct place place;
        int error = place_look(&place, folder);
        if (error)
                return complain_of(folder, error);
        if (place.state == PLACE_FREE || place.state == PLACE_OTHER)
                return complain_of(folder, -ENODATA);
        ssize_t n = stats_read(place.path, text, sizeof(text));
        if (n < 0)
                return complain_of(folder, (int)n);
        fwrite(text, 1, (size_t)n, stdout);
        return fflush(stdout) == 0 ? 0 : COMMAND_FAILED;
}
