/* What stands in the way of a change: conditions that do not hold, and locks. On worker threads, most of it in the
 * section in which the change is then made.
 */
#include "serve/change.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

enum { CONFLICT_PAGE_BYTES = 3 * HTTP_MAX_PATH + 512 };

/* ---- paths ---- */

static bool is_unlinked(struct span name)
{
        struct span prefix = SPAN(DAV_BERTH_UNLINKED);
        if (name.size != prefix.size + 32 || memcmp(name.data, prefix.data, prefix.size) != 0)
                return false;
        for (size_t i = prefix.size; i < name.size; i++)
                if (!isxdigit((unsigned char)name.data[i]))
                        return false;
        return true;
}

/* A mount removes what is open by such a name, which is its secret, and goes on with the file as on a disk. */
static bool only_unlinked(struct span path)
{
        while (path.data) {
                struct span name = span_cut(&path, '/');
                if (name.size > 0 && name.data[0] == '.' && !is_unlinked(name))
                        return false;
        }
        return true;
}

bool is_unseen(const struct shard *shard, bool hidden, struct span path)
{
        const struct serve_options *options = &shard->server->options;
        if (!hidden)
                return false;
        return store_is_staging(path) || !(options->hidden || (options->writable && only_unlinked(path)));
}

/* ---- URLs in fields ---- */

int gate_resolve(const struct change *c, struct span value, char *out, bool *folder)
{
        const struct request *r = c->request;
        struct span path, host = http_field(&r->head, HTTP_HOST);
        struct dav_origin origin = { SPAN("http"), host };
        if (r->proxied) {
                struct span forwarded = http_field(&r->head, HTTP_X_FORWARDED_HOST);
                struct span scheme = http_field(&r->head, HTTP_X_FORWARDED_PROTO);
                origin.host = forwarded.data ? forwarded : origin.host;
                origin.scheme = scheme.data ? scheme : origin.scheme;
        }
        int error = dav_parse_destination(&path, value, &origin, origin.host.data != NULL);
        if (error)
                return error;
        bool hidden;
        int size = http_decode_path(out, path, folder, &hidden);
        if (size < 0)
                return size;
        return is_unseen(r->shard, hidden, (struct span){ out, (size_t)size }) ? -403 : size;
}

bool gate_may(const struct change *c, const char *path, bool whole, enum auth_right right)
{
        const char *user = c->request->user;
        struct span span = span_of(path);
        if (!c->access)
                return true;
        return access_right(c->access, user, span) >= right &&
               !(whole && access_less_beneath(c->access, user, span, right));
}

/* ---- conditions ---- */

struct asking {
        struct change *c;
        const struct store_state *now;
        struct span token;
};

static int is_token(void *context, const struct store_lock *lock)
{
        const struct asking *asking = context;
        return span_equal(asking->token, span_of(lock->token));
}

static bool has_etag(const struct store_state *state, struct span etag)
{
        return state->kind != STORE_NOTHING && span_equal(etag, (struct span){ state->etag, state->etag_size });
}

/* One condition of the If header. A resource that is not ours, or may not be looked at, fulfils none. */
static int holds(void *context, const struct dav_condition *condition)
{
        struct asking *asking = context;
        struct change *c = asking->c;
        char room[HTTP_MAX_PATH];
        const char *path = c->request->path;
        bool folder;
        if (condition->resource.data) {
                if (gate_resolve(c, condition->resource, room, &folder) < 0 || !gate_may(c, room, false, AUTH_READ))
                        return 0;
                path = room;
        }
        if (condition->token.data) {
                asking->token = condition->token;
                return store_locks_on(change_tree(c), path, is_token, asking) == 1;
        }
        if (strcmp(path, c->request->path) == 0)
                return has_etag(asking->now, condition->etag);
        struct store_state state;
        return store_look(change_tree(c), path, &state) == 0 && has_etag(&state, condition->etag);
}

