/* SPDX-License-Identifier: MIT */
/* A history that follows the shared log.  See log_follower.h. */
#include "config.h"
#include "cluster/log_follower.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void log_follower_init(struct log_follower *follower, struct history *history, const char *writer)
{
    *follower = (struct log_follower){.history = history};
    assert(strlen(writer) < sizeof(follower->writer));
    strcpy(follower->writer, writer);
}

uint64_t log_follower_newest(const struct log_follower *follower)
{
    struct history_bounds bounds;

    history_bounds(follower->history, &bounds);
    return bounds.newest;
}

static enum log_follower_result fail(struct log_follower *follower, int error)
{
    follower->error = error;
    return LOG_FOLLOWER_FAILED;
}

/* ---- attaching ---- */

/* The latest time of all events, 0 without any: nothing is as late as the millisecond after it. */
static int64_t latest_ms(struct history *history, uint64_t newest)
{
    int64_t is_there = 0, is_not = (int64_t)SHARED_LOG_POSITION_MAX;

    while (is_not - is_there > 1) {
        int64_t middle = is_there + (is_not - is_there) / 2;

        if (history_find_time(history, middle) < newest)
            is_there = middle;
        else
            is_not = middle;
    }
    return is_there;
}

void log_follower_attach(struct log_follower *follower, const char *epoch_new,
                         struct shared_log_node *ret_node)
{
    uint64_t newest = log_follower_newest(follower);

    follower->attached = false;
    *ret_node = (struct shared_log_node){
        .lineage = history_lineage(follower->history),
        .newest = newest,
        .newest_ms = latest_ms(follower->history, newest),
        .epoch_new = epoch_new,
    };
}

/* Where the history has to go on. */
struct plan {
    uint64_t newest; /* before */
    uint64_t common; /* it stays up to here */
    uint64_t begin;  /* and what comes can only begin behind this */
    bool is_same_term;
};

static struct plan make_plan(const struct log_follower *follower,
                             const struct shared_log_state *state)
{
    const struct lineage *mine = history_lineage(follower->history);
    struct plan plan = {
        .newest = log_follower_newest(follower),
        .begin = state->trimmed,
        .is_same_term = strcmp(mine->epoch, state->lineage->epoch) == 0,
    };

    plan.common = lineage_common(mine, plan.newest, state->lineage);
    if (plan.common > state->head) /* no log of ours does that; what it does not have is gone */
        plan.common = state->head;
    if (plan.is_same_term && follower->gap_end > plan.begin && follower->gap_end <= state->head)
        plan.begin = follower->gap_end;
    return plan;
}

/* When going on has failed, the history may be cut off all the same, or not. */
static void note_cut(const struct log_follower *follower, const struct plan *plan, bool failed,
                     struct log_follower_cut *cut)
{
    cut->is_cut =
        failed ? log_follower_newest(follower) < plan->newest : plan->newest > plan->common;
    cut->end = plan->common;
    if (failed || plan->begin <= plan->common)
        return;
    cut->begin = plan->begin;
    cut->gap = plan->begin == follower->gap_end ? follower->gap : LOG_FOLLOWER_GAP_EXPIRED;
}

/* Takes the lineage.  What stands before a gap is no use behind it, since a history has none. */
static int go_on_from(struct history *history, const struct plan *plan, struct lineage *lineage)
{
    struct lineage *again = NULL;
    int result;

    if (plan->begin > plan->common && plan->begin <= plan->newest) {
        again = lineage_copy(lineage);
        if (again == NULL) {
            free(lineage);
            return -ENOMEM;
        }
    }
    if (plan->begin > plan->newest)
        return history_truncate(history, plan->begin, lineage);
    result = history_truncate(history, plan->common, lineage);
    if (again == NULL)
        return result;
    if (result == 0)
        return history_truncate(history, plan->begin, again);
    free(again);
    return result;
}

static void tell_group(struct log_follower *follower, const struct plan *plan,
                       const struct shared_log_state *state)
{
    struct log_group_attached attached = {
        .newest = log_follower_newest(follower),
        .trimmed = state->trimmed,
        .has_gap = plan->begin > plan->common,
        .is_same_term = plan->is_same_term,
    };

    log_group_attached(&follower->group, &attached);
}

static struct log_follower_mark *find_mark(struct log_follower *follower, const char *epoch)
{
    for (size_t i = 0; i < follower->marks_n; i++)
        if (memcmp(follower->marks[i].epoch, epoch, SSE_EPOCH_BYTES) == 0)
            return &follower->marks[i];
    return NULL;
}

