/* SPDX-License-Identifier: MIT */
/* Who may have a stream.  See stream_admit.h. */
#include "config.h"
#include "api/stream_admit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/access.h"
#include "api/query_params.h"
#include "api/ticket_use.h"
#include "base/log.h"
#include "http/client_address.h"
#include "hub/hub_share.h"
#include "stream/memory_pressure.h"

#define HEARTBEAT_MIN_S 3
#define HEARTBEAT_MAX_S 60
#define JITTER_MS 1000
/* What an ordinary stream takes with its connection. */
#define STREAM_BYTES 16384

/* ---- what is asked for ---- */

static bool admit_read_heartbeat(struct request *request, struct stream_ask *ask,
                                 struct problem *ret_problem)
{
    size_t text_n = 0;
    const char *text = request_query(request, "heartbeat", &text_n);

    ask->heartbeat_ms = request->service->context->conf->stream.heartbeat_ms;
    if (text == NULL)
        return true;
    size_t digits_n = strspn(text, "0123456789");
    if (digits_n == 0 || digits_n != text_n)
        return problem_set(ret_problem, 400, "invalid_heartbeat",
                           "heartbeat must be a whole number of seconds.");
    unsigned long seconds = digits_n > 6 ? HEARTBEAT_MAX_S : strtoul(text, NULL, 10);
    if (seconds < HEARTBEAT_MIN_S)
        seconds = HEARTBEAT_MIN_S;
    ask->heartbeat_ms = 1000 * (seconds > HEARTBEAT_MAX_S ? HEARTBEAT_MAX_S : seconds);
    return true;
}

bool stream_admit_read(struct request *request, struct stream_ask *ret_ask,
                       struct problem *ret_problem)
{
    const struct conf *conf = request->service->context->conf;
    const struct hub *hub = request->service->shared->hub;
    const struct query_params_past past = {.lineage = history_lineage(hub_history(hub)),
                                           .committed = hub_committed(hub),
                                           .is_shared = hub_shares(hub)};
    struct query_params_names names;
    bool anonymous; /* access_check() has asked for it */

    if (!query_params_read_anonymous(request, &anonymous, ret_problem) ||
        !query_params_read_names(request, &names, ret_problem) ||
        !access_limit_stream(request, &names, ret_problem) ||
        !query_params_check_size(&names, ret_problem) ||
        !query_params_read_start(request, &past, &ret_ask->start, ret_problem) ||
        !admit_read_heartbeat(request, ret_ask, ret_problem))
        return false;
    client_address_of(request, &ret_ask->peer);
    ret_ask->grant = (struct stream_grant){.identity = request->identity,
                                           .conf = conf->auth.mode == CONF_AUTH_TOKEN ? conf : NULL,
                                           .way = request->way};
    ret_ask->filter = query_params_make_filter(&names);
    return ret_ask->filter != NULL || stream_admit_set_full(ret_problem);
}

/* ---- places ---- */

bool stream_admit_set_full(struct problem *problem)
{
    return problem_set(problem, 503, "too_many_streams",
                       "The gateway has no room for more streams.");
}

/* Whether memory allows for one more stream.  A stream that begins in the past needs pages of the
 * history and room to catch up, so it is refused first; a stream that resumes at an id that the
 * ring still has is not a replay. */
static bool admit_memory_has_room(struct request *request, const struct stream_ask *ask)
{
    struct service *service = request->service;
    enum memory_budget_level level = memory_budget_level(service->context->memory);
    bool is_replay = level >= MEMORY_BUDGET_NEAR && streams_is_past(service->streams, &ask->start);

    if (level < MEMORY_BUDGET_NEAR || (level < MEMORY_BUDGET_SCARCE && !is_replay))
        return true;
    stats_add(service->context->stats, STATS_STREAMS_REFUSED_MEMORY, 1);
    stats_add(service->context->stats, STATS_REPLAYS_REFUSED_MEMORY, is_replay);
    if (level >= MEMORY_BUDGET_SCARCE) {
        memory_budget_want(service->context->memory, STREAM_BYTES);
        memory_pressure_evict(service->streams, worker_now_ms(service->worker));
    }
    return false;
}

/* At most one line a second: clients can provoke it. */
static void admit_log_limit(struct request *request, const struct peer *client, const char *limit)
{
    char text[PEER_TEXT_BYTES];
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    if (log_valve_open(&request->service->limit_valve, &skipped))
        log_info("a stream of %s was refused: %s%s", peer_text(client, text), limit,
                 log_skipped(more, skipped));
}

static bool admit_refuse_address(struct request *request, const struct peer *client,
                                 struct problem *problem)
{
    stats_add(request->service->context->stats, STATS_STREAMS_REFUSED_ADDRESS, 1);
    admit_log_limit(request, client, "limits.streams_per_address");
    return problem_set(problem, 429, "too_many_streams_of_address",
                       "This address has as many streams as limits.streams_per_address allows.");
}

