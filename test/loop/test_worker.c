/* SPDX-License-Identifier: MIT */
/*
 * A worker's loop as others see it: what it runs, in which order and at what pace.  What runs on
 * its thread notes a letter; the test reads the letters when the thread has ended.  assert() is
 * used there, since cmocka's checks have no way back from another thread.
 */
#include "config.h"
#include "loop/worker.h"

#include <setjmp.h>
#include <assert.h>
#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../support/make.h"
#include "base/clock.h"
#include "history/history_memory.h"

#define MILLISECOND INT64_C(1000000)

struct bench {
    struct conf conf;
    struct history *history;
    struct hub *hub;
    struct worker *worker;
    sem_t done;
    char letters[256];
    size_t letters_n;
    /* what the hooks were given */
    size_t batches_n, events_n, answers_n, ticks_n;
    int64_t ticked_ms;
    size_t ticks_wanted;
    size_t event_work; /* that an event is */
    uint64_t position; /* of the last */
};

static void note(struct bench *bench, char letter)
{
    assert(bench->letters_n + 1 < sizeof(bench->letters));
    bench->letters[bench->letters_n++] = letter;
}

/* Without `event_work` a batch is no work at all; with it the events are taken one at a time as
 * long as there is work left, in their order. */
static size_t on_batch(void *arg, struct hub_batch *batch, size_t from, size_t *work)
{
    struct bench *bench = arg;

    assert(*work > 0 && from < batch->events_n);
    note(bench, 'B');
    bench->batches_n += from == 0;
    do {
        assert(batch->events[from]->position > bench->position);
        bench->position = batch->events[from++]->position;
        bench->events_n++;
        *work -= bench->event_work < *work ? bench->event_work : *work;
    } while (from<batch->events_n && * work> 0);
    return from;
}

static void on_answer(void *arg, struct hub_op *op)
{
    struct bench *bench = arg;

    assert(op->result == 0);
    note(bench, 'A');
    bench->answers_n++;
    sem_post(&bench->done);
}

static void on_tick(void *arg, int64_t now_ms)
{
    struct bench *bench = arg;

    assert(now_ms >= bench->ticked_ms && now_ms <= clock_mono_ms());
    assert(worker_now_ms(bench->worker) == now_ms);
    bench->ticked_ms = now_ms;
    if (++bench->ticks_n == bench->ticks_wanted)
        sem_post(&bench->done);
}

static struct worker *add_worker(struct bench *bench, unsigned index)
{
    struct worker_hooks hooks = {
        .arg = bench, .batch = on_batch, .answer = on_answer, .tick = on_tick};
    struct worker *worker = worker_new(index, &bench->conf, bench->hub);

    assert_non_null(worker);
    worker_set_hooks(worker, &hooks);
    return worker;
}

/* Some tests run a second time with a store that has to be waited for, as one on disk: then answers
 * come from the hub's thread. */
static struct history_ops waiting_ops;
static bool store_waits;

static int let_store_wait(void **state)
{
    (void)state;
    store_waits = true;
    return 0;
}

static int let_store_be_quick(void **state)
{
    (void)state;
    store_waits = false;
    return 0;
}

#define with_a_waiting_store(test)                                                                 \
    {                                                                                              \
#test " with a store that waits", test, let_store_wait, let_store_be_quick, NULL           \
    }

static void slow_down(struct history *history)
{
    waiting_ops = *history->ops;
    waiting_ops.claim = NULL;
    history->ops = &waiting_ops;
}

/* With a flush tick of 0, so that nothing waits and the order is the same on a slow machine. */
static struct bench *build(void)
{
    struct history_limits limits = {INT64_MAX / 2, SIZE_MAX, SIZE_MAX, INT64_MAX / 2, SIZE_MAX};
    struct hub_limits hub_limits = {.queue_bytes_max = SIZE_MAX, .queue_age_max_ns = INT64_MAX};
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->history = history_memory_new(&limits);
    if (store_waits)
        slow_down(bench->history);
    bench->hub = hub_new(bench->history, &hub_limits);
    bench->worker = add_worker(bench, 1007);
    sem_init(&bench->done, 0, 0);
    return bench;
}

static void begin(struct bench *bench)
{
    assert_int_equal(hub_start(bench->hub), 0);
    assert_int_equal(worker_start(bench->worker), 0);
}

