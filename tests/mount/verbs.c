/* The client's verbs (mount/remote.h), one a line of the standard input, so that a test can ask for them one by one
 * while it plays with the server. A line is a verb and its arguments, percent-encoded, by spaces; name=value are
 * options. The answer is one line, percent-encoded as well: the result, then what belongs to it. */
#include "http/http.h"
#include "mount/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { ARGUMENTS = 24, OUT_BYTES = 4 << 20, MAX_THREADS = 64 };

static struct remote remote = { .file_mode = 0644, .folder_mode = 0755 };
static atomic_bool given_up;

struct words {
        unsigned count;
        char *words[ARGUMENTS];
        size_t sizes[ARGUMENTS];
};

/* ---- lines ---- */

/* In place. */
static size_t decode(char *word)
{
        char *to = word;

        for (char *from = word; *from; from++) {
                if (*from == '%') {
                        *to++ = (char)(hex_digit(from[1]) << 4 | hex_digit(from[2]));
                        from += 2;
                } else {
                        *to++ = *from;
                }
        }
        *to = '\0';
        return (size_t)(to - word);
}

static void split(struct words *words, char *line)
{
        char *rest = NULL;

        words->count = 0;
        for (char *word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
                ensure(words->count < ARGUMENTS);
                if (strcmp(word, "-") == 0) /* an empty one */
                        *word = '\0';
                words->words[words->count] = word;
                words->sizes[words->count++] = decode(word);
        }
}

static const char *option(const struct words *words, const char *name)
{
        size_t size = strlen(name);

        for (unsigned i = 1; i < words->count; i++) {
                if (strncmp(words->words[i], name, size) == 0 && words->words[i][size] == '=')
                        return words->words[i] + size + 1;
        }
        return NULL;
}

static uint64_t number(const struct words *words, const char *name)
{
        const char *text = option(words, name);

        return text ? strtoull(text, NULL, 10) : 0;
}

static const char *argument(const struct words *words, unsigned index)
{
        return index < words->count ? words->words[index] : "";
}

static void put_encoded(struct text *out, struct span s)
{
        text_char(out, ' ');
        if (span_equal(s, SPAN("-")))
                text_put(out, SPAN("%2D"));
        else if (s.size == 0)
                text_char(out, '-');
        else
                http_encode_path(out, s);
}

static void put_number(struct text *out, int64_t value)
{
        text_format(out, " %lld", (long long)value);
}

/* ---- looking ---- */

static int do_connect(const struct words *words, struct text *out)
{
        struct remote_attributes attributes;
        char why[REMOTE_WHY_BYTES];
        int result = remote_connect(&remote, remote.client, why);

        (void)words;
        if (result == 0)
                result = remote_root(&remote, &attributes);
        put_number(out, remote.can.ranges);
        put_number(out, remote.can.berth);
        put_number(out, remote.can.locks);
        put_number(out, remote.can.writable);
        put_number(out, remote.can.attributes);
        put_encoded(out, span_of(why));
        return result;
}

static void put_attributes(struct text *out, const struct remote_attributes *a)
{
        static const char *const kinds[] = { "file", "folder", "link" };

        text_format(out, " %s %llu %o %d %u %llu %lld %u", kinds[a->kind], (unsigned long long)a->size, a->mode,
                    a->has_mode, a->links, (unsigned long long)a->inode, (long long)a->mtime_s, a->mtime_ns);
        put_encoded(out, span_of(a->tag));
}

static int do_stat(const struct words *words, struct text *out)
{
        struct remote_attributes attributes;
        int result = remote_stat(&remote, argument(words, 1), &attributes);

        if (result == 0)
                put_attributes(out, &attributes);
        return result;
}

static int put_member(void *context, struct span name, const struct remote_attributes *attributes)
{
        put_encoded(context, name);
        put_attributes(context, attributes);
        return 0;
}

static void begin_again(void *context)
{
        ((struct text *)context)->used = 0;
}

static int do_list(const struct words *words, struct text *out)
{
        return remote_list(&remote, argument(words, 1), put_member, begin_again, out);
}

static int count_member(void *context, struct span name, const struct remote_attributes *attributes)
{
        (void)name, (void)attributes;
        ++*(unsigned *)context;
        return 0;
}

