/* command: what the commands `berth mount` and `berth unmount` share, beside the mount itself. */
#ifndef MOUNT_COMMAND_H
#define MOUNT_COMMAND_H

#include "mount/mount_priv.h"

enum { COMMAND_FAILED = 1, COMMAND_WRONG = 2 }; /* exit statuses */

/* Remembers a text on the heap, or NULL, until mount_options_finish(); returns it, NULL where it was or there is no
 * room. */
char *options_keep(struct mount_options *options, char *text);

/* ---- credentials (credentials.c) ---- */

struct credentials {
        const char *user, *password_file, *bearer_file; /* as given, or NULL */
};

/* Takes user and password out of the URL: options->url and options->client.url are without them, and in `argument`
 * (the same text, as others see it in the list of processes) they are written over. 0 or -EINVAL after complaining. */
int credentials_from_url(struct mount_options *options, char *argument);
/* Reads the files and asks for the password where there is a terminal. 0 or -EINVAL after complaining. */
int credentials_complete(struct mount_options *options, const struct credentials *credentials);

/* ---- -o (mount_flags.c) ---- */

/* One name of -o that is not one of our options: 0, -ENOENT where it is unknown, -EINVAL after complaining. */
int mount_flag(struct mount_options *options, const char *name, const char *value);

/* ---- the place (place.c) ---- */

enum place_state {
        PLACE_FREE,
        PLACE_BERTH, /* one of ours, that lives as far as one can see */
        PLACE_DEAD,  /* one of ours, whose process is gone */
        PLACE_OTHER, /* another file system is mounted there */
};

struct place {
        char path[4096]; /* absolute, without links */
        enum place_state state;
        unsigned major, minor; /* of the mount there, as in st_dev */
        unsigned owner;        /* who mounted it */
        char source[1024];
};

/* Looks; asks nothing of a mount but whether it lives. 0, or -errno: there is no such folder. */
int place_look(struct place *place, const char *folder);
/* Its number and source once more, of the mount that has just been made there. */
void place_look_at_mount(struct place *place);
/* Unmounts, as root by umount2(), else through fusermount3. 0; -EBUSY, -EPERM, ... */
int place_unmount(const char *path, bool lazy);

/* ---- fusermount3 (fusermount.c) ---- */

/* Mounts for an ordinary user: a descriptor of /dev/fuse, or -errno after complaining. */
int fusermount_mount(const char *path, const char *options);
/* 0 or -errno; fusermount3's own words go to stderr unless `quiet`. */
int fusermount_unmount(const char *path, bool lazy, bool quiet);

/* ---- the background (background.c) ---- */

struct background {
        int report; /* the pipe to who waits; -1 in the foreground */
        int log;    /* what becomes stderr; -1: what it is */
};

/* Forks; to be called before there are threads. In the parent: waits until the child has told, and ends the process
 * with its status. In the child: 0. Or -errno after complaining. */
int background_begin(struct background *background, const struct mount_options *options);
/* In the child: it stands. From now on messages go to the log. */
void background_tell(struct background *background);

/* ---- the threads that wait for the kernel (readers.c) ---- */

/* read(2) of /dev/fuse, in which only a few threads at a time are; the others wait for a place. */
ssize_t readers_read(int descriptor, void *buffer, size_t size);

/* ---- interrupts (interrupt.c) ---- */

int interrupt_start(unsigned retry_ms);
void interrupt_stop(void);

/* ---- what is asked of a mount through its root (stats.c) ---- */

#define CONTROL_PREFIX "system.berth."
#define FLUSH_ATTRIBUTE "system.berth.flush" /* reading it sends everything: "0 FOLDER": so many could not be */
enum { FLUSH_ANSWER_BYTES = 4096 };

/* Answers the request where it is for one of these; false: it is an attribute like others. */
bool control_answer(fuse_req_t request, fuse_ino_t number, const char *name, size_t size);
/* A number of the statistics, UINT64_MAX where it is not there. */
uint64_t stats_number(const char *text, const char *name);
/* The statistics of the mount at a folder, NUL-terminated; bytes or -errno. */
ssize_t stats_read(const char *folder, char *out, size_t size);

#endif
