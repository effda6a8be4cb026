/* SPDX-License-Identifier: MIT */
/* A node among others: what it asks and is asked, and what it does for an order, with a log that
 * only notes what is said.  The node is "a", of two workers; the others are the test's. */
#include "config.h"
#include "api/node_service.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture.h"
#include "base/clock.h"
#include "cluster/node_message.h"
#include "hub/hub_share.h"

#define SAID_MAX 256
#define NOW_MS INT64_C(1000000000000) /* by the clock of the log's server, which is far off */
#define SOON_MS 20
#define NAME_OF(text) ((struct message_name){.bytes = (text), .bytes_n = strlen(text)})

struct said {
    char to[SHARED_LOG_NODE_BYTES]; /* empty: all */
    char *bytes;
    size_t bytes_n;
};

struct rig {
    struct shared_log log;
    struct fixture *fixture;
    struct node_service *nodes;
    struct hub_share_facts facts;
    bool is_left;                    /* the hub has left the log */
    enum shared_log_outcome outcome; /* of questions to the log */
    struct said said[SAID_MAX];
    size_t said_n;
    size_t asked_n; /* questions to the log */
};

/* ---- the log ---- */

static int rig_say(struct shared_log *log, const char *to, const char *bytes, size_t bytes_n)
{
    struct rig *rig = (struct rig *)log;
    struct said *said = &rig->said[rig->said_n++];

    assert_true(rig->said_n <= SAID_MAX);
    snprintf(said->to, sizeof(said->to), "%s", to != NULL ? to : "");
    said->bytes = malloc(bytes_n);
    memcpy(said->bytes, bytes, bytes_n);
    said->bytes_n = bytes_n;
    return 0;
}

static void rig_ask(struct shared_log *log, struct shared_log_question *question)
{
    assert_int_equal(question->kind, SHARED_LOG_ASK_HEAD);
    ((struct rig *)log)->asked_n++;
    question->outcome = ((struct rig *)log)->outcome;
    question->now_ms = NOW_MS;
    question->answered(question);
}

static const struct shared_log_ops rig_ops = {.say = rig_say, .ask = rig_ask};

static bool rig_run(void *arg, struct hub_share_task *task)
{
    struct rig *rig = arg;

    if (!rig->is_left)
        task->run(task, &rig->log);
    return !rig->is_left;
}

static void rig_get_facts(void *arg, struct hub_share_facts *ret_facts)
{
    *ret_facts = ((struct rig *)arg)->facts;
}

/* `nodes` one letter a name. */
static struct rig *rig_new(const char *nodes, int64_t ask_timeout_ms)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct node_service_conf conf = {.node = "a",
                                     .ask_timeout_ms = ask_timeout_ms,
                                     .run = rig_run,
                                     .get_facts = rig_get_facts,
                                     .arg = rig};

    assert_non_null(rig);
    rig->log.ops = &rig_ops;
    rig->fixture = fixture_new("server.workers=2");
    conf.shared = &rig->fixture->shared;
    rig->nodes = rig->fixture->shared.nodes = node_service_new(&conf);
    assert_non_null(rig->nodes);
    rig->facts.state = LOG_NODE_FOLLOWING;
    for (; *nodes != '\0'; nodes++)
        rig->facts.nodes[rig->facts.nodes_n++][0] = *nodes;
    return rig;
}

static void rig_forget(struct rig *rig)
{
    while (rig->said_n > 0)
        free(rig->said[--rig->said_n].bytes);
}

static void rig_free(struct rig *rig)
{
    fixture_settle(rig->fixture);
    rig_forget(rig);
    node_service_free(rig->nodes);
    fixture_free(rig->fixture);
    free(rig);
}

/* A figure that the hub's thread counts. */
static int64_t rig_stat(const struct rig *rig, enum stats_id id)
{
    return stats_get(hub_stats(rig->fixture->hub), id);
}

/* ---- what nodes say ---- */

static void hear(struct rig *rig, const struct node_message *message)
{
    size_t n = node_message_bytes(message);
    char *bytes = malloc(n);

    node_message_write(bytes, message);
    node_service_heard(rig->nodes, bytes, n);
    free(bytes);
}

