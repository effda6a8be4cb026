/* SPDX-License-Identifier: MIT */
/* A node that follows the log on a real Redis, and remembers what it was told. */
#ifndef BUGLE_REDIS_NODE_H
#define BUGLE_REDIS_NODE_H

#include <setjmp.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "cluster/log_entry.h"
#include "cluster/redis_log.h"
#include "real_redis.h"

#define NODE_PATIENCE_MS 30000
#define NODE_EVENTS_MAX 1000

struct node {
    struct event_base *base;
    struct redis_url url;
    struct redis_log_conf conf;
    struct shared_log *log;
    struct lineage *lineage;
    uint64_t head;
    uint64_t held[NODE_EVENTS_MAX]; /* of each position the body, which is a number */
    uint64_t seq;
    struct shared_log_group group;
    char body[32];
    /* how often; 0 again by node_forget() */
    unsigned ups_n, downs_n, ends_n, attached_n, entries_n, breaks_n, heards_n, answers_n;
    unsigned attach_answers_n;
    enum shared_log_outcome attach_outcome;
    char why[512];
    enum shared_log_outcome down;
    struct shared_log_appended answer;
    char line[256];
    struct shared_log_taken taken;
    char digest[MESSAGE_DIGEST_BYTES];
    char heard[64];
    uint64_t trimmed;
    struct log_entry_head last; /* entry */
    unsigned orders_n;
    uint64_t sub; /* of the last entry */
};

static inline void node_forget(struct node *node)
{
    node->ups_n = node->downs_n = node->ends_n = node->attached_n = node->entries_n = 0;
    node->breaks_n = node->heards_n = node->answers_n = node->orders_n = 0;
}

static inline void node_attach(struct node *node)
{
    char epoch[SSE_EPOCH_BYTES + 1] = "";
    struct shared_log_node as = {
        .lineage = node->lineage, .newest = node->head, .newest_ms = 1000, .epoch_new = epoch};

    for (size_t i = 0; i < SSE_EPOCH_BYTES; i++)
        epoch[i] = (char)('a' + arc4random() % 26);
    shared_log_attach(node->log, &as);
}

/* Cut off what the log does not have, and follow it. */
static inline void node_attached(void *arg, enum shared_log_outcome outcome,
                                 struct shared_log_state *state, const char *line)
{
    struct node *node = arg;

    snprintf(node->line, sizeof(node->line), "%s", line);
    node->attach_outcome = outcome;
    node->attach_answers_n++;
    if (outcome != SHARED_LOG_DONE)
        return;
    node->attached_n++;
    node->head = lineage_common(node->lineage, node->head, state->lineage);
    node->trimmed = state->trimmed;
    free(node->lineage);
    node->lineage = state->lineage;
    assert_int_equal(shared_log_tail(node->log, node->head, 0), 0);
}

static inline void node_up(void *arg)
{
    ((struct node *)arg)->ups_n++;
    node_attach(arg);
}

static inline void node_ended(void *arg)
{
    ((struct node *)arg)->ends_n++;
    node_attach(arg);
}

static inline void node_down(void *arg, enum shared_log_outcome why, const char *line)
{
    struct node *node = arg;

    node->downs_n++;
    node->down = why;
    snprintf(node->why, sizeof(node->why), "%s", line);
}

/* As a follower must: of a term that had not ended there, and the next position. */
static inline bool node_entry(struct node *node, const struct shared_log_entry *entry)
{
    struct log_entry_head head;
    uint64_t end;

    if (log_entry_read_head(entry->head, entry->head_n, &head) != LOG_ENTRY_FINE) {
        node->breaks_n++;
        return false;
    }
    if (!lineage_find(node->lineage, head.epoch, &end) || entry->last > end) {
        node_ended(node);
        return false;
    }
    if (head.first != node->head + 1 || (entry->sub > 0 && entry->last != node->head)) {
        node->breaks_n++;
        return false;
    }
    node->orders_n += entry->sub > 0;
    node->sub = entry->sub;
    for (uint64_t at = head.first; at <= entry->last && at < NODE_EVENTS_MAX; at++)
        node->held[at] = strtoull(entry->body, NULL, 10);
    node->head = entry->last;
    node->entries_n++;
    node->last = head;
    return true;
}

static inline bool node_entries(void *arg, const struct shared_log_entry *entries, size_t entries_n)
{
    for (size_t i = 0; i < entries_n; i++)
        if (!node_entry(arg, &entries[i]))
            return false;
    return true;
}

