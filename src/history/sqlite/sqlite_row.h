/* SPDX-License-Identifier: MIT */
/*
 * An event as a row of a store on disk: its names as compact bytes, and a checksum over all of it.
 * Pure functions; any thread.  The bytes are the same on every machine.
 */
#ifndef BUGLE_SQLITE_ROW_H
#define BUGLE_SQLITE_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/message.h"

/* All that is kept of an event.  The pointers are borrowed. */
struct sqlite_row {
    uint64_t position;
    int64_t published_ms;
    int64_t ahead_ms; /* by how much an earlier event's time was ahead of this one's; else 0 */
    int64_t ttl_ms;
    uint64_t total; /* bytes of all events up to this one, as the store counts them */
    const void *names;
    size_t names_n;
    const char *body; /* see message_body_bytes() */
    size_t body_n;
    bool is_json;
};

/* The checksum of a row: XXH3, 64 bits, over everything in it but `is_json`. */
uint64_t sqlite_row_sum(const struct sqlite_row *row);

/* What a row of JSON has beside its checksum, and any other 0 instead: a checksum too, so that
 * damage makes neither of the other.  It stands apart since there are earlier versions: their rows
 * have none, and they read new rows while they hand over. */
uint64_t sqlite_row_mark(uint64_t sum);

/* Bytes that an event's topics and users take, and the writing of them. */
size_t sqlite_row_names_bytes(const struct message *message);
void sqlite_row_put_names(void *to, const struct message *message);

/* How many names there are; false when the bytes are not names. */
bool sqlite_row_count_names(const void *names, size_t names_n, size_t *ret_count);

/*
 * Take the names apart.
 *
 * to  has room for as many names as were counted; gets `topics_n`, `users_n` and the names with
 *     their hashes, which point into `names`
 *
 * Returns whether the bytes are names, all of them; `to` is of no use if not.
 */
bool sqlite_row_get_names(const void *names, size_t names_n, struct message *to);

#endif
