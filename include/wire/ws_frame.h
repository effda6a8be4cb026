/* SPDX-License-Identifier: MIT */
/*
 * Frames of a WebSocket as a server writes them (RFC 6455 section 5): never masked, never split.
 * Pure; any thread.
 */
#ifndef BUGLE_WS_FRAME_H
#define BUGLE_WS_FRAME_H

#include <stdbool.h>
#include <stddef.h>

enum ws_opcode {
    WS_CONTINUATION = 0x0,
    WS_TEXT = 0x1,
    WS_BINARY = 0x2,
    WS_CLOSE = 0x8,
    WS_PING = 0x9,
    WS_PONG = 0xA,
};

/* Why a connection ends: RFC 6455 section 7.4, and of the private range what we add. */
enum ws_close_code {
    WS_CLOSE_NORMAL = 1000,      /* ended on purpose: DELETE of the stream */
    WS_CLOSE_GOING_AWAY = 1001,  /* the gateway stops */
    WS_CLOSE_PROTOCOL = 1002,    /* a frame that RFC 6455 or RFC 7692 forbids */
    WS_CLOSE_BINARY = 1003,      /* only text is taken */
    WS_CLOSE_NO_CODE = 1005,     /* a Close without one; is never sent */
    WS_CLOSE_BAD_TEXT = 1007,    /* no UTF-8, or nothing that can be inflated */
    WS_CLOSE_POLICY = 1008,      /* a rule of ours is broken */
    WS_CLOSE_TOO_BIG = 1009,     /* beyond limits.message_bytes */
    WS_CLOSE_INTERNAL = 1011,    /* the store or memory failed */
    WS_CLOSE_RESTART = 1012,     /* handed over to another process */
    WS_CLOSE_TRY_LATER = 1013,   /* a limit or overload */
    WS_CLOSE_TOKEN = 4401,       /* a token is bad or has ended */
    WS_CLOSE_FORBIDDEN = 4403,   /* no right */
    WS_CLOSE_TICKET_USED = 4409, /* a ticket was used before */
};

#define WS_FRAME_HEAD_MAX 10
#define WS_CONTROL_PAYLOAD_MAX 125
#define WS_CONTROL_FRAME_MAX (2 + WS_CONTROL_PAYLOAD_MAX)
#define WS_CLOSE_REASON_MAX (WS_CONTROL_PAYLOAD_MAX - 2)

/*
 * Write the head of a whole message, or of a control frame (`payload_n` at most
 * WS_CONTROL_PAYLOAD_MAX then).  The payload goes behind it as it is.
 *
 * compressed  the payload is one of ws_deflate_pack(): RSV1 is set
 *
 * Returns the bytes written: 2, 4 or 10.
 */
size_t ws_frame_put_head(char to[WS_FRAME_HEAD_MAX], enum ws_opcode opcode, bool compressed,
                         size_t payload_n);

/* Write a whole Ping or Pong.  Returns the bytes written. */
size_t ws_frame_put_control(char to[WS_CONTROL_FRAME_MAX], enum ws_opcode opcode,
                            const char *payload, size_t payload_n);

/*
 * Write a whole Close.
 *
 * code    one that ws_close_code_is_sendable(), or WS_CLOSE_NO_CODE: then without payload, which is
 *         how a Close without a code is answered
 * reason  UTF-8 of any length, or NULL; what exceeds WS_CLOSE_REASON_MAX is cut between characters
 *
 * Returns the bytes written.
 */
size_t ws_frame_put_close(char to[WS_CONTROL_FRAME_MAX], unsigned code, const char *reason);

/* Whether a code may stand in a Close frame, of either side (RFC 6455 section 7.4): not those that
 * only tell of what happened (1005, 1006, 1015), nor what nobody has defined, nor beyond 4999. */
bool ws_close_code_is_sendable(unsigned code);

#endif
