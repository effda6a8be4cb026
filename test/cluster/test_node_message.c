/* SPDX-License-Identifier: MIT */
/* What nodes say to each other: it comes back as it was said, and nothing else is a message. */
#include "config.h"
#include "cluster/node_message.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "../support/make.h"

#define EPOCH "abcdefghijkl"
#define NAME_OF(text) ((struct message_name){.bytes = (text), .bytes_n = sizeof(text) - 1})

/* The bytes of a message; the caller's. */
static char *bytes_of(const struct node_message *message, size_t *ret_n)
{
    char *bytes;

    *ret_n = node_message_bytes(message);
    bytes = malloc(*ret_n);
    assert_non_null(bytes);
    node_message_write(bytes, message);
    return bytes;
}

static enum node_message_result result_of(const struct node_message *message)
{
    struct node_message back;
    size_t n;
    char *bytes = bytes_of(message, &n);
    enum node_message_result result = node_message_read(bytes, n, &back);

    free(bytes);
    return result;
}

/* No part of it, and nothing longer, is a message. */
static void assert_whole_or_none(const struct node_message *message)
{
    struct node_message back;
    size_t n;
    char *bytes = bytes_of(message, &n), *longer = calloc(1, n + 1);

    memcpy(longer, bytes, n);
    assert_int_equal(node_message_read(bytes, n, &back), NODE_MESSAGE_FINE);
    assert_int_equal(node_message_read(longer, n + 1, &back), NODE_MESSAGE_DAMAGED);
    for (size_t i = 0; i < n; i++) {
        char *part = malloc(i > 0 ? i : 1); /* exact, for the sanitizer */

        memcpy(part, bytes, i);
        assert_int_equal(node_message_read(part, i, &back), NODE_MESSAGE_DAMAGED);
        free(part);
    }
    free(longer);
    free(bytes);
}

/* ---- events ---- */

static struct node_message say_events(struct message *const *events, size_t events_n)
{
    return (struct node_message){
        .kind = NODE_MESSAGE_EVENTS,
        .from = "node-1",
        .events = {.epoch = EPOCH,
                   .head = 7,
                   .writer = "node-1.x",
                   .seq = 3,
                   .events = events,
                   .events_n = events_n},
    };
}

static void events_come_back(void **state)
{
    struct message *events[] = {
        make_message(.topics = "a b", .data = "one\ntwo", .kind = MESSAGE_EPHEMERAL),
        make_message(.users = "ada", .is_json = true, .kind = MESSAGE_EPHEMERAL)};
    struct node_message message = say_events(events, 2), back;
    struct message *made[2];
    size_t n;
    char *bytes = bytes_of(&message, &n);

    (void)state;
    assert_int_equal(node_message_read(bytes, n, &back), NODE_MESSAGE_FINE);
    assert_int_equal(back.kind, NODE_MESSAGE_EVENTS);
    assert_string_equal(back.from, "node-1");
    assert_string_equal(back.events.epoch, EPOCH);
    assert_string_equal(back.events.writer, "node-1.x");
    assert_int_equal(back.events.head, 7);
    assert_int_equal(back.events.seq, 3);
    assert_int_equal(back.events.events_n, 2);
    assert_int_equal(node_message_read_events(&back.events, made), NODE_MESSAGE_FINE);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(made[i]->kind, MESSAGE_EPHEMERAL);
        assert_int_equal(made[i]->is_json, events[i]->is_json);
        assert_int_equal(made[i]->frame_n, events[i]->frame_n);
        assert_memory_equal(made[i]->frame, events[i]->frame, made[i]->frame_n);
        assert_int_equal(made[i]->topics_n, events[i]->topics_n);
        assert_int_equal(made[i]->users_n, events[i]->users_n);
        message_unref(made[i]);
    }
    free(bytes);
    assert_whole_or_none(&message);
    for (size_t i = 0; i < 2; i++)
        message_unref(events[i]);
}

/* The events of a message after a change of its bytes. */
static enum node_message_result made_with(struct message *event, const char *from, const char *to)
{
    struct node_message message = say_events(&event, 1), back;
    struct message *made;
    size_t n;
    char *bytes = bytes_of(&message, &n);
    enum node_message_result result;

