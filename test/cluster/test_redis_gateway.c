/* SPDX-License-Identifier: MIT */
/* Gateways with histories of their own that share a log on a real Redis. */
#include "config.h"
#include "cluster/log_node.h"

#include <event2/event.h>

#include "../support/history_read.h"
#include "base/clock.h"
#include "cluster/redis_log.h"
#include "history/history_memory.h"
#include "real_redis.h"

#define PATIENCE_MS 30000
#define TICK_MS 50

struct gateway {
    struct event_base *base;
    struct redis_url url;
    struct redis_log_conf conf;
    struct history *history;
    struct log_node *node;
    struct event *tick;
    unsigned cuts_n, settled_n;
    char orders[256]; /* with the position before each */
    struct log_follower_cut cut;
    struct log_group group;
    enum log_node_state state;
};

struct rig {
    struct event_base *base;
    struct real_redis redis;
    unsigned replicas; /* that a group waits for */
    struct gateway a, b;
};

static void on_cut(void *arg, const struct log_follower_cut *cut)
{
    struct gateway *gateway = arg;

    gateway->cuts_n++;
    gateway->cut = *cut;
}

static void on_events(void *arg, struct message *const *events, size_t events_n)
{
    (void)arg;
    (void)events;
    (void)events_n;
}

static void on_order(void *arg, const char *from, uint64_t seq, const char *order, size_t order_n)
{
    struct gateway *gateway = arg;
    struct history_bounds bounds;
    size_t n = strlen(gateway->orders);

    (void)seq;
    history_bounds(gateway->history, &bounds);
    snprintf(gateway->orders + n, sizeof(gateway->orders) - n, "%d:%s:%.*s ", (int)bounds.newest,
             from, (int)order_n, order);
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
    (void)line;
    ((struct gateway *)arg)->state = state;
}

static void on_heard(void *arg, const char *bytes, size_t bytes_n)
{
    (void)arg;
    (void)bytes;
    (void)bytes_n;
}

static void on_tick(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    log_node_tick(((struct gateway *)arg)->node);
}

/* With the name twice as its writer's. */
static void begin(struct gateway *gateway, struct rig *rig, const char *name)
{
    static const struct history_limits limits = {FOR_EVER, LOTS, LOTS, FOR_EVER, LOTS};
    const struct log_node_hooks hooks = {on_cut,   on_events, on_order, on_settled,
                                         on_state, on_heard,  gateway};
    const struct timeval tick = {.tv_usec = TICK_MS * 1000};
    char writer[SHARED_LOG_WRITER_BYTES];

    *gateway = (struct gateway){.base = rig->base, .history = history_memory_new(&limits)};
    gateway->url.places[0] = rig->redis.place;
    gateway->url.places_n = 1;
    gateway->conf = real_log_conf(&gateway->url, name);
    if (rig->replicas > 0) {
        gateway->conf.promise = HISTORY_REPLICATED;
        gateway->conf.replicas = rig->replicas;
        gateway->conf.timeout_ms = 200;
    }
    snprintf(writer, sizeof(writer), "%s.%s", name, name);
    gateway->node = log_node_new(gateway->history, writer, &hooks);
    const struct shared_log_hooks log_hooks = log_node_log_hooks(gateway->node);
    log_node_open(gateway->node, redis_log_new(rig->base, &gateway->conf, &log_hooks));
    gateway->tick = event_new(rig->base, -1, EV_PERSIST, on_tick, gateway);
    event_add(gateway->tick, &tick);
}

static void end(struct gateway *gateway)
{
    event_free(gateway->tick);
    log_node_free(gateway->node);
    history_free(gateway->history);
}

static uint64_t newest_of(const struct gateway *gateway)
{
    struct history_bounds bounds;

    history_bounds(gateway->history, &bounds);
    return bounds.newest;
}

/* `holds` is looked at after each turn of the loop. */
#define wait_until(gateway, holds)                                                                 \
    do {                                                                                           \
        int64_t until_ms = clock_mono_ms() + PATIENCE_MS;                                          \
                                                                                                   \
        while (!(holds) && clock_mono_ms() < until_ms)                                             \
            event_base_loop((gateway)->base, EVLOOP_ONCE);                                         \
        assert_true(holds);                                                                        \
    } while (0)

