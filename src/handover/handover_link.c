/* SPDX-License-Identifier: MIT */
/* Frames between two gateways.  See handover_link.h. */
#include "config.h"
#include "handover/handover_link.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define HEAD_BYTES 5
/* A publish of limits.body_bytes at its most fits many times. */
#define FRAME_BYTES_MAX (UINT32_C(1) << 30)
#define READ_BYTES 65536
#define WRITE_WAIT_MS 10000

struct handover_link {
    int fd;      /* -1: closed; changed under the lock */
    int bell_fd; /* rung when there is something to write */
    struct handover_link_hooks hooks;
    struct event *readable;
    struct event *writable;
    struct event *bell;
    struct evbuffer *in;
    size_t used; /* bytes of the last frame, still in `in` */
    int sockets[HANDOVER_LINK_SOCKETS_MAX];
    size_t sockets_n;
    bool ended;
    pthread_mutex_t lock; /* over the next two */
    bool has_loop;
    struct evbuffer *out;
};

struct handover_link *handover_link_new(int fd)
{
    struct handover_link *link = calloc(1, sizeof(*link));

    if (link == NULL) {
        close(fd);
        return NULL;
    }
    pthread_mutex_init(&link->lock, NULL);
    link->fd = fd;
    link->bell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    link->in = evbuffer_new();
    link->out = evbuffer_new();
    if (link->bell_fd >= 0 && link->in != NULL && link->out != NULL &&
        fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
        return link;
    handover_link_free(link);
    return NULL;
}

void handover_link_free_event(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

void handover_link_break(struct handover_link *link)
{
    pthread_mutex_lock(&link->lock);
    if (link->fd >= 0)
        shutdown(link->fd, SHUT_RDWR);
    pthread_mutex_unlock(&link->lock);
}

void handover_link_close(struct handover_link *link)
{
    handover_link_free_event(&link->readable);
    handover_link_free_event(&link->writable);
    handover_link_free_event(&link->bell);
    pthread_mutex_lock(&link->lock);
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    evbuffer_drain(link->out, evbuffer_get_length(link->out));
    pthread_mutex_unlock(&link->lock);
}

void handover_link_free(struct handover_link *link)
{
    if (link == NULL)
        return;
    if (link->out != NULL)
        handover_link_close(link);
    else
        close(link->fd);
    for (size_t i = 0; i < link->sockets_n; i++)
        close(link->sockets[i]);
    if (link->in != NULL)
        evbuffer_free(link->in);
    if (link->out != NULL)
        evbuffer_free(link->out);
    if (link->bell_fd >= 0)
        close(link->bell_fd);
    pthread_mutex_destroy(&link->lock);
    free(link);
}

/* ---- writing ---- */

static void write_head(char *to, enum handover_link_type type, size_t n)
{
    uint32_t bytes = (uint32_t)n;

    memcpy(to, &bytes, sizeof(bytes));
    to[sizeof(bytes)] = (char)type;
}

static int add_frame(struct handover_link *link, enum handover_link_type type, const char *bytes,
                     size_t n)
{
    char head[HEAD_BYTES];

    if (n > FRAME_BYTES_MAX)
        return -EMSGSIZE;
    write_head(head, type, n);
    if (evbuffer_expand(link->out, sizeof(head) + n) != 0)
        return -ENOMEM;
    evbuffer_add(link->out, head, sizeof(head));
    return evbuffer_add(link->out, bytes, n) == 0 ? 0 : -ENOMEM;
}

/* Write what there is room for.  Returns 1 when there is more, 0, or -errno.  With the lock. */
static int write_some(struct handover_link *link)
{
    while (evbuffer_get_length(link->out) > 0) {
        struct evbuffer_iovec piece;
        int pieces_n = evbuffer_peek(link->out, -1, NULL, &piece, 1);

        if (pieces_n < 1)
            return -EIO;
        ssize_t n = send(link->fd, piece.iov_base, piece.iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EINTR)
            return errno == EAGAIN ? 1 : -errno;
        if (n > 0)
            evbuffer_drain(link->out, (size_t)n);
    }
    return 0;
}

static int wait_for(const struct handover_link *link, short what, int timeout_ms)
{
    struct pollfd poll_on = {.fd = link->fd, .events = what};
    int n;

    do
        n = poll(&poll_on, 1, timeout_ms);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return n > 0 ? 0 : -ETIMEDOUT;
}

/* Without a loop: nobody else has the link. */
static int write_all(struct handover_link *link)
{
    int result;

    while ((result = write_some(link)) == 1)
        if ((result = wait_for(link, POLLOUT, WRITE_WAIT_MS)) != 0)
            return result;
    return result == -ECONNRESET ? -EPIPE : result;
}

int handover_link_send(struct handover_link *link, enum handover_link_type type, const char *bytes,
                       size_t n)
{
    uint64_t one = 1;

    pthread_mutex_lock(&link->lock);
    bool was_empty = evbuffer_get_length(link->out) == 0;
    int result = link->fd < 0 ? -EPIPE : add_frame(link, type, bytes, n);
    bool has_loop = link->has_loop;
    if (result == 0 && !has_loop)
        result = write_all(link);
    pthread_mutex_unlock(&link->lock);
    /* its counter would have to be nearly full for this to fail */
    if (result == 0 && has_loop && was_empty && write(link->bell_fd, &one, sizeof(one)) < 0)
        return -errno;
    return result;
}

int handover_link_send_pack(struct handover_link *link, enum handover_link_type type,
                            struct pack *pack)
{
    int result = pack->failed ? -ENOMEM : handover_link_send(link, type, pack->bytes, pack->n);

    pack_clear(pack);
    return result;
}

void handover_link_refuse(struct handover_link *link, const char *why)
{
    struct pack pack = {0};

    pack_text(&pack, why);
    handover_link_send_pack(link, HANDOVER_LINK_REFUSED, &pack);
}

/* The head goes with the sockets, the rest as always. */
int handover_link_send_sockets(struct handover_link *link, enum handover_link_type type,
                               const struct pack *pack, const int *fds, size_t fds_n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * HANDOVER_LINK_SOCKETS_MAX)];
    } control = {.bytes = {0}};
    char head[HEAD_BYTES];
    struct iovec piece = {.iov_base = head, .iov_len = sizeof(head)};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};

    if (pack->failed || pack->n > FRAME_BYTES_MAX || fds_n > HANDOVER_LINK_SOCKETS_MAX)
        return -EINVAL;
    write_head(head, type, pack->n);
    if (fds_n > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fds_n);
        struct cmsghdr *part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int) * fds_n);
        memcpy(CMSG_DATA(part), fds, sizeof(int) * fds_n);
    }
    if (sendmsg(link->fd, &message, MSG_NOSIGNAL) != (ssize_t)sizeof(head))
        return -errno;
    pthread_mutex_lock(&link->lock);
    int result = evbuffer_add(link->out, pack->bytes, pack->n) == 0 ? write_all(link) : -ENOMEM;
    pthread_mutex_unlock(&link->lock);
    return result;
}

