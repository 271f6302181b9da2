/* Who may do what: --auth, --auth-tokens and --access.
 *
 * The files are read into a `struct access`, which then does not change; the server, each shard and each password being
 * checked hold a reference. SIGHUP makes a new one, and each shard takes it when it is told to, together with an empty
 * cache of verdicts: so nothing is locked on a request's way.
 *
 *      head ──► ACCESS ── the cache knows ──────────────────────────────► right enough? ──► CONTINUE
 *                 │ it does not                                             ▲     │ no
 *                 ▼                                                         │     ▼
 *        (who guesses waits) ──► ACCESS_CHECK ──► ACCESS_CHECKED ── good ───┘   401, 403
 *                                    a worker hashes    │ bad                     ▲
 *                                                       └──► (waits) ──► ACCESS_REFUSED
 *
 * A request that waits holds no thread, but its place among the requests: so only a quarter of them may wait at a time,
 * beyond that who guesses is answered 429. Passwords are hashed a few at a time, since it costs the processors' time.
 */
#include "crypto/crypto.h"
#include "serve/serve_priv.h"

#include <errno.h>
#include <stdlib.h>

enum { CHALLENGE_BYTES = 2 * (2 * MAX_REALM + 64) };

struct access {
        atomic_uint references;
        struct auth *auth;
        bool challenges; /* there is something that could be asked for */
        char challenge[CHALLENGE_BYTES];
};

/* ---- the challenge (RFC 9110 11.6.1, RFC 7617 2.1) ---- */

static void put_realm(struct text *out, const char *realm)
{
        text_put(out, SPAN("realm=\""));
        for (; *realm; realm++) {
                if (*realm == '"' || *realm == '\\')
                        text_char(out, '\\');
                text_char(out, *realm);
        }
        text_char(out, '"');
}

static void make_challenge(struct access *access, const char *realm)
{
        struct text out = text_in(access->challenge, sizeof(access->challenge) - 1);
        if (auth_has_passwords(access->auth)) {
                text_put(&out, SPAN("WWW-Authenticate: Basic "));
                put_realm(&out, realm);
                text_put(&out, SPAN(", charset=\"UTF-8\"\r\n"));
        }
        if (auth_has_tokens(access->auth)) {
                text_put(&out, SPAN("WWW-Authenticate: Bearer "));
                put_realm(&out, realm);
                text_put(&out, SPAN("\r\n"));
        }
        ensure(!out.overflow);
        access->challenges = out.used > 0;
}

/* ---- the files ---- */

static int load(struct access **out, const struct serve_options *options)
{
        struct access *access = calloc(1, sizeof(*access));
        if (!access)
                return -ENOMEM;
        int error = auth_load(&access->auth, &options->auth);
        if (error) {
                free(access);
                return error;
        }
        access->references = 1;
        make_challenge(access, options->realm);
        *out = access;
        return 0;
}

struct access *access_hold(struct access *access)
{
        atomic_fetch_add(&access->references, 1);
        return access;
}

void access_drop(struct access *access)
{
        if (!access || atomic_fetch_sub(&access->references, 1) > 1)
                return;
        auth_destroy(access->auth);
        free(access);
}

static bool is_private(const struct sockaddr_storage *address)
{
        if (address->ss_family == AF_INET)
                return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
        if (address->ss_family != AF_INET6)
                return address->ss_family == AF_UNIX;
        const struct in6_addr *in6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(in6) || (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == IN_LOOPBACKNET);
}

/* The first listener that other machines can reach, by name; false when there is none. */
static bool find_public(const struct server *server, char *name, size_t size)
{
        for (unsigned i = 0; i < server->listeners.count; i++) {
                if (is_private(&server->listeners.specs[i].address))
                        continue;
                listener_name(&server->listeners.specs[i], name, size);
                return true;
        }
        return false;
}

/* Who listens on the way reads passwords and tokens; and nobody should let everybody write by accident. */
static int check_listeners(const struct server *server)
{
        const struct serve_options *options = &server->options;
        bool secrets = options->auth.passwords || options->auth.tokens;
        bool open = options->writable && !secrets && !options->auth.rules;
        char name[256];
        if (secrets && !options->plain_auth && find_public(server, name, sizeof(name))) {
                complain("%s is not encrypted, so everybody on the way could read the passwords: listen on 127.0.0.1, "
                         "[::1] or unix:PATH behind a proxy that speaks TLS, or say --allow-plain-auth",
                         name);
                return -EINVAL;
        }
        if (open && !options->anonymous_writes && find_public(server, name, sizeof(name))) {
                complain("everybody who can reach %s could change the files: ask for passwords (--auth), or say "
                         "--allow-anonymous-writes",
                         name);
                return -EINVAL;
        }
        return 0;
}

