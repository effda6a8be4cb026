/* SPDX-License-Identifier: MIT */
/* Messages of bugle.v1 from a client: what is taken, and every mistake. */
#include "config.h"
#include "api/ws_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fail_alloc.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define DEPTH 8

static struct json_span span_of(const char *text)
{
    return (struct json_span){text, strlen(text)};
}

static void assert_span(struct json_span span, const char *wanted)
{
    assert_non_null(span.at);
    assert_int_equal(span.bytes_n, strlen(wanted));
    assert_memory_equal(span.at, wanted, strlen(wanted));
}

static void each_kind_is_read(void **state)
{
    static const struct {
        const char *text;
        enum ws_message_kind kind;
        const char *ref;
    } cases[] = {
        {"{\"type\":\"publish\",\"ref\":1,\"events\":{}}", WS_MESSAGE_PUBLISH, "1"},
        {"{\"type\":\"subscribe\",\"ref\":\"a\",\"topics\":[\"t\"]}", WS_MESSAGE_SUBSCRIBE,
         "\"a\""},
        {"{\"topics\":[\"t\"],\"ref\":-1,\"type\":\"unsubscribe\"}", WS_MESSAGE_UNSUBSCRIBE, "-1"},
        {" \r\n\t{ \"type\" : \"ping\" , \"ref\" : \"\" } ", WS_MESSAGE_PING, "\"\""},
        {"{\"type\":\"ping\",\"ref\":-12345678901234567890123}", WS_MESSAGE_PING,
         "-12345678901234567890123"},
        {"{\"type\":\"ping\",\"ref\":\"\\u00e9\\\"\xc3\xa9\"}", WS_MESSAGE_PING,
         "\"\\u00e9\\\"\xc3\xa9\""},
        {"{\"ty\\u0070e\":\"p\\u0069ng\",\"re\\u0066\":7}", WS_MESSAGE_PING, "7"},
        {"{\"type\":\"pong\"}", WS_MESSAGE_PONG, NULL},
        {"{\"type\":\"pong\",\"ref\":5}", WS_MESSAGE_PONG, "5"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct ws_message message;
        struct problem problem;

        assert_true(ws_message_read(span_of(cases[i].text), DEPTH, &message, &problem));
        assert_int_equal(message.kind, cases[i].kind);
        if (cases[i].ref != NULL)
            assert_span(message.ref, cases[i].ref);
        else
            assert_null(message.ref.at);
        ws_message_end(&message);
    }
}

/* Byte for byte, also where they are no JSON: who publishes them says so. */
static void events_stand_as_they_were_written(void **state)
{
    static const char *const events[] = {
        "{}",
        "[]",
        "[ {\"data\" : 1.10}, {\"data\":12345678901234567890}]",
        "\"text with \\\"}] in it\"",
        "7",
        "null",
        "[1,,]",
        "{\"a\":}",
        "nonsense",
        "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    };
    static const char *const formats[] = {
        "{\"type\":\"publish\",\"ref\":1,\"events\":%s}",
        "{\"events\":%s,\"ref\":1,\"type\":\"publish\"}",
        "{\"type\":\"publish\",\"ev\\u0065nts\" :  %s  ,\"ref\":1}",
    };

    (void)state;
    for (size_t i = 0; i < ROWS(events) * ROWS(formats); i++) {
        const char *format = formats[i % ROWS(formats)], *at = strstr(format, "%s");
        const char *wanted = events[i / ROWS(formats)];
        struct ws_message message;
        struct problem problem;
        char text[256];

        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - format), format, wanted, at + 2);
        assert_true(ws_message_read(span_of(text), DEPTH, &message, &problem));
        assert_span(message.events, wanted);
        assert_true(message.events.at >= text && message.events.at < text + sizeof(text));
        assert_span(message.ref, "1");
        ws_message_end(&message);
    }
}

