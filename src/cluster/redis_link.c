/* SPDX-License-Identifier: MIT */
/* One connection to a Redis.  See redis_link.h. */
#include "config.h"
#include "cluster/redis_link.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "cluster/redis_reader.h"
#include "cluster/redis_resolve.h"
#include "cluster/redis_socket.h"

#define READ_BYTES 16384
/* A turn of the loop reads so much; then others have theirs. */
#define READ_BYTES_A_TURN (1 << 20)
/* Smaller commands are copied, so that several leave in one send(). */
#define COPY_BYTES 4096
#define WHY_BYTES 200

enum phase { LINK_CLOSED, LINK_RESOLVING, LINK_CONNECTING, LINK_SHAKING, LINK_GREETING, LINK_UP };

/* A command that waits for its answer. */
struct command {
    STAILQ_ENTRY(command) link;
    redis_link_done *done;
    void *arg;
    int64_t deadline_ms;
};
STAILQ_HEAD(commands, command);

struct redis_link {
    struct event_base *base;
    struct redis_link_conf conf;
    struct redis_link_hooks hooks;
    struct redis_place place;
    enum phase phase;
    bool is_ending; /* commands are being answered; */
    bool is_muted;  /* and down() is not wanted any more */
    bool is_subscribed;
    uint64_t life; /* counts connections, to see that one ended within a call */

    struct redis_resolve *resolve; /* may outlive the connection that asked */
    struct addrinfo *addresses;
    const struct addrinfo *next; /* to try */
    struct redis_socket socket;
    struct event *readable, *writable, *timer;
    int64_t open_deadline_ms;
    int64_t timer_ms; /* what the timer is set to; INT64_MAX: not set */
    unsigned greetings_n;

    struct evbuffer *out;
    struct redis_reader reader;
    struct commands commands;
    size_t commands_n;
    int64_t last_deadline_ms; /* of the last of them */
};

static void link_connect_next(struct redis_link *link);

/* ---- the end of a connection ---- */

static void link_free_event(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

static void link_drop_socket(struct redis_link *link)
{
    link_free_event(&link->readable);
    link_free_event(&link->writable);
    redis_socket_close(&link->socket);
}

static void link_drop(struct redis_link *link)
{
    link_drop_socket(link);
    if (link->addresses != NULL)
        freeaddrinfo(link->addresses);
    redis_reader_end(&link->reader);
    link->addresses = NULL;
    link->next = NULL;
    link->is_subscribed = false;
    evbuffer_drain(link->out, evbuffer_get_length(link->out));
    event_del(link->timer);
    link->timer_ms = INT64_MAX;
    link->phase = LINK_CLOSED;
    link->life++;
}

static void link_answer_all(struct redis_link *link, enum redis_fault fault)
{
    struct command *command;

    while ((command = STAILQ_FIRST(&link->commands)) != NULL) {
        STAILQ_REMOVE_HEAD(&link->commands, link);
        link->commands_n--;
        command->done(command->arg, fault, NULL);
        free(command);
    }
}

/* The last thing that a caller does: the link may be open again afterwards. */
static void link_end(struct redis_link *link, enum redis_fault fault, const char *why)
{
    char text[WHY_BYTES];

    snprintf(text, sizeof(text), "%s", why);
    link_drop(link);
    link->is_ending = true;
    link->is_muted = false;
    link_answer_all(link, fault);
    link->is_ending = false;
    if (!link->is_muted)
        link->hooks.down(link->hooks.arg, fault, text);
}

void redis_link_close(struct redis_link *link)
{
    link->is_muted = true;
    if (link->is_ending || link->phase == LINK_CLOSED)
        return;
    link_drop(link);
    link->is_ending = true;
    link_answer_all(link, REDIS_CLOSED);
    link->is_ending = false;
}

/* ---- time ---- */

static void link_set_timer(struct redis_link *link, int64_t due_ms)
{
    int64_t left_ms = due_ms - clock_mono_ms();
    struct timeval wait = {0};

    if (left_ms > 0)
        wait = (struct timeval){.tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000};
    link->timer_ms = due_ms;
    event_add(link->timer, &wait);
}

static int64_t link_next_deadline(const struct redis_link *link)
{
    int64_t due_ms = link->phase != LINK_UP ? link->open_deadline_ms : INT64_MAX;
    const struct command *command;

    STAILQ_FOREACH (command, &link->commands, link)
        due_ms = clock_earlier(due_ms, command->deadline_ms);
    return due_ms;
}

/* The timer is never moved later: when it comes early it is set anew. */
static void link_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct redis_link *link = arg;
    int64_t due_ms = link_next_deadline(link);

    (void)fd, (void)what;
    link->timer_ms = INT64_MAX;
    if (due_ms == INT64_MAX)
        return;
    if (due_ms > clock_mono_ms()) {
        link_set_timer(link, due_ms);
        return;
    }
    link_end(link, REDIS_TIMEOUT,
             link->phase == LINK_UP ? "no answer in time" : "cannot connect in time");
}

