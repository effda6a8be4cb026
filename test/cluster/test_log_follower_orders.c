/* SPDX-License-Identifier: MIT */
/* What a follower does with ephemeral events and with orders, over each store. */
#include "config.h"
#include "made_entry.h"

static void ephemeral_events_are_handed_out_at_their_place(void **state)
{
    struct log_follower follower = begin(state);
    struct message *events[] = {make_message(.kind = MESSAGE_EPHEMERAL),
                                make_message(.topics = "a"),
                                make_message(.kind = MESSAGE_EPHEMERAL)};
    struct made made = {.entry = {.last = 7}}, next = make_entry(ONE, 8, 1, "other", 10);
    struct log_follower_batch batch;
    struct history_page *page;

    put_head(&made, ONE, 7, "other", 9);
    put_events(&made, events, 3);
    struct shared_log_entry entries[] = {made.entry, next.entry};
    entries[0].head = made.head;
    entries[0].body = made.body;
    entries[1].head = next.head;
    entries[1].body = next.body;
    assert_int_equal(log_follower_entries(&follower, entries, 2, &batch), LOG_FOLLOWER_FINE);
    assert_int_equal(batch.entries_n, 2);
    assert_int_equal(batch.events_n, 4);
    assert_int_equal(batch.events[0]->position, 6);
    assert_int_equal(batch.events[0]->kind, MESSAGE_EPHEMERAL);
    assert_int_equal(batch.events[1]->position, 7);
    assert_int_equal(batch.events[2]->position, 7);
    assert_int_equal(batch.events[3]->position, 8);
    log_follower_batch_clear(&batch);
    assert_int_equal(log_follower_newest(&follower), 8);
    page = read_where(follower.history, .after = 6);
    assert_int_equal(page->upto, 8);
    history_page_free(page);
    free(made.body);
    free(next.body);
    history_free(follower.history);
}

static struct made make_order(const char *epoch, uint64_t after, uint64_t sub, const char *writer,
                              const char *order)
{
    struct made made = {.entry = {.last = after, .sub = sub}};

    put_head(&made, epoch, after + 1, writer, 50 + sub);
    made.entry.body_n = log_entry_order_bytes(strlen(order));
    made.body = malloc(made.entry.body_n);
    log_entry_write_order(made.body, order, strlen(order));
    return made;
}

/* Give entries to the tail until all are taken or one is not, and free them.  What was done is what
 * `done` says, each order with the newest position. */
static enum log_follower_result follow_all(struct log_follower *follower, struct made *made,
                                           size_t made_n, const char *done)
{
    struct log_follower_batch batch;
    enum log_follower_result result = LOG_FOLLOWER_FINE;
    char text[256] = "";
    size_t taken_n = 0;

    while (result == LOG_FOLLOWER_FINE && taken_n < made_n) {
        struct shared_log_entry entries[8];

        for (size_t i = taken_n; i < made_n; i++) {
            entries[i] = made[i].entry;
            entries[i].head = made[i].head;
            entries[i].body = made[i].body;
        }
        result = log_follower_entries(follower, entries + taken_n, made_n - taken_n, &batch);
        taken_n += batch.entries_n;
        if (batch.order != NULL)
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "%d:%.*s ",
                     (int)log_follower_newest(follower), (int)batch.order_n, batch.order);
        log_follower_batch_clear(&batch);
    }
    assert_string_equal(text, done);
    for (size_t i = 0; i < made_n; i++)
        free(made[i].body);
    return result;
}

static void orders_are_done_at_their_place(void **state)
{
    struct log_follower follower = begin(state);
    struct made made[] = {make_order(ONE, 6, 1, "other", "one"),
                          make_order(ONE, 6, 2, "other", "two"), make_entry(ONE, 7, 2, "other", 9),
                          make_order(ONE, 8, 1, "other", "three"),
                          make_entry(ONE, 9, 1, "other", 10)};

    assert_int_equal(follow_all(&follower, made, 5, "6:one 6:two 8:three "), LOG_FOLLOWER_FINE);
    assert_int_equal(log_follower_newest(&follower), 9);
    assert_int_equal(follower.orders_lost, 0);
    history_free(follower.history);
}

