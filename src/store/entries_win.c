/* Reading folders by pieces. A name is put into UTF-8 at the front of the piece, for one entry at a time. What has no
 * such name, or a longer one than other systems have, cannot be opened by us and is passed over. */
#include "store/system_win.h"

#include <stdlib.h>

#define STATUS_NO_MORE_FILES ((NTSTATUS)0x80000006)
#define STATUS_NO_SUCH_FILE ((NTSTATUS)0xC000000F)

enum { NAME_ROOM = 1024, FULL_DIRECTORY_INFORMATION = 2 };

_Static_assert(NAME_ROOM > (int)STORE_NAME_BYTES, "a name fits in front");

NTSTATUS NTAPI NtQueryDirectoryFile(HANDLE file, HANDLE event, PIO_APC_ROUTINE routine, PVOID context,
                                    PIO_STATUS_BLOCK block, PVOID data, ULONG size, FILE_INFORMATION_CLASS class,
                                    BOOLEAN single, PUNICODE_STRING name, BOOLEAN restart);

/* FILE_FULL_DIR_INFORMATION; of a reparse point the last number is its tag. */
struct full_entry {
        ULONG next, index;
        LARGE_INTEGER created, accessed, written, changed, size, allocated;
        ULONG attributes, name_bytes, tag;
        WCHAR name[];
};

static enum store_hint hint_of(const struct full_entry *entry)
{
        if (entry->attributes & FILE_ATTRIBUTE_REPARSE_POINT && IsReparseTagNameSurrogate(entry->tag))
                return STORE_HINT_LINK;
        return entry->attributes & FILE_ATTRIBUTE_DIRECTORY ? STORE_HINT_FOLDER : STORE_HINT_FILE;
}

static int read_piece(int folder, struct store_entries *entries)
{
        IO_STATUS_BLOCK block;
        NTSTATUS status = NtQueryDirectoryFile(store_handle(folder), NULL, NULL, NULL, &block,
                                               entries->piece + NAME_ROOM, sizeof(entries->piece) - NAME_ROOM,
                                               (FILE_INFORMATION_CLASS)FULL_DIRECTORY_INFORMATION, FALSE, NULL,
                                               entries->cookie == 0);

        entries->at = entries->got = 0;
        if (status == STATUS_NO_MORE_FILES || status == STATUS_NO_SUCH_FILE || block.Information == 0)
                return 0;
        if (status < 0)
                return open_error(status) == -ENOENT ? 0 : open_error(status);
        entries->at = NAME_ROOM;
        entries->got = NAME_ROOM + (uint32_t)block.Information;
        return 1;
}

/* Bytes without the NUL, 0: it has none that we can use. */
static int put_name(struct store_entries *entries, const struct full_entry *entry)
{
        int n = WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, entry->name,
                                    (int)(entry->name_bytes / sizeof(entry->name[0])), entries->piece, STORE_NAME_BYTES,
                                    NULL, NULL);

        entries->piece[max_of(n, 0)] = '\0';
        return n;
}

int store_next_entry(int folder, struct store_entries *entries, struct store_dent *dent)
{
        for (;;) {
                const struct full_entry *entry;

                if (entries->at == entries->got) {
                        int got = read_piece(folder, entries);

                        if (got <= 0)
                                return got;
                }
                entry = (const void *)(entries->piece + entries->at);
                entries->at = entry->next ? entries->at + entry->next : entries->got;
                entries->cookie++;
                if (put_name(entries, entry) <= 0)
                        continue;
                *dent = (struct store_dent){ entries->piece, hint_of(entry) };
                return 1;
        }
}

/* Only to the start: folders are not closed on the way, so nobody asks for another place. */
int store_seek_entries(int folder, struct store_entries *entries)
{
        (void)folder;
        entries->at = entries->got = 0;
        return entries->cookie == 0 ? 0 : -EINVAL;
}

unsigned store_open_levels(void)
{
        return STORE_MAX_DEPTH + 1;
}

struct order {
        int (*compare)(const void *, const void *, void *);
        void *context;
};

static int compare_by(void *order, const void *a, const void *b)
{
        const struct order *by = order;

        return by->compare(a, b, by->context);
}

void store_sort(void *base, size_t count, size_t size, int (*compare)(const void *, const void *, void *),
                void *context)
{
        struct order order = { compare, context };

        qsort_s(base, count, size, compare_by, &order);
}
