/* SPDX-License-Identifier: MIT */
/*
 * The log that several gateways share, as a gateway (a node) sees it: an interface to
 * implementations (redis_log.h; for tests, test/cluster/memory_log.h).
 *
 * The log gives order and durability.  An entry is one group of events that are stored together;
 * positions are without holes, so an entry is named by its last position.  Or it is an order:
 * something that every node is to do, which takes no position and is named by the position that it
 * stands behind and which one it is there.  Each node follows the whole log into a history of its
 * own (log_follower.h) and serves all reading from there.
 *
 *     entry    events 1-3   events 4-4   order   order   events 5-9   order
 *     last     3            4            4       4       9            9
 *     sub      0            0            1       2       0            1
 *
 *     open --> up --> attach --> tail, append ... --> down --> (by itself) up --> attach ...
 *                        ^           |
 *                        +-- ended --+
 *
 * Everything here belongs to one thread, whose loop the implementation uses.  Hooks are called from
 * that loop, never from within a function below, and may call every function but
 * shared_log_free().  What a hook gets is borrowed for the call unless it says otherwise.
 *
 * Nothing waits: what a function begins is answered through a hook or a callback exactly once, and
 * no later than the implementation's deadline (cluster.timeout), also when the server is stopped,
 * cut off or gone.  Deadlines and times are milliseconds.  The implementation finds the server,
 * connects, checks it, renews the lease of this node and trims the log by itself, and tries again
 * by itself until it is freed.
 */
#ifndef BUGLE_SHARED_LOG_H
#define BUGLE_SHARED_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "history/lineage.h"
#include "wire/sse.h"

struct shared_ticket_news;
struct shared_ticket_use;

/* Of one group: what is more waits for the next, unless one operation alone is larger. */
#define SHARED_LOG_EVENTS_MAX 8192
#define SHARED_LOG_BYTES_MAX ((size_t)262144)
#define SHARED_LOG_KEYS_MAX 1000
#define SHARED_LOG_ORDER_BYTES_MAX 4096 /* of one order, before log_entry_write_order() */
/* Of a key: XXH3-128 of the idempotency key with the scope of its publisher. */
#define SHARED_LOG_KEY_BYTES 16
/* "node.incarnation" of [A-Za-z0-9._-], with a NUL; no '.' in the incarnation */
#define SHARED_LOG_WRITER_BYTES 97
#define SHARED_LOG_NODE_BYTES 65 /* with a NUL */
#define SHARED_LOG_POSITION_MAX (((uint64_t)1 << 53) - 1)

/* How something ended. */
enum shared_log_outcome {
    SHARED_LOG_DONE,

    /* Nothing was stored: */
    SHARED_LOG_TERM,        /* the term that was attached is over, or the log is gone: attach */
    SHARED_LOG_KEYS,        /* keys are taken, see shared_log_appended; take those events out */
    SHARED_LOG_FULL,        /* the server has no room, in memory or on its disk */
    SHARED_LOG_UNREACHABLE, /* it could not be asked, or will not store now (no replica, busy) */
    SHARED_LOG_REFUSED,     /* it will not do until somebody changes something; see `line` */

    /* It is stored, but */
    SHARED_LOG_SEEN,        /* had been before: an earlier answer got lost */
    SHARED_LOG_UNCONFIRMED, /* not by all that the promise names: send it again to ask again */

    /* It is unknown whether it was stored: attach and send it again with the same seq, which tells;
     * the group is settled then (log_follower.h). */
    SHARED_LOG_LOST,

    SHARED_LOG_DAMAGED,   /* what stands there is no log of ours */
    SHARED_LOG_NO_MEMORY, /* here; nothing was done */
};

/* A node, as it attaches.  All borrowed for the call. */
struct shared_log_node {
    const struct lineage *lineage; /* of its history */
    uint64_t newest;               /* the newest position there, 0: none */
    int64_t newest_ms;             /* the latest time of its events, 0: none */
    const char *epoch_new;         /* a fresh one, should a term begin now; with a NUL */
};

/* The log, as somebody has attached to it. */
struct shared_log_state {
    struct lineage *lineage; /* given: the receiver's, for free() or history_truncate() */
    uint64_t head;           /* the last position */
    uint64_t trimmed;        /* what stands up to here is gone; at most `head` */
    int64_t at_ms;           /* the time of the last entry */
    int64_t now_ms;          /* the server's clock, which gives entries their time */
};

