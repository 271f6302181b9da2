/* Open files against a server in memory: which requests go out, in which order, and what programs are told. The fake
 * functions below stand for remote.h, ahead.h and what the operations give. */
#include "mount/file_inner.h"
#include "mount/later.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { STORE_FILES = 64, STORE_BYTES = 1 << 20, EXTENT = 64 << 10 };

/* ---- a server in memory ---- */

static struct stored {
        char path[256], tag[32], token[32];
        char *data;
        size_t size;
        unsigned links;
        struct remote_times_and_mode with;
        bool there, durable;
} store[STORE_FILES];

static struct {
        pthread_mutex_t lock;
        unsigned puts, writes, truncates, sets, set_tries, syncs, looks, moves, links, removes, tags, refused;
        int fails;     /* every change ends so, if not 0 */
        int half_done; /* a new file's content arrives, what comes along with it is refused so */
        int looks_fail;
        const char *too_large;   /* is refused */
        const char *wrong_token; /* is not held by the server any more */
        bool locks;
        unsigned stale_reads;      /* so many are told that there is another version */
        void (*during_look)(void); /* each once: before it is answered */
        void (*before_read)(void);
        void (*before_put)(void);
        void (*before_move)(void);
        void (*before_remove)(void);
        unsigned unlocks, slow_unlock_us;
        unsigned slow_us; /* a write takes so long, and to set mode and time */
} server = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct stored *find(const char *path)
{
        for (unsigned i = 0; i < STORE_FILES; i++)
                if (store[i].there && strcmp(store[i].path, path) == 0)
                        return &store[i];
        return NULL;
}

static struct stored *make(const char *path)
{
        for (unsigned i = 0; i < STORE_FILES; i++) {
                if (store[i].there)
                        continue;
                free(store[i].data);
                store[i] = (struct stored){ .there = true, .links = 1, .data = calloc(1, STORE_BYTES) };
                snprintf(store[i].path, sizeof(store[i].path), "%s", path);
                return &store[i];
        }
        abort();
}

static void new_tag(struct stored *stored)
{
        snprintf(stored->tag, sizeof(stored->tag), "\"%u\"", ++server.tags);
        stored->durable = false;
}

static void somebody_else_writes(const char *path, const char *text)
{
        pthread_mutex_lock(&server.lock);
        struct stored *stored = find(path);
        if (!stored)
                stored = make(path);
        stored->size = strlen(text);
        memcpy(stored->data, text, stored->size);
        new_tag(stored);
        pthread_mutex_unlock(&server.lock);
}

/* 0, or why the change may not be made. */
static int judge(const struct stored *stored, const struct remote_condition *condition)
{
        if (server.fails)
                return server.fails;
        if (server.wrong_token && condition->token && strcmp(condition->token, server.wrong_token) == 0)
                return -ESTALE;
        if (condition->absent && stored)
                return -EEXIST;
        if (condition->tag && condition->tag[0] && (!stored || strcmp(stored->tag, condition->tag) != 0)) {
                server.refused++;
                return -ESTALE;
        }
        return 0;
}

static void take_with(struct stored *stored, const struct remote_times_and_mode *with)
{
        if (with->has_mode) {
                stored->with.has_mode = true;
                stored->with.mode = with->mode;
        }
        if (with->has_mtime) {
                stored->with.has_mtime = true;
                stored->with.mtime_s = with->mtime_s;
                stored->with.mtime_ns = with->mtime_ns;
        }
}

static void tell(const struct stored *stored, struct remote_result *result)
{
        snprintf(result->tag, sizeof(result->tag), "%s", stored->tag);
        result->inode = 1000 + (uint64_t)(stored - store);
}

static void fill(struct stored *stored, uint64_t first, const struct iovec *body, unsigned parts)
{
        for (unsigned i = 0; i < parts; i++) {
                memcpy(stored->data + first, body[i].iov_base, body[i].iov_len);
                first += body[i].iov_len;
        }
        stored->size = max_of(stored->size, (size_t)first);
}

static void do_once(void (**what)(void))
{
        void (*now)(void) = *what;
        *what = NULL;
        if (now)
                now();
}

int remote_put(struct remote *remote, const char *path, const struct iovec *body, unsigned parts,
               const struct remote_condition *condition, const struct remote_times_and_mode *with, bool durable,
               struct remote_result *result)
{
        (void)remote;
        do_once(&server.before_put);
        pthread_mutex_lock(&server.lock);
        struct stored *stored = find(path);
        int error = judge(stored, condition);
        if (error == -EEXIST && condition->doubtful) /* it is what was put before */
                error = 0;
        if (server.too_large && strcmp(path, server.too_large) == 0)
                error = -EFBIG;
        if (!error) {
                server.puts++;
                stored = stored ? stored : make(path);
                stored->size = 0;
                fill(stored, 0, body, parts);
                take_with(stored, with);
                new_tag(stored);
                stored->durable = durable;
                tell(stored, result);
                error = server.half_done;
        }
        pthread_mutex_unlock(&server.lock);
        return error;
}

int remote_write(struct remote *remote, const char *path, uint64_t first, const struct iovec *body, unsigned parts,
                 const struct remote_condition *condition, const struct remote_times_and_mode *with, bool durable,
                 struct remote_result *result)
{
        (void)remote;
        usleep(server.slow_us);
        pthread_mutex_lock(&server.lock);
        struct stored *stored = find(path);
        int error = stored ? judge(stored, condition) : -ENOENT;
        if (!error) {
                server.writes++;
                fill(stored, first, body, parts);
                take_with(stored, with);
                new_tag(stored);
                stored->durable = durable;
                tell(stored, result);
        }
        pthread_mutex_unlock(&server.lock);
        return error;
}

int remote_truncate(struct remote *remote, const char *path, uint64_t size, const struct remote_condition *condition,
                    const struct remote_times_and_mode *with, struct remote_result *result)
{
        (void)remote;
        pthread_mutex_lock(&server.lock);
        struct stored *stored = find(path);
        int error = stored ? judge(stored, condition) : -ENOENT;
        if (!error) {
                server.truncates++;
                if (size < stored->size)
                        memset(stored->data + size, 0, stored->size - size);
                stored->size = size;
                take_with(stored, with);
                new_tag(stored);
                tell(stored, result);
        }
        pthread_mutex_unlock(&server.lock);
        return error;
}

int remote_set(struct remote *remote, const char *path, bool link, const struct remote_condition *condition,
               const struct remote_times_and_mode *with, struct remote_result *result)
{
        (void)remote;
        (void)link;
        usleep(server.slow_us);
        pthread_mutex_lock(&server.lock);
        server.set_tries++;
        struct stored *stored = find(path);
        int error = stored ? judge(stored, condition) : -ENOENT;
        if (!error) {
                server.sets++;
                take_with(stored, with);
                new_tag(stored);
                tell(stored, result);
        }
        pthread_mutex_unlock(&server.lock);
        return error;
}

int remote_sync(struct remote *remote, const char *path, const struct remote_condition *condition)
{
        (void)remote;
        (void)condition;
        pthread_mutex_lock(&server.lock);
        struct stored *stored = find(path);
        if (stored)
                stored->durable = true;
        server.syncs++;
        pthread_mutex_unlock(&server.lock);
        return stored ? 0 : -ENOENT;
}

int remote_stat(struct remote *remote, const char *path, struct remote_attributes *attributes)
{
        (void)remote;
        pthread_mutex_lock(&server.lock);
        struct stored *stored = find(path);
        if (stored) {
                *attributes = (struct remote_attributes){
                        .kind = REMOTE_FILE,
                        .mode = 0644,
                        .has_mode = true,
                        .links = stored->links,
                        .size = stored->size,
                        .inode = 1000 + (uint64_t)(stored - store),
                };
                snprintf(attributes->tag, sizeof(attributes->tag), "%s", stored->tag);
        }
        server.looks++;
        pthread_mutex_unlock(&server.lock);
        do_once(&server.during_look);
        return server.looks_fail ? server.looks_fail : stored ? 0 : -ENOENT;
}

