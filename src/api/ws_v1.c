/* SPDX-License-Identifier: MIT */
/*
 * The conversation of a WebSocket in bugle.v1: messages in JSON, each with an answer.  See
 * ws_session.h; ws_message.h has what the client may say, bugle-wire(7) the answers.
 *
 * A message is answered at once, but for a publish, whose answer comes after the commit; until it
 * is on its way nothing more is read, so one publish of a client is under way at a time.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/access.h"
#include "api/access_read.h"
#include "api/challenge.h"
#include "api/publish_work.h"
#include "api/query_params.h"
#include "api/stream_admit.h"
#include "api/ws_message.h"
#include "api/ws_session.h"
#include "base/bytes.h"
#include "base/utf8.h"
#include "wire/json_writer.h"
#include "wire/ws_frame.h"

/* Of an answer to a publish of a few events. */
#define ACK_BYTES 1024
/* Of a problem, each byte of its texts in its longest form. */
#define ERROR_BYTES 4096
#define ID_BYTES (SSE_ID_BYTES + 2)

/* A publish on its way to the hub and back. */
struct ws_v1_work {
    struct publish_work work;         /* first */
    struct ws_session *session;       /* NULL: it is over, and nobody waits for the answer */
    char ref[WS_MESSAGE_REF_MAX + 2]; /* as it was written */
    size_t ref_n;
};

/* ---- answers ---- */

/* `{"type":"TYPE","ref":REF`, without a ref that is not known. */
static void v1_begin(struct json_writer *writer, const char *type, struct json_span ref)
{
    json_writer_text(writer, "{\"type\":\"");
    json_writer_text(writer, type);
    json_writer_text(writer, "\"");
    if (ref.at == NULL)
        return;
    json_writer_text(writer, ",\"ref\":");
    json_writer_raw(writer, ref.at, ref.bytes_n);
}

/* Texts that were cut to fit may have been cut inside a character. */
static void v1_put_text(struct json_writer *writer, const char *name, const char *text)
{
    size_t n = strlen(text), bad;

    json_writer_text(writer, ",\"");
    json_writer_text(writer, name);
    json_writer_text(writer, "\":");
    json_writer_string(writer, text, utf8_valid(text, n, &bad) ? n : bad);
}

static void v1_send_error(struct ws_session *session, struct json_span ref,
                          const struct problem *problem)
{
    char text[ERROR_BYTES];
    struct json_writer writer;

    json_writer_init_fixed(&writer, text, sizeof(text));
    v1_begin(&writer, "error", ref);
    json_writer_text(&writer, ",\"status\":");
    json_writer_number(&writer, problem->status);
    v1_put_text(&writer, "code", problem->code);
    v1_put_text(&writer, "detail", problem->detail);
    if (problem->pointer[0] != '\0')
        v1_put_text(&writer, "pointer", problem->pointer);
    json_writer_text(&writer, "}");
    ws_conn_send(session->conn, text, writer.n);
}

/* Of what is refused before anybody has counted it. */
static void v1_refuse(struct ws_session *session, struct json_span ref,
                      const struct problem *problem)
{
    challenge_count(session->service->context->stats, problem);
    v1_send_error(session, ref, problem);
}

static void v1_send_pong(struct ws_session *session, struct json_span ref)
{
    char text[WS_MESSAGE_REF_MAX + 64];
    struct json_writer writer;

    json_writer_init_fixed(&writer, text, sizeof(text));
    v1_begin(&writer, "pong", ref);
    json_writer_text(&writer, "}");
    ws_conn_send(session->conn, text, writer.n);
}

/* ---- publishing ---- */

/* What is wrong with the events is told as seen from the message. */
static void v1_point_into_events(struct problem *problem)
{
    char pointer[sizeof(problem->pointer)];
    bool is_theirs = problem->status == 400 || problem->status == 403 || problem->status == 413 ||
                     problem->status == 422;

    if (!is_theirs)
        return;
    memcpy(pointer, problem->pointer, sizeof(pointer));
    problem_point(problem, "/events%.*s", (int)(sizeof(pointer) - sizeof("/events")), pointer);
}

static void v1_send_ack(struct ws_session *session, const struct ws_v1_work *v1)
{
    char few[ACK_BYTES], *text = few;
    size_t room = sizeof(v1->ref) + 64 + publish_work_answer_bytes(&v1->work);
    struct json_writer writer;

    if (room > sizeof(few))
        text = malloc(room);
    if (text == NULL) {
        ws_conn_end(session->conn, WS_CLOSE_INTERNAL, "failed");
        return;
    }
    json_writer_init_fixed(&writer, text, room);
    v1_begin(&writer, "ack", (struct json_span){v1->ref, v1->ref_n});
    json_writer_text(&writer, ",");
    char *end = publish_work_put_answer(text + writer.n, &v1->work);
    *end++ = '}';
    ws_conn_send(session->conn, text, (size_t)(end - text));
    if (text != few)
        free(text);
}

