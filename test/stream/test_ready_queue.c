/* SPDX-License-Identifier: MIT */
/*
 * The queue of those who are ready against a plain array: whoever is taken out, from wherever, the
 * others stay in the order in which they came.
 */
#include "stream/ready_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define STREAMS 300
#define STEPS 200000

/* It borrows pointers and looks at nothing behind them. */
static char places[STREAMS];

static struct stream *stream(size_t i)
{
    return (struct stream *)(void *)&places[i];
}

struct model {
    struct stream *at[STREAMS];
    size_t n;
};

static void assert_same(const struct ready_queue *queue, const struct model *model)
{
    assert_int_equal(queue->n, model->n);
    for (uint32_t i = 0; i < queue->n; i++)
        assert_ptr_equal(ready_queue_at(queue, i), model->at[i]);
}

static void push(struct ready_queue *queue, struct model *model, struct stream *stream)
{
    ready_queue_push(queue, stream);
    model->at[model->n++] = stream;
}

static void take_out(struct ready_queue *queue, struct model *model, size_t i)
{
    ready_queue_remove(queue, model->at[i]);
    model->n--;
    memmove(&model->at[i], &model->at[i + 1], (model->n - i) * sizeof(model->at[0]));
}

static void begins_empty_and_without_room(void **state)
{
    struct ready_queue queue = {0};

    (void)state;
    assert_int_equal(queue.n, 0);
    ready_queue_free(&queue);
    assert_int_equal(ready_queue_make_room(&queue, 1), 0);
    assert_true(queue.slots_n >= 1);
    assert_int_equal(queue.n, 0);
    ready_queue_free(&queue);
    assert_int_equal(queue.slots_n, 0);
}

/* Wherever in the ring it begins when it grows. */
static void keeps_the_order_when_it_grows(void **state)
{
    (void)state;
    for (size_t begin = 0; begin < 20; begin++) {
        struct ready_queue queue = {0};
        struct model model = {0};

        assert_int_equal(ready_queue_make_room(&queue, 8), 0);
        for (size_t i = 0; i < begin; i++) {
            push(&queue, &model, stream(0));
            take_out(&queue, &model, 0);
        }
        for (size_t i = 0; i < STREAMS; i++) {
            assert_int_equal(ready_queue_make_room(&queue, i + 1), 0);
            push(&queue, &model, stream(i));
        }
        assert_same(&queue, &model);
        ready_queue_free(&queue);
    }
}

static void room_that_is_there_stays(void **state)
{
    struct ready_queue queue = {0};

    (void)state;
    assert_int_equal(ready_queue_make_room(&queue, 100), 0);
    struct stream **slots = queue.slots;
    assert_int_equal(ready_queue_make_room(&queue, 50), 0);
    assert_int_equal(ready_queue_make_room(&queue, 100), 0);
    assert_ptr_equal(queue.slots, slots);
    ready_queue_free(&queue);
}

static void agrees_with_the_array_under_churn(void **state)
{
    struct ready_queue queue = {0};
    struct model model = {0};
    bool is_in[STREAMS] = {false};

    (void)state;
    srandom(7);
    assert_int_equal(ready_queue_make_room(&queue, 64), 0);
    for (int step = 0; step < STEPS; step++) {
        size_t which = (size_t)random() % STREAMS;

        if (model.n < queue.slots_n && !is_in[which]) {
            push(&queue, &model, stream(which));
            is_in[which] = true;
        } else if (model.n > 0) {
            size_t i = random() % 2 ? 0 : (size_t)random() % model.n;

            is_in[(char *)model.at[i] - places] = false;
            take_out(&queue, &model, i);
        }
        if (step % 16 == 0)
            assert_same(&queue, &model);
    }
    ready_queue_free(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begins_empty_and_without_room),
        cmocka_unit_test(keeps_the_order_when_it_grows),
        cmocka_unit_test(room_that_is_there_stays),
        cmocka_unit_test(agrees_with_the_array_under_churn),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
