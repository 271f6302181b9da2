/* Works on files by chance and checks them against what they must hold: an exerciser in the spirit of Apple's and LTP's fsx.
 *
 *     fsx [--seed N] [--operations N] [--size BYTES] [--files N] [--without WHAT[,WHAT]...] [--trace] PATH
 *
 * Each file (PATH, or PATH.0 to PATH.N-1) has a model in memory. An operation is done to both, and whatever is read is
 * compared; the size is asked for after each operation that changes it. With several files operations go from one to
 * another by chance, so their streams are interleaved. WHAT is the name of an operation in the table below.
 *
 * Everything follows from the seed. When a file differs, what was found and expected, the last operations (those that
 * touched the place marked) and the command that repeats the run are printed.
 *
 * Ends with 0 when all was as it must be, 1 when a file differed, 2 for wrong use, 3 when an operation was refused (the
 * error is told): then the file system has said that something went wrong, which is not the same as losing bytes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_FILES = 16, LOG_ENTRIES = 100, MOST_BYTES = 64 << 10, SHOWN_BYTES = 16 };

static struct {
        uint64_t seed, operations, size, files;
        const char *path;
        char without[256];
        bool trace;
} asked = { .seed = 1, .operations = 10000, .size = 256 << 10, .files = 1 };

struct file {
        char path[4096];
        int number, descriptor;
        unsigned char *model; /* of asked.size bytes; zero past `size` */
        size_t size;
};

/* What was done, for the report. */
struct entry {
        uint64_t number;
        const char *name;
        int file;
        size_t offset, length, before, after;
};

static struct file files[MOST_FILES];
static struct entry entries[LOG_ENTRIES];
static struct entry *current; /* of the operation in hand */
static unsigned char *buffer;
static uint64_t state;
static size_t page;

static uint64_t chance(uint64_t below)
{
        state += 0x9e3779b97f4a7c15; /* splitmix64 */
        uint64_t z = state;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return below ? (z ^ z >> 31) % below : 0;
}

/* ---- what is said when something is wrong ---- */

static void print_entry(const struct entry *entry, bool marked)
{
        fprintf(stderr, "%c %8" PRIu64 "  file %d  %-10s", marked ? '*' : ' ', entry->number, entry->file, entry->name);
        if (entry->length)
                fprintf(stderr, "  %zu to %zu (%zu bytes)", entry->offset, entry->offset + entry->length,
                        entry->length);
        if (entry->before != entry->after)
                fprintf(stderr, "  size %zu -> %zu", entry->before, entry->after);
        fputc('\n', stderr);
}

static void print_log(int file, size_t at)
{
        fprintf(stderr, "the last operations (* those that touched byte %zu):\n", at);
        for (uint64_t i = 1; i <= LOG_ENTRIES; i++) {
                const struct entry *entry = &entries[(current->number + i) % LOG_ENTRIES];
                bool range = at >= entry->offset && at < entry->offset + entry->length;
                bool resized = at >= (entry->before < entry->after ? entry->before : entry->after) &&
                               at < (entry->before < entry->after ? entry->after : entry->before);
                if (entry->name)
                        print_entry(entry, entry->file == file && (range || resized));
        }
}

static void print_command(void)
{
        fprintf(stderr, "again: fsx --seed %" PRIu64 " --operations %" PRIu64 " --size %" PRIu64 " --files %" PRIu64,
                asked.seed, asked.operations, asked.size, asked.files);
        fprintf(stderr, "%s%s %s\n", *asked.without ? " --without " : "", asked.without, asked.path);
}

static void print_bytes(const char *what, const unsigned char *bytes, size_t count)
{
        fprintf(stderr, "%-9s", what);
        for (size_t i = 0; i < count && i < SHOWN_BYTES; i++)
                fprintf(stderr, " %02x", bytes[i]);
        fputc('\n', stderr);
}

static _Noreturn void differs(const struct file *file, size_t at, const unsigned char *found, size_t count)
{
        fprintf(stderr, "fsx: operation %" PRIu64 " (%s): %s differs at byte %zu of %zu\n", current->number,
                current->name, file->path, at, file->size);
        print_bytes("expected", file->model + at, count);
        print_bytes("found", found, count);
        print_log(file->number, at);
        print_command();
        exit(1);
}

