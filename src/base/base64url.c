/* SPDX-License-Identifier: MIT */
/* Base64 for URLs.  See base64url.h. */
#include "config.h"
#include "base/base64url.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t base64url_encode(char *to, const void *bytes, size_t bytes_n)
{
    const unsigned char *from = bytes;
    uint32_t bits = 0;
    unsigned bits_n = 0;
    char *end = to;

    for (size_t i = 0; i < bytes_n; i++) {
        bits = bits << 8 | from[i];
        for (bits_n += 8; bits_n >= 6; bits_n -= 6)
            *end++ = alphabet[bits >> (bits_n - 6) & 63];
    }
    if (bits_n > 0)
        *end++ = alphabet[bits << (6 - bits_n) & 63];
    *end = '\0';
    return (size_t)(end - to);
}

static int value_of(char character)
{
    if (character >= 'A' && character <= 'Z')
        return character - 'A';
    if (character >= 'a' && character <= 'z')
        return character - 'a' + 26;
    if (character >= '0' && character <= '9')
        return character - '0' + 52;
    if (character == '-')
        return 62;
    return character == '_' ? 63 : -1;
}

bool base64url_decode(const char *text, size_t text_n, unsigned char *to, size_t *ret_n)
{
    uint32_t bits = 0;
    unsigned bits_n = 0;
    size_t n = 0;

    if (text_n % 4 == 1)
        return false;
    for (size_t i = 0; i < text_n; i++) {
        int value = value_of(text[i]);

        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        bits_n += 6;
        if (bits_n < 8)
            continue;
        bits_n -= 8;
        to[n++] = (unsigned char)(bits >> bits_n);
    }
    *ret_n = n;
    return (bits & ((1U << bits_n) - 1)) == 0;
}
