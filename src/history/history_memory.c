/* SPDX-License-Identifier: MIT */
/* The memory store.  See history_memory.h. */
#include "config.h"
#include "history/history_memory.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "history/idempotency_table.h"

#include "base/clock.h"

/* A read holds the lock against the one writer, so it looks at a bounded number of events, and at
 * fewer where the filter has much to compare.  Asking the clock for each would cost as much. */
#define SCAN_EVENTS_MAX 2048
#define SCAN_NS_MAX (5 * INT64_C(1000000))
#define SCAN_CLOCK_EVERY 512 /* steps: see filter_steps() */
#define SCAN_EVENT_STEPS 8
#define PAGE_EVENTS_MAX 512
#define SLOTS_MIN 1024
/* A writer that has claimed the store takes no longer than with so many keys, each of which may
 * move in their table, and so many events that are over; the rest is for the next trim. */
#define CLAIM_KEYS_MAX 8192
#define CLAIM_TRIMS_MAX 256

/* The clock may be set back, so the times of events are in no order; the latest time so far is. */
struct slot {
    struct message *message;
    int64_t clock_ms; /* the latest time that any event up to this one has */
};

/* Positions follow each other without a hole, so the event of a position is found by arithmetic:
 * slot `position & (slots_n - 1)`. */
struct history_memory {
    struct history base;
    struct history_limits limits;
    pthread_mutex_t lock; /* over the slots; recursive; the two positions may be read without */
    struct slot *slots;
    size_t slots_n; /* a power of two */
    size_t bytes;
    struct idempotency_table *keys; /* the writer's alone */
    _Atomic size_t keys_n;
    _Atomic size_t keys_early_n;
    bool claimed;     /* the writer's alone */
    int64_t clock_ms; /* the latest time so far */
    _Atomic uint64_t trimmed;
    _Atomic uint64_t newest;
};

static struct history_memory *memory_of(struct history *history)
{
    return (struct history_memory *)history;
}

static struct slot *slot_of(const struct history_memory *memory, uint64_t position)
{
    return &memory->slots[position & (memory->slots_n - 1)];
}

static int reserve(struct history_memory *memory, size_t events_n)
{
    size_t held = memory->newest - memory->trimmed;
    size_t slots_n = memory->slots_n;

    while (held + events_n > slots_n)
        slots_n *= 2;
    if (slots_n == memory->slots_n)
        return 0;
    struct slot *slots = calloc(slots_n, sizeof(struct slot));
    if (slots == NULL)
        return -ENOMEM;
    for (uint64_t position = memory->trimmed + 1; position <= memory->newest; position++)
        slots[position & (slots_n - 1)] = *slot_of(memory, position);
    free(memory->slots);
    memory->slots = slots;
    memory->slots_n = slots_n;
    return 0;
}

static void drop_oldest(struct history_memory *memory)
{
    struct slot *slot = slot_of(memory, memory->trimmed + 1);

    memory->bytes -= slot->message->bytes;
    message_unref(slot->message);
    slot->message = NULL;
    memory->trimmed++;
}

static bool over_limits(const struct history_memory *memory, int64_t now_ms)
{
    if (memory->trimmed == memory->newest)
        return false;
    if (memory->newest - memory->trimmed > memory->limits.events_max)
        return true;
    if (memory->bytes > memory->limits.bytes_max)
        return true;
    return now_ms - slot_of(memory, memory->trimmed + 1)->message->published_ms >=
           memory->limits.age_max_ms;
}

static void trim_locked(struct history_memory *memory, int64_t now_ms)
{
    size_t most = memory->claimed ? CLAIM_TRIMS_MAX : SIZE_MAX;

    while (most-- > 0 && over_limits(memory, now_ms))
        drop_oldest(memory);
}

/* Note the keys of events that will get the positions after `newest`.  What fails in the middle
 * leaves none. */
static int put_keys(struct history_memory *memory, struct message *const *events, size_t events_n,
                    int64_t now_ms)
{
    for (size_t i = 0; i < events_n; i++)
        if (events[i]->key_n > 0 &&
            idempotency_table_put(memory->keys, events[i], memory->newest + 1 + i, now_ms) != 0) {
            while (i-- > 0)
                if (events[i]->key_n > 0)
                    idempotency_table_drop(memory->keys, events[i]);
            return -ENOMEM;
        }
    return 0;
}

static void trim_keys(struct history_memory *memory, int64_t now_ms)
{
    const struct idempotency_entry *oldest;

    size_t most = memory->claimed ? CLAIM_TRIMS_MAX : SIZE_MAX;

    while (most-- > 0 && (oldest = idempotency_table_oldest(memory->keys)) != NULL) {
        bool is_over = now_ms - oldest->stored_ms >= memory->limits.key_window_ms;

        if (!is_over && idempotency_table_count(memory->keys) <= memory->limits.keys_max)
            break;
        memory->keys_early_n += !is_over;
        idempotency_table_drop_oldest(memory->keys);
    }
    memory->keys_n = idempotency_table_count(memory->keys);
}

