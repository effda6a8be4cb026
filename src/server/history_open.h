/* SPDX-License-Identifier: MIT */
/* Which store the text of history.store names (store_path.h). */
#ifndef BUGLE_HISTORY_OPEN_H
#define BUGLE_HISTORY_OPEN_H

#include "conf/conf.h"
#include "history/history.h"

/*
 * Open it; with `sqlite:` the state directory is made first if it is not there.  Gives a store for
 * history_free(), or NULL with a line for the operator.  Main thread; blocks.
 */
struct history *history_open(const char *store, const struct history_limits *limits,
                             struct conf_error *ret_error);

#endif
