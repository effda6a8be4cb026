/* SPDX-License-Identifier: MIT */
/* The hub of the process that took over, for clients of the other.  See relay_host.h. */
#include "config.h"
#include "handover/relay_host.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "handover/pack.h"
#include "hub/hub_share.h"

/* Events of a batch go in frames of about so many bytes. */
#define BATCH_FRAME_BYTES 262144
/* What an old process may be behind; beyond it its streams end at once and resume at the new one.
 */
#define FEED_BYTES_MAX ((size_t)32 << 20)

struct relay_host {
    struct hub_listener listener;
    struct hub *hub;
    struct handover_link *link;
    const struct lineage *lineage; /* of which the old process knows */
    _Atomic bool feeds;            /* events go with the batches */
    _Atomic bool ended;            /* nobody is there to be told */
};

/* An operation of the old process. */
struct relayed_op {
    struct hub_op op;
    char *order; /* instead of events; NULL: none */
    struct message *events[];
};

static void free_relayed_op(struct relayed_op *relayed_op)
{
    for (size_t i = 0; i < relayed_op->op.events_n; i++)
        message_unref(relayed_op->events[i]);
    free(relayed_op->op.duplicate_of);
    free(relayed_op->order);
    free(relayed_op);
}

/* Returns whether it could be sent; one that could not ends the link, which answers all. */
static bool send_answer(struct relay_host *host, const struct hub_op *op)
{
    struct pack pack = {0};

    pack_u32(&pack, (uint32_t)op->result);
    pack_u32(&pack, op->result == -EEXIST ? (uint32_t)op->conflict_at : 0);
    for (size_t i = 0; i < op->events_n; i++) {
        pack_u64(&pack, op->events[i]->position);
        pack_u64(&pack, op->duplicate_of != NULL ? op->duplicate_of[i] : 0);
    }
    if (op->order != NULL)
        pack_u64(&pack, op->order_seq);
    return handover_link_send_pack(host->link, HANDOVER_LINK_ANSWER, &pack) == 0;
}

/* Positions belong to another epoch from here on, those of answers too. */
static bool send_lineage(struct relay_host *host)
{
    const struct lineage *lineage = history_lineage(hub_history(host->hub));
    struct pack pack = {0};

    if (lineage == host->lineage)
        return true;
    char *terms = malloc(lineage->terms_n * LINEAGE_TERM_BYTES + 1);
    if (terms == NULL)
        return false;
    host->lineage = lineage;
    lineage_write(lineage, terms);
    pack_text(&pack, lineage->epoch);
    pack_text(&pack, terms);
    free(terms);
    return handover_link_send_pack(host->link, HANDOVER_LINK_LINEAGE, &pack) == 0;
}

/* As many of the events from `*index` on as go into one frame. */
static void pack_some(struct pack *pack, const struct hub_batch *batch, size_t *index)
{
    size_t begin = *index, bytes = 0;

    while (*index < batch->events_n && (bytes == 0 || bytes < BATCH_FRAME_BYTES))
        bytes += message_image_bytes(batch->events[(*index)++]);
    pack_u32(pack, (uint32_t)(*index - begin));
    for (size_t i = begin; i < *index; i++)
        pack_message(pack, batch->events[i]);
}

/* A cut is nothing that the old process could tell its streams, since it cannot read on. */
static bool send_batch(struct relay_host *host, const struct hub_batch *batch)
{
    size_t index = 0;
    int result = 0;

    if (host->feeds &&
        (batch->cut != HUB_CUT_NONE || handover_link_unsent(host->link) > FEED_BYTES_MAX)) {
        host->feeds = false;
        result = handover_link_send(host->link, HANDOVER_LINK_FEED_END, NULL, 0);
    }
    do {
        struct pack pack = {0};

        pack_u64(&pack, hub_committed(host->hub));
        if (host->feeds) {
            pack_some(&pack, batch, &index);
        } else {
            pack_u32(&pack, 0);
            index = batch->events_n;
        }
        if (result == 0)
            result = handover_link_send_pack(host->link, HANDOVER_LINK_BATCH, &pack);
        pack_clear(&pack); /* if it was not sent */
    } while (result == 0 && index < batch->events_n);
    return result == 0;
}