static struct bench *start(void)
{
    struct bench *bench = build();

    begin(bench);
    return bench;
}

/* In the order of a shutdown: the hub answers, then the workers end. */
static void end(struct bench *bench)
{
    hub_stop(bench->hub);
    worker_stop(bench->worker);
}

static void tear_down(struct bench *bench)
{
    end(bench);
    worker_free(bench->worker);
    hub_free(bench->hub);
    history_free(bench->history);
    sem_destroy(&bench->done);
    free(bench);
}

static void await(struct bench *bench)
{
    while (sem_wait(&bench->done) != 0)
        continue;
}

static void post(struct bench *bench, void (*call)(void *arg), void *arg)
{
    assert(worker_post(bench->worker, call, arg) == 0);
}

/* ---- calls ---- */

static void knows_what_it_was_given(void **state)
{
    struct bench *bench = build();
    struct conf other = {.stream.flush_tick_ms = 1};

    (void)state;
    assert_int_equal(worker_index(bench->worker), 1007);
    assert_ptr_equal(worker_context(bench->worker)->conf, &bench->conf);
    assert_int_equal(bench->conf.more_refs, 1);
    worker_set_conf(bench->worker, &other);
    assert_ptr_equal(worker_context(bench->worker)->conf, &other);
    assert_int_equal(bench->conf.more_refs, 0);
    assert_int_equal(other.more_refs, 1);
    worker_set_conf(bench->worker, &other);
    worker_set_conf(bench->worker, &bench->conf);
    assert_int_equal(other.more_refs, 0);
    assert_ptr_equal(worker_hub(bench->worker), bench->hub);
    assert_non_null(worker_context(bench->worker)->base);
    assert_non_null(worker_context(bench->worker)->stats);
    worker_stop(bench->worker); /* never started */
    tear_down(bench);
    worker_free(NULL);
}

enum { POSTERS = 4, POSTS = 3000 };

struct poster {
    struct bench *bench;
    pthread_t runs_on;
    size_t ran_n;
    bool by_note;
    struct mark {
        struct poster *poster;
        size_t number;
        struct inbox_note note;
    } marks[POSTS];
};

static void run_mark(void *arg)
{
    struct mark *mark = arg;

    assert(mark->number == mark->poster->ran_n); /* in the order of this thread's posts */
    mark->poster->ran_n++;
    mark->poster->runs_on = pthread_self();
}

static void *post_marks(void *arg)
{
    struct poster *poster = arg;

    for (size_t i = 0; i < POSTS; i++) {
        struct mark *mark = &poster->marks[i];

        *mark = (struct mark){.poster = poster, .number = i};
        if (poster->by_note)
            worker_post_note(poster->bench->worker, &mark->note, run_mark, mark);
        else
            post(poster->bench, run_mark, mark);
    }
    return NULL;
}

static void runs_what_many_threads_post(void **state)
{
    struct bench *bench = start();
    struct poster *posters = calloc(POSTERS, sizeof(*posters));
    pthread_t threads[POSTERS];

    (void)state;
    for (size_t i = 0; i < POSTERS; i++) {
        posters[i].bench = bench;
        posters[i].by_note = i % 2 == 1;
        assert_int_equal(pthread_create(&threads[i], NULL, post_marks, &posters[i]), 0);
    }
    for (size_t i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    end(bench); /* what was posted before the stop has run */
    for (size_t i = 0; i < POSTERS; i++) {
        assert_int_equal(posters[i].ran_n, POSTS);
        assert_true(pthread_equal(posters[i].runs_on, posters[0].runs_on));
        assert_false(pthread_equal(posters[i].runs_on, pthread_self()));
    }
    free(posters);
    tear_down(bench);
}

static void count_down(void *arg)
{
    struct bench *bench = arg;

    note(bench, 'c');
    if (bench->letters_n < 5)
        post(bench, count_down, bench);
    else
        sem_post(&bench->done);
}

static void a_call_may_post_the_next(void **state)
{
    struct bench *bench = build();

    (void)state;
    post(bench, count_down, bench); /* before it runs */
    assert_int_equal(bench->letters_n, 0);
    begin(bench);
    await(bench);
    end(bench);
    assert_string_equal(bench->letters, "ccccc");
    tear_down(bench);
}

static void get_name(void *arg)
{
    assert(pthread_getname_np(pthread_self(), arg, 16) == 0);
}

static void its_thread_has_a_name(void **state)
{
    struct bench *bench = start();
    char name[16] = "";

    (void)state;
    post(bench, get_name, name);
    end(bench);
    assert_string_equal(name, "bugle-w7");
    tear_down(bench);
}

static void ticks_with_a_clock_that_moves_on(void **state)
{
    struct bench *bench = build();
    int64_t before_ms = clock_mono_ms();

    (void)state;
    bench->ticks_wanted = 3;
    begin(bench);
    await(bench);
    end(bench);
    /* the loop's clock is coarse: it may lag by a tick of the kernel's, of 10 ms at most */
    assert_true(bench->ticked_ms - before_ms >= 3 * 250 - 13);
    tear_down(bench);
}

static void *add_load(void *arg)
{
    struct bench *bench = arg;

    for (int i = 0; i < 10000; i++)
        worker_load_add(bench->worker, i % 2 ? -1 : 2);
    return NULL;
}

static void counts_its_load_from_any_thread(void **state)
{
    struct bench *bench = build();
    pthread_t threads[2];

    (void)state;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_load, bench), 0);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(worker_load(bench->worker), 10000);
    tear_down(bench);
}

