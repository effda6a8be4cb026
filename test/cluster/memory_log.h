/* SPDX-License-Identifier: MIT */
/*
 * A shared log in the memory of a test (shared_log.h), and the servers that hold it.  Servers lose
 * their tail, fork, forget and stall as the test says; nothing happens by itself: each request is
 * carried out, and each answer given, by memory_log_step().
 */
#ifndef BUGLE_MEMORY_LOG_H
#define BUGLE_MEMORY_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/shared_log.h"

#define MEMORY_WRITERS_MAX 64
#define MEMORY_SNAPSHOTS_MAX 6
#define MEMORY_LATE_MAX 8

struct memory_entry; /* counted */

/* The newest group of a writer. */
struct memory_writer {
    char name[SHARED_LOG_WRITER_BYTES];
    uint64_t seq;
    uint64_t first;
    uint64_t sub; /* of an order */
    int64_t at_ms;
};

/* What a server holds. */
struct memory_data {
    struct lineage *lineage; /* NULL: there is no log */
    uint64_t fence;          /* the life in which the term began */
    uint64_t head;
    uint64_t sub; /* orders behind it */
    uint64_t trimmed;
    int64_t at_ms;
    struct memory_entry **entries; /* those behind `trimmed` */
    size_t entries_n;
    struct memory_writer writers[MEMORY_WRITERS_MAX];
    size_t writers_n;
};

/* An append on its way, perhaps from a connection that is no more. */
struct memory_late {
    struct memory_entry *entry; /* without a place */
    char writer[SHARED_LOG_WRITER_BYTES];
    char epoch[SSE_EPOCH_BYTES + 1];
    uint64_t seq;
    uint32_t events_n;
};

struct memory_server {
    uint64_t life; /* changes with each; what master_replid is for Redis */
    bool is_master;
    bool is_full;
    int64_t now_ms;
    struct memory_data *data;
    struct memory_data *snapshots[MEMORY_SNAPSHOTS_MAX]; /* the oldest first */
    size_t snapshots_n;
    struct memory_late late[MEMORY_LATE_MAX];
    size_t late_n;
    /* an entry is stored; NULL: nobody wants to know.  Borrowed for the call */
    void (*stored)(void *arg, const struct shared_log_entry *entry);
    void *arg;
};

/* A server without a log. */
void memory_server_begin(struct memory_server *server, uint64_t life);
void memory_server_end(struct memory_server *server);

/* Another life: after a restart, a promotion. */
void memory_server_live(struct memory_server *server, uint64_t life);
/* Go back to the state before the last `n` changes, as far as they are remembered. */
void memory_server_lose(struct memory_server *server, size_t n);
void memory_server_wipe(struct memory_server *server);
void memory_server_copy(struct memory_server *to, const struct memory_server *from);
/* Forget all but the last `n` entries. */
void memory_server_trim(struct memory_server *server, size_t n);
/* Cut an entry short, the newest is 0; which nodes that have read it do not notice. */
void memory_server_damage(struct memory_server *server, size_t index, size_t at);
/* Show all that it holds. */
void memory_server_each(const struct memory_server *server,
                        void (*each)(void *arg, const struct shared_log_entry *entry), void *arg);
/* Take an entry out, as nobody of ours does. */
void memory_server_punch(struct memory_server *server, size_t index);
/* Carry out the oldest of what comes late. */
void memory_server_arrive(struct memory_server *server);

/* A node's log; not connected.  `writer` is copied. */
struct shared_log *memory_log_new(const char *writer, const struct shared_log_hooks *hooks);

/* Connect, in the place of any other: up(). */
void memory_log_connect(struct shared_log *log, struct memory_server *server);

/* The connection ends: down().  What was carried out without an answer is lost; what was not, is
 * lost too, and with `comes_late` may be carried out later. */
void memory_log_cut(struct shared_log *log, bool comes_late);
struct memory_server *memory_log_server(const struct shared_log *log); /* NULL: not connected */

/* Do the next thing: carry a request out, or else answer one.  Returns whether there was one. */
bool memory_log_step(struct shared_log *log);
/* Give the tail at most `entries_n` entries.  Returns whether there were any. */
bool memory_log_step_tail(struct shared_log *log, size_t entries_n);

#endif
