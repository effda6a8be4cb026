/* SPDX-License-Identifier: MIT */
/*
 * Whether a server can be the shared log: its version, the rights of our user, what it does when
 * its memory is full, whether it keeps what cluster.promise says, and whether somebody else has our
 * name or our keys.  Each refusal is a line that says what to do.
 *
 * Of the loop's thread.
 */
#ifndef BUGLE_CLUSTER_CHECK_H
#define BUGLE_CLUSTER_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "history/history.h"

struct cluster_check;
struct event_base;
struct redis_link;

/* Of these, all texts are borrowed. */
struct cluster_check_conf {
    const char *prefix;      /* cluster.prefix */
    const char *node;        /* cluster.node */
    const char *incarnation; /* a lease with this one is our own; NULL: none is */
    enum history_durability promise;
    unsigned replicas;  /* with HISTORY_REPLICATED */
    bool assumes_disk;  /* cluster.assume=disk: do not ask CONFIG */
    bool is_quiet;      /* the warnings were given before */
    bool skips_lease;   /* whoever has it */
    int64_t timeout_ms; /* of each question */
    int64_t lease_ms;
};

enum cluster_verdict {
    CLUSTER_GOOD,
    CLUSTER_REFUSED, /* will not do until somebody changes something */
    CLUSTER_CUT_OFF, /* could not be asked, now */
};

/* Called once, from the loop; `line` is borrowed, and empty when all is good.  Not to free the
 * check from within. */
typedef void cluster_check_done(void *arg, enum cluster_verdict verdict, const char *line);

/*
 * Ask over a link that is up, and that must outlive the check.  What is odd but will do is logged
 * as a warning.  NULL when out of memory.
 */
struct cluster_check *cluster_check_begin(struct event_base *base, struct redis_link *link,
                                          const struct cluster_check_conf *conf,
                                          cluster_check_done *done, void *arg);
/* The lease of our name that nobody renews: what is left of a process that is gone.  Borrowed, and
 * empty when there is none.  After a good verdict, from within `done`. */
const char *cluster_check_abandoned(const struct cluster_check *check);

/* Unless it is done its link is closed before.  Accepts NULL. */
void cluster_check_free(struct cluster_check *check);

#endif
