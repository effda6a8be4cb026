/* SPDX-License-Identifier: MIT */
/*
 * A random walk over what may come between a client and a gateway that follows a shared log: the
 * gateway is behind, or so far that the log does not have what it needs any more; its worker is
 * behind its hub; the log loses its tail and begins terms of which the gateway has not heard; the
 * log is asked or not; and clients come and go, with ids that another gateway gave them.
 *
 * What must hold whenever a stream does not wait: what its client has is what the history of its
 * gateway has, position by position, but for what a reset has told it.
 *
 *     test_await_walk [STEPS [SEED]]
 */
#include "config.h"
#include "stream/streams.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/make.h"
#include "base/clock.h"
#include "fake_host.h"
#include "hub/hub_internal.h"
#include "hub/hub_share.h"

#define STEPS_DEFAULT 30000
#define STEPS_A_RUN 400
#define CLIENTS 5
#define POSITIONS_MAX 2048 /* of a run */
#define RING_EVENTS 8
#define BATCHES_MAX 64 /* on their way to the worker */
#define ANYTHING 0     /* in the place of an event: a reset has told that it may be missed */

struct client {
    char epoch[SSE_EPOCH_BYTES + 1]; /* empty: it has no id */
    uint64_t position;
    unsigned has[POSITIONS_MAX];
    struct fake_stream *stream; /* NULL: it is away */
};

struct world {
    uint64_t random;
    unsigned events_n, epochs_n; /* so many so far, each with a number */

    /* the log */
    struct lineage *lineage;
    uint64_t head;
    uint64_t trimmed;
    unsigned log[POSITIONS_MAX];

    /* the gateway, whose history has this */
    struct fake_host *fake;
    unsigned has[POSITIONS_MAX];
    struct hub_batch *batches[BATCHES_MAX];
    size_t batches_n;
    struct client clients[CLIENTS];

    uint64_t steps_n, delivered_n, waited_n, resets_n, moved_n, cuts_n, gaps_n;
};

static struct hub_share_facts word;

bool __wrap_hub_shares(const struct hub *hub);
void __wrap_hub_share_get_facts(struct hub *hub, struct hub_share_facts *ret_facts);
void __wrap_hub_share_ask_soon(struct hub *hub);

bool __wrap_hub_shares(const struct hub *hub)
{
    (void)hub;
    return true;
}

void __wrap_hub_share_get_facts(struct hub *hub, struct hub_share_facts *ret_facts)
{
    (void)hub;
    *ret_facts = word;
}

void __wrap_hub_share_ask_soon(struct hub *hub)
{
    (void)hub;
}

static unsigned below(struct world *world, uint64_t limit)
{
    world->random = world->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((world->random >> 33) % limit);
}

/* ---- clients ---- */

static void take_event(struct client *client, uint64_t position, unsigned number)
{
    assert(position == client->position + 1);
    client->has[position] = number;
    client->position = position;
}

/* It loads anew what it shows. */
static void take_reset(struct client *client, uint64_t position)
{
    memset(client->has, ANYTHING, sizeof(client->has));
    client->position = position;
}

static void take_block(struct world *world, struct client *client, const char *block)
{
    const char *id = strstr(block, "id: "), *data = strstr(block, "data: ");
    uint64_t position;

    assert(id != NULL);
    position = strtoull(id + 4 + SSE_EPOCH_BYTES + 1, NULL, 10);
    assert(position < POSITIONS_MAX);
    if (client->epoch[0] == '\0') /* it began where the history does */
        client->position = strstr(block, "event: ") != NULL ? position : position - 1;
    memcpy(client->epoch, id + 4, SSE_EPOCH_BYTES);
    if (strstr(block, "event: reset\n") != NULL) {
        take_reset(client, position);
        world->resets_n++;
    } else if (strstr(block, "event: checkpoint\n") != NULL) {
        assert(client->position == position);
    } else {
        take_event(client, position, (unsigned)strtoul(data + 6, NULL, 10));
        world->delivered_n++;
    }
}