int gate_conditions(struct change *c, const struct store_state *now)
{
        const struct http_head *head = &c->request->head;
        struct http_validator validator = {
                .etag = { now->etag, now->etag_size },
                .modified = now->modified.tv_sec,
                .now = clock_unix_seconds(),
        };
        enum http_verdict verdict = http_check_conditions(head, &validator);
        if (verdict != HTTP_PROCEED)
                return 412;
        struct asking asking = { .c = c, .now = now };
        return c->conditional && dav_if_holds(&c->conditions, holds, &asking) != 1 ? 412 : 0;
}

/* ---- locks ---- */

/* Locks come root by root. Of those with one root it is enough to have one's token: there is one that is exclusive, or
 * several that are shared. */
struct locks {
        struct change *c;
        bool any, opened; /* of the present root: there are locks; one's token was submitted by who made it */
        char root[HTTP_MAX_PATH + 16];
};

bool gate_is_theirs(const struct change *c, const struct store_lock *lock)
{
        struct span user = { lock->user, lock->user_size };
        return user.size == 0 || span_equal(user, span_of(c->request->user));
}

static bool submits(const struct change *c, const struct store_lock *lock)
{
        return c->conditional && dav_if_submits(&c->conditions, span_of(lock->token)) && gate_is_theirs(c, lock);
}

static bool is_shut(struct locks *locks)
{
        if (!locks->any || locks->opened)
                return false;
        snprintf(locks->c->conflict, sizeof(locks->c->conflict), "%s", locks->root);
        return true;
}

static int look_at(void *context, const struct store_lock *lock)
{
        struct locks *locks = context;
        if (!locks->any || strcmp(locks->root, lock->path) != 0) {
                if (is_shut(locks))
                        return 1;
                snprintf(locks->root, sizeof(locks->root), "%s", lock->path);
                locks->any = true;
                locks->opened = false;
        }
        locks->opened |= submits(locks->c, lock);
        return 0;
}

static int verdict(struct locks *locks, int result)
{
        if (result == 0 && is_shut(locks))
                result = 1;
        return result == 0 ? 0 : result > 0 ? 423 : change_status(result);
}

static int locks_on(struct change *c, const char *path)
{
        struct locks locks = { .c = c };
        int result = store_locks_on(change_tree(c), path, look_at, &locks);
        return verdict(&locks, result == -ENOENT || result == -ENOTDIR ? 0 : result);
}

/* ... on the folder that holds it: a name comes or goes there (RFC 4918 7.4). */
static int locks_above(struct change *c, const char *path)
{
        char above[HTTP_MAX_PATH + 16];
        const char *slash = strrchr(path, '/');
        snprintf(above, sizeof(above), "%.*s", slash ? (int)(slash - path) : 0, path);
        return locks_on(c, above);
}

int gate_locks(struct change *c, const char *path, enum gate_effect effect)
{
        int status = effect == GATE_CREATES ? 0 : locks_on(c, path);
        return status || effect == GATE_CONTENT || path[0] == '\0' ? status : locks_above(c, path);
}

void gate_tell_conflict(struct change *c)
{
        bool lock = c->request->head.method == HTTP_LOCK;
        struct text out = change_page(c, CONFLICT_PAGE_BYTES);
        text_put(&out, SPAN("<D:error xmlns:D=\"DAV:\">"));
        text_put(&out, lock ? SPAN("<D:no-conflicting-lock>") : SPAN("<D:lock-token-submitted>"));
        put_href(&out, span_of(c->conflict), false);
        text_put(&out, lock ? SPAN("</D:no-conflicting-lock>") : SPAN("</D:lock-token-submitted>"));
        text_put(&out, SPAN("</D:error>\n"));
        change_page_done(c, &out, 423);
}

int gate_member(struct change *c, int folder, const char *name, const char *path)
{
        struct locks locks = { .c = c };
        return verdict(&locks, store_locks_at(folder, name, path, look_at, &locks));
}