/* ---- writing ---- */

/* Returns 0, or -errno. */
static int link_write(struct redis_link *link)
{
    struct evbuffer_iovec piece;

    while (evbuffer_peek(link->out, -1, NULL, &piece, 1) > 0 && piece.iov_len > 0) {
        ssize_t n = redis_socket_write(&link->socket, piece.iov_base, piece.iov_len);

        if (n == -EAGAIN)
            return event_add(link->writable, NULL) == 0 ? 0 : -ENOMEM;
        if (n < 0)
            return (int)n;
        evbuffer_drain(link->out, (size_t)n);
    }
    return 0;
}

/* A write that fails is told from the loop. */
static void link_write_now(struct redis_link *link)
{
    if (link_write(link) != 0)
        event_active(link->writable, EV_WRITE, 0);
}

static void command_free_text(const void *text, size_t text_n, void *arg)
{
    (void)text_n, (void)arg;
    redisFreeCommand((char *)(uintptr_t)text);
}

/* Takes the text, which hiredis made. */
static int link_add_text(struct redis_link *link, char *text, size_t text_n)
{
    int result;

    if (text_n > COPY_BYTES) {
        result = evbuffer_add_reference(link->out, text, text_n, command_free_text, NULL);
        if (result != 0)
            redisFreeCommand(text);
    } else {
        result = evbuffer_add(link->out, text, text_n);
        redisFreeCommand(text);
    }
    return result == 0 ? 0 : -ENOMEM;
}

/* Answers come in order: none can be here before that of the command ahead, which may wait for
 * replicas. */
static int64_t link_deadline(const struct redis_link *link, int64_t timeout_ms)
{
    int64_t deadline_ms = clock_mono_ms() + timeout_ms;

    if (link->commands_n > 0 && link->last_deadline_ms > deadline_ms)
        return link->last_deadline_ms;
    return deadline_ms;
}

static int link_give(struct redis_link *link, char *text, int text_n, int64_t timeout_ms,
                     redis_link_done *done, void *arg)
{
    struct command *command;

    if (text_n < 0)
        return -ENOMEM;
    command = malloc(sizeof(*command));
    if (command == NULL || link_add_text(link, text, (size_t)text_n) != 0) {
        if (command == NULL)
            redisFreeCommand(text);
        free(command);
        return -ENOMEM;
    }
    *command = (struct command){.done = done, .arg = arg};
    command->deadline_ms = link->last_deadline_ms = link_deadline(link, timeout_ms);
    STAILQ_INSERT_TAIL(&link->commands, command, link);
    link->commands_n++;
    if (command->deadline_ms < link->timer_ms)
        link_set_timer(link, command->deadline_ms);
    link_write_now(link);
    return 0;
}

/* What only connecting itself may do before the link is up. */
static int link_vask(struct redis_link *link, int64_t timeout_ms, redis_link_done *done, void *arg,
                     const char *format, va_list args)
{
    char *text = NULL;
    int text_n = redisvFormatCommand(&text, format, args);

    return link_give(link, text, text_n, timeout_ms, done, arg);
}

