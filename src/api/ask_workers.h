/* SPDX-License-Identifier: MIT */
/*
 * One question to all workers: each answers on its own thread about its own streams, into its own
 * slot, and when the last is done the request that asked is resumed.  So nothing of a stream is
 * ever touched by another thread.
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

struct ask_workers {
    struct inbox_note note; /* that all have answered */
    struct request *request;
    int (*resumed)(struct request *request);
    void (*ask)(struct service *service, struct ask_workers_slot *slot); /* any worker */

    /* the question */
    struct filter *filter; /* NULL: all */
    uint64_t stream_id;    /* 0: all */
    size_t limit;

    /* the answers, one a worker */
    _Atomic unsigned left; /* workers, and the caller */
    bool failed;           /* not every worker could be asked */
    struct ask_workers_slot {
        struct ask_workers *question;
        json_t *rows; /* NULL: none, or out of memory */
        size_t count;
    } slots[];
};

/* Make an empty question for a request, owned by it.  NULL when out of memory. */
struct ask_workers *ask_workers_new(struct request *request);

/* Ask, with `ask`, `resumed` and the question filled in.  Returns as respond.h.  When there is no
 * memory to ask a worker the answer is 503, once the others have done their part. */
int ask_workers_start(struct ask_workers *question);

#endif
