/* SPDX-License-Identifier: MIT */
/*
 * Frames of clients and what must be read from them (RFC 6455 section 5, RFC 7692 section 7.2).
 * Each row is read whole, byte by byte, in pieces of what the parser wants, and cut in two at every
 * place: the answer must not change.  Then every allocation fails once.
 */
#include "wire/ws_parser.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/fail_alloc.h"
#include "wire/ws_frame.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define BYTES(text) (text), sizeof(text) - 1
#define RAW 0x100u      /* bytes as they are, instead of a frame */
#define REPEATED 0x200u /* a frame whose payload is its first byte, `n` times */
#define PARTS_MAX 6
#define STREAM_MAX (1 << 19)
#define WHOLE SIZE_MAX
#define WANTED (SIZE_MAX - 1)

struct part {
    unsigned first; /* the first byte of a frame, or RAW */
    const char *payload;
    size_t n;
};

struct row {
    struct part parts[PARTS_MAX]; /* the last one has no payload */
    const char *want;
};

static char stream[STREAM_MAX];

/* ---- writing what a client sends ---- */

static size_t put_frame(char *to, const struct part *part)
{
    static const unsigned char mask[4] = {0x37, 0xFA, 0x21, 0x3D};
    unsigned first = part->first & 0xFF;
    size_t head_n = ws_frame_put_head(to, WS_TEXT, false, part->n);

    to[0] = (char)first;
    to[1] = (char)(to[1] | 0x80);
    memcpy(to + head_n, mask, 4);
    for (size_t i = 0; i < part->n; i++) {
        char plain = (part->first & REPEATED) != 0 ? part->payload[0] : part->payload[i];

        to[head_n + 4 + i] = (char)(plain ^ mask[i % 4]);
    }
    return head_n + 4 + part->n;
}

static size_t put_parts(const struct part *parts)
{
    size_t n = 0;

    for (size_t i = 0; i < PARTS_MAX && parts[i].payload != NULL; i++) {
        assert_true(n + parts[i].n + 14 <= sizeof(stream));
        if ((parts[i].first & RAW) != 0) {
            memcpy(stream + n, parts[i].payload, parts[i].n);
            n += parts[i].n;
        } else {
            n += put_frame(stream + n, &parts[i]);
        }
    }
    return n;
}

/* ---- telling what was read ---- */

static void say_bytes(FILE *to, const struct ws_event *event)
{
    if (event->n > 40)
        fprintf(to, "%zu bytes", event->n);
    else
        fwrite(event->bytes, 1, event->n, to);
}

static void say(FILE *to, const struct ws_event *event)
{
    static const char *const words[] = {"", "text(", "ping(", "pong(", "close(", "failed("};

    fputs(words[event->kind], to);
    if (event->kind == WS_EVENT_CLOSE || event->kind == WS_EVENT_FAILED)
        fprintf(to, "%u", event->code);
    if (event->kind == WS_EVENT_CLOSE)
        fputs(event->n > 0 ? " " : "", to);
    if (event->kind == WS_EVENT_FAILED)
        assert_non_null(event->why);
    else
        say_bytes(to, event);
    fputs(")", to);
}

/* Push a copy of exactly these bytes, so that a sanitizer sees every read past a piece. */
static void push_piece(struct ws_parser *parser, const char *bytes, size_t n, bool is_wanted,
                       FILE *to)
{
    char *piece = __real_malloc(n);
    size_t used = 0;

    memcpy(piece, bytes, n);
    while (used < n) {
        struct ws_event event;
        size_t now = ws_parser_push(parser, piece + used, n - used, &event);

        assert_true(now > 0 && now <= n - used);
        used += now;
        if (event.kind == WS_EVENT_NONE) {
            assert_int_equal(used, n);
            break;
        }
        assert_true(!is_wanted || used == n || event.kind == WS_EVENT_FAILED);
        say(to, &event);
    }
    ws_parser_release(parser);
    free(piece);
}

/* Read the stream in pieces: WHOLE, WANTED, or so many bytes in the first and all in the second;
 * 0: byte by byte.  Returns what was said, given. */
