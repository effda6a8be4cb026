/* SPDX-License-Identifier: MIT */
/*
 * Clients that come back after they were away: each opens a stream at a place in the past, reads
 * so many events, checks that ids grow, and leaves.  Prints one line of JSON: how long the first
 * event and all events took, counted from the connect.
 *
 *   replay PORT EPOCH CLIENTS AT_ONCE EVENTS FROM TO QUERY
 *
 * EPOCH    the text before the dash of an id; "-" begins at the oldest event instead
 * CLIENTS  in all; AT_ONCE of them at a time
 * EVENTS   that each reads
 * FROM TO  each begins at a position drawn from here
 * QUERY    e.g. "topic=a"; a %d in it becomes the client's number
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
    int fd;
    int64_t began_ns, first_ns;
    size_t events_n;
    size_t matched; /* bytes of "\nid: " seen */
    bool in_id;
    char id[64], last[64];
    size_t id_n;
    uint64_t bytes;
};

static struct {
    int port, epoll;
    const char *epoch, *query;
    size_t clients, at_once, events;
    unsigned long long from, to;
    size_t begun, done, failed, disordered;
    double *first_ms, *all_ms;
    size_t first_n, all_n;
} run;

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void begin(struct client *client)
{
    static unsigned long long state = 88172645463325252ull;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)run.port)};
    char query[256], request[1024];
    int one = 1;

    memset(client, 0, sizeof(*client));
    snprintf(query, sizeof(query), run.query, (int)run.begun);
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    unsigned long long position = run.from + state % (run.to - run.from + 1);
    int n = run.epoch[0] == '-'
                ? snprintf(request, sizeof(request), "GET /events?%s&since=earliest HTTP/1.1\r\n",
                           query)
                : snprintf(request, sizeof(request),
                           "GET /events?%s HTTP/1.1\r\nLast-Event-ID: %s-%016llu\r\n", query,
                           run.epoch, position);
    n += snprintf(request + n, sizeof(request) - (size_t)n,
                  "Host: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n");
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    client->began_ns = now_ns();
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(client->fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        write(client->fd, request, (size_t)n) != n) {
        perror("replay: connect");
        exit(1);
    }
    fcntl(client->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    epoll_ctl(run.epoll, EPOLL_CTL_ADD, client->fd, &event);
    run.begun++;
}

static void end(struct client *client, bool failed)
{
    close(client->fd);
    run.done++;
    run.failed += failed;
    if (!failed)
        run.all_ms[run.all_n++] = (double)(now_ns() - client->began_ns) / 1e6;
    if (run.begun < run.clients)
        begin(client);
}

static void take_id(struct client *client)
{
    client->id[client->id_n] = '\0';
    if (client->events_n == 0) {
        client->first_ns = now_ns();
        run.first_ms[run.first_n++] = (double)(client->first_ns - client->began_ns) / 1e6;
    } else if (strcmp(client->id, client->last) <= 0) {
        run.disordered++;
    }
    strcpy(client->last, client->id);
    client->events_n++;
}

/* Find the id lines of events; those of checkpoints count as well, and there are few. */
static void parse(struct client *client, const char *bytes, size_t n)
{
    static const char mark[] = "\nid: ";

    for (size_t i = 0; i < n && client->events_n < run.events; i++) {
        if (client->in_id) {
            if (bytes[i] == '\n') {
                client->in_id = false;
                take_id(client);
            } else if (bytes[i] != '\r' && client->id_n < sizeof(client->id) - 1) {
                client->id[client->id_n++] = bytes[i];
            }
        } else if (bytes[i] == mark[client->matched]) {
            if (++client->matched == sizeof(mark) - 1) {
                client->in_id = true;
                client->id_n = client->matched = 0;
            }
        } else {
            client->matched = bytes[i] == '\n';
        }
    }
}

static void on_readable(struct client *client)
{
    static char buffer[16384]; /* short reads: who shares the core comes in between */
    ssize_t n = read(client->fd, buffer, sizeof(buffer));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        end(client, true);
        return;
    }
    client->bytes += (uint64_t)n;
    parse(client, buffer, (size_t)n);
    if (client->events_n >= run.events)
        end(client, false);
}

static int by_size(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;

    return one < other ? -1 : one > other;
}

static double at(const double *sorted, size_t n, double part)
{
    size_t index = (size_t)(part * (double)n);

    return n == 0 ? 0 : sorted[index < n ? index : n - 1];
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];

    if (argc != 9) {
        fprintf(stderr, "replay PORT EPOCH CLIENTS AT_ONCE EVENTS FROM TO QUERY\n");
        return 2;
    }
    run.port = atoi(argv[1]);
    run.epoch = argv[2];
    run.clients = strtoul(argv[3], NULL, 10);
    run.at_once = strtoul(argv[4], NULL, 10);
    run.events = strtoul(argv[5], NULL, 10);
    run.from = strtoull(argv[6], NULL, 10);
    run.to = strtoull(argv[7], NULL, 10);
    run.query = argv[8];
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    run.first_ms = calloc(run.clients, sizeof(double));
    run.all_ms = calloc(run.clients, sizeof(double));
    struct client *clients = calloc(run.at_once, sizeof(*clients));
    int64_t began_ns = now_ns();

    for (size_t i = 0; i < run.at_once && run.begun < run.clients; i++)
        begin(&clients[i]);
    while (run.done < run.clients) {
        int n = epoll_wait(run.epoll, events, 256, 10000);

        if (n == 0) {
            fprintf(stderr, "replay: nothing came for 10 s; %zu of %zu done\n", run.done,
                    run.clients);
            break;
        }
        for (int i = 0; i < n; i++)
            on_readable(events[i].data.ptr);
    }
    double seconds = (double)(now_ns() - began_ns) / 1e9;
    qsort(run.first_ms, run.first_n, sizeof(double), by_size);
    qsort(run.all_ms, run.all_n, sizeof(double), by_size);
    printf("{\"clients\":%zu,\"done\":%zu,\"failed\":%zu,\"disordered\":%zu,\"seconds\":%.3f,"
           "\"events_per_s\":%.0f,\"first_ms\":{\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,"
           "\"max\":%.3f},\"all_ms\":{\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f}}\n",
           run.clients, run.done, run.failed, run.disordered, seconds,
           (double)(run.all_n * run.events) / seconds, at(run.first_ms, run.first_n, 0.5),
           at(run.first_ms, run.first_n, 0.9), at(run.first_ms, run.first_n, 0.99),
           at(run.first_ms, run.first_n, 1), at(run.all_ms, run.all_n, 0.5),
           at(run.all_ms, run.all_n, 0.99), at(run.all_ms, run.all_n, 1));
    return run.failed > 0 || run.disordered > 0 || run.done < run.clients;
}
