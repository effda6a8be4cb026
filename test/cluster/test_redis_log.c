/* SPDX-License-Identifier: MIT */
/* The log on a real Redis: order, keys, what a term ends, what is lost and who is told. */
#include "config.h"
#include "cluster/redis_log.h"

#include <errno.h>

#include "base/clock.h"
#include "cluster/redis_start.h"
#include "conf/conf.h"
#include "redis_node.h"

struct rig {
    struct event_base *base;
    struct real_redis redis;
    struct node a, b;
};

static void rig_begin(struct rig *rig, const char *config)
{
    if (!real_redis_is_installed())
        skip();
    real_redis_begin(&rig->redis, config);
    rig->base = event_base_new();
    node_prepare(&rig->a, rig->base, &rig->redis.place, "a");
    node_prepare(&rig->b, rig->base, &rig->redis.place, "b");
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
    real_redis_end(&rig->redis);
}

static void one_order_for_all(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig_run(&rig);
    assert_int_equal(node_append(&rig.a, 1, 11), SHARED_LOG_DONE);
    assert_int_equal(rig.a.answer.first, 1);
    assert_int_equal(node_append(&rig.b, 3, 22), SHARED_LOG_DONE);
    assert_int_equal(rig.b.answer.first, 2);
    assert_int_equal(node_append(&rig.a, 1, 33), SHARED_LOG_DONE);
    node_wait_for(&rig.a, 5);
    node_wait_for(&rig.b, 5);
    assert_memory_equal(rig.a.held, rig.b.held, sizeof(rig.a.held));
    assert_int_equal(rig.b.held[4], 22);
    assert_string_equal(rig.b.last.writer, "a.a");
    assert_int_equal(rig.b.last.seq, 2);
    assert_string_equal(rig.a.lineage->epoch, rig.b.lineage->epoch);
    assert_true(llabs(rig.a.answer.at_ms - clock_wall_ms()) < NODE_PATIENCE_MS);
    rig_end(&rig);
}

static void the_same_group_is_appended_once(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig_run(&rig);
    assert_int_equal(node_append_as(&rig.a, 1, 2, 5, NULL), SHARED_LOG_DONE);
    int64_t at_ms = rig.a.answer.at_ms;
    real_tell(&rig.redis, NULL, 0, "SCRIPT FLUSH");
    assert_int_equal(node_append_as(&rig.a, 1, 2, 5, NULL), SHARED_LOG_SEEN);
    assert_int_equal(rig.a.answer.first, 1);
    assert_int_equal(rig.a.answer.at_ms, at_ms);
    assert_int_equal(node_append(&rig.b, 1, 6), SHARED_LOG_DONE);
    assert_int_equal(rig.b.answer.first, 3);
    rig_end(&rig);
}

static void keys_are_taken_once(void **state)
{
    /* any bytes, also blanks and NUL */
    struct shared_log_key key = {.name = {7, 0, 255}, .digest = " \0bcdefghijklmno", .index = 1};
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig_run(&rig);
    assert_int_equal(node_append(&rig.a, 4, 1), SHARED_LOG_DONE);
    assert_int_equal(node_append_as(&rig.a, ++rig.a.seq, 2, 5, &key), SHARED_LOG_DONE);
    assert_int_equal(node_append_as(&rig.b, 1, 2, 6, &key), SHARED_LOG_KEYS);
    assert_int_equal(rig.b.answer.taken_n, 1);
    assert_int_equal(rig.b.taken.key, 0);
    assert_int_equal(rig.b.taken.digest_n, MESSAGE_DIGEST_BYTES);
    assert_memory_equal(rig.b.digest, key.digest, MESSAGE_DIGEST_BYTES);
    assert_int_equal(rig.b.taken.position, 6); /* the second of two, behind four */
    key.name[0] = 8;
    assert_int_equal(node_append_as(&rig.b, 1, 2, 6, &key), SHARED_LOG_DONE);
    assert_int_equal(rig.b.answer.first, 7); /* nothing was written */
    rig_end(&rig);
}

