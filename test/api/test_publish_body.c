/* SPDX-License-Identifier: MIT */
/* Every rule of what may be published: good bodies and what they become, bad ones and the answer.
 */
#include "config.h"
#include "api/publish_body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define EVENT_BYTES_MAX 100
#define DEPTH_MAX 8
#define ID_LINE "id: 00000000000000000000000000000\n"
#define TEN(x) x x x x x x x x x x
#define LETTERS "abcdefghij"

static const struct publish_limits limits = {EVENT_BYTES_MAX, DEPTH_MAX, NULL, 0, NULL};

/* Read a copy that ends where the text ends and is gone afterwards. */
static bool read_bytes(const char *text, size_t text_n, struct publish_body *ret_body,
                       struct problem *ret_problem)
{
    char *copy = malloc(text_n > 0 ? text_n : 1);

    memcpy(copy, text, text_n);
    memset(ret_problem, 0, sizeof(*ret_problem));
    bool good = publish_body_json(copy, text_n, &limits, ret_body, ret_problem);
    memset(copy, '#', text_n);
    free(copy);
    return good;
}

static struct publish_body read_good(const char *json)
{
    struct publish_body body;
    struct problem problem;

    if (!read_bytes(json, strlen(json), &body, &problem))
        fail_msg("%s: %u %s %s", json, problem.status, problem.pointer, problem.detail);
    return body;
}

/* Refused, with a whole problem, and the output as it was. */
static struct problem read_bad(const char *json, size_t json_n)
{
    struct publish_body body, before;
    struct problem problem;

    memset(&body, 0xAA, sizeof(body));
    memcpy(&before, &body, sizeof(body));
    if (read_bytes(json, json_n, &body, &problem))
        fail_msg("%s was taken", json);
    assert_memory_equal(&body, &before, sizeof(body));
    assert_non_null(problem.code);
    assert_true(strlen(problem.detail) > 0);
    return problem;
}

static void assert_frame(const struct message *message, const char *frame)
{
    char text[1024];

    assert_true(message->frame_n < sizeof(text));
    memcpy(text, message->frame, message->frame_n);
    text[message->frame_n] = '\0';
    assert_string_equal(text, frame);
}

static void assert_name(const struct message_name *name, const char *text)
{
    assert_int_equal(name->bytes_n, strlen(text));
    assert_memory_equal(name->bytes, text, strlen(text));
}

/* ---- what becomes of the data and the small fields ---- */

/* A string is a text, whatever is in it. */
static void remembers_json(void **state)
{
    static const struct {
        const char *json;
        bool is_json;
    } cases[] = {
        {"{\"data\":\"x\"}", false},  {"{\"data\":\"1\"}", false},
        {"{\"data\":\"{}\"}", false}, {"{\"data\":1}", true},
        {"{\"data\":{}}", true},      {"{\"data\":[\"x\"]}", true},
        {"{\"data\":null}", true},    {"{\"data\":true}", true},
        {"{\"data\":-1.5e3}", true},  {"{\"data\":1,\"ephemeral\":true}", true},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct publish_body body = read_good(cases[i].json);

        assert_int_equal(body.messages[0]->is_json, cases[i].is_json);
        publish_body_free(&body);
    }
    struct publish_body body = read_good("[{\"data\":{}},{\"data\":\"x\"},{\"data\":0}]");
    assert_true(body.messages[0]->is_json);
    assert_false(body.messages[1]->is_json);
    assert_true(body.messages[2]->is_json);
    publish_body_free(&body);
}