static void hear_answer(struct rig *rig, uint64_t id, const char *from, uint64_t count,
                        const char *row)
{
    char rows[256];
    struct node_message message = {.kind = NODE_MESSAGE_ANSWER,
                                   .answer = {.id = id, .parts_n = 1, .count = count}};

    snprintf(message.from, sizeof(message.from), "%s", from);
    if (row != NULL) {
        message.answer.rows_n = 1;
        message.answer.rows = rows;
        message.answer.rows_bytes_n = (size_t)(node_message_put_row(rows, row, strlen(row)) - rows);
    }
    hear(rig, &message);
}

static struct node_message question_of(const char *from, enum node_message_ask what)
{
    struct node_message message = {
        .kind = NODE_MESSAGE_QUESTION,
        .question = {.id = 7, .what = what, .limit = 10000, .bytes_max = 4 << 20}};

    snprintf(message.from, sizeof(message.from), "%s", from);
    return message;
}

/* What was said, in order. */
static struct node_message said_at(const struct rig *rig, size_t index)
{
    struct node_message message;

    assert_true(index < rig->said_n);
    assert_int_equal(node_message_read(rig->said[index].bytes, rig->said[index].bytes_n, &message),
                     NODE_MESSAGE_FINE);
    assert_string_equal(message.from, "a");
    return message;
}

static void order(struct rig *rig, const char *from, const char *user, int64_t given_ms)
{
    struct node_message message = question_of(from, NODE_MESSAGE_ASK_END);
    char bytes[512];

    message.question.user = NAME_OF(user);
    message.question.given_ms = given_ms;
    assert_true(node_message_bytes(&message) <= sizeof(bytes));
    node_message_write(bytes, &message);
    node_service_order(rig->nodes, from, bytes, node_message_bytes(&message));
    fixture_settle(rig->fixture);
}

/* ---- clients ---- */

static struct client *open_stream(struct rig *rig, const char *target)
{
    struct client *client = client_ask(rig->fixture, "GET", target, "", NULL);

    assert_int_equal(client->status, 200);
    return client;
}

static bool is_closed_soon(struct rig *rig, const struct client *client)
{
    for (int i = 0; i < 20 && !client_is_closed(client); i++)
        fixture_settle(rig->fixture);
    return client_is_closed(client);
}

static void assert_body(const struct client *client, const char *wanted)
{
    assert_int_equal(client->status, 200);
    assert_string_equal(client->body, wanted);
}

/* ---- this node asks ---- */

static void a_list_is_of_all_nodes(void **state)
{
    struct rig *rig = rig_new("cab", 60000);
    struct client *client;

    (void)state;
    open_stream(rig, "/events?user=anna");
    client = client_begin(rig->fixture, "GET", "/api/streams?user=anna&limit=3", "", 0);
    fixture_settle(rig->fixture);
    assert_int_equal(client->status, 0);
    struct node_message asked = said_at(rig, 0);
    assert_string_equal(rig->said[0].to, "");
    assert_int_equal(asked.question.what, NODE_MESSAGE_ASK_LIST);
    assert_int_equal(asked.question.limit, 3);
    assert_memory_equal(asked.question.user.bytes, "anna", 4);
    hear_answer(rig, asked.question.id, "c", 20, "{\"id\":\"c.1\"}");
    hear_answer(rig, asked.question.id, "b", 300, "{\"id\":\"b.1\"}");
    client_wait(client);
    json_t *json = client_json(client), *rows = json_object_get(json, "streams");
    assert_int_equal(json_array_size(rows), 3);
    assert_int_equal(
        strncmp(json_string_value(json_object_get(json_array_get(rows, 0), "id")), "a.", 2), 0);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 1), "id")), "b.1");
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 2), "id")), "c.1");
    assert_int_equal(json_integer_value(json_object_get(json, "total")), 321);
    assert_int_equal(json_integer_value(json_object_get(json, "nodes")), 3);
    assert_int_equal(json_array_size(json_object_get(json, "missing")), 0);
    json_decref(json);
    rig_free(rig);
}

