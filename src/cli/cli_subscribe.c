/* SPDX-License-Identifier: MIT */
/*
 * `bugle subscribe`: follow a stream for as long as wanted.  A connection is only a means; what
 * lasts is the position, which the parser keeps: when one ends, the next goes on from the last
 * event id. Signals arrive through a descriptor, so that every wait of the program ends when one
 * comes.
 */
#include "config.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/cli_common.h"
#include "cli/cli_http.h"
#include "cli/cli_show.h"
#include "wire/sse.h"
#include "wire/sse_parser.h"

#define TOOL "subscribe"
#define HEARTBEAT_SECONDS 15
/* The longest id that a gateway takes; a longer one is not sent. */
#define ID_BYTES_MAX 128
#define SILENT_HEARTBEATS 3
#define RETRY_DEFAULT_MS 1000
#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 3600000
#define STATE_SOON_MS 100
#define STATE_LATER_MS 1000
#define REASON_DATA_BYTES_MAX 4096 /* of a reset and its like, which are small objects */
#define EVENT_BYTES_MAX ((size_t)16 << 20)
#define NETWORK_BUFFER_BYTES (64L << 10)

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

/* What to follow and how.  All texts are borrowed. */
struct follow_options {
    struct cli_http_target target;
    struct cli_list topics;
    struct cli_list events;    /* names to print; none: all */
    const char *user;          /* NULL: do not say */
    const char *since;         /* NULL: do not say */
    const char *last_event_id; /* NULL: no position yet */
    uint64_t count;            /* events to print; 0: no end */
    uint64_t heartbeat_s;      /* silence asked of the gateway; three times as long is too long */
    bool json;
    bool quiet;
    bool no_reconnect;
};

/* How things go on after a connection. */
enum end {
    END_NOT_YET,
    END_AGAIN,  /* connect again */
    END_MOVED,  /* at once, to the place that the answer names */
    END_FINE,   /* leave, all is well */
    END_FAILED, /* leave, `why` says what is wrong */
};

struct follow {
    const struct follow_options *options;
    struct cli_http http;
    struct cli_show show;
    struct sse_parser *reader;
    CURLM *multi;
    int signal_fd;

    uint64_t printed_n;
    uint64_t retry_ms; /* what the gateway asks for */
    unsigned failures; /* connections in a row that brought nothing */
    bool was_open;     /* some connection was an event stream */
    bool told_down;    /* a note says that there is no connection */
    bool told_shed;    /* a note says that connections end at once */

    /* of the connection at hand */
    bool is_open; /* it answered with an event stream */
    bool has_event;
    bool is_clean; /* it ended as HTTP has it */
    long long began_ms;
    long long heard_ms;
    enum end end;
    char *why; /* why it ended, for a person; owned */
};

/* Why the connection at hand ended, for a person.  Takes the text. */
static void follow_end_with(struct follow *s, enum end end, char *why)
{
    free(s->why);
    s->why = cli_need(why);
    s->end = end;
}

static bool follow_is_wanted(const struct follow_options *options,
                             const struct sse_parser_event *event)
{
    for (size_t i = 0; i < options->events.items_n; i++)
        if (strcmp(options->events.items[i], event->name) == 0)
            return true;
    return options->events.items_n == 0;
}

/* The reason that the data of an event of the gateway's gives; NULL: none.  `*ret_data` has it,
 * for json_alloc_free(). */
static const char *read_reason(const struct sse_parser_event *event, struct json_alloc **ret_data)
{
    bool is_small = event->data_n <= REASON_DATA_BYTES_MAX;

    *ret_data = is_small ? cli_read_json(event->data, event->data_n, 0, NULL) : NULL;
    return *ret_data ? json_string_value(json_object_get((*ret_data)->root, "reason")) : NULL;
}

