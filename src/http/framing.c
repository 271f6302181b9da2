/* What the fields of a head mean for the connection: whom it is for, where its body ends, whether
 * another request may follow. RFC 9110 7.2, 7.6.1, 10.1.1 and RFC 9112 6, 9.3.
 *
 * Two readers of one byte stream that disagree about where a body ends can be made to take one
 * client's bytes for another's request. So whatever could be read in two ways is refused.
 */
#include "http/http_priv.h"

static bool appears_twice(const struct http_head *head, enum http_field_name name)
{
        return head->first[name] != 0 && head->fields[head->first[name] - 1].next != 0;
}

static int check_host(const struct http_head *head)
{
        if (head->first[HTTP_HOST] == 0)
                return head->minor == 0 ? 0 : -400;
        if (appears_twice(head, HTTP_HOST) || !http_valid_authority(http_field(head, HTTP_HOST)))
                return -400;
        return 0;
}

/* 1*DIGIT below 2^63: file offsets are signed. */
static bool read_length(struct span value, uint64_t *length)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < value.size; i++) {
                if (!http_is_digit(value.data[i]) || sum > INT64_MAX / 10)
                        return false;
                sum = sum * 10 + (uint64_t)(value.data[i] - '0');
                if (sum > INT64_MAX)
                        return false;
        }
        *length = sum;
        return value.size > 0;
}

static int check_length(struct http_head *head)
{
        if (head->first[HTTP_CONTENT_LENGTH] == 0)
                return 0;
        if (appears_twice(head, HTTP_CONTENT_LENGTH) || head->first[HTTP_TRANSFER_ENCODING] != 0)
                return -400;
        if (!read_length(http_field(head, HTTP_CONTENT_LENGTH), &head->content_length))
                return -400;
        head->has_length = true;
        return 0;
}

static int check_transfer_coding(struct http_head *head)
{
        if (head->first[HTTP_TRANSFER_ENCODING] == 0)
                return 0;
        if (head->minor == 0)
                return -400;
        if (appears_twice(head, HTTP_TRANSFER_ENCODING) ||
            !span_equal_nocase(http_field(head, HTTP_TRANSFER_ENCODING), SPAN("chunked")))
                return -501;
        head->chunked = true;
        return 0;
}

/* A 1.0 client does not understand the interim response and gets none. */
static int check_expectation(struct http_head *head)
{
        struct span value, element;
        unsigned index = 0;

        while (http_field_each(head, HTTP_EXPECT, &index, &value)) {
                while (http_next_element(&value, &element)) {
                        if (!span_equal_nocase(element, SPAN("100-continue")))
                                return -417;
                        head->expect_continue = head->minor > 0;
                }
        }
        return 0;
}

static bool wants_keep_alive(const struct http_head *head)
{
        struct span value, element;
        bool keep = head->minor > 0;
        unsigned index = 0;

        while (http_field_each(head, HTTP_CONNECTION, &index, &value)) {
                while (http_next_element(&value, &element)) {
                        if (span_equal_nocase(element, SPAN("close")))
                                return false;
                        keep |= span_equal_nocase(element, SPAN("keep-alive"));
                }
        }
        return keep;
}

int http_understand_head(struct http_head *head)
{
        int result = check_host(head);

        if (result == 0)
                result = check_length(head);
        if (result == 0)
                result = check_transfer_coding(head);
        if (result == 0)
                result = check_expectation(head);
        if (result == 0)
                head->keep_alive = wants_keep_alive(head);
        return result;
}
