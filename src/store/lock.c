/* Locks: one attribute with all locks of a file or folder.
 *
 *   version (1), then for each lock: flags, token size, user size, owner size (2 bytes), expiry (8), digest of the
 *   path (16),
 *   token, user, owner; numbers with the lowest byte first
 *
 * The digest tells for which path a lock was made: one that came along with a renamed file, or is seen through
 * another name of it, does not count. Neither does one that has expired. Both are dropped by the next write. What
 * cannot be read is no lock: somebody else wrote it.
 *
 * A lock on a folder that covers what is beneath it, and one further down, are made under different sections.
 * Therefore each is written first, and only then looked for the other; who finds one withdraws. So of two that are
 * made at the same time both may fail, but never both succeed.
 */
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>

enum {
        VERSION = 1,
        FLAG_EXCLUSIVE = 1,
        FLAG_INFINITE = 2,
        HEAD_BYTES = 1 + 1 + 1 + 2 + 8 + 16,
        RECORD_BYTES = HEAD_BYTES + STORE_TOKEN_BYTES + STORE_USER_BYTES + STORE_OWNER_BYTES,
        ALL_BYTES = 1 + STORE_MAX_SHARED * RECORD_BYTES,
        TRIES = 4,
};

struct record {
        uint8_t flags;
        int64_t expires;
        struct store_digest path;
        struct span token, user, owner;
};

/* The locks in force of one file or folder; the records point into `data`. */
struct table {
        struct record records[STORE_MAX_SHARED];
        unsigned count;
        bool present; /* the attribute is there, whatever is in it */
        char data[ALL_BYTES];
};

/* ---- reading ---- */

static uint64_t take_number(struct span *from, unsigned bytes)
{
        uint64_t value = 0;

        for (unsigned i = 0; i < bytes; i++)
                value |= (uint64_t)(unsigned char)from->data[i] << (8 * i);
        from->data += bytes;
        from->size -= bytes;
        return value;
}

static struct span take_bytes(struct span *from, size_t size)
{
        struct span taken = { from->data, size };

        from->data += size;
        from->size -= size;
        return taken;
}

static bool take_record(struct span *from, struct record *record)
{
        size_t token_size, user_size, owner_size;

        if (from->size < HEAD_BYTES)
                return false;
        record->flags = (uint8_t)take_number(from, 1);
        token_size = take_number(from, 1);
        user_size = take_number(from, 1);
        owner_size = take_number(from, 2);
        record->expires = (int64_t)take_number(from, 8);
        memcpy(record->path.bytes, take_bytes(from, sizeof(record->path.bytes)).data, sizeof(record->path.bytes));
        if (token_size == 0 || token_size > STORE_TOKEN_BYTES || user_size > STORE_USER_BYTES ||
            owner_size > STORE_OWNER_BYTES || from->size < token_size + user_size + owner_size)
                return false;
        record->token = take_bytes(from, token_size);
        record->user = take_bytes(from, user_size);
        record->owner = take_bytes(from, owner_size);
        return true;
}

static struct store_digest digest_of(const char *path)
{
        char room[PATH_FOLD_BYTES];
        struct span folded = path_fold(span_of(path), room, sizeof(room));

        return store_digest((struct span){ "", 0 }, folded.data ? folded : span_of(path));
}

static void parse(struct table *table, size_t size, const char *path)
{
        struct store_digest digest = digest_of(path);
        struct span rest = { table->data, size };
        int64_t now = clock_unix_seconds();
        struct record record;

        if (size == 0 || take_number(&rest, 1) != VERSION)
                return;
        while (table->count < STORE_MAX_SHARED && take_record(&rest, &record)) {
                if (record.expires > now && memcmp(&record.path, &digest, sizeof(digest)) == 0)
                        table->records[table->count++] = record;
        }
}

/* Where no attributes are kept, or nothing stands, there are no locks. Longer than any of ours: nonsense. */
static int read_table(struct table *table, int folder, const char *name, const char *path)
{
        ssize_t got = store_xattr_get(folder, name, STORE_LOCK_ATTRIBUTE, table->data, sizeof(table->data));

        table->count = 0;
        table->present = got >= 0 || got == -ERANGE;
        if (got >= 0)
                parse(table, (size_t)got, path);
        if (got >= 0 || got == -ERANGE || got == -ENODATA || got == -EOPNOTSUPP || got == -EPERM || got == -ENOENT)
                return 0;
        return (int)got;
}

