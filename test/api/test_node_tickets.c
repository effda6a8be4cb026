/* SPDX-License-Identifier: MIT */
/* Streams with tickets where a log decides, which says what the test has it say, and when. */
#include "config.h"
#include "api/node_tickets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fixture.h"
#include "../support/fixture_ws.h"
#include "api/node_service.h"
#include "cluster/node_message.h"
#include "stream/stream_end.h"

#define EVENT_SOURCE "Accept: text/event-stream\n"
#define STRANGE_MARK 12345
#define HELD_MAX 8

struct rig {
    struct shared_log log;
    struct fixture *fixture;
    struct node_service *nodes;
    struct hub_share_facts facts;
    bool is_left;

    bool holds; /* questions wait for rig_answer() */
    struct shared_log_question *held[HELD_MAX];
    size_t held_n;

    /* the answers */
    enum shared_log_outcome outcome;
    enum shared_ticket_verdict verdict;
    uint64_t older;
    bool is_ours;

    /* what it was asked and told */
    struct shared_ticket_use use; /* the last */
    char say[SHARED_TICKET_SAY_BYTES_MAX];
    unsigned uses_n;
    unsigned overs_n, forgets_n, lives_n, batches_n;
    struct shared_ticket_news over; /* the last */
};

static void rig_note(struct rig *rig, const struct shared_log_question *question)
{
    rig->batches_n++;
    for (size_t i = 0; i < question->news_n; i++) {
        struct shared_ticket_news *news = &question->news[i];

        rig->overs_n += news->what == SHARED_TICKET_OVER;
        rig->forgets_n += news->what == SHARED_TICKET_FORGET;
        rig->lives_n += news->what == SHARED_TICKET_LIVE;
        if (news->what == SHARED_TICKET_OVER)
            rig->over = *news;
        news->is_ours = rig->is_ours;
    }
}

static void rig_answer_one(struct rig *rig, struct shared_log_question *question)
{
    question->outcome = rig->outcome;
    if (question->kind == SHARED_LOG_ASK_TICKET) {
        question->use->verdict = rig->verdict;
        question->use->older = rig->older;
    }
    question->answered(question);
}

static void rig_ask(struct shared_log *log, struct shared_log_question *question)
{
    struct rig *rig = (struct rig *)log;

    if (question->kind == SHARED_LOG_ASK_TICKET) {
        rig->use = *question->use;
        memcpy(rig->say, rig->use.say, rig->use.say_n);
        rig->uses_n++;
    } else {
        rig_note(rig, question);
    }
    if (!rig->holds) {
        rig_answer_one(rig, question);
        return;
    }
    assert_true(rig->held_n < HELD_MAX);
    rig->held[rig->held_n++] = question;
}

static void rig_answer(struct rig *rig)
{
    size_t n = rig->held_n;

    rig->held_n = 0;
    for (size_t i = 0; i < n; i++)
        rig_answer_one(rig, rig->held[i]);
    fixture_settle(rig->fixture);
}

static const struct shared_log_ops rig_ops = {.ask = rig_ask};

static bool rig_run(void *arg, struct hub_share_task *task)
{
    struct rig *rig = arg;

    if (!rig->is_left)
        task->run(task, &rig->log);
    return !rig->is_left;
}

static void rig_get_facts(void *arg, struct hub_share_facts *ret_facts)
{
    *ret_facts = ((struct rig *)arg)->facts;
}

static struct rig *rig_new(const char *settings)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct node_service_conf conf = {
        .node = "a", .run = rig_run, .get_facts = rig_get_facts, .arg = rig};
    char all[256];

    assert_non_null(rig);
    snprintf(all, sizeof(all), "auth.mode=token server.workers=2 %s", settings);
    rig->log.ops = &rig_ops;
    rig->fixture = fixture_new(all);
    rig->fixture->worker = 1;
    conf.shared = &rig->fixture->shared;
    rig->nodes = rig->fixture->shared.nodes = node_service_new(&conf);
    assert_non_null(rig->nodes);
    rig->is_ours = true;
    return rig;
}

static void rig_free(struct rig *rig)
{
    struct ticket_table *table = rig->fixture->shared.ticket_table;
    struct ticket_table_live live;

    fixture_settle(rig->fixture);
    while (!LIST_EMPTY(&rig->fixture->clients) && rig->fixture->shared.streams_n > 0) {
        struct client *client;

        LIST_FOREACH (client, &rig->fixture->clients, link)
            client_hang_up(client);
        fixture_settle(rig->fixture);
    }
    assert_int_equal(ticket_table_next_live(table, UINT32_MAX, &live, 1), 0);
    node_service_free(rig->nodes);
    rig->fixture->shared.nodes = NULL;
    fixture_free(rig->fixture);
    free(rig);
}

