/* Random operations on a tree against a simple model of the server, with seeds; and several threads on one. */
#include "help_tree.h"

#include <pthread.h>

enum { NAMES = 12, FOLDERS = 3 };

struct model { /* what the server has; the mount sees it through answers */
        uint64_t inode[FOLDERS][NAMES];
        uint64_t size[FOLDERS][NAMES];
        uint64_t next_inode;
};

struct play {
        struct tree *tree;
        struct model model;
        struct node *folders[FOLDERS];
        struct node *given[64]; /* lookups of the kernel */
        unsigned given_count;
        struct random random;
};

static void give_back_one(struct play *p)
{
        unsigned i = random_below(&p->random, p->given_count);
        tree_forget(p->tree, p->given[i], 1);
        p->given[i] = p->given[--p->given_count];
}

static void given(struct play *p, struct node *node)
{
        if (p->given_count == array_count(p->given))
                give_back_one(p);
        p->given[p->given_count++] = node;
}

static struct remote_attributes answer_for(const struct play *p, unsigned folder, unsigned name)
{
        char tag[32];
        snprintf(tag, sizeof(tag), "\"%llu\"", (unsigned long long)p->model.size[folder][name]);
        return file_of(p->model.inode[folder][name], p->model.size[folder][name], tag);
}

static void ask(struct play *p, unsigned folder, unsigned n, const char *name)
{
        struct remote_attributes a = answer_for(p, folder, n);
        uint64_t changes = tree_changes(p->tree, p->folders[folder]);
        struct tree_view view;
        if (!a.inode)
                tree_note_absent(p->tree, p->folders[folder], name, changes);
        else if (tree_note(p->tree, p->folders[folder], name, &a, changes, true, &view) == 0)
                given(p, view.node);
}

static void make(struct play *p, unsigned folder, unsigned n, const char *name)
{
        struct tree_view view;
        p->model.inode[folder][n] = ++p->model.next_inode;
        p->model.size[folder][n] = random_below(&p->random, 1000);
        struct remote_attributes a = answer_for(p, folder, n);
        assert_int_equal(tree_made(p->tree, p->folders[folder], name, &a, true, false, &view), 0);
        given(p, view.node);
}

static void move(struct play *p, unsigned folder, unsigned n, const char *name)
{
        unsigned to = random_below(&p->random, FOLDERS), m = random_below(&p->random, NAMES);
        char new_name[16];
        if (!p->model.inode[folder][n] || (to == folder && m == n))
                return;
        snprintf(new_name, sizeof(new_name), "name %u", m);
        p->model.inode[to][m] = p->model.inode[folder][n];
        p->model.size[to][m] = p->model.size[folder][n];
        p->model.inode[folder][n] = 0;
        assert_int_equal(tree_renamed(p->tree, p->folders[folder], name, p->folders[to], new_name), 0);
}

/* A listing as the server saw it, while this mount changes one of the names. */
static void list_by_chance(struct play *p, unsigned folder)
{
        struct tree_listing listing;
        struct play before = { .model = p->model };
        char name[16];
        tree_listing_begin(p->tree, p->folders[folder], &listing);
        unsigned changed = random_below(&p->random, 2 * NAMES);
        snprintf(name, sizeof(name), "name %u", changed);
        if (changed < NAMES)
                make(p, folder, changed, name);
        for (unsigned n = 0; n < NAMES; n++) {
                struct remote_attributes a = answer_for(&before, folder, n);
                snprintf(name, sizeof(name), "name %u", n);
                if (a.inode)
                        assert_int_equal(tree_listing_add(p->tree, &listing, span_of(name), &a), 0);
        }
        tree_listing_end(p->tree, &listing, random_below(&p->random, 8) > 0);
}

