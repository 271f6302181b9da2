/* Heads of answers: the fields that somebody looks at. */
#include "mount/transfer.h"
#include "dav/dav.h"
#include "http/http.h"

static uint64_t parse_number(struct span s)
{
        uint64_t value = 0;

        if (s.size == 0 || s.size > 18)
                return UINT64_MAX;
        for (size_t i = 0; i < s.size; i++) {
                if (s.data[i] < '0' || s.data[i] > '9')
                        return UINT64_MAX;
                value = value * 10 + (uint64_t)(s.data[i] - '0');
        }
        return value;
}

/* Cut to its room. Several lines of a field are one list (RFC 9110 5.2). */
static void append(char *room, size_t size, struct span value)
{
        struct text text = text_in(room, size - 1);

        text.used = strlen(room);
        if (text.used > 0)
                text_put(&text, SPAN(", "));
        text_put(&text, (struct span){ value.data, min_of(value.size, size - 1 - text.used) });
        room[text.used] = '\0';
}

static void take_tag(struct client_answer *answer, struct span value)
{
        answer->tag[0] = '\0';
        if (client_is_tag(value) && value.size < sizeof(answer->tag))
                append(answer->tag, sizeof(answer->tag), value);
}

static void take_length(struct client_answer *answer, struct span value)
{
        answer->length = parse_number(value);
}

static void take_range(struct client_answer *answer, struct span value)
{
        struct dav_target target;

        if (dav_parse_content_range(&target, value, true) != 0)
                return;
        answer->total = target.total;
        if (!target.truncate)
                answer->first = target.first;
}

static void take_modified(struct client_answer *answer, struct span value)
{
        if (!http_parse_date(value, clock_unix_seconds(), &answer->modified))
                answer->modified = INT64_MIN;
}

static void take_date(struct client_answer *answer, struct span value)
{
        if (!http_parse_date(value, clock_unix_seconds(), &answer->date))
                answer->date = INT64_MIN;
}

static void take_inode(struct client_answer *answer, struct span value)
{
        uint64_t inode = parse_number(value);

        answer->inode = inode == UINT64_MAX ? 0 : inode;
}

/* rclone's tokens are no URIs, as RFC 4918 wants them. */
static void take_lock_token(struct client_answer *answer, struct span value)
{
        answer->lock_token[0] = '\0';
        if (value.size >= 3 && value.data[0] == '<' && value.data[value.size - 1] == '>' &&
            value.size - 2 < sizeof(answer->lock_token))
                append(answer->lock_token, sizeof(answer->lock_token), (struct span){ value.data + 1, value.size - 2 });
}

static void take_dav(struct client_answer *answer, struct span value)
{
        append(answer->dav, sizeof(answer->dav), value);
}

static void take_allow(struct client_answer *answer, struct span value)
{
        append(answer->allow, sizeof(answer->allow), value);
}

static void take_server(struct client_answer *answer, struct span value)
{
        append(answer->server, sizeof(answer->server), value);
}

static void take_accept_patch(struct client_answer *answer, struct span value)
{
        append(answer->accept_patch, sizeof(answer->accept_patch), value);
}

static void take_reason(struct client_answer *answer, struct span value)
{
        append(answer->reason, sizeof(answer->reason), value);
}

static const struct field {
        struct span name;
        void (*take)(struct client_answer *answer, struct span value);
} fields[] = {
        { { "ETag", 4 }, take_tag },
        { { "Content-Length", 14 }, take_length },
        { { "Content-Range", 13 }, take_range },
        { { "Last-Modified", 13 }, take_modified },
        { { "Date", 4 }, take_date },
        { { "Berth-Inode", 11 }, take_inode },
        { { "Lock-Token", 10 }, take_lock_token },
        { { "DAV", 3 }, take_dav },
        { { "Allow", 5 }, take_allow },
        { { "Server", 6 }, take_server },
        { { "Accept-Patch", 12 }, take_accept_patch },
        { { "Berth-Error", 11 }, take_reason },
};

/* An interim answer (1xx) is followed by another one. */
void answer_begin(struct client_answer *answer)
{
        *answer = (struct client_answer){
                .length = UINT64_MAX, .first = UINT64_MAX, .total = UINT64_MAX, .modified = INT64_MIN, .date = INT64_MIN
        };
}

void answer_take_line(struct client_answer *answer, struct span line)
{
        struct span name;

        if (line.size >= 12 && memcmp(line.data, "HTTP/", 5) == 0) {
                uint64_t status;

                answer_begin(answer);
                span_cut(&line, ' ');
                status = parse_number(span_cut(&line, ' '));
                answer->status = status < 1000 ? (int)status : 0;
                return;
        }
        name = span_cut(&line, ':');
        for (size_t i = 0; line.data && i < array_count(fields); i++) {
                if (span_equal_nocase(name, fields[i].name)) {
                        fields[i].take(answer, span_trim(line));
                        return;
                }
        }
}

uint64_t answer_retry_after(struct span value)
{
        uint64_t seconds = parse_number(value);
        int64_t now = clock_unix_seconds(), date;

        if (seconds != UINT64_MAX)
                return seconds;
        return http_parse_date(value, now, &date) && date > now ? (uint64_t)(date - now) : 0;
}
