/* SPDX-License-Identifier: MIT */
/* Orders in the log on a real Redis: their names, and what becomes of them where entries go. */
#include "config.h"
#include "cluster/redis_log.h"

#include "redis_node.h"

struct rig {
    struct event_base *base;
    struct real_redis redis;
    struct node a, b;
};

static void rig_begin(struct rig *rig)
{
    if (!real_redis_is_installed())
        skip();
    real_redis_begin(&rig->redis, "");
    rig->base = event_base_new();
    node_prepare(&rig->a, rig->base, &rig->redis.place, "a");
    node_prepare(&rig->b, rig->base, &rig->redis.place, "b");
}

static void rig_end(struct rig *rig)
{
    node_end(&rig->a);
    node_end(&rig->b);
    event_base_free(rig->base);
    real_redis_end(&rig->redis);
}

static void expect_order(struct node *node, uint64_t first, uint64_t sub)
{
    assert_int_equal(node_append(node, 0, 7), SHARED_LOG_DONE);
    assert_int_equal(node->answer.first, first);
    assert_int_equal(node->answer.sub, sub);
}

static void orders_are_counted_behind_each_position(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    node_begin_two(&rig.a, &rig.b);
    expect_order(&rig.a, 1, 1);
    expect_order(&rig.b, 1, 2);
    assert_int_equal(node_append(&rig.a, 3, 5), SHARED_LOG_DONE);
    assert_int_equal(rig.a.answer.first, 1);
    assert_int_equal(rig.a.answer.sub, 0);
    expect_order(&rig.b, 4, 1);
    expect_order(&rig.a, 4, 2);
    expect_order(&rig.b, 4, 3);
    assert_int_equal(node_append(&rig.b, 1, 5), SHARED_LOG_DONE);
    expect_order(&rig.a, 5, 1);
    node_wait(&rig.a, &rig.a.orders_n, 6);
    node_wait(&rig.b, &rig.b.orders_n, 6);
    assert_int_equal(rig.a.head, 4);
    assert_int_equal(rig.b.sub, 1);
    assert_int_equal(rig.a.breaks_n + rig.b.breaks_n, 0);
    rig_end(&rig);
}

static void the_same_order_is_appended_once(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    node_begin_two(&rig.a, &rig.b);
    assert_int_equal(node_append(&rig.a, 2, 5), SHARED_LOG_DONE);
    expect_order(&rig.a, 3, 1);
    assert_int_equal(node_append_as(&rig.a, rig.a.seq, 0, 7, NULL), SHARED_LOG_SEEN);
    assert_int_equal(rig.a.answer.first, 3);
    assert_int_equal(rig.a.answer.sub, 1);
    expect_order(&rig.b, 3, 2);
    assert_int_equal(node_append(&rig.a, 1, 5), SHARED_LOG_DONE);
    assert_int_equal(node_append_as(&rig.a, rig.a.seq, 1, 5, NULL), SHARED_LOG_SEEN);
    assert_int_equal(rig.a.answer.first, 3);
    assert_int_equal(rig.a.answer.sub, 0);
    rig_end(&rig);
}

/* By bytes, so that it is known where it ends: between two orders behind one position. */
static void trimming_ends_between_orders(void **state)
{
    char answer[512] = "";
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    rig.a.conf.log_bytes = rig.b.conf.log_bytes = 25;
    node_begin_two(&rig.a, &rig.b);
    assert_int_equal(node_append(&rig.a, 1, 1000000000), SHARED_LOG_DONE);
    for (unsigned i = 1; i <= 3; i++)
        assert_int_equal(node_append(&rig.a, 0, 1000000000 + i), SHARED_LOG_DONE);
    while (strstr(answer, "*2\r\n*2\r\n") == NULL) {
        event_base_loop(rig.base, EVLOOP_ONCE);
        real_tell(&rig.redis, answer, sizeof(answer), "XRANGE {bugle}log - +");
    }
    assert_non_null(strstr(answer, "\r\n1-2\r\n"));
    assert_non_null(strstr(answer, "\r\n1-3\r\n"));
    real_tell(&rig.redis, answer, sizeof(answer), "HMGET {bugle}meta trimmed head bytes");
    assert_string_equal(answer, "*3\r\n$1\r\n1\r\n$1\r\n1\r\n$2\r\n20\r\n");
    node_wait(&rig.b, &rig.b.orders_n, 3);
    expect_order(&rig.b, 2, 4);
    rig_end(&rig);
}

