/* SPDX-License-Identifier: MIT */
/* Answers to a node that no log of ours would give: each is an outcome, and none a mistake. */
#include "config.h"
#include "cluster/redis_log.h"
#include "cluster/shared_ticket.h"

#include "base/log.h"
#include "fake_redis.h"
#include "redis_node.h"

#define EPOCH "$12\r\nabcdefghijkl\r\n"
#define NOUGHT "$1\r\n0\r\n"
#define CLOCK "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n"
#define ATTACHED "*7\r\n" EPOCH NOUGHT NOUGHT NOUGHT NOUGHT CLOCK "*0\r\n"

/* What the server says to each script, and to XREAD.  NULL: nothing. */
struct says {
    const char *attach, *append, *ask, *xread, *wait;
    unsigned appends_n;
    uint16_t master; /* what it says as a sentinel */
    unsigned asked_n;
};

struct rig {
    struct event_base *base;
    struct fake_redis fake;
    struct says says;
    struct node a;
};

static const char *say_to_script(struct says *says, const char *text)
{
    if (strstr(text, "tries") != NULL || strncmp(text, "return", 6) == 0)
        return "*0\r\n"; /* check.lua, peek.lua */
    if (strstr(text, "'LSET'") != NULL)
        return says->attach;
    if (strstr(text, "'XADD'") != NULL) {
        says->appends_n++;
        return says->append;
    }
    if (strstr(text, "'TAKEN'") != NULL)
        return "*2\r\n$2\r\nOK\r\n" EPOCH;
    if (strstr(text, "'XTRIM'") != NULL)
        return ":0\r\n";
    return says->ask;
}

static const char *say_to(struct says *says, const redisReply *command)
{
    if (fake_is(command, "ROLE"))
        return "*1\r\n$6\r\nmaster\r\n";
    if (fake_is(command, "INFO"))
        return "$21\r\nredis_version:7.0.15\n\r\n";
    if (fake_is(command, "TYPE"))
        return "+none\r\n";
    if (fake_is(command, "TIME"))
        return CLOCK;
    if (fake_is(command, "SUBSCRIBE"))
        return "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n";
    if (fake_is(command, "PING"))
        return "*2\r\n$4\r\npong\r\n$0\r\n\r\n";
    if (fake_is(command, "XREAD"))
        return says->xread;
    if (fake_is(command, "WAIT"))
        return says->wait;
    if (fake_is(command, "CONFIG"))
        return "*0\r\n";
    if (fake_is(command, "EVALSHA")) /* it keeps none */
        return "-NOSCRIPT No matching script.\r\n";
    return say_to_script(says, command->element[1]->str);
}

static void say_master(struct fake_client *client, const redisReply *command)
{
    struct says *says = client->fake->arg;
    char text[128], port[8];
    int port_n = snprintf(port, sizeof(port), "%u", says->master);

    if (fake_is(command, "PING")) {
        fake_say(client, "+PONG\r\n");
    } else if (strcasecmp(command->element[1]->str, "MASTER") == 0) {
        fake_say(client, "*2\r\n$12\r\nconfig-epoch\r\n$1\r\n1\r\n");
    } else {
        says->asked_n++;
        snprintf(text, sizeof(text), "*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n", port_n, port);
        fake_say(client, text);
    }
}

static void say(struct fake_client *client, const redisReply *command)
{
    const char *text = say_to(client->fake->arg, command);

    if (text != NULL)
        fake_say(client, text);
}

static void rig_begin(struct rig *rig)
{
    memset(rig, 0, sizeof(*rig));
    rig->base = event_base_new();
    rig->says = (struct says){.attach = ATTACHED};
    fake_redis_begin(&rig->fake, rig->base, say, &rig->says);
    node_prepare(&rig->a, rig->base, &rig->fake.place, "a");
}

static void rig_end(struct rig *rig)
{
    node_end(&rig->a);
    fake_redis_end(&rig->fake);
    event_base_free(rig->base);
}

static void expect_attach(const char *text, enum shared_log_outcome outcome)
{
    struct rig rig;

    rig_begin(&rig);
    rig.says.attach = text;
    node_begin(&rig.a);
    node_wait(&rig.a, &rig.a.attach_answers_n, 1);
    if (rig.a.attach_outcome != outcome)
        fail_msg("%s: %s", text, shared_log_outcome_text(rig.a.attach_outcome));
    rig_end(&rig);
}

