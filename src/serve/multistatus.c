/* Pieces that several answers in XML share. */
#include "serve/change.h"

void put_href(struct text *out, struct span path, bool folder)
{
        text_put(out, SPAN("<D:href>/"));
        http_encode_path(out, path);
        if (folder && path.size > 0)
                text_char(out, '/');
        text_put(out, SPAN("</D:href>"));
}

void put_status(struct text *out, int status)
{
        text_format(out, "<D:status>HTTP/1.1 %d %s</D:status>", status, http_reason(status));
}

void put_lock(struct text *out, const struct store_lock *lock)
{
        char room[3 * HTTP_MAX_PATH + 8];
        struct text root = text_in(room, sizeof(room));
        text_char(&root, '/');
        http_encode_path(&root, span_of(lock->path));
        int64_t left = lock->expires == INT64_MAX ? UINT32_MAX : lock->expires - clock_unix_seconds();
        struct dav_lock_view view = {
                .token = span_of(lock->token),
                .owner = { lock->owner, lock->owner_size },
                .exclusive = lock->exclusive,
                .infinite = lock->infinite,
                .seconds_left = (uint32_t)max_of(left, (int64_t)0),
                .root = { root.data, root.used },
        };
        dav_put_active_lock(out, &view);
}
