/* SPDX-License-Identifier: MIT */
/*
 * The store on disk: one SQLite file, in WAL mode, synced before an append returns.  It keeps its
 * epoch and its positions across restarts, and every row has a checksum that each read verifies.
 *
 * One connection writes, commits and checkpoints, on the hub's thread alone; SQLite before 3.51.3
 * can damage a file whose checkpoints and commits come from several.  Readers have connections of
 * their own that cannot write.  For the same reason no other program may write to a live file: a
 * lock beside it, in PATH.lock, and one of the file itself, which holds under any name of it, keep
 * a second gateway out.
 *
 * Before each append the store sees whether the path still names the file that it has open, and by
 * history_watch() the same of the log.  When not, appends are refused with -ESTALE until it
 * is back; reads and copies go on.  A file or log that history_watch() finds shorter than what was
 * written is an error of the disk.
 *
 * Appends leave room on the disk (history_set_reserve()) and are refused with -ENOSPC before they
 * would use it up.  When it is full all the same, because others write too or the reserve is 0,
 * they fail with -ENOSPC as well, after SQLite has taken the transaction back.  Either way the next
 * one tries again.  After any other I/O error it is unknown what reached the disk, so every further
 * append is refused with -EIO until a restart; reads go on.
 */
#ifndef BUGLE_SQLITE_STORE_H
#define BUGLE_SQLITE_STORE_H

#include "conf/conf.h"
#include "history/history.h"

/* What the file says it is, in SQLite's application id: the four letters "Bugl". */
#define SQLITE_STORE_APPLICATION_ID 0x4275676c

/*
 * Open the file, or make it if there is none; its folder must be there.
 *
 * Gives a store for history_free(), or NULL with a line for the operator: it cannot be opened, is
 * in use by another process, is something else than a history, or has a format that this version
 * does not know.  None of these changes a file that was there.  Main thread; blocks.
 */
struct history *sqlite_store_open(const char *path, const struct history_limits *limits,
                                  struct conf_error *ret_error);

/* The same, though the file says that it has a log and there is none: what was stored last is lost
 * then, so a new epoch is to begin before anybody uses it. */
struct history *sqlite_store_open_without_log(const char *path, const struct history_limits *limits,
                                              struct conf_error *ret_error);

/* Have a store begin a new epoch, with the events it has.  Before anybody uses it.  Returns 0 or
 * -errno. */
int sqlite_store_renew_epoch(struct history *history);

/*
 * The epoch of a file, without changing the file, also while a gateway has it.
 *
 * ret_epoch   SSE_EPOCH_BYTES and a NUL
 * ret_copied  whether it is a copy, which begins another epoch when it is opened
 *
 * Returns 0, or -1 with a line for the operator.
 */
int sqlite_store_read_epoch(const char *path, char *ret_epoch, bool *ret_copied,
                            struct conf_error *ret_error);

#endif
