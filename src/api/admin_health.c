/* SPDX-License-Identifier: MIT */
/*
 * Whether the gateway is well, over HTTP: GET /healthz, GET /readyz, GET /api/stats.
 *
 * Where several gateways share a log, one that is cut off from it, or behind it, is not ready: a
 * balancer sends publishers and new streams to the others.  With `streams` in the query it is asked
 * for streams alone, which such a gateway goes on serving.
 */
#include "config.h"
#include "api/route.h"

#include <jansson.h>
#include <microhttpd.h>
#include <string.h>

#include "api/publish.h"
#include "base/clock.h"
#include "http/respond.h"
#include "http/service.h"
#include "hub/hub_share.h"

/* More than this behind the log, and other gateways do better. */
#define BEHIND_MAX_MS 5000

/* ---- health ---- */

int admin_health_live(struct request *request)
{
    return respond_json(request, MHD_HTTP_OK, json_pack("{s:s}", "status", "ok"));
}

static int health_respond_not_ready(struct request *request, const char *why)
{
    return respond_unavailable(request, 1, "not_ready", why);
}

/* A gateway whose disk has no room still serves streams, replay and ephemeral events. */
static int health_respond_ready(struct request *request, bool has_room)
{
    if (has_room)
        return respond_json(request, MHD_HTTP_OK, json_pack("{s:s}", "status", "ready"));
    return respond_json(request, MHD_HTTP_OK,
                        json_pack("{s:s, s:s}", "status", "ready", "publishing", "no_room"));
}

static int health_respond_probe(struct request *request)
{
    if (publish_result(request) != 0)
        return health_respond_not_ready(request, "The gateway does not accept events.");
    switch (history_trouble(hub_history(request->service->shared->hub))) {
    case HISTORY_GONE:
        return health_respond_not_ready(request,
                                        "The file of the store was moved, removed or replaced.");
    case HISTORY_DAMAGED:
        return health_respond_not_ready(request, "The file of the store is damaged.");
    case HISTORY_NO_MEMORY:
        return health_respond_not_ready(request, "The store is out of memory.");
    case HISTORY_FAILED:
        return health_respond_not_ready(request, "The store failed; restart the gateway.");
    case HISTORY_NO_ROOM:
        return health_respond_ready(request, false);
    case HISTORY_FINE:
        break;
    }
    return health_respond_ready(request, true);
}

/* What keeps this gateway from having what the others have; NULL: nothing. */
static const char *health_trouble_of_log(struct hub *hub)
{
    struct hub_share_facts facts;

    if (!hub_shares(hub))
        return NULL;
    hub_share_get_facts(hub, &facts);
    if (facts.state == LOG_NODE_STOPPED)
        return "The shared log has entries of a later version of Bugle: upgrade this node.";
    if (facts.state != LOG_NODE_FOLLOWING)
        return "The shared log cannot be followed: /api/stats and the gateway's log say why.";
    if (facts.behind_ms > BEHIND_MAX_MS)
        return "This node is more than 5 seconds behind the shared log.";
    return NULL;
}

static int health_respond_streams(struct request *request)
{
    const struct service_shared *shared = request->service->shared;

    if (shared->draining)
        return health_respond_not_ready(request, "The gateway is stopping.");
    return health_respond_ready(request, true);
}

/* A probe takes the way of a publish, through the dispatcher and back to this worker. */
int admin_health_ready(struct request *request)
{
    struct service_shared *shared = request->service->shared;
    const char *trouble;
    size_t n;

    if (request_query(request, "streams", &n) != NULL)
        return health_respond_streams(request);
    if (shared->draining && !shared->handed_over)
        return health_respond_not_ready(request, "The gateway is stopping.");
    /* after a hand-over it is the other process that follows the log */
    trouble = shared->handed_over ? NULL : health_trouble_of_log(shared->hub);
    if (trouble != NULL)
        return health_respond_not_ready(request, trouble);
    if (hub_is_full(shared->hub, 0))
        return health_respond_not_ready(request, "Too many events wait to be stored.");
    return publish_probe(request, health_respond_probe);
}

/* ---- figures ---- */

static void health_sum_stats(const struct service_shared *shared, struct stats *ret_sum)
{
    memset(ret_sum, 0, sizeof(*ret_sum));
    stats_sum(ret_sum, shared->main_stats);
    stats_sum(ret_sum, hub_stats(shared->hub));
    for (unsigned i = 0; i < shared->services_n; i++)
        stats_sum(ret_sum, shared->services[i].context->stats);
}

static const char *health_log_word(enum log_node_state state)
{
    static const char *const words[] = {
        [LOG_NODE_DOWN] = "down",
        [LOG_NODE_ATTACHING] = "attaching",
        [LOG_NODE_FOLLOWING] = "following",
        [LOG_NODE_STOPPED] = "stopped",
    };

    return words[state];
}

static json_t *health_nodes(const struct hub_share_facts *facts)
{
    json_t *nodes = json_array();

    for (size_t i = 0; i < facts->nodes_n; i++)
        json_array_append_new(nodes, json_string(facts->nodes[i]));
    return nodes;
}

/* The shared log as this node sees it. */
static json_t *health_cluster(struct hub *hub)
{
    struct hub_share_facts facts;
    json_t *json = json_object();
    char head[SSE_ID_BYTES];
    bool has_word;

    hub_share_get_facts(hub, &facts);
    has_word = facts.epoch[0] != '\0';
    if (has_word)
        sse_put_id(head, facts.epoch, facts.head);
    json_object_set_new(json, "node", json_string(facts.node));
    json_object_set_new(json, "nodes", health_nodes(&facts));
    json_object_set_new(json, "epoch", has_word ? json_string(facts.epoch) : json_null());
    json_object_set_new(json, "head", has_word ? json_stringn(head, SSE_ID_BYTES) : json_null());
    json_object_set_new(json, "behind_ms", json_integer(facts.behind_ms));
    json_object_set_new(json, "log", json_string(health_log_word(facts.state)));
    json_object_set_new(json, "why", facts.line[0] != '\0' ? json_string(facts.line) : json_null());
    json_object_set_new(json, "promise", json_string(hub_durability_text(hub)));
    return json;
}

int admin_health_stats(struct request *request)
{
    struct service_shared *shared = request->service->shared;
    json_t *json = json_object();
    char newest[SSE_ID_BYTES];
    struct stats sum;

    sse_put_id(newest, history_epoch(hub_history(shared->hub)), hub_committed(shared->hub));
    health_sum_stats(shared, &sum);
    json_object_set_new(json, "version", json_string(PACKAGE_VERSION));
    json_object_set_new(json, "uptime_ms", json_integer(clock_mono_ms() - shared->started_ms));
    json_object_set_new(json, "workers", json_integer(shared->services_n));
    json_object_set_new(json, "durability", json_string(hub_durability_text(shared->hub)));
    json_object_set_new(json, "newest", json_stringn(newest, SSE_ID_BYTES));
    if (hub_shares(shared->hub))
        json_object_set_new(json, "cluster", health_cluster(shared->hub));
    for (enum stats_id id = 0; id < STATS_COUNT; id++)
        json_object_set_new(json, stats_name(id), json_integer(stats_get(&sum, id)));
    return respond_json(request, MHD_HTTP_OK, json);
}
