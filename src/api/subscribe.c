/* SPDX-License-Identifier: MIT */
/* GET /events.  See subscribe.h. */
#include "config.h"
#include "api/subscribe.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/query_params.h"
#include "api/stream_admit.h"
#include "api/ticket_use.h"
#include "base/clock.h"
#include "conn/stream_mhd.h"
#include "http/respond.h"
#include "http/service.h"

/* ---- parameters and headers ---- */

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
    if (problem->status != 429 && problem->status != 503)
        return respond_problem(request, problem);
    unsigned retry_ms = stream_admit_retry_ms(request, problem);
    if (!request->is_head &&
        subscribe_has_word(request_header(request, MHD_HTTP_HEADER_ACCEPT), "text/event-stream"))
        return subscribe_send_retry(request, retry_ms);
    if (problem->retry_after_s == 0)
        problem->retry_after_s = (retry_ms + 999) / 1000;
    return respond_problem(request, problem);
}

static int subscribe_open(struct request *request, struct stream_ask *ask)
{
    struct MHD_Response *response;
    struct problem problem;

    switch (stream_admit_enter(request, ask, &problem)) {
    case STREAM_ADMIT_REFUSED:
        return subscribe_refuse(request, &problem);
    case STREAM_ADMIT_WAITS:
        return request_suspend(request, subscribe_handle);
    case STREAM_ADMIT_GRANTED:
        break;
    }
    int result = stream_mhd_open(cell_host(request->cell), request->connection, request_fd(request),
                                 ask, &request->stream, &response);
    if (result != 0) {
        stream_admit_fail(request, result, &problem);
        return subscribe_refuse(request, &problem);
    }
    ticket_use_opened(request->service->shared, request->ticket, request->stream);
    return response != NULL ? subscribe_queue(request, response) : subscribe_begin(request);
}

static bool subscribe_read(struct request *request, struct stream_ask *ask,
                           struct problem *ret_problem)
{
    bool ping_event, padding, envelope;

    if (!query_params_read_switch(request, "ping", "event", &ping_event, ret_problem) ||
        !query_params_read_switch(request, "padding", "true", &padding, ret_problem) ||
        !query_params_read_envelope(request, &envelope, ret_problem))
        return false;
    ask->options.ping_event = ping_event;
    ask->options.padding = padding;
    ask->options.envelope = envelope;
    ask->pool = cell_pool(request->cell, request->method, &ask->pool_bytes);
    return stream_admit_read(request, ask, ret_problem);
}

int subscribe_handle(struct request *request)
{
    struct stream_ask ask = {.http_1_0 = request->http_1_0};
    struct problem problem;

    if (!subscribe_accepts(request))
        return respond_error(
            request, 406, "not_acceptable",
            "This path answers with an event stream: Accept must allow text/event-stream.");
    if (!subscribe_read(request, &ask, &problem))
        return subscribe_refuse(request, &problem);
    int result = request->is_head ? subscribe_respond_head(request) : subscribe_open(request, &ask);
    filter_unref(ask.filter);
    return result;
}

void subscribe_completed(struct request *request)
{
    ticket_use_closed(request->service->shared, request->ticket, request->stream);
    stream_closed(request->stream);
    request->stream = NULL;
    stream_admit_leave(request->service->shared, &request->quota_entry);
}
