/* SPDX-License-Identifier: MIT */
/*
 * The life of a stream over a fake host: how it begins, its states, and each of its ends, for a
 * host that pulls and for streams that send by themselves.
 */
#include "config.h"
#include "stream/stream.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/make.h"
#include "fake_host.h"

#define RING_EVENTS 64

/* ---- the same for both ways of sending ---- */

static int build_direct(void **state)
{
    *state = fake_host_new(true, RING_EVENTS);
    return 0;
}

static int build_pulled(void **state)
{
    *state = fake_host_new(false, RING_EVENTS);
    return 0;
}

static int tear_down(void **state)
{
    fake_host_free(*state);
    return 0;
}

static void publish(struct fake_host *fake, const char *topic, const char *data)
{
    fake_host_publish(fake, make_message(.topics = topic, .data = data));
}

static enum stream_state state_of(const struct fake_stream *stream)
{
    return stream->stream->state;
}

/* ---- states ---- */

static void a_new_stream_sends_its_place_and_is_idle(void **state)
{
    struct fake_stream *stream = fake_stream_open(*state, fake_ask("a"));

    fake_host_run(*state);
    assert_int_equal(state_of(stream), STREAM_IDLE);
    assert_true(stream->is_suspended);
    assert_true(fake_stream_has(stream, ":\nretry: "));
    assert_true(fake_stream_has(stream, "event: checkpoint\n"));
    assert_int_equal(fake_host_stat(*state, STATS_STREAMS_OPEN), 1);
    fake_stream_close(stream);
    assert_int_equal(fake_host_stat(*state, STATS_STREAMS_OPEN), 0);
    assert_int_equal(fake_host_stat(*state, STATS_STREAMS_LEFT), 1);
}

static void an_event_makes_it_ready_and_it_is_idle_again(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a")),
                       *other = fake_stream_open(fake, fake_ask("b"));

    fake_host_run(fake);
    publish(fake, "a", "first");
    assert_int_equal(state_of(stream), STREAM_READY);
    assert_int_equal(state_of(other), STREAM_IDLE);
    fake_host_run(fake);
    assert_int_equal(state_of(stream), STREAM_IDLE);
    assert_int_equal(fake_stream_count(stream, "data: first\n"), 1);
    assert_false(fake_stream_has(other, "first"));
    assert_int_equal(fake_host_stat(fake, STATS_EVENTS_DELIVERED), 1);
    fake_stream_close(stream);
    fake_stream_close(other);
}

/* One system call, or one pull, has all that came by then. */
static void events_that_come_while_it_is_ready_go_out_together(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));

    fake_host_run(fake);
    int64_t sends = fake_host_stat(fake, STATS_SENDS);
    publish(fake, "a", "first");
    publish(fake, "b", "not for it");
    publish(fake, "a", "second");
    fake_host_run(fake);
    assert_true(fake_stream_has(stream, "data: first\n"));
    assert_true(fake_stream_has(stream, "data: second\n"));
    assert_false(fake_stream_has(stream, "not for it"));
    assert_int_equal(fake_host_stat(fake, STATS_SENDS), sends + 1);
    fake_stream_close(stream);
}

static void an_event_for_few_takes_a_stream_out_of_the_crowd(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));

    fake_host_run(fake);
    stream_add_control(stream->stream, STREAM_HEARTBEAT); /* waits as a broadcast does */
    assert_int_equal(fake->host.ready[PRIO_BROADCAST - PRIO_TARGETED].n, 1);
    publish(fake, "a", "for few");
    assert_int_equal(fake->host.ready[PRIO_BROADCAST - PRIO_TARGETED].n, 0);
    assert_int_equal(fake->host.ready[0].n, 1);
    fake_host_run(fake);
    assert_int_equal(state_of(stream), STREAM_IDLE);
    fake_stream_close(stream);
}

/* ---- where it begins ---- */

