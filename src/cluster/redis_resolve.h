/* SPDX-License-Identifier: MIT */
/*
 * The addresses of a host's name, without waiting: getaddrinfo() has no deadline, so a thread asks
 * it that nobody waits for.  Of the loop's thread.
 */
#ifndef BUGLE_REDIS_RESOLVE_H
#define BUGLE_REDIS_RESOLVE_H

#include <netdb.h>

#include "cluster/redis_url.h"

struct event_base;
struct redis_resolve;

/* addresses  given, for freeaddrinfo(); NULL: there are none, and `why` says so */
typedef void redis_resolve_done(void *arg, struct addrinfo *addresses, const char *why);

/*
 * Begin.  `done` is called once, from the loop, and not before this returns.  NULL: no memory, no
 * thread or no descriptor.
 */
struct redis_resolve *redis_resolve_new(struct event_base *base, const struct redis_place *place,
                                        redis_resolve_done *done, void *arg);

/* Whether this is the question of that place. */
bool redis_resolve_is_of(const struct redis_resolve *resolve, const struct redis_place *place);

/* Give it up, or up what remains of it, also from within `done`.  Accepts NULL. */
void redis_resolve_free(struct redis_resolve *resolve);

#endif
