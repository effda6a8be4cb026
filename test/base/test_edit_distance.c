/* SPDX-License-Identifier: MIT */
#include "config.h"
#include "base/edit_distance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void measures_how_near_names_are(void **state)
{
    static const struct {
        const char *one, *other;
        size_t expected;
    } rows[] = {
        {"", "", 0},
        {"", "abc", 3},
        {"listen", "listen", 0},
        {"Listen", "liSTEN", 0},
        {"lsten", "listen", 1},
        {"listenn", "listen", 1},
        {"lidten", "listen", 1},
        {"lisetn", "listen", 1},
        {"ilsetn", "listen", 2},
        {"ca", "abc", 3}, /* no part is changed twice */
        {"kitten", "sitting", 3},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(edit_distance(rows[i].one, rows[i].other), rows[i].expected);
        assert_int_equal(edit_distance(rows[i].other, rows[i].one), rows[i].expected);
    }
}

static void a_name_that_is_too_long_is_not_near(void **state)
{
    char name[EDIT_DISTANCE_BYTES_MAX + 2];

    (void)state;
    memset(name, 'a', sizeof(name));
    name[EDIT_DISTANCE_BYTES_MAX + 1] = '\0';
    assert_true(edit_distance(name, "a") == SIZE_MAX);
    assert_true(edit_distance("a", name) == SIZE_MAX);
    name[EDIT_DISTANCE_BYTES_MAX] = '\0';
    assert_int_equal(edit_distance(name, "a"), EDIT_DISTANCE_BYTES_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(measures_how_near_names_are),
        cmocka_unit_test(a_name_that_is_too_long_is_not_near),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
