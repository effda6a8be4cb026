/* SPDX-License-Identifier: MIT */
/*
 * Heads that are plainly one request, and the ways by which two parsers can be made to read two.
 * Every row is also given byte by byte: no prefix may be taken for a whole head, and a refusal
 * must stand whatever follows.
 */
#include "wire/http_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define H "Host: h\r\n"
#define GET "GET /events HTTP/1.1\r\n" H
#define POST "POST /api/push HTTP/1.1\r\n" H
#define END "\r\n"

static const struct http_head_limits limits = {
    .head_bytes_max = 16384, .target_bytes_max = 8192, .headers_max = 100};

/* Check the text in a block of exactly its size: a sanitizer sees a read past it. */
static enum http_head_verdict check_n(const char *text, size_t text_n,
                                      const struct http_head_limits *with, struct http_head *ret)
{
    char *block = malloc(text_n > 0 ? text_n : 1);
    enum http_head_verdict verdict;

    assert_non_null(block);
    memcpy(block, text, text_n);
    verdict = http_head_check(block, text_n, with, ret);
    if (verdict == HTTP_HEAD_GOOD)
        ret->path = text + (ret->path - block);
    free(block);
    return verdict;
}

/* The verdict for all of the text; on the way, that every prefix agrees with it. */
static enum http_head_verdict check_growing(const char *text, size_t text_n,
                                            const struct http_head_limits *with,
                                            struct http_head *ret_head)
{
    enum http_head_verdict last = HTTP_HEAD_MORE;
    struct http_head head;

    for (size_t n = 0; n <= text_n; n++) {
        enum http_head_verdict verdict;

        memset(&head, 0x55, sizeof head);
        verdict = check_n(text, n, with, &head);
        if (verdict == HTTP_HEAD_MORE)
            assert_int_equal(head.status, 0x55555555);
        if (last == HTTP_HEAD_MORE && verdict == HTTP_HEAD_GOOD)
            assert_int_equal(head.head_bytes, n);
        if (last != HTTP_HEAD_MORE) {
            assert_int_equal(verdict, last);
            assert_memory_equal(&head, ret_head, sizeof head);
        }
        last = verdict;
        *ret_head = head;
    }
    return last;
}

