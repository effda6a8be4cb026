/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for the Cookie header: lines with line feeds between.  What the one pass finds is
 * compared with a walk over copies of the pairs.
 */
#include "wire/cookie.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Cut blanks off both ends; gives the new length. */
static size_t trim(char *text, size_t n)
{
    size_t blanks_n = 0;

    while (n > 0 && strchr(" \t", text[n - 1]) != NULL && text[n - 1] != '\0')
        n--;
    while (blanks_n < n && strchr(" \t", text[blanks_n]) != NULL && text[blanks_n] != '\0')
        blanks_n++;
    memmove(text, text + blanks_n, n - blanks_n);
    return n - blanks_n;
}

/* Whether a pair is the cookie; its value is left in `pair`. */
static int is_wanted(char *pair, size_t n, size_t *ret_n)
{
    char *equals = memchr(pair, '=', n);

    if (equals == NULL)
        return 0;
    size_t value_n = n - (size_t)(equals + 1 - pair);
    char *value = malloc(value_n + 1);
    assert(value != NULL);
    memcpy(value, equals + 1, value_n);
    size_t name_n = trim(pair, (size_t)(equals - pair));
    int is_wanted = name_n == 1 && pair[0] == 'c';
    value_n = trim(value, value_n);
    if (value_n >= 2 && value[0] == '"' && value[value_n - 1] == '"') {
        value_n -= 2;
        memmove(value, value + 1, value_n);
    }
    memcpy(pair, value, value_n);
    free(value);
    *ret_n = value_n;
    return is_wanted;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cookie cookie = {.name = "c"};
    char *text = malloc(size + 1), *copy = malloc(size + 1);
    size_t found_n = 0;

    assert(text != NULL && copy != NULL);
    if (size > 0)
        memcpy(text, data, size);
    for (size_t from = 0; from < size;) {
        char *end = memchr(text + from, '\n', size - from);
        size_t line_n = end != NULL ? (size_t)(end - text) - from : size - from;

        cookie_look(&cookie, text + from, line_n);
        for (size_t at = 0; at < line_n;) {
            char *stop = memchr(text + from + at, ';', line_n - at);
            size_t pair_n = stop != NULL ? (size_t)(stop - text) - from - at : line_n - at, n;

            memcpy(copy, text + from + at, pair_n);
            if (is_wanted(copy, pair_n, &n)) {
                found_n++;
                assert(cookie.n >= found_n);
                if (cookie.n == found_n)
                    assert(cookie.value_n == n && memcmp(cookie.value, copy, n) == 0);
            }
            at += pair_n + 1;
        }
        assert(cookie.n == found_n);
        from += line_n + 1;
    }
    free(text);
    free(copy);
    return 0;
}
