/* SPDX-License-Identifier: MIT */
/* What the parts of a node's service to others have in common: node_service.c says and hears,
 * node_answers.c answers questions, node_orders.c carries orders out, node_tickets.c has tickets.
 */
#ifndef BUGLE_NODE_SERVICE_INTERNAL_H
#define BUGLE_NODE_SERVICE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "api/ask_workers.h"
#include "api/node_service.h"
#include "api/node_tickets.h"
#include "cluster/node_message.h"
#include "cluster/node_talk.h"
#include "http/service.h"
#include "hub/hub_share.h"

struct node_order;

struct node_service {
    struct node_service_conf conf;
    struct node_talk *talk;
    struct node_tickets *tickets;
    _Atomic unsigned answering_n; /* questions of other nodes */

    /* The clock of the log's server, and when it was read by our own.  Hub's thread. */
    int64_t clock_ms;
    int64_t clock_read_ms; /* monotonic; 0: never */

    pthread_mutex_t lock; /* over the orders */
    STAILQ_HEAD(node_orders, node_order) orders;
    size_t orders_n;
    bool is_ordered; /* the first of them is being carried out */
};

/* ---- node_service.c ---- */

/* Have something said on the hub's thread, which may get lost.  `to` NULL: to all.  Any thread.
 * Returns 0; -ENOMEM; -ENOTCONN: the log was left. */
int node_service_say(struct node_service *nodes, const char *to,
                     const struct node_message *message);

/* Hub's thread. */
void node_service_count(struct node_service *nodes, enum stats_id id);

/* ---- node_answers.c ---- */

/* Answer a question: to another node, or to this one's own.  Any thread.  Returns whether there
 * will be an answer. */
bool node_answers_begin(struct node_service *nodes, const char *from,
                        const struct node_message_question *question);

/* Say how many streams there were, to whoever asked. */
void node_answers_say_count(struct node_service *nodes, const char *to, uint64_t id,
                            uint64_t count);

/* Have workers do what a question is about, with the rest of `ask_workers` filled in.  NULL when
 * out of memory. */
struct ask_workers *node_answers_ask(struct node_service *nodes,
                                     const struct node_message_question *question);

/* ---- node_orders.c ---- */

void node_orders_init(struct node_service *nodes);
void node_orders_free(struct node_service *nodes);

#endif
