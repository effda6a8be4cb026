/* SPDX-License-Identifier: MIT */
/*
 * The client's side of a WebSocket (RFC 6455), as much of it as the load tool needs: what asks for
 * one, frames that a server sends, and frames to a server.  Made to cost little rather than to
 * judge: it does not hold the server to Sec-WebSocket-Accept, and follows neither fragments nor
 * extensions.  No sockets; one thread.
 */
#ifndef BUGLE_BENCH_WS_H
#define BUGLE_BENCH_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bench_ws_opcode {
    BENCH_WS_TEXT = 0x1,
    BENCH_WS_BINARY = 0x2,
    BENCH_WS_CLOSE = 0x8,
    BENCH_WS_PING = 0x9,
    BENCH_WS_PONG = 0xa,
};

/* The lines of a request that ask for a WebSocket, but for the subprotocol. */
#define BENCH_WS_UPGRADE                                                                           \
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"                   \
    "Sec-WebSocket-Key: YnVnbGUtYmVuY2gtMDEyMw==\r\n"
#define BENCH_WS_STATUS 101

#define BENCH_WS_KEPT_BYTES 252
#define BENCH_WS_HEAD_BYTES 10 /* of a server, the longest */

/* A reader in the middle of a connection; zeroed to begin with. */
struct bench_ws {
    unsigned char head[BENCH_WS_HEAD_BYTES];
    uint8_t head_n;
    bool has_head;
    uint32_t kept_n;
    uint64_t left; /* of the payload */
    char kept[BENCH_WS_KEPT_BYTES];
};

/* Called with each frame; borrowed for the call.  Of a payload that is cut, only the first
 * BENCH_WS_KEPT_BYTES. */
typedef void bench_ws_frame_fn(void *context, enum bench_ws_opcode opcode, const char *bytes,
                               size_t bytes_n);

/* Read on.  Returns false at a frame that cannot be followed. */
bool bench_ws_feed(struct bench_ws *ws, const char *bytes, size_t bytes_n, bench_ws_frame_fn *frame,
                   void *context);

#define BENCH_WS_MASKED_HEAD_BYTES 14 /* of a client, the longest */

/*
 * Make a frame to a server of a payload that stands BENCH_WS_MASKED_HEAD_BYTES behind `to`: it is
 * masked, and moved up to its head.
 *
 * Returns the bytes of the frame.
 */
size_t bench_ws_make_frame(char *to, enum bench_ws_opcode opcode, size_t payload_n, uint32_t mask);

/* Write the answer to a ping.  Returns its bytes; 0 when the payload is longer than it may be. */
#define BENCH_WS_CONTROL_BYTES 125
#define BENCH_WS_PONG_ROOM (BENCH_WS_MASKED_HEAD_BYTES + BENCH_WS_CONTROL_BYTES)
size_t bench_ws_write_pong(char to[BENCH_WS_PONG_ROOM], const char *payload, size_t payload_n);

#endif
