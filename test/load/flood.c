/* SPDX-License-Identifier: MIT */
/*
 * Publishers that do not heed Retry-After: each connection sends its next request as soon as the
 * last is answered, or at the given rate if that is later.  A connection that ends is made again.
 * Beside them one connection asks for /healthz and /api/stats in turn, ten times a second.  Prints
 * one line of JSON: answers by status, how long each kind took from when it was sent.
 *
 *   flood PORT CONNECTIONS RATE SECONDS EVENTS BYTES TOPIC
 *
 * RATE     requests a second in all; 0: as fast as they are answered
 * SECONDS  to run; the first tenth is not measured
 * EVENTS   in a request, an array if more than 1, of so many BYTES of data each
 */
#include "load.h"

#include <stdbool.h>

#define PROBE_EVERY_NS INT64_C(100000000)
#define AGAIN_NS INT64_C(20000000)
#define ANSWER_BYTES 65536

enum kind { ACCEPTED, REFUSED, OTHER, KINDS };

struct connection {
    int fd;
    unsigned index;
    bool connecting, busy, is_probe;
    int64_t due_ns, sent_ns;
    size_t out_n, sent_n; /* of the request */
    const char *out;
    size_t in_n;
    char in[ANSWER_BYTES];
};

static struct {
    int port, epoll;
    unsigned connections_n;
    double interval_ns;
    int64_t from_ns, measure_ns, until_ns;
    char *body, *request;
    size_t request_n, events_n;
    struct connection *list; /* the probe is the last */
    struct load_samples took[KINDS], probe;
    uint64_t events[KINDS], ended, retry_after[16], without_retry_after;
    uint64_t requests;
} run;

static void connect_one(struct connection *con, int64_t now_ns)
{
    con->fd = load_connect(run.epoll, run.port, con->index, con->index % 8);
    con->connecting = con->fd >= 0;
    con->busy = false;
    con->in_n = 0;
    con->due_ns = now_ns + AGAIN_NS;
}

static void end_one(struct connection *con, int64_t now_ns)
{
    if (con->busy)
        run.ended++;
    close(con->fd);
    con->fd = -1;
    con->connecting = con->busy = false;
    con->due_ns = now_ns;
}