static void a_restart_ends_a_term_and_nothing_is_lost(void **state)
{
    struct rig rig;
    uint64_t end;

    (void)state;
    rig_begin(&rig, "appendonly yes\nappendfsync always");
    rig.a.conf.promise = rig.b.conf.promise = HISTORY_DISK;
    rig_run(&rig);
    char former[SSE_EPOCH_BYTES + 1];
    strcpy(former, rig.a.lineage->epoch);
    for (unsigned i = 1; i <= 20; i++)
        node_publish(&rig.a, i);
    node_wait_for(&rig.b, 20);
    node_forget(&rig.a);
    real_redis_kill(&rig.redis);
    node_wait(&rig.a, &rig.a.downs_n, 1);
    assert_int_equal(shared_log_append(rig.a.log, &rig.a.group), -ENOTCONN);
    real_redis_run(&rig.redis);
    node_publish(&rig.a, 21);
    node_wait_for(&rig.a, 21);
    node_wait_for(&rig.b, 21);
    for (unsigned i = 1; i <= 21; i++)
        assert_int_equal(rig.b.held[i], i);
    assert_true(lineage_find(rig.b.lineage, former, &end));
    assert_int_equal(end, 20);
    rig_end(&rig);
}

/* Events before it, and one that is on its way when the server dies. */
static void publish_and_kill(struct rig *rig, unsigned *number)
{
    struct node *a = &rig->a;

    for (unsigned i = 0; i < 8; i++)
        node_publish(a, ++*number);
    int n = snprintf(a->body, sizeof(a->body), "%u", ++*number);
    a->group = (struct shared_log_group){
        .seq = ++a->seq, .events_n = 1, .body = a->body, .body_n = (size_t)n};
    a->answers_n = 0;
    while (shared_log_append(a->log, &a->group) != 0)
        event_base_loop(rig->base, EVLOOP_ONCE);
    usleep(arc4random() % 1500);
    real_redis_kill(&rig->redis);
    node_wait(a, &a->answers_n, 1);
}

static void kills_lose_and_double_nothing(void **state)
{
    unsigned number = 0;
    struct rig rig;

    (void)state;
    rig_begin(&rig, "appendonly yes\nappendfsync always");
    rig.a.conf.promise = rig.b.conf.promise = HISTORY_DISK;
    rig_run(&rig);
    for (unsigned kills = 0; kills < 5; kills++) {
        publish_and_kill(&rig, &number);
        real_redis_run(&rig.redis);
        rig.a.seq--;
        node_publish(&rig.a, number); /* the same seq tells what became of it */
        assert_int_equal(rig.a.answer.first, number);
    }
    node_wait_for(&rig.a, number);
    node_wait_for(&rig.b, number);
    for (unsigned i = 1; i <= number; i++)
        assert_true(rig.a.held[i] == i && rig.b.held[i] == i);
    rig_end(&rig);
}

static void what_a_restart_loses_is_cut_off(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig_run(&rig);
    for (unsigned i = 1; i <= 5; i++)
        node_publish(&rig.a, i);
    node_wait_for(&rig.a, 5);
    node_wait_for(&rig.b, 5);
    real_tell(&rig.redis, NULL, 0, "SAVE");
    for (unsigned i = 6; i <= 9; i++)
        node_publish(&rig.a, i);
    node_wait_for(&rig.b, 9);
    real_redis_kill(&rig.redis);
    node_forget(&rig.a);
    node_forget(&rig.b);
    real_redis_run(&rig.redis);
    node_wait(&rig.b, &rig.b.attached_n, 1);
    assert_int_equal(rig.b.head, 5);
    node_publish(&rig.a, 10);
    node_wait_for(&rig.b, 6);
    assert_int_equal(rig.b.held[6], 10);
    rig_end(&rig);
}

/* The connection stands meanwhile: the lease notices. */
static void a_wiped_log_is_made_from_a_node(void **state)
{
    struct rig rig;
    uint64_t end;

    (void)state;
    rig_begin(&rig, "");
    rig_run(&rig);
    node_publish(&rig.a, 1);
    node_publish(&rig.a, 2);
    node_wait_for(&rig.a, 2);
    node_wait_for(&rig.b, 2);
    char former[SSE_EPOCH_BYTES + 1];
    strcpy(former, rig.a.lineage->epoch);
    node_forget(&rig.a);
    node_forget(&rig.b);
    real_tell(&rig.redis, NULL, 0, "FLUSHALL");
    node_wait(&rig.a, &rig.a.attached_n, 1);
    node_wait(&rig.b, &rig.b.attached_n, 1);
    assert_int_equal(rig.a.downs_n, 0);
    node_publish(&rig.b, 3);
    node_wait_for(&rig.a, 3);
    assert_int_equal(rig.a.held[3], 3);
    assert_true(lineage_find(rig.a.lineage, former, &end));
    assert_int_equal(end, 2);
    rig_end(&rig);
}

