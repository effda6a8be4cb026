/* SPDX-License-Identifier: MIT */
/* What a gateway says of itself where it shares a log with others: GET /readyz and GET /api/stats.
 * (What it says of its store is in test_publish.c.) */
#include "config.h"
#include "api/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture.h"
#include "hub/hub_share.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static bool is_shared;
static struct hub_share_facts facts;

bool __wrap_hub_shares(const struct hub *hub);
void __wrap_hub_share_get_facts(struct hub *hub, struct hub_share_facts *ret_facts);
void __wrap_hub_share_ask_soon(struct hub *hub);

bool __wrap_hub_shares(const struct hub *hub)
{
    (void)hub;
    return is_shared;
}

void __wrap_hub_share_get_facts(struct hub *hub, struct hub_share_facts *ret_facts)
{
    (void)hub;
    *ret_facts = facts;
}

void __wrap_hub_share_ask_soon(struct hub *hub)
{
    (void)hub;
}

static int begin(void **state)
{
    is_shared = true;
    facts = (struct hub_share_facts){.node = "a", .state = LOG_NODE_FOLLOWING};
    *state = fixture_new("");
    return 0;
}

static int end(void **state)
{
    fixture_free(*state);
    return 0;
}

static void assert_ready(struct fixture *fixture, const char *target)
{
    struct client *client = client_ask(fixture, "GET", target, "", NULL);

    assert_int_equal(client->status, 200);
    assert_string_equal(client->body, "{\"status\":\"ready\"}\n");
}

static void assert_not_ready(struct fixture *fixture, const char *target, const char *word)
{
    struct client *client = client_ask(fixture, "GET", target, "", NULL);

    client_is_refused(client, 503, "not_ready");
    assert_string_equal(client_header(client, "Retry-After"), "1");
    assert_non_null(strstr(client->body, word));
}

static void who_follows_the_log_is_ready(void **state)
{
    facts.behind_ms = 5000;
    assert_ready(*state, "/readyz");
    assert_ready(*state, "/readyz?streams");
}

static void who_does_not_is_not_but_serves_streams(void **state)
{
    static const struct {
        enum log_node_state log;
        int64_t behind_ms;
        const char *word;
    } rows[] = {
        {LOG_NODE_DOWN, 0, "cannot be followed"},
        {LOG_NODE_ATTACHING, 0, "cannot be followed"},
        {LOG_NODE_STOPPED, 0, "upgrade this node"},
        {LOG_NODE_FOLLOWING, 5001, "behind"},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ROWS(rows); i++) {
        facts.state = rows[i].log;
        facts.behind_ms = rows[i].behind_ms;
        assert_not_ready(fixture, "/readyz", rows[i].word);
        assert_not_ready(fixture, "/readyz?stream", rows[i].word);
        assert_ready(fixture, "/readyz?streams");
        assert_ready(fixture, "/readyz?streams=1");
    }
}

static void a_stop_ends_both(void **state)
{
    struct fixture *fixture = *state;

    fixture->shared.draining = true;
    assert_not_ready(fixture, "/readyz", "stopping");
    assert_not_ready(fixture, "/readyz?streams", "stopping");
    fixture->shared.handed_over = true;
    facts.state = LOG_NODE_DOWN; /* it is the other process that follows now */
    assert_ready(fixture, "/readyz");
    assert_not_ready(fixture, "/readyz?streams", "stopping");
}

static json_t *get_cluster(struct fixture *fixture)
{
    struct client *client = client_ask(fixture, "GET", "/api/stats", "", NULL);

    assert_int_equal(client->status, 200);
    json_t *json = client_json(client);
    json_t *cluster = json_incref(json_object_get(json, "cluster"));
    json_decref(json);
    return cluster;
}

static void assert_cluster(struct fixture *fixture, const char *wanted)
{
    json_t *cluster = get_cluster(fixture);
    char *text = json_dumps(cluster, JSON_COMPACT);

    assert_string_equal(text, wanted);
    free(text);
    json_decref(cluster);
}

static void figures_tell_of_the_log(void **state)
{
    struct fixture *fixture = *state;

    facts.state = LOG_NODE_DOWN;
    facts.behind_ms = 1234;
    strcpy(facts.line, "no answer");
    assert_cluster(fixture, "{\"node\":\"a\",\"nodes\":[],\"epoch\":null,\"head\":null,"
                            "\"behind_ms\":1234,\"log\":\"down\",\"why\":\"no answer\","
                            "\"promise\":\"memory\"}");
    facts.state = LOG_NODE_FOLLOWING;
    facts.behind_ms = 0;
    facts.line[0] = '\0';
    strcpy(facts.epoch, "ntyu997oyw4m");
    facts.head = 42;
    facts.nodes_n = 2;
    strcpy(facts.nodes[0], "a");
    strcpy(facts.nodes[1], "b");
    assert_cluster(fixture, "{\"node\":\"a\",\"nodes\":[\"a\",\"b\"],\"epoch\":\"ntyu997oyw4m\","
                            "\"head\":\"ntyu997oyw4m-0000000000000042\",\"behind_ms\":0,"
                            "\"log\":\"following\",\"why\":null,\"promise\":\"memory\"}");
}

static void who_is_alone_says_nothing_of_it(void **state)
{
    struct fixture *fixture = *state;

    is_shared = false;
    facts.state = LOG_NODE_DOWN;
    assert_null(get_cluster(fixture));
    assert_ready(fixture, "/readyz");
}

#define over_a_fixture(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_a_fixture(who_follows_the_log_is_ready),
        over_a_fixture(who_does_not_is_not_but_serves_streams),
        over_a_fixture(a_stop_ends_both),
        over_a_fixture(figures_tell_of_the_log),
        over_a_fixture(who_is_alone_says_nothing_of_it),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
