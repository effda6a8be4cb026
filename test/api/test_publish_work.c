/* SPDX-License-Identifier: MIT */
/* A publish without a request: who asks may go, and memory may end anywhere. */
#include "config.h"
#include "api/publish_work.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "../support/fail_alloc.h"
#include "../support/fixture.h"
#include "base/clock.h"
#include "hub/hub_internal.h"
#include "hub/hub_share.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define WAIT_MS 10000
#define LONG_N 6000 /* is read beside the loop */

/* Somebody who asks. */
struct asker {
    struct publish_work work;
    struct problem problem;
    int done_n;
    int let_go_n;
    bool good;
    char answer[4096];
};

static void on_done(struct publish_work *work)
{
    struct asker *asker = (struct asker *)(void *)work;

    asker->done_n++;
    asker->good = publish_work_result(work, &asker->problem);
    if (!asker->good)
        return;
    assert_true(publish_work_answer_bytes(work) < sizeof(asker->answer));
    char *end = publish_work_put_answer(asker->answer, work);
    *end = '\0';
}

static void on_let_go(struct publish_work *work)
{
    ((struct asker *)(void *)work)->let_go_n++;
}

static bool begin(struct fixture *fixture, struct asker *asker, const struct publish_work_ask *ask)
{
    memset(asker, 0, sizeof(*asker));
    asker->work.done = on_done;
    asker->work.let_go = on_let_go;
    bool begun = publish_work_begin(&asker->work, &fixture->services[0], ask, &asker->problem);
    assert_int_equal(asker->done_n, 0);
    return begun;
}

static void await(struct fixture *fixture, struct asker *asker)
{
    struct timespec pause = {.tv_nsec = 200000};
    int64_t until_ms = clock_mono_ms() + WAIT_MS;

    while (asker->done_n == 0) {
        fixture_turn(fixture);
        assert_true(clock_mono_ms() < until_ms);
        nanosleep(&pause, NULL);
    }
    assert_int_equal(asker->done_n, 1);
}

static struct publish_work_ask json(const char *text)
{
    return (struct publish_work_ask){.text = text, .text_n = strlen(text), .is_json = true};
}

/* A text of this length, in memory of its own. */
static char *text_of(size_t n)
{
    char *text = malloc(n);

    assert_non_null(text);
    memset(text, 'x', n);
    return text;
}

static void assert_queue_is_empty(struct fixture *fixture)
{
    assert_false(hub_is_full(fixture->hub, fixture->conf->limits.queue_bytes));
    assert_int_equal(fixture->services[0].publishes_n, 0);
}

static void what_was_stored_is_told(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct publish_work_ask one = json("{\"data\":\"x\"}");
    struct publish_work_ask many = json("[{\"data\":\"x\",\"ephemeral\":true},{\"data\":\"y\"}]");
    struct asker asker;
    char wanted[256];

    (void)state;
    assert_true(begin(fixture, &asker, &one));
    assert_int_equal(asker.let_go_n, 1);
    await(fixture, &asker);
    snprintf(wanted, sizeof(wanted),
             "\"id\":\"%s-0000000000000001\",\"durability\":\"memory\",\"duplicate\":false",
             history_epoch(fixture->history));
    assert_string_equal(asker.answer, wanted);
    publish_work_end(&asker.work);
    assert_true(begin(fixture, &asker, &many));
    await(fixture, &asker);
    snprintf(wanted, sizeof(wanted),
             "\"ids\":[null,\"%s-0000000000000002\"],\"duplicates\":[false,false],"
             "\"durability\":\"memory\"",
             history_epoch(fixture->history));
    assert_string_equal(asker.answer, wanted);
    publish_work_end(&asker.work);
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

/* What was given is overwritten and freed as soon as the call is over. */
static void who_asked_may_go_at_once(void **state)
{
    static const size_t lengths[] = {10, LONG_N};
    struct fixture *fixture = fixture_new("");
    struct client *stream = client_ask(fixture, "GET", "/events?topic=a", "", NULL);

    (void)state;
    for (size_t i = 0; i < ROWS(lengths); i++) {
        char *text = text_of(lengths[i]), *topic = strdup("a"), *key = strdup("key");
        struct publish_field field = {.name = "topic", .value = topic, .value_n = 1};
        struct publish_work_ask ask = {.text = text,
                                       .text_n = lengths[i],
                                       .fields = &field,
                                       .fields_n = 1,
                                       .key = key,
                                       .key_n = 2 + i,
                                       .may_leave = true};
        struct asker asker;

        assert_true(begin(fixture, &asker, &ask));
        memset(text, '!', lengths[i]);
        memset(topic, '!', 1);
        memset(key, '!', 3);
        memset(&field, 0, sizeof(field));
        free(text);
        free(topic);
        free(key);
        await(fixture, &asker);
        assert_true(asker.good);
        assert_null(strchr(asker.answer, '!'));
        publish_work_end(&asker.work);
    }
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_ASIDE), 1);
    client_wait_for(stream, "data: xxxxxxxxxx\n");
    assert_false(client_has(stream, "!"));
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

