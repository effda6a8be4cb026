/* SPDX-License-Identifier: MIT */
/*
 * A hub on a shared log: ephemeral events.  They are said to all nodes, beside the log, and may be
 * ahead of it at a node that follows more slowly: there they are held until its history has what
 * their publisher's node had, so that nobody gets an event before one that came first.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "cluster/node_message.h"
#include "hub/hub_share_internal.h"

/* What is held, and for how long: then the log is too far behind for what is only for now. */
#define HELD_BYTES_MAX ((size_t)4 << 20)
#define HELD_MS 5000
/* One message to all nodes; an event that is larger is one of its own. */
#define SAID_BYTES_MAX ((size_t)262144)
#define UNHEARD_MAX 1000000000

/* Events of a message that are ahead of this node. */
struct share_held {
    TAILQ_ENTRY(share_held) link;
    char epoch[SSE_EPOCH_BYTES];
    uint64_t head;
    int64_t came_ms;
    struct share_writer *writer; /* its place, which others may have taken since */
    size_t bytes;
    size_t events_n;
    struct message *events[];
};

/* ---- saying ---- */

static int say_some(struct hub_share *share, struct message *const *events, size_t events_n)
{
    struct node_message message = {.kind = NODE_MESSAGE_EVENTS,
                                   .events = {.head = share->hub->committed,
                                              .seq = share->said_seq + 1,
                                              .events_n = events_n,
                                              .events = events}};

    snprintf(message.from, sizeof(message.from), "%s", share->conf.node);
    snprintf(message.events.writer, sizeof(message.events.writer), "%s", share->conf.writer);
    memcpy(message.events.epoch, history_epoch(share->hub->history), SSE_EPOCH_BYTES);
    size_t bytes_n = node_message_bytes(&message);
    char *bytes = malloc(bytes_n);
    if (bytes == NULL)
        return -ENOMEM;
    node_message_write(bytes, &message);
    int result = shared_log_say(log_node_log(share->node), NULL, bytes, bytes_n);
    free(bytes);
    share->said_seq += result == 0;
    return result == 0 || result == -ENOMEM ? result : HUB_LOG_UNREACHABLE;
}

int share_say(struct hub_share *share, const struct hub_op *op)
{
    struct message *events[HUB_OP_EVENTS_MAX];
    size_t events_n = 0, bytes = 0;
    int result = 0;

    for (size_t i = 0; result == 0 && i < op->events_n; i++) {
        if (hub_is_repeat(op, i))
            continue;
        if (events_n > 0 && bytes + op->events[i]->bytes > SAID_BYTES_MAX) {
            result = say_some(share, events, events_n);
            events_n = bytes = 0;
        }
        bytes += op->events[i]->bytes;
        events[events_n++] = op->events[i];
        share_count_published(share, op->events[i]);
    }
    return result == 0 && events_n > 0 ? say_some(share, events, events_n) : result;
}

/* ---- what did not come ---- */

/* A writer's messages are numbered: a number that is left out was not heard.  No more can be lost
 * than were sent while nothing was heard; a larger gap is no gateway's. */
static void count_unheard(struct hub_share *share, uint64_t before, uint64_t seq)
{
    if (seq > before + 1 && seq - before <= UNHEARD_MAX)
        stats_add(&share->hub->stats, STATS_EVENTS_UNHEARD, (int64_t)(seq - before - 1));
}

/* Its place, or else the one of who was not heard for the longest time. */
static struct share_writer *find_writer(struct hub_share *share, const char *name)
{
    struct share_writer *oldest = &share->writers[0];

    for (size_t i = 0; i < HUB_SHARE_NODES_MAX; i++) {
        struct share_writer *writer = &share->writers[i];

        if (strcmp(writer->name, name) == 0)
            return writer;
        if (writer->heard_ms < oldest->heard_ms)
            oldest = writer;
    }
    return oldest;
}

static struct share_writer *note_heard(struct hub_share *share,
                                       const struct node_message_events *from)
{
    struct share_writer *writer = find_writer(share, from->writer);

    if (strcmp(writer->name, from->writer) == 0)
        count_unheard(share, writer->seq, from->seq);
    else
        snprintf(writer->name, sizeof(writer->name), "%s", from->writer);
    writer->seq = from->seq;
    writer->heard_ms = clock_mono_ms();
    return writer;
}

