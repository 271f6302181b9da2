/* LOCK and UNLOCK, RFC 4918 6, 7, 9.10, 9.11. */
#include "serve/change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEFAULT_SECONDS = 600, MOST_SECONDS = 7 * 86400, LOCK_PAGE_BYTES = 32 << 10 };

int lock_prepare(struct change *c)
{
        const struct http_head *head = &c->request->head;
        c->depth = dav_parse_depth(http_field(head, HTTP_DEPTH), DAV_DEPTH_INFINITY);
        if (c->depth < 0 || c->depth == 1)
                return 400;
        if (head->method == HTTP_LOCK)
                return 0;
        struct span token = dav_parse_lock_token(http_field(head, HTTP_LOCK_TOKEN));
        if (!token.data)
                return 400;
        snprintf(c->token, sizeof(c->token), "%.*s", (int)min_of(token.size, (size_t)STORE_TOKEN_BYTES), token.data);
        return token.size > STORE_TOKEN_BYTES ? 409 : 0;
}

static int64_t expires(const struct change *c)
{
        struct span value = http_field(&c->request->head, HTTP_TIMEOUT);
        return clock_unix_seconds() + dav_parse_timeout(value, DEFAULT_SECONDS, MOST_SECONDS);
}

static int tell_lock(struct change *c, const struct store_lock *lock, int status)
{
        struct text out = change_page(c, LOCK_PAGE_BYTES);
        text_put(&out, SPAN("<D:prop xmlns:D=\"DAV:\"><D:lockdiscovery>"));
        put_lock(&out, lock);
        text_put(&out, SPAN("</D:lockdiscovery></D:prop>\n"));
        return change_page_done(c, &out, status);
}

/* ---- a new lock ---- */

static int fill_in(const struct change *c, struct store_lock *lock)
{
        uint8_t random[16];
        struct span user = span_of(c->request->user), owner = c->asked->owner;
        if (owner.size > sizeof(lock->owner))
                return 507;
        if (!entropy(random, sizeof(random)))
                return 500;
        memset(lock, 0, sizeof(*lock));
        dav_format_token(lock->token, random);
        lock->exclusive = c->asked->exclusive;
        lock->infinite = c->depth == DAV_DEPTH_INFINITY;
        lock->expires = expires(c);
        if (owner.size)
                memcpy(lock->owner, owner.data, owner.size);
        lock->owner_size = (uint16_t)owner.size;
        lock->user_size = (uint16_t)min_of(user.size, sizeof(lock->user));
        memcpy(lock->user, user.data, lock->user_size);
        return 0;
}

/* A lock on what is not there yet makes an empty file (RFC 4918 7.3). */
static int make_empty(struct change *c)
{
        struct store_state state;
        struct store_commit commit = { .exclusive = true };
        if (c->request->path_size == 0 || c->request->folder)
                return 409;
        int status = gate_locks(c, c->request->path, GATE_CREATES);
        if (status)
                return status;
        int error = store_put(&c->section, "", 0, &commit, &state);
        return error ? change_status(error) : 201;
}

static int add_lock(struct change *c, struct store_lock *lock, int good)
{
        int error = store_lock_add(&c->section, lock, c->conflict);
        if (error == -EAGAIN)
                return 423;
        if (error)
                return error == -EOPNOTSUPP ? 507 : change_status(error);
        ensure(c->request->path_size < sizeof(lock->path));
        memcpy(lock->path, c->request->path, c->request->path_size + 1u);
        change_field(c, "Lock-Token: <%s>\r\n", lock->token);
        if (good == 200 && c->section.now.kind == STORE_IS_FILE)
                change_field(c, "ETag: %.*s\r\n", (int)c->section.now.etag_size, c->section.now.etag);
        return tell_lock(c, lock, good);
}

/* One that reaches down keeps others from what is there, so it takes the right to change all of it. */
static int new_lock(struct change *c)
{
        struct store_lock lock;
        int status = gate_conditions(c, &c->section.now);
        if (!status && c->depth == DAV_DEPTH_INFINITY && !gate_may(c, c->request->path, true, AUTH_WRITE))
                status = 403;
        if (!status)
                status = fill_in(c, &lock);
        if (status)
                return status;
        bool creates = c->section.now.kind == STORE_NOTHING;
        int good = creates ? make_empty(c) : 200;
        return good < 300 ? add_lock(c, &lock, good) : good;
}

/* ---- one that there is ---- */

struct search {
        const struct change *c;
        struct span token; /* data NULL: any that the If header submits */
        struct store_lock found;
};

static int is_sought(void *context, const struct store_lock *lock)
{
        struct search *search = context;
        struct span token = span_of(lock->token);
        bool sought = search->token.data ? span_equal(token, search->token)
                                         : dav_if_submits(&search->c->conditions, token);
        if (sought)
                search->found = *lock;
        return sought;
}

/* The lock that covers the request's path, in the section of its own root: 0 or a status. */
static int enter_root_of(struct change *c, struct search *search, int missing)
{
        int result = store_locks_on(change_tree(c), c->request->path, is_sought, search);
        if (result < 0 && result != -ENOENT && result != -ENOTDIR)
                return change_status(result);
        if (result != 1)
                return missing;
        if (!gate_is_theirs(c, &search->found))
                return 403;
        int error = change_entered(c, store_enter(&c->section, change_tree(c), search->found.path));
        return error ? change_status(error) : 0;
}

static int refresh(struct change *c)
{
        struct search search = { .c = c };
        struct store_lock lock;
        if (!c->conditional)
                return 400;
        int status = enter_root_of(c, &search, 412);
        if (status)
                return status;
        int error = store_lock_refresh(&c->section, search.found.token, expires(c), &lock);
        store_leave(&c->section);
        return error ? error == -ENOENT ? 412 : change_status(error) : tell_lock(c, &lock, 200);
}

int lock_run(struct change *c)
{
        if (!c->asked || c->asked->empty)
                return refresh(c);
        int error = change_entered(c, store_enter(&c->section, change_tree(c), c->request->path));
        if (error)
                return change_status(error);
        int status = new_lock(c);
        store_leave(&c->section);
        return status;
}

static int unlock(struct change *c)
{
        struct search search = { .c = c, .token = span_of(c->token) };
        int status = enter_root_of(c, &search, 409);
        if (status)
                return status;
        int error = store_lock_remove(&c->section, c->token);
        store_leave(&c->section);
        return error == -ENOENT ? 409 : change_status(error);
}

/* RFC 4918 9.11.1: the answer says that the token is none of a lock there. */
int unlock_run(struct change *c)
{
        int status = unlock(c);
        if (status != 409)
                return status;
        struct text out = change_page(c, LOCK_PAGE_BYTES);
        text_put(&out, SPAN("<D:error xmlns:D=\"DAV:\"><D:lock-token-matches-request-uri/></D:error>\n"));
        return change_page_done(c, &out, 409);
}
