/* SPDX-License-Identifier: MIT */
/* GET /events.  See subscribe.h. */
#include "config.h"
#include "api/subscribe.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/access.h"
#include "api/query_params.h"
#include "api/ticket_use.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "conn/stream_mhd.h"
#include "http/client_address.h"
#include "http/respond.h"
#include "http/service.h"
#include "stream/memory_pressure.h"

#define HEARTBEAT_MIN_S 3
#define HEARTBEAT_MAX_S 60
#define JITTER_MS 1000
/* What an ordinary stream takes with its connection. */
#define STREAM_BYTES 16384

/* ---- parameters and headers ---- */

static bool subscribe_read_heartbeat(struct request *request, struct stream_ask *ask,
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

/* Another value is passed over, unless a NUL hides what makes it another. */
static bool subscribe_read_switch(const struct request *request, const char *name,
                                  const char *value, bool *ret_on, struct problem *ret_problem)
{
    size_t given_n = 0;
    const char *given = request_query(request, name, &given_n);

    *ret_on = given != NULL && bytes_are(given, given_n, value);
    if (given == NULL || strlen(given) == given_n)
        return true;
    return problem_set(ret_problem, 400, "invalid_value", "%s has a NUL in it.", name);
}

static bool subscribe_has_word(const char *header, const char *word)
{
    return header != NULL && strcasestr(header, word) != NULL;
}

/* RFC 9110 12.5.1, as far as it matters here: ranges that cover text/event-stream. */
static bool subscribe_accepts(const struct request *request)
{
    const char *accept = request_header(request, MHD_HTTP_HEADER_ACCEPT);

    return accept == NULL || accept[0] == '\0' || subscribe_has_word(accept, "text/event-stream") ||
           subscribe_has_word(accept, "text/*") || subscribe_has_word(accept, "*/*");
}

/* ---- answers ---- */

static const struct {
    const char *name, *value;
} headers[] = {
    {"Content-Type", "text/event-stream; charset=utf-8"},
    {"Cache-Control", "no-store, no-cache, private, no-transform"},
    {"X-Accel-Buffering", "no"},
    {"X-Content-Type-Options", "nosniff"},
    {"Connection", "close"},
};
#define HEADERS (sizeof(headers) / sizeof(headers[0]))

static int subscribe_queue(struct request *request, struct MHD_Response *response)
{
    for (size_t i = 0; i < HEADERS; i++)
        MHD_add_response_header(response, headers[i].name, headers[i].value);
    respond_add_cors(request, response);
    int result = MHD_queue_response(request->connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    request->answered = true;
    return result;
}

/* RFC 9110, 5.6.7.  strftime() would write names as the locale has them. */
static char *subscribe_put_date(char *to)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;

    gmtime_r(&now, &tm);
    return to + sprintf(to, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\r\n", days[tm.tm_wday],
                        tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                        tm.tm_sec);
}

/* What the library would send, and respond_add_cors() add. */
static size_t subscribe_write_head(const struct request *request, char to[STREAM_HEAD_BYTES])
{
    char lines[ORIGIN_LINES_BYTES];
    char *at = subscribe_put_date(stpcpy(to, "HTTP/1.1 200 OK\r\n"));

    for (size_t i = 0; i < HEADERS; i++)
        at = stpcpy(stpcpy(stpcpy(stpcpy(at, headers[i].name), ": "), headers[i].value), "\r\n");
    at = stpcpy(at, "Transfer-Encoding: chunked\r\n");
    request_write_origin_lines(request, lines);
    at = stpcpy(at, lines);
    if (request->has_secret_url)
        at = stpcpy(at, "Referrer-Policy: no-referrer\r\n");
    return (size_t)(stpcpy(at, "\r\n") - to);
}

/* The last call of the library, which is to close the connection. */
static int subscribe_end(struct request *request)
{
    return stream_waits(request->stream) ? MHD_YES : MHD_NO;
}

static int subscribe_begin(struct request *request)
{
    char head[STREAM_HEAD_BYTES];

    request->answered = true;
    request->resumed = subscribe_end;
    stream_begin(request->stream, head, subscribe_write_head(request, head));
    return MHD_YES;
}

/* The library would end a chunked answer to HEAD with a chunk that does not belong there, so this
 * one is empty by itself. */
static int subscribe_respond_head(struct request *request)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);

    return response != NULL ? subscribe_queue(request, response) : MHD_NO;
}

/* Whether memory allows for one more stream.  A stream that begins in the past needs pages of the
 * history and room to catch up, so it is refused first; a stream that resumes at an id that the
 * ring still has is not a replay. */
