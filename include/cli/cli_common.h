/* SPDX-License-Identifier: MIT */
/*
 * The tools a person or a script uses from a shell, each a word of the `bugle` command, and the
 * small things they share: messages, numbers, lists of words, and text made safe for a terminal.
 *
 * A tool owns the process while it runs: it is called once, from the main thread, and may change
 * signal masks and use getopt's globals.
 */
#ifndef BUGLE_CLI_COMMON_H
#define BUGLE_CLI_COMMON_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "wire/json_alloc.h"

/* What a tool returns: the exit status of the process. */
enum cli_exit {
    CLI_FINE = 0,
    CLI_FAILED = 1, /* one clear line on standard error says why */
    CLI_USAGE = 2,  /* the words of the command line make no sense */
    CLI_HELPED = 3, /* of cli_read_options() only: --help was given and answered */
};

/* The tools.  `argv[0]` is the word itself ("publish"), the rest are its options and operands.
 * Returns an enum cli_exit. */
int cli_publish(int argc, char **argv);
int cli_subscribe(int argc, char **argv);
int cli_backup(int argc, char **argv);
int cli_epoch(int argc, char **argv);
int cli_token(int argc, char **argv);

/* Format a text for free(); ends the process when out of memory. */
char *cli_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Values of an option that may be given several times.  Zero-initialised it is empty. */
struct cli_list {
    const char **items; /* the words are borrowed, the array is owned */
    size_t items_n;
};

/* Add a word; ends the process when out of memory. */
void cli_list_add(struct cli_list *list, const char *item);
void cli_list_clear(struct cli_list *list);

/* Write `bugle TOOL: ` and one line to standard error.  The whole line is made visible, so it may
 * hold what a peer sent.  Returns CLI_FAILED, so that a failing tool can return the call. */
int cli_fail(const char *tool, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Format a text and make it visible, as cli_put_visible() does.  Gives it for free(). */
char *cli_format_visible(const char *format, va_list arguments)
    __attribute__((format(printf, 1, 0)));

/* End the process if `memory` is NULL: out of memory, a tool has nothing to save.  Returns it
 * otherwise, so that every allocation can be passed through this. */
void *cli_need(void *memory);

/* Parse JSON as json_alloc_load() does.  Gives it for json_alloc_free(), or NULL if the text is
 * none; ends the process when out of memory. */
struct json_alloc *cli_read_json(const char *text, size_t text_n, size_t flags,
                                 json_error_t *ret_error);

/* The same as cli_fail() for a mistake in the command line, with a hint at --help.  Returns
 * CLI_USAGE. */
int cli_misused(const char *tool, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What getopt_long() refused, told as cli_misused() does.  To be called at once when it returned
 * '?' or ':' (opterr is 0 and the option string begins with ':').  Returns CLI_USAGE. */
int cli_bad_option(const char *tool, int verdict, char **argv);

/* An option of a tool, and where its value goes.  See the macros below. */
struct cli_option {
    const char *name;
    bool (*take)(const struct cli_option *option, const char *value); /* NULL: a flag, for a bool */
    void *to;
    uint64_t min, max;
    const char *wants; /* what a message says of a value that was refused; NULL: nothing more */
};

bool cli_take_text(const struct cli_option *option, const char *value);     /* a const char * */
bool cli_take_word(const struct cli_option *option, const char *value);     /* a cli_list */
bool cli_take_number(const struct cli_option *option, const char *value);   /* a uint64_t */
bool cli_take_number32(const struct cli_option *option, const char *value); /* a uint32_t */

#define CLI_OPTION(...) ((struct cli_option){__VA_ARGS__})
#define CLI_FLAG(name, to) CLI_OPTION(name, NULL, to, 0, 0, NULL)
#define CLI_TEXT(name, to) CLI_OPTION(name, cli_take_text, to, 0, 0, NULL)
#define CLI_WORD(name, to) CLI_OPTION(name, cli_take_word, to, 0, 0, NULL)
#define CLI_NUMBER(name, to, min, max, wants) CLI_OPTION(name, cli_take_number, to, min, max, wants)
#define CLI_NUMBER32(name, to, min, max) CLI_OPTION(name, cli_take_number32, to, min, max, NULL)
#define CLI_OTHER(name, take, to, wants) CLI_OPTION(name, take, to, 0, 0, wants)

/*
 * Read the options of a tool; optind is then behind them.  --help and -h print `help` on standard
 * output.
 *
 * Returns CLI_FINE, CLI_HELPED, or CLI_USAGE after telling what is wrong.
 */
int cli_read_options(const char *tool, const char *help, const struct cli_option *options,
                     size_t options_n, int argc, char **argv);

/* A whole decimal number of digits only, from `min` to `max`; outputs are untouched if not. */
bool cli_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number);

/* A random number from 0 to `below` - 1, for spreading retries. */
uint64_t cli_random(uint64_t below);

/*
 * Write text so that no byte of it can command a terminal: control and hidden characters (utf8.h)
 * as ^X, ^? or <U+XXXX>, bytes that are no UTF-8 as <XX>.  A tab stays.  A line feed stays too
 * when `line_indent` is not NULL, and is followed by that text.
 */
void cli_put_visible(FILE *to, const char *bytes, size_t bytes_n, const char *line_indent);

#endif
