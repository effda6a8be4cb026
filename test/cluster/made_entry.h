/* SPDX-License-Identifier: MIT */
/* Entries of a log for a follower (log_follower.h), and a follower that has read some. */
#ifndef BUGLE_MADE_ENTRY_H
#define BUGLE_MADE_ENTRY_H

#include "../history/each_store.h"
#include "cluster/log_follower.h"

#define ONE "one000000000"
#define TWO "two000000000"
#define THREE "three0000000"
#define WRITER "node.1"

/* An entry with its bytes. */
struct made {
    struct shared_log_entry entry;
    char head[LOG_ENTRY_HEAD_BYTES];
    char *body;
};

static inline void put_head(struct made *made, const char *epoch, uint64_t first,
                            const char *writer, uint64_t seq)
{
    struct log_entry_head head = {.first = first, .at_ms = 1000 + (int64_t)first, .seq = seq};

    strcpy(head.epoch, epoch);
    strcpy(head.writer, writer);
    made->entry.head_n = log_entry_write_head(made->head, &head);
}

/* Of these events, which are freed. */
static inline void put_events(struct made *made, struct message **events, size_t events_n)
{
    made->entry.body_n = log_entry_body_bytes(events, events_n);
    made->body = malloc(made->entry.body_n);
    log_entry_write_body(made->body, events, events_n);
    for (size_t i = 0; i < events_n; i++)
        message_unref(events[i]);
}

static inline struct made make_entry(const char *epoch, uint64_t first, uint32_t events_n,
                                     const char *writer, uint64_t seq)
{
    struct message *events[8];
    struct made made = {.entry = {.last = first + events_n - 1}};

    for (size_t i = 0; i < events_n; i++)
        events[i] = make_message(.topics = "a");
    put_head(&made, epoch, first, writer, seq);
    put_events(&made, events, events_n);
    return made;
}

/* Give the entries to the tail and free them.  Returns what became of it; `*ret_events_n` is what
 * was to be handed out. */
static inline enum log_follower_result follow(struct log_follower *follower, struct made *made,
                                              size_t made_n, size_t *ret_events_n)
{
    struct shared_log_entry entries[8];
    struct log_follower_batch batch;

    for (size_t i = 0; i < made_n; i++) {
        entries[i] = made[i].entry;
        entries[i].head = made[i].head;
        entries[i].body = made[i].body;
    }
    enum log_follower_result result = log_follower_entries(follower, entries, made_n, &batch);
    *ret_events_n = batch.events_n;
    log_follower_batch_clear(&batch);
    for (size_t i = 0; i < made_n; i++)
        free(made[i].body);
    return result;
}

static inline void assert_follows(struct log_follower *follower, struct made made)
{
    size_t events_n;

    assert_int_equal(follow(follower, &made, 1, &events_n), LOG_FOLLOWER_FINE);
    assert_true(events_n > 0);
}

static inline void assert_stops(struct log_follower *follower, struct made made,
                                enum log_follower_result result)
{
    uint64_t newest = log_follower_newest(follower);
    size_t events_n;

    assert_int_equal(follow(follower, &made, 1, &events_n), result);
    assert_int_equal(events_n, 0);
    assert_int_equal(log_follower_newest(follower), newest);
    assert_false(follower->attached);
}

/* Attach to a log with this lineage. */
static inline struct log_follower_cut attach(struct log_follower *follower, const char *epoch,
                                             const char *terms, uint64_t head, uint64_t trimmed)
{
    struct shared_log_state state = {
        .lineage = lineage_read(epoch, terms, strlen(terms)), .head = head, .trimmed = trimmed};
    struct shared_log_node node;
    struct log_follower_cut cut;

    assert_non_null(state.lineage);
    log_follower_attach(follower, TWO, &node);
    assert_int_equal(node.newest, log_follower_newest(follower));
    assert_int_equal(log_follower_attached(follower, &state, &cut), LOG_FOLLOWER_FINE);
    assert_null(state.lineage);
    assert_string_equal(history_epoch(follower->history), epoch);
    assert_true(follower->attached);
    return cut;
}

/* A follower of a log that begins with it, and has three entries of two events. */
static inline struct log_follower begin(void **state)
{
    struct log_follower follower;

    log_follower_init(&follower, open_plain(state), WRITER);
    assert_false(attach(&follower, ONE, "", 0, 0).is_cut);
    for (uint64_t first = 1; first <= 5; first += 2)
        assert_follows(&follower, make_entry(ONE, first, 2, "other", first));
    assert_int_equal(log_follower_newest(&follower), 6);
    return follower;
}

#endif
