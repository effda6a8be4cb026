/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets that this process did not open: from systemd (systemd.h) or from the gateway
 * that it takes over from (handover_new.h).  An address of server.listen that one of them has is
 * served by it; a connection that waits in its queue is then never refused.  Main thread.
 */
#ifndef BUGLE_INHERITED_SOCKETS_H
#define BUGLE_INHERITED_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define INHERITED_SOCKETS_MAX 64

struct inherited_socket {
    int fd;
    char *item; /* of server.listen, as the other gateway had it; NULL: not known */
    bool kept;  /* somebody else keeps it open when this process leaves */
};

struct inherited_sockets {
    size_t n;
    struct inherited_socket sockets[INHERITED_SOCKETS_MAX];
};

/* Take a listening socket; `item` is copied, NULL when not known.  Returns 0, or -errno and the
 * socket is closed: -EINVAL when it is none that streams can be accepted from. */
int inherited_sockets_add(struct inherited_sockets *inherited, int fd, const char *item, bool kept);

/* The socket for an item of server.listen that stands for this address, now the caller's; -1 when
 * there is none.  The same item is the same socket, also for port 0. */
int inherited_sockets_take(struct inherited_sockets *inherited, const char *item,
                           const struct sockaddr *address, socklen_t address_n, bool *ret_kept);

/* The address of the first socket that was not taken, for the operator; NULL when all are. */
const char *inherited_sockets_left(const struct inherited_sockets *inherited, char *to,
                                   size_t to_n);

/* Close those that were not taken. */
void inherited_sockets_clear(struct inherited_sockets *inherited);

#endif
