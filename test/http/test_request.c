/* SPDX-License-Identifier: MIT */
/* A request from its first call to its end: headers, query, body, waiting, and who cuts it when. */
#include "config.h"
#include "http/request.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/fixture.h"
#include "http/request_body.h"

#define EVENT "{\"data\":\"x\"}"
#define EVENT_N ((long)sizeof(EVENT) - 1)

/* A request whose body is still to come, as the handlers see it. */
static struct request *under_way(struct client *client)
{
    struct request *request = client->connection->context;

    assert_non_null(request);
    return request;
}

static struct client *begin(struct fixture *fixture, const char *target, const char *headers)
{
    struct client *client = client_begin(fixture, "POST", target, headers, 10);

    assert_int_equal(client->status, 0);
    return client;
}

/* ---- headers ---- */

static void knows_the_headers_that_all_ask_for(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct request *request =
        under_way(begin(fixture, "/api/push",
                        "Origin: " FIXTURE_ORIGIN "\n" FIXTURE_JSON "idempotency-key: k\n"
                        "Authorization: Bearer x\nX-Other: y\nContent-Encoding: identity\n"));

    (void)state;
    assert_string_equal(request->fields[REQUEST_HOST], "localhost");
    assert_string_equal(request->fields[REQUEST_ORIGIN], FIXTURE_ORIGIN);
    assert_string_equal(request->fields[REQUEST_CONTENT_TYPE], "application/json");
    assert_string_equal(request->fields[REQUEST_CONTENT_LENGTH], "10");
    assert_string_equal(request->fields[REQUEST_CONTENT_ENCODING], "identity");
    assert_string_equal(request->fields[REQUEST_AUTHORIZATION], "Bearer x");
    assert_string_equal(request->fields[REQUEST_IDEMPOTENCY_KEY], "k");
    assert_null(request->fields[REQUEST_TRANSFER_ENCODING]);
    assert_int_equal(request->fields_n, 8);
    assert_int_equal(request->content_length, 10);
    assert_true(request->has_body);
    assert_int_equal(request->origin_verdict, ORIGIN_LISTED);
    assert_false(request->http_1_0 || request->is_head || request->is_last);
    fixture_free(fixture);
}

static void blanks_around_a_value_are_no_part_of_it(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct request *request = under_way(
        begin(fixture, "/api/push", "Idempotency-Key: \t a b \t \nX-Some:  one  \nX-None:   \n"));

    (void)state;
    assert_string_equal(request->fields[REQUEST_IDEMPOTENCY_KEY], "a b");
    assert_string_equal(request_header(request, "Idempotency-Key"), "a b");
    assert_string_equal(request_header(request, "x-some"), "one");
    assert_string_equal(request_header(request, "X-None"), "");
    assert_null(request_header(request, "X-Some-Other"));
    fixture_free(fixture);
}

static void see_value(void *arg, const char *value)
{
    strcat(strcat(arg, value), "|");
}

static void the_first_of_several_headers_counts(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct request *request = under_way(begin(fixture, "/api/push",
                                              "Idempotency-Key: a  \nidempotency-key: b\n"
                                              "X-Key: 1 \nX-KEY: 2\nX-Keys: 3\nx-key:\n"));
    char seen[64] = "";

    (void)state;
    assert_string_equal(request->fields[REQUEST_IDEMPOTENCY_KEY], "a");
    assert_string_equal(request_header(request, "X-Key"), "1");
    assert_int_equal(request_header_count(request, "Idempotency-Key"), 2);
    assert_int_equal(request_header_count(request, "X-Key"), 3);
    assert_int_equal(request_header_count(request, "X-None"), 0);
    request_each_header(request, "x-key", see_value, seen);
    assert_string_equal(seen, "1|2||");
    fixture_free(fixture);
}

/* ---- the query ---- */

