/* SPDX-License-Identifier: MIT */
/* A history that follows the shared log, over each store. */
#include "config.h"
#include "made_entry.h"

static void applies_entries_together(void **state)
{
    struct log_follower follower = begin(state);
    struct made made[] = {make_entry(ONE, 7, 1, "other", 9), make_entry(ONE, 8, 3, "other", 10)};
    struct history_page *page;
    size_t events_n;

    assert_int_equal(follow(&follower, made, 2, &events_n), LOG_FOLLOWER_FINE);
    assert_int_equal(events_n, 4);
    page = read_where(follower.history, .after = 6, .patterns = "a");
    assert_int_equal(page->events_n, 4);
    assert_int_equal(page->events[3]->position, 10);
    assert_int_equal(page->events[3]->published_ms, 1008);
    history_page_free(page);
    history_free(follower.history);
}

static void hands_out_what_came_before_it_stopped(void **state)
{
    struct log_follower follower = begin(state);
    struct made made[] = {make_entry(ONE, 7, 1, "other", 9), make_entry(ONE, 9, 1, "other", 10)};
    size_t events_n;

    assert_int_equal(follow(&follower, made, 2, &events_n), LOG_FOLLOWER_EXPIRED);
    assert_int_equal(events_n, 1);
    assert_int_equal(log_follower_newest(&follower), 7);
    assert_false(follower.attached);
    history_free(follower.history);
}

static void tells_the_log_what_it_has(void **state)
{
    struct log_follower follower = begin(state);
    struct shared_log_node node;

    log_follower_attach(&follower, TWO, &node);
    assert_int_equal(node.newest, 6);
    assert_int_equal(node.newest_ms, 1005);
    assert_string_equal(node.lineage->epoch, ONE);
    assert_string_equal(node.epoch_new, TWO);
    history_free(follower.history);
}

static void an_empty_history_has_no_time(void **state)
{
    struct log_follower follower;
    struct shared_log_node node;

    log_follower_init(&follower, open_plain(state), WRITER);
    log_follower_attach(&follower, TWO, &node);
    assert_int_equal(node.newest, 0);
    assert_int_equal(node.newest_ms, 0);
    history_free(follower.history);
}

static void goes_on_in_silence_where_nothing_was_lost(void **state)
{
    struct log_follower follower = begin(state);
    struct log_follower_cut cut = attach(&follower, ONE, "", 8, 0);

    assert_false(cut.is_cut);
    assert_int_equal(cut.gap, LOG_FOLLOWER_NO_GAP);
    cut = attach(&follower, TWO, ONE " 8", 8, 0);
    assert_false(cut.is_cut);
    assert_int_equal(cut.gap, LOG_FOLLOWER_NO_GAP);
    assert_int_equal(log_follower_newest(&follower), 6);
    /* what is still to come of the term before, and then of this one */
    assert_follows(&follower, make_entry(ONE, 7, 2, "other", 9));
    assert_follows(&follower, make_entry(TWO, 9, 1, "other", 10));
    history_free(follower.history);
}

static void is_cut_off_where_a_term_ended(void **state)
{
    struct log_follower follower = begin(state);
    struct log_follower_cut cut = attach(&follower, TWO, ONE " 4", 4, 0);

    assert_true(cut.is_cut);
    assert_int_equal(cut.end, 4);
    assert_int_equal(cut.gap, LOG_FOLLOWER_NO_GAP);
    assert_int_equal(log_follower_newest(&follower), 4);
    assert_follows(&follower, make_entry(TWO, 5, 1, "other", 20));
    history_free(follower.history);
}

static void begins_anew_behind_what_is_trimmed(void **state)
{
    struct log_follower follower = begin(state);
    struct log_follower_cut cut = attach(&follower, ONE, "", 90, 80);

    assert_false(cut.is_cut);
    assert_int_equal(cut.gap, LOG_FOLLOWER_GAP_EXPIRED);
    assert_int_equal(cut.begin, 80);
    assert_int_equal(log_follower_newest(&follower), 80);
    assert_stale(follower.history, 6);
    assert_follows(&follower, make_entry(ONE, 81, 1, "other", 20));
    history_free(follower.history);
}

/* It had events there, but others. */
static void begins_anew_behind_less_than_it_had(void **state)
{
    struct log_follower follower = begin(state);
    struct log_follower_cut cut = attach(&follower, TWO, ONE " 2", 9, 5);

    assert_true(cut.is_cut);
    assert_int_equal(cut.end, 2);
    assert_int_equal(cut.gap, LOG_FOLLOWER_GAP_EXPIRED);
    assert_int_equal(cut.begin, 5);
    assert_bounds(follower.history, 5, 5);
    assert_follows(&follower, make_entry(TWO, 6, 1, "other", 20));
    history_free(follower.history);
}

