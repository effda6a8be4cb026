/* SPDX-License-Identifier: MIT */
/*
 * The way of the log's lines to standard error while the gateway serves.
 *
 * Whatever reads standard error may stop reading: a collector that hangs, a terminal after Ctrl-S.
 * Then write() waits, and with it everything that has something to say.  So lines are put into a
 * bounded buffer, which takes no longer than copying them, and a thread of its own writes them,
 * each in one write().  Lines that find no room are dropped, counted, and told once half of the
 * room is free again.  The last quarter of the room is for urgent lines.
 *
 * One for the process, since there is one standard error.
 */
#ifndef BUGLE_LOG_WRITER_H
#define BUGLE_LOG_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_WRITER_BYTES ((size_t)256 << 10)
#define LOG_WRITER_LINE_MAX 4096
/* How long what is buffered may hold up the end of the process. */
#define LOG_WRITER_LAST_MS 1000

/* Makes the line that tells of `dropped_n` others; returns its length. */
typedef size_t log_writer_tell(char to[LOG_WRITER_LINE_MAX], uint64_t dropped_n);

/* Start the thread.  Returns 0 or -errno. */
int log_writer_begin(log_writer_tell *tell);

/* Take a line, or drop it.  Any thread; one lock, no system call but to wake the writer.  False
 * when no writer runs: the line is the caller's to write. */
bool log_writer_take(const char *line, size_t line_n, bool urgent);

/* Wait until everything is written, LOG_WRITER_LAST_MS at most.  Returns whether it is.  Safe in a
 * handler of signals (signal-safety(7)). */
bool log_writer_flush(void);

/* Flush, and stop the thread.  One that a reader holds up is left to the end of the process, and
 * lines are dropped from then on. */
void log_writer_end(void);

/* Lines dropped so far, with those that could not be written.  Any thread. */
uint64_t log_writer_dropped(void);

/* Write a line to standard error now.  Returns whether all of it was written.  Blocks. */
bool log_writer_write(const char *line, size_t line_n);

#endif
