/* SPDX-License-Identifier: MIT */
/*
 * What became of each ticket: the one table that all workers share, behind a lock that is held for
 * a look-up.
 *
 * A ticket has one live stream.  Its first use must come within its ttl and needs no id.  Every
 * later one must show the id of an event that its stream could have sent last: from the place where
 * the stream began up to what was last sent on it, or, while it is still live, to the newest event.
 * The later use then takes over.  A ticket that two clients take from each other again and again
 * (TICKETS_FIGHTS_MAX times in a minute) is no good any more.
 *
 * The table is lost in a restart.  Then a ticket that was made before it is taken within its ttl,
 * or after that with an id from after it was made.
 */
#ifndef BUGLE_TICKETS_H
#define BUGLE_TICKETS_H

#include "conf.h"
#include "ticket.h"

#define TICKETS_FIGHTS_MAX 5

struct tickets;

enum tickets_verdict {
    TICKETS_GOOD,
    TICKETS_LATE,    /* the first use came too late, or its time is over */
    TICKETS_USED,    /* it was used, and what was shown is no id that its stream could have sent */
    TICKETS_REVOKED, /* two fight over it */
    TICKETS_FULL,    /* no room to note it */
};

/* A use that is asked for. */
struct tickets_use {
    int64_t now_ms;
    bool has_id;        /* the client showed an id of this history */
    uint64_t position;  /* of that id */
    uint64_t committed; /* the newest position */
    size_t tickets_max; /* that may be noted */
};

/* key  TICKET_KEY_BYTES; copied.  NULL when out of memory. */
struct tickets *tickets_new(const unsigned char *key, int64_t now_ms);
void tickets_free(struct tickets *tickets); /* accepts NULL */

const unsigned char *tickets_key(const struct tickets *tickets);

/* Ask for a use and note it.  `*ret_older` is the id of the live stream that it takes the place of,
 * 0 for none; the caller has that end. */
enum tickets_verdict tickets_enter(struct tickets *tickets, const struct ticket *ticket,
                                   const struct tickets_use *use, uint64_t *ret_older);

/* The use became this stream, which began at this position; it ended, and this was the last
 * position sent. */
void tickets_opened(struct tickets *tickets, const unsigned char *id, uint64_t stream_id,
                    uint64_t position);
void tickets_closed(struct tickets *tickets, const unsigned char *id, uint64_t stream_id,
                    uint64_t position);

size_t tickets_count(struct tickets *tickets);

/* The key of a store's tickets, from a file beside it that is made if it is not there; a random one
 * for a store without a file.  A file that holds no key is set aside with a warning in the log, and
 * replaced.  Returns 0, or -errno with what to do about it.  Blocks. */
int tickets_read_key(const char *store, unsigned char to[TICKET_KEY_BYTES],
                     struct conf_error *ret_error);

#endif
