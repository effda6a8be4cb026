/* SPDX-License-Identifier: MIT */
/*
 * Before the gateway starts: whether the shared log can be had as the settings say.
 */
#ifndef BUGLE_REDIS_START_H
#define BUGLE_REDIS_START_H

#include <stdint.h>

#include "cluster/redis_log.h"

struct conf_error;

/*
 * Connect as the gateway will, check the server (cluster_check.h), and take the lease of the name
 * for `conf->incarnation`, unless this is a trial (`conf->is_trial`); then let go.
 *
 * patience_ms  how long to try when it cannot be reached; a check that has begun may take a lease
 *              more, which is how long it is unknown whether somebody renews one that is there
 *
 * Returns 0; -EINVAL: refuse to start, the line says what to do; -EAGAIN: it cannot be reached now,
 * which is no reason not to start, and the line says why; -ENOMEM.  Blocks; any thread.
 */
int redis_start(const struct redis_log_conf *conf, int64_t patience_ms,
                struct conf_error *ret_error);

#endif
