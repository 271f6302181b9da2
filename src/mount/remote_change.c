/* Names: making, removing, moving. What a repetition finds done already, since the answer of the first attempt was
 * lost, is no failure. */
#include "mount/exchange.h"

#include <errno.h>
#include <string.h>

#define LINK_TYPE "application/vnd.berth.symlink"

/* It was perhaps carried out before, and the last answer was this. */
static bool came_again(const struct call *call, int status)
{
        return call->error == 0 && call->uncertain && call->answer.status == status;
}

static void put_inode(const struct remote_attributes *attributes, struct remote_result *result)
{
        if (!result)
                return;
        memcpy(result->tag, attributes->tag, sizeof(result->tag));
        result->inode = attributes->inode;
}

/* ---- making ---- */

int remote_make_folder(struct remote *remote, const char *path, const struct remote_times_and_mode *with,
                       struct remote_result *result)
{
        struct remote_attributes attributes;
        struct call call;
        int error = exchange_init(&call, "MKCOL", path, true);

        if (error < 0)
                return error;
        if (remote->can.berth)
                exchange_times_and_mode(remote, &call, with);
        error = exchange_perform(remote, &call);
        exchange_result(&call, result);
        if (came_again(&call, 405) && remote_stat(remote, path, &attributes) == 0 && attributes.kind == REMOTE_FOLDER) {
                put_inode(&attributes, result);
                return 0;
        }
        return error;
}

/* A link of that target stands there. */
static bool is_link_to(struct remote *remote, const char *path, const char *target)
{
        char found[REMOTE_PATH_BYTES];

        return remote_read_link(remote, path, found, sizeof(found)) == 0 && strcmp(found, target) == 0;
}

int remote_make_link(struct remote *remote, const char *path, const char *target, struct remote_result *result)
{
        struct iovec body = { .iov_base = (char *)target, .iov_len = strlen(target) };
        struct remote_condition condition = { .absent = true };
        struct remote_attributes attributes;
        struct call call;
        int error = exchange_init(&call, "PUT", path, false);

        if (error < 0 || !remote->can.berth)
                return error < 0 ? error : -EOPNOTSUPP;
        exchange_field(&call, "Content-Type: " LINK_TYPE);
        exchange_condition(&call, &condition);
        exchange_body(&call, &body, 1);
        error = exchange_perform(remote, &call);
        exchange_result(&call, result);
        if (came_again(&call, 412) && is_link_to(remote, path, target) && remote_stat(remote, path, &attributes) == 0) {
                put_inode(&attributes, result);
                return 0;
        }
        return error;
}

/* Both names lead to one file. */
static bool is_linked(struct remote *remote, const char *path, const char *new_path, struct remote_result *result)
{
        struct remote_attributes one, other;

        if (remote_stat(remote, path, &one) < 0 || remote_stat(remote, new_path, &other) < 0)
                return false;
        put_inode(&other, result);
        return one.inode != 0 && one.inode == other.inode;
}

int remote_link(struct remote *remote, const char *path, const char *new_path, struct remote_result *result)
{
        char destination[EXCHANGE_DESTINATION_BYTES];
        struct call call;
        int error = exchange_init(&call, "LINK", path, false);

        if (error == 0)
                error = exchange_destination(remote, &call, destination, new_path, false);
        if (error < 0 || !remote->can.berth)
                return error < 0 ? error : -EOPNOTSUPP;
        error = exchange_perform(remote, &call);
        exchange_result(&call, result);
        if (error < 0 && call.error == 0 && call.uncertain && is_linked(remote, path, new_path, result))
                return 0;
        return error == -ESTALE ? -EEXIST : error;
}

/* ---- removing ---- */

/* berth removes a folder with Depth: 0 only when it is empty: so nothing is lost when a folder has come to stand where
 * the kernel saw a file. Others take all that is in it; who removes a file asks them first. */
