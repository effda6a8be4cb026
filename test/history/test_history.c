/* SPDX-License-Identifier: MIT */
/* What all stores share: the epoch, the words of a promise, pages, and the way to the store. */
#include "history/history.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"

static void draws_an_epoch_of_its_alphabet(void **state)
{
    bool seen[256] = {false};
    size_t different = 0;

    (void)state;
    for (int i = 0; i < 200; i++) {
        char epoch[SSE_EPOCH_BYTES + 2];

        memset(epoch, '#', sizeof(epoch));
        assert_int_equal(history_draw_epoch(epoch), 0);
        assert_int_equal(strlen(epoch), SSE_EPOCH_BYTES);
        assert_int_equal(strspn(epoch, "0123456789abcdefghijklmnopqrstuvwxyz"), SSE_EPOCH_BYTES);
        assert_int_equal(epoch[SSE_EPOCH_BYTES + 1], '#');
        for (size_t at = 0; at < SSE_EPOCH_BYTES; at++)
            seen[(unsigned char)epoch[at]] = true;
    }
    for (size_t i = 0; i < sizeof(seen); i++)
        different += seen[i];
    assert_int_equal(different, 36);
}

static void draws_another_epoch_each_time(void **state)
{
    char epochs[100][SSE_EPOCH_BYTES + 1];

    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(history_draw_epoch(epochs[i]), 0);
        for (int other = 0; other < i; other++)
            assert_string_not_equal(epochs[other], epochs[i]);
    }
}

static void has_a_word_for_each_promise(void **state)
{
    struct history history = {.durability = HISTORY_MEMORY};

    (void)state;
    assert_string_equal(history_durability_text(&history), "memory");
    history.durability = HISTORY_DISK;
    assert_string_equal(history_durability_text(&history), "disk");
    history.durability = HISTORY_REPLICATED;
    assert_string_equal(history_durability_text(&history), "replicated");
}

static void a_page_lets_go_of_its_events(void **state)
{
    struct history_page *page = malloc(sizeof(*page) + 2 * sizeof(struct message *));
    struct message *kept = make_sealed(MESSAGE_STORED, 1);

    (void)state;
    page->events_n = 2;
    page->events[0] = message_ref(kept);
    page->events[1] = make_sealed(MESSAGE_STORED, 2);
    history_page_free(page);
    assert_int_equal(kept->refs, 1);
    message_unref(kept);
    history_page_free(NULL);
}

/* ---- a store that notes what it is asked ---- */

struct fake {
    struct history base;
    struct history_query query;
    int64_t now_ms;
    size_t events_n;
    bool backup_ended;
    bool freed;
    bool settled;
};

static int fake_append(struct history *history, struct message *const *events, size_t events_n,
                       int64_t now_ms)
{
    struct fake *fake = (struct fake *)history;

    assert_non_null(events);
    fake->events_n = events_n;
    fake->now_ms = now_ms;
    return -ENOSPC;
}

static int fake_read(struct history *history, const struct history_query *query,
                     struct history_page **ret_page)
{
    struct fake *fake = (struct fake *)history;

    assert_non_null(ret_page);
    fake->query = *query;
    return -ESTALE;
}

static bool fake_trim(struct history *history, int64_t now_ms)
{
    ((struct fake *)history)->now_ms = now_ms;
    return true;
}

static void fake_bounds(struct history *history, struct history_bounds *ret_bounds)
{
    (void)history;
    *ret_bounds = (struct history_bounds){.trimmed = 3, .newest = 9};
}

static uint64_t fake_find_time(struct history *history, int64_t since_ms)
{
    (void)history;
    return (uint64_t)since_ms + 1;
}

static void fake_usage(struct history *history, struct history_usage *ret_usage)
{
    (void)history;
    *ret_usage = (struct history_usage){.events_n = 6, .bytes = 600, .keys_n = 7};
}

static int fake_find_key(struct history *history, const struct message *message, int64_t now_ms,
                         uint64_t *ret_position)
{
    struct fake *fake = (struct fake *)history;

    assert_null(message);
    fake->now_ms = now_ms;
    *ret_position = 12;
    return HISTORY_KEY_SAME;
}

static void fake_settle(struct history *history)
{
    ((struct fake *)history)->settled = true;
}

static int fake_backup_begin(struct history *history)
{
    (void)history;
    return -EIO;
}

static int fake_backup_step(struct history *history, struct history_backup *ret_backup)
{
    (void)history;
    ret_backup->newest = 9;
    return 1;
}

static void fake_backup_end(struct history *history)
{
    ((struct fake *)history)->backup_ended = true;
}

static void fake_free(struct history *history)
{
    ((struct fake *)history)->freed = true;
}

static void asks_the_store_and_hands_its_answer_on(void **state)
{
    static const struct history_ops ops = {
        .append = fake_append,
        .read = fake_read,
        .find_key = fake_find_key,
        .settle = fake_settle,
        .trim = fake_trim,
        .bounds = fake_bounds,
        .find_time = fake_find_time,
        .usage = fake_usage,
        .backup_begin = fake_backup_begin,
        .backup_step = fake_backup_step,
        .backup_end = fake_backup_end,
        .free = fake_free,
    };
    struct fake fake = {.base.ops = &ops};
    struct history *history = &fake.base;
    struct message *events[2] = {NULL, NULL};
    struct history_query query = {.after = 5, .upto = 8};
    struct history_page *page = NULL;
    struct history_bounds bounds;
    struct history_backup backup;
    uint64_t position = 0;

    (void)state;
    assert_int_equal(history_append(history, events, 2, 111), -ENOSPC);
    assert_int_equal(fake.events_n, 2);
    assert_int_equal(fake.now_ms, 111);
    assert_int_equal(history_read(history, &query, &page), -ESTALE);
    assert_int_equal(fake.query.after, 5);
    assert_null(page);
    assert_true(history_trim(history, 222));
    assert_int_equal(fake.now_ms, 222);
    history_bounds(history, &bounds);
    assert_int_equal(bounds.trimmed, 3);
    assert_int_equal(bounds.newest, 9);
    assert_int_equal(history_find_time(history, 40), 41);
    assert_int_equal(usage_of(history).events_n, 6);
    assert_int_equal(usage_of(history).bytes, 600);
    assert_int_equal(usage_of(history).keys_n, 7);
    assert_int_equal(history_find_key(history, NULL, 333, &position), HISTORY_KEY_SAME);
    assert_int_equal(fake.now_ms, 333);
    assert_int_equal(position, 12);
    history_settle(history);
    assert_true(fake.settled);
    assert_int_equal(history_backup_begin(history), -EIO);
    assert_int_equal(history_backup_step(history, &backup), 1);
    assert_int_equal(backup.newest, 9);
    history_backup_end(history);
    assert_true(fake.backup_ended);
    history_free(history);
    assert_true(fake.freed);
    history_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_an_epoch_of_its_alphabet),
        cmocka_unit_test(draws_another_epoch_each_time),
        cmocka_unit_test(has_a_word_for_each_promise),
        cmocka_unit_test(a_page_lets_go_of_its_events),
        cmocka_unit_test(asks_the_store_and_hands_its_answer_on),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
