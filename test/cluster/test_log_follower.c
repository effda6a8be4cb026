/* SPDX-License-Identifier: MIT */
/* A history that follows the shared log, over each store. */
#include "config.h"
#include "cluster/log_follower.h"

#include "../history/each_store.h"

#define ONE "one000000000"
#define TWO "two000000000"
#define THREE "three0000000"
#define WRITER "node.1"

/* An entry with its bytes. */
struct made {
    struct shared_log_entry entry;
    char head[LOG_ENTRY_HEAD_BYTES];
    char *body;
};

static void put_head(struct made *made, const char *epoch, uint64_t first, const char *writer,
                     uint64_t seq)
{
    struct log_entry_head head = {.first = first, .at_ms = 1000 + (int64_t)first, .seq = seq};

    strcpy(head.epoch, epoch);
    strcpy(head.writer, writer);
    made->entry.head_n = log_entry_write_head(made->head, &head);
}

/* Of these events, which are freed. */
static void put_events(struct made *made, struct message **events, size_t events_n)
{
    made->entry.body_n = log_entry_body_bytes(events, events_n);
    made->body = malloc(made->entry.body_n);
    log_entry_write_body(made->body, events, events_n);
    for (size_t i = 0; i < events_n; i++)
        message_unref(events[i]);
}

static struct made make_entry(const char *epoch, uint64_t first, uint32_t events_n,
                              const char *writer, uint64_t seq)
{
    struct message *events[8];
    struct made made = {.entry = {.last = first + events_n - 1}};

    for (size_t i = 0; i < events_n; i++)
        events[i] = make_message(.topics = "a");
    put_head(&made, epoch, first, writer, seq);
    put_events(&made, events, events_n);
    return made;
}

/* Give the entries to the tail and free them.  Returns what became of it; `*ret_events_n` is what
 * was to be handed out. */
static enum log_follower_result follow(struct log_follower *follower, struct made *made,
                                       size_t made_n, size_t *ret_events_n)
{
    struct shared_log_entry entries[8];
    struct log_follower_batch batch;

    for (size_t i = 0; i < made_n; i++) {
        entries[i] = made[i].entry;
        entries[i].head = made[i].head;
        entries[i].body = made[i].body;
    }
    enum log_follower_result result = log_follower_entries(follower, entries, made_n, &batch);
    *ret_events_n = batch.events_n;
    log_follower_batch_clear(&batch);
    for (size_t i = 0; i < made_n; i++)
        free(made[i].body);
    return result;
}

static void assert_follows(struct log_follower *follower, struct made made)
{
    size_t events_n;

    assert_int_equal(follow(follower, &made, 1, &events_n), LOG_FOLLOWER_FINE);
    assert_true(events_n > 0);
}

static void assert_stops(struct log_follower *follower, struct made made,
                         enum log_follower_result result)
{
    uint64_t newest = log_follower_newest(follower);
    size_t events_n;

    assert_int_equal(follow(follower, &made, 1, &events_n), result);
    assert_int_equal(events_n, 0);
    assert_int_equal(log_follower_newest(follower), newest);
    assert_false(follower->attached);
}

/* Attach to a log with this lineage. */
static struct log_follower_cut attach_to(struct log_follower *follower, const char *epoch,
                                         const char *terms, uint64_t head, uint64_t trimmed,
                                         uint64_t sub)
{
    struct shared_log_state state = {.lineage = lineage_read(epoch, terms, strlen(terms)),
                                     .head = head,
                                     .sub = sub,
                                     .trimmed = trimmed};
    struct shared_log_node node;
    struct log_follower_cut cut;

    assert_non_null(state.lineage);
    log_follower_attach(follower, TWO, &node);
    assert_int_equal(node.newest, log_follower_newest(follower));
    assert_int_equal(log_follower_attached(follower, &state, &cut), LOG_FOLLOWER_FINE);
    assert_null(state.lineage);
    assert_string_equal(history_epoch(follower->history), epoch);
    assert_true(follower->attached);
    return cut;
}

static struct log_follower_cut attach(struct log_follower *follower, const char *epoch,
                                      const char *terms, uint64_t head, uint64_t trimmed)
{
    return attach_to(follower, epoch, terms, head, trimmed, 0);
}

/* A follower of a log that begins with it, and has three entries of two events. */
static struct log_follower begin(void **state)
{
    struct log_follower follower;

    log_follower_init(&follower, open_plain(state), WRITER);
    assert_false(attach(&follower, ONE, "", 0, 0).is_cut);
    for (uint64_t first = 1; first <= 5; first += 2)
        assert_follows(&follower, make_entry(ONE, first, 2, "other", first));
    assert_int_equal(log_follower_newest(&follower), 6);
    return follower;
}

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

/* ---- ephemeral events and orders ---- */

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

/* What is there when a process comes is older than all its streams, but what follows is not. */
static void a_fresh_process_leaves_orders_at_its_newest_position(void **state)
{
    struct log_follower follower = begin(state), fresh;
    struct made made[] = {make_order(ONE, 6, 4, "other", "new"), make_entry(ONE, 7, 1, "other", 9),
                          make_order(ONE, 7, 1, "other", "next")};
    struct made again[] = {make_order(ONE, 7, 1, "other", "next"),
                           make_order(TWO, 7, 2, "other", "two")};

    log_follower_init(&fresh, follower.history, "node.2");
    attach_to(&fresh, ONE, "", 6, 0, 3);
    assert_int_equal(fresh.sub, 3);
    assert_int_equal(follow_all(&fresh, made, 3, "6:new 7:next "), LOG_FOLLOWER_FINE);
    attach_to(&fresh, TWO, ONE " 7", 7, 0, 2);
    assert_int_equal(fresh.sub, 0);
    assert_int_equal(follow_all(&fresh, again, 2, "7:two "), LOG_FOLLOWER_FINE);
    assert_int_equal(fresh.orders_lost, 0);
    log_follower_init(&fresh, follower.history, "node.3");
    attach_to(&fresh, TWO, ONE " 7", 9, 0, 5); /* those of 9 are to come */
    assert_int_equal(fresh.sub, UINT64_MAX);
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
    cmocka_unit_test_teardown(ephemeral_events_are_handed_out_at_their_place, remove_files),
    cmocka_unit_test_teardown(orders_are_done_at_their_place, remove_files),
    cmocka_unit_test_teardown(goes_on_behind_the_orders_that_are_done, remove_files),
    cmocka_unit_test_teardown(another_term_keeps_orders_or_has_others, remove_files),
    cmocka_unit_test_teardown(orders_of_a_term_that_was_cut_off_are_looked_at, remove_files),
    cmocka_unit_test_teardown(a_fresh_process_leaves_orders_at_its_newest_position, remove_files),
    cmocka_unit_test_teardown(an_order_that_cannot_be_read_is_no_gap, remove_files),
    cmocka_unit_test_teardown(an_order_that_stays_strange_is_passed_over, remove_files),
    cmocka_unit_test_teardown(an_order_behind_a_hole_is_not_done, remove_files),
    cmocka_unit_test_teardown(knows_its_own_order, remove_files),
};

int main(void)
{
    return run_over_each_store(contract, sizeof(contract) / sizeof(contract[0]));
}