static void goes_on_behind_the_orders_that_are_done(void **state)
{
    struct log_follower follower = begin(state);
    struct made made[] = {make_order(ONE, 6, 1, "other", "one"),
                          make_order(ONE, 6, 2, "other", "two")};
    struct made more[] = {make_order(ONE, 6, 3, "other", "three")};

    assert_int_equal(follow_all(&follower, made, 2, "6:one 6:two "), LOG_FOLLOWER_FINE);
    attach(&follower, ONE, "", 6, 0);
    assert_int_equal(follower.sub, 2);
    assert_int_equal(follow_all(&follower, more, 1, "6:three "), LOG_FOLLOWER_FINE);
    attach(&follower, ONE, "", 6, 0);
    assert_int_equal(follower.sub, 3);
    assert_follows(&follower, make_entry(ONE, 7, 1, "other", 10));
    attach(&follower, ONE, "", 7, 0);
    assert_int_equal(follower.sub, 0);
    history_free(follower.history);
}

static void another_term_keeps_orders_or_has_others(void **state)
{
    struct log_follower follower = begin(state);
    struct made made[] = {make_order(ONE, 6, 1, "other", "one"),
                          make_order(ONE, 6, 2, "other", "two"),
                          make_order(ONE, 6, 3, "other", "lost")};
    struct made again[] = {
        make_order(ONE, 6, 1, "other", "one"), make_order(ONE, 6, 2, "other", "two"),
        make_order(TWO, 6, 3, "other", "three"), make_order(TWO, 6, 4, "other", "four")};
    struct made third[] = {
        make_order(ONE, 6, 2, "other", "two"), make_order(TWO, 6, 3, "other", "three"),
        make_order(THREE, 6, 4, "other", "five"), make_entry(THREE, 7, 1, "other", 80)};

    assert_int_equal(follow_all(&follower, made, 3, "6:one 6:two 6:lost "), LOG_FOLLOWER_FINE);
    attach(&follower, TWO, ONE " 6", 6, 0);
    assert_int_equal(follower.sub, 0); /* it looks at all of them */
    assert_int_equal(follow_all(&follower, again, 4, "6:three 6:four "), LOG_FOLLOWER_FINE);
    attach(&follower, THREE, ONE " 6 " TWO " 6", 6, 0);
    assert_int_equal(follow_all(&follower, third, 4, "6:five "), LOG_FOLLOWER_FINE);
    assert_int_equal(follower.orders_lost, 1); /* the first of them was trimmed */
    history_free(follower.history);
}

static void orders_of_a_term_that_was_cut_off_are_looked_at(void **state)
{
    struct log_follower follower = begin(state);
    struct made made[] = {make_order(ONE, 6, 1, "other", "one")};
    struct made again[] = {make_order(ONE, 2, 1, "other", "early"),
                           make_order(TWO, 2, 2, "other", "new")};

    assert_int_equal(follow_all(&follower, made, 1, "6:one "), LOG_FOLLOWER_FINE);
    assert_true(attach(&follower, TWO, ONE " 2", 2, 0).is_cut);
    assert_int_equal(follow_all(&follower, again, 2, "2:new "), LOG_FOLLOWER_FINE);
    history_free(follower.history);
}