static void put_bytes(char *to, uint16_t *to_size, struct span from)
{
        if (from.size)
                memcpy(to, from.data, from.size);
        *to_size = (uint16_t)from.size;
}

static void fill(struct store_lock *lock, const struct record *record, const char *path)
{
        size_t path_size = min_of(strlen(path), sizeof(lock->path) - 1);
        uint16_t token_size;

        put_bytes(lock->token, &token_size, record->token);
        lock->token[token_size] = '\0';
        put_bytes(lock->owner, &lock->owner_size, record->owner);
        put_bytes(lock->user, &lock->user_size, record->user);
        lock->exclusive = record->flags & FLAG_EXCLUSIVE;
        lock->infinite = record->flags & FLAG_INFINITE;
        lock->expires = record->expires;
        memcpy(lock->path, path, path_size);
        lock->path[path_size] = '\0';
}

static int tell(int folder, const char *name, const char *path, bool infinite_only,
                int (*each)(void *context, const struct store_lock *lock), void *context)
{
        struct store_lock lock;
        struct table table;
        int result = read_table(&table, folder, name, path);

        for (unsigned i = 0; !result && i < table.count; i++) {
                if (infinite_only && !(table.records[i].flags & FLAG_INFINITE))
                        continue;
                fill(&lock, &table.records[i], path);
                result = each(context, &lock);
        }
        return result;
}

int store_locks_at(int folder, const char *name, const char *path,
                   int (*each)(void *context, const struct store_lock *lock), void *context)
{
        return tell(folder, name, path, false, each, context);
}

/* ---- all that cover a path ---- */

/* What stands above a path that leads nowhere, or outside, covers it; whatever is done to it will fail elsewhere. */
static bool leads_nowhere(int error)
{
        return error == -ENOENT || error == -ENOTDIR || error == -ELOOP || error == -EXDEV || error == -EINVAL;
}

int store_locks_on(struct store_tree *tree, const char *path, int (*each)(void *context, const struct store_lock *lock),
                   void *context)
{
        char above[STORE_PATH_BYTES];
        size_t size = strlen(path), at = 0;

        if (size >= sizeof(above))
                return -ENAMETOOLONG;
        for (;;) {
                const char *name = path + at + (at > 0), *slash = strchr(name, '/');
                int folder, result;

                memcpy(above, path, at);
                above[at] = '\0';
                folder = at == 0 ? tree->root : store_open_beneath(tree->root, above, STORE_OPEN_WAY, tree->links);
                if (folder < 0)
                        return leads_nowhere(folder) ? 0 : folder;
                result = tell(folder, "", above, size > 0, each, context);
                if (!result && !slash && size > 0)
                        result = tell(folder, name, path, false, each, context);
                if (at > 0)
                        store_close(folder);
                if (result || !slash)
                        return result;
                at = (size_t)(slash - path);
        }
}

/* ---- writing ---- */

static void put_number(struct text *text, uint64_t value, unsigned bytes)
{
        for (unsigned i = 0; i < bytes; i++)
                text_char(text, (char)(value >> (8 * i)));
}

static void put_record(struct text *text, const struct record *record)
{
        put_number(text, record->flags, 1);
        put_number(text, record->token.size, 1);
        put_number(text, record->user.size, 1);
        put_number(text, record->owner.size, 2);
        put_number(text, (uint64_t)record->expires, 8);
        text_put(text, (struct span){ (const char *)record->path.bytes, sizeof(record->path.bytes) });
        text_put(text, record->token);
        text_put(text, record->user);
        text_put(text, record->owner);
}

static int write_table(struct store_section *section, const struct table *table)
{
        char data[ALL_BYTES];
        struct text text = text_in(data, sizeof(data));

        if (table->count == 0) {
                int error = store_xattr_remove(section->folder, section->name, STORE_LOCK_ATTRIBUTE);
                return error == -ENODATA ? 0 : error;
        }
        put_number(&text, VERSION, 1);
        for (unsigned i = 0; i < table->count; i++)
                put_record(&text, &table->records[i]);
        ensure(!text.overflow);
        return store_xattr_set(section->folder, section->name, STORE_LOCK_ATTRIBUTE, data, text.used,
                               table->present ? STORE_PUT_OLD : STORE_PUT_NEW);
}

