/* Properties and plain attributes: kept, told, all changed or none. */
#include "store_help.h"

static struct store_property_change setting(const char *local, const char *value)
{
        return (struct store_property_change){
                .space = SPAN("urn:test"), .local = span_of(local), .value = span_of(value), .lang = SPAN("en")
        };
}

static struct store_property_change removing(const char *local)
{
        return (struct store_property_change){ .space = SPAN("urn:test"), .local = span_of(local), .remove = true };
}

static int change(struct shop *shop, const char *path, struct store_property_change *changes, unsigned count)
{
        struct store_section section;
        int error;

        enter(shop, &section, path);
        error = store_property_change(&section, changes, count);
        store_leave(&section);
        return error;
}

/* "" when there is none. */
static const char *value_of(struct shop *shop, const char *path, const char *local)
{
        static char room[70000], value[70000];
        struct store_property property;
        ssize_t got = store_property_get(shop->folder.fd, path, SPAN("urn:test"), span_of(local), room, sizeof(room),
                                         &property);

        if (got == -ENODATA)
                return "";
        assert_true(got > 0);
        assert_true(span_equal(property.space, SPAN("urn:test")));
        assert_true(span_equal(property.local, span_of(local)));
        assert_true(span_equal(property.lang, SPAN("en")));
        snprintf(value, sizeof(value), "%.*s", (int)property.value.size, property.value.data);
        return value;
}

static void a_property_is_kept_replaced_and_removed(void **test)
{
        struct shop *shop = *test;
        struct store_property_change one = setting("colour", "<b xmlns=\"x\">blue</b>");

        must_put(shop, "file", "x");
        assert_string_equal(value_of(shop, "file", "colour"), "");
        for (unsigned i = 0; i < 2; i++) {
                store_xattr_by_proc(i == 1);
                one = setting("colour", "<b xmlns=\"x\">blue</b>");
                assert_int_equal(change(shop, "file", &one, 1), 0);
                assert_string_equal(value_of(shop, "file", "colour"), "<b xmlns=\"x\">blue</b>");
                one = setting("colour", "");
                assert_int_equal(change(shop, "file", &one, 1), 0);
                one = setting("colour", "red");
                assert_int_equal(change(shop, "file", &one, 1), 0);
                assert_string_equal(value_of(shop, "file", "colour"), "red");
                one = removing("colour");
                assert_int_equal(change(shop, "file", &one, 1), 0);
                assert_string_equal(value_of(shop, "file", "colour"), "");
                assert_int_equal(change(shop, "file", &one, 1), 0);
        }
        store_xattr_by_proc(false);
}

static void folders_and_the_root_have_properties(void **test)
{
        struct shop *shop = *test;
        struct store_property_change one;

        make_folder(shop, "a");
        for (unsigned i = 0; i < 2; i++) {
                store_xattr_by_proc(i == 1);
                one = setting("colour", "blue");
                assert_int_equal(change(shop, "a", &one, 1), 0);
                assert_int_equal(change(shop, "", &one, 1), 0);
                assert_string_equal(value_of(shop, "a", "colour"), "blue");
                assert_string_equal(value_of(shop, "", "colour"), "blue");
                one = removing("colour");
                assert_int_equal(change(shop, "", &one, 1), 0);
                assert_string_equal(value_of(shop, "", "colour"), "");
        }
        store_xattr_by_proc(false);
}

static void the_attribute_name_is_the_same_for_ever(void **test)
{
        struct shop *shop = *test;
        struct store_property_change one = { .local = SPAN("a") };
        const unsigned char *b;
        struct store_digest digest;
        char name[64] = STORE_PROPERTY_PREFIX;

        /* FNV-1a of NUL and 'a'. */
        digest = store_digest((struct span){ "", 0 }, SPAN("a"));
        b = digest.bytes;
        for (unsigned i = 0; i < 16; i++)
                snprintf(name + strlen(name), 3, "%02x", b[i]);
        must_put(shop, "file", "x");
        assert_int_equal(change(shop, "file", &one, 1), 0);
        assert_true(lgetxattr(full_path(shop, "file"), name, NULL, 0) > 0);
        assert_string_equal(name + strlen(STORE_PROPERTY_PREFIX), "0880945aeeab1be95aa073305526c0ea");
}

/* "ab" + "c" is not "a" + "bc". */
static void names_are_pairs(void **test)
{
        struct shop *shop = *test;
        struct store_property_change pair[] = { { .space = SPAN("ab"), .local = SPAN("c"), .value = SPAN("1") },
                                                { .space = SPAN("a"), .local = SPAN("bc"), .value = SPAN("2") } };
        struct store_property property;
        char room[100];

        must_put(shop, "file", "x");
        assert_int_equal(change(shop, "file", pair, 2), 0);
        assert_true(store_property_get(shop->folder.fd, "file", SPAN("ab"), SPAN("c"), room, 100, &property) > 0);
        assert_true(span_equal(property.value, SPAN("1")));
        assert_true(store_property_get(shop->folder.fd, "file", SPAN("a"), SPAN("bc"), room, 100, &property) > 0);
        assert_true(span_equal(property.value, SPAN("2")));
        assert_int_equal(store_property_get(shop->folder.fd, "file", SPAN("ab"), SPAN("c"), room, 4, &property),
                         -ERANGE);
        assert_int_equal(store_property_get(shop->folder.fd, "file", SPAN("ab"), SPAN("c"), room, 0, &property),
                         -ERANGE);
}

