/* The session with the kernel: /dev/fuse is opened and mounted here and not by libfuse, whose loop reads and writes it
 * through two hooks. One reason: libfuse 3.14 does not pass on all that a file system may agree to. The hook sees the
 * kernel's INIT and adds these to the answer, each only where the kernel offers it:
 *
 *   PARALLEL_DIROPS         look-ups and listings of one folder side by side, which otherwise wait for each other
 *   HANDLE_KILLPRIV_V2      the kernel does not ask for security.capability before each write; set-user-id bits are
 *                           ours to clear then, see operation_clears_set_id()
 *   DIRECT_IO_ALLOW_MMAP    shared mmap() of files that are read past the page cache
 *
 * READDIRPLUS without AUTO: a listing brings all attributes anyway, so that to hand them on costs no request. With AUTO
 * the kernel takes them with a folder's first block only, unless somebody looks at the entries between two blocks; but
 * find and ls read all names first, and then ask for each.
 *
 * EXPLICIT_INVAL_DATA: the kernel keeps cached pages until it is told (notify.c) or a file is opened without
 * keep_cache. By itself it would go by size and time, of which one changes with what this mount writes.
 */
#include "mount/command.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
        READ_AHEAD_KB = 1024, /* of the kernel: its reads are as large as a request may be */
        MAX_BACKGROUND = 64,  /* requests of the kernel that nobody waits for: writes of its cache, reads ahead */
};

/* Newer than the headers of Debian 12. */
static const uint64_t direct_io_allow_mmap = 1ull << 36;

struct hooks {
        struct mount *mount;
        struct place place;
        atomic_bool initialised;
        uint64_t init_unique, offered;
};

static struct hooks hooks; /* of the one mount of this process; libfuse hands the mount's pointer to them */
static _Thread_local bool clears_set_id;

/* ---- INIT ---- */

static uint64_t wanted_flags(void)
{
        uint64_t wanted = FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2;
        if (hooks.offered & FUSE_INIT_EXT)
                wanted |= FUSE_INIT_EXT | direct_io_allow_mmap;
        return wanted & hooks.offered;
}

static void notice_init(const struct fuse_in_header *header, size_t size)
{
        const struct fuse_init_in *init = (const void *)(header + 1);
        if (header->opcode != FUSE_INIT || size < sizeof(*header) + offsetof(struct fuse_init_in, flags2))
                return;
        hooks.init_unique = header->unique;
        hooks.offered = init->flags;
        if ((init->flags & FUSE_INIT_EXT) && size >= sizeof(*header) + offsetof(struct fuse_init_in, unused))
                hooks.offered |= (uint64_t)init->flags2 << 32;
}

static bool is_init_answer(const struct iovec *parts, int count)
{
        const struct fuse_out_header *header = parts[0].iov_base;
        return hooks.init_unique && count == 2 && header->unique == hooks.init_unique && header->error == 0 &&
               parts[1].iov_len >= offsetof(struct fuse_init_out, unused);
}

/* The kernel reads ahead by 128 KiB unless root says more; that is known to it only once INIT is answered. */
static void raise_read_ahead(void)
{
        char path[80], number[16];
        snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", hooks.place.major, hooks.place.minor);
        int descriptor = geteuid() == 0 ? open(path, O_WRONLY | O_CLOEXEC) : -1;
        if (descriptor < 0)
                return;
        int size = snprintf(number, sizeof(number), "%d", READ_AHEAD_KB);
        ssize_t written = write(descriptor, number, (size_t)size);
        (void)written; /* it is slower without */
        close(descriptor);
}

static ssize_t answer_init(int descriptor, struct iovec *parts, int count)
{
        struct fuse_init_out *out = parts[1].iov_base;
        uint64_t flags = wanted_flags();
        out->flags |= (uint32_t)flags;
        out->flags2 |= (uint32_t)(flags >> 32);
        ssize_t n = writev(descriptor, parts, count);
        atomic_store(&hooks.initialised, true);
        raise_read_ahead();
        return n;
}

