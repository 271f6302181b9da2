/* Locks on the server: while a file is open here for writing in parts nobody else may write to it, so that the kernel
 * may gather writes. A mount that dies holds on for FILE_LOCK_SECONDS. If-Match goes with each write all the same: it
 * sees changes that are not made over WebDAV, and what happened after a lock was lost. */
#include "mount/file_inner.h"

#include <errno.h>

int lease_take(struct file *file, const char *path, bool *unchanged)
{
        struct mount *mount = file->mount;
        if (file->token[0])
                return 0;
        if (!mount->remote.can.locks)
                return -EOPNOTSUPP;
        char token[REMOTE_TOKEN_BYTES], tag[CLIENT_TAG_BYTES];
        pthread_mutex_unlock(&file->lock);
        int error = remote_lock(&mount->remote, path, FILE_LOCK_SECONDS, token, tag);
        pthread_mutex_lock(&file->lock);
        if (error)
                return error;
        *unchanged = tag[0] == '"' && strcmp(tag, file->tag) == 0;
        mount->counters.locks++;
        memcpy(file->token, token, sizeof(token));
        sender_add_locked(file);
        return 0;
}

void lease_drop(struct file *file)
{
        sender_remove_locked(file);
        file->token[0] = '\0';
}

void lease_give(struct file *file)
{
        char path[REMOTE_PATH_BYTES];
        if (!file->token[0])
                return;
        sender_remove_locked(file);
        if (file_path(file, path) == 0) {
                pthread_mutex_unlock(&file->lock);
                remote_unlock(&file->mount->remote, path, file->token);
                pthread_mutex_lock(&file->lock);
        }
        file->token[0] = '\0';
}

/* The server says that it holds no such lock any more; and does not merely stay away. */
static bool is_lost(int error)
{
        return error == -ESTALE || error == -ENOENT || error == -EBUSY || error == -EINVAL || error == -EACCES;
}

bool lease_lost(struct file *file)
{
        char path[REMOTE_PATH_BYTES];
        if (!file->token[0] || file_path(file, path) < 0)
                return false;
        pthread_mutex_unlock(&file->lock);
        int error = remote_refresh(&file->mount->remote, path, file->token, FILE_LOCK_SECONDS);
        pthread_mutex_lock(&file->lock);
        if (!is_lost(error))
                return false;
        lease_drop(file);
        return true;
}

/* Asks in the file's turn if that is free; while it is sending, the server sees by that, next time, that we live. */
void lease_refresh(struct file *file)
{
        pthread_mutex_lock(&file->lock);
        if (file_turn_is_free(file) && file->token[0]) {
                file_take_turn(file);
                lease_lost(file);
                file_give_turn(file);
        }
        pthread_mutex_unlock(&file->lock);
}
