/* SPDX-License-Identifier: MIT */
/* Many event streams on one epoll. */
#include "config.h"
#include "bench/bench_streams.h"

#include "bench/bench_epoll.h"
#include "bench/bench_http.h"
#include "bench/bench_sse.h"
#include "bench/bench_template.h"
#include "bench/bench_tls.h"
#include "bench/bench_ws.h"
#include "cli/cli_common.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES 65536
#define REQUEST_BYTES 16384
#define STARTS_MAX 32 /* before answers are read again */

enum state {
    STATE_NEW,
    STATE_CONNECTING,
    STATE_SHAKING, /* hands, for TLS */
    STATE_ASKED,
    STATE_STANDING,
    STATE_OVER,
};

struct stream {
    int fd;
    enum state state;
    bool stood;
    bool closing; /* a Close frame came */
    uint32_t topic;
    uint32_t answered;                  /* the largest such number in the stamps that came */
    struct gnutls_session_int *session; /* NULL: no TLS */
    uint64_t begun_ns;                  /* when the connection was begun */
    struct bench_sequence came;
    struct bench_http http;
    union {
        struct bench_sse sse;
        struct bench_ws ws;
    };
};

struct bench_streams {
    const struct bench_options *options;
    struct bench_url url;
    struct bench_template path;
    struct bench_tls *tls; /* NULL: none */
    int epoll;
    uint32_t run;
    uint32_t started;
    uint32_t under_way;
    uint64_t now_ns;
    uint64_t measure_from_ns;
    struct bench_streams_facts facts;
    struct stream *list;
    struct stream *reading; /* whose bytes are fed through the readers */
    char read[READ_BYTES];
};

static ssize_t bench_stream_send(const struct stream *st, const void *bytes, size_t bytes_n)
{
    return st->session != NULL ? bench_tls_send(st->session, bytes, bytes_n)
                               : send(st->fd, bytes, bytes_n, MSG_NOSIGNAL);
}

static ssize_t bench_stream_recv(const struct stream *st, void *to, size_t to_n)
{
    return st->session != NULL ? bench_tls_recv(st->session, to, to_n) : recv(st->fd, to, to_n, 0);
}

static void bench_stream_close(struct stream *st)
{
    bench_tls_end(st->session);
    st->session = NULL;
    if (st->fd >= 0)
        close(st->fd);
    st->fd = -1;
}

static int bench_streams_set_up(struct bench_streams *streams)
{
    const struct bench_options *options = streams->options;
    int rc = bench_url_resolve(&streams->url, options->stream_url);

    if (rc == 0)
        rc = bench_template_compile(&streams->path, streams->url.path);
    if (rc != 0)
        return rc;
    if (options->source_addresses && streams->url.address.ss_family != AF_INET) {
        cli_fail("bench", "--source-addresses needs a server with an IPv4 address");
        return -EINVAL;
    }
    if (streams->url.is_tls && (streams->tls = bench_tls_new()) == NULL)
        return -ENOMEM;
    streams->list = calloc(options->streams ? options->streams : 1, sizeof(*streams->list));
    streams->facts.listening = calloc(options->topics, sizeof(*streams->facts.listening));
    if (streams->list == NULL || streams->facts.listening == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < options->streams; i++) {
        streams->list[i].fd = -1;
        streams->list[i].topic = i % options->topics;
        streams->facts.listening[i % options->topics]++;
    }
    return 0;
}

int bench_streams_new(struct bench_streams **ret_streams, const struct bench_options *options,
                      int epoll, uint32_t run)
{
    struct bench_streams *streams = calloc(1, sizeof(*streams));

    if (streams == NULL)
        return -ENOMEM;
    streams->options = options;
    streams->epoll = epoll;
    streams->run = run;
    streams->measure_from_ns = BENCH_NEVER;
    int rc = bench_streams_set_up(streams);
    if (rc != 0) {
        bench_streams_free(streams);
        return rc;
    }
    *ret_streams = streams;
    return 0;
}

void bench_streams_free(struct bench_streams *streams)
{
    if (streams == NULL)
        return;
    for (uint32_t i = 0; streams->list != NULL && i < streams->options->streams; i++) {
        bench_stream_close(&streams->list[i]);
        bench_sequence_done(&streams->list[i].came);
    }
    bench_tls_free(streams->tls);
    free(streams->list);
    free(streams->facts.listening);
    free(streams);
}

