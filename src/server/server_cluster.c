/* SPDX-License-Identifier: MIT */
/*
 * The log that this gateway shares with others: whether it can be had as the settings say, before
 * anything is served, and how the hub comes by it.
 */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "api/node_service.h"
#include "base/log.h"
#include "base/memory_budget.h"
#include "cluster/redis_log.h"
#include "cluster/redis_start.h"
#include "handover/handover_new.h"
#include "hub/hub_share.h"
#include "server/server_internal.h"

#define SHOWN_BYTES 256

/* ---- the hub's thread ---- */

static struct shared_log *make_log(void *arg, struct event_base *base,
                                   const struct shared_log_hooks *hooks)
{
    const struct server *server = arg;

    return redis_log_new(base, &server->cluster->log, hooks);
}

static int leave_log(void *arg, struct shared_log *log, void (*done)(void *arg), void *done_arg)
{
    (void)arg;
    return redis_log_leave(log, done, done_arg);
}

static void on_heard(void *arg, const char *bytes, size_t bytes_n)
{
    const struct server *server = arg;

    node_service_heard(server->shared.nodes, bytes, bytes_n);
}

static void on_order(void *arg, const char *from, uint64_t seq, const char *order, size_t order_n)
{
    const struct server *server = arg;

    (void)seq; /* the order names itself */
    node_service_order(server->shared.nodes, from, order, order_n);
}

/* ---- the main thread ---- */

/* The process before this one has the name's lease until it gives its store up, and waits for each
 * step no longer than server.handover_timeout. */
static int try_log(const struct server *server, struct conf_error *ret_error)
{
    struct redis_log_conf log = server->cluster->log;
    int64_t patience_ms = log.timeout_ms;
    int64_t step_ms = (int64_t)server->conf->server.handover_timeout_ms / 2;

    log.is_trial = server->takeover != NULL && !handover_new_is_alone(server->takeover);
    if (log.is_trial && patience_ms > step_ms)
        patience_ms = step_ms;
    return redis_start(&log, patience_ms, ret_error);
}

int server_build_cluster(struct server *server)
{
    const struct conf *conf = server->conf;
    struct conf_error error;
    int result;

    if (conf->cluster.log[0] == '\0')
        return 0;
    server->cluster = cluster_conf_new(conf, &error);
    if (server->cluster == NULL)
        return server_fail(error.text);
    result = try_log(server, &error);
    if (result == -EAGAIN)
        log_warning("cluster.log cannot be reached, and is tried again: %s", error.text);
    else if (result != 0)
        return server_fail(error.text);
    server->cluster->log.was_checked = result == 0;
    return 0;
}

static bool run_task(void *arg, struct hub_share_task *task)
{
    return hub_share_run(((struct server *)arg)->hub, task);
}

static void get_facts(void *arg, struct hub_share_facts *ret_facts)
{
    hub_share_get_facts(((struct server *)arg)->hub, ret_facts);
}

static int build_nodes(struct server *server)
{
    const struct node_service_conf conf = {
        .shared = &server->shared,
        .node = server->cluster->log.node,
        .ask_timeout_ms = (int64_t)server->conf->cluster.ask_timeout_ms,
        .run = run_task,
        .get_facts = get_facts,
        .arg = server,
    };

    server->shared.nodes = node_service_new(&conf);
    return server->shared.nodes != NULL ? 0 : -ENOMEM;
}

int server_share_hub(struct server *server)
{
    struct cluster_conf *cluster = server->cluster;
    struct hub_share_conf share = {
        .make = make_log, .leave = leave_log, .heard = on_heard, .order = on_order, .arg = server};

    if (cluster == NULL)
        return 0;
    if (build_nodes(server) != 0)
        return server_fail("out of memory");
    share.node = cluster->log.node;
    share.writer = cluster->writer;
    share.promise = cluster->log.promise;
    share.account = memory_budget_counter(server->memory, MEMORY_BUDGET_EVENTS);
    share.answer_timeout_ns = (int64_t)server->conf->cluster.answer_timeout_ms * 1000000;
    return hub_share(server->hub, &share) == 0 ? 0 : server_fail("out of memory");
}

void server_announce_cluster(const struct server *server)
{
    static const char *const promises[] = {
        [HISTORY_MEMORY] = "memory", [HISTORY_DISK] = "disk", [HISTORY_REPLICATED] = "replicated"};
    const struct conf *conf = server->conf;
    const char *changed = conf_first_changed(conf, "cluster.");
    char shown[SHOWN_BYTES];

    /* an empty variable of a compose file would leave a gateway alone that is one of several */
    if (server->cluster == NULL && changed != NULL)
        log_warning("%s is set, but cluster.log is not: this gateway shares its history with no "
                    "other",
                    changed);
    if (server->cluster != NULL)
        log_info("shares the history at %s as node %s, promise %s",
                 conf_hide_password(conf->cluster.log, shown, sizeof(shown)), conf->cluster.node,
                 promises[server->cluster->log.promise]);
}
