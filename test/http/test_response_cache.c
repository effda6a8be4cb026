/* SPDX-License-Identifier: MIT */
/* Answers that are used again: whose they are, and that none is read while another is written. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "http/response_cache.h"

static void test_one_that_is_given_back_is_used_again(void **state)
{
    struct response_cache answers = {.reuses = true};
    struct cached_response *first = response_cache_take(&answers, "one", 3);

    (void)state;
    assert_true(first->is_new);
    assert_memory_equal(first->bytes, "one", 3);
    first->is_new = false;
    response_cache_give_back(&answers, first);
    struct cached_response *second = response_cache_take(&answers, "two", 3);
    assert_ptr_equal(second, first);
    assert_false(second->is_new);
    assert_memory_equal(second->bytes, "two", 3);
    response_cache_give_back(&answers, second);
    response_cache_clear(&answers);
    assert_int_equal(answers.spare_n, 0);
}

static void test_one_that_is_taken_is_nobody_elses(void **state)
{
    struct response_cache answers = {.reuses = true};
    struct cached_response *first = response_cache_take(&answers, "one", 3);
    struct cached_response *second = response_cache_take(&answers, "two", 3);

    (void)state;
    assert_ptr_not_equal(first, second);
    assert_memory_equal(first->bytes, "one", 3);
    response_cache_give_back(&answers, first);
    response_cache_give_back(&answers, second);
    response_cache_clear(&answers);
}

static void test_one_of_another_length_is_new(void **state)
{
    struct response_cache answers = {.reuses = true};
    struct cached_response *answer = response_cache_take(&answers, "three", 5);

    (void)state;
    answer->is_new = false;
    response_cache_give_back(&answers, answer);
    answer = response_cache_take(&answers, "four", 4);
    assert_true(answer->is_new);
    assert_int_equal(answer->bytes_n, 4);
    assert_int_equal(answers.spare_n, 0);
    response_cache_give_back(&answers, answer);
    response_cache_clear(&answers);
}

static void test_not_all_are_kept(void **state)
{
    struct response_cache answers = {.reuses = true};
    struct cached_response *taken[1000];

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        taken[i] = response_cache_take(&answers, "x", 1);
    for (size_t i = 0; i < 1000; i++)
        response_cache_give_back(&answers, taken[i]);
    assert_in_range(answers.spare_n, 1, 200);
    response_cache_clear(&answers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_that_is_given_back_is_used_again),
        cmocka_unit_test(test_one_that_is_taken_is_nobody_elses),
        cmocka_unit_test(test_one_of_another_length_is_new),
        cmocka_unit_test(test_not_all_are_kept),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
