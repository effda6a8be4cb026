/* SPDX-License-Identifier: MIT */
/* GET /ws.  See ws.h; the conversations are in ws_raw.c and ws_v1.c. */
#include "config.h"
#include "api/ws.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "api/access.h"
#include "api/challenge.h"
#include "api/query_params.h"
#include "api/stream_admit.h"
#include "api/ticket_use.h"
#include "api/ws_session.h"
#include "event/topic.h"
#include "http/parameters.h"
#include "http/respond.h"
#include "stream/stream_ws.h"
#include "wire/ws_frame.h"
#include "wire/ws_handshake.h"

/* ---- the handshake ---- */

static const char *const names_of_handshake[] = {
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Content-Length",
    "Transfer-Encoding",
};

struct lines {
    struct ws_handshake *handshake;
    const char *name;
};

static void ws_see_line(void *arg, const char *value)
{
    struct lines *lines = arg;

    ws_handshake_add(lines->handshake, lines->name, strlen(lines->name), value, strlen(value));
}

/* What it points to stays until the request is over, as the headers do. */
static struct ws_handshake *ws_read_handshake(struct request *request)
{
    struct ws_handshake *handshake = malloc(sizeof(*handshake));
    struct lines lines = {.handshake = handshake};

    if (handshake == NULL)
        return NULL;
    ws_handshake_begin(handshake, !request->http_1_0,
                       request->service->context->conf->websocket.deflate);
    for (size_t i = 0; i < sizeof(names_of_handshake) / sizeof(names_of_handshake[0]); i++) {
        lines.name = names_of_handshake[i];
        request_each_header(request, lines.name, ws_see_line, &lines);
    }
    request->work = handshake;
    request->free_work = free;
    return handshake;
}

static const struct ws_handshake *ws_handshake_of(const struct request *request)
{
    return request->work;
}

static int ws_refuse_before(struct request *request, unsigned status, const char *code,
                            const char *detail)
{
    struct problem problem;

    stats_add(request->service->context->stats, STATS_WEBSOCKETS_REFUSED, 1);
    problem_set(&problem, status, code, "%s", detail);
    problem.upgrades = status == 426;
    return respond_problem(request, &problem);
}

/* Returns -1 to go on. */
static int ws_judge_handshake(struct request *request, const struct ws_handshake *handshake)
{
    const char *detail;

    switch (ws_handshake_verdict(handshake, &detail)) {
    case WS_HANDSHAKE_GOOD:
        break;
    case WS_HANDSHAKE_NO_UPGRADE:
        return ws_refuse_before(request, 426, "upgrade_required", detail);
    case WS_HANDSHAKE_OTHER_VERSION:
        return ws_refuse_before(request, 426, "unsupported_version", detail);
    case WS_HANDSHAKE_INVALID:
        return ws_refuse_before(request, 400, "invalid_handshake", detail);
    case WS_HANDSHAKE_UNKNOWN_PROTOCOL:
        return ws_refuse_before(request, 400, "unknown_protocol", detail);
    }
    if (request->is_last)
        return ws_refuse_before(request, 400, "invalid_handshake",
                                "Bytes stand behind the head: a client must wait for the answer.");
    return -1;
}

int ws_check(struct request *request)
{
    struct problem problem;

    if (request->is_head) {
        problem_set(&problem, 405, "method_not_allowed", "This path takes GET and OPTIONS.");
        problem.allow = "GET, OPTIONS";
        return respond_problem(request, &problem);
    }
    if (request->origin_verdict == ORIGIN_FOREIGN)
        return ws_refuse_before(
            request, 403, "foreign_origin",
            "Pages of this origin may not do this; auth.origins lists the origins that may.");
    const struct ws_handshake *handshake = ws_read_handshake(request);
    if (handshake == NULL)
        return respond_out_of_memory(request);
    int result = ws_judge_handshake(request, handshake);
    if (result >= 0)
        return result;
    if (!parameters_check(request, parameters_of_ws, &problem))
        return respond_problem(request, &problem);
    request->bearer = handshake->token;
    request->bearer_n = handshake->token_n;
    return -1;
}

/* ---- a refusal ---- */

static unsigned ws_code_of(const struct problem *problem)
{
    switch (problem->status) {
    case 401:
        return WS_CLOSE_TOKEN;
    case 403:
        return WS_CLOSE_FORBIDDEN;
    default:
        return WS_CLOSE_TRY_LATER;
    }
}

