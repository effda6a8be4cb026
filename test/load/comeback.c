/* SPDX-License-Identifier: MIT */
/*
 * Clients whose gateway dies: each holds a stream on one topic, reconnects at once when it ends,
 * with its last id, and holds every event to its place: the gateway has events of this topic only,
 * so positions must follow each other without a hole.
 *
 *   comeback PORT CLIENTS TOPIC
 *
 * Lines on standard input, told when they have come true by one on standard output:
 *
 *   standing       all clients have a stream and a position          -> standing
 *   mark           from here on is counted: the gateway is about to be killed    -> marked
 *   upto POSITION  all stand and have everything up to here     -> one line of JSON, and the end
 *
 * Exit status 0 when all came back without a gap; after 60 seconds without, 1.
 */
#include "load.h"

#include <poll.h>
#include <stdbool.h>

#define AGAIN_NS INT64_C(20000000) /* after a connect that was refused: nobody listens yet */
#define PATIENCE_NS INT64_C(60000000000)
#define LINE_BYTES 160

enum state { AWAY, CONNECTING, ASKED, STANDING };

/* Where in a chunked body a client is. */
enum chunk { SIZE, DATA, BEHIND };

struct client {
    int fd;
    enum state state;
    enum chunk chunk;
    size_t left; /* of a chunk */
    bool has_position, is_checkpoint, is_reset, was_back;
    uint64_t position, new_position;
    int64_t again_ns, back_ns;
    size_t line_n;
    char line[LINE_BYTES];
};

static struct {
    int port, epoll;
    size_t clients_n;
    const char *topic;
    struct client *list;
    char epoch[32];
    size_t standing, with_position, caught_up;
    uint64_t upto; /* 0: not said yet */
    int64_t mark_ns, first_back_ns, all_back_ns, all_caught_up_ns;
    size_t back, refused, ended, nobody_there, dropped;
    uint64_t gaps, duplicates, resets, epochs, events;
    struct load_samples back_after;
} run;

static void move(struct client *client, enum state state)
{
    run.standing -= client->state == STANDING;
    run.standing += state == STANDING;
    client->state = state;
}

static void go_away(struct client *client, int64_t again_ns)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->again_ns = again_ns;
    move(client, AWAY);
}

static void begin(struct client *client, size_t index, int64_t now_ns)
{
    int fd = load_connect(run.epoll, run.port, index, (unsigned)(index % 8));

    if (fd == -EMFILE || fd == -EADDRNOTAVAIL) {
        errno = -fd;
        load_die("comeback");
    }
    if (fd < 0) {
        run.nobody_there++;
        go_away(client, now_ns + AGAIN_NS);
        return;
    }
    client->fd = fd;
    client->line_n = 0;
    client->chunk = SIZE;
    client->left = 0;
    client->is_checkpoint = client->is_reset = false;
    client->new_position = UINT64_MAX;
    move(client, CONNECTING);
}

static void ask(struct client *client)
{
    char request[512];
    int n = snprintf(request, sizeof(request),
                     "GET /events?topic=%s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                     "Accept: text/event-stream\r\n",
                     run.topic);

    if (client->has_position)
        n += snprintf(request + n, sizeof(request) - (size_t)n, "Last-Event-ID: %s-%016llu\r\n",
                      run.epoch, (unsigned long long)client->position);
    n += snprintf(request + n, sizeof(request) - (size_t)n, "\r\n");
    if (send(client->fd, request, (size_t)n, MSG_NOSIGNAL) == n)
        move(client, ASKED);
}

/* ---- what came ---- */

static void take_id(struct client *client)
{
    const char *dash = strchr(client->line, '-');
    char epoch[sizeof(run.epoch)] = "";

    if (dash == NULL || dash - (client->line + 4) >= (long)sizeof(epoch))
        return;
    memcpy(epoch, client->line + 4, (size_t)(dash - (client->line + 4)));
    if (run.epoch[0] == '\0')
        strcpy(run.epoch, epoch);
    run.epochs += strcmp(run.epoch, epoch) != 0;
    client->new_position = strtoull(dash + 1, NULL, 10);
}