static int do_count(const struct words *words, struct text *out)
{
        unsigned count = 0;
        uint64_t start = clock_us();
        int result = remote_list(&remote, argument(words, 1), count_member, NULL, &count);

        put_number(out, count);
        put_number(out, (int64_t)(clock_us() - start));
        return result;
}

static int do_readlink(const struct words *words, struct text *out)
{
        char target[REMOTE_PATH_BYTES];
        int result = remote_read_link(&remote, argument(words, 1), target, sizeof(target));

        if (result == 0)
                put_encoded(out, span_of(target));
        return result;
}

static int do_space(const struct words *words, struct text *out)
{
        struct remote_space space;
        int result = remote_space(&remote, argument(words, 1), &space);

        put_number(out, (int64_t)space.available);
        put_number(out, (int64_t)space.used);
        return result;
}

struct got {
        char *data;
        size_t size, used;
};

static int receive(struct call *call, const char *data, size_t size)
{
        struct got *got = call->context;

        if (size > got->size - got->used)
                return -EFBIG;
        memcpy(got->data + got->used, data, size);
        got->used += size;
        return 0;
}

static void restart(struct call *call)
{
        ((struct got *)call->context)->used = 0;
}

static int do_get(const struct words *words, struct text *out)
{
        struct got got = { .size = number(words, "size") };
        const char *tag = option(words, "match");
        struct call call;
        int result = remote_read_call(&remote, &call, argument(words, 1), tag ? tag : "", number(words, "first"),
                                      got.size);

        got.data = malloc(got.size);
        call.receive = receive;
        call.restart = restart;
        call.context = &got;
        if (result == 0) {
                client_perform(remote.client, &call);
                result = remote_read_result(&call);
        }
        if (number(words, "quiet"))
                put_number(out, (int64_t)got.used);
        else
                put_encoded(out, (struct span){ got.data, result == 0 ? got.used : 0 });
        free(got.data);
        return result;
}

/* ---- changing ---- */

static struct remote_condition condition_of(const struct words *words)
{
        return (struct remote_condition){ .tag = option(words, "match"),
                                          .absent = number(words, "absent"),
                                          .token = option(words, "token") };
}

static struct remote_times_and_mode with_of(const struct words *words)
{
        const char *mode = option(words, "mode"), *mtime = option(words, "mtime");

        return (struct remote_times_and_mode){
                .has_mode = mode,
                .has_mtime = mtime,
                .mode = mode ? (uint16_t)strtoul(mode, NULL, 8) : 0,
                .mtime_s = mtime ? strtoll(mtime, NULL, 10) : 0,
                .mtime_ns = (uint32_t)number(words, "ns"),
        };
}

/* The argument in two parts; or `size` bytes that are told by nothing but their number. */
static unsigned body_of(const struct words *words, unsigned index, struct iovec body[2], char **room)
{
        size_t size = number(words, "size");

        *room = NULL;
        if (size > 0) {
                *room = malloc(size);
                if (number(words, "quiet"))
                        memset(*room, 'x', size);
                for (size_t i = 0; i < size && !number(words, "quiet"); i++)
                        (*room)[i] = (char)(i * 31 + i / 251);
                body[0] = (struct iovec){ *room, size / 3 };
                body[1] = (struct iovec){ *room + size / 3, size - size / 3 };
                return 2;
        }
        if (index >= words->count || words->sizes[index] == 0)
                return 0;
        body[0] = (struct iovec){ words->words[index], words->sizes[index] / 2 };
        body[1] = (struct iovec){ words->words[index] + body[0].iov_len, words->sizes[index] - body[0].iov_len };
        return 2;
}

static void put_result(struct text *out, const struct remote_result *result)
{
        put_encoded(out, span_of(result->tag));
        put_number(out, (int64_t)result->inode);
}

static int do_put(const struct words *words, struct text *out)
{
        struct remote_condition condition = condition_of(words);
        struct remote_times_and_mode with = with_of(words);
        struct remote_result now = { 0 };
        struct iovec body[2];
        char *room;
        unsigned parts = body_of(words, 2, body, &room);
        int result = remote_put(&remote, argument(words, 1), body, parts, &condition, &with, number(words, "durable"),
                                &now);

        free(room);
        put_result(out, &now);
        return result;
}

