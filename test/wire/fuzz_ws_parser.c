/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as what a WebSocket client sends.  The parser must read the same from them whole, byte
 * by byte, in pieces of what it wants and in others, and that is compared with a reader that has
 * all of the bytes before it and does one thing after the other.
 *
 * The first byte of the input says how it is cut, the second whether text may be compressed and
 * whether the rest is a stream as it is or pieces of which frames are made: a first byte, a length,
 * a payload.
 */
#include "wire/ws_parser.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "wire/ws_frame.h"

#define MESSAGE_BYTES 300
#define STREAM_MAX 65536
#define LOG_MAX (4 * STREAM_MAX)

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t input_n);

/* What was read, as bytes: kind, code, length and bytes of each event. */
struct told {
    uint8_t bytes[LOG_MAX];
    size_t n;
};

static struct told whole, other;
static uint8_t stream[STREAM_MAX];

static void tell(struct told *told, enum ws_event_kind kind, unsigned code, const void *bytes,
                 size_t n)
{
    uint8_t head[] = {(uint8_t)kind, (uint8_t)(code >> 8), (uint8_t)code, (uint8_t)(n >> 8),
                      (uint8_t)n};

    assert(told->n + sizeof(head) + n <= sizeof(told->bytes));
    memcpy(told->bytes + told->n, head, sizeof(head));
    told->n += sizeof(head);
    if (n > 0)
        memcpy(told->bytes + told->n, bytes, n);
    told->n += n;
}

/* ---- the parser ---- */

static void tell_event(struct told *told, const struct ws_event *event)
{
    assert((event->kind == WS_EVENT_FAILED) == (event->why != NULL));
    tell(told, event->kind, event->code, event->bytes, event->n);
}

/* Push a copy of exactly these bytes, so that a sanitizer sees every read past a piece. */
static void push_piece(struct told *told, struct ws_parser *parser, const uint8_t *bytes, size_t n)
{
    char *piece = malloc(n);
    size_t used = 0;

    assert(piece != NULL);
    memcpy(piece, bytes, n);
    while (used < n) {
        struct ws_event event;
        size_t now = ws_parser_push(parser, piece + used, n - used, &event);

        used += now;
        assert(now > 0 && used <= n && ws_parser_wants(parser) > 0);
        assert(ws_parser_held_bytes(parser) <= 2 * MESSAGE_BYTES + 512 + 49152);
        if (event.kind == WS_EVENT_NONE) {
            assert(used == n);
            break;
        }
        tell_event(told, &event);
    }
    ws_parser_release(parser);
    assert(ws_parser_is_inside(parser) || ws_parser_held_bytes(parser) == 0);
    free(piece);
}

enum cutting { UNCUT, BYTES, WANTED, OTHERS };

static void read_stream(struct told *told, size_t n, bool inflates, enum cutting cutting,
                        unsigned seed)
{
    struct ws_parser parser;
    struct ws_parser_limits limits = {.message_bytes = MESSAGE_BYTES, .inflates = inflates};

    told->n = 0;
    ws_parser_init(&parser, &limits);
    for (size_t at = 0, piece_n; at < n; at += piece_n) {
        seed = seed * 1103515245u + 12345u;
        piece_n = cutting == UNCUT    ? n
                  : cutting == BYTES  ? 1
                  : cutting == WANTED ? ws_parser_wants(&parser)
                                      : 1 + (seed >> 16) % 40;
        if (piece_n > n - at)
            piece_n = n - at;
        push_piece(told, &parser, stream + at, piece_n);
    }
    ws_parser_end(&parser);
    assert(ws_parser_held_bytes(&parser) == 0);
}

/* ---- the reader that has all before it ---- */

struct frame {
    unsigned first, opcode;
    size_t length; /* told by the head */
    uint8_t *payload;
    size_t payload_n; /* that is there */
};

struct reader {
    bool inflates;
    bool is_inside, is_packed;
    size_t declared_n; /* of the message's frames */
    unsigned empty_n;
    uint8_t sent[STREAM_MAX]; /* of the message */
    size_t sent_n;
};

/* Whether bytes can be the beginning of a character. */
static bool begins_character(const char *bytes, size_t n)
{
    static const char seconds[] = "\x80\x90\xA0";

    for (size_t i = 0; i < 3 && n < 4; i++) {
        char tried[4] = {0, seconds[i], '\x80', '\x80'};
        uint32_t cp;

        memcpy(tried, bytes, n);
        if (utf8_decode(tried, 4, &cp) > n)
            return true;
    }
    return false;
}

