/* SPDX-License-Identifier: MIT */
/*
 * Streams and what a client must read from them, after the cases of WHATWG HTML 9.2 and of the
 * format tests that browsers are held to.  Each case is read whole, byte by byte, and cut in two
 * and in three at every place: the answer must not change.
 */
#include "wire/sse_parser.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define BOM "\xEF\xBB\xBF"
/* A text with NULs in it, and its length. */
#define BYTES(text) (text), sizeof(text) - 1
#define THREE_WAY_BYTES_MAX 64

static const struct sse_parser_limits roomy = {1 << 20, 1 << 20};

/* What a stream said, as text: `name|data|id*` for an event (the star when it brought its id),
 * `retry=N` for a retry, each with a semicolon after it.  NUL shows as `@`, LF as `/`. */
struct said {
    FILE *to;
    char *text;
    size_t text_n;
    size_t events_n;
    size_t stop_at; /* the event that answers -ECANCELED; 0: none */
};

static void say(struct said *said, const char *bytes, size_t bytes_n)
{
    for (size_t i = 0; i < bytes_n; i++)
        putc(bytes[i] == '\0' ? '@' : bytes[i] == '\n' ? '/' : bytes[i], said->to);
}

static int on_event(void *arg, const struct sse_parser_event *event)
{
    struct said *said = arg;
    assert_int_equal(event->name[event->name_n], '\0');
    assert_int_equal(event->data[event->data_n], '\0');
    assert_int_equal(event->id[event->id_n], '\0');
    say(said, event->name, event->name_n);
    putc('|', said->to);
    say(said, event->data, event->data_n);
    putc('|', said->to);
    say(said, event->id, event->id_n);
    fputs(event->has_id ? "*;" : ";", said->to);
    return ++said->events_n == said->stop_at ? -ECANCELED : 0;
}

static void on_retry(void *arg, uint64_t retry_ms)
{
    struct said *said = arg;
    fprintf(said->to, "retry=%llu;", (unsigned long long)retry_ms);
}

static struct sse_parser *open_reader(struct said *said, const struct sse_parser_limits *limits,
                                      const char *last_id)
{
    struct sse_parser_handler handler = {on_event, on_retry, said};
    said->to = open_memstream(&said->text, &said->text_n);
    assert_non_null(said->to);
    struct sse_parser *reader = sse_parser_new(limits, &handler, last_id);
    assert_non_null(reader);
    return reader;
}

static void check_said(struct said *said, const char *want)
{
    assert_int_equal(fclose(said->to), 0);
    assert_string_equal(said->text, want);
    free(said->text);
    *said = (struct said){0};
}

/* Push a copy of exactly these bytes, so that a sanitizer sees every read past a piece. */
static int push(struct sse_parser *reader, const char *bytes, size_t bytes_n)
{
    char *piece = malloc(bytes_n ? bytes_n : 1);
    assert_non_null(piece);
    memcpy(piece, bytes, bytes_n);
    int ret = sse_parser_push(reader, piece, bytes_n);
    free(piece);
    return ret;
}

struct stream_case {
    const char *stream;
    size_t stream_n;
    const char *want;
    const char *last_id;
    int ret;
    struct sse_parser_limits limits; /* all 0: roomy */
};

/* Read a case in pieces that end at `cuts`, which rise. */
static void check_cut(const struct stream_case *row, const size_t *cuts, size_t cuts_n)
{
    struct said said = {0};
    struct sse_parser *reader =
        open_reader(&said, row->limits.line_bytes_max ? &row->limits : &roomy, NULL);
    size_t at = 0;
    int ret = 0;

    for (size_t i = 0; i < cuts_n && ret == 0; i++) {
        ret = push(reader, row->stream + at, cuts[i] - at);
        at = cuts[i];
    }
    if (ret == 0)
        ret = push(reader, row->stream + at, row->stream_n - at);
    assert_int_equal(ret, row->ret);
    assert_string_equal(sse_parser_last_id(reader), row->last_id);
    check_said(&said, row->want);
    sse_parser_free(reader);
}

static void check_byte_by_byte(const struct stream_case *row)
{
    size_t *cuts = calloc(row->stream_n + 1, sizeof *cuts);
    assert_non_null(cuts);
    for (size_t i = 0; i < row->stream_n; i++)
        cuts[i] = i + 1;
    check_cut(row, cuts, row->stream_n);
    free(cuts);
}