/* "/events?ticket=...", good until the next call. */
static const char *new_ticket(struct rig *rig, const char *path)
{
    static char target[1024];
    const char *admin = fixture_token("{\"bugle\":{\"admin\":true}}");
    struct client *made =
        client_ask(rig->fixture, "POST", "/api/tickets", admin, "{\"topics\":[\"a\"]}");
    json_t *json = client_json(made);

    snprintf(target, sizeof(target), "%s?ticket=%s", path,
             json_string_value(json_object_get(json, "ticket")));
    json_decref(json);
    return target;
}

static struct client *begin(struct rig *rig, const char *target, const char *headers)
{
    struct client *client = client_begin(rig->fixture, "GET", target, headers, 0);

    fixture_settle(rig->fixture);
    return client;
}

/* What the log was given to be said to this node. */
static void hear(struct rig *rig)
{
    node_service_heard(rig->nodes, rig->say, rig->use.say_n);
    fixture_settle(rig->fixture);
}

static size_t places(const struct rig *rig)
{
    return rig->fixture->shared.streams_n;
}

/* ---- uses ---- */

static void a_stream_waits_for_the_log(void **state)
{
    struct rig *rig = rig_new("");

    (void)state;
    rig->holds = true;
    struct client *client = begin(rig, new_ticket(rig, "/events"), "");
    assert_int_equal(client->status, 0);
    assert_int_equal(rig->uses_n, 1);
    assert_int_equal(places(rig), 1);
    assert_int_equal(rig->use.now_ms, 0);
    assert_int_equal(rig->use.from, 0);
    assert_string_equal(rig->use.epoch, "");
    rig_answer(rig);
    assert_int_equal(client->status, 200);
    assert_false(client_is_closed(client));
    assert_int_equal(places(rig), 1);
    assert_int_equal(rig->overs_n, 0);
    rig->holds = false;
    client_hang_up(client);
    fixture_settle(rig->fixture);
    assert_int_equal(rig->overs_n, 1);
    assert_true(rig->over.mark == rig->use.mark && rig->use.mark != 0);
    assert_string_equal(rig->over.name, rig->use.name);
    assert_int_equal(rig->over.position, 0);
    assert_int_equal(places(rig), 0);
    rig_free(rig);
}

static void the_id_that_is_shown_is_for_the_log(void **state)
{
    struct rig *rig = rig_new("");
    char line[128];

    (void)state;
    client_ask(rig->fixture, "POST", "/api/push",
               fixture_token("{\"bugle\":{\"publish\":[\"**\"]}}"), "x");
    snprintf(line, sizeof(line), "Last-Event-ID: abcdefghijkl-0000000000000007\n");
    struct client *client = begin(rig, new_ticket(rig, "/events"), line);
    assert_int_equal(client->status, 200);
    assert_string_equal(rig->use.epoch, "abcdefghijkl");
    assert_int_equal(rig->use.position, 7);
    rig_free(rig);
}

static void what_the_log_refuses_is_refused(void **state)
{
    static const struct {
        enum shared_ticket_verdict verdict;
        const char *words;
    } table[] = {
        {SHARED_TICKET_LATE, "not used in time"},
        {SHARED_TICKET_USED, "was used before"},
        {SHARED_TICKET_REVOKED, "too often"},
    };
    struct rig *rig = rig_new("");

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        rig->verdict = table[i].verdict;
        struct client *client = begin(rig, new_ticket(rig, "/events"), EVENT_SOURCE);
        client_is_refused(client, 401, "invalid_token");
        assert_true(client_has(client, table[i].words));
    }
    assert_int_equal(places(rig), 0);
    assert_int_equal(rig->overs_n, 0);
    assert_int_equal(ticket_table_count(rig->fixture->shared.ticket_table, 0), 0);
    rig_free(rig);
}

