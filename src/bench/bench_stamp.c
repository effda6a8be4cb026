/* SPDX-License-Identifier: MIT */
/* Stamps in the data of measured events. */
#include "config.h"
#include "bench/bench_stamp.h"

#include <string.h>

#define MARK '~'

static char *write_hex(char *to, uint64_t value, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        to[i] = "0123456789abcdef"[value & 15];
        value >>= 4;
    }
    return to + digits;
}

void bench_stamp_write(char *to, const struct bench_stamp *stamp)
{
    *to++ = MARK;
    to = write_hex(to, stamp->run, 8);
    *to++ = '-';
    to = write_hex(to, stamp->topic, 8);
    *to++ = '-';
    to = write_hex(to, stamp->number, 8);
    *to++ = '-';
    to = write_hex(to, stamp->answered, 8);
    *to++ = '-';
    to = write_hex(to, stamp->due_ns, 16);
    *to = MARK;
}

/* Worth of a digit plus one; 0 is none, so that one multiplication-free test finds a bad digit. */
static const unsigned char digit_worth[256] = {
    ['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

/* Read a number and the byte that must follow it. */
static bool read_hex(const char *from, int digits, char after, uint64_t *ret_value)
{
    uint64_t value = 0;
    bool good = from[digits] == after;

    for (int i = 0; i < digits; i++) {
        unsigned worth = digit_worth[(unsigned char)from[i]];

        good &= worth != 0;
        value = value << 4 | ((worth - 1) & 15);
    }
    *ret_value = value;
    return good;
}

static bool read_stamp(const char *from, struct bench_stamp *ret_stamp)
{
    uint64_t run, topic, number, answered, due;

    if (!read_hex(from + 1, 8, '-', &run) || !read_hex(from + 10, 8, '-', &topic) ||
        !read_hex(from + 19, 8, '-', &number) || !read_hex(from + 28, 8, '-', &answered) ||
        !read_hex(from + 37, 16, MARK, &due))
        return false;
    ret_stamp->run = (uint32_t)run;
    ret_stamp->topic = (uint32_t)topic;
    ret_stamp->number = (uint32_t)number;
    ret_stamp->answered = (uint32_t)answered;
    ret_stamp->due_ns = due;
    return true;
}

bool bench_stamp_find(const char *text, size_t text_n, struct bench_stamp *ret_stamp)
{
    const char *end = text + text_n;

    for (const char *at = text; at + BENCH_STAMP_BYTES <= end; at++) {
        at = memchr(at, MARK, (size_t)(end - at));
        if (at == NULL || at + BENCH_STAMP_BYTES > end)
            return false;
        if (read_stamp(at, ret_stamp))
            return true;
    }
    return false;
}
