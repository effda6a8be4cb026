/* SPDX-License-Identifier: MIT */
/* A connection to a server that answers in pieces, late, wrongly, too much, or not at all. */
#include "config.h"
#include "cluster/redis_link.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "fake_redis.h"

#define PATIENCE_MS 20000
#define SOON_MS 50

struct rig {
    struct event_base *base;
    struct fake_redis fake;
    struct redis_link *link;
    struct redis_link_conf conf;
    /* what came back */
    unsigned ups_n, downs_n, answers_n, messages_n;
    enum redis_fault down, fault;
    char why[256], answer[256], message[256];
    redis_link_done *next; /* called with an answer */
    /* what the server says to a command that it does not know */
    const char *words;
    size_t commands_n;
    bool hangs_up;
};

static void up(void *arg)
{
    ((struct rig *)arg)->ups_n++;
}

static void down(void *arg, enum redis_fault fault, const char *why)
{
    struct rig *rig = arg;

    rig->downs_n++;
    rig->down = fault;
    snprintf(rig->why, sizeof(rig->why), "%s", why);
}

static void message(void *arg, const redisReply *channel, const redisReply *text)
{
    struct rig *rig = arg;

    rig->messages_n++;
    snprintf(rig->message, sizeof(rig->message), "%s %s", channel->str, text->str);
}

static void answered(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct rig *rig = arg;

    rig->answers_n++;
    rig->fault = fault;
    snprintf(rig->answer, sizeof(rig->answer), "%s",
             reply != NULL && reply->str != NULL ? reply->str : "");
    if (rig->next != NULL)
        rig->next(rig, fault, reply);
}

