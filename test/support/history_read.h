/* SPDX-License-Identifier: MIT */
/* Short ways to fill a store and to say what a read of it gives. */
#ifndef BUGLE_HISTORY_READ_H
#define BUGLE_HISTORY_READ_H

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "make.h"

#define LOTS ((size_t)1 << 40)
#define FOR_EVER (INT64_MAX / 2)
/* A time like those of a clock, and what it is set by. */
#define HOUR INT64_C(3600000)
#define DAY (24 * HOUR)
#define NOW (100 * DAY)
#define READ_TRIES 4

/* Commit one event and give it up. */
static inline void add_at(struct history *history, struct message *message, int64_t now_ms)
{
    assert_int_equal(history_append(history, &message, 1, now_ms), 0);
    message_unref(message);
}

/* As one commit. */
static inline void add_many(struct history *history, size_t events_n, const char *topics)
{
    struct message **events = malloc((events_n + 1) * sizeof(struct message *));

    for (size_t i = 0; i < events_n; i++)
        events[i] = make_message(.topics = topics);
    assert_int_equal(history_append(history, events, events_n, 1000), 0);
    for (size_t i = 0; i < events_n; i++)
        message_unref(events[i]);
    free(events);
}

/* The first event of a store, at this time, with every field that a store has to keep.  Gives it.
 */
#define FULL_EVENT_MS INT64_C(1234567890123)
static inline struct message *add_full_event(struct history *history)
{
    struct message *message =
        make_message(.topics = "a/b \xc3\xa9", .users = "ada bob", .ttl_ms = 7000, .is_json = true,
                     .data = "one\ntwo\n\nthree \xf0\x9f\x8e\xba");

    assert_int_equal(history_append(history, &message, 1, FULL_EVENT_MS), 0);
    return message;
}

static inline void assert_is_full_event(const struct message *again, const struct message *message)
{
    assert_int_equal(again->kind, MESSAGE_STORED);
    assert_int_equal(again->frame_n, message->frame_n);
    assert_memory_equal(again->frame, message->frame, message->frame_n);
    assert_int_equal(again->id_offset, message->id_offset);
    assert_int_equal(again->position, 1);
    assert_int_equal(again->published_ms, FULL_EVENT_MS);
    assert_int_equal(again->ttl_ms, 7000);
    assert_true(again->is_json);
    assert_int_equal(again->topics_n, 2);
    assert_int_equal(again->users_n, 2);
    assert_memory_equal(message_users(again)[1].bytes, "bob", 3);
    assert_int_equal(again->bytes, message->bytes);
}

struct ask {
    const char *patterns;
    const char *user;
    uint64_t after;
    uint64_t upto; /* 0: all */
    int64_t now_ms;
    size_t bytes_max; /* 0: no bound */
};

static inline int try_read(struct history *history, const struct ask *ask,
                           struct history_page **ret_page)
{
    struct filter *filter = make_filter(ask->patterns, ask->user);
    struct history_query query = {
        .after = ask->after,
        .upto = ask->upto > 0 ? ask->upto : UINT64_MAX,
        .filter = filter,
        .now_ms = ask->now_ms,
        .bytes_max = ask->bytes_max > 0 ? ask->bytes_max : LOTS,
    };
    int result = history_read(history, &query, ret_page);

    filter_unref(filter);
    return result;
}

/* A read that takes long ends early, as it may on a busy machine: the longest of some counts. */
static inline struct history_page *read_page(struct history *history, const struct ask *ask)
{
    struct history_page *longest = NULL;

    for (int i = 0; i < READ_TRIES; i++) {
        struct history_page *page = NULL;

        assert_int_equal(try_read(history, ask, &page), 0);
        assert_non_null(page);
        if (longest != NULL && page->upto <= longest->upto) {
            history_page_free(page);
            continue;
        }
        history_page_free(longest);
        longest = page;
    }
    return longest;
}

#define read_where(history, ...) read_page(history, &(struct ask){__VA_ARGS__})

/* The positions of a page's events as text, and `upto` behind a colon, or behind "damaged"; frees
 * the page. */
static inline void assert_page(struct history_page *page, const char *expected)
{
    char text[512] = "";
    size_t bytes = 0;

    for (size_t i = 0; i < page->events_n; i++) {
        bytes += page->events[i]->frame_n;
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%llu ",
                 (unsigned long long)page->events[i]->position);
    }
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s %llu",
             page->damaged ? "damaged" : ":", (unsigned long long)page->upto);
    assert_string_equal(text, expected);
    assert_int_equal(page->bytes, bytes);
    history_page_free(page);
}

static inline void assert_bounds(struct history *history, uint64_t trimmed, uint64_t newest)
{
    struct history_bounds bounds;

    history_bounds(history, &bounds);
    assert_int_equal(bounds.trimmed, trimmed);
    assert_int_equal(bounds.newest, newest);
    assert_int_equal(usage_of(history).events_n, newest - trimmed);
}

static inline void assert_stale(struct history *history, uint64_t after)
{
    struct history_page *page = NULL;

    assert_int_equal(try_read(history, &(struct ask){.after = after}, &page), -ESTALE);
    assert_null(page);
}

#endif
