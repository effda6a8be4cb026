/* SPDX-License-Identifier: MIT */
/* Clients that leave, and sockets that have room again.  See peer_watch.h. */
#include "config.h"
#include "stream/peer_watch.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/peer.h"
#include "stream/stream_internal.h"

/* What one turn of the loop takes; the rest comes in the next one, after the others. */
#define EDGES_A_TURN 64

/* The edge tells what the peer did, so the socket is not asked again.  A FIN alone cannot tell a
 * client that left from one that only closed its sending half: a byte sent to it tells. */
static void look(struct stream *stream, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP)) {
        stream->is_gone = (events & EPOLLHUP) != 0;
        stream_end(stream, STREAM_END_LEFT);
    } else if (events & EPOLLRDHUP) {
        if (!stream->half_closed)
            stream_say(stream, STREAM_BEAT);
        stream->half_closed = true;
    }
}

/* To end a stream only marks it: none of those found is freed before all were looked at. */
static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    struct epoll_event edges[EDGES_A_TURN];
    int edges_n = epoll_wait(fd, edges, EDGES_A_TURN, 0);

    (void)what;
    (void)arg;
    for (int i = 0; i < edges_n; i++) {
        if (edges[i].events & EPOLLOUT)
            stream_direct_send_unsent(edges[i].data.ptr);
        if (edges[i].events & ~(uint32_t)EPOLLOUT)
            look(edges[i].data.ptr, edges[i].events);
    }
}

int peer_watch_init(struct peer_watch *departures, struct event_base *base)
{
    departures->set_fd = epoll_create1(EPOLL_CLOEXEC);
    if (departures->set_fd < 0)
        return -errno;
    event_assign(&departures->ready, base, departures->set_fd, EV_READ | EV_PERSIST, on_ready,
                 NULL);
    departures->begun = true;
    return event_add(&departures->ready, NULL) == 0 ? 0 : -ENOMEM;
}

void peer_watch_stop(struct peer_watch *departures)
{
    if (!departures->begun)
        return;
    event_del(&departures->ready);
    close(departures->set_fd);
    departures->begun = false;
}

/* Errors and resets are reported without being asked for; bytes that a client sends after its
 * request are of no interest.  Edges, or whoever closed half would be reported for ever. */
static int watch(const struct peer_watch *departures, int operation, struct stream *stream,
                 uint32_t more)
{
    struct epoll_event wanted = {.events = EPOLLRDHUP | EPOLLET | more, .data.ptr = stream};

    return epoll_ctl(departures->set_fd, operation, stream->fd, &wanted);
}

bool peer_watch_add(struct peer_watch *departures, struct stream *stream)
{
    return watch(departures, EPOLL_CTL_ADD, stream, 0) == 0;
}

/* To change what a set asks for needs no memory. */
void peer_watch_await_room(struct peer_watch *departures, struct stream *stream, bool awaits)
{
    int result = watch(departures, EPOLL_CTL_MOD, stream, awaits ? EPOLLOUT : 0);

    assert(result == 0);
    (void)result;
}

void peer_watch_remove(struct peer_watch *departures, struct stream *stream)
{
    epoll_ctl(departures->set_fd, EPOLL_CTL_DEL, stream->fd, NULL);
}
