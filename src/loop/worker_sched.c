/* SPDX-License-Identifier: MIT */
/* In which order and for how long the jobs of a worker run.  See worker.h. */
#include "config.h"

#include "base/clock.h"
#include "loop/worker_internal.h"

/* Jobs of a late class are begun for so long. */
#define SLICE_NS 150000
/* And jobs of a live one.  It is less than most pieces of a broadcast take, so what comes
 * meanwhile, be it an event for few or the publish of one, waits for a piece and no more.  A turn
 * between two pieces costs a hundredth of a piece. */
#define LIVE_SLICE_NS 150000
/* After a flush the class rests for its duration divided by this; */
#define FLUSH_TO_PAUSE 4
/* one that took less than this is followed by the next at once. */
#define FLUSH_CHEAP_NS 300000

/* However busy live delivery keeps the worker, one of the late classes gets a slice so often, and a
 * short one: what runs during a broadcast delays all that comes after it. */
#define LATE_EVERY_NS 20000000
#define LATE_SLICE_NS 300000

static void queue_job(struct worker_job *job, struct worker_jobs *queue)
{
    TAILQ_INSERT_TAIL(queue, job, link);
    job->queue = (void *)queue;
}

void worker_dequeue(struct worker *worker, struct worker_job *job)
{
    (void)worker;
    if (job->queue == NULL)
        return;
    TAILQ_REMOVE((struct worker_jobs *)(void *)job->queue, job, link);
    job->queue = NULL;
}

/* The class of a queued job. */
static enum worker_prio class_of(const struct worker *worker, const struct worker_job *job)
{
    const void *queue = job->queue;
    enum worker_prio prio = PRIO_TARGETED;

    if (queue == &worker->answers)
        return PRIO_ANSWER;
    while (queue != &worker->queues[prio].waiting && queue != &worker->queues[prio].running)
        prio++;
    return prio;
}

void worker_enqueue(struct worker *worker, struct worker_job *job, enum worker_prio prio)
{
    if (job->queue != NULL && class_of(worker, job) <= prio)
        return;
    worker_dequeue(worker, job);
    if (prio == PRIO_ANSWER)
        queue_job(job, &worker->answers);
    else
        queue_job(job, &worker->queues[prio].waiting);
}

bool worker_has_jobs(const struct worker *worker, enum worker_prio prio)
{
    if (prio == PRIO_ANSWER)
        return !TAILQ_EMPTY(&worker->answers);
    return !TAILQ_EMPTY(&worker->queues[prio].waiting) ||
           !TAILQ_EMPTY(&worker->queues[prio].running);
}

/* Run the first job of a queue; if it has more to do it waits in `again`, and only there. */
static void run_first(struct worker *worker, struct worker_jobs *queue, struct worker_jobs *again)
{
    struct worker_job *job = TAILQ_FIRST(queue);

    worker_dequeue(worker, job);
    if (!job->run(job))
        return;
    worker_dequeue(worker, job);
    queue_job(job, again);
}

void worker_run_answers(struct worker *worker)
{
    while (!TAILQ_EMPTY(&worker->answers))
        run_first(worker, &worker->answers, &worker->answers);
}

static void end_flush(struct worker *worker, struct flush_queue *queue, int64_t now_ns)
{
    int64_t tick_ns = (int64_t)worker->context.conf->stream.flush_tick_ms * 1000000;
    int64_t wait_ns = queue->cost_ns < FLUSH_CHEAP_NS ? 0 : queue->cost_ns / FLUSH_TO_PAUSE;

    queue->not_before_ns = now_ns + (wait_ns < tick_ns ? wait_ns : tick_ns);
    queue->cost_ns = 0;
}

void worker_flush(struct worker *worker, enum worker_prio prio)
{
    struct flush_queue *queue = &worker->queues[prio];
    int64_t begin_ns = worker_read_clock(worker), now_ns = begin_ns;

    if (TAILQ_EMPTY(&queue->running)) {
        struct worker_job *job;

        if (TAILQ_EMPTY(&queue->waiting) || now_ns < queue->not_before_ns)
            return;
        TAILQ_CONCAT(&queue->running, &queue->waiting, link);
        TAILQ_FOREACH (job, &queue->running, link)
            job->queue = (void *)&queue->running;
    }
    while (!TAILQ_EMPTY(&queue->running) && now_ns - begin_ns < LIVE_SLICE_NS) {
        run_first(worker, &queue->running, &queue->running);
        now_ns = worker_read_clock(worker);
    }
    queue->cost_ns += now_ns - begin_ns;
    if (TAILQ_EMPTY(&queue->running))
        end_flush(worker, queue, now_ns);
}

/* When a class wants to go on: 0 for at once, INT64_MAX for nothing to do. */
static int64_t queue_due_ns(const struct flush_queue *queue, int64_t now_ns)
{
    if (!TAILQ_EMPTY(&queue->running))
        return 0;
    if (TAILQ_EMPTY(&queue->waiting))
        return INT64_MAX;
    return queue->not_before_ns <= now_ns ? 0 : queue->not_before_ns;
}

int64_t worker_due_ns(const struct worker *worker, enum worker_prio last, int64_t now_ns)
{
    int64_t due_ns = INT64_MAX;

    for (enum worker_prio prio = PRIO_TARGETED; prio <= last; prio++) {
        int64_t own_ns = queue_due_ns(&worker->queues[prio], now_ns);

        due_ns = own_ns < due_ns ? own_ns : due_ns;
    }
    return due_ns;
}

/* How long a slice a late class may have now: they take turns while something live is due. */
static int64_t late_slice_ns(const struct worker *worker, enum worker_prio prio)
{
    const struct flush_queue *queue = &worker->queues[prio];
    const struct flush_queue *other = &worker->queues[prio == PRIO_NEW ? PRIO_REPLAY : PRIO_NEW];
    int64_t now_ns = worker->now_ns;

    if (worker_due_ns(worker, PRIO_BROADCAST, now_ns) != 0)
        return SLICE_NS;
    if (now_ns - queue->served_ns < LATE_EVERY_NS || now_ns - other->served_ns < LATE_EVERY_NS)
        return 0;
    return TAILQ_EMPTY(&other->waiting) || queue->served_ns <= other->served_ns ? LATE_SLICE_NS : 0;
}

void worker_flush_late(struct worker *worker, enum worker_prio prio)
{
    struct flush_queue *queue = &worker->queues[prio];
    int64_t begin_ns = worker->now_ns, now_ns = begin_ns;
    int64_t slice_ns = TAILQ_EMPTY(&queue->waiting) ? 0 : late_slice_ns(worker, prio);

    if (slice_ns == 0)
        return;
    while (!TAILQ_EMPTY(&queue->waiting) && now_ns - begin_ns < slice_ns) {
        run_first(worker, &queue->waiting, &queue->waiting);
        now_ns = worker_read_clock(worker);
    }
    queue->served_ns = now_ns;
}
