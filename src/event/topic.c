/* SPDX-License-Identifier: MIT */
/*
 * Topics, patterns and users: what may be one, its segments, which pattern covers which topic.
 */
#include "config.h"
#include "event/topic.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"

static const char reserved[] = "$bugle/";

const char *topic_error_text(enum topic_error error)
{
    switch (error) {
    case TOPIC_OK:
        return "is fine";
    case TOPIC_EMPTY:
        return "is empty";
    case TOPIC_TOO_LONG:
        return "is longer than 256 bytes";
    case TOPIC_TOO_MANY_SEGMENTS:
        return "has more than 32 segments";
    case TOPIC_NOT_UTF8:
        return "is not valid UTF-8";
    case TOPIC_HIDDEN_CHARACTER:
        return "has a control character or an invisible one";
    case TOPIC_WILDCARD:
        return "has a '*', which only a pattern may have";
    case TOPIC_WILDCARD_PLACE:
        return "has a '*' that is no segment of its own, or a '**' that is not the last segment";
    case TOPIC_TOO_MANY_WILDCARDS:
        return "has more than 4 wildcards";
    case TOPIC_RESERVED:
        return "begins with '$bugle/', which belongs to the gateway";
    }
    assert(!"an error that topic.h does not have");
    return "";
}

enum topic_error topic_check_user(const char *bytes, size_t bytes_n)
{
    if (bytes_n == 0)
        return TOPIC_EMPTY;
    if (bytes_n > TOPIC_BYTES_MAX)
        return TOPIC_TOO_LONG;
    for (size_t at = 0; at < bytes_n;) {
        uint32_t cp;
        size_t char_n = utf8_decode(bytes + at, bytes_n - at, &cp);

        if (char_n == 0)
            return TOPIC_NOT_UTF8;
        if (utf8_is_hidden(cp))
            return TOPIC_HIDDEN_CHARACTER;
        at += char_n;
    }
    return TOPIC_OK;
}

static size_t count_byte(const char *bytes, size_t bytes_n, char byte)
{
    size_t count = 0;

    for (size_t i = 0; i < bytes_n; i++)
        count += bytes[i] == byte;
    return count;
}

/* What names and patterns share. */
static enum topic_error check_common(const char *bytes, size_t bytes_n)
{
    enum topic_error error = topic_check_user(bytes, bytes_n);

    if (error != TOPIC_OK)
        return error;
    if (count_byte(bytes, bytes_n, '/') >= TOPIC_SEGMENTS_MAX)
        return TOPIC_TOO_MANY_SEGMENTS;
    if (bytes_n >= sizeof reserved - 1 && memcmp(bytes, reserved, sizeof reserved - 1) == 0)
        return TOPIC_RESERVED;
    return TOPIC_OK;
}

enum topic_error topic_check_name(const char *bytes, size_t bytes_n)
{
    enum topic_error error = check_common(bytes, bytes_n);

    if (error != TOPIC_OK)
        return error;
    return memchr(bytes, '*', bytes_n) ? TOPIC_WILDCARD : TOPIC_OK;
}

enum topic_error topic_check_pattern(const char *bytes, size_t bytes_n)
{
    struct topic_segment segments[TOPIC_SEGMENTS_MAX];
    enum topic_error error = check_common(bytes, bytes_n);
    size_t segments_n, wildcards_n = 0;

    if (error != TOPIC_OK || !topic_is_pattern(bytes, bytes_n))
        return error;
    segments_n = topic_split(bytes, bytes_n, segments);
    for (size_t i = 0; i < segments_n; i++) {
        const char *segment = bytes + segments[i].offset;
        size_t segment_n = segments[i].bytes_n;

        if (!memchr(segment, '*', segment_n))
            continue;
        if (!bytes_are(segment, segment_n, "*") &&
            !(bytes_are(segment, segment_n, "**") && i == segments_n - 1))
            return TOPIC_WILDCARD_PLACE;
        wildcards_n++;
    }
    return wildcards_n > TOPIC_WILDCARDS_MAX ? TOPIC_TOO_MANY_WILDCARDS : TOPIC_OK;
}

bool topic_is_pattern(const char *bytes, size_t bytes_n)
{
    return memchr(bytes, '*', bytes_n) != NULL;
}

size_t topic_split(const char *bytes, size_t bytes_n, struct topic_segment *ret_segments)
{
    size_t start = 0, count = 0;

    assert(bytes_n <= TOPIC_BYTES_MAX);
    for (size_t at = 0; at <= bytes_n; at++) {
        if (at < bytes_n && bytes[at] != '/')
            continue;
        assert(count < TOPIC_SEGMENTS_MAX);
        ret_segments[count].offset = (uint16_t)start;
        ret_segments[count].bytes_n = (uint16_t)(at - start);
        count++;
        start = at + 1;
    }
    return count;
}

size_t topic_segments(const char *bytes, size_t bytes_n)
{
    return count_byte(bytes, bytes_n, '/') + 1;
}

/* Bytes up to the next slash or the end. */
static size_t segment_bytes(const char *at, const char *end)
{
    const char *slash = memchr(at, '/', (size_t)(end - at));

    return (size_t)((slash ? slash : end) - at);
}

bool topic_match(const char *pattern, size_t pattern_n, const char *topic, size_t topic_n)
{
    const char *pattern_end = pattern + pattern_n;
    const char *topic_end = topic + topic_n;

    for (;;) {
        size_t want_n = segment_bytes(pattern, pattern_end);
        size_t have_n;

        if (bytes_are(pattern, want_n, "**"))
            return true;
        have_n = segment_bytes(topic, topic_end);
        if (!bytes_are(pattern, want_n, "*") && !bytes_equal(pattern, want_n, topic, have_n))
            return false;
        pattern += want_n;
        topic += have_n;
        if (pattern == pattern_end || topic == topic_end)
            return pattern == pattern_end && topic == topic_end;
        pattern++;
        topic++;
    }
}