/* It was a replica in between, with the client's connection open and its run_id the same. */
static void another_life_of_the_server_ends_the_term(void **state)
{
    struct rig rig;
    struct real_redis other;
    char former[SSE_EPOCH_BYTES + 1];
    uint64_t end;

    (void)state;
    rig_begin(&rig, "");
    real_redis_begin(&other, "");
    rig_run(&rig);
    node_publish(&rig.a, 1);
    node_wait_for(&rig.a, 1);
    strcpy(former, rig.a.lineage->epoch);
    node_forget(&rig.a);
    real_tell(&rig.redis, NULL, 0, "REPLICAOF NO ONE");
    real_tell(&rig.redis, NULL, 0, "REPLICAOF 127.0.0.1 %u", other.place.port);
    real_tell(&rig.redis, NULL, 0, "REPLICAOF NO ONE");
    node_publish(&rig.a, 2);
    node_wait(&rig.a, &rig.a.attached_n, 1);
    assert_string_not_equal(rig.a.lineage->epoch, former);
    assert_true(lineage_find(rig.a.lineage, former, &end));
    assert_int_equal(end, 1);
    rig_end(&rig);
    real_redis_end(&other);
}

/* Long leases: nobody else notices before the append does. */
static void an_append_sees_another_life_by_itself(void **state)
{
    char answer[64];
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig.a.conf.lease_ms = rig.b.conf.lease_ms = 60000;
    rig_run(&rig);
    node_publish(&rig.a, 1);
    real_tell(&rig.redis, NULL, 0, "HSET {bugle}meta epoch cccccccccccc");
    assert_int_equal(node_append_as(&rig.a, 2, 1, 2, NULL), SHARED_LOG_TERM);
    real_tell(&rig.redis, NULL, 0, "HSET {bugle}meta epoch %s", rig.a.lineage->epoch);
    real_tell(&rig.redis, NULL, 0, "HSET {bugle}meta fence 00ff");
    assert_int_equal(node_append_as(&rig.a, 2, 1, 2, NULL), SHARED_LOG_TERM);
    real_tell(&rig.redis, NULL, 0, "DEL {bugle}meta");
    assert_int_equal(node_append_as(&rig.a, 2, 1, 2, NULL), SHARED_LOG_TERM);
    real_tell(&rig.redis, answer, sizeof(answer), "XLEN {bugle}log");
    assert_string_equal(answer, ":1\r\n");
    rig_end(&rig);
}

static void ends_beyond_the_head_are_lowered(void **state)
{
    char first[SSE_EPOCH_BYTES + 1];
    struct rig rig;
    uint64_t end;

    (void)state;
    rig_begin(&rig, "");
    rig_run(&rig);
    strcpy(first, rig.a.lineage->epoch);
    assert_int_equal(node_append(&rig.a, 9, 1), SHARED_LOG_DONE);
    node_wait_for(&rig.a, 9);
    node_forget(&rig.a);
    real_tell(&rig.redis, NULL, 0, "HSET {bugle}meta fence 00ff");
    node_wait(&rig.a, &rig.a.attached_n, 1);
    assert_true(lineage_find(rig.a.lineage, first, &end));
    assert_int_equal(end, 9);
    /* and then it comes back without its tail */
    node_forget(&rig.a);
    real_tell(&rig.redis, NULL, 0, "HSET {bugle}meta fence 00ff head 5");
    node_wait(&rig.a, &rig.a.attached_n, 1);
    assert_true(lineage_find(rig.a.lineage, first, &end));
    assert_int_equal(end, 5);
    assert_int_equal(rig.a.head, 5);
    rig_end(&rig);
}

static void time_never_goes_back(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig_run(&rig);
    real_tell(&rig.redis, NULL, 0, "HSET {bugle}meta at 9000000000000");
    assert_int_equal(node_append(&rig.a, 1, 1), SHARED_LOG_DONE);
    assert_int_equal(rig.a.answer.at_ms, 9000000000000);
    rig_end(&rig);
}

