/* What all that is asked of the server has in common: requests put together, answers judged. And the first one, which
 * asks what the server can. */
#include "mount/exchange.h"
#include "http/http.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- putting a call together ---- */

/* Of this thread's calls. */
static _Thread_local const atomic_bool *given_up;
static _Thread_local bool quick;

void remote_give_up_on(const atomic_bool *flag)
{
        given_up = flag;
}

void remote_be_quick(bool yes)
{
        quick = yes;
}

const atomic_bool *remote_given_up(void)
{
        return given_up;
}

/* Each member by itself, since a call has room that need not be touched. */
int exchange_init(struct call *call, const char *method, const char *path, bool folder)
{
        struct text text = text_in(call->path, sizeof(call->path) - 1);

        call->method = method;
        http_encode_path(&text, span_of(path));
        if (folder && text.used > 0)
                text_char(&text, '/');
        call->path[text.used] = '\0';
        call->fields[0] = '\0';
        call->field = NULL;
        call->parts = 0;
        call->idempotent = true; /* what a repetition finds done is not reported as a failure */
        call->quick = quick;
        call->stall_ms = 0;
        call->receive = NULL;
        call->restart = NULL;
        call->done = NULL;
        call->context = NULL;
        call->given_up = given_up;
        return text.overflow ? -ENAMETOOLONG : 0;
}

void exchange_field(struct call *call, const char *format, ...)
{
        size_t used = strlen(call->fields), room = sizeof(call->fields) - used;
        va_list arguments;
        int size;

        va_start(arguments, format);
        size = vsnprintf(call->fields + used, room, format, arguments);
        va_end(arguments);
        ensure(size >= 0 && (size_t)size + 2 <= room); /* tokens and tags are bounded, and there are few of them */
        memcpy(call->fields + used + size, "\n", 2);
}

void exchange_condition(struct call *call, const struct remote_condition *condition)
{
        if (!condition)
                return;
        if (condition->tag && remote_tag_is_strong(condition->tag))
                exchange_field(call, "If-Match: %s", condition->tag);
        if (condition->absent)
                exchange_field(call, "If-None-Match: *");
        if (condition->token && *condition->token)
                exchange_field(call, "If: (<%s>)", condition->token);
}

/* Owncloud's field is understood by some others, too, and passed over by the rest. */
void exchange_times_and_mode(const struct remote *remote, struct call *call, const struct remote_times_and_mode *with)
{
        char room[64];
        struct text text = text_in(room, sizeof(room));
        struct timespec time;

        if (!with)
                return;
        if (with->has_mode && remote->can.berth)
                exchange_field(call, "Berth-Mode: %04o", with->mode & 07777u);
        if (with->has_mtime && remote->can.berth) {
                time = (struct timespec){ .tv_sec = with->mtime_s, .tv_nsec = with->mtime_ns };
                dav_put_time(&text, &time);
                exchange_field(call, "Berth-Mtime: %.*s", (int)text.used, room);
        } else if (with->has_mtime) {
                exchange_field(call, "X-OC-Mtime: %lld", (long long)with->mtime_s);
        }
}

void exchange_body(struct call *call, const struct iovec *body, unsigned parts)
{
        ensure(parts <= CLIENT_MAX_PARTS);
        for (unsigned i = 0; i < parts; i++)
                call->body[i] = body[i];
        call->parts = parts;
}

void exchange_xml(struct call *call, struct span body)
{
        exchange_field(call, "Content-Type: application/xml");
        call->body[0] = (struct iovec){ .iov_base = (char *)body.data, .iov_len = body.size };
        call->parts = 1;
}

/* berth takes a path, which no proxy in front makes wrong; others may want a whole URI (RFC 2518 did). */
int exchange_destination(const struct remote *remote, struct call *call, char room[EXCHANGE_DESTINATION_BYTES],
                         const char *path, bool folder)
{
        struct text text = text_in(room, EXCHANGE_DESTINATION_BYTES - 1);
        struct client *client = remote->client;

        text_put(&text, SPAN("Destination: "));
        text_put(&text, span_of(remote->can.berth ? client_base_path(client) : client_base_url(client)));
        http_encode_path(&text, span_of(path));
        if (folder)
                text_char(&text, '/');
        room[text.used] = '\0';
        call->field = room;
        return text.overflow ? -ENAMETOOLONG : 0;
}

/* ---- what an answer means ---- */

/* Why berth refuses with 409: an errno by its name. */
static int conflict_error(const char *reason)
{
        static const int known[] = { ENOTEMPTY, EISDIR, ENOTDIR, EINVAL, EEXIST, EBUSY, EXDEV, ELOOP, EMLINK };

        for (size_t i = 0; i < array_count(known); i++) {
                if (strcmp(reason, strerrorname_np(known[i])) == 0)
                        return -known[i];
        }
        return -ENOENT;
}

