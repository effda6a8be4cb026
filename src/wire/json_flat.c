/* SPDX-License-Identifier: MIT */
/* Flat objects without a tree.  See json_flat.h. */
#include "config.h"
#include "wire/json_flat.h"

#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"

#define COUNT_DIGITS_MAX 15

struct reader {
    const char *at;
    const char *end;
};

static void json_flat_skip_space(struct reader *reader)
{
    while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\n' ||
                                        *reader->at == '\r' || *reader->at == '\t'))
        reader->at++;
}

/* Take one byte of the grammar, and the white space around it. */
static bool take(struct reader *reader, char byte)
{
    json_flat_skip_space(reader);
    if (reader->at == reader->end || *reader->at != byte)
        return false;
    reader->at++;
    json_flat_skip_space(reader);
    return true;
}

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Whether one of eight bytes is a backslash, a control character or no ASCII.  Below 0x20 the
 * subtraction borrows from the top bit; a byte that borrows from its neighbour is one to be found
 * itself, so none goes unseen. */
static bool has_special(uint64_t word)
{
    uint64_t slash = word ^ EACH('\\');

    return ((word | (word - EACH(0x20)) | (slash - EACH(1))) & EACH(0x80)) != 0;
}

static bool is_special(char byte)
{
    return byte == '\\' || (unsigned char)byte < 0x20;
}

/* Whether a string means itself: no escape, no control character, and UTF-8.  Most are ASCII and
 * are gone through eight bytes at a time. */
static bool json_flat_is_plain(const char *bytes, size_t bytes_n)
{
    size_t at = 0;
    uint64_t word;

    for (; bytes_n - at >= sizeof word; at += sizeof word) {
        memcpy(&word, bytes + at, sizeof word);
        if (has_special(word))
            break;
    }
    for (size_t i = at; i < bytes_n; i++)
        if (is_special(bytes[i]))
            return false;
    return utf8_valid(bytes + at, bytes_n - at, NULL);
}

/* A quote ends a string without escapes, so the first one behind its beginning is the last. */
static bool read_string(struct reader *reader, struct json_span *ret_span)
{
    if (reader->at == reader->end || *reader->at != '"')
        return false;
    const char *start = reader->at + 1;
    const char *quote = memchr(start, '"', (size_t)(reader->end - start));

    if (quote == NULL || !json_flat_is_plain(start, (size_t)(quote - start)))
        return false;
    *ret_span = (struct json_span){start, (size_t)(quote - start)};
    reader->at = quote + 1;
    return true;
}

static bool json_flat_read_word(struct reader *reader, const char *word, struct json_span *ret_span)
{
    size_t word_n = strlen(word);

    if ((size_t)(reader->end - reader->at) < word_n || memcmp(reader->at, word, word_n) != 0)
        return false;
    *ret_span = (struct json_span){reader->at, word_n};
    reader->at += word_n;
    return true;
}

/* What follows must end it: a point or an exponent is not what take() expects. */
static bool read_count(struct reader *reader, struct json_span *ret_span)
{
    const char *start = reader->at;

    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
        reader->at++;
    *ret_span = (struct json_span){start, (size_t)(reader->at - start)};
    return ret_span->bytes_n > 0 && ret_span->bytes_n <= COUNT_DIGITS_MAX &&
           (start[0] != '0' || ret_span->bytes_n == 1);
}

static bool json_flat_read_value(struct reader *reader, struct json_flat_member *member)
{
    if (reader->at == reader->end)
        return false;
    switch (*reader->at) {
    case '"':
        member->kind = JSON_FLAT_STRING;
        return read_string(reader, &member->value);
    case 't':
        member->kind = JSON_FLAT_TRUE;
        return json_flat_read_word(reader, "true", &member->value);
    case 'f':
        member->kind = JSON_FLAT_FALSE;
        return json_flat_read_word(reader, "false", &member->value);
    default:
        member->kind = JSON_FLAT_COUNT;
        return read_count(reader, &member->value);
    }
}

static bool is_named_before(const struct json_flat_member *members, size_t index)
{
    struct json_span name = members[index].name;

    for (size_t i = 0; i < index; i++)
        if (bytes_equal(members[i].name.at, members[i].name.bytes_n, name.at, name.bytes_n))
            return true;
    return false;
}

bool json_flat_next(struct json_span *text, struct json_flat_member *members, size_t members_max,
                    size_t *ret_n)
{
    struct reader reader = {text->at, text->at + text->bytes_n};
    size_t n = 0;

    if (!take(&reader, '{'))
        return false;
    do {
        if (n == members_max || !read_string(&reader, &members[n].name) || !take(&reader, ':') ||
            !json_flat_read_value(&reader, &members[n]) || is_named_before(members, n))
            return false;
        n++;
    } while (take(&reader, ','));
    if (!take(&reader, '}'))
        return false;
    *ret_n = n;
    *text = (struct json_span){reader.at, (size_t)(reader.end - reader.at)};
    return true;
}

bool json_flat_take(struct json_span *text, char byte)
{
    struct reader reader = {text->at, text->at + text->bytes_n};

    if (!take(&reader, byte))
        return false;
    *text = (struct json_span){reader.at, (size_t)(reader.end - reader.at)};
    return true;
}

bool json_flat_read(struct json_span text, struct json_flat_member *members, size_t members_max,
                    size_t *ret_n)
{
    return json_flat_next(&text, members, members_max, ret_n) && text.bytes_n == 0;
}

bool json_flat_is(struct json_span span, const char *text)
{
    return span.bytes_n == strlen(text) && memcmp(span.at, text, span.bytes_n) == 0;
}

double json_flat_count(struct json_span value)
{
    uint64_t count = 0;

    for (size_t i = 0; i < value.bytes_n; i++)
        count = count * 10 + (uint64_t)(value.at[i] - '0');
    return (double)count;
}
