/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for what nodes say to each other.  What is read, written again, is the same message;
 * its events can be handed out, and its rows stand inside it.
 */
#include "config.h"
#include "cluster/node_message.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct node_message *message, const char *bytes, size_t bytes_n)
{
    size_t n = node_message_bytes(message);
    char *again = malloc(n);

    assert(again != NULL && n == bytes_n);
    node_message_write(again, message);
    /* an image of an earlier version does not say what the data was */
    assert(message->kind == NODE_MESSAGE_EVENTS || memcmp(again, bytes, n) == 0);
    free(again);
}

static void check_events(struct node_message *message, const char *bytes, size_t bytes_n)
{
    size_t events_n = message->events.events_n;
    struct message **events = calloc(events_n, sizeof(*events));

    assert(events != NULL && events_n <= NODE_MESSAGE_EVENTS_MAX);
    if (node_message_read_events(&message->events, events) == NODE_MESSAGE_FINE) {
        message->events.events = events;
        check_again(message, bytes, bytes_n);
        for (size_t i = 0; i < events_n; i++) {
            message_seal(events[i], message->events.epoch, message->events.head, 1);
            message_unref(events[i]);
        }
    }
    free(events);
}

static void check_rows(const struct node_message_answer *answer)
{
    const char *rows = answer->rows, *row;
    size_t rows_n = answer->rows_bytes_n, row_n, seen_n = 0;

    while ((row = node_message_take_row(&rows, &rows_n, &row_n)) != NULL) {
        assert(row >= answer->rows && row + row_n <= answer->rows + answer->rows_bytes_n);
        seen_n++;
    }
    assert(seen_n == answer->rows_n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    struct node_message message;

    if (node_message_read(bytes, size, &message) != NODE_MESSAGE_FINE)
        return 0;
    assert(node_message_is_node(message.from, strlen(message.from)));
    if (message.kind == NODE_MESSAGE_EVENTS) {
        check_events(&message, bytes, size);
        return 0;
    }
    check_again(&message, bytes, size);
    if (message.kind == NODE_MESSAGE_ANSWER)
        check_rows(&message.answer);
    return 0;
}
