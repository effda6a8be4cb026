/* SPDX-License-Identifier: MIT */
/* Terms of a history: up to where ids of earlier epochs are good. */
#include "history/lineage.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define A "aaaaaaaaaaaa"
#define B "bbbbbbbbbbbb"
#define C "cccccccccccc"
#define D "dddddddddddd"
#define NONE UINT64_C(12345678987654321)

/* Begin a term, and forget the lineage before it. */
static struct lineage *then(struct lineage *before, const char *epoch, uint64_t head)
{
    struct lineage *lineage = lineage_begin(before, epoch, head);

    assert_non_null(lineage);
    free(before);
    return lineage;
}

static uint64_t end_of(const struct lineage *lineage, const char *epoch)
{
    uint64_t end = NONE;

    return lineage_find(lineage, epoch, &end) ? end : NONE;
}

static void the_epoch_of_now_has_no_end(void **state)
{
    struct lineage *lineage = lineage_new(A);

    (void)state;
    assert_string_equal(lineage->epoch, A);
    assert_int_equal(end_of(lineage, A), UINT64_MAX);
    assert_int_equal(end_of(lineage, B), NONE);
    free(lineage);
}

static void a_term_ends_where_the_next_begins(void **state)
{
    struct lineage *lineage = then(then(lineage_new(A), B, 40), C, 70);

    (void)state;
    assert_string_equal(lineage->epoch, C);
    assert_int_equal(end_of(lineage, A), 40);
    assert_int_equal(end_of(lineage, B), 70);
    assert_int_equal(end_of(lineage, C), UINT64_MAX);
    free(lineage);
}

static void ends_beyond_the_head_are_lowered(void **state)
{
    struct lineage *lineage = then(then(then(lineage_new(A), B, 40), C, 70), D, 50);

    (void)state;
    assert_int_equal(end_of(lineage, A), 40);
    assert_int_equal(end_of(lineage, B), 50);
    assert_int_equal(end_of(lineage, C), 50);
    free(lineage);
}

static void nothing_is_good_of_a_history_that_was_wiped(void **state)
{
    struct lineage *lineage = then(then(lineage_new(A), B, 40), C, 0);

    (void)state;
    assert_int_equal(end_of(lineage, A), 0);
    assert_int_equal(end_of(lineage, B), 0);
    free(lineage);
}

static void epoch_of_number(char *to, unsigned number)
{
    snprintf(to, SSE_EPOCH_BYTES + 1, "%012u", number);
}

static void the_oldest_terms_go(void **state)
{
    struct lineage *lineage = lineage_new("000000000000");
    char epoch[SSE_EPOCH_BYTES + 1];

    (void)state;
    for (unsigned i = 1; i <= LINEAGE_TERMS_MAX + 3; i++) {
        epoch_of_number(epoch, i);
        lineage = then(lineage, epoch, i * 10);
    }
    assert_int_equal(lineage->terms_n, LINEAGE_TERMS_MAX);
    epoch_of_number(epoch, 2);
    assert_int_equal(end_of(lineage, epoch), NONE);
    epoch_of_number(epoch, 3);
    assert_int_equal(end_of(lineage, epoch), 40);
    epoch_of_number(epoch, LINEAGE_TERMS_MAX + 2);
    assert_int_equal(end_of(lineage, epoch), (LINEAGE_TERMS_MAX + 3) * 10);
    free(lineage);
}

/* ---- what two histories have in common ---- */

static void assert_common(const struct lineage *mine, uint64_t head, const struct lineage *other,
                          uint64_t common)
{
    assert_int_equal(lineage_common(mine, head, other), common);
}

static void a_history_of_the_same_epoch_is_common_up_to_its_head(void **state)
{
    struct lineage *mine = lineage_new(A), *other = lineage_new(A);

    (void)state;
    assert_common(mine, 30, other, 30);
    free(mine);
    free(other);
}

static void a_history_is_cut_where_the_other_left_its_epoch(void **state)
{
    struct lineage *mine = lineage_new(A);
    struct lineage *other = then(then(lineage_new(A), B, 40), C, 70);

    (void)state;
    assert_common(mine, 30, other, 30);
    assert_common(mine, 50, other, 40);
    free(mine);
    free(other);
}

static void forks_are_common_up_to_where_the_first_of_them_left(void **state)
{
    struct lineage *mine = then(lineage_new(A), B, 40);
    struct lineage *other = then(lineage_new(A), C, 25);

    (void)state;
    assert_common(mine, 60, other, 25);
    assert_common(other, 60, mine, 25);
    free(mine);
    free(other);
}