static int do_write(const struct words *words, struct text *out)
{
        struct remote_condition condition = condition_of(words);
        struct remote_times_and_mode with = with_of(words);
        struct remote_result now = { 0 };
        struct iovec body[2];
        char *room;
        unsigned parts = body_of(words, 2, body, &room);
        int result = remote_write(&remote, argument(words, 1), number(words, "first"), body, parts, &condition, &with,
                                  number(words, "durable"), &now);

        free(room);
        put_result(out, &now);
        return result;
}

static int do_truncate(const struct words *words, struct text *out)
{
        struct remote_condition condition = condition_of(words);
        struct remote_times_and_mode with = with_of(words);
        struct remote_result now = { 0 };
        int result = remote_truncate(&remote, argument(words, 1), number(words, "to"), &condition, &with, &now);

        put_result(out, &now);
        return result;
}

static int do_sync(const struct words *words, struct text *out)
{
        struct remote_condition condition = condition_of(words);

        (void)out;
        return remote_sync(&remote, argument(words, 1), &condition);
}

static int do_set(const struct words *words, struct text *out)
{
        struct remote_condition condition = condition_of(words);
        struct remote_times_and_mode with = with_of(words);
        struct remote_result now = { 0 };
        int result = remote_set(&remote, argument(words, 1), number(words, "link"), &condition, &with, &now);

        put_result(out, &now);
        return result;
}

static int do_upload(const struct words *words, struct text *out)
{
        struct remote_condition condition = condition_of(words);
        struct remote_times_and_mode with = with_of(words);
        struct remote_result now = { 0 };
        int descriptor = open(argument(words, 2), O_RDONLY | O_CLOEXEC), result;

        ensure(descriptor >= 0);
        result = remote_upload(&remote, argument(words, 1), descriptor, (uint64_t)lseek(descriptor, 0, SEEK_END),
                               &condition, &with, &now);
        close(descriptor);
        put_result(out, &now);
        return result;
}

static int do_download(const struct words *words, struct text *out)
{
        const char *tag = option(words, "match");
        int descriptor = open(argument(words, 2), O_RDWR | O_CREAT | O_CLOEXEC, 0600), result;

        (void)out;
        ensure(descriptor >= 0);
        result = remote_download(&remote, argument(words, 1), tag ? tag : "", descriptor);
        close(descriptor);
        return result;
}

static int do_mkdir(const struct words *words, struct text *out)
{
        struct remote_times_and_mode with = with_of(words);
        struct remote_result now = { 0 };
        int result = remote_make_folder(&remote, argument(words, 1), &with, &now);

        put_result(out, &now);
        return result;
}

static int do_symlink(const struct words *words, struct text *out)
{
        struct remote_result now = { 0 };
        int result = remote_make_link(&remote, argument(words, 1), argument(words, 2), &now);

        put_result(out, &now);
        return result;
}

static int do_link(const struct words *words, struct text *out)
{
        struct remote_result now = { 0 };
        int result = remote_link(&remote, argument(words, 1), argument(words, 2), &now);

        put_result(out, &now);
        return result;
}

static int do_remove(const struct words *words, struct text *out)
{
        (void)out;
        return remote_remove(&remote, argument(words, 1), option(words, "token"));
}

static int do_rmdir(const struct words *words, struct text *out)
{
        (void)out;
        return remote_remove_folder(&remote, argument(words, 1));
}

static int do_move(const struct words *words, struct text *out)
{
        unsigned flags = (number(words, "keep") ? REMOTE_NO_REPLACE : 0) |
                         (number(words, "folder") ? REMOTE_IS_FOLDER : 0);

        (void)out;
        return remote_move(&remote, argument(words, 1), argument(words, 2), flags);
}

/* ---- attributes and locks ---- */

static int do_getxattr(const struct words *words, struct text *out)
{
        size_t size = number(words, "size");
        char *room = malloc(size + 1);
        ssize_t result = remote_get_attribute(&remote, argument(words, 1), argument(words, 2), room, size);

        if (result >= 0 && size > 0)
                put_encoded(out, (struct span){ room, (size_t)result });
        free(room);
        return (int)result;
}

static int do_setxattr(const struct words *words, struct text *out)
{
        struct iovec body[2];
        char *room;

        (void)out;
        if (body_of(words, 3, body, &room) == 0)
                return remote_set_attribute(&remote, argument(words, 1), argument(words, 2), "", 0,
                                            option(words, "token"));
        int result = remote_set_attribute(&remote, argument(words, 1), argument(words, 2), body[0].iov_base,
                                          body[0].iov_len + body[1].iov_len, option(words, "token"));
        free(room);
        return result;
}