static _Noreturn void wrong_size(const struct file *file, size_t found)
{
        fprintf(stderr, "fsx: operation %" PRIu64 " (%s): %s has %zu bytes, expected %zu\n", current->number,
                current->name, file->path, found, file->size);
        print_log(file->number, found < file->size ? found : file->size);
        print_command();
        exit(1);
}

static _Noreturn void refused(const struct file *file, const char *call)
{
        fprintf(stderr, "fsx: operation %" PRIu64 " (%s): %s of %s: %s\n", current->number, current->name, call,
                file->path, strerror(errno));
        print_log(file->number, current->offset);
        print_command();
        exit(3);
}

/* ---- checks ---- */

static void compare(const struct file *file, size_t offset, const unsigned char *found, size_t count)
{
        if (memcmp(file->model + offset, found, count) == 0)
                return;
        size_t at = 0;
        while (file->model[offset + at] == found[at])
                at++;
        differs(file, offset + at, found + at, count - at);
}

static void check_size(const struct file *file)
{
        struct stat by_descriptor, by_path;
        if (fstat(file->descriptor, &by_descriptor) || stat(file->path, &by_path))
                refused(file, "stat");
        if ((size_t)by_descriptor.st_size != file->size)
                wrong_size(file, (size_t)by_descriptor.st_size);
        if ((size_t)by_path.st_size != file->size)
                wrong_size(file, (size_t)by_path.st_size);
}

static size_t read_at(const struct file *file, size_t offset, size_t count)
{
        size_t got = 0;
        while (got < count) {
                ssize_t part = pread(file->descriptor, buffer + got, count - got, (off_t)(offset + got));
                if (part < 0)
                        refused(file, "read");
                if (part == 0)
                        break;
                got += (size_t)part;
        }
        return got;
}

static void check_whole(const struct file *file)
{
        check_size(file);
        for (size_t at = 0; at < file->size; at += MOST_BYTES) {
                size_t count = file->size - at < MOST_BYTES ? file->size - at : MOST_BYTES;
                if (read_at(file, at, count) != count)
                        wrong_size(file, at);
                compare(file, at, buffer, count);
        }
}

/* ---- operations ---- */

static void set_size(struct file *file, size_t size)
{
        if (size < file->size)
                memset(file->model + size, 0, file->size - size);
        file->size = size;
        current->after = size;
}

/* A range within `limit`: small and large pieces, some of whole pages, some that start with one. */
static void choose(size_t limit, size_t *offset, size_t *length)
{
        size_t most = chance(3) ? 5000 : MOST_BYTES;
        *length = 1 + chance(most < limit ? most : limit);
        if (chance(4) == 0 && limit > 2 * page)
                *length = (*length + page - 1) / page * page;
        if (*length > limit)
                *length = limit;
        *offset = chance(limit - *length + 1);
        if (chance(4) == 0)
                *offset -= *offset % page;
        current->offset = *offset;
        current->length = *length;
}

/* New bytes in the model; each operation's are its own. */
static unsigned char *renew(struct file *file, size_t offset, size_t length)
{
        for (size_t i = 0; i < length; i++)
                file->model[offset + i] = (unsigned char)((chance(256) & 0x0f) | (current->number << 4));
        return file->model + offset;
}

static void write_here(struct file *file, size_t offset, size_t length)
{
        const unsigned char *bytes = renew(file, offset, length);
        if (offset + length > file->size)
                set_size(file, offset + length);
        for (size_t done = 0; done < length;) {
                ssize_t part = pwrite(file->descriptor, bytes + done, length - done, (off_t)(offset + done));
                if (part <= 0)
                        refused(file, "write");
                done += (size_t)part;
        }
}

static void do_write(struct file *file)
{
        size_t offset, length;
        choose(asked.size, &offset, &length);
        write_here(file, offset, length);
}

/* Goes on where the file ends, as most writers do. */
static void do_append(struct file *file)
{
        size_t room = asked.size - file->size, length = 1 + chance(MOST_BYTES / 4);
        if (length > room)
                length = room;
        current->offset = file->size;
        current->length = length;
        if (length)
                write_here(file, file->size, length);
}

