/* SPDX-License-Identifier: MIT */
/*
 * Problems of a request that lacks a credential or a right: 401 and 403 with the WWW-Authenticate
 * of RFC 6750 section 3.  All return false, as problem_set().  Any thread.
 */
#ifndef BUGLE_CHALLENGE_H
#define BUGLE_CHALLENGE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/stats.h"
#include "wire/problem.h"

/* 401: there is no credential. */
bool challenge_no_credential(struct problem *problem);

/* 401: there is one, and `sentence` says what is wrong with it. */
bool challenge_bad_credential(struct problem *problem, const char *sentence);

/* 403: the caller lacks the right `publish`, `subscribe` or `admin`. */
bool challenge_no_right(struct problem *problem, const char *right);

/* 403: the caller's right does not cover a topic or pattern.  The same for a topic that has events
 * and for one that has none: nothing looks. */
bool challenge_no_right_to(struct problem *problem, const char *right, const char *topic,
                           size_t topic_n);

/* Count a 401 or 403; other problems are not counted here. */
void challenge_count(struct stats *stats, const struct problem *problem);

#endif
