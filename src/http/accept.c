/* Content negotiation, RFC 9110 12.
 *
 * An element of an Accept field is a name and parameters, one of which may be a weight. Weights are
 * counted in thousandths, as they have three decimals at most; ABSENT says that nothing was named.
 * An element with a malformed weight counts as not sent.
 */
#include "http/http_priv.h"

enum { ABSENT = -1, FULL = 1000 };

/* qvalue, RFC 9110 12.4.2: 0, 1, or up to three decimals between. */
static int read_weight(struct span s)
{
        int weight, unit = FULL;

        if (s.size == 0 || s.size > 5 || (s.data[0] != '0' && s.data[0] != '1') || (s.size > 1 && s.data[1] != '.'))
                return ABSENT;
        weight = (s.data[0] - '0') * unit;
        for (size_t i = 2; i < s.size; i++) {
                if (!http_is_digit(s.data[i]))
                        return ABSENT;
                unit /= 10;
                weight += (s.data[i] - '0') * unit;
        }
        return weight <= FULL ? weight : ABSENT;
}

/* The next parameter, cut from *rest at the next ';' outside quotes. */
static struct span cut_parameter(struct span *rest)
{
        bool quoted = false;
        size_t at = 0;

        for (; at < rest->size && (quoted || rest->data[at] != ';'); at++) {
                if (rest->data[at] == '"')
                        quoted = !quoted;
                else if (quoted && rest->data[at] == '\\' && at + 1 < rest->size)
                        at++;
        }
        struct span parameter = { rest->data, at };
        at = min_of(at + 1, rest->size);
        rest->data += at;
        rest->size -= at;
        return span_trim(parameter);
}

/* Cuts an element down to its name and returns its weight. */
static int take_weight(struct span *element)
{
        struct span rest = *element;

        *element = cut_parameter(&rest);
        while (rest.size > 0) {
                struct span value = cut_parameter(&rest);
                struct span name = span_cut(&value, '=');

                if (span_equal_nocase(name, SPAN("q")))
                        return read_weight(value);
        }
        return FULL;
}

/* ---- Accept-Encoding ---- */

enum { BR, ZSTD, GZIP, IDENTITY, STAR, CODINGS };

static const struct {
        const char *name;
        uint8_t coding;
} codings[] = {
        { "br", BR }, { "zstd", ZSTD }, { "gzip", GZIP }, { "x-gzip", GZIP }, { "identity", IDENTITY }, { "*", STAR },
};

static const uint8_t coding_bits[] = { [BR] = HTTP_BR, [ZSTD] = HTTP_ZSTD, [GZIP] = HTTP_GZIP };

static void weigh_coding(int weights[CODINGS], struct span element)
{
        int weight = take_weight(&element);

        if (weight == ABSENT)
                return;
        for (size_t i = 0; i < array_count(codings); i++) {
                if (span_equal_nocase(element, span_of(codings[i].name)))
                        weights[codings[i].coding] = weight;
        }
}

/* "*" speaks for all that is not named. Where nothing speaks for identity it is the last resort. */
static void weigh_codings(const struct http_head *head, int weights[CODINGS])
{
        struct span value, element;
        unsigned index = 0;

        for (int i = 0; i < CODINGS; i++)
                weights[i] = ABSENT;
        while (http_field_each(head, HTTP_ACCEPT_ENCODING, &index, &value)) {
                while (http_next_element(&value, &element))
                        weigh_coding(weights, element);
        }
        for (int i = 0; i < STAR; i++) {
                if (weights[i] == ABSENT)
                        weights[i] = max_of(weights[STAR], 0);
        }
}

unsigned http_accept_encodings(const struct http_head *head, unsigned offered, unsigned order[3])
{
        int weights[CODINGS], placed[3];
        unsigned count = 0;

        weigh_codings(head, weights);
        for (int i = BR; i <= GZIP; i++) {
                unsigned at = count;

                if (!(offered & coding_bits[i]) || weights[i] == 0 || weights[i] < weights[IDENTITY])
                        continue;
                for (; at > 0 && placed[at - 1] < weights[i]; at--) {
                        placed[at] = placed[at - 1];
                        order[at] = order[at - 1];
                }
                placed[at] = weights[i];
                order[at] = coding_bits[i];
                count++;
        }
        return count;
}

/* ---- Accept ---- */

enum { JSON, ANY_APPLICATION, HTML, ANY_TEXT, ANYTHING, TYPES };

static const char *const types[TYPES] = { "application/json", "application/*", "text/html", "text/*", "*/*" };

static void weigh_types(const struct http_head *head, int weights[TYPES])
{
        struct span value, element;
        unsigned index = 0;

        for (int i = 0; i < TYPES; i++)
                weights[i] = ABSENT;
        while (http_field_each(head, HTTP_ACCEPT, &index, &value)) {
                while (http_next_element(&value, &element)) {
                        int weight = take_weight(&element);

                        for (int i = 0; i < TYPES; i++) {
                                if (weight > weights[i] && span_equal_nocase(element, span_of(types[i])))
                                        weights[i] = weight;
                        }
                }
        }
}

bool http_accepts_json(const struct http_head *head)
{
        int weights[TYPES];

        weigh_types(head, weights);
        int json = weights[JSON] != ABSENT ? weights[JSON] : weights[ANY_APPLICATION];
        int html = weights[HTML] != ABSENT ? weights[HTML] : weights[ANY_TEXT];

        if (json <= 0)
                return false;
        return html != ABSENT ? json > html : json >= weights[ANYTHING];
}