/* A server that has become the replica of another, with the connection open. */
static void an_order_of_another_log_is_none_here(void **state)
{
    struct log_follower follower = begin(state);
    struct made made[] = {make_order(TWO, 6, 1, "other", "two"),
                          make_order(ONE, 6, 2, "other", "not here")};
    struct made again[] = {make_order(ONE, 6, 1, "other", "one"),
                           make_order(ONE, 6, 2, "other", "here")};

    attach(&follower, TWO, ONE " 6", 6, 0);
    assert_int_equal(follow_all(&follower, made, 2, "6:two "), LOG_FOLLOWER_TERM);
    attach(&follower, THREE, ONE " 6", 6, 0);
    assert_int_equal(follow_all(&follower, again, 2, "6:one 6:here "), LOG_FOLLOWER_FINE);
    history_free(follower.history);
}

/* A log that was made anew, and then the one before is there again. */
static void an_epoch_that_comes_back_has_the_same_orders(void **state)
{
    struct log_follower follower = begin(state);
    struct made made[] = {make_order(ONE, 6, 1, "other", "one")};
    struct made again[] = {make_order(ONE, 6, 1, "other", "one"),
                           make_order(ONE, 6, 2, "other", "two")};

    assert_int_equal(follow_all(&follower, made, 1, "6:one "), LOG_FOLLOWER_FINE);
    assert_true(attach(&follower, TWO, "", 0, 0).is_cut);
    assert_follows(&follower, make_entry(TWO, 1, 2, "other", 70));
    assert_true(attach(&follower, ONE, "", 6, 0).is_cut);
    for (uint64_t first = 1; first <= 5; first += 2)
        assert_follows(&follower, make_entry(ONE, first, 2, "other", first));
    assert_int_equal(follow_all(&follower, again, 2, "6:two "), LOG_FOLLOWER_FINE);
    history_free(follower.history);
}

/* It may have served streams before it came to the log. */
static void a_fresh_process_does_orders_at_its_newest_position(void **state)
{
    struct log_follower follower = begin(state), fresh;
    struct made made[] = {make_order(ONE, 6, 4, "other", "new"), /* others are trimmed */
                          make_entry(ONE, 7, 1, "other", 9),
                          make_order(ONE, 7, 1, "other", "next")};
    struct made again[] = {make_order(ONE, 7, 1, "other", "next"),
                           make_order(TWO, 7, 2, "other", "two")};

    log_follower_init(&fresh, follower.history, "node.2");
    attach(&fresh, ONE, "", 6, 0);
    assert_int_equal(fresh.sub, 0);
    assert_int_equal(follow_all(&fresh, made, 3, "6:new 7:next "), LOG_FOLLOWER_FINE);
    attach(&fresh, TWO, ONE " 7", 7, 0);
    assert_int_equal(fresh.sub, 0);
    assert_int_equal(follow_all(&fresh, again, 2, "7:two "), LOG_FOLLOWER_FINE);
    assert_int_equal(fresh.orders_lost, 0);
    log_follower_init(&fresh, follower.history, "node.3");
    attach(&fresh, TWO, ONE " 7", 9, 0); /* those of 9 are to come */
    assert_int_equal(fresh.sub, 0);
    struct made anew[] = {make_order(ONE, 7, 1, "other", "next"),
                          make_order(TWO, 7, 2, "other", "two")};
    assert_int_equal(follow_all(&fresh, anew, 2, "7:next 7:two "), LOG_FOLLOWER_FINE);
    assert_follows(&fresh, make_entry(TWO, 8, 2, "other", 30));
    struct made all[] = {make_order(TWO, 9, 1, "other", "nine")};
    assert_int_equal(follow_all(&fresh, all, 1, "9:nine "), LOG_FOLLOWER_FINE);
    history_free(follower.history);
}

static void an_order_that_cannot_be_read_is_no_gap(void **state)
{
    struct log_follower follower = begin(state);
    struct made made[] = {make_order(ONE, 6, 1, "other", "bad"),
                          make_order(ONE, 6, 2, "other", "good"),
                          make_entry(ONE, 7, 1, "other", 9)};

    made[0].entry.body_n = 3;
    assert_int_equal(follow_all(&follower, made, 3, "6:good "), LOG_FOLLOWER_FINE);
    assert_int_equal(follower.orders_lost, 1);
    assert_int_equal(log_follower_newest(&follower), 7);
    history_free(follower.history);
}