static char *read_stream(size_t n, size_t cut, const struct ws_parser_limits *limits)
{
    struct ws_parser parser;
    char *said;
    size_t said_n;
    FILE *to = open_memstream(&said, &said_n);

    ws_parser_init(&parser, limits);
    for (size_t at = 0; at < n;) {
        size_t piece_n = cut == WHOLE    ? n
                         : cut == WANTED ? ws_parser_wants(&parser)
                         : cut == 0      ? 1
                         : at == 0       ? cut
                                         : n - at;
        if (piece_n > n - at)
            piece_n = n - at;
        push_piece(&parser, stream + at, piece_n, cut == WANTED, to);
        at += piece_n;
        if (!ws_parser_is_inside(&parser))
            assert_int_equal(ws_parser_held_bytes(&parser), 0);
        assert_true(ws_parser_held_bytes(&parser) <= 2 * limits->message_bytes + 49152);
    }
    ws_parser_end(&parser);
    assert_int_equal(ws_parser_held_bytes(&parser), 0);
    fclose(to);
    return said;
}

static void check_read(const struct row *row, size_t n, size_t cut,
                       const struct ws_parser_limits *limits)
{
    char *said = read_stream(n, cut, limits);

    if (strcmp(said, row->want) != 0)
        fail_msg("cut %zd: %s, not %s", (ssize_t)cut, said, row->want);
    free(said);
}

static void check_rows(const struct row *rows, size_t rows_n, const struct ws_parser_limits *limits)
{
    for (size_t i = 0; i < rows_n; i++) {
        size_t n = put_parts(rows[i].parts);
        size_t cut_max = n < 600 ? n : 40;

        check_read(&rows[i], n, WHOLE, limits);
        check_read(&rows[i], n, WANTED, limits);
        check_read(&rows[i], n, 0, limits);
        for (size_t cut = 1; cut < cut_max; cut++)
            check_read(&rows[i], n, cut, limits);
    }
}

static const struct ws_parser_limits roomy = {.message_bytes = 1 << 17};
static const struct ws_parser_limits tight = {.message_bytes = 10};
static const struct ws_parser_limits inflating = {.message_bytes = 1 << 17, .inflates = true};
static const struct ws_parser_limits tight_inflating = {.message_bytes = 10, .inflates = true};

/* ---- tests ---- */

static void reads_messages(void **state)
{
    static const struct row rows[] = {
        {{{0x81, BYTES("")}}, "text()"},
        {{{0x81, BYTES("Hello")}}, "text(Hello)"},
        {{{0x81, BYTES("one")}, {0x81, BYTES("")}, {0x81, BYTES("two")}},
         "text(one)text()text(two)"},
        {{{REPEATED | 0x81, "x", 125}}, "text(125 bytes)"},
        {{{REPEATED | 0x81, "x", 126}}, "text(126 bytes)"},
        {{{REPEATED | 0x81, "x", 127}, {0x81, BYTES("y")}}, "text(127 bytes)text(y)"},
        {{{REPEATED | 0x81, "x", 65535}}, "text(65535 bytes)"},
        {{{REPEATED | 0x81, "x", 65536}}, "text(65536 bytes)"},
        {{{REPEATED | 0x81, "x", 1 << 17}}, "text(131072 bytes)"},
        /* Fragments, with and without something in them and between them. */
        {{{0x01, BYTES("Hel")}, {0x80, BYTES("lo")}}, "text(Hello)"},
        {{{0x01, BYTES("H")}, {0x00, BYTES("ell")}, {0x80, BYTES("o")}, {0x81, BYTES("!")}},
         "text(Hello)text(!)"},
        {{{0x01, BYTES("")}, {0x00, BYTES("")}, {0x80, BYTES("")}}, "text()"},
        {{{0x01, BYTES("Hello")}, {0x80, BYTES("")}}, "text(Hello)"},
        {{{0x01, BYTES("")}, {0x80, BYTES("Hello")}}, "text(Hello)"},
        {{{0x01, BYTES("Hel")}, {0x89, BYTES("p")}, {0x8A, BYTES("q")}, {0x80, BYTES("lo")}},
         "ping(p)pong(q)text(Hello)"},
        {{{REPEATED | 0x01, "x", 70000}, {REPEATED | 0x80, "x", 61072}}, "text(131072 bytes)"},
    };

    (void)state;
    check_rows(rows, ROWS(rows), &roomy);
    check_rows(rows, ROWS(rows), &inflating);
}

