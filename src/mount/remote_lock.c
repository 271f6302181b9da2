/* Locks. Their owner is a random name of this process, so that a lock whose answer was lost is known again. */
#include "mount/exchange.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum { OWNER_BYTES = 12 + 45 + 1 };

static char owner[OWNER_BYTES]; /* "berth-mount-" and a random UUID */

static void choose_owner(void)
{
        uint8_t random[16];
        char token[DAV_TOKEN_BYTES];

        ensure(getrandom(random, sizeof(random), 0) == sizeof(random));
        dav_format_token(token, random);
        snprintf(owner, sizeof(owner), "berth-mount-%.*s", 36, token + DAV_TOKEN_BYTES - 36);
}

/* ---- a lock that is ours though its answer was lost ---- */

struct search {
        char *token;
        bool found;
};

static bool is_token(struct span word)
{
        static const char *const schemes[] = { "urn:uuid:", "opaquelocktoken:" };

        for (size_t i = 0; i < array_count(schemes); i++) {
                size_t size = strlen(schemes[i]);

                if (word.size > size && word.size < REMOTE_TOKEN_BYTES && memcmp(word.data, schemes[i], size) == 0)
                        return true;
        }
        return false;
}

/* The text of lockdiscovery: its words are depth, owner, timeout, token and root, in any order. */
static void search_words(struct search *search, struct span text)
{
        while (text.data) {
                struct span line = span_cut(&text, '\n');

                while (line.data) {
                        struct span word = span_trim(span_cut(&line, ' '));

                        if (is_token(word)) {
                                memcpy(search->token, word.data, word.size);
                                search->token[word.size] = '\0';
                        }
                        search->found |= span_equal(word, span_of(owner));
                }
        }
}

static int search_member(void *context, const struct dav_member *member)
{
        const struct dav_found *found = exchange_find(member, DAV_LOCKDISCOVERY);

        if (found)
                search_words(context, found->text);
        return 0;
}

/* An exclusive lock is alone, so what is told with our name is of ours. */
static int find_own(struct remote *remote, const char *path, char token[REMOTE_TOKEN_BYTES])
{
        struct search search = { .token = token };
        struct call call;
        int error = exchange_init(&call, "PROPFIND", path, false);

        token[0] = '\0';
        if (error < 0)
                return error;
        exchange_field(&call, "Depth: 0");
        exchange_xml(&call, SPAN("<?xml version=\"1.0\" encoding=\"utf-8\"?><D:propfind xmlns:D=\"DAV:\"><D:prop>"
                                 "<D:lockdiscovery/></D:prop></D:propfind>"));
        error = exchange_multistatus(remote, &call, search_member, NULL, &search);
        if (error < 0)
                return error;
        return search.found && token[0] ? 0 : -EBUSY;
}

/* ---- the methods ---- */

int remote_lock(struct remote *remote, const char *path, unsigned seconds, char token[REMOTE_TOKEN_BYTES],
                char tag[CLIENT_TAG_BYTES])
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        char room[512];
        struct text body = text_in(room, sizeof(room));
        struct call call;
        int error = exchange_init(&call, "LOCK", path, false);

        tag[0] = '\0';
        if (error < 0 || !remote->can.locks)
                return error < 0 ? error : -EOPNOTSUPP;
        pthread_once(&once, choose_owner);
        text_format(&body,
                    "<?xml version=\"1.0\" encoding=\"utf-8\"?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/>"
                    "</D:lockscope><D:locktype><D:write/></D:locktype><D:owner>%s</D:owner></D:lockinfo>",
                    owner);
        exchange_field(&call, "Depth: 0");
        exchange_field(&call, "Timeout: Second-%u", seconds);
        exchange_xml(&call, (struct span){ room, body.used });
        error = exchange_perform(remote, &call);
        if (call.error == 0 && call.answer.status == 423 && call.uncertain)
                return find_own(remote, path, token);
        if (error == 0 && !call.answer.lock_token[0])
                error = -EIO;
        memcpy(token, call.answer.lock_token, REMOTE_TOKEN_BYTES);
        memcpy(tag, call.answer.tag, CLIENT_TAG_BYTES);
        return error;
}

/* -ESTALE: it is not held any more. */
int remote_refresh(struct remote *remote, const char *path, const char *token, unsigned seconds)
{
        struct remote_condition condition = { .token = token };
        struct call call;
        int error = exchange_init(&call, "LOCK", path, false);

        if (error < 0)
                return error;
        exchange_condition(&call, &condition);
        exchange_field(&call, "Timeout: Second-%u", seconds);
        return exchange_perform(remote, &call);
}

static int unlock_call(struct call *call, const char *path, const char *token)
{
        int error = exchange_init(call, "UNLOCK", path, false);

        if (error == 0)
                exchange_field(call, "Lock-Token: <%s>", token);
        return error;
}

int remote_unlock(struct remote *remote, const char *path, const char *token)
{
        struct call call;
        int error = unlock_call(&call, path, token);

        if (error < 0)
                return error;
        error = exchange_perform(remote, &call);
        return error < 0 && call.error == 0 && call.uncertain ? 0 : error; /* the lost answer was that it is gone */
}
