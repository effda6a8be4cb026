/* SPDX-License-Identifier: MIT */
/* The command line of `bugle bench`. */
#include "config.h"
#include "bench/bench_options.h"

#include "bench/bench_stamp.h"
#include "cli/cli_common.h"
#include "wire/sse.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define URL_DEFAULT "http://127.0.0.1:8080"
#define BODY_DEFAULT "{\"topic\":\"{topic}\",\"data\":\"{data}\"}"
#define WS_PATH "/ws"
#define WS_PATH_V1 WS_PATH "?topic=bench-none"
#define WS_PATH_RAW WS_PATH "?topic={topic}&publish={topic}"

static const char usage[] =
    "Usage: bugle bench [OPTION]...\n"
    "Hold event streams, publish events, and report losses, order, latency and cost.\n"
    "\n"
    "What to measure; {topic}, {data} and {seq} are placeholders:\n"
    "  --stream-url TEMPLATE    " URL_DEFAULT SSE_PATH "?topic={topic}\n"
    "                           with --ws " URL_DEFAULT WS_PATH "?topic={topic}\n"
    "  --publish-url TEMPLATE   " URL_DEFAULT "/api/push\n"
    "  --publish-body TEMPLATE  {\"topic\":\"{topic}\",\"data\":\"{data}\"}\n"
    "  --publish-type TYPE      application/json\n"
    "  --header 'NAME: VALUE'   sent with every request; may be repeated\n"
    "\n"
    "WebSocket:\n"
    "  --ws                     hold WebSockets instead of event streams\n"
    "  --ws-protocol NAME       subprotocol that they offer, such as bugle.v1 (none)\n"
    "  --ws-publish v1|raw      publish over WebSockets: with v1 to\n"
    "                           " URL_DEFAULT WS_PATH_V1 "\n"
    "                           by messages of bugle.v1, each with an answer; with raw to\n"
    "                           " URL_DEFAULT WS_PATH_RAW "\n"
    "                           {data}, which is to come back to the connection\n"
    "\n"
    "Streams:\n"
    "  --streams N              streams to hold (100)\n"
    "  --topics K               topics, to which the streams are assigned in turn (1)\n"
    "  --connecting N           streams that connect at the same time, at most (256)\n"
    "  --source-addresses A     connect from A addresses, 127.0.0.2 and up, in turn; for more\n"
    "                           than 28,000 streams\n"
    "  --settle S               seconds to wait once all streams are open (1)\n"
    "  --close S                at the end close all streams at once, and measure the server for\n"
    "                           S seconds: the cost of closing (0: do not)\n"
    "\n"
    "Events:\n"
    "  --rate R|max             events a second (50); latency counts from when each is due;\n"
    "                           max: each connection publishes again when it has its answer\n"
    "  --seconds S              how long (10)\n"
    "  --events E               publish this many events instead\n"
    "  --warmup S               seconds at the start that are not measured (1; 0 with --events)\n"
    "  --connections P          keep-alive connections that publish (16)\n"
    "  --batch B                events a request, as a JSON array when more than 1 (1)\n"
    "  --size BYTES             size of the data of an event, at least 54 (100)\n"
    "  --random                 publish to random topics instead of in turn\n"
    "  --drain S                give up on missing events after S seconds without one (5)\n"
    "  --publish-only           hold no streams\n"
    "  --idle                   hold the streams for --seconds and publish nothing\n"
    "\n"
    "Reporting:\n"
    "  --server-pid PID[,PID]   report the CPU and private memory of these processes\n"
    "  --json                   report as JSON\n"
    "  --progress               print a line a second and one for each phase, even when standard\n"
    "                           error is not a terminal\n"
    "  -h, --help               print this\n"
    "\n"
    "Exit status: 0 every event arrived once and in order, 1 something failed, 2 wrong usage.\n";

static bool read_real(const char *text, double min, double max, double *ret_real)
{
    char *end;
    double real = strtod(text, &end);

    if (end == text || *end || !(real >= min && real <= max))
        return false;
    *ret_real = real;
    return true;
}

static bool take_rate(const struct cli_option *option, const char *value)
{
    if (strcmp(value, "max") != 0)
        return read_real(value, 0.001, 1e8, option->to);
    *(double *)option->to = 0;
    return true;
}

/* Seconds, from `min` milliseconds to `max` seconds. */
static bool take_seconds(const struct cli_option *option, const char *value)
{
    return read_real(value, (double)option->min / 1e3, (double)option->max, option->to);
}

static bool take_header(const struct cli_option *option, const char *text)
{
    struct bench_options *options = option->to;

    if (options->headers_n == BENCH_HEADERS_MAX || !strchr(text, ':') || strpbrk(text, "\r\n"))
        return false;
    options->headers[options->headers_n++] = text;
    return true;
}

static bool take_pids(const struct cli_option *option, const char *text)
{
    struct bench_options *options = option->to;

    for (;;) {
        char *end;
        long pid = strtol(text, &end, 10);

        if (end == text || (*end && *end != ',') || pid < 1 || options->pids_n == BENCH_PIDS_MAX)
            return false;
        options->pids[options->pids_n++] = (pid_t)pid;
        if (!*end)
            return true;
        text = end + 1;
    }
}