static void what_is_wrong_is_told_at_once_or_later(void **state)
{
    static const struct {
        const char *text;
        unsigned status;
        const char *code, *pointer;
    } cases[] = {
        {"{", 400, "invalid_json", ""},
        {"7", 422, "not_an_object", ""},
        {"[{\"data\":\"x\"},{\"data\":\"x\",\"topic\":7}]", 422, "invalid_field", "/1/topic"},
    };
    struct fixture *fixture = fixture_new("");

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++)
        for (int is_long = 0; is_long < 2; is_long++) {
            char *text = text_of(LONG_N);
            struct publish_work_ask ask = {
                .text = text, .text_n = LONG_N, .is_json = true, .may_leave = true};
            struct asker asker;

            memset(text, ' ', LONG_N);
            memcpy(text, cases[i].text, strlen(cases[i].text));
            if (!is_long)
                ask.text_n = strlen(cases[i].text);
            assert_int_equal(begin(fixture, &asker, &ask), is_long);
            free(text);
            if (is_long)
                await(fixture, &asker);
            assert_false(asker.good);
            assert_int_equal(asker.let_go_n, 0);
            assert_int_equal(asker.problem.status, cases[i].status);
            assert_string_equal(asker.problem.code, cases[i].code);
            assert_string_equal(asker.problem.pointer, cases[i].pointer);
            publish_work_end(&asker.work);
        }
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_REFUSED), 2 * ROWS(cases));
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

/* Somebody with the right to publish this. */
static struct identity *publisher_to(const char *pattern)
{
    struct grants_pattern one = {.bytes = pattern, .bytes_n = strlen(pattern)};
    struct identity_draft draft = {.until_ms = IDENTITY_FOREVER,
                                   .publish = {.patterns = &one, .patterns_n = 1}};
    struct identity *identity = identity_new(&draft);

    assert_non_null(identity);
    return identity;
}

static void rights_hold_without_a_request(void **state)
{
    struct fixture *fixture = fixture_new("auth.mode=token");
    struct identity *identity = publisher_to("a/*");
    char text[LONG_N];

    (void)state;
    for (int is_long = 0; is_long < 2; is_long++)
        for (int is_allowed = 0; is_allowed < 2; is_allowed++) {
            int n = snprintf(text, sizeof(text), "[{\"data\":\"x\",\"topic\":\"%s\"}]",
                             is_allowed ? "a/b" : "b");
            struct publish_work_ask ask = {.identity = identity,
                                           .text = text,
                                           .text_n = is_long ? LONG_N : (size_t)n,
                                           .is_json = true,
                                           .may_leave = true};
            struct asker asker;

            memset(text + n, ' ', LONG_N - (size_t)n);
            assert_int_equal(begin(fixture, &asker, &ask), is_long || is_allowed);
            if (is_long && is_allowed)
                identity_unref(identity); /* who asked has gone */
            if (is_long || is_allowed)
                await(fixture, &asker);
            assert_int_equal(asker.good, is_allowed);
            if (!is_allowed) {
                assert_int_equal(asker.problem.status, 403);
                assert_string_equal(asker.problem.pointer, "/0/topic");
            }
            publish_work_end(&asker.work);
        }
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

static void what_the_store_says_is_told(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct publish_work_ask ask = json("[{\"data\":\"x\"}]");
    struct asker asker;

    (void)state;
    fixture->append_error = -EIO;
    assert_true(begin(fixture, &asker, &ask));
    await(fixture, &asker);
    assert_false(asker.good);
    assert_int_equal(asker.problem.status, 503);
    assert_string_equal(asker.problem.code, "store_failed");
    publish_work_end(&asker.work);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_FAILED), 1);
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

/* Publish while the nth allocation fails.  Returns whether there was none to fail. */
static bool publish_without(struct fixture *fixture, const char *text, size_t text_n, int n)
{
    struct publish_work_ask ask = {
        .text = text, .text_n = text_n, .is_json = true, .may_leave = true};
    uint64_t before = hub_committed(fixture->hub);
    struct asker asker;

    fail_alloc(n);
    if (begin(fixture, &asker, &ask))
        await(fixture, &asker);
    bool is_over = !fail_alloc_is_over();
    fail_alloc(-1);
    if (!asker.good)
        assert_int_equal(asker.problem.status, 503);
    assert_int_equal(hub_committed(fixture->hub) - before, asker.good);
    assert_true(asker.good || !is_over);
    publish_work_end(&asker.work);
    assert_queue_is_empty(fixture);
    return is_over;
}

