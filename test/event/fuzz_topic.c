/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for topics and UTF-8.  The input is a pattern, a line feed, and a topic.  Matching
 * is compared with a slow matcher over segments, validity with the arithmetic of RFC 3629.
 */
#include "base/hash.h"
#include "base/utf8.h"
#include "event/topic.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct text {
    const char *at;
    size_t n;
};

/* Whether the bytes are UTF-8, worked out from the number each sequence stands for. */
static bool is_utf8(struct text text)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

    for (size_t at = 0; at < text.n;) {
        unsigned char lead = (unsigned char)text.at[at];
        size_t n = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : 4;
        uint32_t cp = n == 1 ? lead : lead & (0xFFu >> (n + 1));

        if ((n == 4 && lead >> 3 != 30) || at + n > text.n)
            return false;
        for (size_t i = 1; i < n; i++) {
            if ((unsigned char)text.at[at + i] >> 6 != 2)
                return false;
            cp = cp * 64 + (unsigned char)text.at[at + i] % 64;
        }
        if (cp < least[n] || cp > 0x10FFFF || cp / 0x800 == 0x1B)
            return false;
        at += n;
    }
    return true;
}

static void check_utf8(struct text text)
{
    size_t bad = SIZE_MAX;
    bool valid = utf8_valid(text.at, text.n, &bad);

    assert(valid == is_utf8(text));
    assert(valid == (bad == SIZE_MAX));
    if (!valid) {
        uint32_t cp;

        assert(bad < text.n && is_utf8((struct text){text.at, bad}));
        assert(utf8_decode(text.at + bad, text.n - bad, &cp) == 0);
    }
}

static bool segments_match(const char *pattern, const struct topic_segment *want, size_t want_n,
                           const char *topic, const struct topic_segment *have, size_t have_n)
{
    if (want_n == 0 || have_n == 0)
        return want_n == have_n;
    if (want->bytes_n == 2 && memcmp(pattern + want->offset, "**", 2) == 0)
        return true;
    if (want->bytes_n != 1 || pattern[want->offset] != '*') {
        if (want->bytes_n != have->bytes_n ||
            memcmp(pattern + want->offset, topic + have->offset, have->bytes_n) != 0)
            return false;
    }
    return segments_match(pattern, want + 1, want_n - 1, topic, have + 1, have_n - 1);
}

/* The parts and the slashes between them make up the whole. */
static size_t split(struct text text, struct topic_segment *segments)
{
    size_t segments_n = topic_split(text.at, text.n, segments);
    size_t at = 0;

    assert(segments_n >= 1 && segments_n <= TOPIC_SEGMENTS_MAX);
    for (size_t i = 0; i < segments_n; i++) {
        assert(segments[i].offset == at);
        assert(!memchr(text.at + at, '/', segments[i].bytes_n));
        at += segments[i].bytes_n;
        assert(at == text.n ? i == segments_n - 1 : text.at[at] == '/');
        at++;
    }
    return segments_n;
}

static void check_match(struct text pattern, struct text topic)
{
    struct topic_segment want[TOPIC_SEGMENTS_MAX], have[TOPIC_SEGMENTS_MAX];
    size_t want_n = split(pattern, want), have_n = split(topic, have);

    assert(topic_match(pattern.at, pattern.n, topic.at, topic.n) ==
           segments_match(pattern.at, want, want_n, topic.at, have, have_n));
    assert(topic_match("**", 2, topic.at, topic.n));
    assert(topic_match(topic.at, topic.n, topic.at, topic.n));
    if (!topic_is_pattern(pattern.at, pattern.n))
        assert(topic_match(pattern.at, pattern.n, topic.at, topic.n) ==
               (pattern.n == topic.n && memcmp(pattern.at, topic.at, topic.n) == 0));
}

/* Every name is a pattern, and every pattern a user. */
static void check_order(struct text text)
{
    enum topic_error name = topic_check_name(text.at, text.n);
    enum topic_error pattern = topic_check_pattern(text.at, text.n);
    enum topic_error user = topic_check_user(text.at, text.n);

    if (name == TOPIC_OK)
        assert(pattern == TOPIC_OK && !topic_is_pattern(text.at, text.n));
    if (pattern == TOPIC_OK)
        assert(user == TOPIC_OK && (name == TOPIC_OK || name == TOPIC_WILDCARD));
    if (user == TOPIC_OK)
        assert(text.n > 0 && text.n <= TOPIC_BYTES_MAX && is_utf8(text));
    assert(*topic_error_text(name) && *topic_error_text(pattern) && *topic_error_text(user));
}

static void check_hash(struct text text)
{
    char *copy = malloc(text.n + 1);

    assert(copy);
    memcpy(copy + 1, text.at, text.n);
    assert(hash_bytes(text.at, text.n) == hash_bytes(copy + 1, text.n));
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text all = {size > 0 ? (const char *)data : "", size};
    const char *lf = memchr(all.at, '\n', size);
    struct text pattern = {all.at, lf ? (size_t)(lf - all.at) : size};
    struct text topic = {lf ? lf + 1 : all.at + size, lf ? size - pattern.n - 1 : 0};

    check_utf8(all);
    check_order(pattern);
    check_order(topic);
    check_hash(topic);
    if (topic_check_pattern(pattern.at, pattern.n) == TOPIC_OK &&
        topic_check_name(topic.at, topic.n) == TOPIC_OK)
        check_match(pattern, topic);
    return 0;
}
