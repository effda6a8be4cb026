/* SPDX-License-Identifier: MIT */
/*
 * The floor under every gateway: what it costs the kernel to bring one event to one stream with
 * one bare send(), and nothing else.  No routing, no history, no limits, no care for slow
 * readers.  Speaks the gateway's wire, so `bugle bench` measures both with the same code:
 *
 *   GET  …topic=NAME-7…  a fixed head, then the events of topic 7 (the number at the end of the
 *                        name; none is 0); with an Upgrade the same as text frames of a WebSocket
 *   POST …               JSON with "topic" and "data", or an array of such; every event goes out
 *                        at once, one send() of one chunk, or frame, to each stream of its topic,
 *                        which are all of the transport of the latest; what a
 *                        socket does not take at once is kept and sent when it takes more
 *
 * With --rate it publishes by itself, to topic 0, and needs no POST.  On SIGTERM or SIGINT it
 * prints how many sends it made and the CPU that one of them took.
 *
 *   floor [--port N] [--rate R] [--size BYTES]
 *
 * Not for anything but measuring: it trusts what it reads.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 1048576
#define TOPICS_MAX 1048576
#define REQUEST_BYTES 2097152
#define SECOND_NS 1000000000.0

/* The streams of a topic. */
struct topic {
    int *fds;
    size_t fds_n;
    size_t fds_room;
    int is_ws;
};

static struct topic topics[TOPICS_MAX];
static struct topic *topic_joined[FDS_MAX]; /* by a stream; NULL for others */
static size_t place[FDS_MAX];               /* of a stream in its topic */
static char *partial[FDS_MAX];              /* of a request that has not come whole */
static size_t partial_n[FDS_MAX];
static char *behind[FDS_MAX]; /* what the socket of a stream has not taken yet */
static size_t behind_n[FDS_MAX];
static char request[REQUEST_BYTES + 1];
static int epoll;
static uint64_t sends, cut, refused, position;
static double begun_ns; /* CPU used when the first event came */

static double cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec * SECOND_NS + (double)used.tv_nsec;
}

static void *must(void *memory)
{
    if (!memory) {
        perror("floor");
        exit(1);
    }
    return memory;
}

static void join(struct topic *topic, int fd)
{
    if (topic->fds_n == topic->fds_room) {
        topic->fds_room = topic->fds_room ? topic->fds_room * 2 : 1;
        topic->fds = must(reallocarray(topic->fds, topic->fds_room, sizeof(int)));
    }
    place[fd] = topic->fds_n;
    topic->fds[topic->fds_n++] = fd;
}

static void leave(struct topic *topic, int fd)
{
    int last = topic->fds[--topic->fds_n];
    topic->fds[place[fd]] = last;
    place[last] = place[fd];
}

static void drop(int fd)
{
    if (topic_joined[fd])
        leave(topic_joined[fd], fd);
    topic_joined[fd] = NULL;
    free(partial[fd]);
    partial[fd] = NULL;
    partial_n[fd] = 0;
    free(behind[fd]);
    behind[fd] = NULL;
    behind_n[fd] = 0;
    close(fd);
}

/* Change what a descriptor is watched for. */
static void watch_for(int fd, uint32_t events, int operation)
{
    struct epoll_event entry = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, operation, fd, &entry) < 0)
        must(NULL);
}