static int find_key(struct history *history, const struct message *message, int64_t now_ms,
                    uint64_t *ret_position)
{
    struct history_memory *memory = memory_of(history);
    const struct idempotency_entry *entry = idempotency_table_find(memory->keys, message);

    if (entry == NULL || now_ms - entry->stored_ms >= memory->limits.key_window_ms)
        return HISTORY_KEY_NEW;
    *ret_position = entry->position;
    return idempotency_entry_is_same(entry, message) ? HISTORY_KEY_SAME : HISTORY_KEY_OTHER;
}

/* Sealed, and the next. */
static void put_event(struct history_memory *memory, struct message *message)
{
    if (message->published_ms > memory->clock_ms)
        memory->clock_ms = message->published_ms;
    *slot_of(memory, message->position) = (struct slot){message_ref(message), memory->clock_ms};
    memory->bytes += message->bytes;
    memory->newest = message->position;
}

/* Room for events and their keys, before any of them is put. */
static int prepare(struct history_memory *memory, struct message *const *events, size_t events_n,
                   int64_t now_ms)
{
    int result = reserve(memory, events_n);

    return result == 0 ? put_keys(memory, events, events_n, now_ms) : result;
}

static int append(struct history *history, struct message *const *events, size_t events_n,
                  int64_t now_ms)
{
    struct history_memory *memory = memory_of(history);
    int result;

    pthread_mutex_lock(&memory->lock);
    result = prepare(memory, events, events_n, now_ms);
    for (size_t i = 0; result == 0 && i < events_n; i++) {
        message_seal(events[i], history_epoch(history), memory->newest + 1, now_ms);
        put_event(memory, events[i]);
    }
    trim_locked(memory, now_ms);
    pthread_mutex_unlock(&memory->lock);
    trim_keys(memory, now_ms);
    return result;
}

/* What is over is forgotten by the next trim. */
static int apply(struct history *history, struct message *const *events, size_t events_n)
{
    struct history_memory *memory = memory_of(history);
    int result = 0;

    pthread_mutex_lock(&memory->lock);
    if (events_n > 0)
        result = prepare(memory, events, events_n, events[0]->published_ms);
    for (size_t i = 0; result == 0 && i < events_n; i++)
        put_event(memory, events[i]);
    pthread_mutex_unlock(&memory->lock);
    memory->keys_n = idempotency_table_count(memory->keys);
    return result;
}

static void drop_newest(struct history_memory *memory)
{
    struct slot *slot = slot_of(memory, memory->newest);

    memory->bytes -= slot->message->bytes;
    message_unref(slot->message);
    slot->message = NULL;
    memory->newest--;
}

static int truncate_after(struct history *history, uint64_t after, struct lineage *lineage)
{
    struct history_memory *memory = memory_of(history);

    pthread_mutex_lock(&memory->lock);
    bool keeps = after >= memory->trimmed && after <= memory->newest;
    while (memory->newest > memory->trimmed && !(keeps && memory->newest == after))
        drop_newest(memory);
    if (!keeps)
        memory->trimmed = memory->newest = after;
    memory->clock_ms = memory->newest > memory->trimmed ? slot_of(memory, after)->clock_ms : 0;
    history_set_lineage(history, lineage);
    pthread_mutex_unlock(&memory->lock);
    idempotency_table_drop_after(memory->keys, keeps ? after : 0);
    memory->keys_n = idempotency_table_count(memory->keys);
    return 0;
}

/* More room for slots is much work: all of them move. */
static bool claim(struct history *history, size_t events_n)
{
    struct history_memory *memory = memory_of(history);

    if (pthread_mutex_trylock(&memory->lock) != 0)
        return false;
    bool claimed = memory->keys_n <= CLAIM_KEYS_MAX &&
                   memory->newest - memory->trimmed + events_n <= memory->slots_n;
    memory->claimed = claimed;
    if (!claimed)
        pthread_mutex_unlock(&memory->lock);
    return claimed;
}

static void unclaim(struct history *history)
{
    memory_of(history)->claimed = false;
    pthread_mutex_unlock(&memory_of(history)->lock);
}

/* In time that this thread has run: being preempted is no work. */
static bool is_late(size_t *steps, int64_t began_ns)
{
    if (*steps < SCAN_CLOCK_EVERY)
        return false;
    *steps = 0;
    return clock_read_ns(CLOCK_THREAD_CPUTIME_ID) - began_ns >= SCAN_NS_MAX;
}

/* Fill a page that has room for PAGE_EVENTS_MAX events. */
static void fill_page(struct history_memory *memory, const struct history_query *query,
                      struct history_page *page)
{
    uint64_t last = memory->newest < query->upto ? memory->newest : query->upto;
    int64_t began_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
    bool late = false;
    size_t steps = 0;

    for (size_t scanned = 0; page->upto < last && scanned < SCAN_EVENTS_MAX && !late; scanned++) {
        struct message *message = slot_of(memory, page->upto + 1)->message;
        bool wanted =
            !message_expired(message, query->now_ms) && filter_accepts(query->filter, message);

        if (wanted && page->events_n > 0 && page->bytes + message->frame_n > query->bytes_max)
            return;
        if (wanted && page->events_n == PAGE_EVENTS_MAX)
            return;
        page->upto++;
        steps += SCAN_EVENT_STEPS + filter_steps(query->filter, message);
        late = is_late(&steps, began_ns);
        if (!wanted)
            continue;
        page->events[page->events_n++] = message_ref(message);
        page->bytes += message->frame_n;
    }
}

