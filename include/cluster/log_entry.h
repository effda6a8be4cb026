/* SPDX-License-Identifier: MIT */
/*
 * An entry of the shared log as bytes: one group of events that are stored together, or an order.
 *
 *     head  "epoch first at writer seq": the epoch in which it was appended, the position of its
 *           first stored event, the time of all of them in ms, and whose group it is
 *           (shared_log.h).  The log writes it, when it knows them.  Of an order `first` is the
 *           position after the one that it stands behind.
 *     body  a format number and the number of events, as uint32_t; then for each event the bytes of
 *           its image as uint32_t, and the image (message.h), not sealed.  Without events the rest
 *           is the order: at least a byte, at most SHARED_LOG_ORDER_BYTES_MAX.  In the machine's
 *           own order: a node of the other order finds a format that it does not know.
 *
 * Ephemeral events stand between the stored ones at their place and take no position: each gets
 * that of the stored event before it, or the one before `first`.  One of a group at least is
 * stored.
 *
 * Other nodes may be of other versions and the log may be damaged, so reading trusts nothing: all
 * of an entry is as a gateway would have written it, or none of it counts.  Pure; any thread.
 */
#ifndef BUGLE_LOG_ENTRY_H
#define BUGLE_LOG_ENTRY_H

#include <stddef.h>
#include <stdint.h>

#include "cluster/shared_log.h"
#include "event/message.h"
#include "wire/sse.h"

#define LOG_ENTRY_FORMAT 1
/* Of a head as text, with a NUL. */
#define LOG_ENTRY_HEAD_BYTES (SSE_EPOCH_BYTES + 1 + 3 * 21 + SHARED_LOG_WRITER_BYTES)

struct log_entry_head {
    char epoch[SSE_EPOCH_BYTES + 1];
    char writer[SHARED_LOG_WRITER_BYTES];
    uint64_t first;
    int64_t at_ms;
    uint64_t seq; /* from 1 on */
};

/* An entry that was read. */
struct log_entry {
    struct log_entry_head head;
    size_t events_n;         /* 0: it is an order */
    size_t stored_n;         /* of them, MESSAGE_STORED; the others are MESSAGE_EPHEMERAL */
    struct message **events; /* a reference each; sealed, the first stored one at `head.first` */
    const char *order;       /* within the body that was read; NULL: it is none */
    size_t order_n;
};

enum log_entry_result {
    LOG_ENTRY_FINE,
    LOG_ENTRY_DAMAGED,
    LOG_ENTRY_FORMAT_UNKNOWN, /* a node of a later version wrote it */
    LOG_ENTRY_NO_MEMORY,
};

/* The bytes of a body with these events.  Each is MESSAGE_STORED or MESSAGE_EPHEMERAL, one at least
 * is stored. */
size_t log_entry_body_bytes(struct message *const *events, size_t events_n);

/* Write such a body.  None of the events is sealed.  `to` has room for log_entry_body_bytes(). */
void log_entry_write_body(char *to, struct message *const *events, size_t events_n);

/* The same of an order, with 1 to SHARED_LOG_ORDER_BYTES_MAX bytes. */
size_t log_entry_order_bytes(size_t order_n);
void log_entry_write_order(char *to, const char *order, size_t order_n);

/* For a log that writes heads itself; with a NUL.  Returns the bytes before it. */
size_t log_entry_write_head(char to[LOG_ENTRY_HEAD_BYTES], const struct log_entry_head *head);

/* Read a head alone. */
enum log_entry_result log_entry_read_head(const char *text, size_t text_n,
                                          struct log_entry_head *ret_head);

/*
 * Read an entry, all of it.  An order borrows the bytes of `from`.
 *
 * ret_entry  set with LOG_ENTRY_FINE, for log_entry_clear()
 */
enum log_entry_result log_entry_read(const struct shared_log_entry *from,
                                     struct log_entry *ret_entry);
void log_entry_clear(struct log_entry *entry);

#endif