/* The one place where a stream's state changes. */
static void bench_stream_move(struct bench_streams *streams, struct stream *st, enum state state)
{
    bool was_under_way = st->state > STATE_NEW && st->state < STATE_STANDING;
    bool is_under_way = state > STATE_NEW && state < STATE_STANDING;

    streams->under_way += (uint32_t)is_under_way - (uint32_t)was_under_way;
    if (state == STATE_STANDING) {
        st->stood = true;
        streams->facts.standing++;
    } else if (state == STATE_OVER && st->stood) {
        streams->facts.standing--;
        streams->facts.ended++;
    } else if (state == STATE_OVER) {
        streams->facts.failed++;
        streams->facts.listening[st->topic]--;
    }
    st->state = state;
}

static void bench_stream_end(struct bench_streams *streams, struct stream *st, const char *why)
{
    if (streams->facts.trouble[0] == '\0')
        snprintf(streams->facts.trouble, sizeof(streams->facts.trouble), "%s", why);
    bench_stream_move(streams, st, STATE_OVER);
    bench_stream_close(st);
}

static const struct sockaddr_storage *bench_streams_source_of(const struct bench_streams *streams,
                                                              uint32_t index,
                                                              struct sockaddr_storage *ret_source)
{
    if (!streams->options->source_addresses)
        return NULL;
    uint32_t address = 0x7f000002 + index % streams->options->source_addresses;
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    memset(ret_source, 0, sizeof(*ret_source));
    memcpy(ret_source, &source, sizeof(source));
    return ret_source;
}

static void bench_stream_start(struct bench_streams *streams, uint32_t index)
{
    struct stream *st = &streams->list[index];
    struct sockaddr_storage source;

    st->begun_ns = bench_now();
    int fd =
        bench_connect(streams->epoll, bench_key(BENCH_KIND_STREAM, index), &streams->url.address,
                      streams->url.address_n, bench_streams_source_of(streams, index, &source));
    if (fd >= 0) {
        st->fd = fd;
        bench_stream_move(streams, st, STATE_CONNECTING);
        return;
    }
    bench_stream_end(streams, st,
                     fd == -EADDRNOTAVAIL ? "no free port (see --source-addresses)"
                                          : strerror(-fd));
}

static bool bench_streams_may_start(const struct bench_streams *streams)
{
    return streams->started < streams->options->streams &&
           streams->under_way < streams->options->connecting;
}

bool bench_streams_connect(struct bench_streams *streams)
{
    for (int i = 0; i < STARTS_MAX && bench_streams_may_start(streams); i++)
        bench_stream_start(streams, streams->started++);
    return bench_streams_may_start(streams);
}

bool bench_streams_settled(const struct bench_streams *streams)
{
    return streams->started == streams->options->streams && streams->under_way == 0;
}

void bench_streams_give_up(struct bench_streams *streams)
{
    for (uint32_t i = 0; i < streams->options->streams; i++)
        if (streams->list[i].state < STATE_STANDING)
            bench_stream_end(streams, &streams->list[i], "no answer in time");
    streams->started = streams->options->streams;
}

static size_t write_request(const struct bench_streams *streams, const struct stream *st, char *to)
{
    char topic[32];
    int topic_n = snprintf(topic, sizeof(topic), "bench-%u", st->topic);
    struct bench_values values = {0};

    values.at[BENCH_PLACE_TOPIC].text = topic;
    values.at[BENCH_PLACE_TOPIC].text_n = (size_t)topic_n;
    if (bench_template_bytes(&streams->path, &values) > REQUEST_BYTES / 2)
        return 0;
    char *at = stpcpy(to, "GET ");
    at = bench_template_write(&streams->path, at, &values);
    size_t room = REQUEST_BYTES - (size_t)(at - to);
    const char *protocol = streams->options->ws_protocol;
    int n =
        snprintf(at, room, " HTTP/1.1\r\nHost: %s\r\nUser-Agent: bugle-bench\r\n%s%s%s%s",
                 streams->url.authority,
                 streams->options->ws ? BENCH_WS_UPGRADE
                                      : "Accept: text/event-stream\r\nCache-Control: no-cache\r\n",
                 protocol != NULL ? "Sec-WebSocket-Protocol: " : "",
                 protocol != NULL ? protocol : "", protocol != NULL ? "\r\n" : "");
    for (size_t i = 0; i < streams->options->headers_n && (size_t)n < room; i++)
        n += snprintf(at + n, room - (size_t)n, "%s\r\n", streams->options->headers[i]);
    if ((size_t)n + 2 >= room)
        return 0;
    memcpy(at + n, "\r\n", 2);
    return (size_t)(at - to) + (size_t)n + 2;
}

