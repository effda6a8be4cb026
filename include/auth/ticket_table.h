/* SPDX-License-Identifier: MIT */
/*
 * The state of each ticket: one table that all workers share, behind a lock that is held for a
 * look-up.
 *
 * A ticket has one live stream.  Its first use must come within its ttl and needs no id.  Every
 * later one must show the id of an event that its stream could have sent last: from the place where
 * the stream began up to what was last sent on it, or, while it is still live, to the newest event.
 * The later use then takes over.  Within five seconds of the first use a later one needs no id
 * either, if there is no live stream.  A ticket that two clients take from each other again and
 * again (TICKET_TABLE_TAKEOVERS_MAX times in a minute, where those within 0.2 s are one) is no good
 * any more.
 *
 * A use is granted in one step, and from then on counts as live until ticket_table_opened() and
 * ticket_table_closed(), or ticket_table_failed(), so however many come at once there is one
 * stream.
 *
 * The number of used tickets that are remembered is limited: per user, per signing key (half of
 * that for tickets without a user), and in total.  Beyond a limit the entry whose stream ended
 * longest ago is forgotten.  A ticket without an entry is too late once its ttl has passed, so
 * forgetting an entry makes no ticket valid again.  When no entry may be forgotten, the new use is
 * refused.  Beyond the total, the key with most entries loses one.  Costs: the logarithm of the
 * entries, and beyond the total a look at each key.
 *
 * Where several nodes take the same tickets the log decides about uses (cluster/shared_ticket.h),
 * and the table has the limits, which are a node's own, and knows which stream a use has become:
 * see ticket_table_share().
 *
 * The table is lost in a restart.  Then a ticket that was made before it is taken within its ttl,
 * or after that with an id from after it was made.
 */
#ifndef BUGLE_TICKET_TABLE_H
#define BUGLE_TICKET_TABLE_H

#include "auth/ticket.h"
#include "conf/conf.h"

#define TICKET_TABLE_TAKEOVERS_MAX 5
#define TICKET_TABLE_FORGOTTEN_MAX 5

struct ticket_table;

enum ticket_table_verdict {
    TICKET_TABLE_GOOD,
    TICKET_TABLE_LATE, /* the first use came too late, or its time is over */
    TICKET_TABLE_USED, /* it was used, and what was shown is no id that its stream could have sent
                        */
    TICKET_TABLE_REVOKED,   /* two fight over it */
    TICKET_TABLE_USER_FULL, /* no room to note it: its user has too many that may not be forgotten
                             */
    TICKET_TABLE_KEY_FULL,  /* the same for the key that it was made with */
    TICKET_TABLE_FULL,      /* the same for all, and out of memory */
};

struct ticket_table_limits {
    size_t all;
    size_t per_user; /* 0: no limit */
    size_t per_key;  /* 0: no limit */
};

/* A use that is asked for. */
struct ticket_table_use {
    int64_t now_ms;
    bool has_id;        /* the client showed an id of this history */
    uint64_t position;  /* of that id */
    uint64_t committed; /* the newest position */
    const struct ticket_table_limits *limits;
};

/* What comes with a verdict. */
struct ticket_table_answer {
    uint64_t older;       /* the live stream that must go, whose end the caller brings; 0: none */
    int64_t wait_ms;      /* of a table that is full: when to try again */
    unsigned forgotten_n; /* entries that went for this one, */
    unsigned char forgotten[TICKET_TABLE_FORGOTTEN_MAX][TICKET_ID_BYTES]; /* of these tickets */
};

/* NULL when out of memory. */
struct ticket_table *ticket_table_new(int64_t now_ms);
void ticket_table_free(struct ticket_table *table); /* accepts NULL */

/* Ask for a use and note it.  With TICKET_TABLE_GOOD the caller goes on to ticket_table_opened() or
 * ticket_table_failed(). */
enum ticket_table_verdict ticket_table_enter(struct ticket_table *table,
                                             const struct ticket *ticket,
                                             const struct ticket_table_use *use,
                                             struct ticket_table_answer *ret_answer);

/* The use became this stream, which began at this position; it became none; the stream ended, and
 * this was the last position sent. */
void ticket_table_opened(struct ticket_table *table, const unsigned char *id, uint64_t stream_id,
                         uint64_t position);
void ticket_table_failed(struct ticket_table *table, const unsigned char *id, int64_t now_ms);
void ticket_table_closed(struct ticket_table *table, const unsigned char *id, uint64_t stream_id,
                         uint64_t position, int64_t now_ms);

/* ---- among several nodes, in the place of the functions above ---- */

/* A use that is a stream. */
struct ticket_table_live {
    unsigned char id[TICKET_ID_BYTES];
    uint64_t mark;
    uint64_t from; /* where its stream began */
    int64_t until_ms;
};

/*
 * Ask for a use as far as limits go, and note it; then the log is to be asked.  TICKET_TABLE_GOOD,
 * _LATE, or one of the limits.
 *
 * ret_mark  names the use in this table, and in the log; ticket_table_left() must follow
 */
enum ticket_table_verdict ticket_table_share(struct ticket_table *table,
                                             const struct ticket *ticket,
                                             const struct ticket_table_use *use,
                                             struct ticket_table_answer *ret_answer,
                                             uint64_t *ret_mark);

/* The log has granted it. */
void ticket_table_granted(struct ticket_table *table, uint64_t mark);

/* It became this stream, which began at this position.  Returns whether it still has the ticket:
 * else the stream has to end. */
bool ticket_table_begun(struct ticket_table *table, uint64_t mark, uint64_t stream_id,
                        uint64_t position);

/* Another use has the ticket now.  Returns the stream that has to end; 0: it is none yet, or is not
 * known any more. */
uint64_t ticket_table_taken(struct ticket_table *table, uint64_t mark);

/* The use was refused, came to nothing, or its stream is over. */
void ticket_table_left(struct ticket_table *table, uint64_t mark, int64_t now_ms);

/* The next streams that this was not called for in this round.  Returns how many: 0 is the end of
 * the round.  A round has a number of its own; streams that begin meanwhile are no part of it. */
size_t ticket_table_next_live(struct ticket_table *table, unsigned round,
                              struct ticket_table_live *to, size_t max);

/* ---- both ---- */

/* How many are remembered, when those that are over have been forgotten. */
size_t ticket_table_count(struct ticket_table *table, int64_t now_ms);

#endif