static void follow_take_reset(struct follow *s, const struct sse_parser_event *event)
{
    struct json_alloc *data;
    const char *reason = read_reason(event, &data);

    cli_show_note(&s->show, "reset: some events are no longer available (%s); going on from %s",
                  reason ? reason : "no reason given", event->id_n > 0 ? event->id : "here");
    json_alloc_free(data);
    if (s->options->json)
        cli_show_event(&s->show, event);
}

/* Why the gateway ends the stream, in a person's words; NULL for what is no such event, but one of
 * a publisher from before the name was the gateway's. */
static const char *expired_words(const char *reason)
{
    if (reason == NULL)
        return NULL;
    if (strcmp(reason, "token") == 0)
        return "the token has expired";
    if (strcmp(reason, "key") == 0)
        return "this token or key may no longer read these topics";
    return strcmp(reason, "deleted") == 0 ? "an administrator ended this stream" : NULL;
}

/* With the same token it would be refused; one that was deleted may come again.  Returns whether it
 * is the gateway's. */
static bool follow_take_expired(struct follow *s, const struct sse_parser_event *event)
{
    struct json_alloc *data;
    const char *reason = read_reason(event, &data);
    const char *words = expired_words(reason);

    if (words != NULL && s->options->json)
        cli_show_event(&s->show, event);
    if (words != NULL && strcmp(reason, "deleted") == 0)
        cli_show_note(&s->show, "%s", words);
    else if (words != NULL)
        follow_end_with(s, END_FAILED, strdup(words));
    json_alloc_free(data);
    return words != NULL;
}

static int follow_on_event(void *arg, const struct sse_parser_event *event)
{
    struct follow *s = arg;

    s->has_event = true;
    s->told_shed = false;
    if (strcmp(event->name, "checkpoint") == 0)
        return 0;
    if (strcmp(event->name, "reset") == 0) {
        follow_take_reset(s, event);
        return 0;
    }
    if (strcmp(event->name, "expired") == 0 && follow_take_expired(s, event))
        return s->end == END_NOT_YET ? 0 : -ECONNABORTED;
    if (!follow_is_wanted(s->options, event))
        return 0;
    cli_show_event(&s->show, event);
    s->printed_n++;
    return s->printed_n == s->options->count ? -ECANCELED : 0;
}

static void follow_on_retry(void *arg, uint64_t retry_ms)
{
    struct follow *s = arg;

    s->retry_ms = retry_ms < RETRY_MIN_MS   ? RETRY_MIN_MS
                  : retry_ms > RETRY_MAX_MS ? RETRY_MAX_MS
                                            : retry_ms;
}

/* End the connection for what the parser or the output said. */
static void follow_stop_for(struct follow *s, int error)
{
    if (error == -ENOMEM)
        cli_need(NULL);
    if (error == -ECONNABORTED)
        return; /* said already */
    if (error == -ECANCELED || error == -EPIPE || error == -EINTR)
        s->end = END_FINE;
    else if (error == -EMSGSIZE)
        follow_end_with(s, END_FAILED, strdup("an event is larger than 16 MiB"));
    else
        follow_end_with(s, END_FAILED, cli_format("standard output: %s", strerror(-error)));
}

static size_t follow_on_body(char *bytes, size_t one, size_t bytes_n, void *arg)
{
    struct follow *s = arg;

    (void)one;
    if (!s->is_open)
        return cli_http_keep(&s->http, bytes, bytes_n) ? bytes_n : 0;
    int parsed = sse_parser_push(s->reader, bytes, bytes_n);
    int written = cli_show_flush(&s->show);
    s->heard_ms = clock_mono_ms(); /* not before: a slow reader of ours is no silence */
    if (written < 0 || parsed < 0)
        follow_stop_for(s, written < 0 ? written : parsed);
    return s->end == END_NOT_YET ? bytes_n : 0;
}

static void follow_mark_open(struct follow *s)
{
    s->is_open = true;
    s->was_open = true;
    if (s->told_down)
        cli_show_note(&s->show, "connected again");
    s->told_down = false;
}

