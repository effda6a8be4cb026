/* SPDX-License-Identifier: MIT */
/* A gateway at the shared log, which is one in memory (memory_log.h). */
#include "config.h"
#include "cluster/log_node.h"

#include <errno.h>
#include <stdio.h>

#include "../support/history_read.h"
#include "history/history_memory.h"
#include "memory_log.h"

struct gateway {
    struct history *history;
    struct log_node *node;
    struct shared_log *log; /* the node's */
    /* what it was told */
    unsigned cuts_n, events_n, settled_n, states_n, orders_n;
    char orders[256]; /* with the position before each, and whose it is */
    struct log_follower_cut cut;
    struct log_group group;
    enum log_node_state state;
    char line[128];
};

static void on_cut(void *arg, const struct log_follower_cut *cut)
{
    struct gateway *gateway = arg;

    gateway->cuts_n++;
    gateway->cut = *cut;
}

static void on_events(void *arg, struct message *const *events, size_t events_n)
{
    struct gateway *gateway = arg;
    struct history_bounds bounds;

    history_bounds(gateway->history, &bounds);
    assert_int_equal(events[events_n - 1]->position, bounds.newest);
    gateway->events_n += (unsigned)events_n;
}

static void on_order(void *arg, const char *from, uint64_t seq, const char *order, size_t order_n)
{
    struct gateway *gateway = arg;
    struct history_bounds bounds;
    size_t n = strlen(gateway->orders);

    history_bounds(gateway->history, &bounds);
    snprintf(gateway->orders + n, sizeof(gateway->orders) - n, "%d:%s.%d:%.*s ", (int)bounds.newest,
             from, (int)seq, (int)order_n, order);
    gateway->orders_n++;
}

static void on_settled(void *arg, const struct log_group *group,
                       const struct shared_log_appended *of)
{
    struct gateway *gateway = arg;

    (void)of;
    gateway->settled_n++;
    gateway->group = *group;
}

static void on_state(void *arg, enum log_node_state state, const char *line)
{
    struct gateway *gateway = arg;

    gateway->states_n++;
    gateway->state = state;
    snprintf(gateway->line, sizeof(gateway->line), "%s", line);
}

static void on_heard(void *arg, const char *bytes, size_t bytes_n)
{
    (void)arg;
    (void)bytes;
    (void)bytes_n;
}

/* It must not move. */
static void begin(struct gateway *gateway, const char *writer)
{
    static const struct history_limits limits = {FOR_EVER, LOTS, LOTS, FOR_EVER, LOTS};
    const struct log_node_hooks hooks = {on_cut,   on_events, on_order, on_settled,
                                         on_state, on_heard,  gateway};

    *gateway = (struct gateway){.history = history_memory_new(&limits)};
    gateway->node = log_node_new(gateway->history, writer, &hooks);
    const struct shared_log_hooks log_hooks = log_node_log_hooks(gateway->node);
    gateway->log = memory_log_new(writer, &log_hooks);
    log_node_open(gateway->node, gateway->log);
}

static void end(struct gateway *gateway)
{
    log_node_free(gateway->node);
    history_free(gateway->history);
}

/* All that can be done is done. */
static void settle(struct gateway *gateway)
{
    while (memory_log_step(gateway->log) || memory_log_step_tail(gateway->log, 16))
        ;
}

static void publish(struct gateway *gateway, size_t events_n)
{
    struct message *events[8];

    for (size_t i = 0; i < events_n; i++)
        events[i] = make_message(.topics = "a");
    assert_true(log_node_is_free(gateway->node));
    assert_int_equal(log_node_append(gateway->node, events, events_n), 0);
    assert_false(log_node_is_free(gateway->node));
    for (size_t i = 0; i < events_n; i++)
        message_unref(events[i]);
}

static void assert_settled(struct gateway *gateway, enum shared_log_outcome outcome, uint64_t first)
{
    assert_int_equal(gateway->settled_n, 1);
    assert_int_equal(gateway->group.outcome, outcome);
    if (first > 0)
        assert_int_equal(gateway->group.first, first);
    gateway->settled_n = 0;
}

static uint64_t newest_of(const struct gateway *gateway)
{
    struct history_bounds bounds;

    history_bounds(gateway->history, &bounds);
    return bounds.newest;
}

