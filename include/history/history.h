/* SPDX-License-Identifier: MIT */
/*
 * The events that are kept for replay: an interface to a store (history_memory.h, sqlite_store.h).
 *
 * One thread at a time writes: the one that serves the hub's turn (hub.h), through history_append()
 * and history_trim(); below that is called the hub's.  Any thread reads, through history_read(), a
 * page at a time; a read may block, so workers' loops never call it (page_reader.h does, on threads
 * of its own).
 *
 * A position is a place in the order of commits; positions grow and are never used twice within
 * an epoch.  An epoch names one unbroken life of the store; lineage.h has the epochs before it.
 */
#ifndef BUGLE_HISTORY_H
#define BUGLE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/filter.h"
#include "event/message.h"
#include "history/lineage.h"

/* What a 201 promises; the words are on the wire. */
enum history_durability { HISTORY_MEMORY, HISTORY_DISK, HISTORY_REPLICATED };

/* What a store knows of the idempotency key that an event has. */
enum history_key {
    HISTORY_KEY_NEW,   /* not used within the window */
    HISTORY_KEY_SAME,  /* it came before, with the same content */
    HISTORY_KEY_OTHER, /* it came before, with other content */
};

struct history_bounds {
    uint64_t trimmed; /* everything up to here is gone; the oldest event is after it */
    uint64_t newest;  /* last committed position */
};

/* What one read found.  Owned by the caller: history_page_free(). */
struct history_page {
    uint64_t upto; /* all that the filter accepts up to this position is in here or came before */
    bool damaged;  /* but for what stood between the last event in here and `upto`: it is lost */
    size_t events_n;
    size_t bytes; /* of the frames */
    struct message *events[];
};

struct history_query {
    uint64_t after; /* the reader has seen everything up to here */
    uint64_t upto;  /* do not read past this position */
    const struct filter *filter;
    int64_t now_ms;   /* wall clock: events past their ttl are left out */
    size_t bytes_max; /* of frames; a page holds at least one event if there is one */
};

/* Looking for the place behind which the latest events of a filter stand: backwards, a bounded
 * number of events at a time. */
struct history_search {
    const struct filter *filter;
    int64_t now_ms; /* wall clock: events past their ttl are left out */
    uint64_t
        before;    /* from here on all is looked at; to begin with, what to look at nothing from */
    size_t left_n; /* so many are still to be found */
};

/* What a store holds. */
struct history_usage {
    size_t events_n;
    size_t bytes;
    size_t keys_n;
    size_t keys_early_n; /* keys forgotten before their window was over, ever */
};

/* A copy of the store, complete.  It is a prefix of the history, and marked: a store that is opened
 * from it begins a new epoch. */
struct history_backup {
    int fd; /* the file, which has no name any more; for history_backup_close() */
    uint64_t bytes;
    uint64_t newest; /* the last position in it */
};

struct history;

struct history_ops {
    int (*append)(struct history *history, struct message *const *events, size_t events_n,
                  int64_t now_ms);
    /* the next two are NULL where no order from outside is followed */
    int (*apply)(struct history *history, struct message *const *events, size_t events_n);
    int (*truncate)(struct history *history, uint64_t after, struct lineage *lineage);
    int (*read)(struct history *history, const struct history_query *query,
                struct history_page **ret_page);
    int (*find_key)(struct history *history, const struct message *message, int64_t now_ms,
                    uint64_t *ret_position);
    bool (*claim)(struct history *history, size_t events_n); /* may be NULL, as may the next two */
    void (*unclaim)(struct history *history);
    void (*settle)(struct history *history);
    void (*adopt)(struct history *history); /* and this one */
    bool (*trim)(struct history *history, int64_t now_ms);
    void (*watch)(struct history *history); /* NULL where nothing can come between */
    void (*bounds)(struct history *history, struct history_bounds *ret_bounds);
    uint64_t (*find_time)(struct history *history, int64_t since_ms);
    int (*search)(struct history *history, struct history_search *search);
    void (*usage)(struct history *history, struct history_usage *ret_usage);
    /* the next three are NULL where nothing is on disk */
    int (*backup_begin)(struct history *history);
    int (*backup_step)(struct history *history, struct history_backup *ret_backup);
    void (*backup_end)(struct history *history);
    /* and these; a store that no other process can have knows no hand-over */
    int (*release)(struct history *history);
    int (*reclaim)(struct history *history);
    void (*follow)(struct history *history, uint64_t newest);
    void (*free)(struct history *history);
};