static int ws_close_at_once(struct request *request, const struct problem *problem,
                            unsigned retry_ms)
{
    const struct ws_handshake *handshake = ws_handshake_of(request);
    char answer[WS_HANDSHAKE_HEAD_MAX + STREAM_WS_REFUSAL_BYTES];
    size_t n = ws_handshake_write_head(handshake, answer);

    if (n == 0)
        return MHD_NO;
    n += stream_ws_write_refusal(answer + n, handshake->protocol == WS_PROTOCOL_V1,
                                 ws_code_of(problem), problem->code, retry_ms);
    return request_cut_with(request, answer, n);
}

int ws_refuse(struct request *request, struct problem *problem)
{
    bool is_limit = problem->status == 429 || problem->status == 503;
    unsigned retry_ms = is_limit ? stream_admit_retry_ms(request, problem) : 0;

    stats_add(request->service->context->stats, STATS_WEBSOCKETS_REFUSED, 1);
    if (is_limit && problem->retry_after_s == 0)
        problem->retry_after_s = (retry_ms + 999) / 1000;
    if (request->origin != NULL && (is_limit || problem->status == 401 || problem->status == 403))
        return ws_close_at_once(request, problem, retry_ms);
    return respond_problem(request, problem);
}

/* ---- what only WebSockets are asked ---- */

struct publish_topics {
    char *names; /* each ended by a NUL */
    size_t bytes_n;
    size_t n;
    struct problem *problem;
    bool good;
};

static bool ws_see_publish(void *arg, const char *name, size_t name_n, const char *value,
                           size_t value_n)
{
    struct publish_topics *topics = arg;
    enum topic_error error;
    char *names;

    if (!parameters_is(name, name_n, "publish"))
        return true;
    topics->good = false;
    if (topics->n == WS_PUBLISH_TOPICS_MAX)
        return problem_set(topics->problem, 400, "too_many_topics",
                           "A WebSocket publishes to at most %d topics.", WS_PUBLISH_TOPICS_MAX);
    error = topic_check_name(value, value_n);
    if (error != TOPIC_OK)
        return problem_set(topics->problem, 400, "invalid_topic", "publish %s.",
                           topic_error_text(error));
    names = realloc(topics->names, topics->bytes_n + value_n + 1);
    if (names == NULL)
        return problem_set_out_of_memory(topics->problem);
    memcpy(names + topics->bytes_n, value, value_n);
    names[topics->bytes_n + value_n] = '\0';
    topics->names = names;
    topics->bytes_n += value_n + 1;
    topics->n++;
    return topics->good = true;
}

static bool ws_may_publish(const struct request *request, const struct publish_topics *topics,
                           struct problem *ret_problem)
{
    const struct conf *conf = request->service->context->conf;
    const char *name = topics->names;

    if (topics->n > 0 && !conf->websocket.publish)
        return problem_set(ret_problem, 403, "publishing_off",
                           "Nothing is published over WebSocket: websocket.publish is off.");
    for (size_t i = 0; i < topics->n; i++, name += strlen(name) + 1)
        if (!access_may_publish_to(request->identity, conf, name, strlen(name), ret_problem)) {
            challenge_count(request->service->context->stats, ret_problem);
            return false;
        }
    return true;
}

static bool ws_read_publish(struct request *request, struct ws_session *session,
                            struct problem *ret_problem)
{
    struct publish_topics topics = {.problem = ret_problem, .good = true};

    request_each_query(request, ws_see_publish, &topics);
    session->publish = topics.names;
    session->publish_n = topics.n;
    if (!topics.good)
        return false;
    if (topics.n > 0 && ws_handshake_of(request)->protocol == WS_PROTOCOL_V1)
        return problem_set(ret_problem, 400, "invalid_value",
                           "publish is of raw mode: with bugle.v1 each event names its topics.");
    return ws_may_publish(request, &topics, ret_problem);
}

static bool ws_read(struct request *request, struct ws_session *session, struct stream_ask *ask,
                    struct problem *ret_problem)
{
    bool is_v1 = ws_handshake_of(request)->protocol == WS_PROTOCOL_V1, ping_event, ping_text;

    if (!query_params_read_switch(request, "ping", "event", &ping_event, ret_problem) ||
        !query_params_read_switch(request, "ping", "text", &ping_text, ret_problem) ||
        !ws_read_publish(request, session, ret_problem))
        return false;
    session->talk = is_v1 ? &ws_talk_v1 : &ws_talk_raw;
    session->answers_ping = ping_text;
    session->names_topics = query_params_has_topics(request);
    ask->options.ping_event = ping_event;
    return stream_admit_read(request, ask, ret_problem);
}

/* ---- a session ---- */