static bool subscribe_memory_has_room(struct request *request, const struct stream_ask *ask)
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

/* An answer that is one line and an end. */
struct away {
    struct stream_host *host;
    struct MHD_Connection *connection;
    size_t text_n;
    size_t said_n;
    char text[STREAM_AWAY_BYTES];
};

/* The end is one without the last chunk, after which every client comes back. */
static ssize_t subscribe_read_retry(void *cls, uint64_t offset, char *buf, size_t max)
{
    struct away *away = cls;
    size_t n = away->text_n - away->said_n;

    (void)offset;
    if (n == 0) {
        stream_mhd_close_soon(away->host, away->connection);
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    n = n < max ? n : max;
    memcpy(buf, away->text + away->said_n, n);
    away->said_n += n;
    return (ssize_t)n;
}

static int subscribe_send_retry(struct request *request, unsigned retry_ms)
{
    struct away *away = calloc(1, sizeof(*away));
    struct MHD_Response *response = NULL;

    if (away == NULL)
        return MHD_NO;
    away->host = cell_host(request->cell);
    away->connection = request->connection;
    away->text_n = (size_t)snprintf(away->text, sizeof(away->text), STREAM_AWAY_FORMAT, retry_ms);
    response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_AWAY_BYTES,
                                                 subscribe_read_retry, away, free);
    if (response != NULL)
        return subscribe_queue(request, response);
    free(away);
    return MHD_NO;
}

int subscribe_refuse(struct request *request, struct problem *problem)
{
    unsigned retry_ms = stream_away_ms();

    if (problem->retry_after_s > 0)
        retry_ms = problem->retry_after_s * 1000 + arc4random_uniform(JITTER_MS);
    stats_add(request->service->context->stats, STATS_STREAMS_REFUSED, 1);
    if (!request->is_head &&
        subscribe_has_word(request_header(request, MHD_HTTP_HEADER_ACCEPT), "text/event-stream"))
        return subscribe_send_retry(request, retry_ms);
    if (problem->retry_after_s == 0)
        problem->retry_after_s = (retry_ms + 999) / 1000;
    return respond_problem(request, problem);
}

static int subscribe_refuse_with(struct request *request, unsigned status, const char *code,
                                 const char *detail)
{
    struct problem problem;

    problem_set(&problem, status, code, "%s", detail);
    return subscribe_refuse(request, &problem);
}

static int subscribe_refuse_full(struct request *request)
{
    return subscribe_refuse_with(request, 503, "too_many_streams",
                                 "The gateway has no room for more streams.");
}

/* At most one line a second: clients can provoke it. */
static void subscribe_log_limit(struct request *request, const struct peer *client,
                                const char *limit)
{
    char text[PEER_TEXT_BYTES];
    char more[LOG_SKIPPED_BYTES];
    unsigned long skipped;

    if (log_valve_open(&request->service->limit_valve, &skipped))
        log_info("a stream of %s was refused: %s%s", peer_text(client, text), limit,
                 log_skipped(more, skipped));
}

static int subscribe_refuse_address(struct request *request, const struct peer *client)
{
    stats_add(request->service->context->stats, STATS_STREAMS_REFUSED_ADDRESS, 1);
    subscribe_log_limit(request, client, "limits.streams_per_address");
    return subscribe_refuse_with(
        request, 429, "too_many_streams_of_address",
        "This address has as many streams as limits.streams_per_address allows.");
}

static int subscribe_refuse_user(struct request *request, const struct peer *client)
{
    stats_add(request->service->context->stats, STATS_STREAMS_REFUSED_USER, 1);
    subscribe_log_limit(request, client, "limits.streams_per_user");
    return subscribe_refuse_with(
        request, 429, "too_many_streams_of_user",
        "This user has as many streams as limits.streams_per_user allows.");
}

/* Count the stream in, unless there are too many in all. */
static bool subscribe_take_place(struct service_shared *shared)
{
    if (atomic_fetch_add(&shared->streams_n, 1) < shared->streams_max)
        return true;
    atomic_fetch_sub(&shared->streams_n, 1);
    return false;
}

static void subscribe_leave_place(struct request *request)
{
    struct service_shared *shared = request->service->shared;

    atomic_fetch_sub(&shared->streams_n, 1);
    client_quota_leave(shared->client_quota, &request->quota_entry);
}