/* What keeps events from being stored. */
enum history_trouble {
    HISTORY_FINE,
    HISTORY_NO_ROOM,   /* beside the disk's reserve */
    HISTORY_NO_MEMORY, /* for the last commit */
    HISTORY_GONE,      /* the file is not in its place */
    HISTORY_DAMAGED,   /* where the next event would be stored */
    HISTORY_FAILED,    /* until a restart: it is unknown what reached the disk */
};

/* First member of every store. */
struct history {
    const struct history_ops *ops;
    enum history_durability durability;
    _Atomic uint64_t disk_reserve; /* history_set_reserve() */
    _Atomic enum history_trouble trouble;
    _Atomic uint64_t free_bytes;  /* on the disk, and what a commit asked for, as of the last */
    _Atomic uint64_t asked_bytes; /* look; 0: never looked */
    _Atomic(struct lineage *) lineage; /* history_lineage() */
};

/* Bounds of a store's content; the tightest one counts. */
struct history_limits {
    int64_t age_max_ms;
    size_t events_max;
    size_t bytes_max;
    int64_t key_window_ms; /* how long an idempotency key is remembered */
    size_t keys_max;       /* the oldest go first */
};

/*
 * Commit events, all or none, in their order, and seal each (message_seal).  When it returns 0 the
 * events are as safe as `durability` says, and their idempotency keys with them.  All are
 * MESSAGE_STORED, and no two have the same key.  The store takes references of its own.
 *
 * Returns 0, -ENOMEM, -ENOSPC, -ESTALE (the store's file is not in its place), or -errno of the
 * store; then nothing was stored and nothing was sealed.  Thread: the hub's.
 */
int history_append(struct history *history, struct message *const *events, size_t events_n,
                   int64_t now_ms);

/*
 * Commit events that another order has given their places and times (message_seal): the first
 * stands right behind the newest here, and there is no hole.  All or none, with their idempotency
 * keys.  That order is what makes them safe, so a store on disk need not: after a loss of power its
 * newest events may be missing, in their order.
 *
 * Returns 0, -EINVAL: not the next events, -ENOTSUP: this store follows nobody; else as
 * history_append().  Thread: the hub's.
 */
int history_apply(struct history *history, struct message *const *events, size_t events_n);

/*
 * Forget all after a position, with the idempotency keys of those events, and go on under another
 * lineage: both or neither.  A position beyond the newest forgets everything, and the next event is
 * the one behind it.
 *
 * lineage  taken, also when it fails
 *
 * Readers may have pages with what is gone; who follows tells their clients.  Returns 0, -ENOMEM,
 * -ENOTSUP, or -errno of the store.  Costs as much as what is forgotten.  Thread: the hub's.
 */
int history_truncate(struct history *history, uint64_t after, struct lineage *lineage);

/*
 * The epoch with the terms before it, and the epoch alone, with a NUL.  They change together, by
 * history_truncate(), and what was returned stays good until the store is freed.  Any thread.
 */
const struct lineage *history_lineage(const struct history *history);
const char *history_epoch(const struct history *history);

/*
 * Look up the idempotency key of an event that is not stored yet.
 *
 * ret_position  set when the key is known: of the event that came with it, which may be forgotten
 *               by now
 *
 * Returns one of enum history_key, or -errno of the store.  Thread: the hub's.
 */
int history_find_key(struct history *history, const struct message *message, int64_t now_ms,
                     uint64_t *ret_position);

/*
 * Whether so many events can be appended now without waiting, be it for a disk, for a reader or for
 * much work: then readers wait until history_unclaim(), and one history_append() with what it looks
 * up before it keeps a loop from nothing.  A store on disk always says no.  Thread: the hub's.
 */
bool history_claim(struct history *history, size_t events_n);
void history_unclaim(struct history *history);

/*
 * How much room appends leave on the disk for others, bytes; 0, as at first, is none.  Without it
 * and room for themselves they return -ENOSPC before they write anything; forgetting and reading go
 * on.  A store without a disk does not care.  Any thread; from the next append on.
 */
void history_set_reserve(struct history *history, uint64_t bytes);

/*
 * Read the next page.  A page may be empty and still have made progress (`upto`): a read looks at
 * a bounded number of events.  A page ends at damage, and the next read goes on behind it.
 *
 * ret_page  given on success
 *
 * Returns 0, -ESTALE when `after` is no longer readable because what follows it was trimmed,
 * -ENOMEM, or -errno of the store.  Any thread; may block.
 */
