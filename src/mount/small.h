/* small: small files of a folder, fetched ahead of who reads one after the other.
 *
 * cat, grep -r, compilers and viewers of pictures read many small files, each whole, and would wait a round trip for
 * each. Who reads a few of a folder in the order of its listing, or of the names, is fetched the next ones: 4, then
 * twice as many with each that he takes, up to 32, over half of the connections. A file's bytes are given once, to a
 * reader who knows that version (its entity-tag); one that is read against the order ends it, and the next time it
 * takes longer to begin.
 */
#ifndef MOUNT_SMALL_H
#define MOUNT_SMALL_H

#include "mount/ahead.h"
#include "mount/tree.h"

struct mount;
struct smalls;

struct small_counters {
        _Atomic uint64_t asked, used; /* files */
        _Atomic uint64_t dropped_bytes;
};

enum { SMALL_FILE_BYTES = 96 << 10 };

/* An eighth of `read_ahead_bytes` is theirs. */
size_t small_share(uint64_t read_ahead_bytes);
int small_start(struct mount *mount);
void small_stop(struct mount *mount);
const struct small_counters *small_counters(const struct mount *mount);

/* Somebody is about to read the whole of a small file of that version. Its bytes as a view when it was fetched ahead,
 * maybe after a wait; 0: it is to be asked for. Any thread; no lock of the file is held. */
ssize_t small_read(struct mount *mount, struct node *node, const char *tag, size_t size, struct ahead_view *view);

/* The same for who opens it and will read: only what is here now. */
ssize_t small_take(struct mount *mount, struct node *node, const char *tag, size_t size, struct ahead_view *view);

#endif
