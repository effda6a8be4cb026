/* SPDX-License-Identifier: MIT */
/* A worker's loop and inbox.  See worker.h. */
#include "config.h"
#include "loop/worker.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"
#include "loop/event_alloc.h"
#include "loop/worker_internal.h"

#define TICK_MS 250

/* ---- inbox ---- */

/* Unlock what something was left in, and ring: once for each sleep, and never for one that is awake
 * and looks before it sleeps. */
static void unlock_and_ring(struct worker *worker)
{
    bool was_asleep = worker->asleep;
    uint64_t one = 1;
    ssize_t written;

    worker->asleep = false;
    pthread_mutex_unlock(&worker->lock);
    if (!was_asleep)
        return;
    do
        written = write(worker->bell_fd, &one, sizeof(one));
    while (written < 0 && errno == EINTR);
}

int worker_post(struct worker *worker, void (*call)(void *arg), void *arg)
{
    pthread_mutex_lock(&worker->lock);
    int result = inbox_add_call(&worker->inbox, call, arg);
    unlock_and_ring(worker);
    return result;
}

void worker_post_note(struct worker *worker, struct inbox_note *note, void (*call)(void *arg),
                      void *arg)
{
    note->call = call;
    note->arg = arg;
    pthread_mutex_lock(&worker->lock);
    inbox_add_note(&worker->inbox, note);
    unlock_and_ring(worker);
}

/* In the hub's turn, on any thread.  Without memory for the pointer the streams of this worker
 * would miss events that were acknowledged, so there is no going on. */
static void worker_deliver(struct hub_listener *listener, struct hub_batch *batch,
                           struct hub_ops *answers)
{
    struct worker *worker = (struct worker *)((char *)listener - offsetof(struct worker, listener));

    pthread_mutex_lock(&worker->lock);
    if (batch != NULL && inbox_add_batch(&worker->inbox, batch) != 0)
        log_abort_without_memory("inbox");
    STAILQ_CONCAT(&worker->inbox.answers, answers);
    unlock_and_ring(worker);
}

/* Returns whether all are done: what is not goes on in the next turn, and nothing overtakes it. */
static bool serve_batches(struct worker *worker, struct inbox *inbox)
{
    while (inbox->served_n < inbox->batches_n && worker->work > 0) {
        struct hub_batch *batch = inbox->batches[inbox->served_n];

        inbox->event = worker->hooks.batch(worker->hooks.arg, batch, inbox->event, &worker->work);
        if (inbox->event < batch->events_n)
            break;
        hub_batch_unref(batch);
        inbox->served_n++;
        inbox->event = 0;
    }
    if (inbox->served_n < inbox->batches_n)
        return false;
    inbox->batches_n = inbox->served_n = 0;
    inbox->bytes = 0;
    return true;
}

static void serve_answers(struct worker *worker, struct inbox *inbox)
{
    struct hub_op *op;

    while ((op = STAILQ_FIRST(&inbox->answers)) != NULL) {
        STAILQ_REMOVE_HEAD(&inbox->answers, link);
        worker->hooks.answer(worker->hooks.arg, op);
    }
}

/* Whether a turn has left something of an inbox to the next. */
static bool is_behind(const struct worker *worker)
{
    return worker->serving.batches_n > 0;
}

/* Returns whether there is something to serve.  From here on nobody has to ring. */
static bool take_inbox(struct worker *worker)
{
    if (is_behind(worker))
        return true;
    pthread_mutex_lock(&worker->lock);
    worker->asleep = false;
    bool has_some = !inbox_is_empty(&worker->inbox);
    if (has_some)
        inbox_swap(&worker->inbox, &worker->serving);
    pthread_mutex_unlock(&worker->lock);
    return has_some;
}

static void serve_inbox(struct worker *worker)
{
    if (!take_inbox(worker))
        return;
    worker_read_clock(worker);
    stats_set(&worker->stats, STATS_INBOX_BYTES, (int64_t)worker->serving.bytes);
    if (!serve_batches(worker, &worker->serving))
        return;
    stats_set(&worker->stats, STATS_INBOX_BYTES, 0);
    serve_answers(worker, &worker->serving);
    inbox_run_calls(&worker->serving);
}