int remote_move(struct remote *remote, const char *from, const char *to, unsigned flags)
{
        (void)remote;
        (void)flags;
        do_once(&server.before_move);
        pthread_mutex_lock(&server.lock);
        struct stored *stored = find(from), *old = find(to);
        if (stored && old)
                old->there = false;
        if (stored)
                snprintf(stored->path, sizeof(stored->path), "%s", to);
        server.moves++;
        pthread_mutex_unlock(&server.lock);
        return stored ? 0 : -ENOENT;
}

int remote_link(struct remote *remote, const char *path, const char *new_path, struct remote_result *result)
{
        (void)remote;
        pthread_mutex_lock(&server.lock);
        struct stored *stored = find(path);
        if (stored) {
                struct stored *copy = make(new_path);
                memcpy(copy->data, stored->data, stored->size);
                copy->size = stored->size;
                snprintf(copy->tag, sizeof(copy->tag), "%s", stored->tag);
                tell(copy, result);
        }
        server.links++;
        pthread_mutex_unlock(&server.lock);
        return stored ? 0 : -ENOENT;
}

int remote_remove(struct remote *remote, const char *path, const char *token)
{
        (void)remote;
        (void)token;
        do_once(&server.before_remove);
        pthread_mutex_lock(&server.lock);
        struct stored *stored = find(path);
        if (stored)
                stored->there = false;
        server.removes++;
        pthread_mutex_unlock(&server.lock);
        return stored ? 0 : -ENOENT;
}

int remote_lock(struct remote *remote, const char *path, unsigned seconds, char token[REMOTE_TOKEN_BYTES],
                char tag[CLIENT_TAG_BYTES])
{
        (void)remote;
        (void)seconds;
        tag[0] = '\0';
        pthread_mutex_lock(&server.lock);
        struct stored *stored = find(path);
        int error = !stored ? -ENOENT : stored->token[0] ? -EBUSY : 0;
        if (!error) {
                snprintf(stored->token, sizeof(stored->token), "urn:%s", path);
                snprintf(token, REMOTE_TOKEN_BYTES, "urn:%s", path);
        }
        pthread_mutex_unlock(&server.lock);
        return error;
}

int remote_unlock(struct remote *remote, const char *path, const char *token)
{
        (void)remote;
        usleep(server.slow_unlock_us);
        pthread_mutex_lock(&server.lock);
        server.unlocks++;
        struct stored *stored = find(path);
        if (stored && strcmp(stored->token, token) == 0)
                stored->token[0] = '\0';
        pthread_mutex_unlock(&server.lock);
        return 0;
}

int remote_refresh(struct remote *remote, const char *path, const char *token, unsigned seconds)
{
        (void)remote;
        (void)path;
        (void)seconds;
        return server.wrong_token && strcmp(token, server.wrong_token) == 0 ? -ESTALE : server.fails;
}

int remote_upload(struct remote *remote, const char *path, int descriptor, uint64_t size,
                  const struct remote_condition *condition, const struct remote_times_and_mode *with,
                  struct remote_result *result)
{
        struct iovec body = { malloc(size + 1), size };
        ssize_t n = pread(descriptor, body.iov_base, size, 0);
        int error = n == (ssize_t)size ? remote_put(remote, path, &body, 1, condition, with, false, result) : -EIO;
        free(body.iov_base);
        return error;
}

int remote_download(struct remote *remote, const char *path, const char *tag, int descriptor)
{
        (void)remote;
        struct stored *stored = find(path);
        if (!stored || strcmp(stored->tag, tag) != 0)
                return -ESTALE;
        return pwrite(descriptor, stored->data, stored->size, 0) == (ssize_t)stored->size ? 0 : -EIO;
}

/* ---- what else is beneath or beside open files ---- */

struct stream {
        char nothing;
};

struct stream *ahead_open(struct ahead *ahead)
{
        (void)ahead;
        return calloc(1, sizeof(struct stream));
}

void ahead_close(struct ahead *ahead, struct stream *stream)
{
        (void)ahead;
        free(stream);
}

void ahead_forget(struct ahead *ahead, struct stream *stream)
{
        (void)ahead;
        (void)stream;
}

ssize_t ahead_view(struct ahead *ahead, struct stream *stream, const char *path, const char *tag, uint64_t file_size,
                   uint64_t first, size_t size, struct ahead_view *view)
{
        (void)ahead;
        (void)stream;
        (void)file_size;
        do_once(&server.before_read);
        pthread_mutex_lock(&server.lock);
        struct stored *stored = find(path);
        ssize_t n = -ENOENT;
        if (server.stale_reads > 0 || (stored && strcmp(stored->tag, tag) != 0))
                n = -ESTALE;
        else if (stored)
                n = first < stored->size ? (ssize_t)min_of(size, stored->size - first) : 0;
        if (n > 0)
                memcpy(ahead_view_alone(view, (size_t)n), stored->data + first, (size_t)n);
        server.stale_reads -= server.stale_reads > 0;
        pthread_mutex_unlock(&server.lock);
        return n;
}

char *ahead_view_alone(struct ahead_view *view, size_t size)
{
        view->memory = malloc(size);
        view->parts[0] = (struct iovec){ view->memory, size };
        view->count = 1;
        return view->memory;
}

void ahead_release(struct ahead *ahead, struct ahead_view *view)
{
        (void)ahead;
        free(view->memory);
        view->memory = NULL;
}

void client_set_retry(struct client *client, unsigned retry_ms)
{
        (void)client;
        (void)retry_ms;
}

bool operation_clears_set_id(void)
{
        return false;
}

static unsigned notified;
static uint64_t notified_size;

void notify_changed(struct mount *mount, struct node *node, uint64_t old_size, uint64_t new_size)
{
        (void)mount;
        (void)node;
        (void)old_size;
        notified++;
        notified_size = new_size;
}

ssize_t small_read(struct mount *mount, struct node *node, const char *tag, size_t size, struct ahead_view *view)
{
        (void)mount;
        (void)node;
        (void)tag;
        (void)size;
        (void)view;
        return 0;
}

ssize_t small_take(struct mount *mount, struct node *node, const char *tag, size_t size, struct ahead_view *view)
{
        return small_read(mount, node, tag, size, view);
}

void notify_content(struct mount *mount, struct node *node, struct ahead_view *view)
{
        (void)mount;
        (void)node;
        (void)view;
}

void notify_settle(struct mount *mount, const struct node *node)
{
        (void)mount;
        (void)node;
}

void notify_attributes(struct mount *mount, struct node *node)
{
        (void)mount;
        (void)node;
}

int attributes_look(struct mount *mount, struct node *node, struct tree_view *view)
{
        struct remote_attributes attributes;
        char path[REMOTE_PATH_BYTES];
        if (tree_look(mount->tree, node, view) == TREE_PRESENT)
                return 0;
        uint64_t changes = tree_changes(mount->tree, node);
        int error = tree_path(mount->tree, node, NULL, path);
        if (!error)
                error = remote_stat(&mount->remote, path, &attributes);
        return error ? error : tree_note_node(mount->tree, node, &attributes, changes, view);
}

int attributes_set_other(struct mount *mount, struct node *node, bool link, const struct remote_times_and_mode *with)
{
        struct remote_condition condition = { 0 };
        struct remote_result result;
        char path[REMOTE_PATH_BYTES];
        int error = tree_path(mount->tree, node, NULL, path);
        return error ? error : remote_set(&mount->remote, path, link, &condition, with, &result);
}

/* ---- the bench ---- */

static struct mount mount;

static int set_up(void **state)
{
        (void)state;
        memset(&mount, 0, sizeof(mount));
        memset(&server, 0, sizeof(server));
        notified = 0;
        pthread_mutex_init(&server.lock, NULL);
        mount.options.extent_bytes = EXTENT;
        mount.options.write_buffer_bytes = 4 * EXTENT;
        mount.options.flush_after_ms = 60000;
        mount.options.client = (struct client_options){ .connections = 2, .retry_ms = 2000, .stall_ms = 1000 };
        mount.remote.can = (struct remote_abilities){ .ranges = REMOTE_BERTH, .berth = true, .locks = true };
        mount.writeback = true;
        struct tree_options options = { .ttl_ms = 50, .limit_bytes = 1 << 20, .file_mode = 0644, .folder_mode = 0755 };
        struct remote_attributes root = { .kind = REMOTE_FOLDER, .mode = 0755, .has_mode = true, .links = 1 };
        assert_int_equal(tree_create(&mount.tree, &options, &root), 0);
        assert_int_equal(file_start(&mount), 0);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        file_stop(&mount);
        tree_destroy(mount.tree);
        for (unsigned i = 0; i < STORE_FILES; i++) {
                free(store[i].data);
                store[i] = (struct stored){ 0 };
        }
        return 0;
}

