/* SPDX-License-Identifier: MIT */
/*
 * What a WebSocket keeps of its request, which is over once it is open: all that its conversation
 * and the end of its stream need.  The argument of its struct ws_conn.  Worker's thread.
 */
#ifndef BUGLE_WS_SESSION_H
#define BUGLE_WS_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "conn/client_quota.h"
#include "conn/ws_conn.h"
#include "http/service.h"
#include "wire/problem.h"

struct request;
struct ticket;
struct ws_session;

/* Of `publish=`. */
#define WS_PUBLISH_TOPICS_MAX 16

/* A way of talking with the client: raw, or a subprotocol. */
struct ws_talk {
    /* As of struct ws_conn_ops. */
    bool (*text)(struct ws_session *session, const char *text, size_t text_n);

    /* The connection is over: let go of `session->work`.  The answer of the hub may still be to
     * come, and then finds nobody to tell.  NULL: nothing to do. */
    void (*closed)(struct ws_session *session);
};

struct ws_session {
    struct service *service;
    struct ws_conn *conn;
    const struct ws_talk *talk;
    void *work;       /* of the talk, while an answer is awaited; NULL: none is */
    char *publish;    /* raw: the topics of `publish=`, each ended by a NUL; NULL: none was given */
    size_t publish_n; /* how many */
    bool answers_ping;       /* raw: "ping" is answered "pong" */
    bool names_topics;       /* v1: the client has said which topics it wants */
    struct request *request; /* inside TLS, where it stays until the end; else NULL */
    struct client_quota_entry quota_entry;
    struct ticket *ticket; /* it came with; NULL: none */
};

/* The conversations. */
extern const struct ws_talk ws_talk_raw; /* ws_raw.c */
extern const struct ws_talk ws_talk_v1;  /* ws_v1.c */

/* Who the client is, and the settings that let it in: see stream_get_grant(). */
static inline const struct stream_grant *ws_session_grant(const struct ws_session *session)
{
    return stream_get_grant(ws_conn_stream(session->conn));
}

#endif
