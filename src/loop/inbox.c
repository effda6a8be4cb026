/* SPDX-License-Identifier: MIT */
/* What other threads leave for a worker.  See inbox.h. */
#include "config.h"
#include "loop/inbox.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

void inbox_init(struct inbox *inbox)
{
    memset(inbox, 0, sizeof(*inbox));
    STAILQ_INIT(&inbox->answers);
    STAILQ_INIT(&inbox->notes);
}

void inbox_free(struct inbox *inbox)
{
    for (size_t i = inbox->served_n; i < inbox->batches_n; i++)
        hub_batch_unref(inbox->batches[i]);
    free(inbox->batches);
    free(inbox->calls);
}

bool inbox_is_empty(const struct inbox *inbox)
{
    return inbox->calls_n == 0 && inbox->batches_n == 0 && STAILQ_EMPTY(&inbox->answers) &&
           STAILQ_EMPTY(&inbox->notes);
}

static int inbox_grow(void **array, size_t *room, size_t item_bytes)
{
    size_t new_room = *room > 0 ? *room * 2 : 32;
    void *grown = realloc(*array, new_room * item_bytes);

    if (grown == NULL)
        return -ENOMEM;
    *array = grown;
    *room = new_room;
    return 0;
}

int inbox_add_call(struct inbox *inbox, void (*call)(void *arg), void *arg)
{
    if (inbox->calls_n == inbox->calls_room &&
        inbox_grow((void **)&inbox->calls, &inbox->calls_room, sizeof(*inbox->calls)) != 0)
        return -ENOMEM;
    inbox->calls[inbox->calls_n++] = (struct inbox_call){call, arg};
    return 0;
}

int inbox_add_batch(struct inbox *inbox, struct hub_batch *batch)
{
    if (inbox->batches_n == inbox->batches_room &&
        inbox_grow((void **)&inbox->batches, &inbox->batches_room, sizeof(*inbox->batches)) != 0)
        return -ENOMEM;
    atomic_fetch_add_explicit(&batch->refs, 1, memory_order_relaxed);
    inbox->batches[inbox->batches_n++] = batch;
    inbox->bytes += batch->bytes;
    return 0;
}

void inbox_add_note(struct inbox *inbox, struct inbox_note *note)
{
    STAILQ_INSERT_TAIL(&inbox->notes, note, link);
}

/* STAILQ heads point into themselves, so what is in them is moved and not copied. */
void inbox_swap(struct inbox *filled, struct inbox *served)
{
    struct inbox full = *filled;

    *filled = *served;
    STAILQ_INIT(&filled->answers);
    *served = full;
    STAILQ_INIT(&served->answers);
    if (!STAILQ_EMPTY(&full.answers)) {
        served->answers.stqh_first = full.answers.stqh_first;
        served->answers.stqh_last = full.answers.stqh_last;
    }
    STAILQ_INIT(&filled->notes);
    STAILQ_INIT(&served->notes);
    if (!STAILQ_EMPTY(&full.notes)) {
        served->notes.stqh_first = full.notes.stqh_first;
        served->notes.stqh_last = full.notes.stqh_last;
    }
}

/* A note may be left again from within its call. */
void inbox_run_calls(struct inbox *inbox)
{
    struct inbox_note *note;

    for (size_t i = 0; i < inbox->calls_n; i++)
        inbox->calls[i].call(inbox->calls[i].arg);
    inbox->calls_n = 0;
    while ((note = STAILQ_FIRST(&inbox->notes)) != NULL) {
        STAILQ_REMOVE_HEAD(&inbox->notes, link);
        note->call(note->arg);
    }
}