static void check_all_cuts(const struct stream_case *row)
{
    size_t last = row->stream_n <= THREE_WAY_BYTES_MAX ? row->stream_n : 0;
    check_cut(row, NULL, 0);
    check_byte_by_byte(row);
    for (size_t i = 0; i <= row->stream_n; i++) {
        size_t cuts[2] = {i, i};
        check_cut(row, cuts, 1);
        for (size_t j = i; j <= last; j++) {
            cuts[1] = j;
            check_cut(row, cuts, 2);
        }
    }
}

static void check_rows(const struct stream_case *rows, size_t rows_n)
{
    for (size_t i = 0; i < rows_n; i++)
        check_all_cuts(&rows[i]);
}

static void events_and_data(void **state)
{
    static const struct stream_case rows[] = {
        {BYTES(""), "", "", 0, {0}},
        {BYTES("data: a\n\n"), "message|a|;", "", 0, {0}},
        {BYTES("data:a\n\ndata:b\n\n"), "message|a|;message|b|;", "", 0, {0}},
        {BYTES("data: a\ndata: b\n\n"), "message|a/b|;", "", 0, {0}},
        {BYTES("data: a"), "", "", 0, {0}},
        {BYTES("data: a\n"), "", "", 0, {0}},
        {BYTES("data: a\n\ndata: b"), "message|a|;", "", 0, {0}},
        {BYTES("data: a\n\ndata: b\n"), "message|a|;", "", 0, {0}},
        /* Empty data is an event, no data is none. */
        {BYTES("data:\n\n"), "message||;", "", 0, {0}},
        {BYTES("data\n\n"), "message||;", "", 0, {0}},
        {BYTES("data\ndata\n\n"), "message|/|;", "", 0, {0}},
        {BYTES("data: a\ndata:\n\n"), "message|a/|;", "", 0, {0}},
        {BYTES("\n\n\n"), "", "", 0, {0}},
        {BYTES("event: x\n\n"), "", "", 0, {0}},
        /* Only one space goes. */
        {BYTES("data:  a\n\n"), "message| a|;", "", 0, {0}},
        {BYTES("data: \n\n"), "message||;", "", 0, {0}},
        {BYTES("data:\ta\n\n"), "message|\ta|;", "", 0, {0}},
        {BYTES("data: a \n\n"), "message|a |;", "", 0, {0}},
        {BYTES("data:a:b: c\n\n"), "message|a:b: c|;", "", 0, {0}},
        /* Names must be exact. */
        {BYTES("data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\n\n"),
         "message|test/|;",
         "",
         0,
         {0}},
        {BYTES(" data: a\nData: b\nDATA: c\ndata : d\ndat: e\ndatax: f\n\n"), "", "", 0, {0}},
        {BYTES("data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\n"
               "data:3\rdata:\r\n data:32\ndata:4\n\n"),
         "message|@/ 2/1/3//4|;",
         "",
         0,
         {0}},
        /* NUL and what is no line end pass. */
        {BYTES("data: a\0b\n\n"), "message|a@b|;", "", 0, {0}},
        {BYTES("data: a\v\f\xC2\x85\xE2\x80\xA8\xE2\x80\xA9z\n\n"),
         "message|a\v\f\xC2\x85\xE2\x80\xA8\xE2\x80\xA9z|;",
         "",
         0,
         {0}},
        {BYTES("data:ok\xE2\x80\xA6\n\n"), "message|ok\xE2\x80\xA6|;", "", 0, {0}},
    };
    (void)state;
    check_rows(rows, ROWS(rows));
}

static void line_ends(void **state)
{
    static const struct stream_case rows[] = {
        {BYTES("data:a\r\n\r\n"), "message|a|;", "", 0, {0}},
        {BYTES("data:a\r\r"), "message|a|;", "", 0, {0}},
        {BYTES("data:a\n\r"), "message|a|;", "", 0, {0}},
        {BYTES("data:a\r\n\n"), "message|a|;", "", 0, {0}},
        {BYTES("data:a\r\n\r"), "message|a|;", "", 0, {0}},
        /* CRLF is one end, LFCR are two. */
        {BYTES("data:a\r\ndata:b\r\n\r\n"), "message|a/b|;", "", 0, {0}},
        {BYTES("data:a\n\rdata:b\n\n"), "message|a|;message|b|;", "", 0, {0}},
        {BYTES("data:a\rdata:b\ndata:c\r\n\rdata:d\r\r\n"),
         "message|a/b/c|;message|d|;",
         "",
         0,
         {0}},
        {BYTES("data:a\r\r\r\n\n\rdata:b\r\n\r\n"), "message|a|;message|b|;", "", 0, {0}},
        {BYTES(":c\r\n:d\rdata:a\n:e\n\n"), "message|a|;", "", 0, {0}},
    };
    (void)state;
    check_rows(rows, ROWS(rows));
}

