/* transfer: one attempt to carry out a call, as libcurl makes it; what the files of the client share.
 *
 * A transfer is an easy handle with what it needs for one call after the other. There are as many as connections, and
 * only the thread that drives touches them. */
#ifndef MOUNT_TRANSFER_H
#define MOUNT_TRANSFER_H

#include "mount/client.h"

#include <curl/curl.h>
#include <pthread.h>

enum {
        TRANSFER_FIELDS = 24,              /* header lines of a call */
        TRANSFER_SMALL_BYTES = 64 * 1024,  /* a body below that goes out together with its head */
        TRANSFER_BUFFER_BYTES = 512 << 10, /* of libcurl for sending, once there is a large body */
        /* For receiving. It is allocated for each request: larger ones come from the system, and the faults of their
         * fresh pages cost more than they spare in system calls. */
        TRANSFER_RECEIVE_BYTES = 64 << 10,
};

struct transfer {
        struct list node; /* of those that are free */
        struct client *client;
        struct call *call;
        CURL *easy;
        uint64_t moved_ms;      /* when a byte of this attempt moved last */
        uint64_t retry_after_s; /* what the answer wants, 0: nothing */
        size_t size, at;        /* of the body: bytes, and how many libcurl has taken */
        size_t received;        /* of the answer's body */
        long connects;          /* connections that it has made and we have counted */
        bool asked;             /* the request was begun to be sent: the server may have seen it */
        bool blind;             /* it would have been sent a second time, though nobody knows what came of the first */
        bool told;              /* the head of the answer is complete */
        int failure;            /* what receive() gave */
        struct curl_slist fields[TRANSFER_FIELDS];
        char lines[CLIENT_FIELDS_BYTES];
        char said[CURL_ERROR_SIZE]; /* libcurl's words for what failed, or "" */
        char *url;                  /* room behind the base */
        char *small;                /* TRANSFER_SMALL_BYTES: bodies of several parts, put together */
};

/* What an attempt came to. */
enum transfer_verdict {
        TRANSFER_ENDED, /* call->error tells */
        TRANSFER_AGAIN, /* so it does, but it is worth another attempt */
};

struct interest {
        uint8_t wanted, registered; /* EPOLLIN, EPOLLOUT */
};

struct client {
        struct client_counters counters;
        CURLM *multi;
        int epoll, wake; /* the latter an eventfd */
        pthread_t thread;
        bool running;
        _Atomic unsigned retry_ms;

        pthread_mutex_t lock; /* of these */
        pthread_cond_t work;  /* for the client's own thread */
        struct list inbox;    /* calls that were started */
        bool driven;          /* some thread drives */
        bool left;            /* nobody does, and calls are under way */
        bool stop;
        atomic_bool asleep; /* the driver, who has to be woken for what is new in the inbox */

        /* The driver's own. */
        struct list queue;   /* calls that wait for a transfer */
        struct list active;  /* those that have one */
        struct list waiting; /* those that wait for their next attempt */
        struct list idle;    /* transfers */
        struct transfer *transfers;
        uint64_t timer_ms; /* when libcurl wants to be called; UINT64_MAX: not */
        uint64_t look_ms;  /* when to look for what takes too long */
        uint64_t moved_ms; /* when a byte of any call moved last */
        struct interest *interests;
        size_t interest_count; /* by descriptor */

        /* Read only. */
        unsigned connections, connect_ms, stall_ms;
        char *user, *bearer, *netrc, *unix_socket, *certificate, *key, *authorities;
        bool insecure, uses_netrc;
        char *url, *path;
        size_t url_size;
};

/* ---- client_poll.c ---- */

/* 0 or -errno; poll_finish() is due in any case, after all transfers are finished. */
int poll_init(struct client *client);
void poll_finish(struct client *client);
/* Waits until something is ready, at most so long (-1: for ever), and lets libcurl do what it can. */
void poll_wait(struct client *client, int timeout_ms);
/* Lets libcurl begin what it was given. */
void poll_now(struct client *client);
/* From any thread: ends a wait. */
void poll_wake(struct client *client);

/* ---- client_base.c: the options ---- */

/* Copies them and takes the URL apart. 0, -EINVAL, -ENOMEM; client_base_finish() is due in any case. */
int client_base_init(struct client *client, const struct client_options *options);
void client_base_finish(struct client *client);
/* What all transfers have in common. */
int client_base_apply(const struct client *client, CURL *easy);

/* ---- client_transfer.c ---- */

/* 0 or -ENOMEM; transfer_finish() is due in any case. */
int transfer_init(struct transfer *transfer, struct client *client);
void transfer_finish(struct transfer *transfer);

/* Hands the call to libcurl. 0, or -errno and nothing has happened. */
int transfer_begin(struct transfer *transfer, struct call *call, uint64_t now_ms);
/* Takes it back, finished or not: the transfer is free again. `code` is libcurl's. Fills in the call's result. */
enum transfer_verdict transfer_end(struct transfer *transfer, CURLcode code);

/* ---- client_answer.c ---- */

void answer_begin(struct client_answer *answer);
/* A line of the head, without its end. A status line begins anew. */
void answer_take_line(struct client_answer *answer, struct span line);
/* Seconds to wait, of Retry-After. 0 when it is none. */
uint64_t answer_retry_after(struct span value);

#endif
