/* SPDX-License-Identifier: MIT */
/*
 * A random walk over the shared log's failures: two servers of which one is the master in its own
 * view and perhaps both are, three gateways that follow into histories of their own and append, and
 * clients that move between them with the ids they were given.  Servers lose their tail, fork,
 * forget, are damaged; connections end with requests on their way.
 *
 * What must hold at every step: what a client got since it was last told of a reset is what the
 * history of its gateway has from there on, without a hole.  And: an event that was acknowledged
 * stands where the answer said, and no event stands twice in a history.
 *
 *     test_lineage_walk [STEPS [SEED]]
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/make.h"
#include "cluster/log_node.h"
#include "history/history_memory.h"
#include "memory_log.h"

#define NODES 3
#define CLIENTS 5
#define STEPS_DEFAULT 1000000
#define STEPS_A_RUN 300
#define GROUP_EVENTS_MAX 3
#define VALUES_MAX 4096 /* of a run */

struct node {
    struct world *world;
    struct history *history;
    struct log_node *log_node;
    bool was_attached; /* ever, in the life of its history */
    unsigned values[GROUP_EVENTS_MAX];
};

struct client {
    struct node *node; /* NULL: it is on its way */
    bool has_id;
    char epoch[SSE_EPOCH_BYTES];
    uint64_t position;
    uint64_t start; /* of what it got */
    unsigned got[VALUES_MAX];
    size_t got_n;
};

struct counts {
    uint64_t runs, steps, fed, resets, cuts, gaps, acknowledged, lost, refused, attached;
};

struct world {
    uint64_t random;
    struct memory_server servers[2];
    struct memory_server *truth; /* whom a sentinel would name */
    uint64_t names_n;            /* of lives and writers */
    unsigned roughness;          /* of a thousand steps so many go wrong */
    unsigned values_n;
    struct node nodes[NODES];
    struct client clients[CLIENTS];
    struct filter *filter;
    struct counts counts;
    const char *violated; /* what does not hold; NULL: all does */
};

/* ---- chance ---- */

