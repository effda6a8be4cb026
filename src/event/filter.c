/* SPDX-License-Identifier: MIT */
/* Which events a stream gets.  See filter.h. */
#include "config.h"
#include "event/filter.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "event/topic.h"

static bool same_name(const struct message_name *a, const struct message_name *b)
{
    return a->hash == b->hash && a->bytes_n == b->bytes_n &&
           memcmp(a->bytes, b->bytes, a->bytes_n) == 0;
}

static char *copy_name(struct message_name *to, const struct message_name *from, char *room)
{
    memcpy(room, from->bytes, from->bytes_n);
    to->bytes = room;
    to->bytes_n = from->bytes_n;
    to->hash = hash_bytes(room, from->bytes_n);
    return room + from->bytes_n;
}

static bool has_pattern(const struct filter *filter, const struct message_name *name)
{
    for (size_t i = 0; i < filter->patterns_n; i++)
        if (same_name(&filter->patterns[i].name, name))
            return true;
    return false;
}

static char *add_pattern(struct filter *filter, const struct message_name *name, char *room)
{
    struct filter_pattern *pattern = &filter->patterns[filter->patterns_n];
    char *end = copy_name(&pattern->name, name, room);

    if (has_pattern(filter, &pattern->name))
        return room;
    pattern->wildcard = topic_is_pattern(room, name->bytes_n);
    filter->patterns_n++;
    return end;
}

static size_t weigh(const struct filter *filter)
{
    size_t exact_n = 0, segments_n = 0;

    for (size_t i = 0; i < filter->patterns_n; i++) {
        const struct message_name *name = &filter->patterns[i].name;

        if (filter->patterns[i].wildcard)
            segments_n += topic_segments(name->bytes, name->bytes_n);
        else
            exact_n++;
    }
    return segments_n + exact_n / FILTER_HASHES_A_STEP;
}

struct filter *filter_new(const struct message_name *patterns, size_t patterns_n,
                          const struct message_name *user)
{
    size_t bytes = sizeof(struct filter) + patterns_n * sizeof(struct filter_pattern);

    for (size_t i = 0; i < patterns_n; i++)
        bytes += patterns[i].bytes_n;
    bytes += user != NULL ? user->bytes_n : 0;
    struct filter *filter = malloc(bytes);
    if (filter == NULL)
        return NULL;

    char *room = (char *)(filter->patterns + patterns_n);
    atomic_init(&filter->refs, 1);
    filter->bytes = (uint32_t)bytes;
    filter->patterns_n = 0;
    memset(&filter->user, 0, sizeof(filter->user));
    for (size_t i = 0; i < patterns_n; i++)
        room = add_pattern(filter, &patterns[i], room);
    filter->weight = weigh(filter);
    if (user != NULL)
        copy_name(&filter->user, user, room);
    return filter;
}

struct filter *filter_ref(struct filter *filter)
{
    atomic_fetch_add_explicit(&filter->refs, 1, memory_order_relaxed);
    return filter;
}

void filter_unref(struct filter *filter)
{
    if (filter == NULL)
        return;
    if (atomic_fetch_sub_explicit(&filter->refs, 1, memory_order_acq_rel) == 1)
        free(filter);
}

static bool accepts_topic(const struct filter *filter, const struct message_name *topic)
{
    for (size_t i = 0; i < filter->patterns_n; i++) {
        const struct filter_pattern *pattern = &filter->patterns[i];

        if (!pattern->wildcard ? same_name(&pattern->name, topic)
                               : topic_match(pattern->name.bytes, pattern->name.bytes_n,
                                             topic->bytes, topic->bytes_n))
            return true;
    }
    return false;
}

bool filter_accepts_topics(const struct filter *filter, const struct message *message)
{
    if (message->topics_n == 0 || filter->patterns_n == 0)
        return true;
    for (size_t i = 0; i < message->topics_n; i++)
        if (accepts_topic(filter, &message_topics(message)[i]))
            return true;
    return false;
}

static bool accepts_user(const struct filter *filter, const struct message *message)
{
    if (message->users_n == 0)
        return true;
    if (filter->user.bytes == NULL)
        return false;
    for (size_t i = 0; i < message->users_n; i++)
        if (same_name(&message_users(message)[i], &filter->user))
            return true;
    return false;
}

bool filter_accepts(const struct filter *filter, const struct message *message)
{
    return accepts_user(filter, message) && filter_accepts_topics(filter, message);
}