static void an_order_that_stays_strange_is_passed_over(void **state)
{
    struct log_follower follower = begin(state);
    struct made made[] = {make_order(TWO, 6, 1, "other", "strange")};
    struct made again[] = {make_order(TWO, 6, 1, "other", "strange"),
                           make_order(ONE, 6, 2, "other", "good")};

    assert_int_equal(follow_all(&follower, made, 1, ""), LOG_FOLLOWER_TERM);
    assert_int_equal(attach(&follower, ONE, "", 6, 0).gap, LOG_FOLLOWER_NO_GAP);
    assert_int_equal(follow_all(&follower, again, 2, "6:good "), LOG_FOLLOWER_FINE);
    assert_int_equal(follower.orders_lost, 1);
    history_free(follower.history);
}

static void an_order_behind_a_hole_is_not_done(void **state)
{
    struct log_follower follower = begin(state);
    struct made made[] = {make_order(ONE, 8, 1, "other", "far")};
    struct made bad[] = {make_order(ONE, 9, 1, "other", "bad")};

    assert_int_equal(follow_all(&follower, made, 1, ""), LOG_FOLLOWER_EXPIRED);
    assert_int_equal(attach(&follower, ONE, "", 8, 0).begin, 8);
    bad[0].entry.body_n = 3;
    assert_int_equal(follow_all(&follower, bad, 1, ""), LOG_FOLLOWER_DAMAGED);
    assert_int_equal(attach(&follower, ONE, "", 9, 0).begin, 9);
    history_free(follower.history);
}

static void knows_its_own_order(void **state)
{
    struct log_follower follower = begin(state);
    struct made made[] = {make_order(ONE, 6, 1, WRITER, "mine")};
    struct made again[] = {make_order(ONE, 6, 1, WRITER, "mine")};

    log_group_begin(&follower.group, 0);
    follower.group.seq = 51;
    log_group_sent(&follower.group);
    assert_int_equal(follow_all(&follower, made, 1, "6:mine "), LOG_FOLLOWER_FINE);
    assert_true(follower.group.arrived);
    /* in another term it is there, and done, and its group hears of it */
    attach(&follower, TWO, ONE " 6", 6, 0);
    assert_false(follower.group.arrived);
    assert_int_equal(follow_all(&follower, again, 1, ""), LOG_FOLLOWER_FINE);
    assert_true(follower.group.arrived);
    history_free(follower.history);
}

static const struct CMUnitTest contract[] = {
    cmocka_unit_test_teardown(ephemeral_events_are_handed_out_at_their_place, remove_files),
    cmocka_unit_test_teardown(orders_are_done_at_their_place, remove_files),
    cmocka_unit_test_teardown(goes_on_behind_the_orders_that_are_done, remove_files),
    cmocka_unit_test_teardown(another_term_keeps_orders_or_has_others, remove_files),
    cmocka_unit_test_teardown(orders_of_a_term_that_was_cut_off_are_looked_at, remove_files),
    cmocka_unit_test_teardown(an_order_of_another_log_is_none_here, remove_files),
    cmocka_unit_test_teardown(an_epoch_that_comes_back_has_the_same_orders, remove_files),
    cmocka_unit_test_teardown(a_fresh_process_does_orders_at_its_newest_position, remove_files),
    cmocka_unit_test_teardown(an_order_that_cannot_be_read_is_no_gap, remove_files),
    cmocka_unit_test_teardown(an_order_that_stays_strange_is_passed_over, remove_files),
    cmocka_unit_test_teardown(an_order_behind_a_hole_is_not_done, remove_files),
    cmocka_unit_test_teardown(knows_its_own_order, remove_files),
};

int main(void)
{
    return run_over_each_store(contract, sizeof(contract) / sizeof(contract[0]));
}
