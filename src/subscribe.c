/* SPDX-License-Identifier: MIT */
/* GET /events.  See subscribe.h. */
#include "config.h"
#include "subscribe.h"

#include <ctype.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "query.h"
#include "respond.h"
#include "service.h"

#define HEARTBEAT_MIN_S 3
#define HEARTBEAT_MAX_S 60
#define SHED_RETRY_MIN_MS 30000
#define SHED_RETRY_MAX_MS 60000

/* ---- manners ---- */

static bool read_heartbeat(struct request *request, struct stream_ask *ask,
                           struct problem *ret_problem)
{
    const char *text = request_query(request, "heartbeat", NULL);

    ask->heartbeat_ms = worker_conf(request->service->worker)->stream.heartbeat_ms;
    if (text == NULL)
        return true;
    size_t digits_n = strspn(text, "0123456789");
    if (digits_n == 0 || text[digits_n] != '\0')
        return problem_set(ret_problem, 400, "invalid_heartbeat",
                           "heartbeat must be a whole number of seconds.");
    unsigned long seconds = digits_n > 6 ? HEARTBEAT_MAX_S : strtoul(text, NULL, 10);
    if (seconds < HEARTBEAT_MIN_S)
        seconds = HEARTBEAT_MIN_S;
    ask->heartbeat_ms = 1000 * (seconds > HEARTBEAT_MAX_S ? HEARTBEAT_MAX_S : seconds);
    return true;
}

static bool query_is(const struct request *request, const char *name, const char *value)
{
    const char *given = request_query(request, name, NULL);

    return given != NULL && strcmp(given, value) == 0;
}

static bool has_word(const char *header, const char *word)
{
    return header != NULL && strcasestr(header, word) != NULL;
}

/* RFC 9110 12.5.1, as far as it matters here: ranges that cover text/event-stream. */
static bool accepts_stream(const struct request *request)
{
    const char *accept = request_header(request, MHD_HTTP_HEADER_ACCEPT);

    return accept == NULL || accept[0] == '\0' || has_word(accept, "text/event-stream") ||
           has_word(accept, "text/*") || has_word(accept, "*/*");
}

/* ---- answers ---- */

static void add_stream_headers(struct request *request, struct MHD_Response *response)
{
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    MHD_add_response_header(response, "Cache-Control", "no-store, no-cache, private, no-transform");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Connection", "close");
    respond_add_cors(request, response);
}

static int queue(struct request *request, struct MHD_Response *response)
{
    add_stream_headers(request, response);
    int result = MHD_queue_response(request->connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    request->answered = true;
    return result;
}

/* The library would end a chunked answer to HEAD with a chunk that does not belong there, so this
 * one is empty by itself. */
static int respond_head(struct request *request)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);

    return response != NULL ? queue(request, response) : MHD_NO;
}

/* An EventSource takes every answer but a 200 for final, so at a limit it is told to come back
 * later in the one way it understands. */
static int respond_full(struct request *request)
{
    unsigned retry_ms =
        SHED_RETRY_MIN_MS + arc4random_uniform(SHED_RETRY_MAX_MS - SHED_RETRY_MIN_MS + 1);
    char text[48];

    stats_add(worker_stats(request->service->worker), STATS_STREAMS_REFUSED, 1);
    if (!has_word(request_header(request, MHD_HTTP_HEADER_ACCEPT), "text/event-stream")) {
        struct problem problem;

        problem_set(&problem, 503, "too_many_streams", "The gateway has no room for more streams.");
        problem.retry_after_s = (retry_ms + 999) / 1000;
        return respond_problem(request, &problem);
    }
    int n = snprintf(text, sizeof(text), "retry: %u\n\n", retry_ms);
    struct MHD_Response *response =
        MHD_create_response_from_buffer((size_t)n, text, MHD_RESPMEM_MUST_COPY);
    return response != NULL ? queue(request, response) : MHD_NO;
}

/* Count the stream in, unless there are too many. */
static bool take_place(struct service_shared *shared)
{
    if (atomic_fetch_add(&shared->streams_n, 1) < shared->streams_max)
        return true;
    atomic_fetch_sub(&shared->streams_n, 1);
    return false;
}

static int open_stream(struct request *request, struct stream_ask *ask)
{
    struct service_shared *shared = request->service->shared;
    struct MHD_Response *response;

    if (!take_place(shared))
        return respond_full(request);
    request->stream = stream_open(cell_host(request->cell), request->connection,
                                  request_fd(request), ask, &response);
    if (request->stream == NULL) {
        atomic_fetch_sub(&shared->streams_n, 1);
        return respond_full(request);
    }
    return queue(request, response);
}

static void read_peer(struct request *request, struct stream_ask *ask)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    peer_from_sockaddr(info != NULL ? info->client_addr : NULL, &ask->peer);
}

int subscribe_handle(struct request *request)
{
    struct problem problem;
    struct query_names names;
    struct stream_ask ask = {
        .ping_event = query_is(request, "ping", "event"),
        .padding = query_is(request, "padding", "true"),
        .http_1_0 = request->http_1_0,
    };

    if (!accepts_stream(request))
        return respond_error(request, 406, "not_acceptable",
                             "This is an event stream: Accept must allow text/event-stream.");
    if (!query_read_names(request, &names, &problem) ||
        !query_read_start(request, &ask.start, &problem) ||
        !read_heartbeat(request, &ask, &problem))
        return respond_problem(request, &problem);
    if (request->is_head)
        return respond_head(request);
    read_peer(request, &ask);
    ask.filter = query_make_filter(&names);
    if (ask.filter == NULL)
        return respond_full(request);
    int result = open_stream(request, &ask);
    filter_unref(ask.filter);
    return result;
}

void subscribe_completed(struct request *request)
{
    stream_closed(request->stream);
    request->stream = NULL;
    atomic_fetch_sub(&request->service->shared->streams_n, 1);
}
