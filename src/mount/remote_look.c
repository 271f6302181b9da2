/* Looking: attributes, folders, links, room, and calls that read. */
#include "mount/exchange.h"
#include "http/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define FOREIGN "<D:resourcetype/><D:getcontentlength/><D:getetag/>"
#define OWN "<B:mode/><B:mtime/><B:inode/><B:links/><B:target/>"
#define FIND(inner)                                                                                                    \
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:propfind xmlns:D=\"DAV:\"" inner "</D:prop></D:propfind>"

/* ---- attributes ---- */

const struct dav_found *exchange_find(const struct dav_member *member, enum dav_live live)
{
        for (const struct dav_found *found = member->found; found; found = found->next) {
                if (found->live == live && found->status == 200)
                        return found;
        }
        return NULL;
}

/* Digits; 0 for anything else. */
static uint64_t parse_number(struct span s)
{
        uint64_t value = 0;

        for (size_t i = 0; i < s.size; i++) {
                if (s.data[i] < '0' || s.data[i] > '9' || value > (UINT64_MAX - 9) / 10)
                        return 0;
                value = value * 10 + (uint64_t)(s.data[i] - '0');
        }
        return value;
}

static void take_tag(struct remote_attributes *attributes, struct span tag)
{
        if (client_is_tag(tag) && tag.size < sizeof(attributes->tag))
                memcpy(attributes->tag, tag.data, tag.size); /* zeroed before */
}

/* The server's own time has nanoseconds. */
static void take_times(struct remote_attributes *attributes, const struct dav_found *found, bool own)
{
        struct timespec time;

        if (own && dav_parse_time(&time, found->text)) {
                attributes->mtime_s = time.tv_sec;
                attributes->mtime_ns = (uint32_t)time.tv_nsec;
        } else if (!own) {
                http_parse_date(found->text, clock_unix_seconds(), &attributes->mtime_s);
        }
}

static size_t target_size(const struct dav_found *found)
{
        size_t size = found->text.size, padding = 0;

        if (!found->base64)
                return size;
        while (padding < size && found->text.data[size - 1 - padding] == '=')
                padding++;
        return (size - padding) * 3 / 4;
}

static void take(struct remote_attributes *attributes, const struct dav_found *found)
{
        uint32_t mode;

        switch (found->live) {
        case DAV_RESOURCETYPE:
                if (found->collection && attributes->kind != REMOTE_LINK)
                        attributes->kind = REMOTE_FOLDER;
                break;
        case DAV_GETCONTENTLENGTH:
                attributes->size = parse_number(found->text);
                break;
        case DAV_GETETAG:
                take_tag(attributes, found->text);
                break;
        case DAV_BERTH_MODE:
                attributes->has_mode = dav_parse_mode(&mode, found->text);
                attributes->mode = attributes->has_mode ? (uint16_t)(mode & 07777) : 0;
                break;
        case DAV_BERTH_INODE:
                attributes->inode = parse_number(found->text);
                break;
        case DAV_BERTH_LINKS:
                attributes->links = (uint32_t)max_of(parse_number(found->text), 1u);
                break;
        case DAV_BERTH_TARGET:
                attributes->kind = REMOTE_LINK;
                attributes->size = target_size(found);
                break;
        default:
                break;
        }
}

/* As weak ones it tells versions apart and is never sent as a condition. */
static void weaken(char tag[CLIENT_TAG_BYTES])
{
        size_t size = strlen(tag);

        if (tag[0] != '"' || size + 3 > CLIENT_TAG_BYTES)
                return;
        memmove(tag + 2, tag, size + 1);
        memcpy(tag, "W/", 2);
}

/* A tag made of seconds may stay when a file changes again within the second; Apache calls such a tag weak, but not in
 * a PROPFIND, and then refuses it. berth's has nanoseconds. */
static bool is_settled(const struct remote *remote, const struct client_answer *answer,
                       const struct remote_attributes *attributes)
{
        bool apache = strncmp(remote->can.server, "Apache", 6) == 0;

        return !apache || answer->date == INT64_MIN || answer->date - attributes->mtime_s >= 2;
}

void exchange_attributes(const struct remote *remote, const struct client_answer *answer,
                         const struct dav_member *member, struct remote_attributes *attributes)
{
        const struct dav_found *date = exchange_find(member, DAV_GETLASTMODIFIED),
                               *time = exchange_find(member, DAV_BERTH_MTIME),
                               *target = exchange_find(member, DAV_BERTH_TARGET);

        *attributes = (struct remote_attributes){ .kind = REMOTE_FILE, .links = 1 };
        for (const struct dav_found *found = member->found; found; found = found->next) {
                if (found->status == 200)
                        take(attributes, found);
        }
        if (date)
                take_times(attributes, date, false);
        if (time)
                take_times(attributes, time, true);
        if (target)
                take(attributes, target);
        if (!is_settled(remote, answer, attributes))
                weaken(attributes->tag);
        if (attributes->has_mode)
                return;
        attributes->mode = attributes->kind == REMOTE_FOLDER ? remote->folder_mode
                           : attributes->kind == REMOTE_LINK ? 0777
                                                             : remote->file_mode;
}