/* A key of a group to append. */
struct shared_log_key {
    unsigned char name[SHARED_LOG_KEY_BYTES];
    const char *digest; /* MESSAGE_DIGEST_BYTES of the event */
    uint32_t index;     /* of the event among those that take a position, from 0 */
};

/* A group to append.  All of it is borrowed until its answer. */
struct shared_log_group {
    uint64_t seq;      /* of this node: 1, 2, 3 ...; sent again with the same number */
    uint32_t events_n; /* that take a position; 0: `body` is an order, and there are no keys */
    const char *body;  /* log_entry_write_body(), log_entry_write_order() */
    size_t body_n;
    const struct shared_log_key *keys;
    size_t keys_n;
};

/* A key that was taken before. */
struct shared_log_taken {
    size_t key; /* which of the group's keys */
    const char *digest;
    size_t digest_n;
    uint64_t position; /* of the event that came with it */
};

/* The answer to a group. */
struct shared_log_appended {
    uint64_t seq;
    enum shared_log_outcome outcome;
    const char *line; /* for the operator: what the server said; empty where there is nothing */
    /* DONE, SEEN, UNCONFIRMED: the log's epoch, the position of its first event, and the time of
     * all of them.  Of an order `first` is the position after the one that it stands behind, and
     * `sub` which one it is there, from 1. */
    char epoch[SSE_EPOCH_BYTES + 1];
    uint64_t first;
    uint64_t sub;
    int64_t at_ms;
    const struct shared_log_taken *taken; /* KEYS */
    size_t taken_n;
};

/* An entry as it stands there, not checked. */
struct shared_log_entry {
    uint64_t last; /* by its name: the position of its last event, */
    uint64_t sub;  /* or which order it is behind that one, from 1; 0: it is none */
    const char *head;
    size_t head_n;
    const char *body;
    size_t body_n;
};

enum shared_log_question_kind {
    SHARED_LOG_ASK_HEAD,    /* where the log stands now, and who has a lease */
    SHARED_LOG_ASK_NODES,   /* who has a lease */
    SHARED_LOG_ASK_TICKET,  /* whether a ticket may be used; it is, if so */
    SHARED_LOG_ASK_TICKETS, /* no question: what became of uses */
};

/*
 * A question to the log.  The caller owns it and leaves it alone from shared_log_ask() to its
 * answer, in which it may free it.  `answered` comes exactly once; what is behind `outcome` is set
 * when that is SHARED_LOG_DONE.
 */
struct shared_log_question {
    enum shared_log_question_kind kind;
    void (*answered)(struct shared_log_question *question);

    /* Borrowed until the answer, which is written there (shared_ticket.h).  With an outcome that
     * leaves open whether something was stored, the use may be granted: it is over then. */
    struct shared_ticket_use *use;   /* TICKET */
    struct shared_ticket_news *news; /* TICKETS: 1 to SHARED_TICKET_NEWS_MAX */
    size_t news_n;

    /* the answer */
    enum shared_log_outcome outcome;
    char epoch[SSE_EPOCH_BYTES + 1]; /* HEAD; is it another one than that of the node: `ended` */
    uint64_t head;                   /* HEAD: an id up to here is no id of the future */
    int64_t now_ms;                  /* HEAD: the clock of its server */
    const char *const *nodes;        /* HEAD, NODES: names; borrowed for the call */
    size_t nodes_n;

    struct shared_log_question *next; /* the implementation's own use */
};

struct shared_log_hooks {
    /* A server is found, checked, and ours: attach.  After shared_log_open() and each `down`. */
    void (*up)(void *arg);

    /*
     * No server, from now on or still.  Called when that begins and when the reason changes.  What
     * was under way has been answered; the tail is over.
     *
     * why   SHARED_LOG_UNREACHABLE or SHARED_LOG_REFUSED
     * line  for the operator, empty or what the system or the server said
     */
    void (*down)(void *arg, enum shared_log_outcome why, const char *line);

    /* The answer to shared_log_attach().  `state` is set with SHARED_LOG_DONE, else NULL; others
     * are UNREACHABLE, LOST (a term may have begun, which does no harm), FULL, DAMAGED, NO_MEMORY.
     */
    void (*attached)(void *arg, enum shared_log_outcome outcome, struct shared_log_state *state,
                     const char *line);

