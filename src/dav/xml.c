/* Writing XML: text made safe, elements, dates and what describes locks. */
#include "dav/dav_priv.h"
#include "http/http.h"

/* ---- characters ---- */

/* The range that the byte behind this first one must lie in, and the size of the sequence (RFC 3629 4). */
struct lead {
        unsigned char first, last; /* of the first byte */
        unsigned char least, most; /* of the second */
        unsigned char size;
};

static const struct lead leads[] = {
        { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
        { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
        { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
};

static size_t sequence_of(const struct lead *lead, const unsigned char *bytes, size_t size)
{
        if (size < lead->size || bytes[1] < lead->least || bytes[1] > lead->most)
                return 0;
        for (size_t i = 2; i < lead->size; i++) {
                if ((bytes[i] & 0xc0) != 0x80)
                        return 0;
        }
        if (bytes[0] == 0xef && bytes[1] == 0xbf && bytes[2] >= 0xbe)
                return 0; /* U+FFFE and U+FFFF are no characters of XML */
        return lead->size;
}

/* Bytes of the character of XML 1.0 (2.2) that s starts with, 0 when it is none. */
static size_t character_size(struct span s)
{
        const unsigned char *bytes = (const unsigned char *)s.data;

        if (bytes[0] < 0x80)
                return bytes[0] >= ' ' || bytes[0] == '\t' || bytes[0] == '\n' || bytes[0] == '\r';
        for (size_t i = 0; i < array_count(leads); i++) {
                if (bytes[0] >= leads[i].first && bytes[0] <= leads[i].last)
                        return sequence_of(&leads[i], bytes, s.size);
        }
        return 0;
}

/* What stands for a character, or {NULL, 0}: itself. A CR is a reference, for a reader would take it as LF. */
static struct span text_escape(char c)
{
        switch (c) {
        case '&':
                return SPAN("&amp;");
        case '<':
                return SPAN("&lt;");
        case '>':
                return SPAN("&gt;");
        case '"':
                return SPAN("&quot;");
        case '\r':
                return SPAN("&#13;");
        default:
                return (struct span){ NULL, 0 };
        }
}

static struct span attribute_escape(char c)
{
        if (c == '\t')
                return SPAN("&#9;");
        return c == '\n' ? SPAN("&#10;") : text_escape(c);
}

/* Characters that stay are put one run at a time. */
static void escape(struct text *out, struct span s, struct span (*escape_one)(char c))
{
        const char *run = s.data;

        while (s.size > 0) {
                size_t size = character_size(s);
                struct span other = size == 0 ? SPAN("\xef\xbf\xbd") : escape_one(s.data[0]);

                if (other.data) {
                        text_put(out, (struct span){ run, (size_t)(s.data - run) });
                        text_put(out, other);
                        size = 1;
                        run = s.data + 1;
                }
                s.data += size;
                s.size -= size;
        }
        text_put(out, (struct span){ run, (size_t)(s.data - run) });
}

void dav_put_escaped(struct text *out, struct span s)
{
        escape(out, s, text_escape);
}

void dav_put_attribute(struct text *out, struct span s)
{
        escape(out, s, attribute_escape);
}

/* ---- elements ---- */

/* The namespace of "xml" must not be declared as the default one (Namespaces in XML 1.0, 3), so its prefix is used. */
static struct span prefix_of(struct span space)
{
        if (span_equal(space, SPAN(DAV_NAMESPACE)))
                return SPAN("D:");
        return span_equal(space, SPAN(DAV_XML_NAMESPACE)) ? SPAN("xml:") : SPAN("");
}

static void put_named_attribute(struct text *out, struct span name, struct span value)
{
        text_char(out, ' ');
        text_put(out, name);
        text_put(out, SPAN("=\""));
        dav_put_attribute(out, value);
        text_char(out, '"');
}

void dav_put_element(struct text *out, const struct dav_name *name, struct span value, struct span lang)
{
        struct span prefix = prefix_of(name->space);

        ensure(name->local.size > 0);
        text_char(out, '<');
        text_put(out, prefix);
        text_put(out, name->local);
        if (prefix.size == 0)
                put_named_attribute(out, SPAN("xmlns"), name->space);
        if (lang.size > 0)
                put_named_attribute(out, SPAN("xml:lang"), lang);
        if (value.size == 0) {
                text_put(out, SPAN("/>"));
                return;
        }
        text_char(out, '>');
        text_put(out, value);
        text_put(out, SPAN("</"));
        text_put(out, prefix);
        text_put(out, name->local);
        text_char(out, '>');
}

void dav_format_date(char out[DAV_DATE_BYTES], int64_t unix_seconds)
{
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        char date[HTTP_DATE_BYTES]; /* "Sun, 06 Nov 1994 08:49:37 GMT": the calendar is in http */
        unsigned month = 0;

        http_format_date(date, unix_seconds);
        while (memcmp(months + (size_t)3 * month, date + 8, 3) != 0)
                ensure(++month < 12);
        memcpy(out, "1994-11-06T08:49:37Z", DAV_DATE_BYTES);
        memcpy(out, date + 12, 4);
        out[5] = (char)('0' + (month + 1) / 10);
        out[6] = (char)('0' + (month + 1) % 10);
        memcpy(out + 8, date + 5, 2);
        memcpy(out + 11, date + 17, 8);
}

/* ---- locks ---- */

static void put_timeout(struct text *out, uint32_t seconds)
{
        text_put(out, SPAN("<D:timeout>"));
        if (seconds == UINT32_MAX) {
                text_put(out, SPAN("Infinite"));
        } else {
                text_put(out, SPAN("Second-"));
                text_decimal(out, seconds);
        }
        text_put(out, SPAN("</D:timeout>"));
}

static void put_href_in(struct text *out, const char *element, struct span href)
{
        text_format(out, "<D:%s><D:href>", element);
        dav_put_escaped(out, href);
        text_format(out, "</D:href></D:%s>", element);
}

void dav_put_active_lock(struct text *out, const struct dav_lock_view *lock)
{
        ensure(lock->root.size > 0 && lock->root.data[0] == '/');
        text_put(out, SPAN("<D:activelock><D:lockscope>"));
        text_put(out, lock->exclusive ? SPAN("<D:exclusive/>") : SPAN("<D:shared/>"));
        text_put(out, SPAN("</D:lockscope><D:locktype><D:write/></D:locktype><D:depth>"));
        text_put(out, lock->infinite ? SPAN("infinity") : SPAN("0"));
        text_put(out, SPAN("</D:depth>"));
        if (lock->owner.size > 0) {
                text_put(out, SPAN("<D:owner>"));
                text_put(out, lock->owner);
                text_put(out, SPAN("</D:owner>"));
        }
        put_timeout(out, lock->seconds_left);
        put_href_in(out, "locktoken", lock->token);
        put_href_in(out, "lockroot", lock->root);
        text_put(out, SPAN("</D:activelock>"));
}

struct span dav_supported_locks(void)
{
        return SPAN("<D:lockentry><D:lockscope><D:exclusive/></D:lockscope>"
                    "<D:locktype><D:write/></D:locktype></D:lockentry>"
                    "<D:lockentry><D:lockscope><D:shared/></D:lockscope>"
                    "<D:locktype><D:write/></D:locktype></D:lockentry>");
}
