/* The access log: lines are formatted into one buffer of the shard while a worker thread writes the other. The file is
 * opened for appending, so the shards' pieces (whole lines) do not mix; reopening puts the new file in place of the
 * old descriptor, and no thread needs to know.
 */
#include "serve/serve_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { FLUSH_BYTES = LOG_BUFFER_BYTES / 2, LINE_BYTES = 16 << 10 };

/* ---- the file ---- */

int log_open(struct access_log *log, const struct serve_options *options)
{
        *log = (struct access_log){ .descriptor = -1, .format = options->log_format };
        if (!options->access_log)
                return 0;
        bool standard_output = strcmp(options->access_log, "-") == 0;
        log->path = standard_output ? NULL : options->access_log;
        log->descriptor = standard_output ? plain_standard_output() : plain_open(log->path, PLAIN_APPEND);
        if (log->descriptor >= 0)
                return 0;
        int error = log->descriptor;
        log->descriptor = -1;
        complain("cannot open the access log %s: %s", options->access_log, error_text(-error));
        return error == -EINVAL ? -EIO : error;
}

int log_reopen(struct access_log *log)
{
        if (!log->path)
                return 0;
        int fresh = plain_open(log->path, PLAIN_APPEND);
        return fresh < 0 ? fresh : plain_put_in_place(fresh, log->descriptor);
}

void log_close(struct access_log *log)
{
        if (log->descriptor >= 0)
                close(log->descriptor);
        log->descriptor = -1;
}

/* ---- lines ---- */

/* Control bytes, quotes and backslashes as \xHH, so that a line is a line and a field a field. */
static void put_escaped(struct text *out, struct span s)
{
        for (size_t i = 0; i < s.size; i++) {
                unsigned char c = (unsigned char)s.data[i];
                if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
                        text_format(out, "\\x%02X", c);
                else
                        text_char(out, (char)c);
        }
}

static void put_or_dash(struct text *out, struct span s)
{
        if (s.size == 0)
                text_char(out, '-');
        else
                put_escaped(out, s);
}

/* A field ends at a space, so that one in a name is escaped, too. */
static void put_user(struct text *out, struct span user)
{
        struct span rest = user;
        while (rest.data && user.size > 0) {
                put_escaped(out, span_cut(&rest, ' '));
                if (rest.data)
                        text_put(out, SPAN("\\x20"));
        }
        if (user.size == 0)
                text_char(out, '-');
}

static struct span peer_name(const struct sockaddr *peer, char out[INET6_ADDRSTRLEN])
{
        if (peer->sa_family == AF_INET)
                inet_ntop(AF_INET, &((const struct sockaddr_in *)peer)->sin_addr, out, INET6_ADDRSTRLEN);
        else if (peer->sa_family == AF_INET6)
                inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)peer)->sin6_addr, out, INET6_ADDRSTRLEN);
        else
                strcpy(out, peer->sa_family == AF_UNIX ? "unix:" : "-");
        return span_of(out);
}

/* "GET /a HTTP/1.1", or what there is of it. */
static void put_request_line(struct text *out, const struct log_line *line)
{
        put_or_dash(out, line->method);
        if (line->target.size > 0) {
                text_char(out, ' ');
                put_escaped(out, line->target);
                text_format(out, " HTTP/1.%u", line->minor);
        }
}

/* The Common Log Format of the NCSA server, and Apache's combined form with referer and user agent. */
static void put_common(struct text *out, const struct log_line *line, bool combined)
{
        char peer[INET6_ADDRSTRLEN], date[64];
        time_t now = (time_t)clock_unix_seconds();
        struct tm tm;
        strftime(date, sizeof(date), "%d/%b/%Y:%H:%M:%S", localtime_r(&now, &tm));
        int zone = clock_zone_minutes(now, &tm);
        text_put(out, peer_name(line->peer, peer));
        text_put(out, SPAN(" - "));
        put_user(out, line->user);
        text_format(out, " [%s %c%02d%02d] \"", date, zone < 0 ? '-' : '+', abs(zone) / 60, abs(zone) % 60);
        put_request_line(out, line);
        text_format(out, "\" %d ", line->status);
        if (line->body_bytes)
                text_decimal(out, line->body_bytes);
        else
                text_char(out, '-');
        if (!combined)
                return;
        text_put(out, SPAN(" \""));
        put_or_dash(out, line->referer);
        text_put(out, SPAN("\" \""));
        put_or_dash(out, line->agent);
        text_char(out, '"');
}