static bool is_event_stream(const char *type)
{
    static const char wanted[] = "text/event-stream";
    size_t wanted_n = sizeof(wanted) - 1;

    return type != NULL && strncasecmp(type, wanted, wanted_n) == 0 &&
           strchr("; \t", type[wanted_n]);
}

/* A line of the head of an answer; the last one is empty. */
static size_t follow_on_header(char *line, size_t one, size_t line_n, void *arg)
{
    struct follow *s = arg;
    const char *type = NULL;

    (void)one;
    if (!cli_http_count_header(&s->http, line_n))
        return 0;
    if (line[0] != '\r' && line[0] != '\n')
        return line_n;
    if (cli_http_status(&s->http) != 200)
        return line_n;
    curl_easy_getinfo(s->http.easy, CURLINFO_CONTENT_TYPE, &type);
    if (is_event_stream(type)) {
        follow_mark_open(s);
        return line_n;
    }
    follow_end_with(
        s, END_FAILED,
        cli_format("%s answered with %s, not with an event stream: is it a Bugle gateway?",
                   s->http.shown, type != NULL ? type : "no type"));
    return 0;
}

/* Whether a failure without an answer will not pass: the address or the certificate is wrong. */
static bool is_hopeless(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_UNSUPPORTED_PROTOCOL ||
           code == CURLE_SSL_CACERT_BADFILE;
}

/* A connection ended on its own: decide how to go on. */
static void follow_judge(struct follow *s, CURLcode code)
{
    long status = cli_http_status(&s->http);

    s->is_clean = code == CURLE_OK;
    if (s->is_open && s->is_clean)
        follow_end_with(s, END_AGAIN, strdup("the stream ended"));
    else if (!s->is_clean)
        follow_end_with(s, is_hopeless(code) && !s->was_open ? END_FAILED : END_AGAIN,
                        cli_http_trouble(&s->http, code));
    else if (cli_http_redirect(&s->http))
        s->end = END_MOVED;
    else if (status == 204)
        s->end = END_FINE; /* the server's way to say "stop" to any client of its streams */
    else
        follow_end_with(s, cli_http_is_passing(status) ? END_AGAIN : END_FAILED,
                        cli_http_refusal(&s->http));
}

/* Whether the transfer is over, and how. */
static bool follow_is_over(struct follow *s, CURLcode *ret_code)
{
    int left;
    CURLMsg *message;

    while ((message = curl_multi_info_read(s->multi, &left))) {
        if (message->msg == CURLMSG_DONE) {
            *ret_code = message->data.result;
            return true;
        }
    }
    return false;
}

/* Whether a signal came or nobody reads standard output any more. */
static bool is_interrupted(const struct follow *s)
{
    struct pollfd fds[2] = {
        {.fd = s->signal_fd, .events = POLLIN},
        {.fd = STDOUT_FILENO, .events = 0},
    };

    return poll(fds, 2, 0) > 0;
}

/* Wait for the network or an interruption, at most so long. */
static void follow_wait_a_turn(struct follow *s, long long wait_ms)
{
    struct curl_waitfd fds[2] = {
        {.fd = s->signal_fd, .events = CURL_WAIT_POLLIN},
        {.fd = STDOUT_FILENO, .events = 0},
    };
    long long state_ms = s->show.is_current ? STATE_LATER_MS : STATE_SOON_MS;

    if (s->show.has_state && wait_ms > state_ms)
        wait_ms = state_ms;
    curl_multi_poll(s->multi, fds, 2, wait_ms > 0 ? (int)wait_ms : 0, NULL);
    if (is_interrupted(s))
        s->end = END_FINE;
}

static const char *follow_plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

static void show_state(struct follow *s)
{
    if (!s->is_open)
        cli_show_state(&s->show, "connecting to %s", s->http.shown);
    else
        cli_show_state(&s->show, "open, %llu event%s", (unsigned long long)s->printed_n,
                       follow_plural(s->printed_n));
}

