/* SPDX-License-Identifier: MIT */
/* Listening sockets that others opened.  See inherited_sockets.h. */
#include "config.h"
#include "conn/inherited_sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static bool is_listening(int fd)
{
    int type = 0, listens = 0;
    socklen_t n = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) != 0 || type != SOCK_STREAM)
        return false;
    n = sizeof(listens);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) == 0 && listens != 0;
}

int inherited_sockets_add(struct inherited_sockets *inherited, int fd, const char *item, bool kept)
{
    char *copy = item != NULL ? strdup(item) : NULL;
    int result = item != NULL && copy == NULL ? -ENOMEM : 0;

    if (result == 0 && inherited->n == INHERITED_SOCKETS_MAX)
        result = -EMFILE;
    if (result == 0 && (!is_listening(fd) || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
                        fcntl(fd, F_SETFL, O_NONBLOCK) != 0))
        result = -EINVAL;
    if (result != 0) {
        free(copy);
        close(fd);
        return result;
    }
    inherited->sockets[inherited->n++] =
        (struct inherited_socket){.fd = fd, .item = copy, .kept = kept};
    return 0;
}

static bool same_inet(const struct sockaddr *left, const struct sockaddr *right)
{
    const struct sockaddr_in *a = (const void *)left, *b = (const void *)right;

    return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
}

static bool same_inet6(const struct sockaddr *left, const struct sockaddr *right)
{
    const struct sockaddr_in6 *a = (const void *)left, *b = (const void *)right;

    return a->sin6_port == b->sin6_port &&
           memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr)) == 0;
}

static bool same_path(const struct sockaddr *left, const struct sockaddr *right)
{
    const struct sockaddr_un *a = (const void *)left, *b = (const void *)right;

    return strncmp(a->sun_path, b->sun_path, sizeof(a->sun_path)) == 0;
}

static bool has_address(int fd, const struct sockaddr *address)
{
    struct sockaddr_storage own = {0};
    socklen_t own_n = sizeof(own);
    const struct sockaddr *mine = (const struct sockaddr *)(const void *)&own;

    if (getsockname(fd, (struct sockaddr *)(void *)&own, &own_n) != 0 ||
        own.ss_family != address->sa_family)
        return false;
    switch (address->sa_family) {
    case AF_INET:
        return same_inet(mine, address);
    case AF_INET6:
        return same_inet6(mine, address);
    case AF_UNIX:
        return same_path(mine, address);
    }
    return false;
}

int inherited_sockets_take(struct inherited_sockets *inherited, const char *item,
                           const struct sockaddr *address, socklen_t address_n, bool *ret_kept)
{
    (void)address_n;
    for (size_t i = 0; i < inherited->n; i++) {
        struct inherited_socket *socket = &inherited->sockets[i];
        int fd = socket->fd;

        if (fd < 0 || !((socket->item != NULL && strcmp(socket->item, item) == 0) ||
                        has_address(fd, address)))
            continue;
        *ret_kept = socket->kept;
        socket->fd = -1;
        return fd;
    }
    return -1;
}

const char *inherited_sockets_left(const struct inherited_sockets *inherited, char *to, size_t to_n)
{
    struct sockaddr_storage address = {0};
    socklen_t address_n = sizeof(address);
    char host[NI_MAXHOST], port[NI_MAXSERV];
    size_t i = 0;

    while (i < inherited->n && inherited->sockets[i].fd < 0)
        i++;
    if (i == inherited->n)
        return NULL;
    getsockname(inherited->sockets[i].fd, (struct sockaddr *)(void *)&address, &address_n);
    if (address.ss_family == AF_UNIX)
        snprintf(to, to_n, "unix:%s", ((struct sockaddr_un *)(void *)&address)->sun_path);
    else if (getnameinfo((struct sockaddr *)(void *)&address, address_n, host, sizeof(host), port,
                         sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(to, to_n, strchr(host, ':') != NULL ? "[%s]:%s" : "%s:%s", host, port);
    else
        snprintf(to, to_n, "an address of family %d", address.ss_family);
    return to;
}

void inherited_sockets_clear(struct inherited_sockets *inherited)
{
    for (size_t i = 0; i < inherited->n; i++) {
        if (inherited->sockets[i].fd >= 0)
            close(inherited->sockets[i].fd);
        free(inherited->sockets[i].item);
    }
    inherited->n = 0;
}
