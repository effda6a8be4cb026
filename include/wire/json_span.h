/* SPDX-License-Identifier: MIT */
/*
 * Where the exact bytes of a value stand in a JSON text.
 *
 * A JSON library turns 1.10 into 1.1 and refuses or rounds a long integer, so what a publisher
 * wrote as `data` must be found in the text itself.  These functions walk text that a JSON parser
 * has accepted already; they never read outside it, but on other text their answers mean nothing.
 * NUL counts as white space, since jansson lets one pass behind a number.  Pure; any thread; no
 * memory; one pass.
 */
#ifndef BUGLE_JSON_SPAN_H
#define BUGLE_JSON_SPAN_H

#include <stdbool.h>
#include <stddef.h>

struct json_span {
    const char *at; /* first byte of the value; NULL when there is none */
    size_t bytes_n; /* up to and with its last byte, without white space around it */
};

/* The value of the first member named `key` (compared after undoing \-escapes) of the object
 * that is the whole of `text`.  `.at` is NULL when there is none or the text is no object. */
struct json_span json_span_member(struct json_span text, const char *key);

/* The first element of the array that is the whole of `text`; `.at` is NULL when it is empty. */
struct json_span json_span_first(struct json_span text);

/* The element after `element` in the array `text`; `.at` is NULL when that was the last one. */
struct json_span json_span_next(struct json_span text, struct json_span element);

/* How deep arrays and objects are nested: 0 for a plain value, 1 for [] or {}.  Unlike the others
 * it may be given unchecked text. */
size_t json_span_depth(struct json_span text);

/*
 * Copy a value without the white space between its tokens; strings keep every byte.
 *
 * to  borrowed; room for `text.bytes_n` bytes; may be the span's own start
 *
 * Returns the bytes written.
 */
size_t json_span_compact(char *to, struct json_span text);

/* Line and column (from 1, column in bytes) of an offset in a text, for error messages. */
void json_span_place(const char *text, size_t offset, size_t *ret_line, size_t *ret_column);

/*
 * At most how many bytes the JSON parser takes to make a tree of a text, whether it is JSON or
 * not, when it uses none of them twice: for {} they are 384.  Goes through the text once.
 */
size_t json_span_tree_bytes(struct json_span text);

#endif
