/* SPDX-License-Identifier: MIT */
/* What nodes say to each other.  See node_message.h. */
#include "config.h"
#include "cluster/node_message.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "event/topic.h"

/* ---- writing ---- */

/* What is written so far; `to` NULL: it is only counted. */
struct writer {
    char *to;
    size_t n;
};

static void put_bytes(struct writer *writer, const void *bytes, size_t n)
{
    if (writer->to != NULL && n > 0)
        memcpy(writer->to + writer->n, bytes, n);
    writer->n += n;
}

static void put_u32(struct writer *writer, size_t number)
{
    uint32_t word = (uint32_t)number;

    put_bytes(writer, &word, sizeof(word));
}

static void put_u64(struct writer *writer, uint64_t number)
{
    put_bytes(writer, &number, sizeof(number));
}

static void put_text(struct writer *writer, const char *bytes, size_t n)
{
    put_u32(writer, n);
    put_bytes(writer, bytes, n);
}

static void put_events(struct writer *writer, const struct node_message_events *events)
{
    put_bytes(writer, events->epoch, SSE_EPOCH_BYTES);
    put_u64(writer, events->head);
    put_text(writer, events->writer, strlen(events->writer));
    put_u64(writer, events->seq);
    put_u32(writer, events->events_n);
    for (size_t i = 0; i < events->events_n; i++) {
        size_t image_n = message_image_bytes(events->events[i]);

        put_u32(writer, image_n);
        if (writer->to != NULL)
            message_write_image(writer->to + writer->n, events->events[i]);
        writer->n += image_n;
    }
}

static void put_question(struct writer *writer, const struct node_message_question *question)
{
    put_u64(writer, question->id);
    put_u32(writer, question->what);
    put_u64(writer, question->stream_id);
    put_text(writer, question->user.bytes,
             question->user.bytes != NULL ? question->user.bytes_n : 0);
    put_text(writer, question->topic.bytes,
             question->topic.bytes != NULL ? question->topic.bytes_n : 0);
    put_u64(writer, (uint64_t)question->given_ms);
    put_u32(writer, question->limit);
    put_u32(writer, question->bytes_max);
}

static void put_answer(struct writer *writer, const struct node_message_answer *answer)
{
    put_u64(writer, answer->id);
    put_u32(writer, answer->part);
    put_u32(writer, answer->parts_n);
    put_u64(writer, answer->count);
    put_u32(writer, answer->rows_n);
    put_text(writer, answer->rows, answer->rows_bytes_n);
}

static void put_message(struct writer *writer, const struct node_message *message)
{
    put_u32(writer, NODE_MESSAGE_FORMAT);
    put_u32(writer, message->kind);
    put_text(writer, message->from, strlen(message->from));
    switch (message->kind) {
    case NODE_MESSAGE_EVENTS:
        put_events(writer, &message->events);
        break;
    case NODE_MESSAGE_QUESTION:
        put_question(writer, &message->question);
        break;
    case NODE_MESSAGE_ANSWER:
        put_answer(writer, &message->answer);
        break;
    case NODE_MESSAGE_STREAM_END:
        put_u64(writer, message->stream_end.mark);
        break;
    }
}

size_t node_message_bytes(const struct node_message *message)
{
    struct writer writer = {.to = NULL};

    put_message(&writer, message);
    return writer.n;
}

void node_message_write(char *to, const struct node_message *message)
{
    struct writer writer = {.to = to};

    put_message(&writer, message);
}

char *node_message_put_row(char *to, const char *text, size_t text_n)
{
    uint32_t n = (uint32_t)text_n;

    to = mempcpy(to, &n, sizeof(n));
    return mempcpy(to, text, text_n);
}

/* ---- reading ---- */

/* What is left; once something was not there, `failed`, and all that is taken is 0. */
struct reader {
    const char *at;
    size_t left;
    bool failed;
};

static const char *take_bytes(struct reader *reader, size_t n)
{
    const char *bytes = reader->at;

    if (reader->failed || n > reader->left) {
        reader->failed = true;
        return NULL;
    }
    reader->at += n;
    reader->left -= n;
    return bytes;
}

static uint32_t take_u32(struct reader *reader)
{
    const char *bytes = take_bytes(reader, sizeof(uint32_t));
    uint32_t number = 0;

    if (bytes != NULL)
        memcpy(&number, bytes, sizeof(number));
    return number;
}