static int count_properties(void *context, const struct store_property *property)
{
        unsigned *count = context;

        assert_true(span_equal(property->space, SPAN("urn:test")));
        return ++*count == 1000 ? 7 : 0;
}

static void all_are_told_and_nonsense_is_not(void **test)
{
        struct shop *shop = *test;
        char names[60][80];
        unsigned count = 0;

        must_put(shop, "file", "x");
        assert_int_equal(store_property_each(shop->folder.fd, "file", count_properties, &count), 0);
        for (unsigned i = 0; i < 40; i++) {
                struct store_property_change one;

                snprintf(names[i], sizeof(names[i]), "name-%u", i);
                one = setting(names[i], "v");
                assert_int_equal(change(shop, "file", &one, 1), 0);
        }
        set_attribute(shop, "file", STORE_PROPERTY_PREFIX, "x");
        set_attribute(shop, "file", STORE_PROPERTY_PREFIX "0", "");
        set_attribute(shop, "file", STORE_PROPERTY_PREFIX "00000000000000000000000000000000", "no nul at all");
        set_attribute(shop, "file", "user.other", "x");
        assert_int_equal(store_property_each(shop->folder.fd, "file", count_properties, &count), 0);
        assert_int_equal(count, 40);
        count = 999;
        assert_int_equal(store_property_each(shop->folder.fd, "file", count_properties, &count), 7);
}

static void nonsense_under_the_right_name_is_no_property(void **test)
{
        struct shop *shop = *test;
        static const char *const nonsense[] = { "", "x", "urn:test", "urn:other\0colour\0en\0x",
                                                "urn:test\0colour\0en" };
        static const size_t sizes[] = { 0, 1, 8, 21, 18 };
        struct store_property_change one = setting("colour", "blue");
        char list[256];

        must_put(shop, "file", "x");
        assert_int_equal(change(shop, "file", &one, 1), 0);
        assert_true(llistxattr(full_path(shop, "file"), list, sizeof(list)) > 0);
        for (unsigned i = 0; i < array_count(nonsense); i++) {
                assert_int_equal(lsetxattr(full_path(shop, "file"), list, nonsense[i], sizes[i], 0), 0);
                assert_string_equal(value_of(shop, "file", "colour"), "");
        }
        assert_int_equal(change(shop, "file", &one, 1), 0);
        assert_string_equal(value_of(shop, "file", "colour"), "blue");
}

/* The third is refused: what the first two did is undone, in a file that had one of them before. */
static void all_are_changed_or_none(void **test)
{
        struct shop *shop = *test;
        struct store_property_change before = setting("old", "old"), also = setting("gone", "still here");
        struct store_property_change changes[] = { setting("old", "new"),
                                                   setting("fresh", "x"),
                                                   removing("gone"),
                                                   setting("old", "newer"),
                                                   { .local = SPAN(""), .value = SPAN("x") },
                                                   setting("never", "x") };

        must_put(shop, "file", "x");
        assert_int_equal(change(shop, "file", &before, 1), 0);
        assert_int_equal(change(shop, "file", &also, 1), 0);
        assert_int_equal(change(shop, "file", changes, array_count(changes)), -EINVAL);
        for (unsigned i = 0; i < array_count(changes); i++)
                assert_int_equal(changes[i].error, i == 4 ? -EINVAL : 0);
        assert_string_equal(value_of(shop, "file", "old"), "old");
        assert_string_equal(value_of(shop, "file", "gone"), "still here");
        assert_string_equal(value_of(shop, "file", "fresh"), "");
        assert_string_equal(value_of(shop, "file", "never"), "");
        assert_int_equal(change(shop, "file", changes, 4), 0);
        assert_string_equal(value_of(shop, "file", "old"), "newer");
        assert_string_equal(value_of(shop, "file", "gone"), "");
}

/* On ext4 the third already, elsewhere the one past all bounds. */
static void without_room_none_is_changed(void **test)
{
        struct shop *shop = *test;
        static char large[3][2000], huge[STORE_PROPERTY_BYTES + 1];
        struct store_property_change changes[4];
        int error;

        memset(large, 'x', sizeof(large));
        memset(huge, 'x', sizeof(huge));
        must_put(shop, "file", "x");
        for (unsigned i = 0; i < 4; i++)
                changes[i] = setting((const char *[]){ "a", "b", "c", "d" }[i], "");
        for (unsigned i = 0; i < 3; i++)
                changes[i].value = (struct span){ large[i], sizeof(large[i]) };
        changes[3].value = (struct span){ huge, sizeof(huge) };
        error = change(shop, "file", changes, 4);
        assert_true(error == -E2BIG || error == -ENOSPC);
        assert_string_equal(value_of(shop, "file", "a"), "");
        assert_string_equal(value_of(shop, "file", "b"), "");
        assert_string_equal(value_of(shop, "file", "c"), "");
}

