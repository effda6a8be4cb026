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
}

static void test_urls_that_lead_nowhere(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",           "127.0.0.1/",        "https://127.0.0.1/", "http://",
        "http://:80", "http://127.0.0.1:", "http://[::1",        "http://[::1]x"};
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
    size_t n = bench_request_write(request, text, 5, events);

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
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
