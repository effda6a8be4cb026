/* SPDX-License-Identifier: MIT */
/*
 * One loop on one thread: an inbox that other threads post to, a flush that paces the work of
 * waking streams, an outbox of publishes, a tick.  A client belongs to one worker for life, so
 * nothing about a client needs a lock.
 *
 * The worker knows neither HTTP nor streams; who builds on it leaves callbacks (worker_hooks) and
 * jobs (worker_job).
 *
 * The turn: libevent runs what is ready; then the inbox is served, the batches first, of many as
 * much as WORKER_WORK_A_TURN allows and the rest in the turns that follow; then the outbox goes to
 * the hub in one piece, and what the hub has answered by then is served at once; then a slice of
 * the jobs of few streams; then the jobs of publishers' answers, all of them; then a slice of those
 * of many streams, a piece at a time; then, in slices too and when nothing live waits, new
 * connections and streams that catch up with the past.
 */
#ifndef BUGLE_WORKER_H
#define BUGLE_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "hub/hub.h"
#include "loop/context.h"
#include "loop/inbox.h"

struct worker;
struct event_base;

/* How soon a job runs, and in which queue. */
enum worker_prio {
    PRIO_ANSWER,    /* at the end of this turn, all of them: answers to publishers */
    PRIO_TARGETED,  /* streams woken by an event that reaches few; a slice of them goes before */
    PRIO_BROADCAST, /* streams woken by an event that reaches many */
    PRIO_NEW,       /* new connections and their first requests: when nothing live waits, or for a
                     * tenth of the time */
    PRIO_REPLAY,    /* streams that catch up with the past: likewise */
    PRIO_COUNT,
};

/* Something to run at the end of a turn.  Embedded by its owner; zero it and set `run`. */
struct worker_job {
    TAILQ_ENTRY(worker_job) link;
    bool (*run)(struct worker_job *job);         /* true: there is more of it, and the same class
                                                  * goes on with it after the others that wait */
    TAILQ_HEAD(worker_jobs, worker_job) * queue; /* the worker's own use; NULL: not queued */
};

/* What serving batches may take in one turn, in steps: nodes and streams that are looked at, 5 to
 * 50 ns each.  Counted and not timed, since the clock would be read for each event. */
#define WORKER_WORK_A_TURN ((size_t)200000)

/* All on the worker's thread. */
struct worker_hooks {
    void *arg;

    /*
     * Take over the events of a batch from the `from`th on, in their order: one at least, and as
     * many as there is work left for.
     *
     * batch  borrowed for the call
     * work   what is left for this turn, in steps; to be lowered by what was done
     *
     * Returns the first that was not taken; the next turn goes on with it.
     */
    size_t (*batch)(void *arg, struct hub_batch *batch, size_t from, size_t *work);

    void (*answer)(void *arg, struct hub_op *op); /* the operation is its owner's again */
    void (*tick)(void *arg, int64_t now_ms);      /* about every 250 ms, monotonic clock */
};

/*
 * Build a worker and its loop, not yet running, and make it known to the hub.
 *
 * index  from 0; names the thread
 * conf   takes a reference of its own
 * hub    borrowed for the worker's life
 *
 * NULL when out of memory or descriptors.
 */
struct worker *worker_new(unsigned index, const struct conf *conf, struct hub *hub);
void worker_set_hooks(struct worker *worker, const struct worker_hooks *hooks);

/* Start the thread.  Returns 0 or -errno. */
int worker_start(struct worker *worker);

/* One turn, by hand, of a worker that has no thread: what the thread does, again and again. Returns
 * whether the next must not `wait`. */
bool worker_turn(struct worker *worker, bool wait);

/* End the loop after its current turn, and wait for the thread.  Calls posted before this have
 * run by then. */
void worker_stop(struct worker *worker);
void worker_free(struct worker *worker); /* accepts NULL; stopped or never started */

/* Have `call(arg)` run on the worker's thread.  Any thread; one lock, and one write() when
 * the worker sleeps.  Returns 0, or -ENOMEM and the call is forgotten. */
int worker_post(struct worker *worker, void (*call)(void *arg), void *arg);

/* The same without memory, so that it cannot fail: for what another thread brings back to somebody
 * who waits for it.  Borrows the note until the call begins. */
void worker_post_note(struct worker *worker, struct inbox_note *note, void (*call)(void *arg),
                      void *arg);

/* How many turns there have been.  Worker's thread. */
uint64_t worker_turns(const struct worker *worker);

/* Hand a publish to the hub at the end of this turn; hub_admit() said yes before.  The answer
 * comes through the hook.  Worker's thread. */
void worker_publish(struct worker *worker, struct hub_op *op);

/* Queue a job; a job already queued moves only to a sooner class.  Worker's thread. */
void worker_enqueue(struct worker *worker, struct worker_job *job, enum worker_prio prio);
void worker_dequeue(struct worker *worker, struct worker_job *job);

/* Whether jobs of a class are queued.  Worker's thread. */
bool worker_has_jobs(const struct worker *worker, enum worker_prio prio);

/* The monotonic clock as it was when the worker last looked: at the start of each turn, job and
 * daemon run.  Reading the clock for each delivery would cost as much as copying the event. */
int64_t worker_now_ms(const struct worker *worker);
void worker_look_at_clock(struct worker *worker);

unsigned worker_index(const struct worker *worker);
const struct context *worker_context(const struct worker *worker);

/* New settings for the context, which takes a reference and gives back the one to the old: what was
 * borrowed from those is gone.  Between two turns (worker_post()). */
void worker_set_conf(struct worker *worker, const struct conf *conf);
struct hub *worker_hub(struct worker *worker);

/* The account of memory, borrowed; NULL, as at first, for none.  Set before worker_start(). */
void worker_set_memory(struct worker *worker, struct memory_budget *memory);

/* Sockets this worker has, for placing new ones.  worker_load_add() on any thread. */
int worker_load(const struct worker *worker);
void worker_load_add(struct worker *worker, int n);

#endif
