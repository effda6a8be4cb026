/* SPDX-License-Identifier: MIT */
/* The command line of `bugle bench`. */
#include "config.h"
#include "bench/bench_options.h"

#include "bench/bench_stamp.h"
#include "cli/cli_common.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define URL_DEFAULT "http://127.0.0.1:8080"

static const char usage[] =
    "Usage: bugle bench [OPTION]...\n"
    "Hold event streams, publish events, and report losses, order, latency and cost.\n"
    "\n"
    "What to measure; {topic}, {data} and {seq} are filled in:\n"
    "  --stream-url TEMPLATE    " URL_DEFAULT "/events?topic={topic}\n"
    "  --publish-url TEMPLATE   " URL_DEFAULT "/api/push\n"
    "  --publish-body TEMPLATE  {\"topic\":\"{topic}\",\"data\":\"{data}\"}\n"
    "  --publish-type TYPE      application/json\n"
    "  --header 'NAME: VALUE'   sent with every request; repeatable\n"
    "\n"
    "Streams:\n"
    "  --streams N              streams to hold (100)\n"
    "  --topics K               spread over this many topics in turn (1)\n"
    "  --connecting N           at most this many under way at a time (256)\n"
    "  --source-addresses A     connect from A addresses, 127.0.0.2 and up, in turn; for more\n"
    "                           than 28,000 streams\n"
    "  --settle S               seconds of quiet once all streams stand (1)\n"
    "  --close S                at the end close all streams at once and watch the server for S\n"
    "                           seconds: what does closing cost? (0: leave it out)\n"
    "\n"
    "Events:\n"
    "  --rate R|max             events a second (50), latency counted from when each was due;\n"
    "                           max: every connection goes on when it is answered\n"
    "  --seconds S              how long (10)\n"
    "  --events E               publish this many instead\n"
    "  --warmup S               seconds at the start that figures leave out (1; 0 with --events)\n"
    "  --connections P          keep-alive connections that publish (16)\n"
    "  --batch B                events a request, as a JSON array when more than 1 (1)\n"
    "  --size BYTES             of the data of an event, at least 54 (100)\n"
    "  --random                 to topics by chance instead of in turn\n"
    "  --drain S                give up missing events after S quiet seconds (5)\n"
    "  --publish-only           hold no streams\n"
    "  --idle                   hold the streams for --seconds and publish nothing\n"
    "\n"
    "Reporting:\n"
    "  --server-pid PID[,PID]   report the CPU and private memory of these processes\n"
    "  --json                   report as JSON\n"
    "  --progress               a line a second and a phase even when standard error is no\n"
    "                           terminal\n"
    "  -h, --help\n"
    "\n"
    "Exit status: 0 every event came once and in order, 1 something failed, 2 wrong usage.\n";

enum option_code {
    OPTION_STREAM_URL = 256,
    OPTION_PUBLISH_URL,
    OPTION_PUBLISH_BODY,
    OPTION_PUBLISH_TYPE,
    OPTION_HEADER,
    OPTION_STREAMS,
    OPTION_TOPICS,
    OPTION_CONNECTING,
    OPTION_SOURCE_ADDRESSES,
    OPTION_SETTLE,
    OPTION_CLOSE,
    OPTION_RATE,
    OPTION_SECONDS,
    OPTION_EVENTS,
    OPTION_WARMUP,
    OPTION_CONNECTIONS,
    OPTION_BATCH,
    OPTION_SIZE,
    OPTION_RANDOM,
    OPTION_DRAIN,
    OPTION_PUBLISH_ONLY,
    OPTION_IDLE,
    OPTION_SERVER_PID,
    OPTION_JSON,
    OPTION_PROGRESS,
};

static const struct option long_options[] = {
    {"stream-url", required_argument, NULL, OPTION_STREAM_URL},
    {"publish-url", required_argument, NULL, OPTION_PUBLISH_URL},
    {"publish-body", required_argument, NULL, OPTION_PUBLISH_BODY},
    {"publish-type", required_argument, NULL, OPTION_PUBLISH_TYPE},
    {"header", required_argument, NULL, OPTION_HEADER},
    {"streams", required_argument, NULL, OPTION_STREAMS},
    {"topics", required_argument, NULL, OPTION_TOPICS},
    {"connecting", required_argument, NULL, OPTION_CONNECTING},
    {"source-addresses", required_argument, NULL, OPTION_SOURCE_ADDRESSES},
    {"settle", required_argument, NULL, OPTION_SETTLE},
    {"close", required_argument, NULL, OPTION_CLOSE},
    {"rate", required_argument, NULL, OPTION_RATE},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"events", required_argument, NULL, OPTION_EVENTS},
    {"warmup", required_argument, NULL, OPTION_WARMUP},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"batch", required_argument, NULL, OPTION_BATCH},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"random", no_argument, NULL, OPTION_RANDOM},
    {"drain", required_argument, NULL, OPTION_DRAIN},
    {"publish-only", no_argument, NULL, OPTION_PUBLISH_ONLY},
    {"idle", no_argument, NULL, OPTION_IDLE},
    {"server-pid", required_argument, NULL, OPTION_SERVER_PID},
    {"json", no_argument, NULL, OPTION_JSON},
    {"progress", no_argument, NULL, OPTION_PROGRESS},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool read_count32(const char *text, uint32_t min, uint32_t max, uint32_t *ret_count)
{
    uint64_t count;
    if (!cli_parse_number(text, min, max, &count))
        return false;
    *ret_count = (uint32_t)count;
    return true;
}