/* ---- publishing ---- */

struct publish {
    struct bench *bench;
    struct worker_job job;
    struct hub_op ops[10];
    struct message *messages[10];
    size_t ops_n;
};

static void make_publish(struct publish *publish, struct bench *bench, size_t ops_n)
{
    *publish = (struct publish){.bench = bench, .ops_n = ops_n};
    for (size_t i = 0; i < ops_n; i++) {
        publish->messages[i] = make_message(.data = "x");
        publish->ops[i].events = &publish->messages[i];
        publish->ops[i].events_n = 1;
    }
}

static void free_publish(struct publish *publish)
{
    for (size_t i = 0; i < publish->ops_n; i++)
        message_unref(publish->messages[i]);
}

static void publish_all(void *arg)
{
    struct publish *publish = arg;

    for (size_t i = 0; i < publish->ops_n; i++)
        worker_publish(publish->bench->worker, &publish->ops[i]);
}

/* The operations of a turn go to the hub together; the events come before the answers. */
static void publishes_once_a_turn(void **state)
{
    struct bench *bench = start();
    struct publish publish;

    (void)state;
    make_publish(&publish, bench, 10);
    post(bench, publish_all, &publish);
    for (size_t i = 0; i < 10; i++)
        await(bench);
    assert_int_equal(hub_committed(bench->hub), 10);
    assert_int_equal(stats_get(worker_context(bench->worker)->stats, STATS_INBOX_BYTES), 0);
    end(bench);
    assert_string_equal(bench->letters, "BAAAAAAAAAA");
    assert_int_equal(bench->events_n, 10);
    assert_int_equal(stats_get(hub_stats(bench->hub), STATS_HUB_BATCHES), 1);
    free_publish(&publish);
    tear_down(bench);
}

static void note_call(void *arg)
{
    note(arg, 'c');
}

/* A turn takes as much as it may and the next goes on with the same batch.  Its answers wait for
 * its end, and nothing overtakes it. */
static void goes_on_with_a_long_batch_in_the_next_turn(void **state)
{
    struct bench *bench = build();
    struct publish first, second;

    (void)state;
    bench->event_work = WORKER_WORK_A_TURN / 3;
    assert_int_equal(hub_start(bench->hub), 0);
    make_publish(&first, bench, 10);
    make_publish(&second, bench, 1);
    publish_all(&first);
    while (bench->events_n == 0)
        worker_turn(bench->worker, false);
    publish_all(&second);
    post(bench, note_call, bench);
    assert_int_equal(bench->events_n, 4);
    while (bench->events_n < 10)
        assert_true(worker_turn(bench->worker, true) || bench->events_n == 10);
    while (bench->answers_n < 11)
        worker_turn(bench->worker, false);
    end(bench);
    assert_memory_equal(bench->letters, "BBBAAAAAAAAAA", 13);
    assert_non_null(strchr(bench->letters + 13, 'B'));
    assert_non_null(strchr(bench->letters + 13, 'c'));
    free_publish(&first);
    free_publish(&second);
    tear_down(bench);
}

