/* SPDX-License-Identifier: MIT */
/* The other end of a socket.  See peer.h. */
#include "config.h"
#include "base/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <linux/tcp.h> /* <netinet/tcp.h> has a struct tcp_info without tcpi_bytes_acked */
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* Longer than an answer takes on any way that is of use. */
#define ANSWER_MS_MAX 1000

static void from_ipv6(const struct sockaddr_in6 *address, struct peer *peer)
{
    peer->port = ntohs(address->sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&address->sin6_addr)) {
        peer->family = AF_INET;
        memcpy(peer->address, &address->sin6_addr.s6_addr[12], 4);
        return;
    }
    peer->family = AF_INET6;
    memcpy(peer->address, &address->sin6_addr, 16);
}

void peer_from_sockaddr(const struct sockaddr *address, struct peer *ret_peer)
{
    memset(ret_peer, 0, sizeof(*ret_peer));
    if (address == NULL)
        return;
    if (address->sa_family == AF_UNSPEC) {
        ret_peer->family = PEER_UNKNOWN;
    } else if (address->sa_family == AF_INET6) {
        from_ipv6((const struct sockaddr_in6 *)(const void *)address, ret_peer);
    } else if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;

        ret_peer->family = AF_INET;
        ret_peer->port = ntohs(v4->sin_port);
        memcpy(ret_peer->address, &v4->sin_addr, 4);
    }
}

const char *peer_text(const struct peer *peer, char to[PEER_TEXT_BYTES])
{
    char address[INET6_ADDRSTRLEN] = "";

    if (peer->family == 0)
        return strcpy(to, "unix");
    if (peer->family == PEER_UNKNOWN)
        return strcpy(to, "unknown");
    inet_ntop(peer->family, peer->address, address, sizeof(address));
    if (peer->port == 0)
        return strcpy(to, address);
    snprintf(to, PEER_TEXT_BYTES, peer->family == AF_INET6 ? "[%s]:%u" : "%s:%u", address,
             peer->port);
    return to;
}

bool peer_is_loopback(const struct peer *peer)
{
    if (peer->family == AF_INET)
        return peer->address[0] == 127;
    if (peer->family == AF_INET6)
        return memcmp(peer->address, &in6addr_loopback, 16) == 0;
    return peer->family != PEER_UNKNOWN;
}

/*
 * What was sent after the last acknowledgement was repeated, the last time a while ago, and still
 * there is none.  Probes of a closed window do not count: when ten thousand are sent in the same
 * millisecond even loopback drops some, again and again the same ones, and who has closed his
 * window stalls anyway.
 */
static bool is_unanswered(const struct tcp_info *info)
{
    return info->tcpi_unacked > 0 && info->tcpi_retransmits >= 2 &&
           info->tcpi_last_ack_recv > info->tcpi_last_data_sent &&
           info->tcpi_last_data_sent >= ANSWER_MS_MAX;
}

int tcp_progress(int fd, struct tcp_progress *ret_flow)
{
    struct tcp_info info;
    socklen_t info_n = sizeof(info);
    int outstanding;

    if (ioctl(fd, SIOCOUTQ, &outstanding) != 0)
        return -errno;
    *ret_flow = (struct tcp_progress){.outstanding = (uint64_t)outstanding};
    if (outstanding == 0)
        return 0;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &info_n) != 0) {
        ret_flow->acknowledged = -(int64_t)outstanding;
        return 0;
    }
    ret_flow->acknowledged = (int64_t)info.tcpi_bytes_acked;
    ret_flow->silent_ms = info.tcpi_last_ack_recv;
    ret_flow->sent_ms = info.tcpi_last_data_sent;
    ret_flow->unanswered = is_unanswered(&info);
    return 0;
}

void peer_set_patience(int fd, int64_t ms)
{
    int patience_ms = ms < INT_MAX ? (int)ms : INT_MAX;

    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, sizeof(patience_ms));
}

void peer_abort(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    shutdown(fd, SHUT_RDWR);
}

enum peer_state peer_probe(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN | POLLRDHUP};

    if (poll(&poll_fd, 1, 0) < 0)
        return PEER_THERE;
    if (poll_fd.revents & (POLLERR | POLLHUP | POLLNVAL))
        return PEER_GONE;
    return poll_fd.revents & POLLRDHUP ? PEER_HALF_CLOSED : PEER_THERE;
}