static void begin_connection(struct follow *s)
{
    const char *position = sse_parser_last_id(s->reader);
    bool is_id = *position && strlen(position) <= ID_BYTES_MAX;
    char *resume = is_id ? cli_format("Last-Event-ID: %s", position) : NULL;
    const char *lines[] = {"Accept: text/event-stream", "Cache-Control: no-cache", resume};

    cli_http_begin(&s->http, lines, resume != NULL ? 3 : 2);
    free(resume);
    sse_parser_begin(s->reader);
    s->is_open = false;
    s->has_event = false;
    s->is_clean = false;
    s->end = END_NOT_YET;
    s->began_ms = clock_mono_ms();
    s->heard_ms = s->began_ms;
}

/* One connection from its beginning to its end, which sets `end`. */
static void follow_place(struct follow *s)
{
    CURLcode code;
    int running;
    long long silence_ms = (long long)s->options->heartbeat_s * SILENT_HEARTBEATS * 1000;

    begin_connection(s);
    curl_multi_add_handle(s->multi, s->http.easy);
    while (s->end == END_NOT_YET) {
        curl_multi_perform(s->multi, &running);
        long long left_ms = s->heard_ms + silence_ms - clock_mono_ms();
        if (s->end != END_NOT_YET)
            break;
        if (follow_is_over(s, &code)) {
            follow_judge(s, code);
        } else if (left_ms <= 0) {
            follow_end_with(s, END_AGAIN, cli_format("no data for %lld s", silence_ms / 1000));
        } else {
            show_state(s);
            follow_wait_a_turn(s, left_ms);
        }
    }
    curl_multi_remove_handle(s->multi, s->http.easy);
}

/* How long to wait before the next connection.  One that was of use costs only what the gateway
 * asks for; each that was not makes the wait longer. */
static long long next_wait_ms(struct follow *s)
{
    long long lasted_ms = clock_mono_ms() - s->began_ms;
    bool was_useful = s->has_event || lasted_ms > (long long)s->options->heartbeat_s * 1000;

    s->failures = s->is_open && was_useful ? 0 : s->failures + 1;
    if (s->failures == 0)
        return (long long)s->retry_ms;
    uint64_t wait_ms = cli_http_wait_ms(&s->http, s->failures - 1);
    return (long long)(wait_ms > s->retry_ms ? wait_ms : s->retry_ms);
}

/* Where there is no state to look at, tell once that there is no stream. */
static void tell_trouble(struct follow *s)
{
    bool *told = s->is_open ? &s->told_shed : &s->told_down;

    if (s->show.has_state || *told || s->failures < (s->is_open ? 2 : 1))
        return;
    cli_show_note(&s->show, "%s; trying again", s->why);
    *told = true;
}

/* Wait until the next connection is due; an interruption changes `end`. */
static void follow_wait_between(struct follow *s)
{
    long long due_ms = clock_mono_ms() + next_wait_ms(s);

    tell_trouble(s);
    while (s->end == END_AGAIN) {
        long long left_ms = due_ms - clock_mono_ms();

        if (left_ms <= 0)
            break;
        cli_show_state(&s->show, "connecting again in %lld s, %llu event%s: %s",
                       (left_ms + 999) / 1000, (unsigned long long)s->printed_n,
                       follow_plural(s->printed_n), s->why);
        follow_wait_a_turn(s, left_ms);
    }
}

static void follow_on(struct follow *s)
{
    do {
        cli_http_return(&s->http);
        do
            follow_place(s);
        while (s->end == END_MOVED);
        if (s->end == END_AGAIN && s->options->no_reconnect)
            s->end = s->is_open && s->is_clean ? END_FINE : END_FAILED;
        if (s->end == END_AGAIN)
            follow_wait_between(s);
    } while (s->end == END_AGAIN);
}

/* Let SIGINT and SIGTERM be read from a descriptor; one that is ignored (nohup, a shell's &)
 * stays so.  Returns the descriptor or -errno. */