static void topics_are_patterns(void **state)
{
    struct ws_message message;
    struct problem problem;

    (void)state;
    assert_true(ws_message_read(span_of("{\"type\":\"subscribe\",\"ref\":1,\"topics\":[\"a/*\", "
                                        "\"\\u00fc\", \"a/*\",\"**\"]}"),
                                DEPTH, &message, &problem));
    assert_int_equal(message.topics_n, 4);
    assert_int_equal(message.topics[0].bytes_n, 3);
    assert_memory_equal(message.topics[0].bytes, "a/*", 3);
    assert_int_equal(message.topics[1].bytes_n, 2);
    assert_memory_equal(message.topics[1].bytes, "\xc3\xbc", 2);
    assert_memory_equal(message.topics[3].bytes, "**", 2);
    ws_message_end(&message);
}

#define X65 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define D64 "1234567890123456789012345678901234567890123456789012345678901234"

static const struct mistake {
    const char *text;
    unsigned status;
    const char *code, *pointer;
    const char *ref; /* is told all the same; NULL: it cannot be */
} mistakes[] = {
    {"", 400, "invalid_json", "", NULL},
    {"{", 400, "invalid_json", "", NULL},
    {"hello", 400, "invalid_json", "", NULL},
    {"{\"type\":\"ping\",\"ref\":1} x", 400, "invalid_json", "", NULL},
    {"{\"type\":\"ping\",\"ref\":1,}", 400, "invalid_json", "", NULL},
    {"{\"type\":\"ping\",\"type\":\"ping\",\"ref\":1}", 400, "invalid_json", "", NULL},
    {"{\"type\":\"publish\",\"ref\":1,\"events\":{},\"events\":{}}", 400, "invalid_json", "", NULL},
    {"{\"type\":\"publish\",\"ref\":1,\"events\":{} {}}", 400, "invalid_json", "", NULL},
    {"{\"type\":\"publish\" \"ref\":1,\"events\":{}}", 400, "invalid_json", "", NULL},
    {"{\"type\":\"ping\",\"ref\":\"\\u0000\"}", 400, "invalid_json", "", NULL},
    {"{\"type\":\"ping\",\"ref\":\"\\ud800\"}", 400, "invalid_json", "", NULL},
    {"{\"type\":\"ping\",\"ref\":01}", 400, "invalid_json", "", NULL},
    {"[[[[[[[[[]]]]]]]]]", 400, "json_too_deep", "", NULL},
    {"{\"type\":\"ping\",\"ref\":[[[[[[[[]]]]]]]]}", 400, "json_too_deep", "", NULL},
    {"[]", 422, "not_an_object", "", NULL},
    {"\"ping\"", 422, "not_an_object", "", NULL},
    {"null", 422, "not_an_object", "", NULL},
    {"{}", 422, "invalid_field", "/type", NULL},
    {"{\"ref\":1}", 422, "invalid_field", "/type", "1"},
    {"{\"type\":7,\"ref\":1}", 422, "invalid_field", "/type", "1"},
    {"{\"type\":\"pings\",\"ref\":1}", 422, "invalid_field", "/type", "1"},
    {"{\"type\":\"Ping\",\"ref\":1}", 422, "invalid_field", "/type", "1"},
    {"{\"type\":\"hello\",\"ref\":1}", 422, "invalid_field", "/type", "1"},
    {"{\"type\":\"ping\"}", 422, "invalid_field", "/ref", NULL},
    {"{\"type\":\"ping\",\"ref\":1.5}", 422, "invalid_field", "/ref", NULL},
    {"{\"type\":\"ping\",\"ref\":1e2}", 422, "invalid_field", "/ref", NULL},
    {"{\"type\":\"ping\",\"ref\":null}", 422, "invalid_field", "/ref", NULL},
    {"{\"type\":\"ping\",\"ref\":true}", 422, "invalid_field", "/ref", NULL},
    {"{\"type\":\"ping\",\"ref\":{}}", 422, "invalid_field", "/ref", NULL},
    {"{\"type\":\"ping\",\"ref\":[1]}", 422, "invalid_field", "/ref", NULL},
    {"{\"type\":\"ping\",\"ref\":\"" X65 "\"}", 422, "invalid_field", "/ref", NULL},
    {"{\"type\":\"ping\",\"ref\":" D64 "5}", 422, "invalid_field", "/ref", NULL},
    {"{\"type\":\"pong\",\"ref\":{}}", 422, "invalid_field", "/ref", NULL},
    {"{\"type\":\"ping\",\"ref\":1,\"x\":1}", 422, "invalid_field", "/x", "1"},
    {"{\"type\":\"ping\",\"x/~y\":1,\"ref\":1}", 422, "invalid_field", "/x~1~0y", "1"},
    {"{\"type\":\"ping\",\"ref\":1,\"topics\":[\"a\"]}", 422, "invalid_field", "/topics", "1"},
    {"{\"type\":\"pong\",\"events\":{}}", 422, "invalid_field", "/events", NULL},
    {"{\"type\":\"publish\",\"ref\":1}", 422, "invalid_field", "/events", "1"},
    {"{\"type\":\"publish\",\"events\":{}}", 422, "invalid_field", "/ref", NULL},
    {"{\"type\":\"publish\",\"ref\":1,\"events\":{},\"topic\":1}", 422, "invalid_field", "/topic",
     "1"},
    {"{\"type\":\"publish\",\"ref\":1,\"events\":{},\"topics\":[\"a\"]}", 422, "invalid_field",
     "/topics", "1"},
    {"{\"type\":\"subscribe\",\"ref\":1}", 422, "invalid_field", "/topics", "1"},
    {"{\"type\":\"subscribe\",\"topics\":[\"a\"]}", 422, "invalid_field", "/ref", NULL},
    {"{\"type\":\"subscribe\",\"ref\":1,\"topics\":\"a\"}", 422, "invalid_field", "/topics", "1"},
    {"{\"type\":\"subscribe\",\"ref\":1,\"topics\":{}}", 422, "invalid_field", "/topics", "1"},
    {"{\"type\":\"subscribe\",\"ref\":1,\"topics\":null}", 422, "invalid_field", "/topics", "1"},
    {"{\"type\":\"subscribe\",\"ref\":1,\"topics\":[]}", 422, "invalid_field", "/topics", "1"},
    {"{\"type\":\"subscribe\",\"ref\":1,\"topics\":[\"a\",1]}", 422, "invalid_field", "/topics/1",
     "1"},
    {"{\"type\":\"subscribe\",\"ref\":1,\"topics\":[\"a\",\"\"]}", 400, "invalid_topic",
     "/topics/1", "1"},
    {"{\"type\":\"unsubscribe\",\"ref\":1,\"topics\":[\"b*c\"]}", 400, "invalid_topic", "/topics/0",
     "1"},
    {"{\"type\":\"subscribe\",\"ref\":1,\"topics\":[\"$bugle/x\"]}", 400, "invalid_topic",
     "/topics/0", "1"},
    {"{\"type\":\"subscribe\",\"ref\":1,\"topic\":\"a\"}", 422, "invalid_field", "/topic", "1"},
    {"{\"type\":\"subscribe\",\"ref\":1,\"topics\":[\"a\"],\"events\":[]}", 422, "invalid_field",
     "/events", "1"},
};

