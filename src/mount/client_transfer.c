/* One attempt: what libcurl is told of a call, what it tells, and what came of it.
 *
 * A small body goes out in one piece with its head, which spares the server a wake-up; libcurl does that with what it
 * takes for a form (POSTFIELDS), whatever the method is called. A large one is read from the call's memory.
 *
 * libcurl itself sends a request again when a kept connection turns out to be closed without a byte of an answer. It
 * asks before (the prereq callback): a call that may not be sent twice is ended there. */
#include "mount/transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool is_success(int status)
{
        return status >= 200 && status < 300;
}

/* ---- what libcurl tells ---- */

static void moved(struct transfer *transfer, uint64_t now)
{
        transfer->moved_ms = transfer->client->moved_ms = now;
}

/* Bytes that an earlier attempt moved already are no progress: so a call whose attempts are all cut off comes to an
 * end. */
static void progress(struct transfer *transfer, size_t at, size_t *most)
{
        uint64_t now = clock_ms();

        moved(transfer, now);
        if (at <= *most)
                return;
        *most = at;
        transfer->call->progress_ms = now;
}

static void count_connections(struct transfer *transfer)
{
        long connects = 0;

        curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
        if (connects > transfer->connects)
                transfer->client->counters.connections_opened++;
        transfer->connects = connects;
}

/* A connection stands, and the request is about to be sent; perhaps a second time. */
static int on_connected(void *context, char *address, char *own_address, int port, int own_port)
{
        struct transfer *transfer = context;
        struct call *call = transfer->call;

        (void)address, (void)own_address, (void)port, (void)own_port;
        count_connections(transfer);
        if (transfer->asked) {
                transfer->blind = !call->idempotent;
                if (transfer->blind)
                        return CURL_PREREQFUNC_ABORT;
                call->uncertain = true;
                call->attempts++;
                transfer->client->counters.retries++;
                if (call->restart)
                        call->restart(call);
        }
        transfer->asked = true;
        moved(transfer, clock_ms());
        return CURL_PREREQFUNC_OK;
}

static void take_head(struct transfer *transfer, struct span line)
{
        struct client_answer *answer = &transfer->call->answer;
        struct span rest = line;

        if (line.size == 0) {
                transfer->told = answer->status >= 200;
                return;
        }
        answer_take_line(answer, line);
        if (span_equal_nocase(span_cut(&rest, ':'), SPAN("Retry-After")))
                transfer->retry_after_s = answer_retry_after(span_trim(rest));
}

static size_t on_head(char *data, size_t one, size_t size, void *context)
{
        struct transfer *transfer = context;
        struct span line = { data, size };

        (void)one;
        while (line.size > 0 && (line.data[line.size - 1] == '\n' || line.data[line.size - 1] == '\r'))
                line.size--;
        moved(transfer, clock_ms());
        take_head(transfer, line);
        return size;
}

static size_t on_body(char *data, size_t one, size_t size, void *context)
{
        struct transfer *transfer = context;
        struct call *call = transfer->call;

        (void)one;
        transfer->received += size;
        transfer->client->counters.bytes_received += size;
        progress(transfer, transfer->received, &call->received);
        if (!call->receive || !is_success(call->answer.status))
                return size;
        transfer->failure = call->receive(call, data, size);
        return transfer->failure == 0 ? size : 0;
}

/* Bytes of the body from `at` on. */
static size_t copy_body(const struct call *call, size_t at, char *out, size_t room)
{
        size_t copied = 0;

        for (unsigned i = 0; i < call->parts; i++) {
                size_t size = call->body[i].iov_len, piece;

                if (at >= size) {
                        at -= size;
                        continue;
                }
                piece = min_of(size - at, room - copied);
                memcpy(out + copied, (const char *)call->body[i].iov_base + at, piece);
                copied += piece;
                at = 0;
        }
        return copied;
}

static size_t on_send(char *out, size_t one, size_t room, void *context)
{
        struct transfer *transfer = context;
        size_t size = copy_body(transfer->call, transfer->at, out, one * room);

        transfer->at += size;
        transfer->client->counters.bytes_sent += size;
        progress(transfer, transfer->at, &transfer->call->sent);
        return size;
}

static int on_rewind(void *context, curl_off_t offset, int origin)
{
        struct transfer *transfer = context;

        if (origin != SEEK_SET || offset < 0 || (size_t)offset > transfer->size)
                return CURL_SEEKFUNC_FAIL;
        transfer->at = (size_t)offset;
        return CURL_SEEKFUNC_OK;
}

static curl_socket_t on_open(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
        struct client_counters *counters = context;
        int descriptor = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
        uint64_t open;

        (void)purpose;
        if (descriptor < 0)
                return CURL_SOCKET_BAD;
        open = ++counters->connections_open;
        if (open > counters->connections_peak)
                counters->connections_peak = open;
        return descriptor;
}

