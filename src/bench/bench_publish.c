/* SPDX-License-Identifier: MIT */
/* An open-loop (or closed-loop) publisher over keep-alive connections. */
#include "config.h"
#include "bench/bench_publish.h"

#include "bench/bench_epoll.h"
#include "bench/bench_http.h"
#include "bench/bench_request.h"
#include "bench/bench_stamp.h"
#include "bench/bench_ws.h"
#include "cli/cli_common.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES 16384

enum state {
    STATE_CLOSED,
    STATE_CONNECTING,
    STATE_UPGRADING, /* to a WebSocket */
    STATE_FREE,
    STATE_BUSY,
    STATE_FAILED,
};

struct connection {
    int fd;
    enum state state;
    bool queued;  /* among those that can take a request */
    bool settled; /* stood once, or failed */
    uint64_t due_ns;
    size_t out_n;
    size_t sent_n;
    char *out; /* the request under way */
    struct bench_request_event *events;
    struct bench_http answer;
    struct bench_ws ws;
};

struct bench_publish {
    const struct bench_options *options;
    int epoll;
    bool started;
    bool stopped;
    uint64_t from_ns;
    uint64_t until_ns; /* closed loop without --events: no request begins later */
    double interval_ns;
    uint64_t requests; /* begun */
    uint64_t requests_max;
    uint64_t measure_from_ns;
    uint64_t now_ns;
    struct bench_publish_facts facts;
    const uint32_t *listening; /* by topic */
    struct bench_request request;
    uint32_t settled; /* connections that stood once or failed */
    uint32_t failed;
    uint32_t busy;
    uint32_t ready_n; /* free or closed ones, a queue so that all take their turn */
    uint32_t ready_first;
    uint32_t *ready;
    struct connection *list;
    char read[READ_BYTES];
};

static void bench_publish_note(struct bench_publish *publish, const char *what)
{
    if (publish->facts.trouble[0] == '\0')
        snprintf(publish->facts.trouble, sizeof(publish->facts.trouble), "%s", what);
}

static bool bench_publish_is_ws(const struct bench_publish *publish)
{
    return publish->options->publish_way != BENCH_PUBLISH_POST;
}

static uint32_t bench_publish_index_of(const struct bench_publish *publish,
                                       const struct connection *con)
{
    return (uint32_t)(con - publish->list);
}

static void bench_publish_settle_one(struct bench_publish *publish, struct connection *con)
{
    publish->settled += !con->settled;
    con->settled = true;
}

/* Let a connection wait for its next request.  A closed one is opened when it is needed, so that
 * a server which closes at once is not dialled without end. */
static void bench_publish_put_ready(struct bench_publish *publish, struct connection *con,
                                    enum state state)
{
    uint32_t room = publish->options->connections;

    con->state = state;
    if (con->queued)
        return;
    con->queued = true;
    publish->ready[(publish->ready_first + publish->ready_n++) % room] =
        bench_publish_index_of(publish, con);
}

static void bench_publish_put_closed(struct bench_publish *publish, struct connection *con)
{
    close(con->fd);
    con->fd = -1;
    bench_publish_put_ready(publish, con, STATE_CLOSED);
}

static void bench_publish_fail(struct bench_publish *publish, struct connection *con, int error)
{
    bench_publish_note(publish, strerror(error));
    bench_publish_settle_one(publish, con);
    publish->failed++;
    con->state = STATE_FAILED;
}

static void bench_publish_open_connection(struct bench_publish *publish, struct connection *con)
{
    const struct bench_url *url = &publish->request.url;
    int fd = bench_connect(publish->epoll,
                           bench_key(BENCH_KIND_PUBLISHER, bench_publish_index_of(publish, con)),
                           &url->address, url->address_n, NULL);

    con->fd = fd >= 0 ? fd : -1;
    if (fd >= 0)
        con->state = STATE_CONNECTING;
    else
        bench_publish_fail(publish, con, -fd);
}

/* The topic in the URL of a WebSocket. */
static uint32_t bench_publish_topic_of(const struct bench_publish *publish,
                                       const struct connection *con)
{
    return bench_publish_index_of(publish, con) % publish->options->topics;
}

