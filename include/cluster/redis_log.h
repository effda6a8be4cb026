/* SPDX-License-Identifier: MIT */
/*
 * The shared log on a Redis (shared_log.h): three connections to its master, which come and go
 * together.  One appends, and asks all that is answered at once; one waits for entries (tail); one
 * hears what others say (talk).  When any of them ends all do, the master is looked for, and they
 * come back.  The server is checked each time (cluster_check.h).
 *
 * Order and at most once are the scripts' doing: append.lua, attach.lua.  With
 * HISTORY_REPLICATED a group is done when WAIT has counted `replicas`.
 */
#ifndef BUGLE_REDIS_LOG_H
#define BUGLE_REDIS_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/redis_url.h"
#include "cluster/shared_log.h"
#include "history/history.h"

struct event_base;
struct redis_trust;

/* All that it points to is borrowed, for as long as the log. */
struct redis_log_conf {
    const struct redis_url *url;
    const struct redis_trust *trust; /* NULL: no TLS */
    const char *user;                /* cluster.user and cluster.password, or what the URL has */
    const char *password;
    const char *prefix;
    const char *node;        /* cluster.node */
    const char *incarnation; /* of this process; see SHARED_LOG_WRITER_BYTES */
    enum history_durability promise;
    unsigned replicas;
    bool assumes_disk;
    bool is_trial; /* take no lease, nor mind whose it is: another process of ours still has it */
    bool was_checked; /* by redis_start(), which has given the warnings */
    int64_t timeout_ms;
    int64_t lease_ms;
    int64_t key_window_ms;
    uint64_t log_bytes;     /* the log is trimmed to this, */
    int64_t log_age_ms;     /* and to this */
    size_t group_bytes_max; /* of the body of one group */
};

/* NULL when out of memory.  Thread: the loop's. */
struct shared_log *redis_log_new(struct event_base *base, const struct redis_log_conf *conf,
                                 const struct shared_log_hooks *hooks);

/* Give the lease of our name up, before an orderly stop: another process may have it at once.
 * `done` is called from the loop.  Returns 0, -ENOTCONN, -ENOMEM: it will not be. */
int redis_log_leave(struct shared_log *shared, void (*done)(void *arg), void *arg);

#endif