static void two_have_one_order(void **state)
{
    struct memory_server server;
    struct gateway one, two;

    (void)state;
    memory_server_begin(&server, 1);
    begin(&one, "one.1");
    begin(&two, "two.1");
    assert_int_equal(log_node_state(one.node), LOG_NODE_DOWN);
    memory_log_connect(one.log, &server);
    memory_log_connect(two.log, &server);
    settle(&one);
    settle(&two);
    assert_int_equal(one.state, LOG_NODE_FOLLOWING);
    assert_string_equal(history_epoch(one.history), history_epoch(two.history));
    publish(&one, 2);
    settle(&one);
    assert_settled(&one, SHARED_LOG_DONE, 1);
    assert_true(log_node_is_free(one.node));
    publish(&two, 3);
    settle(&two);
    assert_settled(&two, SHARED_LOG_DONE, 3);
    settle(&one);
    assert_int_equal(one.events_n, 5);
    assert_int_equal(two.events_n, 5);
    assert_int_equal(one.cuts_n + two.cuts_n, 0);
    end(&one);
    end(&two);
    memory_server_end(&server);
}

static void a_group_waits_for_the_log(void **state)
{
    struct memory_server server;
    struct gateway one;

    (void)state;
    memory_server_begin(&server, 1);
    begin(&one, "one.1");
    publish(&one, 1);
    log_node_tick(one.node);
    assert_int_equal(one.settled_n, 0);
    memory_log_connect(one.log, &server);
    settle(&one);
    assert_settled(&one, SHARED_LOG_DONE, 1);
    end(&one);
    memory_server_end(&server);
}

static void a_lost_answer_doubles_nothing(void **state)
{
    struct memory_server server;
    struct gateway one;

    (void)state;
    memory_server_begin(&server, 1);
    begin(&one, "one.1");
    memory_log_connect(one.log, &server);
    settle(&one);
    publish(&one, 1);
    memory_log_step(one.log); /* carried out */
    memory_log_cut(one.log, false);
    assert_int_equal(one.state, LOG_NODE_DOWN);
    assert_int_equal(one.settled_n, 0);
    memory_log_connect(one.log, &server);
    settle(&one);
    assert_settled(&one, SHARED_LOG_DONE, 1);
    assert_int_equal(newest_of(&one), 1);
    end(&one);
    memory_server_end(&server);
}

static void who_gives_up_is_answered_at_once(void **state)
{
    struct memory_server server;
    struct gateway one;

    (void)state;
    memory_server_begin(&server, 1);
    begin(&one, "one.1");
    publish(&one, 1);
    log_node_give_up(one.node);
    assert_settled(&one, SHARED_LOG_UNREACHABLE, 0);
    assert_true(log_node_is_free(one.node));
    memory_log_connect(one.log, &server);
    settle(&one);
    publish(&one, 1);
    log_node_give_up(one.node);
    assert_settled(&one, SHARED_LOG_LOST, 0);
    assert_false(log_node_is_free(one.node)); /* the log still has its bytes */
    settle(&one);
    assert_true(log_node_is_free(one.node));
    assert_int_equal(one.settled_n, 0);
    assert_int_equal(newest_of(&one), 1);
    log_node_give_up(one.node);
    assert_int_equal(one.settled_n, 0);
    end(&one);
    memory_server_end(&server);
}

static void what_is_refused_is_settled(void **state)
{
    struct memory_server server;
    struct gateway one;

    (void)state;
    memory_server_begin(&server, 1);
    begin(&one, "one.1");
    memory_log_connect(one.log, &server);
    settle(&one);
    server.is_full = true;
    publish(&one, 1);
    settle(&one);
    assert_settled(&one, SHARED_LOG_FULL, 0);
    assert_true(log_node_is_free(one.node));
    end(&one);
    memory_server_end(&server);
}

static void another_term_is_noticed_by_appending(void **state)
{
    struct memory_server server;
    struct gateway one;

    (void)state;
    memory_server_begin(&server, 1);
    begin(&one, "one.1");
    memory_log_connect(one.log, &server);
    settle(&one);
    memory_server_live(&server, 2);
    publish(&one, 1);
    settle(&one);
    assert_settled(&one, SHARED_LOG_DONE, 1);
    assert_int_equal(history_lineage(one.history)->terms_n, 2); /* the store's own, and the first */
    assert_int_equal(one.cuts_n, 0);
    end(&one);
    memory_server_end(&server);
}

