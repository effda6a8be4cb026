/* SPDX-License-Identifier: MIT */
/* A host of streams for tests.  See fake_host.h. */
#include "config.h"
#include "fake_host.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../support/make.h"

#define ROOM 1500
#define HEAD "HTTP/1.1 200 OK\r\n\r\n"

/* ---- what a stream asks of it ---- */

static void fake_suspend(void *connection)
{
    struct fake_stream *stream = connection;

    assert(!stream->is_suspended);
    stream->is_suspended = true;
}

static void fake_resume(void *connection)
{
    struct fake_stream *stream = connection;

    assert(stream->is_suspended);
    stream->is_suspended = false;
    stream->was_resumed = true;
}

static void fake_extend_timeout(struct stream_host *host, void *connection)
{
    struct fake_stream *stream = connection;

    assert(&stream->fake->host == host);
    stream->extended++;
}

static void fake_close_soon(struct stream_host *host, void *connection)
{
    struct fake_stream *stream = connection;

    assert(&stream->fake->host == host);
    stream->closed_soon++;
}

static void fake_readable(void *connection, bool is_end)
{
    struct fake_stream *stream = connection;

    stream->readable_n++;
    stream->has_ended = is_end;
}

static void fake_said(void *connection)
{
    struct fake_stream *stream = connection;

    stream->said_n++;
}

static const struct stream_host_ops fake_ops = {
    .suspend = fake_suspend,
    .resume = fake_resume,
    .extend_timeout = fake_extend_timeout,
    .close_soon = fake_close_soon,
    .readable = fake_readable,
    .said = fake_said,
};

static void fake_wake(struct stream_host *host, enum worker_prio prio)
{
    ((struct fake_host *)(void *)host)->awake[prio] = true;
}

/* ---- what stands around it ---- */

static size_t fake_batch(void *arg, struct hub_batch *batch, size_t from, size_t *work)
{
    return streams_batch(((struct fake_host *)arg)->streams, batch, from, work);
}

static void fake_answer(void *arg, struct hub_op *op)
{
    assert(op->result == 0);
    ((struct fake_host *)arg)->answers_n++;
}

static void fake_tick(void *arg, int64_t now_ms)
{
    (void)arg;
    (void)now_ms;
}

struct fake_host *fake_host_new(bool sends_past, size_t ring_events)
{
    struct history_limits limits = {INT64_MAX / 2, SIZE_MAX, SIZE_MAX, INT64_MAX / 2, SIZE_MAX};
    struct hub_limits hub_limits = {.queue_bytes_max = SIZE_MAX, .queue_age_max_ns = INT64_MAX};
    struct fake_host *fake = calloc(1, sizeof(*fake));
    struct worker_hooks hooks = {
        .arg = fake, .batch = fake_batch, .answer = fake_answer, .tick = fake_tick};

    fake->conf = conf_new();
    fake->conf->stream.ring_events = ring_events;
    fake->history = history_memory_new(&limits);
    fake->history_ops = *fake->history->ops;
    fake->history->ops = &fake->history_ops;
    fake->hub = hub_new(fake->history, &hub_limits);
    fake->worker = worker_new(3, fake->conf, fake->hub);
    worker_set_hooks(fake->worker, &hooks);
    fake->pager = page_reader_new(fake->history, 1);
    fake->eviction_log = eviction_log_new(16);
    fake->streams = streams_new(fake->worker, fake->pager, fake->eviction_log);
    fake->room = ROOM;
    fake->host.wake = fake_wake;
    fake->host.ops = &fake_ops;
    fake->host.wire = &stream_wire_sse;
    fake->host.timeout_s = 40;
    fake->host.sends_past = sends_past;
    if (fake->streams == NULL || streams_add_host(fake->streams, &fake->host) != 0 ||
        hub_start(fake->hub) != 0)
        abort();
    return fake;
}

void fake_host_publish(struct fake_host *fake, struct message *message)
{
    struct hub_op op = {.events = &message, .events_n = 1, .bytes = message->bytes};
    size_t answers_n = fake->answers_n;

    if (!hub_admit(fake->hub, op.bytes, &op))
        abort();
    worker_publish(fake->worker, &op);
    while (fake->answers_n == answers_n)
        worker_turn(fake->worker, false);
    message_unref(message);
}

/* ---- serving ---- */

static void fake_pull(struct fake_stream *stream)
{
    while (!stream->is_suspended && stream->end == 0) {
        size_t left = sizeof(stream->received) - stream->received_n;
        ssize_t n = stream_pull(stream->stream, stream->room, stream->fake->room);

        assert(n != 0 || stream->is_suspended);
        if (n < 0) {
            stream->end = n;
            return;
        }
        assert((size_t)n <= left);
        memcpy(stream->received + stream->received_n, stream->room, (size_t)n);
        stream->received_n += (size_t)n;
        stream->pulls_n += n > 0;
    }
}