static int read_page(struct history *history, const struct history_query *query,
                     struct history_page **ret_page)
{
    struct history_memory *memory = memory_of(history);
    struct history_page *page = history_page_new(query->after, PAGE_EVENTS_MAX);

    if (page == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&memory->lock);
    bool readable = query->after >= memory->trimmed;
    if (readable)
        fill_page(memory, query, page);
    pthread_mutex_unlock(&memory->lock);
    if (!readable) {
        history_page_free(page);
        return -ESTALE;
    }
    *ret_page = page;
    return 0;
}

static bool trim(struct history *history, int64_t now_ms)
{
    struct history_memory *memory = memory_of(history);

    pthread_mutex_lock(&memory->lock);
    trim_locked(memory, now_ms);
    pthread_mutex_unlock(&memory->lock);
    trim_keys(memory, now_ms);
    return false;
}

static void bounds(struct history *history, struct history_bounds *ret_bounds)
{
    struct history_memory *memory = memory_of(history);

    /* trimmed never passes newest, so reading it first keeps them in order */
    ret_bounds->trimmed = memory->trimmed;
    ret_bounds->newest = memory->newest;
}

static uint64_t find_time(struct history *history, int64_t since_ms)
{
    struct history_memory *memory = memory_of(history);
    uint64_t low, high;

    pthread_mutex_lock(&memory->lock);
    low = memory->trimmed;
    high = memory->newest;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (slot_of(memory, middle + 1)->clock_ms >= since_ms)
            high = middle;
        else
            low = middle + 1;
    }
    pthread_mutex_unlock(&memory->lock);
    return low;
}

static int search_back(struct history *history, struct history_search *search)
{
    struct history_memory *memory = memory_of(history);
    int64_t began_ns = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
    bool late = false;
    size_t steps = 0;

    pthread_mutex_lock(&memory->lock);
    uint64_t oldest = memory->trimmed + 1;
    if (search->before > memory->newest + 1)
        search->before = memory->newest + 1;
    for (size_t scanned = 0;
         search->left_n > 0 && search->before > oldest && scanned < SCAN_EVENTS_MAX && !late;
         scanned++) {
        const struct message *message = slot_of(memory, --search->before)->message;

        if (!message_expired(message, search->now_ms) && filter_accepts(search->filter, message))
            search->left_n--;
        steps += SCAN_EVENT_STEPS + filter_steps(search->filter, message);
        late = is_late(&steps, began_ns);
    }
    if (search->before < oldest)
        search->before = oldest;
    pthread_mutex_unlock(&memory->lock);
    return search->left_n > 0 && search->before > oldest;
}

static void usage(struct history *history, struct history_usage *ret_usage)
{
    struct history_memory *memory = memory_of(history);

    pthread_mutex_lock(&memory->lock);
    ret_usage->events_n = memory->newest - memory->trimmed;
    ret_usage->bytes = memory->bytes;
    pthread_mutex_unlock(&memory->lock);
    ret_usage->keys_n = memory->keys_n;
    ret_usage->keys_early_n = memory->keys_early_n;
}

static void free_store(struct history *history)
{
    struct history_memory *memory = memory_of(history);

    while (memory->trimmed < memory->newest)
        drop_oldest(memory);
    pthread_mutex_destroy(&memory->lock);
    idempotency_table_free(memory->keys);
    history_free_lineage(history);
    free(memory->slots);
    free(memory);
}

static const struct history_ops memory_ops = {
    .append = append,
    .apply = apply,
    .truncate = truncate_after,
    .read = read_page,
    .find_key = find_key,
    .claim = claim,
    .unclaim = unclaim,
    .trim = trim,
    .bounds = bounds,
    .find_time = find_time,
    .search = search_back,
    .usage = usage,
    .free = free_store,
};

/* A writer that has claimed it locks it once more to append. */
static void init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;

    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

struct history *history_memory_new(const struct history_limits *limits)
{
    struct history_memory *memory = calloc(1, sizeof(*memory));
    char epoch[SSE_EPOCH_BYTES + 1];

    if (memory == NULL)
        return NULL;
    memory->base.ops = &memory_ops;
    memory->base.durability = HISTORY_MEMORY;
    memory->limits = *limits;
    memory->slots_n = SLOTS_MIN;
    memory->slots = calloc(memory->slots_n, sizeof(struct slot));
    memory->keys = idempotency_table_new();
    memory->base.lineage = history_draw_epoch(epoch) == 0 ? lineage_new(epoch) : NULL;
    if (memory->slots == NULL || memory->keys == NULL || memory->base.lineage == NULL) {
        history_free_lineage(&memory->base);
        idempotency_table_free(memory->keys);
        free(memory->slots);
        free(memory);
        return NULL;
    }
    init_lock(&memory->lock);
    return &memory->base;
}
