/* `berth mount`: from the command line to a folder that stands, and to its end.
 *
 * Its parts start from the server to the kernel and end the other way round; what cannot start says why and the rest is
 * not tried. Signals are taken by a thread of their own, so that unmounting may wait for operations that other threads
 * carry out.
 */
#include "mount/command.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
        CONNECT_MS = 10000,    /* for the first answer; later it is --retry */
        PIECE_BYTES = 1 << 20, /* of a request that reads ahead */
};

/* ---- can it be mounted there? ---- */

static int clean_up(const struct place *place)
{
        int error = place_unmount(place->path, true);
        if (error)
                complain("%s: a mount whose process is gone stands there, and cannot be taken away: %s", place->path,
                         strerror(-error));
        else
                say("%s: the process of an earlier mount was gone; it has been taken away", place->path);
        return error;
}

static int check_empty(const char *path)
{
        DIR *folder = opendir(path);
        const struct dirent *entry;
        int error = 0;
        if (!folder) {
                error = -errno;
                complain("%s: %s", path, error == -ENOTDIR ? "is not a folder" : strerror(-error));
                return error;
        }
        while (!error && (entry = readdir(folder)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        error = -ENOTEMPTY;
        closedir(folder);
        if (error)
                complain("%s is not empty; what is in it would be hidden (-o nonempty)", path);
        return error;
}

static int check_folder(struct mount_options *options)
{
        static struct place place; /* its path is used on */
        int error = place_look(&place, options->folder);
        if (!error && place.state == PLACE_DEAD)
                error = clean_up(&place);
        else if (error)
                complain("%s: %s", options->folder, error == -ENOENT ? "there is no such folder" : strerror(-error));
        if (error)
                return error;
        if (place.state == PLACE_BERTH) {
                complain("%s: %s is already mounted there by berth", place.path, place.source);
                return -EBUSY;
        }
        options->folder = place.path;
        error = local_choose(place.path, options->log_file);
        if (error)
                return error;
        return options->nonempty ? 0 : check_empty(place.path);
}

/* ---- the server ---- */

static const char *text_of(const struct mount *mount, int error)
{
        const struct client_options *client = &mount->options.client;
        switch (error) {
        case -EACCES:
                if (client->bearer)
                        return "refused: the server does not take this token (--bearer-file)";
                return client->user || client->netrc
                               ? "refused: the server does not take this user and password"
                               : "refused: needs a password (--user NAME) or a token (--bearer-file FILE)";
        case -ENOENT:
                return "the server has no such folder";
        case -ENOTDIR:
                return "is a file, not a folder";
        case -ETIMEDOUT:
                return "no answer";
        default:
                return strerror(-error);
        }
}

static int connect_server(struct mount *mount, struct remote_attributes *root)
{
        char why[REMOTE_WHY_BYTES] = "";
        const char *by = mount->options.client.unix_socket;
        int error = client_create(&mount->client, &mount->options.client);
        if (error) {
                complain("%s: %s", mount->options.url, error == -EINVAL ? "not a URL" : strerror(-error));
                return error;
        }
        mount->remote.file_mode = 0666 & (uint16_t)~mount->options.umask;
        mount->remote.folder_mode = 0777 & (uint16_t)~mount->options.umask;
        client_set_retry(mount->client, min_of(mount->options.client.retry_ms, (unsigned)CONNECT_MS));
        error = remote_connect(&mount->remote, mount->client, why);
        if (!error)
                error = space_start(mount);
        if (!error)
                error = remote_root(&mount->remote, root);
        client_set_retry(mount->client, mount->options.client.retry_ms);
        if (error)
                complain("%s%s%s: %s", mount->options.url, by ? " by " : "", by ? by : "",
                         *why ? why : text_of(mount, error));
        return error;
}

static void decide_read_only(struct mount *mount)
{
        if (mount->remote.can.writable || mount->options.read_only)
                return;
        say("%s: the server takes no changes, from you at least: read-only", mount->options.url);
        mount->options.read_only = true;
}

static void describe_lacks(const struct remote_abilities *can)
{
        const char *lacks[6];
        char line[512];
        unsigned count = 0;
        if (!can->berth)
                lacks[count++] = "modes, times and links do not exist there; fsync does not know what is on its disk";
        if (!can->dot_names)
                lacks[count++] = "names that begin with a dot are refused (berth serve --hidden)";
        if (can->ranges == REMOTE_WHOLE)
                lacks[count++] = "a file that is changed is sent whole";
        if (!can->locks)
                lacks[count++] = "no locks, so that other writers are noticed late";
        if (!can->attributes)
                lacks[count++] = "no extended attributes";
        struct text text = text_in(line, sizeof(line) - 1);
        for (unsigned i = 0; i < count; i++)
                text_format(&text, "%s%s", i ? "; " : "", lacks[i]);
        line[text.used] = '\0';
        if (count)
                say("with this server: %s", line);
}

/* Once, when it stands: what it is, and what does not work there. */
static void describe(const struct mount *mount)
{
        const struct remote_abilities *can = &mount->remote.can;
        char line[256];
        struct text text = text_in(line, sizeof(line) - 1);
        text_put(&text, span_of(*can->server ? can->server : "a WebDAV server"));
        if (can->ranges != REMOTE_WHOLE && !mount->options.read_only)
                text_put(&text, SPAN(", parts of files"));
        if (can->berth)
                text_put(&text, SPAN(", modes, times, links"));
        if (can->locks)
                text_put(&text, SPAN(", locks"));
        if (mount->options.read_only)
                text_put(&text, SPAN(", read-only"));
        line[text.used] = '\0';
        say("%s is mounted on %s (%s)", mount->options.url, mount->options.folder, line);
        if (!mount->options.read_only)
                describe_lacks(can);
}

/* ---- signals ---- */

struct signals {
        struct mount *mount;
        sigset_t set;
        pthread_t thread;
        atomic_bool stopping;
};

static void say_stats(struct mount *mount)
{
        char text[8192];
        stats_write(mount, text, sizeof(text));
        for (char *rest = text, *line; (line = strsep(&rest, "\n")) && *line;)
                complain("%s", line); /* also when quiet: it was asked for */
}

static void *take_signals(void *data)
{
        struct signals *signals = data;
        int number;
        while (sigwait(&signals->set, &number) == 0 && !atomic_load(&signals->stopping)) {
                if (number == SIGUSR1)
                        say_stats(signals->mount);
                else if (number != SIGHUP && number != SIGUSR2) /* the terminal may go; the other only wakes */
                        session_end(signals->mount);
        }
        return NULL;
}

static void block_signals(struct signals *signals)
{
        static const int numbers[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 };
        sigemptyset(&signals->set);
        for (unsigned i = 0; i < array_count(numbers); i++)
                sigaddset(&signals->set, numbers[i]);
        pthread_sigmask(SIG_BLOCK, &signals->set, NULL);
        signal(SIGPIPE, SIG_IGN);
}

static void stop_signals(struct signals *signals)
{
        atomic_store(&signals->stopping, true);
        pthread_kill(signals->thread, SIGUSR2);
        pthread_join(signals->thread, NULL);
}

/* ---- the parts ---- */

static int start_parts(struct mount *mount, const struct remote_attributes *root)
{
        const struct mount_options *options = &mount->options;
        struct tree_options tree = {
                .ttl_ms = options->ttl_ms,
                .limit_bytes = options->cache_bytes,
                .file_mode = mount->remote.file_mode,
                .folder_mode = mount->remote.folder_mode,
        };
        struct ahead_options ahead = {
                .limit_bytes = options->read_ahead_bytes - small_share(options->read_ahead_bytes),
                .piece_bytes = PIECE_BYTES,
                .connections = options->client.connections,
                .remote = &mount->remote,
        };
        int error = tree_create(&mount->tree, &tree, root);
        if (!error)
                error = ahead_create(&mount->ahead, &ahead);
        if (!error)
                error = small_start(mount);
        if (!error)
                error = file_start(mount);
        if (!error)
                error = folder_start(mount);
        if (error)
                complain("cannot start: %s", strerror(-error));
        return error;
}

static void stop_parts(struct mount *mount)
{
        if (mount->lister)
                folder_stop(mount);
        if (mount->sender)
                file_stop(mount);
        notify_stop(mount);
        session_close(mount);
        small_stop(mount);
        space_stop(mount);
        if (mount->ahead)
                ahead_destroy(mount->ahead);
        if (mount->tree)
                tree_destroy(mount->tree);
        client_destroy(mount->client);
}

/* Nobody can open a file any more; what was written and not sent yet is, or is left in a folder by file_stop(). */
static int send_the_rest(struct mount *mount)
{
        unsigned left = file_send_all(mount);
        if (left == 0)
                return 0;
        complain("%u file%s could not be sent to %s within --retry", left, left == 1 ? "" : "s", mount->options.url);
        return COMMAND_FAILED;
}

static int serve(struct mount *mount, struct background *background, struct signals *signals)
{
        int error = session_open(mount); /* which says why not */
        if (error)
                return COMMAND_FAILED;
        error = notify_start(mount);
        if (!error)
                error = -pthread_create(&signals->thread, NULL, take_signals, signals);
        if (error) {
                complain("cannot start: %s", strerror(-error));
                place_unmount(mount->options.folder, true);
                return COMMAND_FAILED;
        }
        describe(mount);
        background_tell(background);
        error = session_run(mount);
        stop_signals(signals);
        if (error)
                complain("%s: the session with the kernel ended: %s", mount->options.folder, strerror(-error));
        int status = send_the_rest(mount);
        return error ? COMMAND_FAILED : status;
}

static int run(struct mount *mount, struct background *background)
{
        struct signals signals = { .mount = mount };
        struct remote_attributes root;
        int status = COMMAND_FAILED;
        block_signals(&signals); /* in all threads to come */
        if (connect_server(mount, &root) == 0) {
                decide_read_only(mount);
                if (mount->options.fake)
                        status = 0;
                else if (start_parts(mount, &root) == 0)
                        status = serve(mount, background, &signals);
        }
        stop_parts(mount);
        return status;
}

/* Sockets, and on other servers a local file for each that is written to. */
static void raise_descriptor_limit(void)
{
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = min_of(limit.rlim_max, (rlim_t)65536);
        setrlimit(RLIMIT_NOFILE, &limit);
}

static int mount_it(struct mount *mount)
{
        struct background background;
        struct mount_options *options = &mount->options;
        say_quiet(options->quiet);
        mount->uid = options->set_uid ? options->uid : getuid();
        mount->gid = options->set_gid ? options->gid : getgid();
        if (check_folder(options) < 0)
                return COMMAND_FAILED;
        if (background_begin(&background, options) < 0)
                return COMMAND_FAILED;
        raise_descriptor_limit();
        return run(mount, &background);
}

static int command(struct mount *mount, int argc, char **argv)
{
        if (mount_options_parse(&mount->options, argc, argv) < 0)
                return COMMAND_WRONG;
        if (mount->options.help) {
                mount_options_help();
                return 0;
        }
        if (mount->options.stats)
                return stats_command(mount->options.folder);
        return mount_it(mount);
}

int mount_command(int argc, char **argv)
{
        static struct mount mount;
        int status = command(&mount, argc, argv);
        mount_options_finish(&mount.options);
        return status;
}