static uint64_t draw(struct world *world)
{
    uint64_t z = (world->random += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static unsigned below(struct world *world, unsigned n)
{
    return (unsigned)(draw(world) % n);
}

static void violate(struct world *world, const char *what)
{
    if (world->violated == NULL)
        world->violated = what;
}

/* ---- clients ---- */

static unsigned value_of(const struct message *message)
{
    return (unsigned)strtoul(message->frame + strlen("data: "), NULL, 10);
}

/* What stands behind a position, in pages; NULL at the end.  `*ret_stale`: it is gone. */
static struct history_page *read_after(struct node *node, uint64_t after, bool *ret_stale)
{
    struct history_query query = {
        .after = after, .upto = UINT64_MAX, .filter = node->world->filter, .bytes_max = SIZE_MAX};
    struct history_page *page;
    int result = history_read(node->history, &query, &page);

    *ret_stale = result == -ESTALE;
    if (result != 0)
        return NULL;
    if (page->upto > after)
        return page;
    history_page_free(page);
    return NULL;
}

static uint64_t newest_of(const struct node *node)
{
    struct history_bounds bounds;

    history_bounds(node->history, &bounds);
    return bounds.newest;
}

static uint64_t trimmed_of(const struct node *node)
{
    struct history_bounds bounds;

    history_bounds(node->history, &bounds);
    return bounds.trimmed;
}

/* What the client got is what its gateway has, as far as that goes back. */
static void check_client(struct client *client)
{
    struct node *node = client->node;
    uint64_t trimmed = trimmed_of(node), at = client->start > trimmed ? client->start : trimmed;
    struct history_page *page;
    bool stale;

    if (client->got_n != client->position - client->start)
        violate(node->world, "a client got more or less than there was");
    while (at < client->position && (page = read_after(node, at, &stale)) != NULL) {
        for (size_t i = 0; i < page->events_n && at < client->position; i++, at++)
            if (client->got[at - client->start] != value_of(page->events[i]))
                violate(node->world, "a client got what its gateway does not have");
        history_page_free(page);
    }
    if (at < client->position)
        violate(node->world, "a client is told more than its gateway has");
}

static void set_id(struct client *client, const char *epoch, uint64_t position)
{
    memcpy(client->epoch, epoch, SSE_EPOCH_BYTES);
    client->position = position;
    client->has_id = true;
}

static void reset(struct client *client, uint64_t position)
{
    client->node->world->counts.resets++;
    client->got_n = 0;
    client->start = position;
    set_id(client, history_epoch(client->node->history), position);
}

/* The id of an event, or now and then that of a checkpoint behind it. */
static void take_event(struct client *client, const struct message *message)
{
    struct world *world = client->node->world;
    const char *epoch;
    uint64_t position;

    if (message->position != client->position + 1)
        violate(world, "a client was to get an event that is not the next");
    if (!sse_parse_id(message->frame + message->id_offset, SSE_ID_BYTES, &epoch, &position))
        violate(world, "an event has no id");
    if (client->got_n < VALUES_MAX)
        client->got[client->got_n++] = value_of(message);
    if (below(world, 4) == 0)
        epoch = history_epoch(client->node->history);
    set_id(client, epoch, position);
    world->counts.fed++;
}

static void feed(struct client *client)
{
    struct node *node = client->node;
    struct history_page *page;
    bool stale;

    while ((page = read_after(node, client->position, &stale)) != NULL) {
        for (size_t i = 0; i < page->events_n; i++)
            take_event(client, page->events[i]);
        history_page_free(page);
    }
    if (stale)
        reset(client, newest_of(node));
    check_client(client);
}

static void feed_all(struct node *node)
{
    for (size_t i = 0; i < CLIENTS; i++)
        if (node->world->clients[i].node == node)
            feed(&node->world->clients[i]);
}

/* A client comes to a gateway with what it was told last. */
static void come(struct client *client, struct node *node)
{
    uint64_t newest = newest_of(node), end;

    if (!node->was_attached)
        return;
    client->node = node;
    if (!client->has_id || !lineage_find(history_lineage(node->history), client->epoch, &end) ||
        client->position > end)
        reset(client, newest);
    else if (client->position > newest)
        client->node = NULL; /* the log would have to say; it waits and asks again */
    else
        feed(client);
}

/* ---- gateways ---- */

static void check_acknowledged(struct node *node, const struct log_group *group)
{
    struct history_page *page;
    bool stale;

    node->world->counts.acknowledged++;
    if (trimmed_of(node) >= group->first)
        return;
    page = read_after(node, group->first - 1, &stale);
    if (page == NULL || page->events_n < group->events_n) {
        violate(node->world, "an acknowledged event is not there");
    } else {
        for (size_t i = 0; i < group->events_n; i++)
            if (value_of(page->events[i]) != node->values[i])
                violate(node->world, "an acknowledged event stands elsewhere");
    }
    history_page_free(page);
}

static void publish(struct node *node)
{
    struct world *world = node->world;
    struct message *events[GROUP_EVENTS_MAX];
    uint32_t n = below(world, 2) == 0 ? 1 : 1 + below(world, GROUP_EVENTS_MAX);
    char text[16];

    if (!log_node_is_free(node->log_node) || world->values_n + n >= VALUES_MAX)
        return;
    for (size_t i = 0; i < n; i++) {
        node->values[i] = ++world->values_n;
        snprintf(text, sizeof(text), "%u", node->values[i]);
        events[i] = make_message(.topics = "a", .data = text);
    }
    if (log_node_append(node->log_node, events, n) != 0)
        abort();
    for (size_t i = 0; i < n; i++)
        message_unref(events[i]);
}

/* ---- what a gateway is told ---- */

static void on_cut(void *arg, const struct log_follower_cut *cut)
{
    struct node *node = arg;
    struct world *world = node->world;

    world->counts.cuts += cut->is_cut;
    world->counts.gaps += cut->gap != LOG_FOLLOWER_NO_GAP;
    for (size_t i = 0; i < CLIENTS; i++) {
        struct client *client = &world->clients[i];

        if (client->node != node)
            continue;
        if (cut->is_cut && client->position > cut->end)
            reset(client, cut->end);
        if (cut->gap != LOG_FOLLOWER_NO_GAP && client->position < cut->begin)
            reset(client, cut->begin);
    }
}

static void on_events(void *arg, struct message *const *events, size_t events_n)
{
    struct node *node = arg;

    if (events_n == 0 || events[events_n - 1]->position != newest_of(node))
        violate(node->world, "events are handed out that are not the newest");
    feed_all(node);
}

static void on_order(void *arg, const char *from, uint64_t seq, const char *order, size_t order_n)
{
    (void)from, (void)seq, (void)order, (void)order_n;
    violate(((struct node *)arg)->world, "nobody gave an order");
}

static void on_settled(void *arg, const struct log_group *group,
                       const struct shared_log_appended *of)
{
    struct node *node = arg;

    (void)of;
    if (group->outcome == SHARED_LOG_DONE)
        check_acknowledged(node, group);
    node->world->counts.lost += group->outcome == SHARED_LOG_LOST;
    node->world->counts.refused += shared_log_is_nothing(group->outcome);
}

static void on_state(void *arg, enum log_node_state state, const char *line)
{
    struct node *node = arg;

    if (state == LOG_NODE_STOPPED || strcmp(line, strerrordesc_np(EINVAL)) == 0)
        violate(node->world, "an entry was not understood");
    if (state != LOG_NODE_FOLLOWING)
        return;
    node->was_attached = true;
    node->world->counts.attached++;
    feed_all(node); /* looks at what they got */
}

static void on_heard(void *arg, const char *bytes, size_t bytes_n)
{
    (void)arg;
    (void)bytes;
    (void)bytes_n;
}

static void new_history(struct node *node)
{
    const struct history_limits limits = {.age_max_ms = INT64_MAX,
                                          .events_max = SIZE_MAX,
                                          .bytes_max = SIZE_MAX,
                                          .key_window_ms = 1000,
                                          .keys_max = 1000};

    node->history = history_memory_new(&limits);
    if (node->history == NULL)
        abort();
    node->was_attached = false;
}

static void start(struct node *node)
{
    const struct log_node_hooks hooks = {.cut = on_cut,
                                         .events = on_events,
                                         .order = on_order,
                                         .settled = on_settled,
                                         .state = on_state,
                                         .heard = on_heard,
                                         .arg = node};
    char writer[SHARED_LOG_WRITER_BYTES];

    snprintf(writer, sizeof(writer), "w%" PRIu64, ++node->world->names_n);
    node->log_node = log_node_new(node->history, writer, &hooks);
    if (node->log_node == NULL)
        abort();
    const struct shared_log_hooks log_hooks = log_node_log_hooks(node->log_node);
    log_node_open(node->log_node, memory_log_new(writer, &log_hooks));
}

static void stop(struct node *node)
{
    log_node_free(node->log_node);
    for (size_t i = 0; i < CLIENTS; i++)
        if (node->world->clients[i].node == node)
            node->world->clients[i].node = NULL;
}

static void restart(struct node *node, bool keeps_history)
{
    stop(node);
    if (!keeps_history) {
        history_free(node->history);
        new_history(node);
    }
    start(node);
}

/* ---- what happens ---- */

static void cut_all(struct world *world, const struct memory_server *server, bool some)
{
    for (size_t i = 0; i < NODES; i++)
        if (memory_log_server(log_node_log(world->nodes[i].log_node)) == server &&
            (!some || below(world, 2) == 0))
            memory_log_cut(log_node_log(world->nodes[i].log_node), below(world, 2) == 0);
}

static struct memory_server *other_of(struct world *world)
{
    return world->truth == &world->servers[0] ? &world->servers[1] : &world->servers[0];
}

/* The replica is promoted as it is; the former master goes on in its own view. */
static void fail_over(struct world *world)
{
    struct memory_server *other = other_of(world);

    if (other->is_master)
        return;
    other->is_master = true;
    memory_server_live(other, ++world->names_n);
    world->truth = other;
}

/* The former master becomes a replica; connections to it may survive. */
static void resync(struct world *world)
{
    struct memory_server *other = other_of(world);

    if (other->is_master) {
        other->is_master = false;
        if (below(world, 4) == 0)
            cut_all(world, other, true);
    }
    memory_server_copy(other, world->truth);
}

static void restart_server(struct world *world)
{
    cut_all(world, world->truth, false);
    memory_server_live(world->truth, ++world->names_n);
    if (below(world, 10) < 6)
        memory_server_lose(world->truth, below(world, MEMORY_SNAPSHOTS_MAX));
}

static void wipe(struct world *world)
{
    cut_all(world, world->truth, false);
    memory_server_live(world->truth, ++world->names_n);
    memory_server_wipe(world->truth);
}

static void harm(struct world *world)
{
    struct memory_server *server = &world->servers[below(world, 2)];

    switch (below(world, 8)) {
    case 0:
        memory_server_damage(server, below(world, 4), below(world, 1000));
        break;
    case 1:
        memory_server_punch(server, below(world, 4));
        break;
    case 2:
    case 3:
        server->is_full = !server->is_full;
        break;
    default:
        memory_server_trim(server, below(world, 6));
    }
}

/* What goes wrong. */
static void disturb(struct world *world, struct node *node)
{
    unsigned chance = below(world, 100);

    if (chance < 14)
        memory_log_cut(log_node_log(node->log_node), below(world, 2) == 0);
    else if (chance < 34)
        fail_over(world);
    else if (chance < 58)
        resync(world);
    else if (chance < 74)
        restart_server(world);
    else if (chance < 83)
        wipe(world);
    else if (chance < 92)
        restart(node, below(world, 10) >= 3);
    else
        harm(world);
}

static void replicate(struct world *world)
{
    if (!other_of(world)->is_master)
        memory_server_copy(other_of(world), world->truth);
}

static void move(struct client *client, struct node *node)
{
    if (client->node == NULL)
        come(client, node);
    else if (below(node->world, 2) == 0)
        client->node = NULL;
}

/* What goes on. */
static void proceed(struct world *world, struct node *node)
{
    struct shared_log *log = log_node_log(node->log_node);
    unsigned chance = below(world, 100);

    if (chance < 15)
        publish(node);
    else if (chance < 17)
        log_node_give_up(node->log_node);
    else if (chance < 41)
        while (memory_log_step(log) && below(world, 3) > 0)
            ;
    else if (chance < 61)
        memory_log_step_tail(log, 1 + below(world, 5));
    else if (chance < 63)
        memory_server_arrive(&world->servers[below(world, 2)]);
    else if (chance < 70)
        replicate(world);
    else if (chance < 88)
        move(&world->clients[below(world, CLIENTS)], node);
    else if (memory_log_server(log) == NULL || below(world, 10) == 0)
        memory_log_connect(log, world->truth);
    else
        log_node_tick(node->log_node);
}

static void step(struct world *world)
{
    struct node *node = &world->nodes[below(world, NODES)];

    world->servers[0].now_ms += below(world, 3);
    if (below(world, 1000) < world->roughness)
        disturb(world, node);
    else
        proceed(world, node);
}

/* ---- a run ---- */

static void check_values(struct node *node)
{
    bool seen[VALUES_MAX] = {false};
    uint64_t at = trimmed_of(node);
    struct history_page *page;
    bool stale;

    while ((page = read_after(node, at, &stale)) != NULL) {
        for (size_t i = 0; i < page->events_n; i++) {
            unsigned value = value_of(page->events[i]) % VALUES_MAX;

            if (seen[value])
                violate(node->world, "an event stands twice");
            seen[value] = true;
        }
        at = page->upto;
        history_page_free(page);
    }
}

static void begin(struct world *world, uint64_t seed)
{
    struct counts counts = world->counts;

    *world = (struct world){.random = seed, .counts = counts};
    world->roughness = 3 + below(world, 120);
    world->filter = make_filter("a", NULL);
    memory_server_begin(&world->servers[0], ++world->names_n);
    memory_server_begin(&world->servers[1], ++world->names_n);
    world->servers[1].is_master = false;
    world->truth = &world->servers[0];
    for (size_t i = 0; i < NODES; i++) {
        world->nodes[i].world = world;
        new_history(&world->nodes[i]);
        start(&world->nodes[i]);
    }
}

static void end(struct world *world)
{
    for (size_t i = 0; i < NODES; i++) {
        stop(&world->nodes[i]);
        history_free(world->nodes[i].history);
    }
    memory_server_end(&world->servers[0]);
    memory_server_end(&world->servers[1]);
    filter_unref(world->filter);
}

/* Returns what was violated, or NULL. */
static const char *run(struct world *world, uint64_t seed, uint64_t steps, uint64_t *ret_step)
{
    begin(world, seed);
    for (*ret_step = 0; *ret_step < steps && world->violated == NULL; ++*ret_step)
        step(world);
    for (size_t i = 0; i < NODES && world->violated == NULL; i++)
        check_values(&world->nodes[i]);
    world->counts.runs++;
    world->counts.steps += *ret_step;
    end(world);
    return world->violated;
}

static uint64_t number_of(int argc, char **argv, int index, uint64_t otherwise)
{
    return argc > index ? strtoull(argv[index], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    uint64_t steps = number_of(argc, argv, 1, STEPS_DEFAULT), seed = number_of(argc, argv, 2, 1);
    static struct world world;
    const struct counts *counts = &world.counts;
    uint64_t bad_n = 0, at;

    printf("1..1\n");
    for (uint64_t i = 0; i * STEPS_A_RUN < steps; i++) {
        uint64_t own = seed * UINT64_C(1000003) + i;
        const char *violated = run(&world, own, STEPS_A_RUN, &at);

        if (violated != NULL && bad_n++ < 5)
            printf("# seed %" PRIu64 ", step %" PRIu64 ": %s\n", own, at, violated);
    }
    printf("# %" PRIu64 " runs, %" PRIu64 " steps; attached %" PRIu64 ", cut %" PRIu64
           ", gaps %" PRIu64 "; events to clients %" PRIu64 ", resets %" PRIu64
           "; groups acknowledged %" PRIu64 ", unknown %" PRIu64 ", refused %" PRIu64
           "; runs that went wrong %" PRIu64 "\n",
           counts->runs, counts->steps, counts->attached, counts->cuts, counts->gaps, counts->fed,
           counts->resets, counts->acknowledged, counts->lost, counts->refused, bad_n);
    printf("%sok 1 - no client has a hole that it was not told of\n", bad_n > 0 ? "not " : "");
    return bad_n > 0;
}
