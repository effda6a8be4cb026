/* SPDX-License-Identifier: MIT */
/* Peers that leave or send, and sockets that have room again.  See peer_watch.h. */
#include "config.h"
#include "stream/peer_watch.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

/* What one turn of the loop takes; more comes in the next one, after the others. */
#define EDGES_A_TURN 64

static void peer_watch_on_ready(evutil_socket_t fd, short what, void *arg)
{
    const struct peer_watch_reports *reports = ((struct peer_watch *)arg)->reports;
    struct epoll_event edges[EDGES_A_TURN];
    int edges_n = epoll_wait(fd, edges, EDGES_A_TURN, 0);

    (void)what;
    for (int i = 0; i < edges_n; i++) {
        void *owner = edges[i].data.ptr;
        uint32_t events = edges[i].events;

        if (events & EPOLLOUT)
            reports->room(owner);
        if (events & (EPOLLERR | EPOLLHUP))
            reports->gone(owner, (events & EPOLLHUP) != 0);
        else if (events & EPOLLIN)
            reports->readable(owner, (events & EPOLLRDHUP) != 0);
        else if (events & EPOLLRDHUP)
            reports->half_closed(owner);
    }
}

int peer_watch_init(struct peer_watch *watch, struct event_base *base,
                    const struct peer_watch_reports *reports)
{
    watch->set_fd = epoll_create1(EPOLL_CLOEXEC);
    if (watch->set_fd < 0)
        return -errno;
    watch->reports = reports;
    event_assign(&watch->ready, base, watch->set_fd, EV_READ | EV_PERSIST, peer_watch_on_ready,
                 watch);
    watch->begun = true;
    return event_add(&watch->ready, NULL) == 0 ? 0 : -ENOMEM;
}

void peer_watch_stop(struct peer_watch *watch)
{
    if (!watch->begun)
        return;
    event_del(&watch->ready);
    close(watch->set_fd);
    watch->begun = false;
}

/* Errors and resets are reported without being asked for; what the client of an event stream sends
 * after its request is of no interest.  Edges: a peer that closed half would be reported for ever.
 */
static int peer_watch_control(const struct peer_watch *watch, int operation, int fd, void *owner,
                              unsigned what)
{
    struct epoll_event wanted = {.events = EPOLLRDHUP | EPOLLET, .data.ptr = owner};

    if (what & PEER_WATCH_READS)
        wanted.events |= EPOLLIN;
    if (what & PEER_WATCH_ROOM)
        wanted.events |= EPOLLOUT;
    return epoll_ctl(watch->set_fd, operation, fd, &wanted);
}

bool peer_watch_add(struct peer_watch *watch, int fd, void *owner, unsigned what)
{
    return peer_watch_control(watch, EPOLL_CTL_ADD, fd, owner, what) == 0;
}

/* To change what a set asks for needs no memory. */
void peer_watch_change(struct peer_watch *watch, int fd, void *owner, unsigned what)
{
    int result = peer_watch_control(watch, EPOLL_CTL_MOD, fd, owner, what);

    assert(result == 0);
    (void)result;
}

void peer_watch_remove(struct peer_watch *watch, int fd)
{
    epoll_ctl(watch->set_fd, EPOLL_CTL_DEL, fd, NULL);
}
