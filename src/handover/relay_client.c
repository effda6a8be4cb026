/* SPDX-License-Identifier: MIT */
/* The hub of the process that is being replaced.  See relay_client.h. */
#include "config.h"
#include "handover/relay_client.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "handover/pack.h"

struct relay_client {
    struct hub_relay relay;
    struct hub *hub;
    struct handover_link *link;
    pthread_mutex_t lock; /* over the rest, and so that one thread at a time hands to the hub */
    struct hub_ops sent;  /* in the order in which they are answered */
    uint64_t committed;
    bool ended;
};

static int send_op(struct relay_client *client, const struct hub_op *op)
{
    struct pack pack = {0};

    pack_u32(&pack, op->duplicate_of != NULL);
    pack_u32(&pack, (uint32_t)op->events_n);
    for (size_t i = 0; i < op->events_n; i++)
        pack_message(&pack, op->events[i]);
    if (op->order != NULL) {
        char *room = pack_room(&pack, op->order_n);

        if (room != NULL)
            memcpy(room, op->order, op->order_n);
    }
    return handover_link_send_pack(client->link, HANDOVER_LINK_PUBLISH, &pack);
}

/* With the lock. */
static void hand_to_hub(struct relay_client *client, struct hub_batch *batch,
                        struct hub_ops *answers)
{
    struct hub_op *oldest = STAILQ_FIRST(&client->sent);

    hub_relayed(client->hub, batch, answers, client->committed,
                oldest != NULL ? oldest->submitted_ns : 0);
}

/* The hub's thread.  What it waited before this is not held against it. */
static void relay_client_forward(struct hub_relay *relay, struct hub_ops *ops)
{
    struct relay_client *client = (struct relay_client *)relay; /* its first member */
    struct hub_ops refused = STAILQ_HEAD_INITIALIZER(refused);
    struct hub_op *op;

    pthread_mutex_lock(&client->lock);
    while ((op = STAILQ_FIRST(ops)) != NULL) {
        STAILQ_REMOVE_HEAD(ops, link);
        op->submitted_ns = clock_mono_ns();
        op->result = client->ended ? -ESHUTDOWN : send_op(client, op);
        if (op->result == 0)
            STAILQ_INSERT_TAIL(&client->sent, op, link);
        else
            STAILQ_INSERT_TAIL(&refused, op, link);
    }
    hand_to_hub(client, NULL, &refused);
    pthread_mutex_unlock(&client->lock);
}

struct relay_client *relay_client_new(struct hub *hub, struct handover_link *link)
{
    struct relay_client *client = calloc(1, sizeof(*client));

    if (client == NULL)
        return NULL;
    client->relay.forward = relay_client_forward;
    client->hub = hub;
    client->link = link;
    client->committed = hub_committed(hub);
    pthread_mutex_init(&client->lock, NULL);
    STAILQ_INIT(&client->sent);
    return client;
}

void relay_client_free(struct relay_client *client)
{
    if (client == NULL)
        return;
    assert(STAILQ_EMPTY(&client->sent));
    pthread_mutex_destroy(&client->lock);
    free(client);
}

struct hub_relay *relay_client_relay(struct relay_client *client)
{
    return &client->relay;
}

/* ---- what comes back ---- */

/* NULL when it is no batch, or out of memory. */
static struct hub_batch *unpack_batch(struct unpack *unpack)
{
    uint32_t events_n = unpack_u32(unpack);
    struct hub_batch *batch = events_n <= unpack->left ? hub_batch_new(events_n) : NULL;

    if (batch == NULL)
        return NULL;
    while (batch->events_n < events_n) {
        struct message *message = unpack_message(unpack);

        if (message == NULL) {
            hub_batch_unref(batch);
            return NULL;
        }
        hub_batch_add(batch, message);
    }
    return batch;
}

static bool take_batch(struct relay_client *client, struct unpack *unpack)
{
    struct hub_ops none = STAILQ_HEAD_INITIALIZER(none);
    uint64_t committed = unpack_u64(unpack);
    struct hub_batch *batch = unpack_batch(unpack);

    if (batch == NULL)
        return false;
    client->committed = committed;
    batch->lineage = history_lineage(hub_history(client->hub));
    hand_to_hub(client, batch, &none); /* without events it still tells a position */
    hub_batch_unref(batch);
    return unpack_is_done(unpack);
}

/* The operation's events are nobody else's, so the place of each is all that they still need. */
static void fill_answer(struct hub_op *op, struct unpack *unpack)
{
    for (size_t i = 0; i < op->events_n; i++) {
        uint64_t position = unpack_u64(unpack), first = unpack_u64(unpack);

        op->events[i]->position = position;
        if (op->duplicate_of != NULL)
            op->duplicate_of[i] = first;
    }
}

static bool take_answer(struct relay_client *client, struct unpack *unpack)
{
    struct hub_ops answers = STAILQ_HEAD_INITIALIZER(answers);
    struct hub_op *op = STAILQ_FIRST(&client->sent);

    if (op == NULL)
        return false;
    STAILQ_REMOVE_HEAD(&client->sent, link);
    op->result = (int)unpack_u32(unpack);
    op->conflict_at = unpack_u32(unpack);
    fill_answer(op, unpack);
    if (op->order != NULL)
        op->order_seq = unpack_u64(unpack);
    bool is_sound =
        unpack_is_done(unpack) && (op->conflict_at == 0 || op->conflict_at < op->events_n);
    if (!is_sound)
        op->result = -ECONNRESET;
    STAILQ_INSERT_TAIL(&answers, op, link);
    hand_to_hub(client, NULL, &answers);
    return is_sound;
}

/* The store is the other process's, and so is what its ids mean. */
static bool take_lineage(struct relay_client *client, struct unpack *unpack)
{
    char *epoch = unpack_text(unpack), *terms = unpack_text(unpack);
    struct lineage *lineage = NULL;

    if (epoch != NULL && terms != NULL && strlen(epoch) == SSE_EPOCH_BYTES &&
        unpack_is_done(unpack))
        lineage = lineage_read(epoch, terms, strlen(terms));
    if (lineage != NULL)
        history_set_lineage(hub_history(client->hub), lineage);
    free(epoch);
    free(terms);
    return lineage != NULL;
}

bool relay_client_frame(struct relay_client *client, const struct handover_link_frame *frame)
{
    struct unpack unpack = {.at = frame->bytes, .left = frame->n};
    bool is_sound = false;

    pthread_mutex_lock(&client->lock);
    if (frame->type == HANDOVER_LINK_BATCH)
        is_sound = take_batch(client, &unpack);
    else if (frame->type == HANDOVER_LINK_ANSWER)
        is_sound = take_answer(client, &unpack);
    else if (frame->type == HANDOVER_LINK_LINEAGE)
        is_sound = take_lineage(client, &unpack);
    pthread_mutex_unlock(&client->lock);
    return is_sound;
}

void relay_client_end(struct relay_client *client)
{
    struct hub_ops answers = STAILQ_HEAD_INITIALIZER(answers);
    struct hub_op *op;

    pthread_mutex_lock(&client->lock);
    client->ended = true;
    STAILQ_CONCAT(&answers, &client->sent);
    STAILQ_FOREACH (op, &answers, link)
        op->result = -ECONNRESET;
    hand_to_hub(client, NULL, &answers);
    pthread_mutex_unlock(&client->lock);
}