/* Returns whether the worker may wait: nobody rang for what came since it last looked. */
static bool fall_asleep(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    worker->asleep = inbox_is_empty(&worker->inbox);
    bool asleep = worker->asleep;
    pthread_mutex_unlock(&worker->lock);
    return asleep;
}

/* ---- the turn ---- */

/* An alarm that is too early stays: the turn that it brings sets the next, which costs less than
 * moving one at every turn.  (libevent's own precise timers are set anew before every wait, for
 * whatever comes first, so the loop has coarse ones; only this one must be fine.) */
static void set_alarm(struct worker *worker, int64_t due_ns, int64_t now_ns)
{
    struct itimerspec when = {.it_value = {due_ns / 1000000000, due_ns % 1000000000}};

    if (worker->alarm_ns > now_ns && worker->alarm_ns <= due_ns)
        return;
    worker->alarm_ns = due_ns;
    timerfd_settime(worker->alarm_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* The hub has answered by now, in our turn or because it is more urgent and found a core free or
 * had ours: its events and answers need not wait for another turn. */
static void submit(struct worker *worker)
{
    if (STAILQ_EMPTY(&worker->outbox))
        return;
    hub_submit(worker->hub, &worker->outbox);
    serve_inbox(worker);
}

/* What follows each turn of libevent.  An event for few goes before the answer to its publisher:
 * the first send to a peer that sleeps pays for its waking, which may take longer than all the
 * rest, and it is the event that has somebody waiting.  Returns whether the next turn must not
 * wait. */
static bool end_turn(struct worker *worker)
{
    worker->work = WORKER_WORK_A_TURN;
    serve_inbox(worker);
    submit(worker);
    worker_flush(worker, PRIO_TARGETED);
    worker_run_answers(worker);
    worker_flush(worker, PRIO_BROADCAST);
    worker_flush_late(worker, PRIO_NEW);
    worker_flush_late(worker, PRIO_REPLAY);

    int64_t now_ns = clock_mono_ns();
    int64_t due_ns = worker_due_ns(worker, PRIO_REPLAY, now_ns);
    if (due_ns == 0 || is_behind(worker))
        return true;
    if (due_ns != INT64_MAX)
        set_alarm(worker, due_ns, now_ns);
    /* a job may have answered or published */
    return !TAILQ_EMPTY(&worker->answers) || !STAILQ_EMPTY(&worker->outbox);
}

/* Bell and alarm only have to end the wait: inbox and flush follow every turn.  Nobody reads their
 * descriptors, since each ring is an edge of its own. */
static void on_awake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct worker *worker = arg;

    (void)fd;
    (void)what;
    worker->hooks.tick(worker->hooks.arg, worker_read_clock(worker) / 1000000);
}

/* ---- life ---- */

bool worker_turn(struct worker *worker, bool wait)
{
    bool sleeps = wait && fall_asleep(worker);

    worker->turns_n++;
    event_base_loop(worker->context.base, EVLOOP_ONCE | (sleeps ? 0 : EVLOOP_NONBLOCK));
    return end_turn(worker);
}

static void *worker_run(void *arg)
{
    struct worker *worker = arg;
    bool at_once = false;
    char name[16];

    snprintf(name, sizeof(name), "bugle-w%u", worker->index % 1000);
    thread_begin(name, THREAD_SOON);
    while (!worker->stopping)
        at_once = worker_turn(worker, !at_once);
    return NULL;
}

static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (config == NULL)
        return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static int build_events(struct worker *worker)
{
    struct timeval tick = {.tv_usec = TICK_MS * 1000};
    short edges = EV_READ | EV_ET | EV_PERSIST;

    worker->context.base = new_base();
    if (worker->context.base == NULL || worker->bell_fd < 0 || worker->alarm_fd < 0)
        return -ENOMEM;
    worker->bell = event_new(worker->context.base, worker->bell_fd, edges, on_awake, worker);
    worker->alarm = event_new(worker->context.base, worker->alarm_fd, edges, on_awake, worker);
    worker->tick = event_new(worker->context.base, -1, EV_PERSIST, on_tick, worker);
    if (worker->bell == NULL || worker->alarm == NULL || worker->tick == NULL)
        return -ENOMEM;
    return event_add(worker->bell, NULL) == 0 && event_add(worker->alarm, NULL) == 0 &&
                   event_add(worker->tick, &tick) == 0
               ? 0
               : -ENOMEM;
}

struct worker *worker_new(unsigned index, const struct conf *conf, struct hub *hub)
{
    struct worker *worker = calloc(1, sizeof(*worker));

    if (worker == NULL)
        return NULL;
    worker->index = index;
    worker_read_clock(worker);
    worker->context.conf = conf_ref(conf);
    worker->context.stats = &worker->stats;
    worker->hub = hub;
    STAILQ_INIT(&worker->outbox);
    inbox_init(&worker->inbox);
    inbox_init(&worker->serving);
    TAILQ_INIT(&worker->answers);
    for (size_t i = 0; i < PRIO_COUNT; i++) {
        TAILQ_INIT(&worker->queues[i].waiting);
        TAILQ_INIT(&worker->queues[i].running);
    }
    pthread_mutex_init(&worker->lock, NULL);
    worker->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    worker->alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (build_events(worker) != 0) {
        worker_free(worker);
        return NULL;
    }
    worker->listener.deliver = worker_deliver;
    hub_add_listener(hub, &worker->listener);
    return worker;
}

void worker_set_hooks(struct worker *worker, const struct worker_hooks *hooks)
{
    worker->hooks = *hooks;
}

int worker_start(struct worker *worker)
{
    int error = pthread_create(&worker->thread, NULL, worker_run, worker);

    worker->started = error == 0;
    return -error;
}

static void stop_call(void *arg)
{
    struct worker *worker = arg;

    worker->stopping = true;
}

void worker_stop(struct worker *worker)
{
    if (!worker->started)
        return;
    if (worker_post(worker, stop_call, worker) != 0)
        log_abort_without_memory("stop");
    pthread_join(worker->thread, NULL);
    worker->started = false;
}

static void close_descriptor(int fd)
{
    if (fd >= 0)
        close(fd);
}

void worker_free(struct worker *worker)
{
    if (worker == NULL)
        return;
    assert(!worker->started);
    event_alloc_free(worker->bell);
    event_alloc_free(worker->alarm);
    event_alloc_free(worker->tick);
    if (worker->context.base != NULL)
        event_base_free(worker->context.base);
    close_descriptor(worker->bell_fd);
    close_descriptor(worker->alarm_fd);
    conf_unref(worker->context.conf);
    inbox_free(&worker->inbox);
    inbox_free(&worker->serving);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}

void worker_publish(struct worker *worker, struct hub_op *op)
{
    op->from = &worker->listener;
    STAILQ_INSERT_TAIL(&worker->outbox, op, link);
}

int64_t worker_now_ms(const struct worker *worker)
{
    return worker->now_ns / 1000000;
}

void worker_look_at_clock(struct worker *worker)
{
    worker_read_clock(worker);
}

uint64_t worker_turns(const struct worker *worker)
{
    return worker->turns_n;
}

unsigned worker_index(const struct worker *worker)
{
    return worker->index;
}

const struct context *worker_context(const struct worker *worker)
{
    return &worker->context;
}

void worker_set_conf(struct worker *worker, const struct conf *conf)
{
    const struct conf *before = worker->context.conf;

    worker->context.conf = conf_ref(conf);
    conf_unref(before);
}

struct hub *worker_hub(struct worker *worker)
{
    return worker->hub;
}

void worker_set_memory(struct worker *worker, struct memory_budget *memory)
{
    worker->context.memory = memory;
}

int worker_load(const struct worker *worker)
{
    return atomic_load_explicit(&worker->load, memory_order_relaxed);
}

void worker_load_add(struct worker *worker, int n)
{
    atomic_fetch_add_explicit(&worker->load, n, memory_order_relaxed);
}
