/* SPDX-License-Identifier: MIT */
/* What is packed is inflated to the same text, in whatever pieces it comes. */
#include "wire/ws_deflate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "wire/ws_inflate.h"

/* Inflate in pieces of so many bytes, into room of so many. */
static size_t inflate_in_pieces(const char *in, size_t in_n, size_t piece, size_t room, char *to)
{
    struct ws_inflate *inflater = ws_inflate_new();
    const char *tail;
    size_t n, to_n = 0, tail_n = 0;

    assert_non_null(inflater);
    for (bool is_tail = false;; is_tail = true) {
        if (is_tail) {
            ws_inflate_tail(inflater, &tail, &tail_n);
            in = tail;
            in_n = tail_n;
        }
        while (in_n > 0) {
            size_t now = piece < in_n ? piece : in_n;
            size_t left = now;
            enum ws_inflate_result result;

            do {
                result = ws_inflate_more(inflater, &in, &left, to + to_n, room, &n);
                to_n += n;
            } while (result == WS_INFLATE_FULL);
            assert_int_equal(result, WS_INFLATE_FINE);
            assert_int_equal(left, 0);
            in_n -= now;
        }
        if (is_tail)
            break;
    }
    assert_true(ws_inflate_is_whole(inflater));
    assert_true(ws_inflate_held_bytes(inflater) > 0);
    assert_true(ws_inflate_held_bytes(inflater) <= 49152);
    ws_inflate_free(inflater);
    return to_n;
}

/* Text of letters, of so many different ones. */
static void fill(char *text, size_t n, unsigned kinds, unsigned seed)
{
    uint32_t state = seed * 2654435761u + 1;

    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        text[i] = (char)(' ' + (state >> 16) % kinds);
    }
}

static void inflates_what_was_packed(void **state)
{
    static const size_t sizes[] = {16, 100, 1000, WS_DEFLATE_TEXT_MAX};
    static char text[WS_DEFLATE_TEXT_MAX], packed[WS_DEFLATE_TEXT_MAX],
        back[WS_DEFLATE_TEXT_MAX + 300];
    struct ws_deflate *deflater = ws_deflate_new();

    (void)state;
    assert_non_null(deflater);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (unsigned kinds = 1; kinds < 90; kinds += 11) {
            size_t n = sizes[i];

            fill(text, n, kinds, (unsigned)i);
            size_t packed_n = ws_deflate_pack(deflater, text, n, packed);
            if (packed_n == 0)
                continue;
            assert_true(packed_n + 4 < n);
            assert_int_equal(inflate_in_pieces(packed, packed_n, SIZE_MAX, sizeof(back), back), n);
            assert_memory_equal(back, text, n);
            assert_int_equal(inflate_in_pieces(packed, packed_n, 1, 300, back), n);
            assert_memory_equal(back, text, n);
            assert_int_equal(inflate_in_pieces(packed, packed_n, 7, 1, back), n);
            assert_memory_equal(back, text, n);
        }
    ws_deflate_free(deflater);
}

/* What was packed before is not referred to: the same text makes the same bytes. */
static void takes_no_context_over(void **state)
{
    const char *text = "the same text, the same text, the same text, the same text";
    char first[100], second[100];
    struct ws_deflate *deflater = ws_deflate_new();
    size_t first_n = ws_deflate_pack(deflater, text, strlen(text), first);

    (void)state;
    assert_true(first_n > 0);
    /* Not even after one that did not get smaller. */
    assert_int_equal(ws_deflate_pack(deflater, "short", 5, second), 0);
    assert_int_equal(ws_deflate_pack(deflater, text, strlen(text), second), first_n);
    assert_memory_equal(first, second, first_n);
    ws_deflate_free(deflater);
}

static void leaves_what_gets_no_smaller(void **state)
{
    struct ws_deflate *deflater = ws_deflate_new();
    char text[3000], to[3000];

    (void)state;
    for (size_t n = 0; n < 16; n++)
        assert_int_equal(ws_deflate_pack(deflater, "abcdefghijklmnop", n, to), 0);
    for (size_t n = 0; n < sizeof(text); n++)
        text[n] = (char)rand(); /* no text, but nothing looks */
    for (size_t n = 16; n < sizeof(text); n += 97) {
        char *exact = malloc(n);

        assert_int_equal(ws_deflate_pack(deflater, text, n, exact), 0);
        free(exact);
    }
    ws_deflate_free(deflater);
    ws_deflate_free(NULL);
    ws_inflate_free(NULL);
}

static void leaves_few_and_long_texts(void **state)
{
    static char text[WS_DEFLATE_TEXT_MAX + 1], to[WS_DEFLATE_TEXT_MAX + 1];
    struct ws_deflate *deflater = ws_deflate_new();

    (void)state;
    memset(text, 'a', sizeof(text));
    ws_deflate_set_least(deflater, 512);
    assert_int_equal(ws_deflate_pack(deflater, text, 511, to), 0);
    assert_true(ws_deflate_pack(deflater, text, 512, to) > 0);
    assert_true(ws_deflate_pack(deflater, text, WS_DEFLATE_TEXT_MAX, to) > 0);
    assert_int_equal(ws_deflate_pack(deflater, text, WS_DEFLATE_TEXT_MAX + 1, to), 0);
    ws_deflate_free(deflater);
}

static void tells_bad_from_unfinished(void **state)
{
    struct ws_inflate *inflater = ws_inflate_new();
    const char *in = "\xF2\x48\xCD";
    size_t in_n = 3, n;
    char to[16];

    (void)state;
    assert_true(ws_inflate_is_whole(inflater));
    assert_int_equal(ws_inflate_more(inflater, &in, &in_n, to, sizeof(to), &n), WS_INFLATE_FINE);
    assert_false(ws_inflate_is_whole(inflater));
    ws_inflate_free(inflater);
    inflater = ws_inflate_new();
    in = "\x07"; /* a kind of block that there is not */
    in_n = 1;
    assert_int_equal(ws_inflate_more(inflater, &in, &in_n, to, sizeof(to), &n), WS_INFLATE_BAD);
    ws_inflate_free(inflater);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inflates_what_was_packed),    cmocka_unit_test(takes_no_context_over),
        cmocka_unit_test(leaves_what_gets_no_smaller), cmocka_unit_test(leaves_few_and_long_texts),
        cmocka_unit_test(tells_bad_from_unfinished),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