/* The next connection that can take a request, or NULL; closed ones before it are opened. */
static struct connection *bench_publish_take_free(struct bench_publish *publish)
{
    while (publish->ready_n > 0) {
        struct connection *con = &publish->list[publish->ready[publish->ready_first]];

        publish->ready_first = (publish->ready_first + 1) % publish->options->connections;
        publish->ready_n--;
        con->queued = false;
        if (con->state == STATE_FREE)
            return con;
        if (con->state == STATE_CLOSED)
            bench_publish_open_connection(publish, con);
    }
    return NULL;
}

static int bench_publish_set_up(struct bench_publish *publish, uint32_t run)
{
    const struct bench_options *options = publish->options;
    int rc = bench_request_init(&publish->request, options, run);

    if (rc != 0)
        return rc;
    publish->list = calloc(options->connections, sizeof(*publish->list));
    publish->ready = calloc(options->connections, sizeof(*publish->ready));
    publish->facts.unaccepted = calloc(options->topics, sizeof(*publish->facts.unaccepted));
    publish->facts.numbers = publish->request.issued;
    if (publish->list == NULL || publish->ready == NULL || publish->facts.unaccepted == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < options->connections; i++)
        publish->list[i].fd = -1;
    for (uint32_t i = 0; i < options->connections; i++) {
        struct connection *con = &publish->list[i];

        con->out = malloc(bench_request_room(&publish->request));
        con->events = calloc(options->batch, sizeof(*con->events));
        if (con->out == NULL || con->events == NULL)
            return -ENOMEM;
        bench_publish_open_connection(publish, con);
    }
    return 0;
}

int bench_publish_new(struct bench_publish **ret_publish, const struct bench_options *options,
                      int epoll, uint32_t run, const uint32_t *listening)
{
    struct bench_publish *publish = calloc(1, sizeof(*publish));

    if (publish == NULL)
        return -ENOMEM;
    publish->options = options;
    publish->epoll = epoll;
    publish->listening = listening;
    int rc = bench_publish_set_up(publish, run);
    if (rc != 0) {
        bench_publish_free(publish);
        return rc;
    }
    *ret_publish = publish;
    return 0;
}

void bench_publish_free(struct bench_publish *publish)
{
    if (publish == NULL)
        return;
    for (uint32_t i = 0; publish->list != NULL && i < publish->options->connections; i++) {
        struct connection *con = &publish->list[i];

        if (con->fd >= 0)
            close(con->fd);
        free(con->out);
        free(con->events);
    }
    for (uint32_t i = 0; publish->facts.unaccepted && i < publish->options->topics; i++)
        bench_sequence_done(&publish->facts.unaccepted[i]);
    free(publish->facts.unaccepted);
    free(publish->list);
    free(publish->ready);
    bench_request_done(&publish->request);
    free(publish);
}

bool bench_publish_settled(const struct bench_publish *publish)
{
    return publish->settled == publish->options->connections;
}

bool bench_publish_failed(const struct bench_publish *publish)
{
    return publish->failed == publish->options->connections;
}

void bench_publish_start(struct bench_publish *publish, uint64_t from_ns, uint64_t measure_ns)
{
    const struct bench_options *options = publish->options;
    double seconds = options->warmup + options->seconds;

    publish->from_ns = from_ns;
    publish->measure_from_ns = measure_ns;
    publish->until_ns = BENCH_NEVER;
    publish->requests_max = UINT64_MAX;
    publish->started = true;
    if (options->rate > 0) {
        publish->interval_ns = (double)BENCH_SECOND_NS * options->batch / options->rate;
        publish->requests_max = (uint64_t)(seconds * options->rate / options->batch + 0.5);
    } else if (!options->events) {
        publish->until_ns = from_ns + (uint64_t)(seconds * (double)BENCH_SECOND_NS);
    }
    if (options->events)
        publish->requests_max = options->events / options->batch;
}

static uint64_t bench_publish_next_due(const struct bench_publish *publish)
{
    return publish->from_ns + (uint64_t)(publish->interval_ns * (double)publish->requests);
}

static bool bench_publish_has_more(const struct bench_publish *publish)
{
    return publish->started && !publish->stopped && publish->requests < publish->requests_max;
}

