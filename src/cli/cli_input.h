/* SPDX-License-Identifier: MIT */
/*
 * Standard input as `bugle publish` takes it: as a whole, or line by line as lines come, with word
 * of a pause between them.  Bounded in memory; one thread.
 */
#ifndef BUGLE_CLI_INPUT_H
#define BUGLE_CLI_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More than this is no event on any gateway. */
#define CLI_INPUT_BYTES_MAX ((size_t)16 << 20)

/* Zeroed but for `fd` to begin with. */
struct cli_input {
    int fd;
    bool is_over; /* read to its end */
    char *bytes;  /* what has been read and not taken yet is [at, end) */
    size_t at;
    size_t end;
    size_t searched; /* no line feed before here */
    size_t room;
    bool is_long; /* of the line at hand more was dropped than a line may have */
};

enum cli_input_verdict {
    CLI_INPUT_LINE,
    CLI_INPUT_QUIET, /* nothing came for as long as was asked */
    CLI_INPUT_END,
};

void cli_input_clear(struct cli_input *input);

/*
 * The next line, without its end (LF or CRLF); the last one may have none.
 *
 * quiet_ms  how long to wait for bytes; -1: for ever
 * ret_line  set for CLI_INPUT_LINE; borrowed until the next call
 *
 * Returns an enum cli_input_verdict, -EMSGSIZE for a line beyond the limit, which is dropped whole
 * so that the next call takes the next one, or the -errno of a failed read.
 */
int cli_input_next_line(struct cli_input *input, int quiet_ms, const char **ret_line,
                        size_t *ret_line_n);

/* All of it.  Returns 0, -EMSGSIZE or -errno; the text is borrowed until cli_input_clear(). */
int cli_input_read_all(struct cli_input *input, const char **ret_text, size_t *ret_text_n);

#endif