static void rows_that_are_none_do_not_get_into_an_answer(void **state)
{
    static const char *const rows[] = {
        "{\"id\":1}},{",    "[1]", "{\"a\":1,\"a\":2}", "{\"a\":{\"b\":[[]]}}",
        "{\"a\":\"\xff\"}", "x",
    };
    struct rig *rig = rig_new("ab", 60000);

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct client *client = client_begin(rig->fixture, "GET", "/api/streams", "", 0);

        fixture_settle(rig->fixture);
        hear_answer(rig, said_at(rig, rig->said_n - 1).question.id, "b", 1, rows[i]);
        client_wait(client);
        assert_body(client, "{\"streams\":[],\"total\":1,\"nodes\":2,\"missing\":[]}\n");
        assert_int_equal(fixture_stat(rig->fixture, STATS_NODE_MESSAGES_UNREAD), i + 1);
    }
    rig_free(rig);
}

static void who_does_not_answer_in_time_is_named(void **state)
{
    struct rig *rig = rig_new("dabc", SOON_MS);
    struct client *client = client_begin(rig->fixture, "GET", "/api/streams", "", 0);

    (void)state;
    fixture_settle(rig->fixture);
    uint64_t id = said_at(rig, 0).question.id;
    hear_answer(rig, id, "c", 0, NULL);
    client_wait(client);
    assert_body(client, "{\"streams\":[],\"total\":0,\"nodes\":2,\"missing\":[\"b\",\"d\"]}\n");
    hear_answer(rig, id, "b", 1, NULL);
    assert_int_equal(rig_stat(rig, STATS_NODE_ANSWERS_LATE), 1);
    rig_free(rig);
}

static void nobody_else_is_waited_for_without_a_log(void **state)
{
    struct rig *rig = rig_new("ab", 60000);

    (void)state;
    rig->facts.state = LOG_NODE_DOWN;
    assert_body(client_ask(rig->fixture, "GET", "/api/streams", "", NULL),
                "{\"streams\":[],\"total\":0,\"nodes\":1,\"missing\":[\"b\"]}\n");
    client_is_refused(
        client_ask(rig->fixture, "DELETE", "/api/streams/b.0000000001000000", "", NULL), 503,
        "log_unreachable");
    rig->is_left = true;
    client_is_refused(client_ask(rig->fixture, "DELETE", "/api/streams?user=u", "", NULL), 503,
                      "stopping");
    assert_int_equal(rig->said_n, 0);
    rig_free(rig);
}

static void one_node_can_be_asked_alone(void **state)
{
    struct rig *rig = rig_new("ab", 60000);

    (void)state;
    open_stream(rig, "/events");
    json_t *json =
        client_json(client_ask(rig->fixture, "GET", "/api/streams?local=true", "", NULL));
    assert_int_equal(json_object_size(json), 2);
    assert_int_equal(json_array_size(json_object_get(json, "streams")), 1);
    json_decref(json);
    assert_int_equal(rig->said_n, 0);
    rig_free(rig);
}

static void a_stream_of_another_node_is_ended_there(void **state)
{
    struct rig *rig = rig_new("ab", 60000);

    (void)state;
    for (uint64_t count = 0; count < 2; count++) {
        struct client *client =
            client_begin(rig->fixture, "DELETE", "/api/streams/b.0000000001000000", "", 0);

        fixture_settle(rig->fixture);
        struct node_message asked = said_at(rig, rig->said_n - 1);
        assert_string_equal(rig->said[rig->said_n - 1].to, "b");
        assert_int_equal(asked.question.what, NODE_MESSAGE_ASK_END);
        assert_int_equal(asked.question.stream_id, 0x1000000);
        hear_answer(rig, asked.question.id, "b", count, NULL);
        client_wait(client);
        if (count == 0)
            client_is_refused(client, 404, "no_such_stream");
        else
            assert_body(client, "{\"ended\":1}\n");
    }
    client_is_refused(
        client_ask(rig->fixture, "DELETE", "/api/streams/c.0000000001000000", "", NULL), 503,
        "node_unreachable");
    rig_free(rig);
}

static void another_node_may_leave_one_waiting(void **state)
{
    struct rig *rig = rig_new("ab", SOON_MS);

    (void)state;
    client_is_refused(
        client_ask(rig->fixture, "DELETE", "/api/streams/b.0000000001000000", "", NULL), 504,
        "node_timeout");
    rig_free(rig);
}

