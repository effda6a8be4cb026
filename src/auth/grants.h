/* SPDX-License-Identifier: MIT */
/*
 * What a caller may publish to and read, as lists of patterns (topic.h), and whether they cover a
 * topic or a pattern.
 *
 * A pattern is covered when one granted pattern covers every topic that it can match. Grants do not
 * add up: two patterns may together cover every topic of a third, and still neither covers it.
 *
 * Pure; any thread.  Lists borrow their bytes.
 */
#ifndef BUGLE_GRANTS_H
#define BUGLE_GRANTS_H

#include <stdbool.h>
#include <stddef.h>

/* Patterns of one list; a caller with more should have a wider pattern. */
#define GRANTS_PATTERNS_MAX 64

struct grants_pattern {
    const char *bytes;
    size_t bytes_n;
};

struct grants_list {
    const struct grants_pattern *patterns;
    size_t patterns_n;
};

/* Whether a checked pattern covers all that another checked pattern, or a topic, could match.
 * Cost: one pass over both. */
bool grants_pattern_covers(const char *granted, size_t granted_n, const char *wanted,
                           size_t wanted_n);

/* Whether there can be a topic that both checked patterns match.  Cost: one pass over both. */
bool grants_patterns_overlap(const char *one, size_t one_n, const char *other, size_t other_n);

/* Whether a pattern of the list covers this pattern or topic. */
bool grants_cover(const struct grants_list *list, const char *wanted, size_t wanted_n);

/* Whether the list has `**`, which covers every topic, and an event without one. */
bool grants_cover_all(const struct grants_list *list);

#endif
