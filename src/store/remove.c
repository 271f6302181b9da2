/* Removing what stands at a name, with all that is in it. */
#include "store/store_priv.h"

#include <errno.h>

enum { PASSES = 8 };

struct removal {
        struct store_tree *tree;
        struct store_watch *watch;
        struct store_descent *descent;
        unsigned passes; /* over one folder that would not become empty */
        bool failed;
};

int store_tell(struct store_watch *watch, const char *path, int error)
{
        if (!watch || !watch->failed)
                return error;
        watch->failed(watch, path, error);
        return 0;
}

static int may_go(struct store_watch *watch, const struct store_descent *descent)
{
        return watch && watch->may ? watch->may(watch, descent->folder, descent->name, descent->path) : 0;
}

/* The folders above stay as well. */
static int fail(struct removal *removal, int error)
{
        removal->failed = true;
        store_descent_fail(removal->descent);
        return store_tell(removal->watch, removal->descent->path, error);
}

static int remove_member(struct removal *removal)
{
        struct store_descent *descent = removal->descent;
        int error = may_go(removal->watch, descent);

        if (!error)
                error = store_unlink(removal->tree, descent->folder, descent->name);
        return error && error != -ENOENT ? fail(removal, error) : 0;
}

static int enter_folder(struct removal *removal)
{
        int error = may_go(removal->watch, removal->descent);

        if (!error)
                return 0;
        store_descent_skip(removal->descent);
        return fail(removal, error);
}

/* What is put into it meanwhile, or passed over in a folder that changes, is removed in another pass. */
static int remove_folder(struct removal *removal)
{
        struct store_descent *descent = removal->descent;
        int error;

        if (descent->left->failed) {
                store_descent_fail(descent);
                return 0;
        }
        error = store_rmdir_at(descent->folder, descent->name);
        if (!error || error == -ENOENT) {
                removal->passes = 0;
                return 0;
        }
        if (error == -ENOTEMPTY && descent->left->error)
                error = descent->left->error;
        else if (error == -ENOTEMPTY && removal->passes++ < PASSES) {
                store_descent_again(descent);
                return 0;
        }
        return fail(removal, error);
}

static int remove_all(struct removal *removal)
{
        for (;;) {
                int error = 0;

                switch (store_descent_next(removal->descent)) {
                case STORE_ENTER:
                        error = enter_folder(removal);
                        break;
                case STORE_MEMBER:
                        error = remove_member(removal);
                        break;
                case STORE_LEAVE:
                        error = remove_folder(removal);
                        break;
                case STORE_END:
                        return removal->failed ? -ENOTEMPTY : 0;
                }
                if (!error && store_cancelled(removal->watch))
                        error = -ECANCELED;
                if (error)
                        return error;
        }
}

int store_remove(struct store_section *section, struct store_watch *watch)
{
        struct removal removal = { .tree = section->tree, .watch = watch };
        int error;

        if (!section->name[0])
                return -EPERM;
        error = store_descent_create(&removal.descent, section->tree, section->folder, section->path);
        if (error)
                return error;
        removal.descent->kinds_only = true;
        error = remove_all(&removal);
        store_descent_destroy(removal.descent);
        if (!error && section->tree->durable)
                error = store_sync_folder(section->folder);
        return error;
}

int store_remove_empty(struct store_section *section)
{
        int error;

        if (!section->name[0])
                return -EPERM;
        error = store_rmdir_at(section->folder, section->name);
        return !error && section->tree->durable ? store_sync_folder(section->folder) : error;
}

/* ---- asking before a whole is replaced or moved ---- */

static int ask_all(struct store_descent *descent, struct store_watch *watch)
{
        bool refused = false;

        for (;;) {
                enum store_step step = store_descent_next(descent);
                int error = 0;

                if (step == STORE_END)
                        return refused ? -ENOTEMPTY : 0;
                if (step == STORE_LEAVE)
                        error = descent->left->error;
                else
                        error = may_go(watch, descent);
                if (error) {
                        refused = true;
                        store_descent_skip(descent);
                        error = store_tell(watch, descent->path, error);
                }
                if (!error && store_cancelled(watch))
                        error = -ECANCELED;
                if (error)
                        return error;
        }
}

int store_ask(struct store_section *section, struct store_watch *watch)
{
        struct store_descent *descent;
        int error;

        if (!watch || !watch->may)
                return 0;
        error = store_descent_create(&descent, section->tree, section->folder, section->path);
        if (error)
                return error == -ENOENT ? 0 : error;
        descent->kinds_only = true;
        error = ask_all(descent, watch);
        store_descent_destroy(descent);
        return error;
}
