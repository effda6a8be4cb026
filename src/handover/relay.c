/* SPDX-License-Identifier: MIT */
/* Two hubs over a link.  See relay.h. */
#include "config.h"
#include "handover/relay.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"

/* Events of a batch go in frames of about so many bytes. */
#define BATCH_FRAME_BYTES 262144
/* What an old process may be behind; beyond it its streams end at once and resume at the new one.
 */
#define FEED_BYTES_MAX ((size_t)32 << 20)

/* ---- the old process's end ---- */

struct relay_client {
    struct hub_relay relay;
    struct hub *hub;
    struct handover_link *link;
    pthread_mutex_t lock; /* over the rest, and so that one thread at a time hands to the hub */
    struct hub_ops sent;  /* in the order in which they are answered */
    uint64_t committed;
    bool ended;
};

static struct relay_client *client_address_of(struct hub_relay *relay)
{
    return (struct relay_client *)((char *)relay - offsetof(struct relay_client, relay));
}

/* An event whose room could not be had is packed as nothing, which the whole then fails for. */
static void pack_message(struct pack *pack, const struct message *message)
{
    char *to = pack_room(pack, message_image_bytes(message));

    if (to != NULL)
        message_write_image(to, message);
}

static int send_op(struct relay_client *client, const struct hub_op *op)
{
    struct pack pack = {0};

    pack_u32(&pack, op->duplicate_of != NULL);
    pack_u32(&pack, (uint32_t)op->events_n);
    for (size_t i = 0; i < op->events_n; i++)
        pack_message(&pack, op->events[i]);
    int result = handover_link_send_pack(client->link, HANDOVER_LINK_PUBLISH, &pack);
    pack_clear(&pack);
    return result;
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
static void forward(struct hub_relay *relay, struct hub_ops *ops)
{
    struct relay_client *client = client_address_of(relay);
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
    client->relay.forward = forward;
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

static struct message *unpack_message(struct unpack *unpack)
{
    size_t n;
    const char *bytes = unpack_bytes(unpack, &n);

    return bytes != NULL ? message_read_image(bytes, n) : NULL;
}

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
        batch->events[batch->events_n++] = message;
        batch->bytes += message->bytes;
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
    bool is_sound =
        unpack_is_done(unpack) && (op->conflict_at == 0 || op->conflict_at < op->events_n);
    if (!is_sound)
        op->result = -ECONNRESET;
    STAILQ_INSERT_TAIL(&answers, op, link);
    hand_to_hub(client, NULL, &answers);
    return is_sound;
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

/* ---- the new process's end ---- */

struct relay_host {
    struct hub_listener listener;
    struct hub *hub;
    struct handover_link *link;
    _Atomic bool feeds; /* events go with the batches */
    _Atomic bool ended; /* nobody is there to be told */
};

/* An operation of the old process. */
struct relayed_op {
    struct hub_op op;
    struct message *events[];
};

static void free_errand(struct relayed_op *relayed_op)
{
    for (size_t i = 0; i < relayed_op->op.events_n; i++)
        message_unref(relayed_op->events[i]);
    free(relayed_op->op.duplicate_of);
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
    int result = handover_link_send_pack(host->link, HANDOVER_LINK_ANSWER, &pack);
    pack_clear(&pack);
    return result == 0;
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

static bool send_batch(struct relay_host *host, const struct hub_batch *batch)
{
    size_t index = 0;
    int result = 0;

    if (host->feeds && handover_link_unsent(host->link) > FEED_BYTES_MAX) {
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
        pack_clear(&pack);
    } while (result == 0 && index < batch->events_n);
    return result == 0;
}

/* The hub's thread.  Where a part of what was committed cannot be sent, nothing must follow it. */
static void deliver(struct hub_listener *listener, struct hub_batch *batch, struct hub_ops *answers)
{
    struct relay_host *host =
        (struct relay_host *)((char *)listener - offsetof(struct relay_host, listener));
    bool ended = host->ended;
    bool sound = ended || batch == NULL || send_batch(host, batch);
    struct hub_op *op;

    while ((op = STAILQ_FIRST(answers)) != NULL) {
        STAILQ_REMOVE_HEAD(answers, link);
        sound = sound && (ended || send_answer(host, op));
        free_errand((struct relayed_op *)(void *)op);
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
    host->feeds = true;
    host->listener.deliver = deliver;
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

static struct relayed_op *unpack_errand(struct unpack *unpack)
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
    if (has_duplicates)
        relayed_op->op.duplicate_of = calloc(events_n + 1, sizeof(relayed_op->op.duplicate_of[0]));
    if (unpack_is_done(unpack) && relayed_op->op.events_n == events_n &&
        (relayed_op->op.duplicate_of != NULL) == has_duplicates)
        return relayed_op;
    free_errand(relayed_op);
    return NULL;
}

/* Its bytes are counted where it came from. */
static bool take_publish(struct relay_host *host, struct unpack *unpack)
{
    struct relayed_op *relayed_op = unpack_errand(unpack);
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