static struct file *create(const char *name)
{
        struct tree_view view;
        struct file *file = NULL;
        assert_int_equal(file_create(&mount, tree_root(mount.tree), name, 0640, &file, &view), 0);
        return file;
}

/* Opens what is on the server. */
static struct file *open_file(const char *name, bool write, bool truncate)
{
        struct remote_attributes attributes;
        struct file_opened opened;
        struct tree_view view;
        struct file *file = NULL;
        struct file_open how = { .read = true, .write = write, .truncate = truncate };
        assert_int_equal(remote_stat(&mount.remote, name, &attributes), 0);
        assert_int_equal(tree_note(mount.tree, tree_root(mount.tree), name, &attributes,
                                   tree_changes(mount.tree, tree_root(mount.tree)), true, &view),
                         0);
        assert_int_equal(file_open(&mount, view.node, &how, &file, &opened), 0);
        assert_false(opened.direct && truncate);
        return file;
}

static ssize_t read_bytes(struct file *file, uint64_t first, size_t size, char *out)
{
        struct ahead_view view;
        ssize_t n = file_read(&mount, file, first, size, &view);
        for (unsigned i = 0; i < view.count; i++) {
                memcpy(out, view.parts[i].iov_base, view.parts[i].iov_len);
                out += view.parts[i].iov_len;
        }
        ahead_release(mount.ahead, &view);
        return n;
}

/* As the kernel hands on what it gathered. */
static void write_bytes(struct file *file, uint64_t first, const char *data, size_t size)
{
        assert_int_equal(file_write(&mount, file, first, data, size, true), size);
}

static void write_text(struct file *file, uint64_t first, const char *text)
{
        write_bytes(file, first, text, strlen(text));
}

static void assert_stored(const char *name, const char *text)
{
        struct stored *stored = find(name);
        assert_non_null(stored);
        assert_int_equal(stored->size, strlen(text));
        assert_memory_equal(stored->data, text, stored->size);
}

/* ---- tests ---- */

static void a_small_new_file_is_one_request(void **state)
{
        (void)state;
        struct file *file = create("a");
        write_text(file, 0, "hello ");
        write_text(file, 6, "world");
        struct remote_times_and_mode with = { .has_mtime = true, .mtime_s = 12345, .mtime_ns = 67 };
        assert_int_equal(file_set(&mount, file->node, &with), 0);
        assert_int_equal(server.puts, 0);
        assert_int_equal(file_flush(&mount, file), 0);
        assert_stored("a", "hello world");
        assert_int_equal(server.puts + server.writes + server.sets + server.syncs + server.looks, 1);
        assert_int_equal(find("a")->with.mode, 0640);
        assert_int_equal(find("a")->with.mtime_s, 12345);
        file_close(&mount, file, true);
        assert_int_equal(server.puts + server.writes + server.sets + server.syncs + server.looks, 1);
}

static void an_empty_new_file_is_made(void **state)
{
        (void)state;
        struct file *file = create("a");
        assert_int_equal(file_flush(&mount, file), 0);
        file_close(&mount, file, true);
        assert_stored("a", "");
        assert_int_equal(server.puts, 1);
}

static void full_extents_go_out_by_themselves_in_order(void **state)
{
        (void)state;
        struct file *file = create("a");
        static char data[6 * EXTENT + 100];
        mount.options.write_buffer_bytes = 8 * EXTENT; /* who waits for room has also those sent that are not full */
        for (unsigned i = 0; i < sizeof(data); i++)
                data[i] = (char)(i * 7 + i / 1000);
        for (unsigned at = 0; at < sizeof(data); at += 4096)
                write_bytes(file, at, data + at, min_of(4096U, sizeof(data) - at));
        assert_int_equal(file_flush(&mount, file), 0);
        assert_int_equal(find("a")->size, sizeof(data));
        assert_memory_equal(find("a")->data, data, sizeof(data));
        assert_int_equal(server.puts, 1);
        assert_int_equal(server.writes, 6);
        assert_int_equal(server.refused, 0);
        assert_true(mount.counters.buffered_peak_bytes <= mount.options.write_buffer_bytes);
        file_close(&mount, file, true);
}

static void fsync_is_durable_with_the_last_write(void **state)
{
        (void)state;
        struct file *file = create("a");
        write_text(file, 0, "x");
        assert_int_equal(file_sync(&mount, file), 0);
        assert_true(find("a")->durable);
        assert_int_equal(server.syncs, 0);
        write_text(file, 1, "y");
        assert_int_equal(file_flush(&mount, file), 0);
        assert_false(find("a")->durable);
        assert_int_equal(file_sync(&mount, file), 0); /* nothing to be sent, but to be made durable */
        assert_int_equal(server.syncs, 1);
        assert_int_equal(file_sync(&mount, file), 0);
        assert_int_equal(server.syncs, 1);
        file_close(&mount, file, true);
}

static void a_change_by_others_is_kept_and_told(void **state)
{
        (void)state;
        somebody_else_writes("a", "one");
        struct file *file = open_file("a", true, false);
        write_text(file, 0, "two");
        somebody_else_writes("a", "three");
        assert_int_equal(file_flush(&mount, file), -ESTALE);
        assert_int_equal(file_write(&mount, file, 0, "x", 1, false), -ESTALE);
        assert_int_equal(file_sync(&mount, file), -ESTALE);
        file_close(&mount, file, true);
        assert_stored("a", "three");
        file = open_file("a", true, false);
        write_text(file, 0, "f");
        assert_int_equal(file_flush(&mount, file), 0);
        file_close(&mount, file, true);
        assert_stored("a", "fhree");
}

static void a_name_that_others_took_meanwhile_is_theirs(void **state)
{
        (void)state;
        struct file *file = create("a");
        write_text(file, 0, "mine");
        somebody_else_writes("a", "theirs");
        assert_int_equal(file_flush(&mount, file), -ESTALE);
        file_close(&mount, file, true);
        assert_stored("a", "theirs");
}

static void an_error_is_told_until_it_is_made_good(void **state)
{
        (void)state;
        struct file *file = create("a");
        write_text(file, 0, "data");
        server.fails = -ENOSPC;
        assert_int_equal(file_sync(&mount, file), -ENOSPC);
        assert_int_equal(file_write(&mount, file, 4, "x", 1, false), -ENOSPC);
        assert_int_equal(file_conflict(file), -ENOSPC);
        assert_int_equal(file_flush(&mount, file), -ENOSPC);
        server.fails = 0;
        assert_int_equal(file_sync(&mount, file), 0);
        write_text(file, 4, "more");
        assert_int_equal(file_flush(&mount, file), 0);
        file_close(&mount, file, true);
        assert_stored("a", "datamore");
}

static void pages_that_come_after_an_error_are_sent_when_it_is_made_good(void **state)
{
        (void)state;
        struct file *file = create("a");
        assert_int_equal(file_write(&mount, file, 0, "one ", 4, true), 4);
        assert_int_equal(file_sync(&mount, file), 0);
        assert_int_equal(file_write(&mount, file, 4, "two ", 4, true), 4);
        server.fails = -EIO;
        assert_int_equal(file_sync(&mount, file), -EIO);
        assert_int_equal(file_write(&mount, file, 8, "three", 5, true), 5);
        server.fails = 0;
        assert_int_equal(file_sync(&mount, file), 0);
        assert_int_equal(file_flush(&mount, file), 0);
        file_close(&mount, file, true);
        assert_stored("a", "one two three");
}

