/* SPDX-License-Identifier: MIT */
/*
 * What a client sends.  See ws_parser.h.
 *
 * A head is read up to each place where something can be judged: its first byte, its second, its
 * length, its mask.  So an answer depends on the bytes alone and not on the pieces they came in.
 */
#include "config.h"
#include "wire/ws_parser.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ws_frame.h"
#include "wire/ws_inflate.h"

#define FIN 0x80u
#define RSV1 0x40u
#define RSV_OTHERS 0x30u
#define OPCODE 0x0Fu
#define CONTROL 0x08u
#define MASKED 0x80u
#define LENGTH 0x7Fu
#define LENGTH_16 126
#define LENGTH_64 127
#define MASK_BYTES 4
#define ROOM_MIN 512

enum state { IN_HEAD, IN_PAYLOAD, IS_OVER };

enum flag {
    IN_MESSAGE = 1, /* a fragment came, and the last one did not */
    IS_PACKED = 2,  /* the message is compressed */
    IS_GIVEN = 4,   /* the text was given with the last event */
};

static bool is_control(const struct ws_parser *parser)
{
    return (parser->head[0] & CONTROL) != 0;
}

static unsigned opcode_of(const struct ws_parser *parser)
{
    return parser->head[0] & OPCODE;
}

/* ---- memory ---- */

static void free_text(struct ws_parser *parser)
{
    free(parser->text);
    parser->text = NULL;
    parser->text_n = parser->text_room = 0;
}

static void free_inflate(struct ws_parser *parser)
{
    ws_inflate_free(parser->inflate);
    parser->inflate = NULL;
}

static void free_control(struct ws_parser *parser)
{
    free(parser->control);
    parser->control = NULL;
}

void ws_parser_init(struct ws_parser *parser, const struct ws_parser_limits *limits)
{
    assert(limits->message_bytes <= INT32_MAX);
    *parser = (struct ws_parser){.limits = *limits};
}

void ws_parser_end(struct ws_parser *parser)
{
    free_text(parser);
    free_inflate(parser);
    free_control(parser);
}

void ws_parser_release(struct ws_parser *parser)
{
    if ((parser->flags & IS_GIVEN) != 0) {
        free_text(parser);
        parser->flags &= (uint8_t)~IS_GIVEN;
    }
    if (parser->state != IN_PAYLOAD)
        free_control(parser);
}

size_t ws_parser_held_bytes(const struct ws_parser *parser)
{
    return parser->text_room + (parser->control != NULL ? WS_CONTROL_PAYLOAD_MAX : 0) +
           (parser->inflate != NULL ? ws_inflate_held_bytes(parser->inflate) : 0);
}

/* ---- ends ---- */

/* Always returns false, so that a check can end with it. */
static bool fail(struct ws_parser *parser, struct ws_event *event, unsigned code, const char *why)
{
    ws_parser_end(parser);
    parser->state = IS_OVER;
    parser->flags = 0;
    *event = (struct ws_event){.kind = WS_EVENT_FAILED, .code = code, .why = why};
    return false;
}

static bool fail_without_memory(struct ws_parser *parser, struct ws_event *event)
{
    return fail(parser, event, WS_CLOSE_INTERNAL, "failed");
}

static bool fail_too_big(struct ws_parser *parser, struct ws_event *event)
{
    return fail(parser, event, WS_CLOSE_TOO_BIG,
                "The message is larger than limits.message_bytes.");
}

static bool fail_bad_text(struct ws_parser *parser, struct ws_event *event)
{
    return fail(parser, event, WS_CLOSE_BAD_TEXT, "The text is not UTF-8.");
}

/* ---- the head ---- */

/* Whether the message may be one, given what came before. */
static bool check_data_opcode(struct ws_parser *parser, struct ws_event *event)
{
    bool is_inside = (parser->flags & IN_MESSAGE) != 0;

    if (opcode_of(parser) == WS_CONTINUATION)
        return is_inside ||
               fail(parser, event, WS_CLOSE_PROTOCOL, "The frame continues no message.");
    if (is_inside)
        return fail(parser, event, WS_CLOSE_PROTOCOL, "The frame begins a message inside another.");
    if (opcode_of(parser) == WS_BINARY)
        return fail(parser, event, WS_CLOSE_BINARY, "The frame is binary; only text is taken.");
    return true;
}