static void check_caught_up(struct client *client, uint64_t before)
{
    if (run.upto == 0 || before >= run.upto || client->position < run.upto)
        return;
    if (++run.caught_up == run.clients_n)
        run.all_caught_up_ns = load_now_ns();
}

/* A blank line: what stood before it is whole. */
static void take_block(struct client *client)
{
    uint64_t before = client->position, position = client->new_position;

    if (position == UINT64_MAX)
        return;
    run.resets += client->is_reset;
    run.events += !client->is_checkpoint;
    if (client->has_position) {
        uint64_t expected = before + !client->is_checkpoint;

        run.gaps += position > expected;
        run.duplicates += position < expected;
    } else {
        client->has_position = true;
        run.with_position++;
        before = 0;
    }
    client->position = position;
    client->is_checkpoint = client->is_reset = false;
    client->new_position = UINT64_MAX;
    check_caught_up(client, before);
}

static void take_line(struct client *client)
{
    client->line[client->line_n] = '\0';
    if (client->line_n == 0)
        take_block(client);
    else if (strncmp(client->line, "id: ", 4) == 0)
        take_id(client);
    else if (strcmp(client->line, "event: checkpoint") == 0)
        client->is_checkpoint = true;
    else if (strcmp(client->line, "event: reset") == 0)
        client->is_reset = true;
    client->line_n = 0;
}

static void take_text(struct client *client, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i] == '\n')
            take_line(client);
        else if (client->line_n < LINE_BYTES - 1)
            client->line[client->line_n++] = bytes[i];
}

/* The line is that of the text; what a chunk's size says is added up as it comes. */
static size_t take_chunked(struct client *client, const char *bytes, size_t n)
{
    if (client->chunk == DATA) {
        size_t part = n < client->left ? n : client->left;

        take_text(client, bytes, part);
        client->left -= part;
        if (client->left == 0)
            client->chunk = BEHIND;
        return part;
    }
    if (bytes[0] == '\n' && client->chunk == BEHIND) {
        client->chunk = SIZE;
    } else if (bytes[0] == '\n') {
        client->chunk = DATA;
    } else if (bytes[0] != '\r') {
        int digit = bytes[0] <= '9' ? bytes[0] - '0' : (bytes[0] | 32) - 'a' + 10;

        client->left = client->left * 16 + (size_t)digit;
    }
    return 1;
}

static void stand(struct client *client, int64_t now_ns)
{
    move(client, STANDING);
    if (run.mark_ns == 0 || client->was_back)
        return;
    client->was_back = true;
    if (run.back++ == 0)
        run.first_back_ns = now_ns;
    load_sample(&run.back_after, now_ns - run.mark_ns);
    if (run.back == run.clients_n)
        run.all_back_ns = now_ns;
}

/* The head is in one piece, since it is sent in one.  Returns its bytes, 0 for a refusal. */
static size_t take_head(struct client *client, const char *bytes, size_t n, int64_t now_ns)
{
    const char *end = memmem(bytes, n, "\r\n\r\n", 4);

    if (end == NULL || memcmp(bytes, "HTTP/1.1 200 ", 13) != 0 ||
        memmem(bytes, (size_t)(end - bytes), "chunked", 7) == NULL)
        return 0;
    stand(client, now_ns);
    return (size_t)(end - bytes) + 4;
}

static void read_on(struct client *client, int64_t now_ns)
{
    static char buffer[262144];

    for (;;) {
        ssize_t n = recv(client->fd, buffer, sizeof(buffer), 0);
        size_t at = 0;

        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            run.ended += client->state == STANDING;
            run.dropped += client->state == ASKED;
            go_away(client, now_ns);
            return;
        }
        if (client->state == ASKED && (at = take_head(client, buffer, (size_t)n, now_ns)) == 0) {
            run.refused++;
            go_away(client, now_ns + AGAIN_NS);
            return;
        }
        while (at < (size_t)n)
            at += take_chunked(client, buffer + at, (size_t)n - at);
    }
}