static void byte_order_marks(void **state)
{
    static const struct stream_case rows[] = {
        {BYTES(BOM "data:1\n\ndata:2\n\n"), "message|1|;message|2|;", "", 0, {0}},
        {BYTES(BOM BOM "data:1\n\ndata:2\n\n"), "message|2|;", "", 0, {0}},
        {BYTES("\n" BOM "data:1\n\ndata:2\n\n"), "message|2|;", "", 0, {0}},
        {BYTES("data: " BOM "1\n\n"), "message|" BOM "1|;", "", 0, {0}},
        {BYTES(BOM "\ndata:1\n\n"), "message|1|;", "", 0, {0}},
        {BYTES(BOM ":c\ndata:1\n\n"), "message|1|;", "", 0, {0}},
        /* Not quite one: the bytes belong to the line. */
        {BYTES("\xEF\xBB"
               "data:1\ndata:2\n\n"),
         "message|2|;",
         "",
         0,
         {0}},
        {BYTES("\xEF\ndata:2\n\n"), "message|2|;", "", 0, {0}},
        {BYTES("\xEF:c\ndata:2\n\n"), "message|2|;", "", 0, {0}},
        {BYTES("\xEF\xEF\xBB\xBF"
               "data:1\ndata:2\n\n"),
         "message|2|;",
         "",
         0,
         {0}},
        {BYTES(BOM), "", "", 0, {0}},
    };
    (void)state;
    check_rows(rows, ROWS(rows));
}

static void comments(void **state)
{
    static const struct stream_case rows[] = {
        {BYTES(":\n"), "", "", 0, {0}},
        {BYTES(":\n\n:data: a\n\n"), "", "", 0, {0}},
        {BYTES(":a\ndata:1\n:\ndata:2\n:data:3\n\n"), "message|1/2|;", "", 0, {0}},
        {BYTES("data:1\n:\0\n:\r\ndata:2\n:b\r:c\ndata:3\n\n"), "message|1/2/3|;", "", 0, {0}},
        {BYTES(": a comment may be longer than any line\ndata:1\n\n"),
         "message|1|;",
         "",
         0,
         {8, 8}},
    };
    (void)state;
    check_rows(rows, ROWS(rows));
}

static void event_names(void **state)
{
    static const struct stream_case rows[] = {
        {BYTES("event:test\ndata:x\n\ndata:y\n\n"), "test|x|;message|y|;", "", 0, {0}},
        {BYTES("event: \ndata:x\n\n"), "message|x|;", "", 0, {0}},
        {BYTES("event\ndata:x\n\n"), "message|x|;", "", 0, {0}},
        {BYTES("event:a\nevent:b\ndata:x\n\n"), "b|x|;", "", 0, {0}},
        {BYTES("event:a\nevent:\ndata:x\n\n"), "message|x|;", "", 0, {0}},
        {BYTES("data:x\nevent:late\n\n"), "late|x|;", "", 0, {0}},
        {BYTES("event:lost\n\ndata:x\n\n"), "message|x|;", "", 0, {0}},
        {BYTES("event:  two\ndata:x\n\n"), " two|x|;", "", 0, {0}},
    };
    (void)state;
    check_rows(rows, ROWS(rows));
}