void handover_link_flush(struct handover_link *link)
{
    pthread_mutex_lock(&link->lock);
    if (link->fd >= 0)
        write_some(link);
    pthread_mutex_unlock(&link->lock);
}

bool handover_link_is_closed(const struct handover_link *link)
{
    return link->fd < 0;
}

size_t handover_link_unsent(struct handover_link *link)
{
    pthread_mutex_lock(&link->lock);
    size_t n = evbuffer_get_length(link->out);
    pthread_mutex_unlock(&link->lock);
    return n;
}

/* ---- reading ---- */

static void keep_sockets(struct handover_link *link, struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
         part = CMSG_NXTHDR(message, part)) {
        size_t n = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(part) + i * sizeof(fd), sizeof(fd));
            if (link->sockets_n < HANDOVER_LINK_SOCKETS_MAX)
                link->sockets[link->sockets_n++] = fd;
            else
                close(fd);
        }
    }
}

/* Returns 1: something came, 0: nothing now, or -errno; -EPIPE at the end. */
static int read_some(struct handover_link *link)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * HANDOVER_LINK_SOCKETS_MAX)];
    } control;
    char bytes[READ_BYTES];
    struct iovec piece = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(link->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : errno == ECONNRESET ? -EPIPE : -errno;
    keep_sockets(link, &message);
    if (n == 0)
        return -EPIPE;
    return evbuffer_add(link->in, bytes, (size_t)n) == 0 ? 1 : -ENOMEM;
}

