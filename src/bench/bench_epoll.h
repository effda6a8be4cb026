/* SPDX-License-Identifier: MIT */
/* What an epoll entry of the load tool stands for: a kind, and which one of it. */
#ifndef BUGLE_BENCH_EPOLL_H
#define BUGLE_BENCH_EPOLL_H

#include <stdint.h>
#include <sys/socket.h>

enum bench_kind { BENCH_KIND_TIMER, BENCH_KIND_SIGNAL, BENCH_KIND_STREAM, BENCH_KIND_PUBLISHER };

static inline uint64_t bench_key(enum bench_kind kind, uint32_t index)
{
    return (uint64_t)kind << 32 | index;
}

/*
 * Begin a connection and watch it, edge-triggered, for both directions under `key`.
 *
 * source  bound to before connecting; NULL: the kernel chooses
 *
 * Returns the descriptor, which the caller closes, or a negative errno.
 */
int bench_connect(int epoll, uint64_t key, const struct sockaddr_storage *address,
                  socklen_t address_n, const struct sockaddr_storage *source);

/* Why a connection that bench_connect() began has failed: an errno, 0 when it stands. */
int bench_socket_error(int fd);

#endif