static void assert_refused(struct json_span text, const struct mistake *wanted)
{
    struct ws_message message;
    struct problem problem;

    if (ws_message_read(text, DEPTH, &message, &problem))
        fail_msg("taken: %.*s", (int)text.bytes_n, text.at);
    if (strcmp(problem.code, wanted->code) != 0 || strcmp(problem.pointer, wanted->pointer) != 0)
        fail_msg("%.*s: %s at \"%s\"", (int)text.bytes_n, text.at, problem.code, problem.pointer);
    assert_int_equal(problem.status, wanted->status);
    assert_true(strlen(problem.detail) > 10);
    if (wanted->ref != NULL)
        assert_span(message.ref, wanted->ref);
    else
        assert_null(message.ref.at);
    ws_message_end(&message);
}

static void each_mistake_is_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROWS(mistakes); i++) {
        size_t n = strlen(mistakes[i].text);
        char *text = malloc(n + (n == 0)); /* nothing behind it that could be read */

        assert_non_null(text);
        memcpy(text, mistakes[i].text, n);
        assert_refused((struct json_span){text, n}, &mistakes[i]);
        free(text);
    }
    assert_refused((struct json_span){"{\"type\":\"ping\",\"ref\":1\0}", 24},
                   &(struct mistake){NULL, 400, "invalid_json", "", NULL});
}