static void a_page_that_finds_no_room_is_told_of_until_all_have_closed(void **state)
{
        (void)state;
        static char data[4 * EXTENT];
        mount.options.write_buffer_bytes = 2 * EXTENT;
        mount.options.client.retry_ms = 300;
        struct file *file = create("a");
        server.fails = -EIO;
        assert_int_equal(file_write(&mount, file, 0, data, sizeof(data), true), -EIO);
        server.fails = 0;
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(file_sync(&mount, file), -EIO);
                assert_int_equal(file_flush(&mount, file), -EIO);
                assert_int_equal(file_conflict(file), -EIO);
        }
        assert_int_equal(mount.counters.unsent_files, 1);
        file_close(&mount, file, true);
        assert_null(find("a"));
}

static void a_write_tells_how_much_was_taken_before_it_failed(void **state)
{
        (void)state;
        static char data[16 * EXTENT];
        somebody_else_writes("a", "one");
        struct file *file = open_file("a", true, false);
        somebody_else_writes("a", "two");
        ssize_t n = file_write(&mount, file, 0, data, sizeof(data), false);
        assert_in_range(n, EXTENT, sizeof(data) - EXTENT);
        assert_int_equal(n % EXTENT, 0);
        assert_int_equal(file_write(&mount, file, (uint64_t)n, data, EXTENT, false), -ESTALE);
        file_close(&mount, file, true);
        assert_stored("a", "two");
}

static void what_arrived_before_it_was_refused_is_no_conflict(void **state)
{
        (void)state;
        struct file *file = create("a");
        write_text(file, 0, "data");
        server.half_done = -EACCES;
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(file_sync(&mount, file), -EACCES);
        server.half_done = 0;
        assert_int_equal(file_sync(&mount, file), 0);
        file_close(&mount, file, true);
        assert_stored("a", "data");
        assert_int_equal(mount.counters.conflicts, 0);
}

static void truncating_on_open_replaces_in_one_request(void **state)
{
        (void)state;
        somebody_else_writes("a", "a long old content");
        struct file *file = open_file("a", true, true);
        write_text(file, 0, "new");
        assert_stored("a", "a long old content");
        assert_int_equal(file_flush(&mount, file), 0);
        assert_stored("a", "new");
        assert_int_equal(server.puts, 1);
        assert_int_equal(server.writes + server.truncates, 0);
        file_close(&mount, file, true);
}

static void truncates_are_seen_and_sent(void **state)
{
        (void)state;
        char out[32];
        somebody_else_writes("a", "0123456789");
        struct file *file = open_file("a", true, false);
        write_text(file, 8, "XYZ");
        assert_int_equal(file_truncate(&mount, file->node, 9), 0);
        assert_int_equal(file_truncate(&mount, file->node, 12), 0);
        assert_int_equal(read_bytes(file, 0, sizeof(out), out), 12);
        assert_memory_equal(out, "01234567X\0\0\0", 12);
        assert_int_equal(file_flush(&mount, file), 0);
        assert_int_equal(find("a")->size, 12);
        assert_memory_equal(find("a")->data, "01234567X\0\0\0", 12);
        file_close(&mount, file, true);
}

static struct file *written_meanwhile;

static void write_meanwhile(void)
{
        write_text(written_meanwhile, 10, "abc");
}

/* A read finds that its version is gone (sent meanwhile, by us), and asks what stands there now; while it asks the
 * kernel hands on a write behind the end. */
static void what_is_written_while_the_server_is_asked_stays(void **state)
{
        (void)state;
        char out[32];
        somebody_else_writes("a", "0123456789");
        struct file *file = open_file("a", true, false);
        written_meanwhile = file;
        server.stale_reads = 1;
        server.during_look = write_meanwhile;
        assert_int_equal(read_bytes(file, 0, 10, out), 10);
        assert_null(server.during_look);
        assert_int_equal(read_bytes(file, 0, sizeof(out), out), 13);
        assert_memory_equal(out, "0123456789abc", 13);
        assert_int_equal(file_flush(&mount, file), 0);
        assert_stored("a", "0123456789abc");
        file_close(&mount, file, true);
}

static void a_length_that_is_not_sent_stays_when_a_read_is_overtaken(void **state)
{
        (void)state;
        char out[32];
        somebody_else_writes("a", "0123456789");
        struct file *file = open_file("a", true, false);
        assert_int_equal(file_truncate(&mount, file->node, 12), 0);
        server.stale_reads = 1;
        assert_int_equal(read_bytes(file, 0, 10, out), 10);
        assert_int_equal(read_bytes(file, 0, sizeof(out), out), 12);
        assert_memory_equal(out, "0123456789\0\0", 12);
        assert_int_equal(file_flush(&mount, file), 0);
        assert_int_equal(find("a")->size, 12);
        file_close(&mount, file, true);
}

static void what_is_not_sent_is_read_all_the_same(void **state)
{
        (void)state;
        char out[16] = "";
        struct file *file = create("a");
        write_text(file, 2, "ab");
        assert_int_equal(read_bytes(file, 0, sizeof(out), out), 4);
        assert_memory_equal(out, "\0\0ab", 4);
        assert_int_equal(server.puts, 0);
        assert_int_equal(file_flush(&mount, file), 0);
        write_text(file, 3, "c");
        assert_int_equal(read_bytes(file, 0, sizeof(out), out), 4);
        assert_memory_equal(out, "\0\0ac", 4);
        file_close(&mount, file, true);
}

static void a_removed_file_lives_while_it_is_open(void **state)
{
        (void)state;
        char out[8];
        somebody_else_writes("a", "old");
        struct file *file = open_file("a", true, false);
        write_text(file, 3, "er");
        assert_int_equal(file_unlink(&mount, tree_root(mount.tree), "a", file->node), 0);
        assert_null(find("a"));
        assert_int_equal(read_bytes(file, 0, sizeof(out), out), 5);
        assert_memory_equal(out, "older", 5);
        assert_int_equal(file_flush(&mount, file), 0);
        file_close(&mount, file, true);
        assert_int_equal(server.removes, 1);
        for (unsigned i = 0; i < STORE_FILES; i++)
                assert_false(store[i].there);
}

static struct file *read_meanwhile;

static void remove_it(void)
{
        assert_int_equal(file_unlink(&mount, tree_root(mount.tree), "a", read_meanwhile->node), 0);
}

static void rename_it(void)
{
        int error;
        struct node *root = tree_root(mount.tree);
        file_before_rename(&mount, read_meanwhile->node, &error);
        assert_int_equal(remote_move(&mount.remote, "a", "b", 0), 0);
        assert_int_equal(tree_renamed(mount.tree, root, "a", root, "b"), 0);
        file_after_rename(read_meanwhile);
}

static void read_it(void)
{
        char out[8];
        assert_int_equal(read_bytes(read_meanwhile, 0, sizeof(out), out), 3);
        assert_memory_equal(out, "old", 3);
}

/* A read has its path when the name goes; or comes while it goes. */
static void who_reads_while_the_name_goes_does_not_miss_the_file(void **state)
{
        (void)state;
        void (*const changes[])(void) = { remove_it, rename_it };
        for (unsigned i = 0; i < 2; i++) {
                somebody_else_writes("a", "old");
                read_meanwhile = open_file("a", false, false);
                server.before_read = changes[i];
                read_it();
                assert_null(find("a"));
                file_close(&mount, read_meanwhile, false);
        }
        somebody_else_writes("a", "old");
        read_meanwhile = open_file("a", false, false);
        server.before_move = read_it;
        remove_it();
        assert_null(server.before_move);
        file_close(&mount, read_meanwhile, false);
}

static pthread_t mover;

static void *move_later(void *root)
{
        usleep(50000);
        server.fails = 0;
        assert_int_equal(tree_renamed(mount.tree, root, "a", root, "b"), 0);
        mount.moving--;
        return NULL;
}

/* The server has done it, and its answer is on its way: nothing is found at the old path. */
static void move_it_away(void)
{
        server.fails = -ENOENT;
        mount.moving++;
        pthread_create(&mover, NULL, move_later, tree_root(mount.tree));
}

