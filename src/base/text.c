/* Spans and bounded text.
 *
 * A writer never writes part of what it is given: a piece that does not fit whole is dropped, the
 * overflow is remembered, and everything after it is dropped too. So `data[0..used)` is always a
 * clean beginning of what was meant, cut between two pieces.
 */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>

static unsigned char lower(char c)
{
        unsigned char byte = (unsigned char)c;

        return byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
}

bool span_equal_nocase(struct span a, struct span b)
{
        if (a.size != b.size)
                return false;
        for (size_t i = 0; i < a.size; i++) {
                if (lower(a.data[i]) != lower(b.data[i]))
                        return false;
        }
        return true;
}

static bool is_blank(char c)
{
        return c == ' ' || c == '\t';
}

struct span span_trim(struct span s)
{
        while (s.size > 0 && is_blank(s.data[0])) {
                s.data++;
                s.size--;
        }
        while (s.size > 0 && is_blank(s.data[s.size - 1]))
                s.size--;
        return s;
}

struct span span_cut(struct span *rest, char separator)
{
        struct span before = *rest;
        const char *found = before.size > 0 ? memchr(before.data, separator, before.size) : NULL;

        if (!found) {
                *rest = (struct span){ NULL, 0 };
                return before;
        }
        before.size = (size_t)(found - before.data);
        *rest = (struct span){ found + 1, rest->size - before.size - 1 };
        return before;
}

void text_put(struct text *t, struct span s)
{
        if (t->overflow || s.size > t->size - t->used) {
                t->overflow |= s.size > 0;
                return;
        }
        if (s.size > 0)
                memcpy(t->data + t->used, s.data, s.size);
        t->used += s.size;
}

void text_char(struct text *t, char c)
{
        text_put(t, (struct span){ &c, 1 });
}

void text_decimal(struct text *t, uint64_t value)
{
        char digits[20]; /* 2^64 - 1 has twenty */
        size_t at = sizeof(digits);

        do {
                digits[--at] = (char)('0' + value % 10);
                value /= 10;
        } while (value > 0);
        text_put(t, (struct span){ digits + at, sizeof(digits) - at });
}

/* vsnprintf ends with a NUL, which needs room though it is not counted: text that would fill the
 * very last byte counts as not fitting. */
void text_format(struct text *t, const char *format, ...)
{
        size_t room = t->size - t->used;
        va_list arguments;
        int size;

        if (t->overflow)
                return;
        va_start(arguments, format);
        size = vsnprintf(room > 0 ? t->data + t->used : NULL, room, format, arguments);
        va_end(arguments);
        ensure(size >= 0);
        if (size > 0 && (size_t)size >= room)
                t->overflow = true;
        else
                t->used += (size_t)size;
}

/* ---- numbers as people read them ---- */

struct figure figure_count(uint64_t value)
{
        struct figure figure;
        char digits[24];
        int size = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
        size_t used = 0;
        for (int i = 0; i < size; i++) {
                if (i > 0 && (size - i) % 3 == 0)
                        figure.text[used++] = ',';
                figure.text[used++] = digits[i];
        }
        figure.text[used] = '\0';
        return figure;
}

struct figure figure_size(uint64_t bytes)
{
        static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
        struct figure figure;
        double value = (double)bytes;
        unsigned unit = 0;
        while (value >= 1024 && unit + 1 < array_count(units)) {
                value /= 1024;
                unit++;
        }
        snprintf(figure.text, sizeof(figure.text), value < 10 && unit > 0 ? "%.1f %s" : "%.0f %s", value, units[unit]);
        return figure;
}

const char *span_find(struct span s, struct span what)
{
        ensure(what.size > 0);
        const char *at = s.data, *end = s.data + s.size;
        while (at && (size_t)(end - at) >= what.size) {
                at = memchr(at, what.data[0], (size_t)(end - at) - what.size + 1);
                if (at && memcmp(at, what.data, what.size) == 0)
                        return at;
                at += at != NULL;
        }
        return NULL;
}