/* More than the ring holds. */
static void publish_past(struct fake_host *fake)
{
    char data[16];

    for (int i = 1; i <= RING_EVENTS * 2; i++) {
        snprintf(data, sizeof(data), "number %d.", i);
        publish(fake, "a", data);
    }
}

static struct fake_stream *open_at(struct fake_host *fake, struct stream_start start)
{
    struct stream_ask ask = fake_ask("a");

    ask.start = start;
    return fake_stream_open(fake, ask);
}

static struct fake_stream *open_at_id(struct fake_host *fake, const char *epoch, uint64_t position)
{
    char id[SSE_ID_BYTES];

    sse_put_id(id, epoch, position);
    return open_at(fake,
                   (struct stream_start){.from = STREAM_FROM_ID, .id = id, .id_n = sizeof(id)});
}

static void the_past_comes_in_pages_and_then_it_is_live(void **state)
{
    struct fake_host *fake = *state;

    publish_past(fake);
    struct fake_stream *stream = open_at(fake, (struct stream_start){.from = STREAM_FROM_EARLIEST});
    fake_host_run(fake);
    publish(fake, "a", "live.");
    fake_host_run(fake);
    assert_int_equal(state_of(stream), STREAM_IDLE);
    assert_int_equal(fake_stream_count(stream, "data: number "), RING_EVENTS * 2);
    assert_int_equal(fake_stream_count(stream, "data: number 1.\n"), 1);
    assert_int_equal(fake_stream_count(stream, "data: live.\n"), 1);
    assert_true(fake_host_stat(fake, STATS_PAGES_READ) > 0);
    assert_int_equal(fake->host.behind_n, 0);
    fake_stream_close(stream);
}

static void while_it_waits_for_a_page_it_is_paging(void **state)
{
    struct fake_host *fake = *state;

    publish_past(fake);
    struct fake_stream *stream = open_at(fake, (struct stream_start){.from = STREAM_FROM_EARLIEST});
    for (int i = 0; state_of(stream) != STREAM_PAGING && i < 10; i++)
        for (enum worker_prio prio = PRIO_TARGETED; prio < PRIO_COUNT; prio++)
            if (prio != PRIO_NEW)
                stream_host_resume(&fake->host, prio, 1);
    assert_int_equal(state_of(stream), STREAM_PAGING);
    assert_true(stream->is_suspended);
    stream_end(stream->stream, STREAM_END_DELETED);
    assert_int_equal(state_of(stream), STREAM_CLOSING);
    fake_host_run(fake);
    assert_true(stream->end != 0);
    fake_stream_close(stream);
    while (fake->streams->pages_n > 0) /* its page finds nobody */
        worker_turn(fake->worker, true);
}

static void an_id_goes_on_behind_it(void **state)
{
    struct fake_host *fake = *state;

    publish_past(fake);
    struct fake_stream *near = open_at_id(fake, history_epoch(fake->history), RING_EVENTS * 2 - 2);
    struct fake_stream *far = open_at_id(fake, history_epoch(fake->history), 3);
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(near, "data: number "), 2);
    assert_int_equal(fake_stream_count(far, "data: number "), RING_EVENTS * 2 - 3);
    assert_false(fake_stream_has(near, "event: reset"));
    assert_false(fake_stream_has(far, "event: reset"));
    fake_stream_close(near);
    fake_stream_close(far);
}

static void an_id_that_is_no_place_is_told_why(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *streams[3];

    publish_past(fake);
    streams[0] = open_at_id(fake, "anotherepoch", 3);
    streams[1] = open_at_id(fake, history_epoch(fake->history), RING_EVENTS * 20);
    streams[2] = open_at(fake, (struct stream_start){.from = STREAM_FROM_ID, .id = "?", .id_n = 1});
    fake_host_run(fake);
    assert_true(fake_stream_has(streams[0], "event: reset\n"));
    assert_true(fake_stream_has(streams[0], "{\"reason\":\"epoch\",\"oldest\":\""));
    assert_true(fake_stream_has(streams[1], "{\"reason\":\"unknown\","));
    assert_true(fake_stream_has(streams[2], "{\"reason\":\"unknown\","));
    for (int i = 0; i < 3; i++) {
        assert_false(fake_stream_has(streams[i], "data: number "));
        fake_stream_close(streams[i]);
    }
    assert_int_equal(fake_host_stat(fake, STATS_RESETS), 3);
}

