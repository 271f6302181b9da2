/* client: HTTP requests over a capped pool of kept connections, by libcurl's multi interface.
 *
 * A call is memory of its owner. It is started by any thread, its `receive` and `done` are run by the thread that
 * drives all calls (the client's own, or one in client_perform(); they must not block, nor perform, and may start
 * further calls), and between start and done only those touch it. client_perform() is start and a wait for done. What
 * moves no byte is tried again: see `idempotent` and client_options.retry_ms.
 */
#ifndef MOUNT_CLIENT_H
#define MOUNT_CLIENT_H

#include "base/base.h"

#include <stdatomic.h>
#include <sys/uio.h>

struct client;

enum {
        CLIENT_PATH_BYTES = 3 * 4096 + 256, /* a path of 4,096 bytes, each of them encoded, behind the base's */
        CLIENT_FIELDS_BYTES = 2048,
        CLIENT_TAG_BYTES = 128, /* an entity-tag with its quotes; a longer one counts as none */
        CLIENT_MAX_PARTS = 2,
};

struct client_options {
        const char *url;         /* http:// or https://, the base of all paths; with user and password if it had them */
        const char *user;        /* "name:password" for Basic, or NULL */
        const char *bearer;      /* token, or NULL */
        const char *netrc;       /* a file, "" for ~/.netrc, NULL for none */
        const char *unix_socket; /* connect there, whatever the URL's host; or NULL */
        const char *certificate, *key, *authorities; /* PEM files or NULL; --cert, --key, --cacert */
        bool insecure;                               /* believe any certificate */
        unsigned connections;                        /* sockets at a time, at most */
        unsigned retry_ms;   /* a call ends when for so long no byte of it has moved, over all its attempts */
        unsigned connect_ms; /* one attempt to connect */
        unsigned stall_ms;   /* one attempt without a byte moving; cut to retry_ms */
};

/* A weak one, too. */
static inline bool client_is_tag(struct span s)
{
        size_t quote = s.size > 2 && memcmp(s.data, "W/", 2) == 0 ? 2 : 0;

        return s.size >= quote + 2 && s.data[quote] == '"' && s.data[s.size - 1] == '"';
}

/* What of an answer's head is kept. */
struct client_answer {
        int status;                             /* HTTP; of the last attempt */
        char tag[CLIENT_TAG_BYTES];             /* ETag, also W/"..."; "" without */
        uint64_t length;                        /* Content-Length; UINT64_MAX: not told */
        uint64_t first, total;                  /* Content-Range: first byte, size of the file; UINT64_MAX: not told */
        int64_t modified, date;                 /* Last-Modified, Date: seconds since 1970; INT64_MIN: not told */
        uint64_t inode;                         /* Berth-Inode; 0: not told */
        char lock_token[128];                   /* Lock-Token without < >, or "" */
        char dav[1024], allow[256], server[64]; /* as they stand, several lines as one list, cut; for OPTIONS */
        char accept_patch[128];
        char reason[16]; /* Berth-Error: why a 409 or 403: the name of an errno */
};

struct call {
        /* The caller's, from start to done. */
        const char *method;               /* a constant */
        char path[CLIENT_PATH_BYTES];     /* what follows the base URL, encoded, without a leading '/'; may be "" */
        char fields[CLIENT_FIELDS_BYTES]; /* header lines, each ended by '\n'; may be "" */
        const char *field;                /* one more of any length, without its end; memory of the caller, or NULL */
        struct iovec body[CLIENT_MAX_PARTS]; /* sent in order; memory of the caller; sent again with a new attempt */
        unsigned parts;                      /* 0: no body */
        bool idempotent;   /* may be sent again when nobody knows whether it was carried out. Others are only sent again
                          * when the server cannot have seen them, else they end with -EIO and `uncertain`. */
        bool quick;        /* no second attempt: for what somebody else repeats (read-ahead) */
        unsigned stall_ms; /* 0: the client's */
        /* Bytes of a 2xx answer's body (207 included), as they come. Not 0: the call ends with that error. May be
         * called anew from the first byte with a second attempt, after restart(). NULL: they are dropped. */
        int (*receive)(struct call *call, const char *data, size_t size);
        void (*restart)(struct call *call); /* before each attempt but the first; NULL is fine without receive */
        void (*done)(struct call *call);    /* last of all; may free the call. NULL with client_perform() */
        void *context;                      /* for these three */
        const atomic_bool *given_up;        /* looked at ten times a second; true ends the call with -EINTR; or NULL */

        /* What came of it. */
        int error; /* 0: there is an answer, whatever its status. -ETIMEDOUT, -ECONNREFUSED, -EHOSTUNREACH, -EIO (cut
                    * off), -EACCES (TLS: not trusted), -ENOKEY (a file of --cert, --key, --cacert), -EINTR, -ENOMEM,
                    * or what receive() gave */
        bool uncertain; /* an attempt before the last may have been carried out though its answer was lost */
        unsigned attempts;
        struct client_answer answer;
        char message[256]; /* libcurl's words for error; without one, where a redirection leads; or "" */

        /* The client's own. */
        struct list node;
        void *transfer;
        void *waiter;
        uint64_t progress_ms; /* when it moved last */
        uint64_t due_ms;      /* of the next attempt; in the queue: since when; then: when the attempt began */
        unsigned wait_ms;
        size_t sent, received; /* the most that any attempt came to */
};

/* Counters since the start, for statistics; each may be read at any time. */
struct client_counters {
        _Atomic uint64_t requests, retries, connections_opened, connections_open, connections_peak;
        _Atomic uint64_t bytes_sent, bytes_received; /* bodies */
        _Atomic uint64_t deletes, moves, folders;    /* requests of these kinds: DELETE, MOVE, MKCOL */
};

/* Starts the thread; connects nowhere yet. Copies what it needs of the options. 0 or -errno (-EINVAL: the URL). */
int client_create(struct client **client, const struct client_options *options);
/* No call may be in flight. NULL is fine. */
void client_destroy(struct client *client);

/* Never fails for I/O reasons: whatever happens is told by done(). Statuses 502, 503, 504 and 429 are tried again as a
 * lost connection is, after Retry-After if there is one; other statuses are answers. */
void client_start(struct client *client, struct call *call);
/* Start, and wait for the end. Returns call->error. Not from the client's thread. */
int client_perform(struct client *client, struct call *call);

/* From now on nobody waits longer than so for lost connections: for unmounting. */
void client_set_retry(struct client *client, unsigned retry_ms);

const struct client_counters *client_counters(const struct client *client);

/* The base URL itself, without user and password, with a trailing '/'. */
const char *client_base_url(const struct client *client);
/* The path part of the base URL, with a leading and a trailing '/'; as long as the client. */
const char *client_base_path(const struct client *client);

#endif