static void what_is_sent_while_a_folder_above_moves_follows_it(void **state)
{
        (void)state;
        struct file *file = create("a");
        write_text(file, 0, "data");
        server.before_put = move_it_away;
        assert_int_equal(file_flush(&mount, file), 0);
        pthread_join(mover, NULL);
        assert_stored("b", "data");
        assert_null(find("a"));
        server.fails = -ENOENT;
        write_text(file, 0, "more");
        assert_int_equal(file_flush(&mount, file), -ENOENT);
        server.fails = 0;
        assert_int_equal(file_sync(&mount, file), 0);
        file_close(&mount, file, true);
        assert_stored("b", "more");
}

static struct file *removed;

static void nothing_is_on_its_way(void)
{
        assert_false(file_turn_is_free(removed));
}

static void a_name_of_several_goes_while_nothing_is_sent_there(void **state)
{
        (void)state;
        struct tree_view view;
        struct remote_result result;
        struct node *root = tree_root(mount.tree);
        removed = create("a");
        assert_int_equal(file_flush(&mount, removed), 0);
        assert_int_equal(remote_link(&mount.remote, "a", "b", &result), 0);
        assert_int_equal(tree_linked(mount.tree, removed->node, root, "b", true, &view), 0);
        write_text(removed, 0, "data");
        server.before_remove = nothing_is_on_its_way;
        assert_int_equal(file_unlink(&mount, root, "b", removed->node), 0);
        assert_null(server.before_remove);
        assert_null(find("b"));
        assert_int_equal(file_flush(&mount, removed), 0);
        assert_stored("a", "data");
        file_close(&mount, removed, true);
}

static struct node *pending;
static struct file *late_reader;

static void open_to_read(void)
{
        struct file_open how = { .read = true };
        struct file_opened opened;
        assert_int_equal(file_open(&mount, pending, &how, &late_reader, &opened), 0);
}

/* Who opens what is not sent yet to read it does not wait for what is done with its name. */
static void who_opens_a_file_while_it_is_removed_reads_it(void **state)
{
        (void)state;
        char out[8];
        file_stop(&mount);
        mount.options.close_later = true;
        assert_int_equal(file_start(&mount), 0);
        somebody_else_writes("a", "old");
        struct file *file = open_file("a", true, true);
        pending = file->node;
        write_text(file, 0, "new");
        assert_int_equal(file_flush(&mount, file), 0);
        struct file *held = file_get(&mount, pending, false);
        pthread_mutex_lock(&held->lock);
        held->opens--, held->writers--; /* as file_close(), but that it is not sent at once */
        pthread_mutex_unlock(&held->lock);
        file_put(held);
        server.before_remove = open_to_read;
        assert_int_equal(file_unlink(&mount, tree_root(mount.tree), "a", pending), 0);
        assert_null(server.before_remove);
        assert_int_equal(read_bytes(late_reader, 0, sizeof(out), out), 3);
        assert_memory_equal(out, "new", 3);
        file_close(&mount, late_reader, false);
        file_put(held);
}

static void a_file_removed_before_it_was_sent_is_never_sent(void **state)
{
        (void)state;
        char out[8];
        struct file *file = create("a");
        write_text(file, 0, "tmp");
        assert_int_equal(file_unlink(&mount, tree_root(mount.tree), "a", file->node), 0);
        assert_int_equal(read_bytes(file, 0, sizeof(out), out), 3);
        file_close(&mount, file, true);
        assert_int_equal(server.puts + server.moves + server.removes, 0);
}

static void a_reader_goes_on_with_the_new_version(void **state)
{
        (void)state;
        char out[16];
        somebody_else_writes("a", "one");
        struct file *file = open_file("a", false, false);
        assert_int_equal(read_bytes(file, 0, sizeof(out), out), 3);
        somebody_else_writes("a", "fifteen");
        assert_int_equal(read_bytes(file, 0, sizeof(out), out), 7);
        assert_memory_equal(out, "fifteen", 7);
        assert_int_equal(notified, 1); /* the kernel, which has the old one in its cache */
        file_close(&mount, file, false);
}

static void a_locked_file_is_not_opened_for_writing(void **state)
{
        (void)state;
        struct remote_attributes attributes;
        struct file_opened opened;
        struct tree_view view;
        struct file *file = NULL;
        somebody_else_writes("a", "one");
        snprintf(find("a")->token, sizeof(find("a")->token), "another's");
        assert_int_equal(remote_stat(&mount.remote, "a", &attributes), 0);
        struct node *root = tree_root(mount.tree);
        assert_int_equal(tree_note(mount.tree, root, "a", &attributes, tree_changes(mount.tree, root), true, &view), 0);
        struct file_open how = { .write = true };
        assert_int_equal(file_open(&mount, view.node, &how, &file, &opened), -EBUSY);
        how.write = false;
        assert_int_equal(file_open(&mount, view.node, &how, &file, &opened), 0);
        file_close(&mount, file, false);
}

static void the_lock_is_held_while_it_is_written(void **state)
{
        (void)state;
        somebody_else_writes("a", "one");
        struct file *file = open_file("a", true, false);
        assert_true(find("a")->token[0]);
        struct file *second = open_file("a", true, false);
        file_close(&mount, file, true);
        assert_true(find("a")->token[0]);
        file_close(&mount, second, true);
        assert_false(find("a")->token[0]);
}

static void whole_files_go_by_a_spool(void **state)
{
        (void)state;
        char out[16];
        mount.remote.can = (struct remote_abilities){ .ranges = REMOTE_WHOLE, .locks = true };
        somebody_else_writes("a", "0123456789");
        struct file *file = open_file("a", true, false);
        write_text(file, 2, "xx");
        assert_int_equal(read_bytes(file, 0, sizeof(out), out), 10);
        assert_memory_equal(out, "01xx456789", 10);
        assert_int_equal(file_truncate(&mount, file->node, 5), 0);
        assert_stored("a", "0123456789");
        assert_int_equal(file_flush(&mount, file), 0);
        assert_stored("a", "01xx4");
        assert_int_equal(server.puts, 1);
        file_close(&mount, file, true);
}

/* Who still reads keeps the file, and what was fetched of it to be written to. */
static void a_spool_of_an_earlier_version_is_not_used(void **state)
{
        (void)state;
        char out[16];
        mount.remote.can = (struct remote_abilities){ .ranges = REMOTE_WHOLE };
        somebody_else_writes("a", "0123456789");
        struct file *reader = open_file("a", false, false), *writer = open_file("a", true, false);
        write_text(writer, 2, "xx");
        assert_int_equal(file_flush(&mount, writer), 0);
        file_close(&mount, writer, true);
        assert_stored("a", "01xx456789");
        somebody_else_writes("a", "another");
        writer = open_file("a", true, false);
        assert_int_equal(read_bytes(reader, 0, sizeof(out), out), 7);
        assert_memory_equal(out, "another", 7);
        write_text(writer, 0, "A");
        assert_int_equal(file_flush(&mount, writer), 0);
        file_close(&mount, writer, true);
        file_close(&mount, reader, false);
        assert_stored("a", "Another");
}

/* It was set while something was on its way that did not tell it, and stands as it was last told. */
static void what_is_set_to_what_was_told_before_is_told(void **state)
{
        (void)state;
        struct remote_times_and_mode with = { .has_mode = true, .mode = 0, .has_mtime = true, .mtime_s = 77 };
        const struct remote_times_and_mode told = { .mtime_s = 77 }; /* neither was */
        file_drop_with(&with, &told);
        assert_true(with.has_mode && with.has_mtime);
        file_drop_with(&with, &(struct remote_times_and_mode){ .has_mode = true, .has_mtime = true, .mtime_s = 77 });
        assert_false(with.has_mode || with.has_mtime);
}

static void quiet_data_is_sent_in_the_background(void **state)
{
        (void)state;
        mount.options.flush_after_ms = 50;
        struct file *file = create("a");
        write_text(file, 0, "later");
        for (unsigned i = 0; i < 500 && !find("a"); i++)
                usleep(10000);
        assert_stored("a", "later");
        file_close(&mount, file, true);
}

