/* Reads the server's metrics once a second, in a thread of its own that may wait: plain sockets, one connection a
 * reading. The page is the text format of Prometheus; what is kept of it are the series named below. */
#include "load/load_priv.h"

#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAGE_BYTES = 256 << 10, PATIENCE_SECONDS = 2 };

static const char *const wanted[] = {
        "process_resident_memory_bytes", "berth_resident_memory_bytes", "berth_memory_bytes",
        "berth_kernel_memory_bytes",     "berth_connections",
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

void load_scrape_read(struct load_scrape *scrape, const char *text)
{
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

static int connect_to(const struct load_url *url)
{
        char port[8];
        struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
        struct timeval patience = { .tv_sec = PATIENCE_SECONDS };
        int descriptor = -1;
        snprintf(port, sizeof(port), "%u", url->first_port);
        if (getaddrinfo(url->host, port, &hints, &list) != 0)
                return -ENOENT;
        for (const struct addrinfo *info = list; info && descriptor < 0; info = info->ai_next) {
                descriptor = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
                if (descriptor < 0)
                        continue;
                setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
                setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
                if (connect(descriptor, info->ai_addr, info->ai_addrlen) < 0) {
                        close(descriptor);
                        descriptor = -1;
                }
        }
        freeaddrinfo(list);
        return descriptor < 0 ? -ECONNREFUSED : descriptor;
}

/* The body into page[], NUL-terminated and cut at its end. 0, or -errno. */
static int receive_page(int descriptor, char *page)
{
        struct load_response response;
        char bytes[16384];
        size_t used = 0;
        int result = 0;
        load_response_init(&response);
        while (result == 0) {
                ssize_t n = recv(descriptor, bytes, sizeof(bytes), 0);
                if (n < 0)
                        return -errno;
                if (n == 0)
                        result = load_response_ends_here(&response) ? 1 : -ECONNRESET;
                for (size_t at = 0, took; at < (size_t)n && result == 0; at += took) {
                        struct span body;
                        result = load_response_take(&response, bytes + at, (size_t)n - at, &took, &body);
                        size_t size = min_of(body.size, (size_t)PAGE_BYTES - 1 - used);
                        memcpy(page + used, body.data, size);
                        used += size;
                }
        }
        page[used] = '\0';
        return result < 0 ? result : response.status == 200 ? 0 : -ENOENT;
}

static int read_page(const struct load_url *url, char *page)
{
        char request[1024];
        int size = snprintf(request, sizeof(request), "GET %.*s HTTP/1.1\r\nHost: %s:%u\r\nConnection: close\r\n\r\n",
                            (int)url->path.size, url->path.data, url->host, url->first_port);
        if (size >= (int)sizeof(request))
                return -ENAMETOOLONG;
        int descriptor = connect_to(url);
        if (descriptor < 0)
                return descriptor;
        int error = send(descriptor, request, (size_t)size, MSG_NOSIGNAL) == size ? 0 : -EPIPE;
        if (!error)
                error = receive_page(descriptor, page);
        close(descriptor);
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
        struct load_url url;
        ensure(page && load_url_parse(&url, scrape->url) == 0);
        if (url.path.size == 1)
                url.path = SPAN("/metrics");
        pthread_mutex_lock(&scrape->lock);
        while (!scrape->stopping) {
                pthread_mutex_unlock(&scrape->lock);
                int error = read_page(&url, page);
                pthread_mutex_lock(&scrape->lock);
                if (error)
                        scrape->bad++;
                else
                        load_scrape_read(scrape, page);
                scrape->good += !error;
                pause_a_second(scrape);
        }
        pthread_mutex_unlock(&scrape->lock);
        free(page);
        return NULL;
}

int load_scrape_start(struct load_scrape *scrape, const char *url)
{
        struct load_url parsed;
        if (!url)
                return 0;
        if (load_url_parse(&parsed, url) < 0) {
                complain("--admin-url %s: expected http://HOST:PORT[/PATH]", url);
                return -EINVAL;
        }
        scrape->url = url;
        pthread_mutex_init(&scrape->lock, NULL);
        pthread_cond_init(&scrape->stop_now, NULL);
        int error = -pthread_create(&scrape->thread, NULL, read_on, scrape);
        scrape->running = !error;
        if (error)
                complain("cannot start a thread: %s", strerror(-error));
        return error;
}

void load_scrape_stop(struct load_scrape *scrape)
{
        if (!scrape->running)
                return;
        pthread_mutex_lock(&scrape->lock);
        scrape->stopping = true;
        pthread_cond_signal(&scrape->stop_now);
        pthread_mutex_unlock(&scrape->lock);
        pthread_join(scrape->thread, NULL);
        scrape->running = false;
        if (scrape->good == 0)
                complain("%s: no metrics could be read there", scrape->url);
}
