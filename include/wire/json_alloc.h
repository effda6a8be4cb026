/* SPDX-License-Identifier: MIT */
/*
 * JSON parsed into memory that was set aside before.
 *
 * Jansson 2.14 does not look whether the buffer of a string that it reads could grow: it goes on
 * with a shorter text, and then reads and writes beyond its end.  So its parser must never see an
 * allocation that fails.  json_alloc_load() counts what a text can take at most, takes that in
 * one piece, and has the parser take all of its memory from there, one block behind the other.
 * All bytes of peers and of files are parsed this way.
 *
 * Where another version of the library takes more than was counted, it gets it from malloc(); if
 * there is none either, the process ends with a line on standard error.
 *
 * Any thread; what one has parsed, another may read and free.
 */
#ifndef BUGLE_JSON_ALLOC_H
#define BUGLE_JSON_ALLOC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* A parsed text.  Its values are read only, and they end with it: json_decref() is not for them,
 * except after a json_incref(). */
struct json_alloc {
    json_t *root;
    struct json_alloc_block *more; /* what was not counted */
    char *at;                      /* the next block; 16 bytes stand for one at least */
    char *end;
};

/*
 * Parse a text.  Costs the parser's time, two quick walks over the text, and one malloc().
 *
 * text        borrowed for the call; any bytes; not NULL
 * flags       of json_loadb()
 * ret_error   filled by json_loadb() when the text is not JSON; may be NULL
 * ret_parsed  for json_alloc_free(); NULL on errors
 *
 * Returns 0; -ENOMEM, before anything was parsed; -EINVAL: no JSON, or not what `flags` ask for.
 */
int json_alloc_load(const char *text, size_t text_n, size_t flags, json_error_t *ret_error,
                    struct json_alloc **ret_parsed);

/* Frees all values at once.  `parsed` may be NULL. */
void json_alloc_free(struct json_alloc *parsed);

/* Whether the parser took more than was counted: a fault of json_span_tree_bytes(), for tests. */
bool json_alloc_was_short(const struct json_alloc *parsed);

#endif