static void attaching_trusts_nothing(void **state)
{
    (void)state;
    expect_attach(ATTACHED, SHARED_LOG_DONE);
    expect_attach("+OK\r\n", SHARED_LOG_DAMAGED);
    expect_attach("*0\r\n", SHARED_LOG_DAMAGED);
    expect_attach("$-1\r\n", SHARED_LOG_DAMAGED);
    expect_attach("*7\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n", SHARED_LOG_DAMAGED);
    expect_attach("*7\r\n$1\r\na\r\n" NOUGHT NOUGHT NOUGHT NOUGHT CLOCK "*0\r\n",
                  SHARED_LOG_DAMAGED);
    expect_attach("*7\r\n" EPOCH "$20\r\n99999999999999999999\r\n" NOUGHT NOUGHT NOUGHT CLOCK
                  "*0\r\n",
                  SHARED_LOG_DAMAGED);
    expect_attach("*7\r\n" EPOCH "$2\r\n-1\r\n" NOUGHT NOUGHT NOUGHT CLOCK "*0\r\n",
                  SHARED_LOG_DAMAGED);
    /* trimmed beyond its head; terms that go down, that are none, and that are numbers */
    expect_attach("*7\r\n" EPOCH NOUGHT "$1\r\n1\r\n" NOUGHT NOUGHT CLOCK "*0\r\n",
                  SHARED_LOG_DAMAGED);
    expect_attach("*7\r\n" EPOCH NOUGHT NOUGHT NOUGHT NOUGHT CLOCK
                  "*2\r\n$14\r\naaaaaaaaaaaa 9\r\n$14\r\nbbbbbbbbbbbb 5\r\n",
                  SHARED_LOG_DAMAGED);
    expect_attach("*7\r\n" EPOCH NOUGHT NOUGHT NOUGHT NOUGHT CLOCK "*1\r\n$1\r\nx\r\n",
                  SHARED_LOG_DAMAGED);
    expect_attach("*7\r\n" EPOCH NOUGHT NOUGHT NOUGHT NOUGHT CLOCK "*1\r\n:1\r\n",
                  SHARED_LOG_DAMAGED);
    expect_attach("-OOM command not allowed\r\n", SHARED_LOG_FULL);
    expect_attach("-BUSY Redis is busy running a script\r\n", SHARED_LOG_UNREACHABLE);
    expect_attach("-LOADING it is\r\n", SHARED_LOG_UNREACHABLE);
    expect_attach("?\r\n", SHARED_LOG_LOST);
}

static void appending_trusts_nothing(void **state)
{
    static const struct {
        const char *text;
        enum shared_log_outcome outcome;
    } table[] = {
        {"*5\r\n$2\r\nOK\r\n" EPOCH "$1\r\n1\r\n$2\r\n77\r\n" NOUGHT, SHARED_LOG_DONE},
        {"*4\r\n$2\r\nOK\r\n" EPOCH "$1\r\n1\r\n$2\r\n77\r\n", SHARED_LOG_LOST},
        {"*5\r\n$2\r\nOK\r\n" EPOCH "$1\r\n1\r\n$2\r\n77\r\n:1\r\n", SHARED_LOG_LOST},
        {"*1\r\n$4\r\nTERM\r\n", SHARED_LOG_TERM},
        {"*0\r\n", SHARED_LOG_LOST},
        {"+OK\r\n", SHARED_LOG_LOST},
        {"$-1\r\n", SHARED_LOG_LOST},
        {"*1\r\n$2\r\nOK\r\n", SHARED_LOG_LOST},
        {"*5\r\n$2\r\nOK\r\n" EPOCH "$1\r\nx\r\n$2\r\n77\r\n" NOUGHT, SHARED_LOG_LOST},
        {"*5\r\n$2\r\nOK\r\n" EPOCH "$17\r\n99999999999999999\r\n$2\r\n77\r\n" NOUGHT,
         SHARED_LOG_LOST},
        {"*5\r\n$2\r\nOK\r\n:1\r\n$1\r\n1\r\n$2\r\n77\r\n" NOUGHT, SHARED_LOG_LOST},
        {"*3\r\n$4\r\nKEYS\r\n$1\r\n1\r\n$1\r\nx\r\n", SHARED_LOG_REFUSED},
        {"*3\r\n$4\r\nKEYS\r\n$1\r\n0\r\n$3\r\n1 x\r\n", SHARED_LOG_REFUSED},
        {"*2\r\n$4\r\nKEYS\r\n:1\r\n", SHARED_LOG_KEYS}, /* of none */
        {"-OOM command not allowed\r\n", SHARED_LOG_FULL},
        {"-MISCONF Errors writing to the AOF file\r\n", SHARED_LOG_FULL},
        {"-NOREPLICAS Not enough good replicas to write.\r\n", SHARED_LOG_UNREACHABLE},
        {"-BUSY Redis is busy running a script\r\n", SHARED_LOG_UNREACHABLE},
        {"-NOPERM this user has no permissions\r\n", SHARED_LOG_REFUSED},
        {"-ERR something else\r\n", SHARED_LOG_REFUSED},
    };
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    node_begin(&rig.a);
    node_wait(&rig.a, &rig.a.attached_n, 1);
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        rig.says.append = table[i].text;
        if (node_append(&rig.a, 1, 1) != table[i].outcome)
            fail_msg("%s: %s", table[i].text, shared_log_outcome_text(rig.a.answer.outcome));
    }
    assert_int_equal(rig.a.downs_n, 0);
    /* these say that it is no more the server */
    rig.says.append = "-READONLY You can't write against a read only replica.\r\n";
    assert_int_equal(node_append(&rig.a, 1, 1), SHARED_LOG_UNREACHABLE);
    node_wait(&rig.a, &rig.a.attached_n, 2);
    rig.says.append = "?\r\n";
    assert_int_equal(node_append(&rig.a, 1, 1), SHARED_LOG_LOST);
    node_wait(&rig.a, &rig.a.attached_n, 3);
    assert_int_equal(rig.a.downs_n, 2);
    rig_end(&rig);
}