int access_open(struct server *server)
{
        struct serve_options *options = &server->options;
        int error = check_listeners(server);
        if (error || (!options->auth.passwords && !options->auth.tokens && !options->auth.rules))
                return error;
        error = load(&server->access, options);
        if (!error)
                error = auth_failures_create(&server->failures);
        if (!error)
                options->access_bytes = auth_cache_bytes() + MAX_CHECKS * auth_check_bytes(server->access->auth);
        return error;
}

void access_close(struct server *server)
{
        access_drop(server->access);
        auth_failures_destroy(server->failures);
        server->access = NULL;
        server->failures = NULL;
}

void access_reload(struct server *server)
{
        struct access *fresh, *old = server->access;
        if (!old)
                return;
        if (load(&fresh, &server->options) < 0) {
                complain("passwords, tokens and rules stay as they were");
                return;
        }
        pthread_mutex_lock(&server->messages);
        server->access = fresh;
        pthread_mutex_unlock(&server->messages);
        for (unsigned i = 0; i < server->shard_count; i++)
                shard_tell(server->shards[i], SHARD_ACCESS);
        access_drop(old);
}

int access_take(struct shard *shard)
{
        struct server *server = shard->server;
        struct auth_cache *cache;
        pthread_mutex_lock(&server->messages);
        struct access *access = server->access ? access_hold(server->access) : NULL;
        pthread_mutex_unlock(&server->messages);
        if (!access)
                return 0;
        int error = auth_cache_create(&cache, access->auth);
        if (error) {
                complain("passwords, tokens and rules stay as they were: %s", error_text(-error));
                access_drop(access);
                return error;
        }
        access_leave(shard);
        shard->access = access;
        shard->verdicts = cache;
        return 0;
}

void access_leave(struct shard *shard)
{
        auth_cache_destroy(shard->verdicts);
        access_drop(shard->access);
        shard->verdicts = NULL;
        shard->access = NULL;
}

/* ---- rights ---- */

enum auth_right access_needed(enum http_method method)
{
        switch (method) {
        case HTTP_GET:
        case HTTP_HEAD:
        case HTTP_OPTIONS:
        case HTTP_PROPFIND:
        case HTTP_COPY: /* of its source; the destination is asked about by itself */
                return AUTH_READ;
        default:
                return AUTH_WRITE;
        }
}

enum auth_right access_right(const struct access *access, const char *user, struct span path)
{
        char full[HTTP_MAX_PATH + 16] = "/";
        ensure(path.size < sizeof(full) - 1);
        memcpy(full + 1, path.data, path.size);
        return auth_right_at(access->auth, user, (struct span){ full, path.size + 1 });
}

bool access_less_beneath(const struct access *access, const char *user, struct span path, enum auth_right right)
{
        char full[HTTP_MAX_PATH + 16] = "/";
        ensure(path.size < sizeof(full) - 1);
        memcpy(full + 1, path.data, path.size);
        return auth_less_beneath(access->auth, user, (struct span){ full, path.size + 1 }, right);
}

/* ---- the credentials in the head ---- */

/* Two of them are none: which one should count? */
static struct span authorization(const struct request *r)
{
        struct span value = http_field(&r->head, HTTP_AUTHORIZATION), next;
        unsigned index = 0, count = 0;
        while (http_field_each(&r->head, HTTP_AUTHORIZATION, &index, &next))
                count++;
        return count > 1 ? SPAN("") : value;
}

/* They need not lie in memory as long as the answer takes. */
static void wipe_credentials(struct request *r)
{
        struct span value;
        unsigned index = 0;
        while (http_field_each(&r->head, HTTP_AUTHORIZATION, &index, &value))
                crypto_wipe((char *)(uintptr_t)value.data, value.size);
}

/* The peer, as auth_failures_add() wants it. */
static struct span address_of(const struct request *r)
{
        const struct sockaddr_in6 *in6 = &r->conn->active->peer;
        const char *bytes = (const char *)&in6->sin6_addr;
        if (in6->sin6_family == AF_INET)
                return (struct span){ (const char *)&((const struct sockaddr_in *)in6)->sin_addr, 4 };
        if (in6->sin6_family != AF_INET6)
                return (struct span){ NULL, 0 };
        return IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) ? (struct span){ bytes + 12, 4 } : (struct span){ bytes, 8 };
}

/* ---- answers ---- */

enum next access_answer(struct request *r)
{
        switch (r->denied) {
        case 401:
                return respond_error(r, 401, r->shard->access->challenge);
        case 429:
                return respond_error(r, 429, "Retry-After: 5\r\n");
        default:
                return respond_error(r, 403, NULL);
        }
}

/* A client that waits for "100 Continue" sees that its body is not wanted, and may send it or not: only the
 * connection's end makes clear which. A body on its way is skipped first, so that the connection can be kept. */
