/* SPDX-License-Identifier: MIT */
/*
 * Loaded before the C library (LD_PRELOAD): a socket takes only a part of what it is given without
 * waiting: one byte to PART_SHIM_BYTES of them, by chance.
 */
#define _GNU_SOURCE

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PARTS_MAX 8

static size_t part_of(size_t n)
{
    static __thread uint32_t state = 1;
    const char *text = getenv("PART_SHIM_BYTES");
    size_t most = text != NULL ? strtoul(text, NULL, 10) : n;

    state = state * 1664525 + 1013904223;
    size_t part = 1 + (state >> 8) % most;
    return part < n ? part : n;
}

ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
    if ((flags & MSG_DONTWAIT) != 0 && n > 0)
        n = part_of(n);
    return syscall(SYS_sendto, fd, bytes, n, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct iovec parts[PARTS_MAX];
    struct msghdr part = *message;
    size_t n = 0, left;

    for (size_t i = 0; i < message->msg_iovlen; i++)
        n += message->msg_iov[i].iov_len;
    if ((flags & MSG_DONTWAIT) == 0 || message->msg_iovlen > PARTS_MAX)
        return syscall(SYS_sendmsg, fd, message, flags);
    left = part_of(n);
    memcpy(parts, message->msg_iov, message->msg_iovlen * sizeof(parts[0]));
    part.msg_iov = parts;
    for (part.msg_iovlen = 0; left > 0; part.msg_iovlen++) {
        struct iovec *last = &parts[part.msg_iovlen];

        last->iov_len = last->iov_len < left ? last->iov_len : left;
        left -= last->iov_len;
    }
    return syscall(SYS_sendmsg, fd, &part, flags);
}
