/* mount: `berth mount` and `berth unmount`, a folder of a WebDAV server as a file system (FUSE). */
#ifndef MOUNT_MOUNT_H
#define MOUNT_MOUNT_H

/* Mounts and serves the kernel until it is unmounted; in the background once it stands, unless --foreground. Also
 * `berth mount --stats DIR`. Exit status: 0; 1 it could not be mounted, or data could not be sent; 2 a wrong option. */
int mount_command(int argc, char **argv);

/* Unmounts when all data has been sent. Exit status: 0; 1 it is busy, no mount, or data could not be sent; 2. */
int unmount_command(int argc, char **argv);

#endif
