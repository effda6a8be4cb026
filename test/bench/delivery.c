/* SPDX-License-Identifier: MIT */
/*
 * The delivery path and nothing around it, for counting its instructions: a batch goes into the
 * ring, finds its streams, wakes them, and each sends what it wants, or copies it into a buffer of
 * the library's.  All of it is the gateway's own; of the library only the four functions that
 * stream_mhd.c calls are there, below, and send() takes everything.
 *
 *   delivery CASE      broadcast  every event goes to 1,000 streams, one event at a time
 *                      packed     20 events at a time go to 1,000 streams
 *                      targeted   every event goes to one stream of 1,000, a topic each
 *                      library    broadcast, but the library sends it
 *                      websocket  broadcast, over WebSocket, whose form of the event is there
 *
 * prints how many deliveries deliver() made.  test/check_delivery.sh runs it under callgrind,
 * which counts while deliver() runs, and compares with delivery.bounds.
 *
 * Without an argument it prints what keeps the counts of this build from being compared.
 */
#include "config.h"

#include <assert.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../support/make.h"
#include "conn/stream_mhd.h"
#include "event/message_form.h"
#include "history/history_memory.h"
#include "stream/stream.h"
#include "stream/stream_ws.h"
#include "stream/streams.h"

#define STREAMS 1000
#define ROOM 1500 /* for a chunk, as in the pool of a small cell */
#define RING_EVENTS 256
#define HEAD "HTTP/1.1 200 OK\r\n\r\n"
#define WARM_UP (RING_EVENTS + 64) /* events: the ring is full and has all its slots */
#define DATA                                                                                       \
    "data as large as what the measurements publish, which is a hundred bytes of it, "             \
    "more or less so, yes"

struct MHD_Response {
    MHD_ContentReaderCallback read;
    void *cls;
};

struct MHD_Connection {
    struct MHD_Response *response;
    uint64_t offset; /* bytes it was given to send */
    bool suspended;
    SLIST_ENTRY(MHD_Connection) link;
};

/* Connections that the library would serve in its next pass. */
static SLIST_HEAD(, MHD_Connection) resumed = SLIST_HEAD_INITIALIZER(resumed);

struct load {
    const char *name;
    size_t events_n; /* of a batch */
    size_t batches;
    size_t reached; /* streams by an event */
    bool own_topics;
    bool by_library;
    bool by_websocket;
};

struct scene {
    struct conf *conf;
    struct history *history;
    struct hub *hub;
    struct worker *worker;
    struct streams *streams;
    struct stream_host host;
    bool awake[PRIO_COUNT];
    struct stream *list[STREAMS];
    struct MHD_Connection connections[STREAMS];
    struct stream_ws sockets[STREAMS];
    int fds[STREAMS];
    bool own_topics;
    uint64_t position;
    struct hub_batch *batch;
};

/* ---- the library, as far as streams see it ---- */

struct MHD_Response *MHD_create_response_from_callback(uint64_t size, size_t block_size,
                                                       MHD_ContentReaderCallback crc, void *crc_cls,
                                                       MHD_ContentReaderFreeCallback crfc)
{
    struct MHD_Response *response = malloc(sizeof(*response));

    (void)size;
    (void)block_size;
    (void)crfc;
    assert(response != NULL);
    *response = (struct MHD_Response){crc, crc_cls};
    return response;
}

void MHD_destroy_response(struct MHD_Response *response)
{
    free(response);
}

/* It has no headers that could be let go of. */
int MHD_get_response_headers(struct MHD_Response *response, MHD_KeyValueIterator iterator,
                             void *iterator_cls)
{
    (void)response;
    (void)iterator;
    (void)iterator_cls;
    return 0;
}

void MHD_suspend_connection(struct MHD_Connection *connection)
{
    connection->suspended = true;
}

void MHD_resume_connection(struct MHD_Connection *connection)
{
    connection->suspended = false;
    SLIST_INSERT_HEAD(&resumed, connection, link);
}

