/* PUT and PATCH: whole files, ranges of them, their size, symbolic links.
 *
 * A range is received in memory, or aside as a whole file is, and then written into the file in the section in which its
 * conditions are checked: a client that breaks off in the middle of its body has changed nothing.
 */
#include "serve/change.h"

#include <errno.h>
#include <stdlib.h>

#define LINK_TYPE "application/vnd.berth.symlink"
#define SABRE_TYPE "application/x-sabredav-partialupdate"
#define BYTERANGE_TYPE "message/byterange"

enum { MAX_LINK_BYTES = 4095 };

/* ---- what the head says ---- */

/* Without its parameters. */
static bool is_type(struct span value, struct span type)
{
        return span_equal_nocase(span_trim(span_cut(&value, ';')), type);
}

static int prepare_sabre(struct change *c, const struct http_head *head)
{
        c->partial = true;
        if (!head->has_length)
                return 411;
        int error = dav_parse_update_range(&c->target, http_field(head, HTTP_X_UPDATE_RANGE));
        if (error)
                return -error;
        return c->target.length != UINT64_MAX && c->target.length != head->content_length ? 416 : 0;
}

static int prepare_patch(struct change *c)
{
        const struct http_head *head = &c->request->head;
        struct span type = http_field(head, HTTP_CONTENT_TYPE);
        if (is_type(type, SPAN(SABRE_TYPE)))
                return prepare_sabre(c, head);
        if (is_type(type, SPAN(BYTERANGE_TYPE))) {
                c->partial = c->byterange = true;
                return 0;
        }
        if ((c->durable || c->dictated) && !head->chunked && head->content_length == 0)
                return 0; /* only to be made durable, or to have another mode or time */
        change_field(c, "Accept-Patch: " SABRE_TYPE ", " BYTERANGE_TYPE "\r\n");
        return 415;
}

static int prepare_put(struct change *c)
{
        const struct http_head *head = &c->request->head;
        struct span range = http_field(head, HTTP_CONTENT_RANGE);
        c->link = is_type(http_field(head, HTTP_CONTENT_TYPE), SPAN(LINK_TYPE));
        if (c->link && c->has_mode)
                return 400; /* it has none */
        if (c->link)
                return head->chunked || head->content_length == 0 || head->content_length > MAX_LINK_BYTES ? 400 : 0;
        if (!range.data)
                return 0;
        c->partial = true;
        int error = dav_parse_content_range(&c->target, range, true);
        if (error)
                return -error;
        uint64_t length = c->target.truncate ? 0 : c->target.length;
        return !head->chunked && length != head->content_length ? 400 : 0;
}

/* Of whole files; what Berth-Mtime dictates goes before it. 0 or 400. */
static int take_oc_mtime(struct change *c)
{
        struct span value = http_field(&c->request->head, HTTP_X_OC_MTIME);
        struct timespec modified;
        if (!value.data)
                return 0;
        if (!dav_parse_time(&modified, value))
                return 400;
        if (c->request->head.method != HTTP_PUT || c->partial || c->link || c->has_modified)
                return 0;
        c->modified = modified;
        c->has_modified = c->oc_modified = true;
        return 0;
}

int put_prepare(struct change *c)
{
        const struct http_head *head = &c->request->head;
        uint64_t most = c->shard->server->options.max_upload;
        if (head->method == HTTP_PUT && (c->request->path_size == 0 || c->request->folder))
                return 405;
        if (head->minor == 0 && !head->has_length)
                return 411; /* HTTP/1.0: where the body ends nobody could tell from a connection that broke */
        if (most && head->content_length > most)
                return 413;
        struct span coding = http_field(head, HTTP_CONTENT_ENCODING);
        if (coding.data && !span_equal(coding, SPAN("identity")))
                return 415;
        int status = head->method == HTTP_PUT ? prepare_put(c) : prepare_patch(c);
        if (!status)
                status = take_oc_mtime(c);
        return status ? status : digests_create(&c->digests, head, c->partial);
}

/* ---- the part of a message/byterange ---- */