static void every_worker_gets_the_events_and_one_the_answer(void **state)
{
    struct bench *bench = build(), *other = calloc(1, sizeof(*other));
    struct publish publish;

    (void)state;
    sem_init(&other->done, 0, 0);
    other->conf = bench->conf;
    other->hub = bench->hub;
    other->worker = add_worker(other, 1);
    make_publish(&publish, bench, 1);
    begin(bench);
    assert_int_equal(worker_start(other->worker), 0);
    post(bench, publish_all, &publish);
    await(bench);
    end(bench);
    worker_stop(other->worker);
    assert_string_equal(bench->letters, "BA");
    assert_string_equal(other->letters, "B");
    free_publish(&publish);
    worker_free(other->worker);
    sem_destroy(&other->done);
    free(other);
    tear_down(bench);
}

static bool publish_job(struct worker_job *job)
{
    struct publish *publish = (struct publish *)((char *)job - offsetof(struct publish, job));

    publish_all(publish);
    return false;
}

static void enqueue_publish(void *arg)
{
    struct publish *publish = arg;

    publish->job.run = publish_job;
    worker_enqueue(publish->bench->worker, &publish->job, PRIO_TARGETED);
}

/* A request may be read while streams are woken: its publish must not wait for the next tick. */
static void what_a_flush_publishes_leaves_at_once(void **state)
{
    enum { TIMES = 12 };
    struct bench *bench = start();
    struct publish publishes[TIMES];

    (void)state;
    for (size_t i = 0; i < TIMES; i++) {
        make_publish(&publishes[i], bench, 1);
        post(bench, enqueue_publish, &publishes[i]);
        await(bench);
    }
    end(bench);
    assert_int_equal(bench->answers_n, TIMES);
    assert_true(bench->ticks_n < TIMES / 2);
    for (size_t i = 0; i < TIMES; i++)
        free_publish(&publishes[i]);
    tear_down(bench);
}

/* What waits in the inbox of a worker that never runs again is let go of. */
static void frees_the_batches_it_never_served(void **state)
{
    struct bench *bench = build();
    struct publish publish;
    struct hub_ops ops = STAILQ_HEAD_INITIALIZER(ops);

    (void)state;
    make_publish(&publish, bench, 1);
    worker_publish(bench->worker, &publish.ops[0]); /* names the worker as the one to answer */
    assert_int_equal(hub_start(bench->hub), 0);
    STAILQ_INSERT_TAIL(&ops, &publish.ops[0], link);
    hub_submit(bench->hub, &ops);
    hub_stop(bench->hub);
    assert_int_equal(publish.messages[0]->refs, 3);
    worker_free(bench->worker);
    assert_int_equal(publish.messages[0]->refs, 2);
    bench->worker = NULL;
    hub_free(bench->hub);
    history_free(bench->history);
    free_publish(&publish);
    free(bench);
}

/* ---- jobs ---- */

/* A job that notes its letter, may take its time, and asks to be called again. */
struct task {
    struct worker_job job;
    struct bench *bench;
    char letter;
    int64_t takes_ns;
    int more;               /* how often it wants to run again */
    enum worker_prio again; /* in a flush of this class, unless in the same one */
    void (*also)(struct task *task);
    struct task *other;
    bool last; /* when done, the test goes on */
    int64_t began_ns[8], ended_ns[8];
    int ran;
};

static bool run_task(struct worker_job *job)
{
    struct task *task = (struct task *)job;

    assert(job->queue == NULL && task->ran < 8);
    note(task->bench, task->letter);
    task->began_ns[task->ran] = clock_mono_ns();
    while (clock_mono_ns() - task->began_ns[task->ran] < task->takes_ns)
        continue;
    if (task->also != NULL)
        task->also(task);
    task->ended_ns[task->ran++] = clock_mono_ns();
    if (task->ran <= task->more && task->again == PRIO_ANSWER)
        return true;
    if (task->ran <= task->more)
        worker_enqueue(task->bench->worker, &task->job, task->again);
    if (task->ran <= task->more)
        return false;
    if (task->last)
        sem_post(&task->bench->done);
    return false;
}

