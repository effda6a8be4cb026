/* SPDX-License-Identifier: MIT */
/*
 * Tickets that several nodes take: this node asks the log about uses, tells it what became of them,
 * and ends the streams whose ticket another use has (cluster/shared_ticket.h).
 *
 * What is told goes in batches, one under way at a time, and beyond NODE_TICKETS_NEWS_MAX that wait
 * it is dropped, as it is when the log cannot be had.  A ticket whose end is not told goes on as
 * one with a live stream.
 *
 * Whenever the node follows the log anew, which may have lost what it knew, and others may have
 * taken streams over that this node did not hear of, it goes through its live streams with tickets,
 * a batch at a time: each is known again, or ends.
 */
#ifndef BUGLE_NODE_TICKETS_H
#define BUGLE_NODE_TICKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/ticket.h"
#include "cluster/shared_log.h"
#include "cluster/shared_ticket.h"
#include "hub/hub_share.h"
#include "loop/inbox.h"

#define NODE_TICKETS_NEWS_MAX 65536
/* Of what is said to this node when a stream is taken over. */
#define NODE_TICKETS_SAY_BYTES 128

struct node_service;
struct node_tickets;
struct service;

/* NULL when out of memory.  Borrows `nodes`. */
struct node_tickets *node_tickets_new(struct node_service *nodes);
void node_tickets_free(struct node_tickets *tickets); /* accepts NULL */

/* A question about a use.  The asker owns it, and leaves it alone until `done`. */
struct node_tickets_ask {
    struct shared_ticket_use use; /* all but the name, and what is said */
    enum shared_log_outcome outcome;
    void (*done)(void *arg); /* called with the ask, on the worker's thread, once */

    struct service *service; /* the rest is set here */
    struct hub_share_task task;
    struct shared_log_question question;
    struct inbox_note note;
    char say[NODE_TICKETS_SAY_BYTES];
};

/* Worker's thread.  Returns whether `done` will be called; else the log was left. */
bool node_tickets_ask(struct node_service *nodes, struct service *service,
                      const unsigned char id[TICKET_ID_BYTES], struct node_tickets_ask *ask);

/* Tell that a use is over, and what was sent last; that the node forgets a ticket.  Any thread. */
void node_tickets_over(struct node_service *nodes, const unsigned char id[TICKET_ID_BYTES],
                       uint64_t mark, uint64_t position);
void node_tickets_forget(struct node_service *nodes, const unsigned char id[TICKET_ID_BYTES]);

/* Another use has the ticket of this one: end its stream, if it is one.  Any thread. */
void node_tickets_end(struct node_service *nodes, uint64_t mark);

/* Look whether the node follows the log anew.  Called from time to time, on one thread. */
void node_tickets_look(struct node_service *nodes);

#endif
