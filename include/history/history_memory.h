/* SPDX-License-Identifier: MIT */
/*
 * The memory store: the newest events in a bounded row of references.  It shares each event's
 * bytes with the rings, keeps nothing across a restart, and so begins a new epoch each time.
 */
#ifndef BUGLE_HISTORY_MEMORY_H
#define BUGLE_HISTORY_MEMORY_H

#include "history/history.h"

/* Gives an empty store for history_free(); NULL when out of memory or without random bytes. */
struct history *history_memory_new(const struct history_limits *limits);

#endif
