/* SPDX-License-Identifier: MIT */
/*
 * What other threads leave for a worker: calls, notes, batches of events, answers of the hub.  Two
 * of them are swapped, so that one fills while the other is served.
 *
 * Only under the worker's lock, or before another thread knows of it.
 */
#ifndef BUGLE_INBOX_H
#define BUGLE_INBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "hub/hub.h"

struct inbox_call {
    void (*call)(void *arg);
    void *arg;
};

/* A call that needs no memory when it is left.  Embedded by its owner, who leaves it at most once
 * until it has run. */
struct inbox_note {
    STAILQ_ENTRY(inbox_note) link;
    void (*call)(void *arg);
    void *arg;
};

struct inbox {
    struct inbox_call *calls;
    size_t calls_n, calls_room;
    struct hub_batch **batches;
    size_t batches_n, batches_room;
    size_t served_n; /* batches that are done, */
    size_t event;    /* and the first event of the next that is not */
    struct hub_ops answers;
    STAILQ_HEAD(, inbox_note) notes;
    size_t bytes; /* of the batches */
};

void inbox_init(struct inbox *inbox);

/* Drops the batches that are not done. */
void inbox_free(struct inbox *inbox);

bool inbox_is_empty(const struct inbox *inbox);

/* Each returns 0 or -ENOMEM.  A batch is given a reference more. */
int inbox_add_call(struct inbox *inbox, void (*call)(void *arg), void *arg);
int inbox_add_batch(struct inbox *inbox, struct hub_batch *batch);

void inbox_add_note(struct inbox *inbox, struct inbox_note *note);

/* Exchange one that has filled for one that is all served. */
void inbox_swap(struct inbox *filled, struct inbox *served);

/* Run all calls and then all notes, each in the order they were left. */
void inbox_run_calls(struct inbox *inbox);

#endif