/* ---- reading and writing the device ---- */

/* libfuse does not pass on that a change is to clear the set-id bits; a request is handled by the thread that read
 * it. */
static void notice_set_id(const struct fuse_in_header *header)
{
        const void *body = header + 1;
        switch (header->opcode) {
        case FUSE_WRITE:
                clears_set_id = ((const struct fuse_write_in *)body)->write_flags & FUSE_WRITE_KILL_SUIDGID;
                break;
        case FUSE_SETATTR:
                clears_set_id = ((const struct fuse_setattr_in *)body)->valid & FATTR_KILL_SUIDGID;
                break;
        case FUSE_OPEN:
                clears_set_id = ((const struct fuse_open_in *)body)->open_flags & FUSE_OPEN_KILL_SUIDGID;
                break;
        case FUSE_CREATE:
                clears_set_id = ((const struct fuse_create_in *)body)->open_flags & FUSE_OPEN_KILL_SUIDGID;
                break;
        default:
                clears_set_id = false;
        }
}

bool operation_clears_set_id(void)
{
        return clears_set_id;
}

static ssize_t read_hook(int descriptor, void *buffer, size_t size, void *context)
{
        (void)context;
        ssize_t n = readers_read(descriptor, buffer, size);
        if (n < (ssize_t)sizeof(struct fuse_in_header))
                return n;
        if (!atomic_load_explicit(&hooks.initialised, memory_order_relaxed))
                notice_init(buffer, (size_t)n);
        notice_set_id(buffer);
        return n;
}

static ssize_t write_hook(int descriptor, struct iovec *parts, int count, void *context)
{
        (void)context;
        if (!atomic_load_explicit(&hooks.initialised, memory_order_relaxed) && is_init_answer(parts, count))
                return answer_init(descriptor, parts, count);
        return writev(descriptor, parts, count);
}

/* ---- the operations ---- */

struct node *node_of(struct mount *mount, fuse_ino_t number)
{
        return number == FUSE_ROOT_ID ? tree_root(mount->tree) : (struct node *)(uintptr_t)number;
}

fuse_ino_t number_of(struct mount *mount, struct node *node)
{
        return node == tree_root(mount->tree) ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)node;
}

static void want(struct fuse_conn_info *connection, unsigned capability, bool wanted)
{
        if (wanted)
                connection->want |= connection->capable & capability;
        else
                connection->want &= ~capability;
}

/* flock() and fcntl() locks are not asked for: the kernel keeps them, for the programs of this machine. */
static void operation_init(void *data, struct fuse_conn_info *connection)
{
        struct mount *mount = data;
        want(connection,
             FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_CACHE_SYMLINKS |
                     FUSE_CAP_READDIRPLUS,
             true);
        want(connection, FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_POSIX_LOCKS, false);
        bool explicit = connection->capable & FUSE_CAP_EXPLICIT_INVAL_DATA;
        want(connection, FUSE_CAP_EXPLICIT_INVAL_DATA, explicit);
        want(connection, FUSE_CAP_AUTO_INVAL_DATA, !explicit);
        mount->writeback &= (connection->capable & FUSE_CAP_WRITEBACK_CACHE) != 0;
        want(connection, FUSE_CAP_WRITEBACK_CACHE, mount->writeback);
        connection->max_write = MOUNT_MAX_WRITE;
        connection->max_read = MOUNT_MAX_WRITE; /* as mounted */
        connection->max_readahead = READ_AHEAD_KB << 10;
        connection->max_background = MAX_BACKGROUND;
        connection->congestion_threshold = MAX_BACKGROUND * 3 / 4;
        connection->time_gran = 1;
}

static void operation_getxattr(fuse_req_t request, fuse_ino_t number, const char *name, size_t size)
{
        if (!control_answer(request, number, name, size))
                attributes_getxattr(request, number, name, size);
}

