/* SPDX-License-Identifier: MIT */
/* Tickets at the log on a real Redis: the rules, and what two nodes hear and say. */
#include "config.h"
#include "cluster/shared_ticket.h"

#include "redis_node.h"

#include "../auth/ticket_rules.h"

static struct {
    struct event_base *base;
    struct real_redis redis;
    struct node a, b;
} rig;

/* A question, which is left alone until its answer. */
struct asked {
    struct shared_log_question question;
    unsigned answers_n;
};

static void answered(struct shared_log_question *question)
{
    ((struct asked *)question)->answers_n++;
}

static int begin(void **state)
{
    (void)state;
    if (!real_redis_is_installed())
        return 0;
    real_redis_begin(&rig.redis, "");
    rig.base = event_base_new();
    node_prepare(&rig.a, rig.base, &rig.redis.place, "a");
    node_prepare(&rig.b, rig.base, &rig.redis.place, "b");
    node_begin_two(&rig.a, &rig.b);
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (rig.base == NULL)
        return 0;
    node_end(&rig.a);
    node_end(&rig.b);
    event_base_free(rig.base);
    real_redis_end(&rig.redis);
    return 0;
}

/* Forget the ticket, and have a log that began at this time. */
static void rules_begin(int64_t born_ms)
{
    if (rig.base == NULL)
        skip();
    node_forget(&rig.a);
    node_forget(&rig.b);
    real_tell(&rig.redis, NULL, 0, "DEL {bugle}t:01");
    real_tell(&rig.redis, NULL, 0, "HSET {bugle}meta head %d born %lld", RULES_COMMITTED,
              (long long)born_ms);
}

static void rules_end(void)
{
}

static enum shared_log_outcome ask(struct node *node, struct asked *asked)
{
    asked->question.answered = answered;
    asked->answers_n = 0;
    shared_log_ask(node->log, &asked->question);
    assert_int_equal(asked->answers_n, 0);
    node_wait(node, &asked->answers_n, 1);
    return asked->question.outcome;
}

static struct shared_ticket_use use_of(struct node *node, uint64_t mark)
{
    struct shared_ticket_use use = {.name = "01",
                                    .mark = mark,
                                    .made_ms = rules_ticket.made_ms,
                                    .first_until_ms = rules_ticket.first_until_ms,
                                    .until_ms = rules_ticket.until_ms,
                                    .made_at = rules_ticket.position,
                                    .from = 120,
                                    .now_ms = 20000,
                                    .say = node == &rig.a ? "a hears\0this" : "b hears that",
                                    .say_n = 12};

    return use;
}

static enum shared_log_outcome try(struct node *node, struct shared_ticket_use *use)
{
    struct asked asked = {.question = {.kind = SHARED_LOG_ASK_TICKET, .use = use}};

    return ask(node, &asked);
}

static void show(struct node *node, struct shared_ticket_use *use, uint64_t position)
{
    strcpy(use->epoch, node->lineage->epoch);
    use->position = position;
}

static enum ticket_table_verdict rules_use(uint64_t number, int64_t now_ms, uint64_t position,
                                           uint64_t from, uint64_t *ret_older)
{
    static const enum ticket_table_verdict verdicts[] = {
        [SHARED_TICKET_GOOD] = TICKET_TABLE_GOOD,
        [SHARED_TICKET_LATE] = TICKET_TABLE_LATE,
        [SHARED_TICKET_USED] = TICKET_TABLE_USED,
        [SHARED_TICKET_REVOKED] = TICKET_TABLE_REVOKED,
    };
    struct shared_ticket_use use = use_of(&rig.a, number);

    use.now_ms = now_ms;
    use.from = from;
    if (position != RULES_NO_ID)
        show(&rig.a, &use, position);
    assert_int_equal(try(&rig.a, &use), SHARED_LOG_DONE);
    *ret_older = use.older;
    return verdicts[use.verdict];
}

static bool say(struct node *node, struct shared_ticket_news *news, size_t news_n)
{
    struct asked asked = {
        .question = {.kind = SHARED_LOG_ASK_TICKETS, .news = news, .news_n = news_n}};

    assert_int_equal(ask(node, &asked), SHARED_LOG_DONE);
    return news->is_ours;
}

static void rules_over(uint64_t number, uint64_t position, int64_t now_ms)
{
    struct shared_ticket_news news = {
        .what = SHARED_TICKET_OVER, .name = "01", .mark = number, .position = position};

    (void)now_ms;
    say(&rig.a, &news, 1);
}

/* ---- two nodes ---- */

