/* SPDX-License-Identifier: MIT */
/* JSON text from front to back.  See json_writer.h. */
#include "config.h"
#include "wire/json_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 256

void json_writer_init(struct json_writer *writer)
{
    *writer = (struct json_writer){.grows = true};
}

void json_writer_init_fixed(struct json_writer *writer, char *to, size_t room)
{
    *writer = (struct json_writer){.bytes = to, .room = room};
}

/* Room for so many bytes more. */
static bool json_writer_reserve(struct json_writer *writer, size_t n)
{
    size_t room = writer->room < ROOM_MIN ? ROOM_MIN : writer->room * 2;

    if (writer->failed || n <= writer->room - writer->n)
        return !writer->failed;
    writer->failed = true;
    if (!writer->grows || n > SIZE_MAX / 2 - writer->n)
        return false;
    if (room < writer->n + n)
        room = writer->n + n;
    char *grown = realloc(writer->bytes, room);
    if (grown == NULL)
        return false;
    writer->bytes = grown;
    writer->room = room;
    writer->failed = false;
    return true;
}

void json_writer_raw(struct json_writer *writer, const char *bytes, size_t n)
{
    if (n == 0 || !json_writer_reserve(writer, n))
        return;
    memcpy(writer->bytes + writer->n, bytes, n);
    writer->n += n;
}

void json_writer_text(struct json_writer *writer, const char *text)
{
    json_writer_raw(writer, text, strlen(text));
}

/* Length of the bytes that stand in a string as they are. */
static size_t json_writer_plain_bytes(const char *at, size_t n)
{
    size_t i = 0;

    while (i < n && (unsigned char)at[i] >= 0x20 && at[i] != '"' && at[i] != '\\')
        i++;
    return i;
}

/* One of those that do not.  By hand, since a text may be made of nothing else. */
static void json_writer_escape(struct json_writer *writer, char byte)
{
    static const char letters[0x20] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    static const char digits[] = "0123456789abcdef";
    unsigned code = (unsigned char)byte;
    char letter = code < sizeof(letters) ? letters[code] : byte;
    const char brief[] = {'\\', letter};
    const char full[] = {'\\', 'u', '0', '0', digits[code >> 4], digits[code & 15]};

    if (letter != '\0')
        json_writer_raw(writer, brief, sizeof(brief));
    else
        json_writer_raw(writer, full, sizeof(full));
}

void json_writer_string(struct json_writer *writer, const char *bytes, size_t n)
{
    /* of most strings all, and else the growing is by halves */
    json_writer_reserve(writer, n + 2);
    json_writer_text(writer, "\"");
    for (;;) {
        size_t plain_n = json_writer_plain_bytes(bytes, n);

        json_writer_raw(writer, bytes, plain_n);
        if (plain_n == n)
            break;
        json_writer_escape(writer, bytes[plain_n]);
        bytes += plain_n + 1;
        n -= plain_n + 1;
    }
    json_writer_text(writer, "\"");
}

void json_writer_number(struct json_writer *writer, int64_t number)
{
    char text[24];

    json_writer_raw(writer, text, (size_t)sprintf(text, "%" PRId64, number));
}

char *json_writer_take(struct json_writer *writer, size_t *ret_n)
{
    char *bytes;

    if (writer->failed || !json_writer_reserve(writer, 1)) {
        json_writer_clear(writer);
        return NULL;
    }
    bytes = writer->bytes;
    bytes[writer->n] = '\0';
    *ret_n = writer->n;
    json_writer_init(writer);
    return bytes;
}

void json_writer_clear(struct json_writer *writer)
{
    if (writer->grows) {
        free(writer->bytes);
        json_writer_init(writer);
        return;
    }
    writer->n = 0;
    writer->failed = false;
}