static bool take_publish_way(const struct cli_option *option, const char *text)
{
    bool is_v1 = strcmp(text, "v1") == 0;

    *(enum bench_publish_way *)option->to = is_v1 ? BENCH_PUBLISH_WS_V1 : BENCH_PUBLISH_WS_RAW;
    return is_v1 || strcmp(text, "raw") == 0;
}

/* What was not given, by the transports. */
static void bench_options_fill(struct bench_options *options)
{
    static const struct {
        const char *url, *body;
    } publish[] = {
        [BENCH_PUBLISH_POST] = {URL_DEFAULT "/api/push", BODY_DEFAULT},
        [BENCH_PUBLISH_WS_V1] = {URL_DEFAULT WS_PATH_V1, BODY_DEFAULT},
        [BENCH_PUBLISH_WS_RAW] = {URL_DEFAULT WS_PATH_RAW, "{data}"},
    };

    if (options->stream_url == NULL)
        options->stream_url = options->ws ? URL_DEFAULT WS_PATH "?topic={topic}"
                                          : URL_DEFAULT SSE_PATH "?topic={topic}";
    if (options->publish_url == NULL)
        options->publish_url = publish[options->publish_way].url;
    if (options->publish_body == NULL)
        options->publish_body = publish[options->publish_way].body;
    if (options->warmup < 0)
        options->warmup = options->events || options->idle ? 0 : 1;
}

static int bench_options_check(struct bench_options *options)
{
    if (options->idle && options->publish_only)
        return cli_misused("bench", "--idle with --publish-only leaves nothing to do");
    if (options->events && options->events % options->batch)
        return cli_misused("bench", "--events must be a multiple of --batch");
    if (options->publish_only)
        options->streams = 0;
    if (options->ws_protocol != NULL && !options->ws)
        return cli_misused("bench", "--ws-protocol needs --ws");
    if (options->batch > 1 && options->publish_way == BENCH_PUBLISH_WS_RAW)
        return cli_misused("bench", "--ws-publish raw sends one event a message: no --batch");
    if (options->idle)
        options->events = 0;
    bench_options_fill(options);
    return CLI_FINE;
}

int bench_options_parse(struct bench_options *ret_options, int argc, char **argv)
{
    struct bench_options options = {
        .publish_type = "application/json",
        .streams = 100,
        .topics = 1,
        .connections = 16,
        .connecting = 256,
        .batch = 1,
        .size = 100,
        .rate = 50,
        .seconds = 10,
        .settle = 1,
        .drain = 5,
        .warmup = -1,
        .progress = isatty(STDERR_FILENO),
    };
    const struct cli_option known[] = {
        CLI_TEXT("stream-url", &options.stream_url),
        CLI_TEXT("publish-url", &options.publish_url),
        CLI_TEXT("publish-body", &options.publish_body),
        CLI_TEXT("publish-type", &options.publish_type),
        CLI_FLAG("ws", &options.ws),
        CLI_TEXT("ws-protocol", &options.ws_protocol),
        CLI_OTHER("ws-publish", take_publish_way, &options.publish_way, NULL),
        CLI_OTHER("header", take_header, &options, NULL),
        CLI_NUMBER32("streams", &options.streams, 1, 10000000),
        CLI_NUMBER32("topics", &options.topics, 1, 10000000),
        CLI_NUMBER32("connecting", &options.connecting, 1, 100000),
        CLI_NUMBER32("source-addresses", &options.source_addresses, 1, 65000),
        {"settle", take_seconds, &options.settle, 0, 3600, NULL},
        {"close", take_seconds, &options.close, 0, 3600, NULL},
        CLI_OTHER("rate", take_rate, &options.rate, NULL),
        {"seconds", take_seconds, &options.seconds, 1, 1000000, NULL},
        CLI_NUMBER("events", &options.events, 1, UINT32_MAX, NULL),
        {"warmup", take_seconds, &options.warmup, 0, 3600, NULL},
        CLI_NUMBER32("connections", &options.connections, 1, 100000),
        CLI_NUMBER32("batch", &options.batch, 1, 100000),
        CLI_NUMBER32("size", &options.size, BENCH_STAMP_BYTES, 16777216),
        CLI_FLAG("random", &options.random),
        {"drain", take_seconds, &options.drain, 10, 3600, NULL},
        CLI_FLAG("publish-only", &options.publish_only),
        CLI_FLAG("idle", &options.idle),
        CLI_OTHER("server-pid", take_pids, &options, NULL),
        CLI_FLAG("json", &options.json),
        CLI_FLAG("progress", &options.progress),
    };
    int status =
        cli_read_options("bench", usage, known, sizeof(known) / sizeof(known[0]), argc, argv);

    if (status != CLI_FINE)
        return status;
    if (optind < argc)
        return cli_misused("bench", "there is nothing to do with %s", argv[optind]);
    status = bench_options_check(&options);
    if (status == CLI_FINE)
        *ret_options = options;
    return status;
}