static void reads_control_frames(void **state)
{
    static const struct row rows[] = {
        {{{0x89, BYTES("")}}, "ping()"},
        {{{0x8A, BYTES("")}}, "pong()"},
        {{{0x89, BYTES("beat")}, {0x89, BYTES("beat")}}, "ping(beat)ping(beat)"},
        {{{REPEATED | 0x89, "x", 125}, {REPEATED | 0x8A, "\xFF", 125}},
         "ping(125 bytes)pong(125 bytes)"},
        {{{0x88, BYTES("")}}, "close(1005)"},
        {{{0x88, BYTES("\x03\xE8")}}, "close(1000)"},
        {{{0x88, BYTES("\x03\xE9so long")}}, "close(1001 so long)"},
        {{{0x88, BYTES("\x0B\xB8\xC3\xBC")}}, "close(3000 \xC3\xBC)"},
        {{{0x88, BYTES("\x13\x87")}}, "close(4999)"},
        {{{0x01, BYTES("part")}, {0x88, BYTES("\x03\xE8")}}, "close(1000)"},
        /* Nothing after a Close counts. */
        {{{0x88, BYTES("\x03\xE8")}, {0x81, BYTES("late")}, {0x83, BYTES("")}}, "close(1000)"},
    };

    (void)state;
    check_rows(rows, ROWS(rows), &roomy);
}

static void refuses_frames_that_are_forbidden(void **state)
{
    static const struct row rows[] = {
        /* not masked */
        {{{RAW, BYTES("\x81\x05Hello")}}, "failed(1002)"},
        {{{RAW, BYTES("\x81\x00")}}, "failed(1002)"},
        {{{RAW, BYTES("\x89\x00")}}, "failed(1002)"},
        {{{RAW, BYTES("\x88\x02\x03\xE8")}}, "failed(1002)"},
        {{{0x81, BYTES("good")}, {RAW, BYTES("\x81\x00")}, {0x81, BYTES("late")}},
         "text(good)failed(1002)"},
        /* reserved bits */
        {{{0xC1, BYTES("Hello")}}, "failed(1002)"},
        {{{0xA1, BYTES("Hello")}}, "failed(1002)"},
        {{{0x91, BYTES("Hello")}}, "failed(1002)"},
        {{{0xC9, BYTES("")}}, "failed(1002)"},
        {{{0x01, BYTES("a")}, {0xC0, BYTES("b")}}, "failed(1002)"},
        /* unknown opcodes */
        {{{0x83, BYTES("")}}, "failed(1002)"},
        {{{0x87, BYTES("")}}, "failed(1002)"},
        {{{0x8B, BYTES("")}}, "failed(1002)"},
        {{{0x8F, BYTES("")}}, "failed(1002)"},
        /* control frames */
        {{{0x09, BYTES("")}}, "failed(1002)"},
        {{{0x0A, BYTES("")}}, "failed(1002)"},
        {{{0x08, BYTES("")}}, "failed(1002)"},
        {{{REPEATED | 0x89, "x", 126}}, "failed(1002)"},
        {{{REPEATED | 0x88, "x", 70000}}, "failed(1002)"},
        /* order */
        {{{0x80, BYTES("b")}}, "failed(1002)"},
        {{{0x00, BYTES("")}}, "failed(1002)"},
        {{{0x81, BYTES("a")}, {0x80, BYTES("b")}}, "text(a)failed(1002)"},
        {{{0x01, BYTES("a")}, {0x81, BYTES("b")}}, "failed(1002)"},
        {{{0x01, BYTES("a")}, {0x02, BYTES("b")}}, "failed(1002)"},
        /* lengths */
        {{{RAW, BYTES("\x81\xFE\x00\x7D")}}, "failed(1002)"},
        {{{RAW, BYTES("\x81\xFE\x00\x00")}}, "failed(1002)"},
        {{{RAW, BYTES("\x81\xFF\x00\x00\x00\x00\x00\x00\xFF\xFF")}}, "failed(1002)"},
        {{{RAW, BYTES("\x81\xFF\x00\x00\x00\x00\x00\x00\x00\x00")}}, "failed(1002)"},
        {{{RAW, BYTES("\x81\xFF\x80\x00\x00\x00\x00\x01\x00\x00")}}, "failed(1002)"},
        {{{RAW, BYTES("\x81\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF")}}, "failed(1002)"},
        /* binary */
        {{{0x82, BYTES("")}}, "failed(1003)"},
        {{{0x02, BYTES("a")}}, "failed(1003)"},
        /* Close */
        {{{0x88, BYTES("\x03")}}, "failed(1002)"},
        {{{0x88, BYTES("\x00\x00")}}, "failed(1002)"},
        {{{0x88, BYTES("\x03\xE7")}}, "failed(1002)"},
        {{{0x88, BYTES("\x03\xEC")}}, "failed(1002)"},
        {{{0x88, BYTES("\x03\xED")}}, "failed(1002)"},
        {{{0x88, BYTES("\x03\xEE")}}, "failed(1002)"},
        {{{0x88, BYTES("\x03\xF7")}}, "failed(1002)"},
        {{{0x88, BYTES("\x0B\xB7")}}, "failed(1002)"},
        {{{0x88, BYTES("\x13\x88")}}, "failed(1002)"},
        {{{0x88, BYTES("\xFF\xFF")}}, "failed(1002)"},
        {{{0x88, BYTES("\x03\xE8\xFF")}}, "failed(1007)"},
        {{{0x88, BYTES("\x03\xE8so\xC3")}}, "failed(1007)"},
    };

    (void)state;
    check_rows(rows, ROWS(rows), &roomy);
}

