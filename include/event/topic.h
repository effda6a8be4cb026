/* SPDX-License-Identifier: MIT */
/*
 * The names that events go by: topics, patterns over topics, and users.
 *
 * A topic is 1-256 bytes of UTF-8 compared byte by byte.  '/' separates its segments, empty
 * segments count, so a URL can be a topic.  In a pattern a segment "*" stands for exactly one
 * segment and a last segment "**" for one or more.  Names under "$bugle/" belong to the gateway.
 *
 * All functions are pure.  Any thread.
 */
#ifndef BUGLE_TOPIC_H
#define BUGLE_TOPIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOPIC_BYTES_MAX 256
#define TOPIC_SEGMENTS_MAX 32
#define TOPIC_WILDCARDS_MAX 4

enum topic_error {
    TOPIC_OK,
    TOPIC_EMPTY,             /* no bytes at all */
    TOPIC_TOO_LONG,          /* more than TOPIC_BYTES_MAX */
    TOPIC_TOO_MANY_SEGMENTS, /* more than TOPIC_SEGMENTS_MAX */
    TOPIC_NOT_UTF8,
    TOPIC_HIDDEN_CHARACTER,   /* see utf8_is_hidden() */
    TOPIC_WILDCARD,           /* a '*' in a name that is no pattern */
    TOPIC_WILDCARD_PLACE,     /* '*' beside other characters of a segment, or "**" not last */
    TOPIC_TOO_MANY_WILDCARDS, /* more than TOPIC_WILDCARDS_MAX */
    TOPIC_RESERVED,           /* begins with "$bugle/" */
};

/* One part of a topic between slashes. */
struct topic_segment {
    uint16_t offset;
    uint16_t bytes_n;
};

/* What a person can do about it, as the end of the sentence "the topic …". Never NULL. */
const char *topic_error_text(enum topic_error error);

/* A name an event may be published to. */
enum topic_error topic_check_name(const char *bytes, size_t bytes_n);

/* A name or a pattern that a stream may ask for; "$bugle/" is reserved here too. */
enum topic_error topic_check_pattern(const char *bytes, size_t bytes_n);

/* A user: the alphabet and length of a topic, with '*' and '/' as ordinary characters. */
enum topic_error topic_check_user(const char *bytes, size_t bytes_n);

/* Whether a checked pattern has a wildcard. */
bool topic_is_pattern(const char *bytes, size_t bytes_n);

/* Part a checked name or pattern into `ret_segments` (room for TOPIC_SEGMENTS_MAX).
 * Returns how many there are, at least one. */
size_t topic_split(const char *bytes, size_t bytes_n, struct topic_segment *ret_segments);

/* How many segments a name or pattern has. */
size_t topic_segments(const char *bytes, size_t bytes_n);

/* Whether a checked pattern covers a checked topic.  Cost: one pass over both, no memory. */
bool topic_match(const char *pattern, size_t pattern_n, const char *topic, size_t topic_n);

#endif
