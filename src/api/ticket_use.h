/* SPDX-License-Identifier: MIT */
/*
 * The ticket that a stream comes with: whose it is, and its use from the opening of the stream to
 * its end.  ticket_table.h has the rules.  All but the first do nothing without a ticket (NULL).
 * Worker's thread.
 */
#ifndef BUGLE_TICKET_USE_H
#define BUGLE_TICKET_USE_H

#include <stdbool.h>
#include <stddef.h>

#include "http/request.h"
#include "stream/stream.h"
#include "wire/problem.h"

struct service;
struct service_shared;
struct ticket_keys;

/* With which tickets are sealed and opened now. */
const struct ticket_keys *ticket_use_keys(const struct service *service);

/* Open the text of a ticket and set the request's `identity` and `ticket` from it.  Whether it may
 * be used just now is asked later, by ticket_use_begin().  Returns false with a problem. */
bool ticket_use_identify(struct request *request, const char *text, size_t text_n,
                         struct problem *ret_problem);

/*
 * Use it, before the stream is opened; ends an older stream of the same ticket.
 *
 * TICKET_USE_REFUSED  there is a problem
 * TICKET_USE_GOOD     one of the next two functions follows
 * TICKET_USE_WAITS    the shared log is asked: `request->admission` is set.  The caller suspends
 * the request, which is woken then, and calls this again
 */
enum ticket_use_result { TICKET_USE_REFUSED, TICKET_USE_GOOD, TICKET_USE_WAITS };
enum ticket_use_result ticket_use_begin(struct request *request, const struct stream_start *start,
                                        struct problem *ret_problem);

/* A request that waited ends instead: free its `admission`. */
void ticket_use_abandon(struct request *request);

void ticket_use_opened(const struct service_shared *shared, const struct ticket *ticket,
                       const struct stream *stream);
void ticket_use_failed(const struct service_shared *shared, const struct ticket *ticket);

/* Have a stream end because another one has its ticket.  Any thread. */
void ticket_use_end_stream(const struct service_shared *shared, uint64_t stream_id);

/* The stream is over, but still there. */
void ticket_use_closed(const struct service_shared *shared, const struct ticket *ticket,
                       const struct stream *stream);

#endif