static void ws_session_free(struct ws_session *session)
{
    if (session == NULL)
        return;
    free(session->publish);
    free(session->ticket);
    free(session);
}

static bool ws_session_text(struct ws_conn *conn, const char *text, size_t text_n)
{
    struct ws_session *session = ws_conn_arg(conn);

    return session->talk->text(session, text, text_n);
}

static void ws_session_closed(struct ws_conn *conn)
{
    struct ws_session *session = ws_conn_arg(conn);
    struct service_shared *shared = session->service->shared;

    if (session->talk->closed != NULL)
        session->talk->closed(session);
    if (session->request != NULL) {
        session->request->lingers = !stream_ends[stream_get_end(ws_conn_stream(conn))].cuts;
        request_wake(session->request);
    }
    ticket_use_closed(shared, session->ticket, ws_conn_stream(conn));
    stream_admit_leave(shared, &session->quota_entry);
    ws_session_free(session);
}

static const struct ws_conn_ops ws_session_ops = {.text = ws_session_text,
                                                  .closed = ws_session_closed};

/* From here on the places of the stream are the session's. */
static void ws_session_take(struct ws_session *session, struct request *request)
{
    session->quota_entry = request->quota_entry;
    session->ticket = request->ticket;
    request->quota_entry = (struct client_quota_entry){.address = NULL};
    request->ticket = NULL;
    ticket_use_opened(session->service->shared, session->ticket, ws_conn_stream(session->conn));
}

/* ---- opening ---- */

static void ws_address_of(const struct request *request, struct peer *ret_peer)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    peer_from_sockaddr(info != NULL ? info->client_addr : NULL, ret_peer);
}

static const struct stream_wire *ws_wire_of(const struct ws_handshake *handshake)
{
    if (handshake->protocol == WS_PROTOCOL_V1)
        return handshake->deflates ? &stream_wire_v1_packed : &stream_wire_v1;
    return handshake->deflates ? &stream_wire_raw_packed : &stream_wire_raw;
}

/* The last call of the library, which is to close the connection. */
static int ws_end_request(struct request *request)
{
    (void)request;
    return MHD_NO;
}

/* What becomes of the library's connection: inside TLS it is suspended until the end.  Else it ends
 * without a word, since its descriptor was copied. */
static int ws_leave_library(struct request *request, struct ws_session *session)
{
    request->answered = true;
    request->lingers = false;
    if (request->session == NULL)
        return MHD_NO;
    session->request = request;
    request->free_work(request->work);
    request->free_work = NULL;
    return request_suspend(request, ws_end_request);
}

static int ws_open(struct request *request, struct ws_session *session, struct stream_ask *ask)
{
    char head[WS_HANDSHAKE_HEAD_MAX];
    size_t head_n = ws_handshake_write_head(ws_handshake_of(request), head);
    struct problem problem;
    struct ws_conn_ask conn_ask = {
        .stream = ask,
        .wire = ws_wire_of(ws_handshake_of(request)),
        .ops = &ws_session_ops,
        .arg = session,
        .fd = request_fd(request),
        .session = request->session,
    };

    ws_address_of(request, &conn_ask.address);
    if (request->session != NULL)
        ask->pool = cell_pool(request->cell, request->method, &ask->pool_bytes);
    if (ask->pool_bytes == 0) /* no room for chunks tells where it ends */
        ask->pool = NULL;
    int result =
        head_n == 0 ? -ENOMEM : ws_conn_open(request->service->ws_conns, &conn_ask, &session->conn);
    if (result != 0) {
        stream_admit_fail(request, result, &problem);
        ws_session_free(session);
        return ws_refuse(request, &problem);
    }
    ws_session_take(session, request);
    ws_conn_begin(session->conn, head, head_n);
    return ws_leave_library(request, session);
}

int ws_handle(struct request *request)
{
    struct ws_session *session = calloc(1, sizeof(*session));
    struct stream_ask ask = {.heartbeat_ms = 0};
    enum stream_admit admit = STREAM_ADMIT_REFUSED;
    struct problem problem;
    int result;

    if (session == NULL)
        return respond_out_of_memory(request);
    session->service = request->service;
    if (ws_read(request, session, &ask, &problem))
        admit = stream_admit_enter(request, &ask, &problem);
    if (admit == STREAM_ADMIT_GRANTED) {
        result = ws_open(request, session, &ask);
    } else {
        ws_session_free(session);
        result = admit == STREAM_ADMIT_WAITS ? request_suspend(request, ws_handle)
                                             : ws_refuse(request, &problem);
    }
    filter_unref(ask.filter);
    return result;
}
