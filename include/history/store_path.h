/* SPDX-License-Identifier: MIT */
/*
 * What the text of history.store stands for: `memory:`, `sqlite:PATH`, or `sqlite:`, which is the
 * file history.db in the state directory (state_dir.h).
 */
#ifndef BUGLE_STORE_PATH_H
#define BUGLE_STORE_PATH_H

/* The part of the text behind `sqlite:`, which may be empty; NULL when the store has no file. */
const char *store_given_path(const char *store);

/* The file of a store on disk.  Looks only at the environment.  Gives memory for free(); NULL when
 * the store has no file, or there is no memory. */
char *store_path(const char *store);

/* The text with the full path of the file, which is there, for the log.  Gives memory for free();
 * NULL when there is none. */
char *store_text(const char *store);

#endif