static void a_parameter_may_be_empty_or_have_nul_in_it(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct request *request =
        under_way(begin(fixture, "/api/push?a=1&b=&c&d=x%00y&e=a+b%2B&a=2", ""));
    size_t n = 99;

    (void)state;
    assert_string_equal(request_query(request, "a", &n), "1");
    assert_int_equal(n, 1);
    assert_string_equal(request_query(request, "b", &n), "");
    assert_int_equal(n, 0);
    assert_string_equal(request_query(request, "c", &n), "");
    assert_int_equal(n, 0);
    assert_memory_equal(request_query(request, "d", &n), "x\0y", 4);
    assert_int_equal(n, 3);
    assert_string_equal(request_query(request, "e", NULL), "a b+");
    assert_null(request_query(request, "f", &n));
    fixture_free(fixture);
}

struct seen {
    char text[128];
    size_t left;
};

static bool see_parameter(void *arg, const char *name, size_t name_n, const char *value,
                          size_t value_n)
{
    struct seen *seen = arg;
    size_t n = strlen(seen->text);

    assert_int_equal(value[value_n], '\0');
    snprintf(seen->text + n, sizeof(seen->text) - n, "%.*s(%zu)=%s(%zu) ", (int)name_n, name,
             name_n, value, value_n);
    return --seen->left > 0;
}

static void parameters_are_seen_in_order_until_one_is_enough(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct request *request = under_way(begin(fixture, "/api/push?x=1&y&x=%00&", ""));
    struct seen all = {.left = 10}, two = {.left = 2};

    (void)state;
    request_each_query(request, see_parameter, &all);
    assert_string_equal(all.text, "x(1)=1(1) y(1)=(0) x(1)=(1) (0)=(0) ");
    request_each_query(request, see_parameter, &two);
    assert_string_equal(two.text, "x(1)=1(1) y(1)=(0) ");
    fixture_free(fixture);
}

/* ---- the body ---- */

static void a_body_comes_in_pieces(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_begin(fixture, "POST", "/api/push", FIXTURE_JSON, EVENT_N);
    struct request *request = under_way(client);

    (void)state;
    for (long i = 0; i < EVENT_N; i++) {
        client_send(client, &EVENT[i], 1);
        assert_int_equal(request->body_n, i + 1);
        assert_true(request->body_room >= request->body_n && request->receiving);
    }
    assert_memory_equal(request->body, EVENT, EVENT_N);
    client_send_end(client);
    client_wait(client);
    assert_int_equal(client->status, 201);
    assert_true(client->is_idle);
    fixture_free(fixture);
}

static void a_body_in_chunks_may_be_as_large_as_any(void **state)
{
    static char body[3001];
    struct fixture *fixture = fixture_new("limits.body_bytes=3000 limits.event_bytes=3000");

    (void)state;
    memset(body, ' ', sizeof(body));
    memcpy(body, EVENT, EVENT_N);
    struct client *client = client_begin(fixture, "POST", "/api/push", FIXTURE_JSON, -1);
    client_send(client, body, 1000);
    client_send(client, body + 1000, 2000);
    client_send_end(client);
    client_wait(client);
    assert_int_equal(client->status, 201);
    assert_string_equal(client_header(client, "Connection"), "close");

    client = client_begin(fixture, "POST", "/api/push", FIXTURE_JSON, -1);
    client_send(client, body, 3000);
    assert_int_equal(client->status, 0);
    client_send(client, " ", 1);
    client_is_refused(client, 413, "body_too_large");
    assert_true(client->is_by_hand && client_is_closed(client));
    assert_int_equal(fixture_lingering(fixture), 2);
    fixture_free(fixture);
}

static void memory_may_run_short_in_the_middle_of_a_body(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client =
        client_begin(fixture, "POST", "/api/push", "Origin: " FIXTURE_ORIGIN "\n", 100);

    (void)state;
    client_send(client, "abc", 3);
    fixture_fill_memory(fixture, MEMORY_BUDGET_FULL);
    client_send(client, "def", 3);
    assert_int_equal(client->status, 503);
    assert_true(client_has(client, "\"memory_short\""));
    assert_true(client->is_by_hand && client_is_closed(client));
    assert_in_range(atoi(client_header(client, "Retry-After")), 1, 5);
    assert_string_equal(client_header(client, "Access-Control-Allow-Origin"), FIXTURE_ORIGIN);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_SHED), 1);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_REFUSED_MEMORY), 1);
    assert_int_equal(fixture_stat(fixture, STATS_RESPONSES_5XX), 1);
    fixture_free(fixture);
}

