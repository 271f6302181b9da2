/* Pages that answer errors. */
#ifndef SERVE_PAGES_H
#define SERVE_PAGES_H

#include "base/base.h"

/* The room an error page needs; none is longer. */
enum { PAGE_ERROR_BYTES = 1 << 10 };

/* Writes a small HTML page for a 4xx or 5xx status into out[0..size), size at least PAGE_ERROR_BYTES, and returns
 * its length. `path_shown` is what was asked for, as the reader knows it; any bytes, shortened when long,
 * data == NULL: not shown. */
size_t page_error(char *out, size_t size, int status, struct span path_shown);

#endif