/* Take the seats of one address and one user.  Returns -1, or what the handler is to return. */
static int subscribe_take_quota(struct request *request, const struct stream_ask *ask)
{
    const struct conf *conf = request->service->context->conf;
    const struct message_name *user = &ask->filter->user;
    struct client_quota_limits limits = {conf->limits.streams_per_address,
                                         conf->limits.streams_per_user};

    switch (client_quota_enter(request->service->shared->client_quota, &ask->peer, user->bytes,
                               user->bytes_n, &limits, &request->quota_entry)) {
    case CLIENT_QUOTA_GRANTED:
        return -1;
    case CLIENT_QUOTA_ADDRESS_FULL:
        return subscribe_refuse_address(request, &ask->peer);
    case CLIENT_QUOTA_USER_FULL:
        return subscribe_refuse_user(request, &ask->peer);
    }
    return MHD_NO;
}

#define ALWAYS_ACCEPTED "Patterns with up to 2 wildcards in up to 6 segments are always accepted."

static int subscribe_refuse_failed(struct request *request, int result)
{
    if (result == -E2BIG)
        return subscribe_refuse_with(request, 503, "too_many_shapes",
                                     "The streams of the gateway use wildcards at too many "
                                     "different places in their topics. " ALWAYS_ACCEPTED);
    if (result == -EDQUOT)
        return subscribe_refuse_with(
            request, 429, "too_many_shapes_of_one",
            "The streams of this address, or of this user, use wildcards "
            "at too many different places in their topics. " ALWAYS_ACCEPTED);
    return subscribe_refuse_full(request);
}

static int subscribe_open(struct request *request, struct stream_ask *ask)
{
    struct MHD_Response *response;
    struct problem problem;

    if (!subscribe_memory_has_room(request, ask))
        return subscribe_refuse_full(request);
    int result = subscribe_take_quota(request, ask);
    if (result >= 0)
        return result;
    if (!subscribe_take_place(request->service->shared)) {
        client_quota_leave(request->service->shared->client_quota, &request->quota_entry);
        return subscribe_refuse_full(request);
    }
    if (!ticket_use_begin(request, &ask->start, &problem)) {
        subscribe_leave_place(request);
        return problem.status == 401 ? respond_problem(request, &problem)
                                     : subscribe_refuse(request, &problem);
    }
    ask->owners[0] = request->quota_entry.address;
    ask->owners[1] = request->quota_entry.user;
    result = stream_mhd_open(cell_host(request->cell), request->connection, request_fd(request),
                             ask, &request->stream, &response);
    if (result != 0) {
        ticket_use_failed(request->service->shared, request->ticket);
        subscribe_leave_place(request);
        return subscribe_refuse_failed(request, result);
    }
    ticket_use_opened(request->service->shared, request->ticket, request->stream);
    return response != NULL ? subscribe_queue(request, response) : subscribe_begin(request);
}

int subscribe_handle(struct request *request)
{
    const struct conf *conf = request->service->context->conf;
    const struct hub *hub = request->service->shared->hub;
    struct problem problem;
    struct query_params_names names;
    bool anonymous; /* access_check() has asked for it */
    bool ping_event, padding;
    struct stream_ask ask = {.http_1_0 = request->http_1_0};

    if (!subscribe_accepts(request))
        return respond_error(
            request, 406, "not_acceptable",
            "This path answers with an event stream: Accept must allow text/event-stream.");
    if (!query_params_read_anonymous(request, &anonymous, &problem) ||
        !query_params_read_names(request, &names, &problem) ||
        !access_limit_stream(request, &names, &problem) ||
        !query_params_check_size(&names, &problem) ||
        !query_params_read_start(request, history_lineage(hub_history(hub)), hub_committed(hub),
                                 &ask.start, &problem) ||
        !subscribe_read_heartbeat(request, &ask, &problem) ||
        !subscribe_read_switch(request, "ping", "event", &ping_event, &problem) ||
        !subscribe_read_switch(request, "padding", "true", &padding, &problem))
        return respond_problem(request, &problem);
    if (request->is_head)
        return subscribe_respond_head(request);
    ask.options.ping_event = ping_event;
    ask.options.padding = padding;
    client_address_of(request, &ask.peer);
    ask.pool = cell_pool(request->cell, request->method, &ask.pool_bytes);
    ask.filter = query_params_make_filter(&names);
    ask.grant = (struct stream_grant){.identity = request->identity,
                                      .conf = conf->auth.mode == CONF_AUTH_TOKEN ? conf : NULL,
                                      .way = request->way};
    if (ask.filter == NULL)
        return subscribe_refuse_full(request);
    int result = subscribe_open(request, &ask);
    filter_unref(ask.filter);
    return result;
}

void subscribe_completed(struct request *request)
{
    ticket_use_closed(request->service->shared, request->ticket, request->stream);
    stream_closed(request->stream);
    request->stream = NULL;
    subscribe_leave_place(request);
}