/* The hub of the fixture has no log, and answers an order like a probe. */
static void an_order_is_waited_for_as_long_as_a_question(void **state)
{
    struct rig *rig = rig_new("ab", SOON_MS);

    (void)state;
    assert_body(client_ask(rig->fixture, "DELETE", "/api/streams?user=u&topic=x/*", "", NULL),
                "{\"ended\":0,\"missing\":[\"a\",\"b\"]}\n");
    rig->outcome = SHARED_LOG_UNREACHABLE;
    assert_body(client_ask(rig->fixture, "DELETE", "/api/streams?user=u", "", NULL),
                "{\"ended\":0,\"missing\":[\"a\",\"b\"]}\n");
    rig_free(rig);
}

static void there_is_an_end_to_asking(void **state)
{
    enum { MANY = 17 };
    struct rig *rig = rig_new("ab", 60000);
    struct client *clients[MANY];

    (void)state;
    for (int i = 0; i < MANY; i++)
        clients[i] = client_begin(rig->fixture, "GET", "/api/streams", "", 0);
    fixture_settle(rig->fixture);
    client_wait(clients[MANY - 1]);
    client_is_refused(clients[MANY - 1], 503, "nodes_busy");
    for (size_t i = rig->said_n; i > 0; i--)
        hear_answer(rig, said_at(rig, i - 1).question.id, "b", 0, NULL);
    for (int i = 0; i < MANY - 1; i++) {
        client_wait(clients[i]);
        assert_int_equal(clients[i]->status, 200);
    }
    rig_free(rig);
}

static void who_asks_may_leave_meanwhile(void **state)
{
    struct rig *rig = rig_new("ab", SOON_MS);
    struct client *client = client_begin(rig->fixture, "GET", "/api/streams", "", 0);
    struct client *other = client_begin(rig->fixture, "DELETE", "/api/streams?user=u", "", 0);

    (void)state;
    client_hang_up(client);
    client_hang_up(other);
    client_wait(client);
    client_wait(other);
    rig_free(rig);
}

/* ---- this node is asked ---- */

static void a_question_is_answered(void **state)
{
    struct rig *rig = rig_new("ab", 60000);
    struct node_message question = question_of("b", NODE_MESSAGE_ASK_LIST);

    (void)state;
    open_stream(rig, "/events?user=anna");
    rig->fixture->worker = 1;
    open_stream(rig, "/events?user=anna");
    open_stream(rig, "/events?user=bob");
    question.question.user = NAME_OF("anna");
    hear(rig, &question);
    fixture_settle(rig->fixture);
    struct node_message answer = said_at(rig, 0);
    assert_string_equal(rig->said[0].to, "b");
    assert_int_equal(answer.answer.id, 7);
    assert_int_equal(answer.answer.rows_n, 2);
    assert_int_equal(answer.answer.count, 3);
    question.question.limit = 1;
    hear(rig, &question);
    fixture_settle(rig->fixture);
    assert_int_equal(said_at(rig, 1).answer.rows_n, 1);
    question.question.bytes_max = 10;
    hear(rig, &question);
    fixture_settle(rig->fixture);
    assert_int_equal(said_at(rig, 2).answer.rows_n, 0);
    assert_int_equal(said_at(rig, 2).answer.count, 3);
    rig_free(rig);
}

/* Rows of some KiB each; with one that is longer than a part. */
static void a_long_answer_comes_in_parts(void **state)
{
    enum { STREAMS = 60, TOPICS = 64 };
    struct rig *rig = rig_new("ab", 60000);
    struct node_message question = question_of("b", NODE_MESSAGE_ASK_LIST);
    static char target[TOPICS * 256];
    size_t rows_n = 0, parts_n;

    (void)state;
    for (int i = 0; i < STREAMS; i++) {
        size_t n = (size_t)snprintf(target, sizeof(target), "/events?user=u%d", i);

        for (int j = 0; j < TOPICS / 4; j++)
            n += (size_t)snprintf(target + n, sizeof(target) - n, "&topic=%0200d", i * TOPICS + j);
        open_stream(rig, target);
    }
    hear(rig, &question);
    fixture_settle(rig->fixture);
    parts_n = said_at(rig, 0).answer.parts_n;
    assert_true(parts_n > 1);
    assert_int_equal(rig->said_n, parts_n);
    for (size_t i = 0; i < parts_n; i++) {
        struct node_message part = said_at(rig, i);

        assert_int_equal(part.answer.part, i);
        assert_int_equal(part.answer.parts_n, parts_n);
        assert_int_equal(part.answer.count, STREAMS);
        rows_n += part.answer.rows_n;
    }
    assert_int_equal(rows_n, STREAMS);
    rig_free(rig);
}