/* Read what has come. */
static void hear(struct world *world, struct client *client)
{
    char *at = client->stream->received, *end;

    at[client->stream->received_n] = '\0';
    if (strncmp(at, ":\n", 2) == 0)
        at = strchr(strstr(at, "retry: "), '\n') + 1;
    while ((end = strstr(at, "\n\n")) != NULL) {
        end[1] = '\0';
        take_block(world, client, at);
        at = end + 2;
    }
    assert(*at == '\0');
    client->stream->received_n = 0;
}

static void come(struct world *world, struct client *client)
{
    struct stream_ask ask = fake_ask("a");
    char id[SSE_ID_BYTES + 1];

    if (client->epoch[0] != '\0') {
        sse_put_id(id, client->epoch, client->position);
        ask.start = (struct stream_start){.from = STREAM_FROM_ID, .id = id, .id_n = SSE_ID_BYTES};
    } else {
        ask.start.from = STREAM_FROM_EARLIEST;
    }
    word.asked_ms =
        0; /* what it said is from before this one came, in steps too short for a clock */
    client->stream = fake_stream_open(world->fake, ask);
    fake_host_run(world->fake);
    hear(world, client);
    world->waited_n += client->stream->stream->awaits_log;
}

static void leave(struct client *client)
{
    fake_stream_close(client->stream);
    client->stream = NULL;
}

/* It was at a gateway that has all of the log, which told it some of that. */
static void be_elsewhere(struct world *world, struct client *client)
{
    uint64_t end = 0;

    if (client->epoch[0] != '\0' && lineage_find(world->lineage, client->epoch, &end)) {
        if (client->position > end)
            take_reset(client, end);
    } else if (client->epoch[0] != '\0') {
        take_reset(client, world->head);
    }
    uint64_t until = client->position;
    if (until < world->head)
        until += below(world, world->head - until + 1);
    while (client->position < until)
        take_event(client, client->position + 1, world->log[client->position + 1]);
    memcpy(client->epoch, world->lineage->epoch, SSE_EPOCH_BYTES);
    world->moved_n++;
}

/* ---- the log ---- */

static void grow(struct world *world)
{
    for (unsigned n = 1 + below(world, 3); n > 0; n--)
        world->log[++world->head] = ++world->events_n;
}

static void begin_term(struct world *world, uint64_t head)
{
    char epoch[SSE_EPOCH_BYTES + 1];

    snprintf(epoch, sizeof(epoch), "epoch%07u", ++world->epochs_n);
    struct lineage *next = lineage_begin(world->lineage, epoch, head);
    free(world->lineage);
    world->lineage = next;
    world->head = head;
    if (world->trimmed > head)
        world->trimmed = head;
}

static void lose(struct world *world)
{
    uint64_t lost_n = below(world, 6);

    begin_term(world, lost_n < world->head ? world->head - lost_n : 0);
}

/* ---- the gateway ---- */

/* The worker has them later. */
static void hand_out(struct world *world, struct hub_batch *batch)
{
    assert(world->batches_n < BATCHES_MAX);
    batch->lineage = history_lineage(world->fake->history);
    world->batches[world->batches_n++] = batch;
}

static void deliver(struct world *world, size_t n)
{
    size_t work = 1000000;

    for (size_t i = 0; i < n; i++) {
        streams_batch(world->fake->streams, world->batches[i], 0, &work);
        hub_batch_unref(world->batches[i]);
    }
    world->batches_n -= n;
    memmove(world->batches, world->batches + n, world->batches_n * sizeof(world->batches[0]));
}

/* At once: until it is there, streams ask in vain for what their worker's ring has. */
static void hand_out_cut(struct world *world, enum hub_cut cut, uint64_t position)
{
    struct hub_batch *batch = hub_batch_new(0);

    batch->cut = cut;
    batch->cut_at = position;
    hand_out(world, batch);
    deliver(world, world->batches_n);
}

