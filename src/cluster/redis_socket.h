/* SPDX-License-Identifier: MIT */
/*
 * The bytes of one connection to a Redis, plain or inside TLS, without waiting.  One thread for
 * each socket.
 */
#ifndef BUGLE_REDIS_SOCKET_H
#define BUGLE_REDIS_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "cluster/redis_url.h"

struct addrinfo;
struct redis_trust;

struct redis_socket {
    int fd;         /* -1: none */
    void *session;  /* of GnuTLS; NULL: plain */
    bool tls_keeps; /* a record until there is room */
    char why[160];  /* of the last error */
};

/* Begin to connect.  `host` is borrowed: the name that the certificate must have; `trust` NULL:
 * no TLS.  Returns 0, also while it goes on, or -errno with nothing open. */
int redis_socket_open(struct redis_socket *socket, const struct addrinfo *address, const char *host,
                      const struct redis_trust *trust);
void redis_socket_close(struct redis_socket *socket);

/* Once it is writable: returns 0, or -errno of connecting. */
int redis_socket_connected(const struct redis_socket *socket);

/* The handshake of TLS: 0: done, or none is needed; -EAGAIN; -EPROTO with `why`. */
int redis_socket_shake(struct redis_socket *socket);

/* Whether the handshake waits to write, not to read. */
bool redis_socket_shakes_out(const struct redis_socket *socket);

/* As recv() and send(): bytes, 0 at the end, or -EAGAIN, or -errno with `why`. */
ssize_t redis_socket_read(struct redis_socket *socket, char *to, size_t n);
ssize_t redis_socket_write(struct redis_socket *socket, const char *from, size_t n);

#endif
