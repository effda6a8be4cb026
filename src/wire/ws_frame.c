/* SPDX-License-Identifier: MIT */
/* What a server writes.  See ws_frame.h. */
#include "config.h"
#include "wire/ws_frame.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define FIN 0x80u
#define RSV1 0x40u
#define LENGTH_16 126
#define LENGTH_64 127

static void put_number(char *to, uint64_t number, size_t bytes_n)
{
    for (size_t i = bytes_n; i > 0; i--, number >>= 8)
        to[i - 1] = (char)(number & 0xFF);
}

size_t ws_frame_put_head(char to[WS_FRAME_HEAD_MAX], enum ws_opcode opcode, bool compressed,
                         size_t payload_n)
{
    to[0] = (char)(FIN | (compressed ? RSV1 : 0u) | (unsigned)opcode);
    if (payload_n <= WS_CONTROL_PAYLOAD_MAX) {
        to[1] = (char)payload_n;
        return 2;
    }
    if (payload_n <= UINT16_MAX) {
        to[1] = LENGTH_16;
        put_number(to + 2, payload_n, 2);
        return 4;
    }
    to[1] = LENGTH_64;
    put_number(to + 2, payload_n, 8);
    return 10;
}

size_t ws_frame_put_control(char to[WS_CONTROL_FRAME_MAX], enum ws_opcode opcode,
                            const char *payload, size_t payload_n)
{
    assert(payload_n <= WS_CONTROL_PAYLOAD_MAX);
    size_t head_n = ws_frame_put_head(to, opcode, false, payload_n);

    if (payload_n > 0)
        memcpy(to + head_n, payload, payload_n);
    return head_n + payload_n;
}

/* How much of a reason fits: no byte behind the cut may continue a character. */
static size_t reason_bytes(const char *reason)
{
    size_t n = strnlen(reason, WS_CLOSE_REASON_MAX + 1);

    if (n <= WS_CLOSE_REASON_MAX)
        return n;
    n = WS_CLOSE_REASON_MAX;
    while (n > 0 && ((unsigned char)reason[n] & 0xC0) == 0x80)
        n--;
    return n;
}

size_t ws_frame_put_close(char to[WS_CONTROL_FRAME_MAX], unsigned code, const char *reason)
{
    char payload[WS_CONTROL_PAYLOAD_MAX];
    size_t reason_n = reason != NULL ? reason_bytes(reason) : 0;

    if (code == WS_CLOSE_NO_CODE)
        return ws_frame_put_control(to, WS_CLOSE, NULL, 0);
    assert(ws_close_code_is_sendable(code));
    put_number(payload, code, 2);
    if (reason_n > 0)
        memcpy(payload + 2, reason, reason_n);
    return ws_frame_put_control(to, WS_CLOSE, payload, 2 + reason_n);
}

bool ws_close_code_is_sendable(unsigned code)
{
    if (code >= 3000)
        return code <= 4999;
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}