static void free_held(struct hub_share *share, struct share_held *held)
{
    TAILQ_REMOVE(&share->held, held, link);
    held->writer->held_n--;
    share->held_bytes -= held->bytes;
    for (size_t i = 0; i < held->events_n; i++)
        message_unref(held->events[i]);
    free(held);
}

static void drop_oldest(struct hub_share *share)
{
    stats_add(&share->hub->stats, STATS_EVENTS_UNHEARD, 1);
    free_held(share, TAILQ_FIRST(&share->held));
}

void share_drop_held(struct hub_share *share)
{
    while (!TAILQ_EMPTY(&share->held))
        drop_oldest(share);
}

/* ---- hearing ---- */

/* Whether this node has all that the publisher's node had. */
static bool has_come(const struct hub_share *share, const struct share_held *held)
{
    uint64_t end;

    return lineage_find(history_lineage(share->hub->history), held->epoch, &end) &&
           share->hub->committed >= (held->head < end ? held->head : end);
}

static void hand_out_held(struct hub_share *share, struct share_held *held)
{
    struct hub_batch *batch = hub_batch_new(held->events_n);
    uint64_t position = share->hub->committed;
    int64_t now_ms = clock_wall_ms();

    if (batch == NULL) {
        stats_add(&share->hub->stats, STATS_EVENTS_UNHEARD, 1);
        return;
    }
    for (size_t i = 0; i < held->events_n; i++) {
        struct message *event = held->events[i];

        message_seal(event, history_epoch(share->hub->history), position, now_ms);
        hub_batch_add(batch, message_ref(event));
    }
    share_put_batch(share, batch);
}

/* One look at all that is held, in which what a writer said stays in its order. */
void share_release_held(struct hub_share *share)
{
    int64_t now_ms = clock_mono_ms();
    struct share_held *held, *next;

    share->held_look++;
    for (held = TAILQ_FIRST(&share->held); held != NULL; held = next) {
        next = TAILQ_NEXT(held, link);
        if (held->writer->held_look == share->held_look || !has_come(share, held)) {
            held->writer->held_look = share->held_look;
            continue;
        }
        hand_out_held(share, held);
        free_held(share, held);
    }
    while ((held = TAILQ_FIRST(&share->held)) != NULL && now_ms - held->came_ms > HELD_MS)
        drop_oldest(share);
}

static struct share_held *hold(struct hub_share *share, const struct node_message_events *from,
                               struct share_writer *writer)
{
    struct share_held *held = malloc(sizeof(*held) + from->events_n * sizeof(held->events[0]));

    if (held == NULL)
        return NULL;
    if (node_message_read_events(from, held->events) != NODE_MESSAGE_FINE) {
        free(held);
        return NULL;
    }
    held->head = from->head;
    held->came_ms = clock_mono_ms();
    held->events_n = from->events_n;
    held->bytes = sizeof(*held);
    for (size_t i = 0; i < held->events_n; i++) {
        message_charge(held->events[i], share->conf.account);
        held->bytes += held->events[i]->bytes;
    }
    memcpy(held->epoch, from->epoch, sizeof(held->epoch));
    held->writer = writer;
    writer->held_n++;
    TAILQ_INSERT_TAIL(&share->held, held, link);
    share->held_bytes += held->bytes;
    return held;
}

static void hear_events(struct hub_share *share, const struct node_message_events *from)
{
    struct share_writer *writer = note_heard(share, from);
    struct share_held *held = hold(share, from, writer);

    if (held == NULL) {
        stats_add(&share->hub->stats, STATS_EVENTS_UNHEARD, 1);
        return;
    }
    /* all else waits for the log, and is looked at when that has come further */
    if (writer->held_n == 1 && has_come(share, held)) {
        hand_out_held(share, held);
        free_held(share, held);
    }
    while (share->held_bytes > HELD_BYTES_MAX)
        drop_oldest(share);
}

void share_heard(void *arg, const char *bytes, size_t bytes_n)
{
    struct hub_share *share = arg;
    struct node_message message;

    if (node_message_read(bytes, bytes_n, &message) == NODE_MESSAGE_FINE &&
        message.kind == NODE_MESSAGE_EVENTS)
        hear_events(share, &message.events);
    else
        share->conf.heard(share->conf.arg, bytes, bytes_n);
}
