/* SPDX-License-Identifier: MIT */
/* One cookie of a request.  See cookie.h. */
#include "config.h"
#include "wire/cookie.h"

#include <string.h>

struct part {
    const char *at;
    size_t n;
};

static struct part cookie_trim(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (at < end && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return (struct part){at, (size_t)(end - at)};
}

static struct part without_quotes(struct part value)
{
    if (value.n < 2 || value.at[0] != '"' || value.at[value.n - 1] != '"')
        return value;
    return (struct part){value.at + 1, value.n - 2};
}

static void look_at_pair(struct cookie *cookie, const char *at, const char *end)
{
    const char *equals = memchr(at, '=', (size_t)(end - at));

    if (equals == NULL)
        return;
    struct part name = cookie_trim(at, equals);
    if (name.n != strlen(cookie->name) || memcmp(name.at, cookie->name, name.n) != 0)
        return;
    struct part value = without_quotes(cookie_trim(equals + 1, end));
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