uint64_t bench_publish_due(const struct bench_publish *publish)
{
    if (publish->ready_n == 0 || !bench_publish_has_more(publish))
        return BENCH_NEVER;
    return bench_publish_next_due(publish);
}

/* Take the events of a request that was not acknowledged out of what streams must receive. */
static void bench_publish_excuse(struct bench_publish *publish, const struct connection *con)
{
    for (uint32_t i = 0; i < publish->options->batch; i++) {
        struct bench_request_event event = con->events[i];

        bench_sequence_take(&publish->facts.unaccepted[event.topic], event.number);
    }
}

static void bench_publish_set_idle(struct bench_publish *publish, struct connection *con)
{
    assert(con->state == STATE_BUSY);
    bench_request_answered(&publish->request, con->events);
    publish->busy--;
    con->out_n = 0;
    con->sent_n = 0;
}

/* The connection ended under a request: whether the server took it cannot be known. */
static void bench_publish_give_up_one(struct bench_publish *publish, struct connection *con,
                                      const char *why)
{
    bench_publish_note(publish, why);
    bench_publish_excuse(publish, con);
    publish->facts.unanswered += publish->options->batch;
    bench_publish_set_idle(publish, con);
    bench_publish_put_closed(publish, con);
}

static void bench_publish_send_on(struct connection *con)
{
    while (con->sent_n < con->out_n) {
        ssize_t n = send(con->fd, con->out + con->sent_n, con->out_n - con->sent_n, MSG_NOSIGNAL);

        if (n < 0) {
            /* A server that refuses early closes; its answer is still there to be read. */
            if (errno != EAGAIN)
                con->sent_n = con->out_n;
            return;
        }
        con->sent_n += (size_t)n;
    }
}

static void bench_publish_send_request(struct bench_publish *publish, struct connection *con,
                                       uint64_t now_ns)
{
    /* In a closed loop a request is due when its connection is free. */
    con->due_ns = publish->interval_ns > 0 ? bench_publish_next_due(publish) : now_ns;
    con->out_n =
        bench_request_write(&publish->request, con->out, bench_publish_topic_of(publish, con),
                            con->due_ns, con->events);
    con->sent_n = 0;
    con->state = STATE_BUSY;
    bench_http_start(&con->answer);
    publish->busy++;
    publish->requests++;
    publish->facts.issued += publish->options->batch;
    if (con->due_ns >= publish->measure_from_ns)
        bench_latency_record(&publish->facts.lag, now_ns - con->due_ns);
    bench_publish_send_on(con);
}

void bench_publish_run(struct bench_publish *publish, uint64_t now_ns)
{
    if (now_ns >= publish->until_ns)
        publish->stopped = true;
    while (bench_publish_has_more(publish) && bench_publish_next_due(publish) <= now_ns) {
        struct connection *con = bench_publish_take_free(publish);

        if (con == NULL)
            return;
        bench_publish_send_request(publish, con, now_ns);
    }
}

static void bench_publish_acknowledge(struct bench_publish *publish, struct connection *con)
{
    for (uint32_t i = 0; i < publish->options->batch; i++)
        publish->facts.expected += publish->listening[con->events[i].topic];
    publish->facts.acknowledged += publish->options->batch;
}

static void bench_publish_refuse(struct bench_publish *publish, struct connection *con)
{
    char why[64];

    snprintf(why, sizeof(why), "answered with status %d", con->answer.status);
    bench_publish_note(publish, why);
    bench_publish_excuse(publish, con);
    publish->facts.refused += publish->options->batch;
}

static void bench_publish_take_answer(struct bench_publish *publish, struct connection *con)
{
    bool whole = con->sent_n == con->out_n;

    if (con->answer.status >= 200 && con->answer.status < 300)
        bench_publish_acknowledge(publish, con);
    else
        bench_publish_refuse(publish, con);
    publish->facts.last_ns = publish->now_ns;
    if (con->due_ns >= publish->measure_from_ns)
        bench_latency_record(&publish->facts.latency, publish->now_ns - con->due_ns);
    bench_publish_set_idle(publish, con);
    if (con->answer.closes || !whole)
        bench_publish_put_closed(publish, con);
    else
        bench_publish_put_ready(publish, con, STATE_FREE);
}

