/* SPDX-License-Identifier: MIT */
/* API keys: what an item may say, and that only the key itself finds it. */
#include "auth/api_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define KEY "bugle_0123456789012345678901234567890123456789"

static const unsigned char salt[API_KEY_SALT_BYTES] = "0123456789abcde";

/* An item with the hash of KEY, or of another key. */
static char *item(char to[512], const char *name_and_rights, const char *key)
{
    char hash[API_KEY_HASH_ROOM];

    api_key_hash(hash, salt, key, strlen(key));
    snprintf(to, 512, "%s:%s", name_and_rights, hash);
    return to;
}

static struct api_keys *keys_of(const char *name_and_rights)
{
    char text[512], why[API_KEY_WHY_BYTES];
    char *items[] = {item(text, name_and_rights, KEY)};
    struct api_keys *keys = api_keys_new(items, 1, why);

    if (keys == NULL)
        fail_msg("%s: %s", name_and_rights, why);
    return keys;
}

static void finds_only_the_key(void **state)
{
    static const char *const others[] = {"", "b", KEY "0", "Bugle_0123456789", "sha256.x.y"};
    struct api_keys *keys = keys_of("shop:publish");
    struct identity *identity = api_keys_find(keys, KEY, strlen(KEY));

    (void)state;
    assert_non_null(identity);
    assert_int_equal(identity->kind, IDENTITY_API_KEY);
    assert_true(api_keys_have(keys, identity->key_fingerprint));
    identity_unref(identity);
    for (size_t i = 0; i < ROWS(others); i++)
        assert_null(api_keys_find(keys, others[i], strlen(others[i])));
    assert_null(api_keys_find(keys, KEY, strlen(KEY) - 1));
    char text[600];
    memset(text, 'x', sizeof(text));
    assert_null(api_keys_find(keys, text, sizeof(text)));
    api_keys_free(keys);
}

static void reads_rights(void **state)
{
    static const struct {
        const char *item;
        size_t publish_n, subscribe_n;
        bool admin;
    } cases[] = {
        {"a:publish", 1, 0, false},
        {"a:subscribe", 0, 1, false},
        {"a:admin", 0, 0, true},
        {"a:publish subscribe admin", 1, 1, true},
        {"a:publish=orders/** publish=news", 2, 0, false},
        {"a-b_c.9:  subscribe=https://x/*   admin ", 0, 1, true},
        {"a:publish=a:b subscribe=c:d/**", 1, 1, false},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct api_keys *keys = keys_of(cases[i].item);
        const struct identity *identity = keys->list[0].identity;

        assert_int_equal(identity->publish.patterns_n, cases[i].publish_n);
        assert_int_equal(identity->subscribe.patterns_n, cases[i].subscribe_n);
        assert_int_equal(identity->admin, cases[i].admin);
        assert_null(identity->user.bytes);
        api_keys_free(keys);
    }
    struct api_keys *keys = keys_of("a:publish=orders/**");
    assert_true(grants_cover(&keys->list[0].identity->publish, "orders/1", 8));
    assert_false(grants_cover(&keys->list[0].identity->publish, "news", 4));
    api_keys_free(keys);
}

static void refuse(char *const *items, size_t items_n, const char *part)
{
    char why[API_KEY_WHY_BYTES] = "";

    assert_null(api_keys_new(items, items_n, why));
    if (strstr(why, part) == NULL)
        fail_msg("%s: %s", items[0], why);
    assert_null(strstr(why, "sha256."));
}