#define TASK(...) ((struct task){.job.run = run_task, __VA_ARGS__})

struct plan {
    struct bench *bench;
    struct task *tasks[8];
    enum worker_prio classes[8];
};

static void enqueue_all(void *arg)
{
    struct plan *plan = arg;

    for (size_t i = 0; i < 8 && plan->tasks[i] != NULL; i++) {
        plan->tasks[i]->bench = plan->bench;
        worker_enqueue(plan->bench->worker, &plan->tasks[i]->job, plan->classes[i]);
    }
}

/* Enqueue all within one turn, wait for the last task, and compare the letters. */
static void run_plan(struct bench *bench, struct plan *plan, const char *letters)
{
    plan->bench = bench;
    post(bench, enqueue_all, plan);
    await(bench);
    end(bench);
    assert_string_equal(bench->letters, letters);
    tear_down(bench);
}

/* Answers to publishers make way for events for few, not for a broadcast. */
static void runs_sooner_classes_first(void **state)
{
    struct task many = TASK(.letter = 'm', .last = true), few = TASK(.letter = 'f');
    struct task now = TASK(.letter = 'n'), then = TASK(.letter = 't');
    struct plan plan = {.tasks = {&many, &few, &now, &then},
                        .classes = {PRIO_BROADCAST, PRIO_TARGETED, PRIO_ANSWER, PRIO_ANSWER}};

    (void)state;
    run_plan(start(), &plan, "fntm");
}

static void what_is_late_comes_after_all_that_is_live(void **state)
{
    struct task replay = TASK(.letter = 'r', .last = true), few = TASK(.letter = 'f');
    struct task many = TASK(.letter = 'm'), now = TASK(.letter = 'n'), new = TASK(.letter = 'c');
    struct plan plan = {
        .tasks = {&replay, &new, &many, &few, &now},
        .classes = {PRIO_REPLAY, PRIO_NEW, PRIO_BROADCAST, PRIO_TARGETED, PRIO_ANSWER}};

    (void)state;
    run_plan(start(), &plan, "fnmcr");
}

/* What a job of a late class queues for its own class is served in the same slice. */
static void enqueue_new(struct task *task)
{
    task->other->bench = task->bench;
    worker_enqueue(task->bench->worker, &task->other->job, PRIO_NEW);
}

static void a_late_slice_takes_what_comes_meanwhile(void **state)
{
    struct task cell = TASK(.letter = 'c');
    struct task gate = TASK(.letter = 'g', .also = enqueue_new, .other = &cell);
    struct task replay = TASK(.letter = 'r', .last = true);
    struct plan plan = {.tasks = {&replay, &gate}, .classes = {PRIO_REPLAY, PRIO_NEW}};

    (void)state;
    run_plan(start(), &plan, "gcr");
}

static void note_new_jobs(struct task *task)
{
    bool there = worker_has_jobs(task->bench->worker, PRIO_NEW);

    note(task->bench, there ? 'y' : 'n');
}

static void knows_whether_a_class_has_jobs(void **state)
{
    struct task before = TASK(.letter = 'f', .also = note_new_jobs);
    struct task new = TASK(.letter = 'c', .also = note_new_jobs, .last = true);
    struct plan plan = {.tasks = {&new, &before}, .classes = {PRIO_NEW, PRIO_TARGETED}};

    (void)state;
    run_plan(start(), &plan, "fycn");
}

static void replay_moves_to_a_sooner_class_like_others(void **state)
{
    struct task replay = TASK(.letter = 'r'), many = TASK(.letter = 'm', .last = true);
    struct plan plan = {.tasks = {&many, &replay, &replay, &replay},
                        .classes = {PRIO_BROADCAST, PRIO_REPLAY, PRIO_TARGETED, PRIO_REPLAY}};

    (void)state;
    run_plan(start(), &plan, "rm");
}

