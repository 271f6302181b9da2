/* The If header, RFC 4918 10.4.
 *
 *     If        = 1*( "(" 1*condition ")" ) | 1*( "<" resource ">" 1*( "(" 1*condition ")" ) )
 *     condition = [ "Not" ] ( "<" state token ">" | "[" entity-tag "]" )
 *
 * White space may stand between any two of these. */
#include "dav/dav_priv.h"

static bool is_uri_byte(char c)
{
        return (unsigned char)c > ' ' && c != 0x7f && c != '<' && c != '>' && c != '"';
}

bool dav_is_absolute_uri(struct span s)
{
        size_t scheme = 0;

        for (size_t i = 0; i < s.size; i++) {
                if (!is_uri_byte(s.data[i]))
                        return false;
        }
        while (scheme < s.size && s.data[scheme] != ':') {
                char c = s.data[scheme], letter = (char)(c | 0x20);

                if ((letter < 'a' || letter > 'z') &&
                    (scheme == 0 || (!dav_is_digit(c) && c != '+' && c != '-' && c != '.')))
                        return false;
                scheme++;
        }
        return scheme > 0 && scheme + 1 < s.size;
}

static bool is_absolute_path(struct span s)
{
        for (size_t i = 0; i < s.size; i++) {
                if (!is_uri_byte(s.data[i]))
                        return false;
        }
        return s.size > 0 && s.data[0] == '/';
}

/* W/ and bytes of RFC 9110 8.8.3 in quotes. */
static bool is_entity_tag(struct span s)
{
        if (s.size >= 2 && s.data[0] == 'W' && s.data[1] == '/') {
                s.data += 2;
                s.size -= 2;
        }
        if (s.size < 2 || s.data[0] != '"' || s.data[s.size - 1] != '"')
                return false;
        for (size_t i = 1; i < s.size - 1; i++) {
                if ((unsigned char)s.data[i] <= ' ' || s.data[i] == '"' || s.data[i] == 0x7f)
                        return false;
        }
        return true;
}

static bool starts_with(struct span s, char c)
{
        return s.size > 0 && s.data[0] == c;
}

static void skip(struct span *rest, size_t bytes)
{
        rest->data += bytes;
        rest->size -= bytes;
}

static bool take(struct span *rest, char c)
{
        bool there;

        *rest = span_trim(*rest);
        there = starts_with(*rest, c);
        if (there)
                skip(rest, 1);
        return there;
}

/* What stands before the next such byte; *rest moves behind that. */
static bool take_until(struct span *rest, char close, struct span *inner)
{
        const char *end = rest->size > 0 ? memchr(rest->data, close, rest->size) : NULL;

        if (!end)
                return false;
        *inner = (struct span){ rest->data, (size_t)(end - rest->data) };
        skip(rest, inner->size + 1);
        return true;
}

/* "<" ... ">" */
static bool take_in_brackets(struct span *rest, struct span *inner)
{
        return take(rest, '<') && take_until(rest, '>', inner);
}

/* "[" entity-tag "]"; the tag may hold a "]" itself. */
static bool take_entity_tag(struct span *rest, struct span *etag)
{
        struct span before, inner;

        if (!take(rest, '['))
                return false;
        *rest = span_trim(*rest);
        etag->data = rest->data;
        if (!take_until(rest, '"', &before) || !take_until(rest, '"', &inner))
                return false;
        etag->size = (size_t)(rest->data - etag->data);
        return is_entity_tag(*etag) && take(rest, ']');
}

static bool take_condition(struct dav_condition *condition, struct span *rest)
{
        *rest = span_trim(*rest);
        condition->negated = dav_take_word(rest, SPAN("Not"));
        *rest = span_trim(*rest);
        if (starts_with(*rest, '['))
                return take_entity_tag(rest, &condition->etag);
        return take_in_brackets(rest, &condition->token) && dav_is_absolute_uri(condition->token);
}

static int take_list(struct dav_if *parsed, struct span *rest, struct span resource, uint16_t list)
{
        unsigned before = parsed->count;

        if (!take(rest, '('))
                return -400;
        while (!take(rest, ')')) {
                struct dav_condition *condition = &parsed->conditions[parsed->count];

                if (parsed->count == DAV_MAX_CONDITIONS)
                        return -400;
                *condition = (struct dav_condition){ .resource = resource, .list = list };
                if (!take_condition(condition, rest))
                        return -400;
                parsed->count++;
        }
        return parsed->count > before ? 0 : -400;
}

/* A tag begins a new resource; without one at the very start there may be none later. */
static bool take_tag(struct span *rest, struct span *resource, bool first)
{
        if (!first && !resource->data)
                return false;
        return take_in_brackets(rest, resource) && (is_absolute_path(*resource) || dav_is_absolute_uri(*resource));
}

int dav_parse_if(struct dav_if *parsed, struct span value)
{
        struct span rest = span_trim(value), resource = { NULL, 0 };
        int result = rest.size > 0 ? 0 : -400;

        parsed->count = 0;
        for (uint16_t list = 0; result == 0 && rest.size > 0; list++) {
                if (starts_with(rest, '<') && !take_tag(&rest, &resource, list == 0))
                        return -400;
                result = take_list(parsed, &rest, resource, list);
                rest = span_trim(rest);
        }
        return result;
}

int dav_if_holds(const struct dav_if *parsed, int (*holds)(void *context, const struct dav_condition *condition),
                 void *context)
{
        unsigned i = 0;

        ensure(parsed->count <= DAV_MAX_CONDITIONS);
        while (i < parsed->count) {
                uint16_t list = parsed->conditions[i].list;
                bool all = true;

                for (; i < parsed->count && parsed->conditions[i].list == list; i++) {
                        int one = all ? holds(context, &parsed->conditions[i]) : 0;

                        if (one < 0)
                                return one;
                        all = all && (one > 0) != parsed->conditions[i].negated;
                }
                if (all)
                        return 1;
        }
        return 0;
}

bool dav_if_submits(const struct dav_if *parsed, struct span token)
{
        ensure(parsed->count <= DAV_MAX_CONDITIONS);
        for (unsigned i = 0; i < parsed->count; i++) {
                if (parsed->conditions[i].token.data && span_equal(parsed->conditions[i].token, token))
                        return true;
        }
        return false;
}
