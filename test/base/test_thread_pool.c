/* SPDX-License-Identifier: MIT */
/* Threads beside the loops: what they run, in which order, and how they end. */
#include "config.h"
#include "base/thread_pool.h"

#include <setjmp.h>
#include <assert.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define ROOM 64

struct bench {
    struct thread_pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool held;
    size_t inside_n, most_inside_n;
    char letters[ROOM + 1];
    size_t letters_n, stopped_n;
};

struct task {
    struct thread_pool_task task;
    struct bench *bench;
    char letter;
};

static void run(struct thread_pool_task *given, bool stopping)
{
    struct task *task = (struct task *)((char *)given - offsetof(struct task, task));
    struct bench *bench = task->bench;

    pthread_mutex_lock(&bench->lock);
    if (++bench->inside_n > bench->most_inside_n)
        bench->most_inside_n = bench->inside_n;
    pthread_cond_broadcast(&bench->changed);
    while (bench->held)
        pthread_cond_wait(&bench->changed, &bench->lock);
    bench->inside_n--;
    assert(bench->letters_n < ROOM);
    bench->letters[bench->letters_n++] = task->letter;
    bench->stopped_n += stopping;
    pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->lock);
    free(task);
}

static void give(struct bench *bench, unsigned queue, char letter)
{
    struct task *task = calloc(1, sizeof(*task));

    assert_non_null(task);
    task->task.run = run;
    task->bench = bench;
    task->letter = letter;
    thread_pool_give(bench->pool, queue, &task->task);
}

static void start(struct bench *bench, unsigned threads_n, unsigned queues_n)
{
    *bench = (struct bench){.held = false};
    pthread_mutex_init(&bench->lock, NULL);
    pthread_cond_init(&bench->changed, NULL);
    bench->pool = thread_pool_new("test-crew", THREAD_LATER, threads_n, queues_n);
    assert_non_null(bench->pool);
}

static void hold(struct bench *bench, bool held)
{
    pthread_mutex_lock(&bench->lock);
    bench->held = held;
    pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->lock);
}

static void await_inside(struct bench *bench, size_t inside_n)
{
    pthread_mutex_lock(&bench->lock);
    while (bench->inside_n < inside_n)
        pthread_cond_wait(&bench->changed, &bench->lock);
    pthread_mutex_unlock(&bench->lock);
}

static void await_letters(struct bench *bench, size_t letters_n)
{
    pthread_mutex_lock(&bench->lock);
    while (bench->letters_n < letters_n)
        pthread_cond_wait(&bench->changed, &bench->lock);
    pthread_mutex_unlock(&bench->lock);
}

static void test_one_queue_is_served_in_order(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, 1, 1);
    for (char letter = 'a'; letter <= 'j'; letter++)
        give(&bench, 0, letter);
    await_letters(&bench, 10);
    assert_string_equal(bench.letters, "abcdefghij");
    assert_int_equal(bench.stopped_n, 0);
    thread_pool_free(bench.pool);
}

static void test_two_queues_take_turns(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, 1, 2);
    hold(&bench, true);
    give(&bench, 0, 'a');
    await_inside(&bench, 1);
    for (char letter = 'b'; letter <= 'd'; letter++)
        give(&bench, 0, letter);
    for (char letter = 'u'; letter <= 'w'; letter++)
        give(&bench, 1, letter);
    give(&bench, 1, 'x');
    hold(&bench, false);
    await_letters(&bench, 8);
    assert_string_equal(bench.letters, "aubvcwdx");
    thread_pool_free(bench.pool);
}

static void test_as_many_at_once_as_there_are_threads(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, 3, 1);
    hold(&bench, true);
    for (char letter = 'a'; letter <= 'f'; letter++)
        give(&bench, 0, letter);
    await_inside(&bench, 3);
    hold(&bench, false);
    await_letters(&bench, 6);
    assert_int_equal(bench.most_inside_n, 3);
    thread_pool_free(bench.pool);
}

static void test_after_a_stop_tasks_are_run_but_told(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, 1, 1);
    hold(&bench, true);
    give(&bench, 0, 'a');
    await_inside(&bench, 1);
    give(&bench, 0, 'b');
    thread_pool_stop(bench.pool);
    hold(&bench, false);
    give(&bench, 0, 'c');
    await_letters(&bench, 3);
    assert_string_equal(bench.letters, "abc");
    assert_int_equal(bench.stopped_n, 2);
    thread_pool_free(bench.pool);
}

static void test_the_end_leaves_nothing_behind(void **state)
{
    struct bench bench;

    (void)state;
    start(&bench, 2, 2);
    hold(&bench, true);
    give(&bench, 0, 'a');
    give(&bench, 1, 'b');
    await_inside(&bench, 2);
    for (int i = 0; i < 20; i++)
        give(&bench, i % 2, 'x');
    hold(&bench, false);
    thread_pool_free(bench.pool);
    assert_int_equal(bench.letters_n, 22);
    thread_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_queue_is_served_in_order),
        cmocka_unit_test(test_two_queues_take_turns),
        cmocka_unit_test(test_as_many_at_once_as_there_are_threads),
        cmocka_unit_test(test_after_a_stop_tasks_are_run_but_told),
        cmocka_unit_test(test_the_end_leaves_nothing_behind),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