static void what_was_trimmed_is_told(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig.a.conf.log_age_ms = 1;
    rig.b.conf.log_age_ms = 1;
    node_begin(&rig.a);
    node_wait(&rig.a, &rig.a.attached_n, 1);
    for (unsigned i = 1; i <= 250; i++)
        assert_int_equal(node_append(&rig.a, 1, i), SHARED_LOG_DONE);
    node_wait_for(&rig.a, 250);
    char answer[64] = "";
    while (strstr(answer, ":0\r\n") == NULL) {
        event_base_loop(rig.base, EVLOOP_ONCE);
        real_tell(&rig.redis, answer, sizeof(answer), "XLEN {bugle}log");
    }
    node_begin(&rig.b); /* it has nothing */
    node_wait(&rig.b, &rig.b.attached_n, 1);
    assert_int_equal(rig.b.trimmed, 250);
    node_publish(&rig.a, 251);
    node_wait_for(&rig.a, 251);
    node_wait(&rig.b, &rig.b.breaks_n, 1);
    assert_int_equal(rig.b.head, 0);
    rig_end(&rig);
}

static void what_cannot_be_read_is_not_passed_over(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig_run(&rig);
    node_publish(&rig.a, 1);
    node_wait_for(&rig.b, 1);
    real_tell(&rig.redis, NULL, 0, "XADD {bugle}log 5-0 h nonsense b x");
    node_wait(&rig.b, &rig.b.breaks_n, 1);
    assert_int_equal(rig.b.head, 1);
    rig_end(&rig);
}

/* What something else wrote behind the end: an entry, or what is left of one that was deleted. */
static void expect_going_on(bool is_deleted, bool appends)
{
    struct rig rig;

    rig_begin(&rig, "");
    rig_run(&rig);
    node_publish(&rig.a, 1);
    node_wait_for(&rig.b, 1);
    real_tell(&rig.redis, NULL, 0, "XADD {bugle}log 1700000000000-0 a b");
    node_wait(&rig.b, &rig.b.breaks_n, 1);
    if (is_deleted)
        real_tell(&rig.redis, NULL, 0, "XDEL {bugle}log 1700000000000-0");
    if (appends)
        assert_int_equal(node_append(&rig.a, 1, 2), SHARED_LOG_DONE);
    node_attach(&rig.b);
    node_wait(&rig.b, &rig.b.attached_n, 2);
    assert_int_equal(rig.b.trimmed, is_deleted && !appends ? 0 : 1);
    if (!appends)
        assert_int_equal(node_append(&rig.a, 1, 2), SHARED_LOG_DONE);
    node_wait_for(&rig.b, 2);
    assert_int_equal(rig.b.held[2], 2);
    rig_end(&rig);
}

static void what_something_else_wrote_ends_nothing(void **state)
{
    (void)state;
    expect_going_on(false, false);
    expect_going_on(false, true);
    expect_going_on(true, false);
    expect_going_on(true, true);
}

/* It is old, so it is trimmed; the log's own end stays what it was. */
static void what_something_else_wrote_is_trimmed(void **state)
{
    char answer[64] = "";
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig.a.conf.lease_ms = 500;
    node_begin(&rig.a);
    node_wait(&rig.a, &rig.a.attached_n, 1);
    real_tell(&rig.redis, NULL, 0, "XADD {bugle}log 1700000000000-0 a b");
    while (strstr(answer, ":0\r\n") == NULL) {
        event_base_loop(rig.base, EVLOOP_ONCE);
        real_tell(&rig.redis, answer, sizeof(answer), "XLEN {bugle}log");
    }
    node_begin(&rig.b);
    node_wait(&rig.b, &rig.b.attached_n, 1);
    assert_int_equal(rig.b.trimmed, 0);
    assert_int_equal(node_append(&rig.a, 1, 1), SHARED_LOG_DONE);
    node_wait_for(&rig.b, 1);
    rig_end(&rig);
}

static void a_hole_is_not_passed_over(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig_run(&rig);
    node_publish(&rig.a, 1);
    node_wait_for(&rig.b, 1);
    real_tell(&rig.redis, NULL, 0, "XADD {bugle}log 5-0 h \"%s 4 1 x 1\" b x",
              rig.a.lineage->epoch);
    node_wait(&rig.b, &rig.b.breaks_n, 1);
    assert_int_equal(rig.b.head, 1);
    rig_end(&rig);
}

