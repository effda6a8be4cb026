/* SPDX-License-Identifier: MIT */
/* Numbers and bytes in a row.  See pack.h. */
#include "config.h"
#include "handover/pack.h"

#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 256

/* Room for `n` bytes more at the end; NULL when there is none. */
static char *grow(struct pack *pack, size_t n)
{
    size_t room = pack->room > 0 ? pack->room : ROOM_MIN;

    if (pack->failed)
        return NULL;
    while (room - pack->n < n)
        room *= 2;
    if (room > pack->room) {
        char *bytes = realloc(pack->bytes, room);

        pack->failed = bytes == NULL;
        if (bytes == NULL)
            return NULL;
        pack->bytes = bytes;
        pack->room = room;
    }
    pack->n += n;
    return pack->bytes + pack->n - n;
}

static void put(struct pack *pack, const void *bytes, size_t n)
{
    char *to = grow(pack, n);

    if (to != NULL)
        memcpy(to, bytes, n);
}

void pack_u32(struct pack *pack, uint32_t number)
{
    put(pack, &number, sizeof(number));
}

void pack_u64(struct pack *pack, uint64_t number)
{
    put(pack, &number, sizeof(number));
}

char *pack_room(struct pack *pack, size_t n)
{
    pack_u32(pack, (uint32_t)n);
    return grow(pack, n);
}

void pack_text(struct pack *pack, const char *text)
{
    size_t n = strlen(text);
    char *to = pack_room(pack, n);

    if (to != NULL)
        memcpy(to, text, n);
}

void pack_clear(struct pack *pack)
{
    free(pack->bytes);
    *pack = (struct pack){0};
}

/* The next `n` bytes; NULL when there are fewer. */
static const char *take(struct unpack *unpack, size_t n)
{
    const char *at = unpack->at;

    if (unpack->failed || unpack->left < n) {
        unpack->failed = true;
        return NULL;
    }
    unpack->at += n;
    unpack->left -= n;
    return at;
}

uint32_t unpack_u32(struct unpack *unpack)
{
    const char *at = take(unpack, sizeof(uint32_t));
    uint32_t number = 0;

    if (at != NULL)
        memcpy(&number, at, sizeof(number));
    return number;
}

uint64_t unpack_u64(struct unpack *unpack)
{
    const char *at = take(unpack, sizeof(uint64_t));
    uint64_t number = 0;

    if (at != NULL)
        memcpy(&number, at, sizeof(number));
    return number;
}

const char *unpack_bytes(struct unpack *unpack, size_t *ret_n)
{
    *ret_n = unpack_u32(unpack);
    return take(unpack, *ret_n);
}

char *unpack_text(struct unpack *unpack)
{
    size_t n;
    const char *bytes = unpack_bytes(unpack, &n);

    return bytes != NULL ? strndup(bytes, n) : NULL;
}

bool unpack_is_done(const struct unpack *unpack)
{
    return !unpack->failed && unpack->left == 0;
}

/* ---- events ---- */

void pack_message(struct pack *pack, const struct message *message)
{
    char *to = pack_room(pack, message_image_bytes(message));

    if (to != NULL)
        message_write_image(to, message);
}

struct message *unpack_message(struct unpack *unpack)
{
    size_t n;
    const char *bytes = unpack_bytes(unpack, &n);

    return bytes != NULL ? message_read_image(bytes, n) : NULL;
}