static void do_read(struct file *file)
{
        size_t offset, length;
        choose(asked.size, &offset, &length);
        size_t there = offset >= file->size ? 0 : file->size - offset < length ? file->size - offset : length;
        size_t got = read_at(file, offset, length);
        compare(file, offset, buffer, got < there ? got : there);
        if (got != there)
                wrong_size(file, offset + got);
}

static void do_shorten(struct file *file)
{
        set_size(file, chance(file->size + 1));
        if (ftruncate(file->descriptor, (off_t)file->size))
                refused(file, "ftruncate");
}

static void do_lengthen(struct file *file)
{
        set_size(file, file->size + chance(asked.size - file->size + 1));
        if (chance(2) ? ftruncate(file->descriptor, (off_t)file->size) : truncate(file->path, (off_t)file->size))
                refused(file, "truncate");
}

static unsigned char *map(const struct file *file, size_t offset, size_t length, size_t *lead)
{
        *lead = offset % page;
        void *mapped = mmap(NULL, *lead + length, PROT_READ | PROT_WRITE, MAP_SHARED, file->descriptor,
                            (off_t)(offset - *lead));
        if (mapped == MAP_FAILED)
                refused(file, "mmap");
        return mapped;
}

/* The rest of a file's last page is zero in a map, too. */
static void check_rest_of_page(const struct file *file, const unsigned char *end)
{
        static const unsigned char zeros[SHOWN_BYTES];
        for (size_t i = 0; i < page - file->size % page && file->size % page; i++) {
                if (end[i] == 0)
                        continue;
                fprintf(stderr, "fsx: operation %" PRIu64 ": %s is mapped with a byte at %zu, past its end\n",
                        current->number, file->path, file->size + i);
                print_bytes("expected", zeros, 1);
                print_bytes("found", end + i, 1);
                print_log(file->number, file->size + i);
                print_command();
                exit(1);
        }
}

static void do_mapread(struct file *file)
{
        size_t offset, length, lead;
        if (file->size == 0)
                return;
        choose(file->size, &offset, &length);
        unsigned char *mapped = map(file, offset, length, &lead);
        compare(file, offset, mapped + lead, length);
        if (offset + length == file->size)
                check_rest_of_page(file, mapped + lead + length);
        munmap(mapped, lead + length);
}

static void do_mapwrite(struct file *file)
{
        size_t offset, length, lead;
        if (file->size == 0)
                return;
        choose(file->size, &offset, &length);
        unsigned char *mapped = map(file, offset, length, &lead);
        memcpy(mapped + lead, renew(file, offset, length), length);
        if (chance(2) && msync(mapped, lead + length, MS_SYNC))
                refused(file, "msync");
        munmap(mapped, lead + length);
}

static void do_fsync(struct file *file)
{
        if (chance(2) ? fsync(file->descriptor) : fdatasync(file->descriptor))
                refused(file, "fsync");
}

static void open_file(struct file *file, int flags)
{
        file->descriptor = open(file->path, O_RDWR | O_CLOEXEC | flags, 0644);
        if (file->descriptor < 0)
                refused(file, "open");
}

static void do_reopen(struct file *file)
{
        if (close(file->descriptor))
                refused(file, "close");
        open_file(file, 0);
        check_whole(file);
}

/* A second descriptor sees what the first wrote. */
static void do_second(struct file *file)
{
        int first = file->descriptor;
        open_file(file, 0);
        check_whole(file);
        if (close(first))
                refused(file, "close");
}

static void do_rename(struct file *file)
{
        char other[sizeof(file->path) + 8];
        snprintf(other, sizeof(other), "%s-moved", file->path);
        if (rename(file->path, other) || rename(other, file->path))
                refused(file, "rename");
}

static const struct operation {
        const char *name;
        int weight;
        void (*run)(struct file *file);
        bool resizes;
} operations[] = {
        { "write", 22, do_write, true },       { "append", 12, do_append, true },
        { "read", 20, do_read, false },        { "shorten", 5, do_shorten, true },
        { "lengthen", 5, do_lengthen, true },  { "mapread", 12, do_mapread, false },
        { "mapwrite", 12, do_mapwrite, true }, { "fsync", 3, do_fsync, false },
        { "reopen", 2, do_reopen, false },     { "second", 1, do_second, false },
        { "rename", 1, do_rename, false },
};