ssize_t send(int fd, const void *bytes, size_t bytes_n, int flags)
{
    (void)fd;
    (void)bytes;
    (void)flags;
    return (ssize_t)bytes_n;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    size_t n = 0;

    (void)fd;
    (void)flags;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        n += message->msg_iov[i].iov_len;
    return (ssize_t)n;
}

/* ---- what stands around the path ---- */

static void wake(struct stream_host *host, enum worker_prio prio)
{
    struct scene *scene = (struct scene *)((char *)host - offsetof(struct scene, host));

    scene->awake[prio] = true;
}

/* Call the reader as the library does: until it has suspended the connection. */
static void read_out(struct MHD_Connection *connection)
{
    static char room[ROOM];
    ssize_t n;

    while (!connection->suspended) {
        n = connection->response->read(connection->response->cls, connection->offset, room,
                                       sizeof(room));
        assert(n >= 0);
        connection->offset += (size_t)n;
    }
}

static void do_nothing(void *connection)
{
    (void)connection;
}

static const struct stream_host_ops ws_ops = {.suspend = do_nothing, .resume = do_nothing};

static void open_websocket(struct scene *scene, size_t index, struct stream_ask *ask)
{
    if (stream_open(&scene->host, &scene->sockets[index], scene->fds[index], ask,
                    &scene->list[index]) != 0)
        abort();
    filter_unref(ask->filter);
    stream_begin(scene->list[index], HEAD, sizeof(HEAD) - 1);
}

static void open_one(struct scene *scene, size_t index)
{
    struct MHD_Connection *connection = &scene->connections[index];
    char pattern[32] = "topic";

    if (scene->own_topics)
        snprintf(pattern, sizeof(pattern), "topic/%zu", index);
    struct stream_ask ask = {.filter = make_filter(pattern, NULL), .heartbeat_ms = 15000};
    scene->fds[index] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert(scene->fds[index] >= 0);
    if (scene->host.ops == &ws_ops) {
        open_websocket(scene, index, &ask);
        return;
    }
    if (stream_mhd_open(&scene->host, connection, scene->fds[index], &ask, &scene->list[index],
                        &connection->response) != 0)
        abort();
    filter_unref(ask.filter);
    if (connection->response != NULL)
        read_out(connection);
    else
        stream_begin(scene->list[index], HEAD, sizeof(HEAD) - 1);
}

static struct scene *build(const struct load *load)
{
    struct history_limits limits = {INT64_MAX / 2, SIZE_MAX, SIZE_MAX, INT64_MAX / 2, SIZE_MAX};
    struct hub_limits hub_limits = {.queue_bytes_max = SIZE_MAX, .queue_age_max_ns = INT64_MAX};
    struct scene *scene = calloc(1, sizeof(*scene));

    scene->own_topics = load->own_topics;
    scene->batch = calloc(1, sizeof(*scene->batch) + load->events_n * sizeof(struct message *));
    scene->batch->events_n = load->events_n;
    scene->conf = conf_new();
    scene->conf->stream.ring_events = RING_EVENTS;
    scene->history = history_memory_new(&limits);
    scene->hub = hub_new(scene->history, &hub_limits);
    scene->worker = worker_new(0, scene->conf, scene->hub);
    scene->streams = streams_new(scene->worker, NULL, NULL);
    assert(scene->streams != NULL);
    scene->host.wake = wake;
    scene->host.ops = load->by_websocket ? &ws_ops : &stream_mhd_ops;
    scene->host.wire = load->by_websocket ? &stream_wire_raw : &stream_wire_sse;
    scene->host.sends_past = !load->by_library;
    if (streams_add_host(scene->streams, &scene->host) != 0)
        abort();
    for (size_t i = 0; i < STREAMS; i++)
        open_one(scene, i);
    return scene;
}

