/* SPDX-License-Identifier: MIT */
/* WebSockets of a gateway for tests.  See fixture_ws.h. */
#include "config.h"
#include "fixture_ws.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "fixture_internal.h"

#define FRAME_BYTES 400000

struct client *ws_open(struct fixture *fixture, const char *target, const char *headers)
{
    struct client *client = client_ask(fixture, "GET", target, headers, NULL);

    if (client->status != 101)
        fail_msg("%s: %u %s", target, client->status, client->body);
    assert_true(client_is_closed(client)); /* the library's connection */
    return client;
}

void ws_send_bytes(struct client *client, const void *bytes, size_t bytes_n)
{
    assert_int_equal(send(client->fd, bytes, bytes_n, MSG_NOSIGNAL), bytes_n);
    fixture_settle(client->fixture);
}

void ws_send_frame(struct client *client, enum ws_opcode opcode, const char *payload,
                   size_t payload_n)
{
    static const char key[4] = {0x55, 0x66, 0x77, 0x11};
    char *frame = malloc(payload_n + WS_FRAME_HEAD_MAX + sizeof(key));
    size_t head_n = ws_frame_put_head(frame, opcode, false, payload_n);

    frame[1] |= (char)0x80;
    memcpy(frame + head_n, key, sizeof(key));
    head_n += sizeof(key);
    for (size_t i = 0; i < payload_n; i++)
        frame[head_n + i] = (char)(payload[i] ^ key[i % sizeof(key)]);
    ws_send_bytes(client, frame, head_n + payload_n);
    free(frame);
}

void ws_say(struct client *client, const char *text)
{
    ws_send_frame(client, WS_TEXT, text, strlen(text));
}

/* Returns how many bytes the frame at the place of the reader has, and which of them are its
 * head's; 0: it has not come whole. */
static size_t measure(const unsigned char *at, size_t left_n, size_t *ret_head_n)
{
    static const size_t heads[] = {2, 4, 10};
    size_t payload_n, kind;

    if (left_n < 2)
        return 0;
    payload_n = at[1];
    kind = payload_n < 126 ? 0 : payload_n - 125;
    *ret_head_n = heads[kind];
    if (left_n < *ret_head_n)
        return 0;
    if (kind > 0)
        payload_n = 0;
    for (size_t i = 2; i < *ret_head_n; i++)
        payload_n = payload_n << 8 | at[i];
    return left_n < *ret_head_n + payload_n ? 0 : *ret_head_n + payload_n;
}

const char *ws_next(struct client *client, enum ws_opcode *ret_opcode, size_t *ret_n)
{
    static char text[FRAME_BYTES];
    size_t head_n, n = 0;

    for (int i = 0; i < 100 && n == 0; i++) {
        n = measure((const unsigned char *)client->body + client->taken_n,
                    client->body_n - client->taken_n, &head_n);
        if (n == 0)
            fixture_turn(client->fixture);
    }
    if (n == 0)
        return NULL;
    const unsigned char *at = (const unsigned char *)client->body + client->taken_n;
    assert_int_equal(at[0] & 0xf0, 0x80); /* whole, and without reserved bits */
    *ret_opcode = at[0] & 0x0f;
    *ret_n = n - head_n;
    assert_true(*ret_n < sizeof(text));
    memcpy(text, at + head_n, *ret_n);
    text[*ret_n] = '\0';
    client->taken_n += n;
    return text;
}

const char *ws_assert_begins(struct client *client, const char *begin)
{
    enum ws_opcode opcode;
    size_t n;
    const char *text = ws_next(client, &opcode, &n);

    if (text == NULL)
        fail_msg("%s: nothing", begin);
    else if (opcode != WS_TEXT || strncmp(text, begin, strlen(begin)) != 0)
        fail_msg("%s: opcode %d, %s", begin, opcode, text);
    return text;
}

void ws_assert_text(struct client *client, const char *text)
{
    assert_string_equal(ws_assert_begins(client, text), text);
}

void ws_assert_nothing(struct client *client)
{
    enum ws_opcode opcode;
    size_t n;
    const char *text = ws_next(client, &opcode, &n);

    if (text != NULL)
        fail_msg("opcode %d, %s", opcode, text);
}

void ws_assert_close(struct client *client, unsigned code, const char *begin)
{
    enum ws_opcode opcode;
    size_t n;
    char byte;
    const char *text = ws_next(client, &opcode, &n);

    if (text == NULL || opcode != WS_CLOSE || n < 2) {
        fail_msg("no Close %u: %s", code, text != NULL ? text : "nothing");
        return;
    }
    assert_int_equal((unsigned char)text[0] << 8 | (unsigned char)text[1], code);
    if (strncmp(text + 2, begin, strlen(begin)) != 0)
        fail_msg("%u %s: %s", code, begin, text + 2);
    assert_true(send(client->fd, "\x88\x80mask", 6, MSG_NOSIGNAL) == 6 || errno == EPIPE);
    fixture_settle(client->fixture);
    assert_int_equal(recv(client->fd, &byte, 1, MSG_DONTWAIT), 0);
}
