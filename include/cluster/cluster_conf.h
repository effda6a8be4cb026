/* SPDX-License-Identifier: MIT */
/*
 * What the settings of [cluster] come to for a log on a Redis, and this process's name there.
 */
#ifndef BUGLE_CLUSTER_CONF_H
#define BUGLE_CLUSTER_CONF_H

#include "cluster/redis_log.h"
#include "cluster/redis_url.h"
#include "cluster/shared_log.h"
#include "conf/conf.h"

#define CLUSTER_INCARNATION_BYTES 17 /* with a NUL */

/* Made once, immutable. */
struct cluster_conf {
    const struct conf *conf; /* a reference */
    struct redis_url url;
    struct redis_trust *trust;                   /* NULL: no TLS */
    char incarnation[CLUSTER_INCARNATION_BYTES]; /* random: of this process and no other */
    char writer[SHARED_LOG_WRITER_BYTES];        /* "node.incarnation" */
    struct redis_log_conf log;                   /* borrows from all of these */
};

/* From settings with cluster.log, after conf_read_secrets().  NULL with a line for the operator
 * that has no password in it.  Reads cluster.ca; blocks. */
struct cluster_conf *cluster_conf_new(const struct conf *conf, struct conf_error *ret_error);
void cluster_conf_free(struct cluster_conf *cluster); /* accepts NULL */

/* Whether that can be made, if cluster.log is set.  What only the server knows is for redis_start()
 * to tell.  Returns 0 or -EINVAL.  As above. */
int cluster_conf_check(const struct conf *conf, struct conf_error *ret_error);

#endif