static void what_a_shared_log_says_is_told(void **state)
{
    static const struct {
        int error;
        unsigned status;
        const char *code;
        enum stats_id counter;
    } rows[] = {
        {HUB_LOG_UNREACHABLE, 503, "log_unreachable", STATS_PUBLISHES_LOG_UNREACHABLE},
        {HUB_LOG_LOST, 503, "log_lost", STATS_PUBLISHES_LOG_LOST},
        {HUB_LOG_UNCONFIRMED, 503, "log_unconfirmed", STATS_PUBLISHES_LOG_UNCONFIRMED},
        {HUB_LOG_FULL, 507, "log_full", STATS_PUBLISHES_LOG_FULL},
        {HUB_LOG_REFUSED, 503, "log_refused", STATS_PUBLISHES_LOG_REFUSED},
    };
    struct fixture *fixture = fixture_new("");
    struct publish_work_ask ask = json("[{\"data\":\"x\"}]");
    struct asker asker;

    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        fixture->append_error = rows[i].error;
        assert_true(begin(fixture, &asker, &ask));
        await(fixture, &asker);
        assert_false(asker.good);
        assert_int_equal(asker.problem.status, rows[i].status);
        assert_string_equal(asker.problem.code, rows[i].code);
        assert_in_range(asker.problem.retry_after_s, 1, 5);
        publish_work_end(&asker.work);
        assert_int_equal(fixture_stat(fixture, rows[i].counter), 1);
    }
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_FAILED), 0);
    assert_queue_is_empty(fixture);
    fixture_free(fixture);
}

/* A term that ends before the answer is written takes nothing from what it says. */
static void an_id_is_of_the_epoch_that_it_was_stored_in(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct publish_work_ask ask = json("{\"data\":\"x\"}");
    char wanted[64], epoch[SSE_EPOCH_BYTES + 1];
    struct asker asker;

    (void)state;
    assert_true(begin(fixture, &asker, &ask));
    await(fixture, &asker);
    strcpy(epoch, history_epoch(fixture->history));
    history_set_lineage(fixture->history,
                        lineage_begin(history_lineage(fixture->history), "anotherepoch", 0));
    *publish_work_put_answer(asker.answer, &asker.work) = '\0';
    snprintf(wanted, sizeof(wanted), "\"id\":\"%s-0000000000000001\"", epoch);
    assert_non_null(strstr(asker.answer, wanted));
    publish_work_end(&asker.work);
    fixture_free(fixture);
}

/* Too much waits, but not for the gateway. */
static void a_full_queue_is_put_down_to_the_log_that_is_cut_off(void **state)
{
    struct fixture *fixture = fixture_new("");
    struct publish_work_ask first = json("[{\"data\":\"x\"}]");
    struct publish_work_ask second = json("[{\"data\":\"x\"}]");
    struct asker asker, refused;

    (void)state;
    fixture->hub->room_bytes = 1;
    fixture->holds_store = true;
    assert_true(begin(fixture, &asker, &first));
    fixture->hub->is_cut_off = true;
    assert_false(begin(fixture, &refused, &second));
    assert_int_equal(refused.problem.status, 503);
    assert_string_equal(refused.problem.code, "log_unreachable");
    assert_in_range(refused.problem.retry_after_s, 1, 5);
    fixture->hub->is_cut_off = false;
    assert_false(begin(fixture, &refused, &second));
    assert_string_equal(refused.problem.code, "overloaded");
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_SHED), 2);
    assert_int_equal(fixture_stat(fixture, STATS_PUBLISHES_LOG_UNREACHABLE), 1);
    fixture->holds_store = false;
    await(fixture, &asker);
    publish_work_end(&refused.work);
    publish_work_end(&asker.work);
    fixture_free(fixture);
}

/* Each allocation fails once: nothing is stored then, and nothing left behind. */
static void memory_may_end_anywhere(void **state)
{
    static const size_t lengths[] = {100, LONG_N};
    struct fixture *fixture = fixture_new("");
    char text[LONG_N];

    (void)state;
    for (size_t i = 0; i < 2 * ROWS(lengths); i++) {
        const char *more = i % 2 == 0 ? "" : ",\"topics\":[\"a\"]";
        bool is_over = false;

        for (int n = 0; !is_over; n++) {
            int text_n =
                snprintf(text, sizeof(text), "[{\"data\":\"x\",\"idempotency_key\":\"%zu-%d\"%s}]",
                         i, n, more);
            memset(text + text_n, ' ', LONG_N - (size_t)text_n);
            is_over = publish_without(fixture, text, lengths[i / 2], n);
            assert_in_range(n, is_over, 50);
        }
    }
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_stored_is_told),
        cmocka_unit_test(who_asked_may_go_at_once),
        cmocka_unit_test(what_is_wrong_is_told_at_once_or_later),
        cmocka_unit_test(rights_hold_without_a_request),
        cmocka_unit_test(what_the_store_says_is_told),
        cmocka_unit_test(what_a_shared_log_says_is_told),
        cmocka_unit_test(an_id_is_of_the_epoch_that_it_was_stored_in),
        cmocka_unit_test(a_full_queue_is_put_down_to_the_log_that_is_cut_off),
        cmocka_unit_test(memory_may_end_anywhere),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