/* 0, or the code for a text of which so much is there. */
static unsigned judge_text(const char *text, size_t n, bool is_whole)
{
    size_t judged_n = n < MESSAGE_BYTES ? n : MESSAGE_BYTES, bad;
    bool is_good = utf8_valid(text, judged_n, &bad);

    if (!is_good && !begins_character(text + bad, judged_n - bad))
        return WS_CLOSE_BAD_TEXT;
    if (n > MESSAGE_BYTES)
        return WS_CLOSE_TOO_BIG;
    return is_whole && !is_good ? WS_CLOSE_BAD_TEXT : 0;
}

/* Inflate what was sent of a message with a fresh zlib.  Gives 0 or a code. */
static unsigned judge_packed(struct reader *reader, bool is_whole, char *text, size_t *ret_n)
{
    z_stream z = {0};
    int code = Z_OK;

    if (is_whole && reader->sent_n > 0)
        memcpy(reader->sent + reader->sent_n, "\0\0\xFF\xFF", 4);
    assert(inflateInit2(&z, -15) == Z_OK);
    z.next_in = reader->sent;
    z.avail_in = (uInt)reader->sent_n;
    z.next_out = (Bytef *)text;
    z.avail_out = MESSAGE_BYTES + 1;
    bool has_tail = false;
    for (;;) {
        code = inflate(&z, Z_SYNC_FLUSH);
        if (code != Z_OK && code != Z_STREAM_END)
            break;
        if (z.avail_out == 0)
            break;
        if (code == Z_STREAM_END && z.avail_in > 0) {
            inflateReset(&z);
        } else if (z.avail_in == 0 && is_whole && !has_tail && code != Z_STREAM_END &&
                   reader->sent_n > 0) {
            has_tail = true;
            z.avail_in = 4;
        } else if (z.avail_in == 0) {
            break;
        }
    }
    size_t n = MESSAGE_BYTES + 1 - z.avail_out;
    bool is_bad = code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR;
    bool is_cut = is_whole && reader->sent_n > 0 && code != Z_STREAM_END && z.data_type != 128;
    inflateEnd(&z);
    *ret_n = n;
    unsigned judged = judge_text(text, n, is_whole && !is_bad && !is_cut);
    return judged != 0 ? judged : is_bad || is_cut ? WS_CLOSE_BAD_TEXT : 0;
}

/* Read the next head.  Gives 0 and the frame, or a code, or 1 when it is not complete. */
static unsigned read_frame(const struct reader *reader, uint8_t *at, size_t n, struct frame *frame)
{
    if (n < 1)
        return 1;
    frame->first = at[0];
    frame->opcode = at[0] & 15u;
    bool is_control = frame->opcode >= 8, is_message = frame->opcode == 1 || frame->opcode == 2;
    if ((at[0] & 0x30) || ((at[0] & 0x40) && !(reader->inflates && is_message)))
        return WS_CLOSE_PROTOCOL;
    if (frame->opcode > 10 || (frame->opcode > 2 && frame->opcode < 8))
        return WS_CLOSE_PROTOCOL;
    if (is_control ? !(at[0] & 0x80) : reader->is_inside == is_message)
        return WS_CLOSE_PROTOCOL;
    if (frame->opcode == 2)
        return WS_CLOSE_BINARY;
    if (n < 2)
        return 1;
    size_t length = at[1] & 0x7F, more = length == 126 ? 2 : length == 127 ? 8 : 0;
    if (!(at[1] & 0x80) || (is_control && length > 125))
        return WS_CLOSE_PROTOCOL;
    if (n < 2 + more)
        return 1;
    if (more > 0)
        length = 0;
    for (size_t i = 0; i < more; i++)
        length = length << 8 | at[2 + i];
    if (length >> 63 || (more == 2 && length < 126) || (more == 8 && length < 65536))
        return WS_CLOSE_PROTOCOL;
    bool is_packed = is_message ? (at[0] & 0x40) != 0 : reader->is_packed;
    size_t max =
        is_packed ? MESSAGE_BYTES + MESSAGE_BYTES / 8 + MESSAGE_BYTES / 64 + 64 : MESSAGE_BYTES;
    if (!is_control && (is_message ? 0 : reader->declared_n) + length > max)
        return WS_CLOSE_TOO_BIG;
    if (n < 6 + more)
        return 1;
    frame->length = length;
    frame->payload = at + 6 + more;
    frame->payload_n = length < n - 6 - more ? length : n - 6 - more;
    for (size_t i = 0; i < frame->payload_n; i++)
        frame->payload[i] ^= at[2 + more + i % 4];
    return 0;
}

