/* FUSE operations on open files: between the kernel and file.c. The handle is the file, with one bit for writing. */
#include "mount/mount_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* ---- handles ---- */

static uint64_t handle_of(struct file *file, bool write)
{
        return (uint64_t)(uintptr_t)file | write;
}

static struct file *file_of(const struct fuse_file_info *info)
{
        return (struct file *)(uintptr_t)(info->fh & ~1ULL);
}

static bool is_writer(const struct fuse_file_info *info)
{
        return info->fh & 1;
}

struct file *io_writer(const struct fuse_file_info *info)
{
        return is_writer(info) ? file_of(info) : NULL;
}

static void reply(fuse_req_t request, int error)
{
        fuse_reply_err(request, -error);
}

/* ---- opening and closing ---- */

void io_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *info)
{
        struct mount *mount = mount_of(request);
        struct fuse_entry_param entry;
        struct tree_view view;
        struct file *file;
        operation_begin(request);
        int error = file_create(mount, node_of(mount, parent), name, mode & 07777, &file, &view);
        if (error) {
                reply(request, error);
                return;
        }
        info->fh = handle_of(file, true);
        entry_fill(mount, &view, &entry);
        if (fuse_reply_create(request, &entry, info) < 0) {
                file_close(mount, file, true);
                tree_forget(mount->tree, view.node, 1);
        }
}

/* An empty file that nobody has opened yet. Nothing else that has a mode is a file of WebDAV's. */
void io_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
        struct mount *mount = mount_of(request);
        struct fuse_entry_param entry;
        struct tree_view view;
        struct file *file;
        (void)device;
        operation_begin(request);
        int error = !S_ISREG(mode) ? -EPERM
                                   : file_create(mount, node_of(mount, parent), name, mode & 07777, &file, &view);
        if (error) {
                reply(request, error);
                return;
        }
        error = file_flush(mount, file);
        file_close(mount, file, true);
        tree_look(mount->tree, view.node, &view);
        entry_fill(mount, &view, &entry);
        if (error)
                reply(request, error);
        if (error || fuse_reply_entry(request, &entry) < 0)
                tree_forget(mount->tree, view.node, 1);
}

void io_open(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
        struct mount *mount = mount_of(request);
        int access = info->flags & O_ACCMODE;
        struct file_open how = {
                .read = access != O_WRONLY,
                .write = access != O_RDONLY || (info->flags & O_TRUNC),
                .truncate = info->flags & O_TRUNC,
                .paged = !(info->flags & O_DIRECT),
        };
        struct file_opened opened;
        struct file *file;
        operation_begin(request);
        int error = file_open(mount, node_of(mount, number), &how, &file, &opened);
        if (error) {
                reply(request, error);
                return;
        }
        info->fh = handle_of(file, how.write);
        info->direct_io = opened.direct;
        info->keep_cache = opened.keep_cache;
        if (fuse_reply_open(request, info) < 0)
                file_close(mount, file, how.write);
}

void io_release(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
        (void)number;
        operation_begin(request);
        file_close(mount_of(request), file_of(info), is_writer(info));
        reply(request, 0);
}

void io_flush(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
        (void)number;
        operation_begin(request);
        reply(request, is_writer(info) ? file_flush(mount_of(request), file_of(info)) : 0);
}

void io_fsync(fuse_req_t request, fuse_ino_t number, int data_only, struct fuse_file_info *info)
{
        (void)number;
        (void)data_only;
        operation_begin(request);
        reply(request, file_sync(mount_of(request), file_of(info)));
}

/* ---- reading and writing ---- */

void io_read(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info)
{
        struct mount *mount = mount_of(request);
        struct ahead_view view;
        (void)number;
        operation_begin(request);
        size = min_of(size, (size_t)MOUNT_MAX_WRITE);
        ssize_t n = file_read(mount, file_of(info), (uint64_t)offset, size, &view);
        if (n < 0) {
                reply(request, (int)n);
        } else {
                mount->counters.kernel_reads++;
                mount->counters.kernel_read_bytes += (uint64_t)n;
                fuse_reply_iov(request, view.parts, (int)view.count);
        }
        ahead_release(mount->ahead, &view);
}

void io_write(fuse_req_t request, fuse_ino_t number, const char *data, size_t size, off_t offset,
              struct fuse_file_info *info)
{
        struct mount *mount = mount_of(request);
        (void)number;
        operation_begin(request);
        ssize_t n = file_write(mount, file_of(info), (uint64_t)offset, data, size, info->writepage);
        if (n < 0) {
                reply(request, (int)n);
                return;
        }
        mount->counters.kernel_writes++;
        mount->counters.kernel_write_bytes += (uint64_t)n;
        fuse_reply_write(request, (size_t)n);
}
