/* SPDX-License-Identifier: MIT */
/*
 * `bugle subscribe`: the words of its command line.  What it does is cli_follow.
 */
#include "config.h"

#include "cli/cli_common.h"

#include <curl/curl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli_follow.h"
#include "cli/cli_http.h"

#define TOOL "subscribe"
#define HEARTBEAT_SECONDS 15

static const char help_text[] =
    "Usage: bugle subscribe [OPTION]... [TOPIC]...\n"
    "\n"
    "Print events as they come.  A TOPIC may be a pattern: * stands for one segment,\n"
    "a final ** for one or more.  Without a TOPIC: everything you may read.  The\n"
    "command reconnects and continues where it was, until you press Ctrl-C.\n"
    "\n"
    "What to read\n"
    "  --topic T            the same as TOPIC; may be repeated\n"
    "  --user U             as this user (only without authentication)\n"
    "  --event NAME         print only events of this name; may be repeated\n"
    "  --since X            start at: latest (the default), earliest, a time ago\n"
    "                       such as 10m, or an id\n"
    "  --last-event-id ID   start after this event; overrides --since\n"
    "\n"
    "Output\n"
    "  On a terminal an event is one line, ID  EVENT  DATA, with further lines of its\n"
    "  data indented and control characters made visible.  Elsewhere it is its data\n"
    "  alone, unchanged.\n"
    "  --json               one object a line, {\"id\":...,\"event\":...,\"data\":...},\n"
    "                       the data as a string; id is null where there is none\n"
    "  --count N            stop after N events\n"
    "  --quiet              print nothing on standard error but the reason for a\n"
    "                       failure\n"
    "\n"
    "The connection\n"
    "  --url URL            the gateway (default: $BUGLE_URL, or\n"
    "                       http://127.0.0.1:8080)\n"
    "  --token T            API key or JWT (default: $BUGLE_TOKEN, which unlike a\n"
    "                       command line other users of this machine cannot see)\n"
    "  --ca FILE            trusted certificates for https URLs, in PEM form\n"
    "                       (default: $BUGLE_CA, or those of the system)\n"
    "  --header 'K: V'      send a header; may be repeated\n"
    "  --heartbeat S        ask for a heartbeat every S seconds, 3 to 60 (default\n"
    "                       15); reconnect after three times as long without one\n"
    "  --no-reconnect       stop when the first connection ends\n"
    "  -h, --help           print this\n"
    "\n"
    "When events are no longer stored, the gateway sends a reset; it is reported on\n"
    "standard error, with --json also as an object.  --count does not count it.\n"
    "\n"
    "Exit status: 0 after --count, Ctrl-C or SIGTERM, or when the output is closed; 1\n"
    "the gateway refused, or the connection failed with --no-reconnect; 2 wrong\n"
    "usage.\n"
    "\n"
    "Examples:\n"
    "  bugle subscribe 'orders/*'\n"
    "  bugle subscribe --since 1h --json orders/42 | jq -r .data\n"
    "  bugle subscribe --count 1 --event ready builds\n";

static int subscribe_tool_read_options(struct cli_follow_options *options, int argc, char **argv)
{
    const struct cli_option known[] = {
        CLI_NUMBER("count", &options->count, 1, UINT64_MAX, "a number from 1"),
        CLI_WORD("event", &options->events),
        CLI_NUMBER("heartbeat", &options->heartbeat_s, 3, 60, "3 to 60 seconds"),
        CLI_FLAG("json", &options->json),
        CLI_TEXT("last-event-id", &options->last_event_id),
        CLI_HTTP_OPTIONS(&options->target),
        CLI_FLAG("no-reconnect", &options->no_reconnect),
        CLI_FLAG("quiet", &options->quiet),
        CLI_TEXT("since", &options->since),
        CLI_WORD("topic", &options->topics),
        CLI_TEXT("user", &options->user),
    };
    int status =
        cli_read_options(TOOL, help_text, known, sizeof(known) / sizeof(known[0]), argc, argv);

    if (status != CLI_FINE)
        return status;
    for (int i = optind; i < argc; i++)
        cli_list_add(&options->topics, argv[i]);
    if (options->last_event_id != NULL && !cli_http_is_header_text(options->last_event_id))
        return cli_misused(TOOL, "--last-event-id has control characters in it");
    if (options->last_event_id != NULL && strlen(options->last_event_id) > CLI_FOLLOW_ID_BYTES_MAX)
        return cli_misused(TOOL, "--last-event-id is longer than %d bytes: it is no id",
                           CLI_FOLLOW_ID_BYTES_MAX);
    return CLI_FINE;
}

int cli_subscribe(int argc, char **argv)
{
    struct cli_follow_options options = {
        .target = cli_http_target_default(),
        .heartbeat_s = HEARTBEAT_SECONDS,
    };
    int status = subscribe_tool_read_options(&options, argc, argv);

    if (status == CLI_FINE)
        status = cli_follow(TOOL, &options);
    cli_list_clear(&options.target.headers);
    cli_list_clear(&options.topics);
    cli_list_clear(&options.events);
    return status == CLI_HELPED ? CLI_FINE : status;
}
