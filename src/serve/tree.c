/* Folders, and whole trees of them: MKCOL, DELETE, COPY, MOVE; and LINK, one more name for a file. */
#include "serve/change.h"

#include <errno.h>
#include <stdlib.h>

/* ---- what the head says ---- */

int tree_prepare(struct change *c)
{
        const struct request *r = c->request;
        struct span value, another;
        unsigned index = 0;
        bool folder;
        if (!http_field_each(&r->head, HTTP_DESTINATION, &index, &value) ||
            http_field_each(&r->head, HTTP_DESTINATION, &index, &another))
                return 400;
        int size = gate_resolve(c, value, c->destination, &folder);
        if (size < 0)
                return -size;
        c->depth = dav_parse_depth(http_field(&r->head, HTTP_DEPTH), DAV_DEPTH_INFINITY);
        if (c->depth < 0 || c->depth == 1)
                return 400;
        bool moves = r->head.method == HTTP_MOVE;
        bool may = gate_may(c, r->path, true, moves ? AUTH_WRITE : AUTH_READ) &&
                   gate_may(c, c->destination, true, AUTH_WRITE);
        return r->path_size == 0 || size == 0 || !may ? 403 : 0;
}

int delete_prepare(struct change *c)
{
        struct span depth = http_field(&c->request->head, HTTP_DEPTH);
        c->depth = dav_parse_depth(depth, DAV_DEPTH_INFINITY);
        if (c->depth < 0)
                return 400;
        return c->request->path_size == 0 || !gate_may(c, c->request->path, true, AUTH_WRITE) ? 403 : 0;
}

/* ---- members that stay ---- */

struct failures {
        struct store_watch watch;
        struct change *c;
        struct text text;
        unsigned count;
};

enum { STATUS = 1000 }; /* what may_go() says is a status more than this, negated: it comes back in failed() */

static int may_go(struct store_watch *watch, int folder, const char *name, const char *path)
{
        struct failures *failures = container_of(watch, struct failures, watch);
        int status = gate_member(failures->c, folder, name, path);
        return status ? -STATUS - status : 0;
}

static void failed(struct store_watch *watch, const char *path, int error)
{
        struct failures *failures = container_of(watch, struct failures, watch);
        struct text before = failures->text;
        int status = error < -STATUS ? -STATUS - error : change_status(error);
        failures->count++;
        text_put(&failures->text, SPAN("<D:response>"));
        put_href(&failures->text, span_of(path), false);
        put_status(&failures->text, status);
        if (status == 423)
                text_put(&failures->text, SPAN("<D:error><D:lock-token-submitted/></D:error>"));
        text_put(&failures->text, SPAN("</D:response>\n"));
        if (failures->text.overflow)
                failures->text = before;
}

static bool given_up(struct store_watch *watch)
{
        struct failures *failures = container_of(watch, struct failures, watch);
        return atomic_load_explicit(&failures->c->shard->ending_all, memory_order_relaxed);
}

static void failures_begin(struct failures *failures, struct change *c)
{
        static const char tail[] = "</D:multistatus>\n";
        *failures = (struct failures){
                .watch = { .may = may_go, .failed = failed, .cancelled = given_up },
                .c = c,
                .text = change_page(c, FAILURES_BYTES),
        };
        text_put(&failures->text, SPAN("<D:multistatus xmlns:D=\"DAV:\">\n"));
        failures->text.size -= min_of(failures->text.size, sizeof(tail));
}

/* The answer: `good`, or which members failed. One that failed as a whole needs no list. */
static int failures_end(struct failures *failures, int error, int good)
{
        struct change *c = failures->c;
        if (failures->count > 0 && c->page) {
                failures->text.size = FAILURES_BYTES;
                text_put(&failures->text, SPAN("</D:multistatus>\n"));
                return change_page_done(c, &failures->text, 207);
        }
        free(c->page);
        c->page = NULL;
        return error ? change_status(error) : good;
}

/* ---- the methods ---- */

static int make_folder(struct change *c)
{
        int status = gate_conditions(c, &c->section.now);
        if (!status)
                status = gate_locks(c, c->request->path, GATE_CREATES);
        if (status)
                return status;
        if (c->section.now.kind != STORE_NOTHING)
                return 405;
        struct store_commit commit = change_commit(c);
        int error = store_make_folder(&c->section, &commit);
        if (error)
                return error == -EEXIST ? 405 : change_refused(c, error);
        return c->dictated ? change_tell_made(c, &c->section) : 201;
}

int make_folder_run(struct change *c)
{
        if (c->request->path_size == 0)
                return 405;
        int error = change_enter(c);
        if (error)
                return change_status(error);
        int status = make_folder(c);
        store_leave(&c->section);
        return status;
}

/* A folder goes with all that is in it (RFC 4918 9.6.1, 9.9.2). Of a file, or a link to a folder, Depth says nothing, and
 * lftp sends 0. */
