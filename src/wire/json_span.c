/* SPDX-License-Identifier: MIT */
/*
 * Where the bytes of a JSON value stand.  The walk needs to know three things only: strings (in
 * which nothing else counts), brackets (which nest) and white space; all other bytes belong to
 * plain values.  Nothing recurses, and no step looks beyond the end of the text.
 */
#include "config.h"

#include "wire/json_span.h"

#include <stdint.h>
#include <string.h>

static const struct json_span none = {NULL, 0};

/* NUL is not in the grammar, but jansson 2.14 passes over one behind a number or a word. */
static bool json_span_is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\0';
}

static const char *json_span_skip_space(const char *at, const char *end)
{
    while (at < end && json_span_is_space(*at))
        at++;
    return at;
}

/* Just past the string that starts at the quote `at`.  A quote ends it unless an odd number of
 * backslashes stands before it; each run of backslashes is counted once, so this is one pass. */
static const char *json_span_skip_string(const char *at, const char *end)
{
    const char *start = at + 1;

    for (const char *from = start; from < end;) {
        const char *quote = memchr(from, '"', (size_t)(end - from));
        const char *slash = quote;

        if (!quote)
            return end;
        while (slash > from && slash[-1] == '\\')
            slash--;
        if ((quote - slash) % 2 == 0)
            return quote + 1;
        from = quote + 1;
    }
    return end;
}

/* Just past an array or object that starts at `at`; also how deep it nests. */
static const char *skip_nested(const char *at, const char *end, size_t *ret_depth)
{
    size_t depth = 0, deepest = 0;

    while (at < end) {
        switch (*at) {
        case '"':
            at = json_span_skip_string(at, end);
            continue;
        case '[':
        case '{':
            depth++;
            deepest = depth > deepest ? depth : deepest;
            break;
        case ']':
        case '}':
            depth -= depth > 0;
            break;
        }
        at++;
        if (depth == 0)
            break;
    }
    *ret_depth = deepest;
    return at;
}

/* Just past a number, true, false or null. */
static const char *skip_plain(const char *at, const char *end)
{
    while (at < end && *at != ',' && *at != ']' && *at != '}' && !json_span_is_space(*at))
        at++;
    return at;
}

/* The value that starts at `at`. */
static struct json_span value_at(const char *at, const char *end)
{
    const char *past;
    size_t depth;

    if (at == end)
        return none;
    if (*at == '"')
        past = json_span_skip_string(at, end);
    else if (*at == '[' || *at == '{')
        past = skip_nested(at, end, &depth);
    else
        past = skip_plain(at, end);
    return (struct json_span){at, (size_t)(past - at)};
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 0;
}

static uint32_t hex4(const char *at)
{
    uint32_t value = 0;

    for (size_t i = 0; i < 4; i++)
        value = value << 4 | (uint32_t)hex_value(at[i]);
    return value;
}

static size_t put_utf8(char *to, uint32_t cp)
{
    size_t bytes_n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const unsigned char marks[] = {0, 0, 0xC0, 0xE0, 0xF0};

    for (size_t i = bytes_n; i-- > 1; cp >>= 6)
        to[i] = (char)(0x80 | (cp & 0x3F));
    to[0] = (char)(marks[bytes_n] | cp);
    return bytes_n;
}

/* The character of a \u escape whose digits start at `at`, with its second half if it is a
 * surrogate.  Moves `at` past it; UINT32_MAX when it is cut. */
static uint32_t unescape_unicode(const char **at, const char *end)
{
    uint32_t cp, low;

    if (end - *at < 4)
        return UINT32_MAX;
    cp = hex4(*at);
    *at += 4;
    if (cp < 0xD800 || cp > 0xDBFF || end - *at < 6)
        return cp;
    low = hex4(*at + 2);
    *at += 6;
    return 0x10000 + ((cp & 0x3FF) << 10 | (low & 0x3FF));
}

/* Undo the escape of the backslash at `*at`: its bytes go to `to`, at most four.  Returns how
 * many, 0 when the escape is cut.  There is a byte behind the backslash, else it would have
 * escaped the quote that ends the string. */
static size_t unescape(const char **at, const char *end, char to[4])
{
    static const char from[] = "\"\\/bfnrt";
    static const char plain[] = "\"\\/\b\f\n\r\t";
    const char *found;
    uint32_t cp;

    found = memchr(from, (*at)[1], sizeof from - 1);
    *at += 2;
    if (found) {
        to[0] = plain[found - from];
        return 1;
    }
    cp = unescape_unicode(at, end);
    return cp == UINT32_MAX ? 0 : put_utf8(to, cp);
}

static bool escaped_key_is(const char *at, const char *end, const char *key)
{
    size_t left_n = strlen(key);

    while (at < end) {
        char bytes[4] = {*at};
        size_t bytes_n = 1;

        if (*at == '\\')
            bytes_n = unescape(&at, end, bytes);
        else
            at++;
        if (bytes_n == 0 || bytes_n > left_n || memcmp(bytes, key, bytes_n) != 0)
            return false;
        key += bytes_n;
        left_n -= bytes_n;
    }
    return left_n == 0;
}