static void rig_begin_waiting(struct rig *rig, const char *config, unsigned replicas)
{
    if (!real_redis_is_installed())
        skip();
    rig->replicas = replicas;
    real_redis_begin(&rig->redis, config);
    rig->base = event_base_new();
    begin(&rig->a, rig, "a");
    begin(&rig->b, rig, "b");
    wait_until(&rig->a, rig->a.state == LOG_NODE_FOLLOWING && rig->b.state == LOG_NODE_FOLLOWING);
    rig->a.cuts_n = rig->b.cuts_n = 0;
}

static void rig_begin(struct rig *rig, const char *config)
{
    rig_begin_waiting(rig, config, 0);
}

static void rig_end(struct rig *rig)
{
    end(&rig->a);
    end(&rig->b);
    event_base_free(rig->base);
    real_redis_end(&rig->redis);
}

static void submit(struct gateway *gateway, size_t events_n, const char *data)
{
    struct message *events[8];

    for (size_t i = 0; i < events_n; i++)
        events[i] = make_message(.topics = "a", .data = data);
    gateway->settled_n = 0;
    assert_int_equal(log_node_append(gateway->node, events, events_n), 0);
    for (size_t i = 0; i < events_n; i++)
        message_unref(events[i]);
}

static void give_order(struct gateway *gateway, const char *order)
{
    wait_until(gateway, log_node_is_free(gateway->node));
    gateway->settled_n = 0;
    assert_int_equal(log_node_append_order(gateway->node, order, strlen(order)), 0);
    wait_until(gateway, gateway->settled_n == 1);
    assert_int_equal(gateway->group.outcome, SHARED_LOG_DONE);
}

/* Returns the position of the first. */
static uint64_t publish(struct gateway *gateway, size_t events_n, const char *data)
{
    wait_until(gateway, log_node_is_free(gateway->node));
    submit(gateway, events_n, data);
    wait_until(gateway, gateway->settled_n == 1);
    assert_int_equal(gateway->group.outcome, SHARED_LOG_DONE);
    return gateway->group.first;
}

/* The same events with the same bytes, and all of them. */
static void assert_same(struct rig *rig, uint64_t newest)
{
    struct history_page *one, *two;

    wait_until(&rig->a, newest_of(&rig->a) == newest && newest_of(&rig->b) == newest);
    one = read_where(rig->a.history, .after = 0, .patterns = "a");
    two = read_where(rig->b.history, .after = 0, .patterns = "a");
    assert_int_equal(one->events_n, newest);
    assert_int_equal(two->events_n, newest);
    for (size_t i = 0; i < one->events_n; i++) {
        assert_int_equal(one->events[i]->published_ms, two->events[i]->published_ms);
        assert_int_equal(one->events[i]->frame_n, two->events[i]->frame_n);
        assert_memory_equal(one->events[i]->frame, two->events[i]->frame, one->events[i]->frame_n);
    }
    history_page_free(one);
    history_page_free(two);
    assert_string_equal(history_epoch(rig->a.history), history_epoch(rig->b.history));
}

static void two_have_one_history(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    for (uint64_t i = 0; i < 20; i++) {
        assert_int_equal(publish(&rig.a, 2, "from a"), 3 * i + 1);
        assert_int_equal(publish(&rig.b, 1, "from b"), 3 * i + 3);
    }
    assert_same(&rig, 60);
    rig_end(&rig);
}

static void a_restart_is_no_reset(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "appendonly yes\nappendfsync always");
    for (uint64_t i = 1; i <= 10; i++)
        assert_int_equal(publish(&rig.a, 1, "before"), i);
    real_redis_kill(&rig.redis);
    wait_until(&rig.a, rig.a.state == LOG_NODE_DOWN);
    submit(&rig.a, 1, "meanwhile");
    real_redis_run(&rig.redis);
    wait_until(&rig.a, rig.a.settled_n == 1);
    assert_int_equal(rig.a.group.outcome, SHARED_LOG_DONE);
    assert_int_equal(rig.a.group.first, 11);
    assert_int_equal(publish(&rig.b, 1, "after"), 12);
    assert_same(&rig, 12);
    assert_int_equal(rig.a.cuts_n + rig.b.cuts_n, 0);
    rig_end(&rig);
}