static void v1_done(struct publish_work *work)
{
    struct ws_v1_work *v1 = (struct ws_v1_work *)(void *)work;
    struct ws_session *session = v1->session;
    struct problem problem;
    bool good = publish_work_result(work, &problem);

    if (session != NULL) {
        session->work = NULL;
        if (good) {
            v1_send_ack(session, v1);
        } else {
            v1_point_into_events(&problem);
            v1_send_error(session, (struct json_span){v1->ref, v1->ref_n}, &problem);
        }
        ws_conn_go_on(session->conn);
    }
    publish_work_end(work);
    free(v1);
}

static bool v1_may_publish(const struct ws_session *session, struct problem *ret_problem)
{
    const struct conf *conf = session->service->context->conf;

    if (!conf->websocket.publish)
        return problem_set(ret_problem, 403, "publishing_off",
                           "Nothing is published over WebSocket: websocket.publish is off.");
    return access_may_publish_some(ws_session_grant(session)->identity, conf, ret_problem);
}

/* Returns whether an answer is awaited; if not there is a problem. */
static bool v1_begin_publish(struct ws_session *session, const struct ws_message *message,
                             struct problem *ret_problem)
{
    struct ws_v1_work *v1 = calloc(1, sizeof(*v1));
    struct publish_work_ask ask = {.identity = ws_session_grant(session)->identity,
                                   .text = message->events.at,
                                   .text_n = message->events.bytes_n,
                                   .is_json = true,
                                   .may_leave = true};

    if (v1 == NULL)
        return problem_set_out_of_memory(ret_problem);
    v1->work.done = v1_done;
    v1->session = session;
    memcpy(v1->ref, message->ref.at, message->ref.bytes_n);
    v1->ref_n = message->ref.bytes_n;
    if (publish_work_begin(&v1->work, session->service, &ask, ret_problem)) {
        session->work = v1;
        return true;
    }
    publish_work_end(&v1->work);
    free(v1);
    v1_point_into_events(ret_problem);
    return false;
}

/* Returns whether the next message may come. */
static bool v1_publish(struct ws_session *session, const struct ws_message *message)
{
    struct problem problem;

    if (!v1_may_publish(session, &problem))
        v1_refuse(session, message->ref, &problem);
    else if (!v1_begin_publish(session, message, &problem))
        v1_send_error(session, message->ref, &problem);
    return session->work == NULL;
}

/* ---- topics ---- */

/* Where a name stands among them, or their number. */
static size_t v1_find(const struct query_params_names *names, const struct message_name *wanted)
{
    size_t i = 0;

    while (i < names->topics_n && !bytes_equal(names->topics[i].bytes, names->topics[i].bytes_n,
                                               wanted->bytes, wanted->bytes_n))
        i++;
    return i;
}

/* What the client asked for so far; not what it reads because it asked for nothing.  Borrowed from
 * the stream's filter. */
static void v1_get_names(const struct ws_session *session, struct query_params_names *ret_names)
{
    const struct filter *filter = stream_get_filter(ws_conn_stream(session->conn));

    ret_names->topics_n = 0;
    ret_names->user = filter->user;
    for (size_t i = 0; session->names_topics && i < filter->patterns_n; i++) {
        const struct message_name *name = &filter->patterns[i].name;

        if (!bytes_are(name->bytes, name->bytes_n, ACCESS_READ_NO_TOPIC))
            ret_names->topics[ret_names->topics_n++] = *name;
    }
}

static bool v1_add(struct query_params_names *names, const struct ws_message *message,
                   struct problem *ret_problem)
{
    for (size_t i = 0; i < message->topics_n; i++) {
        if (v1_find(names, &message->topics[i]) < names->topics_n)
            continue;
        if (names->topics_n == QUERY_PARAMS_TOPICS_MAX) {
            problem_set(ret_problem, 400, "too_many_topics",
                        "A stream may have at most %d topics in all.", QUERY_PARAMS_TOPICS_MAX);
            return problem_point(ret_problem, "/topics/%zu", i);
        }
        names->topics[names->topics_n++] = message->topics[i];
    }
    if (query_params_check_size(names, ret_problem))
        return true;
    return problem_point(ret_problem, "/topics");
}

static bool v1_remove(struct query_params_names *names, const struct ws_message *message,
                      struct problem *ret_problem)
{
    struct query_params_names left = {.topics_n = 0, .user = names->user};
    bool goes[QUERY_PARAMS_TOPICS_MAX] = {false};

    for (size_t i = 0; i < message->topics_n; i++) {
        size_t at = v1_find(names, &message->topics[i]);

        if (at == names->topics_n) {
            problem_set(ret_problem, 422, "not_subscribed", "The stream does not have this topic.");
            return problem_point(ret_problem, "/topics/%zu", i);
        }
        goes[at] = true;
    }
    for (size_t i = 0; i < names->topics_n; i++)
        if (!goes[i])
            left.topics[left.topics_n++] = names->topics[i];
    *names = left;
    return true;
}

/* As at the beginning of a stream; and under the settings of now also what it has already, since
 * they are those that it is judged by from here on. */
