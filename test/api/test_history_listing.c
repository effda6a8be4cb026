/* SPDX-License-Identifier: MIT */
/* Pages in, JSON out: what an answer holds, where it ends, and what it says of what is lost. */
#include "config.h"
#include "api/history_listing.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <jansson.h>

#include "../support/make.h"

#define EPOCH "abcdefghijkl"
#define LOTS 1000000

static const struct message_name nobody = {.bytes = NULL};

static struct history_listing *begin(struct history_listing_ask ask)
{
    ask.epoch = EPOCH;
    if (ask.user == NULL)
        ask.user = &nobody;
    if (ask.events_max == 0)
        ask.events_max = LOTS;
    if (ask.bytes_max == 0)
        ask.bytes_max = LOTS;
    struct history_listing *listing = history_listing_new(&ask);
    assert_non_null(listing);
    return listing;
}

#define begin_with(...) begin((struct history_listing_ask){__VA_ARGS__})

/* What a read gives to a listing. */
struct part {
    const char *positions; /* of the page's events */
    uint64_t upto;
    bool damaged;
    struct history_bounds bounds;
    int result;
};

static int take(struct history_listing *listing, const struct part *part)
{
    struct history_page *page = calloc(1, sizeof(*page) + 64 * sizeof(struct message *));
    char *at = (char *)(uintptr_t)part->positions;

    page->upto = part->upto;
    page->damaged = part->damaged;
    while (at != NULL && *at != '\0')
        page->events[page->events_n++] = make_sealed(MESSAGE_STORED, strtoull(at, &at, 10));
    int result =
        history_listing_take(listing, part->result, part->result == 0 ? page : NULL, &part->bounds);
    history_page_free(page);
    return result;
}

static void take_page(struct history_listing *listing, const char *positions, uint64_t upto)
{
    struct part part = {.positions = positions, .upto = upto};

    assert_int_equal(take(listing, &part), 0);
}

static void take_damaged(struct history_listing *listing, const char *positions, uint64_t upto)
{
    struct part part = {.positions = positions, .upto = upto, .damaged = true};

    assert_int_equal(take(listing, &part), 0);
}

static void take_trimmed(struct history_listing *listing, uint64_t trimmed)
{
    struct part part = {.bounds = {.trimmed = trimmed, .newest = 95}, .result = -ESTALE};

    assert_int_equal(take(listing, &part), 0);
}

/* The answer; frees the listing. */
static json_t *end(struct history_listing *listing)
{
    struct history_bounds bounds = {.trimmed = 2, .newest = 90};
    size_t text_n = 0;
    char *text = history_listing_finish(listing, &bounds, &text_n);

    assert_non_null(text);
    assert_int_equal(text_n, strlen(text));
    assert_int_equal(text[text_n - 1], '\n');
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    free(text);
    history_listing_free(listing);
    return json;
}

static uint64_t position_of(const json_t *id)
{
    const char *epoch;
    uint64_t position;

    assert_true(json_is_string(id));
    assert_true(sse_parse_id(json_string_value(id), json_string_length(id), &epoch, &position));
    assert_memory_equal(epoch, EPOCH, SSE_EPOCH_BYTES);
    return position;
}

/* "3 4 : 5" or "3 4 : 5 more", and the reset as "expired@3" behind it: events, next, and so on. */
static void assert_answer(struct history_listing *listing, const char *want)
{
    json_t *json = end(listing), *event, *reset = json_object_get(json, "reset");
    char text[256];
    size_t i, n = 0;

    json_array_foreach(json_object_get(json, "events"), i, event) n +=
        (size_t)sprintf(text + n, "%d ", (int)position_of(json_object_get(event, "id")));
    n += (size_t)sprintf(text + n, ": %d", (int)position_of(json_object_get(json, "next")));
    if (json_is_true(json_object_get(json, "more")))
        n += (size_t)sprintf(text + n, " more");
    if (!json_is_null(reset))
        sprintf(text + n, " %s@%d", json_string_value(json_object_get(reset, "reason")),
                (int)position_of(json_object_get(reset, "id")));
    assert_string_equal(text, want);
    json_decref(json);
}

/* ---- an event ---- */

