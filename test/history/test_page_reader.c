/* SPDX-License-Identifier: MIT */
/* Reads off the loop: what is asked and answered, in which order, and how it ends. */
#include "config.h"
#include "history/page_reader.h"

#include <setjmp.h>
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/make.h"
#include "base/clock.h"
#include "history/history_memory.h"

#define ROOM 1000

/* Where answers go; and a store in front of the real one that can be held up in a read. */
struct bench {
    struct history base;
    struct history *memory;
    struct page_reader *pager;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool held;
    size_t inside_n, most_inside_n; /* reads under way */
    struct page_reader_request *answers[ROOM];
    size_t answers_n;
    bool on_callers_thread;
    pthread_t caller;
};

static int held_read(struct history *history, const struct history_query *query,
                     struct history_page **ret_page)
{
    struct bench *bench = (struct bench *)history;

    pthread_mutex_lock(&bench->lock);
    if (++bench->inside_n > bench->most_inside_n)
        bench->most_inside_n = bench->inside_n;
    pthread_cond_broadcast(&bench->changed);
    while (bench->held)
        pthread_cond_wait(&bench->changed, &bench->lock);
    bench->inside_n--;
    pthread_mutex_unlock(&bench->lock);
    return history_read(bench->memory, query, ret_page);
}

static void held_bounds(struct history *history, struct history_bounds *ret_bounds)
{
    history_bounds(((struct bench *)history)->memory, ret_bounds);
}

static int held_search(struct history *history, struct history_search *search)
{
    return history_search(((struct bench *)history)->memory, search);
}

static uint64_t held_find_time(struct history *history, int64_t since_ms)
{
    return history_find_time(((struct bench *)history)->memory, since_ms);
}

static void on_done(struct page_reader_request *request)
{
    struct bench *bench = request->arg;

    pthread_mutex_lock(&bench->lock);
    assert(bench->answers_n < ROOM);
    if (pthread_equal(pthread_self(), bench->caller))
        bench->on_callers_thread = true;
    bench->answers[bench->answers_n++] = request;
    pthread_cond_broadcast(&bench->changed);
    pthread_mutex_unlock(&bench->lock);
}

static struct bench *start(unsigned threads_n)
{
    static const struct history_ops ops = {.read = held_read,
                                           .bounds = held_bounds,
                                           .find_time = held_find_time,
                                           .search = held_search};
    struct history_limits limits = {INT64_MAX / 2, 8, SIZE_MAX, INT64_MAX / 2, SIZE_MAX};
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->base.ops = &ops;
    bench->memory = history_memory_new(&limits);
    bench->caller = pthread_self();
    pthread_mutex_init(&bench->lock, NULL);
    pthread_cond_init(&bench->changed, NULL);
    bench->pager = page_reader_new(&bench->base, threads_n);
    assert_non_null(bench->pager);
    return bench;
}