static void take_counts_what_it_keeps(void **state)
{
    static const char piece[100] = "";
    struct fixture *fixture = fixture_new("");
    struct request *request = under_way(begin(fixture, "/api/push", ""));
    _Atomic int64_t *counted = memory_budget_counter(fixture->memory, MEMORY_BUDGET_BODIES);

    (void)state;
    assert_int_equal(request_body_append(request, piece, 100, 100), 0);
    assert_int_equal(*counted, 100);
    assert_int_equal(request_body_append(request, piece, 1, 100), -EMSGSIZE);
    assert_int_equal(request_body_append(request, piece, 10, 200), 0);
    assert_int_equal(request->body_n, 110);
    assert_int_equal(*counted, 200); /* twice the room that there was */
    fixture_fill_memory(fixture, MEMORY_BUDGET_FULL);
    assert_int_equal(request_body_append(request, piece, 90, 1000), 0); /* there is room */
    assert_int_equal(request_body_append(request, piece, 1, 1000), -ENOBUFS);
    assert_int_equal(*counted, 200);
    request_body_drop(request);
    assert_int_equal(*counted, 0);
    assert_int_equal(request->body_n, 0);
    request_body_drop(request);
    fixture_free(fixture);
}

static void a_body_that_comes_too_late_is_cut(void **state)
{
    struct fixture *fixture = fixture_new("limits.body_timeout=10s limits.body_rate=0");
    struct client *client = begin(fixture, "/api/push", "");

    (void)state;
    fixture_tick(fixture, 9000);
    assert_int_equal(client->status, 0);
    fixture_tick(fixture, 10000);
    client_is_refused(client, 408, "body_timeout");
    assert_true(client->is_by_hand && client_is_closed(client));
    assert_int_equal(fixture_stat(fixture, STATS_BODIES_TIMED_OUT), 1);
    assert_int_equal(fixture_stat(fixture, STATS_RESPONSES_4XX), 1);
    fixture_free(fixture);
}

static void a_body_that_comes_too_slowly_is_cut(void **state)
{
    struct fixture *fixture = fixture_new("limits.body_timeout=600s limits.body_rate=1000");
    struct client *client = client_begin(fixture, "POST", "/api/push", "", 100000);

    (void)state;
    client_send(client, EVENT, EVENT_N);
    fixture_tick(fixture, 500);
    assert_int_equal(client->status, 0);
    for (int64_t later_ms = 1000; later_ms < 60000 && client->status == 0; later_ms += 1000)
        fixture_tick(fixture, later_ms);
    client_is_refused(client, 408, "body_too_slow");
    assert_true(client_is_closed(client));
    assert_int_equal(fixture_stat(fixture, STATS_BODIES_TOO_SLOW), 1);
    fixture_free(fixture);
}

static void a_whole_body_has_no_deadline(void **state)
{
    struct fixture *fixture = fixture_new("limits.body_timeout=10s");
    struct client *client = client_begin(fixture, "POST", "/api/push", FIXTURE_JSON, EVENT_N);

    (void)state;
    fixture->holds_store = true;
    client_send(client, EVENT, EVENT_N);
    client_send_end(client);
    fixture_tick(fixture, 3600000);
    assert_int_equal(client->status, 0);
    assert_true(client->connection->suspended);
    fixture->holds_store = false;
    client_wait(client);
    assert_int_equal(client->status, 201);
    fixture_free(fixture);
}

