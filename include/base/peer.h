/* SPDX-License-Identifier: MIT */
/* What the kernel knows about the other end of a socket, and what we can do to it. */
#ifndef BUGLE_PEER_H
#define BUGLE_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* The address of a peer, as little as it takes.  Family 0: a unix socket. */
struct peer {
    uint8_t address[16]; /* network order; IPv4 in the first four bytes */
    uint16_t port;       /* host order; 0: not known */
    uint16_t family;     /* AF_INET, AF_INET6, 0 or PEER_UNKNOWN; IPv4-mapped IPv6 is AF_INET */
};

/* Somebody behind a proxy that does not say who.  A sockaddr of AF_UNSPEC. */
#define PEER_UNKNOWN UINT16_MAX

void peer_from_sockaddr(const struct sockaddr *address, struct peer *ret_peer);

#define PEER_TEXT_BYTES 64
/* "192.0.2.1:4711", "[2001:db8::1]:4711", without a port that is not known "192.0.2.1" and
 * "2001:db8::1"; "unix" or "unknown".  Returns `to`. */
const char *peer_text(const struct peer *peer, char to[PEER_TEXT_BYTES]);

bool peer_is_loopback(const struct peer *peer); /* a unix socket is */

/* What the kernel knows about how the peer takes what it is sent. */
struct tcp_progress {
    uint64_t outstanding; /* bytes handed to the kernel that the peer has not acknowledged */
    int64_t acknowledged; /* bytes ever; moves as long as the peer reads, however slowly.  On a
                           * unix socket the negative of what waits unread */
    int64_t silent_ms;    /* since the peer's machine last acknowledged anything, new or not */
    int64_t sent_ms;      /* since data last left for it, probes of a closed window aside */
    bool unanswered;      /* and data was repeated since, the last time a second ago */
};

/* Ask the kernel.  One system call when nothing is outstanding, and then the rest is 0; two
 * otherwise.  Returns 0 or -errno. */
int tcp_progress(int fd, struct tcp_progress *ret_flow);

/* How long the kernel itself lets something be outstanding (TCP_USER_TIMEOUT).  It counts from when
 * the peer's window closed, and begins anew only when a whole segment as it was queued went
 * through: a slow reader may take longer, so the caller extends the deadline when it sees progress.
 * One system call. */
void peer_set_patience(int fd, int64_t ms);

/* Cut the connection with a reset, so that nothing of it stays in the kernel.  The descriptor
 * stays open: its owner closes it. */
void peer_abort(int fd);

/* What an edge on a watched descriptor means. */
enum peer_state {
    PEER_THERE,       /* nothing has ended: data, or nothing */
    PEER_HALF_CLOSED, /* it will send no more; whether it still reads, only a write can tell */
    PEER_GONE,
};
enum peer_state peer_probe(int fd);

#endif
