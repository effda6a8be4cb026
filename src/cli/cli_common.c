/* SPDX-License-Identifier: MIT */
/*
 * What the shell tools share: one-line messages, numbers, lists of words, and text that no
 * terminal obeys.
 */
#include "config.h"

#include "cli/cli_common.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/utf8.h"

void *cli_need(void *memory)
{
    if (memory != NULL)
        return memory;
    fputs("bugle: out of memory\n", stderr);
    exit(CLI_FAILED);
}

char *cli_format(const char *format, ...)
{
    char *text;
    va_list arguments;

    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        cli_need(NULL);
    va_end(arguments);
    return text;
}

struct json_alloc *cli_read_json(const char *text, size_t text_n, size_t flags,
                                 json_error_t *ret_error)
{
    struct json_alloc *parsed;

    if (json_alloc_load(text, text_n, flags, ret_error, &parsed) == -ENOMEM)
        cli_need(NULL);
    return parsed;
}

void cli_list_add(struct cli_list *list, const char *item)
{
    list->items = cli_need(reallocarray(list->items, list->items_n + 1, sizeof(*list->items)));
    list->items[list->items_n++] = item;
}

void cli_list_clear(struct cli_list *list)
{
    free(list->items);
    *list = (struct cli_list){NULL, 0};
}

char *cli_format_visible(const char *format, va_list arguments)
{
    char *raw, *text;
    size_t text_n;

    if (vasprintf(&raw, format, arguments) < 0)
        cli_need(NULL);
    FILE *to = cli_need(open_memstream(&text, &text_n));
    cli_put_visible(to, raw, strlen(raw), NULL);
    if (fclose(to) != 0)
        cli_need(NULL);
    free(raw);
    return text;
}

/* Standard error is not buffered: the line is put together first, so that it leaves whole. */
static void __attribute__((format(printf, 3, 0)))
tell(const char *tool, const char *hint, const char *format, va_list arguments)
{
    char *message = cli_format_visible(format, arguments);
    char *line = cli_format("bugle %s: %s%s\n", tool, message, hint);

    fputs(line, stderr);
    free(line);
    free(message);
}

int cli_fail(const char *tool, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    tell(tool, "", format, arguments);
    va_end(arguments);
    return CLI_FAILED;
}

int cli_misused(const char *tool, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    tell(tool, " (see --help)", format, arguments);
    va_end(arguments);
    return CLI_USAGE;
}

int cli_bad_option(const char *tool, int verdict, char **argv)
{
    const char *word = argv[optind - 1];

    if (strncmp(word, "--", 2) != 0)
        return cli_misused(tool, "there is no option -%c", optopt);
    if (verdict == ':')
        return cli_misused(tool, "%s needs a value", word);
    if (optopt != 0)
        return cli_misused(tool, "%.*s takes no value", (int)strcspn(word, "="), word);
    return cli_misused(tool, "there is no option %s", word);
}

bool cli_take_text(const struct cli_option *option, const char *value)
{
    *(const char **)option->to = value;
    return true;
}

bool cli_take_word(const struct cli_option *option, const char *value)
{
    cli_list_add(option->to, value);
    return true;
}

bool cli_take_number(const struct cli_option *option, const char *value)
{
    return cli_parse_number(value, option->min, option->max, option->to);
}

bool cli_take_number32(const struct cli_option *option, const char *value)
{
    uint64_t number;

    if (!cli_parse_number(value, option->min, option->max, &number))
        return false;
    *(uint32_t *)option->to = (uint32_t)number;
    return true;
}

/* As getopt_long() has them: an option's code is its place behind 256.  For free(). */
static struct option *cli_known_options(const struct cli_option *options, size_t options_n)
{
    struct option *known = cli_need(calloc(options_n + 2, sizeof(*known)));

    for (size_t i = 0; i < options_n; i++) {
        known[i].name = options[i].name;
        known[i].has_arg = options[i].take != NULL ? required_argument : no_argument;
        known[i].val = 256 + (int)i;
    }
    known[options_n] = (struct option){"help", no_argument, NULL, 'h'};
    return known;
}

static int cli_take_option(const char *tool, const struct cli_option *option, const char *value)
{
    if (option->take == NULL) {
        *(bool *)option->to = true;
        return CLI_FINE;
    }
    if (option->take(option, value))
        return CLI_FINE;
    if (option->wants == NULL)
        return cli_misused(tool, "--%s cannot be %s", option->name, value);
    return cli_misused(tool, "--%s wants %s, not '%s'", option->name, option->wants, value);
}

int cli_read_options(const char *tool, const char *help, const struct cli_option *options,
                     size_t options_n, int argc, char **argv)
{
    struct option *known = cli_known_options(options, options_n);
    int code, status = CLI_FINE;

    optind = 0; /* the options of another tool may have been read before */
    opterr = 0;
    while (status == CLI_FINE && (code = getopt_long(argc, argv, ":h", known, NULL)) != -1) {
        if (code == 'h') {
            fputs(help, stdout);
            status = CLI_HELPED;
        } else if (code == '?' || code == ':') {
            status = cli_bad_option(tool, code, argv);
        } else {
            status = cli_take_option(tool, &options[code - 256], optarg);
        }
    }
    free(known);
    return status;
}

bool cli_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret_number)
{
    uint64_t number = 0;

    if (*text == '\0')
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
            __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
            return false;
    }
    if (number < min || number > max)
        return false;
    *ret_number = number;
    return true;
}

uint64_t cli_random(uint64_t below)
{
    uint64_t number;

    if (below == 0)
        return 0;
    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != (ssize_t)sizeof(number))
        number = (uint64_t)clock(); /* spreading needs no secrecy */
    return number % below;
}

static void put_hidden(FILE *to, uint32_t cp)
{
    if (cp < 0x20)
        fprintf(to, "^%c", (char)(cp + '@'));
    else if (cp == 0x7F)
        fputs("^?", to);
    else
        fprintf(to, "<U+%04X>", (unsigned)cp);
}

void cli_put_visible(FILE *to, const char *bytes, size_t bytes_n, const char *line_indent)
{
    uint32_t cp;

    for (size_t i = 0, taken; i < bytes_n; i += taken) {
        taken = utf8_decode(bytes + i, bytes_n - i, &cp);
        if (taken == 0) {
            taken = 1;
            fprintf(to, "<%02X>", (unsigned char)bytes[i]);
        } else if (cp == '\n' && line_indent != NULL) {
            fprintf(to, "\n%s", line_indent);
        } else if (cp != '\t' && utf8_is_hidden(cp)) {
            put_hidden(to, cp);
        } else {
            fwrite(bytes + i, 1, taken, to);
        }
    }
}