int history_read(struct history *history, const struct history_query *query,
                 struct history_page **ret_page);
/* For a store to fill; NULL when out of memory. */
struct history_page *history_page_new(uint64_t after, size_t events_max);
void history_page_free(struct history_page *page); /* accepts NULL */

/* Do what appends leave behind and what may wait until they are answered.  Cheap when there is
 * nothing to do.  Thread: the hub's, after appends and trims. */
void history_settle(struct history *history);

/* No earlier version of the program can have the store back from now on: bring what it has on disk
 * into the present format.  The first append does that too, as does a later one if it fails, which
 * is in the log.  Thread: the hub's, or the main one before there is a hub. */
void history_adopt(struct history *history);

/* Forget what is past the limits: one step, whose cost is bounded by what was appended since the
 * last one.  Returns whether there is more to do at once.  Thread: the hub's, some times a second.
 */
bool history_trim(struct history *history, int64_t now_ms);

/* See whether events can still be stored, and say so in the log and in `trouble` when that has
 * changed.  Cheap.  Thread: the hub's, four times a second; the main one before there is a hub. */
void history_watch(struct history *history);

/* What keeps events from being stored, as of the last append or look.  Any thread. */
enum history_trouble history_trouble(const struct history *history);

/* What can be read now.  Any thread; does not block on reads or writes of events. */
void history_bounds(struct history *history, struct history_bounds *ret_bounds);

/* The position after which the first event not older than `since_ms` (wall clock) stands.  Any
 * thread. */
uint64_t history_find_time(struct history *history, int64_t since_ms);

/*
 * Go on with a search.
 *
 * Returns 1: there is more to look at, of which others may have a turn first; 0: who reads after
 * `before - 1` gets the latest so many events, or all there are, and what has come since; or
 * -ENOMEM, or -errno of the store.  At damage that cannot be passed a search ends, so that this
 * reader is told.  Any thread; may block.
 */
int history_search(struct history *history, struct history_search *search);

/* What it holds. */
void history_usage(struct history *history, struct history_usage *ret_usage);

/*
 * Make a copy of the store beside it, in steps of bounded cost between appends and trimming: one
 * copy at a time.  What is appended until the last step is in it.
 *
 * history_backup_begin() returns 0 and steps may follow; -ENOTSUP: this store has nothing on disk;
 * -ENOSPC: there is no room for a copy; -ENOMEM, -EIO.
 *
 * history_backup_step() returns 1: there is more to do; 0: `ret_backup` is filled and nothing is
 * under way any more; -ENOSPC, -ENOMEM or -EIO: as if there never had been a copy.  The store
 * itself is not harmed by any of these.
 *
 * history_backup_end() gives up the one under way, if there is one, and leaves nothing of it.
 *
 * Thread: the hub's.
 */
int history_backup_begin(struct history *history);
int history_backup_step(struct history *history, struct history_backup *ret_backup);
void history_backup_end(struct history *history);

/* Give the file of a copy up, on a thread made for it: the kernel takes a tenth of a second and
 * more to free the pages of a large file.  Any thread. */
void history_backup_close(int fd);

/*
 * Give the store up, so that another process can open it, and take it back.  In between nothing is
 * appended, trimmed, settled or copied, while reading goes on; history_follow() tells the readers
 * in this process what the other one has appended.
 *
 * history_release() returns 0; -ENOTSUP: no other process could have it; or -errno, and it is still
 * here.  history_reclaim() waits some seconds for the other process to let go and returns 0 or
 * -errno; after an error every append fails.  Thread: the hub's, but for history_follow(): any.
 */
int history_release(struct history *history);
int history_reclaim(struct history *history);
void history_follow(struct history *history, uint64_t newest);

/* Its word on the wire, and that of a store. */
const char *history_durability_word(enum history_durability durability);
const char *history_durability_text(const struct history *history);

void history_free(struct history *history); /* accepts NULL; no reader may be left */

/* For a store: its lineage from now on, which is taken.  Thread: the hub's. */
void history_set_lineage(struct history *history, struct lineage *lineage);

/* For a store that ends: free every lineage that it had. */
void history_free_lineage(struct history *history);

/* Draw a new epoch: SSE_EPOCH_BYTES of [0-9a-z] from the kernel's random source, and a NUL.
 * Returns 0 or -errno. */
int history_draw_epoch(char *to);

#endif