static char *repeated(const char *head, const char *part, size_t n, const char *tail)
{
    size_t part_n = strlen(part), head_n = strlen(head);
    char *text = malloc(head_n + n * part_n + strlen(tail) + 1);

    assert_non_null(text);
    memcpy(text, head, head_n);
    for (size_t i = 0; i < n; i++)
        memcpy(text + head_n + i * part_n, part, part_n);
    strcpy(text + head_n + n * part_n, tail);
    return text;
}

static void assert_repeated_is(const char *head, const char *part, size_t n, const char *tail,
                               const struct mistake *wanted)
{
    char *text = repeated(head, part, n, tail);
    struct ws_message message;
    struct problem problem;

    if (wanted != NULL) {
        assert_refused(span_of(text), wanted);
    } else {
        assert_true(ws_message_read(span_of(text), DEPTH, &message, &problem));
        ws_message_end(&message);
    }
    free(text);
}

#define TOPICS "{\"type\":\"subscribe\",\"ref\":1,\"topics\":[\"a\""
#define EVENTS "{\"type\":\"publish\",\"ref\":1,\"events\":["

static void messages_have_limits(void **state)
{
    static const struct mistake too_many = {NULL, 400, "too_many_topics", "/topics", "1"};
    static const struct mistake too_large = {NULL, 413, "message_too_large", "", NULL};

    (void)state;
    assert_repeated_is(TOPICS, ",\"b\"", 63, "]}", NULL);
    assert_repeated_is(TOPICS, ",\"b\"", 64, "]}", &too_many);
    assert_repeated_is(TOPICS,
                       ",\"\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4"
                       "\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\\u00e4\"",
                       63, "]}", NULL);
    assert_repeated_is(TOPICS, " ", 65000, "]}", NULL);
    assert_repeated_is(TOPICS, " ", 66000, "]}", &too_large);
    assert_repeated_is(TOPICS, ",[]", 20000, "]}", &too_large);
    assert_repeated_is(EVENTS, "{},", 40000, "{}]}", NULL);
    assert_repeated_is(EVENTS "]", " ", 900, "}", NULL);
    assert_repeated_is(EVENTS "]", " ", 1100, "}", &too_large);
    assert_repeated_is(EVENTS "], \"x\":\"", "x", 100000, "\"}", &too_large);
}

/* Each allocation fails once. */
static void memory_may_end_anywhere(void **state)
{
    static const char *const texts[] = {
        "{\"type\":\"publish\",\"ref\":1,\"events\":{}}",
        "{\"type\":\"subscribe\",\"ref\":1,\"topics\":[\"t\",\"u\"]}",
        "[",
    };

    (void)state;
    for (size_t i = 0; i < ROWS(texts); i++) {
        bool is_over = false;

        for (int n = 0; !is_over; n++) {
            struct ws_message message;
            struct problem problem;

            fail_alloc(n);
            bool good = ws_message_read(span_of(texts[i]), DEPTH, &message, &problem);
            is_over = !fail_alloc_is_over();
            fail_alloc(-1);
            assert_int_equal(good, is_over && i < 2);
            if (!is_over)
                assert_string_equal(problem.code, "out_of_memory");
            ws_message_end(&message);
            assert_in_range(n, is_over, 10);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_is_read),    cmocka_unit_test(events_stand_as_they_were_written),
        cmocka_unit_test(topics_are_patterns),  cmocka_unit_test(each_mistake_is_told),
        cmocka_unit_test(messages_have_limits), cmocka_unit_test(memory_may_end_anywhere),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