static void tear_down(struct bench *bench)
{
    page_reader_free(bench->pager);
    assert_false(bench->on_callers_thread);
    for (size_t i = 0; i < bench->answers_n; i++)
        page_reader_request_free(bench->answers[i]);
    history_free(bench->memory);
    pthread_mutex_destroy(&bench->lock);
    pthread_cond_destroy(&bench->changed);
    free(bench);
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

static void await_answers(struct bench *bench, size_t answers_n)
{
    pthread_mutex_lock(&bench->lock);
    while (bench->answers_n < answers_n)
        pthread_cond_wait(&bench->changed, &bench->lock);
    pthread_mutex_unlock(&bench->lock);
}

static void add(struct bench *bench, const char *topics, int64_t now_ms)
{
    struct message *message = make_message(.topics = topics);

    assert_int_equal(history_append(bench->memory, &message, 1, now_ms), 0);
    message_unref(message);
}

static struct page_reader_request *new_request(struct bench *bench, const char *patterns,
                                               uint64_t id)
{
    struct page_reader_request *request = calloc(1, sizeof(*request));

    request->done = on_done;
    request->arg = bench;
    request->stream_id = id;
    request->filter = make_filter(patterns, NULL);
    request->since_ms = -1;
    request->upto = UINT64_MAX;
    request->bytes_max = SIZE_MAX;
    request->result = 99;
    return request;
}

static void reads_a_page_and_the_bounds(void **state)
{
    struct bench *bench = start(1);
    struct page_reader_request *request;

    (void)state;
    for (int i = 0; i < 10; i++)
        add(bench, i % 2 ? "b" : "a", 1000);
    request = new_request(bench, "a", 7);
    request->after = 3;
    request->upto = 9;
    page_reader_read(bench->pager, request);
    await_answers(bench, 1);
    assert_ptr_equal(bench->answers[0], request);
    assert_int_equal(request->result, 0);
    assert_int_equal(request->stream_id, 7);
    assert_int_equal(request->after, 3);
    assert_int_equal(request->page->events_n, 3);
    assert_int_equal(request->page->events[0]->position, 5);
    assert_int_equal(request->page->events[2]->position, 9);
    assert_int_equal(request->page->upto, 9);
    assert_int_equal(request->bounds.trimmed, 2);
    assert_int_equal(request->bounds.newest, 10);
    tear_down(bench);
}

static void a_page_is_as_large_as_was_asked(void **state)
{
    struct bench *bench = start(1);
    struct page_reader_request *request = new_request(bench, NULL, 1);

    (void)state;
    add(bench, "a", 1000);
    add(bench, "a", 1000);
    request->bytes_max = 1;
    page_reader_read(bench->pager, request);
    await_answers(bench, 1);
    assert_int_equal(request->page->events_n, 1);
    assert_int_equal(request->page->upto, 1);
    tear_down(bench);
}

/* A step at a time: who asked asks again until the place is found, and gets the page from there. */
static void a_search_for_the_latest_gives_way_to_others(void **state)
{
    static const struct history_limits limits = {INT64_MAX / 2, 10000, SIZE_MAX / 2, 1000, 10};
    struct bench *bench = start(1);
    size_t left_n = 2, steps = 0;
    uint64_t before = UINT64_MAX;

    (void)state;
    history_free(bench->memory);
    bench->memory = history_memory_new(&limits);
    for (int i = 0; i < 5000; i++)
        add(bench, i == 7 || i == 8 || i == 9 ? "a" : "b", clock_wall_ms());
    while (left_n > 0) {
        struct page_reader_request *request = new_request(bench, "a", 1);

        request->left_n = left_n;
        request->before = before;
        request->upto = 4990;
        page_reader_read(bench->pager, request);
        await_answers(bench, ++steps);
        assert_int_equal(request->result, 0);
        assert_true(request->before < before);
        assert_true((request->page != NULL) == (request->left_n == 0));
        left_n = request->left_n;
        before = request->before;
    }
    assert_in_range(steps, 2, 100);
    assert_int_equal(bench->answers[steps - 1]->after, 8);
    assert_int_equal(bench->answers[steps - 1]->page->events[0]->position, 9);
    tear_down(bench);
}

/* The wall clock decides what has outlived its ttl. */
static void leaves_out_what_is_past_its_ttl(void **state)
{
    struct bench *bench = start(1);
    struct message *messages[2] = {make_message(.ttl_ms = 1000), make_message(.ttl_ms = 3600000)};

    (void)state;
    assert_int_equal(history_append(bench->memory, messages, 2, clock_wall_ms() - 10000), 0);
    page_reader_read(bench->pager, new_request(bench, NULL, 1));
    await_answers(bench, 1);
    assert_int_equal(bench->answers[0]->page->events_n, 1);
    assert_ptr_equal(bench->answers[0]->page->events[0], messages[1]);
    for (size_t i = 0; i < 2; i++)
        message_unref(messages[i]);
    tear_down(bench);
}

static void says_why_there_is_no_page(void **state)
{
    struct bench *bench = start(1);
    struct page_reader_request *request = new_request(bench, NULL, 1);

    (void)state;
    for (int i = 0; i < 10; i++)
        add(bench, "a", 1000);
    request->after = 1;
    page_reader_read(bench->pager, request);
    await_answers(bench, 1);
    assert_int_equal(request->result, -ESTALE);
    assert_null(request->page);
    assert_int_equal(request->bounds.trimmed, 2); /* from where it can go on */
    assert_int_equal(request->bounds.newest, 10);
    tear_down(bench);
}

static void begins_at_a_time(void **state)
{
    static const struct {
        int64_t since_ms;
        uint64_t after, events_n;
    } cases[] = {{0, 0, 3}, {1000, 0, 3}, {1001, 1, 2}, {3000, 2, 1}, {3001, 3, 0}};
    struct bench *bench = start(1);

    (void)state;
    for (int i = 1; i <= 3; i++)
        add(bench, "a", i * 1000);
    for (size_t i = 0; i < 5; i++) {
        struct page_reader_request *request = new_request(bench, NULL, i);

        request->since_ms = cases[i].since_ms;
        request->after = 77; /* of no account */
        page_reader_read(bench->pager, request);
        await_answers(bench, i + 1);
        assert_int_equal(request->result, 0);
        assert_int_equal(request->after, cases[i].after);
        assert_int_equal(request->page->events_n, cases[i].events_n);
    }
    tear_down(bench);
}

static void answers_in_the_order_of_asking(void **state)
{
    struct bench *bench = start(1);

    (void)state;
    add(bench, "a", 1000);
    for (uint64_t id = 0; id < 100; id++)
        page_reader_read(bench->pager, new_request(bench, "a", id));
    await_answers(bench, 100);
    for (uint64_t id = 0; id < 100; id++)
        assert_int_equal(bench->answers[id]->stream_id, id);
    tear_down(bench);
}

/* However many of one kind wait, the other kind has every second turn. */
static void streams_and_listings_take_turns(void **state)
{
    struct bench *bench = start(1);

    (void)state;
    add(bench, "a", 1000);
    hold(bench, true);
    page_reader_read(bench->pager, new_request(bench, "a", 99));
    await_inside(bench, 1);
    for (uint64_t id = 0; id < 40; id++) {
        struct page_reader_request *request = new_request(bench, "a", id);

        request->queue = id < 30 ? PAGE_READER_LISTINGS : PAGE_READER_STREAMS;
        page_reader_read(bench->pager, request);
    }
    hold(bench, false);
    await_answers(bench, 41);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(bench->answers[1 + 2 * i]->stream_id, i);
        assert_int_equal(bench->answers[2 + 2 * i]->stream_id, 30 + i);
    }
    for (uint64_t i = 10; i < 30; i++)
        assert_int_equal(bench->answers[11 + i]->stream_id, i);
    tear_down(bench);
}

