/* SPDX-License-Identifier: MIT */
/*
 * A random walk over the shared log's failures: two servers of which one is the master in its own
 * view and perhaps both are, three gateways that follow into histories of their own and append, and
 * clients that move between them with the ids they were given.  Servers lose their tail, fork,
 * forget, are damaged; connections end with requests on their way.
 *
 * What must hold at every step: what a client got since it was last told of a reset is what the
 * history of its gateway has from there on, without a hole.  And: an event that was acknowledged
 * stands where the answer said, and no event stands twice in a history.  Orders are done at their
 * place, as often as they were stored; and in the end, when all have come to rest, each that the
 * log still has was done by each gateway (but by one whose process came later, or that has a gap
 * there).
 *
 *     test_lineage_walk [STEPS [SEED]]
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "history/history_memory.h"
#include "walk_world.h"

#define STEPS_DEFAULT 1000000
#define STEPS_A_RUN 300
#define ROUNDS_MAX 100 /* until all are at rest */
#define STEPS_A_ROUND 2000

/* ---- gateways ---- */

static void check_acknowledged_order(struct node *node, const struct log_group *group)
{
    const struct walk_orders *orders = &node->world->orders;

    if (!walk_orders_stood_at(orders, node->values[0], group->first - 1))
        violate(node->world, "an order stands elsewhere than the answer said");
    if (!walk_orders_is_done(orders, number_of_node(node), node->values[0]))
        violate(node->world, "an order is answered that is not done");
}

