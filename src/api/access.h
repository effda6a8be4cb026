/* SPDX-License-Identifier: MIT */
/*
 * Whether the caller of a request may do what it asks: the rules of auth.mode=token. The right that
 * each path needs stands in the table of routes.c; credential.h says who the caller is.
 *
 *   /healthz, /readyz, pages   open
 *   /events                    who may read something, or anybody where auth.anonymous has patterns
 *   /api/push                  who may publish something; each event is asked about once it is read
 *   /api/history               who has the admin right, or asks for what it may read anyway
 *   /api/tickets               who has the admin right; any caller for itself, or with the ticket
 *                              right for any user, and topics that it may read itself
 *   all else                   who has the admin right
 *
 * Worker's thread.
 */
#ifndef BUGLE_ACCESS_H
#define BUGLE_ACCESS_H

#include <stdbool.h>

#include "api/publish_body.h"
#include "api/query_params.h"
#include "http/request.h"
#include "wire/problem.h"

/* Set the request's `identity` and say whether the route may be gone on with: -1, or an answer was
 * given and is to be returned, as respond.h has it.  Before any body. */
int access_check(struct request *request);

/*
 * Hold what a stream asks for against what its caller may have: the user becomes the caller's, and
 * a stream that names no topic gets all that the caller may read.
 *
 * names  of the query; changed
 *
 * Returns false with a problem.
 */
bool access_limit_stream(struct request *request, struct query_params_names *names,
                         struct problem *ret_problem);

/* The same, of a listing, where one with the admin right may ask for anything. */
bool access_limit_listing(struct request *request, struct query_params_names *names,
                          struct problem *ret_problem);

/* The same, of whoever holds a stream already: without counting a refusal. */
bool access_limit_names(const struct conf *conf, const struct identity *identity,
                        struct query_params_names *names, struct problem *ret_problem);

/* Whether a caller, NULL for an anonymous one, may publish anything at all.  Returns false with a
 * problem, a 401 or 403 to be counted by who answers it. */
bool access_may_publish_some(const struct identity *identity, const struct conf *conf,
                             struct problem *ret_problem);

/* Whether a caller, NULL for an anonymous one, may publish to a topic.  As
 * access_may_publish_some(). */
bool access_may_publish_to(const struct identity *identity, const struct conf *conf,
                           const char *topic, size_t topic_n, struct problem *ret_problem);

/* Whether a caller that may publish something may publish each of these events.  Returns false with
 * a problem, a 403 to be counted by who answers it, that points at the first that is not covered.
 *
 * Any thread.  Cost: up to 2 ns for each byte of a topic and pattern that the caller was granted,
 * so many of both are for a thread beside the loop. */
bool access_may_publish(const struct identity *identity, const struct conf *conf,
                        const struct publish_body *body, struct problem *ret_problem);

/* Whether the caller may have a ticket made for this user and these topics: anything with the admin
 * right, otherwise only topics that the caller may read itself, and only its own user unless it has
 * the ticket right.  Without a user in `*user` it becomes the caller's then; `ret_public` has a bit
 * for each topic that the caller may read only because everybody may.  Returns false with a
 * problem. */
bool access_may_give_ticket(const struct request *request, struct grants_pattern *user,
                            const struct grants_pattern *topics, size_t topics_n,
                            uint16_t *ret_public, struct problem *ret_problem);

#endif