/* ---- asking ---- */

/* What is not there need not be told (RFC 8144): most files are no links. */
static void put_find(const struct remote *remote, struct call *call, const char *depth)
{
        exchange_field(call, "Depth: %s", depth);
        exchange_field(call, "Prefer: return=minimal");
        exchange_xml(call, remote->can.berth ? SPAN(FIND(" xmlns:B=\"" DAV_BERTH_NAMESPACE "\"><D:prop>" FOREIGN OWN))
                                             : SPAN(FIND("><D:prop>" FOREIGN "<D:getlastmodified/>")));
}

struct looking {
        const struct remote *remote;
        const struct client_answer *answer;
        struct remote_attributes *attributes;
        int result;
        bool found;
};

/* Of Depth 0 there is one response; should there be more, the first counts. */
static int take_only(void *context, const struct dav_member *member)
{
        struct looking *looking = context;
        struct client_answer answer = { .status = member->status };

        if (looking->found)
                return 0;
        looking->found = true;
        looking->result = member->status != 0 ? exchange_error(&answer) : 0;
        exchange_attributes(looking->remote, looking->answer, member, looking->attributes);
        return 0;
}

static void look_again(void *context)
{
        struct looking *looking = context;

        looking->found = false;
}

static int look(struct remote *remote, const char *path, bool folder, struct remote_attributes *attributes,
                bool *redirected)
{
        struct call call;
        struct looking looking = { .remote = remote, .answer = &call.answer, .attributes = attributes };
        int result = exchange_init(&call, "PROPFIND", path, folder);

        if (result < 0)
                return result;
        put_find(remote, &call, "0");
        result = exchange_multistatus(remote, &call, take_only, look_again, &looking);
        *redirected = call.error == 0 && call.answer.status >= 300 && call.answer.status < 400;
        if (result == 0)
                result = looking.found ? looking.result : -EIO;
        return result;
}

/* Some servers send who asks for a folder to its name with a '/'. */
int remote_stat(struct remote *remote, const char *path, struct remote_attributes *attributes)
{
        bool redirected;
        int result = look(remote, path, false, attributes, &redirected);

        if (redirected && *path)
                result = look(remote, path, true, attributes, &redirected);
        return result;
}

/* ---- the target of a link ---- */

struct target {
        char *out;
        size_t size;
        int result;
};

static int take_target(void *context, const struct dav_member *member)
{
        const struct dav_found *found = exchange_find(member, DAV_BERTH_TARGET);
        struct target *target = context;
        int size;

        if (!found)
                return 0;
        target->result = -ENAMETOOLONG;
        if (found->base64) {
                size = base64_decode(target->out, target->size - 1, found->text);
                if (size < 0)
                        return 0;
        } else {
                size = (int)found->text.size;
                if (found->text.size >= target->size)
                        return 0;
                memcpy(target->out, found->text.data, found->text.size);
        }
        target->out[size] = '\0';
        target->result = 0;
        return 0;
}

int remote_read_link(struct remote *remote, const char *path, char *out, size_t size)
{
        struct target target = { .out = out, .size = size, .result = -EINVAL };
        struct call call;
        int result = exchange_init(&call, "PROPFIND", path, false);

        ensure(size > 0);
        if (result < 0 || !remote->can.berth)
                return result < 0 ? result : -EINVAL;
        put_find(remote, &call, "0");
        result = exchange_multistatus(remote, &call, take_target, NULL, &target);
        return result < 0 ? result : target.result;
}

/* ---- folders ---- */

struct listing {
        const struct remote *remote;
        const struct client_answer *answer;
        remote_member_fn *member;
        void (*restart)(void *context);
        void *context;
        char folder[2 * HTTP_MAX_PATH]; /* its path on the server, decoded */
        size_t folder_size;
        bool began, is_file;
        unsigned strange; /* names that no local file can have */
};

/* The last component of a path on the server: "" for the folder itself. False: it is no member. */
static bool name_of(struct listing *listing, const char *path, size_t size, struct span *name)
{
        size_t folder = listing->folder_size;

        if (size < folder || memcmp(path, listing->folder, folder) != 0)
                return false;
        *name = (struct span){ path + folder, size - folder };
        if (name->size == 0)
                return true;
        if (folder > 0) {
                if (*name->data != '/')
                        return false;
                name->data++;
                name->size--;
        }
        return !memchr(name->data, '/', name->size);
}

static int take_member(void *context, const struct dav_member *member)
{
        struct listing *listing = context;
        struct remote_attributes attributes;
        char path[HTTP_MAX_PATH];
        struct span encoded, name;
        bool folder, hidden, first = !listing->began;
        int size = -1;

        listing->began = true;
        if (dav_parse_destination(&encoded, member->href, NULL, false) == 0)
                size = http_decode_path(path, encoded, &folder, &hidden);
        if (size < 0 || (name_of(listing, path, (size_t)size, &name) && name.size > 255)) {
                listing->strange++;
                return 0;
        }
        if (!name_of(listing, path, (size_t)size, &name) || (name.size == 0 && !first) || member->status >= 300)
                return 0;
        exchange_attributes(listing->remote, listing->answer, member, &attributes);
        if (name.size == 0 && attributes.kind != REMOTE_FOLDER) {
                listing->is_file = true;
                return 0;
        }
        return listing->member(listing->context, name, &attributes);
}