static void what_a_server_lost_is_told(void **state)
{
    struct memory_server server;
    struct gateway one;

    (void)state;
    memory_server_begin(&server, 1);
    begin(&one, "one.1");
    memory_log_connect(one.log, &server);
    settle(&one);
    publish(&one, 2);
    settle(&one);
    publish(&one, 2);
    settle(&one);
    memory_log_cut(one.log, false);
    memory_server_live(&server, 2);
    memory_server_lose(&server, 1);
    memory_log_connect(one.log, &server);
    settle(&one);
    assert_int_equal(one.cuts_n, 1);
    assert_true(one.cut.is_cut);
    assert_int_equal(one.cut.end, 2);
    assert_int_equal(newest_of(&one), 2);
    end(&one);
    memory_server_end(&server);
}

static void what_is_trimmed_is_told(void **state)
{
    struct memory_server server;
    struct gateway one, two;

    (void)state;
    memory_server_begin(&server, 1);
    begin(&one, "one.1");
    begin(&two, "two.1");
    memory_log_connect(one.log, &server);
    memory_log_connect(two.log, &server);
    settle(&one);
    settle(&two);
    for (unsigned i = 0; i < 3; i++) {
        publish(&one, 1);
        settle(&one);
    }
    memory_server_trim(&server, 1);
    settle(&two); /* finds a hole, and attaches */
    assert_int_equal(two.cuts_n, 1);
    assert_false(two.cut.is_cut);
    assert_int_equal(two.cut.gap, LOG_FOLLOWER_GAP_EXPIRED);
    assert_int_equal(two.cut.begin, 2);
    assert_int_equal(newest_of(&two), 3);
    assert_int_equal(two.state, LOG_NODE_FOLLOWING);
    end(&one);
    end(&two);
    memory_server_end(&server);
}

static void order(struct gateway *gateway, const char *text)
{
    assert_int_equal(log_node_append_order(gateway->node, text, strlen(text)), 0);
}

/* Both follow, and one has published an event. */
static void begin_two(struct memory_server *server, struct gateway *one, struct gateway *two)
{
    memory_server_begin(server, 1);
    begin(one, "one.1");
    begin(two, "t.wo.1");
    memory_log_connect(one->log, server);
    memory_log_connect(two->log, server);
    settle(one);
    settle(two);
    publish(one, 1);
    settle(one);
    assert_settled(one, SHARED_LOG_DONE, 1);
}

static void an_order_is_done_by_all(void **state)
{
    struct memory_server server;
    struct gateway one, two;

    (void)state;
    begin_two(&server, &one, &two);
    order(&two, "first");
    settle(&two);
    assert_settled(&two, SHARED_LOG_DONE, 2);
    order(&one, "second");
    settle(&one);
    assert_settled(&one, SHARED_LOG_DONE, 2);
    publish(&two, 1);
    settle(&two);
    assert_settled(&two, SHARED_LOG_DONE, 2);
    order(&two, "third");
    settle(&two);
    settle(&one);
    assert_string_equal(one.orders, "1:t.wo.1:first 1:one.2:second 2:t.wo.3:third ");
    assert_string_equal(two.orders, one.orders);
    assert_int_equal(one.events_n, 2);
    end(&one);
    end(&two);
    memory_server_end(&server);
}

static void an_order_is_done_once(void **state)
{
    struct memory_server server;
    struct gateway one, two;

    (void)state;
    begin_two(&server, &one, &two);
    order(&one, "once");
    memory_log_step(one.log);
    memory_log_step_tail(two.log, 16);
    memory_log_cut(one.log, false); /* before its answer */
    memory_log_cut(two.log, false);
    memory_log_connect(one.log, &server);
    memory_log_connect(two.log, &server);
    settle(&one);
    settle(&two);
    assert_settled(&one, SHARED_LOG_DONE, 2);
    /* the server lives another life, with all it had */
    memory_server_live(&server, 2);
    publish(&two, 1);
    settle(&two);
    settle(&one);
    order(&one, "twice");
    settle(&one);
    settle(&two);
    assert_string_equal(one.orders, "1:one.2:once 2:one.3:twice ");
    assert_string_equal(two.orders, one.orders);
    assert_int_equal(log_node_orders_lost(one.node), 0);
    end(&one);
    end(&two);
    memory_server_end(&server);
}

