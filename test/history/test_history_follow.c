/* SPDX-License-Identifier: MIT */
/* What every store promises where it follows another order: events at places and times that were
 * given to them, cutting off, and lineages. */
#include "config.h"
#include "history/history.h"

#include "each_store.h"

#define OTHER_EPOCH "0123456789ab"

/* As a shared log gives it: sealed. */
static struct message *sealed(struct message *message, uint64_t position, int64_t at_ms)
{
    message_seal(message, OTHER_EPOCH, position, at_ms);
    return message;
}

static int apply_one(struct history *history, struct message *message)
{
    int result = history_apply(history, &message, 1);

    message_unref(message);
    return result;
}

static struct lineage *next_lineage(const struct history *history, uint64_t head)
{
    struct lineage *lineage = lineage_begin(history_lineage(history), OTHER_EPOCH, head);

    assert_non_null(lineage);
    return lineage;
}

static void applies_events_at_their_places_and_times(void **state)
{
    struct history *history = open_plain(state);
    struct message *events[] = {sealed(make_message(.topics = "a"), 1, 1000),
                                sealed(make_message(.users = "ada"), 2, 3000)};
    struct history_page *page;

    assert_int_equal(history_truncate(history, 0, next_lineage(history, 0)), 0);
    assert_int_equal(history_apply(history, events, 2), 0);
    assert_bounds(history, 0, 2);
    page = read_where(history, .user = "ada", .after = 0);
    assert_int_equal(page->events_n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(page->events[i]->published_ms, 1000 + 2000 * (int64_t)i);
        assert_int_equal(page->events[i]->frame_n, events[i]->frame_n);
        assert_memory_equal(page->events[i]->frame, events[i]->frame, events[i]->frame_n);
        message_unref(events[i]);
    }
    history_page_free(page);
    assert_int_equal(history_find_time(history, 1001), 1);
    assert_int_equal(history_apply(history, NULL, 0), 0);
    history_free(history);
}

static void refuses_events_that_do_not_follow(void **state)
{
    struct history *history = open_plain(state);

    add_many(history, 2, NULL);
    assert_int_equal(apply_one(history, sealed(make_message(.data = "x"), 2, 1)), -EINVAL);
    assert_int_equal(apply_one(history, sealed(make_message(.data = "x"), 4, 1)), -EINVAL);
    assert_int_equal(apply_one(history, sealed(make_message(.kind = MESSAGE_EPHEMERAL), 3, 1)),
                     -EINVAL);
    assert_bounds(history, 0, 2);
    assert_int_equal(apply_one(history, sealed(make_message(.data = "x"), 3, 1)), 0);
    assert_bounds(history, 0, 3);
    history_free(history);
}

static void applies_idempotency_keys(void **state)
{
    struct history *history = open_plain(state);
    struct message *again = make_message(.key = "k", .data = "x");
    uint64_t position;

    assert_int_equal(apply_one(history, sealed(make_message(.key = "k", .data = "x"), 1, 1000)), 0);
    assert_int_equal(usage_of(history).keys_n, 1);
    assert_int_equal(history_find_key(history, again, 1000, &position), HISTORY_KEY_SAME);
    assert_int_equal(position, 1);
    message_unref(again);
    history_free(history);
}

static void cuts_off_what_stands_after_a_position(void **state)
{
    struct history *history = open_plain(state);
    struct message *kept = make_message(.key = "kept", .topics = "a"),
                   *lost = make_message(.key = "lost", .topics = "a c");
    struct history_usage before;
    uint64_t position, end;
    char epoch[SSE_EPOCH_BYTES + 1];

    strcpy(epoch, history_epoch(history));
    add_at(history, make_message(.key = "kept", .topics = "a"), 1000);
    add_at(history, make_message(.topics = "b"), 2000);
    before = usage_of(history);
    add_at(history, make_message(.key = "lost", .topics = "a c"), 9000);
    add_at(history, make_message(.users = "ada"), 9000);
    assert_int_equal(history_truncate(history, 2, next_lineage(history, 2)), 0);
    assert_bounds(history, 0, 2);
    assert_int_equal(usage_of(history).bytes, before.bytes);
    assert_int_equal(usage_of(history).keys_n, 1);
    assert_string_equal(history_epoch(history), OTHER_EPOCH);
    assert_true(lineage_find(history_lineage(history), epoch, &end));
    assert_int_equal(end, 2);
    assert_int_equal(history_find_key(history, kept, 1000, &position), HISTORY_KEY_SAME);
    assert_int_equal(history_find_key(history, lost, 1000, &position), HISTORY_KEY_NEW);
    assert_page(read_where(history, .after = 0), "1 2 : 2");
    assert_page(read_where(history, .user = "ada", .patterns = "a c"), "1 : 2");
    assert_int_equal(apply_one(history, sealed(make_message(.topics = "c"), 3, 2500)), 0);
    assert_page(read_where(history, .patterns = "c"), "3 : 3");
    assert_page(read_where(history, .user = "ada"), "1 2 3 : 3");
    assert_int_equal(history_find_time(history, 2400), 2);
    message_unref(kept);
    message_unref(lost);
    history_free(history);
}

static void begins_anew_where_nothing_is_common(void **state)
{
    struct history *history = open_plain(state);
    struct message *lost = make_message(.key = "lost");
    uint64_t position;

    add_at(history, make_message(.key = "lost", .topics = "a"), 9000);
    add_many(history, 3, "a");
    assert_int_equal(history_truncate(history, 500, next_lineage(history, 4)), 0);
    assert_bounds(history, 500, 500);
    assert_int_equal(usage_of(history).bytes, 0);
    assert_int_equal(usage_of(history).keys_n, 0);
    assert_int_equal(history_find_key(history, lost, 9000, &position), HISTORY_KEY_NEW);
    assert_stale(history, 3);
    assert_int_equal(apply_one(history, sealed(make_message(.topics = "a"), 501, 10)), 0);
    assert_page(read_where(history, .after = 500, .patterns = "a"), "501 : 501");
    assert_int_equal(history_truncate(history, 0, next_lineage(history, 0)), 0);
    assert_bounds(history, 0, 0);
    assert_int_equal(apply_one(history, sealed(make_message(.topics = "a"), 1, 10)), 0);
    assert_page(read_where(history, .after = 0, .patterns = "a"), "1 : 1");
    message_unref(lost);
    history_free(history);
}

static void a_lineage_stays_good_when_the_next_has_come(void **state)
{
    struct history *history = open_plain(state);
    const struct lineage *first = history_lineage(history);
    char epoch[SSE_EPOCH_BYTES + 1];

    strcpy(epoch, first->epoch);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(history_truncate(history, 0, next_lineage(history, 0)), 0);
    assert_string_equal(first->epoch, epoch);
    assert_int_equal(history_lineage(history)->terms_n, 5);
    history_free(history);
}

static const struct CMUnitTest contract[] = {
    cmocka_unit_test_teardown(applies_events_at_their_places_and_times, remove_files),
    cmocka_unit_test_teardown(refuses_events_that_do_not_follow, remove_files),
    cmocka_unit_test_teardown(applies_idempotency_keys, remove_files),
    cmocka_unit_test_teardown(cuts_off_what_stands_after_a_position, remove_files),
    cmocka_unit_test_teardown(begins_anew_where_nothing_is_common, remove_files),
    cmocka_unit_test_teardown(a_lineage_stays_good_when_the_next_has_come, remove_files),
};

int main(void)
{
    return run_over_each_store(contract, sizeof(contract) / sizeof(contract[0]));
}