/* The history was cut off, and another one goes on from there. */
static void an_id_of_an_earlier_epoch_is_good_up_to_its_end(void **state)
{
    struct fake_host *fake = *state;
    char epoch[SSE_EPOCH_BYTES + 1];
    struct fake_stream *streams[2];

    publish_past(fake);
    strcpy(epoch, history_epoch(fake->history));
    history_set_lineage(fake->history,
                        lineage_begin(history_lineage(fake->history), "anotherepoch", 10));
    fake->streams->lineage = history_lineage(fake->history); /* as a batch tells */
    streams[0] = open_at_id(fake, epoch, 10);
    streams[1] = open_at_id(fake, epoch, 11);
    fake_host_run(fake);
    assert_false(fake_stream_has(streams[0], "event: reset\n"));
    assert_true(fake_stream_has(streams[1], "{\"reason\":\"epoch\",\"oldest\":\""));
    assert_true(fake_stream_has(streams[1], "id: anotherepoch-0000000000000010\n"));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fake_stream_count(streams[i], "data: number "), RING_EVENTS * 2 - 10);
        fake_stream_close(streams[i]);
    }
}

static void a_time_begins_at_the_first_event_since(void **state)
{
    struct fake_host *fake = *state;

    publish_past(fake);
    struct fake_stream *all =
        open_at(fake, (struct stream_start){.from = STREAM_FROM_TIME, .since_ms = 0});
    struct fake_stream *none =
        open_at(fake, (struct stream_start){.from = STREAM_FROM_TIME, .since_ms = INT64_MAX / 2});
    fake_host_run(fake);
    assert_int_equal(fake_stream_count(all, "data: number "), RING_EVENTS * 2);
    assert_int_equal(fake_stream_count(none, "data: number "), 0);
    fake_stream_close(all);
    fake_stream_close(none);
}

/* ---- pages that fail ---- */

static int failing_result;

static int read_failing(struct history *history, const struct history_query *query,
                        struct history_page **ret_page)
{
    (void)history;
    (void)query;
    (void)ret_page;
    return failing_result;
}

static void a_store_that_fails_a_replay_ends_the_stream(void **state)
{
    struct fake_host *fake = *state;

    publish_past(fake);
    fake->history_ops.read = read_failing;
    failing_result = -EIO;
    struct fake_stream *stream = open_at(fake, (struct stream_start){.from = STREAM_FROM_EARLIEST});
    fake_host_run(fake);
    assert_int_equal(stream->stream->end, STREAM_END_FAILED);
    assert_int_equal(fake_stream_count(stream, "retry: "), 2);
    assert_true(stream->end != 0);
    fake_stream_close(stream);
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_FAILED), 1);
    assert_int_equal(fake->streams->pages_n, 0);
}

static int damaged_read(struct history *history, const struct history_query *query,
                        struct history_page **ret_page)
{
    struct history_page *page = calloc(1, sizeof(*page));

    (void)history;
    page->damaged = true;
    page->upto = query->upto;
    *ret_page = page;
    return 0;
}

static void damage_is_told(void **state)
{
    struct fake_host *fake = *state;

    publish_past(fake);
    fake->history_ops.read = damaged_read;
    struct fake_stream *stream = open_at_id(fake, history_epoch(fake->history), 3);
    fake_host_run(fake);
    assert_true(fake_stream_has(stream, "{\"reason\":\"damaged\","));
    assert_int_equal(state_of(stream), STREAM_IDLE);
    fake_stream_close(stream);
    assert_int_equal(fake_host_stat(fake, STATS_PAGES_DAMAGED), 1);
}

