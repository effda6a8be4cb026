/* SPDX-License-Identifier: MIT */
/*
 * A hub on a shared log: whether the next group is begun at once.
 *
 * Publishers that wait for their answers come back within a moment of each other.  The first of
 * them would be a group of its own, all others would wait for its end, and every second group
 * would be tiny; but a group costs the log and every node much the same whatever is in it.  So
 * while many publish, the next group waits until most are back that were here when the last one
 * ended: never for longer than that one took, and half a millisecond at most.
 */
#include "config.h"

#include <event2/event.h>

#include "base/clock.h"
#include "hub/hub_share_internal.h"

/* With fewer operations nothing waits, and more are large groups anyway. */
#define OPS_MIN 16
#define OPS_MAX 256
#define WAIT_NS_MAX INT64_C(500000)

static size_t count_up_to(const struct hub_ops *ops, size_t most)
{
    const struct hub_op *op;
    size_t n = 0;

    STAILQ_FOREACH (op, ops, link)
        if (++n >= most)
            break;
    return n;
}

void share_plan_gather(struct hub_share *share, size_t ops_n)
{
    int64_t now_ns = clock_mono_ns(), took_ns = now_ns - share->turn_ns;
    size_t n = ops_n + count_up_to(&share->queued, OPS_MAX);

    share->gather_n = n * 3 / 4;
    share->gather_until_ns = 0;
    if (n >= OPS_MIN && n < OPS_MAX)
        share->gather_until_ns = now_ns + (took_ns < WAIT_NS_MAX ? took_ns : WAIT_NS_MAX);
}

bool share_gathers(struct hub_share *share)
{
    const struct timeval wait = {.tv_usec = WAIT_NS_MAX / 1000};

    if (share->gather_until_ns == 0)
        return false;
    if (clock_mono_ns() >= share->gather_until_ns ||
        count_up_to(&share->queued, share->gather_n) >= share->gather_n) {
        share->gather_until_ns = 0;
        return false;
    }
    /* mostly what is submitted wakes the loop; this does if nothing more comes */
    if (!event_pending(share->gather, EV_TIMEOUT, NULL))
        event_add(share->gather, &wait);
    return true;
}