/* The one event of an answer, as JSON; takes the event. */
static json_t *shown(struct message *message, const char *user)
{
    struct message_name name = {.bytes = user, .bytes_n = user != NULL ? strlen(user) : 0};
    struct history_listing *listing = begin_with(.user = &name, .upto = 1);
    struct history_page *page = calloc(1, sizeof(*page) + sizeof(struct message *));
    struct history_bounds bounds = {0, 1};

    if (message->published_ms == 0)
        message_seal(message, EPOCH, 1, 1763806830007);
    page->upto = 1;
    page->events_n = 1;
    page->events[0] = message;
    assert_int_equal(history_listing_take(listing, 0, page, &bounds), 0);
    history_page_free(page);
    json_t *json = end(listing);
    json_t *event = json_incref(json_array_get(json_object_get(json, "events"), 0));
    json_decref(json);
    return event;
}

static void assert_json(json_t *json, const char *want)
{
    char *text = json_dumps(json, JSON_COMPACT);

    assert_string_equal(text, want);
    free(text);
    json_decref(json);
}

static void an_event_has_what_was_published(void **state)
{
    struct message_name topics[2] = {{.bytes = "a/b", .bytes_n = 3}, {.bytes = "\"", .bytes_n = 1}};
    struct message_draft draft = {
        .fields = {.name = "paid",
                   .name_n = 4,
                   .data = "{\"total\":1.10}",
                   .data_n = 14,
                   .retry_ms = 5000},
        .topics = topics,
        .topics_n = 2,
        .ttl_ms = 1500,
        .kind = MESSAGE_STORED,
        .is_json = true,
    };

    (void)state;
    assert_json(shown(message_new(&draft), NULL),
                "{\"id\":\"abcdefghijkl-0000000000000001\",\"topics\":[\"a/b\",\"\\\"\"],"
                "\"users\":[],\"event\":\"paid\",\"data\":\"{\\\"total\\\":1.10}\",\"json\":true,"
                "\"retry\":5000,\"ttl\":1.5,\"published\":\"2025-11-22T10:20:30.007Z\"}");
}

static void an_event_has_nothing_else(void **state)
{
    (void)state;
    assert_json(shown(make_message(.data = "x"), NULL),
                "{\"id\":\"abcdefghijkl-0000000000000001\",\"topics\":[],\"users\":[],"
                "\"event\":\"message\",\"data\":\"x\",\"published\":\"2025-11-22T10:20:30.007Z\"}");
}

static void other_recipients_are_not_shown(void **state)
{
    (void)state;
    json_t *event = shown(make_message(.users = "eve ada bob"), "ada");
    assert_json(json_incref(json_object_get(event, "users")), "[\"ada\"]");
    json_decref(event);
    event = shown(make_message(.topics = "a"), "ada");
    assert_json(json_incref(json_object_get(event, "users")), "[]");
    json_decref(event);
}

static void data_comes_back_as_clients_see_it(void **state)
{
    static const struct {
        const char *data, *want;
        size_t data_n;
    } rows[] = {
        {"", "", 0},
        {" x ", " x ", 3},
        {"a\nb", "a\nb", 3},
        {"a\r\nb\rc\n", "a\nb\nc\n", 7},
        {"\n\n", "\n\n", 2},
        {"data: x\n\nid: y", "data: x\n\nid: y", 14},
        {"\"\\/\b\f\t\x01\x1f\x7f", "\"\\/\b\f\t\x01\x1f\x7f", 9},
        {"\xC3\xA9\xE2\x80\xA8\xF0\x9F\x90\x9D", "\xC3\xA9\xE2\x80\xA8\xF0\x9F\x90\x9D", 9},
        {"a\0b", "a\0b", 3},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct message_draft draft = {.fields = {.data = rows[i].data, .data_n = rows[i].data_n},
                                      .kind = MESSAGE_STORED};
        json_t *event = shown(message_new(&draft), NULL), *data = json_object_get(event, "data");
        size_t want_n = rows[i].data_n == 3 ? 3 : strlen(rows[i].want);

        assert_int_equal(json_string_length(data), want_n);
        assert_memory_equal(json_string_value(data), rows[i].want, want_n);
        json_decref(event);
    }
}

