/* Reading folders by pieces; each entry stays where the kernel put it. */
#include "store/store_priv.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static enum store_hint hint_of(unsigned char type)
{
        switch (type) {
        case DT_UNKNOWN:
                return STORE_HINT_NONE;
        case DT_REG:
                return STORE_HINT_FILE;
        case DT_DIR:
                return STORE_HINT_FOLDER;
        case DT_LNK:
                return STORE_HINT_LINK;
        default:
                return STORE_HINT_OTHER;
        }
}

/* ENOENT: the folder itself was removed meanwhile. */
static int read_piece(int folder, struct store_entries *entries)
{
        ssize_t got;

        do
                got = getdents64(folder, entries->piece, sizeof(entries->piece));
        while (got < 0 && errno == EINTR);
        entries->at = 0;
        entries->got = got > 0 ? (uint32_t)got : 0;
        return got < 0 && errno != ENOENT ? -errno : got > 0;
}

int store_next_entry(int folder, struct store_entries *entries, struct store_dent *dent)
{
        const struct dirent64 *entry;

        if (entries->at == entries->got) {
                int got = read_piece(folder, entries);

                if (got <= 0)
                        return got;
        }
        entry = (const void *)(entries->piece + entries->at);
        entries->at += entry->d_reclen;
        entries->cookie = entry->d_off;
        *dent = (struct store_dent){ entry->d_name, hint_of(entry->d_type) };
        return 1;
}

int store_seek_entries(int folder, struct store_entries *entries)
{
        entries->at = entries->got = 0;
        return lseek(folder, entries->cookie, SEEK_SET) < 0 ? -errno : 0;
}

/* The limit of descriptors is the process's, and other trees want some too. */
unsigned store_open_levels(void)
{
        return 32;
}

void store_sort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *, void *),
                void *context)
{
        qsort_r(base, count, size, compare, context);
}