static void an_order_that_was_lost_is_sent_again(void **state)
{
    struct memory_server server;
    struct gateway one, two;

    (void)state;
    begin_two(&server, &one, &two);
    settle(&two);
    order(&one, "again");
    memory_log_step(one.log);
    settle(&two);
    memory_log_cut(one.log, false);
    memory_log_cut(two.log, false);
    memory_server_lose(&server, 1);
    memory_server_live(&server, 2);
    memory_log_connect(one.log, &server);
    memory_log_connect(two.log, &server);
    settle(&two);
    settle(&one);
    settle(&two);
    assert_settled(&one, SHARED_LOG_DONE, 2);
    assert_string_equal(one.orders, "1:one.2:again ");
    assert_string_equal(two.orders, "1:one.2:again 1:one.2:again ");
    end(&one);
    end(&two);
    memory_server_end(&server);
}

static void an_array_may_have_both_kinds(void **state)
{
    struct message *events[] = {make_message(.kind = MESSAGE_EPHEMERAL), make_message(.key = "k"),
                                make_message(.kind = MESSAGE_EPHEMERAL), make_message(.key = "l")};
    struct memory_server server;
    struct gateway one, two;

    (void)state;
    begin_two(&server, &one, &two);
    assert_int_equal(log_node_append(one.node, events, 4), 0);
    assert_int_equal(log_node_key_index(one.node, 0), 1);
    assert_int_equal(log_node_key_index(one.node, 1), 3);
    assert_int_equal(log_node_group(one.node)->events_n, 2);
    settle(&one);
    settle(&two);
    assert_settled(&one, SHARED_LOG_DONE, 2);
    assert_int_equal(newest_of(&two), 3);
    assert_int_equal(one.events_n, 5);
    assert_int_equal(two.events_n, 5);
    for (size_t i = 0; i < 4; i++)
        message_unref(events[i]);
    end(&one);
    end(&two);
    memory_server_end(&server);
}

static void tries_again_at_a_tick(void **state)
{
    struct memory_server server;
    struct gateway one;

    (void)state;
    memory_server_begin(&server, 1);
    server.is_master = false;
    begin(&one, "one.1");
    memory_log_connect(one.log, &server);
    settle(&one);
    assert_int_equal(one.state, LOG_NODE_ATTACHING);
    assert_string_equal(one.line, "unreachable");
    server.is_master = true;
    settle(&one);
    assert_int_equal(one.state, LOG_NODE_ATTACHING);
    log_node_tick(one.node);
    settle(&one);
    assert_int_equal(one.state, LOG_NODE_FOLLOWING);
    end(&one);
    memory_server_end(&server);
}

static void stops_at_a_later_format(void **state)
{
    const uint32_t later[] = {LOG_ENTRY_FORMAT + 1, 1};
    struct memory_server server;
    struct shared_log_hooks hooks;
    struct shared_log_entry entry = {
        .last = 1, .body = (const char *)later, .body_n = sizeof(later)};
    struct gateway one;
    char head[64];

    (void)state;
    memory_server_begin(&server, 1);
    begin(&one, "one.1");
    memory_log_connect(one.log, &server);
    settle(&one);
    hooks = log_node_log_hooks(one.node);
    entry.head_n = (size_t)sprintf(head, "%s 1 1000 two.1 1", history_epoch(one.history));
    entry.head = head;
    assert_false(hooks.entries(hooks.arg, &entry, 1));
    assert_int_equal(one.state, LOG_NODE_STOPPED);
    memory_log_cut(one.log, false);
    memory_log_connect(one.log, &server);
    log_node_tick(one.node);
    settle(&one);
    assert_int_equal(one.state, LOG_NODE_STOPPED);
    publish(&one, 1);
    log_node_give_up(one.node);
    assert_settled(&one, SHARED_LOG_UNREACHABLE, 0);
    end(&one);
    memory_server_end(&server);
}