static int do_removexattr(const struct words *words, struct text *out)
{
        (void)out;
        return remote_set_attribute(&remote, argument(words, 1), argument(words, 2), NULL, 0, option(words, "token"));
}

static int do_listxattr(const struct words *words, struct text *out)
{
        size_t size = number(words, "size");
        char *room = malloc(size + 1);
        ssize_t result = remote_list_attributes(&remote, argument(words, 1), room, size);

        if (result >= 0 && size > 0)
                put_encoded(out, (struct span){ room, (size_t)result });
        free(room);
        return (int)result;
}

static int do_lock(const struct words *words, struct text *out)
{
        char token[REMOTE_TOKEN_BYTES], tag[CLIENT_TAG_BYTES];
        int result = remote_lock(&remote, argument(words, 1), 60, token, tag);

        if (result == 0)
                put_encoded(out, span_of(token));
        return result;
}

static int do_refresh(const struct words *words, struct text *out)
{
        (void)out;
        return remote_refresh(&remote, argument(words, 1), argument(words, 2), 60);
}

static int do_unlock(const struct words *words, struct text *out)
{
        (void)out;
        return remote_unlock(&remote, argument(words, 1), argument(words, 2));
}

/* ---- the client itself ---- */

static int do_counters(const struct words *words, struct text *out)
{
        const struct client_counters *counters = client_counters(remote.client);

        (void)words;
        text_format(out, " %llu %llu %llu %llu %llu %llu %llu", (unsigned long long)counters->requests,
                    (unsigned long long)counters->retries, (unsigned long long)counters->connections_opened,
                    (unsigned long long)counters->connections_open, (unsigned long long)counters->connections_peak,
                    (unsigned long long)counters->bytes_sent, (unsigned long long)counters->bytes_received);
        return 0;
}

static int do_retry(const struct words *words, struct text *out)
{
        (void)out;
        client_set_retry(remote.client, (unsigned)number(words, "ms"));
        return 0;
}

static void *give_up_later(void *milliseconds)
{
        usleep((useconds_t)(uintptr_t)milliseconds * 1000);
        given_up = true;
        return NULL;
}

/* From `ms` from now on everything is given up; ms=0: nothing is. */
static int do_giveup(const struct words *words, struct text *out)
{
        pthread_t thread;
        uintptr_t milliseconds = number(words, "ms");

        (void)out;
        given_up = false;
        if (milliseconds == 0)
                return 0;
        ensure(pthread_create(&thread, NULL, give_up_later, (void *)milliseconds) == 0);
        return -pthread_detach(thread);
}

/* A request of any kind, sent once only if `once`: how it ended, whether that is uncertain, status and attempts. */
static int do_call(const struct words *words, struct text *out)
{
        struct call *call = calloc(1, sizeof(*call));
        int result;

        call->method = argument(words, 1);
        ensure(strlen(argument(words, 2)) < sizeof(call->path));
        strcpy(call->path, argument(words, 2));
        call->parts = body_of(words, 3, call->body, (char **)&call->context);
        call->idempotent = !number(words, "once");
        call->quick = number(words, "quick");
        call->stall_ms = (unsigned)number(words, "stall");
        call->given_up = &given_up;
        result = client_perform(remote.client, call);
        put_number(out, call->uncertain);
        put_number(out, call->answer.status);
        put_number(out, call->attempts);
        put_encoded(out, span_of(call->message));
        free(call->context);
        free(call);
        return result;
}

/* ---- many at a time, and how fast ---- */

static const struct verb {
        const char *name;
        int (*run)(const struct words *words, struct text *out);
} verbs[] = {
        { "call", do_call },
        { "connect", do_connect },
        { "count", do_count },
        { "counters", do_counters },
        { "download", do_download },
        { "get", do_get },
        { "getxattr", do_getxattr },
        { "giveup", do_giveup },
        { "link", do_link },
        { "list", do_list },
        { "listxattr", do_listxattr },
        { "lock", do_lock },
        { "mkdir", do_mkdir },
        { "move", do_move },
        { "put", do_put },
        { "readlink", do_readlink },
        { "refresh", do_refresh },
        { "remove", do_remove },
        { "removexattr", do_removexattr },
        { "retry", do_retry },
        { "rmdir", do_rmdir },
        { "set", do_set },
        { "setxattr", do_setxattr },
        { "space", do_space },
        { "stat", do_stat },
        { "symlink", do_symlink },
        { "sync", do_sync },
        { "truncate", do_truncate },
        { "unlock", do_unlock },
        { "upload", do_upload },
        { "write", do_write },
};

