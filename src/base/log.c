/* SPDX-License-Identifier: MIT */
/*
 * One event, one line on standard error: as text for a person, or as a JSON object for a
 * collector.  A line is put together on the stack and leaves in one write() of less than PIPE_BUF
 * bytes, so that lines of several threads and processes do not mix even in a pipe.
 */
#include "config.h"

#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log_writer.h"
#include "base/utf8.h"

#define MESSAGE_BYTES_MAX 1024
/* Escaped for JSON a message at most doubles; the rest is time and level. */
#define LINE_BYTES_MAX (2 * MESSAGE_BYTES_MAX + 128)
_Static_assert(LINE_BYTES_MAX <= PIPE_BUF, "a line must be one atomic write");
_Static_assert(LINE_BYTES_MAX <= LOG_WRITER_LINE_MAX, "a line must fit into the buffer");

#define VALVE_MS 1000

/* Atomic because a reload sets them while other threads write. */
static atomic_int log_level_now = LOG_LEVEL_INFO;
static atomic_int log_format_now = LOG_FORMAT_TEXT;

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void log_setup(enum log_level level, enum log_format format)
{
    atomic_store_explicit(&log_level_now, level, memory_order_relaxed);
    atomic_store_explicit(&log_format_now, format, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

/* How many bytes from `bytes` on can be shown as they are: a character, or 0. */
static size_t showable(const char *bytes, size_t bytes_n, bool keep_backslash)
{
    uint32_t cp;
    size_t n = utf8_decode(bytes, bytes_n, &cp);
    if (n == 0 || utf8_is_hidden(cp) || (cp == '\\' && !keep_backslash))
        return 0;
    return n;
}

static size_t escape_byte(char to[8], unsigned char byte)
{
    if (byte == '\\')
        return (size_t)sprintf(to, "\\\\");
    return (size_t)sprintf(to, "\\x%02x", byte);
}

/* Make bytes readable into `to`; with `keep_backslash`, what was made readable before keeps
 * its form. */
static void show(char *to, size_t to_n, const char *bytes, size_t bytes_n, bool keep_backslash)
{
    size_t used = 0;
    for (size_t i = 0; i < bytes_n;) {
        char escape[8];
        size_t taken = showable(bytes + i, bytes_n - i, keep_backslash);
        const char *piece = bytes + i;
        size_t piece_n = taken;
        if (taken == 0) {
            piece_n = escape_byte(escape, (unsigned char)bytes[i]);
            piece = escape;
            taken = 1;
        }
        if (used + piece_n >= to_n)
            break;
        memcpy(to + used, piece, piece_n);
        used += piece_n;
        i += taken;
    }
    to[used] = '\0';
}

char *log_visible(char *to, size_t to_n, const char *bytes, size_t bytes_n)
{
    assert(to_n > 0);
    show(to, to_n, bytes, bytes_n, false);
    return to;
}

/* UTC with milliseconds, as RFC 3339 writes it. */
static void format_time(char *to, size_t to_n)
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t n = strftime(to, to_n, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(to + n, to_n - n, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

/* Copy readable text as the inside of a JSON string (RFC 8259 section 7).  Only the quote and the
 * backslash are left to escape. */
static size_t quote(char *to, const char *readable)
{
    size_t n = 0;
    for (; *readable; readable++) {
        if (*readable == '"' || *readable == '\\')
            to[n++] = '\\';
        to[n++] = *readable;
    }
    to[n] = '\0';
    return n;
}

static size_t format_json(char *to, const char *time, const char *level, const char *message)
{
    int n = sprintf(to, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"", time, level);
    size_t used = (size_t)n + quote(to + n, message);
    return used + (size_t)sprintf(to + used, "\"}\n");
}

/* Where to cut so that no character is cut in two; `n` when the end is whole or no UTF-8. */
static size_t whole_characters(const char *bytes, size_t n)
{
    for (size_t back = 1; back <= 3 && back < n; back++) {
        unsigned char byte = (unsigned char)bytes[n - back];
        if (byte < 0x80)
            return n;
        if (byte >= 0xc0)
            return utf8_valid(bytes + n - back, back, NULL) ? n : n - back;
    }
    return n;
}

static size_t format_line(char *to, enum log_level level, const char *message)
{
    char time[64];

    format_time(time, sizeof time);
    if (atomic_load_explicit(&log_format_now, memory_order_relaxed) == LOG_FORMAT_JSON)
        return format_json(to, time, level_names[level], message);
    return (size_t)sprintf(to, "%s %-5s %s\n", time, level_names[level], message);
}

/* A log that cannot be written is no reason to stop, and there is nowhere to say so. */
static void write_line(enum log_level level, const char *message)
{
    char line[LINE_BYTES_MAX];
    size_t line_n = format_line(line, level, message);

    if (!log_writer_take(line, line_n, level == LOG_LEVEL_ERROR))
        log_writer_write(line, line_n);
}

void log_write(enum log_level level, const char *format, ...)
{
    if (!log_enabled(level))
        return;

    int saved_errno = errno; /* for %m here, and for the caller after */
    char message[MESSAGE_BYTES_MAX + 1];
    char readable[MESSAGE_BYTES_MAX + 1];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (n < 0) /* beyond INT_MAX bytes: the format alone still tells what it was about */
        n = snprintf(message, sizeof message, "%s", format);

    size_t message_n = (size_t)n;
    if (message_n > MESSAGE_BYTES_MAX)
        message_n = whole_characters(message, MESSAGE_BYTES_MAX);
    show(readable, sizeof readable, message, message_n, true);
    write_line(level, readable);
    errno = saved_errno;
}

bool log_valve_open(struct log_valve *valve, unsigned long *ret_skipped)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    long long now_ms = (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (valve->last_ms != 0 && now_ms - valve->last_ms < VALVE_MS) {
        valve->skipped++;
        return false;
    }
    *ret_skipped = valve->skipped;
    valve->last_ms = now_ms;
    valve->skipped = 0;
    return true;
}

char *log_skipped(char to[LOG_SKIPPED_BYTES], unsigned long skipped)
{
    to[0] = '\0';
    if (skipped > 0)
        snprintf(to, LOG_SKIPPED_BYTES, " (%lu more like it)", skipped);
    return to;
}

static size_t tell_dropped(char to[LOG_WRITER_LINE_MAX], uint64_t dropped_n)
{
    char message[MESSAGE_BYTES_MAX];

    snprintf(message, sizeof message,
             "%llu log lines were dropped: the reader of standard error was too slow",
             (unsigned long long)dropped_n);
    return format_line(to, LOG_LEVEL_WARNING, message);
}

int log_begin(void)
{
    return log_writer_begin(tell_dropped);
}

void log_end(void)
{
    log_writer_end();
}

unsigned long long log_dropped(void)
{
    return log_writer_dropped();
}

_Noreturn void log_exit(int status)
{
    log_writer_flush();
    _exit(status);
}

_Noreturn void log_abort_without_memory(const char *where)
{
    log_error("out of memory where failure cannot be handled (%s): aborting", where);
    abort();
}

/* What assert() calls (the C library's own would write to standard error by itself, and wait there
 * for a reader that does not read). */
_Noreturn void __assert_fail(const char *assertion, const char *file, unsigned line,
                             const char *function)
{
    log_error("%s:%u: %s: Assertion `%s' failed.", file, line, function, assertion);
    abort();
}