/* How many of the bytes the socket took; none when the connection is gone, which drops it later. */
static size_t taken(int fd, const char *bytes, size_t bytes_n)
{
    ssize_t n = send(fd, bytes, bytes_n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        refused++;
    return n < 0 ? 0 : (size_t)n;
}

/* Keep what the socket did not take, behind what it did not take before. */
static void keep(int fd, const char *bytes, size_t bytes_n)
{
    cut++;
    behind[fd] = must(realloc(behind[fd], behind_n[fd] + bytes_n));
    memcpy(behind[fd] + behind_n[fd], bytes, bytes_n);
    if (behind_n[fd] == 0)
        watch_for(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    behind_n[fd] += bytes_n;
}

static void catch_up(int fd)
{
    size_t n = taken(fd, behind[fd], behind_n[fd]);
    behind_n[fd] -= n;
    memmove(behind[fd], behind[fd] + n, behind_n[fd]);
    if (behind_n[fd] > 0)
        return;
    free(behind[fd]);
    behind[fd] = NULL;
    watch_for(fd, EPOLLIN, EPOLL_CTL_MOD);
}

/* One chunk with one event, of the same size as the gateway's: its data and a 29-byte id. */
static size_t frame(char *to, const char *data, size_t data_n)
{
    size_t body_n = 6 + data_n + 1 + 4 + 29 + 2;
    int n = sprintf(to, "%zx\r\ndata: ", body_n);
    char *at = mempcpy(to + n, data, data_n);
    at += sprintf(at, "\nid: floorfloor00-%016llu\n\n\r\n", (unsigned long long)++position);
    return (size_t)(at - to);
}

/* One text frame with the data, as a server sends it. */
static size_t ws_frame(char *to, const char *data, size_t data_n)
{
    size_t length_n = data_n < 126 ? 0 : data_n <= UINT16_MAX ? 2 : 8;
    *to++ = (char)0x81;
    *to++ = (char)(length_n == 0 ? data_n : length_n == 2 ? 126 : 127);
    for (size_t i = length_n; i-- > 0;)
        *to++ = (char)(data_n >> 8 * i);
    memcpy(to, data, data_n);
    position++;
    return 2 + length_n + data_n;
}

static void deliver(struct topic *topic, const char *data, size_t data_n)
{
    static char bytes[REQUEST_BYTES + 128];
    size_t bytes_n = (topic->is_ws ? ws_frame : frame)(bytes, data, data_n);
    if (position == 1)
        begun_ns = cpu_ns();
    for (size_t i = 0; i < topic->fds_n; i++) {
        int fd = topic->fds[i];
        size_t n = behind_n[fd] ? 0 : taken(fd, bytes, bytes_n);
        if (n < bytes_n)
            keep(fd, bytes + n, bytes_n - n);
    }
    sends += topic->fds_n;
}

/* The topic whose number ends the name that begins at `name`. */
static struct topic *topic_of(const char *name)
{
    size_t name_n = strcspn(name, "\"& \r\n");
    size_t digits = 0;
    while (digits < name_n && name[name_n - 1 - digits] >= '0' && name[name_n - 1 - digits] <= '9')
        digits++;
    return &topics[strtoul(name + name_n - digits, NULL, 10) % TOPICS_MAX];
}

static void answer(int fd, const char *bytes, size_t bytes_n)
{
    if (send(fd, bytes, bytes_n, MSG_NOSIGNAL) != (ssize_t)bytes_n)
        drop(fd);
}

static void open_stream(int fd, const char *head)
{
    static const char stands[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                                 "Cache-Control: no-store, no-cache, private, no-transform\r\n"
                                 "X-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\n"
                                 "Vary: Origin\r\nConnection: close\r\n"
                                 "Transfer-Encoding: chunked\r\n\r\n3\r\n:\n\n\r\n";
    /* for the key of `bugle bench`, which is always the same */
    static const char switches[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                   "Connection: Upgrade\r\n"
                                   "Sec-WebSocket-Accept: UYrNdEtTpMBvRCZxBJEUa5fEjxM=\r\n\r\n";
    const char *name = strstr(head, "topic=");
    int is_ws = strstr(head, "\r\nUpgrade: websocket\r\n") != NULL;
    topic_joined[fd] = name ? topic_of(name + 6) : &topics[0];
    topic_joined[fd]->is_ws = is_ws;
    join(topic_joined[fd], fd);
    if (is_ws)
        answer(fd, switches, sizeof(switches) - 1);
    else
        answer(fd, stands, sizeof(stands) - 1);
}

static void publish(int fd, const char *body)
{
    static const char made[] = "{\"id\":\"floorfloor00-0000000000000000\","
                               "\"durability\":\"memory\",\"duplicate\":false}";
    static char done[512];
    static size_t done_n;
    if (done_n == 0)
        done_n = (size_t)sprintf(done,
                                 "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
                                 "Content-Length: %zu\r\n\r\n%s",
                                 sizeof(made) - 1, made);
    for (const char *at = body; (at = strstr(at, "\"topic\":\""));) {
        struct topic *topic = topic_of(at + 9);
        const char *data = strstr(at, "\"data\":\"");
        if (!data)
            break;
        data += 8;
        size_t data_n = strcspn(data, "\"");
        deliver(topic, data, data_n);
        at = data + data_n;
    }
    answer(fd, done, done_n);
}

/* Serve the request at the start of `request`; returns its bytes, 0 when it is not whole. */
static size_t serve(int fd, size_t request_n)
{
    request[request_n] = '\0';
    char *body = strstr(request, "\r\n\r\n");
    if (!body)
        return 0;
    body += 4;
    if (memcmp(request, "GET ", 4) == 0) {
        open_stream(fd, request);
        return request_n;
    }
    const char *length = strcasestr(request, "content-length:");
    size_t body_n = length && length < body ? strtoul(length + 15, NULL, 10) : 0;
    if (request_n - (size_t)(body - request) < body_n)
        return 0;
    publish(fd, body);
    return (size_t)(body - request) + body_n;
}

static void ready(int fd)
{
    size_t kept_n = partial_n[fd];
    if (kept_n)
        memcpy(request, partial[fd], kept_n);
    ssize_t n = recv(fd, request + kept_n, REQUEST_BYTES - kept_n, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        drop(fd);
        return;
    }
    size_t request_n = kept_n + (size_t)n;
    if (topic_joined[fd] || serve(fd, request_n) > 0) {
        partial_n[fd] = 0;
        return;
    }
    partial[fd] = must(realloc(partial[fd], request_n));
    memcpy(partial[fd], request, request_n);
    partial_n[fd] = request_n;
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        assert(fd < FDS_MAX);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        watch_for(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static void serve_stream_or_request(int fd, uint32_t events)
{
    if (events & EPOLLOUT && behind_n[fd])
        catch_up(fd);
    if (events & ~(uint32_t)EPOLLOUT)
        ready(fd);
}

static int listen_at(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 4096) < 0)
        must(NULL);
    return fd;
}

static int timer_at(double rate)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (rate <= 0)
        return fd;
    uint64_t ns = (uint64_t)(SECOND_NS / rate);
    struct timespec each = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    struct itimerspec when = {.it_interval = each, .it_value = each};
    timerfd_settime(fd, 0, &when, NULL);
    return fd;
}

static int signals(void)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    return signalfd(-1, &ends, SFD_CLOEXEC);
}

static void tick(int timer, const char *data, size_t data_n)
{
    uint64_t expirations;
    if (read(timer, &expirations, sizeof(expirations)) < 0)
        return;
    while (expirations-- > 0)
        deliver(&topics[0], data, data_n);
}

static void run(int listener, int timer, size_t size)
{
    struct epoll_event entries[512];
    int ends = signals();
    char *data = must(malloc(size));
    memset(data, 'x', size);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    watch_for(listener, EPOLLIN, EPOLL_CTL_ADD);
    watch_for(timer, EPOLLIN, EPOLL_CTL_ADD);
    watch_for(ends, EPOLLIN, EPOLL_CTL_ADD);
    for (;;) {
        int n = epoll_wait(epoll, entries, 512, -1);
        for (int i = 0; i < n; i++) {
            int fd = entries[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else if (fd == timer)
                tick(timer, data, size);
            else if (fd == ends)
                return;
            else
                serve_stream_or_request(fd, entries[i].events);
        }
    }
}

static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"size", required_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    unsigned port = 8080;
    double rate = 0;
    size_t size = 100;
    for (int code; (code = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (code == 'p')
            port = (unsigned)atoi(optarg);
        else if (code == 'r')
            rate = atof(optarg);
        else if (code == 's')
            size = (size_t)atol(optarg);
        else
            return 2;
    }
    if (port > 65535 || size > REQUEST_BYTES)
        return 2;
    raise_descriptors();
    run(listen_at((uint16_t)port), timer_at(rate), size);
    printf("%llu sends, %.2f us CPU each with all around them, %llu cut, %llu refused\n",
           (unsigned long long)sends, sends ? (cpu_ns() - begun_ns) / 1e3 / (double)sends : 0,
           (unsigned long long)cut, (unsigned long long)refused);
    return 0;
}