static void judges_text_as_it_comes(void **state)
{
    static const struct row rows[] = {
        {{{0x81, BYTES("\xCE\xBA\xE1\xBD\xB9")}}, "text(\xCE\xBA\xE1\xBD\xB9)"},
        {{{0x01, BYTES("\xF0")}, {0x00, BYTES("\x9F\x90")}, {0x80, BYTES("\x9D")}},
         "text(\xF0\x9F\x90\x9D)"},
        {{{0x01, BYTES("\xF0\x9F")}, {0x89, BYTES("\xFF")}, {0x80, BYTES("\x90\x9D")}},
         "ping(\xFF)text(\xF0\x9F\x90\x9D)"},
        {{{0x81, BYTES("\xFF")}}, "failed(1007)"},
        {{{0x81, BYTES("a long text before it\xC0\xAF")}}, "failed(1007)"},
        {{{0x81, BYTES("cut \xE2\x82")}}, "failed(1007)"},
        {{{0x01, BYTES("cut \xE2")}, {0x80, BYTES("\x82")}}, "failed(1007)"},
        {{{0x01, BYTES("cut \xE2\x82")}, {0x80, BYTES("")}}, "failed(1007)"},
        /* before the message, and even the frame, is complete */
        {{{0x01, BYTES("\xED\xA0")}}, "failed(1007)"},
        {{{0x01, BYTES("\xF4")}, {0x00, BYTES("\x90")}}, "failed(1007)"},
        {{{RAW, BYTES("\x81\x8A\x00\x00\x00\x00\xF5")}}, "failed(1007)"},
        {{{RAW, BYTES("\x01\x8A\x00\x00\x00\x00ok\xC2")}}, ""},
    };

    (void)state;
    check_rows(rows, ROWS(rows), &roomy);
}