static bool is_attached(const struct world *world)
{
    return strcmp(history_epoch(world->fake->history), world->lineage->epoch) == 0;
}

/* The history is cut already, and the worker has not heard: who is told its place just then, and
 * goes, must not be told that of another event. */
static void tell_places(struct world *world)
{
    deliver(world, world->batches_n);
    fake_host_run(world->fake);
    for (size_t i = 0; i < CLIENTS; i++) {
        struct client *client = &world->clients[i];

        if (client->stream == NULL || client->stream->stream->state != STREAM_IDLE ||
            client->stream->stream->awaits_log)
            continue;
        stream_add_control(client->stream->stream, STREAM_CHECKPOINT);
        fake_host_run(world->fake);
        hear(world, client);
        if (below(world, 2) == 0)
            leave(client);
    }
}

static void attach(struct world *world)
{
    struct fake_host *fake = world->fake;
    uint64_t had = fake->hub->committed;
    uint64_t common = lineage_common(history_lineage(fake->history), had, world->lineage);

    if (is_attached(world))
        return;
    assert(history_truncate(fake->history, common, lineage_copy(world->lineage)) == 0);
    fake->hub->committed = common;
    if (common == had)
        return;
    tell_places(world);
    hand_out_cut(world, HUB_CUT_TERM, common);
    world->cuts_n++;
}

/* What it needs next is not there any more: it begins behind that. */
static void pass_gap(struct world *world)
{
    struct fake_host *fake = world->fake;

    assert(history_truncate(fake->history, world->trimmed, lineage_copy(world->lineage)) == 0);
    for (uint64_t i = 1; i <= world->trimmed; i++)
        world->has[i] = world->log[i];
    fake->hub->committed = world->trimmed;
    hand_out_cut(world, HUB_CUT_GAP, world->trimmed);
    world->gaps_n++;
}

static struct message *event_at(const struct world *world, uint64_t position)
{
    char data[16];

    snprintf(data, sizeof(data), "%u", world->log[position]);
    struct message *message = make_message(.topics = "a", .data = data);
    message_seal(message, world->lineage->epoch, position, clock_wall_ms());
    return message;
}

static void follow(struct world *world)
{
    struct fake_host *fake = world->fake;

    if (!is_attached(world))
        return;
    if (fake->hub->committed < world->trimmed)
        pass_gap(world);
    uint64_t from = fake->hub->committed;
    if (from == world->head)
        return;
    size_t n = 1 + below(world, world->head - from);
    struct hub_batch *batch = hub_batch_new(n);
    for (size_t i = 1; i <= n; i++) {
        batch->events[batch->events_n++] = event_at(world, from + i);
        world->has[from + i] = world->log[from + i];
    }
    assert(history_apply(fake->history, batch->events, n) == 0);
    fake->hub->committed = from + n;
    hand_out(world, batch);
}

static void ask_log(struct world *world)
{
    strcpy(word.epoch, world->lineage->epoch);
    word.head = world->head;
    word.asked_ms = clock_mono_ms() + 1;
}

/* ---- the walk ---- */

static void step_client(struct world *world, struct client *client)
{
    if (client->stream != NULL)
        leave(client);
    else if (below(world, 3) == 0)
        be_elsewhere(world, client);
    else
        come(world, client);
}

static void step(struct world *world)
{
    if (below(world, 3) > 0)
        deliver(world, world->batches_n);
    switch (below(world, 13)) {
    case 0:
        lose(world);
        break;
    case 1:
    case 2:
        grow(world);
        break;
    case 3:
    case 4:
        follow(world);
        break;
    case 5:
        attach(world);
        break;
    case 6:
        ask_log(world);
        break;
    case 7:
        if (below(world, 4) == 0) /* of what all but this gateway have */
            world->trimmed += below(world, world->head - world->trimmed + 1);
        break;
    case 8:
        if (world->batches_n > 0)
            deliver(world, 1);
        break;
    case 9:
        streams_tick(world->fake->streams, clock_mono_ms());
        break;
    default:
        step_client(world, &world->clients[below(world, CLIENTS)]);
        break;
    }
    fake_host_run(world->fake);
}