/* Make room: an epoch that is not in the lineage may come back, but hardly after so many. */
static void drop_marks(struct log_follower *follower)
{
    const struct lineage *lineage = history_lineage(follower->history);
    size_t kept_n = 0;
    uint64_t end;

    for (size_t i = 0; i < follower->marks_n; i++)
        if (lineage_find(lineage, follower->marks[i].epoch, &end))
            follower->marks[kept_n++] = follower->marks[i];
    follower->marks_n = kept_n;
}

/* Orders of this epoch, which is of the lineage, are done up to here. */
static void set_mark(struct log_follower *follower, const char *epoch, uint64_t last, uint64_t sub)
{
    struct log_follower_mark *mark = find_mark(follower, epoch);

    if (mark == NULL) {
        if (follower->marks_n == sizeof(follower->marks) / sizeof(follower->marks[0]))
            drop_marks(follower);
        mark = &follower->marks[follower->marks_n++];
        memcpy(mark->epoch, epoch, SSE_EPOCH_BYTES);
    }
    mark->last = last;
    mark->sub = sub;
}

static void go_on_with_orders(struct log_follower *follower)
{
    uint64_t newest = log_follower_newest(follower);
    const struct log_follower_mark *mark = find_mark(follower, history_epoch(follower->history));

    follower->sub = mark != NULL && mark->last == newest ? mark->sub : 0;
    strcpy(follower->sub_epoch, follower->sub > 0 ? history_epoch(follower->history) : "");
}

enum log_follower_result log_follower_attached(struct log_follower *follower,
                                               struct shared_log_state *state,
                                               struct log_follower_cut *ret_cut)
{
    struct plan plan = make_plan(follower, state);
    bool stays = plan.is_same_term && plan.common == plan.newest && plan.begin <= plan.common;
    int result = 0;

    *ret_cut = (struct log_follower_cut){.is_cut = false};
    if (stays)
        free(state->lineage);
    else
        result = go_on_from(follower->history, &plan, state->lineage);
    state->lineage = NULL;
    note_cut(follower, &plan, result != 0, ret_cut);
    if (result != 0)
        return fail(follower, result);
    tell_group(follower, &plan, state);
    go_on_with_orders(follower);
    follower->gap_end = 0;
    follower->gap = LOG_FOLLOWER_NO_GAP;
    if (!plan.is_same_term)
        follower->strange = follower->strange_sub = 0;
    follower->attached = true;
    return LOG_FOLLOWER_FINE;
}

/* ---- following ---- */

/* Events that were read and wait for their commit, the order behind them, and of which of them our
 * group was told. */
struct reading {
    struct log_follower_batch batch;
    size_t stored_n; /* of the events */
    uint64_t newest; /* with them */
    char order_epoch[SSE_EPOCH_BYTES + 1];
    uint64_t own_seq; /* of the last entry of this writer, 0: none */
    uint64_t own_first;
    int64_t own_at_ms;
};

static enum log_follower_result note_gap(struct log_follower *follower, enum log_follower_gap gap,
                                         uint64_t end)
{
    follower->gap = gap;
    follower->gap_end = end;
    return gap == LOG_FOLLOWER_GAP_DAMAGED ? LOG_FOLLOWER_DAMAGED : LOG_FOLLOWER_EXPIRED;
}

/* Whether the entry is of the lineage that was attached to: of its epoch, or of an earlier one up
 * to where that ended. */
static bool is_of_lineage(const struct log_follower *follower, const struct log_entry_head *head,
                          uint64_t last)
{
    uint64_t end;

    return lineage_find(history_lineage(follower->history), head->epoch, &end) && last <= end;
}

/* Which of the terms an epoch of the lineage is. */
static size_t term_of(const struct log_follower *follower, const char *epoch)
{
    const struct lineage *lineage = history_lineage(follower->history);
    size_t i = 0;

    while (i < lineage->terms_n && memcmp(lineage->terms[i].epoch, epoch, SSE_EPOCH_BYTES) != 0)
        i++;
    return i;
}

/* Terms follow each other.  An order of an earlier one than the order before it is of another log,
 * in which that term ended at the same position: a server has become a replica meanwhile. */
static bool is_in_order(const struct log_follower *follower, const struct log_entry_head *head)
{
    return follower->sub == 0 || follower->sub_epoch[0] == '\0' ||
           term_of(follower, head->epoch) >= term_of(follower, follower->sub_epoch);
}

