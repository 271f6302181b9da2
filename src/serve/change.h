/* Requests that change something, or ask for properties: WebDAV (RFC 4918) and partial writes.
 *
 *   STEP_CHANGE    what the head says: path, conditions, ranges, what kind of body comes; no file is touched
 *   STEP_BEGIN     on a worker thread, for what is large or waits for "100 Continue": would it be refused? Makes the
 *                  upload
 *   STEP_RECEIVE   the body: a short one into the request's own room, an upload's to its file in as large pieces as
 *                  came together meanwhile, or (flow.c) by blocks, XML to its parser
 *   STEP_RUN       on a worker thread: the method itself; conditions are checked in the section in which it changes
 *                  the name
 *   STEP_CHANGED   the answer
 *
 * While a job is on a worker thread the request waits, so nobody else touches it or its change. What a job says is a
 * status, fields and perhaps a page; it sends nothing.
 */
#ifndef SERVE_CHANGE_H
#define SERVE_CHANGE_H

#include "dav/dav.h"
#include "serve/serve_priv.h"
#include "store/change.h"

enum {
        GATHER_PIECES = 16, /* of received bytes, are written at once; fewer when a turn of the shard brings none */
        UPLOAD_PIECES = 64, /* written by one call at most */
        CHANGE_FIELDS_BYTES = 1024,
        PART_HEAD_BYTES = 1024,    /* of the one part of a message/byterange */
        XML_BYTES = 16 << 10,      /* for each change that there may be: what XML bodies take in all */
        XML_FACTOR = 4,            /* memory for a byte of them */
        FAILURES_BYTES = 64 << 10, /* of a multistatus that tells what failed; more is left out */
};

/* A folder that somebody else is changing keeps a worker waiting so long at most, which is many times what a short
 * change takes; then the request waits without one, and tries again. Else those who wait for one folder, in which a
 * large tree is being copied, would keep all workers from everybody else. */
enum { SECTION_MS = 2, FIRST_PAUSE_MS = 2, LONGEST_PAUSE_MS = 256 };

enum { HELD_BLOCKS = 16 };

enum body_kind { BODY_NONE, BODY_SMALL, BODY_UPLOAD, BODY_XML };

struct digests;
struct find;

struct change {
        struct berth_call call; /* an upload's end may outlive its request */
        struct request *request;
        struct shard *shard;
        enum body_kind body;
        bool begun; /* STEP_BEGIN is behind it */
        bool body_complete;
        bool partial;   /* `target` tells where the bytes go */
        bool byterange; /* the body starts with a head of its own, which goes to `part` */
        bool part_complete;
        bool link;        /* the body is a symbolic link's target */
        bool durable;     /* Sync: data */
        bool conditional; /* there is an If header: `conditions` */
        bool overwrite;
        bool posix;                  /* Berth-Overwrite: of what stands there only as rename(2) would */
        bool own;                    /* Berth-Links: a symbolic link in the last part is meant itself */
        bool has_modified, has_mode; /* `modified`, `mode` are to be set */
        bool dictated;               /* by Berth-Mode or Berth-Mtime: the answer tells the inode */
        bool oc_modified;            /* `modified` is that of X-OC-Mtime */
        bool busy;                   /* the job found its section taken: PLACE_SECONDS long it is tried again */
        int depth;
        int64_t piece_size;    /* of a first piece that the job has made, or -errno */
        unsigned tries;        /* runs of the job before this one */
        uint32_t run_since;    /* shard seconds: of the first */
        uint32_t small_size;   /* bytes of a BODY_SMALL, in the request's out[] */
        uint64_t received;     /* bytes of the body, less the part's head */
        uint64_t xml_bytes;    /* counted in shard->xml_bytes */
        uint32_t write_since;  /* shard seconds: when the write in flight began */
        struct access *access; /* the rules it is judged by, to its end; NULL: everybody may do everything */
        struct store_upload *upload;
        struct digests *digests; /* to be verified or told; NULL: none */
        struct dav_body *xml;
        const struct dav_request *asked;
        struct find *find;      /* of a PROPFIND */
        struct chain writing;   /* pieces that the write in flight reads, or the next will */
        struct list gathering;  /* in shard->gathering, while few pieces wait for more */
        uint64_t gathered_turn; /* of the shard, in which the last of them came */
        struct berth_vec vecs[UPLOAD_PIECES];
        unsigned vec_count;
        bool may_flow, flows;                 /* by blocks (flow.c): where there are some; now */
        bool dry;                             /* there is nothing more to receive for now */
        uint8_t filling_block, writing_block; /* 0: none */
        uint32_t filled;                      /* bytes in the former */
        uint8_t held_count, held_used;        /* of these, in the order of the body: have begun to fill */
        uint8_t held[HELD_BLOCKS];            /* for all of the body, which is written at its end */
        struct dav_target target;
        struct timespec modified;
        uint32_t mode;
        struct store_section section, other; /* other: the destination of COPY and MOVE */