static void another_node_takes_over_and_the_first_hears_of_it(void **state)
{
    struct shared_ticket_use at_a = use_of(&rig.a, 7), at_b = use_of(&rig.b, 7);

    (void)state;
    rules_begin(RULES_BORN_MS);
    assert_int_equal(try(&rig.a, &at_a), SHARED_LOG_DONE);
    assert_int_equal(at_a.verdict, SHARED_TICKET_GOOD);
    assert_int_equal(try(&rig.b, &at_b), SHARED_LOG_DONE);
    assert_int_equal(at_b.verdict, SHARED_TICKET_USED);
    show(&rig.b, &at_b, 130);
    real_tell(&rig.redis, NULL, 0, "SCRIPT FLUSH");
    assert_int_equal(try(&rig.b, &at_b), SHARED_LOG_DONE);
    assert_int_equal(at_b.verdict, SHARED_TICKET_GOOD);
    assert_int_equal(at_b.older, 0); /* the mark is of the other node */
    node_wait(&rig.a, &rig.a.heards_n, 1);
    assert_memory_equal(rig.a.heard, "a hears", 8);
    assert_int_equal(rig.b.heards_n, 0);
    /* that its stream is over says nothing of the other's */
    rules_over(7, 150, 0);
    struct shared_ticket_news news = {.what = SHARED_TICKET_LIVE, .name = "01", .mark = 7};
    assert_true(say(&rig.b, &news, 1));
    assert_false(say(&rig.a, &news, 1));
    rules_end();
}

/* Also the one whose ticket is no good any more. */
static void who_fights_is_told_too(void **state)
{
    (void)state;
    rules_begin(RULES_BORN_MS);
    for (uint64_t i = 0; i < 7; i++) {
        struct node *node = i % 2 == 0 ? &rig.a : &rig.b;
        struct shared_ticket_use use = use_of(node, i + 1);

        use.now_ms += (int64_t)i * 200;
        show(node, &use, 120);
        assert_int_equal(try(node, &use), SHARED_LOG_DONE);
        assert_int_equal(use.verdict, i < 6 ? SHARED_TICKET_GOOD : SHARED_TICKET_REVOKED);
    }
    node_wait(&rig.a, &rig.a.heards_n, 3);
    node_wait(&rig.b, &rig.b.heards_n, 3);
    struct shared_ticket_news news = {.what = SHARED_TICKET_LIVE, .name = "01", .mark = 6};
    assert_false(say(&rig.b, &news, 1));
}

/* ---- what the log lost ---- */

static void a_live_stream_brings_its_ticket_back(void **state)
{
    struct shared_ticket_news news = {.what = SHARED_TICKET_LIVE,
                                      .name = "01",
                                      .mark = 7,
                                      .position = 120,
                                      .until_ms = clock_wall_ms() + 60000,
                                      .say = "a hears",
                                      .say_n = 7};
    struct shared_ticket_use use = use_of(&rig.b, 8);

    (void)state;
    rules_begin(RULES_BORN_MS);
    assert_true(say(&rig.a, &news, 1));
    assert_int_equal(try(&rig.b, &use), SHARED_LOG_DONE);
    assert_int_equal(use.verdict, SHARED_TICKET_USED);
    assert_false(say(&rig.b, &news, 1));
    /* over, says a log that went back: it is still this stream's */
    rules_over(7, 130, 0);
    assert_true(say(&rig.a, &news, 1));
    use.now_ms = 30000;
    show(&rig.b, &use, 125);
    assert_int_equal(try(&rig.b, &use), SHARED_LOG_DONE);
    assert_int_equal(use.verdict, SHARED_TICKET_GOOD);
    node_wait(&rig.a, &rig.a.heards_n, 1);
}

/* A failover may take the last that a ticket was told. */
static void ids_of_a_lost_tail_are_good(void **state)
{
    struct shared_ticket_use use = use_of(&rig.b, 8);
    uint64_t older;

    (void)state;
    rules_begin(RULES_BORN_MS);
    assert_int_equal(rules_use(7, 20000, RULES_NO_ID, 120, &older), TICKET_TABLE_GOOD);
    rules_over(7, 130, 20000);
    assert_int_equal(rules_use(8, 30000, 140, 140, &older), TICKET_TABLE_USED);
    real_tell(&rig.redis, NULL, 0, "HSET {bugle}meta born 25000");
    real_tell(&rig.redis, NULL, 0, "RPUSH {bugle}terms \"eeeeeeeeeeee 135\"");
    assert_int_equal(rules_use(8, 30000, 201, 140, &older), TICKET_TABLE_USED);
    assert_int_equal(rules_use(8, 30000, 140, 140, &older), TICKET_TABLE_GOOD);
    use.now_ms = 40000;
    use.position = 999;
    strcpy(use.epoch, "ffffffffffff");
    assert_int_equal(try(&rig.b, &use), SHARED_LOG_DONE);
    assert_int_equal(use.verdict, SHARED_TICKET_USED);
    strcpy(use.epoch, "eeeeeeeeeeee"); /* beyond the end of that term */
    assert_int_equal(try(&rig.b, &use), SHARED_LOG_DONE);
    assert_int_equal(use.verdict, SHARED_TICKET_GOOD);
    real_tell(&rig.redis, NULL, 0, "RPOP {bugle}terms");
}

