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

static bool has_address(int fd, const struct sockaddr *address)
{
    struct sockaddr_storage own = {0};
    socklen_t own_n = sizeof(own);
    const struct sockaddr_in *in = (const void *)&own, *its_in = (const void *)address;
    const struct sockaddr_in6 *in6 = (const void *)&own, *its_in6 = (const void *)address;
    const struct sockaddr_un *un = (const void *)&own, *its_un = (const void *)address;

    if (getsockname(fd, (struct sockaddr *)(void *)&own, &own_n) != 0 ||
        own.ss_family != address->sa_family)
        return false;
    switch (address->sa_family) {
    case AF_INET:
        return in->sin_port == its_in->sin_port && in->sin_addr.s_addr == its_in->sin_addr.s_addr;
    case AF_INET6:
        return in6->sin6_port == its_in6->sin6_port &&
               memcmp(&in6->sin6_addr, &its_in6->sin6_addr, sizeof(in6->sin6_addr)) == 0;
    case AF_UNIX:
        return strncmp(un->sun_path, its_un->sun_path, sizeof(un->sun_path)) == 0;
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
