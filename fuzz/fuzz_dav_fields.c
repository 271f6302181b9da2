/* The single fields of WebDAV: Depth, Overwrite, Timeout, Lock-Token, Destination, Content-Range, X-Update-Range, and
 * those of the mount, each on the same bytes; the first byte steers. */
#include "fuzz.h"

#include "dav/dav.h"

static void check_simple(struct span field, uint8_t steer)
{
        int depth = dav_parse_depth(field, 1), overwrite = dav_parse_overwrite(field);
        uint32_t most = (uint32_t)1 << (steer & 31);
        struct span token = dav_parse_lock_token(field);

        ensure(depth == 0 || depth == 1 || depth == DAV_DEPTH_INFINITY || depth == -400);
        ensure(overwrite == 0 || overwrite == 1 || overwrite == -400);
        ensure(dav_parse_timeout(field, 60, most) <= most);
        ensure(!token.data || (token.size >= 3 && is_within(token, field.data, field.size)));
        ensure(!token.data || (token.data[0] != '<' && token.data[token.size - 1] != '>'));
}

/* The path leads to the same place when it is sent alone. */
static void check_path(struct span path, struct span field, const struct dav_origin *origin)
{
        struct span again;

        ensure(path.size > 0 && path.data[0] == '/');
        ensure(is_within(path, field.data, field.size) || span_equal(path, SPAN("/")));
        ensure(!memchr(path.data, '?', path.size) && !memchr(path.data, '#', path.size));
        if (path.size > 1 && path.data[1] == '/')
                return;
        ensure(dav_parse_destination(&again, path, origin, true) == 0 && span_equal(path, again));
}

static void check_destination(struct span field)
{
        static const struct dav_origin origin = { { "http", 4 }, { "host:8080", 9 } };
        struct span path, lax;
        int result = dav_parse_destination(&path, field, &origin, true);
        int any = dav_parse_destination(&lax, field, &origin, false);

        ensure(result == 0 || result == -400 || result == -502);
        ensure(any == (result == -502 ? 0 : result));
        if (any == 0)
                check_path(lax, field, &origin);
        ensure(result != 0 || span_equal(path, lax));
}

static void check_target(const struct dav_target *t)
{
        ensure(t->append + t->from_end + t->truncate <= 1);
        ensure(t->first < INT64_MAX && (t->total == UINT64_MAX || t->total < INT64_MAX));
        if (t->truncate)
                ensure(t->length == 0 && t->total != UINT64_MAX);
        if (t->length == UINT64_MAX)
                return;
        ensure(t->truncate || t->length > 0);
        ensure(t->length <= INT64_MAX && t->first + t->length <= INT64_MAX);
        ensure(t->total == UINT64_MAX || t->first + t->length <= t->total);
}

static void check_ranges(struct span field, bool truncate_allowed)
{
        struct dav_target target;
        int result = dav_parse_content_range(&target, field, truncate_allowed);

        ensure(result == 0 || result == -400);
        if (result == 0) {
                check_target(&target);
                ensure(!target.append && !target.from_end && (truncate_allowed || !target.truncate));
                ensure(target.length != UINT64_MAX);
        }
        result = dav_parse_update_range(&target, field);
        ensure(result == 0 || result == -400);
        if (result == 0) {
                check_target(&target);
                ensure(!target.truncate && target.total == UINT64_MAX);
        }
}

/* What is taken and written again is taken as the same. */
static void check_mount(struct span field)
{
        char room[2 * DAV_ATTRIBUTE_BYTES + 64], name[DAV_ATTRIBUTE_BYTES];
        struct text text = text_in(room, sizeof(room));
        struct timespec time, time_again;
        uint32_t mode, mode_again;

        if (dav_parse_mode(&mode, field)) {
                dav_put_mode(&text, mode);
                ensure(mode <= 07777 && dav_parse_mode(&mode_again, (struct span){ room, text.used }));
                ensure(mode == mode_again);
        }
        text.used = 0;
        if (dav_parse_time(&time, field)) {
                dav_put_time(&text, &time);
                ensure(time.tv_nsec >= 0 && time.tv_nsec <= 999999999);
                ensure(dav_parse_time(&time_again, (struct span){ room, text.used }));
                ensure(time.tv_sec == time_again.tv_sec && time.tv_nsec == time_again.tv_nsec);
        }
        text.used = 0;
        if (dav_parse_attribute(name, field)) {
                dav_put_attribute_name(&text, span_of(name));
                ensure(name[0] && span_equal(field, (struct span){ room, text.used }));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint8_t steer = take_byte(&data, &size);
        char *copy = exact_copy(data, size);
        struct span field = { copy, size };

        check_simple(field, steer);
        check_destination(field);
        check_ranges(field, steer & 1);
        check_mount(field);
        free(copy);
        return 0;
}