enum { OPERATIONS = sizeof(operations) / sizeof(operations[0]) };

/* ---- a run ---- */

static bool left_out(const char *name)
{
        size_t length = strlen(name);
        for (const char *word = asked.without; *word; word += strcspn(word, ","), word += *word == ',')
                if (strcspn(word, ",") == length && strncmp(word, name, length) == 0)
                        return true;
        return false;
}

static const struct operation *choose_operation(void)
{
        uint64_t total = 0;
        for (int i = 0; i < OPERATIONS; i++)
                total += left_out(operations[i].name) ? 0 : (uint64_t)operations[i].weight;
        uint64_t pick = chance(total);
        for (int i = 0; i < OPERATIONS; i++) {
                uint64_t weight = left_out(operations[i].name) ? 0 : (uint64_t)operations[i].weight;
                if (pick < weight)
                        return &operations[i];
                pick -= weight;
        }
        return &operations[0];
}

static void begin(uint64_t number, const char *name, const struct file *file)
{
        current = &entries[number % LOG_ENTRIES];
        *current = (struct entry){ number, name, file->number, 0, 0, file->size, file->size };
}

static void one_operation(uint64_t number)
{
        const struct operation *operation = choose_operation();
        struct file *file = &files[chance(asked.files)];
        begin(number, operation->name, file);
        operation->run(file);
        if (operation->resizes)
                check_size(file);
        if (asked.trace)
                print_entry(current, false);
}

static void start(struct file *file, int number)
{
        file->number = number;
        snprintf(file->path, sizeof(file->path), asked.files > 1 ? "%s.%d" : "%s", asked.path, number);
        begin(0, "open", file);
        file->model = calloc(1, asked.size);
        if (!file->model)
                refused(file, "malloc");
        open_file(file, O_CREAT | O_TRUNC);
}

/* Once more by the descriptor it has, and as who opens it next will find it. */
static void finish(struct file *file)
{
        begin(asked.operations + 1, "end", file);
        check_whole(file);
        if (fsync(file->descriptor))
                refused(file, "fsync");
        do_reopen(file);
        if (close(file->descriptor))
                refused(file, "close");
        free(file->model);
}

static bool take(const char *name, const char *value)
{
        struct {
                const char *name;
                uint64_t *number;
        } numbers[] = { { "--seed", &asked.seed },
                        { "--operations", &asked.operations },
                        { "--size", &asked.size },
                        { "--files", &asked.files } };
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
                if (strcmp(name, numbers[i].name) == 0) {
                        *numbers[i].number = strtoull(value, NULL, 0);
                        return true;
                }
        if (strcmp(name, "--without"))
                return false;
        snprintf(asked.without, sizeof(asked.without), "%s", value);
        return true;
}

static int usage(void)
{
        fprintf(stderr,
                "fsx [--seed N] [--operations N] [--size BYTES] [--files N] [--without WHAT[,WHAT]...] [--trace] PATH\n"
                "WHAT:");
        for (int i = 0; i < OPERATIONS; i++)
                fprintf(stderr, " %s", operations[i].name);
        fputc('\n', stderr);
        return 2;
}

int main(int argc, char **argv)
{
        for (int i = 1; i < argc; i++) {
                if (argv[i][0] != '-')
                        asked.path = argv[i];
                else if (strcmp(argv[i], "--trace") == 0)
                        asked.trace = true;
                else if (i + 1 == argc || !take(argv[i], argv[i + 1]))
                        return usage();
                else
                        i++;
        }
        if (!asked.path || asked.size == 0 || asked.files == 0 || asked.files > MOST_FILES)
                return usage();
        state = asked.seed;
        page = (size_t)sysconf(_SC_PAGESIZE);
        buffer = malloc(MOST_BYTES);
        if (!buffer)
                return 3;
        for (int i = 0; i < (int)asked.files; i++)
                start(&files[i], i);
        for (uint64_t number = 1; number <= asked.operations; number++)
                one_operation(number);
        for (int i = 0; i < (int)asked.files; i++)
                finish(&files[i]);
        free(buffer);
        return 0;
}
