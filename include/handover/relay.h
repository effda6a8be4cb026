/* SPDX-License-Identifier: MIT */
/*
 * Two hubs over a link (handover_link.h), once the store has changed hands.  The old process keeps
 * what its clients have under way: its hub passes their operations on, and gets back the answers
 * and all that is committed, so that its streams go on until they end.  The new process's hub
 * serves them like those of one more worker.
 *
 * An operation is answered exactly once: by the other hub, or with -ECONNRESET when the link ends
 * first, since nobody knows then whether it was stored.
 */
#ifndef BUGLE_RELAY_H
#define BUGLE_RELAY_H

#include <stdbool.h>

#include "handover/handover_link.h"
#include "hub/hub.h"

/* The old process's end. */
struct relay_client;

/* Borrows both.  NULL when out of memory. */
struct relay_client *relay_client_new(struct hub *hub, struct handover_link *link);
void relay_client_free(struct relay_client *client); /* the hub is stopped; accepts NULL */

/* For hub_forward(). */
struct hub_relay *relay_client_relay(struct relay_client *client);

/* HANDOVER_LINK_BATCH or HANDOVER_LINK_ANSWER.  Returns false when it makes no sense: the link is
 * to be closed then, and relay_client_end() called.  Main thread. */
bool relay_client_frame(struct relay_client *client, const struct handover_link_frame *frame);

/* The link is of no use any more: answer all that is forwarded, and what still comes at once.  Main
 * thread. */
void relay_client_end(struct relay_client *client);

/* The new process's end. */
struct relay_host;

/* Before hub_start().  Borrows both.  NULL when out of memory. */
struct relay_host *relay_host_new(struct hub *hub, struct handover_link *link);

/* Events do not come here any more either: nor do they go on to the old process.  Main thread. */
void relay_host_end_feed(struct relay_host *host);

/* The old process is gone: the link is not used any more.  Main thread. */
void relay_host_end(struct relay_host *host);
void relay_host_free(struct relay_host *host); /* the hub is stopped; accepts NULL */

/* HANDOVER_LINK_PUBLISH or HANDOVER_LINK_NO_FEED.  Returns false when it makes no sense or there is
 * no memory for it: the link is to be closed then.  Main thread. */
bool relay_host_frame(struct relay_host *host, const struct handover_link_frame *frame);

#endif
