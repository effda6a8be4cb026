/* SPDX-License-Identifier: MIT */
/*
 * `bugle publish`: the words of its command line, and what it publishes: arguments, or standard
 * input whole or line by line.  How events get there is cli_post.
 */
#include "config.h"

#include "cli/cli_common.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli_http.h"
#include "cli/cli_input.h"
#include "cli/cli_post.h"

#define TOOL "publish"
#define BATCH_EVENTS 100
#define BATCH_EVENTS_MAX 1000
#define BATCH_QUIET_MS 10
#define TIMEOUT_SECONDS 120
#define TIMEOUT_SECONDS_MAX 3600
#define TTL_SECONDS_MAX ((uint64_t)1 << 40)

static const char help_text[] =
    "Usage: bugle publish [OPTION]... [DATA]...\n"
    "\n"
    "Publish each DATA as an event and print its id, one a line.  Without DATA,\n"
    "standard input is one event, or with --lines each line is an event.\n"
    "An event without a topic and a user goes to every stream.\n"
    "\n"
    "Recipients\n"
    "  --topic T            publish to this topic; may be repeated\n"
    "  --user U             only to this user; may be repeated\n"
    "\n"
    "The event\n"
    "  --event NAME         name of the event (default: message)\n"
    "  --json               DATA is JSON, and is sent as written: 1.10 stays 1.10.\n"
    "                       It is checked first; invalid JSON is not sent\n"
    "  --retry MS           clients wait this long before they reconnect\n"
    "  --ttl S              do not replay it after S seconds\n"
    "  --ephemeral          send it only to streams that are open now; it is not\n"
    "                       stored, and its id prints as -\n"
    "\n"
    "Many events\n"
    "  --lines              each line of standard input is an event, sent while the\n"
    "                       input is read; with --json, empty lines are left out.\n"
    "                       A refused line is reported, and the others are published\n"
    "  --strict             stop at the first refused line\n"
    "  --batch N            send up to N events at once (default 100, at most 1000);\n"
    "                       fewer when no input comes for 10 ms.  A batch is\n"
    "                       published in order and completely, or not at all\n"
    "\n"
    "The connection\n"
    "  --idempotency-key K  the gateway stores only one event under a key, so\n"
    "                       publishing it again is safe.  The N-th of several events\n"
    "                       has the key K-N.  With a key, a lost connection and an\n"
    "                       overloaded gateway are retried up to 5 times; without\n"
    "                       one, only a connection that could not be made\n"
    "  --url URL            the gateway (default: $BUGLE_URL, or\n"
    "                       http://127.0.0.1:8080)\n"
    "  --token T            API key or JWT (default: $BUGLE_TOKEN, which unlike a\n"
    "                       command line other users of this machine cannot see)\n"
    "  --ca FILE            trusted certificates for https URLs, in PEM form\n"
    "                       (default: $BUGLE_CA, or those of the system)\n"
    "  --header 'K: V'      send a header; may be repeated\n"
    "  --timeout S          give up after S seconds (default 120, at most 3600)\n"
    "  --quiet              print no ids\n"
    "  -h, --help           print this\n"
    "\n"
    "Put -- before DATA that begins with a dash.  The last line end of standard input\n"
    "is not part of the event.\n"
    "\n"
    "Exit status: 0 everything was published; 1 something was refused or lost, with a\n"
    "line for each; 2 wrong usage.\n"
    "\n"
    "Examples:\n"
    "  bugle publish --topic orders/42 --event paid --json '{\"total\":19.90}'\n"
    "  date | bugle publish --topic clock\n"
    "  tail -F app.log | bugle publish --topic logs/app --lines --quiet\n";

struct options {
    struct cli_http_target target;
    struct cli_post_options post;
    bool lines;
    bool strict;
};

static int publish_tool_read_options(struct options *options, int argc, char **argv)
{
    struct cli_post_options *post = &options->post;
    const struct cli_option known[] = {
        CLI_NUMBER("batch", &post->batch_n, 1, BATCH_EVENTS_MAX, "1 to 1000"),
        CLI_FLAG("ephemeral", &post->ephemeral),
        CLI_TEXT("event", &post->event),
        CLI_HTTP_OPTIONS(&options->target),
        CLI_TEXT("idempotency-key", &post->key),
        CLI_FLAG("json", &post->json),
        CLI_FLAG("lines", &options->lines),
        CLI_FLAG("quiet", &post->quiet),
        CLI_NUMBER("retry", &post->retry_ms, 0, UINT32_MAX, "milliseconds"),
        CLI_FLAG("strict", &options->strict),
        CLI_NUMBER("timeout", &post->timeout_s, 1, TIMEOUT_SECONDS_MAX, "1 to 3600 seconds"),
        CLI_WORD("topic", &post->topics),
        CLI_NUMBER("ttl", &post->ttl_s, 0, TTL_SECONDS_MAX, "seconds"),
        CLI_WORD("user", &post->users),
    };
    int status =
        cli_read_options(TOOL, help_text, known, sizeof(known) / sizeof(known[0]), argc, argv);

    if (status != CLI_FINE)
        return status;
    if (options->lines && optind < argc)
        return cli_misused(TOOL, "--lines reads standard input; there can be no DATA with it");
    if (options->strict && !options->lines)
        return cli_misused(TOOL,
                           "--strict needs --lines; without it the first error ends the command");
    options->post.goes_on = options->lines && !options->strict;
    if (options->post.ephemeral && options->post.key)
        return cli_misused(TOOL, "an ephemeral event is not stored and cannot have a key");
    return CLI_FINE;
}