static int run(const struct words *words, struct text *out)
{
        for (size_t i = 0; i < array_count(verbs); i++) {
                if (strcmp(verbs[i].name, words->words[0]) == 0)
                        return verbs[i].run(words, out);
        }
        return -ENOSYS;
}

struct crowd {
        const char *line;
        unsigned times;
        _Atomic unsigned failed;
        _Atomic int error;
};

static void *run_many(void *context)
{
        struct crowd *crowd = context;
        char *room = malloc(OUT_BYTES), *line = malloc(strlen(crowd->line) + 1);

        remote_give_up_on(&given_up);
        for (unsigned i = 0; i < crowd->times; i++) {
                struct text out = text_in(room, OUT_BYTES);
                struct words words;
                int result;

                strcpy(line, crowd->line);
                split(&words, line);
                result = run(&words, &out);
                if (result < 0) {
                        crowd->failed++;
                        crowd->error = result;
                }
        }
        free(line);
        free(room);
        return NULL;
}

static uint64_t cpu_us(void)
{
        struct rusage usage;

        getrusage(RUSAGE_SELF, &usage);
        return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
               (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* "many THREADS TIMES VERB...": how many failed and how, microseconds, and those of the processor. */
static int many(char *line, struct text *out)
{
        pthread_t threads[MAX_THREADS];
        unsigned count = (unsigned)strtoul(line, &line, 10), times = (unsigned)strtoul(line, &line, 10);
        struct crowd crowd = { .line = line, .times = times };
        uint64_t start = clock_us(), cpu = cpu_us();

        ensure(count <= MAX_THREADS);
        for (unsigned i = 0; i < count; i++)
                ensure(pthread_create(&threads[i], NULL, run_many, &crowd) == 0);
        for (unsigned i = 0; i < count; i++)
                pthread_join(threads[i], NULL);
        put_number(out, crowd.failed);
        put_number(out, (int64_t)(clock_us() - start));
        put_number(out, (int64_t)(cpu_us() - cpu));
        return crowd.error;
}

static void serve_line(char *line, char *room)
{
        struct text out = text_in(room, OUT_BYTES);
        struct words words;
        int result;

        if (strncmp(line, "many ", 5) == 0) {
                result = many(line + 5, &out);
        } else {
                split(&words, line);
                result = run(&words, &out);
        }
        ensure(!out.overflow);
        printf("%s%.*s\n", result < 0 ? strerrorname_np(-result) : result > 0 ? "MORE" : "OK", (int)out.used, room);
        fflush(stdout);
}

/* ---- options as name=value ---- */

static const char *given(char **argv, const char *name)
{
        size_t size = strlen(name);

        for (; *argv; argv++) {
                if (strncmp(*argv, name, size) == 0 && (*argv)[size] == '=')
                        return *argv + size + 1;
        }
        return NULL;
}

static unsigned given_number(char **argv, const char *name, unsigned otherwise)
{
        const char *text = given(argv, name);

        return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
        struct client_options options = {
                .url = given(argv, "url"),
                .user = given(argv, "user"),
                .bearer = given(argv, "bearer"),
                .netrc = given(argv, "netrc"),
                .unix_socket = given(argv, "unix"),
                .certificate = given(argv, "certificate"),
                .key = given(argv, "key"),
                .authorities = given(argv, "authorities"),
                .insecure = given(argv, "insecure"),
                .connections = given_number(argv, "connections", 8),
                .retry_ms = given_number(argv, "retry", 5000),
                .connect_ms = given_number(argv, "connect", 2000),
                .stall_ms = given_number(argv, "stall", 3000),
        };
        char *line = NULL, *room = malloc(OUT_BYTES);
        size_t size = 0;
        int result = client_create(&remote.client, &options);

        (void)argc;
        printf("%s\n", result < 0 ? strerrorname_np(-result) : "OK");
        fflush(stdout);
        remote_give_up_on(&given_up);
        while (result == 0 && getline(&line, &size, stdin) > 0)
                serve_line(line, room);
        if (result == 0)
                client_destroy(remote.client);
        free(line);
        free(room);
        return 0;
}