static void what_is_said_is_heard(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig_run(&rig);
    assert_int_equal(shared_log_say(rig.a.log, NULL, "to all", 6), 0);
    node_wait(&rig.a, &rig.a.heards_n, 1);
    node_wait(&rig.b, &rig.b.heards_n, 1);
    assert_string_equal(rig.b.heard, "to all");
    assert_int_equal(shared_log_say(rig.a.log, "b", "to\0one", 6), 0);
    node_wait(&rig.b, &rig.b.heards_n, 2);
    assert_int_equal(rig.a.heards_n, 1);
    rig_end(&rig);
}

/* To a server that takes nothing any more. */
static void what_is_said_has_bounds(void **state)
{
    const size_t bytes_n = 1 << 20;
    char *bytes = calloc(1, bytes_n);
    unsigned said_n = 0;
    struct rig rig;
    int result;

    (void)state;
    rig_begin(&rig, "");
    rig.a.conf.timeout_ms = 300;
    rig_run(&rig);
    kill(rig.redis.pid, SIGSTOP);
    while ((result = shared_log_say(rig.a.log, NULL, bytes, bytes_n)) == 0)
        assert_true(++said_n < 100);
    assert_int_equal(result, -ENOBUFS);
    assert_true(said_n > 2);
    node_wait(&rig.a, &rig.a.downs_n, 1);
    kill(rig.redis.pid, SIGCONT);
    node_wait(&rig.a, &rig.a.ups_n, 2);
    assert_int_equal(shared_log_say(rig.a.log, NULL, "again", 5), 0);
    free(bytes);
    rig_end(&rig);
}

/* A question with what it has to outlive. */
struct asked {
    struct shared_log_question question;
    unsigned answers_n;
    size_t nodes_n;
};

static void answered(struct shared_log_question *question)
{
    struct asked *asked = (struct asked *)question;

    asked->answers_n++;
    asked->nodes_n = question->nodes_n;
}

static enum shared_log_outcome ask(struct node *node, struct asked *asked,
                                   enum shared_log_question_kind kind)
{
    *asked = (struct asked){.question = {.kind = kind, .answered = answered}};
    shared_log_ask(node->log, &asked->question);
    assert_int_equal(asked->answers_n, 0);
    node_wait(node, &asked->answers_n, 1);
    return asked->question.outcome;
}

static void questions_are_answered(void **state)
{
    struct asked asked;
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    node_begin(&rig.a);
    assert_int_equal(ask(&rig.a, &asked, SHARED_LOG_ASK_HEAD), SHARED_LOG_UNREACHABLE);
    node_begin(&rig.b);
    node_wait(&rig.a, &rig.a.attached_n, 1);
    node_wait(&rig.b, &rig.b.attached_n, 1);
    node_append(&rig.a, 3, 1);
    assert_int_equal(ask(&rig.b, &asked, SHARED_LOG_ASK_HEAD), SHARED_LOG_DONE);
    assert_int_equal(asked.question.head, 3);
    assert_string_equal(asked.question.epoch, rig.a.lineage->epoch);
    assert_int_equal(asked.nodes_n, 2);
    assert_true(llabs(asked.question.now_ms - clock_wall_ms()) < 3600000);
    assert_int_equal(ask(&rig.b, &asked, SHARED_LOG_ASK_NODES), SHARED_LOG_DONE);
    assert_int_equal(asked.nodes_n, 2);
    real_tell(&rig.redis, NULL, 0, "FLUSHALL");
    shared_log_ask(rig.a.log, &asked.question); /* its end finds it on its way */
    asked.answers_n = 0;
    rig_end(&rig);
    assert_int_equal(asked.answers_n, 1);
    assert_int_equal(asked.question.outcome, SHARED_LOG_LOST);
}

static void a_full_server_refuses_all_of_a_group(void **state)
{
    struct shared_log_key key = {.digest = "abcdefghijklmnopq"};
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig_run(&rig);
    node_publish(&rig.a, 1);
    real_tell(&rig.redis, NULL, 0, "CONFIG SET maxmemory 1");
    assert_int_equal(node_append_as(&rig.a, 2, 1, 2, &key), SHARED_LOG_FULL);
    assert_non_null(strstr(rig.a.line, "OOM"));
    real_tell(&rig.redis, NULL, 0, "CONFIG SET maxmemory 0");
    assert_int_equal(node_append_as(&rig.a, 2, 1, 2, &key), SHARED_LOG_DONE);
    assert_int_equal(rig.a.answer.first, 2);
    rig_end(&rig);
}