static struct record *find(struct table *table, const char *token)
{
        for (unsigned i = 0; i < table->count; i++) {
                if (span_equal(table->records[i].token, span_of(token)))
                        return &table->records[i];
        }
        return NULL;
}

static int find_at(struct store_section *section, struct table *table, const char *token, struct record **record)
{
        int error = read_table(table, section->folder, section->name, section->path);

        *record = error ? NULL : find(table, token);
        return !error && !*record ? -ENOENT : error;
}

int store_lock_refresh(struct store_section *section, const char *token, int64_t expires, struct store_lock *lock)
{
        struct record *record;
        struct table table;
        int error = find_at(section, &table, token, &record);

        if (error)
                return error;
        record->expires = expires;
        error = write_table(section, &table);
        if (error)
                return error;
        fill(lock, record, section->path);
        return store_settle(section);
}

int store_lock_remove(struct store_section *section, const char *token)
{
        struct record *record;
        struct table table;
        int error = find_at(section, &table, token, &record);

        if (error)
                return error;
        *record = table.records[--table.count];
        error = write_table(section, &table);
        return error ? error : store_settle(section);
}

/* ---- adding ---- */

struct search {
        const struct store_lock *lock; /* to be added; it does not stand in its own way */
        char *conflict;
};

static int in_the_way(void *context, const struct store_lock *other)
{
        struct search *search = context;

        if (strcmp(other->token, search->lock->token) == 0 || !(search->lock->exclusive || other->exclusive))
                return 0;
        if (search->conflict)
                memcpy(search->conflict, other->path, strlen(other->path) + 1);
        return -EAGAIN;
}

/* What cannot be read beneath it is not seen; neither can anybody lock it through us. */
static int search_beneath(struct store_section *section, struct search *search)
{
        struct store_descent *descent;
        enum store_step step;
        int error = store_descent_create(&descent, section->tree, section->folder, section->path);

        if (error)
                return error;
        descent->kinds_only = true;
        while (!error && (step = store_descent_next(descent)) != STORE_END) {
                if (step != STORE_LEAVE && descent->depth > 0)
                        error = store_locks_at(descent->folder, descent->name, descent->path, in_the_way, search);
                if (error == -EACCES)
                        error = 0;
        }
        store_descent_destroy(descent);
        return error;
}

static int search_all(struct store_section *section, struct search *search)
{
        int error = store_locks_on(section->tree, section->path, in_the_way, search);

        if (!error && search->lock->infinite)
                error = search_beneath(section, search);
        return error;
}

static int add_record(struct store_section *section, const struct store_lock *lock)
{
        struct table table;
        int error = read_table(&table, section->folder, section->name, section->path);

        if (error)
                return error;
        if (find(&table, lock->token))
                return -EINVAL;
        if (table.count == STORE_MAX_SHARED)
                return -ENOSPC;
        table.records[table.count++] = (struct record){
                .flags = (uint8_t)((lock->exclusive ? FLAG_EXCLUSIVE : 0) | (lock->infinite ? FLAG_INFINITE : 0)),
                .expires = lock->expires,
                .path = digest_of(section->path),
                .token = span_of(lock->token),
                .user = { lock->user, lock->user_size },
                .owner = { lock->owner, lock->owner_size },
        };
        return write_table(section, &table);
}

static int add_once(struct store_section *section, const struct store_lock *lock, struct search *search)
{
        int error = store_locks_on(section->tree, section->path, in_the_way, search);

        if (!error)
                error = add_record(section, lock);
        if (error)
                return error;
        error = search_all(section, search);
        if (error)
                store_lock_remove(section, lock->token);
        return error;
}

int store_lock_add(struct store_section *section, const struct store_lock *lock, char *conflict)
{
        struct search search = { .lock = lock, .conflict = conflict };
        size_t token_size = strnlen(lock->token, sizeof(lock->token));
        int error = -EEXIST;

        if (token_size == 0 || token_size > STORE_TOKEN_BYTES)
                return -EINVAL;
        if (lock->owner_size > STORE_OWNER_BYTES || lock->user_size > STORE_USER_BYTES)
                return -E2BIG;
        /* Somebody who shares no flock with us made the first lock, or removed the last, between our look and our
         * write. */
        for (unsigned i = 0; (error == -EEXIST || error == -ENODATA) && i < TRIES; i++)
                error = add_once(section, lock, &search);
        return error ? error : store_settle(section);
}