static int expired_once(struct history *history, const struct history_query *query,
                        struct history_page **ret_page)
{
    (void)history;
    failing_result++;
    return failing_result == 1 ? -ESTALE : damaged_read(history, query, ret_page);
}

/* One that began at the oldest event had no place there to lose. */
static void a_place_that_expired_meanwhile_is_told_to_those_who_had_one(void **state)
{
    struct fake_host *fake = *state;

    publish_past(fake);
    fake->history_ops.read = expired_once;
    failing_result = 0;
    struct fake_stream *had = open_at_id(fake, history_epoch(fake->history), 3);
    fake_host_run(fake);
    assert_true(fake_stream_has(had, "{\"reason\":\"expired\","));
    failing_result = 0;
    struct fake_stream *had_none =
        open_at(fake, (struct stream_start){.from = STREAM_FROM_EARLIEST});
    fake_host_run(fake);
    assert_false(fake_stream_has(had_none, "\"expired\""));
    fake_stream_close(had);
    fake_stream_close(had_none);
}

/* ---- ends ---- */

static struct fake_stream *open_with_credential(struct fake_host *fake)
{
    struct stream_ask ask = fake_ask("a");

    ask.grant.identity = identity_new(&(struct identity_draft){.until_ms = IDENTITY_FOREVER});
    assert_non_null(ask.grant.identity);
    struct fake_stream *stream = fake_stream_open(fake, ask);
    identity_unref(ask.grant.identity);
    fake_host_run(fake);
    return stream;
}

/* What a row of the table says is what happens. */
static void check_end(struct fake_host *fake, enum stream_end end)
{
    const struct stream_end_row *row = &stream_ends[end];
    struct fake_stream *stream = open_with_credential(fake);
    int64_t counted = fake_host_stat(fake, row->counter);
    struct eviction *list = NULL;
    uint64_t evictions_before, evictions_after;

    eviction_log_list(fake->eviction_log, 0, &list, &evictions_before);
    free(list);
    fake_stream_forget(stream);
    publish(fake, "a", "the backlog");
    stream_end(stream->stream, end);
    stream_end(stream->stream, STREAM_END_REPLACED); /* comes too late */
    assert_int_equal(stream->stream->end, end);
    assert_int_equal(state_of(stream), STREAM_CLOSING);
    fake_host_run(fake);

    assert_int_equal(fake_stream_count(stream, "the backlog"), row->sends_backlog);
    assert_int_equal(fake_stream_count(stream, "event: expired\n"),
                     row->final == STREAM_FINAL_EXPIRED);
    assert_int_equal(fake_stream_count(stream, "retry: "),
                     row->final == STREAM_FINAL_RETRY || row->final == STREAM_FINAL_AWAY);
    if (row->final == STREAM_FINAL_EXPIRED) {
        char reason[64];

        snprintf(reason, sizeof(reason), "data: {\"reason\":\"%s\"}\n", row->word);
        assert_true(fake_stream_has(stream, reason));
    }
    if (stream->is_pulled) {
        assert_int_equal(stream->end, row->ends_answer ? STREAM_PULL_END : STREAM_PULL_ABORT);
        assert_int_equal(stream->closed_soon, 1);
    } else {
        assert_int_equal(stream->end, FAKE_HANDED_BACK);
        assert_int_equal(fake_stream_count(stream, "0\r\n\r\n"), row->ends_answer);
        assert_false(stream_waits(stream->stream));
    }
    assert_int_equal(fake_stream_is_cut(stream), row->cuts);
    fake_stream_close(stream);
    assert_int_equal(fake_host_stat(fake, row->counter), counted + 1);
    eviction_log_list(fake->eviction_log, 1, &list, &evictions_after);
    assert_int_equal(evictions_after - evictions_before, row->is_eviction);
    if (row->is_eviction)
        assert_int_equal(list->why, end);
    free(list);
}