static bool read_real(const char *text, double min, double max, double *ret_real)
{
    char *end;
    double real = strtod(text, &end);
    if (end == text || *end || !(real >= min && real <= max))
        return false;
    *ret_real = real;
    return true;
}

static bool read_rate(const char *text, double *ret_rate)
{
    if (strcmp(text, "max") == 0) {
        *ret_rate = 0;
        return true;
    }
    return read_real(text, 0.001, 1e8, ret_rate);
}

static bool add_header(struct bench_options *options, const char *text)
{
    if (options->headers_n == BENCH_HEADERS_MAX || !strchr(text, ':') || strpbrk(text, "\r\n"))
        return false;
    options->headers[options->headers_n++] = text;
    return true;
}

static bool add_pids(struct bench_options *options, const char *text)
{
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

/* Take one option; false when its argument makes no sense. */
static bool take(struct bench_options *options, int code, const char *argument)
{
    switch ((enum option_code)code) {
    case OPTION_STREAM_URL:
        options->stream_url = argument;
        return true;
    case OPTION_PUBLISH_URL:
        options->publish_url = argument;
        return true;
    case OPTION_PUBLISH_BODY:
        options->publish_body = argument;
        return true;
    case OPTION_PUBLISH_TYPE:
        options->publish_type = argument;
        return true;
    case OPTION_HEADER:
        return add_header(options, argument);
    case OPTION_STREAMS:
        return read_count32(argument, 1, 10000000, &options->streams);
    case OPTION_TOPICS:
        return read_count32(argument, 1, 10000000, &options->topics);
    case OPTION_CONNECTING:
        return read_count32(argument, 1, 100000, &options->connecting);
    case OPTION_SOURCE_ADDRESSES:
        return read_count32(argument, 1, 65000, &options->source_addresses);
    case OPTION_SETTLE:
        return read_real(argument, 0, 3600, &options->settle);
    case OPTION_CLOSE:
        return read_real(argument, 0, 3600, &options->close);
    case OPTION_RATE:
        return read_rate(argument, &options->rate);
    case OPTION_SECONDS:
        return read_real(argument, 0.001, 1e6, &options->seconds);
    case OPTION_EVENTS:
        return cli_parse_number(argument, 1, UINT32_MAX, &options->events);
    case OPTION_WARMUP:
        return read_real(argument, 0, 3600, &options->warmup);
    case OPTION_CONNECTIONS:
        return read_count32(argument, 1, 100000, &options->connections);
    case OPTION_BATCH:
        return read_count32(argument, 1, 100000, &options->batch);
    case OPTION_SIZE:
        return read_count32(argument, BENCH_STAMP_BYTES, 16777216, &options->size);
    case OPTION_RANDOM:
        options->random = true;
        return true;
    case OPTION_DRAIN:
        return read_real(argument, 0.01, 3600, &options->drain);
    case OPTION_PUBLISH_ONLY:
        options->publish_only = true;
        return true;
    case OPTION_IDLE:
        options->idle = true;
        return true;
    case OPTION_SERVER_PID:
        return add_pids(options, argument);
    case OPTION_JSON:
        options->json = true;
        return true;
    case OPTION_PROGRESS:
        options->progress = true;
        return true;
    }
    return false;
}

static const char *name_of(int code)
{
    for (const struct option *option = long_options; option->name; option++)
        if (option->val == code)
            return option->name;
    return "option";
}

static int check(struct bench_options *options, double warmup)
{
    if (options->idle && options->publish_only)
        return cli_misused("bench", "--idle with --publish-only leaves nothing to do");
    if (options->events && options->events % options->batch)
        return cli_misused("bench", "--events must be a multiple of --batch");
    if (options->publish_only)
        options->streams = 0;
    if (options->idle)
        options->events = 0;
    if (warmup >= 0)
        options->warmup = warmup;
    else
        options->warmup = options->events || options->idle ? 0 : 1;
    return 0;
}

int bench_options_parse(struct bench_options *ret_options, int argc, char **argv)
{
    struct bench_options options = {
        .stream_url = URL_DEFAULT "/events?topic={topic}",
        .publish_url = URL_DEFAULT "/api/push",
        .publish_body = "{\"topic\":\"{topic}\",\"data\":\"{data}\"}",
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
    int code;
    optind = 0; /* the program's own options may have been read with getopt before */
    opterr = 0;
    while ((code = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
        if (code == 'h') {
            fputs(usage, stdout);
            return BENCH_OPTIONS_HELPED;
        }
        if (code == '?' || code == ':')
            return cli_bad_option("bench", code, argv);
        if (!take(&options, code, optarg))
            return cli_misused("bench", "--%s cannot be %s", name_of(code), optarg);
    }
    if (optind < argc)
        return cli_misused("bench", "there is nothing to do with %s", argv[optind]);
    int rc = check(&options, options.warmup);
    if (rc == 0)
        *ret_options = options;
    return rc;
}
