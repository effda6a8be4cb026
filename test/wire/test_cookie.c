/* SPDX-License-Identifier: MIT */
/* One cookie among others. */
#include "wire/cookie.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))

static void finds_its_cookie(void **state)
{
    static const struct {
        const char *line;
        size_t n;
        const char *value;
    } cases[] = {
        {"", 0, ""},
        {"bugle=x", 1, "x"},
        {"a=b; bugle=x; c=d", 1, "x"},
        {"bugle=x;a=b", 1, "x"},
        {" bugle = x ", 1, "x"},
        {"\tbugle=x\t;", 1, "x"},
        {"bugle=", 1, ""},
        {"bugle=\"\"", 1, ""},
        {"bugle=\"x y\"", 1, "x y"},
        {"bugle=\"", 1, "\""},
        {"bugle=\"x", 1, "\"x"},
        {"bugle=a=b,c", 1, "a=b,c"},
        {"bugle=x; bugle=y", 2, "y"},
        {";;=;= bugle;bugle=x", 1, "x"},
        {"bugle", 0, ""},
        {"bugle;=x", 0, ""},
        {"Bugle=x; bugles=x; xbugle=x; bugl=x", 0, ""},
        {"a=bugle=x", 0, ""},
        {"a=\"; bugle=x\"", 1, "x\""}, /* quotes hold no semicolon (RFC 6265, 4.1.1) */
    };

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        struct cookie cookie = {.name = "bugle"};

        cookie_look(&cookie, cases[i].line, strlen(cases[i].line));
        if (cookie.n != cases[i].n || cookie.value_n != strlen(cases[i].value) ||
            (cookie.n > 0 && memcmp(cookie.value, cases[i].value, cookie.value_n) != 0))
            fail_msg("%s", cases[i].line);
    }
}

static void several_lines_are_one(void **state)
{
    struct cookie cookie = {.name = "bugle"};

    (void)state;
    cookie_look(&cookie, "a=1", 3);
    cookie_look(&cookie, "bugle=x", 7);
    cookie_look(&cookie, "c=3", 3);
    assert_int_equal(cookie.n, 1);
    assert_memory_equal(cookie.value, "x", 1);
    cookie_look(&cookie, "bugle=y", 7);
    assert_int_equal(cookie.n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_its_cookie),
        cmocka_unit_test(several_lines_are_one),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