static void what_is_not_there_or_a_link_has_none(void **test)
{
        struct shop *shop = *test;
        struct store_property_change one = setting("colour", "blue");

        must_put(shop, "file", "x");
        folder_link(&shop->folder, "file", "link");
        assert_int_equal(change(shop, "none", &one, 1), -ENOENT);
        assert_true(change(shop, "link", &one, 1) < 0);
        assert_string_equal(value_of(shop, "file", "colour"), "");
        assert_string_equal(value_of(shop, "link", "colour"), "");
}

/* ---- plain attributes ---- */

static int set_plain(struct shop *shop, const char *path, const char *attribute, struct span value)
{
        struct store_property_change one = { .attribute = attribute, .value = value, .remove = !value.data };

        return change(shop, path, &one, 1);
}

static int tell_attribute(void *context, struct span attribute, struct span value)
{
        char *told = context;

        sprintf(told + strlen(told), "%.*s=%.*s;", (int)attribute.size, attribute.data, (int)value.size, value.data);
        return 0;
}

static void plain_attributes_are_set_told_and_removed(void **test)
{
        struct shop *shop = *test;
        char told[200] = "", room[100], name[300];

        must_put(shop, "file", "x");
        assert_int_equal(set_plain(shop, "file", "colour", SPAN("blue")), 0);
        assert_int_equal(set_plain(shop, "file", "empty", SPAN("")), 0);
        assert_string_equal(attribute_of(shop, "file", "user.colour"), "blue");
        assert_int_equal(store_attribute_get(shop->folder.fd, "file", "colour", room, sizeof(room)), 4);
        assert_memory_equal(room, "blue", 4);
        assert_int_equal(store_attribute_get(shop->folder.fd, "file", "colour", room, 2), -ERANGE);
        assert_int_equal(set_plain(shop, "file", "empty", (struct span){ NULL, 0 }), 0);
        assert_int_equal(set_plain(shop, "file", "empty", (struct span){ NULL, 0 }), 0);
        assert_int_equal(store_attribute_get(shop->folder.fd, "file", "empty", room, sizeof(room)), -ENODATA);
        set_attribute(shop, "file", STORE_LOCK_ATTRIBUTE, "x");
        assert_int_equal(store_attribute_each(shop->folder.fd, "file", tell_attribute, told), 0);
        assert_string_equal(told, "colour=blue;");
        memset(name, 'n', sizeof(name));
        name[299] = '\0';
        assert_int_equal(set_plain(shop, "file", name, SPAN("x")), -ERANGE);
}

static void our_own_attributes_are_out_of_reach(void **test)
{
        struct shop *shop = *test;
        char room[100];

        must_put(shop, "file", "x");
        set_attribute(shop, "file", STORE_LOCK_ATTRIBUTE, "x");
        assert_int_equal(set_plain(shop, "file", "berth.lock", (struct span){ NULL, 0 }), -EPERM);
        assert_int_equal(set_plain(shop, "file", "berth.p.00", SPAN("x")), -EPERM);
        assert_int_equal(set_plain(shop, "file", "", SPAN("x")), -EINVAL);
        assert_int_equal(store_attribute_get(shop->folder.fd, "file", "berth.lock", room, sizeof(room)), -ENODATA);
}

static void attributes_and_properties_change_together_or_not(void **test)
{
        struct shop *shop = *test;
        struct store_property_change changes[3] = { { .attribute = "colour", .value = SPAN("green") },
                                                    setting("a", "1"),
                                                    { .attribute = "berth.lock", .value = SPAN("x") } };

        must_put(shop, "file", "x");
        set_attribute(shop, "file", "user.colour", "blue");
        assert_int_equal(change(shop, "file", changes, 3), -EPERM);
        assert_int_equal(changes[2].error, -EPERM);
        assert_string_equal(attribute_of(shop, "file", "user.colour"), "blue");
        assert_string_equal(value_of(shop, "file", "a"), "");
        assert_int_equal(change(shop, "file", changes, 2), 0);
        assert_string_equal(attribute_of(shop, "file", "user.colour"), "green");
        assert_string_equal(value_of(shop, "file", "a"), "1");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                shop_test(a_property_is_kept_replaced_and_removed),
                shop_test(folders_and_the_root_have_properties),
                shop_test(the_attribute_name_is_the_same_for_ever),
                shop_test(names_are_pairs),
                shop_test(all_are_told_and_nonsense_is_not),
                shop_test(nonsense_under_the_right_name_is_no_property),
                shop_test(all_are_changed_or_none),
                shop_test(without_room_none_is_changed),
                shop_test(what_is_not_there_or_a_link_has_none),
                shop_test(plain_attributes_are_set_told_and_removed),
                shop_test(our_own_attributes_are_out_of_reach),
                shop_test(attributes_and_properties_change_together_or_not),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