static void ids(void **state)
{
    static const struct stream_case rows[] = {
        {BYTES("id: 1\ndata:x\n\ndata:y\n\n"), "message|x|1*;message|y|1;", "1", 0, {0}},
        {BYTES("data:x\nid: 1\n\n"), "message|x|1*;", "1", 0, {0}},
        {BYTES("id: 1\n\n"), "", "1", 0, {0}},
        {BYTES("id: 1\n\ndata:x\n\n"), "message|x|1;", "1", 0, {0}},
        {BYTES("id: 1\nid: 2\ndata:x\n\n"), "message|x|2*;", "2", 0, {0}},
        {BYTES("id:  1 \ndata:x\n\n"), "message|x| 1 *;", " 1 ", 0, {0}},
        /* An empty id forgets. */
        {BYTES("id: 1\n\nid\ndata:x\n\n"), "message|x|*;", "", 0, {0}},
        {BYTES("id: 1\n\nid:\n\n"), "", "", 0, {0}},
        {BYTES("id: 1\n\nid: 2\nid:\n\n"), "", "", 0, {0}},
        /* NUL makes an id void, not empty. */
        {BYTES("id: 1\n\nid: 2\0\ndata:x\n\n"), "message|x|1;", "1", 0, {0}},
        {BYTES("id: 1\nid: \0002\ndata:x\n\n"), "message|x|1*;", "1", 0, {0}},
        /* Until its block is complete an id is not the position. */
        {BYTES("data:x\nid: 1\n\ndata:y\nid: 2\n"), "message|x|1*;", "1", 0, {0}},
        {BYTES("id: \xE2\x80\xA6\ndata:x\n\n"), "message|x|\xE2\x80\xA6*;", "\xE2\x80\xA6", 0, {0}},
        {BYTES("event: checkpoint\ndata:\nid: e-7\n\n"), "checkpoint||e-7*;", "e-7", 0, {0}},
    };
    (void)state;
    check_rows(rows, ROWS(rows));
}

static void retries(void **state)
{
    static const struct stream_case rows[] = {
        {BYTES("retry: 03000\ndata:x\n\n"), "retry=3000;message|x|;", "", 0, {0}},
        {BYTES("retry:0\n"), "retry=0;", "", 0, {0}},
        {BYTES("retry:3000\nretry:1000x\ndata:x\n\n"), "retry=3000;message|x|;", "", 0, {0}},
        {BYTES("retry\nretry:\nretry: \nretry:-1\nretry:+1\nretry: 1.5\nretry:  1\nretry:1 \n"),
         "",
         "",
         0,
         {0}},
        {BYTES("retry: 1\0\n"), "", "", 0, {0}},
        {BYTES("retry: 18446744073709551615\n"), "retry=18446744073709551615;", "", 0, {0}},
        {BYTES("retry: 18446744073709551616\n"), "retry=18446744073709551615;", "", 0, {0}},
        {BYTES("retry: 99999999999999999999999999999999\n"),
         "retry=18446744073709551615;",
         "",
         0,
         {0}},
        {BYTES("retry: 99999999999999999999999999999999x\n"), "", "", 0, {0}},
    };
    (void)state;
    check_rows(rows, ROWS(rows));
}

static void limits(void **state)
{
    static const struct stream_case rows[] = {
        /* "data:abc" is 8 bytes. */
        {BYTES("data:abc\n\n"), "message|abc|;", "", 0, {8, 100}},
        {BYTES("data:abcd\n\n"), "", "", -EMSGSIZE, {8, 100}},
        {BYTES("data:abcd"), "", "", -EMSGSIZE, {8, 100}},
        {BYTES("data:a\n\nunknown:x\n\n"), "message|a|;", "", -EMSGSIZE, {8, 100}},
        {BYTES("data:a\nid:1\n\nid:2\ndata:abcd\n\n"), "message|a|1*;", "1", -EMSGSIZE, {8, 100}},
        /* The joints count, the last line feed does not. */
        {BYTES("data:ab\ndata:cd\n\n"), "message|ab/cd|;", "", 0, {100, 5}},
        {BYTES("data:ab\ndata:cde\n\n"), "", "", -EMSGSIZE, {100, 5}},
        {BYTES("data:abcde\n\ndata:abcde\n\n"), "message|abcde|;message|abcde|;", "", 0, {100, 5}},
        {BYTES("data:abcde\ndata\n\n"), "", "", -EMSGSIZE, {100, 5}},
        {BYTES("data\ndata\ndata\ndata\ndata\ndata\n\n"), "message|/////|;", "", 0, {100, 5}},
        {BYTES("data\ndata\ndata\ndata\ndata\ndata\ndata\n\n"), "", "", -EMSGSIZE, {100, 5}},
    };
    (void)state;
    check_rows(rows, ROWS(rows));
}

