/* SPDX-License-Identifier: MIT */
/* Whether the gateway is well, over HTTP: GET /healthz, GET /readyz, GET /api/stats. */
#include "config.h"
#include "api/route.h"

#include <jansson.h>
#include <microhttpd.h>
#include <string.h>

#include "api/publish.h"
#include "base/clock.h"
#include "http/respond.h"
#include "http/service.h"

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

/* A probe takes the way of a publish, through the dispatcher and back to this worker. */
int admin_health_ready(struct request *request)
{
    struct service_shared *shared = request->service->shared;

    if (shared->draining && !shared->handed_over)
        return health_respond_not_ready(request, "The gateway is stopping.");
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
    json_object_set_new(json, "durability",
                        json_string(history_durability_text(hub_history(shared->hub))));
    json_object_set_new(json, "newest", json_stringn(newest, SSE_ID_BYTES));
    for (enum stats_id id = 0; id < STATS_COUNT; id++)
        json_object_set_new(json, stats_name(id), json_integer(stats_get(&sum, id)));
    return respond_json(request, MHD_HTTP_OK, json);
}