/* The hub's thread.  Where a part of what was committed cannot be sent, nothing must follow it. */
static void relay_host_deliver(struct hub_listener *listener, struct hub_batch *batch,
                               struct hub_ops *answers)
{
    struct relay_host *host =
        (struct relay_host *)((char *)listener - offsetof(struct relay_host, listener));
    bool ended = host->ended;
    bool sound = ended || (send_lineage(host) && (batch == NULL || send_batch(host, batch)));
    struct hub_op *op;

    while ((op = STAILQ_FIRST(answers)) != NULL) {
        STAILQ_REMOVE_HEAD(answers, link);
        sound = sound && (ended || send_answer(host, op));
        free_relayed_op((struct relayed_op *)(void *)op);
    }
    if (sound)
        return;
    host->ended = true;
    handover_link_break(host->link);
}

struct relay_host *relay_host_new(struct hub *hub, struct handover_link *link)
{
    struct relay_host *host = calloc(1, sizeof(*host));

    if (host == NULL)
        return NULL;
    host->hub = hub;
    host->link = link;
    host->lineage = history_lineage(hub_history(hub));
    host->feeds = true;
    host->listener.deliver = relay_host_deliver;
    hub_add_listener(hub, &host->listener);
    return host;
}

void relay_host_end_feed(struct relay_host *host)
{
    host->feeds = false;
    handover_link_send(host->link, HANDOVER_LINK_FEED_END, NULL, 0);
}

void relay_host_end(struct relay_host *host)
{
    host->ended = true;
}

void relay_host_free(struct relay_host *host)
{
    free(host);
}

/* It stands behind the events that it does not have. */
static void unpack_order(struct unpack *unpack, struct relayed_op *relayed_op)
{
    size_t n;
    const char *order = unpack_bytes(unpack, &n);

    if (order == NULL || n == 0 || n > SHARED_LOG_ORDER_BYTES_MAX || relayed_op->op.events_n > 0) {
        unpack->failed = true;
        return;
    }
    relayed_op->order = malloc(n);
    if (relayed_op->order == NULL) {
        unpack->failed = true;
        return;
    }
    memcpy(relayed_op->order, order, n);
    relayed_op->op.order = relayed_op->order;
    relayed_op->op.order_n = n;
}

static struct relayed_op *unpack_relayed_op(struct unpack *unpack)
{
    bool has_duplicates = unpack_u32(unpack) != 0;
    uint32_t events_n = unpack_u32(unpack);

    if (unpack->failed || events_n > HUB_OP_EVENTS_MAX)
        return NULL;
    struct relayed_op *relayed_op =
        calloc(1, sizeof(*relayed_op) + events_n * sizeof(struct message *));
    if (relayed_op == NULL)
        return NULL;
    relayed_op->op.events = relayed_op->events;
    while (relayed_op->op.events_n < events_n) {
        struct message *message = unpack_message(unpack);

        if (message == NULL || message->published_ms != 0) {
            message_unref(message);
            break;
        }
        relayed_op->events[relayed_op->op.events_n++] = message;
    }
    if (unpack->left > 0)
        unpack_order(unpack, relayed_op);
    if (has_duplicates)
        relayed_op->op.duplicate_of = calloc(events_n + 1, sizeof(relayed_op->op.duplicate_of[0]));
    if (unpack_is_done(unpack) && relayed_op->op.events_n == events_n &&
        (relayed_op->op.duplicate_of != NULL) == has_duplicates)
        return relayed_op;
    free_relayed_op(relayed_op);
    return NULL;
}

/* Its bytes are counted where it came from. */
static bool take_publish(struct relay_host *host, struct unpack *unpack)
{
    struct relayed_op *relayed_op = unpack_relayed_op(unpack);
    struct hub_ops ops = STAILQ_HEAD_INITIALIZER(ops);

    if (relayed_op == NULL)
        return false;
    relayed_op->op.from = &host->listener;
    STAILQ_INSERT_TAIL(&ops, &relayed_op->op, link);
    hub_submit(host->hub, &ops);
    return true;
}

bool relay_host_frame(struct relay_host *host, const struct handover_link_frame *frame)
{
    struct unpack unpack = {.at = frame->bytes, .left = frame->n};

    if (frame->type == HANDOVER_LINK_PUBLISH)
        return take_publish(host, &unpack);
    if (frame->type == HANDOVER_LINK_NO_FEED)
        host->feeds = false;
    return frame->type == HANDOVER_LINK_NO_FEED;
}