static void serve(struct client *client, uint32_t what, int64_t now_ns)
{
    if (client->state == CONNECTING) {
        if (load_socket_error(client->fd) != 0) {
            run.nobody_there++;
            go_away(client, now_ns + AGAIN_NS);
            return;
        }
        if ((what & EPOLLOUT) != 0)
            ask(client);
    }
    if (client->fd >= 0 && (what & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        read_on(client, now_ns);
}

/* ---- what is asked ---- */

static void put_report(void)
{
    int64_t from_ns = run.mark_ns;

    printf(
        "{\"clients\": %zu, \"back\": %zu, \"refused\": %zu, \"ended\": %zu, \"dropped\": %zu, "
        "\"nobody_there\": %zu, \"gaps\": %llu, \"duplicates\": %llu, \"resets\": %llu, "
        "\"other_epochs\": %llu, \"events\": %llu, \"first_back_s\": %.3f, \"all_back_s\": %.3f, "
        "\"all_caught_up_s\": %.3f, ",
        run.clients_n, run.back, run.refused, run.ended, run.dropped, run.nobody_there,
        (unsigned long long)run.gaps, (unsigned long long)run.duplicates,
        (unsigned long long)run.resets, (unsigned long long)run.epochs,
        (unsigned long long)run.events, (double)(run.first_back_ns - from_ns) / 1e9,
        (double)(run.all_back_ns - from_ns) / 1e9, (double)(run.all_caught_up_ns - from_ns) / 1e9);
    load_put_samples("back_after", &run.back_after);
    printf("}\n");
    fflush(stdout);
}

static bool is_good(void)
{
    return run.caught_up == run.clients_n && run.standing == run.clients_n && run.gaps == 0 &&
           run.duplicates == 0 && run.resets == 0 && run.epochs == 0;
}

static void set_mark(void)
{
    run.mark_ns = load_now_ns();
    run.refused = run.ended = run.dropped = run.nobody_there = 0;
    run.events = 0;
    puts("marked");
    fflush(stdout);
}

static void set_upto(uint64_t upto)
{
    run.upto = upto;
    for (size_t i = 0; i < run.clients_n; i++)
        run.caught_up += run.list[i].position >= upto;
    if (run.caught_up == run.clients_n)
        run.all_caught_up_ns = load_now_ns();
}

static bool wants_standing;

static void read_commands(void)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char line[128];

    if (poll(&in, 1, 0) != 1)
        return;
    ssize_t n = read(STDIN_FILENO, line, sizeof(line) - 1);
    if (n <= 0)
        exit(2);
    line[n] = '\0';
    if (strncmp(line, "standing", 8) == 0)
        wants_standing = true;
    else if (strncmp(line, "mark", 4) == 0)
        set_mark();
    else if (strncmp(line, "upto ", 5) == 0)
        set_upto(strtoull(line + 5, NULL, 10));
}

static void connect_those_away(int64_t now_ns)
{
    for (size_t i = 0; i < run.clients_n; i++)
        if (run.list[i].state == AWAY && run.list[i].again_ns <= now_ns)
            begin(&run.list[i], i, now_ns);
}

static int loop(void)
{
    struct epoll_event events[512];
    int64_t until_ns = INT64_MAX, look_ns = 0;

    for (;;) {
        int n = epoll_wait(run.epoll, events, 512, 5);
        int64_t now_ns = load_now_ns();

        for (int i = 0; i < n; i++)
            serve(&run.list[events[i].data.u64], events[i].events, now_ns);
        if (now_ns >= look_ns) {
            connect_those_away(now_ns);
            read_commands();
            look_ns = now_ns + 2000000;
        }
        if (wants_standing && run.standing == run.clients_n && run.with_position == run.clients_n) {
            wants_standing = false;
            puts("standing");
            fflush(stdout);
        }
        if (run.upto != 0 && until_ns == INT64_MAX)
            until_ns = now_ns + PATIENCE_NS;
        if (is_good() || now_ns >= until_ns)
            return is_good() ? 0 : 1;
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "comeback PORT CLIENTS TOPIC\n");
        return 2;
    }
    run.port = atoi(argv[1]);
    run.clients_n = strtoul(argv[2], NULL, 10);
    run.topic = argv[3];
    run.epoll = epoll_create1(EPOLL_CLOEXEC);
    run.list = calloc(run.clients_n, sizeof(*run.list));
    if (run.list == NULL || run.epoll < 0)
        load_die("comeback");
    for (size_t i = 0; i < run.clients_n; i++)
        run.list[i].fd = -1;
    int status = loop();
    put_report();
    return status;
}