static void what_is_forgotten_is_late(void **state)
{
    struct shared_ticket_news news[SHARED_TICKET_NEWS_MAX];
    uint64_t older;

    (void)state;
    rules_begin(RULES_BORN_MS);
    for (size_t i = 0; i < SHARED_TICKET_NEWS_MAX; i++)
        news[i] = (struct shared_ticket_news){.what = SHARED_TICKET_FORGET, .name = "00"};
    strcpy(news[SHARED_TICKET_NEWS_MAX - 1].name, "01");
    assert_int_equal(rules_use(7, 20000, RULES_NO_ID, 120, &older), TICKET_TABLE_GOOD);
    say(&rig.b, news, SHARED_TICKET_NEWS_MAX);
    assert_int_equal(rules_use(8, 30000, 130, 130, &older), TICKET_TABLE_GOOD); /* it was live */
    rules_over(8, 130, 30000);
    say(&rig.b, news, SHARED_TICKET_NEWS_MAX);
    assert_int_equal(rules_use(9, 30000, 130, 130, &older), TICKET_TABLE_LATE);
}

static void it_goes_with_its_time(void **state)
{
    struct shared_ticket_use use = use_of(&rig.a, 7);
    char answer[64];

    (void)state;
    rules_begin(RULES_BORN_MS);
    use.now_ms = 0; /* the server's */
    use.first_until_ms = use.until_ms = clock_wall_ms() + 60000;
    assert_int_equal(try(&rig.a, &use), SHARED_LOG_DONE);
    assert_int_equal(use.verdict, SHARED_TICKET_GOOD);
    real_tell(&rig.redis, answer, sizeof(answer), "PTTL {bugle}t:01");
    long ttl = strtol(answer + 1, NULL, 10);
    assert_true(ttl > 0 && ttl <= 60000);
    real_tell(&rig.redis, answer, sizeof(answer), "MEMORY USAGE {bugle}t:01");
    print_message("# a used ticket takes %s bytes\n", strtok(answer + 1, "\r"));
    use.until_ms = 1;
    assert_int_equal(try(&rig.a, &use), SHARED_LOG_DONE);
    assert_int_equal(use.verdict, SHARED_TICKET_LATE);
}

static void what_is_wrong_is_an_outcome(void **state)
{
    struct shared_ticket_use use = use_of(&rig.a, 7);
    struct asked asked = {.question = {.kind = SHARED_LOG_ASK_TICKET, .use = &use}};

    (void)state;
    rules_begin(RULES_BORN_MS);
    real_tell(&rig.redis, NULL, 0, "CONFIG SET maxmemory 1");
    assert_int_equal(try(&rig.a, &use), SHARED_LOG_FULL);
    real_tell(&rig.redis, NULL, 0, "CONFIG SET maxmemory 0");
    real_tell(&rig.redis, NULL, 0, "SET {bugle}t:01 nonsense");
    assert_int_equal(try(&rig.a, &use), SHARED_LOG_DAMAGED);
    real_tell(&rig.redis, NULL, 0, "DEL {bugle}t:01");
    assert_int_equal(try(&rig.a, &use), SHARED_LOG_DONE);
    /* on its way when its server goes: it may be granted */
    rig.a.downs_n = 0;
    kill(rig.redis.pid, SIGSTOP);
    asked.question.answered = answered;
    shared_log_ask(rig.a.log, &asked.question);
    real_redis_kill(&rig.redis);
    node_wait(&rig.a, &asked.answers_n, 1);
    assert_int_equal(asked.question.outcome, SHARED_LOG_LOST);
    node_wait(&rig.a, &rig.a.downs_n, 1);
    assert_int_equal(try(&rig.a, &use), SHARED_LOG_UNREACHABLE);
    real_redis_run(&rig.redis);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TICKET_RULES,
        cmocka_unit_test(another_node_takes_over_and_the_first_hears_of_it),
        cmocka_unit_test(who_fights_is_told_too),
        cmocka_unit_test(a_live_stream_brings_its_ticket_back),
        cmocka_unit_test(ids_of_a_lost_tail_are_good),
        cmocka_unit_test(what_is_forgotten_is_late),
        cmocka_unit_test(it_goes_with_its_time),
        cmocka_unit_test(what_is_wrong_is_an_outcome),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, begin, end);
}
