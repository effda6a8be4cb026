/* SPDX-License-Identifier: MIT */
/* Tests of the response reader: every answer whole, and cut at every place. */
#include "config.h"
#include "bench/bench_http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *bytes;
    enum bench_http_state state;
    int status;
    bool closes;
    const char *body;
    size_t taken; /* 0: all */
} cases[] = {
    {"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello", BENCH_HTTP_DONE, 201, false, "hello",
     0},
    {"HTTP/1.1 200 OK\nCONTENT-LENGTH:5\n\nhello", BENCH_HTTP_DONE, 200, false, "hello", 0},
    {"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", BENCH_HTTP_DONE, 202, false, "", 0},
    {"HTTP/1.1 204 No Content\r\n\r\n", BENCH_HTTP_DONE, 204, false, "", 0},
    {"HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 2\r\n\r\nok",
     BENCH_HTTP_DONE, 200, true, "ok", 0},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
     BENCH_HTTP_DONE, 201, false, "ok", 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10;x=y\r\n0123456789abcdef"
     "\r\n0\r\n\r\n",
     BENCH_HTTP_DONE, 200, false, "abc0123456789abcdef", 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nX-After: 1\r\n"
     "\r\n",
     BENCH_HTTP_DONE, 200, false, "0123456789", 0},
    {"HTTP/1.1 200 OK\r\n\r\nto the end", BENCH_HTTP_BODY, 200, true, "to the end", 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nunfinish", BENCH_HTTP_BODY, 200, false,
     "unfinish", 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP", BENCH_HTTP_DONE, 200, false, "ok", 40},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", BENCH_HTTP_BAD, 200, false, "",
     0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", BENCH_HTTP_BAD, 200,
     false, "a", 0},
    {"SSH-2.0-OpenSSH\r\n", BENCH_HTTP_BAD, 0, false, "", 0},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

struct body {
    char bytes[64];
    size_t bytes_n;
};

static void gather(void *context, const char *bytes, size_t bytes_n)
{
    struct body *body = context;
    assert_true(body->bytes_n + bytes_n <= sizeof(body->bytes));
    memcpy(body->bytes + body->bytes_n, bytes, bytes_n);
    body->bytes_n += bytes_n;
}

/* Feed a case in pieces that end at `cut` and at the end. */
static void check(size_t i, size_t cut)
{
    struct bench_http http;
    struct body body = {.bytes_n = 0};
    size_t bytes_n = strlen(cases[i].bytes);
    bench_http_start(&http);
    size_t taken = bench_http_feed(&http, cases[i].bytes, cut, gather, &body);
    if (taken == cut)
        taken += bench_http_feed(&http, cases[i].bytes + cut, bytes_n - cut, gather, &body);
    assert_int_equal(http.state, cases[i].state);
    assert_int_equal(http.status, cases[i].status);
    assert_int_equal(http.closes, cases[i].closes);
    assert_int_equal(body.bytes_n, strlen(cases[i].body));
    assert_memory_equal(body.bytes, cases[i].body, body.bytes_n);
    if (cases[i].state != BENCH_HTTP_BAD)
        assert_int_equal(taken, cases[i].taken ? cases[i].taken : bytes_n);
}

static void test_cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++)
        for (size_t cut = 0; cut <= strlen(cases[i].bytes); cut++)
            check(i, cut);
}

static void test_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        struct bench_http http;
        bench_http_start(&http);
        for (const char *at = cases[i].bytes; *at; at++)
            bench_http_feed(&http, at, 1, NULL, NULL);
        assert_int_equal(http.state, cases[i].state);
        assert_int_equal(http.status, cases[i].status);
    }
}

static void test_head_is_known_before_the_body(void **state)
{
    (void)state;
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct bench_http http;
    bench_http_start(&http);
    bench_http_feed(&http, head, sizeof(head) - 2, NULL, NULL);
    assert_false(bench_http_has_head(&http));
    bench_http_feed(&http, "\n", 1, NULL, NULL);
    assert_true(bench_http_has_head(&http));
}

static void test_long_header_lines_do_no_harm(void **state)
{
    (void)state;
    struct bench_http http;
    bench_http_start(&http);
    const char *status = "HTTP/1.1 200 OK\r\nX-Long: ";
    bench_http_feed(&http, status, strlen(status), NULL, NULL);
    for (int i = 0; i < 10000; i++)
        bench_http_feed(&http, "content-length: 7 ", 18, NULL, NULL);
    bench_http_feed(&http, "\r\nContent-Length: 1\r\n\r\nx", 24, NULL, NULL);
    assert_int_equal(http.state, BENCH_HTTP_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_head_is_known_before_the_body),
        cmocka_unit_test(test_long_header_lines_do_no_harm),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
