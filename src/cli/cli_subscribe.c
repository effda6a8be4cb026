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

enum option_code {
    OPTION_CA = 256,
    OPTION_COUNT,
    OPTION_EVENT,
    OPTION_HEADER,
    OPTION_HEARTBEAT,
    OPTION_JSON,
    OPTION_LAST_EVENT_ID,
    OPTION_NO_RECONNECT,
    OPTION_QUIET,
    OPTION_SINCE,
    OPTION_TOKEN,
    OPTION_TOPIC,
    OPTION_URL,
    OPTION_USER,
};

static const struct option long_options[] = {
    {"ca", required_argument, NULL, OPTION_CA},
    {"count", required_argument, NULL, OPTION_COUNT},
    {"event", required_argument, NULL, OPTION_EVENT},
    {"header", required_argument, NULL, OPTION_HEADER},
    {"heartbeat", required_argument, NULL, OPTION_HEARTBEAT},
    {"help", no_argument, NULL, 'h'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"last-event-id", required_argument, NULL, OPTION_LAST_EVENT_ID},
    {"no-reconnect", no_argument, NULL, OPTION_NO_RECONNECT},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"since", required_argument, NULL, OPTION_SINCE},
    {"token", required_argument, NULL, OPTION_TOKEN},
    {"topic", required_argument, NULL, OPTION_TOPIC},
    {"url", required_argument, NULL, OPTION_URL},
    {"user", required_argument, NULL, OPTION_USER},
    {NULL, 0, NULL, 0},
};

static int take_option(struct cli_follow_options *options, bool *ret_help, int code, char **argv)
{
    switch (code) {
    case OPTION_COUNT:
        if (!cli_parse_number(optarg, 1, UINT64_MAX, &options->count))
            return cli_misused(TOOL, "--count wants a number from 1, not '%s'", optarg);
        return CLI_FINE;
    case OPTION_HEARTBEAT:
        if (!cli_parse_number(optarg, 3, 60, &options->heartbeat_s))
            return cli_misused(TOOL, "--heartbeat wants 3 to 60 seconds, not '%s'", optarg);
        return CLI_FINE;
    case OPTION_EVENT:
        cli_list_add(&options->events, optarg);
        return CLI_FINE;
    case OPTION_HEADER:
        cli_list_add(&options->target.headers, optarg);
        return CLI_FINE;
    case OPTION_TOPIC:
        cli_list_add(&options->topics, optarg);
        return CLI_FINE;
    case OPTION_LAST_EVENT_ID:
        options->last_event_id = optarg;
        return CLI_FINE;
    case OPTION_SINCE:
        options->since = optarg;
        return CLI_FINE;
    case OPTION_CA:
        options->target.ca = optarg;
        return CLI_FINE;
    case OPTION_TOKEN:
        options->target.token = optarg;
        return CLI_FINE;
    case OPTION_URL:
        options->target.url = optarg;
        return CLI_FINE;
    case OPTION_USER:
        options->user = optarg;
        return CLI_FINE;
    case OPTION_JSON:
        options->json = true;
        return CLI_FINE;
    case OPTION_NO_RECONNECT:
        options->no_reconnect = true;
        return CLI_FINE;
    case OPTION_QUIET:
        options->quiet = true;
        return CLI_FINE;
    case 'h':
        *ret_help = true;
        return CLI_FINE;
    default:
        return cli_bad_option(TOOL, code, argv);
    }
}

static int read_options(struct cli_follow_options *options, bool *ret_help, int argc, char **argv)
{
    int code, status = CLI_FINE;
    optind = 0;
    opterr = 0;
    while (status == CLI_FINE && !*ret_help &&
           (code = getopt_long(argc, argv, ":h", long_options, NULL)) != -1)
        status = take_option(options, ret_help, code, argv);
    if (status != CLI_FINE || *ret_help)
        return status;
    for (int i = optind; i < argc; i++)
        cli_list_add(&options->topics, argv[i]);
    if (options->last_event_id && !cli_http_is_header_text(options->last_event_id))
        return cli_misused(TOOL, "--last-event-id has control characters in it");
    if (options->last_event_id && strlen(options->last_event_id) > CLI_FOLLOW_ID_BYTES_MAX)
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
    bool help = false;
    int status = read_options(&options, &help, argc, argv);
    if (status == CLI_FINE && help)
        fputs(help_text, stdout);
    else if (status == CLI_FINE)
        status = cli_follow(TOOL, &options);
    cli_list_clear(&options.target.headers);
    cli_list_clear(&options.topics);
    cli_list_clear(&options.events);
    return status;
}
