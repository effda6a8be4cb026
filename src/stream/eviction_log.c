/* SPDX-License-Identifier: MIT */
/* The latest evictions.  See eviction_log.h. */
#include "config.h"
#include "stream/eviction_log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "event/filter.h"

struct eviction_log {
    pthread_mutex_t lock;
    struct log_valve valve;
    uint64_t total;
    size_t max;
    struct eviction ring[]; /* the newest at (total - 1) % max */
};

struct eviction_log *eviction_log_new(size_t max)
{
    assert(max > 0);
    struct eviction_log *log = calloc(1, sizeof(*log) + max * sizeof(struct eviction));

    if (log == NULL)
        return NULL;
    pthread_mutex_init(&log->lock, NULL);
    log->max = max;
    return log;
}

void eviction_log_free(struct eviction_log *log)
{
    if (log == NULL)
        return;
    pthread_mutex_destroy(&log->lock);
    free(log);
}

/* ---- what it wanted ---- */

static bool eviction_add_text(struct eviction *eviction, size_t *text_n,
                              const struct message_name *name)
{
    if (name->bytes_n + 1 > sizeof(eviction->text) - *text_n)
        return false;
    memcpy(eviction->text + *text_n, name->bytes, name->bytes_n);
    *text_n += name->bytes_n;
    eviction->text[(*text_n)++] = '\0';
    return true;
}

static void copy_names(struct eviction *eviction, const struct filter *filter)
{
    size_t text_n = 0;

    eviction->has_user =
        filter->user.bytes != NULL && eviction_add_text(eviction, &text_n, &filter->user);
    for (size_t i = 0; i < filter->patterns_n; i++) {
        if (eviction_add_text(eviction, &text_n, &filter->patterns[i].name))
            eviction->topics_n++;
        else
            eviction->topics_left_out_n++;
    }
}

static struct message_name name_at(const struct eviction *eviction, size_t index)
{
    const char *bytes = eviction->text;

    while (index-- > 0)
        bytes += strlen(bytes) + 1;
    return (struct message_name){.bytes = bytes, .bytes_n = strlen(bytes)};
}

struct message_name eviction_user(const struct eviction *eviction)
{
    return eviction->has_user ? name_at(eviction, 0) : (struct message_name){0};
}

struct message_name eviction_topic(const struct eviction *eviction, size_t index)
{
    assert(index < eviction->topics_n);
    return name_at(eviction, index + (eviction->has_user ? 1 : 0));
}

/* ---- the ring ---- */

/* Thousands may go at once: one line a second, and how many there were. */
static void tell(const struct eviction *eviction, unsigned long skipped)
{
    const struct stream_facts *facts = &eviction->facts;
    char peer[PEER_TEXT_BYTES];
    char more[LOG_SKIPPED_BYTES];

    log_info("stream %016llx of %s evicted: %s; %llu events sent, %llu behind, %llu bytes "
             "unacknowledged, %lld ms old%s",
             (unsigned long long)facts->id, peer_text(&facts->peer, peer),
             stream_ends[eviction->why].word, (unsigned long long)facts->events_sent,
             (unsigned long long)facts->lag_events, (unsigned long long)facts->unacknowledged_bytes,
             (long long)facts->age_ms, log_skipped(more, skipped));
}

void eviction_log_add(struct eviction_log *log, const struct stream_facts *facts,
                      enum stream_end why)
{
    struct eviction eviction = {.at_ms = clock_wall_ms(), .why = why, .facts = *facts};
    unsigned long skipped;

    copy_names(&eviction, facts->filter);
    eviction.facts.filter = NULL;
    pthread_mutex_lock(&log->lock);
    log->ring[log->total++ % log->max] = eviction;
    bool is_told = log_valve_open(&log->valve, &skipped);
    pthread_mutex_unlock(&log->lock);
    if (is_told)
        tell(&eviction, skipped);
}

int eviction_log_list(struct eviction_log *log, size_t max, struct eviction **ret_list,
                      uint64_t *ret_total)
{
    size_t list_n = max < log->max ? max : log->max;
    struct eviction *list = calloc(list_n, sizeof(*list));

    *ret_list = list;
    if (list == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&log->lock);
    *ret_total = log->total;
    if (list_n > log->total)
        list_n = log->total;
    for (size_t i = 0; i < list_n; i++)
        list[i] = log->ring[(log->total - 1 - i) % log->max];
    pthread_mutex_unlock(&log->lock);
    return (int)list_n;
}
