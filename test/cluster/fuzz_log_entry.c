/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for entries of the shared log.  The first line is the head, the rest the body.  What
 * is read has sealed events in a row; written again, it is the same entry, and nothing else is.
 */
#include "config.h"
#include "cluster/log_entry.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a writer makes of the head is what was read. */
static void check_head(const struct log_entry_head *head, const char *text, size_t text_n)
{
    char again[LOG_ENTRY_HEAD_BYTES];
    size_t n = log_entry_write_head(again, head);

    assert(n == text_n && memcmp(again, text, n) == 0);
}

static void check_events(const struct log_entry *entry)
{
    char id[SSE_ID_BYTES];

    for (size_t i = 0; i < entry->events_n; i++) {
        const struct message *message = entry->events[i];

        assert(message->kind == MESSAGE_STORED);
        assert(message->position == entry->head.first + i);
        assert(message->published_ms == entry->head.at_ms);
        sse_put_id(id, entry->head.epoch, message->position);
        assert(memcmp(message->frame + message->id_offset, id, sizeof(id)) == 0);
    }
}

/* The position that the log would give: head and number of events tell. */
static uint64_t last_of(const struct log_entry_head *head, const char *body, size_t body_n)
{
    uint32_t events_n = 1;

    if (body_n >= 2 * sizeof(events_n))
        memcpy(&events_n, body + sizeof(events_n), sizeof(events_n));
    return head->first + events_n - 1;
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
    from.last = last_of(&head, from.body, from.body_n);
    if (log_entry_read(&from, &entry) != LOG_ENTRY_FINE)
        return 0;
    assert(entry.head.first + entry.events_n - 1 == from.last);
    check_events(&entry);
    log_entry_clear(&entry);
    return 0;
}
