/* SPDX-License-Identifier: MIT */
/* What is known of a JSON text before it is parsed. */
#include "wire/json_guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct problem problem;

static bool check(const char *text, size_t text_n)
{
    return json_guard_check((struct json_span){text, text_n}, 8, &problem);
}

static void lets_plain_texts_pass(void **state)
{
    (void)state;
    assert_true(check("", 0));
    assert_true(check("{\"a\":[1]}", 9));
    assert_true(check("[[[[[[[[]]]]]]]]", 16));
}

static void says_what_is_too_deep(void **state)
{
    (void)state;
    assert_false(check("[[[[[[[[[", 9));
    assert_int_equal(problem.status, 400);
    assert_string_equal(problem.code, "json_too_deep");
}

static void says_where_a_nul_is(void **state)
{
    (void)state;
    assert_false(check("{\n \0}", 5));
    assert_string_equal(problem.code, "invalid_json");
    assert_int_equal(problem.line, 2);
    assert_int_equal(problem.column, 2);
}

static void small_is_flat_and_of_few_values(void **state)
{
    static char many[6000];
    struct json_span span = {many, sizeof(many)};

    (void)state;
    memset(many, ' ', sizeof(many));
    assert_true(json_guard_is_small(span, 2, 64 * 1024));
    for (size_t i = 0; i + 3 <= sizeof(many); i += 3)
        memcpy(many + i, "[],", 3);
    assert_false(json_guard_is_small(span, 2, 64 * 1024));
    memset(many, '[', sizeof(many));
    assert_false(json_guard_is_small(span, 2, SIZE_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lets_plain_texts_pass),
        cmocka_unit_test(says_what_is_too_deep),
        cmocka_unit_test(says_where_a_nul_is),
        cmocka_unit_test(small_is_flat_and_of_few_values),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
