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
    "Follow events of a gateway and print them as they come.  A TOPIC may be a\n"
    "pattern: * stands for one segment, a last ** for one or more.  Without a TOPIC:\n"
    "everything you may read.  When a connection ends, the next one goes on where it\n"
    "was, until you press Ctrl-C.\n"
    "\n"
    "What to follow\n"
    "  --topic T            the same as TOPIC; may be repeated\n"
    "  --user U             as this user (while the gateway runs without accounts)\n"
    "  --event NAME         print only events of this name; may be repeated\n"
    "  --since X            begin at: latest (the default), earliest, a time ago\n"
    "                       such as 10m, or an id\n"
    "  --last-event-id ID   go on after this event; wins over --since\n"
    "\n"
    "How to print it\n"
    "  On a terminal an event is one line, ID  EVENT  DATA: further lines of its data\n"
    "  are indented and control characters made visible.  Elsewhere it is its data\n"
    "  alone, as it came.\n"
    "  --json               one object a line, {\"id\":...,\"event\":...,\"data\":...},\n"
    "                       the data as a string; id is null where there is none\n"
    "  --count N            stop after N events\n"
    "  --quiet              on standard error, say only why it failed\n"
    "\n"
    "The connection\n"
    "  --url URL            the gateway; default $BUGLE_URL, or else\n"
    "                       http://127.0.0.1:8080\n"
    "  --token T            API key or JWT; default $BUGLE_TOKEN, which unlike a\n"
    "                       command line is not seen by others on this machine\n"
    "  --ca FILE            certificates to trust an https URL by, in PEM form;\n"
    "                       default $BUGLE_CA, or else those of the system\n"
    "  --header 'K: V'      send a header; may be repeated\n"
    "  --heartbeat S        have a sign of life sent every S seconds, 3 to 60\n"
    "                       (default 15); connect again after three times as long\n"
    "                       without one\n"
    "  --no-reconnect       stop when the first connection ends\n"
    "  -h, --help\n"
    "\n"
    "Where a part of the history is lost, the gateway sends a reset: it is told on\n"
    "standard error, with --json also as an object.  --count does not count it.\n"
    "\n"
    "Exit status: 0 after --count, Ctrl-C or SIGTERM, or when nobody reads the output\n"
    "any more; 1 when the gateway refuses, or the connection fails and\n"
    "--no-reconnect is given; 2 for wrong usage.\n"
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
