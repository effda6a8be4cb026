/* SPDX-License-Identifier: MIT */
/*
 * A WebSocket server that echoes, around the parser and the handshake alone: what test_ws_cases.py
 * talks to.  It listens on a free port of the loopback, which it prints, with a process for each
 * connection.  `GET /300` sets the limit of a message; permessage-deflate is agreed on if offered,
 * and then what gets smaller is compressed.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/ws_deflate.h"
#include "wire/ws_frame.h"
#include "wire/ws_handshake.h"
#include "wire/ws_parser.h"

#define HEAD_MAX 8192
#define MESSAGE_BYTES 131072
#define READ_BYTES 4096

struct echo {
    int fd;
    struct ws_parser parser;
    struct ws_deflate *deflater; /* NULL: not agreed on */
};

static void send_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

        if (sent <= 0)
            _exit(0);
        bytes += sent;
        n -= (size_t)sent;
    }
}

static void send_text(struct echo *echo, const char *text, size_t n)
{
    char head[WS_FRAME_HEAD_MAX];
    char *packed = malloc(n > 0 ? n : 1);
    size_t packed_n = echo->deflater ? ws_deflate_pack(echo->deflater, text, n, packed) : 0;
    bool is_packed = packed_n > 0;

    send_all(echo->fd, head, ws_frame_put_head(head, WS_TEXT, is_packed, is_packed ? packed_n : n));
    send_all(echo->fd, is_packed ? packed : text, is_packed ? packed_n : n);
    free(packed);
}

/* Let the client read the Close before the socket goes. */
static void end(struct echo *echo, unsigned code, const char *reason)
{
    char frame[WS_CONTROL_FRAME_MAX], rest[READ_BYTES];

    send_all(echo->fd, frame, ws_frame_put_close(frame, code, reason));
    shutdown(echo->fd, SHUT_WR);
    while (recv(echo->fd, rest, sizeof(rest), 0) > 0)
        ;
}

/* Returns whether it goes on. */
static bool answer(struct echo *echo, const struct ws_event *event)
{
    char frame[WS_CONTROL_FRAME_MAX];

    switch (event->kind) {
    case WS_EVENT_MESSAGE:
        send_text(echo, event->bytes, event->n);
        return true;
    case WS_EVENT_PING:
        send_all(echo->fd, frame, ws_frame_put_control(frame, WS_PONG, event->bytes, event->n));
        return true;
    case WS_EVENT_CLOSE:
        end(echo, event->code, NULL);
        return false;
    case WS_EVENT_FAILED:
        end(echo, event->code, event->why);
        return false;
    default:
        return true;
    }
}

static bool push(struct echo *echo, char *bytes, size_t n)
{
    for (size_t used = 0; used < n;) {
        struct ws_event event;

        used += ws_parser_push(&echo->parser, bytes + used, n - used, &event);
        if (!answer(echo, &event))
            return false;
    }
    return true;
}

/* Read up to the end of the head.  Returns its length; `*ret_n` is how much came in all. */
static size_t read_head(int fd, char head[HEAD_MAX + 1], size_t *ret_n)
{
    size_t n = 0;

    for (;;) {
        ssize_t got = recv(fd, head + n, HEAD_MAX - n, 0);

        if (got <= 0)
            _exit(0);
        n += (size_t)got;
        head[n] = '\0';
        char *blank = strstr(head, "\r\n\r\n");
        if (blank != NULL) {
            *ret_n = n;
            return (size_t)(blank + 4 - head);
        }
    }
}

static void add_lines(struct ws_handshake *handshake, const char *line, const char *end)
{
    while (line < end) {
        const char *stop = strstr(line, "\r\n");
        const char *colon = memchr(line, ':', (size_t)(stop - line));

        if (colon != NULL)
            ws_handshake_add(handshake, line, (size_t)(colon - line), colon + 1,
                             (size_t)(stop - colon - 1));
        line = stop + 2;
    }
}

static void refuse(int fd, enum ws_handshake_verdict verdict, const char *detail)
{
    char answer_text[1024];
    bool is_426 = verdict == WS_HANDSHAKE_NO_UPGRADE || verdict == WS_HANDSHAKE_OTHER_VERSION;
    int n = snprintf(answer_text, sizeof(answer_text),
                     "HTTP/1.1 %d\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                     is_426 ? 426 : 400, strlen(detail), detail);

    send_all(fd, answer_text, (size_t)n);
}

static void serve(int fd)
{
    static char head[HEAD_MAX + 1], bytes[READ_BYTES];
    struct echo echo = {.fd = fd};
    struct ws_handshake handshake;
    const char *detail;
    size_t got_n;
    size_t head_n = read_head(fd, head, &got_n);
    struct ws_parser_limits limits = {.message_bytes = MESSAGE_BYTES};
    char answer_head[WS_HANDSHAKE_HEAD_MAX];
    ssize_t n;

    ws_handshake_begin(&handshake, strstr(head, " HTTP/1.1\r\n") != NULL, true);
    add_lines(&handshake, strstr(head, "\r\n") + 2, head + head_n - 2);
    enum ws_handshake_verdict verdict = ws_handshake_verdict(&handshake, &detail);
    if (verdict != WS_HANDSHAKE_GOOD) {
        refuse(fd, verdict, detail);
        return;
    }
    if (sscanf(head, "GET /%u", &limits.message_bytes) != 1)
        limits.message_bytes = MESSAGE_BYTES;
    limits.inflates = handshake.deflates;
    echo.deflater = handshake.deflates ? ws_deflate_new() : NULL;
    ws_parser_init(&echo.parser, &limits);
    send_all(fd, answer_head, ws_handshake_write_head(&handshake, answer_head));
    if (push(&echo, head + head_n, got_n - head_n))
        while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0 && push(&echo, bytes, (size_t)n))
            ;
    ws_parser_end(&echo.parser);
    ws_deflate_free(echo.deflater);
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_n = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    signal(SIGCHLD, SIG_IGN);
    if (bind(listener, (struct sockaddr *)&address, address_n) != 0 || listen(listener, 128) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &address_n) != 0) {
        perror("ws_echo");
        return 1;
    }
    printf("%u\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        int one = 1;

        if (fd < 0)
            continue;
        if (fork() == 0) {
            close(listener);
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
            serve(fd);
            close(fd);
            return 0;
        }
        close(fd);
    }
}