static bool admit_refuse_user(struct request *request, const struct peer *client,
                              struct problem *problem)
{
    stats_add(request->service->context->stats, STATS_STREAMS_REFUSED_USER, 1);
    admit_log_limit(request, client, "limits.streams_per_user");
    return problem_set(problem, 429, "too_many_streams_of_user",
                       "This user has as many streams as limits.streams_per_user allows.");
}

/* Take the seats of one address and one user. */
static bool admit_take_quota(struct request *request, const struct stream_ask *ask,
                             struct problem *problem)
{
    const struct conf *conf = request->service->context->conf;
    const struct message_name *user = &ask->filter->user;
    struct client_quota_limits limits = {conf->limits.streams_per_address,
                                         conf->limits.streams_per_user};

    switch (client_quota_enter(request->service->shared->client_quota, &ask->peer, user->bytes,
                               user->bytes_n, &limits, &request->quota_entry)) {
    case CLIENT_QUOTA_GRANTED:
        return true;
    case CLIENT_QUOTA_ADDRESS_FULL:
        return admit_refuse_address(request, &ask->peer, problem);
    case CLIENT_QUOTA_USER_FULL:
        return admit_refuse_user(request, &ask->peer, problem);
    }
    return false;
}

/* Count the stream in, unless there are too many in all. */
static bool admit_take_place(struct service_shared *shared)
{
    if (atomic_fetch_add(&shared->streams_n, 1) < shared->streams_max)
        return true;
    atomic_fetch_sub(&shared->streams_n, 1);
    return false;
}

void stream_admit_leave(struct service_shared *shared, struct client_quota_entry *quota_entry)
{
    atomic_fetch_sub(&shared->streams_n, 1);
    client_quota_leave(shared->client_quota, quota_entry);
}

static bool admit_take_places(struct request *request, struct stream_ask *ask,
                              struct problem *ret_problem)
{
    struct service_shared *shared = request->service->shared;

    if (!admit_memory_has_room(request, ask))
        return stream_admit_set_full(ret_problem);
    if (!admit_take_quota(request, ask, ret_problem))
        return false;
    if (admit_take_place(shared))
        return true;
    client_quota_leave(shared->client_quota, &request->quota_entry);
    return stream_admit_set_full(ret_problem);
}

/* A request that waited for the log ends. */
static void admit_abandon(struct request *request)
{
    ticket_use_abandon(request);
    stream_admit_leave(request->service->shared, &request->quota_entry);
}

enum stream_admit stream_admit_enter(struct request *request, struct stream_ask *ask,
                                     struct problem *ret_problem)
{
    bool has_waited = request->admission != NULL;

    if (!has_waited && !admit_take_places(request, ask, ret_problem))
        return STREAM_ADMIT_REFUSED;
    switch (ticket_use_begin(request, &ask->start, ret_problem)) {
    case TICKET_USE_WAITS:
        request->free_admission = admit_abandon;
        return STREAM_ADMIT_WAITS;
    case TICKET_USE_REFUSED:
        stream_admit_leave(request->service->shared, &request->quota_entry);
        return STREAM_ADMIT_REFUSED;
    case TICKET_USE_GOOD:
        break;
    }
    ask->owners[0] = request->quota_entry.address;
    ask->owners[1] = request->quota_entry.user;
    return STREAM_ADMIT_GRANTED;
}

#define ALWAYS_ACCEPTED "Patterns with up to 2 wildcards in up to 6 segments are always accepted."

bool stream_admit_set_failed(int result, struct problem *ret_problem)
{
    if (result == -E2BIG)
        return problem_set(ret_problem, 503, "too_many_shapes",
                           "The streams of the gateway use wildcards at too many "
                           "different places in their topics. " ALWAYS_ACCEPTED);
    if (result == -EDQUOT)
        return problem_set(ret_problem, 429, "too_many_shapes_of_one",
                           "The streams of this address, or of this user, use wildcards "
                           "at too many different places in their topics. " ALWAYS_ACCEPTED);
    return stream_admit_set_full(ret_problem);
}

bool stream_admit_fail(struct request *request, int result, struct problem *ret_problem)
{
    struct service_shared *shared = request->service->shared;

    ticket_use_failed(shared, request->ticket);
    stream_admit_leave(shared, &request->quota_entry);
    return stream_admit_set_failed(result, ret_problem);
}

unsigned stream_admit_retry_ms(const struct request *request, const struct problem *problem)
{
    stats_add(request->service->context->stats, STATS_STREAMS_REFUSED, 1);
    if (problem->retry_after_s > 0)
        return problem->retry_after_s * 1000 + arc4random_uniform(JITTER_MS);
    return stream_away_ms();
}