static void a_client_may_leave_in_the_middle_of_a_body(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = begin(fixture, "/api/push", "");

    (void)state;
    client_send(client, "abc", 3);
    client_hang_up(client);
    client_wait(client);
    assert_int_equal(client->status, 0);
    assert_int_equal(fixture->services[0].requests_n, 0);
    assert_int_equal(hub_committed(fixture->hub), 0);
    fixture_free(fixture);
}

/* ---- waiting ---- */

static struct client *let_wait(struct fixture *fixture, const char *headers)
{
    char lines[128];

    fixture->holds_store = true;
    snprintf(lines, sizeof(lines), FIXTURE_JSON "%s", headers);
    struct client *client = client_begin(fixture, "POST", "/api/push", lines, EVENT_N);
    client_send(client, EVENT, EVENT_N);
    client_send_end(client);
    return client;
}

static void a_request_that_waits_is_suspended_and_called_once_more(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = let_wait(fixture, "");
    struct request *request = under_way(client);

    (void)state;
    fixture_settle(fixture);
    assert_true(request_waits(request));
    assert_true(client->connection->suspended);
    assert_null(request->body); /* it is in the event */
    unsigned calls_n = client->connection->calls_n;
    fixture->holds_store = false;
    client_wait(client);
    assert_int_equal(client->connection->calls_n, calls_n + 1);
    assert_int_equal(client->status, 201);
    fixture_free(fixture);
}

static void a_client_may_leave_while_it_waits(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = let_wait(fixture, "");

    (void)state;
    client_hang_up(client);
    fixture_settle(fixture);
    assert_false(client_is_closed(client)); /* the library looks at nothing that is suspended */
    fixture->holds_store = false;
    client_wait(client);
    assert_true(client_is_closed(client));
    assert_int_equal(client->status, 0);
    assert_int_equal(hub_committed(fixture->hub), 1);
    fixture_free(fixture);
}

/* The library may end it in the run that has called for the last time. */
static void a_request_outlives_its_connection_until_it_is_answered(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_ask(fixture, "GET", "/healthz", "", NULL);

    (void)state;
    let_wait(fixture, "");
    client->connection->fails_in_run = true;
    client_begin_again(client, "GET", "/readyz", "", 0); /* waits behind the other one */
    fixture_settle(fixture);
    assert_true(client_is_closed(client));
    assert_int_equal(client->status, 0);
    assert_int_equal(fixture->services[0].requests_n, 2);
    fixture->holds_store = false;
    for (int i = 0; i < 1000 && fixture->services[0].requests_n > 0; i++)
        fixture_settle(fixture);
    assert_int_equal(fixture->services[0].requests_n, 0);
    assert_int_equal(hub_committed(fixture->hub), 1);
    fixture_free(fixture);
}

/* ---- which request it is ---- */

static void misread_method(struct http_head *head)
{
    head->method = HTTP_DELETE;
}

static void misread_length(struct http_head *head)
{
    head->content_length++;
}

static void misread_coding(struct http_head *head)
{
    head->chunked = !head->chunked;
}

static void misread_count(struct http_head *head)
{
    head->headers_n++;
}

static void misread_length_line(struct http_head *head)
{
    head->has_content_length = !head->has_content_length;
}

static void what_the_library_reads_in_another_way_is_cut(void **state)
{
    static void (*const misread[])(struct http_head * head) = {
        misread_method, misread_length, misread_coding, misread_count, misread_length_line};
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        fixture->misread = misread[i];
        struct client *client = client_begin(fixture, "POST", "/api/push", "", 10);
        client_is_refused(client, 400, "bad_framing");
        assert_true(client->is_by_hand && client_is_closed(client));
    }
    fixture_free(fixture);
}

static void what_nobody_has_checked_is_not_answered(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_ask(fixture, "GET", "/healthz", "", NULL);

    (void)state;
    client_begin_unchecked(client, "GET", "/healthz");
    client_wait(client);
    assert_int_equal(client->status, 0);
    assert_true(client_is_closed(client));
    assert_int_equal(fixture_stat(fixture, STATS_REQUESTS_UNSEEN), 1);
    assert_int_equal(fixture_lingering(fixture), 1);
    fixture_free(fixture);
}

