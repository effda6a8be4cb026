/* SPDX-License-Identifier: MIT */
/*
 * How keys reach the workers: made from settings and the fetched key set, a set for each worker,
 * and handed over as a call; a worker that takes one judges all its streams anew, and ends those
 * that would not be let in any more.
 *
 * Main thread.
 */
#ifndef BUGLE_KEY_ROLLOUT_H
#define BUGLE_KEY_ROLLOUT_H

#include <event2/event.h>

#include "conf/conf.h"
#include "http/service.h"

struct key_rollout;

/* Borrows all it is given, and puts its key set into `shared`.  NULL without memory, descriptors or
 * a thread. */
struct key_rollout *key_rollout_new(struct event_base *base, struct service_shared *shared,
                                    struct stats *stats);

/* Read all keys for the first time; waits some seconds for a key set.  The workers run. */
void key_rollout_start(struct key_rollout *keys, const struct conf *conf);

/* Settings have changed: read all keys again.  `conf` is borrowed until the next call. */
void key_rollout_reload(struct key_rollout *keys, const struct conf *conf);

void key_rollout_free(struct key_rollout *keys); /* accepts NULL */

#endif