/* A WebSocket that is given up: before it stood, or with a message under way, or between two. */
static void bench_publish_drop_ws(struct bench_publish *publish, struct connection *con,
                                  const char *why)
{
    if (con->state == STATE_BUSY) {
        bench_publish_give_up_one(publish, con, why);
        return;
    }
    bool stood = con->state != STATE_UPGRADING;
    bench_publish_note(publish, why);
    bench_publish_put_closed(publish, con);
    if (stood)
        return;
    bench_publish_settle_one(publish, con);
    publish->failed++;
    con->state = STATE_FAILED;
}

/* The end of the connection, which also ends an answer of no declared length. */
static void bench_publish_take_end(struct bench_publish *publish, struct connection *con,
                                   const char *why)
{
    if (bench_publish_is_ws(publish))
        bench_publish_drop_ws(publish, con, why);
    else if (con->state != STATE_BUSY)
        bench_publish_put_closed(publish, con);
    else if (con->answer.state == BENCH_HTTP_BODY && con->answer.left == UINT64_MAX)
        bench_publish_take_answer(publish, con);
    else
        bench_publish_give_up_one(publish, con, why);
}

/* Returns whether more of it is to come. */
static bool bench_publish_feed_answer(struct bench_publish *publish, struct connection *con,
                                      size_t n)
{
    if (con->state != STATE_BUSY) {
        bench_publish_note(publish, "an answer without a request");
        bench_publish_put_closed(publish, con);
        return false;
    }
    size_t taken = bench_http_feed(&con->answer, publish->read, n, NULL, NULL);
    if (con->answer.state == BENCH_HTTP_BAD || taken < n)
        bench_publish_give_up_one(publish, con, "not an HTTP answer");
    else if (con->answer.state == BENCH_HTTP_DONE)
        bench_publish_take_answer(publish, con);
    else
        return true;
    return false;
}

/* What ends the wait for an answer over a WebSocket: `ack` or `error`, or the event itself. */
static bool bench_publish_is_answer(const struct bench_publish *publish,
                                    const struct connection *con, const char *text, size_t text_n,
                                    int *ret_status)
{
    static const char ack[] = "{\"type\":\"ack\"", error[] = "{\"type\":\"error\"";
    struct bench_stamp stamp;

    *ret_status = 201;
    if (publish->options->publish_way == BENCH_PUBLISH_WS_RAW)
        return bench_stamp_find(text, text_n, &stamp) && stamp.run == publish->request.run &&
               stamp.topic == con->events[0].topic && stamp.number == con->events[0].number;
    if (text_n >= strlen(ack) && memcmp(text, ack, strlen(ack)) == 0)
        return true;
    const char *status = memmem(text, text_n, "\"status\":", strlen("\"status\":"));
    if (text_n < strlen(error) || memcmp(text, error, strlen(error)) != 0)
        return false;
    *ret_status = status != NULL && status + 13 <= text + text_n ? atoi(status + 9) : 0;
    return true;
}

struct feeding {
    struct bench_publish *publish;
    struct connection *con;
    bool closing;
};

static void bench_publish_take_frame(void *context, enum bench_ws_opcode opcode, const char *bytes,
                                     size_t bytes_n)
{
    struct feeding *feeding = context;
    struct connection *con = feeding->con;
    char pong[BENCH_WS_PONG_ROOM];
    int status;

    feeding->closing |= opcode == BENCH_WS_CLOSE;
    if (opcode == BENCH_WS_PING && con->sent_n == con->out_n)
        send(con->fd, pong, bench_ws_write_pong(pong, bytes, bytes_n), MSG_NOSIGNAL);
    if (opcode != BENCH_WS_TEXT || con->state != STATE_BUSY ||
        !bench_publish_is_answer(feeding->publish, con, bytes, bytes_n, &status))
        return;
    con->answer.status = status;
    bench_publish_take_answer(feeding->publish, con);
}