static void send_on(struct connection *con)
{
    while (con->sent_n < con->out_n) {
        ssize_t n = send(con->fd, con->out + con->sent_n, con->out_n - con->sent_n, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            con->sent_n = con->out_n; /* refused early: the answer is still there to be read */
        if (n < 0)
            return;
        con->sent_n += (size_t)n;
    }
}

static void send_one(struct connection *con, int64_t now_ns)
{
    static const char *const probes[] = {
        "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET /api/stats HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    };

    con->out = con->is_probe ? probes[run.probe.n % 2] : run.request;
    con->out_n = con->is_probe ? strlen(con->out) : run.request_n;
    con->sent_n = 0;
    con->busy = true;
    con->sent_ns = now_ns;
    if (!con->is_probe)
        run.requests++;
    send_on(con);
}

/* When the next request of a connection may go. */
static int64_t next_due(const struct connection *con, int64_t now_ns)
{
    if (con->is_probe)
        return con->sent_ns + PROBE_EVERY_NS;
    if (run.interval_ns == 0)
        return now_ns;
    return run.from_ns + (int64_t)((double)run.requests * run.interval_ns);
}

/* Whether the whole answer is there: it has a Content-Length. */
static bool is_whole(const struct connection *con)
{
    const char *end = memmem(con->in, con->in_n, "\r\n\r\n", 4);
    const char *length = end != NULL ? strcasestr(con->in, "\r\nContent-Length: ") : NULL;

    if (length == NULL || length > end)
        return false;
    return con->in_n >= (size_t)(end + 4 - con->in) + strtoul(length + 18, NULL, 10);
}

static void count_answer(struct connection *con, int64_t now_ns)
{
    int status = con->in_n > 12 ? atoi(con->in + 9) : 0;
    enum kind kind = status == 201 ? ACCEPTED : status == 503 ? REFUSED : OTHER;

    if (con->sent_ns < run.measure_ns)
        return;
    if (con->is_probe) {
        load_sample(&run.probe, now_ns - con->sent_ns);
        return;
    }
    load_sample(&run.took[kind], now_ns - con->sent_ns);
    run.events[kind] += run.events_n;
    if (kind != REFUSED)
        return;
    const char *after = strcasestr(con->in, "\r\nRetry-After: ");
    unsigned long seconds = after != NULL ? strtoul(after + 15, NULL, 10) : 0;
    if (seconds == 0 || seconds >= 16)
        run.without_retry_after++;
    else
        run.retry_after[seconds]++;
}

static void read_on(struct connection *con, int64_t now_ns)
{
    for (;;) {
        ssize_t n = recv(con->fd, con->in + con->in_n, ANSWER_BYTES - 1 - con->in_n, 0);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            end_one(con, now_ns);
            return;
        }
        con->in_n += (size_t)n;
        con->in[con->in_n] = '\0';
        if (!con->busy || !is_whole(con))
            continue;
        bool closes = strcasestr(con->in, "\r\nConnection: close") != NULL;
        count_answer(con, now_ns);
        con->busy = false;
        con->in_n = 0;
        con->due_ns = next_due(con, now_ns);
        if (closes) {
            end_one(con, now_ns);
            return;
        }
    }
}

static void serve(struct connection *con, uint32_t what)
{
    int64_t now_ns = load_now_ns();

    if (con->fd < 0)
        return;
    if (con->connecting) {
        if (load_socket_error(con->fd) != 0) {
            end_one(con, now_ns);
            con->due_ns = now_ns + AGAIN_NS;
            return;
        }
        con->connecting = false;
        con->due_ns = con->is_probe ? now_ns : next_due(con, now_ns);
    }
    if ((what & EPOLLOUT) != 0 && con->busy)
        send_on(con);
    if ((what & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        read_on(con, now_ns);
}

static int64_t send_what_is_due(int64_t now_ns)
{
    int64_t next_ns = now_ns + AGAIN_NS;

    for (unsigned i = 0; i <= run.connections_n; i++) {
        struct connection *con = &run.list[i];

        if (con->connecting || con->busy)
            continue;
        if (!con->is_probe && con->fd >= 0)
            con->due_ns = next_due(con, now_ns); /* the row moves on with every request */
        if (con->due_ns > now_ns) {
            next_ns = con->due_ns < next_ns ? con->due_ns : next_ns;
            continue;
        }
        if (con->fd < 0)
            connect_one(con, now_ns);
        else
            send_one(con, now_ns);
    }
    return next_ns;
}

static void build_request(size_t events_n, size_t bytes_n, const char *topic)
{
    size_t event_room = bytes_n + strlen(topic) + 64;
    char *fill = malloc(bytes_n + 1), *at;

    run.events_n = events_n;
    run.body = malloc(events_n * event_room + 16);
    run.request = malloc(events_n * event_room + 512);
    if (fill == NULL || run.body == NULL || run.request == NULL)
        load_die("flood");
    memset(fill, 'x', bytes_n);
    fill[bytes_n] = '\0';
    at = stpcpy(run.body, events_n > 1 ? "[" : "");
    for (size_t i = 0; i < events_n; i++)
        at += sprintf(at, "%s{\"topic\":\"%s\",\"data\":\"%s\"}", i > 0 ? "," : "", topic, fill);
    strcpy(at, events_n > 1 ? "]" : "");
    run.request_n = (size_t)sprintf(run.request,
                                    "POST /api/push HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                                    "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n"
                                    "%s",
                                    strlen(run.body), run.body);
    free(fill);
}

static void report(int64_t now_ns)
{
    double seconds = (double)(now_ns - run.measure_ns) / 1e9;

    printf(
        "{\"seconds\": %.3f, \"accepted_events_per_s\": %.1f, \"accepted_requests_per_s\": %.1f, "
        "\"refused_requests_per_s\": %.1f, \"ended\": %llu, \"without_retry_after\": %llu, ",
        seconds, (double)run.events[ACCEPTED] / seconds, (double)run.took[ACCEPTED].n / seconds,
        (double)run.took[REFUSED].n / seconds, (unsigned long long)run.ended,
        (unsigned long long)run.without_retry_after);
    printf("\"retry_after\": [");
    for (int i = 0; i < 16; i++)
        printf("%s%llu", i > 0 ? ", " : "", (unsigned long long)run.retry_after[i]);
    printf("], ");
    load_put_samples("accepted", &run.took[ACCEPTED]);
    printf(", ");
    load_put_samples("refused", &run.took[REFUSED]);
    printf(", ");
    load_put_samples("other", &run.took[OTHER]);
    printf(", ");
    load_put_samples("probe", &run.probe);
    printf("}\n");
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    int64_t now_ns = load_now_ns();

    if (argc != 8) {
        fprintf(stderr, "flood PORT CONNECTIONS RATE SECONDS EVENTS BYTES TOPIC\n");
        return 2;
    }
    run.port = atoi(argv[1]);
    run.connections_n = (unsigned)atoi(argv[2]);
    run.interval_ns = atof(argv[3]) > 0 ? 1e9 / atof(argv[3]) : 0;
    run.from_ns = now_ns;
    run.until_ns = now_ns + (int64_t)(atof(argv[4]) * 1e9);
    run.measure_ns = now_ns + (int64_t)(atof(argv[4]) * 1e8);
    build_request(strtoul(argv[5], NULL, 10), strtoul(argv[6], NULL, 10), argv[7]);
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    run.list = calloc(run.connections_n + 1, sizeof(*run.list));
    if (run.list == NULL)
        load_die("flood");
    for (unsigned i = 0; i <= run.connections_n; i++) {
        run.list[i].index = i;
        run.list[i].fd = -1;
        run.list[i].is_probe = i == run.connections_n;
    }
    while ((now_ns = load_now_ns()) < run.until_ns) {
        int64_t wait_ns = send_what_is_due(now_ns) - now_ns;
        struct timespec wait = {.tv_nsec = wait_ns > 0 ? wait_ns : 0};
        int n = epoll_pwait2(run.epoll, events, 256, &wait, NULL);

        for (int i = 0; i < n; i++)
            serve(&run.list[events[i].data.u64], events[i].events);
    }
    report(now_ns);
    return 0;
}
