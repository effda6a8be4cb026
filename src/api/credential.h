/* SPDX-License-Identifier: MIT */
/*
 * The credential of a request: where it is, and whose.
 *
 * A credential is the header `Authorization: Bearer`, else for /ws the subprotocol `bearer.TOKEN`,
 * else for streams the query parameter `ticket`, or `access_token` where auth.query_token allows
 * it, else the cookie that auth.cookie names.  The first of these that is there counts, and a
 * request whose credential is not valid is refused: a bad token does not make a caller anonymous.
 * `Authorization: Basic` and the like are for a proxy in front: they count, as invalid, only when
 * there is nothing else.
 */
#ifndef BUGLE_CREDENTIAL_H
#define BUGLE_CREDENTIAL_H

#include <stdbool.h>

#include "http/request.h"
#include "wire/problem.h"

/* Set the request's `identity`, `way`, `ticket` and `has_secret_url` from its credential; without
 * one `identity` stays NULL, and that is no mistake.  Worker's thread.  Returns false with a
 * problem: 401, 403, 429 or 503. */
bool credential_identify(struct request *request, struct problem *ret_problem);

#endif
