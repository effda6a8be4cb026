/* SPDX-License-Identifier: MIT */
/*
 * UTF-8 as RFC 3629 has it.  The second byte of a character carries all the special cases
 * (overlong forms, surrogates, the end at U+10FFFF), so one row for each kind of first byte says
 * what it may be; the bytes after it are plain.
 */
#include "config.h"

#include "base/utf8.h"

#include <string.h>

struct lead {
    unsigned char first, last; /* of the first byte */
    unsigned char bytes_n;     /* of the whole character */
    unsigned char low, high;   /* what the second byte may be */
};

static const struct lead leads[] = {
    {0xC2, 0xDF, 2, 0x80, 0xBF}, /* C0 and C1 could only begin overlong forms */
    {0xE0, 0xE0, 3, 0xA0, 0xBF}, /* below: overlong */
    {0xE1, 0xEC, 3, 0x80, 0xBF}, {0xED, 0xED, 3, 0x80, 0x9F}, /* above: surrogates */
    {0xEE, 0xEF, 3, 0x80, 0xBF}, {0xF0, 0xF0, 4, 0x90, 0xBF}, /* below: overlong */
    {0xF1, 0xF3, 4, 0x80, 0xBF}, {0xF4, 0xF4, 4, 0x80, 0x8F}, /* above: past U+10FFFF */
};

static const struct lead *lead_of(unsigned char byte)
{
    for (size_t i = 0; i < sizeof leads / sizeof leads[0]; i++) {
        if (byte <= leads[i].last)
            return byte >= leads[i].first ? &leads[i] : NULL;
    }
    return NULL;
}

size_t utf8_decode(const char *bytes, size_t bytes_n, uint32_t *ret_cp)
{
    const unsigned char *b = (const unsigned char *)bytes;
    const struct lead *lead;
    uint32_t cp;

    if (b[0] < 0x80) {
        *ret_cp = b[0];
        return 1;
    }
    lead = lead_of(b[0]);
    if (!lead || lead->bytes_n > bytes_n || b[1] < lead->low || b[1] > lead->high)
        return 0;
    cp = b[0] & (0x7Fu >> lead->bytes_n);
    cp = cp << 6 | (b[1] & 0x3Fu);
    for (size_t i = 2; i < lead->bytes_n; i++) {
        if ((b[i] & 0xC0) != 0x80)
            return 0;
        cp = cp << 6 | (b[i] & 0x3Fu);
    }
    *ret_cp = cp;
    return lead->bytes_n;
}

/* How many bytes of ASCII stand at the start. */
static size_t ascii_run(const char *bytes, size_t bytes_n)
{
    size_t at = 0;
    uint64_t word[2];

    while (bytes_n - at >= sizeof word) {
        memcpy(word, bytes + at, sizeof word);
        if ((word[0] | word[1]) & UINT64_C(0x8080808080808080))
            break;
        at += sizeof word;
    }
    while (at < bytes_n && (unsigned char)bytes[at] < 0x80)
        at++;
    return at;
}

bool utf8_valid(const char *bytes, size_t bytes_n, size_t *ret_bad)
{
    size_t at = ascii_run(bytes, bytes_n);

    while (at < bytes_n) {
        uint32_t cp;
        size_t char_n = utf8_decode(bytes + at, bytes_n - at, &cp);

        if (char_n == 0) {
            if (ret_bad)
                *ret_bad = at;
            return false;
        }
        at += char_n;
        at += ascii_run(bytes + at, bytes_n - at);
    }
    return true;
}

/* Begin a character of several bytes. */
static bool begin_character(struct utf8_pieces *pieces, unsigned char byte)
{
    const struct lead *lead = lead_of(byte);

    if (!lead)
        return false;
    *pieces = (struct utf8_pieces){lead->bytes_n - 1, lead->low, lead->high};
    return true;
}

bool utf8_pieces_add(struct utf8_pieces *pieces, const char *bytes, size_t bytes_n)
{
    size_t at = 0;

    while (at < bytes_n) {
        unsigned char byte = (unsigned char)bytes[at];

        if (pieces->left_n > 0) {
            if (byte < pieces->low || byte > pieces->high)
                return false;
            *pieces = (struct utf8_pieces){pieces->left_n - 1, 0x80, 0xBF};
            at++;
        } else if (byte < 0x80) {
            at += ascii_run(bytes + at, bytes_n - at);
        } else {
            if (!begin_character(pieces, byte))
                return false;
            at++;
        }
    }
    return true;
}

bool utf8_is_hidden(uint32_t cp)
{
    if (cp < 0x20 || (cp >= 0x7F && cp <= 0x9F))
        return true;
    if (cp < 0x200B)
        return false;
    return cp <= 0x200F || (cp >= 0x202A && cp <= 0x202E) || (cp >= 0x2066 && cp <= 0x2069) ||
           cp == 0xFEFF;
}