/* Each flush of the live class takes longer than replay ever waits. */
static void replay_has_its_turn_beside_a_flush_without_end(void **state)
{
    struct bench *bench = build();
    struct task replay = TASK(.letter = 'r', .takes_ns = 2 * MILLISECOND, .more = 2, .last = true);
    struct task one = TASK(.letter = '1', .takes_ns = 21 * MILLISECOND);
    struct task two = TASK(.letter = '2', .takes_ns = 21 * MILLISECOND);
    struct task three = TASK(.letter = '3', .takes_ns = 21 * MILLISECOND);
    struct plan plan = {.tasks = {&replay, &one, &two, &three},
                        .classes = {PRIO_REPLAY, PRIO_BROADCAST, PRIO_BROADCAST, PRIO_BROADCAST}};

    (void)state;
    bench->conf.stream.flush_tick_ms = 1;
    begin(bench);
    run_plan(bench, &plan, "1r2r3r");
}

static void a_queued_job_moves_only_to_a_sooner_class(void **state)
{
    struct task sooner = TASK(.letter = 's'), later = TASK(.letter = 'l');
    struct task now = TASK(.letter = 'n'), few = TASK(.letter = 'f');
    struct task many = TASK(.letter = 'm', .last = true);
    struct plan plan = {.tasks = {&many, &sooner, &few, &later, &now, &sooner, &later},
                        .classes = {PRIO_BROADCAST, PRIO_BROADCAST, PRIO_TARGETED, PRIO_ANSWER,
                                    PRIO_ANSWER, PRIO_TARGETED, PRIO_BROADCAST}};

    (void)state;
    run_plan(start(), &plan, "fslnm");
}

static void a_job_moves_from_many_and_from_few_to_now(void **state)
{
    struct task a = TASK(.letter = 'a'), b = TASK(.letter = 'b', .last = true);
    struct task few = TASK(.letter = 'f');
    struct plan plan = {.tasks = {&few, &a, &b, &a, &b, &a},
                        .classes = {PRIO_TARGETED, PRIO_BROADCAST, PRIO_TARGETED, PRIO_ANSWER,
                                    PRIO_ANSWER, PRIO_TARGETED}};

    (void)state;
    run_plan(start(), &plan, "fab");
}

static void answers_run_until_there_are_no_more(void **state)
{
    struct task answer = TASK(.letter = 'a', .more = 2, .last = true);
    struct task other = TASK(.letter = 'o', .more = 1), few = TASK(.letter = 'f');
    struct plan plan = {.tasks = {&few, &answer, &other},
                        .classes = {PRIO_TARGETED, PRIO_ANSWER, PRIO_ANSWER}};

    (void)state;
    run_plan(start(), &plan, "faoaoa");
}

/* A job with more to do goes on in the same flush, after the others of it. */
static void a_flush_ends_what_it_began(void **state)
{
    struct task few = TASK(.letter = 'f', .more = 2), other = TASK(.letter = 'o', .more = 1);
    struct task many = TASK(.letter = 'm', .more = 3, .last = true);
    struct plan plan = {.tasks = {&many, &few, &other},
                        .classes = {PRIO_BROADCAST, PRIO_TARGETED, PRIO_TARGETED}};

    (void)state;
    run_plan(start(), &plan, "fofofmmmm");
}

/* A job that is queued while it runs waits for the next flush, and the other class has its turn. */
static void a_flush_takes_what_waited_when_it_began(void **state)
{
    struct task few = TASK(.letter = 'f', .more = 2, .again = PRIO_TARGETED);
    struct task other = TASK(.letter = 'o', .more = 1, .again = PRIO_TARGETED);
    struct task many = TASK(.letter = 'm', .more = 3, .again = PRIO_BROADCAST, .last = true);
    struct plan plan = {.tasks = {&many, &few, &other},
                        .classes = {PRIO_BROADCAST, PRIO_TARGETED, PRIO_TARGETED}};

    (void)state;
    run_plan(start(), &plan, "fomfomfmm");
}

static void enqueue_other(struct task *task)
{
    if (task->other == task && task->ran == task->more)
        return;
    task->other->bench = task->bench;
    worker_enqueue(task->bench->worker, &task->other->job, PRIO_TARGETED);
}

static void what_a_flush_enqueues_waits_for_the_next(void **state)
{
    struct task late = TASK(.letter = 'l', .last = true);
    struct task first = TASK(.letter = 'f', .also = enqueue_other, .other = &late);
    struct task second = TASK(.letter = 's'), many = TASK(.letter = 'm');
    struct plan plan = {.tasks = {&many, &first, &second},
                        .classes = {PRIO_BROADCAST, PRIO_TARGETED, PRIO_TARGETED}};

    (void)state;
    run_plan(start(), &plan, "fsml");
}

