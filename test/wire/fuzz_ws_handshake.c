/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for the opening handshake: lines `name:value` with line feeds between.  A good one is
 * answered by a head that is one and that tells no token.  All lines of one name in one, and names
 * in another case, must be read the same.
 */
#include "wire/ws_handshake.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t input_n);

/* These may stand in several lines, of which each continues the list. */
static const char *const lists[] = {"Upgrade", "Connection", "Sec-WebSocket-Protocol",
                                    "Sec-WebSocket-Extensions"};

struct line {
    const char *name, *value;
    size_t name_n, value_n;
};

static bool is_named(const struct line *line, const char *name)
{
    if (line->name_n != strlen(name))
        return false;
    for (size_t i = 0; i < line->name_n; i++)
        if (tolower((unsigned char)line->name[i]) != tolower((unsigned char)name[i]))
            return false;
    return true;
}

/* Take the next line, which may lack its name. */
static struct line take_line(const char **at, const char *end)
{
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    const char *begin = *at;

    if (stop == NULL)
        stop = end;
    *at = stop < end ? stop + 1 : end;
    const char *colon = memchr(begin, ':', (size_t)(stop - begin));
    if (colon == NULL)
        return (struct line){begin, stop, (size_t)(stop - begin), 0};
    return (struct line){begin, colon + 1, (size_t)(colon - begin), (size_t)(stop - colon - 1)};
}

static bool is_list(const struct line *line)
{
    for (size_t i = 0; i < 4; i++)
        if (is_named(line, lists[i]))
            return true;
    return false;
}

/* Add a copy of exactly the value; it is kept, as the handshake borrows it. */
static char *add(struct ws_handshake *handshake, const char *name, size_t name_n, const char *value,
                 size_t value_n)
{
    char *copy = malloc(value_n > 0 ? value_n : 1);

    assert(copy != NULL);
    memcpy(copy, value, value_n);
    ws_handshake_add(handshake, name, name_n, copy, value_n);
    return copy;
}

/* All lines of one list as one line. */
static char *add_joined(struct ws_handshake *handshake, const char *name, const char *text,
                        size_t text_n)
{
    char *joined = malloc(2 * text_n + 1);
    size_t n = 0;
    const char *at = text, *end = text + text_n;

    assert(joined != NULL);
    while (at < end) {
        struct line line = take_line(&at, end);

        if (!is_named(&line, name))
            continue;
        joined[n++] = ',';
        memcpy(joined + n, line.value, line.value_n);
        n += line.value_n;
    }
    if (n > 0)
        ws_handshake_add(handshake, name, strlen(name), joined, n);
    return joined;
}

static void check_head(const struct ws_handshake *handshake)
{
    char head[WS_HANDSHAKE_HEAD_MAX + 1];
    size_t n = ws_handshake_write_head(handshake, head);

    assert(n > 4 && n <= WS_HANDSHAKE_HEAD_MAX);
    head[n] = '\0';
    assert(strlen(head) == n);
    assert(strncmp(head, "HTTP/1.1 101 ", 13) == 0);
    assert(strstr(head, "\r\n\r\n") == head + n - 4);
    assert(strstr(head, "bearer") == NULL);
    assert((strstr(head, "-Extensions: permessage-deflate") != NULL) == handshake->deflates);
    assert((strstr(head, "-Protocol: bugle.v1\r\n") != NULL) ==
           (handshake->protocol == WS_PROTOCOL_V1));
    assert((strstr(head, "-Protocol: bugle.raw\r\n") != NULL) ==
           (handshake->protocol == WS_PROTOCOL_RAW));
}

static void check_same(const struct ws_handshake *one, const struct ws_handshake *other)
{
    const char *one_detail, *other_detail;

    enum ws_handshake_verdict verdict = ws_handshake_verdict(one, &one_detail);

    assert(verdict == ws_handshake_verdict(other, &other_detail));
    if (verdict != WS_HANDSHAKE_GOOD)
        return;
    assert(one->protocol == other->protocol && one->deflates == other->deflates);
    assert(one->names_window == other->names_window && one->token_n == other->token_n);
    assert((one->token == NULL) == (other->token == NULL));
    assert(one->token_n == 0 || memcmp(one->token, other->token, one->token_n) == 0);
}

/* How the lines are read: as they are with names in upper case, or with lists in one. */
static void read_again(const struct ws_handshake *first, const char *text, size_t n, bool joins)
{
    struct ws_handshake handshake;
    char **kept = calloc(n + 5, sizeof(*kept));
    size_t kept_n = 0;
    const char *at = text, *end = text + n;

    assert(kept != NULL);
    ws_handshake_begin(&handshake, first->is_http_1_1, first->takes_deflate);
    for (size_t i = 0; joins && i < 4; i++)
        kept[kept_n++] = add_joined(&handshake, lists[i], text, n);
    while (at < end) {
        struct line line = take_line(&at, end);
        char name[64];

        if (line.name_n > sizeof(name) || (joins && is_list(&line)))
            continue;
        for (size_t i = 0; i < line.name_n; i++)
            name[i] = (char)toupper((unsigned char)line.name[i]);
        kept[kept_n++] = add(&handshake, name, line.name_n, line.value, line.value_n);
    }
    check_same(first, &handshake);
    while (kept_n > 0)
        free(kept[--kept_n]);
    free(kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t input_n)
{
    struct ws_handshake handshake;
    const char *detail;

    if (input_n == 0 || input_n > 4096)
        return 0;
    const char *text = (const char *)input + 1, *at = text, *end = text + input_n - 1;
    char **kept = calloc(input_n, sizeof(*kept));
    size_t kept_n = 0;
    assert(kept != NULL);
    ws_handshake_begin(&handshake, (input[0] & 1) != 0, (input[0] & 2) != 0);
    while (at < end) {
        struct line line = take_line(&at, end);

        kept[kept_n++] = add(&handshake, line.name, line.name_n, line.value, line.value_n);
    }
    enum ws_handshake_verdict verdict = ws_handshake_verdict(&handshake, &detail);
    assert((verdict == WS_HANDSHAKE_GOOD) == (detail == NULL));
    if (verdict == WS_HANDSHAKE_GOOD)
        check_head(&handshake);
    read_again(&handshake, text, input_n - 1, false);
    read_again(&handshake, text, input_n - 1, true);
    while (kept_n > 0)
        free(kept[--kept_n]);
    free(kept);
    return 0;
}