int redis_link_send(struct redis_link *link, int words_n, const char *const *words,
                    const size_t *bytes, int64_t timeout_ms, redis_link_done *done, void *arg)
{
    char *text = NULL;
    int text_n;

    if (link->phase != LINK_UP)
        return -ENOTCONN;
    text_n = (int)redisFormatCommandArgv(&text, words_n, (const char **)(uintptr_t)words, bytes);
    return link_give(link, text, text_n, timeout_ms, done, arg);
}

int redis_link_ask(struct redis_link *link, int64_t timeout_ms, redis_link_done *done, void *arg,
                   const char *format, ...)
{
    va_list args;
    int result;

    if (link->phase != LINK_UP)
        return -ENOTCONN;
    va_start(args, format);
    result = link_vask(link, timeout_ms, done, arg, format, args);
    va_end(args);
    return result;
}

int redis_link_subscribe(struct redis_link *link, const char *channel, int64_t timeout_ms,
                         redis_link_done *done, void *arg)
{
    int result = redis_link_ask(link, timeout_ms, done, arg, "SUBSCRIBE %s", channel);

    if (result == 0)
        link->is_subscribed = true;
    return result;
}

/* ---- reading ---- */

/* Messages come unasked, and only to who listens. */
static bool link_is_message(const struct redis_link *link, const redisReply *reply)
{
    return link->is_subscribed && reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 &&
           reply->element[0]->type == REDIS_REPLY_STRING &&
           strcmp(reply->element[0]->str, "message") == 0 &&
           reply->element[1]->type == REDIS_REPLY_STRING &&
           reply->element[2]->type == REDIS_REPLY_STRING;
}

static void link_take_answer(struct redis_link *link, struct command *command,
                             const redisReply *reply)
{
    enum redis_fault fault = REDIS_FINE;

    if (reply->type == REDIS_REPLY_ERROR)
        fault = redis_fault_of(reply->str, (size_t)reply->len);
    STAILQ_REMOVE_HEAD(&link->commands, link);
    link->commands_n--;
    command->done(command->arg, fault, reply);
    free(command);
}

/* Returns false when the link has ended. */
static bool link_take_reply(struct redis_link *link, const redisReply *reply)
{
    struct command *command = STAILQ_FIRST(&link->commands);
    uint64_t life = link->life;

    if (link_is_message(link, reply)) {
        if (link->hooks.message != NULL)
            link->hooks.message(link->hooks.arg, reply->element[1], reply->element[2]);
    } else if (command != NULL) {
        link_take_answer(link, command, reply);
    } else if (reply->type == REDIS_REPLY_ERROR) { /* said before it closes: too many clients */
        link_end(link, redis_fault_of(reply->str, (size_t)reply->len), reply->str);
        return false;
    } else {
        link_end(link, REDIS_GARBLED, "an answer without a question");
        return false;
    }
    return link->life == life;
}

static enum redis_fault link_fault_of_reader(int error)
{
    if (error == -ENOMEM)
        return REDIS_NO_MEMORY;
    return error == -EMSGSIZE ? REDIS_TOO_LARGE : REDIS_GARBLED;
}

/* Returns false when the link has ended. */
static bool link_take_bytes(struct redis_link *link, const char *bytes, size_t n)
{
    redisReply *reply;
    int result = redis_reader_feed(&link->reader, bytes, n);

    if (result == 0)
        while ((result = redis_reader_next(&link->reader, &reply)) == 1) {
            bool stands = link_take_reply(link, reply);

            freeReplyObject(reply);
            if (!stands)
                return false;
        }
    if (result == 0)
        return true;
    link_end(link, link_fault_of_reader(result), redis_reader_why(&link->reader));
    return false;
}

static enum redis_fault link_fault_of(int error)
{
    switch (-error) {
    case ECONNREFUSED:
        return REDIS_REFUSED;
    case EPROTO:
        return REDIS_UNTRUSTED;
    case ETIMEDOUT:
        return REDIS_TIMEOUT;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
        return REDIS_NO_MEMORY;
    case ECONNRESET:
    case EPIPE:
        return REDIS_LOST;
    default:
        return REDIS_UNREACHABLE;
    }
}