static void questions_of_others_are_bounded(void **state)
{
    enum { MANY = 20, ANSWERED = 8 };
    struct rig *rig = rig_new("ab", 60000);
    struct node_message question = question_of("b", NODE_MESSAGE_ASK_LIST);

    (void)state;
    for (int i = 0; i < MANY; i++)
        hear(rig, &question); /* no loop turns in between */
    assert_int_equal(rig_stat(rig, STATS_NODE_QUESTIONS_SHED), MANY - ANSWERED);
    fixture_settle(rig->fixture);
    assert_int_equal(rig->said_n, ANSWERED);
    hear(rig, &question);
    fixture_settle(rig->fixture);
    assert_int_equal(rig->said_n, ANSWERED + 1);
    rig_free(rig);
}

static void what_is_heard_is_not_trusted(void **state)
{
    struct rig *rig = rig_new("ab", 60000);
    struct client *stream = open_stream(rig, "/events?user=u");
    struct node_message question = question_of("b", NODE_MESSAGE_ASK_END);

    (void)state;
    question.question.user = NAME_OF("u");
    hear(rig, &question); /* for that there are orders */
    node_service_heard(rig->nodes, "hello", 5);
    node_service_heard(rig->nodes, "", 0);
    assert_int_equal(rig_stat(rig, STATS_NODE_MESSAGES_UNREAD), 3);
    question = question_of("a", NODE_MESSAGE_ASK_LIST);
    hear(rig, &question); /* its own word */
    fixture_settle(rig->fixture);
    assert_int_equal(rig->said_n, 0);
    assert_false(client_is_closed(stream));
    rig_free(rig);
}

static uint64_t id_of_first(struct rig *rig)
{
    json_t *json =
        client_json(client_ask(rig->fixture, "GET", "/api/streams?local=true", "", NULL));
    const char *text = json_string_value(
        json_object_get(json_array_get(json_object_get(json, "streams"), 0), "id"));
    char node[SHARED_LOG_NODE_BYTES];
    uint64_t id;

    assert_true(node_service_read_stream(rig->nodes, text, node, &id));
    assert_string_equal(node, "");
    json_decref(json);
    return id;
}

static void a_stream_is_ended_for_another_node(void **state)
{
    struct rig *rig = rig_new("ab", 60000);
    struct client *stream = open_stream(rig, "/events");
    struct node_message question = question_of("b", NODE_MESSAGE_ASK_END);

    (void)state;
    question.question.stream_id = id_of_first(rig);
    hear(rig, &question);
    assert_true(is_closed_soon(rig, stream));
    assert_int_equal(said_at(rig, 0).answer.count, 1);
    hear(rig, &question);
    fixture_settle(rig->fixture);
    assert_int_equal(said_at(rig, 1).answer.count, 0);
    rig_free(rig);
}

/* ---- orders ---- */

static void an_order_ends_streams_and_says_so(void **state)
{
    struct rig *rig = rig_new("ab", 60000);
    struct client *mine = open_stream(rig, "/events?user=u");
    struct client *other = open_stream(rig, "/events?user=v");

    (void)state;
    order(rig, "b", "u", NOW_MS);
    assert_true(is_closed_soon(rig, mine));
    assert_false(client_is_closed(other));
    assert_int_equal(rig->said_n, 1);
    assert_string_equal(rig->said[0].to, "b");
    assert_int_equal(said_at(rig, 0).answer.id, 7);
    assert_int_equal(said_at(rig, 0).answer.count, 1);
    rig_free(rig);
}

/* The clock of the log's server counts, and it is years behind that of this node. */
static void an_order_spares_what_began_after_it(void **state)
{
    struct rig *rig = rig_new("ab", 60000);
    struct client *stream = open_stream(rig, "/events?user=u");

    (void)state;
    order(rig, "b", "u", NOW_MS - 60000);
    assert_false(is_closed_soon(rig, stream));
    assert_int_equal(said_at(rig, 0).answer.count, 0);
    order(rig, "b", "u", 1); /* before this machine was started; nobody waits for the answer */
    assert_false(is_closed_soon(rig, stream));
    assert_int_equal(rig->said_n, 1);
    assert_int_equal(rig->asked_n, 1);      /* the clock is good for a second */
    order(rig, "b", "u", NOW_MS + 1000000); /* its clock was set back */
    assert_true(is_closed_soon(rig, stream));
    rig_free(rig);
}