static void the_latest_epoch_that_both_know_decides(void **state)
{
    struct lineage *mine = then(then(lineage_new(A), B, 40), C, 70);
    struct lineage *other = then(then(lineage_new(A), B, 40), D, 60);

    (void)state;
    assert_common(mine, 90, other, 60);
    assert_common(mine, 50, other, 50); /* its own end was lowered no further */
    free(mine);
    free(other);
}

static void strangers_have_nothing_in_common(void **state)
{
    struct lineage *mine = then(lineage_new(A), B, 40), *other = then(lineage_new(C), D, 9);

    (void)state;
    assert_common(mine, 60, other, 0);
    free(mine);
    free(other);
}

/* ---- as text ---- */

static void reads_what_it_wrote(void **state)
{
    struct lineage *lineage = then(then(lineage_new(A), B, 40), C, SSE_POSITION_MAX);
    char text[2 * LINEAGE_TERM_BYTES + 1], twice[sizeof(text)];
    size_t text_n = lineage_write(lineage, text);
    struct lineage *again;

    (void)state;
    assert_string_equal(text, A " 40 " B " 9999999999999999");
    assert_int_equal(text_n, strlen(text));
    again = lineage_read(C, text, text_n);
    assert_non_null(again);
    assert_string_equal(again->epoch, C);
    lineage_write(again, twice);
    assert_string_equal(twice, text);
    free(again);
    free(lineage);
}

static void no_terms_are_no_text(void **state)
{
    struct lineage *lineage = lineage_new(A), *again;
    char text[1] = "x";

    (void)state;
    assert_int_equal(lineage_write(lineage, text), 0);
    assert_string_equal(text, "");
    again = lineage_read(A, text, 0);
    assert_int_equal(again->terms_n, 0);
    free(again);
    free(lineage);
}

static void reads_as_many_terms_as_there_may_be(void **state)
{
    static char text[(LINEAGE_TERMS_MAX + 1) * LINEAGE_TERM_BYTES + 1];
    size_t text_n = 0;
    struct lineage *lineage;

    (void)state;
    for (unsigned i = 0; i < LINEAGE_TERMS_MAX; i++)
        text_n += (size_t)sprintf(text + text_n, "%s%012u %u", i > 0 ? " " : "", i, i / 2);
    lineage = lineage_read(A, text, text_n);
    assert_int_equal(lineage->terms_n, LINEAGE_TERMS_MAX);
    free(lineage);
    text_n += (size_t)sprintf(text + text_n, " " B " 999");
    assert_null(lineage_read(A, text, text_n));
    assert_int_equal(errno, EINVAL);
}

static void refuses_what_it_would_not_write(void **state)
{
    static const char *const bad[] = {
        " ",
        "aaaaaaaaaaa 1",
        "Aaaaaaaaaaaa 1",
        B,
        B " ",
        B " x",
        B " 1 ",
        " " B " 1",
        B "  1",
        B " 1  " C " 2",
        B " 2 " C " 1",
        B " 1 " B " 2",
        A " 1",
        B " 10000000000000000",
        B " 99999999999999999999999999",
        B " -1",
        B " 1," C " 2",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        errno = 0;
        struct lineage *lineage = lineage_read(A, bad[i], strlen(bad[i]));

        if (lineage != NULL)
            fail_msg("taken: \"%s\"", bad[i]);
        assert_int_equal(errno, EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_epoch_of_now_has_no_end),
        cmocka_unit_test(a_term_ends_where_the_next_begins),
        cmocka_unit_test(ends_beyond_the_head_are_lowered),
        cmocka_unit_test(nothing_is_good_of_a_history_that_was_wiped),
        cmocka_unit_test(the_oldest_terms_go),
        cmocka_unit_test(a_history_of_the_same_epoch_is_common_up_to_its_head),
        cmocka_unit_test(a_history_is_cut_where_the_other_left_its_epoch),
        cmocka_unit_test(forks_are_common_up_to_where_the_first_of_them_left),
        cmocka_unit_test(the_latest_epoch_that_both_know_decides),
        cmocka_unit_test(strangers_have_nothing_in_common),
        cmocka_unit_test(reads_what_it_wrote),
        cmocka_unit_test(no_terms_are_no_text),
        cmocka_unit_test(reads_as_many_terms_as_there_may_be),
        cmocka_unit_test(refuses_what_it_would_not_write),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