/* Whether a string, with both its quotes, says `key`. */
static bool key_is(struct json_span string, const char *key)
{
    const char *at = string.at + 1;
    size_t bytes_n = string.bytes_n - 2;

    if (!memchr(at, '\\', bytes_n))
        return bytes_n == strlen(key) && memcmp(at, key, bytes_n) == 0;
    return escaped_key_is(at, at + bytes_n, key);
}

struct json_span json_span_member(struct json_span text, const char *key)
{
    const char *end = text.at + text.bytes_n;
    const char *at = json_span_skip_space(text.at, end);

    if (at == end || *at != '{')
        return none;
    for (;;) {
        struct json_span name, value;

        at = json_span_skip_space(at + 1, end); /* past '{' or ',' */
        if (at == end || *at != '"')
            return none;
        name = value_at(at, end);
        at = json_span_skip_space(name.at + name.bytes_n, end);
        if (at == end || *at != ':')
            return none;
        value = value_at(json_span_skip_space(at + 1, end), end);
        if (!value.at || key_is(name, key))
            return value;
        at = json_span_skip_space(value.at + value.bytes_n, end);
        if (at == end || *at != ',')
            return none;
    }
}

/* The element behind the bracket or comma at `at`. */
static struct json_span element_after(const char *at, const char *end)
{
    at = json_span_skip_space(at + 1, end);
    return at < end && *at == ']' ? none : value_at(at, end);
}

struct json_span json_span_first(struct json_span text)
{
    const char *end = text.at + text.bytes_n;
    const char *at = json_span_skip_space(text.at, end);

    if (at == end || *at != '[')
        return none;
    return element_after(at, end);
}

struct json_span json_span_next(struct json_span text, struct json_span element)
{
    const char *end = text.at + text.bytes_n;
    const char *at = json_span_skip_space(element.at + element.bytes_n, end);

    if (at == end || *at != ',')
        return none;
    return element_after(at, end);
}

size_t json_span_depth(struct json_span text)
{
    const char *at = text.at, *end = text.at + text.bytes_n;
    size_t deepest = 0;

    while (at < end) {
        size_t depth;

        at = skip_nested(at, end, &depth);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest;
}

size_t json_span_compact(char *to, struct json_span text)
{
    const char *at = text.at, *end = text.at + text.bytes_n;
    size_t bytes_n = 0;

    while (at < end) {
        const char *run = at;

        while (at < end && !json_span_is_space(*at))
            at = *at == '"' ? json_span_skip_string(at, end) : at + 1;
        if (to + bytes_n != run)
            memmove(to + bytes_n, run, (size_t)(at - run));
        bytes_n += (size_t)(at - run);
        at = json_span_skip_space(at, end);
    }
    return bytes_n;
}

void json_span_place(const char *text, size_t offset, size_t *ret_line, size_t *ret_column)
{
    const char *at = text, *end = text + offset;
    const char *lf;
    size_t line = 1;

    while (at < end && (lf = memchr(at, '\n', (size_t)(end - at)))) {
        at = lf + 1;
        line++;
    }
    *ret_line = line;
    *ret_column = (size_t)(end - at) + 1;
}

/* What jansson 2.14 takes on a 64-bit machine when nothing is used twice (json_alloc.c), in blocks
 * of whole 16 bytes.  An object and an array bring their first table; a member and an element a
 * share of all tables that grow, half of which are thrown away, and a number. */
#define TREE_OBJECT_BYTES (80 + 128 + 32)
#define TREE_ARRAY_BYTES (48 + 64 + 32 + 32)
#define TREE_COMMA_BYTES (32 + 32)
#define TREE_STRING_BYTES (32 + 16) /* and its text */
#define TREE_COLON_BYTES (72 + 64)  /* and the name again */
#define TREE_ROOT_BYTES 128
#define TREE_TOKEN_BYTES 16

/* Just past a run of bytes that are neither white space nor have a meaning of their own. */
static const char *skip_run(const char *at, const char *end)
{
    do
        at++;
    while (at < end && !json_span_is_space(*at) && memchr("{}[],:\"", *at, 7) == NULL);
    return at;
}

/* The buffer of the token at hand is doubled until the longest fits, with the byte behind it and a
 * NUL. */
static size_t token_bytes(size_t longest_n)
{
    size_t bytes = TREE_TOKEN_BYTES, all = bytes;

    while (bytes < longest_n + 2) {
        bytes *= 2;
        all += bytes;
    }
    return all;
}

size_t json_span_tree_bytes(struct json_span text)
{
    const char *at = text.at, *end = text.at + text.bytes_n, *past;
    size_t bytes = TREE_ROOT_BYTES, string_n = 0, longest_n = 0;

    for (; at < end; at = past) {
        past = at + 1;
        switch (*at) {
        case '{':
            bytes += TREE_OBJECT_BYTES;
            break;
        case '[':
            bytes += TREE_ARRAY_BYTES;
            break;
        case ',':
            bytes += TREE_COMMA_BYTES;
            break;
        case ':':
            bytes += TREE_COLON_BYTES + string_n;
            break;
        case '"':
            past = json_span_skip_string(at, end);
            string_n = (size_t)(past - at);
            bytes += TREE_STRING_BYTES + string_n;
            break;
        case '}':
        case ']':
        case ' ':
        case '\n':
            continue;
        default:
            past = skip_run(at, end);
        }
        longest_n = (size_t)(past - at) > longest_n ? (size_t)(past - at) : longest_n;
    }
    return bytes + token_bytes(longest_n);
}
