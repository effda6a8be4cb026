/* SPDX-License-Identifier: MIT */
/* Events as rows: names there and back, bytes that are no names, and a checksum that sees all. */
#include "history/sqlite/sqlite_row.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../support/make.h"
#include "event/topic.h"

static struct message *room_for(size_t count)
{
    return calloc(1, sizeof(struct message) + count * sizeof(struct message_name));
}

static void names_come_back(void **state)
{
    char longest[TOPIC_BYTES_MAX + 1];
    const char *const lists[] = {NULL, "a", "a/b c d/e/f", longest};

    (void)state;
    memset(longest, 'x', TOPIC_BYTES_MAX);
    longest[TOPIC_BYTES_MAX] = '\0';
    for (size_t i = 0; i < 16; i++) {
        struct message *message = make_message(.topics = lists[i % 4], .users = lists[i / 4]);
        size_t names_n = sqlite_row_names_bytes(message), count = 99;
        char *names = malloc(names_n); /* exactly, so that a sanitizer sees a byte too many */

        sqlite_row_put_names(names, message);
        assert_true(sqlite_row_count_names(names, names_n, &count));
        assert_int_equal(count, message->topics_n + message->users_n);
        struct message *again = room_for(count);
        assert_true(sqlite_row_get_names(names, names_n, again));
        assert_int_equal(again->topics_n, message->topics_n);
        assert_int_equal(again->users_n, message->users_n);
        for (size_t j = 0; j < count; j++) {
            assert_int_equal(again->names[j].bytes_n, message->names[j].bytes_n);
            assert_memory_equal(again->names[j].bytes, message->names[j].bytes,
                                message->names[j].bytes_n);
            assert_true(again->names[j].hash == message->names[j].hash);
        }
        free(again);
        free(names);
        message_unref(message);
    }
}

static void the_bytes_are_fixed(void **state)
{
    static const char expected[] = "\2\0\1\0\0a\2b/c\2ada";
    struct message *message = make_message(.topics = "a b/c", .users = "ada");
    char names[sizeof(expected) - 1];

    (void)state;
    assert_int_equal(sqlite_row_names_bytes(message), sizeof(names));
    sqlite_row_put_names(names, message);
    assert_memory_equal(names, expected, sizeof(names));
    message_unref(message);
}

static void what_is_cut_or_too_long_is_no_names(void **state)
{
    static const char whole[] = "\2\0\1\0\0a\2b/c\2ada";
    struct message *to = room_for(3);

    (void)state;
    for (size_t n = 0; n <= sizeof(whole); n++) {
        char *names = malloc(n + 1);

        memcpy(names, whole, n);
        assert_int_equal(sqlite_row_get_names(names, n, to), n == sizeof(whole) - 1);
        free(names);
    }
    free(to);
}

static void the_checksum_sees_every_field(void **state)
{
    const struct sqlite_row row = {1, 2, 3, 4, 5, "names", 5, "body", 4, true};
    struct sqlite_row others[] = {row, row, row, row, row, row, row, row, row};
    uint64_t sum = sqlite_row_sum(&row);

    (void)state;
    others[0].position = 2;
    others[1].published_ms = 3;
    others[2].ahead_ms = 4;
    others[3].ttl_ms = 5;
    others[4].total = 6;
    others[5].names = "namez";
    others[6].body = "bodz";
    others[7].names = "namesb"; /* the same bytes, parted elsewhere */
    others[7].names_n = 6;
    others[7].body = "ody";
    others[7].body_n = 3;
    others[8].body_n = 3;
    for (size_t i = 0; i < 9; i++)
        assert_true(sqlite_row_sum(&others[i]) != sum);
    /* of each format, on every machine */
    assert_true(sum == UINT64_C(0xf3226529d44ba358));
    assert_true(sqlite_row_mark(sum) == UINT64_C(0x6a3492b3ebd90491));
    assert_true(sqlite_row_mark(sum) != sqlite_row_mark(sum + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_come_back),
        cmocka_unit_test(the_bytes_are_fixed),
        cmocka_unit_test(what_is_cut_or_too_long_is_no_names),
        cmocka_unit_test(the_checksum_sees_every_field),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