static void counts_fragments_together(void **state)
{
    static const struct row rows[] = {
        {{{0x81, BYTES("0123456789")}}, "text(0123456789)"},
        {{{0x01, BYTES("01234")}, {0x80, BYTES("56789")}, {0x81, BYTES("0123456789")}},
         "text(0123456789)text(0123456789)"},
        {{{0x01, BYTES("0123456789")}, {0x89, BYTES("a long ping that does not count")}},
         "ping(a long ping that does not count)"},
        /* with the head of the frame */
        {{{RAW, BYTES("\x81\x8B")}}, "failed(1009)"},
        {{{RAW, BYTES("\x81\xFE\x00\x7E")}}, "failed(1009)"},
        {{{RAW, BYTES("\x81\xFF\x00\x00\x00\x00\x00\x01\x00\x00")}}, "failed(1009)"},
        {{{RAW, BYTES("\x81\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF")}}, "failed(1009)"},
        {{{0x01, BYTES("01234")}, {RAW, BYTES("\x80\x86")}}, "failed(1009)"},
        {{{0x01, BYTES("01234")}, {0x00, BYTES("01234")}, {RAW, BYTES("\x00\x81")}},
         "failed(1009)"},
    };

    (void)state;
    check_rows(rows, ROWS(rows), &tight);
    check_rows(rows, ROWS(rows), &tight_inflating);
}

static void inflates(void **state)
{
    static const struct row rows[] = {
        /* the examples of RFC 7692 section 7.2.3 */
        {{{0xC1, BYTES("\xF2\x48\xCD\xC9\xC9\x07\x00")}}, "text(Hello)"},
        {{{0x41, BYTES("\xF2\x48\xCD")}, {0x80, BYTES("\xC9\xC9\x07\x00")}}, "text(Hello)"},
        {{{0xC1, BYTES("\xF2\x48\xCD\xC9\xC9\x07\x00")},
          {0xC1, BYTES("\xF2\x48\xCD\xC9\xC9\x07\x00")}},
         "text(Hello)text(Hello)"},
        {{{0xC1, BYTES("\x00\x05\x00\xFA\xFFHello\x00")}}, "text(Hello)"},
        {{{0xC1, BYTES("\xF3\x48\xCD\xC9\xC9\x07\x00\x00")}}, "text(Hello)"},
        {{{0xC1, BYTES("\xF2\x48\x05\x00\x00\x00\xFF\xFF\xCA\xC9\xC9\x07\x00")}}, "text(Hello)"},
        /* nothing, said in several ways */
        {{{0xC1, BYTES("\x00")}}, "text()"},
        {{{0xC1, BYTES("\x02\x00")}}, "text()"},
        {{{0xC1, BYTES("")}}, "text()"},
        {{{0x41, BYTES("")}, {0x80, BYTES("\x00")}}, "text()"},
        /* not every message need be compressed */
        {{{0x81, BYTES("plain")},
          {0xC1, BYTES("\xF2\x48\xCD\xC9\xC9\x07\x00")},
          {0x81, BYTES("plain")}},
         "text(plain)text(Hello)text(plain)"},
        {{{0x41, BYTES("\xF2\x48\xCD")}, {0x89, BYTES("p")}, {0x80, BYTES("\xC9\xC9\x07\x00")}},
         "ping(p)text(Hello)"},
        /* a last block, with more behind it and with nothing */
        {{{0xC1, BYTES("\xF3\x48\xCD\xC9\xC9\x07\x00")}}, "text(Hello)"},
        {{{0xC1, BYTES("\xF3\x48\xCD\xC9\xC9\x07\x00\xF2\x48\xCD\xC9\xC9\x07\x00")}},
         "text(HelloHello)"},
        {{{0xC1, BYTES("\x03\x00\x03\x00\x03\x00")}}, "text()"},
        /* the bit belongs to the first frame of a message alone */
        {{{0x41, BYTES("\xF2\x48\xCD")}, {0xC0, BYTES("\xC9\xC9\x07\x00")}}, "failed(1002)"},
        {{{0xC9, BYTES("")}}, "failed(1002)"},
        {{{0xC8, BYTES("")}}, "failed(1002)"},
        {{{0xC2, BYTES("")}}, "failed(1003)"},
        {{{0xE1, BYTES("")}}, "failed(1002)"},
        /* no deflate, cut, without context, no UTF-8 */
        {{{0xC1, BYTES("\x07")}}, "failed(1007)"},
        {{{0xC1, BYTES("\x00\x05\x00\x00\x00Hello")}}, "failed(1007)"},
        {{{0xC1, BYTES("\xF2\x48\xCD\xC9")}}, "failed(1007)"},
        {{{0xC1, BYTES("\xF2\x48\xCD\xC9\xC9\x07\x00")}, {0xC1, BYTES("\xF2\x00\x11\x00\x00")}},
         "text(Hello)failed(1007)"},
        {{{0xC1, BYTES("\x00\x01\x00\xFE\xFF\xFF\x00")}}, "failed(1007)"},
        {{{0xC1, BYTES("\x00\x01\x00\xFE\xFF\xC3\x00")}}, "failed(1007)"},
        {{{0x41, BYTES("\x00\x01\x00\xFE\xFF\xC3\x00\x01")}, {0x80, BYTES("\x00\xFE\xFF\xBC\x00")}},
         "text(\xC3\xBC)"},
    };

    (void)state;
    check_rows(rows, ROWS(rows), &inflating);
}

