/* SPDX-License-Identifier: MIT */
/* The conversation of bugle.v1.  See ws_session.h. */
#include "config.h"

#include "api/ws_session.h"
#include "wire/ws_frame.h"

/* Events go out; nothing that comes in is understood yet. */
static bool ws_v1_text(struct ws_session *session, const char *text, size_t text_n)
{
    (void)text;
    (void)text_n;
    ws_conn_end(session->conn, WS_CLOSE_POLICY, "not_spoken_yet");
    return true;
}

const struct ws_talk ws_talk_v1 = {.text = ws_v1_text};
