/* SPDX-License-Identifier: MIT */
/*
 * What is read of WebSockets.  See ws_conn.h.
 *
 * The socket is watched for edges, so what is known of it is remembered: `has_more` until a look
 * has found less than it asked for.  A look peeks, gives the parser what is there up to the end of
 * each message, and takes from the socket what the parser has used.  Who has sent much goes on in
 * the next turn of the loop, behind the others; and so does everybody for whom this turn has no
 * time left, since one message may take as long as thousands of deliveries, and the streams of the
 * worker wait meanwhile.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/min_rate.h"
#include "conn/ws_internal.h"
#include "wire/ws_frame.h"

/* Messages of one client in a turn, before the others have theirs. */
#define MESSAGES_A_TURN 8
#define READS_A_TURN (4 * MESSAGES_A_TURN) /* inside TLS, where a message takes some */
/* What reading may take of one turn; the message with which it is over takes up to 1 ms more. */
#define READ_NS_A_TURN 500000
/* Of limits.message_rate, what may come at once. */
#define BURST_MS 2000

/* A message of which a part has come. */
struct ws_receiving {
    TAILQ_ENTRY(ws_receiving) link;
    struct ws_conn *conn;
    int64_t until_ms;
    int64_t bytes;
    struct min_rate rate;
};

static const struct conf *conf_of(const struct ws_conn *conn)
{
    return conn->conns->context->conf;
}

/* ---- going on in a later turn ---- */

/* An event that is made active runs in this turn still. */
static void want_next_turn(struct ws_conns *conns)
{
    static const struct timeval at_once = {0};

    if (evtimer_add(conns->next_turn, &at_once) != 0)
        event_active(conns->next_turn, EV_TIMEOUT, 0); /* the loop has no memory for it */
}

static bool has_time(struct ws_conns *conns)
{
    uint64_t turn = worker_turns(conns->worker);
    int64_t now_ns = clock_mono_ns();

    if (conns->turn != turn || conns->until_ns == 0)
        conns->until_ns = now_ns + READ_NS_A_TURN;
    conns->turn = turn;
    return now_ns < conns->until_ns;
}

static void read_in_next_turn(struct ws_conn *conn)
{
    struct ws_conns *conns = conn->conns;

    if (conn->in_again || conn->is_deaf)
        return;
    if (TAILQ_EMPTY(&conns->again))
        want_next_turn(conns);
    TAILQ_INSERT_TAIL(&conns->again, conn, link);
    conn->in_again = true;
}

/* Whether the next message may come. */
static bool may_read(const struct ws_conn *conn)
{
    return !conn->awaits && !conn->is_deaf && conn->ws.said == NULL &&
           stream_get_end(conn->stream) == STREAM_END_NONE;
}

static void read_on(struct ws_conn *conn)
{
    if (conn->has_more && may_read(conn))
        read_in_next_turn(conn);
}

void ws_read_on_said(void *connection)
{
    read_on(connection);
}

void ws_conn_go_on(struct ws_conn *conn)
{
    conn->awaits = false;
    read_on(conn);
}

/* ---- a message of which a part has come ---- */

static void forget_receiving(struct ws_conn *conn)
{
    if (conn->receiving == NULL)
        return;
    TAILQ_REMOVE(&conn->conns->receiving, conn->receiving, link);
    free(conn->receiving);
    conn->receiving = NULL;
}

static void begin_receiving(struct ws_conn *conn)
{
    struct ws_receiving *receiving = calloc(1, sizeof(*receiving));
    int64_t now_ms = worker_now_ms(conn->conns->worker);

    if (receiving == NULL) {
        ws_conn_end(conn, WS_CLOSE_INTERNAL, "failed");
        return;
    }
    receiving->conn = conn;
    receiving->until_ms = now_ms + (int64_t)conf_of(conn)->limits.body_timeout_ms;
    min_rate_begin(&receiving->rate, now_ms, 0);
    TAILQ_INSERT_TAIL(&conn->conns->receiving, receiving, link);
    conn->receiving = receiving;
}

static void note_receiving(struct ws_conn *conn, size_t used)
{
    if (!ws_parser_is_inside(&conn->parser)) {
        forget_receiving(conn);
        return;
    }
    if (conn->receiving == NULL)
        begin_receiving(conn);
    if (conn->receiving != NULL)
        conn->receiving->bytes += (int64_t)used;
}

/* It is not read from any more: what there is of a message is of no use, and its Close may wait
 * long for the client. */