static void bounds_what_is_inflated(void **state)
{
    static const struct row rows[] = {
        {{{0xC1, BYTES("\x00\x0A\x00\xF5\xFF"
                       "0123456789\x00")}},
         "text(0123456789)"},
        {{{0xC1, BYTES("\x00\x0B\x00\xF4\xFF"
                       "0123456789!\x00")}},
         "failed(1009)"},
        {{{0x41, BYTES("\x00\x0A\x00\xF5\xFF"
                       "0123456789")},
          {0x00, BYTES("\x00\x01\x00\xFE\xFF!")}},
         "failed(1009)"},
        /* a kilobyte of `a` in a few bytes */
        {{{0xC1, BYTES("\x4A\x4C\x1C\x05\xA3\x60\x14\x8C\x54\x00\x00")}}, "failed(1009)"},
        /* bad text before it is too much */
        {{{0xC1, BYTES("\x00\x0B\x00\xF4\xFF"
                       "012345678\xFF!\x00")}},
         "failed(1007)"},
        /* empty blocks, more than any text of ten bytes takes */
        {{{REPEATED | 0x41, "\x00", 1}, {RAW, BYTES("\x00\xCB")}}, "failed(1009)"},
    };

    (void)state;
    check_rows(rows, ROWS(rows), &tight_inflating);
}

static void takes_only_so_many_empty_fragments(void **state)
{
    static const struct part empty = {0x00, "", 0}, begin = {0x01, "", 0}, end = {0x80, "x", 1};

    (void)state;
    for (unsigned limit = 60; limit < 70; limit++) {
        size_t n = put_frame(stream, &begin);
        struct row row = {.want = limit <= WS_PARSER_EMPTY_FRAGMENTS_MAX ? "text(x)text(x)"
                                                                         : "failed(1008)"};

        for (int again = 0; again < 2; again++) { /* each message anew */
            n = again == 0 ? n : n + put_frame(stream + n, &begin);
            for (unsigned i = 1; i < limit; i++)
                n += put_frame(stream + n, &empty);
            n += put_frame(stream + n, &end);
        }
        check_read(&row, n, WHOLE, &roomy);
        check_read(&row, n, 0, &roomy);
    }
}

/* Nothing is copied that need not be, and the rest is not touched. */
static void gives_a_whole_message_where_it_lies(void **state)
{
    static const struct part parts[PARTS_MAX] = {{0x81, BYTES("one")}, {0x81, BYTES("two")}};
    size_t n = put_parts(parts);
    struct ws_parser parser;
    struct ws_event event;

    (void)state;
    ws_parser_init(&parser, &roomy);
    fail_alloc(0);
    assert_int_equal(ws_parser_push(&parser, stream, n, &event), 9);
    assert_ptr_equal(event.bytes, stream + 6);
    assert_int_equal(ws_parser_held_bytes(&parser), 0);
    assert_memory_equal(stream + 9, "\x81\x83\x37\xFA\x21\x3D", 6);
    assert_int_equal(ws_parser_push(&parser, stream + 9, n - 9, &event), 9);
    assert_false(fail_alloc_is_over());
    fail_alloc(-1);
    assert_memory_equal(event.bytes, "two", 3);
    assert_false(ws_parser_is_inside(&parser));
    ws_parser_end(&parser);
}