static void say_it(struct fake_client *client, const redisReply *command)
{
    struct rig *rig = client->fake->arg;

    if (fake_is(command, "ROLE")) {
        fake_say(client, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
        return;
    }
    if (fake_is(command, "SELECT") || fake_is(command, "PING")) {
        fake_say(client, "+OK\r\n");
        return;
    }
    rig->commands_n++;
    if (rig->words != NULL)
        fake_say(client, rig->words);
    if (rig->hangs_up) {
        client->hangs_up = true;
        event_active(client->writable, EV_WRITE, 0);
    }
}

static void rig_begin(struct rig *rig)
{
    memset(rig, 0, sizeof(*rig));
    rig->base = event_base_new();
    fake_redis_begin(&rig->fake, rig->base, say_it, rig);
    rig->conf = (struct redis_link_conf){
        .wants_master = true, .timeout_ms = PATIENCE_MS, .reply_bytes_max = 1 << 16};
}

static void rig_open(struct rig *rig)
{
    struct redis_link_hooks hooks = {.up = up, .down = down, .message = message, .arg = rig};

    rig->link = redis_link_new(rig->base, &rig->conf, &hooks);
    redis_link_open(rig->link, &rig->fake.place);
}

static void rig_end(struct rig *rig)
{
    redis_link_free(rig->link);
    fake_redis_end(&rig->fake);
    event_base_free(rig->base);
}

/* Turn the loop until a count is reached. */
static void wait_for(struct rig *rig, const unsigned *count, unsigned wanted)
{
    int64_t until_ms = clock_mono_ms() + PATIENCE_MS;

    while (*count < wanted && clock_mono_ms() < until_ms)
        event_base_loop(rig->base, EVLOOP_ONCE);
    assert_int_equal(*count, wanted);
}

static void ask(struct rig *rig, const char *command)
{
    assert_int_equal(redis_link_ask(rig->link, PATIENCE_MS, answered, rig, command), 0);
}

static void rig_up(struct rig *rig)
{
    rig_begin(rig);
    rig_open(rig);
    wait_for(rig, &rig->ups_n, 1);
}

static void commands_are_answered_in_order(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    rig.conf.db = 3;
    rig.words = "$5\r\nhello\r\n";
    rig_open(&rig);
    assert_int_equal(redis_link_ask(rig.link, 1, answered, &rig, "GET a"), -ENOTCONN);
    wait_for(&rig, &rig.ups_n, 1);
    assert_true(redis_link_is_up(rig.link));
    for (int i = 0; i < 100; i++)
        ask(&rig, "GET a");
    assert_int_equal(redis_link_waiting(rig.link), 100);
    wait_for(&rig, &rig.answers_n, 100);
    assert_int_equal(redis_link_waiting(rig.link), 0);
    assert_string_equal(rig.answer, "hello");
    assert_int_equal(rig.fault, REDIS_FINE);
    assert_int_equal(rig.downs_n, 0);
    rig_end(&rig);
}

static void answers_come_in_any_pieces(void **state)
{
    struct rig rig;

    (void)state;
    rig_up(&rig);
    rig.fake.piece_bytes = 1;
    rig.words = "*2\r\n$3\r\na\r\n\r\n*1\r\n:-7\r\n";
    ask(&rig, "GET a");
    ask(&rig, "GET a");
    wait_for(&rig, &rig.answers_n, 2);
    assert_int_equal(rig.fault, REDIS_FINE);
    rig_end(&rig);
}

static void large_commands_arrive_whole(void **state)
{
    static char body[3 << 20];
    const char *words[] = {"SET", body};
    size_t bytes[] = {3, sizeof(body)};
    struct rig rig;

    (void)state;
    rig_up(&rig);
    redis_reader_end(&rig.fake.clients[0].reader);
    redis_reader_begin(&rig.fake.clients[0].reader, sizeof(body) * 2);
    rig.words = "+OK\r\n";
    assert_int_equal(redis_link_send(rig.link, 2, words, bytes, PATIENCE_MS, answered, &rig), 0);
    ask(&rig, "GET a");
    wait_for(&rig, &rig.answers_n, 2);
    assert_int_equal(rig.commands_n, 2);
    rig_end(&rig);
}

static void errors_of_the_server_are_answers(void **state)
{
    struct rig rig;

    (void)state;
    rig_up(&rig);
    rig.words = "-OOM command not allowed\r\n";
    ask(&rig, "SET a b");
    wait_for(&rig, &rig.answers_n, 1);
    assert_int_equal(rig.fault, REDIS_OOM);
    assert_int_equal(rig.downs_n, 0);
    rig_end(&rig);
}

/* What is under way when a connection ends, and how it ended. */
static void expect_end(const char *words, bool hangs_up, enum redis_fault fault)
{
    struct rig rig;

    rig_up(&rig);
    rig.words = words;
    rig.hangs_up = hangs_up;
    ask(&rig, "GET a");
    ask(&rig, "GET b");
    wait_for(&rig, &rig.downs_n, 1);
    if (rig.down != fault || rig.fault != fault)
        fail_msg("%s: %s", words, redis_fault_text(rig.down));
    assert_int_equal(rig.answers_n, 2);
    assert_false(redis_link_is_up(rig.link));
    assert_int_equal(redis_link_ask(rig.link, 1, answered, &rig, "GET a"), -ENOTCONN);
    rig_end(&rig);
}

static void a_connection_ends_for_all_commands(void **state)
{
    (void)state;
    expect_end(NULL, true, REDIS_LOST);
    expect_end("$100\r\nhalf of", true, REDIS_LOST);
    expect_end("HTTP/1.1 400 Bad Request\r\n\r\n", false, REDIS_GARBLED);
    expect_end("$-7\r\n", false, REDIS_GARBLED);
}

static void an_answer_has_bounds(void **state)
{
    static char long_answer[60000] = "$200000\r\n";

    (void)state;
    expect_end("*2147483647\r\n", false, REDIS_TOO_LARGE);
    expect_end("*2\r\n*65535\r\n", false, REDIS_TOO_LARGE);
    expect_end("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", false, REDIS_TOO_LARGE);
    memset(long_answer + 9, 'x', sizeof(long_answer) - 10);
    expect_end(long_answer, false, REDIS_TOO_LARGE); /* twice 60,000 bytes of one answer */
}

static void an_answer_that_nobody_asked_for_ends_it(void **state)
{
    struct rig rig;

    (void)state;
    rig_up(&rig);
    fake_say(&rig.fake.clients[0], "+OK\r\n");
    wait_for(&rig, &rig.downs_n, 1);
    assert_int_equal(rig.down, REDIS_GARBLED);
    /* and it opens again, to the same place */
    redis_link_open(rig.link, &rig.fake.place);
    wait_for(&rig, &rig.ups_n, 2);
    fake_say(&rig.fake.clients[0], "-ERR max number of clients reached\r\n");
    wait_for(&rig, &rig.downs_n, 2);
    assert_int_equal(rig.down, REDIS_ERROR);
    assert_string_equal(rig.why, "ERR max number of clients reached");
    rig_end(&rig);
}

static void a_late_answer_ends_it(void **state)
{
    struct rig rig;
    int64_t begin_ms;

    (void)state;
    rig_up(&rig);
    begin_ms = clock_mono_ms();
    assert_int_equal(redis_link_ask(rig.link, SOON_MS, answered, &rig, "GET a"), 0);
    ask(&rig, "GET b"); /* has time */
    wait_for(&rig, &rig.downs_n, 1);
    assert_int_equal(rig.down, REDIS_TIMEOUT);
    assert_int_equal(rig.answers_n, 2);
    assert_true(clock_mono_ms() - begin_ms >= SOON_MS);
    assert_true(clock_mono_ms() - begin_ms < PATIENCE_MS / 2);
    rig_end(&rig);
}

/* Behind one that may take long, such as WAIT. */
static void a_command_has_as_long_as_those_ahead_of_it(void **state)
{
    struct rig rig;

    (void)state;
    rig_up(&rig);
    ask(&rig, "GET a");
    assert_int_equal(redis_link_ask(rig.link, SOON_MS, answered, &rig, "GET b"), 0);
    int64_t until_ms = clock_mono_ms() + 2 * SOON_MS;
    while (clock_mono_ms() < until_ms)
        event_base_loop(rig.base, EVLOOP_NONBLOCK);
    assert_int_equal(rig.downs_n, 0);
    rig.words = "+OK\r\n+OK\r\n+OK\r\n"; /* for all three at once */
    ask(&rig, "GET c");
    wait_for(&rig, &rig.answers_n, 3);
    assert_int_equal(rig.fault, REDIS_FINE);
    assert_int_equal(rig.downs_n, 0);
    rig_end(&rig);
}

static void connecting_has_a_deadline(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    event_del(rig.fake.acceptable); /* the kernel accepts, and nobody answers */
    rig.conf.timeout_ms = SOON_MS;
    rig_open(&rig);
    wait_for(&rig, &rig.downs_n, 1);
    assert_int_equal(rig.down, REDIS_TIMEOUT);
    rig_end(&rig);
}

static void nobody_there_is_told(void **state)
{
    struct rig rig;
    struct redis_place nowhere = {"no-such-host.invalid", 6379};

    (void)state;
    rig_begin(&rig);
    event_del(rig.fake.acceptable);
    close(rig.fake.fd);
    rig.fake.fd = -1;
    rig_open(&rig);
    wait_for(&rig, &rig.downs_n, 1);
    assert_int_equal(rig.down, REDIS_REFUSED);
    redis_link_open(rig.link, &nowhere);
    wait_for(&rig, &rig.downs_n, 2);
    assert_int_equal(rig.down, REDIS_UNRESOLVED);
    rig_end(&rig);
}

/* The server's answer to greetings. */
static void say_role(struct fake_client *client, const redisReply *command)
{
    struct rig *rig = client->fake->arg;
    bool is_role = fake_is(command, "ROLE");

    rig->commands_n++;
    if (rig->commands_n == 1 && !is_role)
        snprintf(rig->message, sizeof(rig->message), "%s %s", command->element[1]->str,
                 command->elements > 2 ? command->element[2]->str : "");
    fake_say(client, is_role ? rig->words : "+OK\r\n");
}

static void it_says_who_it_is_and_wants_a_master(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    rig.fake.answer = say_role;
    rig.conf.user = "me";
    rig.conf.password = "secret word";
    rig.words = "*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n$9\r\nconnected\r\n:0\r\n";
    rig_open(&rig);
    wait_for(&rig, &rig.downs_n, 1);
    assert_int_equal(rig.down, REDIS_READONLY);
    assert_string_equal(rig.message, "me secret word");
    rig.words = "-NOAUTH Authentication required.\r\n";
    redis_link_open(rig.link, &rig.fake.place);
    wait_for(&rig, &rig.downs_n, 2);
    assert_int_equal(rig.down, REDIS_NOAUTH);
    rig.words = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n";
    redis_link_open(rig.link, &rig.fake.place);
    wait_for(&rig, &rig.ups_n, 1);
    rig_end(&rig);
}

static void messages_come_beside_answers(void **state)
{
    struct rig rig;

    (void)state;
    rig_up(&rig);
    rig.words = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"
                "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
    assert_int_equal(redis_link_subscribe(rig.link, "c", PATIENCE_MS, answered, &rig), 0);
    wait_for(&rig, &rig.answers_n, 1);
    wait_for(&rig, &rig.messages_n, 1);
    assert_string_equal(rig.message, "c hi");
    rig.words = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\nyou\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n";
    ask(&rig, "GET pong");
    wait_for(&rig, &rig.answers_n, 2);
    assert_int_equal(rig.messages_n, 2);
    rig_end(&rig);
}

static void close_it(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct rig *rig = arg;

    (void)fault, (void)reply;
    rig->next = NULL;
    redis_link_close(rig->link);
}

static void it_may_be_closed_from_an_answer(void **state)
{
    struct rig rig;

    (void)state;
    rig_up(&rig);
    rig.words = "+OK\r\n";
    rig.next = close_it;
    ask(&rig, "GET a");
    ask(&rig, "GET b");
    ask(&rig, "GET c");
    wait_for(&rig, &rig.answers_n, 3);
    assert_int_equal(rig.fault, REDIS_CLOSED);
    assert_int_equal(rig.downs_n, 0);
    redis_link_open(rig.link, &rig.fake.place);
    wait_for(&rig, &rig.ups_n, 2);
    /* also while it is ending by itself */
    rig.words = "?\r\n";
    rig.next = close_it;
    ask(&rig, "GET a");
    ask(&rig, "GET b");
    wait_for(&rig, &rig.answers_n, 5);
    assert_int_equal(rig.downs_n, 0);
    rig_end(&rig);
}

static void names_are_resolved(void **state)
{
    struct rig rig;

    (void)state;
    rig_begin(&rig);
    strcpy(rig.fake.place.host, "localhost"); /* ::1 may come first, where nobody listens */
    rig_open(&rig);
    wait_for(&rig, &rig.ups_n, 1);
    redis_link_close(rig.link);
    /* closed while it is asked, and opened again with the same question */
    redis_link_open(rig.link, &rig.fake.place);
    redis_link_close(rig.link);
    redis_link_open(rig.link, &rig.fake.place);
    wait_for(&rig, &rig.ups_n, 2);
    rig_end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_answered_in_order),
        cmocka_unit_test(answers_come_in_any_pieces),
        cmocka_unit_test(large_commands_arrive_whole),
        cmocka_unit_test(errors_of_the_server_are_answers),
        cmocka_unit_test(a_connection_ends_for_all_commands),
        cmocka_unit_test(an_answer_has_bounds),
        cmocka_unit_test(an_answer_that_nobody_asked_for_ends_it),
        cmocka_unit_test(a_late_answer_ends_it),
        cmocka_unit_test(a_command_has_as_long_as_those_ahead_of_it),
        cmocka_unit_test(connecting_has_a_deadline),
        cmocka_unit_test(nobody_there_is_told),
        cmocka_unit_test(it_says_who_it_is_and_wants_a_master),
        cmocka_unit_test(messages_come_beside_answers),
        cmocka_unit_test(it_may_be_closed_from_an_answer),
        cmocka_unit_test(names_are_resolved),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