static void drop_received(struct ws_conn *conn)
{
    ws_parser_end(&conn->parser);
    forget_receiving(conn);
    if (conn->held_bytes > 0)
        memory_budget_add(conn->conns->context->memory, MEMORY_BUDGET_BODIES,
                          -(int64_t)conn->held_bytes);
    conn->held_bytes = 0;
}

static void look_at_receiving(struct ws_receiving *receiving, int64_t now_ms)
{
    uint64_t least = conf_of(receiving->conn)->limits.body_rate;

    min_rate_note(&receiving->rate, now_ms, receiving->bytes);
    if (receiving->until_ms <= now_ms)
        ws_conn_end(receiving->conn, WS_CLOSE_POLICY,
                    "The message did not arrive within limits.body_timeout.");
    else if (min_rate_is_slow(&receiving->rate, now_ms, least))
        ws_conn_end(receiving->conn, WS_CLOSE_POLICY,
                    "The message arrived more slowly than limits.body_rate allows.");
}

void ws_read_tick(struct ws_conns *conns, int64_t now_ms)
{
    struct ws_receiving *receiving = TAILQ_FIRST(&conns->receiving);

    while (receiving != NULL) {
        struct ws_receiving *next = TAILQ_NEXT(receiving, link);

        look_at_receiving(receiving, now_ms);
        if (receiving->conn->is_deaf)
            drop_received(receiving->conn);
        receiving = next;
    }
}

/* What the parser holds, in limits.memory. */
static void count_held(struct ws_conn *conn)
{
    struct memory_budget *memory = conn->conns->context->memory;
    size_t held = ws_parser_held_bytes(&conn->parser);

    if (held > conn->held_bytes &&
        !memory_budget_admit(memory, MEMORY_BUDGET_BODIES, held - conn->held_bytes,
                             memory_budget_level_for(held))) {
        ws_conn_end(conn, WS_CLOSE_TRY_LATER, "memory_short");
        drop_received(conn);
        return;
    }
    if (held < conn->held_bytes)
        memory_budget_add(memory, MEMORY_BUDGET_BODIES, -(int64_t)(conn->held_bytes - held));
    conn->held_bytes = (uint32_t)held;
}

/* ---- events of the parser ---- */

static bool is_within_rate(struct ws_conn *conn)
{
    uint64_t rate = conf_of(conn)->limits.message_rate;

    if (token_bucket_take_deep(&conn->rate, rate, BURST_MS, worker_now_ms(conn->conns->worker)))
        return true;
    ws_conn_end(conn, WS_CLOSE_POLICY,
                "The client sends more messages than limits.message_rate allows.");
    return false;
}

static void take_text(struct ws_conn *conn, const struct ws_event *event)
{
    stats_add(conn->conns->context->stats, STATS_WEBSOCKET_MESSAGES, 1);
    conn->awaits = !conn->ops->text(conn, event->bytes, event->n);
}

/* What stands behind either is not looked at any more. */
static void take_end(struct ws_conn *conn, const struct ws_event *event)
{
    conn->is_deaf = true;
    if (event->kind == WS_EVENT_CLOSE)
        stream_ws_close(conn->stream, STREAM_END_CLOSED, event->code, "");
    else
        ws_conn_end(conn, event->code, event->why);
}

static void take_event(struct ws_conn *conn, const struct ws_event *event)
{
    switch (event->kind) {
    case WS_EVENT_NONE:
        return;
    case WS_EVENT_MESSAGE:
        if (is_within_rate(conn))
            take_text(conn, event);
        return;
    case WS_EVENT_PING:
        if (is_within_rate(conn))
            stream_ws_answer_ping(conn->stream, event->bytes, event->n);
        return;
    case WS_EVENT_PONG:
        is_within_rate(conn);
        return;
    case WS_EVENT_CLOSE:
    case WS_EVENT_FAILED:
        take_end(conn, event);
        return;
    }
}

/* ---- a look ---- */

/* Give the parser what was peeked.  Returns how much of it is used. */
static size_t parse(struct ws_conn *conn, size_t bytes_n, int *left)
{
    char *bytes = conn->conns->buffer;
    struct ws_event event;
    size_t used = 0;

    while (*left > 0 && used < bytes_n && may_read(conn)) {
        size_t n = ws_parser_push(&conn->parser, bytes + used, bytes_n - used, &event);

        used += n;
        note_receiving(conn, n);
        take_event(conn, &event);
        *left -= event.kind != WS_EVENT_NONE;
        if (!has_time(conn->conns))
            *left = 0;
    }
    ws_parser_release(&conn->parser);
    if (conn->is_deaf)
        drop_received(conn);
    else
        count_held(conn);
    return used;
}

