/* A folder as a web page or as JSON, rendered in pieces while it is read.
 *
 * Memory does not grow with the folder (store/store.h says how it is read). Everything here blocks and belongs
 * on a worker thread, one thread at a time for one listing.
 *
 * The JSON form, one entry to a line, is
 *     {"path":"/a/b/","entries":[
 *     {"name":"c d","href":"c%20d/","type":"folder","size":0,"modified":"2026-01-02T03:04:05Z"},
 *     {"name":"e","href":"e","type":"file","size":123,"modified":"2026-01-02T03:04:05Z"}
 *     ]}
 * "type" is "file" or "folder" (whose size is 0); "href" is percent-encoded and relative to the folder. In
 * names bytes that are no UTF-8 become U+FFFD, in hrefs they are exact.
 */
#ifndef SERVE_LISTING_H
#define SERVE_LISTING_H

#include "store/store.h"

#include <sys/types.h>

struct listing;

/* The least room listing_fill() works with. */
enum { LISTING_FILL_BYTES = 16 << 10 };

/* Lists the folder `path` (decoded, relative, no trailing slash, "" for the root) beneath the folder descriptor
 * `root`, which must stay open; `path` need not. 0, -ENOMEM, or -errno as open gives it: -ENOENT, -ENOTDIR,
 * -EACCES, -EXDEV (leads outside), -ELOOP. */
int listing_create(struct listing **listing, int root, const char *path, const struct store_list_options *options,
                   bool json);

/* Writes the next piece, at most `size` (at least LISTING_FILL_BYTES) bytes. Returns how many, 0 at the end, or
 * -errno when the folder cannot be read further: then the page is not whole and cannot become so. */
ssize_t listing_fill(struct listing *listing, char *out, size_t size);

/* Whether the last piece was the last one. */
bool listing_is_whole(const struct listing *listing);

/* NULL is fine. */
void listing_destroy(struct listing *listing);

#endif
