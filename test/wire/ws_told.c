/* SPDX-License-Identifier: MIT */
/*
 * What the parser reads, as text: for test/wire/ws_differ.py, which compares it with what other
 * implementations read.  From standard input come records: a byte with options (1: compressed
 * text is allowed), four of a limit, four of a length, and so many of what a client sends.  For
 * each goes a line to standard output: `text:HEX ping:HEX pong:HEX close:CODE:HEX
 * failed:CODE:WHY`, apart by blanks, with the blanks in WHY as underscores.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/ws_parser.h"

static void say_hex(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%02x", (unsigned char)bytes[i]);
}

static void say_why(const char *why)
{
    for (; *why != '\0'; why++)
        putchar(*why == ' ' ? '_' : *why);
}

static void say(const struct ws_event *event)
{
    static const char *const words[] = {"", " text:", " ping:", " pong:", " close:", " failed:"};

    fputs(words[event->kind], stdout);
    if (event->kind == WS_EVENT_CLOSE || event->kind == WS_EVENT_FAILED)
        printf("%u:", event->code);
    if (event->kind == WS_EVENT_FAILED)
        say_why(event->why);
    else
        say_hex(event->bytes, event->n);
}

static void tell(const struct ws_parser_limits *limits, char *bytes, size_t n)
{
    struct ws_parser parser;

    ws_parser_init(&parser, limits);
    for (size_t used = 0; used < n;) {
        struct ws_event event;

        used += ws_parser_push(&parser, bytes + used, n - used, &event);
        say(&event);
    }
    putchar('\n');
    ws_parser_end(&parser);
}

static uint32_t number(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

int main(void)
{
    unsigned char head[9];

    while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
        struct ws_parser_limits limits = {.message_bytes = number(head + 1),
                                          .inflates = (head[0] & 1) != 0};
        size_t n = number(head + 5);
        char *bytes = malloc(n > 0 ? n : 1);

        if (bytes == NULL || fread(bytes, 1, n, stdin) != n)
            return 1;
        tell(&limits, bytes, n);
        free(bytes);
    }
    return 0;
}