static void bench_stream_ask(struct bench_streams *streams, struct stream *st)
{
    size_t request_n = write_request(streams, st, streams->read);
    if (request_n == 0) {
        bench_stream_end(streams, st, "the request is too long");
        return;
    }
    if (bench_stream_send(st, streams->read, request_n) != (ssize_t)request_n) {
        bench_stream_end(streams, st, "the request could not be sent");
        return;
    }
    bench_http_start(&st->http);
    bench_stream_move(streams, st, STATE_ASKED);
}

static void bench_stream_shake(struct bench_streams *streams, struct stream *st)
{
    int result = bench_tls_handshake(st->session);

    if (result == 0)
        bench_stream_ask(streams, st);
    else if (result != -EAGAIN)
        bench_stream_end(streams, st, "the TLS handshake failed");
}

/* The first entry of a new connection: it stands or it failed.  Ask for the events. */
static void bench_stream_connected(struct bench_streams *streams, struct stream *st)
{
    int error = bench_socket_error(st->fd);

    if (error) {
        bench_stream_end(streams, st, strerror(error));
        return;
    }
    if (streams->tls == NULL) {
        bench_stream_ask(streams, st);
        return;
    }
    st->session = bench_tls_session(streams->tls, st->fd);
    if (st->session == NULL) {
        bench_stream_end(streams, st, "no memory for TLS");
        return;
    }
    bench_stream_move(streams, st, STATE_SHAKING);
    bench_stream_shake(streams, st);
}

static void bench_streams_take_event(void *context, const struct bench_stamp *stamp)
{
    struct bench_streams *streams = context;
    struct bench_streams_facts *counts = &streams->facts;
    struct stream *st = streams->reading;

    if (stamp == NULL || stamp->run != streams->run) {
        counts->foreign++;
        return;
    }
    if (stamp->topic != st->topic) {
        counts->misrouted++;
        return;
    }
    enum bench_arrival arrival = bench_sequence_take(&st->came, stamp->number);
    if (arrival == BENCH_ARRIVAL_AGAIN) {
        counts->duplicated++;
        return;
    }
    counts->received++;
    if (arrival == BENCH_ARRIVAL_LATE && stamp->number < st->answered)
        counts->late++;
    else if (arrival == BENCH_ARRIVAL_LATE)
        counts->crossed++;
    if (stamp->answered > st->answered)
        st->answered = stamp->answered;
    counts->last_ns = streams->now_ns;
    if (stamp->due_ns >= streams->measure_from_ns)
        bench_latency_record(&streams->facts.latency, streams->now_ns - stamp->due_ns);
}

static void bench_streams_take_body(void *context, const char *bytes, size_t bytes_n)
{
    struct bench_streams *streams = context;
    struct stream *st = streams->reading;

    if (st->http.status == 200)
        bench_sse_feed(&st->sse, bytes, bytes_n, bench_streams_take_event, context);
}

/* With a protocol of messages `hello` and its like are none, as comments of an event stream are. */
static bool bench_streams_is_event(const struct bench_streams *streams, const char *text,
                                   size_t text_n)
{
    static const char event[] = "{\"type\":\"event\"", own[] = "{\"type\":";

    return streams->options->ws_protocol == NULL || text_n < strlen(own) ||
           memcmp(text, own, strlen(own)) != 0 ||
           (text_n >= strlen(event) && memcmp(text, event, strlen(event)) == 0);
}

static void bench_streams_take_frame(void *context, enum bench_ws_opcode opcode, const char *bytes,
                                     size_t bytes_n)
{
    struct bench_streams *streams = context;
    struct stream *st = streams->reading;
    char pong[BENCH_WS_PONG_ROOM];
    struct bench_stamp stamp;

    if (opcode == BENCH_WS_TEXT && bench_streams_is_event(streams, bytes, bytes_n)) {
        bool has_stamp = bench_stamp_find(bytes, bytes_n, &stamp);

        bench_streams_take_event(context, has_stamp ? &stamp : NULL);
    } else if (opcode == BENCH_WS_PING) {
        /* what the socket does not take is lost, as one of several pings may be */
        bench_stream_send(st, pong, bench_ws_write_pong(pong, bytes, bytes_n));
    } else if (opcode == BENCH_WS_CLOSE) {
        st->closing = true;
    }
}