static unsigned read_data(struct told *told, struct reader *reader, const struct frame *frame)
{
    static char text[STREAM_MAX];
    bool is_complete = frame->payload_n == frame->length;
    bool is_whole = is_complete && (frame->first & 0x80);
    size_t n;
    unsigned code;

    if (frame->opcode != 0) {
        reader->is_packed = (frame->first & 0x40) != 0;
        reader->sent_n = reader->declared_n = reader->empty_n = 0;
    }
    reader->is_inside = !is_whole;
    memcpy(reader->sent + reader->sent_n, frame->payload, frame->payload_n);
    reader->sent_n += frame->payload_n;
    reader->declared_n += frame->length;
    if (reader->is_packed) {
        code = judge_packed(reader, is_whole, text, &n);
    } else {
        n = reader->sent_n;
        memcpy(text, reader->sent, n);
        code = judge_text(text, n, is_whole);
    }
    if (code != 0)
        return code;
    if (is_whole)
        tell(told, WS_EVENT_MESSAGE, 0, text, n);
    else if (frame->length == 0 && ++reader->empty_n > 64)
        return WS_CLOSE_POLICY;
    return 0;
}

/* Gives 0, a code, or 1 for a Close. */
static unsigned read_control(struct told *told, const struct frame *frame)
{
    const uint8_t *payload = frame->payload;
    size_t n = frame->length;

    if (frame->payload_n < n)
        return 0;
    if (frame->opcode != 8) {
        tell(told, frame->opcode == 9 ? WS_EVENT_PING : WS_EVENT_PONG, 0, payload, n);
        return 0;
    }
    unsigned code = n >= 2 ? (unsigned)payload[0] << 8 | payload[1] : 1005;
    if (n == 1 || (n >= 2 && !ws_close_code_is_sendable(code)))
        return WS_CLOSE_PROTOCOL;
    if (n > 2 && !utf8_valid((const char *)payload + 2, n - 2, NULL))
        return WS_CLOSE_BAD_TEXT;
    tell(told, WS_EVENT_CLOSE, code, payload + 2, n > 2 ? n - 2 : 0);
    return 1;
}

static void read_all(struct told *told, size_t n, bool inflates)
{
    static struct reader reader;
    size_t at = 0;
    unsigned code = 0;

    reader.inflates = inflates;
    reader.is_inside = false;
    told->n = 0;
    while (code == 0) {
        struct frame frame;

        code = read_frame(&reader, stream + at, n - at, &frame);
        if (code != 0)
            break;
        at = (size_t)(frame.payload - stream) + frame.payload_n;
        code = frame.opcode >= 8 ? read_control(told, &frame) : read_data(told, &reader, &frame);
        if (frame.payload_n < frame.length)
            break;
    }
    if (code > 1)
        tell(told, WS_EVENT_FAILED, code, NULL, 0);
}

/* ---- the input ---- */

/* Frames of pieces `first length payload`; the payload may be cut by the end. */
static size_t make_frames(const uint8_t *input, size_t input_n)
{
    size_t n = 0;

    while (input_n >= 2 && n + 300 < sizeof(stream) - 8) {
        size_t length = input[1] < input_n - 2 ? input[1] : input_n - 2;
        size_t head_n = ws_frame_put_head((char *)stream + n, WS_TEXT, false, length);

        stream[n] = input[0];
        stream[n + 1] |= 0x80;
        memcpy(stream + n + head_n, "\x37\xFA\x21\x3D", 4);
        for (size_t i = 0; i < length; i++)
            stream[n + head_n + 4 + i] = input[2 + i] ^ (uint8_t) "\x37\xFA\x21\x3D"[i % 4];
        n += head_n + 4 + length;
        input += 2 + length;
        input_n -= 2 + length;
    }
    return n;
}

static void check_same(void)
{
    if (whole.n != other.n || memcmp(whole.bytes, other.bytes, whole.n) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t input_n)
{
    if (input_n < 2 || input_n > STREAM_MAX - 16)
        return 0;
    bool inflates = (input[1] & 1) != 0;
    size_t n = input_n - 2;

    if ((input[1] & 2) != 0)
        n = make_frames(input + 2, input_n - 2);
    else
        memcpy(stream, input + 2, n);
    read_stream(&whole, n, inflates, UNCUT, 0);
    for (enum cutting cutting = BYTES; cutting <= OTHERS; cutting++) {
        read_stream(&other, n, inflates, cutting, input[0]);
        check_same();
    }
    read_all(&other, n, inflates);
    check_same();
    return 0;
}
