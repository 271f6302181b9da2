/* Writing XML: text made safe, elements, dates and what describes locks. */
#include "dav/dav_priv.h"
#include "http/http.h"

/* ---- characters ---- */

/* Bytes of the character of XML 1.0 (2.2) that s starts with, 0 when it is none: so are U+FFFE and U+FFFF. */
static size_t character_size(struct span s)
{
        unsigned char first = (unsigned char)s.data[0];
        if (first < ' ')
                return first == '\t' || first == '\n' || first == '\r';
        size_t size = utf8_size(s);
        bool none = size == 3 && first == 0xef && s.data[1] == '\xbf' && (unsigned char)s.data[2] >= 0xbe;
        return none ? 0 : size;
}

/* A CR is a reference, for a reader would take it as LF. */
static struct span escape_text(char c, char room[6])
{
        (void)room;
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

static struct span escape_attribute(char c, char room[6])
{
        if (c == '\t')
                return SPAN("&#9;");
        return c == '\n' ? SPAN("&#10;") : escape_text(c, room);
}

/* Nothing to be escaped: most names are such. (char may be signed: bytes past ASCII are not.) */
static bool is_plain(struct span s)
{
        for (size_t i = 0; i < s.size; i++) {
                char c = s.data[i];
                if (c < ' ' || c > '~' || c == '&' || c == '<' || c == '>' || c == '"')
                        return false;
        }
        return true;
}

bool dav_is_text(struct span s)
{
        size_t size;

        for (; s.size > 0; s.data += size, s.size -= size) {
                size = character_size(s);
                if (size == 0)
                        return false;
        }
        return true;
}

void dav_put_escaped(struct text *out, struct span s)
{
        if (is_plain(s)) {
                text_put(out, s);
                return;
        }
        text_escape(out, s, character_size, escape_text);
}

void dav_put_attribute(struct text *out, struct span s)
{
        text_escape(out, s, character_size, escape_attribute);
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
