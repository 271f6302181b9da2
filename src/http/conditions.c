/* Conditional requests, RFC 9110 13.
 *
 * Every doubt is settled so that nothing is lost: a tag that cannot be read matches nothing, so
 * If-Match then refuses a change and If-None-Match then sends the whole file.
 */
#include "http/http_priv.h"

enum comparison { WEAK, STRONG };

static bool is_tag_byte(char c)
{
        unsigned char byte = (unsigned char)c;

        return byte == 0x21 || (byte >= 0x23 && byte != 0x7f);
}

/* One entity-tag at the start of *s, which moves behind it: [ "W/" ] DQUOTE *etagc DQUOTE. */
static bool take_tag(struct span *s, struct span *tag, bool *weak)
{
        size_t at = 0;

        *weak = s->size >= 2 && s->data[0] == 'W' && s->data[1] == '/';
        if (*weak) {
                s->data += 2;
                s->size -= 2;
        }
        if (s->size == 0 || s->data[0] != '"')
                return false;
        do
                at++;
        while (at < s->size && is_tag_byte(s->data[at]));
        if (at == s->size || s->data[at] != '"')
                return false;
        *tag = (struct span){ s->data, at + 1 };
        s->data += at + 1;
        s->size -= at + 1;
        return true;
}

/* Moves *s behind a list's white space and commas. True when anything was there, or nothing is left. */
static bool skip_separator(struct span *s)
{
        size_t at = 0;
        bool comma = false;

        while (at < s->size && (s->data[at] == ' ' || s->data[at] == '\t' || s->data[at] == ','))
                comma |= s->data[at++] == ',';
        s->data += at;
        s->size -= at;
        return comma || s->size == 0;
}

static bool list_has(struct span list, struct span etag, enum comparison comparison)
{
        struct span tag;
        bool weak;

        skip_separator(&list);
        while (take_tag(&list, &tag, &weak)) {
                if (!skip_separator(&list))
                        return false;
                if (span_equal(tag, etag) && !(weak && comparison == STRONG))
                        return true;
        }
        return false;
}

/* "*" stands for whatever is there, and only alone. */
static bool any_matches(const struct http_head *head, enum http_field_name name, const struct http_validator *validator,
                        enum comparison comparison)
{
        struct span value;
        unsigned index = 0;

        if (validator->etag.size == 0)
                return false;
        while (http_field_each(head, name, &index, &value)) {
                if (span_equal(value, SPAN("*")) || list_has(value, validator->etag, comparison))
                        return true;
        }
        return false;
}

/* The date in a field that stands alone and is well-formed; otherwise the field is to be ignored. */
static bool date_of(const struct http_head *head, enum http_field_name name, const struct http_validator *validator,
                    int64_t *date)
{
        struct span value, second;
        unsigned index = 0;

        if (validator->etag.size == 0 || !http_field_each(head, name, &index, &value))
                return false;
        if (http_field_each(head, name, &index, &second))
                return false;
        return http_parse_date(value, validator->now, date);
}

enum http_verdict http_check_conditions(const struct http_head *head, const struct http_validator *validator)
{
        bool reads = head->method == HTTP_GET || head->method == HTTP_HEAD;
        int64_t date;

        if (head->first[HTTP_IF_MATCH] != 0) {
                if (!any_matches(head, HTTP_IF_MATCH, validator, STRONG))
                        return HTTP_PRECONDITION_FAILED;
        } else if (date_of(head, HTTP_IF_UNMODIFIED_SINCE, validator, &date)) {
                if (validator->modified > date)
                        return HTTP_PRECONDITION_FAILED;
        }

        if (head->first[HTTP_IF_NONE_MATCH] != 0) {
                if (any_matches(head, HTTP_IF_NONE_MATCH, validator, WEAK))
                        return reads ? HTTP_NOT_MODIFIED : HTTP_PRECONDITION_FAILED;
        } else if (reads && date_of(head, HTTP_IF_MODIFIED_SINCE, validator, &date)) {
                if (validator->modified <= date)
                        return HTTP_NOT_MODIFIED;
        }
        return HTTP_PROCEED;
}

/* A file may change twice in one second, so its date is a strong validator only once that second is
 * over (RFC 9110 8.8.2.2). */
static bool date_is_strong(const struct http_validator *validator)
{
        return validator->now > validator->modified;
}

bool http_check_if_range(const struct http_head *head, const struct http_validator *validator)
{
        struct span value, tag;
        unsigned index = 0;
        int64_t date;
        bool weak;

        if (!http_field_each(head, HTTP_IF_RANGE, &index, &value))
                return true;
        if (date_of(head, HTTP_IF_RANGE, validator, &date))
                return date == validator->modified && date_is_strong(validator);
        if (http_field_each(head, HTTP_IF_RANGE, &index, &tag))
                return false;
        return take_tag(&value, &tag, &weak) && value.size == 0 && !weak && span_equal(tag, validator->etag);
}