const struct fuse_lowlevel_ops mount_operations = {
        .init = operation_init,
        .lookup = names_lookup,
        .forget = names_forget,
        .forget_multi = names_forget_multi,
        .mknod = io_mknod,
        .mkdir = names_mkdir,
        .symlink = names_symlink,
        .readlink = names_readlink,
        .link = names_link,
        .unlink = names_unlink,
        .rmdir = names_rmdir,
        .rename = names_rename,
        .getattr = attributes_getattr,
        .setattr = attributes_setattr,
        .statfs = space_statfs,
        .setxattr = attributes_setxattr,
        .getxattr = operation_getxattr,
        .listxattr = attributes_listxattr,
        .removexattr = attributes_removexattr,
        .opendir = folder_open,
        .readdir = folder_read,
        .readdirplus = folder_read_plus,
        .releasedir = folder_close,
        .fsyncdir = folder_sync,
        .create = io_create,
        .open = io_open,
        .read = io_read,
        .write = io_write,
        .flush = io_flush,
        .release = io_release,
        .fsync = io_fsync,
};

/* ---- mounting ---- */

/* Where the session is served to the kernel: access is checked by the kernel, by owner and mode. */
static int mount_as_root(const struct mount_options *options, const char *path)
{
        char data[256];
        int descriptor = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        if (descriptor < 0) {
                int error = -errno;
                complain("/dev/fuse: %s%s", strerror(-error),
                         error == -ENOENT || error == -ENODEV ? " (the kernel's module fuse: modprobe fuse)" : "");
                return error;
        }
        snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=%u,group_id=%u,max_read=%d,default_permissions%s",
                 descriptor, (unsigned)getuid(), (unsigned)getgid(), MOUNT_MAX_WRITE,
                 options->allow_other ? ",allow_other" : "");
        unsigned long flags = options->mount_flags | (options->read_only ? MS_RDONLY : 0);
        if (mount(options->url, path, "fuse.berth", flags, data) == 0)
                return descriptor;
        int error = -errno;
        close(descriptor);
        return error;
}

static void put_flags(struct text *text, unsigned long flags)
{
        static const struct {
                unsigned long flag;
                const char *name;
        } names[] = {
                { MS_RDONLY, ",ro" },
                { MS_NOSUID, "" /* always */ },
                { MS_NODEV, "" },
                { MS_NOEXEC, ",noexec" },
                { MS_NOATIME, ",noatime" },
                { MS_SYNCHRONOUS, ",sync" },
                { MS_NODIRATIME, ",nodiratime" },
        };
        for (unsigned i = 0; i < array_count(names); i++)
                if (flags & names[i].flag)
                        text_put(text, span_of(names[i].name));
}

static int mount_as_user(const struct mount_options *options, const char *path)
{
        char line[4096];
        struct text text = text_in(line, sizeof(line) - 1);
        text_put(&text, SPAN("subtype=berth,default_permissions"));
        text_format(&text, ",max_read=%d%s", MOUNT_MAX_WRITE, options->allow_other ? ",allow_other" : "");
        put_flags(&text, options->mount_flags | (options->read_only ? MS_RDONLY : 0));
        text_put(&text, SPAN(",fsname="));
        for (const char *at = options->url; *at; at++) {
                if (*at == ',' || *at == '\\')
                        text_char(&text, '\\');
                text_char(&text, *at);
        }
        line[text.used] = '\0';
        return text.overflow ? -ENAMETOOLONG : fusermount_mount(path, line);
}

static int mount_at(const struct mount_options *options, const char *path)
{
        int descriptor = geteuid() == 0 ? mount_as_root(options, path) : mount_as_user(options, path);
        if (descriptor < 0)
                complain("%s: cannot be mounted: %s%s", path, strerror(-descriptor),
                         descriptor == -EPERM && geteuid() == 0 ? " (is this a container without CAP_SYS_ADMIN?)" : "");
        return descriptor;
}

