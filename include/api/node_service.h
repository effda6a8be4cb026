/* SPDX-License-Identifier: MIT */
/*
 * What a node does for others, and asks of them, beside the log that they share: it lists and ends
 * its streams when another node asks for that, carries out the orders of the log, and has its own
 * questions and orders answered (ask_nodes.h), and its tickets decided by the log
 * (node_tickets.h).
 *
 * An order ends the streams that had begun when it was given, also where it is carried out much
 * later, by a node that was cut off.  How long ago it was given is asked of the log's server, whose
 * clock is the same for all nodes; so nothing depends on theirs, unless the log is out of reach at
 * that moment again.
 */
#ifndef BUGLE_NODE_SERVICE_H
#define BUGLE_NODE_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/shared_log.h"

struct hub_share_facts;
struct hub_share_task;
struct node_service;
struct service_shared;

/* The id of a stream as text, "node.0123456789abcdef", with a NUL. */
#define NODE_SERVICE_STREAM_BYTES (SHARED_LOG_NODE_BYTES + 17)

/* All that it points to is borrowed for as long as the node_service. */
struct node_service_conf {
    struct service_shared *shared; /* its services need not be there yet */
    const char *node;
    int64_t ask_timeout_ms;

    /* hub_share_run() and hub_share_get_facts() */
    bool (*run)(void *arg, struct hub_share_task *task);
    void (*get_facts)(void *arg, struct hub_share_facts *ret_facts);
    void *arg;
};

/* NULL when out of memory.  `shared->nodes` is for who makes it to set. */
struct node_service *node_service_new(const struct node_service_conf *conf);

/* Once nothing of the hub and of the workers runs any more.  Accepts NULL. */
void node_service_free(struct node_service *nodes);

/* Look whether the log is followed anew, which streams with tickets have to be told to.  Main
 * thread, some times a second. */
void node_service_look(struct node_service *nodes);

/* The hooks of hub_share.h.  Hub's thread. */
void node_service_heard(struct node_service *nodes, const char *bytes, size_t bytes_n);
void node_service_order(struct node_service *nodes, const char *from, const char *order,
                        size_t order_n);

/* Write a stream's id as this node gives it; `nodes` NULL: without a cluster, as it is. */
void node_service_put_stream(const struct node_service *nodes, uint64_t stream_id,
                             char to[NODE_SERVICE_STREAM_BYTES]);

/*
 * Read it, also without a node: then it is this one's.
 *
 * ret_node  the name with a NUL; empty: this node
 */
bool node_service_read_stream(const struct node_service *nodes, const char *text,
                              char ret_node[SHARED_LOG_NODE_BYTES], uint64_t *ret_stream_id);

#endif
