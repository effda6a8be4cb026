/* SPDX-License-Identifier: MIT */
/* Events as rows.  See sqlite_row.h. */
#include "config.h"
#include "history/sqlite/sqlite_row.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#include "base/hash.h"
#include "event/topic.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Names: the number of topics and that of users, two bytes each, the low one first; then for each
 * its length less one in a byte, and its bytes. */
#define COUNTS_BYTES 4

uint64_t sqlite_row_sum(const struct sqlite_row *row)
{
    uint64_t head[] = {
        htole64(row->position),
        htole64((uint64_t)row->published_ms),
        htole64((uint64_t)row->ahead_ms),
        htole64((uint64_t)row->ttl_ms),
        htole64(row->total),
        htole64(row->names_n),
        htole64(row->body_n),
    };
    uint64_t sum = XXH3_64bits(head, sizeof(head));

    sum = XXH3_64bits_withSeed(row->names, row->names_n, sum);
    return XXH3_64bits_withSeed(row->body, row->body_n, sum);
}

uint64_t sqlite_row_mark(uint64_t sum)
{
    return XXH3_64bits_withSeed("json", 4, sum) | 1;
}

size_t sqlite_row_names_bytes(const struct message *message)
{
    size_t bytes = COUNTS_BYTES;

    for (size_t i = 0; i < (size_t)message->topics_n + message->users_n; i++)
        bytes += 1 + message->names[i].bytes_n;
    return bytes;
}

static uint8_t *put_count(uint8_t *to, uint16_t count)
{
    *to++ = (uint8_t)count;
    *to++ = (uint8_t)(count >> 8);
    return to;
}

static uint16_t get_count(const uint8_t *from)
{
    return (uint16_t)(from[0] | from[1] << 8);
}

void sqlite_row_put_names(void *to, const struct message *message)
{
    uint8_t *at = put_count(put_count(to, message->topics_n), message->users_n);

    for (size_t i = 0; i < (size_t)message->topics_n + message->users_n; i++) {
        const struct message_name *name = &message->names[i];

        assert(name->bytes_n >= 1 && name->bytes_n <= TOPIC_BYTES_MAX);
        *at++ = (uint8_t)(name->bytes_n - 1);
        memcpy(at, name->bytes, name->bytes_n);
        at += name->bytes_n;
    }
}

bool sqlite_row_count_names(const void *names, size_t names_n, size_t *ret_count)
{
    const uint8_t *at = names;

    if (names_n < COUNTS_BYTES)
        return false;
    *ret_count = (size_t)get_count(at) + get_count(at + 2);
    return true;
}

bool sqlite_row_get_names(const void *names, size_t names_n, struct message *to)
{
    const uint8_t *at = names, *end = at + names_n;
    size_t count;

    if (!sqlite_row_count_names(names, names_n, &count))
        return false;
    to->topics_n = get_count(at);
    to->users_n = get_count(at + 2);
    at += COUNTS_BYTES;
    for (size_t i = 0; i < count; i++) {
        struct message_name *name = &to->names[i];

        if (at == end || (size_t)(end - at) < 2 + (size_t)at[0])
            return false;
        name->bytes_n = (size_t)at[0] + 1;
        name->bytes = (const char *)at + 1;
        name->hash = hash_bytes(name->bytes, name->bytes_n);
        at += 1 + name->bytes_n;
    }
    return at == end;
}