static void a_log_that_is_made_anew_counts_anew(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    node_begin_two(&rig.a, &rig.b);
    assert_int_equal(node_append(&rig.a, 2, 5), SHARED_LOG_DONE);
    expect_order(&rig.a, 3, 1);
    node_wait_for(&rig.a, 2);
    node_wait_for(&rig.b, 2);
    node_forget(&rig.a);
    node_forget(&rig.b);
    real_tell(&rig.redis, NULL, 0, "FLUSHALL");
    node_wait(&rig.a, &rig.a.attached_n, 1);
    node_wait(&rig.b, &rig.b.attached_n, 1);
    expect_order(&rig.b, 3, 1);
    node_wait(&rig.a, &rig.a.orders_n, 1);
    rig_end(&rig);
}

static void another_term_goes_on_counting(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    node_begin_two(&rig.a, &rig.b);
    assert_int_equal(node_append(&rig.a, 2, 5), SHARED_LOG_DONE);
    expect_order(&rig.a, 3, 1);
    node_wait_for(&rig.a, 2);
    node_forget(&rig.a);
    real_tell(&rig.redis, NULL, 0, "HSET {bugle}meta fence 00ff");
    node_wait(&rig.a, &rig.a.attached_n, 1);
    node_wait(&rig.a, &rig.a.orders_n, 1); /* this one asks for all of them again */
    expect_order(&rig.a, 3, 2);
    node_wait(&rig.a, &rig.a.orders_n, 2);
    rig_end(&rig);
}

static void a_full_server_refuses_an_order(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    node_begin_two(&rig.a, &rig.b);
    real_tell(&rig.redis, NULL, 0, "CONFIG SET maxmemory 1");
    assert_int_equal(node_append_as(&rig.a, 1, 0, 2, NULL), SHARED_LOG_FULL);
    real_tell(&rig.redis, NULL, 0, "CONFIG SET maxmemory 0");
    rig.a.seq = 0;
    expect_order(&rig.a, 1, 1);
    rig_end(&rig);
}

/* Something strange in the log does not keep the rest from being forgotten. */
static void trimming_does_not_stop_at_damage(void **state)
{
    char answer[64] = "";
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    rig.a.conf.log_bytes = rig.b.conf.log_bytes = 1;
    node_begin_two(&rig.a, &rig.b);
    real_tell(&rig.redis, NULL, 0, "XADD {bugle}log 0-1 x y");
    real_tell(&rig.redis, NULL, 0, "XADD {bugle}log 0-2 h x b y");
    assert_int_equal(node_append(&rig.a, 1, 12345), SHARED_LOG_DONE);
    while (strstr(answer, ":0\r\n") == NULL) {
        event_base_loop(rig.base, EVLOOP_ONCE);
        real_tell(&rig.redis, answer, sizeof(answer), "XLEN {bugle}log");
    }
    rig_end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(orders_are_counted_behind_each_position),
        cmocka_unit_test(the_same_order_is_appended_once),
        cmocka_unit_test(trimming_ends_between_orders),
        cmocka_unit_test(a_log_that_is_made_anew_counts_anew),
        cmocka_unit_test(another_term_goes_on_counting),
        cmocka_unit_test(a_full_server_refuses_an_order),
        cmocka_unit_test(trimming_does_not_stop_at_damage),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
