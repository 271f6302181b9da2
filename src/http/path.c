/* Paths: from the request to the name of a file, and back into a URL.
 *
 * Decoding goes byte by byte and knows the start of the segment it writes. A segment is judged when
 * it ends, decoded: so "..", "%2e." and ".%2E" are one. A name may hold any byte but NUL and '/',
 * newline included; only the raw control bytes, which no URL has, are refused.
 */
#include "http/http_priv.h"

struct decoder {
        char *out;
        size_t used;
        size_t segment; /* where in out the current segment starts */
        bool folder;    /* the last segment was empty or "." */
        bool hidden;
};

/* The byte that *s starts with, decoded; *s moves behind it. */
static int take_byte(struct span *s)
{
        int byte = (unsigned char)s->data[0], high, low;
        size_t size = 1;

        if (byte < 0x20 || byte == 0x7f)
                return -400;
        if (byte == '%') {
                if (s->size < 3 || (high = hex_digit(s->data[1])) < 0 || (low = hex_digit(s->data[2])) < 0)
                        return -400;
                byte = high << 4 | low;
                size = 3;
                if (byte == 0)
                        return -400;
                if (byte == '/')
                        return -404;
        }
        s->data += size;
        s->size -= size;
        return byte;
}

/* Judges the segment just written; drops it when it names nothing new. */
static int end_segment(struct decoder *d)
{
        struct span segment = { d->out + d->segment, d->used - d->segment };

        if (span_equal(segment, SPAN("..")))
                return -404;
        d->folder = segment.size == 0 || span_equal(segment, SPAN("."));
        if (d->folder) {
                d->used = d->segment;
                return 0;
        }
        d->hidden |= segment.data[0] == '.';
        return 0;
}

static int put(struct decoder *d, int byte)
{
        if (d->used >= HTTP_MAX_PATH - 1)
                return -404;
        d->out[d->used++] = (char)byte;
        return 0;
}

/* The separator is written in front of a segment, not behind one: none is left over at the end. */
static int take_segment(struct decoder *d, struct span segment)
{
        size_t before = d->used;
        int result = 0;

        if (segment.size > 0 && d->used > 0)
                result = put(d, '/');
        d->segment = d->used;
        while (result == 0 && segment.size > 0) {
                result = take_byte(&segment);
                if (result > 0)
                        result = put(d, result);
        }
        if (result == 0)
                result = end_segment(d);
        if (d->folder)
                d->used = before;
        return result;
}

int http_decode_path(char out[HTTP_MAX_PATH], struct span path, bool *folder, bool *hidden)
{
        struct decoder d = { .out = out };
        int result = path.size > 0 && path.data[0] == '/' ? 0 : -400;

        if (result == 0)
                span_cut(&path, '/');
        do {
                if (result == 0)
                        result = take_segment(&d, span_cut(&path, '/'));
        } while (result == 0 && path.data);
        out[result == 0 ? d.used : 0] = '\0';
        *folder = d.folder;
        *hidden = d.hidden;
        return result == 0 ? (int)d.used : result;
}

void http_encode_path(struct text *out, struct span s)
{
        static const char digits[] = "0123456789ABCDEF";

        for (size_t i = 0, run; i < s.size; i += run) {
                for (run = 0; i + run < s.size && http_is(s.data[i + run], HTTP_PLAIN); run++)
                        ;
                text_put(out, (struct span){ s.data + i, run });
                if (i + run < s.size) {
                        unsigned char byte = (unsigned char)s.data[i + run++];
                        char escape[3] = { '%', digits[byte >> 4], digits[byte & 15] };

                        text_put(out, (struct span){ escape, sizeof(escape) });
                }
        }
}
