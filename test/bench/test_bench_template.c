/* SPDX-License-Identifier: MIT */
/* Tests of templates, of the addresses in URLs, and of the requests that are made of both. */
#include "config.h"
#include "bench/bench_template.h"

#include <setjmp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/bench_request.h"
#include "bench/bench_stamp.h"

#include <jansson.h>
#include <cmocka.h>

static const struct bench_values values = {
    .at = {[BENCH_PLACE_TOPIC] = {"T", 1},
           [BENCH_PLACE_DATA] = {"dd", 2},
           [BENCH_PLACE_SEQ] = {"7", 1}},
};

static void test_places_are_filled_in(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *filled;
    } cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"{topic}", "T"},
        {"/a?t={topic}&s={seq}", "/a?t=T&s=7"},
        {"{\"data\":\"{data}\",\"n\":{seq}}", "{\"data\":\"dd\",\"n\":7}"},
        {"{topic}{topic}{data}", "TTdd"},
        {"{other} {topic", "{other} {topic"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench_template template;
        char filled[64] = "";

        assert_int_equal(bench_template_compile(&template, cases[i].text), 0);
        assert_int_equal(bench_template_bytes(&template, &values), strlen(cases[i].filled));
        char *end = bench_template_write(&template, filled, &values);
        assert_int_equal(end - filled, strlen(cases[i].filled));
        assert_string_equal(filled, cases[i].filled);
        assert_int_equal(bench_template_names(&template, BENCH_PLACE_TOPIC),
                         strstr(cases[i].text, "{topic}") != NULL);
    }
}

static void test_places_have_a_limit(void **state)
{
    (void)state;
    struct bench_template template;

    assert_int_equal(bench_template_compile(&template, "{seq}{seq}{seq}{seq}{seq}{seq}{seq}{seq}"
                                                       "{seq}{seq}{seq}{seq}{seq}{seq}{seq}"),
                     0);
    assert_int_equal(bench_template_compile(&template, "{seq}{seq}{seq}{seq}{seq}{seq}{seq}{seq}"
                                                       "{seq}{seq}{seq}{seq}{seq}{seq}{seq}{seq}"),
                     -EINVAL);
}