    if (from != NULL) {
        char *at = memmem(bytes, n, from, strlen(from));

        assert_non_null(at);
        memcpy(at, to, strlen(to));
    }
    assert_int_equal(node_message_read(bytes, n, &back), NODE_MESSAGE_FINE);
    result = node_message_read_events(&back.events, &made);
    if (result == NODE_MESSAGE_FINE)
        message_unref(made);
    free(bytes);
    message_unref(event);
    return result;
}

static void events_that_nobody_could_publish_do_not_count(void **state)
{
    (void)state;
    assert_int_equal(made_with(make_message(.kind = MESSAGE_EPHEMERAL), NULL, NULL),
                     NODE_MESSAGE_FINE);
    assert_int_equal(made_with(make_message(.kind = MESSAGE_STORED), NULL, NULL),
                     NODE_MESSAGE_DAMAGED);
    assert_int_equal(made_with(make_sealed(MESSAGE_EPHEMERAL, 7), NULL, NULL),
                     NODE_MESSAGE_DAMAGED);
    assert_int_equal(made_with(make_message(.kind = MESSAGE_EPHEMERAL), "data: data", "dada: data"),
                     NODE_MESSAGE_DAMAGED);
    assert_int_equal(made_with(make_message(.kind = MESSAGE_EPHEMERAL), "data\n\n", "data\n "),
                     NODE_MESSAGE_DAMAGED);
    assert_int_equal(
        made_with(make_message(.kind = MESSAGE_EPHEMERAL, .topics = "topic"), "topic", "to*ic"),
        NODE_MESSAGE_DAMAGED);
}

/* The events that were made before the one that is none are let go of: the sanitizer looks. */
static void one_bad_event_spoils_all(void **state)
{
    struct message *events[] = {make_message(.kind = MESSAGE_EPHEMERAL),
                                make_message(.kind = MESSAGE_STORED)};
    struct node_message message = say_events(events, 2), back;
    struct message *made[2];
    size_t n;
    char *bytes = bytes_of(&message, &n);

    (void)state;
    assert_int_equal(node_message_read(bytes, n, &back), NODE_MESSAGE_FINE);
    assert_int_equal(node_message_read_events(&back.events, made), NODE_MESSAGE_DAMAGED);
    free(bytes);
    message_unref(events[0]);
    message_unref(events[1]);
}

static void a_row_of_events_has_an_end(void **state)
{
    enum { MORE = NODE_MESSAGE_EVENTS_MAX + 1 };
    struct message *event = make_message(.kind = MESSAGE_EPHEMERAL), *events[MORE];
    struct node_message message = say_events(events, NODE_MESSAGE_EVENTS_MAX);

    (void)state;
    for (size_t i = 0; i < MORE; i++)
        events[i] = event;
    assert_int_equal(result_of(&message), NODE_MESSAGE_FINE);
    message.events.events_n = MORE;
    assert_int_equal(result_of(&message), NODE_MESSAGE_DAMAGED);
    message.events.events_n = 0;
    assert_int_equal(result_of(&message), NODE_MESSAGE_DAMAGED);
    message.events.events_n = 1;
    message.events.seq = 0;
    assert_int_equal(result_of(&message), NODE_MESSAGE_DAMAGED);
    message.events.seq = 1;
    message.events.head = SHARED_LOG_POSITION_MAX + 1;
    assert_int_equal(result_of(&message), NODE_MESSAGE_DAMAGED);
    message.events.head = 0;
    memcpy(message.events.epoch, "Abcdefghijkl", SSE_EPOCH_BYTES);
    assert_int_equal(result_of(&message), NODE_MESSAGE_DAMAGED);
    message_unref(event);
}

/* ---- questions ---- */

static struct node_message ask(void)
{
    return (struct node_message){
        .kind = NODE_MESSAGE_QUESTION,
        .from = "a.b_C-9",
        .question = {.id = UINT64_MAX,
                     .what = NODE_MESSAGE_ASK_LIST,
                     .stream_id = 5,
                     .user = NAME_OF("ada"),
                     .topic = NAME_OF("news/**"),
                     .given_ms = 1234567890123,
                     .limit = 100,
                     .bytes_max = 4096},
    };
}