static inline void node_heard(void *arg, const char *bytes, size_t bytes_n)
{
    struct node *node = arg;

    node->heards_n++;
    snprintf(node->heard, sizeof(node->heard), "%.*s", (int)bytes_n, bytes);
}

static inline void node_appended(void *arg, const struct shared_log_appended *answer)
{
    struct node *node = arg;

    node->answer = *answer;
    snprintf(node->line, sizeof(node->line), "%s", answer->line);
    if (answer->taken_n > 0) {
        node->taken = answer->taken[0];
        memcpy(node->digest, node->taken.digest, MESSAGE_DIGEST_BYTES);
    }
    node->answers_n++;
}

/* The texts stay the caller's. */
static inline void node_prepare(struct node *node, struct event_base *base,
                                const struct redis_place *place, const char *name)
{
    memset(node, 0, sizeof(*node));
    node->base = base;
    node->lineage = lineage_new(name[0] == 'a' ? "aaaaaaaaaaaa" : "bbbbbbbbbbbb");
    node->url.places[0] = *place;
    node->url.places_n = 1;
    node->conf = real_log_conf(&node->url, name);
}

static inline void node_begin(struct node *node)
{
    struct shared_log_hooks hooks = {.up = node_up,
                                     .down = node_down,
                                     .attached = node_attached,
                                     .appended = node_appended,
                                     .entries = node_entries,
                                     .ended = node_ended,
                                     .heard = node_heard,
                                     .arg = node};

    node->log = redis_log_new(node->base, &node->conf, &hooks);
    shared_log_open(node->log);
}

static inline void node_end(struct node *node)
{
    shared_log_free(node->log);
    free(node->lineage);
}

static inline void node_wait(struct node *node, const unsigned *count, unsigned wanted)
{
    int64_t until_ms = clock_mono_ms() + NODE_PATIENCE_MS;

    while (*count < wanted && clock_mono_ms() < until_ms)
        event_base_loop(node->base, EVLOOP_ONCE);
    if (*count < wanted)
        fail_msg("%u of %u: %s", *count, wanted, node->why);
}

/* Begin two, and wait until both have attached. */
static inline void node_begin_two(struct node *a, struct node *b)
{
    node_begin(a);
    node_begin(b);
    node_wait(a, &a->attached_n, 1);
    node_wait(b, &b->attached_n, 1);
}

/* Until it has all up to a position. */
static inline void node_wait_for(struct node *node, uint64_t head)
{
    int64_t until_ms = clock_mono_ms() + NODE_PATIENCE_MS;

    while (node->head < head && clock_mono_ms() < until_ms)
        event_base_loop(node->base, EVLOOP_ONCE);
    assert_int_equal(node->head, head);
}

/* Append events that are all this number; returns what came of it. */
static inline enum shared_log_outcome node_append_as(struct node *node, uint64_t seq,
                                                     uint32_t events_n, uint64_t number,
                                                     const struct shared_log_key *key)
{
    int n = snprintf(node->body, sizeof(node->body), "%llu", (unsigned long long)number);
    int result;

    node->group = (struct shared_log_group){.seq = seq,
                                            .events_n = events_n,
                                            .body = node->body,
                                            .body_n = (size_t)n,
                                            .keys = key,
                                            .keys_n = key != NULL};
    node->answers_n = 0;
    while ((result = shared_log_append(node->log, &node->group)) == -ENOTCONN)
        event_base_loop(node->base, EVLOOP_ONCE);
    assert_int_equal(result, 0);
    node_wait(node, &node->answers_n, 1);
    return node->answer.outcome;
}

static inline enum shared_log_outcome node_append(struct node *node, uint32_t events_n,
                                                  uint64_t number)
{
    return node_append_as(node, ++node->seq, events_n, number, NULL);
}

/* As who publishes does: again with the same seq until it is known what became of it. */
static inline void node_publish(struct node *node, uint64_t number)
{
    int64_t until_ms = clock_mono_ms() + NODE_PATIENCE_MS;
    enum shared_log_outcome outcome;

    node->seq++;
    do {
        assert_true(clock_mono_ms() < until_ms);
        outcome = node_append_as(node, node->seq, 1, number, NULL);
        assert_int_not_equal(outcome, SHARED_LOG_KEYS);
        if (outcome == SHARED_LOG_TERM)
            node_attach(node);
    } while (outcome != SHARED_LOG_DONE && outcome != SHARED_LOG_SEEN);
}

#endif
