/* SPDX-License-Identifier: MIT */
/* The world of a random walk (test_lineage_walk.c), chance in it, and its clients. */
#ifndef BUGLE_WALK_WORLD_H
#define BUGLE_WALK_WORLD_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/make.h"
#include "cluster/log_node.h"
#include "memory_log.h"
#include "walk_orders.h"

#define NODES WALK_NODES
#define CLIENTS 5
#define GROUP_EVENTS_MAX 3
#define VALUES_MAX WALK_VALUES_MAX /* of a run */

struct node {
    struct world *world;
    struct history *history;
    struct log_node *log_node;
    bool was_attached; /* ever, in the life of its history */
    bool is_fresh;     /* its process has not attached yet */
    unsigned values[GROUP_EVENTS_MAX];
    size_t values_n;
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
    uint64_t runs, steps, fed, resets, cuts, gaps, orders, acknowledged, lost, refused, attached;
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
    struct walk_orders orders;
    struct filter *filter;
    struct counts counts;
    const char *violated; /* what does not hold; NULL: all does */
};

/* ---- chance ---- */

static inline uint64_t draw(struct world *world)
{
    uint64_t z = (world->random += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline unsigned below(struct world *world, unsigned n)
{
    return (unsigned)(draw(world) % n);
}

static inline size_t number_of_node(const struct node *node)
{
    return (size_t)(node - node->world->nodes);
}

static inline void violate(struct world *world, const char *what)
{
    if (world->violated == NULL)
        world->violated = what;
}

/* ---- clients ---- */

static inline unsigned value_of(const struct message *message)
{
    return (unsigned)strtoul(message->frame + strlen("data: "), NULL, 10);
}

/* What stands behind a position, in pages; NULL at the end.  `*ret_stale`: it is gone. */
static inline struct history_page *read_after(struct node *node, uint64_t after, bool *ret_stale)
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

static inline uint64_t newest_of(const struct node *node)
{
    struct history_bounds bounds;

    history_bounds(node->history, &bounds);
    return bounds.newest;
}

static inline uint64_t trimmed_of(const struct node *node)
{
    struct history_bounds bounds;

    history_bounds(node->history, &bounds);
    return bounds.trimmed;
}

/* What the client got is what its gateway has, as far as that goes back. */
static inline void check_client(struct client *client)
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

static inline void set_id(struct client *client, const char *epoch, uint64_t position)
{
    memcpy(client->epoch, epoch, SSE_EPOCH_BYTES);
    client->position = position;
    client->has_id = true;
}

static inline void reset(struct client *client, uint64_t position)
{
    client->node->world->counts.resets++;
    client->got_n = 0;
    client->start = position;
    set_id(client, history_epoch(client->node->history), position);
}

/* The id of an event, or now and then that of a checkpoint behind it. */
static inline void take_event(struct client *client, const struct message *message)
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

static inline void feed(struct client *client)
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

static inline void feed_all(struct node *node)
{
    for (size_t i = 0; i < CLIENTS; i++)
        if (node->world->clients[i].node == node)
            feed(&node->world->clients[i]);
}

/* A client comes to a gateway with what it was told last. */
static inline void come(struct client *client, struct node *node)
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

#endif