static int on_close(void *context, curl_socket_t descriptor)
{
        struct client *client = context;

        if ((size_t)descriptor < client->interest_count)
                client->interests[descriptor] = (struct interest){ 0 };
        client->counters.connections_open--;
        return close(descriptor);
}

/* ---- life ---- */

int transfer_init(struct transfer *transfer, struct client *client)
{
        CURL *easy = curl_easy_init();
        CURLcode code;

        *transfer = (struct transfer){ .client = client, .easy = easy };
        list_init(&transfer->node);
        transfer->url = malloc(client->url_size + CLIENT_PATH_BYTES);
        transfer->small = malloc(TRANSFER_SMALL_BYTES);
        if (!easy || !transfer->url || !transfer->small || client_base_apply(client, easy) < 0)
                return -ENOMEM;
        memcpy(transfer->url, client->url, client->url_size);
        curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->said);
        code = curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
        curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_connected);
        curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
        curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
        curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
        curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
        curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_rewind);
        curl_easy_setopt(easy, CURLOPT_SEEKDATA, transfer);
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &client->counters);
        curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
        curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, client);
        return code ? -ENOMEM : 0;
}

void transfer_finish(struct transfer *transfer)
{
        if (transfer->easy)
                curl_easy_cleanup(transfer->easy);
        free(transfer->url);
        free(transfer->small);
}

/* ---- beginning ---- */

/* PUT and PATCH without a body say so by a length of 0. */
static bool wants_length(const struct call *call)
{
        return call->parts > 0 || strcmp(call->method, "PUT") == 0 || strcmp(call->method, "PATCH") == 0;
}

/* Lines that libcurl would add by itself are taken back. (It looks through all of them for each that it knows, so there
 * are no more than need be.) */
static size_t put_refusals(struct curl_slist *fields, const struct call *call, size_t size)
{
        size_t count = 0;

        fields[count++].data = "Accept:";
        if (wants_length(call) && !strstr(call->fields, "Content-Type:"))
                fields[count++].data = "Content-Type:";
        if (size >= TRANSFER_SMALL_BYTES)
                fields[count++].data = "Expect:";
        return count;
}

static int put_fields(struct transfer *transfer, const struct call *call)
{
        struct curl_slist *fields = transfer->fields;
        size_t count = put_refusals(fields, call, transfer->size), used = strlen(call->fields);
        char *line = transfer->lines, *end;

        memcpy(line, call->fields, used + 1);
        for (; (end = strchr(line, '\n')); line = end + 1) {
                if (count == TRANSFER_FIELDS)
                        return -E2BIG;
                *end = '\0';
                fields[count++].data = line;
        }
        if (call->field && count == TRANSFER_FIELDS)
                return -E2BIG;
        if (call->field)
                fields[count++].data = (char *)call->field;
        for (size_t i = 0; i < count; i++)
                fields[i].next = i + 1 < count ? &fields[i + 1] : NULL;
        return curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, fields) ? -ENOMEM : 0;
}

static CURLcode put_small_body(struct transfer *transfer, const struct call *call)
{
        const char *data = call->parts == 1 ? call->body[0].iov_base : transfer->small;
        CURLcode code = curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->size);

        if (call->parts > 1)
                copy_body(call, 0, transfer->small, transfer->size);
        if (code)
                return code;
        transfer->client->counters.bytes_sent += transfer->size;
        return curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, transfer->size > 0 ? data : "");
}

/* With the small body of an earlier call still set libcurl would not rewind this one. */
static CURLcode put_large_body(struct transfer *transfer)
{
        CURLcode code = curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, NULL);

        if (!code)
                code = curl_easy_setopt(transfer->easy, CURLOPT_UPLOAD, 1L);
        return code ? code : curl_easy_setopt(transfer->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)transfer->size);
}

static int put_body(struct transfer *transfer, const struct call *call)
{
        CURLcode code = curl_easy_setopt(transfer->easy, CURLOPT_HTTPGET, 1L); /* no body any more */

        if (!code && strcmp(call->method, "HEAD") == 0)
                code = curl_easy_setopt(transfer->easy, CURLOPT_NOBODY, 1L);
        else if (!code && wants_length(call))
                code = transfer->size < TRANSFER_SMALL_BYTES ? put_small_body(transfer, call)
                                                             : put_large_body(transfer);
        if (!code)
                code = curl_easy_setopt(transfer->easy, CURLOPT_CUSTOMREQUEST, call->method);
        return code ? -ENOMEM : 0;
}

static void start_afresh(struct transfer *transfer, struct call *call, uint64_t now)
{
        transfer->call = call;
        transfer->moved_ms = now;
        transfer->at = transfer->received = 0;
        transfer->retry_after_s = 0;
        transfer->connects = 0;
        transfer->asked = transfer->blind = transfer->told = false;
        transfer->failure = 0;
        call->transfer = transfer;
        call->message[0] = transfer->said[0] = '\0';
        answer_begin(&call->answer);
}

