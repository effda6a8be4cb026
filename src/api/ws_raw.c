/* SPDX-License-Identifier: MIT */
/* The conversation of a WebSocket without messages of its own: what the client sends is data.  See
 * ws_session.h. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "api/access.h"
#include "api/publish_work.h"
#include "api/ws_session.h"
#include "base/bytes.h"
#include "wire/ws_frame.h"

/* One text on its way to the hub. */
struct ws_raw_work {
    struct publish_work work;   /* first */
    struct ws_session *session; /* NULL: it is over */
};

static unsigned ws_raw_code_of(const struct problem *problem)
{
    switch (problem->status) {
    case 401:
        return WS_CLOSE_TOKEN;
    case 403:
        return WS_CLOSE_FORBIDDEN;
    case 413:
        return WS_CLOSE_TOO_BIG;
    case 503:
    case 507:
        return WS_CLOSE_TRY_LATER;
    default:
        return WS_CLOSE_POLICY;
    }
}

/* There are no answers here but the end. */
static bool ws_raw_refuse(struct ws_session *session, const struct problem *problem)
{
    ws_conn_end(session->conn, ws_raw_code_of(problem), problem->code);
    return true;
}

static void ws_raw_done(struct publish_work *work)
{
    struct ws_raw_work *raw = (struct ws_raw_work *)(void *)work;
    struct ws_session *session = raw->session;
    struct problem problem;
    bool good = publish_work_result(work, &problem);

    if (session != NULL) {
        session->work = NULL;
        if (good)
            ws_conn_go_on(session->conn);
        else
            ws_raw_refuse(session, &problem);
    }
    publish_work_end(work);
    free(raw);
}

static size_t ws_raw_fields(const struct ws_session *session, struct publish_field *to)
{
    const char *name = session->publish;

    if (session->publish_n == 0) {
        to[0] = (struct publish_field){"broadcast", "true", 4};
        return 1;
    }
    for (size_t i = 0; i < session->publish_n; i++, name += strlen(name) + 1)
        to[i] = (struct publish_field){"topic", name, strlen(name)};
    return session->publish_n;
}

static bool ws_raw_publish(struct ws_session *session, const char *text, size_t text_n)
{
    struct publish_field fields[WS_PUBLISH_TOPICS_MAX];
    struct publish_work_ask ask = {.identity = ws_session_grant(session)->identity,
                                   .text = text,
                                   .text_n = text_n,
                                   .fields = fields,
                                   .fields_n = ws_raw_fields(session, fields),
                                   .may_leave = true};
    struct ws_raw_work *raw = calloc(1, sizeof(*raw));
    struct problem problem;

    if (raw == NULL) {
        problem_set_out_of_memory(&problem);
        return ws_raw_refuse(session, &problem);
    }
    raw->work.done = ws_raw_done;
    raw->session = session;
    if (!publish_work_begin(&raw->work, session->service, &ask, &problem)) {
        publish_work_end(&raw->work);
        free(raw);
        return ws_raw_refuse(session, &problem);
    }
    session->work = raw;
    return false;
}

static bool ws_raw_text(struct ws_session *session, const char *text, size_t text_n)
{
    const struct conf *conf = session->service->context->conf;
    struct problem problem;

    if (session->answers_ping && bytes_are(text, text_n, "ping")) {
        ws_conn_send(session->conn, "pong", 4);
        return true;
    }
    if (!conf->websocket.publish)
        problem_set(&problem, 403, "publishing_off",
                    "Nothing is published over WebSocket: websocket.publish is off.");
    else if (access_may_publish_some(ws_session_grant(session)->identity, conf, &problem))
        return ws_raw_publish(session, text, text_n);
    return ws_raw_refuse(session, &problem);
}

/* The answer of the hub finds nobody to tell. */
static void ws_raw_closed(struct ws_session *session)
{
    struct ws_raw_work *raw = session->work;

    if (raw != NULL)
        raw->session = NULL;
}

const struct ws_talk ws_talk_raw = {.text = ws_raw_text, .closed = ws_raw_closed};