static void stops_at_another_term(void **state)
{
    struct log_follower follower = begin(state);

    assert_stops(&follower, make_entry(TWO, 7, 1, "other", 9), LOG_FOLLOWER_TERM);
    attach(&follower, TWO, ONE " 6", 7, 0);
    assert_follows(&follower, make_entry(TWO, 7, 1, "other", 9));
    history_free(follower.history);
}

/* Such as a server writes that does not know yet that another is the master. */
static void stops_at_what_a_term_had_behind_its_end(void **state)
{
    struct log_follower follower = begin(state);

    attach(&follower, TWO, ONE " 6", 6, 0);
    assert_stops(&follower, make_entry(ONE, 7, 1, "other", 9), LOG_FOLLOWER_TERM);
    history_free(follower.history);
}

static void an_entry_that_stays_strange_is_damaged(void **state)
{
    struct log_follower follower = begin(state);
    struct log_follower_cut cut;

    assert_stops(&follower, make_entry(TWO, 7, 2, "other", 9), LOG_FOLLOWER_TERM);
    cut = attach(&follower, ONE, "", 9, 0);
    assert_int_equal(cut.gap, LOG_FOLLOWER_NO_GAP);
    assert_stops(&follower, make_entry(TWO, 7, 2, "other", 9), LOG_FOLLOWER_DAMAGED);
    cut = attach(&follower, ONE, "", 9, 0);
    assert_int_equal(cut.gap, LOG_FOLLOWER_GAP_DAMAGED);
    assert_int_equal(cut.begin, 8);
    assert_follows(&follower, make_entry(ONE, 9, 1, "other", 10));
    history_free(follower.history);
}

static void a_hole_is_never_passed_over(void **state)
{
    struct log_follower follower = begin(state);
    struct log_follower_cut cut;

    assert_stops(&follower, make_entry(ONE, 9, 1, "other", 9), LOG_FOLLOWER_EXPIRED);
    cut = attach(&follower, ONE, "", 9, 0);
    assert_false(cut.is_cut);
    assert_int_equal(cut.gap, LOG_FOLLOWER_GAP_EXPIRED);
    assert_int_equal(cut.begin, 8);
    assert_follows(&follower, make_entry(ONE, 9, 1, "other", 9));
    cut = attach(&follower, ONE, "", 9, 0); /* once */
    assert_int_equal(cut.gap, LOG_FOLLOWER_NO_GAP);
    history_free(follower.history);
}

static void what_cannot_be_read_is_never_passed_over(void **state)
{
    struct log_follower follower = begin(state);
    struct made made = make_entry(ONE, 7, 2, "other", 9);
    struct log_follower_cut cut;

    made.entry.body_n--;
    assert_stops(&follower, made, LOG_FOLLOWER_DAMAGED);
    cut = attach(&follower, ONE, "", 8, 0);
    assert_int_equal(cut.gap, LOG_FOLLOWER_GAP_DAMAGED);
    assert_int_equal(cut.begin, 8);
    assert_int_equal(log_follower_newest(&follower), 8);
    history_free(follower.history);
}

static void what_came_before_is_damage(void **state)
{
    struct log_follower follower = begin(state);

    assert_stops(&follower, make_entry(ONE, 6, 2, "other", 9), LOG_FOLLOWER_DAMAGED);
    history_free(follower.history);
}

static void damage_of_a_former_term_is_looked_at_again(void **state)
{
    struct log_follower follower = begin(state);
    struct made made = make_entry(ONE, 7, 2, "other", 9);
    struct log_follower_cut cut;

    made.entry.body_n--;
    assert_stops(&follower, made, LOG_FOLLOWER_DAMAGED);
    cut = attach(&follower, TWO, ONE " 6", 8, 0);
    assert_int_equal(cut.gap, LOG_FOLLOWER_NO_GAP);
    assert_follows(&follower, make_entry(TWO, 7, 2, "other", 9));
    history_free(follower.history);
}

static void stops_for_good_at_a_later_format(void **state)
{
    struct log_follower follower = begin(state);
    struct made made = make_entry(ONE, 7, 1, "other", 9);
    uint32_t format = LOG_ENTRY_FORMAT + 1;

    memcpy(made.body, &format, sizeof(format));
    assert_stops(&follower, made, LOG_FOLLOWER_FORMAT);
    history_free(follower.history);
}

