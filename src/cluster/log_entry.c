/* SPDX-License-Identifier: MIT */
/* Entries of the shared log.  See log_entry.h. */
#include "config.h"
#include "cluster/log_entry.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_BYTES sizeof(uint32_t)

/* ---- writing ---- */

size_t log_entry_body_bytes(struct message *const *events, size_t events_n)
{
    size_t bytes = 2 * NUMBER_BYTES;

    for (size_t i = 0; i < events_n; i++)
        bytes += NUMBER_BYTES + message_image_bytes(events[i]);
    return bytes;
}

static char *put_number(char *to, size_t number)
{
    uint32_t word = (uint32_t)number;

    return mempcpy(to, &word, sizeof(word));
}

static char *put_numbers(char *to, size_t events_n)
{
    return put_number(put_number(to, LOG_ENTRY_FORMAT), events_n);
}

void log_entry_write_body(char *to, struct message *const *events, size_t events_n)
{
    to = put_numbers(to, events_n);
    for (size_t i = 0; i < events_n; i++) {
        size_t image_n = message_image_bytes(events[i]);

        assert(events[i]->kind != MESSAGE_CONTROL && events[i]->published_ms == 0);
        to = put_number(to, image_n);
        message_write_image(to, events[i]);
        to += image_n;
    }
}

size_t log_entry_order_bytes(size_t order_n)
{
    return 2 * NUMBER_BYTES + order_n;
}

void log_entry_write_order(char *to, const char *order, size_t order_n)
{
    assert(order_n > 0 && order_n <= SHARED_LOG_ORDER_BYTES_MAX);
    memcpy(put_numbers(to, 0), order, order_n);
}

size_t log_entry_write_head(char to[LOG_ENTRY_HEAD_BYTES], const struct log_entry_head *head)
{
    return (size_t)snprintf(to, LOG_ENTRY_HEAD_BYTES, "%s %" PRIu64 " %" PRId64 " %s %" PRIu64,
                            head->epoch, head->first, head->at_ms, head->writer, head->seq);
}

/* ---- reading a head ---- */

/* What is left of a text; `failed` once something was not there. */
struct words {
    const char *at;
    const char *end;
    bool failed;
};

static bool is_in_epoch(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
}

static bool is_in_writer(char c)
{
    return is_in_epoch(c) || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';
}

