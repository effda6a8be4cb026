/* SPDX-License-Identifier: MIT */
/* The heap: what is due first, whatever was put and taken in between. */
#include "base/due_heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define ITEMS 500

/* The least of all that are in, found the slow way. */
static int64_t least(const struct due_item *items)
{
    int64_t least_ms = INT64_MAX;

    for (size_t i = 0; i < ITEMS; i++)
        if (items[i].place != 0 && items[i].due_ms < least_ms)
            least_ms = items[i].due_ms;
    return least_ms;
}

static void the_first_is_the_least(void **state)
{
    static struct due_item items[ITEMS];
    struct due_heap heap = {.items = NULL};
    size_t n = 0;

    (void)state;
    srandom(7);
    assert_null(due_heap_first(&heap));
    assert_int_equal(due_heap_reserve(&heap, ITEMS), 0);
    for (int i = 0; i < 20000; i++) {
        struct due_item *item = &items[random() % ITEMS];

        if (item->place == 0)
            due_heap_put(&heap, item, random() % 100);
        else
            due_heap_take(&heap, item);
        n = heap.n;
        assert_true((due_heap_first(&heap) == NULL) == (n == 0));
        if (n > 0)
            assert_int_equal(due_heap_first(&heap)->due_ms, least(items));
    }
    while (due_heap_first(&heap) != NULL)
        due_heap_take(&heap, due_heap_first(&heap));
    due_heap_take(&heap, &items[0]);
    for (size_t i = 0; i < ITEMS; i++)
        assert_int_equal(items[i].place, 0);
    due_heap_clear(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_the_least),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
