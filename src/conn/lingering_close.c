/* SPDX-License-Identifier: MIT */
/* Sockets that are read to their end after the last answer.  See lingering_close.h. */
#include "config.h"
#include "conn/lingering_close.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define LINGERING_CLOSE_MS 2000
#define ANSWER_MS 1000
/* A busy page answers late, and takes a reset for an end that is not clean. */
#define ANSWERED_CLOSE_MS 5000
#define SOCKETS_MAX 256
#define DISCARD_BYTES 65536
/* Reads in one go, so that a peer which sends fast does not hold the loop. */
#define READS_MAX 16

struct lingering {
    struct lingering_close_pool *pool;
    struct event readable;
    int fd;
    bool is_answered;
    bool is_shut; /* the sending half */
    int64_t until_ms;
    TAILQ_ENTRY(lingering) link;
};

struct lingering_close_pool {
    struct worker *worker;
    const struct context *context; /* of the worker */
    size_t count;
    TAILQ_HEAD(, lingering) sockets;
    char discard[DISCARD_BYTES];
};

struct lingering_close_pool *lingering_close_new(struct worker *worker)
{
    struct lingering_close_pool *pool = calloc(1, sizeof(*pool));

    if (pool == NULL)
        return NULL;
    pool->worker = worker;
    pool->context = worker_context(worker);
    TAILQ_INIT(&pool->sockets);
    return pool;
}

static void close_lingering(struct lingering *socket)
{
    struct lingering_close_pool *pool = socket->pool;

    event_del(&socket->readable);
    TAILQ_REMOVE(&pool->sockets, socket, link);
    pool->count--;
    close(socket->fd);
    free(socket);
}

void lingering_close_free(struct lingering_close_pool *pool)
{
    if (pool == NULL)
        return;
    while (!TAILQ_EMPTY(&pool->sockets))
        close_lingering(TAILQ_FIRST(&pool->sockets));
    free(pool);
}

static void shut(struct lingering *socket, int64_t now_ms)
{
    if (socket->is_shut)
        return;
    shutdown(socket->fd, SHUT_WR);
    socket->is_shut = true;
    socket->until_ms = now_ms + (socket->is_answered ? ANSWERED_CLOSE_MS : LINGERING_CLOSE_MS);
}

static void lingering_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct lingering *socket = arg;

    (void)what;
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t n = recv(fd, socket->pool->discard, DISCARD_BYTES, MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            close_lingering(socket);
            return;
        }
        shut(socket, clock_mono_ms());
    }
}

/* Without what is unread now the close at least does not begin with a reset. */
static void close_at_once(struct lingering_close_pool *pool, int fd)
{
    for (int i = 0; i < READS_MAX; i++)
        if (recv(fd, pool->discard, DISCARD_BYTES, MSG_DONTWAIT) < DISCARD_BYTES)
            break;
    close(fd);
}

static void take(struct lingering_close_pool *pool, int fd, bool is_answered)
{
    struct lingering *socket = pool->count < SOCKETS_MAX ? calloc(1, sizeof(*socket)) : NULL;

    if (socket == NULL) {
        close_at_once(pool, fd);
        return;
    }
    socket->pool = pool;
    socket->fd = fd;
    socket->is_answered = is_answered;
    socket->until_ms = clock_mono_ms() + ANSWER_MS;
    event_assign(&socket->readable, pool->context->base, fd, EV_READ | EV_PERSIST,
                 lingering_on_readable, socket);
    if (event_add(&socket->readable, NULL) != 0) {
        free(socket);
        close_at_once(pool, fd);
        return;
    }
    if (!is_answered)
        shut(socket, clock_mono_ms());
    TAILQ_INSERT_TAIL(&pool->sockets, socket, link);
    pool->count++;
}

void lingering_close_take(struct lingering_close_pool *pool, int fd)
{
    take(pool, fd, false);
}

void lingering_close_take_answered(struct lingering_close_pool *pool, int fd)
{
    take(pool, fd, true);
}

void lingering_close_tick(struct lingering_close_pool *pool, int64_t now_ms)
{
    struct lingering *socket = TAILQ_FIRST(&pool->sockets);

    while (socket != NULL) {
        struct lingering *next = TAILQ_NEXT(socket, link);

        if (socket->until_ms <= now_ms && socket->is_shut)
            close_lingering(socket);
        else if (socket->until_ms <= now_ms)
            shut(socket, now_ms);
        socket = next;
    }
}

size_t lingering_close_count(const struct lingering_close_pool *pool)
{
    return pool->count;
}