int transfer_begin(struct transfer *transfer, struct call *call, uint64_t now_ms)
{
        size_t path = strlen(call->path);
        int result;

        ensure(path < CLIENT_PATH_BYTES && call->parts <= CLIENT_MAX_PARTS);
        transfer->size = 0;
        for (unsigned i = 0; i < call->parts; i++)
                transfer->size += call->body[i].iov_len;
        memcpy(transfer->url + transfer->client->url_size, call->path, path + 1);
        if (curl_easy_setopt(transfer->easy, CURLOPT_URL, transfer->url))
                return -ENOMEM;
        result = put_fields(transfer, call);
        if (result == 0)
                result = put_body(transfer, call);
        if (result < 0)
                return result;
        start_afresh(transfer, call, now_ms);
        if (curl_multi_add_handle(transfer->client->multi, transfer->easy) == CURLM_OK)
                return 0;
        call->transfer = NULL;
        return -ENOMEM;
}

/* ---- the end ---- */

static int connect_error(struct transfer *transfer)
{
        long number = 0;

        curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &number);
        return number == EHOSTUNREACH || number == ENETUNREACH ? -EHOSTUNREACH : -ECONNREFUSED;
}

/* What no further attempt would change; 0: it might. */
static int lasting_error(const struct transfer *transfer, CURLcode code)
{
        switch (code) {
        case CURLE_OUT_OF_MEMORY:
                return -ENOMEM;
        case CURLE_SSL_CERTPROBLEM:
        case CURLE_SSL_CACERT_BADFILE:
                return -ENOKEY;
        case CURLE_PEER_FAILED_VERIFICATION:
        case CURLE_SSL_ISSUER_ERROR:
        case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
        case CURLE_SSL_INVALIDCERTSTATUS:
                return -EACCES;
        case CURLE_UNSUPPORTED_PROTOCOL:
        case CURLE_URL_MALFORMAT:
        case CURLE_BAD_FUNCTION_ARGUMENT:
        case CURLE_UNKNOWN_OPTION:
                return -EIO;
        case CURLE_WRITE_ERROR:
                return transfer->failure != 0 ? transfer->failure : -EIO;
        default:
                return transfer->failure;
        }
}

static int passing_error(struct transfer *transfer, CURLcode code)
{
        switch (code) {
        case CURLE_COULDNT_RESOLVE_HOST:
        case CURLE_COULDNT_RESOLVE_PROXY:
                return -EHOSTUNREACH;
        case CURLE_COULDNT_CONNECT:
                return connect_error(transfer);
        case CURLE_OPERATION_TIMEDOUT:
                return -ETIMEDOUT;
        default:
                return -EIO;
        }
}

static enum transfer_verdict judge_answer(const struct transfer *transfer)
{
        struct call *call = transfer->call;
        bool gateway = call->answer.status == 502 || call->answer.status == 504;
        const char *location = NULL;

        curl_easy_getinfo(transfer->easy, CURLINFO_REDIRECT_URL, &location);
        snprintf(call->message, sizeof(call->message), "%s", location ? location : "");
        switch (call->answer.status) {
        case 502:
        case 504:
                call->uncertain = true; /* who knows what the server behind the gateway did */
                __attribute__((fallthrough));
        case 408: /* a kept connection that the server was about to close */
        case 429:
        case 503:
                return gateway && !call->idempotent ? TRANSFER_ENDED : TRANSFER_AGAIN;
        default:
                return TRANSFER_ENDED;
        }
}

/* Whose body nobody wants is complete with its head. (libcurl takes an answer for whole that ends within the head.) */
static bool is_answered(const struct transfer *transfer, CURLcode code)
{
        const struct call *call = transfer->call;

        if (code == CURLE_OK)
                return transfer->told;
        return transfer->told && transfer->failure == 0 && (!call->receive || !is_success(call->answer.status));
}

static enum transfer_verdict judge(struct transfer *transfer, CURLcode code)
{
        struct call *call = transfer->call;

        call->error = 0;
        if (is_answered(transfer, code))
                return judge_answer(transfer);
        if (code == CURLE_OK)
                code = CURLE_RECV_ERROR;
        snprintf(call->message, sizeof(call->message), "%s",
                 transfer->said[0] ? transfer->said : curl_easy_strerror(code));
        call->error = lasting_error(transfer, code);
        if (call->error != 0)
                return TRANSFER_ENDED;
        call->error = passing_error(transfer, code);
        call->uncertain |= transfer->asked;
        return transfer->asked && !call->idempotent ? TRANSFER_ENDED : TRANSFER_AGAIN;
}

enum transfer_verdict transfer_end(struct transfer *transfer, CURLcode code)
{
        enum transfer_verdict verdict;

        count_connections(transfer);
        verdict = judge(transfer, code);
        curl_multi_remove_handle(transfer->client->multi, transfer->easy);
        transfer->call->transfer = NULL;
        transfer->call = NULL;
        return verdict;
}
