/* SPDX-License-Identifier: MIT */
/* Connections of the load tool. */
#include "config.h"
#include "bench/bench_epoll.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

static int bench_epoll_begin(int fd, int epoll, uint64_t key,
                             const struct sockaddr_storage *address, socklen_t address_n,
                             const struct sockaddr_storage *source)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (source != NULL) {
        /* Lets ports be shared by connections to different places. */
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
        if (bind(fd, (const struct sockaddr *)source, sizeof(struct sockaddr_in)) < 0)
            return -errno;
    }
    if (connect(fd, (const struct sockaddr *)address, address_n) < 0 && errno != EINPROGRESS)
        return -errno;
    struct epoll_event watch = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u64 = key};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &watch) < 0 ? -errno : 0;
}

int bench_connect(int epoll, uint64_t key, const struct sockaddr_storage *address,
                  socklen_t address_n, const struct sockaddr_storage *source)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    int rc = bench_epoll_begin(fd, epoll, key, address, address_n, source);
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

int bench_socket_error(int fd)
{
    int error = 0;
    socklen_t error_n = sizeof(error);

    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_n);
    return error;
}
