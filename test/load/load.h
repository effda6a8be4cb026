/* SPDX-License-Identifier: MIT */
/* What the load programs share: a clock, sockets, samples of time.  No library, so that they cost
 * little themselves. */
#ifndef BUGLE_LOAD_H
#define BUGLE_LOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline int64_t load_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

__attribute__((noreturn)) static inline void load_die(const char *what)
{
    perror(what);
    exit(2);
}

/* A connection to a loopback port under way, watched by `epoll` with `data`; from 127.0.0.1 and up,
 * since an address has 28,000 ports.  Returns the descriptor, or -errno. */
static inline int load_connect(int epoll, int port, uint64_t data, unsigned source)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u64 = data};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + source);
    if (bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0 ||
        (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        int error = errno;

        close(fd);
        return -error;
    }
    return fd;
}

static inline int load_socket_error(int fd)
{
    int error = 0;
    socklen_t error_n = sizeof(error);

    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_n);
    return error;
}

/* Times in milliseconds, sorted when they are asked for. */
struct load_samples {
    double *list;
    size_t n, room;
};

static inline void load_sample(struct load_samples *samples, int64_t took_ns)
{
    if (samples->n == samples->room) {
        samples->room = samples->room > 0 ? samples->room * 2 : 1024;
        samples->list = realloc(samples->list, samples->room * sizeof(double));
        if (samples->list == NULL)
            load_die("load");
    }
    samples->list[samples->n++] = (double)took_ns / 1e6;
}

static inline int load_by_size(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;

    return one < other ? -1 : one > other;
}

/* "name": {"count": N, "p50_ms": ..., "p99_ms": ..., "max_ms": ...} */
static inline void load_put_samples(const char *name, struct load_samples *samples)
{
    size_t n = samples->n;

    if (n > 0)
        qsort(samples->list, n, sizeof(double), load_by_size);
    printf("\"%s\": {\"count\": %zu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}", name,
           n, n > 0 ? samples->list[n / 2] : 0, n > 0 ? samples->list[n * 99 / 100] : 0,
           n > 0 ? samples->list[n - 1] : 0);
}

#endif
