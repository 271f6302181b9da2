/* Media types by file extension: the system's table, sorted for bisection. */
#include "store/store_priv.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_TYPES = 16384, MAX_EXTENSION = 31 };

struct type {
        char *extension; /* lower case */
        char *type;      /* with its charset */
};

static struct type *types;
static size_t type_count;

/* For systems without /etc/mime.types (Debian: package media-types). */
static const char builtin[] = "text/html html htm\n"
                              "text/css css\n"
                              "text/javascript js mjs\n"
                              "text/plain txt log conf\n"
                              "text/markdown md\n"
                              "text/csv csv\n"
                              "application/json json map\n"
                              "application/xml xml\n"
                              "application/pdf pdf\n"
                              "application/wasm wasm\n"
                              "application/zip zip\n"
                              "application/gzip gz\n"
                              "application/zstd zst\n"
                              "image/svg+xml svg\n"
                              "image/png png\n"
                              "image/jpeg jpg jpeg\n"
                              "image/gif gif\n"
                              "image/webp webp\n"
                              "image/avif avif\n"
                              "image/vnd.microsoft.icon ico\n"
                              "audio/mpeg mp3\n"
                              "audio/ogg ogg oga opus\n"
                              "audio/flac flac\n"
                              "video/mp4 mp4\n"
                              "video/webm webm\n"
                              "video/x-matroska mkv\n"
                              "font/woff woff\n"
                              "font/woff2 woff2\n";

static int compare(const void *a, const void *b)
{
        return strcmp(((const struct type *)a)->extension, ((const struct type *)b)->extension);
}

/* Scripts and style sheets are text whatever their registration says. */
static bool is_text(const char *type)
{
        return strncmp(type, "text/", 5) == 0 || strcmp(type, "application/javascript") == 0;
}

static void add(const char *type, const char *extension)
{
        if (type_count == MAX_TYPES || strlen(extension) > MAX_EXTENSION)
                return;
        struct type *entry = &types[type_count];
        const char *charset = is_text(type) ? "; charset=utf-8" : "";
        entry->extension = strdup(extension);
        entry->type = malloc(strlen(type) + strlen(charset) + 1);
        if (!entry->extension || !entry->type) {
                free(entry->extension);
                free(entry->type);
                return;
        }
        for (char *c = entry->extension; *c; c++)
                *c = (char)tolower((unsigned char)*c);
        strcpy(entry->type, type);
        strcat(entry->type, charset);
        type_count++;
}

/* "type ext ext ...", '#' begins a comment. */
static void read_line(char *line)
{
        char *rest = NULL;
        line[strcspn(line, "#\n")] = '\0';
        const char *type = strtok_r(line, " \t", &rest);
        const char *extension;
        while (type && (extension = strtok_r(NULL, " \t", &rest)))
                add(type, extension);
}

static void read_table(FILE *file)
{
        char line[4096];
        while (fgets(line, sizeof(line), file))
                read_line(line);
        fclose(file);
}

static void read_builtin(void)
{
        char line[256];
        struct span rest = { builtin, sizeof(builtin) - 1 };
        while (rest.size) {
                struct span next = span_cut(&rest, '\n');
                ensure(next.size < sizeof(line));
                memcpy(line, next.data, next.size);
                line[next.size] = '\0';
                read_line(line);
        }
}

void store_load_types(void)
{
        types = calloc(MAX_TYPES, sizeof(*types));
        if (!types)
                return;
        FILE *file = store_types_file[0] ? fopen(store_types_file, "re") : NULL;
        if (file)
                read_table(file);
        else
                read_builtin();
        qsort(types, type_count, sizeof(*types), compare);
}

void store_unload_types(void)
{
        for (size_t i = 0; i < type_count; i++) {
                free(types[i].extension);
                free(types[i].type);
        }
        free(types);
        types = NULL;
        type_count = 0;
}

struct span store_type_of(struct span name)
{
        static const struct span unknown = { "application/octet-stream", 24 };
        char extension[MAX_EXTENSION + 1];
        size_t dot = name.size;
        while (dot > 0 && name.data[dot - 1] != '.' && name.data[dot - 1] != '/')
                dot--;
        size_t size = name.size - dot;
        if (dot == 0 || name.data[dot - 1] == '/' || size == 0 || size > MAX_EXTENSION)
                return unknown;
        for (size_t i = 0; i < size; i++)
                extension[i] = (char)tolower((unsigned char)name.data[dot + i]);
        extension[size] = '\0';
        struct type key = { .extension = extension };
        const struct type *found = types ? bsearch(&key, types, type_count, sizeof(*types), compare) : NULL;
        return found ? span_of(found->type) : unknown;
}
