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

/* Bytes the peer has acknowledged so far: it moves as long as the peer reads, however slowly.
 * On a unix socket, the negative of what waits unread.  Returns 0 or -errno. */
int peer_acknowledged(int fd, int64_t *ret_bytes);

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
