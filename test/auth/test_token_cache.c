/* SPDX-License-Identifier: MIT */
/* The cache of seen tokens: found until it is dropped, and never more than allowed. */
#include "auth/token_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct identity *some_identity(void)
{
    struct identity_draft draft = {.kind = IDENTITY_TOKEN, .until_ms = 1};
    struct identity *identity = identity_new(&draft);

    assert_non_null(identity);
    return identity;
}

static const unsigned char *digest_of(int number)
{
    static unsigned char digest[TOKEN_CACHE_DIGEST_BYTES];
    char text[16];

    token_cache_digest(digest, text, (size_t)snprintf(text, sizeof(text), "%d", number));
    return digest;
}

static void finds_what_was_put(void **state)
{
    struct token_cache *cache = token_cache_new(4);
    struct identity *identity = some_identity();

    (void)state;
    assert_null(token_cache_find(cache, digest_of(1)));
    token_cache_put(cache, digest_of(1), identity);
    assert_ptr_equal(token_cache_find(cache, digest_of(1)), identity);
    assert_null(token_cache_find(cache, digest_of(2)));
    assert_int_equal(identity->refs, 2);
    token_cache_drop(cache, digest_of(2));
    token_cache_drop(cache, digest_of(1));
    assert_null(token_cache_find(cache, digest_of(1)));
    assert_int_equal(identity->refs, 1);
    token_cache_put(cache, digest_of(1), identity);
    token_cache_clear(cache);
    assert_int_equal(token_cache_count(cache), 0);
    assert_int_equal(identity->refs, 1);
    token_cache_free(cache);
    identity_unref(identity);
}

static void forgets_what_was_not_asked_for_longest(void **state)
{
    struct token_cache *cache = token_cache_new(3);
    struct identity *identity = some_identity();

    (void)state;
    for (int i = 0; i < 3; i++)
        token_cache_put(cache, digest_of(i), identity);
    assert_non_null(token_cache_find(cache, digest_of(0)));
    token_cache_put(cache, digest_of(3), identity);
    assert_non_null(token_cache_find(cache, digest_of(0)));
    assert_null(token_cache_find(cache, digest_of(1)));
    assert_non_null(token_cache_find(cache, digest_of(2)));
    for (int i = 10; i < 1000; i++) {
        token_cache_put(cache, digest_of(i), identity);
        assert_int_equal(token_cache_count(cache), 3);
    }
    assert_int_equal(identity->refs, 4);
    token_cache_resize(cache, 1);
    assert_int_equal(token_cache_count(cache), 1);
    assert_non_null(token_cache_find(cache, digest_of(999)));
    token_cache_resize(cache, 0);
    token_cache_put(cache, digest_of(1), identity);
    assert_int_equal(token_cache_count(cache), 0);
    token_cache_free(cache);
    assert_int_equal(identity->refs, 1);
    identity_unref(identity);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_put),
        cmocka_unit_test(forgets_what_was_not_asked_for_longest),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