/* The answer to the upgrade, and behind it frames.  Returns whether they could be read. */
static bool bench_stream_feed_ws(struct bench_streams *streams, struct stream *st,
                                 const char *bytes, size_t bytes_n)
{
    size_t head_n = bench_http_feed(&st->http, bytes, bytes_n, NULL, NULL);

    return st->http.state != BENCH_HTTP_DONE || st->http.status != BENCH_WS_STATUS ||
           bench_ws_feed(&st->ws, bytes + head_n, bytes_n - head_n, bench_streams_take_frame,
                         streams);
}

/* Returns whether what came can be read on. */
static bool bench_stream_feed(struct bench_streams *streams, struct stream *st, const char *bytes,
                              size_t bytes_n)
{
    if (streams->options->ws)
        return bench_stream_feed_ws(streams, st, bytes, bytes_n);
    bench_http_feed(&st->http, bytes, bytes_n, bench_streams_take_body, streams);
    return true;
}

/* After bytes were read: has the answer come, was it a good one, is it over? */
static bool bench_stream_is_good(struct bench_streams *streams, struct stream *st)
{
    int wanted = streams->options->ws ? BENCH_WS_STATUS : 200;
    char why[64];

    if (st->http.state == BENCH_HTTP_BAD) {
        bench_stream_end(streams, st, "not an HTTP answer");
        return false;
    }
    if (st->state == STATE_ASKED && bench_http_has_head(&st->http)) {
        if (st->http.status != wanted) {
            snprintf(why, sizeof(why), "answered with status %d", st->http.status);
            bench_stream_end(streams, st, why);
            return false;
        }
        bench_stream_move(streams, st, STATE_STANDING);
        bench_latency_record(&streams->facts.first_bytes, streams->now_ns - st->begun_ns);
    }
    if (streams->options->ws ? st->closing : st->http.state == BENCH_HTTP_DONE) {
        bench_stream_end(streams, st,
                         streams->options->ws ? "closed by the server with a Close frame"
                                              : "ended by the server with the final chunk");
        return false;
    }
    return true;
}

/* Read all there is: an edge is told only once. */
static void bench_stream_read(struct bench_streams *streams, struct stream *st)
{
    streams->reading = st;
    for (;;) {
        ssize_t n = bench_stream_recv(st, streams->read, READ_BYTES);

        if (n <= 0) {
            if (n < 0 && errno == EAGAIN)
                return;
            bench_stream_end(streams, st, n < 0 ? strerror(errno) : "closed by the server");
            return;
        }
        streams->now_ns = bench_now();
        streams->facts.bytes += (uint64_t)n;
        if (!bench_stream_feed(streams, st, streams->read, (size_t)n)) {
            bench_stream_end(streams, st, "not a frame that can be followed");
            return;
        }
        /* inside TLS a record is less than there may be */
        if (!bench_stream_is_good(streams, st) || (n < READ_BYTES && st->session == NULL))
            return;
    }
}

uint64_t bench_streams_ready(struct bench_streams *streams, uint32_t index)
{
    assert(index < streams->options->streams);
    struct stream *st = &streams->list[index];
    if (st->state == STATE_CONNECTING)
        bench_stream_connected(streams, st);
    else if (st->state == STATE_SHAKING)
        bench_stream_shake(streams, st);
    else if (st->state != STATE_OVER)
        bench_stream_read(streams, st);
    return streams->now_ns;
}

void bench_streams_measure(struct bench_streams *streams, uint64_t from_ns)
{
    streams->measure_from_ns = from_ns;
}

const struct bench_streams_facts *bench_streams_facts(const struct bench_streams *streams)
{
    return &streams->facts;
}

void bench_streams_close(struct bench_streams *streams)
{
    for (uint32_t i = 0; i < streams->options->streams; i++)
        bench_stream_close(&streams->list[i]);
}

uint64_t bench_streams_missing(const struct bench_streams *streams, const uint32_t *issued,
                               const struct bench_sequence *refused)
{
    uint64_t missing = 0;

    for (uint32_t i = 0; i < streams->options->streams; i++) {
        const struct stream *st = &streams->list[i];

        /* One that never stood was promised nothing; it is counted as failed. */
        if (st->stood)
            missing += bench_sequence_missing(&st->came, &refused[st->topic], issued[st->topic]);
    }
    return missing;
}