/* As at a limit; and where it is not known whether the use was granted, it is over. */
static void without_the_log_clients_come_back(void **state)
{
    struct rig *rig = rig_new("");
    unsigned retry_ms;

    (void)state;
    rig->outcome = SHARED_LOG_UNREACHABLE;
    struct client *client = begin(rig, new_ticket(rig, "/events"), "");
    client_is_refused(client, 503, "log_unreachable");
    assert_in_range(atoi(client_header(client, "Retry-After")), 4, 12);
    client = begin(rig, new_ticket(rig, "/events"), EVENT_SOURCE);
    assert_int_equal(client->status, 200);
    assert_int_equal(sscanf(client->body, "retry: %u\n\n", &retry_ms), 1);
    assert_in_range(retry_ms, 4000, 13000);
    assert_int_equal(rig->overs_n, 0);
    rig->outcome = SHARED_LOG_LOST;
    client = begin(rig, new_ticket(rig, "/events"), "");
    client_is_refused(client, 503, "log_unreachable");
    assert_int_equal(rig->overs_n, 1);
    assert_true(rig->over.mark == rig->use.mark);
    rig->is_left = true;
    client_is_refused(begin(rig, new_ticket(rig, "/events"), ""), 503, "log_unreachable");
    assert_int_equal(rig->uses_n, 3);
    assert_int_equal(places(rig), 0);
    assert_int_equal(fixture_stat(rig->fixture, STATS_STREAMS_REFUSED), 4);
    rig_free(rig);
}

static void who_leaves_meanwhile_leaves_nothing(void **state)
{
    struct rig *rig = rig_new("limits.streams_per_address=1");

    (void)state;
    rig->holds = true;
    struct client *client = begin(rig, new_ticket(rig, "/events"), "");
    client_hang_up(client);
    fixture_settle(rig->fixture);
    rig->holds = false;
    rig_answer(rig);
    assert_int_equal(places(rig), 0);
    assert_int_equal(rig->overs_n, 1);
    assert_int_equal(rig->over.position, 0);
    rig->holds = true;
    rig->verdict = SHARED_TICKET_USED;
    client = begin(rig, new_ticket(rig, "/events"), "");
    client_hang_up(client);
    fixture_settle(rig->fixture);
    rig_answer(rig);
    assert_int_equal(places(rig), 0);
    assert_int_equal(rig->overs_n, 1);
    rig_free(rig);
}

/* Places are taken before the log is asked. */
static void limits_come_first(void **state)
{
    struct rig *rig = rig_new("limits.streams_per_address=1 limits.tickets_per_key=1");

    (void)state;
    rig->holds = true;
    begin(rig, new_ticket(rig, "/events"), "");
    client_is_refused(begin(rig, new_ticket(rig, "/events"), ""), 429,
                      "too_many_streams_of_address");
    rig->fixture->address = "192.0.2.7";
    client_is_refused(begin(rig, new_ticket(rig, "/events"), ""), 429, "too_many_tickets_of_key");
    assert_int_equal(rig->uses_n, 1);
    rig->holds = false;
    rig_answer(rig);
    rig_free(rig);
}

static void websockets_wait_too(void **state)
{
    struct rig *rig = rig_new("");
    char page[256];

    (void)state;
    rig->holds = true;
    struct client *client = begin(rig, new_ticket(rig, "/ws"), FIXTURE_V1);
    assert_int_equal(client->status, 0);
    rig_answer(rig);
    ws_assert_begins(client, "{\"type\":\"hello\"");
    hear(rig);
    ws_assert_text(client, "{\"type\":\"bye\",\"code\":\"replaced\"}");
    rig->holds = false;
    rig->outcome = SHARED_LOG_UNREACHABLE;
    snprintf(page, sizeof(page), "%sOrigin: " FIXTURE_ORIGIN "\n", FIXTURE_UPGRADE);
    client = begin(rig, new_ticket(rig, "/ws"), page);
    ws_assert_close(client, 1013, "log_unreachable");
    client = begin(rig, new_ticket(rig, "/ws"), FIXTURE_UPGRADE);
    client_is_refused(client, 503, "log_unreachable");
    rig_free(rig);
}

/* ---- streams that are taken over ---- */

static void a_later_use_elsewhere_ends_a_stream(void **state)
{
    struct rig *rig = rig_new("");
    struct client *client = begin(rig, new_ticket(rig, "/events"), "");

    (void)state;
    hear(rig);
    assert_true(client_is_closed(client));
    assert_int_equal(fixture_stat(rig->fixture, STATS_STREAMS_REPLACED), 1);
    hear(rig);
    rig_free(rig);
}

/* Word of it may overtake the answer. */
static void a_later_use_may_be_heard_of_first(void **state)
{
    struct rig *rig = rig_new("");

    (void)state;
    rig->holds = true;
    struct client *client = begin(rig, new_ticket(rig, "/events"), "");
    hear(rig);
    assert_int_equal(client->status, 0);
    rig->holds = false;
    rig_answer(rig);
    assert_int_equal(client->status, 200);
    assert_true(client_is_closed(client));
    assert_int_equal(fixture_stat(rig->fixture, STATS_STREAMS_REPLACED), 1);
    rig_free(rig);
}

