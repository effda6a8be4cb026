/* SPDX-License-Identifier: MIT */
/* Answers that are used again: whose they are, and that none is read while another is written. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "http/answers.h"

static void test_one_that_is_given_back_is_used_again(void **state)
{
    struct answers answers = {.reuses = true};
    struct answer *first = answers_take(&answers, "one", 3);

    (void)state;
    assert_true(first->is_new);
    assert_memory_equal(first->bytes, "one", 3);
    first->is_new = false;
    answers_give_back(&answers, first);
    struct answer *second = answers_take(&answers, "two", 3);
    assert_ptr_equal(second, first);
    assert_false(second->is_new);
    assert_memory_equal(second->bytes, "two", 3);
    answers_give_back(&answers, second);
    answers_clear(&answers);
    assert_int_equal(answers.spare_n, 0);
}

static void test_one_that_is_taken_is_nobody_elses(void **state)
{
    struct answers answers = {.reuses = true};
    struct answer *first = answers_take(&answers, "one", 3);
    struct answer *second = answers_take(&answers, "two", 3);

    (void)state;
    assert_ptr_not_equal(first, second);
    assert_memory_equal(first->bytes, "one", 3);
    answers_give_back(&answers, first);
    answers_give_back(&answers, second);
    answers_clear(&answers);
}

static void test_one_of_another_length_is_new(void **state)
{
    struct answers answers = {.reuses = true};
    struct answer *answer = answers_take(&answers, "three", 5);

    (void)state;
    answer->is_new = false;
    answers_give_back(&answers, answer);
    answer = answers_take(&answers, "four", 4);
    assert_true(answer->is_new);
    assert_int_equal(answer->bytes_n, 4);
    assert_int_equal(answers.spare_n, 0);
    answers_give_back(&answers, answer);
    answers_clear(&answers);
}

static void test_not_all_are_kept(void **state)
{
    struct answers answers = {.reuses = true};
    struct answer *taken[1000];

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        taken[i] = answers_take(&answers, "x", 1);
    for (size_t i = 0; i < 1000; i++)
        answers_give_back(&answers, taken[i]);
    assert_in_range(answers.spare_n, 1, 200);
    answers_clear(&answers);
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
