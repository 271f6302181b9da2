/* Reads the server's metrics once a second, in a thread of its own that may wait: plain sockets, one connection a
 * reading, two seconds for all of it. Who ends the run shuts that socket down. The page is the text format of
 * Prometheus; what is kept of it are the series named below. */
#include "load/load_priv.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

enum { PAGE_BYTES = 256 << 10, PATIENCE_SECONDS = 2 };

static const char *const wanted[] = {
        "process_resident_memory_bytes",  "berth_memory_bytes", "berth_kernel_tcp_memory_bytes",
        "berth_cgroup_memory_used_bytes", "berth_connections",
};

/* ---- the page ---- */

/* NAME or NAME{LABELS} as far as it reaches; 0 when it is none of those wanted. */
static size_t name_size(const char *line)
{
        for (unsigned i = 0; i < array_count(wanted); i++) {
                size_t size = strlen(wanted[i]);
                if (strncmp(line, wanted[i], size) != 0)
                        continue;
                if (line[size] == ' ')
                        return size;
                const char *end = line[size] == '{' ? strchr(line + size, '}') : NULL;
                if (end && end[1] == ' ' && !memchr(line, '\n', (size_t)(end - line)))
                        return (size_t)(end - line) + 1;
        }
        return 0;
}

static void keep(struct load_scrape *scrape, const char *name, size_t size, double value)
{
        unsigned i = 0;
        while (i < scrape->count && (strncmp(scrape->names[i], name, size) != 0 || scrape->names[i][size] != '\0'))
                i++;
        if (i == LOAD_METRICS || size >= LOAD_METRIC_NAME)
                return;
        if (i == scrape->count) {
                memcpy(scrape->names[i], name, size);
                scrape->names[i][size] = '\0';
                scrape->count++;
        }
        scrape->values[i] = value;
}

/* What the last page does not have is not known. */
static void forget(struct load_scrape *scrape)
{
        for (unsigned i = 0; i < scrape->count; i++)
                scrape->values[i] = NAN;
}

void load_scrape_read(struct load_scrape *scrape, const char *text)
{
        forget(scrape);
        while (text && *text) {
                size_t size = name_size(text);
                if (size > 0 && text[size + 1] > ' ') { /* strtod() would look for a number in the next line */
                        char *end;
                        double value = strtod(text + size, &end);
                        if (end != text + size && isfinite(value))
                                keep(scrape, text, size, value);
                }
                text = strchr(text, '\n');
                text += text != NULL;
        }
}

/* ---- reading it ---- */

/* The next call on the socket waits until the deadline at most. 0, or -ETIMEDOUT. */
static int wait_until(int descriptor, uint64_t deadline_us)
{
        uint64_t now_us = clock_us();
        if (deadline_us <= now_us)
                return -ETIMEDOUT;
        load_socket_patience(descriptor, deadline_us - now_us);
        return 0;
}

/* The socket of the reading, which stopping shuts down; -1: none. False: it is to stop. */
static bool show(struct load_scrape *scrape, int descriptor)
{
        pthread_mutex_lock(&scrape->lock);
        scrape->descriptor = descriptor;
        bool going = !scrape->stopping;
        pthread_mutex_unlock(&scrape->lock);
        return going;
}

static void hide_and_close(struct load_scrape *scrape, int descriptor)
{
        show(scrape, -1);
        load_socket_close(descriptor);
}

static int connect_to(struct load_scrape *scrape, uint64_t deadline_us)
{
        int error = -ECONNREFUSED;
        for (const struct addrinfo *info = scrape->addresses; info; info = info->ai_next) {
                int descriptor = load_socket_make(info->ai_family);
                if (descriptor < 0)
                        return descriptor;
                error = show(scrape, descriptor) ? wait_until(descriptor, deadline_us) : -ECANCELED;
                if (!error)
                        error = load_socket_connect(descriptor, info->ai_addr, (unsigned)info->ai_addrlen);
                if (!error)
                        return descriptor;
                hide_and_close(scrape, descriptor);
        }
        return error;
}

/* What has come of it goes behind page[*used], whose last byte stays free. 0: more is to come, 1: all is there. */
static int take_bytes(struct load_response *response, const char *bytes, size_t size, char *page, size_t *used)
{
        int result = 0;
        for (size_t at = 0, took; at < size && result == 0; at += took) {
                struct span body;
                result = load_response_take(response, bytes + at, size - at, &took, &body);
                if (body.size > (size_t)PAGE_BYTES - 1 - *used)
                        return -EFBIG;
                memcpy(page + *used, body.data, body.size);
                *used += body.size;
        }
        return result;
}

