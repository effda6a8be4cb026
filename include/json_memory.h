/* SPDX-License-Identifier: MIT */
/*
 * Whether the JSON parser ran out of memory.  Jansson 2.14 ignores it when a string that it is
 * reading cannot grow, and goes on with a shorter one, so neither its result nor its error tells:
 * a publisher's text would be stored with a byte less.
 *
 * Any thread; each has an answer of its own.
 */
#ifndef BUGLE_JSON_MEMORY_H
#define BUGLE_JSON_MEMORY_H

#include <stdbool.h>

/* Before a text is parsed. */
void json_memory_begin(void);

/* Afterwards: whether an allocation of the parser failed on this thread since then. */
bool json_memory_failed(void);

#endif
