/* SPDX-License-Identifier: MIT */
/* POST /api/tickets: what a wish may say, and what it may not. */
#include "config.h"
#include "api/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define ADMIN "{\"bugle\":{\"admin\":true}}"

static struct client *wish(struct fixture *fixture, const char *body)
{
    return client_ask(fixture, "POST", "/api/tickets", fixture_token(ADMIN), body);
}

static void a_ticket_has_a_time_to_live(void **state)
{
    static const struct {
        const char *body;
        int ttl_s;
    } cases[] = {
        {"{\"user\":\"anna\"}", 60},
        {"{\"topics\":[\"a\"]}", 60},
        {"{\"user\":\"anna\",\"topics\":[\"a\",\"b/*\",\"**\"],\"ttl\":1}", 1},
        {" { \"ttl\" : 3600 , \"user\" : \"anna\" } ", 3600},
    };
    struct fixture *fixture = fixture_new("auth.mode=token");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct client *client = wish(fixture, cases[i].body);

        assert_int_equal(client->status, 201);
        json_t *json = client_json(client);
        assert_int_equal(json_integer_value(json_object_get(json, "ttl")), cases[i].ttl_s);
        assert_true(json_string_length(json_object_get(json, "ticket")) > 32);
        assert_int_equal(json_object_size(json), 2);
        json_decref(json);
    }
    assert_int_equal(fixture_stat(fixture, STATS_TICKETS_MADE), ROWS(cases));
    fixture_free(fixture);
}

static void no_two_tickets_are_the_same(void **state)
{
    struct fixture *fixture = fixture_new("auth.mode=token");
    struct client *first = wish(fixture, "{\"user\":\"anna\"}");
    struct client *second = wish(fixture, "{\"user\":\"anna\"}");

    (void)state;
    assert_string_not_equal(first->body, second->body);
    fixture_free(fixture);
}

static void a_wish_that_is_none_is_refused(void **state)
{
    static const struct {
        const char *body;
        unsigned status;
        const char *code;
    } cases[] = {
        {NULL, 400, "invalid_json"},
        {"{", 400, "invalid_json"},
        {"{\"user\":\"a\"}x", 400, "invalid_json"},
        {"{\"user\":\"a\",\"user\":\"a\"}", 400, "invalid_json"},
        {"[[[[[[[[[[]]]]]]]]]]", 400, "json_too_deep"},
        {"[]", 422, "not_an_object"},
        {"\"a\"", 400, "invalid_json"},
        {"{}", 422, "invalid_field"},
        {"{\"ttl\":5}", 422, "invalid_field"},
        {"{\"user\":\"\"}", 422, "invalid_field"},
        {"{\"user\":5}", 422, "invalid_field"},
        {"{\"topics\":[]}", 422, "invalid_field"},
        {"{\"topics\":\"a\"}", 422, "invalid_field"},
        {"{\"topics\":[5]}", 422, "invalid_field"},
        {"{\"topics\":[\"**/x\"]}", 422, "invalid_field"},
        {"{\"topics\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\","
         "\"a\",\"a\",\"a\",\"a\",\"a\"]}",
         422, "invalid_field"},
        {"{\"user\":\"a\",\"ttl\":0}", 422, "invalid_field"},
        {"{\"user\":\"a\",\"ttl\":3601}", 422, "invalid_field"},
        {"{\"user\":\"a\",\"ttl\":1.5}", 422, "invalid_field"},
        {"{\"user\":\"a\",\"ttl\":\"5\"}", 422, "invalid_field"},
        {"{\"user\":\"a\",\"name\":\"b\"}", 422, "invalid_field"},
    };
    struct fixture *fixture = fixture_new("auth.mode=token limits.json_depth=8");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        client_is_refused(wish(fixture, cases[i].body), cases[i].status, cases[i].code);
    assert_int_equal(fixture_stat(fixture, STATS_TICKETS_MADE), 0);
    fixture_free(fixture);
}

static void names_that_are_too_long_together_are_refused(void **state)
{
    struct fixture *fixture = fixture_new("auth.mode=token");
    char body[4096] = "{\"topics\":[", name[256];

    (void)state;
    memset(name, 'x', sizeof(name) - 1);
    name[250] = '\0';
    for (int i = 0; i < 8; i++)
        snprintf(body + strlen(body), sizeof(body) - strlen(body), "%s\"%d%s\"", i > 0 ? "," : "",
                 i, name);
    strcat(body, "]}");
    client_is_refused(wish(fixture, body), 422, "invalid_field");
    fixture_free(fixture);
}

static void a_wish_needs_memory(void **state)
{
    static const char body[] = "{\"user\":\"anna\"}";
    struct fixture *fixture = fixture_new("auth.mode=token");
    struct client *client =
        client_begin(fixture, "POST", "/api/tickets", fixture_token(ADMIN), (long)strlen(body));

    (void)state;
    client_send(client, body, strlen(body));
    fixture_fill_memory(fixture, MEMORY_BUDGET_FULL);
    client_send_end(client);
    client_wait(client);
    assert_int_equal(client->status, 503);
    assert_true(client_has(client, "\"memory_short\""));
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ticket_has_a_time_to_live),
        cmocka_unit_test(no_two_tickets_are_the_same),
        cmocka_unit_test(a_wish_that_is_none_is_refused),
        cmocka_unit_test(names_that_are_too_long_together_are_refused),
        cmocka_unit_test(a_wish_needs_memory),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