static bool check_first_byte(struct ws_parser *parser, struct ws_event *event)
{
    unsigned opcode = opcode_of(parser);
    bool begins_message = opcode == WS_TEXT || opcode == WS_BINARY;

    if ((parser->head[0] & RSV_OTHERS) != 0 ||
        ((parser->head[0] & RSV1) != 0 && !(parser->limits.inflates && begins_message)))
        return fail(parser, event, WS_CLOSE_PROTOCOL, "The frame has a reserved bit set.");
    if (opcode > WS_PONG || (opcode > WS_BINARY && opcode < WS_CLOSE))
        return fail(parser, event, WS_CLOSE_PROTOCOL, "The frame has an unknown opcode.");
    if (!is_control(parser))
        return check_data_opcode(parser, event);
    if ((parser->head[0] & FIN) == 0)
        return fail(parser, event, WS_CLOSE_PROTOCOL, "A control frame is in fragments.");
    return true;
}

static bool check_second_byte(struct ws_parser *parser, struct ws_event *event)
{
    if ((parser->head[1] & MASKED) == 0)
        return fail(parser, event, WS_CLOSE_PROTOCOL, "The frame is not masked.");
    if (is_control(parser) && (parser->head[1] & LENGTH) > WS_CONTROL_PAYLOAD_MAX)
        return fail(parser, event, WS_CLOSE_PROTOCOL, "A control frame is longer than 125 bytes.");
    return true;
}

/* How many bytes of a length stand behind the second. */
static size_t extended_bytes(const struct ws_parser *parser)
{
    unsigned length = parser->head[1] & LENGTH;

    return length == LENGTH_16 ? 2 : length == LENGTH_64 ? 8 : 0;
}

static uint64_t payload_length(const struct ws_parser *parser)
{
    size_t bytes_n = extended_bytes(parser);
    uint64_t length = 0;

    if (bytes_n == 0)
        return parser->head[1] & LENGTH;
    for (size_t i = 0; i < bytes_n; i++)
        length = length << 8 | parser->head[2 + i];
    return length;
}

/* What a message may take compressed: what no compressor of ours or others makes of text that is
 * allowed, so that empty blocks without end are a message too large. */
static uint64_t packed_max(const struct ws_parser *parser)
{
    uint64_t text_max = parser->limits.message_bytes;

    return text_max + text_max / 8 + text_max / 64 + 64;
}

static bool check_size(struct ws_parser *parser, uint64_t length, struct ws_event *event)
{
    bool is_packed = (parser->flags & IS_PACKED) != 0;
    uint64_t before = is_packed ? parser->packed_n : parser->text_n;
    uint64_t max = is_packed ? packed_max(parser) : parser->limits.message_bytes;

    if (before + length > max)
        return fail_too_big(parser, event);
    if (is_packed)
        parser->packed_n += (uint32_t)length;
    return true;
}

static bool check_length(struct ws_parser *parser, struct ws_event *event)
{
    size_t extended_n = extended_bytes(parser);
    uint64_t length = payload_length(parser);

    if (length > INT64_MAX)
        return fail(parser, event, WS_CLOSE_PROTOCOL, "The length of the frame is beyond 63 bits.");
    if ((extended_n == 2 && length < LENGTH_16) || (extended_n == 8 && length <= UINT16_MAX))
        return fail(parser, event, WS_CLOSE_PROTOCOL,
                    "The length of the frame is not in its shortest form.");
    if (!is_control(parser) && !check_size(parser, length, event))
        return false;
    parser->left = (uint32_t)length;
    return true;
}

/* Begin a message with its first fragment. */
static void begin_message(struct ws_parser *parser)
{
    if (is_control(parser) || (parser->flags & IN_MESSAGE) != 0)
        return;
    parser->flags = (parser->head[0] & RSV1) != 0 ? IS_PACKED : 0;
    parser->packed_n = 0;
    parser->empty_n = 0;
    parser->utf8 = (struct utf8_pieces){0};
}