/* Something else writes into the log, and nothing that a node does helps. */
static void what_stays_unreadable_is_tried_at_ticks(void **state)
{
    struct shared_log_entry entry = {.last = 9, .head = "", .body = ""};
    struct memory_server server;
    struct shared_log_hooks hooks;
    struct gateway one;

    (void)state;
    memory_server_begin(&server, 1);
    begin(&one, "one.1");
    memory_log_connect(one.log, &server);
    settle(&one);
    hooks = log_node_log_hooks(one.node);
    for (int i = 0; i < 3; i++) {
        assert_false(hooks.entries(hooks.arg, &entry, 1));
        settle(&one);
        assert_int_equal(one.state, LOG_NODE_FOLLOWING);
    }
    assert_false(hooks.entries(hooks.arg, &entry, 1));
    settle(&one);
    assert_int_equal(one.state, LOG_NODE_ATTACHING);
    assert_non_null(strstr(one.line, "something else writes into the log"));
    log_node_tick(one.node);
    settle(&one);
    assert_int_equal(one.state, LOG_NODE_FOLLOWING);
    end(&one);
    memory_server_end(&server);
}

static int apply_nothing(struct history *history, struct message *const *events, size_t events_n)
{
    (void)history, (void)events, (void)events_n;
    return -ENOSPC;
}

/* A full disk: it does not follow between two tries, nor takes groups; then it goes on. */
static void what_cannot_be_applied_is_tried_at_ticks(void **state)
{
    struct memory_server server;
    struct gateway one, two;

    (void)state;
    begin_two(&server, &one, &two);
    const struct history_ops *works = two.history->ops;
    struct history_ops fails = *works;
    fails.apply = apply_nothing;
    two.history->ops = &fails;
    publish(&one, 1);
    settle(&one);
    settle(&two);
    assert_int_equal(two.state, LOG_NODE_ATTACHING);
    for (unsigned i = 0; i < 10; i++) {
        log_node_tick(two.node);
        while (memory_log_step(two.log)) /* attached, and nothing read yet */
            continue;
        assert_int_equal(two.state, LOG_NODE_ATTACHING);
        settle(&two);
        assert_int_equal(two.state, LOG_NODE_ATTACHING);
    }
    two.history->ops = works;
    log_node_tick(two.node);
    settle(&two);
    assert_int_equal(two.state, LOG_NODE_FOLLOWING);
    assert_int_equal(two.events_n, one.events_n);
    end(&one);
    end(&two);
    memory_server_end(&server);
}

/* Its log never gave it the entry again: a trimmed one, say.  Some ticks without a failure do. */
static void a_trial_ends_by_itself(void **state)
{
    struct memory_server server;
    struct gateway one, two;
    unsigned ticks_n = 0;

    (void)state;
    begin_two(&server, &one, &two);
    const struct history_ops *works = two.history->ops;
    struct history_ops fails = *works;
    fails.apply = apply_nothing;
    two.history->ops = &fails;
    publish(&one, 1);
    settle(&one);
    settle(&two);
    two.history->ops = works;
    while (two.state != LOG_NODE_FOLLOWING) {
        assert_true(++ticks_n < 10);
        log_node_tick(two.node);
        while (memory_log_step(two.log))
            continue;
    }
    assert_true(ticks_n > 1);
    end(&one);
    end(&two);
    memory_server_end(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_have_one_order),
        cmocka_unit_test(a_group_waits_for_the_log),
        cmocka_unit_test(a_lost_answer_doubles_nothing),
        cmocka_unit_test(who_gives_up_is_answered_at_once),
        cmocka_unit_test(what_is_refused_is_settled),
        cmocka_unit_test(another_term_is_noticed_by_appending),
        cmocka_unit_test(what_a_server_lost_is_told),
        cmocka_unit_test(what_is_trimmed_is_told),
        cmocka_unit_test(an_order_is_done_by_all),
        cmocka_unit_test(an_order_is_done_once),
        cmocka_unit_test(an_order_that_was_lost_is_sent_again),
        cmocka_unit_test(an_array_may_have_both_kinds),
        cmocka_unit_test(tries_again_at_a_tick),
        cmocka_unit_test(stops_at_a_later_format),
        cmocka_unit_test(what_stays_unreadable_is_tried_at_ticks),
        cmocka_unit_test(what_cannot_be_applied_is_tried_at_ticks),
        cmocka_unit_test(a_trial_ends_by_itself),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
