/* SPDX-License-Identifier: MIT */
/*
 * The old process's end of a link (handover_link.h), once the store has changed hands.  It keeps
 * what its clients have under way: its hub passes their operations on to the other hub
 * (relay_host.h), and gets back the answers and all that is committed, so that its streams go on
 * until they end.
 *
 * An operation is answered exactly once: by the other hub, or with -ECONNRESET when the link ends
 * first, since nobody knows then whether it was stored.
 */
#ifndef BUGLE_RELAY_CLIENT_H
#define BUGLE_RELAY_CLIENT_H

#include <stdbool.h>

#include "handover/handover_link.h"
#include "hub/hub.h"

struct relay_client;

/* Borrows both.  NULL when out of memory. */
struct relay_client *relay_client_new(struct hub *hub, struct handover_link *link);
void relay_client_free(struct relay_client *client); /* the hub is stopped; accepts NULL */

/* For hub_forward(). */
struct hub_relay *relay_client_relay(struct relay_client *client);

/* HANDOVER_LINK_BATCH, HANDOVER_LINK_ANSWER or HANDOVER_LINK_LINEAGE.  Returns false when it makes
 * no sense: the link is to be closed then, and relay_client_end() called.  Main thread. */
bool relay_client_frame(struct relay_client *client, const struct handover_link_frame *frame);

/* The link is of no use any more: answer all that is forwarded, and what still comes at once.  Main
 * thread. */
void relay_client_end(struct relay_client *client);

#endif
