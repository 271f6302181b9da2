/* Attributes of a name as data streams of the file or folder, one each. In a stream's name capital letters, bytes beyond
 * ASCII and what must not stand there are written as %XX, since Windows takes no account of case.
 *
 * A stream is written alone, so others see it before or afterwards; whoever finds it in use asks again for a while. The
 * file's time stays as it is.
 */
#include "store/system_win.h"

#include <stdlib.h>

enum {
        STREAM_UNITS = 255,
        BUSY_TRIES = 200,
        STREAMS_BYTES = 256 << 10,
        FILE_STREAM_INFORMATION_CLASS = 22,
};

void store_xattr_by_proc(bool always)
{
        (void)always;
}

/* ---- names of streams ---- */

static bool is_plain(unsigned char c)
{
        return c > ' ' && c < 127 && !(c >= 'A' && c <= 'Z') && !strchr("\\/:%*?\"<>|~", c);
}

/* ":NAME:$DATA" in UTF-16 units, how many; -ERANGE. */
static int stream_name(const char *attribute, WCHAR stream[STREAM_UNITS + 8])
{
        static const char end[] = ":$DATA";
        int n = 0;

        stream[n++] = ':';
        for (const char *at = attribute; *at; at++) {
                unsigned char c = (unsigned char)*at;

                if (n + 3 > STREAM_UNITS)
                        return -ERANGE;
                stream[n++] = is_plain(c) ? c : L'%';
                if (!is_plain(c)) {
                        stream[n++] = (WCHAR) "0123456789abcdef"[c >> 4];
                        stream[n++] = (WCHAR) "0123456789abcdef"[c & 15];
                }
        }
        for (const char *at = end; *at; at++)
                stream[n++] = (WCHAR)*at;
        return n;
}

/* The other way; false: it is none of ours, as the nameless one that is the content. */
static bool attribute_name(const WCHAR *stream, size_t units, char attribute[STORE_ATTRIBUTE_BYTES + 1])
{
        size_t used = 0, at = 1;

        for (; at < units && stream[at] != L':'; at++) {
                int c = stream[at] < 128 ? (int)stream[at] : -1;

                if (c == '%' && at + 2 < units) {
                        int high = hex_digit((char)stream[at + 1]), low = hex_digit((char)stream[at + 2]);

                        c = high < 0 || low < 0 ? -1 : high << 4 | low;
                        at += 2;
                }
                if (c <= 0 || used == STORE_ATTRIBUTE_BYTES)
                        return false;
                attribute[used++] = (char)c;
        }
        attribute[used] = '\0';
        return used > 0;
}

/* ---- opening ---- */

static bool keeps_streams(HANDLE file)
{
        DWORD flags = 0;

        return GetVolumeInformationByHandleW(file, NULL, 0, NULL, NULL, &flags, NULL, 0) && flags & FILE_NAMED_STREAMS;
}

/* What has the stream: -EPERM of a link, which has none. */
static int open_base(int folder, const char *name, HANDLE *base)
{
        struct open_how how = { .access = FILE_READ_ATTRIBUTES, .disposition = FILE_OPEN };
        int error = store_open_itself(folder, name, &how, base);

        if (error)
                return error;
        error = !keeps_streams(*base) ? -EOPNOTSUPP : open_is_link(*base) ? -EPERM : 0;
        if (error)
                CloseHandle(*base);
        return error;
}

static int open_stream(HANDLE base, const char *attribute, const struct open_how *how, HANDLE *stream)
{
        WCHAR name[STREAM_UNITS + 8];
        int n = stream_name(attribute, name), error = n < 0 ? n : -EBUSY;

        for (unsigned i = 0; error == -EBUSY && i < BUSY_TRIES; i++) {
                if (i > 0)
                        Sleep(5);
                error = open_itself(base, name, (size_t)n, how, stream);
        }
        return error == -ENOENT ? -ENODATA : error;
}

/* ---- the calls ---- */

ssize_t store_xattr_get(int folder, const char *name, const char *attribute, void *value, size_t size)
{
        struct open_how how = { .access = FILE_READ_DATA | SYNCHRONIZE,
                                .disposition = FILE_OPEN,
                                .options = FILE_SYNCHRONOUS_IO_NONALERT,
                                .share = FILE_SHARE_READ | FILE_SHARE_DELETE };
        HANDLE base, stream;
        LARGE_INTEGER bytes;
        ssize_t got = open_base(folder, name, &base);

        if (got)
                return got;
        got = open_stream(base, attribute, &how, &stream);
        CloseHandle(base);
        if (got)
                return got;
        if (!GetFileSizeEx(stream, &bytes))
                got = iocp_error(GetLastError());
        else if (size && (uint64_t)bytes.QuadPart > size)
                got = -ERANGE;
        else
                got = size ? store_read_at((int)(intptr_t)stream, value, size, 0) : (ssize_t)bytes.QuadPart;
        CloseHandle(stream);
        return got;
}