static void an_old_client_has_one_request(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct client *client = client_begin(fixture, "POST", "/api/push", "HTTP/1.0\n", 10);

    (void)state;
    assert_true(under_way(client)->http_1_0);
    client = client_ask(fixture, "GET", "/healthz", "HTTP/1.0\n", NULL);
    assert_int_equal(client->status, 200);
    assert_true(client_is_closed(client));
    fixture_free(fixture);
}

/* ---- answers that nobody takes ---- */

/* An answer that stays in the kernel. */
static struct client *stall(struct fixture *fixture)
{
    struct client *client = client_begin(fixture, "POST", "/api/push", FIXTURE_JSON, EVENT_N);

    client->connection->takes_no_answer = true;
    client_send(client, EVENT, EVENT_N);
    client_send_end(client);
    client_wait(client);
    assert_true(under_way(client)->answering);
    return client;
}

static void an_answer_that_stalls_is_cut(void **state)
{
    struct fixture *fixture = fixture_new("stream.stall_timeout=30s");
    struct client *client = stall(fixture);
    int fd = client->fd;

    (void)state;
    client->fd = -1; /* it reads nothing */
    assert_int_equal(write(client->connection->fd, "x", 1), 1);
    fixture_tick(fixture, 2000);
    fixture_tick(fixture, 31000);
    assert_false(client_is_closed(client));
    fixture_tick(fixture, 33000);
    assert_true(client_is_closed(client));
    assert_true(client->connection->is_cut);
    assert_int_equal(fixture_stat(fixture, STATS_ANSWERS_STALLED), 1);
    close(fd);
    fixture_free(fixture);
}

static void an_answer_that_the_peer_has_does_not_stall(void **state)
{
    struct fixture *fixture = fixture_new("stream.stall_timeout=30s");
    struct client *client = stall(fixture);

    (void)state;
    for (int64_t later_ms = 2000; later_ms < 100000; later_ms += 20000)
        fixture_tick(fixture, later_ms);
    assert_false(client_is_closed(client));
    client->connection->takes_no_answer = false;
    client_send_end(client);
    client_wait(client);
    assert_true(client->connection->is_complete);
    assert_int_equal(fixture_stat(fixture, STATS_ANSWERS_STALLED), 0);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_headers_that_all_ask_for),
        cmocka_unit_test(blanks_around_a_value_are_no_part_of_it),
        cmocka_unit_test(the_first_of_several_headers_counts),
        cmocka_unit_test(a_parameter_may_be_empty_or_have_nul_in_it),
        cmocka_unit_test(parameters_are_seen_in_order_until_one_is_enough),
        cmocka_unit_test(a_body_comes_in_pieces),
        cmocka_unit_test(a_body_in_chunks_may_be_as_large_as_any),
        cmocka_unit_test(memory_may_run_short_in_the_middle_of_a_body),
        cmocka_unit_test(take_counts_what_it_keeps),
        cmocka_unit_test(a_body_that_comes_too_late_is_cut),
        cmocka_unit_test(a_body_that_comes_too_slowly_is_cut),
        cmocka_unit_test(a_whole_body_has_no_deadline),
        cmocka_unit_test(a_client_may_leave_in_the_middle_of_a_body),
        cmocka_unit_test(a_request_that_waits_is_suspended_and_called_once_more),
        cmocka_unit_test(a_client_may_leave_while_it_waits),
        cmocka_unit_test(a_request_outlives_its_connection_until_it_is_answered),
        cmocka_unit_test(what_the_library_reads_in_another_way_is_cut),
        cmocka_unit_test(what_nobody_has_checked_is_not_answered),
        cmocka_unit_test(an_old_client_has_one_request),
        cmocka_unit_test(an_answer_that_stalls_is_cut),
        cmocka_unit_test(an_answer_that_the_peer_has_does_not_stall),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
