/* SPDX-License-Identifier: MIT */
/* A cheap reader and writer of WebSocket frames. */
#include "config.h"
#include "bench/bench_ws.h"

#include <endian.h>
#include <string.h>

#define FINAL 0x80
#define RESERVED 0x70
#define MASKED 0x80
#define LENGTH_2 126 /* two bytes of length follow */
#define LENGTH_8 127 /* eight */

/* How long the head is that begins with these two bytes. */
static size_t bench_ws_head_bytes(const unsigned char head[2])
{
    switch (head[1]) {
    case LENGTH_2:
        return 4;
    case LENGTH_8:
        return 10;
    default:
        return 2;
    }
}

static uint64_t bench_ws_length(const unsigned char *head)
{
    uint16_t two;
    uint64_t eight;

    if (head[1] < LENGTH_2)
        return head[1];
    if (head[1] == LENGTH_2) {
        memcpy(&two, head + 2, sizeof(two));
        return be16toh(two);
    }
    memcpy(&eight, head + 2, sizeof(eight));
    return be64toh(eight);
}

/* Whole and unmasked, without extensions. */
static bool bench_ws_is_followed(const unsigned char head[2])
{
    return (head[0] & (FINAL | RESERVED)) == FINAL && (head[0] & 0xf) != 0 && !(head[1] & MASKED);
}

/* Take what is here of a head.  Returns how many bytes, 0 for one that cannot be followed. */
static size_t bench_ws_take_head(struct bench_ws *ws, const char *bytes, size_t bytes_n)
{
    size_t taken = 0;

    while (taken < bytes_n && !ws->has_head) {
        ws->head[ws->head_n++] = (unsigned char)bytes[taken++];
        if (ws->head_n < 2)
            continue;
        if (!bench_ws_is_followed(ws->head))
            return 0;
        ws->has_head = ws->head_n == bench_ws_head_bytes(ws->head);
    }
    if (ws->has_head)
        ws->left = bench_ws_length(ws->head);
    return taken;
}

static void bench_ws_keep(struct bench_ws *ws, const char *bytes, size_t bytes_n)
{
    size_t room = sizeof(ws->kept) - ws->kept_n;
    size_t n = bytes_n < room ? bytes_n : room;

    memcpy(ws->kept + ws->kept_n, bytes, n);
    ws->kept_n += (uint32_t)n;
    ws->left -= bytes_n;
}

/* Pass on a frame that is whole, and be ready for the next. */
static void bench_ws_end_frame(struct bench_ws *ws, const char *bytes, size_t bytes_n,
                               bench_ws_frame_fn *frame, void *context)
{
    enum bench_ws_opcode opcode = ws->head[0] & 0xf;

    ws->has_head = false;
    ws->head_n = 0;
    ws->kept_n = 0;
    ws->left = 0;
    frame(context, opcode, bytes, bytes_n);
}

bool bench_ws_feed(struct bench_ws *ws, const char *bytes, size_t bytes_n, bench_ws_frame_fn *frame,
                   void *context)
{
    const char *at = bytes, *end = bytes + bytes_n;

    /* A frame without a payload is whole with its head. */
    while (at < end || (ws->has_head && ws->left == 0)) {
        if (!ws->has_head) {
            size_t taken = bench_ws_take_head(ws, at, (size_t)(end - at));

            if (taken == 0)
                return false;
            at += taken;
            if (!ws->has_head)
                return true;
        }
        size_t here = (size_t)(end - at);
        size_t n = here < ws->left ? here : (size_t)ws->left;
        const char *piece = at;
        at += n;
        if (n == ws->left && ws->kept_n == 0) {
            bench_ws_end_frame(ws, piece, n, frame, context);
            continue;
        }
        bench_ws_keep(ws, piece, n);
        if (ws->left == 0)
            bench_ws_end_frame(ws, ws->kept, ws->kept_n, frame, context);
    }
    return true;
}

static size_t bench_ws_write_head(char *to, enum bench_ws_opcode opcode, size_t payload_n)
{
    to[0] = (char)(FINAL | opcode);
    if (payload_n < LENGTH_2) {
        to[1] = (char)(MASKED | payload_n);
        return 2;
    }
    if (payload_n <= UINT16_MAX) {
        uint16_t two = htobe16((uint16_t)payload_n);

        to[1] = (char)(MASKED | LENGTH_2);
        memcpy(to + 2, &two, sizeof(two));
        return 4;
    }
    uint64_t eight = htobe64(payload_n);
    to[1] = (char)(MASKED | LENGTH_8);
    memcpy(to + 2, &eight, sizeof(eight));
    return 10;
}

/* Eight bytes at a time: at 100 bytes an event this is what a message costs most. */
static void bench_ws_mask(char *bytes, size_t bytes_n, const unsigned char mask[4])
{
    unsigned char twice[8];
    uint64_t wide, eight;
    size_t i = 0;

    memcpy(twice, mask, 4);
    memcpy(twice + 4, mask, 4);
    memcpy(&wide, twice, sizeof(wide));
    for (; i + 8 <= bytes_n; i += 8) {
        memcpy(&eight, bytes + i, 8);
        eight ^= wide;
        memcpy(bytes + i, &eight, 8);
    }
    for (; i < bytes_n; i++)
        bytes[i] = (char)(bytes[i] ^ twice[i & 7]);
}

size_t bench_ws_make_frame(char *to, enum bench_ws_opcode opcode, size_t payload_n, uint32_t mask)
{
    unsigned char key[4];
    size_t head_n = bench_ws_write_head(to, opcode, payload_n);

    memcpy(key, &mask, sizeof(key));
    memcpy(to + head_n, key, sizeof(key));
    head_n += sizeof(key);
    memmove(to + head_n, to + BENCH_WS_MASKED_HEAD_BYTES, payload_n);
    bench_ws_mask(to + head_n, payload_n, key);
    return head_n + payload_n;
}

size_t bench_ws_write_pong(char to[BENCH_WS_PONG_ROOM], const char *payload, size_t payload_n)
{
    static const uint32_t mask = 0x5a17c3e9;

    if (payload_n > BENCH_WS_CONTROL_BYTES)
        return 0;
    memcpy(to + BENCH_WS_MASKED_HEAD_BYTES, payload, payload_n);
    return bench_ws_make_frame(to, BENCH_WS_PONG, payload_n, mask);
}