static void put_json_string(struct text *out, const char *name, struct span value)
{
        text_format(out, ",\"%s\":\"", name);
        http_escape_json(out, value);
        text_char(out, '"');
}

static void put_json(struct text *out, const struct log_line *line)
{
        char peer[INET6_ADDRSTRLEN], date[64];
        time_t now = (time_t)clock_unix_seconds();
        struct tm tm;
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
        text_format(out, "{\"time\":\"%s\"", date);
        put_json_string(out, "client", peer_name(line->peer, peer));
        put_json_string(out, "user", line->user);
        put_json_string(out, "method", line->method);
        put_json_string(out, "target", line->target);
        text_format(out, ",\"version\":\"1.%u\",\"status\":%d,\"bytes\":%llu,\"seconds\":%.6f", line->minor,
                    line->status, (unsigned long long)line->body_bytes, (double)line->microseconds / 1e6);
        put_json_string(out, "referer", line->referer);
        put_json_string(out, "user_agent", line->agent);
        text_char(out, '}');
}

/* A line that is too long is shortened, in the common form at the end, as JSON by leaving the texts out. */
static size_t format_line(struct text *out, const struct log_line *line, enum log_format format)
{
        struct log_line shorter = *line;
        if (format == LOG_JSON) {
                put_json(out, line);
                if (out->overflow) {
                        *out = text_in(out->data, out->size);
                        shorter.target = shorter.referer = shorter.agent = (struct span){ NULL, 0 };
                        put_json(out, &shorter);
                }
        } else {
                put_common(out, line, format == LOG_COMBINED);
        }
        return out->used;
}

/* ---- writing ---- */

static int64_t write_buffer(struct berth_call *call)
{
        struct log_writer *writer = container_of(call, struct log_writer, call);
        plain_write_all(writer->log->descriptor, writer->buffers[!writer->filling], writer->written);
        return 0;
}

static void buffer_written(struct berth_op *op)
{
        struct log_writer *writer = container_of(container_of(op, struct berth_call, op), struct log_writer, call);
        if (op->result < 0) /* no worker was free */
                write_buffer(&writer->call);
        writer->writing = false;
        if (writer->filled >= FLUSH_BYTES)
                log_flush(writer);
}

int log_writer_init(struct log_writer *writer, struct access_log *log, struct berth_port *port)
{
        *writer = (struct log_writer){ .log = log, .port = port };
        writer->call.call = write_buffer;
        writer->call.op.done = buffer_written;
        if (log->descriptor < 0)
                return 0;
        for (unsigned i = 0; i < array_count(writer->buffers); i++) {
                writer->buffers[i] = malloc(LOG_BUFFER_BYTES);
                if (!writer->buffers[i])
                        return -ENOMEM;
        }
        return 0;
}

void log_flush(struct log_writer *writer)
{
        if (writer->filled == 0 || writer->writing)
                return;
        writer->writing = true;
        writer->written = writer->filled;
        writer->filled = 0;
        writer->filling = !writer->filling;
        berth_call(writer->port, &writer->call);
}

void log_write(struct log_writer *writer, const struct log_line *line)
{
        if (LOG_BUFFER_BYTES - writer->filled < LINE_BYTES) {
                plain_write_all(writer->log->descriptor, writer->buffers[writer->filling], writer->filled);
                writer->filled = 0;
        }
        struct text out = text_in(writer->buffers[writer->filling] + writer->filled, LINE_BYTES - 1);
        writer->filled += format_line(&out, line, writer->log->format);
        writer->buffers[writer->filling][writer->filled++] = '\n';
        if (writer->filled >= FLUSH_BYTES)
                log_flush(writer);
}

void log_writer_finish(struct log_writer *writer)
{
        ensure(!writer->writing);
        if (writer->filled)
                plain_write_all(writer->log->descriptor, writer->buffers[writer->filling], writer->filled);
        for (unsigned i = 0; i < array_count(writer->buffers); i++)
                free(writer->buffers[i]);
        *writer = (struct log_writer){ 0 };
}