static uint64_t take_u64(struct reader *reader)
{
    const char *bytes = take_bytes(reader, sizeof(uint64_t));
    uint64_t number = 0;

    if (bytes != NULL)
        memcpy(&number, bytes, sizeof(number));
    return number;
}

/* Returns NULL when there is none. */
static const char *take_text(struct reader *reader, size_t *ret_n)
{
    size_t n = take_u32(reader);
    const char *bytes = take_bytes(reader, n);

    *ret_n = bytes != NULL ? n : 0;
    return bytes;
}

static bool is_in_name(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '-';
}

static bool is_name(const char *name, size_t name_n, size_t room)
{
    if (name_n == 0 || name_n >= room)
        return false;
    for (size_t i = 0; i < name_n; i++)
        if (!is_in_name(name[i]))
            return false;
    return true;
}

bool node_message_is_node(const char *name, size_t name_n)
{
    return is_name(name, name_n, SHARED_LOG_NODE_BYTES);
}

/* The name of a node, or of a writer. */
static void take_name(struct reader *reader, char *to, size_t room)
{
    size_t n;
    const char *name = take_text(reader, &n);

    if (name == NULL || !is_name(name, n, room)) {
        reader->failed = true;
        return;
    }
    *(char *)mempcpy(to, name, n) = '\0';
}

static void take_epoch(struct reader *reader, char to[SSE_EPOCH_BYTES + 1])
{
    const char *epoch = take_bytes(reader, SSE_EPOCH_BYTES);

    if (epoch == NULL)
        return;
    for (size_t i = 0; i < SSE_EPOCH_BYTES; i++)
        if (!((epoch[i] >= '0' && epoch[i] <= '9') || (epoch[i] >= 'a' && epoch[i] <= 'z')))
            reader->failed = true;
    *(char *)mempcpy(to, epoch, SSE_EPOCH_BYTES) = '\0';
}

/* So many texts stand one behind the other, in all of `n` bytes. */
static bool texts_add_up(const char *bytes, size_t n, size_t texts_n)
{
    struct reader reader = {.at = bytes, .left = n};
    size_t text_n;

    while (texts_n > 0 && take_text(&reader, &text_n) != NULL && text_n > 0)
        texts_n--;
    return texts_n == 0 && reader.left == 0;
}

static void read_events(struct reader *reader, struct node_message_events *events)
{
    take_epoch(reader, events->epoch);
    events->head = take_u64(reader);
    take_name(reader, events->writer, sizeof(events->writer));
    events->seq = take_u64(reader);
    events->events_n = take_u32(reader);
    events->events = NULL;
    events->images_n = reader->left;
    events->images = take_bytes(reader, reader->left);
    if (reader->failed || events->head > SHARED_LOG_POSITION_MAX || events->seq == 0 ||
        events->events_n == 0 || events->events_n > NODE_MESSAGE_EVENTS_MAX ||
        !texts_add_up(events->images, events->images_n, events->events_n))
        reader->failed = true;
}

/* A user or a topic, if one is named. */
static void take_topic(struct reader *reader, enum topic_error (*check)(const char *, size_t),
                       struct message_name *ret_name)
{
    size_t n;
    const char *bytes = take_text(reader, &n);

    *ret_name = (struct message_name){.bytes = n > 0 ? bytes : NULL, .bytes_n = n};
    if (n > 0 && check(bytes, n) != TOPIC_OK)
        reader->failed = true;
}

static void read_question(struct reader *reader, struct node_message_question *question)
{
    uint32_t what;

    question->id = take_u64(reader);
    what = take_u32(reader);
    question->what = (enum node_message_ask)what;
    question->stream_id = take_u64(reader);
    take_topic(reader, topic_check_user, &question->user);
    take_topic(reader, topic_check_pattern, &question->topic);
    question->given_ms = (int64_t)take_u64(reader);
    question->limit = take_u32(reader);
    question->bytes_max = take_u32(reader);
    if ((what != NODE_MESSAGE_ASK_LIST && what != NODE_MESSAGE_ASK_END) || question->given_ms < 0)
        reader->failed = true;
}