static int open_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct sigaction action;

        if (sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&set, numbers[i]);
    }
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* The query of /events.  Gives a text for free(). */
static char *compose_query(const struct follow_options *options)
{
    char *query, *heartbeat = cli_format("%llu", (unsigned long long)options->heartbeat_s);
    size_t query_n;
    FILE *to = cli_need(open_memstream(&query, &query_n));

    for (size_t i = 0; i < options->topics.items_n; i++)
        cli_http_add_query(to, "topic", options->topics.items[i]);
    if (options->user)
        cli_http_add_query(to, "user", options->user);
    if (options->since != NULL)
        cli_http_add_query(to, "since", options->since);
    cli_http_add_query(to, "heartbeat", heartbeat);
    free(heartbeat);
    if (fclose(to) != 0)
        cli_need(NULL);
    return query;
}

static int open_http(struct follow *s)
{
    char *query = compose_query(s->options);
    int status = cli_http_init(&s->http, TOOL, &s->options->target, SSE_PATH, query);

    free(query);
    if (status != CLI_FINE)
        return status;
    CURL *easy = s->http.easy;
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, follow_on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, s);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, follow_on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, s);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, NETWORK_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* a name still being looked up may be left */
    s->multi = cli_need(curl_multi_init());
    return CLI_FINE;
}

static void follow_open_reader(struct follow *s)
{
    /* A line is "data: " and, at most, all of an event. */
    struct sse_parser_limits limits = {EVENT_BYTES_MAX + 16, EVENT_BYTES_MAX};
    struct sse_parser_handler handler = {follow_on_event, follow_on_retry, s};
    s->reader = cli_need(sse_parser_new(&limits, &handler, s->options->last_event_id));
}

/* Follow with everything open, and say at the end what went wrong. */
static int follow_run(struct follow *s)
{
    cli_show_open(&s->show, TOOL, s->signal_fd, s->options->json, s->options->quiet);
    follow_open_reader(s);
    follow_on(s);
    cli_show_close(&s->show);
    sse_parser_free(s->reader);
    return s->end == END_FAILED ? cli_fail(TOOL, "%s", s->why) : CLI_FINE;
}

/* Takes SIGINT and SIGTERM over for the rest of the process and ignores SIGPIPE. */
static int follow(const struct follow_options *options)
{
    struct follow s = {.options = options, .retry_ms = RETRY_DEFAULT_MS};

    if (fcntl(STDOUT_FILENO, F_GETFD) < 0)
        return cli_fail(TOOL, "standard output is closed");
    s.signal_fd = open_signals();
    if (s.signal_fd < 0)
        return cli_fail(TOOL, "cannot wait for signals: %s", strerror(-s.signal_fd));
    int status = open_http(&s);
    if (status == CLI_FINE)
        status = follow_run(&s);
    curl_multi_cleanup(s.multi);
    cli_http_clear(&s.http);
    close(s.signal_fd);
    free(s.why);
    return status;
}

/* ---- the command line ---- */

static int subscribe_tool_read_options(struct follow_options *options, int argc, char **argv)
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
    if (options->last_event_id != NULL && strlen(options->last_event_id) > ID_BYTES_MAX)
        return cli_misused(TOOL, "--last-event-id is longer than %d bytes: it is no id",
                           ID_BYTES_MAX);
    return CLI_FINE;
}

int cli_subscribe(int argc, char **argv)
{
    struct follow_options options = {
        .target = cli_http_target_default(),
        .heartbeat_s = HEARTBEAT_SECONDS,
    };
    int status = subscribe_tool_read_options(&options, argc, argv);

    if (status == CLI_FINE)
        status = follow(&options);
    cli_list_clear(&options.target.headers);
    cli_list_clear(&options.topics);
    cli_list_clear(&options.events);
    return status == CLI_HELPED ? CLI_FINE : status;
}