static int delete (struct remote *remote, const char *path, bool folder, const char *token)
{
        struct remote_condition condition = { .token = token };
        struct call call;
        int error = exchange_init(&call, "DELETE", path, folder);

        if (error < 0)
                return error;
        exchange_condition(&call, &condition);
        if (remote->can.berth)
                exchange_field(&call, "Depth: 0");
        error = exchange_perform(remote, &call);
        if (came_again(&call, 404))
                return 0;
        return error == 0 && call.answer.status == 207 ? -EACCES : error; /* some of it stays */
}

int remote_remove(struct remote *remote, const char *path, const char *token)
{
        struct remote_attributes attributes;
        int error = remote->can.berth ? 0 : remote_stat(remote, path, &attributes);

        if (error == 0 && !remote->can.berth && attributes.kind == REMOTE_FOLDER)
                return -EISDIR;
        if (error == 0)
                error = delete (remote, path, false, token);

        return error == -ENOTEMPTY ? -EISDIR : error;
}

static int find_member(void *context, struct span name, const struct remote_attributes *attributes)
{
        (void)context, (void)attributes;
        return name.size > 0 ? -ENOTEMPTY : 0;
}

int remote_remove_folder(struct remote *remote, const char *path)
{
        int error = remote->can.berth ? 0 : remote_list(remote, path, find_member, NULL, NULL);

        return error < 0 ? error : delete (remote, path, true, NULL);
}

/* ---- moving ---- */

/* What the kernel would say of a target that is there, where the server only knows to overwrite it with all it
 * holds. */
static int may_replace(struct remote *remote, const char *to, unsigned flags)
{
        struct remote_attributes attributes;
        int error = remote_stat(remote, to, &attributes);

        if (error == -ENOENT)
                return 0;
        if (error < 0)
                return error;
        if (attributes.kind == REMOTE_FOLDER && !(flags & REMOTE_IS_FOLDER))
                return -EISDIR;
        if (attributes.kind != REMOTE_FOLDER && (flags & REMOTE_IS_FOLDER))
                return -ENOTDIR;
        return attributes.kind == REMOTE_FOLDER ? remote_list(remote, to, find_member, NULL, NULL) : 0;
}

/* The answer was lost; now the source is not there, or the target is: where only the target is, it was moved. */
static bool was_moved(struct remote *remote, const char *from, const char *to)
{
        struct remote_attributes attributes;

        return remote_stat(remote, from, &attributes) == -ENOENT && remote_stat(remote, to, &attributes) == 0;
}

static int move(struct remote *remote, const char *from, const char *to, unsigned flags)
{
        char destination[EXCHANGE_DESTINATION_BYTES];
        bool folder = flags & REMOTE_IS_FOLDER, keep = flags & REMOTE_NO_REPLACE;
        struct call call;
        int error = exchange_init(&call, "MOVE", from, folder);

        if (error == 0)
                error = exchange_destination(remote, &call, destination, to, folder);
        if (error < 0)
                return error;
        exchange_field(&call, "Overwrite: %c", keep ? 'F' : 'T');
        if (remote->can.berth)
                exchange_field(&call, "Berth-Overwrite: posix");
        error = exchange_perform(remote, &call);
        if ((came_again(&call, 404) || came_again(&call, 412)) && was_moved(remote, from, to))
                return 0;
        if (error == 0 && call.answer.status == 207)
                return -EACCES;
        return error == -ESTALE && keep ? -EEXIST : error;
}

int remote_move(struct remote *remote, const char *from, const char *to, unsigned flags)
{
        struct remote_attributes attributes;
        int error = 0;

        if (!remote->can.berth && !(flags & REMOTE_NO_REPLACE))
                error = may_replace(remote, to, flags);
        if (error == 0)
                error = move(remote, from, to, flags);
        if (error == -EACCES && !remote->can.berth && remote_stat(remote, from, &attributes) == -ENOENT)
                error = -ENOENT; /* rclone forbids to move what is not there */
        return error;
}