static void a_question_comes_back(void **state)
{
    struct node_message message = ask(), back;
    size_t n;
    char *bytes = bytes_of(&message, &n);

    (void)state;
    assert_int_equal(node_message_read(bytes, n, &back), NODE_MESSAGE_FINE);
    assert_string_equal(back.from, "a.b_C-9");
    assert_true(back.question.id == UINT64_MAX);
    assert_int_equal(back.question.what, NODE_MESSAGE_ASK_LIST);
    assert_int_equal(back.question.stream_id, 5);
    assert_int_equal(back.question.user.bytes_n, 3);
    assert_memory_equal(back.question.user.bytes, "ada", 3);
    assert_int_equal(back.question.topic.bytes_n, 7);
    assert_memory_equal(back.question.topic.bytes, "news/**", 7);
    assert_true(back.question.given_ms == 1234567890123);
    assert_int_equal(back.question.limit, 100);
    assert_int_equal(back.question.bytes_max, 4096);
    free(bytes);
    assert_whole_or_none(&message);
}

static void a_question_need_name_nobody(void **state)
{
    struct node_message message = ask(), back;
    size_t n;

    (void)state;
    message.question.what = NODE_MESSAGE_ASK_END;
    message.question.user.bytes = NULL;
    message.question.topic.bytes = NULL;
    char *bytes = bytes_of(&message, &n);
    assert_int_equal(node_message_read(bytes, n, &back), NODE_MESSAGE_FINE);
    assert_int_equal(back.question.what, NODE_MESSAGE_ASK_END);
    assert_null(back.question.user.bytes);
    assert_null(back.question.topic.bytes);
    free(bytes);
}

static void a_question_that_nobody_asks_is_none(void **state)
{
    struct node_message message = ask();

    (void)state;
    message.question.what = 3;
    assert_int_equal(result_of(&message), NODE_MESSAGE_DAMAGED);
    message = ask();
    message.question.user = NAME_OF("a\nb");
    assert_int_equal(result_of(&message), NODE_MESSAGE_DAMAGED);
    message = ask();
    message.question.topic = NAME_OF("**/a");
    assert_int_equal(result_of(&message), NODE_MESSAGE_DAMAGED);
    message = ask();
    message.question.given_ms = -1;
    assert_int_equal(result_of(&message), NODE_MESSAGE_DAMAGED);
}

/* ---- answers ---- */

static struct node_message answer_with(const char *rows, size_t rows_bytes_n, uint32_t rows_n)
{
    return (struct node_message){
        .kind = NODE_MESSAGE_ANSWER,
        .from = "b",
        .answer = {.id = 9,
                   .part = 1,
                   .parts_n = 3,
                   .count = 1234,
                   .rows_n = rows_n,
                   .rows = rows,
                   .rows_bytes_n = rows_bytes_n},
    };
}

static void an_answer_comes_back_with_its_rows(void **state)
{
    char rows[64], *end = node_message_put_row(node_message_put_row(rows, "{}", 2), "{\"a\":1}", 7);
    struct node_message message = answer_with(rows, (size_t)(end - rows), 2), back;
    size_t n, row_n;
    char *bytes = bytes_of(&message, &n);

    (void)state;
    assert_int_equal(node_message_read(bytes, n, &back), NODE_MESSAGE_FINE);
    assert_int_equal(back.answer.id, 9);
    assert_int_equal(back.answer.part, 1);
    assert_int_equal(back.answer.parts_n, 3);
    assert_int_equal(back.answer.count, 1234);
    assert_int_equal(back.answer.rows_n, 2);
    const char *at = back.answer.rows, *row;
    size_t left = back.answer.rows_bytes_n;
    assert_memory_equal(node_message_take_row(&at, &left, &row_n), "{}", 2);
    assert_int_equal(row_n, 2);
    row = node_message_take_row(&at, &left, &row_n);
    assert_memory_equal(row, "{\"a\":1}", 7);
    assert_int_equal(row_n, 7);
    assert_null(node_message_take_row(&at, &left, &row_n));
    free(bytes);
    assert_whole_or_none(&message);
    message = answer_with(NULL, 0, 0);
    assert_int_equal(result_of(&message), NODE_MESSAGE_FINE);
}

static void an_answer_that_does_not_add_up_is_none(void **state)
{
    char rows[64], *end = node_message_put_row(rows, "{}", 2);
    size_t n = (size_t)(end - rows);
    struct node_message messages[] = {
        answer_with(rows, n, 0),     answer_with(rows, n, 2), answer_with(rows, n - 1, 1),
        answer_with(rows, n + 1, 1), answer_with(NULL, 0, 1), answer_with(rows, n, 1),
        answer_with(rows, n, 1),     answer_with(rows, n, 1),
    };
    struct node_message message = answer_with(rows, n, 1);

    (void)state;
    *end = 0;
    assert_int_equal(result_of(&message), NODE_MESSAGE_FINE);
    messages[5].answer.part = 3;
    messages[6].answer.parts_n = 0;
    messages[7].answer.parts_n = NODE_MESSAGE_PARTS_MAX + 1;
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
        assert_int_equal(result_of(&messages[i]), NODE_MESSAGE_DAMAGED);
}

