/* exchange: one request of WebDAV and its answer; what the files of remote share. */
#ifndef MOUNT_EXCHANGE_H
#define MOUNT_EXCHANGE_H

#include "dav/dav.h"
#include "mount/remote.h"

/* ---- putting a call together; nothing of it is zeroed but what is not filled in here ---- */

/* A call for a path, encoded; a folder's ends in '/'. 0 or -ENAMETOOLONG. */
int exchange_init(struct call *call, const char *method, const char *path, bool folder);
/* One more field. What does not fit is noticed by exchange_perform(): -ENAMETOOLONG. */
void exchange_field(struct call *call, const char *format, ...) printf_like(2, 3);
/* If-Match, If-None-Match, If. NULL: none. */
void exchange_condition(struct call *call, const struct remote_condition *condition);
/* Berth-Mode and Berth-Mtime, or X-OC-Mtime. NULL: none. */
void exchange_times_and_mode(const struct remote *remote, struct call *call, const struct remote_times_and_mode *with);
void exchange_body(struct call *call, const struct iovec *body, unsigned parts);
/* XML. */
void exchange_xml(struct call *call, struct span body);

enum { EXCHANGE_DESTINATION_BYTES = CLIENT_PATH_BYTES + 2048 };
/* Destination, into memory of the caller. -ENAMETOOLONG. */
int exchange_destination(const struct remote *remote, struct call *call, char room[EXCHANGE_DESTINATION_BYTES],
                         const char *path, bool folder);

/* ---- carrying it out ---- */

/* Waits for the answer. 0 for a status of 2xx, else what remote.h says of errors; of what is lost in the end -EIO. */
int exchange_perform(const struct remote *remote, struct call *call);
/* The same for a call of remote_read_call(), with what remote_read_result() says of it. */
int exchange_read(const struct remote *remote, struct call *call);
/* The same for a status. 0 for 2xx. */
int exchange_error(const struct client_answer *answer);
/* An error of client.h as remote.h tells it. */
int exchange_lost(int error);

/* The tag and so on of an answer. */
void exchange_result(const struct call *call, struct remote_result *result);

/* A 207 whose responses are told as they come, on the client's thread. `restart` (may be NULL) before it begins
 * anew. */
int exchange_multistatus(const struct remote *remote, struct call *call, dav_member_fn *member,
                         void (*restart)(void *context), void *context);

/* ---- what members of a multistatus say (remote_look.c) ---- */

/* A property that is there (status 200), or NULL. */
const struct dav_found *exchange_find(const struct dav_member *member, enum dav_live live);
/* `answer` is the head of the multistatus. */
void exchange_attributes(const struct remote *remote, const struct client_answer *answer,
                         const struct dav_member *member, struct remote_attributes *attributes);

/* ---- what was written before the answer was lost (remote_verify.c) ---- */

/* Whether these bytes stand in the file at `first`; `whole`: and nothing else. Then 0 and the tag of now, else -ESTALE,
 * or what kept it from being found out. -EAGAIN, and the tag of now: the server was killed while it carried the request
 * out, for what stands there is a beginning of the bytes, followed by the file's end or by zeros, or `locked` by anything. */
int exchange_verify(struct remote *remote, const char *path, uint64_t first, const struct iovec *body, unsigned parts,
                    bool whole, bool locked, struct remote_result *result);

#endif
