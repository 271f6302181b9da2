/* FUSE operations on folders. A reader gets what the tree has, which is asked for by one PROPFIND when it begins to
 * read; then it goes on by cookies, whatever comes and goes meanwhile, up to the last one that there was when it
 * began.
 *
 * The kernel is not asked to keep a folder's entries (FOPEN_CACHE_DIR): it would not hear of changes on the server,
 * and the tree answers without a request. */
#include "mount/mount_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

enum {
        OWN_OFFSET = 1, /* where to go on behind "." */
        ABOVE_OFFSET = 2,
        LEAST_ENTRY_BYTES = 24,       /* of the kernel's struct fuse_dirent */
        LEAST_PLUS_ENTRY_BYTES = 152, /* of struct fuse_direntplus */
        NO_INODE = -1,                /* of "..": nobody looks at that */
};

struct reader { /* one opendir() */
        uint64_t last;
        bool began;
};

static struct reader *reader_of(const struct fuse_file_info *info)
{
        return (struct reader *)(uintptr_t)info->fh;
}

/* ---- opening and closing ---- */

/* Asks for nothing: many open a folder only to name what is in it. */
void folder_open(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
        struct mount *mount = mount_of(request);
        struct reader *reader = calloc(1, sizeof(*reader));
        operation_begin(request);
        if (!reader) {
                fuse_reply_err(request, ENOMEM);
                return;
        }
        info->fh = (uintptr_t)reader;
        info->cache_readdir = 0;
        info->keep_cache = 0;
        tree_pin(mount->tree, node_of(mount, number));
        if (fuse_reply_open(request, info) < 0) {
                tree_unpin(mount->tree, node_of(mount, number));
                free(reader);
        }
}

void folder_close(fuse_req_t request, fuse_ino_t number, struct fuse_file_info *info)
{
        struct mount *mount = mount_of(request);
        operation_begin(request);
        free(reader_of(info));
        tree_unpin(mount->tree, node_of(mount, number));
        fuse_reply_err(request, 0);
}

/* Names are changed on the server before the program is answered; what is asked for here is that they are on its disk.
 * A file that was made and has not been sent yet has no name there: its fsync() or close() is what makes it one. */
void folder_sync(fuse_req_t request, fuse_ino_t number, int data_only, struct fuse_file_info *info)
{
        struct mount *mount = mount_of(request);
        struct remote_condition condition = { 0 };
        char path[REMOTE_PATH_BYTES];
        (void)data_only;
        (void)info;
        operation_begin(request);
        int error = file_send_below(mount, node_of(mount, number));
        if (!error)
                error = tree_path(mount->tree, node_of(mount, number), NULL, path);
        if (!error && mount->remote.can.berth && mount->remote.can.writable)
                error = remote_sync(&mount->remote, path, &condition);
        fuse_reply_err(request, -error);
}

/* ---- reading ---- */

struct page { /* one answer to READDIR or READDIRPLUS */
        fuse_req_t request;
        struct mount *mount;
        bool plus;
        char *data;
        size_t size, used;
        struct node **given; /* each with a lookup, to be taken back when the answer does not arrive */
        size_t given_count;
};

static int page_init(struct page *page, fuse_req_t request, size_t size, bool plus)
{
        *page = (struct page){ .request = request, .mount = mount_of(request), .plus = plus, .size = size };
        page->data = malloc(size + 1);
        page->given = malloc((size / LEAST_PLUS_ENTRY_BYTES + 1) * sizeof(*page->given));
        return page->data && page->given ? 0 : -ENOMEM;
}

static void page_finish(struct page *page)
{
        free(page->data);
        free(page->given);
}

/* False: there is no more room. */
static bool put(struct page *page, const char *name, const struct fuse_entry_param *entry, uint64_t offset)
{
        char *at = page->data + page->used;
        size_t room = page->size - page->used;
        size_t needed = page->plus ? fuse_add_direntry_plus(page->request, at, room, name, entry, (off_t)offset)
                                   : fuse_add_direntry(page->request, at, room, name, &entry->attr, (off_t)offset);
        if (needed > room)
                return false;
        page->used += needed;
        return true;
}

/* "." and "..", which are no lookups. */
static bool put_folder(struct page *page, const char *name, uint64_t inode, uint64_t offset)
{
        struct fuse_entry_param entry = { .attr = { .st_ino = inode, .st_mode = S_IFDIR } };
        return put(page, name, &entry, offset);
}

static bool put_member(struct page *page, const struct tree_member *member)
{
        struct fuse_entry_param entry;
        entry_fill(page->mount, &member->view, &entry);
        bool fits = put(page, member->name, &entry, member->cookie + ABOVE_OFFSET);
        if (page->plus) /* the kernel need not ask for it by itself */
                attributes_told(page->mount, member->view.node);
        if (page->plus && fits)
                page->given[page->given_count++] = member->view.node;
        else if (page->plus)
                tree_forget(page->mount->tree, member->view.node, 1);
        return fits;
}

static void put_members(struct page *page, struct node *folder, const struct reader *reader, uint64_t cookie)
{
        struct tree *tree = page->mount->tree;
        struct tree_member member = { .cookie = cookie };
        size_t least = page->plus ? LEAST_PLUS_ENTRY_BYTES : LEAST_ENTRY_BYTES;
        while (page->size - page->used > least && tree_next(tree, folder, member.cookie, page->plus, &member)) {
                if (member.cookie > reader->last) {
                        if (page->plus)
                                tree_forget(tree, member.view.node, 1);
                        return;
                }
                if (!put_member(page, &member))
                        return;
        }
}

static void fill(struct page *page, struct node *folder, const struct reader *reader, uint64_t offset)
{
        struct tree_view view;
        if (offset < OWN_OFFSET) {
                tree_look(page->mount->tree, folder, &view);
                if (!put_folder(page, ".", view.inode, OWN_OFFSET))
                        return;
        }
        if (offset < ABOVE_OFFSET && !put_folder(page, "..", (uint64_t)NO_INODE, ABOVE_OFFSET))
                return;
        put_members(page, folder, reader, offset > ABOVE_OFFSET ? offset - ABOVE_OFFSET : 0);
}

/* From the start, or again: the listing of now. */
static int begin(struct mount *mount, struct node *folder, struct reader *reader)
{
        folder_walk(mount, folder);
        int error = folder_list(mount, folder);
        if (error)
                return error;
        reader->last = tree_last_cookie(mount->tree, folder);
        reader->began = true;
        return 0;
}

static void read_folder(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info,
                        bool plus)
{
        struct mount *mount = mount_of(request);
        struct node *folder = node_of(mount, number);
        struct reader *reader = reader_of(info);
        struct page page;
        operation_begin(request);
        int error = page_init(&page, request, size, plus);
        if (!error && (offset == 0 || !reader->began))
                error = begin(mount, folder, reader);
        if (error) {
                fuse_reply_err(request, -error);
        } else {
                fill(&page, folder, reader, (uint64_t)offset);
                if (fuse_reply_buf(request, page.data, page.used) < 0)
                        for (size_t i = 0; i < page.given_count; i++)
                                tree_forget(mount->tree, page.given[i], 1);
        }
        page_finish(&page);
}

void folder_read(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info)
{
        read_folder(request, number, size, offset, info, false);
}

void folder_read_plus(fuse_req_t request, fuse_ino_t number, size_t size, off_t offset, struct fuse_file_info *info)
{
        read_folder(request, number, size, offset, info, true);
}