static void without_the_logs_clock_its_own_counts(void **state)
{
    struct rig *rig = rig_new("ab", 60000);
    struct client *stream = open_stream(rig, "/events?user=u");

    (void)state;
    rig->outcome = SHARED_LOG_UNREACHABLE;
    order(rig, "b", "u", clock_wall_ms() - 60000);
    assert_false(is_closed_soon(rig, stream));
    order(rig, "b", "u", clock_wall_ms());
    assert_true(is_closed_soon(rig, stream));
    rig_free(rig);
}

static void an_order_that_is_none_is_told(void **state)
{
    struct rig *rig = rig_new("ab", 60000);
    struct client *stream = open_stream(rig, "/events");
    struct node_message message = question_of("b", NODE_MESSAGE_ASK_END);
    char bytes[512];

    (void)state;
    node_service_order(rig->nodes, "b", "x", 1);
    node_message_write(bytes, &message); /* all streams of everybody */
    node_service_order(rig->nodes, "b", bytes, node_message_bytes(&message));
    fixture_settle(rig->fixture);
    assert_int_equal(rig_stat(rig, STATS_NODE_MESSAGES_UNREAD), 2);
    assert_false(client_is_closed(stream));
    rig->is_left = true;
    order(rig, "b", "u", NOW_MS);
    order(rig, "b", "u", NOW_MS);
    rig_free(rig);
}

/* ---- ids ---- */

static void ids_name_their_node(void **state)
{
    static const char *const bad[] = {"",
                                      "a.",
                                      ".0000000001000000",
                                      "a.0000000000000000",
                                      "a.000000000100000",
                                      "a.00000000010000000",
                                      "a.000000000100000G",
                                      "a b.0000000001000000",
                                      "a/0000000001000000"};
    struct rig *rig = rig_new("ab", 60000);
    char node[SHARED_LOG_NODE_BYTES], text[NODE_SERVICE_STREAM_BYTES];
    uint64_t id;

    (void)state;
    node_service_put_stream(rig->nodes, 0x1000000, text);
    assert_string_equal(text, "a.0000000001000000");
    node_service_put_stream(NULL, 0x1000000, text);
    assert_string_equal(text, "0000000001000000");
    assert_true(node_service_read_stream(rig->nodes, text, node, &id));
    assert_string_equal(node, "");
    assert_int_equal(id, 0x1000000);
    assert_true(node_service_read_stream(rig->nodes, "x.y.0000000001000000", node, &id));
    assert_string_equal(node, "x.y");
    assert_false(node_service_read_stream(NULL, "a.0000000001000000", node, &id));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (node_service_read_stream(rig->nodes, bad[i], node, &id))
            fail_msg("%s", bad[i]);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_of_all_nodes),
        cmocka_unit_test(rows_that_are_none_do_not_get_into_an_answer),
        cmocka_unit_test(who_does_not_answer_in_time_is_named),
        cmocka_unit_test(nobody_else_is_waited_for_without_a_log),
        cmocka_unit_test(one_node_can_be_asked_alone),
        cmocka_unit_test(a_stream_of_another_node_is_ended_there),
        cmocka_unit_test(another_node_may_leave_one_waiting),
        cmocka_unit_test(an_order_is_waited_for_as_long_as_a_question),
        cmocka_unit_test(there_is_an_end_to_asking),
        cmocka_unit_test(who_asks_may_leave_meanwhile),
        cmocka_unit_test(a_question_is_answered),
        cmocka_unit_test(a_long_answer_comes_in_parts),
        cmocka_unit_test(questions_of_others_are_bounded),
        cmocka_unit_test(what_is_heard_is_not_trusted),
        cmocka_unit_test(a_stream_is_ended_for_another_node),
        cmocka_unit_test(an_order_ends_streams_and_says_so),
        cmocka_unit_test(an_order_spares_what_began_after_it),
        cmocka_unit_test(without_the_logs_clock_its_own_counts),
        cmocka_unit_test(an_order_that_is_none_is_told),
        cmocka_unit_test(ids_name_their_node),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
