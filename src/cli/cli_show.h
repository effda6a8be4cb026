/* SPDX-License-Identifier: MIT */
/*
 * What `bugle subscribe` shows: events on standard output, and on standard error how the
 * connection stands.
 *
 * Events are gathered by cli_show_event() and written by cli_show_flush().  On a terminal an
 * event is `ID  EVENT  DATA`, safe to look at; elsewhere it is its data as it came, or with
 * `json` one object a line.  The state is one line that is drawn over and over, only on a
 * terminal; notes are lines that stay.  One thread.
 */
#ifndef BUGLE_CLI_SHOW_H
#define BUGLE_CLI_SHOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "wire/sse_parser.h"

struct cli_show {
    const char *tool;   /* begins every note */
    int interrupt_fd;   /* becomes readable when writing must not go on */
    bool json;          /* one JSON object a line */
    bool quiet;         /* no state and no notes */
    bool is_screen;     /* standard output is a terminal */
    bool has_state;     /* standard error is a terminal and `quiet` is off */
    bool is_drawn;      /* a state stands on the screen */
    bool is_current;    /* and it is the latest */
    char *state;        /* the latest */
    long long drawn_ms; /* when it was drawn */
    FILE *pending;      /* events not yet written, kept in `text` */
    char *text;
    size_t text_n;
};

/* Look at the two outputs.  `tool` is borrowed until cli_show_close(). */
void cli_show_open(struct cli_show *show, const char *tool, int interrupt_fd, bool json,
                   bool quiet);

/* Take the state off the screen and drop what is not flushed. */
void cli_show_close(struct cli_show *show);

void cli_show_event(struct cli_show *show, const struct sse_parser_event *event);

/*
 * Write the gathered events, waiting as long as the reader of standard output takes.
 *
 * Returns 0, -EPIPE when that reader is gone, -EINTR when interrupt_fd became readable first, or
 * the -errno of a failed write.
 */
int cli_show_flush(struct cli_show *show);

/* Draw the state, at most ten times a second. */
void cli_show_state(struct cli_show *show, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Write a line to standard error, unless quiet. */
void cli_show_note(struct cli_show *show, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