static bool is_half(const struct change *c)
{
        const struct store_state *now = &c->section.now;
        return now->kind == STORE_IS_FOLDER && !now->linked && c->depth != DAV_DEPTH_INFINITY;
}

/* Not RFC 4918's, which knows no Depth: 0 here: a folder only when nothing is in it. */
static int delete_empty(struct change *c)
{
        int error = store_remove_empty(&c->section);
        if (error == -ENOTEMPTY)
                return change_conflict(c, error);
        return error ? change_status(error) : 204;
}

static int delete (struct change *c)
{
        if (c->section.now.kind == STORE_NOTHING)
                return 404;
        if (is_half(c) && c->depth != 0)
                return 400;
        int status = gate_conditions(c, &c->section.now);
        if (!status)
                status = gate_locks(c, c->request->path, GATE_REMOVES);
        if (status)
                return status;
        if (is_half(c))
                return delete_empty(c);
        struct failures failures;
        failures_begin(&failures, c);
        return failures_end(&failures, store_remove(&c->section, &failures.watch), 204);
}

int delete_run(struct change *c)
{
        int error = change_enter(c);
        if (error)
                return error == -ENOENT || error == -ENOTDIR ? 404 : change_status(error);
        int status = delete (c);
        store_leave(&c->section);
        return status;
}

/* Both are entered: conditions belong to the source, locks to what changes. */
static int may_arrive(struct change *c, bool moves)
{
        if (c->section.now.kind == STORE_NOTHING)
                return 404;
        if (moves && is_half(c))
                return 400;
        int status = gate_conditions(c, &c->section.now);
        if (!status && moves)
                status = gate_locks(c, c->request->path, GATE_REMOVES);
        if (!status)
                status = gate_locks(c, c->destination,
                                    moves && c->other.now.kind != STORE_NOTHING ? GATE_REMOVES
                                                                                : gate_effect_of(&c->other.now));
        if (!status && c->other.now.kind != STORE_NOTHING && !c->overwrite)
                status = 412;
        return status;
}

static int transfer(struct change *c, bool moves)
{
        int status = may_arrive(c, moves);
        if (status)
                return status;
        struct failures failures;
        bool created = false;
        failures_begin(&failures, c);
        int error = moves ? store_move(&c->section, &c->other, c->overwrite, &failures.watch, &created)
                          : store_copy(&c->section, &c->other, c->depth != 0, c->overwrite, &failures.watch, &created);
        return failures_end(&failures, error, created ? 201 : 204);
}

/* Whether that is the kernel's reason why one cannot take the other's place. */
static bool is_in_the_way(int error)
{
        return error == -ENOTEMPTY || error == -EISDIR || error == -ENOTDIR || error == -EINVAL || error == -EXDEV;
}

static int rename_one(struct change *c, bool moves)
{
        int status = may_arrive(c, moves);
        if (status)
                return status;
        struct failures failures;
        bool created = false;
        failures_begin(&failures, c);
        int error = store_rename(&c->section, &c->other, c->overwrite, &failures.watch, &created);
        status = failures_end(&failures, error, created ? 201 : 204);
        return failures.count == 0 && is_in_the_way(error) ? change_conflict(c, error) : status;
}

/* Enters both and does it. */
static int with_two(struct change *c, int (*work)(struct change *c, bool moves), bool moves)
{
        bool second;
        if (strcmp(c->request->path, c->destination) == 0)
                return 403;
        int error = store_enter_two(&c->section, &c->other, change_tree(c), c->request->path, c->destination, &second);
        change_entered(c, error);
        if ((error == -ENOENT || error == -ENOTDIR) && !second)
                return 404;
        if (error)
                return change_status(error);
        error = c->own ? store_look_again(&c->section, &c->section.now) : 0;
        int status = error ? change_status(error) : work(c, moves);
        store_leave_two(&c->section, &c->other);
        return status;
}

int copy_run(struct change *c)
{
        return with_two(c, transfer, false);
}

int move_run(struct change *c)
{
        return with_two(c, c->posix ? rename_one : transfer, true);
}

static int link_one(struct change *c, bool moves)
{
        (void)moves;
        const struct store_state *now = &c->section.now;
        if (now->kind == STORE_NOTHING)
                return 404;
        if (now->kind != STORE_IS_FILE && now->kind != STORE_IS_LINK && !now->linked)
                return 403; /* of a link it is one more name for the link itself */
        int status = gate_conditions(c, &c->section.now);
        if (!status)
                status = gate_locks(c, c->destination, GATE_CREATES);
        if (status)
                return status;
        int error = store_make_hard_link(&c->other, c->request->path);
        return error ? change_status(error) : change_tell_made(c, &c->other);
}

int link_run(struct change *c)
{
        return with_two(c, link_one, false);
}