/* Returns 1: a whole frame, 0: not yet, or -EPROTO, -ENOMEM. */
static int next_frame(struct handover_link *link, struct handover_link_frame *ret_frame)
{
    uint32_t n;

    evbuffer_drain(link->in, link->used);
    link->used = 0;
    if (evbuffer_get_length(link->in) < HEAD_BYTES)
        return 0;
    const unsigned char *head = evbuffer_pullup(link->in, HEAD_BYTES);
    if (head == NULL)
        return -ENOMEM;
    memcpy(&n, head, sizeof(n));
    if (n > FRAME_BYTES_MAX)
        return -EPROTO;
    if (evbuffer_get_length(link->in) < HEAD_BYTES + (size_t)n)
        return 0;
    head = evbuffer_pullup(link->in, (ssize_t)(HEAD_BYTES + (size_t)n));
    if (head == NULL)
        return -ENOMEM;
    *ret_frame = (struct handover_link_frame){.type = (enum handover_link_type)head[sizeof(n)],
                                              .bytes = (const char *)head + HEAD_BYTES,
                                              .n = n};
    link->used = HEAD_BYTES + (size_t)n;
    return 1;
}

int handover_link_receive(struct handover_link *link, int timeout_ms,
                          struct handover_link_frame *ret_frame)
{
    int64_t until_ms = clock_mono_ms() + timeout_ms;
    int result;

    while ((result = next_frame(link, ret_frame)) == 0) {
        int64_t left_ms = until_ms - clock_mono_ms();

        result = wait_for(link, POLLIN, left_ms > 0 ? (int)left_ms : 0);
        if (result == 0)
            result = read_some(link);
        if (result < 0)
            return result;
    }
    return result == 1 ? 0 : result;
}

size_t handover_link_take_sockets(struct handover_link *link, int *ret_fds)
{
    size_t n = link->sockets_n;

    memcpy(ret_fds, link->sockets, n * sizeof(int));
    link->sockets_n = 0;
    return n;
}

/* ---- on a loop ---- */

static void handover_link_end(struct handover_link *link)
{
    if (link->ended)
        return;
    link->ended = true;
    handover_link_close(link);
    link->hooks.end(link->hooks.arg);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct handover_link *link = arg;
    struct handover_link_frame frame;
    int came = read_some(link), found = 0;

    (void)fd;
    (void)what;
    /* what was whole before the end is heard */
    while (link->fd >= 0 && (found = next_frame(link, &frame)) == 1)
        link->hooks.frame(link->hooks.arg, &frame);
    if (link->fd >= 0 && (came < 0 || found < 0))
        handover_link_end(link);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct handover_link *link = arg;
    uint64_t count;

    (void)what;
    if (fd == link->bell_fd && read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        abort();
    pthread_mutex_lock(&link->lock);
    int result = write_some(link);
    pthread_mutex_unlock(&link->lock);
    if (result == 1)
        event_add(link->writable, NULL);
    /* else: when the other side is gone, what it said last is to be read before the end */
}

int handover_link_attach(struct handover_link *link, struct event_base *base,
                         const struct handover_link_hooks *hooks)
{
    link->hooks = *hooks;
    link->readable = event_new(base, link->fd, EV_READ | EV_PERSIST, on_readable, link);
    link->writable = event_new(base, link->fd, EV_WRITE, on_writable, link);
    link->bell = event_new(base, link->bell_fd, EV_READ | EV_PERSIST, on_writable, link);
    if (link->readable == NULL || link->writable == NULL || link->bell == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&link->lock);
    link->has_loop = true;
    pthread_mutex_unlock(&link->lock);
    event_add(link->readable, NULL);
    event_add(link->bell, NULL);
    if (evbuffer_get_length(link->in) > 0)
        event_active(link->readable, EV_READ, 0); /* a frame may be there already */
    return 0;
}
