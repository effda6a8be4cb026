/* SPDX-License-Identifier: MIT */
/* A problem as a check leaves it, and the words of a status. */
#include "wire/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void fills_in_what_it_is_told_and_clears_the_rest(void **state)
{
    struct problem problem;

    (void)state;
    memset(&problem, 0xAA, sizeof(problem));
    assert_false(problem_set(&problem, 422, "invalid_field", "%s has %d", "it", 7));
    assert_int_equal(problem.status, 422);
    assert_string_equal(problem.code, "invalid_field");
    assert_string_equal(problem.detail, "it has 7");
    assert_string_equal(problem.pointer, "");
    assert_int_equal(problem.line, 0);
    assert_int_equal(problem.column, 0);
    assert_int_equal(problem.retry_after_s, 0);
    assert_null(problem.allow);
}

static void cuts_a_long_detail(void **state)
{
    struct problem problem;
    char text[1000];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_false(problem_set(&problem, 400, "code", "%s", text));
    assert_int_equal(strlen(problem.detail), sizeof(problem.detail) - 1);
    assert_int_equal(strspn(problem.detail, "x"), sizeof(problem.detail) - 1);
    assert_string_equal(problem.pointer, "");
}

static void has_words_for_every_status_it_answers(void **state)
{
    static const struct {
        unsigned status;
        const char *title;
    } cases[] = {
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
        {599, "Error"},
        {0, "Error"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_string_equal(problem_title(cases[i].status), cases[i].title);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_in_what_it_is_told_and_clears_the_rest),
        cmocka_unit_test(cuts_a_long_detail),
        cmocka_unit_test(has_words_for_every_status_it_answers),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