static void a_connection_begins(void **state)
{
    struct said said = {0};
    struct sse_parser *reader = open_reader(&said, &roomy, "e-1");
    (void)state;

    assert_string_equal(sse_parser_last_id(reader), "e-1");
    assert_int_equal(
        push(reader, BYTES("data:a\n\ndata:b\nid: e-2\n\nevent:lost\nid: e-3\ndata:c\n")), 0);
    sse_parser_begin(reader);
    assert_string_equal(sse_parser_last_id(reader), "e-2");
    assert_int_equal(push(reader, BYTES(BOM "data:d\n\n:half a comment")), 0);
    sse_parser_begin(reader);
    assert_int_equal(push(reader, BYTES("data:e\n\ndata:lost\r")), 0);
    sse_parser_begin(reader);
    assert_int_equal(push(reader, BYTES("\ndata:half a li")), 0);
    sse_parser_begin(reader);
    assert_int_equal(push(reader, BYTES("data:f\nid\n\n")), 0);
    assert_string_equal(sse_parser_last_id(reader), "");
    check_said(&said, "message|a|e-1;message|b|e-2*;message|d|e-2;message|e|e-2;message|f|*;");
    sse_parser_free(reader);
}

static void after_a_mistake_a_connection_begins(void **state)
{
    static const struct sse_parser_limits narrow = {8, 8};
    struct said said = {0};
    struct sse_parser *reader = open_reader(&said, &narrow, NULL);
    (void)state;

    assert_int_equal(push(reader, BYTES("data:far too long\n\n")), -EMSGSIZE);
    sse_parser_begin(reader);
    assert_int_equal(push(reader, BYTES("data:a\n\n")), 0);
    check_said(&said, "message|a|;");
    sse_parser_free(reader);
}

static void a_callback_stops(void **state)
{
    struct said said = {.stop_at = 2};
    struct sse_parser *reader = open_reader(&said, &roomy, NULL);
    (void)state;

    assert_int_equal(push(reader, BYTES("data:a\nid:1\n\ndata:b\nid:2\n\ndata:c\nid:3\n\n")),
                     -ECANCELED);
    assert_string_equal(sse_parser_last_id(reader), "2");
    check_said(&said, "message|a|1*;message|b|2*;");
    sse_parser_free(reader);
}

static void no_retry_callback(void **state)
{
    struct said said = {0};
    struct sse_parser_handler handler = {on_event, NULL, &said};
    struct sse_parser *reader = sse_parser_new(&roomy, &handler, NULL);
    (void)state;

    assert_non_null(reader);
    assert_int_equal(push(reader, BYTES("retry: 5\n\n")), 0);
    sse_parser_free(reader);
    sse_parser_free(NULL);
}

static void a_mebibyte(void **state)
{
    enum { BYTES_N = 1 << 20 };
    struct sse_parser_limits limits = {BYTES_N + 5, BYTES_N};
    struct said said = {0};
    struct sse_parser *reader = open_reader(&said, &limits, NULL);
    char *data = malloc(BYTES_N);
    (void)state;

    assert_non_null(data);
    memset(data, 'x', BYTES_N);
    assert_int_equal(sse_parser_push(reader, "data:", 5), 0);
    for (size_t at = 0; at < BYTES_N; at += 1000)
        assert_int_equal(push(reader, data + at, BYTES_N - at < 1000 ? BYTES_N - at : 1000), 0);
    assert_int_equal(sse_parser_push(reader, "\n\n", 2), 0);
    assert_int_equal(said.events_n, 1);
    assert_int_equal(fclose(said.to), 0);
    assert_int_equal(said.text_n, strlen("message||;") + BYTES_N);
    assert_memory_equal(said.text + strlen("message|"), data, BYTES_N);
    free(said.text);
    free(data);
    sse_parser_free(reader);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_and_data),
        cmocka_unit_test(line_ends),
        cmocka_unit_test(byte_order_marks),
        cmocka_unit_test(comments),
        cmocka_unit_test(event_names),
        cmocka_unit_test(ids),
        cmocka_unit_test(retries),
        cmocka_unit_test(limits),
        cmocka_unit_test(a_connection_begins),
        cmocka_unit_test(after_a_mistake_a_connection_begins),
        cmocka_unit_test(a_callback_stops),
        cmocka_unit_test(no_retry_callback),
        cmocka_unit_test(a_mebibyte),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests_name("sse_read", tests, NULL, NULL);
}
