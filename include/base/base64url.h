/* SPDX-License-Identifier: MIT */
/*
 * Base64 for URLs without padding (RFC 4648 section 5), read strictly: every text stands for one
 * sequence of bytes and every sequence of bytes for one text, so a token cannot be written in two
 * ways.
 *
 * Pure; any thread.
 */
#ifndef BUGLE_BASE64URL_H
#define BUGLE_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>

/* Room for the text of so many bytes, and its NUL; and for the bytes of a text. */
#define BASE64URL_TEXT_ROOM(bytes_n) (((bytes_n)*4 + 2) / 3 + 1)
#define BASE64URL_BYTES_ROOM(text_n) ((text_n) / 4 * 3 + 2)

/* Write bytes as text with a NUL.  Returns the text's length. */
size_t base64url_encode(char *to, const void *bytes, size_t bytes_n);

/* Read a text, which may be empty.  False for a character that does not belong there, padding
 * included, a length that no bytes have, or bits at the end that are not zero. */
bool base64url_decode(const char *text, size_t text_n, unsigned char *to, size_t *ret_n);

#endif
