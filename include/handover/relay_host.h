/* SPDX-License-Identifier: MIT */
/*
 * The new process's end of a link (handover_link.h): its hub serves the operations that the old
 * process passes on (relay_client.h) like those of one more worker, and sends back the answers and
 * all that is committed.
 *
 * Where a log is shared (hub_share.h) the history may lose events that streams of the old process
 * were sent: its streams then get no more, end, and are told by this process when they come back.
 */
#ifndef BUGLE_RELAY_HOST_H
#define BUGLE_RELAY_HOST_H

#include <stdbool.h>

#include "handover/handover_link.h"
#include "hub/hub.h"

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