static void knows_its_own_group_by_writer_and_number(void **state)
{
    struct log_follower follower = begin(state);
    struct shared_log_appended appended = {
        .outcome = SHARED_LOG_DONE, .line = "", .epoch = ONE, .first = 9, .at_ms = 1009};

    log_group_begin(&follower.group, 2);
    log_group_sent(&follower.group);
    appended.seq = follower.group.seq;
    assert_follows(&follower, make_entry(ONE, 7, 2, "other", follower.group.seq));
    assert_int_equal(follower.group.first, 0);
    assert_int_equal(log_follower_appended(&follower, &appended), LOG_FOLLOWER_FINE);
    assert_int_equal(follower.group.state, LOG_GROUP_STORED);
    assert_follows(&follower, make_entry(ONE, 9, 2, WRITER, follower.group.seq));
    assert_int_equal(follower.group.state, LOG_GROUP_OVER);
    assert_int_equal(follower.group.outcome, SHARED_LOG_DONE);
    assert_int_equal(follower.group.first, 9);
    history_free(follower.history);
}

static void a_place_in_another_term_is_none_here(void **state)
{
    struct log_follower follower = begin(state);
    struct shared_log_appended appended = {
        .outcome = SHARED_LOG_DONE, .line = "", .epoch = TWO, .first = 3, .at_ms = 9};

    log_group_begin(&follower.group, 2);
    log_group_sent(&follower.group);
    appended.seq = follower.group.seq;
    assert_int_equal(log_follower_appended(&follower, &appended), LOG_FOLLOWER_TERM);
    assert_int_equal(follower.group.state, LOG_GROUP_READY);
    assert_true(follower.group.unknown);
    history_free(follower.history);
}

static void a_term_is_over_says_the_answer(void **state)
{
    struct log_follower follower = begin(state);
    struct shared_log_appended appended = {.outcome = SHARED_LOG_TERM, .line = ""};

    log_group_begin(&follower.group, 1);
    log_group_sent(&follower.group);
    appended.seq = follower.group.seq;
    assert_int_equal(log_follower_appended(&follower, &appended), LOG_FOLLOWER_TERM);
    assert_int_equal(follower.group.state, LOG_GROUP_READY);
    history_free(follower.history);
}

static void another_log_is_followed_from_its_beginning(void **state)
{
    struct log_follower follower = begin(state);
    struct log_follower_cut cut = attach(&follower, TWO, "", 3, 0);

    assert_true(cut.is_cut);
    assert_int_equal(cut.end, 0);
    assert_bounds(follower.history, 0, 0);
    assert_follows(&follower, make_entry(TWO, 1, 3, "other", 9));
    history_free(follower.history);
}

static const struct CMUnitTest contract[] = {
    cmocka_unit_test_teardown(applies_entries_together, remove_files),
    cmocka_unit_test_teardown(hands_out_what_came_before_it_stopped, remove_files),
    cmocka_unit_test_teardown(tells_the_log_what_it_has, remove_files),
    cmocka_unit_test_teardown(an_empty_history_has_no_time, remove_files),
    cmocka_unit_test_teardown(goes_on_in_silence_where_nothing_was_lost, remove_files),
    cmocka_unit_test_teardown(is_cut_off_where_a_term_ended, remove_files),
    cmocka_unit_test_teardown(begins_anew_behind_what_is_trimmed, remove_files),
    cmocka_unit_test_teardown(begins_anew_behind_less_than_it_had, remove_files),
    cmocka_unit_test_teardown(stops_at_another_term, remove_files),
    cmocka_unit_test_teardown(stops_at_what_a_term_had_behind_its_end, remove_files),
    cmocka_unit_test_teardown(an_entry_that_stays_strange_is_damaged, remove_files),
    cmocka_unit_test_teardown(a_hole_is_never_passed_over, remove_files),
    cmocka_unit_test_teardown(what_cannot_be_read_is_never_passed_over, remove_files),
    cmocka_unit_test_teardown(what_came_before_is_damage, remove_files),
    cmocka_unit_test_teardown(damage_of_a_former_term_is_looked_at_again, remove_files),
    cmocka_unit_test_teardown(stops_for_good_at_a_later_format, remove_files),
    cmocka_unit_test_teardown(knows_its_own_group_by_writer_and_number, remove_files),
    cmocka_unit_test_teardown(a_place_in_another_term_is_none_here, remove_files),
    cmocka_unit_test_teardown(a_term_is_over_says_the_answer, remove_files),
    cmocka_unit_test_teardown(another_log_is_followed_from_its_beginning, remove_files),
};

int main(void)
{
    return run_over_each_store(contract, sizeof(contract) / sizeof(contract[0]));
}