int exchange_error(const struct client_answer *answer)
{
        if (answer->status >= 200 && answer->status < 300)
                return 0;
        switch (answer->status) {
        case 401:
        case 403:
                return strcmp(answer->reason, "EPERM") == 0 ? -EPERM : -EACCES;
        case 404:
        case 410:
                return -ENOENT;
        case 405:
                return -EEXIST;
        case 409:
                return conflict_error(answer->reason);
        case 412:
                return -ESTALE;
        case 413:
                return -EFBIG;
        case 414:
        case 431:
                return -ENAMETOOLONG;
        case 416:
                return -EINVAL;
        case 423:
                return -EBUSY;
        case 501:
                return -EOPNOTSUPP;
        case 507:
                return -ENOSPC;
        default:
                return -EIO;
        }
}

int exchange_lost(int error)
{
        return error == -ETIMEDOUT || error == -ECONNREFUSED || error == -EHOSTUNREACH ? -EIO : error;
}

static bool is_change(const char *method)
{
        return strcmp(method, "GET") != 0 && strcmp(method, "PROPFIND") != 0 && strcmp(method, "OPTIONS") != 0;
}

/* A read-only server forbids, or does not know the method. */
static int judge(const struct remote *remote, const struct call *call)
{
        int status = call->answer.status;

        if (call->error != 0)
                return exchange_lost(call->error);
        if (!remote->can.writable && is_change(call->method) && (status == 403 || status == 405 || status == 501))
                return -EROFS;
        if (status == 405 && (strcmp(call->method, "PUT") == 0 || strcmp(call->method, "PATCH") == 0))
                return -EISDIR;
        if (status == 412 && !strstr(call->fields, "If-Match:") && strstr(call->fields, "If-None-Match: *"))
                return -EEXIST;
        return exchange_error(&call->answer);
}

int exchange_perform(const struct remote *remote, struct call *call)
{
        client_perform(remote->client, call);
        return judge(remote, call);
}

int exchange_read(const struct remote *remote, struct call *call)
{
        call->given_up = given_up;
        client_perform(remote->client, call);
        return remote_read_result(call);
}

void exchange_result(const struct call *call, struct remote_result *result)
{
        if (!result)
                return;
        memcpy(result->tag, call->answer.tag, sizeof(result->tag));
        result->inode = call->answer.inode;
}

/* ---- multistatus ---- */

struct reading {
        struct dav_answer *answer;
        dav_member_fn *member;
        void (*restart)(void *context);
        void *context;
        int error;
};

/* Each thread that asks keeps its reader for the next time: half of what a short answer costs would be to make one. */
static pthread_key_t kept_reader;

static void destroy_reader(void *answer)
{
        dav_answer_destroy(answer);
}

static void make_key(void)
{
        ensure(pthread_key_create(&kept_reader, destroy_reader) == 0);
}

static void begin_reading(struct reading *reading)
{
        if (reading->answer)
                dav_answer_reset(reading->answer, reading->member, reading->context);
        else
                reading->error = dav_answer_create(&reading->answer, reading->member, reading->context);
}

/* What is taken is not kept meanwhile: who hears of a member may ask for something else. */
static void take_reader(struct reading *reading)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;

        pthread_once(&once, make_key);
        reading->answer = pthread_getspecific(kept_reader);
        pthread_setspecific(kept_reader, NULL);
        begin_reading(reading);
}

static void give_reader(struct reading *reading)
{
        if (pthread_getspecific(kept_reader) || pthread_setspecific(kept_reader, reading->answer) != 0)
                dav_answer_destroy(reading->answer);
}

static int receive_multistatus(struct call *call, const char *data, size_t size)
{
        struct reading *reading = call->context;

        if (call->answer.status != 207)
                return 0;
        return reading->error ? reading->error : dav_answer_feed(reading->answer, data, size);
}

static void restart_multistatus(struct call *call)
{
        struct reading *reading = call->context;

        begin_reading(reading);
        if (reading->restart)
                reading->restart(reading->context);
}

/* A server's mistake is an I/O error. */
static int reading_error(int error)
{
        return error == -EBADMSG || error == -E2BIG ? -EIO : error;
}

int exchange_multistatus(const struct remote *remote, struct call *call, dav_member_fn *member,
                         void (*restart)(void *context), void *context)
{
        struct reading reading = { .member = member, .restart = restart, .context = context };
        int result;

        take_reader(&reading);
        call->receive = receive_multistatus;
        call->restart = restart_multistatus;
        call->context = &reading;
        result = reading.error;
        if (result == 0)
                result = exchange_perform(remote, call);
        if (result == 0 && call->answer.status != 207)
                result = -EIO;
        if (result == 0)
                result = dav_answer_end(reading.answer);
        give_reader(&reading);
        return reading_error(result);
}