/* Where the head, as far as it is known, can be judged next. */
static size_t next_check(const struct ws_parser *parser)
{
    if (parser->head_n < 2)
        return parser->head_n + 1u;
    size_t length_end = 2 + extended_bytes(parser);

    return parser->head_n < length_end ? length_end : length_end + MASK_BYTES;
}

/* Judge what the last byte of the head has completed. */
static bool check_head(struct ws_parser *parser, struct ws_event *event)
{
    if (parser->head_n == 1) {
        if (!check_first_byte(parser, event))
            return false;
        begin_message(parser);
        return true;
    }
    if (parser->head_n == 2 && !check_second_byte(parser, event))
        return false;
    return parser->head_n != 2 + extended_bytes(parser) || check_length(parser, event);
}

/* Read what there is of the head.  Returns the bytes used. */
static size_t take_head(struct ws_parser *parser, const char *bytes, size_t bytes_n,
                        struct ws_event *event)
{
    size_t used = 0;

    while (used < bytes_n) {
        size_t end = next_check(parser);
        size_t n = end - parser->head_n < bytes_n - used ? end - parser->head_n : bytes_n - used;

        memcpy(parser->head + parser->head_n, bytes + used, n);
        parser->head_n += (uint8_t)n;
        used += n;
        if (parser->head_n < end)
            break;
        if (!check_head(parser, event))
            break;
        if (end == 2 + extended_bytes(parser) + MASK_BYTES) {
            parser->state = IN_PAYLOAD;
            parser->mask_at = 0;
            break;
        }
    }
    return used;
}

/* ---- the payload ---- */

static void unmask(struct ws_parser *parser, char *bytes, size_t n)
{
    const uint8_t *mask = parser->head + parser->head_n - MASK_BYTES;
    uint8_t turned[sizeof(uint64_t)];
    uint64_t word, mask_word;
    size_t at = 0;

    for (size_t i = 0; i < sizeof(turned); i++)
        turned[i] = mask[(parser->mask_at + i) % MASK_BYTES];
    memcpy(&mask_word, turned, sizeof(mask_word));
    for (; n - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, bytes + at, sizeof(word));
        word ^= mask_word;
        memcpy(bytes + at, &word, sizeof(word));
    }
    for (size_t i = 0; at < n; i++, at++)
        bytes[at] = (char)((unsigned char)bytes[at] ^ turned[i]);
    parser->mask_at = (uint8_t)((parser->mask_at + n) % MASK_BYTES);
}

/* Room for so many bytes in all, at most for one beyond the limit. */
static bool make_room(struct ws_parser *parser, uint32_t room)
{
    uint32_t room_max = parser->limits.message_bytes + 1;
    char *grown;

    if (room <= parser->text_room)
        return true;
    if (room < 2 * parser->text_room)
        room = 2 * parser->text_room;
    if (room < ROOM_MIN)
        room = ROOM_MIN;
    if (room > room_max)
        room = room_max;
    grown = realloc(parser->text, room);
    if (grown == NULL)
        return false;
    parser->text = grown;
    parser->text_room = room;
    return true;
}

/* Judge bytes that were written behind the text, and make them part of it. */
static bool add_text(struct ws_parser *parser, size_t n, struct ws_event *event)
{
    size_t allowed = parser->limits.message_bytes - parser->text_n;

    if (!utf8_pieces_add(&parser->utf8, parser->text + parser->text_n, n < allowed ? n : allowed))
        return fail_bad_text(parser, event);
    if (n > allowed)
        return fail_too_big(parser, event);
    parser->text_n += (uint32_t)n;
    return true;
}

static bool inflate_text(struct ws_parser *parser, const char *in, size_t in_n,
                         struct ws_event *event)
{
    enum ws_inflate_result result = WS_INFLATE_FULL;