static void link_read(struct redis_link *link)
{
    char bytes[READ_BYTES];

    for (size_t read_n = 0; read_n < READ_BYTES_A_TURN;) {
        ssize_t n = redis_socket_read(&link->socket, bytes, sizeof(bytes));

        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            link_end(link, REDIS_LOST, n == 0 ? "closed by the server" : link->socket.why);
            return;
        }
        if (!link_take_bytes(link, bytes, (size_t)n))
            return;
        read_n += (size_t)n;
        if ((size_t)n < sizeof(bytes) && link->socket.session == NULL)
            return; /* the kernel has no more, or the event tells */
    }
    event_active(link->readable, EV_READ, 0); /* what TLS holds no event tells */
}

/* ---- connecting ---- */

/* Which kind of server it is was the last question. */
static void link_check_role(struct redis_link *link, const redisReply *reply)
{
    bool is_master = reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
                     reply->element[0]->type == REDIS_REPLY_STRING &&
                     strcmp(reply->element[0]->str, "master") == 0;

    if (!is_master)
        link_end(link, REDIS_READONLY, "it is no master");
}

static void link_greeted(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct redis_link *link = arg;
    uint64_t life = link->life;

    if (reply == NULL)
        return; /* it is ending */
    if (fault != REDIS_FINE) {
        link_end(link, fault, reply->str);
        return;
    }
    link->greetings_n--;
    if (link->greetings_n == 0 && link->conf.wants_master)
        link_check_role(link, reply);
    if (link->life != life || link->greetings_n > 0)
        return;
    link->phase = LINK_UP;
    link->hooks.up(link->hooks.arg);
}

static void __attribute__((format(printf, 3, 4))) /* hiredis takes the same as these */
link_greet_with(struct redis_link *link, int *result, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (*result == 0)
        *result = link_vask(link, link->conf.timeout_ms, link_greeted, link, format, args);
    va_end(args);
    link->greetings_n++;
}

static void link_greet(struct redis_link *link)
{
    const struct redis_link_conf *conf = &link->conf;
    bool has_password = conf->password != NULL && conf->password[0] != '\0';
    int result = 0;

    link->phase = LINK_GREETING;
    link->greetings_n = 0;
    if (redis_reader_begin(&link->reader, link->conf.reply_bytes_max) != 0 ||
        event_add(link->readable, NULL) != 0) {
        link_end(link, REDIS_NO_MEMORY, "out of memory");
        return;
    }
    if (has_password && conf->user != NULL && conf->user[0] != '\0')
        link_greet_with(link, &result, "AUTH %s %s", conf->user, conf->password);
    else if (has_password)
        link_greet_with(link, &result, "AUTH %s", conf->password);
    if (conf->db != 0)
        link_greet_with(link, &result, "SELECT %u", conf->db);
    link_greet_with(link, &result, conf->wants_master ? "ROLE" : "PING");
    if (result != 0)
        link_end(link, REDIS_NO_MEMORY, "out of memory");
}

static void link_shake(struct redis_link *link)
{
    int result = redis_socket_shake(&link->socket);

    link->phase = LINK_SHAKING;
    if (result == 0) {
        event_del(link->writable);
        link_greet(link);
    } else if (result != -EAGAIN) {
        link_end(link, REDIS_UNTRUSTED, link->socket.why);
    } else if (event_add(link->readable, NULL) != 0 ||
               (redis_socket_shakes_out(&link->socket) && event_add(link->writable, NULL) != 0)) {
        link_end(link, REDIS_NO_MEMORY, "out of memory");
    }
}

static void link_connected(struct redis_link *link)
{
    int error = redis_socket_connected(&link->socket);

    if (error == 0) {
        link_shake(link);
        return;
    }
    if (link->next == NULL) {
        link_end(link, link_fault_of(error), strerror(-error));
        return;
    }
    link_drop_socket(link);
    link_connect_next(link);
}

