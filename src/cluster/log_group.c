/* SPDX-License-Identifier: MIT */
/* What becomes of a group of events.  See log_group.h. */
#include "config.h"
#include "cluster/log_group.h"

#include <assert.h>

static uint64_t last_of(const struct log_group *group)
{
    return group->first + group->events_n - 1;
}

static bool is_order(const struct log_group *group)
{
    return group->events_n == 0;
}

/* Whether it stands in a history up to this position; and an order, whether it was done. */
static bool is_in(const struct log_group *group, uint64_t newest)
{
    if (group->first == 0)
        return false;
    if (is_order(group) && !group->arrived)
        return last_of(group) < newest;
    return last_of(group) <= newest;
}

static void settle(struct log_group *group, enum shared_log_outcome outcome)
{
    group->state = LOG_GROUP_OVER;
    group->outcome = outcome;
}

void log_group_begin(struct log_group *group, uint32_t events_n)
{
    assert(group->state == LOG_GROUP_NONE);
    *group =
        (struct log_group){.state = LOG_GROUP_READY, .seq = group->seq + 1, .events_n = events_n};
}

void log_group_sent(struct log_group *group)
{
    assert(group->state == LOG_GROUP_READY);
    group->state = LOG_GROUP_SENT;
}

/* ---- answers ---- */

static void take_place(struct log_group *group, const struct shared_log_appended *appended,
                       uint64_t newest)
{
    group->first = appended->first;
    group->at_ms = appended->at_ms;
    group->unknown = false;
    if (appended->outcome == SHARED_LOG_UNCONFIRMED) {
        group->seen = true;
        group->state = LOG_GROUP_READY;
    } else if (is_in(group, newest)) {
        settle(group, SHARED_LOG_DONE);
    } else {
        group->state = LOG_GROUP_STORED;
    }
}

/* What an earlier sending of it came to decides, unless that is known. */
static void refuse(struct log_group *group, enum shared_log_outcome outcome)
{
    if (group->unknown || group->seen)
        group->state = LOG_GROUP_READY;
    else
        settle(group, outcome);
}

void log_group_answered(struct log_group *group, const struct shared_log_appended *appended,
                        uint64_t newest)
{
    if (group->state != LOG_GROUP_SENT || appended->seq != group->seq)
        return;
    switch (appended->outcome) {
    case SHARED_LOG_DONE:
    case SHARED_LOG_SEEN:
    case SHARED_LOG_UNCONFIRMED:
        take_place(group, appended, newest);
        break;
    case SHARED_LOG_KEYS: /* the log looks for the number first: it is not there */
        settle(group, SHARED_LOG_KEYS);
        break;
    case SHARED_LOG_FULL:
    case SHARED_LOG_NO_MEMORY:
        refuse(group, appended->outcome);
        break;
    case SHARED_LOG_TERM:
    case SHARED_LOG_UNREACHABLE:
    case SHARED_LOG_REFUSED:
        group->state = LOG_GROUP_READY;
        break;
    case SHARED_LOG_LOST:
    case SHARED_LOG_DAMAGED:
        group->unknown = true;
        group->state = LOG_GROUP_READY;
        break;
    }
}

void log_group_arrived(struct log_group *group, uint64_t seq, uint64_t first, int64_t at_ms)
{
    if (seq != group->seq || group->state == LOG_GROUP_NONE || group->state == LOG_GROUP_OVER)
        return;
    group->first = first;
    group->at_ms = at_ms;
    group->arrived = true;
    if (group->state == LOG_GROUP_STORED)
        settle(group, SHARED_LOG_DONE);
}

/* ---- another term, or the same after a break ---- */

/* Behind a gap nobody can tell whether the group was in it, but for one of this term that the log
 * had said yes to.  An order in it is not done here. */
static void attached_behind_gap(struct log_group *group, const struct log_group_attached *attached)
{
    if (group->state == LOG_GROUP_STORED && attached->is_same_term && !is_order(group) &&
        is_in(group, attached->newest))
        settle(group, SHARED_LOG_DONE);
    else if (group->state != LOG_GROUP_READY || group->unknown || group->seen)
        settle(group, SHARED_LOG_LOST);
}

void log_group_attached(struct log_group *group, const struct log_group_attached *attached)
{
    bool is_here = is_in(group, attached->newest);

    if (group->state == LOG_GROUP_NONE || group->state == LOG_GROUP_OVER)
        return;
    if (attached->has_gap) {
        attached_behind_gap(group, attached);
        return;
    }
    /* Here, and of an entry that the log no longer has: it might not know the number any more.  An
     * order may be so because another node made the log, which has never heard of it. */
    if (is_here && !is_order(group) && group->state != LOG_GROUP_SENT &&
        last_of(group) <= attached->trimmed) {
        settle(group, SHARED_LOG_DONE);
        return;
    }
    if (!is_here) {
        group->first = 0;
        group->unknown |= group->seen; /* a term that ended may have lost it */
    }
    group->arrived &= attached->is_same_term; /* or the tail brings it again */
    if (group->state == LOG_GROUP_STORED) {
        group->unknown = true;
        group->state = LOG_GROUP_READY;
    }
}

void log_group_give_up(struct log_group *group)
{
    if (group->state == LOG_GROUP_NONE || group->state == LOG_GROUP_OVER)
        return;
    if (group->seen && !group->unknown &&
        (group->state == LOG_GROUP_READY || group->state == LOG_GROUP_SENT))
        settle(group, SHARED_LOG_UNCONFIRMED);
    else if (group->unknown || group->state != LOG_GROUP_READY)
        settle(group, SHARED_LOG_LOST);
    else
        settle(group, SHARED_LOG_UNREACHABLE);
}

void log_group_end(struct log_group *group)
{
    assert(group->state == LOG_GROUP_OVER);
    group->state = LOG_GROUP_NONE;
}