/* Writes, truncates, reads and flushes at random, against a model. */
static void random_use_agrees_with_a_model(void **state)
{
        (void)state;
        struct random random = { 4711 };
        static char model[STORE_BYTES], out[STORE_BYTES];
        size_t size = 0;
        struct file *file = create("a");
        for (unsigned i = 0; i < 3000; i++) {
                unsigned at = random_below(&random, 6 * EXTENT), length = 1 + random_below(&random, 20000);
                unsigned what = random_below(&random, 20);
                if (what < 9) {
                        for (unsigned k = 0; k < length; k++)
                                model[at + k] = (char)random_next(&random);
                        write_bytes(file, at, model + at, length);
                        size = max_of(size, (size_t)at + length);
                } else if (what < 16) {
                        size_t wanted = at < size ? min_of((size_t)length, size - at) : 0;
                        assert_int_equal(read_bytes(file, at, length, out), wanted);
                        assert_memory_equal(out, model + at, wanted);
                } else if (what < 18) {
                        if (at < size)
                                memset(model + at, 0, size - at);
                        size = at;
                        assert_int_equal(file_truncate(&mount, file->node, size), 0);
                } else {
                        assert_int_equal(what == 18 ? file_flush(&mount, file) : file_sync(&mount, file), 0);
                        assert_int_equal(find("a")->size, size);
                        assert_memory_equal(find("a")->data, model, size);
                }
        }
        assert_int_equal(server.refused, 0);
        file_close(&mount, file, true);
}

static void fsync_makes_durable_what_an_earlier_open_wrote(void **state)
{
        (void)state;
        struct file *file = create("a");
        write_text(file, 0, "x");
        assert_int_equal(file_flush(&mount, file), 0);
        file_close(&mount, file, true);
        file = open_file("a", false, false);
        assert_int_equal(file_sync(&mount, file), 0);
        assert_int_equal(server.syncs, 1);
        assert_int_equal(file_sync(&mount, file), 0);
        assert_int_equal(server.syncs, 1);
        file_close(&mount, file, false);
}

static void what_is_kept_has_the_bytes_of_a_spool(void **state)
{
        (void)state;
        char path[256], out[16];
        mount.remote.can = (struct remote_abilities){ .ranges = REMOTE_WHOLE };
        struct file *file = create("spooled");
        write_text(file, 0, "precious");
        server.fails = -ENOSPC;
        assert_int_equal(file_flush(&mount, file), -ENOSPC);
        file_close(&mount, file, true);
        snprintf(path, sizeof(path), "%s/berth/unsent/spooled.1", getenv("XDG_STATE_HOME"));
        int descriptor = open(path, O_RDONLY);
        assert_true(descriptor >= 0);
        assert_int_equal(read(descriptor, out, sizeof(out)), 8);
        assert_memory_equal(out, "precious", 8);
        close(descriptor);
}

static void an_open_that_fails_gives_up_its_lock(void **state)
{
        (void)state;
        struct remote_attributes attributes;
        struct file_opened opened;
        struct tree_view view;
        struct file *file = NULL;
        struct node *root = tree_root(mount.tree);
        somebody_else_writes("a", "one");
        assert_int_equal(remote_stat(&mount.remote, "a", &attributes), 0);
        assert_int_equal(tree_note(mount.tree, root, "a", &attributes, tree_changes(mount.tree, root), true, &view), 0);
        struct file_open how = { .write = true };
        server.looks_fail = -EIO;
        assert_int_equal(file_open(&mount, view.node, &how, &file, &opened), -EIO);
        assert_false(find("a")->token[0]);
        assert_null(tree_file(mount.tree, view.node));
}

static void a_lock_that_ran_out_is_no_conflict(void **state)
{
        (void)state;
        somebody_else_writes("a", "one");
        struct file *file = open_file("a", true, false);
        write_text(file, 0, "two");
        server.wrong_token = "urn:a";
        assert_int_equal(file_flush(&mount, file), 0);
        assert_stored("a", "two");
        assert_int_equal(file->token[0], 0);
        file_close(&mount, file, true);
}

static void a_lock_survives_that_the_server_is_away(void **state)
{
        (void)state;
        somebody_else_writes("a", "one");
        struct file *file = open_file("a", true, false);
        server.fails = -EIO;
        lease_refresh(file);
        assert_true(file->token[0]);
        server.fails = 0;
        file_close(&mount, file, true);
        assert_false(find("a")->token[0]);
}

static void an_error_of_fsync_is_over_when_it_is_made_good(void **state)
{
        (void)state;
        struct file *file = create("a");
        write_text(file, 0, "x");
        assert_int_equal(file_flush(&mount, file), 0);
        pthread_mutex_lock(&file->lock);
        file_failed(file, -EIO); /* as when PATCH with Sync fails */
        pthread_mutex_unlock(&file->lock);
        assert_int_equal(file_sync(&mount, file), 0);
        write_bytes(file, 1, "y", 1);
        assert_int_equal(file_flush(&mount, file), 0);
        assert_stored("a", "xy");
        file_close(&mount, file, true);
}

static void a_file_keeps_its_name_when_replacing_it_fails(void **state)
{
        (void)state;
        somebody_else_writes("a", "one");
        struct file *file = open_file("a", true, false);
        struct file *kept = file_keep(&mount, file->node);
        assert_ptr_equal(kept, file);
        assert_true(file->hidden[0]);
        file_after_keep(kept, false);
        assert_false(file->hidden[0]);
        assert_int_equal(server.links, 1);
        assert_int_equal(server.removes, 1);
        write_text(file, 0, "two");
        assert_int_equal(file_flush(&mount, file), 0);
        file_close(&mount, file, true);
        assert_stored("a", "two");
        assert_int_equal(server.removes, 1);
}

static void a_closed_file_that_is_removed_before_it_is_sent_is_let_go(void **state)
{
        (void)state;
        struct file *file = create("a");
        struct node *node = file->node;
        write_text(file, 0, "tmp");
        tree_pin(mount.tree, node);
        server.fails = -EINTR; /* as when the program is killed: nothing fails for good */
        file_close(&mount, file, true);
        int error = file_unlink(&mount, tree_root(mount.tree), "a", node);
        server.fails = 0;
        assert_int_equal(error, 0);
        for (unsigned i = 0; i < 300 && tree_file(mount.tree, node); i++)
                usleep(10000);
        assert_null(tree_file(mount.tree, node));
        assert_int_equal(server.puts, 0);
        tree_unpin(mount.tree, node);
}

static void what_cannot_be_sent_gives_room_to_others(void **state)
{
        (void)state;
        static char data[3 * EXTENT + EXTENT / 2];
        somebody_else_writes("a", "one");
        struct file *file = open_file("a", true, false), *other = create("b");
        write_text(file, 0, "two");
        somebody_else_writes("a", "three");
        for (unsigned i = 0; i < 3; i++) /* halves of blocks: they are not sent by themselves */
                write_bytes(file, i * 2 * EXTENT, data, EXTENT / 2);
        assert_int_equal(file_flush(&mount, file), -ESTALE);
        write_bytes(other, 0, data, sizeof(data));
        assert_int_equal(file_flush(&mount, other), 0);
        file_close(&mount, other, true);
        file_close(&mount, file, true);
        assert_stored("a", "three");
        assert_int_equal(mount.counters.lost_writes, 1);
        assert_int_equal(mount.counters.unsent_files, 1);
}

static void what_the_server_refuses_gives_room_to_others(void **state)
{
        (void)state;
        static char data[3 * EXTENT + EXTENT / 2];
        mount.options.client.retry_ms = 20000;
        struct file *file = create("a"), *other = create("b");
        for (unsigned i = 0; i < 3; i++)
                write_bytes(file, i * 2 * EXTENT, data, EXTENT / 2);
        server.too_large = "a";
        assert_int_equal(file_flush(&mount, file), -EFBIG);
        write_bytes(other, 0, data, sizeof(data));
        assert_int_equal(file_flush(&mount, other), 0);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(file_write(&mount, file, 0, "x", 1, false), -EFBIG);
                assert_int_equal(file_write(&mount, file, 0, "x", 1, true), 1); /* write(2) had taken it: told below */
                assert_int_equal(file_sync(&mount, file), -EFBIG);
                assert_int_equal(file_flush(&mount, file), -EFBIG);
        }
        file_close(&mount, other, true);
        file_close(&mount, file, true);
        assert_null(find("a"));
        assert_int_equal(mount.counters.lost_writes, 1);
        assert_int_equal(mount.counters.unsent_files, 1);
        assert_int_equal(mount.counters.conflicts, 0);
}