/* It asked to be called again and was queued meanwhile: once is enough. */
static void a_job_that_queued_itself_is_queued_once(void **state)
{
    struct task task = TASK(.letter = 't', .more = 2, .also = enqueue_other, .other = &task);
    struct task many = TASK(.letter = 'm', .more = 4, .last = true);
    struct plan plan = {.tasks = {&task, &many}, .classes = {PRIO_TARGETED, PRIO_BROADCAST}};

    (void)state;
    run_plan(start(), &plan, "tttmmmmm");
}

static void dequeue_other(struct task *task)
{
    worker_dequeue(task->bench->worker, &task->other->job);
    worker_dequeue(task->bench->worker, &task->other->job);
}

static void a_dequeued_job_does_not_run(void **state)
{
    struct task same = TASK(.letter = 'X'), later = TASK(.letter = 'X');
    struct task first = TASK(.letter = 'f', .also = dequeue_other, .other = &same);
    struct task second = TASK(.letter = 's', .also = dequeue_other, .other = &later);
    struct task last = TASK(.letter = 'l', .last = true);
    struct plan plan = {
        .tasks = {&first, &same, &second, &later, &last},
        .classes = {PRIO_TARGETED, PRIO_TARGETED, PRIO_TARGETED, PRIO_BROADCAST, PRIO_BROADCAST}};

    (void)state;
    run_plan(start(), &plan, "fsl");
    assert_null(same.job.queue);
    assert_null(later.job.queue);
}

static void post_call(struct task *task)
{
    post(task->bench, note_call, task->bench);
}

/* A long flush is cut, and the inbox and the other class are served between the pieces. */
static void a_long_flush_goes_in_slices(void **state)
{
    struct task first = TASK(.letter = '1', .takes_ns = 2 * MILLISECOND, .also = post_call);
    struct task second = TASK(.letter = '2', .takes_ns = 2 * MILLISECOND);
    struct task third = TASK(.letter = '3', .last = true);
    struct task many = TASK(.letter = 'm');
    struct plan plan = {.tasks = {&first, &second, &third, &many},
                        .classes = {PRIO_TARGETED, PRIO_TARGETED, PRIO_TARGETED, PRIO_BROADCAST}};

    (void)state;
    run_plan(start(), &plan, "1mc23");
}

static void enqueue_as_few(void *arg)
{
    struct task *task = arg;

    worker_enqueue(task->bench->worker, &task->job, PRIO_TARGETED);
}

static void post_few(struct task *task)
{
    if (task->ran != 1)
        return;
    task->other->bench = task->bench;
    post(task->bench, enqueue_as_few, task->other);
}

/* Three cells of a broadcast, in pieces that take longer than a slice.  An event for few that comes
 * in the midst of it waits for the piece under way, and for none of those that are left. */
static void the_few_wait_for_one_piece_of_a_broadcast(void **state)
{
    struct task few = TASK(.letter = 'f');
    struct task a = TASK(.letter = 'a', .takes_ns = MILLISECOND, .more = 2, .last = true);
    struct task b =
        TASK(.letter = 'b', .takes_ns = MILLISECOND, .more = 2, .also = post_few, .other = &few);
    struct task c = TASK(.letter = 'c', .takes_ns = MILLISECOND, .more = 1);
    struct plan plan = {.tasks = {&c, &b, &a},
                        .classes = {PRIO_BROADCAST, PRIO_BROADCAST, PRIO_BROADCAST}};

    (void)state;
    run_plan(start(), &plan, "cbacbfaba");
}

static void a_flush_waits_for_a_quarter_of_what_the_last_one_took(void **state)
{
    struct bench *bench = build();
    struct task task = TASK(.letter = 't', .takes_ns = 12 * MILLISECOND, .more = 2,
                            .again = PRIO_TARGETED, .last = true);
    struct plan plan = {.tasks = {&task}, .classes = {PRIO_TARGETED}};

    (void)state;
    bench->conf.stream.flush_tick_ms = 1000;
    begin(bench);
    run_plan(bench, &plan, "ttt");
    for (int i = 0; i < 2; i++)
        assert_true(task.began_ns[i + 1] - task.ended_ns[i] >= 3 * MILLISECOND);
}