/* How many orders behind the newest position are read. */
static void come_to(struct log_follower *follower, uint64_t sub)
{
    if (sub > follower->sub + 1 && follower->has_read)
        follower->orders_lost += sub - follower->sub - 1;
    follower->sub = sub;
    follower->has_read = true;
}

/* An order that cannot be had: by its name it stands behind the newest position, and no stream has
 * missed an event.  Returns whether it is one. */
static bool pass_over(struct log_follower *follower, const struct reading *reading,
                      const struct shared_log_entry *from)
{
    if (from->sub == 0 || from->last != reading->newest)
        return false;
    come_to(follower, from->sub);
    follower->orders_lost++;
    return true;
}

static enum log_follower_result note_damage(struct log_follower *follower,
                                            const struct reading *reading,
                                            const struct shared_log_entry *from)
{
    if (pass_over(follower, reading, from))
        return LOG_FOLLOWER_FINE;
    return note_gap(follower, LOG_FOLLOWER_GAP_DAMAGED, from->last);
}

/* Attaching anew tells what an entry of another term is about; if it does not, nothing will. */
static enum log_follower_result note_strange(struct log_follower *follower,
                                             const struct reading *reading,
                                             const struct shared_log_entry *from)
{
    if (follower->strange == from->last && follower->strange_sub == from->sub)
        return note_damage(follower, reading, from);
    follower->strange = from->last;
    follower->strange_sub = from->sub;
    return LOG_FOLLOWER_TERM;
}

static void note_own(struct log_follower *follower, struct reading *reading,
                     const struct log_entry_head *head)
{
    if (strcmp(head->writer, follower->writer) != 0)
        return;
    reading->own_seq = head->seq;
    reading->own_first = head->first;
    reading->own_at_ms = head->at_ms;
}

/* The batch has the references then. */
static enum log_follower_result take_events(struct log_follower *follower, struct reading *reading,
                                            struct log_entry *entry)
{
    struct log_follower_batch *batch = &reading->batch;
    struct message **events =
        realloc(batch->events, (batch->events_n + entry->events_n) * sizeof(struct message *));

    if (events == NULL)
        return fail(follower, -ENOMEM);
    memcpy(events + batch->events_n, entry->events, entry->events_n * sizeof(struct message *));
    batch->events = events;
    batch->events_n += entry->events_n;
    entry->events_n = 0;
    reading->stored_n += entry->stored_n;
    reading->newest += entry->stored_n;
    follower->sub = 0;
    follower->has_read = true;
    note_own(follower, reading, &entry->head);
    return LOG_FOLLOWER_FINE;
}

static bool is_done(struct log_follower *follower, const char *epoch,
                    const struct shared_log_entry *from)
{
    const struct log_follower_mark *mark = find_mark(follower, epoch);

    return mark != NULL &&
           (from->last < mark->last || (from->last == mark->last && from->sub <= mark->sub));
}

/* Its group is told also when it was done before: in a term that is over. */
static enum log_follower_result take_order(struct log_follower *follower, struct reading *reading,
                                           const struct log_entry *entry,
                                           const struct shared_log_entry *from)
{
    struct log_follower_batch *batch = &reading->batch;

    if (!is_in_order(follower, &entry->head))
        return note_strange(follower, reading, from);
    come_to(follower, from->sub);
    strcpy(follower->sub_epoch, entry->head.epoch);
    note_own(follower, reading, &entry->head);
    if (is_done(follower, entry->head.epoch, from))
        return LOG_FOLLOWER_FINE;
    batch->order = entry->order;
    batch->order_n = entry->order_n;
    batch->order_seq = entry->head.seq;
    memcpy(batch->order_writer, entry->head.writer, sizeof(batch->order_writer));
    memcpy(reading->order_epoch, entry->head.epoch, sizeof(reading->order_epoch));
    return LOG_FOLLOWER_FINE;
}

/* An entry that could be read, if it is the next one. */
static enum log_follower_result take_entry(struct log_follower *follower, struct reading *reading,
                                           struct log_entry *entry,
                                           const struct shared_log_entry *from)
{
    if (!is_of_lineage(follower, &entry->head, from->last))
        return note_strange(follower, reading, from);
    if (entry->head.first > reading->newest + 1)
        return note_gap(follower, LOG_FOLLOWER_GAP_EXPIRED, entry->head.first - 1);
    if (entry->head.first <= reading->newest)
        return note_gap(follower, LOG_FOLLOWER_GAP_DAMAGED, from->last);
    return entry->order != NULL ? take_order(follower, reading, entry, from)
                                : take_events(follower, reading, entry);
}

