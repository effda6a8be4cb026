/* SPDX-License-Identifier: MIT */
/*
 * What the text of history.store stands for: `memory:`, `sqlite:PATH`, or `sqlite:`, which is the
 * file history.db in the state directory (state_dir.h).
 */
#ifndef BUGLE_STORE_H
#define BUGLE_STORE_H

#include "conf/conf.h"
#include "history/history.h"

/* The file of a store on disk.  Looks only at the environment.  Gives memory for free(); NULL when
 * the store has no file, or there is no memory. */
char *store_path(const char *store);

/*
 * Open it; with `sqlite:` the state directory is made first if it is not there.  Gives a store for
 * history_free(), or NULL with a line for the operator.  Main thread; blocks.
 */
struct history *store_open(const char *store, const struct history_limits *limits,
                           struct conf_error *ret_error);

/* The text with the full path of the file, which is there, for the log.  Gives memory for free();
 * NULL when there is none. */
char *store_text(const char *store);

#endif