static void what_failed_and_was_made_good_does_not_count(void **state)
{
        (void)state;
        struct file *file = create("a"), *other = create("b");
        write_text(file, 0, "one");
        write_text(other, 0, "two");
        server.fails = -ENOSPC;
        for (unsigned i = 0; i < 2; i++)
                assert_int_equal(file_send_all(&mount), 2);
        assert_int_equal(mount.counters.unsent_files, 2);
        server.fails = 0;
        assert_int_equal(file_sync(&mount, file), 0);
        assert_int_equal(mount.counters.unsent_files, 1);
        assert_int_equal(file_unlink(&mount, tree_root(mount.tree), "b", other->node),
                         0); /* nobody wants it any more */
        assert_int_equal(mount.counters.unsent_files, 0);
        file_close(&mount, file, true);
        file_close(&mount, other, true);
        assert_int_equal(mount.counters.unsent_files, 0);
}

static void *write_many(void *context)
{
        static const char data[500];
        struct file *file = context;
        for (uint64_t i = 0; i < 2000; i++)
                write_bytes(file, i * sizeof(data) % (STORE_BYTES / 2), data, sizeof(data));
        return NULL;
}

/* Also where an extent that had room for a write is taken away for sending before the write comes to it. */
static void the_write_buffer_is_never_passed(void **state)
{
        (void)state;
        enum { WRITERS = 8 };
        static char large[4 * EXTENT];
        struct file *files[WRITERS];
        server.slow_us = 300;
        pthread_t threads[WRITERS];
        for (unsigned i = 0; i < WRITERS; i++) {
                files[i] = create((char[]){ (char)('a' + i), '\0' });
                pthread_create(&threads[i], NULL, write_many, files[i]);
        }
        for (unsigned i = 0; i < WRITERS; i++)
                pthread_join(threads[i], NULL);
        /* One that needs more than all of it. */
        write_bytes(files[0], 1000, large, sizeof(large));
        for (unsigned i = 0; i < WRITERS; i++) {
                assert_int_equal(file_flush(&mount, files[i]), 0);
                file_close(&mount, files[i], true);
        }
        assert_in_range(mount.counters.buffered_peak_bytes, EXTENT, mount.options.write_buffer_bytes);
}

/* Goes on writing for as long as somebody waits, or for much longer than he should. */
struct busy {
        pthread_t thread;
        struct file *file;
        size_t step;
        unsigned pause_us, writes;
        atomic_bool enough;
};

enum { BUSY_WRITES = 2000 };

static void *write_on_and_on(void *context)
{
        static char data[EXTENT];
        struct busy *busy = context;
        for (; busy->writes < BUSY_WRITES && !atomic_load(&busy->enough); busy->writes++) {
                write_bytes(busy->file, busy->writes * busy->step % (STORE_BYTES - EXTENT), data, busy->step);
                usleep(busy->pause_us);
        }
        return NULL;
}

static void stop_writing(struct busy *busy)
{
        atomic_store(&busy->enough, true);
        pthread_join(busy->thread, NULL);
        assert_true(busy->writes < BUSY_WRITES);
}

static void who_opens_a_file_does_not_wait_for_all_that_is_written_to_it(void **state)
{
        (void)state;
        struct busy busy = { .file = create("a"), .step = EXTENT };
        server.slow_us = 5000;
        pthread_create(&busy.thread, NULL, write_on_and_on, &busy);
        for (unsigned i = 0; i < 1000 && !find("a"); i++)
                usleep(1000);
        struct file *reader = open_file("a", false, false);
        stop_writing(&busy);
        server.slow_us = 0;
        file_close(&mount, reader, false);
        assert_int_equal(file_flush(&mount, busy.file), 0);
        file_close(&mount, busy.file, true);
}

static void a_flush_ends_though_others_go_on_writing(void **state)
{
        (void)state;
        int error;
        struct busy busy = { .file = create("a"), .step = 100, .pause_us = 500 };
        struct node *node = busy.file->node;
        assert_int_equal(file_flush(&mount, busy.file), 0); /* from now on by ranges, which take time */
        server.slow_us = 5000;
        pthread_create(&busy.thread, NULL, write_on_and_on, &busy);
        usleep(20000);
        assert_int_equal(file_flush(&mount, busy.file), 0);
        assert_int_equal(file_sync(&mount, busy.file), 0);
        file_after_rename(file_before_rename(&mount, node, &error));
        assert_int_equal(error, 0);
        stop_writing(&busy);
        assert_int_equal(server.truncates, 0); /* the size comes with what is written */
        assert_int_equal(file_flush(&mount, busy.file), 0);
        assert_int_equal(find("a")->size, busy.writes * 100);
        file_close(&mount, busy.file, true);
}

static void *set_time(void *node)
{
        struct remote_times_and_mode with = { .has_mtime = true, .mtime_s = 77 };
        assert_int_equal(file_set(&mount, node, &with), 0);
        return NULL;
}

static void who_opens_a_file_whose_time_is_just_set_finds_no_conflict(void **state)
{
        (void)state;
        pthread_t thread;
        somebody_else_writes("a", "one");
        struct file *file = open_file("a", false, false);
        struct node *node = file->node;
        tree_pin(mount.tree, node);
        file_close(&mount, file, false);
        server.slow_us = 200000;
        pthread_create(&thread, NULL, set_time, node);
        usleep(50000); /* it is on its way */
        file = open_file("a", true, false);
        write_text(file, 0, "two");
        assert_int_equal(file_flush(&mount, file), 0);
        file_close(&mount, file, true);
        pthread_join(thread, NULL);
        assert_stored("a", "two");
        assert_int_equal(mount.counters.conflicts, 0);
        assert_int_equal(server.sets, 1);
        tree_unpin(mount.tree, node);
}

/* Who waited for its turn meanwhile finds nothing to be sent: neither its size nor an empty file. */
static void nothing_more_is_sent_of_what_was_given_up(void **state)
{
        (void)state;
        int error;
        somebody_else_writes("a", "one");
        struct file *files[] = { open_file("a", true, true), create("b") };
        for (unsigned i = 0; i < 2; i++) {
                struct node *node = files[i]->node;
                write_text(files[i], 0, "much more");
                server.fails = -EFBIG;
                assert_int_equal(file_flush(&mount, files[i]), -EFBIG);
                struct file *waits = file_get(&mount, node, false);
                file_close(&mount, files[i], true);
                server.fails = 0;
                file_after_rename(file_before_rename(&mount, node, &error));
                assert_int_equal(error, 0);
                file_put(waits);
        }
        assert_stored("a", "one");
        assert_null(find("b"));
        assert_int_equal(server.puts + server.writes + server.truncates, 0);
}

/* A thread of the sender is about to let go of it while the next one opens it. */
static void what_took_the_name_of_a_new_file_is_read_when_that_was_given_up(void **state)
{
        (void)state;
        char out[32];
        struct file_open how = { .read = true };
        struct file_opened opened;
        struct file *file = create("a"), *reader;
        struct node *node = file->node;
        write_text(file, 0, "ours");
        somebody_else_writes("a", "the other version");
        assert_int_equal(file_flush(&mount, file), -ESTALE);
        struct file *held = file_get(&mount, node, false);
        file_close(&mount, file, true);
        assert_int_equal(file_open(&mount, node, &how, &reader, &opened), 0);
        assert_int_equal(read_bytes(reader, 0, sizeof(out), out), 17);
        assert_memory_equal(out, "the other version", 17);
        assert_int_equal(notified_size, 17);
        file_put(held);
        file_close(&mount, reader, false);
        assert_true(tree_is_outgrown(mount.tree, node)); /* the kernel may know the size of what was given up */
}