        int status; /* the answer's */
        char *page; /* its body, malloc'd; NULL: the usual page of that status, or none */
        size_t page_size;
        size_t fields_size;
        char fields[CHANGE_FIELDS_BYTES]; /* lines, each ended by CRLF */
        size_t part_size;
        char part[PART_HEAD_BYTES];
        char token[STORE_TOKEN_BYTES + 1];
        char destination[HTTP_MAX_PATH + 16];
        char conflict[HTTP_MAX_PATH + 16]; /* lock root, or what else stood in the way */
        struct dav_if conditions;
};

/* Whether the server is to answer this method by a change. */
static inline bool is_change(enum http_method method)
{
        return method >= HTTP_PROPFIND && method < HTTP_METHOD_OTHER;
}

/* Whether it changes anything. */
static inline bool is_writing(enum http_method method)
{
        return method >= HTTP_PUT && method < HTTP_METHOD_OTHER;
}

/* Whether nobody may know of that path; `hidden`: a part of it begins with a dot, as staging does (gate.c). */
bool is_unseen(const struct shard *shard, bool hidden, struct span path);

static inline struct store_tree *change_tree(const struct change *c)
{
        return c->shard->server->tree;
}

/* At the end of a turn: uploads to which nothing has come in it write what there is. */
void change_write_gathered(struct shard *shard);

/* Gives back what a change holds, and itself: now, or when its upload's file is gone. NULL is fine. */
void change_release(struct change *c);

/* Notes whether what a job's section says is that it is taken. */
static inline int change_entered(struct change *c, int error)
{
        c->busy = error == -EBUSY;
        return error;
}

/* One more field of the answer. */
void change_field(struct change *c, const char *format, ...) printf_like(2, 3);

/* Room of `size` bytes for the answer's page, with the declaration of XML written already; .data is NULL without
 * memory. change_page_done() keeps what was written: `status`, or 500 when it did not fit. */
struct text change_page(struct change *c, size_t size);
int change_page_done(struct change *c, const struct text *out, int status);

/* The status for a failed change. */
int change_status(int64_t error);

/* The jobs' parts, on a worker thread. Each returns the status of the answer. */

/* ---- what stands in the way (gate.c) ---- */

/* RFC 9110 13.2.2 and the If header (RFC 4918 10.4): 0 or 412. `now` is what stands at the request's path. */
int gate_conditions(struct change *c, const struct store_state *now);
enum gate_effect {
        GATE_CONTENT, /* what stands there changes */
        GATE_CREATES, /* nothing stands there: a name comes, so locks of the folder above count; they cover it, too */
        GATE_REMOVES, /* a name goes: both */
};
/* Locks in the way of a change at `path` whose token was not submitted: 0 or 423, c->conflict being its root. */
int gate_locks(struct change *c, const char *path, enum gate_effect effect);
/* Whether who asks has made that lock, or nobody knows who has. */
bool gate_is_theirs(const struct change *c, const struct store_lock *lock);
/* What putting something at a place does there. */
static inline enum gate_effect gate_effect_of(const struct store_state *now)
{
        return now->kind == STORE_NOTHING ? GATE_CREATES : GATE_CONTENT;
}
/* The page of a 423 (RFC 4918 16): which lock was in the way. */
void gate_tell_conflict(struct change *c);
/* Whether who asks has that right at `path`, and (`whole`) everywhere beneath it. */
bool gate_may(const struct change *c, const char *path, bool whole, enum auth_right right);
/* Of one member of a tree that is to go: the locks that it is the root of. 0 or 423. */
int gate_member(struct change *c, int folder, const char *name, const char *path);
/* Decodes what Destination or a tag of the If header points to. Bytes of `out` (HTTP_MAX_PATH), or minus a status. */
int gate_resolve(const struct change *c, struct span value, char *out, bool *folder);