static void read_answer(struct reader *reader, struct node_message_answer *answer)
{
    answer->id = take_u64(reader);
    answer->part = take_u32(reader);
    answer->parts_n = take_u32(reader);
    answer->count = take_u64(reader);
    answer->rows_n = take_u32(reader);
    answer->rows = take_text(reader, &answer->rows_bytes_n);
    if (reader->failed || answer->parts_n > NODE_MESSAGE_PARTS_MAX ||
        answer->part >= answer->parts_n || answer->rows_bytes_n > NODE_MESSAGE_ROWS_BYTES_MAX ||
        !texts_add_up(answer->rows, answer->rows_bytes_n, answer->rows_n))
        reader->failed = true;
}

/* Returns whether the kind is known. */
static bool read_kind(struct reader *reader, struct node_message *message)
{
    switch (message->kind) {
    case NODE_MESSAGE_EVENTS:
        read_events(reader, &message->events);
        return true;
    case NODE_MESSAGE_QUESTION:
        read_question(reader, &message->question);
        return true;
    case NODE_MESSAGE_ANSWER:
        read_answer(reader, &message->answer);
        return true;
    case NODE_MESSAGE_STREAM_END:
        message->stream_end.mark = take_u64(reader);
        return true;
    }
    return false;
}

enum node_message_result node_message_read(const char *bytes, size_t bytes_n,
                                           struct node_message *ret_message)
{
    struct reader reader = {.at = bytes, .left = bytes_n};
    struct node_message message = {.kind = 0};
    uint32_t format = take_u32(&reader);

    if (reader.failed)
        return NODE_MESSAGE_DAMAGED;
    if (format != NODE_MESSAGE_FORMAT)
        return NODE_MESSAGE_UNKNOWN;
    message.kind = (enum node_message_kind)take_u32(&reader);
    take_name(&reader, message.from, sizeof(message.from));
    if (reader.failed)
        return NODE_MESSAGE_DAMAGED;
    if (!read_kind(&reader, &message))
        return NODE_MESSAGE_UNKNOWN;
    if (reader.failed || reader.left > 0)
        return NODE_MESSAGE_DAMAGED;
    *ret_message = message;
    return NODE_MESSAGE_FINE;
}

const char *node_message_take_row(const char **rows, size_t *rows_n, size_t *ret_n)
{
    struct reader reader = {.at = *rows, .left = *rows_n};
    const char *text = take_text(&reader, ret_n);

    *rows = reader.at;
    *rows_n = reader.failed ? 0 : reader.left;
    return text;
}

/* ---- events ---- */

/* An event that no publisher could have made would fail its readers.  `*room` grows. */
static enum node_message_result check_event(const struct message *message, char **room,
                                            size_t *room_n)
{
    struct sse_fields fields;

    if (message->kind != MESSAGE_EPHEMERAL || message->published_ms != 0 ||
        message->position != 0 || message->ttl_ms < 0)
        return NODE_MESSAGE_DAMAGED;
    if (message->frame_n > *room_n) {
        char *more = realloc(*room, message->frame_n);

        if (more == NULL)
            return NODE_MESSAGE_NO_MEMORY;
        *room = more;
        *room_n = message->frame_n;
    }
    if (!sse_read_frame(message->frame, message->frame_n, *room, &fields) || fields.with_id)
        return NODE_MESSAGE_DAMAGED;
    return NODE_MESSAGE_FINE;
}

static enum node_message_result read_all_events(const struct node_message_events *events,
                                                struct message **to, size_t *ret_n, char **room)
{
    const char *images = events->images, *image;
    size_t images_n = events->images_n, image_n, room_n = 0;

    while (*ret_n < events->events_n &&
           (image = node_message_take_row(&images, &images_n, &image_n)) != NULL) {
        errno = 0;
        struct message *message = message_read_image(image, image_n);
        if (message == NULL)
            return errno == ENOMEM ? NODE_MESSAGE_NO_MEMORY : NODE_MESSAGE_DAMAGED;
        to[(*ret_n)++] = message;
        enum node_message_result result = check_event(message, room, &room_n);
        if (result != NODE_MESSAGE_FINE)
            return result;
    }
    return *ret_n == events->events_n ? NODE_MESSAGE_FINE : NODE_MESSAGE_DAMAGED;
}

enum node_message_result node_message_read_events(const struct node_message_events *events,
                                                  struct message **to)
{
    size_t n = 0;
    char *room = NULL;
    enum node_message_result result = read_all_events(events, to, &n, &room);

    free(room);
    while (result != NODE_MESSAGE_FINE && n > 0)
        message_unref(to[--n]);
    return result;
}