static void too_few_replicas_are_told(void **state)
{
    struct real_redis replica;
    char config[64], answer[1024] = "";
    struct rig rig;

    (void)state;
    rig_begin(&rig, "repl-diskless-sync-delay 0");
    rig.a.conf.promise = HISTORY_REPLICATED;
    rig.a.conf.replicas = 1;
    rig.a.conf.timeout_ms = 300;
    node_begin(&rig.a);
    node_begin(&rig.b);
    node_wait(&rig.a, &rig.a.attached_n, 1);
    assert_int_equal(node_append_as(&rig.a, 1, 1, 1, NULL), SHARED_LOG_UNCONFIRMED);
    snprintf(config, sizeof(config), "replicaof 127.0.0.1 %u", rig.redis.place.port);
    real_redis_begin(&replica, config);
    while (strstr(answer, "state=online") == NULL)
        real_tell(&rig.redis, answer, sizeof(answer), "INFO replication");
    /* its first replica gives a master another replication id: a term ends, and nothing is lost */
    rig.a.seq = 0;
    node_publish(&rig.a, 1);
    assert_int_equal(rig.a.answer.outcome, SHARED_LOG_SEEN);
    assert_int_equal(node_append_as(&rig.a, 2, 1, 1, NULL), SHARED_LOG_DONE);
    real_redis_end(&replica);
    rig_end(&rig);
}

/* It is there and says nothing: the kernel still takes connections. */
static void a_stopped_server_is_noticed(void **state)
{
    int64_t begin_ms;
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig.a.conf.timeout_ms = 200;
    node_begin(&rig.a);
    node_begin(&rig.b);
    node_wait(&rig.a, &rig.a.attached_n, 1);
    node_publish(&rig.a, 1);
    kill(rig.redis.pid, SIGSTOP);
    begin_ms = clock_mono_ms();
    assert_int_equal(node_append_as(&rig.a, 2, 1, 2, NULL), SHARED_LOG_LOST);
    assert_true(clock_mono_ms() - begin_ms >= 200);
    kill(rig.redis.pid, SIGCONT);
    rig.a.seq = 1;
    node_publish(&rig.a, 2); /* the same seq: it is there once */
    node_publish(&rig.a, 3);
    assert_int_equal(rig.a.answer.first, 3);
    rig_end(&rig);
}

static void a_name_is_one_process(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig_run(&rig);
    rig.a.downs_n = 0;
    real_tell(&rig.redis, NULL, 0, "SET {bugle}n:a stranger PX 60000");
    node_wait(&rig.a, &rig.a.downs_n, 1);
    assert_int_equal(rig.a.down, SHARED_LOG_REFUSED);
    assert_non_null(strstr(rig.a.why, "lease of cluster.node=a"));
    rig_end(&rig);
}

static void expect_start(struct node *node, int result, const char *line)
{
    struct conf_error error = {.text = ""};

    int came = redis_start(&node->conf, 1000, &error);

    if (came != result || (result != 0 && strstr(error.text, line) == NULL))
        fail_msg("%d instead of %d: \"%s\" in \"%s\"", came, result, line, error.text);
}

static void a_start_is_refused_for_a_reason(void **state)
{
    char lease[128];
    struct rig rig;

    (void)state;
    rig_begin(&rig, "requirepass secret");
    rig.a.conf.lease_ms = 2000;
    expect_start(&rig.a, -EINVAL, "set cluster.password");
    rig.a.conf.password = "wrong";
    expect_start(&rig.a, -EINVAL, "set cluster.user and cluster.password");
    rig.a.conf.password = "secret";
    expect_start(&rig.a, 0, "");
    expect_start(&rig.a, 0, ""); /* the lease is our own */
    rig.b.conf.password = "secret";
    rig.b.conf.node = rig.a.conf.node;
    rig.b.conf.is_trial = true;
    rig.b.conf.incarnation = "trial";
    expect_start(&rig.b, 0, ""); /* whose it is does not matter, and it stays so */
    real_tell(&rig.redis, lease, sizeof(lease), "AUTH secret\r\nGET {bugle}n:a");
    assert_null(strstr(lease, "trial"));
    rig.b.conf.node = rig.b.conf.incarnation = "b";
    rig.b.conf.is_trial = false;
    rig.a.conf.promise = HISTORY_DISK;
    expect_start(&rig.a, -EINVAL, "appendonly yes");
    real_redis_kill(&rig.redis);
    expect_start(&rig.a, -EAGAIN, "connection refused");
    node_begin(&rig.a);
    node_begin(&rig.b);
    rig_end(&rig);
}

