/* http_decode_path, http_encode_path and escaping. A decoded path names something beneath the root and nothing
 * else; encoded again it decodes to itself; escaped text is safe where it will stand. */
#include "fuzz.h"

static bool begins_with(struct span s, struct span with)
{
        return s.size >= with.size && memcmp(s.data, with.data, with.size) == 0;
}

/* Every segment is a name: not empty, not "." and not "..". */
static bool check_decoded(const char *path, size_t size)
{
        struct span rest = { path, size };
        bool hidden = false;

        ensure(!memchr(path, '\0', size) && path[size] == '\0');
        while (size > 0 && rest.data) {
                struct span segment = span_cut(&rest, '/');

                ensure(segment.size > 0 && !span_equal(segment, SPAN(".")) && !span_equal(segment, SPAN("..")));
                hidden |= segment.data[0] == '.';
        }
        return hidden;
}

static void check_encoded(const char *path, size_t size)
{
        static char room[3 * HTTP_MAX_PATH + 1], again[HTTP_MAX_PATH];
        struct text t = text_in(room, sizeof(room));
        bool folder, hidden;

        text_char(&t, '/');
        http_encode_path(&t, (struct span){ path, size });
        ensure(!t.overflow);
        for (size_t i = 0; i < t.used; i++)
                ensure(t.data[i] > 0x20 && t.data[i] < 0x7f && !strchr("\"'<>&?#\\", t.data[i]));
        ensure(http_decode_path(again, (struct span){ t.data, t.used }, &folder, &hidden) == (int)size);
        ensure(memcmp(again, path, size) == 0);
}

/* The size of the UTF-8 sequence s starts with, by its decoded value. */
static size_t check_sequence(struct span s)
{
        static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
        uint8_t first = (uint8_t)s.data[0];
        size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
        uint32_t value = size == 1 ? first : first & (0x7fu >> size);

        ensure((first < 0x80 || first >= 0xc0) && first < 0xf8 && size <= s.size);
        for (size_t i = 1; i < size; i++) {
                ensure(((uint8_t)s.data[i] & 0xc0) == 0x80);
                value = value << 6 | ((uint8_t)s.data[i] & 0x3f);
        }
        ensure(value >= least[size] && value <= 0x10ffff && (value < 0xd800 || value > 0xdfff));
        return size;
}

static void check_utf8(struct span s)
{
        while (s.size > 0) {
                size_t size = check_sequence(s);

                s.data += size;
                s.size -= size;
        }
}

static void check_json(struct span s)
{
        check_utf8(s);
        for (size_t i = 0; i < s.size; i++) {
                ensure(s.data[i] != '"' && (uint8_t)s.data[i] >= 0x20);
                if (s.data[i] != '\\')
                        continue;
                ensure(++i < s.size && strchr("\"\\bfnrtu", s.data[i]));
                ensure(s.data[i] != 'u' || s.size - i > 4);
        }
}

static void check_html(struct span s)
{
        check_utf8(s);
        for (size_t i = 0; i < s.size; i++) {
                struct span rest = { s.data + i, s.size - i };

                ensure(s.data[i] != '<' && s.data[i] != '>' && s.data[i] != '"' && s.data[i] != '\'');
                ensure(s.data[i] != '&' || begins_with(rest, SPAN("&lt;")) || begins_with(rest, SPAN("&gt;")) ||
                       begins_with(rest, SPAN("&amp;")) || begins_with(rest, SPAN("&quot;")) ||
                       begins_with(rest, SPAN("&#39;")));
        }
}

/* Also into too little room: what is there then must be just as well-formed. */
static void check_escaped(struct span s, void (*escape)(struct text *, struct span), void (*check)(struct span),
                          size_t room)
{
        char *data = malloc(room + 1);
        struct text t = text_in(data, room);

        escape(&t, s);
        ensure(t.used <= room);
        check((struct span){ t.data, t.used });
        free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *bytes = exact_copy(data, size), *out = malloc(HTTP_MAX_PATH);
        struct span s = { bytes, size };
        bool folder, hidden;

        int result = http_decode_path(out, s, &folder, &hidden);
        ensure(result < HTTP_MAX_PATH && (result >= 0 || result == -400 || result == -404));
        if (result >= 0) {
                ensure(check_decoded(out, (size_t)result) == hidden);
                ensure(result > 0 || folder);
                check_encoded(out, (size_t)result);
        }
        check_escaped(s, http_escape_json, check_json, 6 * size);
        check_escaped(s, http_escape_json, check_json, size / 2);
        check_escaped(s, http_escape_html, check_html, 6 * size);
        check_escaped(s, http_escape_html, check_html, size / 2);
        free(out);
        free(bytes);
        return 0;
}