/* The body into page[], NUL-terminated. 0, or -errno. */
static int receive_page(int descriptor, uint64_t deadline_us, char *page)
{
        struct load_response response;
        char bytes[16384];
        size_t used = 0;
        int result = 0;
        load_response_init(&response);
        while (result == 0) {
                result = wait_until(descriptor, deadline_us);
                if (result < 0)
                        break;
                int n = load_socket_receive(descriptor, bytes, sizeof(bytes));
                if (n < 0)
                        return n;
                if (n == 0)
                        result = load_response_ends_here(&response) ? 1 : -ECONNRESET;
                else
                        result = take_bytes(&response, bytes, (size_t)n, page, &used);
        }
        page[used] = '\0';
        return result < 0 ? result : response.status == 200 ? 0 : -ENOENT;
}

static int read_page(struct load_scrape *scrape, char *page)
{
        const struct load_url *url = &scrape->parts;
        uint64_t deadline_us = clock_us() + PATIENCE_SECONDS * 1000000;
        char request[1024];
        int size = snprintf(request, sizeof(request), "GET %.*s HTTP/1.1\r\nHost: %s:%u\r\nConnection: close\r\n\r\n",
                            (int)url->path.size, url->path.data, url->host, url->first_port);
        if (size >= (int)sizeof(request))
                return -ENAMETOOLONG;
        int descriptor = connect_to(scrape, deadline_us);
        if (descriptor < 0)
                return descriptor;
        int error = load_socket_send(descriptor, request, (size_t)size) == size ? 0 : -EPIPE;
        if (!error)
                error = receive_page(descriptor, deadline_us, page);
        hide_and_close(scrape, descriptor);
        return error;
}

/* ---- the thread ---- */

/* Under the lock; up to a second, or until it is to stop. */
static void pause_a_second(struct load_scrape *scrape)
{
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        while (!scrape->stopping && pthread_cond_timedwait(&scrape->stop_now, &scrape->lock, &until) == 0)
                ;
}

static void *read_on(void *argument)
{
        struct load_scrape *scrape = argument;
        char *page = malloc(PAGE_BYTES);
        ensure(page);
        pthread_mutex_lock(&scrape->lock);
        while (!scrape->stopping) {
                pthread_mutex_unlock(&scrape->lock);
                int error = read_page(scrape, page);
                pthread_mutex_lock(&scrape->lock);
                load_scrape_read(scrape, error ? "" : page);
                scrape->bad += error != 0;
                scrape->good += !error;
                pause_a_second(scrape);
        }
        pthread_mutex_unlock(&scrape->lock);
        free(page);
        return NULL;
}

int load_scrape_prepare(struct load_scrape *scrape, const char *url)
{
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
        char port[8];
        if (!url)
                return 0;
        if (load_url_parse(&scrape->parts, url) < 0) {
                complain("--admin-url %s: expected http://HOST:PORT[/PATH]", url);
                return -EINVAL;
        }
        if (scrape->parts.path.size == 1)
                scrape->parts.path = SPAN("/metrics");
        snprintf(port, sizeof(port), "%u", scrape->parts.first_port);
        int error = getaddrinfo(scrape->parts.host, port, &hints, &scrape->addresses);
        if (error) {
                complain("--admin-url %s: %s", url, gai_strerror(error));
                return -ENOENT;
        }
        scrape->url = url;
        return 0;
}

int load_scrape_start(struct load_scrape *scrape)
{
        if (!scrape->url)
                return 0;
        scrape->descriptor = -1;
        pthread_mutex_init(&scrape->lock, NULL);
        pthread_cond_init(&scrape->stop_now, NULL);
        int error = -pthread_create(&scrape->thread, NULL, read_on, scrape);
        scrape->running = !error;
        if (error)
                complain("cannot start a thread: %s", error_text(-error));
        return error;
}

void load_scrape_stop(struct load_scrape *scrape)
{
        if (!scrape->running)
                return;
        pthread_mutex_lock(&scrape->lock);
        scrape->stopping = true;
        if (scrape->descriptor >= 0)
                load_socket_end(scrape->descriptor);
        pthread_cond_signal(&scrape->stop_now);
        pthread_mutex_unlock(&scrape->lock);
        pthread_join(scrape->thread, NULL);
        freeaddrinfo(scrape->addresses);
        scrape->running = false;
        if (scrape->good == 0)
                complain("%s: no metrics could be read there", scrape->url);
}