static void a_later_use_here_ends_a_stream(void **state)
{
    struct rig *rig = rig_new("");
    char target[1024];

    (void)state;
    strcpy(target, new_ticket(rig, "/events"));
    struct client *older = begin(rig, target, "");
    rig->older = rig->use.mark;
    rig->fixture->worker = 0;
    struct client *newer = begin(rig, target, "");
    assert_true(client_is_closed(older));
    assert_false(client_is_closed(newer));
    /* also where it comes to nothing, for whichever reason */
    rig->older = rig->use.mark;
    rig->verdict = SHARED_TICKET_REVOKED;
    client_is_refused(begin(rig, target, ""), 401, "invalid_token");
    assert_true(client_is_closed(newer));
    rig_free(rig);
}

/* ---- after a break ---- */

static void all_live_streams_are_gone_through_after_a_break(void **state)
{
    struct rig *rig = rig_new("");
    struct client *clients[70];

    (void)state;
    for (size_t i = 0; i < 70; i++)
        clients[i] = begin(rig, new_ticket(rig, "/events"), "");
    node_service_look(rig->nodes);
    assert_int_equal(rig->batches_n, 0);
    rig->facts.follows_n = 1;
    node_service_look(rig->nodes);
    assert_int_equal(rig->lives_n, 70);
    assert_int_equal(rig->batches_n, 2);
    node_service_look(rig->nodes);
    assert_int_equal(rig->lives_n, 70);
    /* the log is lost again meanwhile */
    rig->facts.follows_n = 2;
    rig->outcome = SHARED_LOG_LOST;
    node_service_look(rig->nodes);
    assert_int_equal(rig->lives_n, 70 + SHARED_TICKET_NEWS_MAX);
    fixture_settle(rig->fixture);
    assert_false(client_is_closed(clients[0]));
    rig->facts.follows_n = 3;
    rig->outcome = SHARED_LOG_DONE;
    rig->is_ours = false;
    node_service_look(rig->nodes);
    fixture_settle(rig->fixture);
    for (size_t i = 0; i < 70; i++)
        assert_true(client_is_closed(clients[i]));
    assert_int_equal(fixture_stat(rig->fixture, STATS_STREAMS_REPLACED), 70);
    rig_free(rig);
}

/* ---- what is told ---- */

static void news_go_in_batches_and_have_an_end(void **state)
{
    struct rig *rig = rig_new("");
    unsigned char id[TICKET_ID_BYTES] = {1};
    const unsigned n = NODE_TICKETS_NEWS_MAX + 100;

    (void)state;
    rig->holds = true;
    for (unsigned i = 0; i < n; i++)
        node_tickets_over(rig->nodes, id, STRANGE_MARK, i);
    assert_int_equal(rig->batches_n, 1);
    assert_int_equal(rig->overs_n, 1);
    rig->holds = false;
    rig_answer(rig);
    assert_int_equal(stats_get(hub_stats(rig->fixture->hub), STATS_TICKETS_UNTOLD), 99);
    assert_int_equal(rig->overs_n, 1 + NODE_TICKETS_NEWS_MAX);
    assert_int_equal(rig->batches_n, 1 + NODE_TICKETS_NEWS_MAX / SHARED_TICKET_NEWS_MAX);
    assert_int_equal(rig->over.position, NODE_TICKETS_NEWS_MAX);
    rig->outcome = SHARED_LOG_UNREACHABLE;
    node_tickets_over(rig->nodes, id, STRANGE_MARK, 7);
    assert_int_equal(stats_get(hub_stats(rig->fixture->hub), STATS_TICKETS_UNTOLD), 100);
    rig->is_left = true;
    node_tickets_forget(rig->nodes, id);
    rig->is_left = false;
    rig->outcome = SHARED_LOG_DONE;
    node_tickets_forget(rig->nodes, id);
    assert_int_equal(rig->forgets_n, 1);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_waits_for_the_log),
        cmocka_unit_test(the_id_that_is_shown_is_for_the_log),
        cmocka_unit_test(what_the_log_refuses_is_refused),
        cmocka_unit_test(without_the_log_clients_come_back),
        cmocka_unit_test(who_leaves_meanwhile_leaves_nothing),
        cmocka_unit_test(limits_come_first),
        cmocka_unit_test(websockets_wait_too),
        cmocka_unit_test(a_later_use_elsewhere_ends_a_stream),
        cmocka_unit_test(a_later_use_may_be_heard_of_first),
        cmocka_unit_test(a_later_use_here_ends_a_stream),
        cmocka_unit_test(all_live_streams_are_gone_through_after_a_break),
        cmocka_unit_test(news_go_in_batches_and_have_an_end),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
