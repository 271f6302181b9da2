/* The folder that is served. */
#include "crowd.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MANY_NAMES = 250, FEW_NAMES = 3, MODIFIED = 1700000000 };

struct site site = {
        .files = {
                [SITE_EMPTY] = { "empty.txt", 0, NULL },
                [SITE_SHORT] = { "short.txt", 200, NULL },
                [SITE_PAGE] = { "page.txt", 5000, NULL },
                [SITE_PAGE_GZ] = { "page.txt.gz", 900, NULL },
                [SITE_FULL] = { "full.bin", STORE_CONTENT_BYTES, NULL },
                [SITE_OVER] = { "over.bin", STORE_CONTENT_BYTES + 1, NULL },
                [SITE_LONG] = { "long.bin", 70000, NULL },
                [SITE_LARGE] = { "large.bin", 300000, NULL },
                [SITE_INDEX] = { "sub/index.html", 1234, NULL },
        },
};

const char *const site_folders[SITE_FOLDERS] = { [SITE_FEW] = "few", [SITE_MANY] = "many" };

static void path_to(char out[256], const char *name)
{
        snprintf(out, 256, "%s/%s", site.folder, name);
}

/* The time is fixed: it stands in listings, and in the head of every answer. */
static void write_file(const char *name, const char *data, size_t size)
{
        char path[256];
        const struct timespec times[2] = { { .tv_sec = MODIFIED }, { .tv_sec = MODIFIED } };
        path_to(path, name);
        int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        check(file >= 0 && write(file, data, size) == (ssize_t)size);
        check(futimens(file, times) == 0);
        close(file);
}

static void make_folder(const char *name)
{
        char path[256];
        path_to(path, name);
        check(mkdir(path, 0700) == 0);
}

static void fill_folder(const char *folder, unsigned count)
{
        make_folder(folder);
        for (unsigned i = 0; i < count; i++) {
                char name[128];
                snprintf(name, sizeof(name), "%s/a name that is somewhat long, number %u.txt", folder, i);
                write_file(name, "x", i % 2);
        }
}

static void make_file(unsigned number)
{
        struct site_file *file = &site.files[number];
        struct random bytes = { .state = number };
        file->data = malloc(file->size + 1);
        check(file->data);
        for (size_t i = 0; i < file->size; i++)
                file->data[i] = (char)random_next(&bytes);
        write_file(file->path, file->data, file->size);
}

static struct span make_listing(const char *folder, bool json)
{
        enum { PIECE = 32 << 10, ROOM = 256 << 10 };
        const struct store_list_options options = { .links = true };
        struct listing *listing;
        char *out = malloc(ROOM);
        size_t used = 0;
        ssize_t n;
        check(out && listing_create(&listing, site.root, folder, &options, json) == 0);
        while ((n = listing_fill(listing, out + used, PIECE)) > 0) {
                used += (size_t)n;
                check(used + PIECE <= ROOM);
        }
        check(n == 0);
        listing_destroy(listing);
        return (struct span){ out, used };
}

void site_make(void)
{
        strcpy(site.folder, "/tmp/berth-crowd-XXXXXX");
        check(mkdtemp(site.folder));
        make_folder("sub");
        for (unsigned i = 0; i < SITE_FILES; i++)
                make_file(i);
        fill_folder(site_folders[SITE_FEW], FEW_NAMES);
        fill_folder(site_folders[SITE_MANY], MANY_NAMES);
        site.root = open(site.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        check(site.root >= 0);
        for (unsigned i = 0; i < SITE_FOLDERS; i++)
                for (unsigned json = 0; json < 2; json++)
                        site.listings[i][json] = make_listing(site_folders[i], json);
}

void site_remove(void)
{
        char command[128];
        for (unsigned i = 0; i < SITE_FILES; i++)
                free(site.files[i].data);
        for (unsigned i = 0; i < SITE_FOLDERS; i++)
                for (unsigned json = 0; json < 2; json++)
                        free((char *)(uintptr_t)site.listings[i][json].data);
        if (site.root > 0)
                close(site.root);
        snprintf(command, sizeof(command), "rm -rf '%s'", site.folder);
        if (site.folder[0] && system(command) != 0)
                fprintf(stderr, "# %s is left\n", site.folder);
}