/* Its lease is there for a long time yet, and nobody renews it. */
static void who_was_killed_comes_again(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig.a.conf.lease_ms = 1000;
    rig_run(&rig);
    real_tell(&rig.redis, NULL, 0, "SET {bugle}n:c \"former.1 1\" PX 60000");
    rig.a.conf.node = "c";
    rig.a.conf.incarnation = "another";
    expect_start(&rig.a, 0, "");
    rig_end(&rig);
}

/* The recipe as it stands, but for the port and so on. */
static void the_recipe_of_contrib_will_do(void **state)
{
    const char *folder = getenv("srcdir");
    char path[512], recipe[8192];
    struct rig rig;

    (void)state;
    snprintf(path, sizeof(path), "%s/contrib/redis.conf.example", folder != NULL ? folder : ".");
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    recipe[fread(recipe, 1, sizeof(recipe) - 1, file)] = '\0';
    fclose(file);
    char *port = strstr(recipe, "\nport 6379\n");
    assert_non_null(port);
    memset(port + 1, ' ', strlen("port 6379"));
    rig_begin(&rig, recipe);
    rig.a.conf.user = rig.b.conf.user = "bugle";
    rig.a.conf.password = rig.b.conf.password = "CHANGE-THIS";
    rig.a.conf.promise = rig.b.conf.promise = HISTORY_DISK;
    expect_start(&rig.a, 0, "");
    rig_run(&rig);
    node_publish(&rig.a, 1);
    node_wait_for(&rig.b, 1);
    shared_log_say(rig.a.log, NULL, "hello", 5);
    node_wait(&rig.b, &rig.b.heards_n, 1);
    rig_end(&rig);
}

static void left(void *arg)
{
    ++*(unsigned *)arg;
}

static void who_leaves_is_gone_at_once(void **state)
{
    unsigned lefts_n = 0;
    char answer[64];
    struct rig rig;

    (void)state;
    rig_begin(&rig, "");
    rig.a.conf.lease_ms = rig.b.conf.lease_ms = 60000;
    rig_run(&rig);
    assert_int_equal(redis_log_leave(rig.a.log, left, &lefts_n), 0);
    node_wait(&rig.a, &lefts_n, 1);
    real_tell(&rig.redis, answer, sizeof(answer), "EXISTS {bugle}n:a");
    assert_string_equal(answer, ":0\r\n");
    real_tell(&rig.redis, answer, sizeof(answer), "HEXISTS {bugle}nodes a");
    assert_string_equal(answer, ":0\r\n");
    rig_end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_order_for_all),
        cmocka_unit_test(the_same_group_is_appended_once),
        cmocka_unit_test(keys_are_taken_once),
        cmocka_unit_test(a_restart_ends_a_term_and_nothing_is_lost),
        cmocka_unit_test(kills_lose_and_double_nothing),
        cmocka_unit_test(what_a_restart_loses_is_cut_off),
        cmocka_unit_test(a_wiped_log_is_made_from_a_node),
        cmocka_unit_test(another_life_of_the_server_ends_the_term),
        cmocka_unit_test(an_append_sees_another_life_by_itself),
        cmocka_unit_test(ends_beyond_the_head_are_lowered),
        cmocka_unit_test(time_never_goes_back),
        cmocka_unit_test(who_was_killed_comes_again),
        cmocka_unit_test(what_was_trimmed_is_told),
        cmocka_unit_test(what_cannot_be_read_is_not_passed_over),
        cmocka_unit_test(what_something_else_wrote_ends_nothing),
        cmocka_unit_test(what_something_else_wrote_is_trimmed),
        cmocka_unit_test(a_hole_is_not_passed_over),
        cmocka_unit_test(what_is_said_is_heard),
        cmocka_unit_test(what_is_said_has_bounds),
        cmocka_unit_test(questions_are_answered),
        cmocka_unit_test(a_full_server_refuses_all_of_a_group),
        cmocka_unit_test(too_few_replicas_are_told),
        cmocka_unit_test(a_stopped_server_is_noticed),
        cmocka_unit_test(a_name_is_one_process),
        cmocka_unit_test(who_leaves_is_gone_at_once),
        cmocka_unit_test(a_start_is_refused_for_a_reason),
        cmocka_unit_test(the_recipe_of_contrib_will_do),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
