/* SPDX-License-Identifier: MIT */
/* Idempotency keys in memory: finding, replacing, and forgetting from the oldest on. */
#include "history/idempotency_table.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "../support/make.h"

static void put(struct idempotency_table *table, const char *key, const char *data,
                uint64_t position, int64_t now_ms)
{
    struct message *message = make_message(.key = key, .data = data);

    assert_int_equal(idempotency_table_put(table, message, position, now_ms), 0);
    message_unref(message); /* the table has its own copy */
}

static const struct idempotency_entry *find(const struct idempotency_table *table, const char *key)
{
    struct message *message = make_message(.key = key);
    const struct idempotency_entry *entry = idempotency_table_find(table, message);

    message_unref(message);
    return entry;
}

static bool is_same(const struct idempotency_entry *entry, const char *key, const char *data)
{
    struct message *message = make_message(.key = key, .data = data);
    bool same = idempotency_entry_is_same(entry, message);

    message_unref(message);
    return same;
}

static void finds_what_was_put(void **state)
{
    struct idempotency_table *table = idempotency_table_new();

    (void)state;
    assert_null(find(table, "a"));
    put(table, "a", "one", 7, 100);
    put(table, "ab", "two", 8, 200);
    assert_int_equal(find(table, "a")->position, 7);
    assert_int_equal(find(table, "a")->stored_ms, 100);
    assert_int_equal(find(table, "ab")->position, 8);
    assert_null(find(table, "b"));
    assert_null(find(table, "A"));
    assert_int_equal(idempotency_table_count(table), 2);
    idempotency_table_free(table);
}

static void tells_the_same_content_from_other(void **state)
{
    struct idempotency_table *table = idempotency_table_new();

    (void)state;
    put(table, "a", "one", 7, 100);
    assert_true(is_same(find(table, "a"), "a", "one"));
    assert_false(is_same(find(table, "a"), "a", "two"));
    idempotency_table_free(table);
}

static void a_key_put_again_is_young_again(void **state)
{
    struct idempotency_table *table = idempotency_table_new();

    (void)state;
    put(table, "a", "one", 1, 100);
    put(table, "b", "one", 2, 200);
    put(table, "a", "two", 3, 300);
    assert_int_equal(idempotency_table_count(table), 2);
    assert_int_equal(find(table, "a")->position, 3);
    assert_true(is_same(find(table, "a"), "a", "two"));
    assert_int_equal(idempotency_table_oldest(table)->position, 2);
    idempotency_table_free(table);
}

static void forgets_the_oldest_first(void **state)
{
    struct idempotency_table *table = idempotency_table_new();
    char key[16];

    (void)state;
    assert_null(idempotency_table_oldest(table));
    for (uint64_t i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "key-%d", (int)i);
        put(table, key, NULL, i, (int64_t)i);
    }
    for (uint64_t i = 0; i < 4000; i++) {
        assert_int_equal(idempotency_table_oldest(table)->position, i);
        idempotency_table_drop_oldest(table);
    }
    assert_int_equal(idempotency_table_count(table), 1000);
    assert_null(find(table, "key-3999"));
    assert_int_equal(find(table, "key-4000")->position, 4000);
    idempotency_table_free(table);
}

static void forgets_one_and_all(void **state)
{
    struct idempotency_table *table = idempotency_table_new();
    struct message *message = make_message(.key = "b");

    (void)state;
    put(table, "a", NULL, 1, 1);
    put(table, "b", NULL, 2, 2);
    put(table, "c", NULL, 3, 3);
    idempotency_table_drop(table, message);
    assert_null(find(table, "b"));
    assert_int_equal(find(table, "c")->position, 3);
    assert_int_equal(idempotency_table_count(table), 2);
    idempotency_table_clear(table);
    assert_int_equal(idempotency_table_count(table), 0);
    assert_null(idempotency_table_oldest(table));
    put(table, "a", NULL, 4, 4);
    assert_int_equal(find(table, "a")->position, 4);
    message_unref(message);
    idempotency_table_free(table);
    idempotency_table_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_put),
        cmocka_unit_test(tells_the_same_content_from_other),
        cmocka_unit_test(a_key_put_again_is_young_again),
        cmocka_unit_test(forgets_the_oldest_first),
        cmocka_unit_test(forgets_one_and_all),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
