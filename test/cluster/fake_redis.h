/* SPDX-License-Identifier: MIT */
/*
 * A server on loopback that says what a test tells it, in the test's own loop: for what no real
 * Redis does on demand.  It understands commands, and a function of the test answers each.
 */
#ifndef BUGLE_FAKE_REDIS_H
#define BUGLE_FAKE_REDIS_H

#include <arpa/inet.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster/redis_reader.h"
#include "cluster/redis_url.h"

#define FAKE_CLIENTS_MAX 16
#define FAKE_OUT_BYTES (1 << 18)

struct fake_redis;

/* One connection to it. */
struct fake_client {
    struct fake_redis *fake;
    int fd;
    struct event *readable, *writable;
    struct redis_reader reader;
    char *out;
    size_t out_n;
    bool hangs_up; /* once all is written */
};

/* command  an array of strings */
typedef void fake_answer(struct fake_client *client, const redisReply *command);

struct fake_redis {
    struct event_base *base;
    struct redis_place place;
    int fd;
    struct event *acceptable;
    fake_answer *answer;
    void *arg;
    size_t piece_bytes; /* of a write; 0: all */
    size_t accepted_n;
    struct fake_client clients[FAKE_CLIENTS_MAX];
};

static inline void fake_hang_up(struct fake_client *client)
{
    if (client->fd < 0)
        return;
    event_free(client->readable);
    event_free(client->writable);
    redis_reader_end(&client->reader);
    close(client->fd);
    free(client->out);
    client->fd = -1;
}

static inline void fake_on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct fake_client *client = arg;
    size_t n = client->out_n;

    (void)what;
    if (client->fake->piece_bytes > 0 && n > client->fake->piece_bytes)
        n = client->fake->piece_bytes;
    ssize_t sent_n = send(fd, client->out, n, MSG_NOSIGNAL);
    if (sent_n > 0) {
        client->out_n -= (size_t)sent_n;
        memmove(client->out, client->out + sent_n, client->out_n);
    }
    if (client->out_n > 0)
        event_add(client->writable, NULL);
    else if (client->hangs_up)
        fake_hang_up(client);
}

static inline void fake_say_bytes(struct fake_client *client, const char *bytes, size_t n)
{
    if (n > FAKE_OUT_BYTES - client->out_n)
        abort();
    memcpy(client->out + client->out_n, bytes, n);
    client->out_n += n;
    event_add(client->writable, NULL);
}

static inline void fake_say(struct fake_client *client, const char *text)
{
    fake_say_bytes(client, text, strlen(text));
}

static inline bool fake_is(const redisReply *command, const char *word)
{
    return command->elements > 0 && strcasecmp(command->element[0]->str, word) == 0;
}

static inline void fake_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct fake_client *client = arg;
    redisReply *command;
    char bytes[4096];
    ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

    (void)what;
    if (n <= 0) {
        fake_hang_up(client);
        return;
    }
    redis_reader_feed(&client->reader, bytes, (size_t)n);
    while (client->fd >= 0 && redis_reader_next(&client->reader, &command) == 1) {
        client->fake->answer(client, command);
        freeReplyObject(command);
    }
}

static inline void fake_on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct fake_redis *fake = arg;
    struct fake_client *client = fake->clients;

    (void)what;
    while (client->fd >= 0)
        if (++client == fake->clients + FAKE_CLIENTS_MAX)
            abort();
    *client = (struct fake_client){.fake = fake, .out = malloc(FAKE_OUT_BYTES)};
    client->fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    client->readable =
        event_new(fake->base, client->fd, EV_READ | EV_PERSIST, fake_on_readable, client);
    client->writable = event_new(fake->base, client->fd, EV_WRITE, fake_on_writable, client);
    event_add(client->readable, NULL);
    redis_reader_begin(&client->reader, 1 << 20);
    fake->accepted_n++;
}

static inline void fake_redis_begin(struct fake_redis *fake, struct event_base *base,
                                    fake_answer *answer, void *arg)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_n = sizeof(address);

    memset(fake, 0, sizeof(*fake));
    fake->base = base;
    fake->answer = answer;
    fake->arg = arg;
    for (size_t i = 0; i < FAKE_CLIENTS_MAX; i++)
        fake->clients[i].fd = -1;
    fake->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(fake->fd, (struct sockaddr *)&address, address_n) != 0 || listen(fake->fd, 16) != 0 ||
        getsockname(fake->fd, (struct sockaddr *)&address, &address_n) != 0)
        abort();
    strcpy(fake->place.host, "127.0.0.1");
    fake->place.port = ntohs(address.sin_port);
    fake->acceptable = event_new(base, fake->fd, EV_READ | EV_PERSIST, fake_on_accept, fake);
    event_add(fake->acceptable, NULL);
}

static inline void fake_redis_end(struct fake_redis *fake)
{
    for (size_t i = 0; i < FAKE_CLIENTS_MAX; i++)
        fake_hang_up(&fake->clients[i]);
    event_free(fake->acceptable);
    close(fake->fd);
}

#endif