/* A gateway that comes later reads what was appended in both terms. */
static void a_new_gateway_reads_terms_that_are_over(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "appendonly yes\nappendfsync always");
    publish(&rig.a, 2, "before");
    real_redis_kill(&rig.redis);
    real_redis_run(&rig.redis);
    publish(&rig.a, 2, "after");
    end(&rig.b);
    begin(&rig.b, &rig, "c");
    wait_until(&rig.b, newest_of(&rig.b) == 4);
    assert_same(&rig, 4);
    assert_int_equal(rig.b.cuts_n, 0);
    rig_end(&rig);
}

static void what_a_server_lost_is_cut_off(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    publish(&rig.a, 5, "kept");
    real_tell(&rig.redis, NULL, 0, "SAVE");
    publish(&rig.a, 4, "lost");
    wait_until(&rig.b, newest_of(&rig.b) == 9);
    real_redis_kill(&rig.redis);
    real_redis_run(&rig.redis);
    wait_until(&rig.a, rig.a.cuts_n == 1 && rig.b.cuts_n == 1);
    assert_true(rig.b.cut.is_cut);
    assert_int_equal(rig.b.cut.end, 5);
    assert_int_equal(rig.b.cut.gap, LOG_FOLLOWER_NO_GAP);
    assert_int_equal(publish(&rig.b, 1, "again"), 6);
    assert_same(&rig, 6);
    rig_end(&rig);
}

static void a_wiped_log_is_made_again(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    publish(&rig.a, 3, "kept");
    wait_until(&rig.b, newest_of(&rig.b) == 3);
    real_tell(&rig.redis, NULL, 0, "FLUSHALL");
    assert_int_equal(publish(&rig.b, 1, "after"), 4);
    assert_same(&rig, 4);
    assert_int_equal(rig.a.cuts_n + rig.b.cuts_n, 0);
    rig_end(&rig);
}

/* It stands in the log, and its publisher waits until the promise is kept. */
static void a_group_waits_for_its_replica(void **state)
{
    struct real_redis replica;
    char config[64];
    struct rig rig;

    (void)state;
    rig_begin_waiting(&rig, "repl-diskless-sync-delay 0", 1);
    submit(&rig.a, 1, "alone");
    wait_until(&rig.b, newest_of(&rig.b) == 1 && log_node_group(rig.a.node)->seen);
    assert_int_equal(rig.a.settled_n, 0);
    snprintf(config, sizeof(config), "replicaof 127.0.0.1 %u", rig.redis.place.port);
    real_redis_begin(&replica, config);
    wait_until(&rig.a, rig.a.settled_n == 1);
    assert_int_equal(rig.a.group.outcome, SHARED_LOG_DONE);
    assert_int_equal(rig.a.group.first, 1);
    assert_int_equal(publish(&rig.a, 1, "with it"), 2);
    assert_same(&rig, 2);
    /* and when it is gone for too long, the publisher is told what is known */
    kill(replica.pid, SIGSTOP);
    submit(&rig.a, 1, "alone again");
    wait_until(&rig.a, log_node_group(rig.a.node)->seen &&
                           log_node_group(rig.a.node)->state == LOG_GROUP_READY);
    log_node_give_up(rig.a.node);
    assert_int_equal(rig.a.settled_n, 1);
    assert_int_equal(rig.a.group.outcome, SHARED_LOG_UNCONFIRMED);
    real_redis_end(&replica);
    rig_end(&rig);
}