/* Returns whether more may be read. */
static bool bench_publish_feed_ws(struct bench_publish *publish, struct connection *con, size_t n)
{
    struct feeding feeding = {.publish = publish, .con = con};
    size_t head_n = 0;
    char why[64];

    if (con->state == STATE_UPGRADING) {
        head_n = bench_http_feed(&con->answer, publish->read, n, NULL, NULL);
        if (con->answer.state < BENCH_HTTP_BODY)
            return true;
        if (con->answer.status != BENCH_WS_STATUS) {
            snprintf(why, sizeof(why), "answered with status %d", con->answer.status);
            bench_publish_drop_ws(publish, con, why);
            return false;
        }
        con->out_n = con->sent_n = 0;
        bench_publish_settle_one(publish, con);
        bench_publish_put_ready(publish, con, STATE_FREE);
    }
    bool good = bench_ws_feed(&con->ws, publish->read + head_n, n - head_n,
                              bench_publish_take_frame, &feeding);
    if (!good || feeding.closing)
        bench_publish_drop_ws(publish, con,
                              good ? "closed by the server with a Close frame"
                                   : "not a frame that can be followed");
    return good && !feeding.closing;
}

static void bench_publish_read_all(struct bench_publish *publish, struct connection *con)
{
    ssize_t n = recv(con->fd, publish->read, READ_BYTES, 0);

    while (n > 0) {
        publish->now_ns = bench_now();
        bool more = bench_publish_is_ws(publish)
                        ? bench_publish_feed_ws(publish, con, (size_t)n)
                        : bench_publish_feed_answer(publish, con, (size_t)n);
        if (!more || n < READ_BYTES)
            return;
        n = recv(con->fd, publish->read, READ_BYTES, 0);
    }
    if (n == 0 || errno != EAGAIN)
        bench_publish_take_end(publish, con, n == 0 ? "closed by the server" : strerror(errno));
}

static void bench_publish_upgrade(struct bench_publish *publish, struct connection *con)
{
    con->out_n = bench_request_write_upgrade(&publish->request, con->out,
                                             bench_publish_topic_of(publish, con));
    con->sent_n = 0;
    con->state = STATE_UPGRADING;
    con->ws = (struct bench_ws){0};
    bench_http_start(&con->answer);
    bench_publish_send_on(con);
}

static void bench_publish_connected(struct bench_publish *publish, struct connection *con)
{
    int error = bench_socket_error(con->fd);

    if (error == 0 && bench_publish_is_ws(publish)) {
        bench_publish_upgrade(publish, con);
        return;
    }
    if (error == 0) {
        bench_publish_settle_one(publish, con);
        bench_publish_put_ready(publish, con, STATE_FREE);
        return;
    }
    close(con->fd);
    con->fd = -1;
    bench_publish_fail(publish, con, error);
}

uint64_t bench_publish_ready(struct bench_publish *publish, uint32_t index)
{
    assert(index < publish->options->connections);
    struct connection *con = &publish->list[index];
    publish->now_ns = bench_now();
    if (con->state == STATE_CONNECTING) {
        bench_publish_connected(publish, con);
    } else if (con->state != STATE_CLOSED && con->state != STATE_FAILED) {
        if (con->sent_n < con->out_n)
            bench_publish_send_on(con);
        bench_publish_read_all(publish, con);
    }
    return publish->now_ns;
}

void bench_publish_stop(struct bench_publish *publish, uint64_t now_ns)
{
    if (publish->interval_ns > 0 && bench_publish_has_more(publish)) {
        uint64_t due = (uint64_t)((double)(now_ns - publish->from_ns) / publish->interval_ns) + 1;

        if (due > publish->requests_max)
            due = publish->requests_max;
        if (due > publish->requests)
            publish->facts.unsent = (due - publish->requests) * publish->options->batch;
    }
    publish->stopped = true;
}

bool bench_publish_finished(const struct bench_publish *publish)
{
    return publish->busy == 0 &&
           (!bench_publish_has_more(publish) || bench_publish_failed(publish));
}

void bench_publish_give_up(struct bench_publish *publish)
{
    for (uint32_t i = 0; i < publish->options->connections; i++)
        if (publish->list[i].state == STATE_BUSY)
            bench_publish_give_up_one(publish, &publish->list[i], "no answer in time");
}

const struct bench_publish_facts *bench_publish_facts(const struct bench_publish *publish)
{
    return &publish->facts;
}
