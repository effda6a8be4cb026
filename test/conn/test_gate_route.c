/* SPDX-License-Identifier: MIT */
/* Which kind of cell a head needs, which cells will do, and which request is the last. */
#include "config.h"
#include "conn/gate_route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "conn/mhd_quirks.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static struct http_head head_of(const char *text)
{
    struct http_head_limits limits = {32768, 8192, 1000};
    struct http_head head;

    assert_int_equal(http_head_check(text, strlen(text), &limits, &head), HTTP_HEAD_GOOD);
    return head;
}

static void bodies_and_paths_pick_the_kind(void **state)
{
    static const struct {
        const char *head;
        enum cell_kind kind, near_kind; /* with memory, and when it is nearly full */
    } rows[] = {
        {"GET /events HTTP/1.1\r\nHost: h\r\n\r\n", CELL_STREAM, CELL_STREAM},
        {"GET /events?topic=a HTTP/1.1\r\nHost: h\r\n\r\n", CELL_STREAM, CELL_STREAM},
        {"HEAD /events HTTP/1.1\r\nHost: h\r\n\r\n", CELL_API, CELL_API},
        {"GET /eventsx HTTP/1.1\r\nHost: h\r\n\r\n", CELL_API, CELL_API},
        {"GET /Events HTTP/1.1\r\nHost: h\r\n\r\n", CELL_API, CELL_API},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1536\r\n\r\n", CELL_API, CELL_API},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1537\r\n\r\n", CELL_API_LARGE, CELL_API},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", CELL_API_LARGE,
         CELL_API},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct http_head head = head_of(rows[i].head);

        assert_int_equal(gate_route(&head, MEMORY_BUDGET_FINE), rows[i].kind);
        assert_int_equal(gate_route(&head, MEMORY_BUDGET_NEAR), rows[i].near_kind);
        assert_int_equal(gate_route(&head, MEMORY_BUDGET_FULL), rows[i].near_kind);
    }
}

/* Bytes, cookies, headers and query fields count, exactly to the limit of a pool. */
static void needs_pick_the_size_of_the_pool(void **state)
{
    static const char stream[] = "GET /events HTTP/1.1\r\nHost: h\r\n\r\n";
    static const char other[] = "GET /x?a&b HTTP/1.1\r\nHost: h\r\n\r\n";

    (void)state;
    for (int is_stream = 0; is_stream < 2; is_stream++) {
        struct http_head head = head_of(is_stream ? stream : other);
        size_t records_n = head.headers_n + (is_stream ? 1 : 2);

        head.head_bytes = MHD_NEEDS_SMALL_BYTES - mhd_head_needs(0, 0, records_n);
        assert_int_equal(gate_route(&head, MEMORY_BUDGET_FULL), is_stream ? CELL_STREAM : CELL_API);
        head.cookie_bytes = 1;
        assert_int_equal(gate_route(&head, MEMORY_BUDGET_FULL),
                         is_stream ? CELL_STREAM_LARGE : CELL_API_LARGE);
        head.head_bytes = MHD_NEEDS_LARGE_BYTES - mhd_head_needs(0, 1, records_n);
        assert_true(gate_route_has_room(&head));
        head.cookies_n = 1;
        assert_false(gate_route_has_room(&head));
    }
}

static void a_larger_cell_for_requests_will_do(void **state)
{
    static const bool fits[CELL_KINDS][CELL_KINDS] = {
        [CELL_STREAM][CELL_STREAM] = true,
        [CELL_STREAM_LARGE][CELL_STREAM_LARGE] = true,
        [CELL_API][CELL_API] = true,
        [CELL_API_LARGE][CELL_API] = true,
        [CELL_API_LARGE][CELL_API_LARGE] = true,
        [CELL_TLS][CELL_TLS] = true,
    };

    (void)state;
    for (enum cell_kind now = 0; now < CELL_KINDS; now++)
        for (enum cell_kind kind = 0; kind < CELL_KINDS; kind++)
            assert_int_equal(gate_route_fits(now, kind, MEMORY_BUDGET_FINE), fits[now][kind]);
    for (enum cell_kind now = 0; now < CELL_KINDS; now++)
        for (enum cell_kind kind = 0; kind < CELL_KINDS; kind++)
            assert_int_equal(gate_route_fits(now, kind, MEMORY_BUDGET_NEAR), now == kind);
    for (enum cell_kind kind = 0; kind < CELL_KINDS; kind++)
        assert_int_equal(gate_route_is_stream(kind),
                         kind == CELL_STREAM || kind == CELL_STREAM_LARGE);
}

#define POST "POST /api/push HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"

static void what_comes_behind_a_request_makes_it_the_last(void **state)
{
    static const struct {
        const char *text;
        bool is_last;
    } rows[] = {
        {POST, false},
        {POST "hello", false},
        {POST "hello\r\n", false}, /* old clients do that */
        {POST "hello\n", true},
        {POST "hello\r\n\r\n", true},
        {POST "helloGET / HTTP/1.1\r\n", true},
        {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: h\r\n\r\nG", true},
        {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", true},
    };

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct http_head head = head_of(rows[i].text);

        assert_int_equal(gate_route_is_last(&head, rows[i].text, strlen(rows[i].text)),
                         rows[i].is_last);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_and_paths_pick_the_kind),
        cmocka_unit_test(needs_pick_the_size_of_the_pool),
        cmocka_unit_test(a_larger_cell_for_requests_will_do),
        cmocka_unit_test(what_comes_behind_a_request_makes_it_the_last),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