/* Its head is a few field lines; only Content-Range is of interest, and there must be one of it. */
int put_part(struct change *c)
{
        struct span left = { c->part, c->part_size };
        bool found = false;
        while (left.size > 0) {
                struct span line = span_cut(&left, '\n');
                struct span name = span_cut(&line, ':');
                if (!span_equal_nocase(span_trim(name), SPAN("content-range")))
                        continue;
                if (line.size > 0 && line.data[line.size - 1] == '\r')
                        line.size--;
                if (found || dav_parse_content_range(&c->target, span_trim(line), true) < 0)
                        return 400;
                found = true;
        }
        return found ? 0 : 400;
}

/* ---- before the body ---- */

int put_begin(struct change *c, const struct store_state *now)
{
        const struct http_head *head = &c->request->head;
        uint64_t expected = head->chunked ? UINT64_MAX : head->content_length;
        if (now->kind == STORE_IS_FOLDER)
                return 405;
        if (now->kind == STORE_NOTHING && head->method == HTTP_PATCH)
                return 404;
        if (c->body != BODY_UPLOAD || flow_holds(c))
                return 0;
        int error = store_upload_create(&c->upload, change_tree(c), c->request->path, expected);
        return error ? change_status(error) : 0;
}

/* ---- the change ---- */

static uint64_t received(const struct change *c)
{
        return c->upload ? store_upload_size(c->upload) : flow_holds(c) ? c->received : c->small_size;
}

/* Where the bytes go in a file of that size. 0, or a status. */
static int offset_of(const struct change *c, uint64_t size, uint64_t *offset)
{
        const struct dav_target *target = &c->target;
        *offset = target->append ? size : target->first;
        if (target->from_end && target->first > size)
                return 416;
        if (target->from_end)
                *offset = size - target->first;
        if (*offset > INT64_MAX - received(c))
                return 413;
        bool beyond = target->total != UINT64_MAX && *offset + received(c) > target->total;
        return beyond || (target->length != UINT64_MAX && target->length != received(c)) ? 400 : 0;
}

/* The body where there is no upload; how many pieces. */
static int in_memory(const struct change *c, struct berth_vec vecs[HELD_BLOCKS])
{
        if (flow_holds(c))
                return flow_held(c, vecs);
        vecs[0] = (struct berth_vec){ c->request->out, c->small_size };
        return 1;
}

static int write_range(struct change *c, struct store_state *state)
{
        struct store_section *section = &c->section;
        struct store_commit commit = change_commit(c);
        struct berth_vec vecs[HELD_BLOCKS];
        uint64_t offset;
        if (section->now.kind == STORE_NOTHING && c->request->head.method == HTTP_PATCH)
                return 404;
        if (c->byterange && !c->part_complete)
                return 400;
        if (c->target.truncate)
                return received(c) ? 400 : store_truncate(section, c->target.total, &commit, state);
        int status = offset_of(c, section->now.size, &offset);
        if (status)
                return status;
        return c->upload ? store_upload_apply(c->upload, section, offset, &commit, state)
                         : store_write(section, vecs, in_memory(c, vecs), offset, &commit, state);
}

static int write_whole(struct change *c, struct store_state *state)
{
        struct store_commit commit = change_commit(c);
        return c->upload ? store_upload_commit(c->upload, &c->section, &commit, state)
                         : store_put(&c->section, c->request->out, c->small_size, &commit, state);
}

/* What the client has told of the bytes, kept with the entity-tag it is true for. */
static void keep_checksum(struct change *c, const struct store_state *state)
{
        struct span sum = c->digests ? digests_checksum(c->digests) : (struct span){ NULL, 0 };
        char value[STORE_ETAG_BYTES + 512];
        if (!sum.data || sum.size > 256)
                return;
        struct text text = text_in(value, sizeof(value));
        text_put(&text, (struct span){ state->etag, state->etag_size });
        text_char(&text, ' ');
        text_put(&text, sum);
        struct dav_name name = dav_live_name(DAV_OC_CHECKSUMS);
        struct store_property_change change = { .space = name.space,
                                                .local = name.local,
                                                .value = { value, text.used } };
        store_property_change(&c->section, &change, 1); /* without room for it the file is right all the same */
}

