/* SPDX-License-Identifier: MIT */
/*
 * Which server is the master.  With redis:// the one that is named, or the one to which it sends
 * us (MOVED).  With redis+sentinel:// all sentinels are asked, every second and after any error,
 * and the answer with the highest epoch of configuration counts: a sentinel that was cut off goes
 * on naming a former master.  Whether it is a master, ROLE tells who connects (redis_link.h).
 *
 * Of the loop's thread.
 */
#ifndef BUGLE_REDIS_FIND_H
#define BUGLE_REDIS_FIND_H

#include <stdint.h>

#include "cluster/redis_url.h"

struct event_base;
struct redis_find;
struct redis_trust;

struct redis_find_conf {
    const struct redis_url *url; /* borrowed, as the next */
    const char *user;            /* for sentinels that want a password too */
    const char *password;
    int64_t timeout_ms; /* of a sentinel */

    /* No sentinel has named a master for a round, and why the last one that was asked did not;
     * again while that is so.  From the loop; with the `arg` of `found`.  NULL: not called. */
    void (*lost)(void *arg, const char *why);
};

/* Connect to this one: after redis_find_again(), or because another is the master now.  From the
 * loop; the place is borrowed. */
typedef void redis_find_found(void *arg, const struct redis_place *place);

/* NULL when out of memory. */
struct redis_find *redis_find_new(struct event_base *base, const struct redis_find_conf *conf,
                                  redis_find_found *found, void *arg);
void redis_find_free(struct redis_find *find); /* accepts NULL; not from within `found` */

/* Ask, and call `found` even if nothing has changed: at the beginning and after an error.  At once,
 * and after errors that follow each other at 0.1 to 1 s. */
void redis_find_again(struct redis_find *find);

/* Ask the sentinels now, and not in the next second: something went as it does when another is the
 * master.  `found` follows only if one is.  Without sentinels it does nothing. */
void redis_find_look(struct redis_find *find);

/* A server said that it is that one; a place that came to nothing is forgotten by the next
 * redis_find_again(). */
void redis_find_moved(struct redis_find *find, const struct redis_place *place);

/* What was found works: the next error is a first one. */
void redis_find_works(struct redis_find *find);

#endif
