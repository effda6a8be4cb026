/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for entries of the shared log.  The first line is the head, the rest the body.  What
 * is read has sealed events in a row, ephemeral ones between them, or is an order; and under any
 * other name it is nothing.
 */
#include "config.h"
#include "cluster/log_entry.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* More events in one input are read under the first of their names only. */
#define NAMES_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a writer makes of the head is what was read. */
static void check_head(const struct log_entry_head *head, const char *text, size_t text_n)
{
    char again[LOG_ENTRY_HEAD_BYTES];
    size_t n = log_entry_write_head(again, head);

    assert(n == text_n && memcmp(again, text, n) == 0);
}

static void check_event(const struct log_entry_head *head, const struct message *message,
                        uint64_t position)
{
    char id[SSE_ID_BYTES];

    assert(message->kind == MESSAGE_STORED || message->kind == MESSAGE_EPHEMERAL);
    assert(message->position == position);
    assert(message->published_ms == head->at_ms);
    if (message->kind == MESSAGE_EPHEMERAL) {
        assert(message->key_n == 0 && message->id_offset == UINT32_MAX);
        return;
    }
    sse_put_id(id, head->epoch, position);
    assert(memcmp(message->frame + message->id_offset, id, sizeof(id)) == 0);
}

static void check_entry(const struct log_entry *entry, const struct shared_log_entry *from)
{
    uint64_t position = entry->head.first - 1;

    for (size_t i = 0; i < entry->events_n; i++) {
        position += entry->events[i]->kind == MESSAGE_STORED;
        check_event(&entry->head, entry->events[i], position);
    }
    assert(position == from->last && position == entry->head.first - 1 + entry->stored_n);
    assert((entry->order != NULL) == (from->sub > 0));
    if (entry->order == NULL)
        return;
    assert(entry->events_n == 0 && entry->order_n > 0);
    assert(entry->order + entry->order_n == from->body + from->body_n);
}

/* Returns whether it is an entry under this name. */
static bool check_name(struct shared_log_entry *from, uint64_t last, uint64_t sub)
{
    struct log_entry entry;

    from->last = last;
    from->sub = sub;
    if (log_entry_read(from, &entry) != LOG_ENTRY_FINE)
        return false;
    check_entry(&entry, from);
    log_entry_clear(&entry);
    return true;
}

/* As an order, and as each number of stored events that there may be: the log gives the name. */
static void check_names(struct shared_log_entry *from, const struct log_entry_head *head)
{
    unsigned fine_n = 0;
    uint32_t events_n = 0;

    if (from->body_n >= 2 * sizeof(events_n))
        memcpy(&events_n, from->body + sizeof(events_n), sizeof(events_n));
    fine_n += check_name(from, head->first - 1, 1);
    fine_n += check_name(from, head->first - 1, 0);
    for (uint32_t i = 0; i < events_n && i < NAMES_MAX; i++)
        fine_n += check_name(from, head->first + i, 0);
    assert(fine_n <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *head_text = (const char *)data, *end = memchr(data, '\n', size);
    size_t head_n = end != NULL ? (size_t)(end - head_text) : size;
    struct shared_log_entry from = {.head = head_text, .head_n = head_n};
    struct log_entry_head head;
    struct log_entry entry;

    if (log_entry_read_head(head_text, head_n, &head) != LOG_ENTRY_FINE) {
        assert(log_entry_read(&from, &entry) == LOG_ENTRY_DAMAGED);
        return 0;
    }
    check_head(&head, head_text, head_n);
    if (end == NULL)
        return 0;
    from.body_n = size - head_n - 1;
    from.body = end + 1;
    check_names(&from, &head);
    return 0;
}
