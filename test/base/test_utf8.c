/* SPDX-License-Identifier: MIT */
/* The borders of every row of RFC 3629's table, from both sides. */
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void decodes_the_borders_of_each_length(void **state)
{
    static const struct {
        const char *bytes;
        size_t bytes_n;
        uint32_t cp;
    } rows[] = {
        {"\0", 1, 0},
        {"\x7F", 1, 0x7F},
        {"\xC2\x80", 2, 0x80},
        {"\xDF\xBF", 2, 0x7FF},
        {"\xE0\xA0\x80", 3, 0x800},
        {"\xED\x9F\xBF", 3, 0xD7FF},
        {"\xEE\x80\x80", 3, 0xE000},
        {"\xEF\xBF\xBF", 3, 0xFFFF},
        {"\xF0\x90\x80\x80", 4, 0x10000},
        {"\xF4\x8F\xBF\xBF", 4, 0x10FFFF},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t cp = 0xDEAD;

        assert_int_equal(utf8_decode(rows[i].bytes, rows[i].bytes_n, &cp), rows[i].bytes_n);
        assert_int_equal(cp, rows[i].cp);
        assert_true(utf8_valid(rows[i].bytes, rows[i].bytes_n, NULL));
    }
}

static void refuses_what_is_no_character(void **state)
{
    static const char *const rows[] = {
        "\x80", /* continuation alone */
        "\xBF",
        "\xC0\x80", /* overlong NUL */
        "\xC1\xBF", /* overlong DEL */
        "\xC2",     /* cut */
        "\xC2\x7F",
        "\xC2\xC0",
        "\xE0\x9F\xBF", /* overlong */
        "\xE1\x80",     /* cut */
        "\xE1\x80\xC0",
        "\xED\xA0\x80",     /* first surrogate */
        "\xED\xBF\xBF",     /* last surrogate */
        "\xF0\x8F\xBF\xBF", /* overlong */
        "\xF1\x80\x80",     /* cut */
        "\xF1\x80\x80\x7F",
        "\xF4\x90\x80\x80", /* U+110000 */
        "\xF5\x80\x80\x80",
        "\xFE",
        "\xFF",
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t cp = 0xDEAD;

        assert_int_equal(utf8_decode(rows[i], strlen(rows[i]), &cp), 0);
        assert_int_equal(cp, 0xDEAD);
        assert_false(utf8_valid(rows[i], strlen(rows[i]), NULL));
    }
}

static void tells_the_offset_of_the_first_bad_byte(void **state)
{
    enum { LENGTH = 100 };
    size_t bad;

    (void)state;
    for (size_t at = 0; at < LENGTH; at++) {
        /* a block of exactly this size, so that a sanitizer sees a read past it */
        char *text = malloc(LENGTH);

        assert_non_null(text);
        memset(text, 'x', LENGTH);
        bad = 4711;
        assert_true(utf8_valid(text, LENGTH, &bad));
        assert_int_equal(bad, 4711);
        text[at] = '\xFF';
        assert_false(utf8_valid(text, LENGTH, &bad));
        assert_int_equal(bad, at);
        free(text);
    }
    assert_false(utf8_valid("gr\xC3\xBC\xC3", 5, &bad));
    assert_int_equal(bad, 4);
}

/* In pieces of every size: bad as soon as no valid text can follow, whole only between characters.
 */
static void judges_pieces_as_they_come(void **state)
{
    static const struct {
        const char *bytes;
        size_t bad; /* the first byte that cannot go on; the length if none */
    } rows[] = {
        {"", 0},
        {"plain", 5},
        {"a long run of plain text, and \xC3\xBC behind it, and plain again to the end", 70},
        {"\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80", 17},
        {"\xF4\x8F\xBF\xBF", 4},
        {"\x80", 0},
        {"x\xC0\x80", 1},
        {"\xC2\x7F", 1},
        {"\xC2\xC2\x80", 1},
        {"\xE0\x9F\xBF", 1},
        {"\xE1\x80\xC0", 2},
        {"\xED\xA0\x80", 1},
        {"\xF0\x8F\xBF\xBF", 1},
        {"\xF1\x80\x80\x7F", 3},
        {"\xF4\x90\x80\x80", 1},
        {"\xF5\x80\x80\x80", 0},
        {"\xFF", 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t piece_n = 1; piece_n < 80; piece_n++) {
            struct utf8_pieces pieces = {0};
            size_t n = strlen(rows[i].bytes);
            size_t at = 0;

            while (at < n) {
                size_t now_n = piece_n < n - at ? piece_n : n - at;

                if (!utf8_pieces_add(&pieces, rows[i].bytes + at, now_n))
                    break;
                at += now_n;
            }
            if (at < n)
                assert_in_range(rows[i].bad, at, at + piece_n - 1);
            else
                assert_int_equal(rows[i].bad, n);
            assert_true(at < n || utf8_pieces_are_whole(&pieces));
        }
}

static void wants_whole_characters_at_the_end(void **state)
{
    static const char text[] = "\xF0\x9F\x90\x9D.\xE2\x82\xAC";

    (void)state;
    for (size_t n = 0; n < sizeof text; n++) {
        struct utf8_pieces pieces = {0};

        assert_true(utf8_pieces_add(&pieces, text, n));
        assert_int_equal(utf8_pieces_are_whole(&pieces), n == 0 || n == 4 || n == 5 || n == 8);
    }
}

static void accepts_nothing_at_all(void **state)
{
    (void)state;
    assert_true(utf8_valid("", 0, NULL));
}

static void hides_exactly_the_listed_ranges(void **state)
{
    static const struct {
        uint32_t first, last;
    } rows[] = {
        {0, 0x1F},        {0x7F, 0x9F},     {0x200B, 0x200F},
        {0x202A, 0x202E}, {0x2066, 0x2069}, {0xFEFF, 0xFEFF},
    };
    size_t row = 0;

    (void)state;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        bool hidden;

        if (row < sizeof rows / sizeof rows[0] && cp > rows[row].last)
            row++;
        hidden = row < sizeof rows / sizeof rows[0] && cp >= rows[row].first;
        if (utf8_is_hidden(cp) != hidden)
            fail_msg("U+%04X", (unsigned)cp);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_the_borders_of_each_length),
        cmocka_unit_test(refuses_what_is_no_character),
        cmocka_unit_test(tells_the_offset_of_the_first_bad_byte),
        cmocka_unit_test(judges_pieces_as_they_come),
        cmocka_unit_test(wants_whole_characters_at_the_end),
        cmocka_unit_test(accepts_nothing_at_all),
        cmocka_unit_test(hides_exactly_the_listed_ranges),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