static void orders_are_done_by_all_and_once(void **state)
{
    char answer[256];
    struct rig rig;

    (void)state;
    rig_begin(&rig, "appendonly yes\nappendfsync always");
    give_order(&rig.a, "in an empty log");
    publish(&rig.a, 2, "x");
    give_order(&rig.b, "one");
    give_order(&rig.a, "two");
    assert_string_equal(rig.a.orders, "0:a:in an empty log 2:b:one 2:a:two ");
    real_redis_kill(&rig.redis);
    wait_until(&rig.a, rig.a.state == LOG_NODE_DOWN && rig.b.state == LOG_NODE_DOWN);
    assert_int_equal(log_node_append_order(rig.a.node, "meanwhile", 9), 0);
    real_redis_run(&rig.redis);
    wait_until(&rig.a, log_node_is_free(rig.a.node));
    publish(&rig.b, 1, "y");
    give_order(&rig.b, "three");
    wait_until(&rig.a, strstr(rig.a.orders, "three") != NULL);
    assert_string_equal(rig.a.orders,
                        "0:a:in an empty log 2:b:one 2:a:two 2:a:meanwhile 3:b:three ");
    assert_string_equal(rig.b.orders, rig.a.orders);
    assert_int_equal(log_node_orders_lost(rig.a.node) + log_node_orders_lost(rig.b.node), 0);
    real_tell(&rig.redis, answer, sizeof(answer), "XRANGE {bugle}log 2-2 2-3 COUNT 1");
    assert_non_null(strstr(answer, "\r\n2-2\r\n"));
    assert_same(&rig, 3);
    rig_end(&rig);
}

static void a_lost_order_makes_room_for_others(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    publish(&rig.a, 1, "x");
    give_order(&rig.a, "kept");
    wait_until(&rig.b, rig.b.orders[0] != '\0');
    real_tell(&rig.redis, NULL, 0, "SAVE");
    give_order(&rig.a, "lost");
    wait_until(&rig.b, strstr(rig.b.orders, "lost") != NULL);
    real_redis_kill(&rig.redis);
    wait_until(&rig.a, rig.a.state == LOG_NODE_DOWN && rig.b.state == LOG_NODE_DOWN);
    real_redis_run(&rig.redis);
    give_order(&rig.b, "new");
    wait_until(&rig.a, strstr(rig.a.orders, "new") != NULL);
    assert_string_equal(rig.a.orders, "1:a:kept 1:a:lost 1:b:new ");
    assert_string_equal(rig.b.orders, rig.a.orders);
    rig_end(&rig);
}

static void what_is_damaged_is_told(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    publish(&rig.a, 1, "good");
    wait_until(&rig.b, newest_of(&rig.b) == 1);
    real_tell(&rig.redis, NULL, 0, "XADD {bugle}log 2-0 h bad b bad");
    real_tell(&rig.redis, NULL, 0, "HSET {bugle}meta head 2");
    wait_until(&rig.a, rig.a.cuts_n == 1 && rig.b.cuts_n == 1);
    assert_int_equal(rig.a.cut.gap, LOG_FOLLOWER_GAP_DAMAGED);
    assert_int_equal(rig.a.cut.begin, 2);
    assert_int_equal(publish(&rig.b, 1, "good"), 3);
    wait_until(&rig.a, newest_of(&rig.a) == 3);
    rig_end(&rig);
}

/* No stream has missed an event, and what follows is done. */
static void an_order_that_is_damaged_is_passed_over(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    publish(&rig.a, 1, "x");
    give_order(&rig.a, "one");
    wait_until(&rig.b, strstr(rig.b.orders, "one") != NULL);
    real_tell(&rig.redis, NULL, 0, "XADD {bugle}log 1-2 h bad b bad");
    real_tell(&rig.redis, NULL, 0, "HSET {bugle}meta sub \"1 2\"");
    give_order(&rig.b, "three");
    assert_int_equal(publish(&rig.b, 1, "y"), 2);
    wait_until(&rig.a, newest_of(&rig.a) == 2);
    assert_string_equal(rig.a.orders, "1:a:one 1:b:three ");
    assert_string_equal(rig.b.orders, rig.a.orders);
    assert_int_equal(log_node_orders_lost(rig.a.node), 1);
    assert_int_equal(rig.a.cuts_n + rig.b.cuts_n, 0);
    rig_end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_have_one_history),
        cmocka_unit_test(a_restart_is_no_reset),
        cmocka_unit_test(a_new_gateway_reads_terms_that_are_over),
        cmocka_unit_test(what_a_server_lost_is_cut_off),
        cmocka_unit_test(a_wiped_log_is_made_again),
        cmocka_unit_test(a_group_waits_for_its_replica),
        cmocka_unit_test(orders_are_done_by_all_and_once),
        cmocka_unit_test(a_lost_order_makes_room_for_others),
        cmocka_unit_test(what_is_damaged_is_told),
        cmocka_unit_test(an_order_that_is_damaged_is_passed_over),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
