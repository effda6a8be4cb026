/* SPDX-License-Identifier: MIT */
/* What a worker does of a question about streams (ask_workers.h): goes through those of its own
 * that are meant, and lists or ends them.  Each of these three is an `ask`.  Worker's thread. */
#ifndef BUGLE_STREAMS_VISIT_H
#define BUGLE_STREAMS_VISIT_H

#include <jansson.h>

#include "event/filter.h"
#include "stream/stream.h"

struct ask_workers_slot;
struct service;
struct service_shared;

/* Rows as JSON. */
void streams_visit_list(struct service *service, struct ask_workers_slot *slot);

/* Rows as bytes, as many as there is room for.  One that is too long for a message is without its
 * topics, and says how many those are. */
void streams_visit_write(struct service *service, struct ask_workers_slot *slot);

void streams_visit_end(struct service *service, struct ask_workers_slot *slot);

/* A stream, without its user and topics; any thread. */
json_t *streams_visit_facts_json(const struct service_shared *shared,
                                 const struct stream_facts *facts);

/* A name as text, or null. */
json_t *streams_visit_name_json(const struct message_name *name);

#endif