    /* The answer to shared_log_append(), before or after the tail has brought the entry.  With
     * SHARED_LOG_DONE the promise (cluster.promise) is kept. */
    void (*appended)(void *arg, const struct shared_log_appended *appended);

    /* The next entries of the tail, in the order of the log and none left out that is still there.
     * Returns whether to go on; if not, the tail is over, as after shared_log_tail_end(). */
    bool (*entries)(void *arg, const struct shared_log_entry *entries, size_t entries_n);

    /* The term that was attached is over, or the log is gone.  The tail goes on until the node
     * attaches.  May come more than once, and may never come: the epoch of each entry tells too. */
    void (*ended)(void *arg);

    /* What a node said; any bytes, also from nodes of another version.  What is said may be lost,
     * and is never doubled. */
    void (*heard)(void *arg, const char *bytes, size_t bytes_n);

    void *arg;
};

struct shared_log;

struct shared_log_ops {
    void (*open)(struct shared_log *log);
    int (*attach)(struct shared_log *log, const struct shared_log_node *node);
    int (*tail)(struct shared_log *log, uint64_t after, uint64_t sub);
    void (*tail_end)(struct shared_log *log);
    int (*append)(struct shared_log *log, const struct shared_log_group *group);
    int (*say)(struct shared_log *log, const char *to, const char *bytes, size_t bytes_n);
    void (*ask)(struct shared_log *log, struct shared_log_question *question);
    void (*free)(struct shared_log *log);
};

/* First member of every implementation. */
struct shared_log {
    const struct shared_log_ops *ops;
    struct shared_log_hooks hooks;
};

/* Begin; up() or down() follows.  Once, when the node can be called. */
void shared_log_open(struct shared_log *log);

/*
 * Make this node one that follows: if there is no log, it is made from what the node has; if the
 * server lives another life than the one in which the term began, that term ends where the log is
 * now, and another begins with `epoch_new`.  attached() follows.  The node then cuts off what the
 * lineage does not allow.  A tail that is under way is over.  An append that is under way is
 * carried out, or not, before this, and appended() comes before attached().
 *
 * Returns 0; -ENOTCONN: it is down; -EBUSY: one is under way; -ENOMEM.  Then nothing follows.
 */
int shared_log_attach(struct shared_log *log, const struct shared_log_node *node);

/*
 * Give everything behind a place, now and as it comes, through entries(), until the log is down,
 * attach is called or entries() says no.  The first one begins behind that if it is still there:
 * else it begins later, which is for the node to see.
 *
 * after  a position
 * sub    behind so many of the orders that follow it; UINT64_MAX: behind all of them
 *
 * Returns 0; -ENOTCONN: it is down or not attached; -EBUSY: there is a tail; -ENOMEM.
 */
int shared_log_tail(struct shared_log *log, uint64_t after, uint64_t sub);
void shared_log_tail_end(struct shared_log *log); /* also without one */

/*
 * Append a group, all or nothing, at most once for each seq of this writer, and only in the term
 * that this node has attached to.  appended() follows.  One at a time, so that groups cannot
 * overtake each other.  A group whose seq is lower than one that was appended is `seen`.
 *
 * Returns 0; -ENOTCONN: it is down or not attached; -EBUSY: one is under way; -ENOMEM; -EFBIG: more
 * than the log can hold in one entry.  Then nothing was stored, and nothing follows.
 */
int shared_log_append(struct shared_log *log, const struct shared_log_group *group);

/*
 * Say something to all nodes, this one included, or to one: heard() there.  It may get lost, and
 * nobody is told then.
 *
 * to  the name of a node; NULL: all
 *
 * Returns 0: it is on its way; -ENOTCONN; -ENOBUFS: too much is; -ENOMEM.
 */
int shared_log_say(struct shared_log *log, const char *to, const char *bytes, size_t bytes_n);

/* Ask; the answer comes through the question, while the log is down with SHARED_LOG_UNREACHABLE. */
void shared_log_ask(struct shared_log *log, struct shared_log_question *question);

/* End.  Questions are answered with SHARED_LOG_LOST, from within; no hook is called any more, a
 * group under way is nobody's.  Accepts NULL.  Not from within a hook or an answer. */
void shared_log_free(struct shared_log *log);

/* A word or two for the log. */
const char *shared_log_outcome_text(enum shared_log_outcome outcome);

/* Whether nothing was stored, for sure. */
bool shared_log_is_nothing(enum shared_log_outcome outcome);

#endif