/* ---- what the server can ---- */

/* Whether a list by commas has that member, in any case. */
static bool lists(const char *list, const char *member)
{
        struct span rest = span_of(list);

        while (rest.data) {
                if (span_equal_nocase(span_trim(span_cut(&rest, ',')), span_of(member)))
                        return true;
        }
        return false;
}

/* Not all methods that work on files are allowed on a folder, which is what was asked. */
static bool allows_changes(const char *allow)
{
        static const char *const methods[] = { "PUT", "DELETE", "MKCOL", "MOVE", "PROPPATCH" };

        for (size_t i = 0; i < array_count(methods); i++) {
                if (lists(allow, methods[i]))
                        return true;
        }
        return *allow == '\0';
}

static void learn(struct remote_abilities *can, const struct client_answer *answer)
{
        *can = (struct remote_abilities){
                .berth = lists(answer->dav, "<" DAV_BERTH_NAMESPACE ">"),
                .locks = lists(answer->dav, "2"),
                .writable = allows_changes(answer->allow),
        };
        can->dot_names = !can->berth || lists(answer->dav, "<" DAV_BERTH_DOT_NAMES ">");
        can->attributes = can->berth || lists(answer->allow, "PROPPATCH");
        if (can->berth)
                can->ranges = REMOTE_BERTH;
        else if (lists(answer->dav, "sabredav-partialupdate"))
                can->ranges = REMOTE_SABREDAV;
        memcpy(can->server, answer->server, sizeof(can->server));
}

/* Why there is no mounting; "" for who knows what was tried to tell (401). */
static void explain(const struct remote *remote, const struct call *call, int result, char why[REMOTE_WHY_BYTES])
{
        bool tls = strncmp(client_base_url(remote->client), "https:", 6) == 0;
        static const struct {
                int error;
                const char *text;
        } known[] = {
                { -ECONNREFUSED, "cannot be reached" },
                { -EHOSTUNREACH, "cannot be reached" },
                { -ETIMEDOUT, "no answer" },
                { -EACCES, "the server's certificate is not trusted" },
                { -ENOKEY, "--cert, --key or --cacert cannot be used" },
        };
        const char *text = !call->error ? "no WebDAV server there"
                           : tls        ? "no answer of a web server over TLS, or it wants a certificate (--cert)"
                                        : "no answer of a web server";
        bool moved = !call->error && call->answer.status / 100 == 3 && call->message[0];

        for (size_t i = 0; i < array_count(known); i++) {
                if (call->error == known[i].error)
                        text = known[i].text;
        }
        if (moved)
                snprintf(why, REMOTE_WHY_BYTES, "the server says that it is at %s", call->message);
        else if (call->error)
                snprintf(why, REMOTE_WHY_BYTES, "%s (%s)", text, call->message);
        else if (call->answer.status == 407)
                snprintf(why, REMOTE_WHY_BYTES,
                         "the proxy wants a password, or another (http_proxy=http://NAME:PASSWORD@HOST)");
        else if (call->answer.status == 403)
                snprintf(why, REMOTE_WHY_BYTES, "the server forbids it (403)");
        else if (call->answer.status >= 500)
                snprintf(why, REMOTE_WHY_BYTES, "the server has a trouble of its own (%d)", call->answer.status);
        else if (result == -EPROTONOSUPPORT)
                snprintf(why, REMOTE_WHY_BYTES, "%s", text);
}

int remote_connect(struct remote *remote, struct client *client, char why[REMOTE_WHY_BYTES])
{
        struct call call;
        int result = exchange_init(&call, "OPTIONS", "", true);

        why[0] = '\0';
        remote->client = client;
        remote->can = (struct remote_abilities){ 0 };
        client_perform(client, &call);
        if (result == 0)
                result = call.error ? call.error : exchange_error(&call.answer);
        if (result == 0 && call.answer.dav[0] == '\0')
                result = -EPROTONOSUPPORT;
        if (result == -EEXIST || result == -EOPNOTSUPP)
                result = -EPROTONOSUPPORT;
        if (result == 0)
                learn(&remote->can, &call.answer);
        else
                explain(remote, &call, result, why);
        return result;
}

int remote_root(struct remote *remote, struct remote_attributes *attributes)
{
        int result = remote_stat(remote, "", attributes);

        return result == 0 && attributes->kind != REMOTE_FOLDER ? -ENOTDIR : result;
}