static void as_many_reads_at_once_as_threads(void **state)
{
    struct bench *bench = start(3);

    (void)state;
    add(bench, "a", 1000);
    hold(bench, true);
    for (uint64_t id = 0; id < 20; id++)
        page_reader_read(bench->pager, new_request(bench, "a", id));
    await_inside(bench, 3);
    assert_int_equal(bench->answers_n, 0);
    hold(bench, false);
    await_answers(bench, 20);
    assert_int_equal(bench->most_inside_n, 3);
    tear_down(bench);
}

struct ender {
    struct page_reader *pager;
    _Atomic pid_t thread_id;
};

static void *free_pager(void *arg)
{
    struct ender *ender = arg;

    ender->thread_id = gettid();
    page_reader_free(ender->pager);
    return NULL;
}

/* Wait until the thread waits for something, as the kernel tells. */
static void await_sleep(const struct ender *ender)
{
    char path[64], state = 'R';

    while (ender->thread_id == 0)
        sched_yield();
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)ender->thread_id);
    while (state != 'S') {
        FILE *file = fopen(path, "re");

        assert_non_null(file);
        assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
        fclose(file);
    }
}

/* The read under way ends; what waits behind it is told that there will be none. */
static void answers_what_is_queued_when_it_ends(void **state)
{
    struct bench *bench = start(1);
    struct ender ender = {.pager = bench->pager};
    pthread_t thread;

    (void)state;
    add(bench, "a", 1000);
    hold(bench, true);
    for (uint64_t id = 0; id < 20; id++)
        page_reader_read(bench->pager, new_request(bench, "a", id));
    await_inside(bench, 1);
    assert_int_equal(pthread_create(&thread, NULL, free_pager, &ender), 0);
    await_sleep(&ender);
    hold(bench, false);
    pthread_join(thread, NULL);
    bench->pager = NULL;
    assert_int_equal(bench->answers_n, 20);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(bench->answers[i]->stream_id, i);
        assert_int_equal(bench->answers[i]->result, i == 0 ? 0 : -ESHUTDOWN);
        assert_int_equal(bench->answers[i]->page == NULL, i > 0);
    }
    tear_down(bench);
    page_reader_free(NULL);
}

static void drops_a_request_with_what_it_holds(void **state)
{
    struct bench *bench = start(1);
    struct page_reader_request *request = new_request(bench, NULL, 1);
    struct message *message = make_message(.data = "kept");
    struct filter *filter = filter_ref(request->filter);

    (void)state;
    assert_int_equal(history_append(bench->memory, &message, 1, 1000), 0);
    page_reader_read(bench->pager, request);
    await_answers(bench, 1);
    assert_int_equal(message->refs, 3);
    assert_int_equal(filter->refs, 2);
    bench->answers_n = 0;
    page_reader_request_free(request);
    assert_int_equal(message->refs, 2);
    assert_int_equal(filter->refs, 1);
    filter_unref(filter);
    message_unref(message);
    page_reader_request_free(NULL);
    tear_down(bench);
}

static void *ask_often(void *arg)
{
    struct bench *bench = arg;

    for (uint64_t id = 0; id < 200; id++)
        page_reader_read(bench->pager, new_request(bench, "a", id));
    return NULL;
}

static void any_thread_may_ask(void **state)
{
    struct bench *bench = start(2);
    pthread_t threads[3];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, bench), 0);
    for (int i = 0; i < 100; i++)
        add(bench, "a", 1000);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    await_answers(bench, 600);
    for (size_t i = 0; i < 600; i++)
        assert_true(bench->answers[i]->result == 0 || bench->answers[i]->result == -ESTALE);
    tear_down(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_page_and_the_bounds),
        cmocka_unit_test(a_page_is_as_large_as_was_asked),
        cmocka_unit_test(a_search_for_the_latest_gives_way_to_others),
        cmocka_unit_test(leaves_out_what_is_past_its_ttl),
        cmocka_unit_test(says_why_there_is_no_page),
        cmocka_unit_test(begins_at_a_time),
        cmocka_unit_test(answers_in_the_order_of_asking),
        cmocka_unit_test(streams_and_listings_take_turns),
        cmocka_unit_test(as_many_reads_at_once_as_threads),
        cmocka_unit_test(answers_what_is_queued_when_it_ends),
        cmocka_unit_test(drops_a_request_with_what_it_holds),
        cmocka_unit_test(any_thread_may_ask),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