/* Returns false when the connection is over. */
static bool take_bytes(struct ws_conn *conn, size_t n)
{
    while (n > 0) {
        ssize_t taken = recv(conn->fd, conn->conns->buffer, n, MSG_DONTWAIT | MSG_TRUNC);

        if (taken < 0 && errno == EINTR)
            continue;
        if (taken <= 0)
            return false;
        n -= (size_t)taken;
    }
    return true;
}

/* Returns how many bytes there are; 0: none, for now or for ever. */
static size_t peek_bytes(struct ws_conn *conn)
{
    ssize_t n;

    do
        n = recv(conn->fd, conn->conns->buffer, WS_READ_BYTES, MSG_PEEK | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) {
        conn->is_deaf = true;
        stream_end(conn->stream, STREAM_END_LEFT);
    }
    return n > 0 ? (size_t)n : 0;
}

/* The session may have more than the socket shows.  No more is read than belongs to one frame, so
 * that nothing is left over. */
static void read_some_tls(struct ws_conn *conn)
{
    int left = MESSAGES_A_TURN;

    for (int i = 0; i < READS_A_TURN && left > 0 && conn->has_more && may_read(conn); i++) {
        size_t wanted = ws_parser_wants(&conn->parser);
        ssize_t n = ws_tls_receive(conn, conn->conns->buffer,
                                   wanted < WS_READ_BYTES ? wanted : WS_READ_BYTES);

        if (n == -EAGAIN) {
            conn->has_more = false;
            return;
        }
        if (n == 0) {
            conn->is_deaf = true;
            stream_end(conn->stream, STREAM_END_LEFT);
            return;
        }
        stream_ws_hear(&conn->ws);
        parse(conn, (size_t)n, &left);
    }
    read_on(conn);
}

static void read_some(struct ws_conn *conn)
{
    if (conn->session != NULL) {
        read_some_tls(conn);
        return;
    }
    int left = MESSAGES_A_TURN;

    while (left > 0 && conn->has_more && may_read(conn)) {
        size_t n = peek_bytes(conn);

        conn->has_more = n == WS_READ_BYTES || conn->has_ended;
        if (n == 0)
            return;
        stream_ws_hear(&conn->ws);
        size_t used = parse(conn, n, &left);
        conn->has_more |= used < n;
        if (!take_bytes(conn, used))
            stream_end(conn->stream, STREAM_END_LEFT);
        left--;
    }
    read_on(conn);
}

void ws_read_on_edge(void *connection, bool is_end)
{
    struct ws_conn *conn = connection;

    conn->has_more = true;
    conn->has_ended |= is_end;
    if (!may_read(conn) || conn->in_again)
        return;
    if (TAILQ_EMPTY(&conn->conns->again) && has_time(conn->conns))
        read_some(conn);
    else
        read_in_next_turn(conn);
}

/* One at least, or nothing would ever be read where the loop has no memory for a later turn. */
static void on_next_turn(evutil_socket_t fd, short what, void *arg)
{
    struct ws_conns *conns = arg;
    struct ws_conn *last = TAILQ_LAST(&conns->again, ws_conn_list), *conn = NULL;

    (void)fd;
    (void)what;
    worker_look_at_clock(conns->worker);
    while (conn != last && (conn == NULL || has_time(conns))) {
        conn = TAILQ_FIRST(&conns->again);
        TAILQ_REMOVE(&conns->again, conn, link);
        conn->in_again = false;
        if (may_read(conn))
            read_some(conn);
    }
    if (!TAILQ_EMPTY(&conns->again))
        want_next_turn(conns);
}

/* ---- life ---- */

int ws_read_init(struct ws_conns *conns)
{
    TAILQ_INIT(&conns->again);
    TAILQ_INIT(&conns->receiving);
    conns->next_turn = evtimer_new(conns->context->base, on_next_turn, conns);
    return conns->next_turn != NULL ? 0 : -ENOMEM;
}

void ws_read_free(struct ws_conns *conns)
{
    event_free(conns->next_turn);
}

void ws_read_begin(struct ws_conn *conn)
{
    struct ws_parser_limits limits = {
        .message_bytes = (uint32_t)conf_of(conn)->limits.message_bytes,
        .inflates = stream_wire_packs(conn->host->host.wire),
    };

    ws_parser_init(&conn->parser, &limits);
}

void ws_read_stop(struct ws_conn *conn)
{
    if (conn->in_again)
        TAILQ_REMOVE(&conn->conns->again, conn, link);
    conn->in_again = false;
    conn->is_deaf = true;
}

void ws_read_end(struct ws_conn *conn)
{
    drop_received(conn);
}
