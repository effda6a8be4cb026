/* SPDX-License-Identifier: MIT */
/* Tests of the WebSocket reader of the load tool, whole and cut at every place, and of what it
 * writes. */
#include "config.h"
#include "bench/bench_ws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FIFTY "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define TWO_HUNDRED FIFTY FIFTY FIFTY FIFTY

/* What came, as text: opcode and payload of each frame. */
struct seen {
    char text[1024];
};

static void note(void *context, enum bench_ws_opcode opcode, const char *bytes, size_t bytes_n)
{
    struct seen *seen = context;
    size_t n = strlen(seen->text);

    snprintf(seen->text + n, sizeof(seen->text) - n, "%x:%.*s ", (unsigned)opcode, (int)bytes_n,
             bytes);
}

#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *bytes;
    size_t bytes_n;
    const char *seen;
    bool good;
} cases[] = {
    {BYTES(""), "", true},
    {BYTES("\x81\x02hi"), "1:hi ", true},
    {BYTES("\x81\x02hi\x81\x00\x89\x01p\x8a\x00"), "1:hi 1: 9:p a: ", true},
    {BYTES("\x81\x7e\x00\xc8" TWO_HUNDRED "\x88\x02\x03\xe8"), "1:" TWO_HUNDRED " 8:\x03\xe8 ",
     true},
    {BYTES("\x82\x7f\0\0\0\0\0\0\0\x01z"), "2:z ", true},
    {BYTES("\x81\x03no"), "", true},
    {BYTES("\x01\x02hi"), "", false},         /* a fragment */
    {BYTES("\x80\x02hi"), "", false},         /* and its end */
    {BYTES("\xc1\x02hi"), "", false},         /* compressed */
    {BYTES("\x81\x82\0\0\0\0hi"), "", false}, /* masked */
    {BYTES("\x81\x01z\x71\x01z"), "1:z ", false},
};

static void frames_are_read_cut_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t cut = 0; cut <= cases[i].bytes_n; cut++) {
            struct bench_ws ws = {0};
            struct seen seen = {""};
            bool good =
                bench_ws_feed(&ws, cases[i].bytes, cut, note, &seen) &&
                bench_ws_feed(&ws, cases[i].bytes + cut, cases[i].bytes_n - cut, note, &seen);

            assert_string_equal(seen.text, cases[i].seen);
            assert_int_equal(good, cases[i].good);
        }
}

static void of_a_long_frame_in_pieces_the_beginning_is_kept(void **state)
{
    struct bench_ws ws = {0};
    struct seen seen = {""};
    char wanted[BENCH_WS_KEPT_BYTES + 16];

    (void)state;
    assert_true(bench_ws_feed(&ws, "\x81\x7f\0\0\0\0\0\x01\x86\xa0", 10, note, &seen));
    for (int i = 0; i < 2000; i++) {
        assert_string_equal(seen.text, "");
        assert_true(bench_ws_feed(&ws, FIFTY, 50, note, &seen));
    }
    snprintf(wanted, sizeof(wanted), "1:%.*s ", BENCH_WS_KEPT_BYTES, TWO_HUNDRED TWO_HUNDRED);
    assert_string_equal(seen.text, wanted);
    assert_true(bench_ws_feed(&ws, "\x81\x01y", 3, note, &seen));
    assert_string_equal(seen.text + strlen(wanted), "1:y ");
}

/* The payload of a masked frame, unmasked in place; returns the bytes of the head. */
static size_t unmask(char *frame, size_t frame_n)
{
    size_t length = (unsigned char)frame[1] & 0x7f;
    size_t head_n = 2 + (length == 126 ? 2 : length == 127 ? 8 : 0);
    const char *mask = frame + head_n;

    assert_true((unsigned char)frame[1] & 0x80);
    for (size_t i = head_n + 4; i < frame_n; i++)
        frame[i] = (char)(frame[i] ^ mask[(i - head_n) & 3]);
    return head_n + 4;
}

static void what_is_written_is_masked(void **state)
{
    static const struct {
        size_t n, head_n;
    } lengths[] = {{0, 6}, {1, 6}, {7, 6}, {8, 6}, {125, 6}, {126, 8}, {65535, 8}, {65536, 14}};

    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t n = lengths[i].n;
        char *frame = malloc(n + BENCH_WS_MASKED_HEAD_BYTES);
        char *wanted = malloc(n + 1);

        for (size_t k = 0; k < n; k++)
            wanted[k] = (char)('a' + k % 23);
        memcpy(frame + BENCH_WS_MASKED_HEAD_BYTES, wanted, n);
        size_t frame_n = bench_ws_make_frame(frame, BENCH_WS_TEXT, n, 0x89abcdef);
        assert_int_equal(frame_n, n + lengths[i].head_n);
        assert_int_equal((unsigned char)frame[0], 0x81);
        assert_true(n < 8 || memcmp(frame + lengths[i].head_n, wanted, n) != 0);
        assert_int_equal(unmask(frame, frame_n), lengths[i].head_n);
        assert_memory_equal(frame + lengths[i].head_n, wanted, n);
        free(frame);
        free(wanted);
    }
}

static void a_ping_is_answered_with_its_payload(void **state)
{
    char pong[BENCH_WS_PONG_ROOM];

    (void)state;
    size_t n = bench_ws_write_pong(pong, "42", 2);
    assert_int_equal(n, 8);
    assert_int_equal((unsigned char)pong[0], 0x8a);
    unmask(pong, n);
    assert_memory_equal(pong + 6, "42", 2);
    assert_int_equal(bench_ws_write_pong(pong, TWO_HUNDRED, 126), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_read_cut_anywhere),
        cmocka_unit_test(of_a_long_frame_in_pieces_the_beginning_is_kept),
        cmocka_unit_test(what_is_written_is_masked),
        cmocka_unit_test(a_ping_is_answered_with_its_payload),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
