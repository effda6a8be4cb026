/* SPDX-License-Identifier: MIT */
/*
 * What everything on a worker's thread works with.  One for each worker, who has it and fills it;
 * the parts of the worker borrow it for their life and read it on its thread.
 */
#ifndef BUGLE_CONTEXT_H
#define BUGLE_CONTEXT_H

#include <event2/event.h>

#include "base/memory_budget.h"
#include "base/stats.h"
#include "conf/conf.h"

struct context {
    const struct conf *conf; /* as of now; a reference.  A reload sets others between two turns */
    struct stats *stats;     /* of this worker */
    struct memory_budget *memory; /* of the process; NULL: not counted */
    struct event_base *base; /* its timers are coarse: a tick of the kernel's clock, 4 ms mostly,
                              * late or early */
};

#endif