static void refuses_items(void **state)
{
    static const struct {
        const char *item, *part;
    } cases[] = {
        {"", "not NAME:RIGHTS:HASH"},
        {"a b:publish", "not NAME:RIGHTS:HASH"},
        {":publish", "not NAME:RIGHTS:HASH"},
        {"a", "not NAME:RIGHTS:HASH"},
        {"a:", "(a) has rights"},
        {"a: ", "(a) has rights"},
        {"a:publis", "(a) has rights"},
        {"a:publish=", "(a) has rights"},
        {"a:publish=a*", "(a) has rights"},
        {"a:publish=$bugle/x", "(a) has rights"},
        {"a:admin=true", "(a) has rights"},
        {"a:publish;admin", "(a) has rights"},
    };
    static const char *const hashes[] = {"",
                                         "sha256",
                                         "sha256.",
                                         "sha256.AA.AA",
                                         "sha512.AA.AA",
                                         "sha256.MDEyMzQ1Njc4OWFiY2RlAA.",
                                         "0123456789abcdef"};
    char text[512];

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        refuse((char *[]){item(text, cases[i].item, KEY)}, 1, cases[i].part);
    for (size_t i = 0; i < ROWS(hashes); i++) {
        snprintf(text, sizeof(text), "a:publish:%s", hashes[i]);
        refuse((char *[]){text}, 1, "(a) has no hash");
    }
    item(text, "a:publish", KEY);
    text[strlen(text) - 1] = '=';
    refuse((char *[]){text}, 1, "no hash");
}

static void tells_keys_apart(void **state)
{
    char first[512], second[512], why[API_KEY_WHY_BYTES];
    char *items[] = {item(first, "a:publish", KEY), item(second, "b:admin", KEY "2")};
    struct api_keys *keys = api_keys_new(items, 2, why);
    struct identity *a = api_keys_find(keys, KEY, strlen(KEY));
    struct identity *b = api_keys_find(keys, KEY "2", strlen(KEY "2"));

    (void)state;
    assert_false(a->admin);
    assert_true(b->admin);
    assert_int_not_equal(memcmp(a->scope, b->scope, IDENTITY_FINGERPRINT_BYTES), 0);
    api_keys_free(keys);

    /* the same key with other rights is not what vouched before, but still the same caller */
    items[0] = item(first, "a:publish admin", KEY);
    keys = api_keys_new(items, 1, why);
    assert_false(api_keys_have(keys, a->key_fingerprint));
    assert_memory_equal(keys->list[0].identity->scope, a->scope, IDENTITY_FINGERPRINT_BYTES);
    api_keys_free(keys);
    identity_unref(a);
    identity_unref(b);
}

/* While one replaces the other. */
static void keys_of_one_name_are_one_caller(void **state)
{
    char first[512], second[512], why[API_KEY_WHY_BYTES];
    char *items[] = {item(first, "a:publish", KEY), item(second, "a:admin", KEY "2")};
    struct api_keys *keys = api_keys_new(items, 2, why);
    struct identity *old = api_keys_find(keys, KEY, strlen(KEY));
    struct identity *new = api_keys_find(keys, KEY "2", strlen(KEY "2"));

    (void)state;
    assert_true(!old->admin && old->publish.patterns_n == 1);
    assert_true(new->admin &&new->publish.patterns_n == 0);
    assert_memory_equal(old->scope, new->scope, IDENTITY_FINGERPRINT_BYTES);
    assert_int_not_equal(
        memcmp(old->key_fingerprint, new->key_fingerprint, IDENTITY_FINGERPRINT_BYTES), 0);
    identity_unref(old);
    identity_unref(new);
    api_keys_free(keys);
}

static void no_keys_find_nothing(void **state)
{
    char why[API_KEY_WHY_BYTES];
    struct api_keys *keys = api_keys_new(NULL, 0, why);

    (void)state;
    assert_non_null(keys);
    assert_null(api_keys_find(keys, KEY, strlen(KEY)));
    api_keys_free(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_only_the_key),   cmocka_unit_test(reads_rights),
        cmocka_unit_test(refuses_items),        cmocka_unit_test(tells_keys_apart),
        cmocka_unit_test(no_keys_find_nothing), cmocka_unit_test(keys_of_one_name_are_one_caller),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
