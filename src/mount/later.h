/* later: what `--close later` puts off, and how much of it there may be. A file that was closed before its data was sent
 * is pending; its data stays where it was gathered. What is set of a folder waits for the files that are pending: they
 * move its time, and may not be made in it any more by its new mode.
 *
 * With `--close wait` nothing is put off.
 */
#ifndef MOUNT_LATER_H
#define MOUNT_LATER_H

#include "mount/mount_priv.h"

struct later;

int later_start(struct mount *mount);
void later_stop(struct mount *mount);

/* Its close need not wait: from now on it is pending, until it is unmarked. False: there are too many, or it waits. With
 * the file's mutex. */
bool later_put_off(struct file *file);
/* All of it is sent, or is not to be; or it is written to again. With the mutex. */
void later_end(struct file *file);

/* Mode and time of a folder: true when they are set later. */
bool later_set(struct mount *mount, struct node *folder, const struct remote_times_and_mode *with);
/* Nothing is pending, and something is set of folders. */
bool later_is_due(struct mount *mount);
/* Tells the server what was set of that folder (NULL: of all). Returns how many it refused; the log has which. */
unsigned later_send(struct mount *mount, struct node *folder);

#endif
