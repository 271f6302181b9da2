/* Rules. The file's lines become one entry for each name, sorted by path and then by name, so that a right is found
 * by a search for each folder on the way up, and what lies beneath a path stands together.
 */
#include "auth/auth_priv.h"

#include <errno.h>
#include <stdlib.h>

static const char everybody[] = "*";

/* ---- reading ---- */

static int compare_paths(struct span a, struct span b)
{
        size_t common = min_of(a.size, b.size);
        int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
        return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int by_path(const void *a, const void *b)
{
        const struct auth_rule *x = a, *y = b;
        int order = compare_paths(x->path, y->path);
        return order ? order : strcmp(x->who, y->who);
}

/* What stands behind the last ':', which is cut off with it; data == NULL without one. A path may have some of its
 * own. */
static struct span cut_last(struct span *line)
{
        for (size_t i = line->size; i > 0; i--) {
                if (line->data[i - 1] != ':')
                        continue;
                struct span part = { line->data + i, line->size - i };
                line->size = i - 1;
                return part;
        }
        return (struct span){ NULL, 0 };
}

/* Without '/' at its end; "" is the root. */
static struct span without_end(struct span path)
{
        while (path.size > 0 && path.data[path.size - 1] == '/')
                path.size--;
        return path;
}

/* No request's path, once decoded, has such parts: a rule with them would never be heeded. */
static bool is_path(struct span path)
{
        struct span rest = path;
        if (path.size == 0)
                return true;
        span_cut(&rest, '/');
        while (rest.data) {
                struct span segment = span_cut(&rest, '/');
                if (segment.size == 0 || span_equal(segment, SPAN(".")) || span_equal(segment, SPAN("..")) ||
                    memchr(segment.data, '\0', segment.size))
                        return false;
        }
        return path.data[0] == '/';
}

struct auth_fold {
        struct auth_fold *next;
        char path[];
};

/* The form in which paths are compared; it lasts as long as the rules. 0, -EINVAL: no file has such a path; -ENOMEM. */
static int fold(struct auth *auth, struct span *path)
{
        char room[PATH_FOLD_BYTES];
        struct span folded = path_fold(*path, room, sizeof(room));
        if (!folded.data)
                return -EINVAL;
        if (folded.data == room) {
                struct auth_fold *kept = malloc(sizeof(*kept) + folded.size);
                if (!kept)
                        return -ENOMEM;
                kept->next = auth->folds;
                auth->folds = kept;
                folded.data = memcpy(kept->path, room, folded.size);
        }
        *path = folded;
        return 0;
}

void auth_rules_finish(struct auth *auth)
{
        while (auth->folds) {
                struct auth_fold *kept = auth->folds;
                auth->folds = kept->next;
                free(kept);
        }
}

static int right_of(struct span word)
{
        static const char *const words[] = { [AUTH_NONE] = "none", [AUTH_READ] = "read", [AUTH_WRITE] = "write" };
        for (size_t i = 0; i < array_count(words); i++)
                if (span_equal(word, span_of(words[i])))
                        return (int)i;
        return -1;
}

static int add_rule(struct auth *auth, const struct auth_rule *rule)
{
        if (auth->rule_count == auth->rule_room) {
                uint32_t room = min_of(max_of(2 * auth->rule_room, 16u), (uint32_t)AUTH_MAX_RULES);
                struct auth_rule *more = realloc(auth->rules, room * sizeof(*more));
                if (!more)
                        return -ENOMEM;
                auth->rules = more;
                auth->rule_room = room;
        }
        auth->rules[auth->rule_count++] = *rule;
        auth->longest_path = max_of(auth->longest_path, rule->path.size);
        return 0;
}

static int add_names(struct auth *auth, const struct auth_lines *lines, struct auth_rule rule, struct span names)
{
        do {
                struct span name = span_cut(&names, ',');
                if (!span_equal(name, SPAN("*")) && !auth_valid_name(name))
                        return auth_lines_refuse(lines, lines->line,
                                                 "'%.*s' is no name (of several by comma), and not *", (int)name.size,
                                                 name.data);
                if (auth->rule_count == AUTH_MAX_RULES)
                        return auth_lines_refuse(lines, lines->line, "more than %d rules (one for each name)",
                                                 AUTH_MAX_RULES);
                rule.who = auth_lines_string(name);
                int error = add_rule(auth, &rule);
                if (error)
                        return error;
        } while (names.data);
        return 0;
}

static int read_rule(struct auth *auth, const struct auth_lines *lines, struct span line)
{
        struct span right = cut_last(&line), names = cut_last(&line), path = without_end(line);
        if (!right.data || !names.data)
                return auth_lines_refuse(lines, lines->line, "expected /path:who:none|read|write");
        if (line.size == 0 || line.data[0] != '/' || !is_path(path))
                return auth_lines_refuse(lines, lines->line,
                                         "'%.*s' is no path: it begins with '/', and has no empty part and no . or ..",
                                         (int)line.size, line.data);
        int given = right_of(right);
        if (given < 0)
                return auth_lines_refuse(lines, lines->line, "'%.*s' is no right: none, read or write", (int)right.size,
                                         right.data);
        int error = fold(auth, &path);
        if (error)
                return error == -ENOMEM ? error : auth_lines_refuse(lines, lines->line, "no file can have this path");
        struct auth_rule rule = { .path = path, .right = (enum auth_right)given, .line = lines->line };
        return add_names(auth, lines, rule, names);
}

static int refuse_double_rules(const struct auth *auth, const struct auth_lines *lines)
{
        for (uint32_t i = 1; i < auth->rule_count; i++) {
                const struct auth_rule *a = &auth->rules[i - 1], *b = &auth->rules[i];
                if (by_path(a, b) == 0)
                        return auth_lines_refuse(lines, max_of(a->line, b->line),
                                                 "line %u has a rule for %.*s and '%s'", min_of(a->line, b->line),
                                                 (int)max_of(a->path.size, 1u), a->path.size ? a->path.data : "/",
                                                 a->who);
        }
        return 0;
}

int auth_rules_load(struct auth *auth, const char *path)
{
        struct auth_lines lines;
        struct span line;
        auth->has_rules = true;
        int error = auth_lines_open(&lines, path, false);
        auth->rule_text = lines.text;
        while (!error && auth_lines_next(&lines, &line))
                error = read_rule(auth, &lines, line);
        if (error)
                return error;
        if (auth->rule_count > 0)
                qsort(auth->rules, auth->rule_count, sizeof(*auth->rules), by_path);
        return refuse_double_rules(auth, &lines);
}

/* ---- asking ---- */

static const struct auth_rule *find(const struct auth *auth, struct span path, const char *who)
{
        const struct auth_rule key = { .path = path, .who = who };
        return auth->rule_count ? bsearch(&key, auth->rules, auth->rule_count, sizeof(key), by_path) : NULL;
}

static enum auth_right right_without_rules(const struct auth *auth, const char *user)
{
        bool open = !auth->has_passwords && !auth->has_tokens;
        return open || *user ? AUTH_WRITE : AUTH_NONE;
}

/* The folder above; false at the root. */
static bool go_up(struct span *path)
{
        if (path->size == 0)
                return false;
        while (path->data[--path->size] != '/')
                ;
        return true;
}

/* Paths longer than any rule's are only shortened, so a path of very many parts costs no search for each. */
enum auth_right auth_right_at(const struct auth *auth, const char *user, struct span path)
{
        char room[PATH_FOLD_BYTES];
        ensure(path.size > 0 && path.data[0] == '/');
        if (!auth->has_rules)
                return right_without_rules(auth, user);
        path = path_fold(without_end(path), room, sizeof(room));
        if (!path.data)
                return AUTH_NONE;
        do {
                if (path.size > auth->longest_path)
                        continue;
                const struct auth_rule *rule = *user ? find(auth, path, user) : NULL;
                if (!rule)
                        rule = find(auth, path, everybody);
                if (rule)
                        return rule->right;
        } while (go_up(&path));
        return AUTH_NONE;
}

static bool is_beneath(struct span path, struct span folder)
{
        return path.size > folder.size && path.data[folder.size] == '/' &&
               (folder.size == 0 || memcmp(path.data, folder.data, folder.size) == 0);
}

/* The first rule that does not come before "folder/". */
static uint32_t first_beneath(const struct auth *auth, struct span folder)
{
        uint32_t low = 0, high = auth->rule_count;
        while (low < high) {
                uint32_t middle = low + (high - low) / 2;
                struct span path = auth->rules[middle].path;
                int order = compare_paths((struct span){ path.data, min_of(path.size, folder.size) }, folder);
                if (order == 0)
                        order = path.size == folder.size ? -1 : (unsigned char)path.data[folder.size] - '/';
                if (order < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

bool auth_less_beneath(const struct auth *auth, const char *user, struct span path, enum auth_right right)
{
        char room[PATH_FOLD_BYTES];
        ensure(path.size > 0 && path.data[0] == '/');
        path = path_fold(without_end(path), room, sizeof(room));
        if (!path.data)
                return true;
        for (uint32_t i = first_beneath(auth, path); i < auth->rule_count; i++) {
                const struct auth_rule *rule = &auth->rules[i];
                if (!is_beneath(rule->path, path))
                        return false;
                bool theirs = strcmp(rule->who, everybody) == 0 || strcmp(rule->who, user) == 0;
                if (theirs && rule->right < right && auth_right_at(auth, user, rule->path) < right)
                        return true;
        }
        return false;
}