static bool v1_may_read(struct ws_session *session, struct query_params_names *names,
                        struct problem *ret_problem)
{
    const struct context *context = session->service->context;
    const struct stream_grant *grant = ws_session_grant(session);
    struct stream *stream = ws_conn_stream(session->conn);

    if (memory_budget_level(context->memory) >= MEMORY_BUDGET_SCARCE)
        return problem_set_memory_short(ret_problem);
    if (!access_limit_names(context->conf, grant->identity, names, ret_problem))
        return false;
    return grant->conf == NULL ||
           access_read_still_may(context->conf, grant, stream_get_filter(stream)) ||
           challenge_no_right(ret_problem, "subscribe");
}

/* A filter without patterns would have every topic. */
static struct filter *v1_make_filter(const struct query_params_names *names)
{
    struct message_name none = {.bytes = ACCESS_READ_NO_TOPIC,
                                .bytes_n = sizeof(ACCESS_READ_NO_TOPIC) - 1};
    const struct message_name *user = names->user.bytes != NULL ? &names->user : NULL;

    return names->topics_n > 0 ? filter_new(names->topics, names->topics_n, user)
                               : filter_new(&none, 1, user);
}

static void v1_send_subscribed(struct ws_session *session, struct json_span ref,
                               const struct query_params_names *names, uint64_t position)
{
    struct json_writer writer;
    char id[SSE_ID_BYTES];
    size_t text_n;

    json_writer_init(&writer);
    v1_begin(&writer, "subscribed", ref);
    for (size_t i = 0; i < names->topics_n; i++) {
        json_writer_text(&writer, i == 0 ? ",\"topics\":[" : ",");
        json_writer_string(&writer, names->topics[i].bytes, names->topics[i].bytes_n);
    }
    json_writer_text(&writer, names->topics_n > 0 ? "],\"id\":" : ",\"topics\":[],\"id\":");
    sse_put_id(id, stream_get_epoch(ws_conn_stream(session->conn)), position);
    if (position == UINT64_MAX)
        json_writer_text(&writer, "null");
    else
        json_writer_string(&writer, id, sizeof(id));
    json_writer_text(&writer, "}");
    char *text = json_writer_take(&writer, &text_n);
    if (text == NULL)
        ws_conn_end(session->conn, WS_CLOSE_INTERNAL, "failed");
    else
        ws_conn_send(session->conn, text, text_n);
    free(text);
}

static bool v1_set_names(struct ws_session *session, const struct ws_message *message,
                         const struct query_params_names *names, struct problem *ret_problem)
{
    const struct conf *conf =
        message->kind == WS_MESSAGE_SUBSCRIBE ? session->service->context->conf : NULL;
    struct filter *filter = v1_make_filter(names);
    uint64_t position;

    if (filter == NULL)
        return problem_set_out_of_memory(ret_problem);
    int result = stream_set_filter(ws_conn_stream(session->conn), filter, conf, &position);
    filter_unref(filter);
    if (result != 0)
        return stream_admit_set_failed(result, ret_problem);
    session->names_topics = true;
    v1_send_subscribed(session, message->ref, names, position);
    return true;
}

/* The names of before are borrowed from the filter of before. */
static void v1_change_topics(struct ws_session *session, const struct ws_message *message)
{
    struct filter *before = filter_ref(stream_get_filter(ws_conn_stream(session->conn)));
    struct query_params_names names;
    struct problem problem;

    v1_get_names(session, &names);
    bool good = message->kind == WS_MESSAGE_SUBSCRIBE
                    ? v1_add(&names, message, &problem) && v1_may_read(session, &names, &problem)
                    : v1_remove(&names, message, &problem);
    if (!good || !v1_set_names(session, message, &names, &problem))
        v1_refuse(session, message->ref, &problem);
    filter_unref(before);
}

/* ---- the conversation ---- */

static bool v1_take(struct ws_session *session, const struct ws_message *message)
{
    switch (message->kind) {
    case WS_MESSAGE_PUBLISH:
        return v1_publish(session, message);
    case WS_MESSAGE_SUBSCRIBE:
    case WS_MESSAGE_UNSUBSCRIBE:
        v1_change_topics(session, message);
        return true;
    case WS_MESSAGE_PING:
        v1_send_pong(session, message->ref);
        return true;
    case WS_MESSAGE_PONG: /* that it came is all it says */
        return true;
    }
    return true;
}

static bool ws_v1_text(struct ws_session *session, const char *text, size_t text_n)
{
    const struct conf *conf = session->service->context->conf;
    struct ws_message message;
    struct problem problem;
    bool goes_on = true;

    if (ws_message_read((struct json_span){text_n > 0 ? text : "", text_n}, conf->limits.json_depth,
                        &message, &problem))
        goes_on = v1_take(session, &message);
    else
        v1_send_error(session, message.ref, &problem);
    ws_message_end(&message);
    return goes_on;
}

static void ws_v1_closed(struct ws_session *session)
{
    struct ws_v1_work *v1 = session->work;

    if (v1 != NULL)
        v1->session = NULL;
}

const struct ws_talk ws_talk_v1 = {.text = ws_v1_text, .closed = ws_v1_closed};