/* Each would be waited for. */
static void locks_are_not_given_up_one_by_one_to_a_server_that_is_away(void **state)
{
        (void)state;
        char name[] = "a";
        for (unsigned i = 0; i < 6; i++, name[0]++) {
                somebody_else_writes(name, "old");
                write_text(open_file(name, true, false), 0, "new");
                assert_true(find(name)->token[0]);
        }
        server.fails = -EIO;
        server.slow_unlock_us = 1000000;
        file_stop(&mount);
        assert_in_range(server.unlocks, 1, 3);
        assert_int_equal(mount.counters.lost_writes, 6);
        assert_int_equal(file_start(&mount), 0);
}

static void what_is_set_of_a_folder_is_not_tried_again_at_once(void **state)
{
        (void)state;
        const struct remote_times_and_mode with = { .has_mode = true, .mode = 0700 };
        file_stop(&mount);
        mount.options.close_later = true;
        assert_int_equal(file_start(&mount), 0);
        somebody_else_writes("", "the root");
        mount.counters.pending_files++; /* as when a file is on its way */
        assert_true(later_set(&mount, tree_root(mount.tree), &with));
        server.fails = -EIO;
        mount.counters.pending_files--;
        for (unsigned i = 0; i < 500 && server.set_tries == 0; i++)
                usleep(10000);
        usleep(200000);
        assert_int_equal(server.set_tries, 1);
        server.fails = 0;
        assert_int_equal(file_send_all(&mount), 0);
        assert_int_equal(server.sets, 1);
}

/* Those that send have something else to do. */
static void what_waits_to_be_sent_is_not_given_up_when_a_mode_is_refused(void **state)
{
        (void)state;
        const struct remote_times_and_mode refused = { .has_mode = true, .mode = 04755 };
        static const char *const others[] = { "b", "c" };
        struct file *file = create("a");
        struct node *node = file->node;
        tree_pin(mount.tree, node);
        server.slow_us = 300000;
        for (unsigned i = 0; i < 2; i++) {
                somebody_else_writes(others[i], "old");
                struct file *other = open_file(others[i], true, false);
                write_text(other, 0, "new");
                file_close(&mount, other, true);
        }
        usleep(50000);
        write_text(file, 0, "data");
        file_close(&mount, file, true);
        assert_int_equal(file_set(&mount, node, &refused), -EPERM);
        server.slow_us = 0;
        for (unsigned i = 0; i < 500 && tree_file(mount.tree, node); i++)
                usleep(10000);
        assert_stored("a", "data");
        assert_int_equal(mount.counters.lost_writes, 0);
        tree_unpin(mount.tree, node);
}

/* What the kernel cannot be told: the next one who opens it is to look the name up. */
static void who_opens_what_became_shorter_while_open_gets_another_node(void **state)
{
        (void)state;
        char out[32];
        struct file_open how = { .read = true };
        struct file_opened opened;
        somebody_else_writes("a", "long");
        struct file *file = open_file("a", false, false);
        struct node *node = file->node;
        somebody_else_writes("a", "b");
        assert_int_equal(read_bytes(file, 0, sizeof(out), out), 1);
        assert_false(tree_is_outgrown(mount.tree, node));
        file_close(&mount, file, false);
        assert_int_equal(file_open(&mount, node, &how, &file, &opened), -ESTALE);
        file = open_file("a", false, false);
        assert_ptr_not_equal(file->node, node);
        assert_int_equal(read_bytes(file, 0, sizeof(out), out), 1);
        file_close(&mount, file, false);
}

static void a_rename_is_told_what_could_not_be_sent(void **state)
{
        (void)state;
        int error;
        struct file *file = create("a");
        struct node *node = file->node;
        write_text(file, 0, "one");
        server.fails = -ENOSPC;
        assert_ptr_equal(file_before_rename(&mount, node, &error), file);
        file_after_rename(file);
        assert_int_equal(error, -ENOSPC);
        server.fails = 0;
        file_after_rename(file_before_rename(&mount, node, &error));
        assert_int_equal(error, 0);
        assert_stored("a", "one");
        write_text(file, 0, "two");
        somebody_else_writes("a", "three");
        for (unsigned i = 0; i < 2; i++) {
                file_after_rename(file_before_rename(&mount, node, &error));
                assert_int_equal(error, -ESTALE);
        }
        tree_pin(mount.tree, node);
        file_close(&mount, file, true);
        assert_null(file_before_rename(&mount, node, &error));
        assert_int_equal(error, 0);
        tree_unpin(mount.tree, node);
}

int main(void)
{
        char folder[] = "/tmp/berth-unsent-XXXXXX"; /* where what cannot be sent is kept */
        if (!mkdtemp(folder) || setenv("XDG_STATE_HOME", folder, 1) < 0)
                return 1;
        const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
                TEST(a_small_new_file_is_one_request),
                TEST(an_empty_new_file_is_made),
                TEST(full_extents_go_out_by_themselves_in_order),
                TEST(fsync_is_durable_with_the_last_write),
                TEST(a_change_by_others_is_kept_and_told),
                TEST(a_name_that_others_took_meanwhile_is_theirs),
                TEST(an_error_is_told_until_it_is_made_good),
                TEST(pages_that_come_after_an_error_are_sent_when_it_is_made_good),
                TEST(a_page_that_finds_no_room_is_told_of_until_all_have_closed),
                TEST(a_write_tells_how_much_was_taken_before_it_failed),
                TEST(what_arrived_before_it_was_refused_is_no_conflict),
                TEST(truncating_on_open_replaces_in_one_request),
                TEST(truncates_are_seen_and_sent),
                TEST(what_is_written_while_the_server_is_asked_stays),
                TEST(a_length_that_is_not_sent_stays_when_a_read_is_overtaken),
                TEST(what_is_not_sent_is_read_all_the_same),
                TEST(a_removed_file_lives_while_it_is_open),
                TEST(who_reads_while_the_name_goes_does_not_miss_the_file),
                TEST(what_is_sent_while_a_folder_above_moves_follows_it),
                TEST(a_name_of_several_goes_while_nothing_is_sent_there),
                TEST(who_opens_a_file_while_it_is_removed_reads_it),
                TEST(a_file_removed_before_it_was_sent_is_never_sent),
                TEST(a_reader_goes_on_with_the_new_version),
                TEST(a_locked_file_is_not_opened_for_writing),
                TEST(the_lock_is_held_while_it_is_written),
                TEST(whole_files_go_by_a_spool),
                TEST(a_spool_of_an_earlier_version_is_not_used),
                TEST(what_is_set_to_what_was_told_before_is_told),
                TEST(quiet_data_is_sent_in_the_background),
                TEST(random_use_agrees_with_a_model),
                TEST(fsync_makes_durable_what_an_earlier_open_wrote),
                TEST(what_is_kept_has_the_bytes_of_a_spool),
                TEST(an_open_that_fails_gives_up_its_lock),
                TEST(a_lock_that_ran_out_is_no_conflict),
                TEST(what_cannot_be_sent_gives_room_to_others),
                TEST(a_lock_survives_that_the_server_is_away),
                TEST(an_error_of_fsync_is_over_when_it_is_made_good),
                TEST(a_file_keeps_its_name_when_replacing_it_fails),
                TEST(a_closed_file_that_is_removed_before_it_is_sent_is_let_go),
                TEST(the_write_buffer_is_never_passed),
                TEST(who_opens_a_file_does_not_wait_for_all_that_is_written_to_it),
                TEST(a_flush_ends_though_others_go_on_writing),
                TEST(who_opens_a_file_whose_time_is_just_set_finds_no_conflict),
                TEST(what_the_server_refuses_gives_room_to_others),
                TEST(what_failed_and_was_made_good_does_not_count),
                TEST(nothing_more_is_sent_of_what_was_given_up),
                TEST(what_took_the_name_of_a_new_file_is_read_when_that_was_given_up),
                TEST(locks_are_not_given_up_one_by_one_to_a_server_that_is_away),
                TEST(what_is_set_of_a_folder_is_not_tried_again_at_once),
                TEST(what_waits_to_be_sent_is_not_given_up_when_a_mode_is_refused),
                TEST(who_opens_what_became_shorter_while_open_gets_another_node),
                TEST(a_rename_is_told_what_could_not_be_sent),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
