/* SPDX-License-Identifier: MIT */
/*
 * JSON text (RFC 8259) put together from front to back, into a buffer that grows or into one of the
 * caller's.  Pure but for memory; any thread, one at a time.
 *
 * The first thing that does not fit is noted, and nothing is written from then on, so who writes
 * looks once, at the end.
 */
#ifndef BUGLE_JSON_WRITER_H
#define BUGLE_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is written so far stands in `bytes`, without a NUL behind it.  The members are to be read
 * only. */
struct json_writer {
    char *bytes;
    size_t n;
    size_t room;
    bool grows;
    bool failed; /* out of memory, or of room */
};

/* Begin with a buffer that grows; end with json_writer_take() or json_writer_clear(). */
void json_writer_init(struct json_writer *writer);

/* Begin with a buffer of the caller's, borrowed.  It needs no end. */
void json_writer_init_fixed(struct json_writer *writer, char *to, size_t room);

/* What is JSON already, or a part of it. */
void json_writer_raw(struct json_writer *writer, const char *bytes, size_t n);
void json_writer_text(struct json_writer *writer, const char *text); /* up to its NUL */

/* Bytes of UTF-8 as a string with its quotes: `"`, `\` and control characters are escaped, what
 * else there is stands as it is. */
void json_writer_string(struct json_writer *writer, const char *bytes, size_t n);

void json_writer_number(struct json_writer *writer, int64_t number);

/*
 * End a buffer that grows.
 *
 * ret_n  given on success
 *
 * Gives what was written with a NUL behind it that is not counted, for free(); NULL when memory ran
 * out.
 */
char *json_writer_take(struct json_writer *writer, size_t *ret_n);

/* Forget what was written; a buffer that grows is freed. */
void json_writer_clear(struct json_writer *writer);

#endif