/* Returns whether there was anything to do. */
static bool fake_serve(struct fake_host *fake)
{
    bool did = false;
    struct stream *stream;

    for (enum worker_prio prio = PRIO_TARGETED; prio < PRIO_COUNT; prio++)
        if (prio != PRIO_NEW && fake->awake[prio]) {
            fake->awake[prio] = stream_host_resume(&fake->host, prio, 64);
            did = true;
        }
    TAILQ_FOREACH (stream, &fake->host.all, in_host) {
        struct fake_stream *of = stream->connection;

        if (of->was_resumed && !of->is_pulled)
            of->end = FAKE_HANDED_BACK;
        else if (of->is_pulled)
            fake_pull(of);
        of->was_resumed = false;
    }
    return did;
}

static bool page_is_under_way(const struct fake_host *fake)
{
    struct stream *stream;

    TAILQ_FOREACH (stream, &fake->host.all, in_host)
        if (stream->state == STREAM_PAGING && !stream->page_waits)
            return true;
    return false;
}

void fake_host_run(struct fake_host *fake)
{
    bool more = true;

    while (more) {
        bool waits = page_is_under_way(fake);

        worker_turn(fake->worker, waits);
        more = fake_serve(fake) || waits;
    }
}

int64_t fake_host_stat(const struct fake_host *fake, enum stats_id id)
{
    return stats_get(worker_context(fake->worker)->stats, id);
}

/* ---- streams ---- */

struct stream_ask fake_ask(const char *patterns)
{
    return (struct stream_ask){.filter = make_filter(patterns, NULL), .heartbeat_ms = 15000};
}

struct fake_stream *fake_stream_open(struct fake_host *fake, struct stream_ask ask)
{
    struct fake_stream *stream = calloc(1, sizeof(*stream));
    int fds[2];

    stream->fake = fake;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
    stream->fd = fds[0];
    stream->peer_fd = fds[1];
    if (stream_open(&fake->host, stream, stream->fd, &ask, &stream->stream) != 0)
        abort();
    filter_unref(ask.filter);
    stream->is_pulled = !stream_answers_itself(stream->stream);
    if (stream->is_pulled)
        fake_pull(stream);
    else
        stream_begin(stream->stream, HEAD, sizeof(HEAD) - 1);
    return stream;
}

void fake_stream_close(struct fake_stream *stream)
{
    stream_closed(stream->stream);
    stream_ws_free(&stream->ws);
    close(stream->fd);
    if (stream->peer_fd >= 0)
        close(stream->peer_fd);
    free(stream);
}

static void fake_receive(struct fake_stream *stream)
{
    ssize_t n = 1;

    while (n > 0 && stream->peer_fd >= 0) {
        n = recv(stream->peer_fd, stream->received + stream->received_n,
                 sizeof(stream->received) - stream->received_n, MSG_DONTWAIT);
        if (n > 0)
            stream->received_n += (size_t)n;
    }
}

size_t fake_stream_count(struct fake_stream *stream, const char *text)
{
    const char *at = stream->received, *end;
    size_t n = 0;

    fake_receive(stream);
    end = stream->received + stream->received_n;
    while ((at = memmem(at, (size_t)(end - at), text, strlen(text))) != NULL) {
        at += strlen(text);
        n++;
    }
    return n;
}

bool fake_stream_has(struct fake_stream *stream, const char *text)
{
    return fake_stream_count(stream, text) > 0;
}

void fake_stream_forget(struct fake_stream *stream)
{
    fake_receive(stream);
    stream->received_n = 0;
}

bool fake_stream_is_cut(struct fake_stream *stream)
{
    char byte;

    fake_receive(stream);
    ssize_t n = recv(stream->peer_fd, &byte, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN);
}

void fake_host_free(struct fake_host *fake)
{
    while (!TAILQ_EMPTY(&fake->host.all)) /* of a test that failed */
        fake_stream_close(TAILQ_FIRST(&fake->host.all)->connection);
    while (fake->streams->pages_n > 0)
        worker_turn(fake->worker, true);
    hub_stop(fake->hub);
    page_reader_free(fake->pager);
    streams_remove_host(&fake->host);
    streams_free(fake->streams);
    worker_free(fake->worker);
    hub_free(fake->hub);
    history_free(fake->history);
    eviction_log_free(fake->eviction_log);
    conf_unref(fake->conf);
    free(fake);
}