static void check(struct play *p, unsigned folder, unsigned n, const char *name)
{
        struct tree_view view;
        char path[REMOTE_PATH_BYTES], wanted[64];
        switch (find(p->tree, p->folders[folder], name, &view)) {
        case TREE_PRESENT:
                assert_int_equal(view.attributes.inode, p->model.inode[folder][n]);
                assert_int_equal(view.attributes.size, p->model.size[folder][n]);
                assert_int_equal(tree_path(p->tree, view.node, NULL, path), 0);
                snprintf(wanted, sizeof(wanted), "%u/%s", folder, name);
                assert_string_equal(path, wanted);
                break;
        case TREE_ABSENT:
                assert_int_equal(p->model.inode[folder][n], 0);
                break;
        case TREE_UNKNOWN:
                break;
        }
}

static void step(struct play *p)
{
        unsigned folder = random_below(&p->random, FOLDERS), n = random_below(&p->random, NAMES);
        char name[16];
        snprintf(name, sizeof(name), "name %u", n);
        switch (random_below(&p->random, 8)) {
        case 0:
                make(p, folder, n, name);
                break;
        case 1:
                if (p->model.inode[folder][n])
                        tree_removed(p->tree, p->folders[folder], name);
                p->model.inode[folder][n] = 0;
                break;
        case 2:
                move(p, folder, n, name);
                break;
        case 3:
                list_by_chance(p, folder);
                break;
        case 4:
                if (p->given_count > 0)
                        give_back_one(p);
                break;
        default:
                ask(p, folder, n, name);
        }
        for (n = 0; n < NAMES; n++) {
                snprintf(name, sizeof(name), "name %u", n);
                check(p, folder, n, name);
        }
}

static void play(unsigned seed, size_t limit_bytes)
{
        struct play p = { .tree = make_tree(LONG_MS, limit_bytes, 2), .random = { seed } };
        struct tree_counters counters;
        struct tree_view view;
        char name[16];
        p.model.next_inode = 1000;
        for (unsigned i = 0; i < FOLDERS; i++) {
                snprintf(name, sizeof(name), "%u", i);
                note(p.tree, tree_root(p.tree), name, folder_of(10 + i), &view);
                p.folders[i] = view.node;
        }
        for (unsigned i = 0; i < 3000; i++)
                step(&p);
        while (p.given_count > 0)
                give_back_one(&p);
        tree_count(p.tree, &counters);
        assert_in_range(counters.nodes, FOLDERS + 1, FOLDERS * (NAMES + 1) + 1);
        tree_destroy(p.tree);
}

static void test_by_chance_nothing_wrong_is_ever_told(void **state)
{
        (void)state;
        for (unsigned seed = 1; seed <= 40; seed++) {
                play(seed, PLENTY);
                play(seed, 4000);
        }
}

/* ---- several threads ---- */

static void *busy(void *context)
{
        struct tree *tree = context;
        struct node *root = tree_root(tree);
        struct random random = { (uint64_t)(uintptr_t)&random };
        struct tree_view view;
        struct tree_member member;
        char name[16];
        for (unsigned i = 0; i < 3000; i++) {
                struct remote_attributes a = file_of(10 + random_below(&random, 40), random_below(&random, 3), "");
                snprintf(name, sizeof(name), "%u", random_below(&random, 20));
                switch (random_below(&random, 5)) {
                case 0:
                        if (tree_made(tree, root, name, &a, true, false, &view) == 0)
                                tree_forget(tree, view.node, 1);
                        break;
                case 1:
                        tree_removed(tree, root, name);
                        break;
                case 2:
                        if (note(tree, root, name, a, &view) == 0)
                                tree_forget(tree, view.node, 1);
                        break;
                case 3:
                        member.cookie = 0;
                        while (tree_next(tree, root, member.cookie, true, &member))
                                tree_forget(tree, member.view.node, 1);
                        break;
                default:
                        list(tree, root, (const char *const[]){ "1", "2", "3" }, 3);
                }
        }
        return NULL;
}

static void test_threads_at_a_time(void **state)
{
        (void)state;
        struct tree *tree = make_tree(5, 3000, 2);
        pthread_t threads[4];
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, busy, tree), 0);
        for (unsigned i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        tree_destroy(tree);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_by_chance_nothing_wrong_is_ever_told),
                cmocka_unit_test(test_threads_at_a_time),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
