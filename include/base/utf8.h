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

/* A text that comes in pieces, judged as it comes.  Zeroed: nothing has come. */
struct utf8_pieces {
    unsigned char left_n;    /* bytes that the last character still lacks */
    unsigned char low, high; /* what the next of them may be */
};

/* Whether what came so far, with these bytes, can be the beginning of a valid text: false with the
 * first byte that cannot go on.  After that the pieces are of no use. */
bool utf8_pieces_add(struct utf8_pieces *pieces, const char *bytes, size_t bytes_n);

/* Whether the last piece ended with a whole character. */
static inline bool utf8_pieces_are_whole(const struct utf8_pieces *pieces)
{
    return pieces->left_n == 0;
}

/* Whether a character may not stand in a topic, a user or an event name: C0, DEL, C1,
 * U+200B-200F, U+202A-202E, U+2066-2069 and U+FEFF, which hide or reorder what a reader sees. */
bool utf8_is_hidden(uint32_t cp);

#endif