/* Else a link would reach what no path may name. What it leads to by way of other links, these were asked about. */
static bool leads_to_hidden(const struct change *c, const char *target)
{
        struct span left = span_of(target);
        if (store_is_staging(left))
                return true;
        while (left.data) {
                struct span part = span_cut(&left, '/');
                bool dots = span_equal(part, SPAN(".")) || span_equal(part, SPAN(".."));
                if (part.size > 0 && part.data[0] == '.' && !dots && !c->shard->server->options.hidden)
                        return true;
        }
        return false;
}

static int make_symlink(struct change *c)
{
        char target[MAX_LINK_BYTES + 1];
        memcpy(target, c->request->out, c->small_size);
        target[c->small_size] = '\0';
        if (strlen(target) != c->small_size)
                return 400;
        if (leads_to_hidden(c, target))
                return 403;
        struct store_commit commit = change_commit(c);
        int error = store_make_link(&c->section, target, &commit);
        return error ? change_status(error) : change_tell_made(c, &c->section);
}

static void tell_digests(struct change *c)
{
        char room[CHANGE_FIELDS_BYTES / 2];
        struct text text = text_in(room, sizeof(room));
        digests_tell(c->digests, &text);
        if (!text.overflow && text.used)
                change_field(c, "%.*s", (int)text.used, room);
}

static void tell_state(struct change *c, const struct store_state *state)
{
        char date[HTTP_DATE_BYTES];
        http_format_date(date, state->modified.tv_sec);
        change_field(c, "ETag: %.*s\r\nLast-Modified: %.*s\r\n", (int)state->etag_size, state->etag, HTTP_DATE_BYTES,
                     date);
        if (c->oc_modified)
                change_field(c, "X-OC-MTime: accepted\r\n");
        if (c->dictated)
                change_tell_inode(c, state);
        if (c->digests)
                tell_digests(c);
}

/* No content: mode, time, on disk. What a link leads to is under another section, and may be nothing. */
static int set_only(struct change *c)
{
        struct store_commit commit = change_commit(c);
        struct store_state state;
        if (c->section.now.kind == STORE_NOTHING)
                return 404;
        if (c->dictated && c->section.now.kind == STORE_IS_OTHER)
                return 403;
        if (c->dictated && !c->own && (c->section.now.linked || c->section.now.kind == STORE_IS_LINK))
                return 403;
        int error = c->dictated ? store_set(&c->section, &commit) : store_sync(&c->section);
        if (!error && c->dictated)
                error = store_look_again(&c->section, &state);
        if (error)
                return change_refused(c, error);
        if (c->dictated)
                tell_state(c, &state);
        return 204;
}

static int change_file(struct change *c)
{
        const struct store_state *now = &c->section.now;
        bool sets_only = c->request->head.method == HTTP_PATCH && !c->partial;
        struct store_state state;
        if (now->kind == STORE_IS_FOLDER && !sets_only)
                return 405;
        if (c->link)
                return now->kind == STORE_NOTHING ? make_symlink(c) : 409;
        if (sets_only)
                return set_only(c);
        int result = c->partial ? write_range(c, &state) : write_whole(c, &state);
        if (result > 0)
                return result;
        if (result < 0)
                return change_refused(c, result);
        if (!c->partial)
                keep_checksum(c, &state);
        tell_state(c, &state);
        return now->kind == STORE_NOTHING ? 201 : 204;
}

static int in_section(struct change *c)
{
        const char *path = c->request->path;
        int status = gate_conditions(c, &c->section.now);
        if (!status)
                status = gate_locks(c, path, gate_effect_of(&c->section.now));
        return status ? status : change_file(c);
}

static void take_digests(struct change *c)
{
        struct berth_vec vecs[HELD_BLOCKS];
        int count = in_memory(c, vecs);
        for (int i = 0; i < count; i++)
                digests_take(c->digests, vecs[i].data, vecs[i].size);
}

int put_run(struct change *c)
{
        if (c->digests && !c->upload && c->tries == 0)
                take_digests(c);
        if (c->digests && c->tries == 0 && !digests_verify(c->digests))
                return 400;
        int error = change_enter(c);
        if (error)
                return change_status(error);
        int status = in_section(c);
        store_leave(&c->section);
        return status;
}