static void a_part_has_an_end(void **state)
{
    size_t text_n = NODE_MESSAGE_ROWS_BYTES_MAX - NODE_MESSAGE_ROW_EXTRA;
    char *text = calloc(1, text_n + 1), *rows = malloc(NODE_MESSAGE_ROWS_BYTES_MAX + 1);
    struct node_message message;

    (void)state;
    node_message_put_row(rows, text, text_n);
    message = answer_with(rows, NODE_MESSAGE_ROWS_BYTES_MAX, 1);
    assert_int_equal(result_of(&message), NODE_MESSAGE_FINE);
    node_message_put_row(rows, text, text_n + 1);
    message = answer_with(rows, NODE_MESSAGE_ROWS_BYTES_MAX + 1, 1);
    assert_int_equal(result_of(&message), NODE_MESSAGE_DAMAGED);
    free(rows);
    free(text);
}

/* ---- all ---- */

static void an_end_of_a_stream_comes_back(void **state)
{
    struct node_message message = {
        .kind = NODE_MESSAGE_STREAM_END, .from = "b", .stream_end = {77}};
    struct node_message back;
    size_t n;
    char *bytes = bytes_of(&message, &n);

    (void)state;
    assert_int_equal(node_message_read(bytes, n, &back), NODE_MESSAGE_FINE);
    assert_int_equal(back.kind, NODE_MESSAGE_STREAM_END);
    assert_int_equal(back.stream_end.mark, 77);
    free(bytes);
    assert_whole_or_none(&message);
}

static void another_version_is_not_damage(void **state)
{
    struct node_message message = ask(), back;
    size_t n;
    char *bytes = bytes_of(&message, &n);
    const uint32_t format = NODE_MESSAGE_FORMAT + 1, kind = 1000;

    (void)state;
    memcpy(bytes + sizeof(format), &kind, sizeof(kind));
    assert_int_equal(node_message_read(bytes, n, &back), NODE_MESSAGE_UNKNOWN);
    memcpy(bytes, &format, sizeof(format));
    assert_int_equal(node_message_read(bytes, n, &back), NODE_MESSAGE_UNKNOWN);
    assert_int_equal(node_message_read(bytes, sizeof(format), &back), NODE_MESSAGE_UNKNOWN);
    assert_int_equal(node_message_read("hello", 5, &back), NODE_MESSAGE_UNKNOWN);
    assert_int_equal(node_message_read("hel", 3, &back), NODE_MESSAGE_DAMAGED);
    free(bytes);
}

static void names_of_nodes_are_plain(void **state)
{
    char longest[SHARED_LOG_NODE_BYTES];
    struct node_message message = ask();

    (void)state;
    memset(longest, 'n', sizeof(longest));
    assert_true(node_message_is_node(longest, sizeof(longest) - 1));
    assert_false(node_message_is_node(longest, sizeof(longest)));
    assert_false(node_message_is_node("", 0));
    assert_false(node_message_is_node("a b", 3));
    assert_false(node_message_is_node("a\0b", 3));
    memcpy(message.from, "a/b", 4);
    assert_int_equal(result_of(&message), NODE_MESSAGE_DAMAGED);
    message.from[0] = '\0';
    assert_int_equal(result_of(&message), NODE_MESSAGE_DAMAGED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_back),
        cmocka_unit_test(events_that_nobody_could_publish_do_not_count),
        cmocka_unit_test(one_bad_event_spoils_all),
        cmocka_unit_test(a_row_of_events_has_an_end),
        cmocka_unit_test(a_question_comes_back),
        cmocka_unit_test(a_question_need_name_nobody),
        cmocka_unit_test(a_question_that_nobody_asks_is_none),
        cmocka_unit_test(an_answer_comes_back_with_its_rows),
        cmocka_unit_test(an_answer_that_does_not_add_up_is_none),
        cmocka_unit_test(a_part_has_an_end),
        cmocka_unit_test(an_end_of_a_stream_comes_back),
        cmocka_unit_test(another_version_is_not_damage),
        cmocka_unit_test(names_of_nodes_are_plain),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