static int input_failed(int error)
{
    if (error != -EMSGSIZE)
        return cli_fail(TOOL, "standard input: %s", strerror(-error));
    return cli_fail(TOOL, "standard input is more than 16 MiB, too much for an event");
}

/* All arguments are looked at before the first is sent. */
static int publish_arguments(struct cli_post *post, char **data, uint64_t data_n)
{
    int status = CLI_FINE;

    post->unit = data_n > 1 ? "argument" : NULL;
    for (uint64_t i = 0; i < data_n; i++) {
        char *why = cli_post_check(post, i + 1, data[i], strlen(data[i]));

        if (why)
            return cli_post_refuse(post, why);
    }
    for (uint64_t i = 0; i < data_n && status == CLI_FINE; i++)
        status = cli_post_add(post, i + 1, data[i], strlen(data[i]));
    return status == CLI_FINE ? cli_post_flush(post) : status;
}

/* Someone who calls the program without data may wonder why nothing happens. */
static void tell_reading(const struct options *options)
{
    if (!options->post.quiet && isatty(STDIN_FILENO) && isatty(STDERR_FILENO))
        cli_fail(TOOL, "reading what you type%s; Ctrl-D ends",
                 options->lines ? ", each line an event" : "");
}

static int publish_input(struct cli_post *post, struct cli_input *input)
{
    const char *text = NULL;
    size_t text_n = 0;
    int ret = cli_input_read_all(input, &text, &text_n);

    if (ret < 0)
        return input_failed(ret);
    if (text_n > 0 && text[text_n - 1] == '\n')
        text_n -= text_n > 1 && text[text_n - 2] == '\r' ? 2 : 1;
    char *why = cli_post_check(post, 1, text, text_n);
    if (why)
        return cli_post_refuse(post, why);
    int status = cli_post_add(post, 1, text, text_n);
    return status == CLI_FINE ? cli_post_flush(post) : status;
}

static bool is_blank_line(const char *text, size_t text_n)
{
    for (size_t i = 0; i < text_n; i++)
        if (text[i] != ' ' && text[i] != '\t')
            return false;
    return true;
}

/* A line that is no event.  What came before it is published all the same, and what comes after
 * it unless --strict is given.  Takes the text. */
static int publish_tool_refuse_line(struct cli_post *post, char *why)
{
    int status = post->options->goes_on ? CLI_FINE : cli_post_flush(post);

    if (status == CLI_FINE)
        return cli_post_refuse(post, why);
    free(why);
    return status;
}

static int publish_line(struct cli_post *post, uint64_t number, const char *line, size_t line_n)
{
    if (post->options->json && is_blank_line(line, line_n))
        return CLI_FINE;
    char *why = cli_post_check(post, number, line, line_n);
    return why ? publish_tool_refuse_line(post, why) : cli_post_add(post, number, line, line_n);
}

/* Take what one look at the input brought. */
static int publish_tool_take_input(struct cli_post *post, int got, uint64_t *number,
                                   const char *line, size_t line_n)
{
    if (got == CLI_INPUT_LINE)
        return publish_line(post, ++*number, line, line_n);
    if (got == -EMSGSIZE)
        return publish_tool_refuse_line(
            post, cli_format("line %llu is more than 16 MiB, too much for an event",
                             (unsigned long long)++*number));
    return cli_post_flush(post);
}

static int publish_lines(struct cli_post *post, struct cli_input *input)
{
    const char *line = NULL;
    size_t line_n = 0;
    uint64_t number = 0;
    int got, status = CLI_FINE;

    post->unit = "line";
    do {
        int quiet_ms = post->pending_n == 0 ? -1 : BATCH_QUIET_MS;

        got = cli_input_next_line(input, quiet_ms, &line, &line_n);
        status = publish_tool_take_input(post, got, &number, line, line_n);
    } while (status == CLI_FINE && (got >= 0 || got == -EMSGSIZE) && got != CLI_INPUT_END);
    if (status == CLI_FINE && got < 0)
        status = input_failed(got);
    if (!post->options->goes_on || post->refused_n == 0)
        return status;
    return cli_fail(TOOL, "%llu of %llu lines were refused", (unsigned long long)post->refused_n,
                    (unsigned long long)number);
}

static int publish_tool_run(const struct options *options, char **data, int data_n)
{
    struct cli_post post;
    struct cli_input input = {.fd = STDIN_FILENO};
    int status = cli_post_open(&post, TOOL, &options->target, &options->post);

    if (status == CLI_FINE && data_n == 0)
        tell_reading(options);
    if (status == CLI_FINE && data_n > 0)
        status = publish_arguments(&post, data, (uint64_t)data_n);
    else if (status == CLI_FINE && options->lines)
        status = publish_lines(&post, &input);
    else if (status == CLI_FINE)
        status = publish_input(&post, &input);
    cli_input_clear(&input);
    cli_post_close(&post);
    return status;
}

int cli_publish(int argc, char **argv)
{
    struct options options = {
        .target = cli_http_target_default(),
        .post.batch_n = BATCH_EVENTS,
        .post.timeout_s = TIMEOUT_SECONDS,
        .post.retry_ms = CLI_POST_UNSET,
        .post.ttl_s = CLI_POST_UNSET,
    };
    int status = publish_tool_read_options(&options, argc, argv);

    if (status == CLI_FINE)
        status = publish_tool_run(&options, argv + optind, argc - optind);
    cli_list_clear(&options.target.headers);
    cli_list_clear(&options.post.topics);
    cli_list_clear(&options.post.users);
    return status == CLI_HELPED ? CLI_FINE : status;
}