static void each_end_is_as_its_row_says(void **state)
{
    for (enum stream_end end = STREAM_END_LEFT; end < STREAM_ENDS; end++)
        if (end != STREAM_END_REPLACED)
            check_end(*state, end);
}

static void one_that_is_replaced_ends_without_a_word(void **state)
{
    struct fake_stream *stream = open_with_credential(*state);

    fake_stream_forget(stream);
    stream_end(stream->stream, STREAM_END_REPLACED);
    fake_host_run(*state);
    assert_int_equal(fake_stream_count(stream, "0\r\n\r\n"), !stream->is_pulled);
    assert_int_equal(stream->received_n, stream->is_pulled ? 0 : strlen("0\r\n\r\n"));
    fake_stream_close(stream);
    assert_int_equal(fake_host_stat(*state, STATS_STREAMS_REPLACED), 1);
}

/* Nobody has told it of a credential that could end. */
static void one_without_a_credential_is_not_told_that_it_expired(void **state)
{
    struct fake_stream *stream = fake_stream_open(*state, fake_ask("a"));

    fake_host_run(*state);
    stream_end(stream->stream, STREAM_END_DELETED);
    fake_host_run(*state);
    assert_false(fake_stream_has(stream, "event: expired"));
    fake_stream_close(stream);
}

static void a_cut_cuts_though_an_orderly_end_came_before(void **state)
{
    struct fake_stream *stream = fake_stream_open(*state, fake_ask("a"));

    fake_host_run(*state);
    stream_end(stream->stream, STREAM_END_DRAINED);
    assert_false(fake_stream_is_cut(stream));
    stream_end(stream->stream, STREAM_END_STALLED);
    assert_true(fake_stream_is_cut(stream));
    assert_int_equal(stream->stream->end, STREAM_END_DRAINED);
    fake_host_run(*state);
    fake_stream_close(stream);
    assert_int_equal(fake_host_stat(*state, STATS_STREAMS_DRAINED), 1);
    assert_int_equal(fake_host_stat(*state, STATS_STREAMS_STALLED), 0);
}

static void one_that_is_opened_in_a_drain_ends_at_once(void **state)
{
    struct fake_host *fake = *state;

    streams_drain(fake->streams, worker_now_ms(fake->worker), 10000, STREAM_END_DRAINED);
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));
    fake_host_run(fake);
    assert_int_equal(stream->stream->end, STREAM_END_DRAINED);
    assert_true(stream->end != 0);
    assert_int_equal(fake_stream_count(stream, "retry: "), 2);
    fake_stream_close(stream);
}

static void a_client_that_goes_is_seen_in_an_idle_stream(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));

    fake_host_run(fake);
    close(stream->peer_fd);
    stream->peer_fd = -1;
    worker_turn(fake->worker, true);
    assert_int_equal(stream->stream->end, STREAM_END_LEFT);
    fake_host_run(fake);
    assert_true(stream->end != 0);
    fake_stream_close(stream);
}

/* ---- what cannot be opened, and what is told ---- */

