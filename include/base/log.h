/* SPDX-License-Identifier: MIT */
/*
 * The process's log: one event, one line on standard error, who, what and why with numbers and
 * units.  The only global of the program.  Bytes from a peer are escaped before they are written
 * (control characters, line ends, escape sequences), so a peer cannot forge a line. A function logs
 * or returns an error, not both.  Any thread; a line is one write(), which in the gateway a thread
 * of its own makes: no other thread waits for the reader of standard error.
 */
#ifndef BUGLE_LOG_H
#define BUGLE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* Set once by main before other threads run, and again by a reload. */
void log_setup(enum log_level level, enum log_format format);

/* Whether a line of this level would be written: ask before costly formatting. */
bool log_enabled(enum log_level level);

/* Write a line.  The message is one line without a line end; longer than 1 KiB is cut. */
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_LEVEL_DEBUG))                                                          \
            log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                               \
    } while (0)

/*
 * Write `bytes` so that a person and a terminal can read them safely: printable ASCII and valid
 * UTF-8 without hidden characters as they are, all else as \xNN, backslash doubled.  Always ends
 * with NUL; cut at `to_n` - 1 bytes, never inside an escape.  Returns `to`.
 */
char *log_visible(char *to, size_t to_n, const char *bytes, size_t bytes_n);

/*
 * A valve for lines that peers can provoke: true at most once a second for each valve, and then
 * `*ret_skipped` tells how often it said no since.  Zero-initialised and static in the caller's
 * object; one thread each.
 */
struct log_valve {
    long long last_ms;
    unsigned long skipped;
};
bool log_valve_open(struct log_valve *valve, unsigned long *ret_skipped);

/*
 * The end of such a line: " (3 more like it)", and nothing when none was skipped.  Returns `to`.
 */
enum { LOG_SKIPPED_BYTES = 40 };
char *log_skipped(char to[LOG_SKIPPED_BYTES], unsigned long skipped);

/*
 * From here on no line waits for its reader: a thread writes them (log_writer.h).  Before, and in
 * the command line's tools, the calling thread writes the line.  Returns 0 or -errno.
 */
int log_begin(void);

/* The end of that: what is buffered is written as far as its reader takes it within a second.  An
 * abort and other fatal signals do the same by themselves. */
void log_end(void);

/* _exit() with the last lines written as by log_end(). */
_Noreturn void log_exit(int status);

/* Lines that found no room, or could not be written.  Any thread. */
unsigned long long log_dropped(void);

/* Say that there is no memory for a few bytes without which what was promised cannot be kept, and
 * abort. */
_Noreturn void log_abort_without_memory(const char *where);

#endif