/* libfuse wants a command line; ours is read already. What it is told of max_read must be what was mounted with. */
static struct fuse_session *new_session(struct mount *mount, int descriptor)
{
        static const struct fuse_custom_io io = { .read = read_hook, .writev = write_hook };
        char name[] = "berth", option[] = "-o", max_read[32];
        char *arguments[] = { name, option, max_read, NULL };
        struct fuse_args args = FUSE_ARGS_INIT(3, arguments);
        snprintf(max_read, sizeof(max_read), "max_read=%d", MOUNT_MAX_WRITE);
        struct fuse_session *session = fuse_session_new(&args, &mount_operations, sizeof(mount_operations), mount);
        fuse_opt_free_args(&args);
        if (session && fuse_session_custom_io(session, &io, descriptor) != 0) {
                fuse_session_destroy(session);
                session = NULL;
        }
        return session;
}

static void log_line(enum fuse_log_level level, const char *format, va_list arguments)
{
        char line[512];
        vsnprintf(line, sizeof(line), format, arguments);
        line[strcspn(line, "\n")] = '\0';
        if (level <= FUSE_LOG_WARNING)
                complain("%s", line);
}

int session_open(struct mount *mount)
{
        char path[sizeof(hooks.place.path)];
        int error = place_look(&hooks.place, mount->options.folder);
        if (error) {
                complain("%s: %s", mount->options.folder, strerror(-error));
                return error;
        }
        memcpy(path, hooks.place.path, sizeof(path));
        fuse_set_log_func(log_line);
        hooks.mount = mount;
        mount->writeback = !mount->options.read_only;
        int descriptor = mount_at(&mount->options, path);
        if (descriptor < 0)
                return descriptor;
        place_look_at_mount(&hooks.place);
        mount->session = new_session(mount, descriptor);
        if (mount->session)
                return 0;
        close(descriptor);
        place_unmount(path, true);
        complain("no memory for the session with the kernel");
        return -ENOMEM;
}

/* Never fewer threads than there are requests under way, so that none waits for a sleeping one to be found; none ends,
 * since interrupt.c knows them. */
int session_run(struct mount *mount)
{
        struct fuse_loop_config *config = fuse_loop_cfg_create();
        if (!config)
                return -ENOMEM;
        fuse_loop_cfg_set_clone_fd(config, false); /* no faster */
        fuse_loop_cfg_set_max_threads(config, MOUNT_THREADS);
        fuse_loop_cfg_set_idle_threads(config, MOUNT_THREADS);
        int error = interrupt_start(mount->options.client.retry_ms);
        if (!error)
                error = fuse_session_loop_mt(mount->session, config);
        interrupt_stop();
        fuse_loop_cfg_destroy(config);
        return min_of(error, 0);
}

void session_end(struct mount *mount)
{
        const char *path = hooks.place.path;
        int error = place_unmount(path, false);
        if (!error || error == -EINVAL)
                return; /* the loop ends when the kernel has let go of it; EINVAL: it has already */
        if (error != -EBUSY) {
                complain("%s: cannot be unmounted: %s", path, strerror(-error));
                return;
        }
        unsigned left = file_send_all(mount);
        complain("%s is in use and stays mounted (fuser -vm tells by whom)%s", path,
                 left ? "; not all that was written could be sent" : "; all that was written has been sent");
}

void session_close(struct mount *mount)
{
        struct place place;
        if (!mount->session)
                return;
        /* Closes the descriptor: from now on the kernel answers for a mount that is still there, although the loop has
         * ended; nobody else would. */
        fuse_session_destroy(mount->session);
        mount->session = NULL;
        if (place_look(&place, hooks.place.path) < 0 || place.state != PLACE_DEAD)
                return;
        complain("%s: the kernel's connection was cut; it is taken away", hooks.place.path);
        place_unmount(hooks.place.path, true);
}
