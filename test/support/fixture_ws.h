/* SPDX-License-Identifier: MIT */
/* WebSockets of a gateway for tests: fixture.h and the frames of both sides. */
#ifndef BUGLE_FIXTURE_WS_H
#define BUGLE_FIXTURE_WS_H

#include <stdbool.h>
#include <stddef.h>

#include "fixture.h"
#include "wire/ws_frame.h"

/* The headers of a handshake, and of one for a subprotocol. */
#define FIXTURE_UPGRADE                                                                            \
    "Upgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"                         \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
#define FIXTURE_V1 FIXTURE_UPGRADE "Sec-WebSocket-Protocol: bugle.v1\n"

/* Open one; fails the test if that is refused.  `headers` are whole, with FIXTURE_UPGRADE. */
struct client *ws_open(struct fixture *fixture, const char *target, const char *headers);

/* Send bytes as they are, a frame, or a text, and let the loops turn. */
void ws_send_bytes(struct client *client, const void *bytes, size_t bytes_n);
void ws_send_frame(struct client *client, enum ws_opcode opcode, const char *payload,
                   size_t payload_n);
void ws_say(struct client *client, const char *text);

/* The payload of the next frame that has come, good until the next call and ended by a NUL; NULL:
 * there is none, after some turns of the loops. */
const char *ws_next(struct client *client, enum ws_opcode *ret_opcode, size_t *ret_n);

/* The next frame is this text; is a text that begins so; or there is none. */
void ws_assert_text(struct client *client, const char *text);
const char *ws_assert_begins(struct client *client, const char *begin);
void ws_assert_nothing(struct client *client);

/* The next frame is a Close with this code and a reason that begins so, and the end follows. */
void ws_assert_close(struct client *client, unsigned code, const char *begin);

#endif
