/* SPDX-License-Identifier: MIT */
/*
 * Signs of life for the service manager: one each half of the time that it grants, as long as every
 * worker's loop has turned since the last one.  A gateway whose worker hangs is restarted then,
 * instead of holding clients that hear nothing.  A slow disk is no hanging.  Main thread.
 */
#ifndef BUGLE_WATCHDOG_H
#define BUGLE_WATCHDOG_H

#include <stddef.h>
#include <stdint.h>

#include "loop/worker.h"

struct watchdog;
struct event_base;

/* NULL when out of memory. */
struct watchdog *watchdog_new(struct event_base *base, int64_t granted_ms, size_t workers_max);

/* Watch over a worker, which is borrowed and runs. */
void watchdog_add(struct watchdog *watchdog, struct worker *worker);

/* The workers are stopped.  Accepts NULL. */
void watchdog_free(struct watchdog *watchdog);

/* Another process gives the signs now. */
void watchdog_rest(struct watchdog *watchdog);

#endif