static void link_on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct redis_link *link = arg;
    int error;

    (void)fd, (void)what;
    if (link->phase == LINK_CONNECTING) {
        link_connected(link);
    } else if (link->phase == LINK_SHAKING) {
        link_shake(link);
    } else {
        error = link_write(link);
        if (error != 0)
            link_end(link, REDIS_LOST, link->socket.why);
    }
}

static void link_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct redis_link *link = arg;

    (void)fd, (void)what;
    if (link->phase == LINK_SHAKING)
        link_shake(link);
    else
        link_read(link);
}

static bool link_watch(struct redis_link *link)
{
    int fd = link->socket.fd;

    link->readable = event_new(link->base, fd, EV_READ | EV_PERSIST, link_on_readable, link);
    link->writable = event_new(link->base, fd, EV_WRITE, link_on_writable, link);
    return link->readable != NULL && link->writable != NULL && event_add(link->writable, NULL) == 0;
}

/* The next address that takes a connection; the last one's error counts. */
static void link_connect_next(struct redis_link *link)
{
    int error = -EADDRNOTAVAIL;

    link->phase = LINK_CONNECTING;
    while (error != 0 && link->next != NULL) {
        const struct addrinfo *address = link->next;

        link->next = address->ai_next;
        error = redis_socket_open(&link->socket, address, link->place.host, link->conf.trust);
    }
    if (error == 0 && !link_watch(link))
        error = -ENOMEM;
    if (error != 0)
        link_end(link, link_fault_of(error), strerror(-error));
}

static void link_resolved(void *arg, struct addrinfo *addresses, const char *why)
{
    struct redis_link *link = arg;

    redis_resolve_free(link->resolve);
    link->resolve = NULL;
    if (link->phase != LINK_RESOLVING) {
        if (addresses != NULL)
            freeaddrinfo(addresses);
        return;
    }
    link->addresses = addresses;
    link->next = addresses;
    if (addresses != NULL)
        link_connect_next(link);
    else
        link_end(link, REDIS_UNRESOLVED, why);
}

void redis_link_open(struct redis_link *link, const struct redis_place *place)
{
    assert(link->phase == LINK_CLOSED && !link->is_ending);
    link->place = *place;
    link->phase = LINK_RESOLVING;
    link->open_deadline_ms = clock_mono_ms() + link->conf.timeout_ms;
    link_set_timer(link, link->open_deadline_ms);
    if (link->resolve != NULL && redis_resolve_is_of(link->resolve, place))
        return; /* a slow one, which was asked before */
    redis_resolve_free(link->resolve);
    link->resolve = redis_resolve_new(link->base, place, link_resolved, link);
    /* out of memory: said when the time is over */
}

/* ---- */

struct redis_link *redis_link_new(struct event_base *base, const struct redis_link_conf *conf,
                                  const struct redis_link_hooks *hooks)
{
    struct redis_link *link = calloc(1, sizeof(*link));

    if (link == NULL)
        return NULL;
    link->base = base;
    link->conf = *conf;
    link->hooks = *hooks;
    link->socket.fd = -1;
    link->timer_ms = INT64_MAX;
    STAILQ_INIT(&link->commands);
    link->out = evbuffer_new();
    link->timer = event_new(base, -1, 0, link_on_timer, link);
    if (link->out != NULL && link->timer != NULL)
        return link;
    redis_link_free(link);
    return NULL;
}

void redis_link_free(struct redis_link *link)
{
    if (link == NULL)
        return;
    assert(!link->is_ending);
    redis_link_close(link);
    redis_resolve_free(link->resolve);
    link_free_event(&link->timer);
    if (link->out != NULL)
        evbuffer_free(link->out);
    free(link);
}

void redis_link_set_password(struct redis_link *link, const char *user, const char *password)
{
    link->conf.user = user;
    link->conf.password = password;
}

bool redis_link_is_up(const struct redis_link *link)
{
    return link->phase == LINK_UP;
}

const struct redis_place *redis_link_place(const struct redis_link *link)
{
    return &link->place;
}

size_t redis_link_waiting(const struct redis_link *link)
{
    return link->commands_n;
}

size_t redis_link_unsent(const struct redis_link *link)
{
    return evbuffer_get_length(link->out);
}
