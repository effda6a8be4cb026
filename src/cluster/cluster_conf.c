/* SPDX-License-Identifier: MIT */
/* What the settings of [cluster] come to.  See cluster_conf.h. */
#include "config.h"
#include "cluster/cluster_conf.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "cluster/redis_trust.h"

/* Of one group, which is at most what one publish may have, framed: limits.body_bytes goes up to
 * 64M.  Other nodes may have a larger limit than this one, which has to follow them. */
#define GROUP_BYTES_MAX ((size_t)256 << 20)

static_assert((int)CONF_PROMISE_MEMORY == (int)HISTORY_MEMORY &&
                  (int)CONF_PROMISE_DISK == (int)HISTORY_DISK &&
                  (int)CONF_PROMISE_REPLICATED == (int)HISTORY_REPLICATED,
              "conf does not know history");
static_assert(CONF_NODE_BYTES == SHARED_LOG_NODE_BYTES, "conf does not know the log");
static_assert(CONF_NODE_BYTES + CLUSTER_INCARNATION_BYTES <= SHARED_LOG_WRITER_BYTES,
              "a writer is both of them");

/* A user without a password would not be said at all, and two passwords are one too many. */
static int cluster_check_user(const struct conf *conf, const struct redis_url *url,
                              struct conf_error *ret_error)
{
    bool has_user = conf->cluster.user[0] != '\0';
    bool has_password = conf->cluster.password[0] != '\0';

    if (url->password[0] != '\0' && (has_user || has_password))
        return conf_refuse(ret_error, -EINVAL,
                           "cluster.log has a password, and cluster.%s is set too: take it out of "
                           "one of them",
                           has_user ? "user" : "password");
    if (has_user && !has_password)
        return conf_refuse(ret_error, -EINVAL, "cluster.user is set, but cluster.password is not");
    return 0;
}

static int cluster_trust(struct cluster_conf *cluster, struct conf_error *ret_error)
{
    const char *file = cluster->conf->cluster.ca;

    if (cluster->url.is_tls) {
        cluster->trust = redis_trust_new(file, ret_error);
        return cluster->trust != NULL ? 0 : -EINVAL;
    }
    if (file[0] != '\0')
        return conf_refuse(ret_error, -EINVAL,
                           "cluster.ca is set, but cluster.log is not rediss://, so nothing would "
                           "be inside TLS");
    return 0;
}

static void cluster_name(struct cluster_conf *cluster)
{
    unsigned long long number;

    arc4random_buf(&number, sizeof(number));
    snprintf(cluster->incarnation, sizeof(cluster->incarnation), "%016llx", number);
    snprintf(cluster->writer, sizeof(cluster->writer), "%s.%s", cluster->conf->cluster.node,
             cluster->incarnation);
}

static void cluster_fill(struct cluster_conf *cluster)
{
    const struct conf *conf = cluster->conf;
    bool is_in_url = cluster->url.password[0] != '\0';

    cluster->log = (struct redis_log_conf){
        .url = &cluster->url,
        .trust = cluster->trust,
        .user = is_in_url ? cluster->url.user : conf->cluster.user,
        .password = is_in_url ? cluster->url.password : conf->cluster.password,
        .prefix = conf->cluster.prefix,
        .node = conf->cluster.node,
        .incarnation = cluster->incarnation,
        .promise = (enum history_durability)conf->cluster.promise,
        .replicas = (unsigned)conf->cluster.replicas,
        .assumes_disk = conf->cluster.assume != 0,
        .timeout_ms = (int64_t)conf->cluster.timeout_ms,
        .lease_ms = (int64_t)conf->cluster.lease_ms,
        .key_window_ms = (int64_t)conf->history.idempotency_window_ms,
        .log_bytes = conf->cluster.log_bytes,
        .log_age_ms = (int64_t)conf->cluster.log_age_ms,
        .group_bytes_max = GROUP_BYTES_MAX,
    };
}

struct cluster_conf *cluster_conf_new(const struct conf *conf, struct conf_error *ret_error)
{
    struct cluster_conf *cluster = calloc(1, sizeof(*cluster));

    if (cluster == NULL) {
        conf_refuse(ret_error, -ENOMEM, "out of memory");
        return NULL;
    }
    cluster->conf = conf_ref(conf);
    if (redis_url_parse(conf->cluster.log, &cluster->url, ret_error) == 0 &&
        cluster_check_user(conf, &cluster->url, ret_error) == 0 &&
        cluster_trust(cluster, ret_error) == 0) {
        cluster_name(cluster);
        cluster_fill(cluster);
        return cluster;
    }
    cluster_conf_free(cluster);
    return NULL;
}

void cluster_conf_free(struct cluster_conf *cluster)
{
    if (cluster == NULL)
        return;
    redis_trust_free(cluster->trust);
    conf_unref(cluster->conf);
    free(cluster);
}

int cluster_conf_check(const struct conf *conf, struct conf_error *ret_error)
{
    struct cluster_conf *cluster;

    if (conf->cluster.log[0] == '\0')
        return 0;
    cluster = cluster_conf_new(conf, ret_error);
    cluster_conf_free(cluster);
    return cluster != NULL ? 0 : -EINVAL;
}