static void tear_down(struct scene *scene)
{
    for (size_t i = 0; i < STREAMS; i++) {
        stream_closed(scene->list[i]);
        MHD_destroy_response(scene->connections[i].response);
        close(scene->fds[i]);
    }
    streams_remove_host(&scene->host);
    streams_free(scene->streams);
    worker_free(scene->worker);
    hub_free(scene->hub);
    history_free(scene->history);
    conf_unref(scene->conf);
    free(scene->batch);
    free(scene);
}

/* ---- the path ---- */

/* What an event costs from the worker's inbox to the library's buffers. */
__attribute__((noinline)) static void walk_path(struct scene *scene)
{
    struct MHD_Connection *connection;
    size_t work = SIZE_MAX;

    streams_batch(scene->streams, scene->batch, 0, &work);
    for (enum worker_prio prio = PRIO_TARGETED; prio <= PRIO_BROADCAST; prio++)
        while (scene->awake[prio])
            scene->awake[prio] = stream_host_resume(&scene->host, prio, 64);
    while ((connection = SLIST_FIRST(&resumed)) != NULL) {
        SLIST_REMOVE_HEAD(&resumed, link);
        read_out(connection);
    }
}

/* Callgrind counts while this runs, and finds it by its name. */
__attribute__((noinline)) void deliver(struct scene *scene);
void deliver(struct scene *scene)
{
    walk_path(scene);
}

static struct message *next_event(struct scene *scene)
{
    char topic[32] = "topic";

    scene->position++;
    if (scene->own_topics)
        snprintf(topic, sizeof(topic), "topic/%d", (int)(scene->position * 7919 % STREAMS));
    struct message *message = make_message(.topics = topic, .data = DATA);
    message_seal(message, history_epoch(scene->history), scene->position, 1);
    if (scene->host.ops == &ws_ops && message_form(message, MESSAGE_FORM_RAW) == NULL)
        abort();
    return message;
}

static void hand_over(struct scene *scene, void (*path)(struct scene *scene))
{
    struct hub_batch *batch = scene->batch;

    for (size_t i = 0; i < batch->events_n; i++)
        batch->events[i] = next_event(scene);
    path(scene);
    for (size_t i = 0; i < batch->events_n; i++)
        message_unref(batch->events[i]);
}

static int64_t delivered(const struct scene *scene)
{
    return stats_get(worker_context(scene->worker)->stats, STATS_EVENTS_DELIVERED);
}

/* The same work uncounted first, for what grows on first use. */
static int run(const struct load *load)
{
    struct scene *scene = build(load);

    for (size_t i = 0; i < WARM_UP; i += load->events_n)
        hand_over(scene, walk_path);
    int64_t before = delivered(scene);
    for (size_t i = 0; i < load->batches; i++)
        hand_over(scene, deliver);
    int64_t made = delivered(scene) - before;
    tear_down(scene);
    printf("%lld\n", (long long)made);
    return made == (int64_t)(load->batches * load->events_n * load->reached) ? 0 : 1;
}

/* One for each stream. */
static void allow_descriptors(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int say_what_hinders(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
    puts("another compiler than gcc, or a sanitizer");
#elif !defined(__OPTIMIZE__)
    puts("not optimized");
#elif !defined(__x86_64__)
    puts("another processor than x86-64");
#endif
    return 0;
}

int main(int argc, char **argv)
{
    static const struct load loads[] = {
        {"broadcast", 1, 30, STREAMS, .own_topics = false},
        {"packed", 20, 10, STREAMS, .own_topics = false},
        {"targeted", 1, 2000, 1, .own_topics = true},
        {"library", 1, 30, STREAMS, .by_library = true},
        {"websocket", 1, 30, STREAMS, .by_websocket = true},
    };

    if (argc < 2)
        return say_what_hinders();
    allow_descriptors();
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
        if (strcmp(argv[1], loads[i].name) == 0)
            return run(&loads[i]);
    return 2;
}