static void refuses_smuggling_and_other_nonsense(void **state)
{
    static const struct {
        unsigned status;
        const char *text;
    } rows[] = {
        /* two lengths */
        {400, POST "Content-Length: 0\r\nContent-Length: 5\r\n" END},
        {400, POST "Content-Length: 5\r\nContent-Length: 5\r\n" END},
        {400, POST "Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n" END},
        {400, POST "Content-Length: 5, 5\r\n" END},
        {400, POST "Content-Length: 5,6\r\n" END},
        {400, POST "Content-Length: 5 6\r\n" END},
        {400, POST "Content-Length: +5\r\n" END},
        {400, POST "Content-Length: -5\r\n" END},
        {400, POST "Content-Length: 0x5\r\n" END},
        {400, POST "Content-Length: 5.0\r\n" END},
        {400, POST "Content-Length: 5e1\r\n" END},
        {400, POST "Content-Length: \"5\"\r\n" END},
        {400, POST "Content-Length: 5;\r\n" END},
        {400, POST "Content-Length:\r\n" END},
        {400, POST "Content-Length: \t \r\n" END},
        {400, POST "Content-Length: \xD9\xA5\r\n" END},
        {400, POST "Content-Length: 9223372036854775808\r\n" END},
        {400, POST "Content-Length: 18446744073709551615\r\n" END},
        {400, POST "Content-Length: 18446744073709551621\r\n" END},
        {400, POST "Content-Length: 99999999999999999999999999\r\n" END},
        /* a length and a coding */
        {400, POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n" END},
        {400, POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n" END},
        {400, POST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n" END},
        /* codings */
        {400, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END},
        {400, POST "Transfer-Encoding: chunked\r\nTransfer-encoding: identity\r\n" END},
        {400, "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n" END},
        {501, POST "Transfer-Encoding: xchunked\r\n" END},
        {501, POST "Transfer-Encoding: chunkedx\r\n" END},
        {501, POST "Transfer-Encoding: chunked, chunked\r\n" END},
        {501, POST "Transfer-Encoding: gzip, chunked\r\n" END},
        {501, POST "Transfer-Encoding: chunked, identity\r\n" END},
        {501, POST "Transfer-Encoding: identity\r\n" END},
        {501, POST "Transfer-Encoding: chunked;a=b\r\n" END},
        {501, POST "Transfer-Encoding: \"chunked\"\r\n" END},
        {501, POST "Transfer-Encoding: ,chunked\r\n" END},
        {501, POST "Transfer-Encoding:\r\n" END},
        {501, POST "Transfer-Encoding: chun\xC2\xA0ked\r\n" END},
        {400, POST "Transfer-Encoding: \vchunked\r\n" END},
        {400, POST "Transfer-Encoding: chunked\f\r\n" END},
        /* white space around names */
        {400, POST "Content-Length : 5\r\n" END},
        {400, POST "Content-Length\t: 5\r\n" END},
        {400, POST "Transfer-Encoding : chunked\r\n" END},
        {400, POST "Content Length: 5\r\n" END},
        {400, "POST / HTTP/1.1\r\n Host: h\r\n" END},
        {400, POST " Content-Length: 5\r\n" END},
        /* folded lines */
        {400, POST "X-A: b\r\n Content-Length: 5\r\n" END},
        {400, POST "X-A: b\r\n\tContent-Length: 5\r\n" END},
        {400, POST "Content-Length: 5\r\n 0\r\n" END},
        {501, POST "Transfer-Encoding:\r\n chunked\r\n" END}, /* refused before the fold shows */
        {400, GET "X-A: b\r\n \r\n" END},
        /* names */
        {400, GET ": x\r\n" END},
        {400, GET "X\r\n" END},
        {400, GET "X A: b\r\n" END},
        {400, GET "X(A): b\r\n" END},
        {400, GET "X\xC3\xA4: b\r\n" END},
        {400, GET "\"X\": b\r\n" END},
        {400, GET "X\x01: b\r\n" END},
        {400, GET "\x7F: b\r\n" END},
        /* line ends */
        {400, "GET / HTTP/1.1\n" H END},
        {400, "GET / HTTP/1.1\r\nHost: h\n" END},
        {400, GET "X: a\nContent-Length: 5\r\n" END},
        {400, GET "\n"},
        {400, GET "X: a\rContent-Length: 5\r\n" END},
        {400, GET "X: a\r\r\n" END},
        {400, "GET / HTTP/1.1\r\r\n" H END},
        {400, "GET / HTTP/1.1\rHost: h\r\n" END},
        {400, GET "\r\r\n"},
        {400, GET "\rX: y\r\n" END},
        /* control characters */
        {400, GET "X: a\x01\r\n" END},
        {400, GET "X: a\x7F\r\n" END},
        {400, GET "X: a\x1B[2J\r\n" END},
        {400, "GET /\x01 HTTP/1.1\r\n" H END},
        {400, "GET /\x7F HTTP/1.1\r\n" H END},
        /* doubles */
        {400, GET H END},
        {400, GET "host: other\r\n" END},
        {400, GET "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n" END},
        {400, GET "Last-Event-ID: 1\r\nlast-event-id: 2\r\n" END},
        {400, POST "Content-Type: text/plain\r\nContent-Type: application/json\r\n" END},
        {400, GET "Origin: http://a\r\nOrigin: http://b\r\n" END},
        {400, POST "Expect: 100-continue\r\nExpect: 100-continue\r\n" END},
        /* hosts */
        {400, "GET / HTTP/1.1\r\n" END},
        {400, "GET / HTTP/1.1\r\nX-Host: h\r\n" END},
        {400, "GET http://h/ HTTP/1.1\r\n" END},
        {400, "GET / HTTP/1.1\r\nHost: a b\r\n" END},
        {400, "GET / HTTP/1.1\r\nHost: a, b\r\n" END},
        {400, "GET / HTTP/1.1\r\nHost: a,b\r\n" END},
        {400, "GET / HTTP/1.1\r\nHost: u@h\r\n" END},
        {400, "GET / HTTP/1.1\r\nHost: h/p\r\n" END},
        {400, "GET / HTTP/1.1\r\nHost: http://h\r\n" END},
        {400, "GET / HTTP/1.1\r\nHost: h\\x\r\n" END},
        {400, "GET / HTTP/1.1\r\nHost: h\xC3\xA4\r\n" END},
        {400, "GET http://h/ HTTP/1.1\r\nHost: other\r\n" END},
        {400, "GET http://h/ HTTP/1.1\r\nHost: h:80\r\n" END},
        {400, "GET http://h/ HTTP/1.0\r\nHost: i\r\n" END},
        /* targets */
        {400, "GET events HTTP/1.1\r\n" H END},
        {400, "GET * HTTP/1.1\r\n" H END},
        {400, "OPTIONS ** HTTP/1.1\r\n" H END},
        {400, "GET ?topic=a HTTP/1.1\r\n" H END},
        {400, "CONNECT h:443 HTTP/1.1\r\n" H END},
        {400, "GET h:80 HTTP/1.1\r\n" H END},
        {400, "GET http:/h HTTP/1.1\r\n" H END},
        {400, "GET http:// HTTP/1.1\r\n" H END},
        {400, "GET http:///x HTTP/1.1\r\n" H END},
        {400, "GET http://?x HTTP/1.1\r\n" H END},
        {400, "GET http://u@h/ HTTP/1.1\r\n" H END},
        {400, "GET https://h/ HTTP/1.1\r\n" H END},
        {400, "GET ftp://h/ HTTP/1.1\r\n" H END},
        {400, "GET /a#b HTTP/1.1\r\n" H END},
        {400, "GET http://h/#b HTTP/1.1\r\n" H END},
        /* request lines */
        {400, "GET / \r\n" H END},
        {400, "GET /\r\n" H END},
        {400, "GET\r\n"},
        {400, "GET / HTTP/1.1 \r\n" H END},
        {400, "GET / HTTP/1.1\t\r\n" H END},
        {400, "GET  / HTTP/1.1\r\n" H END},
        {400, "GET /  HTTP/1.1\r\n" H END},
        {400, "GET\t/ HTTP/1.1\r\n" H END},
        {400, "GET /\tHTTP/1.1\r\n" H END},
        {400, "GET / a HTTP/1.1\r\n" H END},
        {400, " GET / HTTP/1.1\r\n" H END},
        {400, "G(T / HTTP/1.1\r\n" H END},
        {400, "GET: / HTTP/1.1\r\n" H END},
        {400, "GET / http/1.1\r\n" H END},
        {400, "GET / HTTP/11\r\n" H END},
        {400, "GET / HTTP/1.10\r\n" H END},
        {400, "GET / HTTP/1.\r\n" H END},
        {400, "GET / HTTP/01.1\r\n" H END},
        {400, "GET / HTTPS/1.1\r\n" H END},
        {400, "GET / HTTP/1.1\x0B\r\n" H END},
        {505, "GET / HTTP/2.0\r\n" H END},
        {505, "GET / HTTP/1.2\r\n" H END},
        {505, "GET / HTTP/0.9\r\n" H END},
        {505, "GET / HTTP/3.1\r\n" H END},
        {400, "\r\n\r\nGET / HTTP/1.1\r\n" H END},
        {400, "\nGET / HTTP/1.1\r\n" H END},
        {400, "\rGET / HTTP/1.1\r\n" H END},
        /* blanks that the library does not pass over */
        {400, POST "Content-Length: 1 \r\n" END},
        {400, POST "Content-Length:\t1 \t\r\n" END},
        {400, POST "Transfer-Encoding: chunked \r\n" END},
        {400, POST "Transfer-Encoding: chunked\t\r\n" END},
        {400, POST "Content-Length: 1\r\nExpect: 100-continue \r\n" END},
        /* other protocols */
        {400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
        {400, "SSH-2.0-OpenSSH_9.2\r\n"},
        {400, "\x16\x03\x01\x02"},
        {400, "{\"a\":1}"},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct http_head head;

        if (check_growing(rows[i].text, strlen(rows[i].text), &limits, &head) != HTTP_HEAD_BAD ||
            head.status != rows[i].status)
            fail_msg("%s", rows[i].text);
        assert_non_null(head.why);
        assert_null(head.path);
    }
}

static void refuses_nul_anywhere(void **state)
{
    static const char text[] = "\r\nPOST /a HTTP/1.1\r\nHost: h\r\nX-A: b\r\n\r\n";

    (void)state;
    for (size_t at = 0; at < sizeof text - 1; at++) {
        char copy[sizeof text];
        struct http_head head;

        memcpy(copy, text, sizeof text);
        copy[at] = '\0';
        assert_int_equal(check_growing(copy, sizeof text - 1, &limits, &head), HTTP_HEAD_BAD);
        assert_int_equal(head.status, 400);
    }
}

static void refuses_at_the_first_certain_byte(void **state)
{
    static const char *const rows[] = {
        "\x16",          "\x80",     "\x00",    " ",      "\n",      "{",
        "PRI ",          "\r\n\r",   "GET /\n", "GET /#", "GET / X", "GET / HTTP/1.1\r\n ",
        GET "X-A: \x01", GET "X-A ",
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        size_t text_n = strlen(rows[i]) > 0 ? strlen(rows[i]) : 1;
        struct http_head head;

        assert_int_equal(check_n(rows[i], text_n, &limits, &head), HTTP_HEAD_BAD);
    }
}

static void accepts_plain_requests(void **state)
{
    static const struct {
        const char *text;
        enum http_head_method method;
        const char *path;
        size_t headers_n, cookie_bytes, cookies_n;
        bool http_1_0, chunked, has_content_length;
        uint64_t content_length;
    } rows[] = {
        {.text = GET END, .method = HTTP_GET, .path = "/events", .headers_n = 1},
        {.text = "\r\n" GET END, .method = HTTP_GET, .path = "/events", .headers_n = 1},
        {.text = "HEAD / HTTP/1.0\r\n" END,
         .method = HTTP_HEAD,
         .path = "/",
         .headers_n = 0,
         .http_1_0 = true},
        {.text = "DELETE /api/streams/7?x=/y?z HTTP/1.1\r\n" H END,
         .method = HTTP_DELETE,
         .path = "/api/streams/7",
         .headers_n = 1},
        {.text = "OPTIONS * HTTP/1.1\r\n" H END,
         .method = HTTP_OPTIONS,
         .path = "*",
         .headers_n = 1},
        {.text = "PATCH / HTTP/1.1\r\n" H END, .method = HTTP_OTHER, .path = "/", .headers_n = 1},
        {.text = "get / HTTP/1.1\r\n" H END, .method = HTTP_OTHER, .path = "/", .headers_n = 1},
        {.text = "GETS / HTTP/1.1\r\n" H END, .method = HTTP_OTHER, .path = "/", .headers_n = 1},
        {.text = "GET http://h/p?q HTTP/1.1\r\n" H END,
         .method = HTTP_GET,
         .path = "/p",
         .headers_n = 1},
        {.text = "GET HTTP://H HTTP/1.1\r\n" H END,
         .method = HTTP_GET,
         .path = "/",
         .headers_n = 1},
        {.text = "GET http://h?q HTTP/1.1\r\n" H END,
         .method = HTTP_GET,
         .path = "/",
         .headers_n = 1},
        {.text = "GET http://[::1]:8080/p HTTP/1.1\r\nHost: [::1]:8080\r\n" END,
         .method = HTTP_GET,
         .path = "/p",
         .headers_n = 1},
        {.text = "GET /gr\xC3\xBC\xC3\x9F%20\"<>^`{|}\\ HTTP/1.1\r\n" H END,
         .method = HTTP_GET,
         .path = "/gr\xC3\xBC\xC3\x9F%20\"<>^`{|}\\",
         .headers_n = 1},
        {.text = "GET //h/p HTTP/1.1\r\n" H END,
         .method = HTTP_GET,
         .path = "//h/p",
         .headers_n = 1},
        {.text = "GET / HTTP/1.1\r\nhOST:\t h \t\r\n" END,
         .method = HTTP_GET,
         .path = "/",
         .headers_n = 1},
        {.text = "GET / HTTP/1.1\r\nHost:\r\n" END,
         .method = HTTP_GET,
         .path = "/",
         .headers_n = 1},
        {.text = GET "X: a\tb  c\xFF\r\nX: again\r\n!#$%&'*+-.^_`|~09azAZ:\r\n" END,
         .method = HTTP_GET,
         .path = "/events",
         .headers_n = 4},
        {.text = GET "Cookie: a=b; c=d \r\nCookie: e=f\r\n" END,
         .method = HTTP_GET,
         .path = "/events",
         .headers_n = 3,
         .cookie_bytes = 11,
         .cookies_n = 3},
        {.text = GET "Cookie: a=b,c=d;\r\n" END,
         .method = HTTP_GET,
         .path = "/events",
         .headers_n = 2,
         .cookie_bytes = 8,
         .cookies_n = 3},
        {.text = POST "Content-Length: 5\r\n" END "hello",
         .method = HTTP_POST,
         .path = "/api/push",
         .headers_n = 2,
         .has_content_length = true,
         .content_length = 5},
        {.text = POST "Content-Length: 0\r\n" END,
         .method = HTTP_POST,
         .path = "/api/push",
         .headers_n = 2,
         .has_content_length = true,
         .content_length = 0},
        {.text = POST "Content-Length: 0000000000000000000000000042\r\n" END,
         .method = HTTP_POST,
         .path = "/api/push",
         .headers_n = 2,
         .has_content_length = true,
         .content_length = 42},
        {.text = POST "Content-Length: 9223372036854775807\r\n" END,
         .method = HTTP_POST,
         .path = "/api/push",
         .headers_n = 2,
         .has_content_length = true,
         .content_length = INT64_MAX},
        {.text = POST "transfer-encoding: \tChunked\r\n" END "0\r\n\r\n",
         .method = HTTP_POST,
         .path = "/api/push",
         .headers_n = 2,
         .chunked = true},
        {.text = "POST / HTTP/1.0\r\nContent-Length: 2\r\n" END "{}",
         .method = HTTP_POST,
         .path = "/",
         .headers_n = 1,
         .http_1_0 = true,
         .has_content_length = true,
         .content_length = 2},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        const char *text = rows[i].text;
        struct http_head head;

        if (check_growing(text, strlen(text), &limits, &head) != HTTP_HEAD_GOOD)
            fail_msg("%s", text);
        assert_int_equal(head.method, rows[i].method);
        assert_int_equal(head.path_n, strlen(rows[i].path));
        assert_memory_equal(head.path, rows[i].path, head.path_n);
        assert_int_equal(head.head_bytes, strstr(text + 2, "\r\n\r\n") + 4 - text);
        assert_int_equal(head.headers_n, rows[i].headers_n);
        assert_int_equal(head.cookie_bytes, rows[i].cookie_bytes);
        assert_int_equal(head.cookies_n, rows[i].cookies_n);
        assert_int_equal(head.http_1_0, rows[i].http_1_0);
        assert_int_equal(head.chunked, rows[i].chunked);
        assert_int_equal(head.has_content_length, rows[i].has_content_length);
        assert_true(head.content_length == rows[i].content_length);
    }
}

static void accepts_what_browsers_send(void **state)
{
    static const char text[] =
        "GET /events?topic=orders%2F7 HTTP/1.1\r\n"
        "Host: 127.0.0.1:8080\r\n"
        "Connection: keep-alive\r\n"
        "sec-ch-ua-platform: \"Linux\"\r\n"
        "Cache-Control: no-cache\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n"
        "Accept: text/event-stream\r\n"
        "sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\n"
        "Sec-Fetch-Site: same-origin\r\n"
        "Last-Event-ID: 0123456789az-0000000000000007\r\n"
        "Accept-Encoding: gzip, deflate, br, zstd\r\n"
        "Accept-Language: de-DE,de;q=0.9,en;q=0.8\r\n"
        "Cookie: session=0123456789abcdef\r\n\r\n";
    struct http_head head;

    (void)state;
    assert_int_equal(check_growing(text, sizeof text - 1, &limits, &head), HTTP_HEAD_GOOD);
    assert_int_equal(head.head_bytes, sizeof text - 1);
    assert_int_equal(head.headers_n, 12);
    assert_int_equal(head.cookie_bytes, 24);
}

static void limits_the_head(void **state)
{
    static const char text[] = GET "X: y\r\n" END;
    struct http_head_limits with = limits;
    struct http_head head;

    (void)state;
    with.head_bytes_max = sizeof text - 1;
    assert_int_equal(check_growing(text, sizeof text - 1, &with, &head), HTTP_HEAD_GOOD);
    for (with.head_bytes_max = 0; with.head_bytes_max < sizeof text - 1; with.head_bytes_max++) {
        assert_int_equal(check_growing(text, sizeof text - 1, &with, &head), HTTP_HEAD_BAD);
        assert_int_equal(head.status, 431);
    }
}

static void limits_the_target(void **state)
{
    static const char text[] = "GET /2345678 HTTP/1.1\r\n" H END;
    struct http_head_limits with = limits;
    struct http_head head;

    (void)state;
    with.target_bytes_max = 8;
    assert_int_equal(check_growing(text, sizeof text - 1, &with, &head), HTTP_HEAD_GOOD);
    with.target_bytes_max = 7;
    assert_int_equal(check_n(text, strlen("GET /234567"), &with, &head), HTTP_HEAD_MORE);
    assert_int_equal(check_n(text, strlen("GET /2345678"), &with, &head), HTTP_HEAD_BAD);
    assert_int_equal(check_growing(text, sizeof text - 1, &with, &head), HTTP_HEAD_BAD);
    assert_int_equal(head.status, 414);
}

static void limits_the_number_of_headers(void **state)
{
    static const char text[] = GET "A: 1\r\nB: 2\r\n" END;
    struct http_head_limits with = limits;
    struct http_head head;

    (void)state;
    with.headers_max = 3;
    assert_int_equal(check_growing(text, sizeof text - 1, &with, &head), HTTP_HEAD_GOOD);
    with.headers_max = 2;
    assert_int_equal(check_growing(text, sizeof text - 1, &with, &head), HTTP_HEAD_BAD);
    assert_int_equal(head.status, 431);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_smuggling_and_other_nonsense),
        cmocka_unit_test(refuses_nul_anywhere),
        cmocka_unit_test(refuses_at_the_first_certain_byte),
        cmocka_unit_test(accepts_plain_requests),
        cmocka_unit_test(accepts_what_browsers_send),
        cmocka_unit_test(limits_the_head),
        cmocka_unit_test(limits_the_target),
        cmocka_unit_test(limits_the_number_of_headers),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