/* -1: by this handle no time is changed. */
static int write_stream(HANDLE stream, const void *value, size_t size)
{
        FILE_BASIC_INFO as_it_is = { .LastWriteTime.QuadPart = -1, .LastAccessTime.QuadPart = -1 };
        int number = (int)(intptr_t)stream;
        ssize_t n;

        if (!SetFileInformationByHandle(stream, FileBasicInfo, &as_it_is, sizeof(as_it_is)))
                return iocp_error(GetLastError());
        n = size ? store_write_at(number, value, size, 0) : 0;
        if (n < 0)
                return (int)n;
        return (size_t)n < size ? -ENOSPC : store_resize(number, size);
}

static int set_on(HANDLE base, const char *attribute, const void *value, size_t size, enum store_put put)
{
        static const ULONG dispositions[] = {
                [STORE_PUT] = FILE_OPEN_IF, [STORE_PUT_NEW] = FILE_CREATE, [STORE_PUT_OLD] = FILE_OPEN
        };
        struct open_how how = { .access = FILE_WRITE_DATA | FILE_WRITE_ATTRIBUTES | SYNCHRONIZE | DELETE,
                                .disposition = dispositions[put],
                                .options = FILE_SYNCHRONOUS_IO_NONALERT,
                                .alone = true };
        HANDLE stream;
        int error = open_stream(base, attribute, &how, &stream);

        if (error)
                return error;
        error = write_stream(stream, value, size);
        if (error && put == STORE_PUT_NEW)
                store_dispose(stream);
        CloseHandle(stream);
        return error;
}

int store_xattr_set(int folder, const char *name, const char *attribute, const void *value, size_t size,
                    enum store_put put)
{
        HANDLE base;
        int error = open_base(folder, name, &base);

        if (error)
                return error;
        error = size > STORE_VALUE_BYTES ? -E2BIG : set_on(base, attribute, value, size, put);
        CloseHandle(base);
        return error;
}

int store_xattr_set_of(int descriptor, const char *attribute, const void *value, size_t size)
{
        HANDLE file = store_handle(descriptor);

        return keeps_streams(file) ? set_on(file, attribute, value, size, STORE_PUT) : -EOPNOTSUPP;
}

int store_xattr_remove(int folder, const char *name, const char *attribute)
{
        struct open_how how = { .access = DELETE | SYNCHRONIZE,
                                .disposition = FILE_OPEN,
                                .options = FILE_SYNCHRONOUS_IO_NONALERT,
                                .alone = true };
        HANDLE base, stream;
        int error = open_base(folder, name, &base);

        if (error)
                return error;
        error = open_stream(base, attribute, &how, &stream);
        CloseHandle(base);
        if (error)
                return error;
        error = store_dispose(stream);
        CloseHandle(stream);
        return error;
}

/* ---- all of them ---- */

/* FILE_STREAM_INFORMATION */
struct stream_entry {
        ULONG next, name_bytes;
        LARGE_INTEGER size, allocated;
        WCHAR name[];
};

/* How many bytes of the list it takes, 0 when it is no attribute. */
static size_t put_attribute(const struct stream_entry *entry, char *list, size_t room)
{
        char attribute[STORE_ATTRIBUTE_BYTES + 1];
        size_t size;

        if (!attribute_name(entry->name, entry->name_bytes / sizeof(entry->name[0]), attribute))
                return 0;
        size = strlen(attribute) + 1;
        if (size <= room)
                memcpy(list, attribute, size);
        return size;
}

static ssize_t list_streams(const char *data, size_t got, char *list, size_t size)
{
        const struct stream_entry *entry;
        size_t used = 0, at = 0;

        while (at + sizeof(*entry) <= got) {
                entry = (const void *)(data + at);
                used += put_attribute(entry, list + min_of(used, size), size - min_of(used, size));
                if (!entry->next)
                        break;
                at += entry->next;
        }
        return used > size && size ? -ERANGE : (ssize_t)used;
}

/* A folder without streams has nothing to tell, not even a content. */
static ssize_t list_on(HANDLE base, char *list, size_t size)
{
        char *data = malloc(STREAMS_BYTES);
        IO_STATUS_BLOCK block = { 0 };
        NTSTATUS status;
        ssize_t result;

        if (!data)
                return -ENOMEM;
        status = NtQueryInformationFile(base, &block, data, STREAMS_BYTES,
                                        (FILE_INFORMATION_CLASS)FILE_STREAM_INFORMATION_CLASS);
        result = status ? open_error(status) : list_streams(data, block.Information, list, size);
        free(data);
        return result;
}

ssize_t store_xattr_list(int folder, const char *name, char *list, size_t size)
{
        HANDLE base;
        ssize_t result = open_base(folder, name, &base);

        if (result)
                return result == -EPERM ? 0 : result;
        result = list_on(base, list, size);
        CloseHandle(base);
        return result;
}

bool store_xattr_none_of(int descriptor)
{
        HANDLE file = store_handle(descriptor);

        return !keeps_streams(file) || list_on(file, NULL, 0) == 0;
}