    while (result == WS_INFLATE_FULL) {
        size_t n;

        if (!make_room(parser, parser->text_n + 1))
            return fail_without_memory(parser, event);
        result = ws_inflate_more(parser->inflate, &in, &in_n, parser->text + parser->text_n,
                                 parser->text_room - parser->text_n, &n);
        if (!add_text(parser, n, event))
            return false;
    }
    if (result == WS_INFLATE_NO_MEMORY)
        return fail_without_memory(parser, event);
    return result == WS_INFLATE_FINE ||
           fail(parser, event, WS_CLOSE_BAD_TEXT, "The compressed text is damaged.");
}

static bool take_packed(struct ws_parser *parser, const char *bytes, size_t n,
                        struct ws_event *event)
{
    if (parser->inflate == NULL)
        parser->inflate = ws_inflate_new();
    if (parser->inflate == NULL)
        return fail_without_memory(parser, event);
    return inflate_text(parser, bytes, n, event);
}

static bool take_plain(struct ws_parser *parser, const char *bytes, size_t n,
                       struct ws_event *event)
{
    if (!make_room(parser, parser->text_n + (uint32_t)n))
        return fail_without_memory(parser, event);
    memcpy(parser->text + parser->text_n, bytes, n);
    return add_text(parser, n, event);
}

static bool take_control(struct ws_parser *parser, const char *bytes, size_t n,
                         struct ws_event *event)
{
    size_t before_n = payload_length(parser) - parser->left;

    if (parser->control == NULL)
        parser->control = malloc(WS_CONTROL_PAYLOAD_MAX);
    if (parser->control == NULL)
        return fail_without_memory(parser, event);
    memcpy(parser->control + before_n, bytes, n);
    return true;
}

/* Keep a piece of the payload, which is unmasked. */
static bool keep(struct ws_parser *parser, const char *bytes, size_t n, struct ws_event *event)
{
    if (n == 0)
        return true;
    if (is_control(parser))
        return take_control(parser, bytes, n, event);
    return (parser->flags & IS_PACKED) != 0 ? take_packed(parser, bytes, n, event)
                                            : take_plain(parser, bytes, n, event);
}

/* ---- what is complete ---- */

static void give_close(struct ws_parser *parser, const char *payload, size_t n,
                       struct ws_event *event)
{
    if (n == 0) {
        *event = (struct ws_event){WS_EVENT_CLOSE, "", 0, WS_CLOSE_NO_CODE, NULL};
    } else if (n == 1) {
        fail(parser, event, WS_CLOSE_PROTOCOL, "The Close has a code of one byte.");
        return;
    } else {
        unsigned code = (unsigned)(unsigned char)payload[0] << 8 | (unsigned char)payload[1];

        if (!ws_close_code_is_sendable(code)) {
            fail(parser, event, WS_CLOSE_PROTOCOL, "The Close has a code that nobody may send.");
            return;
        }
        if (!utf8_valid(payload + 2, n - 2, NULL)) {
            fail_bad_text(parser, event);
            return;
        }
        *event = (struct ws_event){WS_EVENT_CLOSE, payload + 2, n - 2, code, NULL};
    }
    free_text(parser);
    free_inflate(parser);
    parser->flags = 0;
    parser->state = IS_OVER;
}

static void give_control(struct ws_parser *parser, const char *payload, struct ws_event *event)
{
    size_t n = payload_length(parser);

    if (opcode_of(parser) == WS_CLOSE) {
        give_close(parser, payload, n, event);
        return;
    }
    *event = (struct ws_event){
        .kind = opcode_of(parser) == WS_PING ? WS_EVENT_PING : WS_EVENT_PONG,
        .bytes = n > 0 ? payload : "",
        .n = n,
    };
}

/* The last of a compressed text is what its tail makes. */
static bool finish_packed(struct ws_parser *parser, struct ws_event *event)
{
    const char *tail;
    size_t tail_n;

    if (parser->inflate == NULL)
        return true;
    ws_inflate_tail(parser->inflate, &tail, &tail_n);
    if (!inflate_text(parser, tail, tail_n, event))
        return false;
    if (!ws_inflate_is_whole(parser->inflate))
        return fail(parser, event, WS_CLOSE_BAD_TEXT, "The compressed text is not whole.");
    free_inflate(parser);
    return true;
}

