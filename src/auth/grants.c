/* SPDX-License-Identifier: MIT */
/* Patterns that grant.  See grants.h. */
#include "config.h"
#include "auth/grants.h"

#include <string.h>

/* What is left of a pattern, and its first segment. */
struct rest {
    const char *at;
    const char *end;
    size_t segment_n;
};

static struct rest rest_of(const char *at, const char *end)
{
    const char *slash = memchr(at, '/', (size_t)(end - at));

    return (struct rest){at, end, (size_t)((slash != NULL ? slash : end) - at)};
}

static bool is_last(const struct rest *rest)
{
    return rest->at + rest->segment_n == rest->end;
}

static bool segment_is(const struct rest *rest, const char *text)
{
    return rest->segment_n == strlen(text) && memcmp(rest->at, text, rest->segment_n) == 0;
}

/* One segment of a grant against one of what is wanted; neither is `**`. */
static bool segment_covers(const struct rest *granted, const struct rest *wanted)
{
    if (segment_is(granted, "*"))
        return true;
    return granted->segment_n == wanted->segment_n &&
           memcmp(granted->at, wanted->at, granted->segment_n) == 0;
}

bool grants_pattern_covers(const char *granted, size_t granted_n, const char *wanted,
                           size_t wanted_n)
{
    struct rest have = rest_of(granted, granted + granted_n);
    struct rest want = rest_of(wanted, wanted + wanted_n);

    for (;;) {
        if (segment_is(&have, "**"))
            return true; /* one or more segments, and there is one */
        if (segment_is(&want, "**") || !segment_covers(&have, &want))
            return false;
        if (is_last(&have) || is_last(&want))
            return is_last(&have) && is_last(&want);
        have = rest_of(have.at + have.segment_n + 1, have.end);
        want = rest_of(want.at + want.segment_n + 1, want.end);
    }
}

/* `**` stands last, and for one or more segments: where one pattern has it the other has one left.
 */
bool grants_patterns_overlap(const char *one, size_t one_n, const char *other, size_t other_n)
{
    struct rest a = rest_of(one, one + one_n);
    struct rest b = rest_of(other, other + other_n);

    for (;;) {
        if (segment_is(&a, "**") || segment_is(&b, "**"))
            return true;
        if (!segment_covers(&a, &b) && !segment_is(&b, "*"))
            return false;
        if (is_last(&a) || is_last(&b))
            return is_last(&a) && is_last(&b);
        a = rest_of(a.at + a.segment_n + 1, a.end);
        b = rest_of(b.at + b.segment_n + 1, b.end);
    }
}

bool grants_cover(const struct grants_list *list, const char *wanted, size_t wanted_n)
{
    for (size_t i = 0; i < list->patterns_n; i++)
        if (grants_pattern_covers(list->patterns[i].bytes, list->patterns[i].bytes_n, wanted,
                                  wanted_n))
            return true;
    return false;
}

bool grants_cover_all(const struct grants_list *list)
{
    return grants_cover(list, "**", 2);
}
