/* SPDX-License-Identifier: MIT */
/*
 * JSON that is plainly flat objects: what nearly every publisher sends, read without a tree.
 *
 * A JSON library makes a node of each value and a copy of each string, which costs more than all
 * else that a small publish does.  Where an object holds nothing but whole strings and words that
 * mean themselves, its members can be read where they stand.  Everything else is "not plain": that
 * says nothing of whether it is good JSON, and the library has to judge it.  What is plain is good
 * JSON to the library too, with just these members in this order; test_json_flat and fuzz_json_flat
 * hold the two against each other.  Pure; any thread; no memory; one pass.
 */
#ifndef BUGLE_JSON_FLAT_H
#define BUGLE_JSON_FLAT_H

#include <stdbool.h>
#include <stddef.h>

#include "wire/json_span.h"

enum json_flat_kind {
    JSON_FLAT_STRING, /* its span is what stands between the quotes, and means itself */
    JSON_FLAT_COUNT,  /* a whole number of at most 15 digits, so that a double holds it */
    JSON_FLAT_TRUE,
    JSON_FLAT_FALSE,
};

struct json_flat_member {
    struct json_span name; /* between its quotes */
    struct json_span value;
    enum json_flat_kind kind;
};

/*
 * Read a text that is plainly one flat object.
 *
 * Not plain: white space other than JSON's; an escape in a string; a byte in one that is a control
 * character or not UTF-8; a nested value, null, or a number with a sign, a point, an exponent or a
 * zero before its digits; two members of one name; more than `members_max` of them; none; anything
 * before or behind the object.
 *
 * text     borrowed; the spans point into it
 * members  `members_max` of them; what they hold afterwards counts only on success
 *
 * Returns whether it is plain, with `*ret_n` set.
 */
bool json_flat_read(struct json_span text, struct json_flat_member *members, size_t members_max,
                    size_t *ret_n);

/*
 * The same for an object that is followed by something else, as in an array: `*text` is then what
 * comes behind it and behind white space.  What was taken so far does not count if one of an
 * array's objects is not plain.
 */
bool json_flat_next(struct json_span *text, struct json_flat_member *members, size_t members_max,
                    size_t *ret_n);

/* Take one byte of the grammar, such as a comma, and the white space around it. */
bool json_flat_take(struct json_span *text, char byte);

/* Whether a name, or the value of a string, is this text. */
bool json_flat_is(struct json_span span, const char *text);

/* The number of a JSON_FLAT_COUNT. */
double json_flat_count(struct json_span value);

#endif
