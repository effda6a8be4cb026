/* SPDX-License-Identifier: MIT */
/*
 * One question to all workers: each answers on its own thread about its own streams, into its own
 * slot, and when the last is done the request that asked is resumed, or who else asked is told.  So
 * nothing of a stream is ever touched by another thread.
 */
#ifndef BUGLE_ASK_WORKERS_H
#define BUGLE_ASK_WORKERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/filter.h"
#include "http/request.h"
#include "loop/inbox.h"

struct ask_workers_slot;
struct service_shared;

struct ask_workers {
    struct service_shared *shared;
    void (*ask)(struct service *service, struct ask_workers_slot *slot); /* any worker */

    /* Who asks: a request; or `request` NULL and somebody else, to whom the question belongs again
     * in `done`: on the thread of the worker that was the last, or of who asks. */
    struct request *request;
    int (*resumed)(struct request *request);
    struct inbox_note note; /* that all have answered */
    void (*done)(struct ask_workers *question, void *arg);
    void *arg;

    /* the question */
    struct filter *filter; /* NULL: all */
    uint64_t stream_id;    /* 0: all */
    int64_t begun_by_ms;   /* monotonic clock: those that had begun by then; 0: all */
    size_t limit;          /* rows */
    size_t bytes_max;      /* of `text` */

    /* the answers, one a worker */
    _Atomic unsigned left; /* workers, and the caller */
    bool failed;           /* not every worker could be asked */
    struct ask_workers_slot {
        struct ask_workers *question;
        json_t *rows; /* NULL: none, or out of memory */
        char *text;   /* or rows as bytes (node_message_put_row()); NULL: none */
        size_t text_n;
        size_t count;
    } slots[];
};

/* Make an empty question for a request, owned by it.  NULL when out of memory. */
struct ask_workers *ask_workers_new(struct request *request);

/* Ask, with `ask`, `resumed` and the question filled in.  Returns as respond.h.  When there is no
 * memory to ask a worker the answer is 503, once the others have done their part. */
int ask_workers_start(struct ask_workers *question);

/* The same for somebody else: make an empty question; NULL when out of memory.  Ask, with `ask`,
 * `done`, `arg` and the question filled in; `done` may be called from within.  Any thread. */
struct ask_workers *ask_workers_new_for(struct service_shared *shared);
void ask_workers_send(struct ask_workers *question);
void ask_workers_free(struct ask_workers *question); /* accepts NULL */

/* What all of them have counted. */
size_t ask_workers_count(const struct ask_workers *question);

#endif