static void check_acknowledged(struct node *node, const struct log_group *group)
{
    struct history_page *page;
    bool stale;

    node->world->counts.acknowledged++;
    if (group->events_n == 0) {
        check_acknowledged_order(node, group);
        return;
    }
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

static void order(struct node *node)
{
    char text[16];

    node->values[0] = ++node->world->values_n;
    snprintf(text, sizeof(text), "%u", node->values[0]);
    if (log_node_append_order(node->log_node, text, strlen(text)) != 0)
        abort();
}

/* Ephemeral ones count among the events, but not among the values: the last is stored. */
static struct message *make_one(struct node *node, bool is_last)
{
    bool is_stored = is_last || below(node->world, 4) > 0;
    unsigned value = ++node->world->values_n;
    char text[16];

    snprintf(text, sizeof(text), "%u", value);
    if (is_stored)
        node->values[node->values_n++] = value;
    return make_message(.topics = "a", .data = text,
                        .kind = is_stored ? MESSAGE_STORED : MESSAGE_EPHEMERAL);
}

static void publish(struct node *node)
{
    struct world *world = node->world;
    struct message *events[GROUP_EVENTS_MAX];
    uint32_t n = below(world, 2) == 0 ? 1 : 1 + below(world, GROUP_EVENTS_MAX);

    if (!log_node_is_free(node->log_node) || world->values_n + n >= VALUES_MAX)
        return;
    node->values_n = 0;
    if (below(world, 4) == 0) {
        order(node);
        return;
    }
    for (size_t i = 0; i < n; i++)
        events[i] = make_one(node, i == n - 1);
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
    if (cut->gap != LOG_FOLLOWER_NO_GAP)
        walk_orders_excuse(&world->orders, number_of_node(node), cut->begin);
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

/* Those that are stored are the newest in a row, the others stand where they were published. */
static void on_events(void *arg, struct message *const *events, size_t events_n)
{
    struct node *node = arg;
    uint64_t position = newest_of(node);

    for (size_t i = 0; i < events_n; i++)
        position -= events[i]->kind == MESSAGE_STORED;
    for (size_t i = 0; i < events_n; i++) {
        position += events[i]->kind == MESSAGE_STORED;
        if (events[i]->position != position)
            violate(node->world, "events are handed out that are not the newest");
    }
    feed_all(node);
}

static void on_order(void *arg, const char *from, uint64_t seq, const char *text, size_t text_n)
{
    struct node *node = arg;
    const char *violated =
        walk_orders_do(&node->world->orders, number_of_node(node), newest_of(node), text, text_n);

    (void)from, (void)seq;
    if (violated != NULL)
        violate(node->world, violated);
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
    if (node->is_fresh && newest_of(node) > 0) /* those are older than what the history has */
        walk_orders_excuse(&node->world->orders, number_of_node(node), newest_of(node) - 1);
    node->is_fresh = false;
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

    node->is_fresh = true;
    walk_orders_restart(&node->world->orders, number_of_node(node));
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

    memory_server_each(server, walk_orders_harmed, &world->orders);
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

/* All that can be done is done.  Returns whether anything was. */
static bool finish(struct node *node)
{
    struct shared_log *log = log_node_log(node->log_node);
    unsigned steps_n = 0;

    if (memory_log_server(log) != node->world->truth)
        memory_log_connect(log, node->world->truth);
    log_node_tick(node->log_node);
    while (memory_log_step(log) || memory_log_step_tail(log, 5))
        if (++steps_n == STEPS_A_ROUND) {
            violate(node->world, "a gateway is never done");
            break;
        }
    return steps_n > 0;
}

/* Who follows a term that is over would not hear of it, where nothing is appended any more. */
static void come_to_rest(struct world *world)
{
    bool is_at_rest = false;

    world->truth->is_full = false;
    for (size_t i = 0; i < NODES; i++)
        memory_log_cut(log_node_log(world->nodes[i].log_node), false);
    for (size_t round = 0; round < ROUNDS_MAX && !is_at_rest && world->violated == NULL; round++) {
        is_at_rest = true;
        for (size_t i = 0; i < NODES && world->violated == NULL; i++)
            is_at_rest &= !finish(&world->nodes[i]);
    }
    if (!is_at_rest)
        violate(world, "gateways come to no rest");
    for (size_t i = 0; i < NODES; i++)
        if (log_node_state(world->nodes[i].log_node) != LOG_NODE_FOLLOWING)
            violate(world, "a gateway does not follow");
}

/* It stands in the log, and all have read that. */
static void check_order(void *arg, const struct shared_log_entry *entry)
{
    struct world *world = arg;
    const struct walk_copy *copy = entry->sub > 0 ? walk_orders_find(&world->orders, entry) : NULL;

    for (size_t i = 0; copy != NULL && i < NODES; i++)
        if (walk_orders_must(copy, i) && world->orders.done[i][copy->value] == 0)
            violate(world, "an order is not done");
}

static void begin(struct world *world, uint64_t seed)
{
    struct counts counts = world->counts;

    memset(world, 0, sizeof(*world));
    world->random = seed;
    world->counts = counts;
    world->roughness = 3 + below(world, 120);
    world->filter = make_filter("a", NULL);
    memory_server_begin(&world->servers[0], ++world->names_n);
    memory_server_begin(&world->servers[1], ++world->names_n);
    world->servers[1].is_master = false;
    for (size_t i = 0; i < 2; i++) {
        world->servers[i].stored = walk_orders_stored;
        world->servers[i].arg = &world->orders;
    }
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
    if (world->violated == NULL)
        come_to_rest(world);
    if (world->violated == NULL)
        memory_server_each(world->truth, check_order, world);
    for (size_t i = 0; i < NODES && world->violated == NULL; i++)
        check_values(&world->nodes[i]);
    world->counts.orders += world->orders.done_n;
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
           ", gaps %" PRIu64 "; orders done %" PRIu64 "; events to clients %" PRIu64
           ", resets %" PRIu64 "; groups acknowledged %" PRIu64 ", unknown %" PRIu64
           ", refused %" PRIu64 "; runs that went wrong %" PRIu64 "\n",
           counts->runs, counts->steps, counts->attached, counts->cuts, counts->gaps,
           counts->orders, counts->fed, counts->resets, counts->acknowledged, counts->lost,
           counts->refused, bad_n);
    printf("%sok 1 - no client has a hole that it was not told of\n", bad_n > 0 ? "not " : "");
    return bad_n > 0;
}