static void one_that_cannot_be_opened_leaves_nothing_behind(void **state)
{
    struct fake_host *fake = *state;
    struct stream *stream = NULL;
    struct stream_ask ask = fake_ask("*/a */*/a */*/*/a */*/*/*/a a/*/*/*/a a/b/*/*/*/a "
                                     "a/b/c/*/*/*/a a/b/c/d/*/*/*/a a/b/c/d/e/*/*/*/a");
    int result = 0, fd = dup(0), opened = 0;

    ask.owners[0] = &ask;
    for (int i = 0; i < 1000 && result == 0; i++) {
        char pattern[64] = "";

        for (int bit = 0; bit < 10; bit++)
            strcat(pattern, i >> bit & 1 ? "*/" : "x/");
        strcat(pattern, "end");
        filter_unref(ask.filter);
        ask.filter = make_filter(pattern, NULL);
        struct fake_stream *of = calloc(1, sizeof(*of));
        of->fake = fake;
        of->fd = dup(fd);
        of->peer_fd = -1;
        result = stream_open(&fake->host, of, of->fd, &ask, &of->stream);
        if (result == 0) {
            opened++;
            continue;
        }
        close(of->fd);
        free(of);
    }
    filter_unref(ask.filter);
    assert_int_equal(result, -EDQUOT);
    assert_null(stream);
    assert_int_equal(streams_count(fake->streams), opened);
    assert_int_equal(fake_host_stat(fake, STATS_STREAMS_OPEN), opened);
    while (!TAILQ_EMPTY(&fake->host.all))
        fake_stream_close(TAILQ_FIRST(&fake->host.all)->connection);
    close(fd);
}

static void facts_tell_how_far_it_is_behind(void **state)
{
    struct fake_host *fake = *state;
    struct fake_stream *stream = fake_stream_open(fake, fake_ask("a"));
    struct stream_facts facts;

    fake_host_run(fake);
    publish(fake, "b", "passed over");
    stream_get_facts(stream->stream, worker_now_ms(fake->worker), &facts);
    assert_int_equal(facts.state, STREAM_IDLE);
    assert_int_equal(facts.position, 1);
    assert_int_equal(facts.lag_events, 0);
    publish(fake, "a", "waits");
    stream_get_facts(stream->stream, worker_now_ms(fake->worker), &facts);
    assert_int_equal(facts.state, STREAM_READY);
    assert_string_equal(stream_state_text(facts.state), "ready");
    assert_int_equal(facts.lag_events, 1);
    assert_true(facts.lag_bytes > 0);
    fake_host_run(fake);
    stream_get_facts(stream->stream, worker_now_ms(fake->worker) + 100, &facts);
    assert_int_equal(facts.last_id_sent, 2);
    assert_int_equal(facts.events_sent, 1);
    assert_true(facts.age_ms >= 100);
    assert_true(facts.bytes_sent > 0);
    fake_stream_close(stream);
}

#define both(test)                                                                                 \
    {#test " by itself", test, build_direct, tear_down, NULL},                                     \
    {                                                                                              \
#test " pulled", test, build_pulled, tear_down, NULL                                       \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        both(a_new_stream_sends_its_place_and_is_idle),
        both(an_event_makes_it_ready_and_it_is_idle_again),
        both(events_that_come_while_it_is_ready_go_out_together),
        both(an_event_for_few_takes_a_stream_out_of_the_crowd),
        both(the_past_comes_in_pages_and_then_it_is_live),
        both(an_id_goes_on_behind_it),
        both(an_id_that_is_no_place_is_told_why),
        both(an_id_of_an_earlier_epoch_is_good_up_to_its_end),
        both(a_time_begins_at_the_first_event_since),
        both(a_store_that_fails_a_replay_ends_the_stream),
        both(damage_is_told),
        both(a_place_that_expired_meanwhile_is_told_to_those_who_had_one),
        both(each_end_is_as_its_row_says),
        both(one_that_is_replaced_ends_without_a_word),
        both(one_without_a_credential_is_not_told_that_it_expired),
        both(a_cut_cuts_though_an_orderly_end_came_before),
        both(one_that_is_opened_in_a_drain_ends_at_once),
        both(a_client_that_goes_is_seen_in_an_idle_stream),
        both(facts_tell_how_far_it_is_behind),
        cmocka_unit_test_setup_teardown(while_it_waits_for_a_page_it_is_paging, build_direct,
                                        tear_down),
        cmocka_unit_test_setup_teardown(one_that_cannot_be_opened_leaves_nothing_behind,
                                        build_direct, tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
