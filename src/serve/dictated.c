/* What a request dictates beside the content: Berth-Mode, Berth-Mtime, Berth-Links and Berth-Overwrite, for a mount.
 * With them a file comes with its content, mode and time in one request, and a symbolic link can be meant itself. */
#include "serve/change.h"

#include <errno.h>

/* The one value of a field; false: there are several. data == NULL: none. */
static bool take_one(const struct http_head *head, enum http_field_name name, struct span *value)
{
        struct span another;
        unsigned index = 0;
        if (!http_field_each(head, name, &index, value))
                *value = (struct span){ NULL, 0 };
        return !value->data || !http_field_each(head, name, &index, &another);
}

/* A field that can have that one word. */
static bool take_word(const struct http_head *head, enum http_field_name name, struct span word, bool *given)
{
        struct span value;
        if (!take_one(head, name, &value))
                return false;
        *given = value.data != NULL;
        return !value.data || span_equal(value, word);
}

int dictated_prepare(struct change *c)
{
        const struct http_head *head = &c->request->head;
        struct span mode, modified;
        if (!take_word(head, HTTP_BERTH_LINKS, SPAN("own"), &c->own) ||
            !take_word(head, HTTP_BERTH_OVERWRITE, SPAN("posix"), &c->posix))
                return 400;
        if (!take_one(head, HTTP_BERTH_MODE, &mode) || !take_one(head, HTTP_BERTH_MTIME, &modified))
                return 400;
        if ((mode.data && !dav_parse_mode(&c->mode, mode)) ||
            (modified.data && !dav_parse_time(&c->modified, modified)))
                return 400;
        c->has_mode = mode.data != NULL;
        c->has_modified = modified.data != NULL;
        c->dictated = c->has_mode || c->has_modified;
        return 0;
}

struct store_commit change_commit(const struct change *c)
{
        return (struct store_commit){
                .modified = c->has_modified ? &c->modified : NULL,
                .mode = c->has_mode ? &c->mode : NULL,
                .exact = !c->oc_modified,
                .durable = c->durable,
        };
}

int change_look(struct change *c, struct store_state *state)
{
        return c->own ? store_look_itself(change_tree(c), c->request->path, state)
                      : store_look(change_tree(c), c->request->path, state);
}

int change_enter(struct change *c)
{
        int error = change_entered(c, store_enter(&c->section, change_tree(c), c->request->path));
        if (error || !c->own)
                return error;
        error = store_look_again(&c->section, &c->section.now);
        if (error)
                store_leave(&c->section);
        return error;
}

void change_tell_inode(struct change *c, const struct store_state *state)
{
        change_field(c, "Berth-Inode: %llu\r\n", (unsigned long long)state->inode);
}

int change_tell_made(struct change *c, const struct store_section *section)
{
        struct store_state state;
        int error = store_look_again(section, &state);
        if (error)
                return change_status(error);
        change_tell_inode(c, &state);
        return 201;
}

int change_conflict(struct change *c, int error)
{
        const char *name = error_name(-error);
        change_field(c, "Berth-Error: %s\r\n", name ? name : "EIO");
        return 409;
}

int change_refused(struct change *c, int error)
{
        if (error == -EPERM)
                change_field(c, "Berth-Error: EPERM\r\n");
        return change_status(error);
}