static void times_are_those_of_the_calendar(void **state)
{
    static const struct {
        int64_t wall_ms;
        const char *want;
    } rows[] = {
        {1, "1970-01-01T00:00:00.001Z"},
        {951782399999, "2000-02-28T23:59:59.999Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct message *message = make_message(.data = "x");

        message_seal(message, EPOCH, 1, rows[i].wall_ms);
        json_t *event = shown(message, NULL);
        assert_string_equal(json_string_value(json_object_get(event, "published")), rows[i].want);
        json_decref(event);
    }
}

/* ---- where an answer ends ---- */

static void an_empty_history_has_a_place_to_go_on_from(void **state)
{
    struct history_listing *listing = begin_with(.from_oldest = true);
    struct history_bounds none = {7, 7};
    size_t text_n;

    (void)state;
    assert_false(history_listing_wants_more(listing));
    char *text = history_listing_finish(listing, &none, &text_n);
    assert_string_equal(text,
                        "{\"events\":[],\"next\":\"abcdefghijkl-0000000000000000\",\"more\":false,"
                        "\"oldest\":null,\"newest\":null,\"reset\":null}\n");
    free(text);
    history_listing_free(listing);
    history_listing_free(NULL);
}

static void goes_on_to_the_end(void **state)
{
    struct history_listing *listing = begin_with(.after = 2, .upto = 90);

    (void)state;
    take_page(listing, "3 5", 10);
    assert_true(history_listing_wants_more(listing));
    assert_int_equal(history_listing_position(listing), 10);
    assert_int_equal(history_listing_upto(listing), 90);
    take_page(listing, "", 50);
    assert_true(history_listing_wants_more(listing));
    take_page(listing, "60", 90);
    assert_false(history_listing_wants_more(listing));
    assert_answer(listing, "3 5 60 : 90");
}

/* Whoever ends it early: nothing is left out before `next`. */
static void may_be_ended_anywhere(void **state)
{
    struct history_listing *listing = begin_with(.after = 2, .upto = 90);

    (void)state;
    assert_answer(listing, ": 2 more");
    listing = begin_with(.after = 2, .upto = 90);
    take_page(listing, "3", 40);
    assert_answer(listing, "3 : 40 more");
}

static void a_full_answer_says_whether_there_is_more(void **state)
{
    struct history_listing *listing = begin_with(.upto = 90, .events_max = 2);

    (void)state;
    take_page(listing, "3 5 9 11", 20);
    assert_false(history_listing_wants_more(listing));
    assert_answer(listing, "3 5 : 8 more");

    /* full to the brim: only what follows tells */
    listing = begin_with(.upto = 90, .events_max = 2);
    take_page(listing, "3 5", 20);
    assert_true(history_listing_wants_more(listing));
    take_page(listing, "", 60);
    take_page(listing, "", 90);
    assert_false(history_listing_wants_more(listing));
    assert_answer(listing, "3 5 : 90");

    listing = begin_with(.upto = 90, .events_max = 2);
    take_page(listing, "3 5", 20);
    take_page(listing, "80", 90);
    assert_answer(listing, "3 5 : 79 more");
}

static void size_ends_an_answer_but_never_before_its_first_event(void **state)
{
    struct history_listing *listing = begin_with(.upto = 90, .bytes_max = 1);

    (void)state;
    assert_true(history_listing_wants_more(listing));
    take_page(listing, "3 5", 20);
    assert_false(history_listing_wants_more(listing));
    assert_answer(listing, "3 : 4 more");
    listing = begin_with(.upto = 90, .bytes_max = 1);
    take_page(listing, "90", 90);
    assert_answer(listing, "90 : 90");
    listing = begin_with(.upto = 90, .bytes_max = 1);
    take_page(listing, "3", 20);
    assert_false(history_listing_wants_more(listing));
    assert_answer(listing, "3 : 20 more");
}

/* ---- what is lost ---- */

static void says_why_it_begins_elsewhere(void **state)
{
    struct history_listing *listing =
        begin_with(.after = 90, .upto = 90, .reset = STREAM_RESET_EPOCH);

    (void)state;
    assert_false(history_listing_wants_more(listing));
    assert_answer(listing, ": 90 epoch@90");
    listing = begin_with(.after = 90, .upto = 91, .reset = STREAM_RESET_UNKNOWN);
    take_page(listing, "91", 91);
    assert_answer(listing, "91 : 91 unknown@90");
    listing = begin_with(.after = 2, .upto = 90, .reset = STREAM_RESET_EXPIRED);
    take_page(listing, "3", 90);
    assert_answer(listing, "3 : 90 expired@2");
}

static void trimming_meanwhile_is_told(void **state)
{
    struct history_listing *listing = begin_with(.after = 2, .upto = 90);

    (void)state;
    take_trimmed(listing, 40);
    assert_int_equal(history_listing_position(listing), 40);
    take_page(listing, "41", 90);
    assert_answer(listing, "41 : 90 expired@40");

    /* behind events it is for the next answer to tell */
    listing = begin_with(.after = 2, .upto = 90);
    take_page(listing, "3", 20);
    take_trimmed(listing, 40);
    assert_false(history_listing_wants_more(listing));
    assert_answer(listing, "3 : 20 more");

    /* twice, and past where it was to end: the end moves along */
    listing = begin_with(.after = 2, .upto = 90, .reset = STREAM_RESET_EXPIRED);
    take_trimmed(listing, 40);
    take_trimmed(listing, 93);
    assert_true(history_listing_wants_more(listing));
    take_page(listing, "94 95", 95);
    assert_answer(listing, "94 95 : 95 expired@93");
}

static void whoever_begins_with_the_oldest_loses_nothing(void **state)
{
    struct history_listing *listing = begin_with(.after = 2, .upto = 90, .from_oldest = true);

    (void)state;
    take_trimmed(listing, 40);
    take_page(listing, "41", 90);
    assert_answer(listing, "41 : 90");
}

static void damage_ends_its_answer(void **state)
{
    struct history_listing *listing = begin_with(.after = 2, .upto = 90);

    (void)state;
    take_damaged(listing, "3 4", 7);
    assert_false(history_listing_wants_more(listing));
    assert_answer(listing, "3 4 : 7 more damaged@7");

    /* behind another loss, or behind a full answer, it is for the next one to tell */
    listing = begin_with(.after = 2, .upto = 90, .reset = STREAM_RESET_EXPIRED);
    take_damaged(listing, "3 4", 7);
    assert_answer(listing, "3 4 : 4 more expired@2");
    listing = begin_with(.after = 2, .upto = 90, .events_max = 2);
    take_damaged(listing, "3 4", 7);
    assert_answer(listing, "3 4 : 4 more");
    listing = begin_with(.after = 2, .upto = 90, .events_max = 2);
    take_page(listing, "3 4", 6);
    take_damaged(listing, "", 7);
    assert_answer(listing, "3 4 : 6 more");
    listing = begin_with(.after = 2, .upto = 7);
    take_damaged(listing, "", 7);
    assert_answer(listing, ": 7 damaged@7");
}

static void a_store_that_fails_is_not_hidden(void **state)
{
    struct history_listing *listing = begin_with(.upto = 90);

    (void)state;
    assert_int_equal(take(listing, &(struct part){.result = -EIO}), -EIO);
    assert_int_equal(take(listing, &(struct part){.result = -ESHUTDOWN}), -ESHUTDOWN);
    history_listing_free(listing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_has_what_was_published),
        cmocka_unit_test(an_event_has_nothing_else),
        cmocka_unit_test(other_recipients_are_not_shown),
        cmocka_unit_test(data_comes_back_as_clients_see_it),
        cmocka_unit_test(times_are_those_of_the_calendar),
        cmocka_unit_test(an_empty_history_has_a_place_to_go_on_from),
        cmocka_unit_test(goes_on_to_the_end),
        cmocka_unit_test(may_be_ended_anywhere),
        cmocka_unit_test(a_full_answer_says_whether_there_is_more),
        cmocka_unit_test(size_ends_an_answer_but_never_before_its_first_event),
        cmocka_unit_test(says_why_it_begins_elsewhere),
        cmocka_unit_test(trimming_meanwhile_is_told),
        cmocka_unit_test(whoever_begins_with_the_oldest_loses_nothing),
        cmocka_unit_test(damage_ends_its_answer),
        cmocka_unit_test(a_store_that_fails_is_not_hidden),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