static enum log_follower_result read_entry(struct log_follower *follower, struct reading *reading,
                                           const struct shared_log_entry *from)
{
    struct log_entry entry;
    enum log_follower_result result;

    switch (log_entry_read(from, &entry)) {
    case LOG_ENTRY_DAMAGED:
        return note_damage(follower, reading, from);
    case LOG_ENTRY_FORMAT_UNKNOWN:
        return LOG_FOLLOWER_FORMAT;
    case LOG_ENTRY_NO_MEMORY:
        return fail(follower, -ENOMEM);
    case LOG_ENTRY_FINE:
        break;
    }
    for (size_t i = 0; i < entry.events_n; i++)
        message_charge(entry.events[i], follower->account);
    result = take_entry(follower, reading, &entry, from);
    log_entry_clear(&entry);
    return result;
}

/* The history has no place for ephemeral events. */
static int apply_stored(struct log_follower *follower, const struct reading *reading)
{
    const struct log_follower_batch *batch = &reading->batch;
    struct message **stored;
    size_t stored_n = 0;
    int result;

    if (reading->stored_n == batch->events_n)
        return history_apply(follower->history, batch->events, batch->events_n);
    stored = malloc(reading->stored_n * sizeof(struct message *));
    if (stored == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < batch->events_n; i++)
        if (batch->events[i]->kind == MESSAGE_STORED)
            stored[stored_n++] = batch->events[i];
    result = history_apply(follower->history, stored, stored_n);
    free(stored);
    return result;
}

/* Returns the result of the history, whatever it was that ended the reading. */
static int apply(struct log_follower *follower, struct reading *reading)
{
    int result = 0;

    if (reading->stored_n > 0)
        result = apply_stored(follower, reading);
    if (result != 0) {
        log_follower_batch_clear(&reading->batch);
        return result;
    }
    if (reading->batch.order != NULL)
        set_mark(follower, reading->order_epoch, reading->newest, follower->sub);
    if (reading->own_seq != 0)
        log_group_arrived(&follower->group, reading->own_seq, reading->own_first,
                          reading->own_at_ms);
    return 0;
}

/* Behind one that is not followed, nothing is. */
enum log_follower_result log_follower_entries(struct log_follower *follower,
                                              const struct shared_log_entry *entries,
                                              size_t entries_n,
                                              struct log_follower_batch *ret_batch)
{
    struct reading reading = {.newest = log_follower_newest(follower)};
    enum log_follower_result result = LOG_FOLLOWER_FINE;
    int error;

    assert(follower->attached);
    while (reading.batch.entries_n < entries_n && reading.batch.order == NULL) {
        result = read_entry(follower, &reading, &entries[reading.batch.entries_n]);
        if (result != LOG_FOLLOWER_FINE)
            break;
        reading.batch.entries_n++;
    }
    error = apply(follower, &reading);
    if (error != 0)
        result = fail(follower, error);
    if (result != LOG_FOLLOWER_FINE)
        follower->attached = false;
    *ret_batch = reading.batch;
    return result;
}

void log_follower_batch_clear(struct log_follower_batch *batch)
{
    for (size_t i = 0; i < batch->events_n; i++)
        message_unref(batch->events[i]);
    free(batch->events);
    *batch = (struct log_follower_batch){.events = NULL};
}

/* Whether it tells a place that is none in the term that this node follows. */
static bool is_elsewhere(const struct log_follower *follower,
                         const struct shared_log_appended *appended)
{
    return (appended->outcome == SHARED_LOG_DONE || appended->outcome == SHARED_LOG_SEEN ||
            appended->outcome == SHARED_LOG_UNCONFIRMED) &&
           strcmp(appended->epoch, history_epoch(follower->history)) != 0;
}

enum log_follower_result log_follower_appended(struct log_follower *follower,
                                               const struct shared_log_appended *appended)
{
    struct shared_log_appended unknown = {.seq = appended->seq, .outcome = SHARED_LOG_LOST};
    bool elsewhere = is_elsewhere(follower, appended);

    log_group_answered(&follower->group, elsewhere ? &unknown : appended,
                       log_follower_newest(follower));
    return elsewhere || appended->outcome == SHARED_LOG_TERM ? LOG_FOLLOWER_TERM
                                                             : LOG_FOLLOWER_FINE;
}