static void a_script_that_is_never_kept_is_refused_in_the_end(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    rig.says.append = "-NOSCRIPT No matching script.\r\n";
    node_begin(&rig.a);
    node_wait(&rig.a, &rig.a.attached_n, 1);
    assert_int_equal(node_append(&rig.a, 1, 1), SHARED_LOG_UNREACHABLE);
    assert_true(rig.says.appends_n <= 3);
    rig_end(&rig);
}

static void moved_is_followed(void **state)
{
    struct rig rig, other;
    char text[128];

    (void)state;
    rig_begin(&rig);
    rig_begin(&other);
    snprintf(text, sizeof(text), "-MOVED 99 127.0.0.1:%u\r\n", other.fake.place.port);
    rig.says.append = text;
    node_begin(&rig.a);
    node_wait(&rig.a, &rig.a.attached_n, 1);
    assert_int_equal(node_append(&rig.a, 1, 1), SHARED_LOG_UNREACHABLE);
    while (rig.a.attached_n < 2) {
        event_base_loop(rig.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        event_base_loop(other.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    assert_int_equal(other.fake.accepted_n, 3);
    other.a.log = NULL;
    rig_end(&rig);
    rig_end(&other);
}

static void a_wait_that_falls_short_asks_the_sentinels(void **state)
{
    struct fake_redis sentinel;
    struct rig rig, other;

    (void)state;
    rig_begin(&rig);
    rig_begin(&other);
    rig.says.append = other.says.append =
        "*5\r\n$2\r\nOK\r\n" EPOCH "$1\r\n1\r\n$2\r\n77\r\n" NOUGHT;
    rig.says.wait = other.says.wait = ":0\r\n";
    rig.says.master = rig.fake.place.port;
    fake_redis_begin(&sentinel, rig.base, say_master, &rig.says);
    rig.a.url.places[0] = sentinel.place;
    rig.a.url.is_sentinel = true;
    strcpy(rig.a.url.master, "m");
    rig.a.conf.promise = HISTORY_REPLICATED;
    rig.a.conf.replicas = 1;
    node_begin(&rig.a);
    node_wait(&rig.a, &rig.a.attached_n, 1);
    unsigned asked_n = rig.says.asked_n;
    for (unsigned i = 0; i < 20; i++) /* they take much less than the second between two rounds */
        assert_int_equal(node_append(&rig.a, 1, 1), SHARED_LOG_UNCONFIRMED);
    assert_true(rig.says.asked_n > asked_n + 2);
    assert_int_equal(rig.a.downs_n, 0);
    /* and there is another now */
    rig.says.master = other.fake.place.port;
    node_append(&rig.a, 1, 1); /* its answer may be lost, if the one before it asked in time */
    while (rig.a.attached_n < 2) {
        event_base_loop(rig.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        event_base_loop(other.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
    assert_int_equal(other.fake.accepted_n, 3);
    other.a.log = NULL;
    node_end(&rig.a);
    fake_redis_end(&sentinel);
    fake_redis_end(&rig.fake);
    event_base_free(rig.base);
    rig_end(&other);
}

/* What the node is given has no head where there is no entry. */
static void expect_tail(const char *text, bool is_broken)
{
    struct rig rig;

    rig_begin(&rig);
    rig.says.xread = text;
    node_begin(&rig.a);
    node_wait(&rig.a, is_broken ? &rig.a.breaks_n : &rig.a.downs_n, 1);
    assert_int_equal(rig.a.entries_n, 0);
    rig_end(&rig);
}

static void the_tail_trusts_nothing(void **state)
{
    (void)state;
    expect_tail("+OK\r\n", false);
    expect_tail("*0\r\n", false);
    expect_tail("*1\r\n*2\r\n$1\r\nk\r\n*0\r\n", false);
    expect_tail("*1\r\n*2\r\n$1\r\nk\r\n*1\r\n:1\r\n", true);
    expect_tail("*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*0\r\n", true);
    expect_tail("*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*4\r\n"
                "$1\r\nh\r\n$23\r\nabcdefghijkl 1 77 a.a 1\r\n$1\r\nb\r\n$1\r\n7\r\n",
                true);
    expect_tail("*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*4\r\n"
                "$1\r\nh\r\n:1\r\n$1\r\nb\r\n$1\r\n7\r\n",
                true);
    /* an order behind what is not there, one without a body, a name that is none */
    expect_tail("*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n2-1\r\n*4\r\n"
                "$1\r\nh\r\n$23\r\nabcdefghijkl 3 77 a.a 1\r\n$1\r\nb\r\n$1\r\n7\r\n",
                true);
    expect_tail("*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n0-1\r\n*2\r\n"
                "$1\r\nh\r\n$23\r\nabcdefghijkl 1 77 a.a 1\r\n",
                true);
    expect_tail("*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$2\r\n1-\r\n*0\r\n", true);
    expect_tail("*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$22\r\n0-99999999999999999999\r\n*0\r\n", true);
    expect_tail("-WRONGTYPE Operation against a key\r\n", false);
    expect_tail("-UNBLOCKED force unblock\r\n", false);
}

struct asked {
    struct shared_log_question question;
    unsigned answers_n;
};

static void answered(struct shared_log_question *question)
{
    ((struct asked *)question)->answers_n++;
}

static void expect_ask(struct node *node, enum shared_log_question_kind kind,
                       enum shared_log_outcome outcome)
{
    struct shared_ticket_use use = {.name = "n", .mark = 1, .say = ""};
    struct shared_ticket_news news[2] = {{.name = "n", .say = ""}, {.name = "n", .say = ""}};
    struct asked asked = {
        .question = {.kind = kind, .answered = answered, .use = &use, .news = news, .news_n = 2}};

    shared_log_ask(node->log, &asked.question);
    node_wait(node, &asked.answers_n, 1);
    assert_int_equal(asked.question.outcome, outcome);
}

static void asking_trusts_nothing(void **state)
{
    static const char *const table[] = {"+OK\r\n",
                                        "*0\r\n",
                                        "$-1\r\n",
                                        ":1\r\n",
                                        "*3\r\n$1\r\na\r\n$1\r\n1\r\n*0\r\n",
                                        "*4\r\n$1\r\na\r\n$1\r\nx\r\n*0\r\n$1\r\n5\r\n",
                                        "*4\r\n$1\r\na\r\n$1\r\n1\r\n*0\r\n$1\r\nx\r\n",
                                        "*4\r\n$1\r\na\r\n$1\r\n1\r\n:1\r\n$1\r\n5\r\n",
                                        "*2\r\n$5\r\nGREAT\r\n$1\r\n1\r\n",
                                        "*2\r\n$4\r\nGOOD\r\n$1\r\nx\r\n",
                                        "*2\r\n$4\r\nGOOD\r\n$20\r\n99999999999999999999\r\n"};
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    node_begin(&rig.a);
    node_wait(&rig.a, &rig.a.attached_n, 1);
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
        rig.says.ask = table[i];
        expect_ask(&rig.a, SHARED_LOG_ASK_HEAD, SHARED_LOG_DAMAGED);
        expect_ask(&rig.a, SHARED_LOG_ASK_NODES, SHARED_LOG_DAMAGED);
        expect_ask(&rig.a, SHARED_LOG_ASK_TICKET, SHARED_LOG_DAMAGED);
        expect_ask(&rig.a, SHARED_LOG_ASK_TICKETS, SHARED_LOG_DAMAGED);
    }
    rig.says.ask = "*4\r\n$0\r\n\r\n$1\r\n0\r\n*0\r\n$1\r\n5\r\n";
    expect_ask(&rig.a, SHARED_LOG_ASK_HEAD, SHARED_LOG_TERM);
    expect_ask(&rig.a, SHARED_LOG_ASK_NODES, SHARED_LOG_DONE);
    rig.says.ask = "-OOM no\r\n";
    expect_ask(&rig.a, SHARED_LOG_ASK_TICKET, SHARED_LOG_FULL);
    rig.says.ask = "?\r\n";
    expect_ask(&rig.a, SHARED_LOG_ASK_TICKET, SHARED_LOG_LOST);
    rig_end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attaching_trusts_nothing),
        cmocka_unit_test(appending_trusts_nothing),
        cmocka_unit_test(a_script_that_is_never_kept_is_refused_in_the_end),
        cmocka_unit_test(moved_is_followed),
        cmocka_unit_test(a_wait_that_falls_short_asks_the_sentinels),
        cmocka_unit_test(the_tail_trusts_nothing),
        cmocka_unit_test(asking_trusts_nothing),
    };

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT); /* its clock is of another year */
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