static void list_again(void *context)
{
        struct listing *listing = context;

        listing->began = listing->is_file = false;
        listing->strange = 0;
        if (listing->restart)
                listing->restart(listing->context);
}

static int put_folder_path(struct listing *listing, const char *path)
{
        struct text text = text_in(listing->folder, sizeof(listing->folder));
        bool folder, hidden;
        int size = http_decode_path(listing->folder, span_of(client_base_path(listing->remote->client)), &folder,
                                    &hidden);

        if (size < 0)
                return -EINVAL;
        text.used = (size_t)size;
        if (size > 0 && *path)
                text_char(&text, '/');
        text_put(&text, span_of(path));
        listing->folder_size = text.used;
        return text.overflow ? -ENAMETOOLONG : 0;
}

/* Once in the life of the process: it is the same each time the folder is read. */
static void tell_strange(const struct listing *listing, const char *path)
{
        static atomic_flag told = ATOMIC_FLAG_INIT;

        if (listing->strange > 0 && !atomic_flag_test_and_set(&told))
                complain("%u names in \"%s\" are left out: no local file can be called so", listing->strange, path);
}

int remote_list(struct remote *remote, const char *path, remote_member_fn *member, void (*restart)(void *context),
                void *context)
{
        struct call call;
        struct listing listing = {
                .remote = remote, .answer = &call.answer, .member = member, .restart = restart, .context = context
        };
        struct remote_attributes attributes;
        int result = exchange_init(&call, "PROPFIND", path, true);

        if (result == 0)
                result = put_folder_path(&listing, path);
        if (result < 0)
                return result;
        put_find(remote, &call, "1");
        result = exchange_multistatus(remote, &call, take_member, list_again, &listing);
        if (result == -ENOENT && remote_stat(remote, path, &attributes) == 0 && attributes.kind != REMOTE_FOLDER)
                listing.is_file = true; /* whose name is not asked for with a '/' */
        if (listing.is_file)
                result = -ENOTDIR;
        if (result == 0)
                tell_strange(&listing, path);
        return result;
}

/* ---- room ---- */

static int take_space(void *context, const struct dav_member *member)
{
        const struct dav_found *available = exchange_find(member, DAV_QUOTA_AVAILABLE_BYTES),
                               *used = exchange_find(member, DAV_QUOTA_USED_BYTES);
        struct remote_space *space = context;

        if (available && available->text.size > 0 && available->text.data[0] != '-') /* Nextcloud's -3: no limit */
                space->available = parse_number(available->text);
        if (used && used->text.size > 0 && used->text.data[0] != '-')
                space->used = parse_number(used->text);
        return 0;
}

int remote_space(struct remote *remote, const char *path, struct remote_space *space)
{
        struct call call;
        int result = exchange_init(&call, "PROPFIND", path, true);

        *space = (struct remote_space){ UINT64_MAX, UINT64_MAX };
        if (result < 0)
                return result;
        exchange_field(&call, "Depth: 0");
        exchange_xml(&call, SPAN(FIND("><D:prop><D:quota-available-bytes/><D:quota-used-bytes/>")));
        return exchange_multistatus(remote, &call, take_space, NULL, space);
}

/* ---- reading ---- */

#define RANGE "Range: bytes="

int remote_read_call(struct remote *remote, struct call *call, const char *path, const char *tag, uint64_t first,
                     size_t size)
{
        int result = exchange_init(call, "GET", path, false);

        (void)remote;
        ensure(size > 0);
        call->given_up = NULL; /* it may outlive what this thread does now */
        exchange_field(call, RANGE "%llu-%llu", (unsigned long long)first, (unsigned long long)(first + size - 1));
        if (remote_tag_is_strong(tag))
                exchange_field(call, "If-Match: %s", tag);
        return result;
}

bool remote_read_is_stale(const struct call *call)
{
        const char *match = strstr(call->fields, "If-Match: ");
        const char *told = call->answer.tag;

        if (!match || !*told)
                return false;
        match += strlen("If-Match: ");
        return strncmp(match, told, strlen(told)) != 0 || match[strlen(told)] != '\n';
}

int remote_read_result(const struct call *call)
{
        uint64_t first = strtoull(call->fields + strlen(RANGE), NULL, 10);
        const struct client_answer *answer = &call->answer;

        if (call->error != 0)
                return exchange_lost(call->error);
        if (answer->status == 416)
                return 0;
        if (answer->status >= 200 && answer->status < 300 && remote_read_is_stale(call))
                return -ESTALE;
        if (answer->status == 206)
                return answer->first == first || answer->first == UINT64_MAX ? 0 : -EIO;
        if (answer->status >= 200 && answer->status < 300)
                return first == 0 ? 0 : -EOPNOTSUPP;
        return exchange_error(answer);
}