static void give_message(struct ws_parser *parser, struct ws_event *event)
{
    if (!finish_packed(parser, event))
        return;
    if (!utf8_pieces_are_whole(&parser->utf8)) {
        fail_bad_text(parser, event);
        return;
    }
    *event = (struct ws_event){
        .kind = WS_EVENT_MESSAGE,
        .bytes = parser->text_n > 0 ? parser->text : "",
        .n = parser->text_n,
    };
    parser->flags = IS_GIVEN;
}

static void end_fragment(struct ws_parser *parser, struct ws_event *event)
{
    if (payload_length(parser) == 0 && ++parser->empty_n > WS_PARSER_EMPTY_FRAGMENTS_MAX) {
        fail(parser, event, WS_CLOSE_POLICY, "The message has too many empty fragments.");
        return;
    }
    parser->flags |= IN_MESSAGE;
}

/* The frame is complete; the payload of a control frame is given. */
static void end_frame(struct ws_parser *parser, const char *control, struct ws_event *event)
{
    parser->state = IN_HEAD;
    if (is_control(parser))
        give_control(parser, control, event);
    else if ((parser->head[0] & FIN) != 0)
        give_message(parser, event);
    else
        end_fragment(parser, event);
    parser->head_n = 0;
}

/* A message of one frame that lies before us in one piece: nothing is kept. */
static bool is_in_place(const struct ws_parser *parser, size_t bytes_n)
{
    return opcode_of(parser) == WS_TEXT && (parser->head[0] & FIN) != 0 &&
           (parser->flags & IS_PACKED) == 0 && parser->text_n == 0 && bytes_n >= parser->left;
}

static void give_in_place(struct ws_parser *parser, const char *bytes, struct ws_event *event)
{
    size_t n = parser->left;

    parser->state = IN_HEAD;
    parser->head_n = 0;
    if (utf8_valid(bytes, n, NULL))
        *event = (struct ws_event){.kind = WS_EVENT_MESSAGE, .bytes = bytes, .n = n};
    else
        fail_bad_text(parser, event);
}

static size_t take_payload(struct ws_parser *parser, char *bytes, size_t bytes_n,
                           struct ws_event *event)
{
    size_t n = parser->left < bytes_n ? parser->left : bytes_n;
    bool is_whole = n == payload_length(parser);

    unmask(parser, bytes, n);
    if (is_in_place(parser, bytes_n)) {
        give_in_place(parser, bytes, event);
    } else if (is_control(parser) && is_whole) {
        end_frame(parser, bytes, event);
    } else if (keep(parser, bytes, n, event)) {
        parser->left -= (uint32_t)n;
        if (parser->left == 0)
            end_frame(parser, parser->control, event);
    }
    return n;
}

size_t ws_parser_push(struct ws_parser *parser, char *bytes, size_t bytes_n,
                      struct ws_event *ret_event)
{
    size_t used = 0;

    *ret_event = (struct ws_event){.kind = WS_EVENT_NONE};
    ws_parser_release(parser);
    while (used < bytes_n && ret_event->kind == WS_EVENT_NONE) {
        if (parser->state == IS_OVER)
            return bytes_n;
        if (parser->state == IN_HEAD)
            used += take_head(parser, bytes + used, bytes_n - used, ret_event);
        /* Also without a byte left: a frame may be empty. */
        if (parser->state == IN_PAYLOAD)
            used += take_payload(parser, bytes + used, bytes_n - used, ret_event);
    }
    return used;
}

size_t ws_parser_wants(const struct ws_parser *parser)
{
    if (parser->state == IN_PAYLOAD)
        return parser->left;
    if (parser->state == IS_OVER)
        return 1;
    if (parser->head_n < 2)
        return 2 + MASK_BYTES - (size_t)parser->head_n;
    return 2 + extended_bytes(parser) + MASK_BYTES - parser->head_n;
}

bool ws_parser_is_inside(const struct ws_parser *parser)
{
    return parser->state == IN_PAYLOAD || parser->head_n > 0 || (parser->flags & IN_MESSAGE) != 0;
}
