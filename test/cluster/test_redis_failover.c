/* SPDX-License-Identifier: MIT */
/* Another server becomes the master: planned, and because the first one died. */
#include "config.h"
#include "cluster/redis_log.h"

#include "redis_node.h"

struct rig {
    struct event_base *base;
    struct real_redis master, replica, sentinel;
    struct node a, b;
};

static void wait_for_text(struct real_redis *redis, const char *command, const char *text)
{
    char answer[4096] = "";

    for (int waited_ms = 0; strstr(answer, text) == NULL; waited_ms += 20) {
        assert_true(waited_ms < NODE_PATIENCE_MS);
        real_tell(redis, answer, sizeof(answer), "%s", command);
        usleep(20000);
    }
}

static void rig_begin(struct rig *rig)
{
    char config[512];

    if (!real_redis_is_installed())
        skip();
    memset(rig, 0, sizeof(*rig));
    real_redis_begin(&rig->master, "repl-diskless-sync-delay 0\nrepl-ping-replica-period 1");
    snprintf(config, sizeof(config),
             "replicaof 127.0.0.1 %u\nrepl-diskless-sync-delay 0\nrepl-ping-replica-period 1",
             rig->master.place.port);
    real_redis_begin(&rig->replica, config);
    wait_for_text(&rig->master, "INFO replication", "state=online");
    snprintf(config, sizeof(config),
             "sentinel monitor m 127.0.0.1 %u 1\nsentinel down-after-milliseconds m 1000\n"
             "sentinel failover-timeout m 5000",
             rig->master.place.port);
    real_redis_begin(&rig->sentinel, config);
    wait_for_text(&rig->sentinel, "SENTINEL REPLICAS m", "master-link-status\r\n$2\r\nok");
    rig->base = event_base_new();
}

static void rig_node(struct rig *rig, struct node *node, const char *name)
{
    node_prepare(node, rig->base, &rig->sentinel.place, name);
    node->url.is_sentinel = true;
    strcpy(node->url.master, "m");
}

static void rig_run(struct rig *rig)
{
    node_begin_two(&rig->a, &rig->b);
}

static void rig_end(struct rig *rig)
{
    node_end(&rig->a);
    node_end(&rig->b);
    event_base_free(rig->base);
    real_redis_end(&rig->sentinel);
    real_redis_end(&rig->replica);
    real_redis_end(&rig->master);
}

/* All that was confirmed by all replicas, in its order and once. */
static void expect_numbers(const struct node *node, unsigned upto)
{
    uint64_t at = 1;

    for (unsigned number = 1; number <= upto; number++, at++) {
        while (at <= node->head && node->held[at] < number)
            at++; /* none comes twice, but what was unknown may stand twice before its answer */
        assert_int_equal(node->held[at], number);
    }
    assert_int_equal(node->head, upto);
}

static void a_planned_failover_loses_nothing_confirmed(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    rig_node(&rig, &rig.a, "a");
    rig_node(&rig, &rig.b, "b");
    rig.a.conf.promise = HISTORY_REPLICATED;
    rig.a.conf.replicas = 1;
    rig.a.conf.timeout_ms = 1000;
    rig_run(&rig);
    for (unsigned i = 1; i <= 20; i++)
        node_publish(&rig.a, i);
    real_tell(&rig.sentinel, NULL, 0, "SENTINEL FAILOVER m");
    for (unsigned i = 21; i <= 60 || rig.a.downs_n == 0; i++) {
        node_publish(&rig.a, i);
        rig.b.seq = i;
        usleep(5000);
    }
    node_wait_for(&rig.b, rig.b.seq);
    expect_numbers(&rig.b, (unsigned)rig.b.seq);
    rig_end(&rig);
}

static void a_dead_master_is_replaced(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    rig_node(&rig, &rig.a, "a");
    rig_node(&rig, &rig.b, "b");
    rig_run(&rig);
    for (unsigned i = 1; i <= 5; i++)
        node_publish(&rig.a, i);
    real_tell(&rig.master, NULL, 0, "WAIT 1 1000");
    node_wait_for(&rig.b, 5);
    wait_for_text(&rig.replica, "HGET {bugle}meta head", "\r\n5\r\n");
    char former[SSE_EPOCH_BYTES + 1];
    strcpy(former, rig.a.lineage->epoch);
    real_redis_kill(&rig.master);
    node_publish(&rig.b, 6);
    node_wait_for(&rig.a, 6);
    expect_numbers(&rig.a, 6);
    assert_string_not_equal(rig.a.lineage->epoch, former);
    rig_end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_planned_failover_loses_nothing_confirmed),
        cmocka_unit_test(a_dead_master_is_replaced),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