static void test_urls_have_an_address_and_a_path(void **state)
{
    (void)state;
    struct bench_url url;

    assert_int_equal(bench_url_resolve(&url, "http://127.0.0.1:8080/events?topic={topic}"), 0);
    const struct sockaddr_in *address = (const struct sockaddr_in *)&url.address;
    assert_int_equal(ntohs(address->sin_port), 8080);
    assert_int_equal(ntohl(address->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_string_equal(url.authority, "127.0.0.1:8080");
    assert_string_equal(url.path, "/events?topic={topic}");

    assert_int_equal(bench_url_resolve(&url, "http://[::1]"), 0);
    const struct sockaddr_in6 *address6 = (const struct sockaddr_in6 *)&url.address;
    assert_int_equal(url.address.ss_family, AF_INET6);
    assert_int_equal(ntohs(address6->sin6_port), 80);
    assert_string_equal(url.path, "/");

    assert_int_equal(bench_url_resolve(&url, "ws://127.0.0.1/ws"), 0);
    assert_int_equal(ntohs(address->sin_port), 80);
    assert_string_equal(url.path, "/ws");
    assert_false(url.is_tls);
    assert_int_equal(bench_url_resolve(&url, "wss://127.0.0.1/ws"), 0);
    assert_int_equal(ntohs(address->sin_port), 443);
    assert_true(url.is_tls);
}

static void test_urls_that_lead_nowhere(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "wsx://127.0.0.1/", "",           "127.0.0.1/",        "httpx://127.0.0.1/",
        "http://",          "http://:80", "http://127.0.0.1:", "http://[::1",
        "http://[::1]x"};
    struct bench_url url;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(bench_url_resolve(&url, texts[i]), -EINVAL);
}

/* ---- requests ---- */

static const struct bench_options options = {
    .publish_url = "http://127.0.0.1:1/api/push",
    .publish_body = "{\"topic\":\"{topic}\",\"data\":\"{data}\"}",
    .publish_type = "application/json",
    .headers = {"X-One: 1"},
    .headers_n = 1,
    .topics = 3,
    .batch = 1,
    .size = 60,
};

/* A request as text; for free(). */
static char *request_of(struct bench_request *request, struct bench_request_event *events)
{
    char *text = calloc(1, bench_request_room(request) + 1);
    size_t n = bench_request_write(request, text, 0, 5, events);

    assert_true(n <= bench_request_room(request));
    text[n] = '\0'; /* the body stood further back when it was made */
    return text;
}

static void assert_length_is_right(const char *text)
{
    const char *length = strstr(text, "Content-Length: "), *body = strstr(text, "\r\n\r\n");

    assert_non_null(length);
    assert_non_null(body);
    assert_int_equal(strtoul(length + 16, NULL, 10), strlen(body + 4));
}

static void test_topics_take_turns_and_number_their_events(void **state)
{
    (void)state;
    struct bench_request request = {0};
    struct bench_request_event event;

    assert_int_equal(bench_request_init(&request, &options, 9), 0);
    for (uint32_t i = 0; i < 7; i++) {
        char topic[32];
        char *text = request_of(&request, &event);
        struct bench_stamp stamp;

        snprintf(topic, sizeof(topic), "\"topic\":\"bench-%u\"", i % 3);
        assert_int_equal(strncmp(text, "POST /api/push HTTP/1.1\r\nHost: 127.0.0.1:1\r\n", 44), 0);
        assert_non_null(strstr(text, "\r\nX-One: 1\r\n"));
        assert_non_null(strstr(text, topic));
        assert_length_is_right(text);
        assert_true(bench_stamp_find(text, strlen(text), &stamp));
        assert_int_equal(stamp.run, 9);
        assert_int_equal(stamp.topic, event.topic);
        assert_int_equal(stamp.number, i / 3);
        assert_int_equal(stamp.due_ns, 5);
        free(text);
    }
    bench_request_done(&request);
}

static void test_stamps_say_which_events_are_answered(void **state)
{
    (void)state;
    struct bench_options one = options;
    struct bench_request request = {0};
    struct bench_request_event event[2];
    struct bench_stamp stamp;

    one.topics = 1;
    assert_int_equal(bench_request_init(&request, &one, 9), 0);
    free(request_of(&request, &event[0]));
    free(request_of(&request, &event[1]));
    bench_request_answered(&request, &event[1]);
    char *text = request_of(&request, &event[1]);
    assert_true(bench_stamp_find(text, strlen(text), &stamp));
    assert_int_equal(stamp.answered, 0);
    free(text);
    bench_request_answered(&request, &event[0]);
    text = request_of(&request, &event[0]);
    assert_true(bench_stamp_find(text, strlen(text), &stamp));
    assert_int_equal(stamp.answered, 2);
    free(text);
    bench_request_done(&request);
}

static void test_a_batch_is_an_array(void **state)
{
    (void)state;
    struct bench_options three = options;
    struct bench_request request = {0};
    struct bench_request_event events[3];

    three.batch = 3;
    assert_int_equal(bench_request_init(&request, &three, 9), 0);
    char *text = request_of(&request, events);
    const char *body = strstr(text, "\r\n\r\n") + 4;
    assert_int_equal(body[0], '[');
    assert_int_equal(body[strlen(body) - 1], ']');
    assert_non_null(strstr(body, "\"bench-0\""));
    assert_non_null(strstr(body, "},{\"topic\":\"bench-1\""));
    assert_non_null(strstr(body, "},{\"topic\":\"bench-2\""));
    assert_length_is_right(text);
    free(text);
    bench_request_done(&request);
}

/* The payload of a frame as text; for free(). */
static char *payload_of(const char *frame, size_t frame_n)
{
    size_t head_n = ((unsigned char)frame[1] & 0x7f) == 126 ? 8 : 6;
    char *text = calloc(1, frame_n);

    assert_int_equal((unsigned char)frame[0], 0x81);
    for (size_t i = head_n; i < frame_n; i++)
        text[i - head_n] = (char)(frame[i] ^ frame[head_n - 4 + ((i - head_n) & 3)]);
    return text;
}

static char *message_of(struct bench_request *request, uint32_t topic,
                        struct bench_request_event *events)
{
    char *frame = calloc(1, bench_request_room(request) + 1);
    size_t n = bench_request_write(request, frame, topic, 5, events);

    assert_true(n <= bench_request_room(request));
    char *text = payload_of(frame, n);
    free(frame);
    return text;
}

static void test_a_message_of_bugle_v1_has_all_events(void **state)
{
    (void)state;
    struct bench_options two = options;
    struct bench_request request = {0};
    struct bench_request_event events[2];

    two.publish_url = "ws://127.0.0.1:1/ws?topic=none";
    two.publish_way = BENCH_PUBLISH_WS_V1;
    two.batch = 2;
    assert_int_equal(bench_request_init(&request, &two, 9), 0);
    char *text = message_of(&request, 2, events);
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "type")), "publish");
    assert_int_equal(json_array_size(json_object_get(json, "events")), 2);
    assert_int_equal(events[0].topic, 0);
    assert_int_equal(events[1].topic, 1);
    json_decref(json);
    free(text);
    bench_request_done(&request);
}

static void test_a_raw_message_is_for_the_topic_of_its_socket(void **state)
{
    (void)state;
    struct bench_options raw = options;
    struct bench_request request = {0};
    struct bench_request_event event;
    char upgrade[1024];

    raw.publish_url = "ws://127.0.0.1:1/ws?topic={topic}&publish={topic}";
    raw.publish_body = "{data}";
    raw.publish_way = BENCH_PUBLISH_WS_RAW;
    assert_int_equal(bench_request_init(&request, &raw, 9), 0);
    assert_true(bench_request_room(&request) <= sizeof(upgrade));
    upgrade[bench_request_write_upgrade(&request, upgrade, 2)] = '\0';
    assert_int_equal(
        strncmp(upgrade, "GET /ws?topic=bench-2&publish=bench-2 HTTP/1.1\r\nHost: ", 54), 0);
    assert_non_null(strstr(upgrade, "\r\nUpgrade: websocket\r\n"));
    assert_string_equal(upgrade + strlen(upgrade) - 14, "\r\nX-One: 1\r\n\r\n");
    char *text = message_of(&request, 2, &event);
    assert_int_equal(strlen(text), raw.size);
    assert_int_equal(event.topic, 2);
    free(text);
    bench_request_done(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places_are_filled_in),
        cmocka_unit_test(test_places_have_a_limit),
        cmocka_unit_test(test_urls_have_an_address_and_a_path),
        cmocka_unit_test(test_urls_that_lead_nowhere),
        cmocka_unit_test(test_topics_take_turns_and_number_their_events),
        cmocka_unit_test(test_stamps_say_which_events_are_answered),
        cmocka_unit_test(test_a_batch_is_an_array),
        cmocka_unit_test(test_a_message_of_bugle_v1_has_all_events),
        cmocka_unit_test(test_a_raw_message_is_for_the_topic_of_its_socket),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
