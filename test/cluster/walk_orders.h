/* SPDX-License-Identifier: MIT */
/*
 * The judge of orders in a random walk (test_lineage_walk.c): it hears of each copy of an order
 * that a server stores, and of each that a gateway does.  An order is a number.
 */
#ifndef BUGLE_WALK_ORDERS_H
#define BUGLE_WALK_ORDERS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/log_entry.h"

#define WALK_NODES 3
#define WALK_COPIES_MAX 1024
#define WALK_VALUES_MAX 4096

/* An order at a place in some server's log, perhaps lost since. */
struct walk_copy {
    char epoch[SSE_EPOCH_BYTES + 1];
    uint64_t last, sub;
    unsigned value;
    bool is_harmed;           /* no gateway need have done it */
    bool excused[WALK_NODES]; /* nor need this one */
};

struct walk_orders {
    struct walk_copy copies[WALK_COPIES_MAX];
    size_t copies_n;
    uint8_t copies_of[WALK_VALUES_MAX];
    uint8_t done[WALK_NODES][WALK_VALUES_MAX]; /* by the process that runs now */
    uint64_t done_n;                           /* by all, of all runs */
};

static inline unsigned walk_value(const char *order, size_t order_n)
{
    char text[16] = "";

    memcpy(text, order, order_n < sizeof(text) ? order_n : sizeof(text) - 1);
    return (unsigned)strtoul(text, NULL, 10) % WALK_VALUES_MAX;
}

/* Of memory_server: it has stored an entry. */
static inline void walk_orders_stored(void *arg, const struct shared_log_entry *from)
{
    struct walk_orders *orders = arg;
    struct walk_copy *copy = &orders->copies[orders->copies_n];
    struct log_entry entry;

    if (from->sub == 0)
        return;
    if (orders->copies_n == WALK_COPIES_MAX || log_entry_read(from, &entry) != LOG_ENTRY_FINE)
        abort();
    *copy = (struct walk_copy){
        .last = from->last, .sub = from->sub, .value = walk_value(entry.order, entry.order_n)};
    strcpy(copy->epoch, entry.head.epoch);
    orders->copies_of[copy->value]++;
    orders->copies_n++;
    log_entry_clear(&entry);
}

static inline bool walk_orders_stood_at(const struct walk_orders *orders, unsigned value,
                                        uint64_t last)
{
    for (size_t i = 0; i < orders->copies_n; i++)
        if (orders->copies[i].value == value && orders->copies[i].last == last)
            return true;
    return false;
}

static inline bool walk_orders_must(const struct walk_copy *copy, size_t node)
{
    return !copy->is_harmed && !copy->excused[node];
}

/* Whether a gateway that was answered has done it, unless it could not. */
static inline bool walk_orders_is_done(const struct walk_orders *orders, size_t node,
                                       unsigned value)
{
    bool must = true;

    for (size_t i = 0; i < orders->copies_n; i++)
        if (orders->copies[i].value == value)
            must &= walk_orders_must(&orders->copies[i], node);
    return !must || orders->done[node][value] > 0;
}

/* A gateway does one, behind this position.  Returns what does not hold, or NULL. */
static inline const char *walk_orders_do(struct walk_orders *orders, size_t node, uint64_t last,
                                         const char *order, size_t order_n)
{
    unsigned value = walk_value(order, order_n);

    orders->done_n++;
    orders->done[node][value]++;
    if (!walk_orders_stood_at(orders, value, last))
        return "an order is done elsewhere than it stands";
    if (orders->done[node][value] > orders->copies_of[value])
        return "an order is done twice";
    return NULL;
}

/* What stood there so far, up to this position, is none of this gateway's. */
static inline void walk_orders_excuse(struct walk_orders *orders, size_t node, uint64_t last)
{
    for (size_t i = 0; i < orders->copies_n; i++)
        if (orders->copies[i].last <= last)
            orders->copies[i].excused[node] = true;
}

/* Another process of this gateway begins. */
static inline void walk_orders_restart(struct walk_orders *orders, size_t node)
{
    memset(orders->done[node], 0, sizeof(orders->done[node]));
    for (size_t i = 0; i < orders->copies_n; i++)
        orders->copies[i].excused[node] = false;
}

static inline struct walk_copy *walk_orders_find(struct walk_orders *orders,
                                                 const struct shared_log_entry *entry)
{
    struct log_entry_head head;

    if (log_entry_read_head(entry->head, entry->head_n, &head) != LOG_ENTRY_FINE)
        abort();
    for (size_t i = 0; i < orders->copies_n; i++)
        if (orders->copies[i].last == entry->last && orders->copies[i].sub == entry->sub &&
            strcmp(orders->copies[i].epoch, head.epoch) == 0)
            return &orders->copies[i];
    return NULL;
}

/* A server may no longer have this as it was stored. */
static inline void walk_orders_harmed(void *arg, const struct shared_log_entry *entry)
{
    struct walk_copy *copy = entry->sub > 0 ? walk_orders_find(arg, entry) : NULL;

    if (copy != NULL)
        copy->is_harmed = true;
}

#endif
