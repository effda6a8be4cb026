/* SPDX-License-Identifier: MIT */
/* One cookie of a request.  See cookie.h. */
#include "config.h"
#include "wire/cookie.h"

#include <string.h>

#include "wire/span.h"

static void look_at_pair(struct cookie *cookie, const char *at, const char *end)
{
    struct span value = {at, (size_t)(end - at)};

    if (memchr(at, '=', value.n) == NULL ||
        !span_is(span_trim(span_take_until(&value, '=')), cookie->name))
        return;
    value = span_trim(value);
    if (value.n >= 2 && value.at[0] == '"' && value.at[value.n - 1] == '"')
        value = (struct span){value.at + 1, value.n - 2};
    cookie->value = value.at;
    cookie->value_n = value.n;
    cookie->n++;
}

void cookie_look(struct cookie *cookie, const char *line, size_t line_n)
{
    const char *end = line + line_n;

    while (line < end) {
        const char *semicolon = memchr(line, ';', (size_t)(end - line));
        const char *stop = semicolon != NULL ? semicolon : end;

        look_at_pair(cookie, line, stop);
        line = stop + 1;
    }
}