/* The next word, and the blank behind it unless it is the last. */
static void take_word(struct words *words, bool (*accepts)(char), char *to, size_t room)
{
    size_t n = 0;

    while (words->at < words->end && accepts(*words->at) && n + 1 < room)
        to[n++] = *words->at++;
    to[n] = '\0';
    words->failed |= n == 0;
    if (words->at < words->end && *words->at++ != ' ')
        words->failed = true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A number as it is written here: no zeros before it, and not 0. */
static uint64_t take_number(struct words *words)
{
    char text[21];
    uint64_t number = 0;

    take_word(words, is_digit, text, sizeof(text));
    for (const char *at = text; *at != '\0'; at++) {
        words->failed |= number > SHARED_LOG_POSITION_MAX;
        number = number * 10 + (uint64_t)(*at - '0');
    }
    words->failed |= text[0] == '0' || number > SHARED_LOG_POSITION_MAX;
    return number;
}

enum log_entry_result log_entry_read_head(const char *text, size_t text_n,
                                          struct log_entry_head *ret_head)
{
    struct words words = {.at = text, .end = text + text_n};

    take_word(&words, is_in_epoch, ret_head->epoch, sizeof(ret_head->epoch));
    words.failed |= ret_head->epoch[SSE_EPOCH_BYTES - 1] == '\0';
    ret_head->first = take_number(&words);
    ret_head->at_ms = (int64_t)take_number(&words);
    take_word(&words, is_in_writer, ret_head->writer, sizeof(ret_head->writer));
    ret_head->seq = take_number(&words);
    if (words.failed || words.at != words.end || words.end[-1] == ' ')
        return LOG_ENTRY_DAMAGED;
    return LOG_ENTRY_FINE;
}

/* ---- reading a body ---- */

struct reader {
    const char *at;
    size_t left;
    char *room; /* for the data of a frame */
    size_t room_n;
};

static bool take_u32(struct reader *reader, uint32_t *ret_number)
{
    if (reader->left < NUMBER_BYTES)
        return false;
    memcpy(ret_number, reader->at, NUMBER_BYTES);
    reader->at += NUMBER_BYTES;
    reader->left -= NUMBER_BYTES;
    return true;
}

static bool has_room(struct reader *reader, size_t n)
{
    if (n <= reader->room_n)
        return true;
    char *room = realloc(reader->room, n);
    if (room == NULL)
        return false;
    reader->room = room;
    reader->room_n = n;
    return true;
}

/* Whether a frame ends in the line of an id that is still to be written, and a blank line. */
static bool awaits_id(const struct message *message)
{
    const char *tail = message->frame + message_body_bytes(message);

    if (memcmp(tail - 1, "\nid: ", 5) != 0)
        return false;
    for (size_t i = 0; i < SSE_ID_BYTES; i++)
        if (tail[4 + i] != '0')
            return false;
    return true;
}

/* An event that no publisher could have made would fail its readers.  An image is of no other kind
 * than these two. */
static enum log_entry_result check_event(struct reader *reader, const struct message *message)
{
    bool is_stored = message->kind == MESSAGE_STORED;
    struct sse_fields fields;

    if (message->published_ms != 0 || message->position != 0 || message->ttl_ms < 0)
        return LOG_ENTRY_DAMAGED;
    if (!has_room(reader, message->frame_n))
        return LOG_ENTRY_NO_MEMORY;
    if (!sse_read_frame(message->frame, message->frame_n, reader->room, &fields) ||
        fields.with_id != is_stored || (is_stored && !awaits_id(message)))
        return LOG_ENTRY_DAMAGED;
    return LOG_ENTRY_FINE;
}

/* The next event, not sealed; a reference when it is fine. */
static enum log_entry_result take_event(struct reader *reader, struct message **ret_message)
{
    uint32_t image_n;

    if (!take_u32(reader, &image_n) || image_n > reader->left)
        return LOG_ENTRY_DAMAGED;
    errno = 0;
    *ret_message = message_read_image(reader->at, image_n);
    if (*ret_message == NULL)
        return errno == ENOMEM ? LOG_ENTRY_NO_MEMORY : LOG_ENTRY_DAMAGED;
    reader->at += image_n;
    reader->left -= image_n;
    enum log_entry_result result = check_event(reader, *ret_message);
    if (result != LOG_ENTRY_FINE)
        message_unref(*ret_message);
    return result;
}

/* An ephemeral event gets the position that those before it came to. */
static void put_event(struct log_entry *entry, struct message *message)
{
    entry->stored_n += message->kind == MESSAGE_STORED;
    message_seal(message, entry->head.epoch, entry->head.first + entry->stored_n - 1,
                 entry->head.at_ms);
    entry->events[entry->events_n++] = message;
}

/* `entry` has its head. */
static enum log_entry_result take_events(struct reader *reader, uint32_t events_n,
                                         struct log_entry *entry)
{
    entry->events = malloc(events_n * sizeof(struct message *));
    if (entry->events == NULL)
        return LOG_ENTRY_NO_MEMORY;
    while (entry->events_n < events_n) {
        struct message *message;
        enum log_entry_result result = take_event(reader, &message);

        if (result != LOG_ENTRY_FINE)
            return result;
        put_event(entry, message);
    }
    return reader->left == 0 && entry->stored_n > 0 ? LOG_ENTRY_FINE : LOG_ENTRY_DAMAGED;
}

static enum log_entry_result take_order(struct reader *reader, struct log_entry *entry)
{
    if (reader->left == 0 || reader->left > SHARED_LOG_ORDER_BYTES_MAX)
        return LOG_ENTRY_DAMAGED;
    entry->order = reader->at;
    entry->order_n = reader->left;
    return LOG_ENTRY_FINE;
}

/* Whether what was read is what its name says. */
static bool has_name(const struct log_entry *entry, const struct shared_log_entry *from)
{
    return (entry->order != NULL) == (from->sub > 0) && from->last <= SHARED_LOG_POSITION_MAX &&
           entry->head.first + entry->stored_n - 1 == from->last;
}

static enum log_entry_result read_body(const struct shared_log_entry *from, struct log_entry *entry)
{
    struct reader reader = {.at = from->body, .left = from->body_n};
    uint32_t format, events_n;

    if (!take_u32(&reader, &format))
        return LOG_ENTRY_DAMAGED;
    if (format != LOG_ENTRY_FORMAT)
        return LOG_ENTRY_FORMAT_UNKNOWN;
    if (!take_u32(&reader, &events_n) || events_n > reader.left / NUMBER_BYTES)
        return LOG_ENTRY_DAMAGED;
    enum log_entry_result result =
        events_n > 0 ? take_events(&reader, events_n, entry) : take_order(&reader, entry);
    free(reader.room);
    if (result == LOG_ENTRY_FINE && !has_name(entry, from))
        return LOG_ENTRY_DAMAGED;
    return result;
}

enum log_entry_result log_entry_read(const struct shared_log_entry *from,
                                     struct log_entry *ret_entry)
{
    struct log_entry entry = {.events = NULL};
    enum log_entry_result result = log_entry_read_head(from->head, from->head_n, &entry.head);

    if (result == LOG_ENTRY_FINE)
        result = read_body(from, &entry);
    if (result == LOG_ENTRY_FINE)
        *ret_entry = entry;
    else
        log_entry_clear(&entry);
    return result;
}

void log_entry_clear(struct log_entry *entry)
{
    for (size_t i = 0; i < entry->events_n; i++)
        message_unref(entry->events[i]);
    free(entry->events);
    *entry = (struct log_entry){.events = NULL};
}