static void complain(const struct world *world, const struct client *client, uint64_t position)
{
    printf("not ok 1 - step %" PRIu64 ": a client at %s-%" PRIu64 " has %u at %" PRIu64
           ", the gateway %u; it has %" PRIu64 " of %s, the log %" PRIu64 " of %s\n",
           world->steps_n, client->epoch, client->position, client->has[position], position,
           world->has[position], world->fake->hub->committed, history_epoch(world->fake->history),
           world->head, world->lineage->epoch);
    for (size_t i = 0; i < world->lineage->terms_n; i++)
        printf("# %.12s ends at %" PRIu64 "\n", world->lineage->terms[i].epoch,
               world->lineage->terms[i].end);
    exit(1);
}

static void check(const struct world *world, const struct client *client)
{
    const struct stream *stream = client->stream->stream;

    if (stream->awaits_log || world->batches_n > 0)
        return;
    assert(client->position == world->fake->hub->committed);
    for (uint64_t i = 1; i <= client->position; i++)
        if (client->has[i] != ANYTHING && client->has[i] != world->has[i])
            complain(world, client, i);
}

static void look(struct world *world)
{
    for (size_t i = 0; i < CLIENTS; i++)
        if (world->clients[i].stream != NULL) {
            hear(world, &world->clients[i]);
            check(world, &world->clients[i]);
        }
}

/* All comes right in the end: the gateway has the log, and nobody waits. */
static void settle(struct world *world)
{
    struct timespec pause = {.tv_nsec = 2000000};

    attach(world);
    deliver(world, world->batches_n);
    while (world->fake->hub->committed < world->head)
        follow(world);
    deliver(world, world->batches_n);
    nanosleep(&pause, NULL); /* the word comes later than they did */
    ask_log(world);
    streams_tick(world->fake->streams, clock_mono_ms());
    fake_host_run(world->fake);
    look(world);
    assert(fake_host_stat(world->fake, STATS_STREAMS_AWAITING_LOG) == 0);
}

static void begin_run(struct world *world)
{
    memset(&word, 0, sizeof(word));
    memset(world->has, 0, sizeof(world->has));
    memset(world->clients, 0, sizeof(world->clients));
    world->fake = fake_host_new(false, RING_EVENTS);
    world->lineage = lineage_new("thefirstone0");
    world->head = world->trimmed = 0;
    assert(history_truncate(world->fake->history, 0, lineage_copy(world->lineage)) == 0);
}

static void end_run(struct world *world)
{
    settle(world);
    for (size_t i = 0; i < CLIENTS; i++)
        if (world->clients[i].stream != NULL)
            leave(&world->clients[i]);
    fake_host_free(world->fake);
    free(world->lineage);
}

int main(int argc, char **argv)
{
    uint64_t steps_n = argc > 1 ? strtoull(argv[1], NULL, 10) : STEPS_DEFAULT;
    static struct world world;

    world.random = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    while (world.steps_n < steps_n) {
        begin_run(&world);
        for (int i = 0; i < STEPS_A_RUN && world.head < POSITIONS_MAX - 8; i++) {
            step(&world);
            look(&world);
            world.steps_n++;
        }
        end_run(&world);
    }
    printf("# %" PRIu64 " steps: %" PRIu64 " delivered, %" PRIu64 " waited, %" PRIu64
           " resets, %" PRIu64 " elsewhere, %" PRIu64 " cuts, %" PRIu64 " gaps\n",
           world.steps_n, world.delivered_n, world.waited_n, world.resets_n, world.moved_n,
           world.cuts_n, world.gaps_n);
    printf("ok 1 - no client has a hole or a double that it was not told of\n1..1\n");
    return 0;
}
