/* SPDX-License-Identifier: MIT */
/*
 * A question of a request to all nodes that have a lease, or to one: the request waits until they
 * have answered, but no longer than cluster.ask_timeout.  An order is one too, which the log brings
 * to the nodes; it is waited for from when the log has it.
 *
 * The worker's thread that has the request.
 */
#ifndef BUGLE_ASK_NODES_H
#define BUGLE_ASK_NODES_H

#include <jansson.h>
#include <stdbool.h>

#include "api/node_service.h"
#include "cluster/node_talk.h"
#include "event/message.h"
#include "event/topic.h"
#include "http/request.h"
#include "hub/hub_share.h"
#include "loop/inbox.h"
#include "wire/problem.h"

struct event;

struct ask_nodes {
    struct node_talk_question question; /* what was answered, once it is over */
    struct node_service *nodes;
    struct request *request;
    struct hub_share_facts facts; /* who has a lease */
    struct event *timer;
    int64_t until_ms;       /* monotonic clock */
    struct inbox_note note; /* that all have answered, or that the time is known */
    struct problem problem; /* of an order that was not given; `status` 0: none */

    /* an order */
    struct hub_op op;
    struct hub_share_task task;
    struct shared_log_question clock;
    struct message_name user, topic;
    char user_bytes[TOPIC_BYTES_MAX], topic_bytes[TOPIC_BYTES_MAX];
    char order[SHARED_LOG_ORDER_BYTES_MAX];

    size_t limit; /* the asker's own use, as is the next */
    char node[SHARED_LOG_NODE_BYTES];
};

/* Make one for a request, owned by it.  NULL with the problem: out of memory, or as many are under
 * way as may be. */
struct ask_nodes *ask_nodes_new(struct request *request, struct problem *ret_problem);

/* Whether other nodes can be reached, as far as is known. */
bool ask_nodes_can(const struct ask_nodes *ask);

/*
 * Ask all nodes, or one that is another; `question` is without its id.  Then suspended, until
 * `resumed` finds the answers.  Returns as respond.h.
 */
int ask_nodes_start(struct ask_nodes *ask, const char *to, struct node_message_question *question,
                    int (*resumed)(struct request *request));

/*
 * Give the order to end the streams of a user.  `resumed` finds the answers, or a problem.
 *
 * topic  `bytes` NULL: whatever they asked for.  Both are copied
 */
int ask_nodes_order(struct ask_nodes *ask, const struct message_name *user,
                    const struct message_name *topic, int (*resumed)(struct request *request));

/* The hub's answer to the operation of an order, on the worker that sent it. */
void ask_nodes_answered(struct hub_op *op);

/* What a node has answered; NULL: nothing, or not all of it. */
const struct node_talk_answer *ask_nodes_answer_of(const struct ask_nodes *ask, const char *node);

/* Those that have a lease and did not answer, by name. */
json_t *ask_nodes_missing(const struct ask_nodes *ask);

#endif