static enum next deny(struct request *r, int status)
{
        bool body = r->head.chunked || r->body_left > 0;
        bool asks = r->head.expect_continue && r->head.minor > 0 && chain_empty(request_held(r));
        wipe_credentials(r);
        r->denied = (uint16_t)status;
        if (body && (asks || r->body_left > MAX_SKIPPED_BODY))
                r->keep_alive = false;
        else if (body) {
                http_chunked_init(&r->body);
                r->body_since = r->shard->now_seconds;
                return go(r, STEP_SKIP_BODY);
        }
        return access_answer(r);
}

static enum next judge(struct request *r)
{
        const struct access *access = r->shard->access;
        struct span path = { r->path, r->path_size };
        if (access_right(access, r->user, path) < access_needed(r->head.method))
                return deny(r, *r->user || !access->challenges ? 403 : 401);
        wipe_credentials(r);
        r->body_since = r->shard->now_seconds;
        r->deadline = r->body_since + STALL_SECONDS;
        return go(r, STEP_CONTINUE);
}

/* ---- waiting ---- */

static void pause_over(struct berth_op *op)
{
        struct request *r = container_of(container_of(op, struct berth_timer, op), struct request, pause);
        r->pausing = false;
        r->shard->pausing--;
        request_came_back(r);
}

static enum next pause_for(struct request *r, uint32_t wait_ms, enum step then)
{
        struct shard *shard = r->shard;
        if (wait_ms == 0)
                return go(r, then);
        if (shard->pausing >= max_of(shard->requests.limit / 4, 1u)) {
                refused(shard, REFUSED_AUTH);
                return deny(r, 429);
        }
        shard->pausing++;
        r->pausing = true;
        r->pause.op.done = pause_over;
        berth_timer_start(shard->port, &r->pause, wait_ms);
        return wait_for(r, then);
}

static enum next wrong(struct request *r)
{
        struct span address = address_of(r);
        refused(r->shard, REFUSED_AUTH);
        uint32_t wait_ms = auth_failures_add(r->shard->server->failures, address.data, address.size,
                                             berth_port_now_ms(r->shard->port));
        return pause_for(r, wait_ms, STEP_ACCESS_REFUSED);
}

enum next step_access_refused(struct request *r)
{
        return deny(r, 401);
}

/* ---- checking ---- */

static enum auth_verdict ask(struct request *r)
{
        return auth_cache_ask(r->shard->verdicts, authorization(r), r->user, berth_port_now_ms(r->shard->port));
}

/* A path that names nothing is judged as the top folder; that there is no such thing is told later, if at all. */
enum next step_access(struct request *r)
{
        int size = http_decode_path(r->path, r->head.path, &r->folder, &r->hidden);
        r->path_size = (uint16_t)max_of(size, 0);
        enum auth_verdict verdict = ask(r);
        if (verdict == AUTH_BAD)
                return wrong(r);
        if (verdict != AUTH_MUST_HASH)
                return judge(r);
        struct span address = address_of(r);
        uint32_t wait_ms = auth_failures_wait(r->shard->server->failures, address.data, address.size,
                                              berth_port_now_ms(r->shard->port));
        return pause_for(r, wait_ms, STEP_ACCESS_CHECK);
}

/* On a worker thread; the request waits, so what it reads here nobody changes. */
static int64_t check(struct berth_call *call)
{
        struct request *r = container_of(call, struct request, call);
        return auth_check(r->access->auth, authorization(r), r->user);
}

static void end_check(struct request *r)
{
        r->shard->checks -= r->has_check;
        r->has_check = false;
        access_drop(r->access);
        r->access = NULL;
}

/* A few at a time. Who has waited asks the cache again: of a browser's six connections one finds out for all. */
enum next step_access_check(struct request *r)
{
        struct shard *shard = r->shard;
        if (!r->has_check)
                r->has_check = request_take_place(&shard->for_check, &shard->checks, MAX_CHECKS);
        if (!r->has_check)
                return request_wait_for_place(r, &shard->for_check);
        enum auth_verdict verdict = ask(r);
        if (verdict != AUTH_MUST_HASH) {
                end_check(r);
                return verdict == AUTH_BAD ? wrong(r) : judge(r);
        }
        r->access = access_hold(shard->access);
        r->call.call = check;
        count_add(&shard->counters.password_checks, 1);
        berth_call(shard->port, &r->call);
        return wait_for(r, STEP_ACCESS_CHECKED);
}

/* A verdict by files that have been read anew since counts no more. */
enum next step_access_checked(struct request *r)
{
        int64_t verdict = r->call.op.result;
        bool current = r->access == r->shard->access;
        end_check(r);
        if (verdict < 0) {
                refused(r->shard, REFUSED_AUTH);
                return respond_error(r, 503, "Retry-After: 1\r\n");
        }
        if (!current)
                return go(r, STEP_ACCESS);
        auth_cache_learn(r->shard->verdicts, authorization(r), (enum auth_verdict)verdict,
                         berth_port_now_ms(r->shard->port));
        return verdict == AUTH_GOOD ? judge(r) : wrong(r);
}

void access_let_go(struct request *r)
{
        ensure(!r->pausing);
        end_check(r);
}