static void makes_frames(void **state)
{
    static const struct {
        const char *json, *frame;
    } cases[] = {
        /* text is sent as it is */
        {"{\"data\":\"hi\"}", "data: hi\n" ID_LINE "\n"},
        {" \r\n\t{ \"data\" : \"hi\" }\n", "data: hi\n" ID_LINE "\n"},
        {"{\"data\":\"  two  \"}", "data:   two  \n" ID_LINE "\n"},
        {"{\"data\":\"a\\nb\\r\\nc\\rd\"}", "data: a\ndata: b\ndata: c\ndata: d\n" ID_LINE "\n"},
        {"{\"data\":\"\\u00e9\\\"\\\\\"}", "data: \xc3\xa9\"\\\n" ID_LINE "\n"},
        {"{\"data\":\"\\ud83d\\ude00\"}", "data: \xf0\x9f\x98\x80\n" ID_LINE "\n"},
        {"{\"d\\u0061ta\":\"x\"}", "data: x\n" ID_LINE "\n"},
        /* anything else as it was written, white space between tokens aside */
        {"{\"data\":1.10}", "data: 1.10\n" ID_LINE "\n"},
        {"{\"data\":12345678901234567890}", "data: 12345678901234567890\n" ID_LINE "\n"},
        {"{\"data\":-0}", "data: -0\n" ID_LINE "\n"},
        {"{\"data\":1E+5}", "data: 1E+5\n" ID_LINE "\n"},
        {"{\"data\":0.1000000000000000055511151231257827}",
         "data: 0.1000000000000000055511151231257827\n" ID_LINE "\n"},
        {"{\"data\": true }", "data: true\n" ID_LINE "\n"},
        {"{\"data\":null}", "data: null\n" ID_LINE "\n"},
        {"{\"data\":{}}", "data: {}\n" ID_LINE "\n"},
        {"{\"data\":[ 1 , 2.0 ,\n [ ] ]}", "data: [1,2.0,[]]\n" ID_LINE "\n"},
        {"{\"data\":{ \"b\" : \" x \\\" y \" ,\"a\":\"\\u00e9\"}}",
         "data: {\"b\":\" x \\\" y \",\"a\":\"\\u00e9\"}\n" ID_LINE "\n"},
        {"{\"data\":{\"data\":1,\"topic\":2}}", "data: {\"data\":1,\"topic\":2}\n" ID_LINE "\n"},
        /* the other fields */
        {"{\"data\":\"x\",\"event\":\"placed\"}", "event: placed\ndata: x\n" ID_LINE "\n"},
        {"{\"event\":\"message\",\"data\":\"x\"}", "data: x\n" ID_LINE "\n"},
        {"{\"data\":\"x\",\"retry\":1500}", "retry: 1500\ndata: x\n" ID_LINE "\n"},
        {"{\"data\":\"x\",\"retry\":2e3}", "retry: 2000\ndata: x\n" ID_LINE "\n"},
        {"{\"data\":\"x\",\"retry\":0}", "retry: 1000\ndata: x\n" ID_LINE "\n"},
        {"{\"data\":\"x\",\"retry\":999}", "retry: 1000\ndata: x\n" ID_LINE "\n"},
        {"{\"data\":\"x\",\"retry\":3600001}", "retry: 3600000\ndata: x\n" ID_LINE "\n"},
        {"{\"data\":\"x\",\"retry\":1e300}", "retry: 3600000\ndata: x\n" ID_LINE "\n"},
        {"{\"data\":\"x\",\"ephemeral\":false}", "data: x\n" ID_LINE "\n"},
        {"{\"data\":\"x\",\"ephemeral\":true}", "data: x\n\n"},
        {"{\"ephemeral\":true,\"retry\":5000,\"data\":\"x\",\"event\":\"e\"}",
         "retry: 5000\nevent: e\ndata: x\n\n"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct publish_body body = read_good(cases[i].json);

        assert_int_equal(body.messages_n, 1);
        assert_false(body.is_array);
        assert_frame(body.messages[0], cases[i].frame);
        assert_int_equal(body.bytes, body.messages[0]->bytes);
        assert_int_equal(body.messages[0]->topics_n + body.messages[0]->users_n, 0);
        assert_int_equal(body.messages[0]->ttl_ms, 0);
        assert_int_equal(body.messages[0]->refs, 1);
        assert_int_equal(body.messages[0]->published_ms, 0);
        publish_body_free(&body);
        assert_null(body.messages);
    }
}

static void empty_text_is_data_too(void **state)
{
    struct publish_body body = read_good("{\"data\":\"\"}");
    struct message *expected = make_message(.data = "");

    (void)state;
    assert_int_equal(body.messages[0]->frame_n, expected->frame_n);
    assert_memory_equal(body.messages[0]->frame, expected->frame, expected->frame_n);
    message_unref(expected);
    publish_body_free(&body);
}

static void reads_addresses(void **state)
{
    static const struct {
        const char *json;
        const char *topics, *users;
    } cases[] = {
        {"{\"data\":1,\"topic\":\"a\"}", "a", NULL},
        {"{\"data\":1,\"topics\":\"a/b\"}", "a/b", NULL},
        {"{\"data\":1,\"topic\":[\"b\",\"b/c\",\"a\"]}", "b b/c a", NULL},
        {"{\"topics\":[\"\\u00e9\"],\"data\":1}", "\xc3\xa9", NULL},
        {"{\"data\":1,\"topic\":\"https://example.org/a?b\"}", "https://example.org/a?b", NULL},
        {"{\"data\":1,\"topic\":\"$bugle\"}", "$bugle", NULL},
        {"{\"data\":1,\"user\":\"ada\"}", NULL, "ada"},
        {"{\"data\":1,\"users\":[\"ada\",\"bob\"]}", NULL, "ada bob"},
        {"{\"data\":1,\"user\":\"*\"}", NULL, "*"},
        {"{\"data\":1,\"user\":42}", NULL, "42"},
        {"{\"data\":1,\"user\":0}", NULL, "0"},
        {"{\"data\":1,\"user\":-7}", NULL, "-7"},
        {"{\"data\":1,\"users\":[ 1 , \"2\" ,12345678901234567890]}", NULL,
         "1 2 12345678901234567890"},
        /* each once, at its first place */
        {"{\"data\":1,\"topics\":[\"b\",\"a\",\"b\",\"c\",\"a\"]}", "b a c", NULL},
        {"{\"data\":1,\"users\":[1,\"ada\",\"1\",\"bob\",\"ada\",1]}", NULL, "1 ada bob"},
        {"{\"data\":1,\"topic\":\"a\",\"user\":\"ada\"}", "a", "ada"},
        {"{\"data\":1,\"topic\":\"" TEN(LETTERS) TEN(LETTERS) "\"}", TEN(LETTERS) TEN(LETTERS),
         NULL},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct publish_body body = read_good(cases[i].json);
        struct message *expected = make_message(.topics = cases[i].topics, .users = cases[i].users);
        size_t names_n = (size_t)expected->topics_n + expected->users_n;

        assert_int_equal(body.messages[0]->topics_n, expected->topics_n);
        assert_int_equal(body.messages[0]->users_n, expected->users_n);
        for (size_t n = 0; n < names_n; n++) {
            char name[300] = "";

            memcpy(name, expected->names[n].bytes, expected->names[n].bytes_n);
            assert_name(&body.messages[0]->names[n], name);
        }
        message_unref(expected);
        publish_body_free(&body);
    }
}

static void rounds_a_ttl_up_to_milliseconds(void **state)
{
    static const struct {
        const char *json;
        int64_t ttl_ms;
    } cases[] = {
        {"{\"data\":1,\"ttl\":1}", 1000},
        {"{\"data\":1,\"ttl\":1.5}", 1500},
        {"{\"data\":1,\"ttl\":0.0001}", 1},
        {"{\"data\":1,\"ttl\":86400}", 86400000},
        {"{\"data\":1,\"ttl\":3153600000}", INT64_C(3153600000000)},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct publish_body body = read_good(cases[i].json);

        assert_int_equal(body.messages[0]->ttl_ms, cases[i].ttl_ms);
        publish_body_free(&body);
    }
}

static void reads_an_array_in_its_order(void **state)
{
    struct publish_body body = read_good(
        " [ {\"data\":1.0,\"topic\":\"a\",\"event\":\"e\",\"ttl\":5} , {\"data\":\"b\"},\n"
        "{\"data\":[ ],\"user\":3,\"ephemeral\":true}] ");

    (void)state;
    assert_true(body.is_array);
    assert_int_equal(body.messages_n, 3);
    assert_frame(body.messages[0], "event: e\ndata: 1.0\n" ID_LINE "\n");
    assert_frame(body.messages[1], "data: b\n" ID_LINE "\n");
    assert_frame(body.messages[2], "data: []\n\n");
    assert_name(&message_topics(body.messages[0])[0], "a");
    /* nothing of one event is left over for the next */
    assert_int_equal(body.messages[1]->topics_n + body.messages[1]->users_n, 0);
    assert_int_equal(body.messages[1]->ttl_ms, 0);
    assert_int_equal(body.messages[2]->topics_n, 0);
    assert_name(&message_users(body.messages[2])[0], "3");
    assert_int_equal(body.bytes,
                     body.messages[0]->bytes + body.messages[1]->bytes + body.messages[2]->bytes);
    publish_body_free(&body);
}

static void an_array_of_one_is_an_array(void **state)
{
    struct publish_body body = read_good("[{\"data\":1}]");

    (void)state;
    assert_true(body.is_array);
    assert_int_equal(body.messages_n, 1);
    publish_body_free(&body);
}

/* ---- what is refused ---- */

static void says_in_its_own_words_that_a_nul_is_not_taken(void **state)
{
    const char *json = "{\"data\":\n\"a\\u0000b\"}";
    struct problem problem = read_bad(json, strlen(json));

    (void)state;
    assert_int_equal(problem.status, 400);
    assert_string_equal(problem.code, "invalid_json");
    assert_non_null(strstr(problem.detail, "\\u0000, the NUL character"));
    assert_null(strstr(problem.detail, "JSON_ALLOW_NUL"));
    assert_int_equal(problem.line, 2);
}

static void says_where_json_is_wrong(void **state)
{
    static const struct {
        const char *json;
        size_t line; /* of the mistake */
    } cases[] = {
        {"", 1},
        {" ", 1},
        {"\n\n", 3},
        {"{", 1},
        {"[", 1},
        {"}", 1},
        {"hello", 1},
        {"nul", 1},
        {"{\"data\":}", 1},
        {"{\n\"data\":}", 2},
        {"{\"data\":1,}", 1},
        {"{\"data\":1\n,\n}", 3},
        {"{\"data\" 1}", 1},
        {"{data:1}", 1},
        {"{'data':1}", 1},
        {"{\"data\":01}", 1},
        {"{\"data\":.5}", 1},
        {"{\"data\":+1}", 1},
        {"{\"data\":NaN}", 1},
        {"{\"data\":\"a\nb\"}", 1},
        {"{\"data\":\"\\x\"}", 1},
        {"{\"data\":\"\\ud800\"}", 1},
        {"{\"data\":\"\\u0000\"}", 1},
        {"{\"data\":\"\xff\"}", 1},
        {"{\"data\":\"\xc0\x80\"}", 1},
        {"\xef\xbb\xbf{\"data\":1}", 1},
        {"{\"data\":1}{\"data\":2}", 1},
        {"{\"data\":1} x", 1},
        {"[{\"data\":1}", 1},
        {"{\"data\":1,\"data\":2}", 1}, /* which of the two was meant? */
        {"{\"data\":1,\"d\\u0061ta\":2}", 1},
        {"{\"data\":1,\"topic\":\"a\",\"topic\":\"b\"}", 1},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct problem problem = read_bad(cases[i].json, strlen(cases[i].json));

        if (problem.status != 400 || strcmp(problem.code, "invalid_json") != 0 ||
            problem.line != cases[i].line || problem.column < 1 || *problem.pointer != '\0')
            fail_msg("%s: %u %s %zu:%zu", cases[i].json, problem.status, problem.code, problem.line,
                     problem.column);
    }
}

static void refuses_a_nul_byte_wherever_it_is(void **state)
{
    static const char json[] = "[{\"data\":1},\n{\"data\":2}]";

    (void)state;
    for (size_t at = 0; at <= strlen(json); at++) {
        char text[sizeof(json) + 1];
        struct problem problem;
        bool second = at > 13;

        memcpy(text, json, at);
        text[at] = '\0';
        memcpy(text + at + 1, json + at, strlen(json) - at);
        problem = read_bad(text, strlen(json) + 1);
        assert_int_equal(problem.status, 400);
        assert_string_equal(problem.code, "invalid_json");
        assert_int_equal(problem.line, second || at == 13 ? 2 : 1);
        assert_int_equal(problem.column, second || at == 13 ? at - 13 + 1 : at + 1);
    }
}

static void refuses_deep_nesting_before_parsing(void **state)
{
    struct publish_body body = read_good("{\"data\":[[[[[[[1]]]]]]]}");
    char *deep = malloc(200000);

    (void)state;
    publish_body_free(&body);
    struct problem problem = read_bad("{\"data\":[[[[[[[[1]]]]]]]]}", 25);
    assert_int_equal(problem.status, 400);
    assert_string_equal(problem.code, "json_too_deep");
    memset(deep, '[', 200000);
    problem = read_bad(deep, 200000);
    assert_string_equal(problem.code, "json_too_deep");
    free(deep);
}

static void says_which_field_is_wrong(void **state)
{
    static const struct {
        const char *json, *code, *pointer;
    } cases[] = {
        /* what is no event */
        {"1", "not_an_object", ""},
        {"null", "not_an_object", ""},
        {"\"text\"", "not_an_object", ""},
        {"[1]", "not_an_object", "/0"},
        {"[{\"data\":1},[]]", "not_an_object", "/1"},
        {"[{\"data\":1},null]", "not_an_object", "/1"},
        {"[]", "empty_array", ""},
        {" [ ] ", "empty_array", ""},
        {"{}", "invalid_field", "/data"},
        {"{\"topic\":\"a\"}", "invalid_field", "/data"},
        {"[{\"data\":1},{}]", "invalid_field", "/1/data"},
        /* topics */
        {"{\"data\":1,\"topic\":null}", "invalid_field", "/topic"},
        {"{\"data\":1,\"topic\":1}", "invalid_field", "/topic"},
        {"{\"data\":1,\"topic\":true}", "invalid_field", "/topic"},
        {"{\"data\":1,\"topic\":{}}", "invalid_field", "/topic"},
        {"{\"data\":1,\"topic\":\"\"}", "invalid_field", "/topic"},
        {"{\"data\":1,\"topics\":[]}", "invalid_field", "/topics"},
        {"{\"data\":1,\"topics\":[\"\"]}", "invalid_field", "/topics/0"},
        {"{\"data\":1,\"topics\":[\"a\",null]}", "invalid_field", "/topics/1"},
        {"{\"data\":1,\"topics\":[\"a\",7]}", "invalid_field", "/topics/1"},
        {"{\"data\":1,\"topics\":[[\"a\"]]}", "invalid_field", "/topics/0"},
        {"{\"data\":1,\"topic\":\"*\"}", "invalid_field", "/topic"},
        {"{\"data\":1,\"topic\":\"a/**\"}", "invalid_field", "/topic"},
        {"{\"data\":1,\"topic\":\"a*\"}", "invalid_field", "/topic"},
        {"{\"data\":1,\"topic\":\"$bugle/x\"}", "invalid_field", "/topic"},
        {"{\"data\":1,\"topic\":\"a\\u0007\"}", "invalid_field", "/topic"},
        {"{\"data\":1,\"topic\":\"a\\u200b\"}", "invalid_field", "/topic"},
        {"{\"data\":1,\"topic\":\"" TEN(LETTERS) TEN(LETTERS) TEN(LETTERS) "\"}", "invalid_field",
         "/topic"},
        {"{\"data\":1,\"topics\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "invalid_field",
         "/topics"},
        {"{\"data\":1,\"topic\":\"a\",\"topics\":[\"b\"]}", "invalid_field", "/topics"},
        {"{\"data\":1,\"topics\":\"a\",\"topic\":\"a\"}", "invalid_field", "/topic"},
        {"[{\"data\":1},{\"data\":1,\"topics\":[\"a\",\"*\"]}]", "invalid_field", "/1/topics/1"},
        /* users */
        {"{\"data\":1,\"user\":null}", "invalid_field", "/user"},
        {"{\"data\":1,\"user\":true}", "invalid_field", "/user"},
        {"{\"data\":1,\"user\":1.5}", "invalid_field", "/user"},
        {"{\"data\":1,\"user\":1e3}", "invalid_field", "/user"},
        {"{\"data\":1,\"user\":1.0}", "invalid_field", "/user"},
        {"{\"data\":1,\"user\":\"\"}", "invalid_field", "/user"},
        {"{\"data\":1,\"user\":{}}", "invalid_field", "/user"},
        {"{\"data\":1,\"users\":[]}", "invalid_field", "/users"},
        {"{\"data\":1,\"users\":[1,null]}", "invalid_field", "/users/1"},
        {"{\"data\":1,\"users\":[1,2.5]}", "invalid_field", "/users/1"},
        {"{\"data\":1,\"users\":[\"a\",\"b\",\"\"]}", "invalid_field", "/users/2"},
        {"{\"data\":1,\"user\":\"a\",\"users\":[\"b\"]}", "invalid_field", "/users"},
        /* the event's name */
        {"{\"data\":1,\"event\":null}", "invalid_field", "/event"},
        {"{\"data\":1,\"event\":1}", "invalid_field", "/event"},
        {"{\"data\":1,\"event\":\"\"}", "invalid_field", "/event"},
        {"{\"data\":1,\"event\":[\"a\"]}", "invalid_field", "/event"},
        {"{\"data\":1,\"event\":\"open\"}", "invalid_field", "/event"},
        {"{\"data\":1,\"event\":\"error\"}", "invalid_field", "/event"},
        {"{\"data\":1,\"event\":\"reset\"}", "invalid_field", "/event"},
        {"{\"data\":1,\"event\":\"checkpoint\"}", "invalid_field", "/event"},
        {"{\"data\":1,\"event\":\"ping\"}", "invalid_field", "/event"},
        {"{\"data\":1,\"event\":\"close\"}", "invalid_field", "/event"},
        {"{\"data\":1,\"event\":\"a\\nb\"}", "invalid_field", "/event"},
        {"{\"data\":1,\"event\":\" a\"}", "invalid_field", "/event"},
        {"{\"data\":1,\"event\":\"" TEN(LETTERS) LETTERS LETTERS "123456789\"}", "invalid_field",
         "/event"},
        /* numbers and truth */
        {"{\"data\":1,\"retry\":null}", "invalid_field", "/retry"},
        {"{\"data\":1,\"retry\":\"5000\"}", "invalid_field", "/retry"},
        {"{\"data\":1,\"retry\":-1}", "invalid_field", "/retry"},
        {"{\"data\":1,\"retry\":1500.5}", "invalid_field", "/retry"},
        {"{\"data\":1,\"ttl\":null}", "invalid_field", "/ttl"},
        {"{\"data\":1,\"ttl\":\"10\"}", "invalid_field", "/ttl"},
        {"{\"data\":1,\"ttl\":0}", "invalid_field", "/ttl"},
        {"{\"data\":1,\"ttl\":-1}", "invalid_field", "/ttl"},
        {"{\"data\":1,\"ttl\":1e300}", "invalid_field", "/ttl"},
        {"{\"data\":1,\"ephemeral\":null}", "invalid_field", "/ephemeral"},
        {"{\"data\":1,\"ephemeral\":1}", "invalid_field", "/ephemeral"},
        {"{\"data\":1,\"ephemeral\":\"true\"}", "invalid_field", "/ephemeral"},
        /* keys */
        {"{\"data\":1,\"idempotency_key\":\"\"}", "invalid_field", "/idempotency_key"},
        {"{\"data\":1,\"idempotency_key\":\"a\\nb\"}", "invalid_field", "/idempotency_key"},
        {"{\"data\":1,\"idempotency_key\":5}", "invalid_field", "/idempotency_key"},
        {"[{\"data\":1,\"idempotency_key\":null}]", "invalid_field", "/0/idempotency_key"},
        {"{\"data\":1,\"idempotency_key\":\"k\",\"ephemeral\":true}", "invalid_field",
         "/idempotency_key"},
        {"{\"ephemeral\":true,\"idempotency_key\":\"k\",\"data\":1}", "invalid_field",
         "/idempotency_key"},
        {"[{\"data\":1,\"idempotency_key\":\"k\"},{\"data\":1},"
         "{\"data\":1,\"idempotency_key\":\"k\"}]",
         "invalid_field", "/2/idempotency_key"},
        /* typing mistakes */
        {"{\"data\":1,\"Topic\":\"a\"}", "invalid_field", "/Topic"},
        {"{\"data\":1,\"usr\":\"a\"}", "invalid_field", "/usr"},
        {"{\"data\":1,\"\":1}", "invalid_field", "/"},
        {"{\"data\":1,\"a/b~c\":1}", "invalid_field", "/a~1b~0c"},
        {"[{\"data\":1,\"topic \":1}]", "invalid_field", "/0/topic "},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct problem problem = read_bad(cases[i].json, strlen(cases[i].json));

        if (problem.status != 422 || strcmp(problem.code, cases[i].code) != 0 ||
            strcmp(problem.pointer, cases[i].pointer) != 0)
            fail_msg("%s: %u %s %s", cases[i].json, problem.status, problem.code, problem.pointer);
        assert_int_equal(problem.line, 0);
    }
}

static void a_long_unknown_name_fits_the_answer(void **state)
{
    char json[600] = "{\"data\":1,\"";

    (void)state;
    memset(json + strlen(json), '/', 400);
    strcat(json, "\":1}");
    struct problem problem = read_bad(json, strlen(json));
    assert_int_equal(problem.status, 422);
    assert_memory_equal(problem.pointer, "/~1~1~1", 7);
    assert_true(strlen(problem.pointer) < sizeof(problem.pointer) - 1);
}

static void an_event_has_so_many_bytes_and_no_more(void **state)
{
    static const struct {
        const char *json;
        bool good;
        const char *pointer;
    } cases[] = {
        {"{\"data\":\"" TEN(LETTERS) "\"}", true, NULL},
        {"{\"data\":\"" TEN(LETTERS) "k\"}", false, "/data"},
        {"{\"data\":\"\\u0061" TEN(LETTERS) "\"}", false, "/data"},
        {"{\"data\":[1" TEN(TEN("  ")) "]}", true, NULL}, /* without the white space */
        {"{\"data\":[\"" TEN(LETTERS) "\"]}", false, "/data"},
        {"[{\"data\":1},{\"data\":\"" TEN(LETTERS) "k\"}]", false, "/1/data"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        if (cases[i].good) {
            struct publish_body body = read_good(cases[i].json);

            publish_body_free(&body);
            continue;
        }
        struct problem problem = read_bad(cases[i].json, strlen(cases[i].json));
        assert_int_equal(problem.status, 413);
        assert_string_equal(problem.code, "event_too_large");
        assert_string_equal(problem.pointer, cases[i].pointer);
    }
}

/* `[x,x,x]` with so many members between the brackets. */
static char *make_list(const char *before, const char *member, size_t members_n, const char *after)
{
    char *list = malloc(strlen(before) + members_n * (strlen(member) + 1) + strlen(after) + 3);
    char *to = stpcpy(stpcpy(list, before), "[");

    for (size_t i = 0; i < members_n; i++)
        to = stpcpy(stpcpy(to, i > 0 ? "," : ""), member);
    stpcpy(stpcpy(to, "]"), after);
    return list;
}

static void lists_have_so_many_members_and_no_more(void **state)
{
    static const struct {
        const char *before, *member, *after;
        size_t most;
        const char *code, *pointer;
    } cases[] = {
        {"", "{\"data\":1}", "", HUB_OP_EVENTS_MAX, "too_many_events", ""},
        {"{\"data\":1,\"topics\":", "\"a\"", "}", PUBLISH_TOPICS_MAX, "invalid_field", "/topics"},
        {"{\"users\":", "\"a\"", ",\"data\":1}", PUBLISH_USERS_MAX, "invalid_field", "/users"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        char *most = make_list(cases[i].before, cases[i].member, cases[i].most, cases[i].after);
        char *more = make_list(cases[i].before, cases[i].member, cases[i].most + 1, cases[i].after);
        struct publish_body body = read_good(most);
        struct problem problem = read_bad(more, strlen(more));

        assert_int_equal(body.messages_n, i == 0 ? HUB_OP_EVENTS_MAX : 1);
        assert_int_equal(problem.status, 422);
        assert_string_equal(problem.code, cases[i].code);
        assert_string_equal(problem.pointer, cases[i].pointer);
        publish_body_free(&body);
        free(most);
        free(more);
    }
}

/* An event for a thousand users. */
static char *make_event_for_many(void)
{
    char *text = malloc(8192), *end = stpcpy(text, "{\"data\":1,\"users\":[0");

    for (int i = 1; i < PUBLISH_USERS_MAX; i++)
        end += sprintf(end, ",%d", i);
    strcpy(end, "]}");
    return text;
}

static void a_thousand_users_are_told_apart(void **state)
{
    char *event = make_event_for_many();
    struct publish_body body = read_good(event);

    (void)state;
    assert_int_equal(body.messages[0]->users_n, PUBLISH_USERS_MAX);
    for (size_t i = 0; i < PUBLISH_USERS_MAX; i++) {
        char name[8];

        snprintf(name, sizeof(name), "%zu", i);
        assert_name(&message_users(body.messages[0])[i], name);
    }
    publish_body_free(&body);
    free(event);
}

static void a_request_has_so_many_recipients_and_no_more(void **state)
{
    char *event = make_event_for_many();
    char *most = make_list("", event, 10, "");
    char *more = malloc(strlen(most) + 100);
    struct publish_body body = read_good(most);

    (void)state;
    assert_int_equal(body.messages_n, 10);
    publish_body_free(&body);
    strcpy(more, most);
    strcpy(more + strlen(more) - 1, ",{\"data\":1},{\"data\":1,\"users\":[1]}]");
    struct problem problem = read_bad(more, strlen(more));
    assert_int_equal(problem.status, 422);
    assert_string_equal(problem.code, "invalid_field");
    assert_string_equal(problem.pointer, "/11/users");
    free(event);
    free(most);
    free(more);
}

/* ---- text, with the fields from a query ---- */

struct query {
    struct publish_field fields[32];
    size_t fields_n;
};

/* "a=1&b=2", without decoding. */
static void split_query(struct query *query, char *text)
{
    char *rest = NULL;

    query->fields_n = 0;
    for (char *at = strtok_r(text, "&", &rest); at != NULL; at = strtok_r(NULL, "&", &rest)) {
        char *value = strchr(at, '=');

        *value++ = '\0';
        query->fields[query->fields_n++] =
            (struct publish_field){.name = at, .value = value, .value_n = strlen(value)};
    }
}

static bool read_text(const char *data, size_t data_n, const char *query_text,
                      struct publish_body *ret_body, struct problem *ret_problem)
{
    char copy[1024], *body = malloc(data_n > 0 ? data_n : 1);
    struct query query;

    memcpy(body, data, data_n);
    snprintf(copy, sizeof(copy), "%s", query_text);
    split_query(&query, copy);
    memset(ret_problem, 0, sizeof(*ret_problem));
    bool good = publish_body_text(body, data_n, query.fields, query.fields_n, &limits, ret_body,
                                  ret_problem);
    memset(copy, '#', sizeof(copy));
    memset(body, '#', data_n);
    free(body);
    return good;
}

/* ---- idempotency keys ---- */

static void assert_key(const struct message *message, const char *key)
{
    assert_int_equal(message->key_n, strlen(key));
    assert_memory_equal(message_key(message), key, strlen(key));
}

static void takes_a_key_from_the_field(void **state)
{
    struct publish_body one = read_good("{\"data\":1,\"idempotency_key\":\"k-\\u00e9\"}");
    struct publish_body many = read_good("[{\"data\":1,\"idempotency_key\":\"a\"},{\"data\":1},"
                                         "{\"data\":1,\"idempotency_key\":\"b\"}]");
    struct publish_body none = read_good("{\"data\":1}");

    (void)state;
    assert_true(one.has_keys);
    assert_key(one.messages[0], "k-\xc3\xa9");
    assert_true(many.has_keys);
    assert_key(many.messages[0], "a");
    assert_int_equal(many.messages[1]->key_n, 0);
    assert_key(many.messages[2], "b");
    assert_false(none.has_keys);
    assert_int_equal(none.messages[0]->key_n, 0);
    publish_body_free(&one);
    publish_body_free(&many);
    publish_body_free(&none);
}

/* Two ways of writing the same are the same; any difference that a client could see is one. */
static void a_digest_is_of_what_was_said(void **state)
{
    static const char *const same[] = {
        "{\"data\":\"x\",\"topic\":\"a\",\"idempotency_key\":\"k\"}",
        " { \"idempotency_key\":\"other\", \"topics\":[\"a\"],\"data\":\"\\u0078\" } ",
        "{\"data\":\"x\",\"topic\":\"a\",\"event\":\"message\",\"idempotency_key\":\"k\"}",
    };
    static const char *const other[] = {
        "{\"data\":\"y\",\"topic\":\"a\",\"idempotency_key\":\"k\"}",
        "{\"data\":\"x\",\"topic\":\"b\",\"idempotency_key\":\"k\"}",
        "{\"data\":\"x\",\"idempotency_key\":\"k\"}",
        "{\"data\":\"x\",\"user\":\"a\",\"idempotency_key\":\"k\"}",
        "{\"data\":\"x\",\"topic\":\"a\",\"user\":\"a\",\"idempotency_key\":\"k\"}",
        "{\"data\":\"x\",\"topic\":\"a\",\"event\":\"e\",\"idempotency_key\":\"k\"}",
        "{\"data\":\"x\",\"topic\":\"a\",\"retry\":2000,\"idempotency_key\":\"k\"}",
        "{\"data\":\"x\",\"topic\":\"a\",\"ttl\":5,\"idempotency_key\":\"k\"}",
    };
    char first[MESSAGE_DIGEST_BYTES];

    (void)state;
    for (size_t i = 0; i < ROWS(same) + ROWS(other); i++) {
        const char *json = i < ROWS(same) ? same[i] : other[i - ROWS(same)];
        struct publish_body body = read_good(json);

        if (i == 0)
            memcpy(first, message_digest(body.messages[0]), sizeof(first));
        if ((memcmp(first, message_digest(body.messages[0]), sizeof(first)) == 0) !=
            (i < ROWS(same)))
            fail_msg("%s", json);
        publish_body_free(&body);
    }
}

static void a_key_from_the_header_is_for_one_event(void **state)
{
    static const struct publish_limits with_key = {1000, 64, "head", 4, NULL};
    static const struct publish_field topic = {"topic", "a", 1};
    struct publish_body body;
    struct problem problem;

    (void)state;
    assert_true(publish_body_json("{\"data\":1}", 10, &with_key, &body, &problem));
    assert_key(body.messages[0], "head");
    publish_body_free(&body);
    assert_true(publish_body_text("x", 1, &topic, 1, &with_key, &body, &problem));
    assert_key(body.messages[0], "head");
    publish_body_free(&body);
    memset(&problem, 0, sizeof(problem));
    assert_false(publish_body_json("[{\"data\":1}]", 12, &with_key, &body, &problem));
    assert_string_equal(problem.code, "key_of_many");
    assert_false(publish_body_json("{\"data\":1,\"idempotency_key\":\"k\"}", 32, &with_key, &body,
                                   &problem));
    assert_string_equal(problem.pointer, "/idempotency_key");
}

static void takes_a_body_as_the_data(void **state)
{
    static const struct {
        const char *body, *query, *frame;
        const char *topics, *users;
        int64_t ttl_ms;
    } cases[] = {
        {"hello", "broadcast=true", "data: hello\n" ID_LINE "\n", "", "", 0},
        {"{\"data\":1} ", "topic=a", "data: {\"data\":1} \n" ID_LINE "\n", "a", "", 0},
        {"{\"Data\":1}", "broadcast=true", "data: {\"Data\":1}\n" ID_LINE "\n", "", "", 0},
        {"x", "broadcast=false&user=a", "data: x\n" ID_LINE "\n", "", "a", 0},
        {"a\r\nb", "broadcast=true", "data: a\ndata: b\n" ID_LINE "\n", "", "", 0},
        {"x", "topic=news", "data: x\n" ID_LINE "\n", "news", "", 0},
        {"x", "topics=a&topics=b/c", "data: x\n" ID_LINE "\n", "a b/c", "", 0},
        {"x", "user=ada&topic=a&user=7", "data: x\n" ID_LINE "\n", "a", "ada 7", 0},
        {"x", "users=*", "data: x\n" ID_LINE "\n", "", "*", 0},
        {"x", "topic=a&event=placed&retry=1500&ttl=2.5",
         "retry: 1500\nevent: placed\ndata: x\n" ID_LINE "\n", "a", "", 2500},
        {"x", "topic=a&retry=1", "retry: 1000\ndata: x\n" ID_LINE "\n", "a", "", 0},
        {"x", "broadcast=true&ephemeral=true", "data: x\n\n", "", "", 0},
        {"x", "ephemeral=false&topic=a", "data: x\n" ID_LINE "\n", "a", "", 0},
        {TEN(LETTERS), "broadcast=true", "data: " TEN(LETTERS) "\n" ID_LINE "\n", "", "", 0},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct message *expected = make_message(.topics = cases[i].topics, .users = cases[i].users);
        struct publish_body body;
        struct problem problem;

        if (!read_text(cases[i].body, strlen(cases[i].body), cases[i].query, &body, &problem))
            fail_msg("%s: %s", cases[i].query, problem.detail);
        assert_int_equal(body.messages_n, 1);
        assert_false(body.is_array);
        assert_frame(body.messages[0], cases[i].frame);
        assert_int_equal(body.bytes, body.messages[0]->bytes);
        assert_int_equal(body.messages[0]->ttl_ms, cases[i].ttl_ms);
        assert_int_equal(body.messages[0]->topics_n, expected->topics_n);
        assert_int_equal(body.messages[0]->users_n, expected->users_n);
        for (size_t n = 0; n < (size_t)expected->topics_n + expected->users_n; n++)
            assert_true(body.messages[0]->names[n].hash == expected->names[n].hash);
        message_unref(expected);
        publish_body_free(&body);
    }
}

static void a_body_may_be_empty_or_have_a_nul(void **state)
{
    struct publish_body body;
    struct problem problem;

    (void)state;
    assert_true(read_text("", 0, "broadcast=true", &body, &problem));
    assert_int_equal(body.messages_n, 1);
    publish_body_free(&body);
    assert_true(read_text("a\0b", 3, "broadcast=true", &body, &problem));
    assert_memory_equal(body.messages[0]->frame, "data: a\0b\n", 10);
    publish_body_free(&body);
}

static void refuses_text_that_is_no_utf8(void **state)
{
    struct publish_body body;
    struct problem problem;

    (void)state;
    assert_false(read_text("ab\nc\xff", 5, "topic=a", &body, &problem));
    assert_int_equal(problem.status, 400);
    assert_string_equal(problem.code, "invalid_utf8");
    assert_int_equal(problem.line, 2);
    assert_int_equal(problem.column, 2);
}

static void says_which_query_field_is_wrong(void **state)
{
    static const struct {
        const char *query;
        unsigned status;
        const char *code, *pointer;
    } cases[] = {
        {"topic=", 422, "invalid_field", "/topic"},
        {"topic=*", 422, "invalid_field", "/topic"},
        {"topics=a&topics=", 422, "invalid_field", "/topics"},
        {"topic=$bugle/x", 422, "invalid_field", "/topic"},
        {"topic=a&topics=b", 422, "invalid_field", "/topics"},
        {"users=a&user=b", 422, "invalid_field", "/user"},
        {"topic=1&topic=2&topic=3&topic=4&topic=5&topic=6&topic=7&topic=8&topic=9&topic=10&"
         "topic=11&topic=12&topic=13&topic=14&topic=15&topic=16&topic=17",
         422, "invalid_field", "/topic"},
        {"user=", 422, "invalid_field", "/user"},
        {"event=", 422, "invalid_field", "/event"},
        {"event=open", 422, "invalid_field", "/event"},
        {"retry=", 422, "invalid_field", "/retry"},
        {"retry=x", 422, "invalid_field", "/retry"},
        {"retry=1500.5", 422, "invalid_field", "/retry"},
        {"retry=-1", 422, "invalid_field", "/retry"},
        {"retry=0x10", 422, "invalid_field", "/retry"},
        {"retry=inf", 422, "invalid_field", "/retry"},
        {"retry= 5", 422, "invalid_field", "/retry"},
        {"retry=1.2.3", 422, "invalid_field", "/retry"},
        {"ttl=0", 422, "invalid_field", "/ttl"},
        {"ttl=.", 422, "invalid_field", "/ttl"},
        {"ttl=-1", 422, "invalid_field", "/ttl"},
        {"ttl=nan", 422, "invalid_field", "/ttl"},
        {"ttl=99999999999", 422, "invalid_field", "/ttl"},
        {"ephemeral=", 422, "invalid_field", "/ephemeral"},
        {"ephemeral=1", 422, "invalid_field", "/ephemeral"},
        {"ephemeral=True", 422, "invalid_field", "/ephemeral"},
        {"idempotency_key=", 422, "invalid_field", "/idempotency_key"},
        {"topic=a&idempotency_key=k&ephemeral=true", 422, "invalid_field", "/idempotency_key"},
        {"idempotency_key=k&idempotency_key=k", 422, "invalid_field", "/idempotency_key"},
        {"data=x", 422, "invalid_field", "/data"},
        {"Topic=a", 422, "invalid_field", "/Topic"},
        {"a/b=1", 422, "invalid_field", "/a~1b"},
        {"broadcast=", 422, "invalid_field", "/broadcast"},
        {"broadcast=1", 422, "invalid_field", "/broadcast"},
        {"broadcast=true&topic=a", 422, "invalid_field", "/broadcast"},
        {"user=a&broadcast=true", 422, "invalid_field", "/broadcast"},
        {"broadcast=true&broadcast=true", 422, "invalid_field", "/broadcast"},
        {"", 422, "no_recipients", ""},
        {"event=placed", 422, "no_recipients", ""},
        {"broadcast=false", 422, "no_recipients", ""},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct publish_body body, before;
        struct problem problem;

        memset(&body, 0xAA, sizeof(body));
        memcpy(&before, &body, sizeof(body));
        if (read_text("x", 1, cases[i].query, &body, &problem))
            fail_msg("%s was taken", cases[i].query);
        if (problem.status != cases[i].status || strcmp(problem.code, cases[i].code) != 0 ||
            strcmp(problem.pointer, cases[i].pointer) != 0)
            fail_msg("%s: %u %s %s", cases[i].query, problem.status, problem.code, problem.pointer);
        assert_memory_equal(&body, &before, sizeof(body));
    }
}

/* A NUL that came as %00 ends no value early. */
static void a_value_goes_on_behind_a_nul(void **state)
{
    static const char *const names[] = {"topic", "user", "event", "retry", "ttl", "ephemeral"};
    static const char *const values[] = {"a\0*", "a\0*", "a\0b", "1500\0x", "5\0x", "true\0x"};
    static const size_t values_n[] = {3, 3, 3, 6, 3, 6};

    (void)state;
    for (size_t i = 0; i < ROWS(names); i++) {
        struct publish_field field = {names[i], values[i], values_n[i]};
        struct publish_body body;
        struct problem problem;

        assert_false(publish_body_text("x", 1, &field, 1, &limits, &body, &problem));
        assert_int_equal(problem.status, 422);
        assert_int_equal(problem.pointer[0], '/');
        assert_string_equal(problem.pointer + 1, names[i]);
    }
}

/* A forgotten Content-Type must not make an event for one an event for all, and not even a word in
 * the query says that it may. */
static void refuses_what_looks_like_another_type(void **state)
{
    static const struct {
        const char *body, *query, *code;
    } cases[] = {
        {"{\"topic\":\"a\",\"user\":\"anna\",\"data\":\"x\"}", "", "looks_like_json"},
        {"{\"topic\":\"a\",\"user\":\"anna\",\"data\":\"x\"}", "broadcast=true", "looks_like_json"},
        {"[{\"user\":\"anna\"}]", "event=e", "looks_like_json"},
        {"topic=orders/42&data=x", "", "looks_like_form"},
        {"topic=orders/42&data=x", "broadcast=true", "looks_like_form"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct publish_body body;
        struct problem problem;

        assert_false(
            read_text(cases[i].body, strlen(cases[i].body), cases[i].query, &body, &problem));
        assert_int_equal(problem.status, 415);
        assert_string_equal(problem.code, cases[i].code);
        assert_non_null(strstr(problem.detail, "Content-Type: application/json"));
        assert_true(strlen(problem.detail) < sizeof(problem.detail) - 1);
        assert_true(read_text(cases[i].body, strlen(cases[i].body), "topic=a", &body, &problem));
        publish_body_free(&body);
    }
}

static void text_has_so_many_bytes_and_no_more(void **state)
{
    struct publish_body body;
    struct problem problem;

    (void)state;
    assert_false(read_text(TEN(LETTERS) "k", 101, "topic=a", &body, &problem));
    assert_int_equal(problem.status, 413);
    assert_string_equal(problem.code, "event_too_large");
    assert_string_equal(problem.pointer, "/data");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(remembers_json),
        cmocka_unit_test(makes_frames),
        cmocka_unit_test(empty_text_is_data_too),
        cmocka_unit_test(reads_addresses),
        cmocka_unit_test(rounds_a_ttl_up_to_milliseconds),
        cmocka_unit_test(reads_an_array_in_its_order),
        cmocka_unit_test(an_array_of_one_is_an_array),
        cmocka_unit_test(says_in_its_own_words_that_a_nul_is_not_taken),
        cmocka_unit_test(says_where_json_is_wrong),
        cmocka_unit_test(refuses_a_nul_byte_wherever_it_is),
        cmocka_unit_test(refuses_deep_nesting_before_parsing),
        cmocka_unit_test(says_which_field_is_wrong),
        cmocka_unit_test(a_long_unknown_name_fits_the_answer),
        cmocka_unit_test(an_event_has_so_many_bytes_and_no_more),
        cmocka_unit_test(lists_have_so_many_members_and_no_more),
        cmocka_unit_test(a_thousand_users_are_told_apart),
        cmocka_unit_test(a_request_has_so_many_recipients_and_no_more),
        cmocka_unit_test(takes_a_key_from_the_field),
        cmocka_unit_test(a_digest_is_of_what_was_said),
        cmocka_unit_test(a_key_from_the_header_is_for_one_event),
        cmocka_unit_test(takes_a_body_as_the_data),
        cmocka_unit_test(a_body_may_be_empty_or_have_a_nul),
        cmocka_unit_test(refuses_text_that_is_no_utf8),
        cmocka_unit_test(says_which_query_field_is_wrong),
        cmocka_unit_test(a_value_goes_on_behind_a_nul),
        cmocka_unit_test(refuses_what_looks_like_another_type),
        cmocka_unit_test(text_has_so_many_bytes_and_no_more),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