static void but_not_longer_than_the_flush_tick(void **state)
{
    struct bench *bench = build();
    struct task task = TASK(.letter = 't', .takes_ns = 150 * MILLISECOND, .more = 1,
                            .again = PRIO_BROADCAST, .last = true);
    struct plan plan = {.tasks = {&task}, .classes = {PRIO_BROADCAST}};

    (void)state;
    bench->conf.stream.flush_tick_ms = 1;
    begin(bench);
    run_plan(bench, &plan, "tt");
    assert_true(task.began_ns[1] - task.ended_ns[0] >= MILLISECOND);
    assert_true(task.began_ns[1] - task.ended_ns[0] < 150 * MILLISECOND);
}

static void enqueue_now(void *arg)
{
    struct task *task = arg;

    worker_enqueue(task->bench->worker, &task->job, PRIO_ANSWER);
}

static void post_other(struct task *task)
{
    task->other->bench = task->bench;
    post(task->bench, enqueue_now, task->other);
}

static void answers_do_not_wait_for_a_flush(void **state)
{
    struct bench *bench = build();
    struct task answer = TASK(.letter = 'a');
    struct task slow =
        TASK(.letter = 's', .takes_ns = 100 * MILLISECOND, .more = 1, .again = PRIO_TARGETED,
             .also = post_other, .other = &answer, .last = true);
    struct plan plan = {.tasks = {&slow}, .classes = {PRIO_TARGETED}};

    (void)state;
    bench->conf.stream.flush_tick_ms = 1000;
    begin(bench);
    plan.bench = bench;
    post(bench, enqueue_all, &plan);
    await(bench);
    end(bench);
    assert_string_equal(bench->letters, "sasa");
    assert_true(answer.began_ns[0] < slow.began_ns[1] - 12 * MILLISECOND);
    tear_down(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_what_it_was_given),
        cmocka_unit_test(runs_what_many_threads_post),
        cmocka_unit_test(a_call_may_post_the_next),
        cmocka_unit_test(its_thread_has_a_name),
        cmocka_unit_test(ticks_with_a_clock_that_moves_on),
        cmocka_unit_test(counts_its_load_from_any_thread),
        cmocka_unit_test(publishes_once_a_turn),
        cmocka_unit_test(goes_on_with_a_long_batch_in_the_next_turn),
        cmocka_unit_test(every_worker_gets_the_events_and_one_the_answer),
        cmocka_unit_test(what_a_flush_publishes_leaves_at_once),
        with_a_waiting_store(publishes_once_a_turn),
        with_a_waiting_store(every_worker_gets_the_events_and_one_the_answer),
        with_a_waiting_store(what_a_flush_publishes_leaves_at_once),
        cmocka_unit_test(frees_the_batches_it_never_served),
        cmocka_unit_test(runs_sooner_classes_first),
        cmocka_unit_test(what_is_late_comes_after_all_that_is_live),
        cmocka_unit_test(a_late_slice_takes_what_comes_meanwhile),
        cmocka_unit_test(knows_whether_a_class_has_jobs),
        cmocka_unit_test(replay_moves_to_a_sooner_class_like_others),
        cmocka_unit_test(replay_has_its_turn_beside_a_flush_without_end),
        cmocka_unit_test(a_queued_job_moves_only_to_a_sooner_class),
        cmocka_unit_test(a_job_moves_from_many_and_from_few_to_now),
        cmocka_unit_test(answers_run_until_there_are_no_more),
        cmocka_unit_test(a_flush_ends_what_it_began),
        cmocka_unit_test(the_few_wait_for_one_piece_of_a_broadcast),
        cmocka_unit_test(a_flush_takes_what_waited_when_it_began),
        cmocka_unit_test(what_a_flush_enqueues_waits_for_the_next),
        cmocka_unit_test(a_job_that_queued_itself_is_queued_once),
        cmocka_unit_test(a_dequeued_job_does_not_run),
        cmocka_unit_test(a_long_flush_goes_in_slices),
        cmocka_unit_test(a_flush_waits_for_a_quarter_of_what_the_last_one_took),
        cmocka_unit_test(but_not_longer_than_the_flush_tick),
        cmocka_unit_test(answers_do_not_wait_for_a_flush),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
