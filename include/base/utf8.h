/* SPDX-License-Identifier: MIT */
/*
 * UTF-8 as RFC 3629 defines it: shortest forms only, no surrogates, nothing above U+10FFFF.
 * Pure functions over bytes; any thread.
 */
#ifndef BUGLE_UTF8_H
#define BUGLE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Read one character.
 *
 * bytes   borrowed; `bytes_n` of them, at least one
 * ret_cp  set to the character on success, untouched otherwise
 *
 * Returns how many bytes it takes (1-4), or 0 when none of them starts a valid character.
 */
size_t utf8_decode(const char *bytes, size_t bytes_n, uint32_t *ret_cp);

/* Whether all of `bytes` is valid; if not, `*ret_bad` (may be NULL) is the offset of the first
 * byte that is not.  ASCII runs cost a fraction of a nanosecond a byte. */
bool utf8_valid(const char *bytes, size_t bytes_n, size_t *ret_bad);

/* Whether a character may not stand in a topic, a user or an event name: C0, DEL, C1,
 * U+200B-200F, U+202A-202E, U+2066-2069 and U+FEFF, which hide or reorder what a reader sees. */
bool utf8_is_hidden(uint32_t cp);

#endif