/* ---- large uploads (flow.c) ---- */

/* An upload begins; from now on, or when there are blocks again, c->flows tells that it goes by blocks. */
void flow_begin(struct change *c);
void flow_again(struct change *c);
/* Gives back its blocks. */
void flow_end(struct change *c);
/* Goes on receiving unless that is in progress, or of no use now. False: no block is free. */
bool flow_receive(struct change *c);
/* A receive into `block`, or (0) the wait for the socket, has ended. */
void flow_arrived(struct request *r, uint8_t block, int64_t result);
/* Whether what has come is to be written, and what that is (c->vecs). */
bool flow_is_enough(const struct change *c);
void flow_to_write(struct change *c);
void flow_written(struct change *c);
/* Whether the body is held whole; then takes bytes that came otherwise; and tells where all of them are. */
static inline bool flow_holds(const struct change *c)
{
        return c->held_count > 0;
}
void flow_hold(struct change *c, struct span bytes);
int flow_held(const struct change *c, struct berth_vec vecs[HELD_BLOCKS]);

/* ---- PUT and PATCH (put.c) ---- */

int put_prepare(struct change *c); /* what the head says: 0 or a status */
/* `now` is what stands at the path. 0 or a status. */
int put_begin(struct change *c, const struct store_state *now);
int put_run(struct change *c);
/* The head of the one part has come. 0 or a status. */
int put_part(struct change *c);

/* ---- the others ---- */

int tree_prepare(struct change *c); /* COPY, MOVE, LINK: Destination, Depth, Overwrite (tree.c) */
int delete_prepare(struct change *c);
int make_folder_run(struct change *c);
int delete_run(struct change *c);
int copy_run(struct change *c);
int move_run(struct change *c);
int link_run(struct change *c);

int lock_prepare(struct change *c); /* lock.c */
int lock_run(struct change *c);
int unlock_run(struct change *c);

int find_prepare(struct change *c); /* find.c */
int find_run(struct change *c);     /* opens; the answer goes out in pieces */
int64_t find_fill(struct request *r, char *out, size_t size, bool *whole);
void find_destroy(struct find *find); /* NULL is fine */

int patch_properties_run(struct change *c); /* properties.c */

/* ---- fields of the mount (dictated.c) ---- */

int dictated_prepare(struct change *c); /* what the head says: 0 or 400 */
/* What else than content is to be set. Points into `c`. */
struct store_commit change_commit(const struct change *c);
/* store_look() and store_enter() of the request's path, as Berth-Links wants it; the latter notes whether it is busy. */
int change_look(struct change *c, struct store_state *state);
int change_enter(struct change *c);
/* Berth-Inode. */
void change_tell_inode(struct change *c, const struct store_state *state);
/* ... of what was made at the section: 201, or a status. */
int change_tell_made(struct change *c, const struct store_section *section);
/* Berth-Error: why it cannot be; 409. */
int change_conflict(struct change *c, int error);
/* The status for a change that failed; Berth-Error tells EPERM apart from who may not: it is a mode that nobody gets. */
int change_refused(struct change *c, int error);

/* ---- digests (digest.c): RFC 9530, OC-Checksum ---- */

/* What the head asks to verify or to tell (`partial`: of a range, whose Repr-Digest nobody could verify). 0 (*digests
 * NULL: nothing), or 400: malformed, or 503. */
int digests_create(struct digests **digests, const struct http_head *head, bool partial);
void digests_take(struct digests *digests, const void *data, size_t size);
/* True when all that were given are right. No more bytes may come. */
bool digests_verify(struct digests *digests);
/* Repr-Digest, a line, when it is wanted. */
void digests_tell(const struct digests *digests, struct text *out);
/* "SHA1:... " as OC-Checksum gave it; data == NULL: none. */
struct span digests_checksum(const struct digests *digests);
void digests_destroy(struct digests *digests);

/* ---- pieces of multistatus (multistatus.c) ---- */

/* <D:href>/path</D:href>, encoded; a folder's ends in '/'. */
void put_href(struct text *out, struct span path, bool folder);
/* "HTTP/1.1 200 OK" in <D:status>. */
void put_status(struct text *out, int status);
/* One lock as <D:activelock>. */
void put_lock(struct text *out, const struct store_lock *lock);

#endif