static void keeps_a_part_and_gives_it_back(void **state)
{
    static const struct part parts[PARTS_MAX] = {{0x01, BYTES("one")}, {0x89, BYTES("ping")}};
    size_t n = put_parts(parts);
    struct ws_parser parser;
    struct ws_event event;

    (void)state;
    assert_true(sizeof(parser) <= 100);
    ws_parser_init(&parser, &roomy);
    assert_int_equal(ws_parser_wants(&parser), 6);
    ws_parser_push(&parser, stream, 1, &event);
    assert_true(ws_parser_is_inside(&parser));
    assert_int_equal(ws_parser_held_bytes(&parser), 0);
    ws_parser_push(&parser, stream + 1, n - 3, &event);
    assert_int_equal(event.kind, WS_EVENT_NONE);
    assert_int_equal(ws_parser_wants(&parser), 2);
    size_t held = ws_parser_held_bytes(&parser);
    ws_parser_push(&parser, stream + n - 2, 2, &event);
    assert_int_equal(event.kind, WS_EVENT_PING);
    assert_memory_equal(event.bytes, "ping", 4);
    ws_parser_release(&parser);
    assert_true(ws_parser_held_bytes(&parser) > 0 && ws_parser_held_bytes(&parser) < held);
    assert_true(ws_parser_is_inside(&parser));
    ws_parser_end(&parser);
    assert_int_equal(ws_parser_held_bytes(&parser), 0);
}

/* After a Close nothing is to follow, though a message was begun. */
static void is_over_after_a_close(void **state)
{
    static const struct part parts[PARTS_MAX] = {{0x01, BYTES("one")}, {0x88, BYTES("\x03\xE8")}};
    size_t n = put_parts(parts);
    struct ws_parser parser;
    struct ws_event event;

    (void)state;
    ws_parser_init(&parser, &roomy);
    assert_int_equal(ws_parser_push(&parser, stream, n, &event), n);
    assert_int_equal(event.kind, WS_EVENT_CLOSE);
    assert_false(ws_parser_is_inside(&parser));
    assert_int_equal(ws_parser_held_bytes(&parser), 0);
    assert_int_equal(ws_parser_push(&parser, stream, n, &event), n);
    assert_int_equal(event.kind, WS_EVENT_NONE);
    assert_int_equal(ws_parser_wants(&parser), 1);
    ws_parser_end(&parser);
}

/* Each allocation in turn fails: 1011, or all is read. */
static void ends_without_memory(void **state)
{
    static const struct row row = {{{0x01, BYTES("Hel")},
                                    {0x89, BYTES("ping")},
                                    {0x80, BYTES("lo")},
                                    {0x41, BYTES("\xF2\x48\xCD")},
                                    {0x80, BYTES("\xC9\xC9\x07\x00")},
                                    {REPEATED | 0x81, "x", 3000}},
                                   "ping(ping)text(Hello)text(Hello)text(3000 bytes)"};
    size_t n = put_parts(row.parts);
    int failed_n = 0;

    (void)state;
    for (int turn = 0; turn < 30; turn++) {
        char *said;

        fail_alloc(turn);
        said = read_stream(n, 0, &inflating);
        fail_alloc(-1);
        if (strcmp(said, row.want) != 0) {
            const char *end = strstr(said, "failed(1011)");

            assert_non_null(end);
            assert_int_equal(end[strlen("failed(1011)")], '\0');
            failed_n++;
        }
        free(said);
    }
    assert_in_range(failed_n, 8, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_messages),
        cmocka_unit_test(reads_control_frames),
        cmocka_unit_test(refuses_frames_that_are_forbidden),
        cmocka_unit_test(judges_text_as_it_comes),
        cmocka_unit_test(counts_fragments_together),
        cmocka_unit_test(inflates),
        cmocka_unit_test(bounds_what_is_inflated),
        cmocka_unit_test(takes_only_so_many_empty_fragments),
        cmocka_unit_test(gives_a_whole_message_where_it_lies),
        cmocka_unit_test(keeps_a_part_and_gives_it_back),
        cmocka_unit_test(is_over_after_a_close),
        cmocka_unit_test(ends_without_memory),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
