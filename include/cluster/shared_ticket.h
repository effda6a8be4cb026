/* SPDX-License-Identifier: MIT */
/*
 * Tickets that all nodes take: what the log keeps of each, and decides about it in one step, so
 * that a ticket has one live stream on all nodes together.  The rules are those of a single node
 * (auth/ticket_table.h), and test/auth/ticket_rules.h holds both to them; with two differences:
 *
 * - A use that is granted counts as a live stream at once, until its node says that it is over.
 *   When that word is lost, or the node is, the ticket goes on as one with a live stream, which the
 *   next use that shows an id takes over.
 * - A log may forget with a term (shared_log.h), as a node does with a restart.  A ticket that was
 *   made before the term began may be without a trace: then an id from after it was made will do.
 *   And ids beyond what its stream is known to have been sent will do as well.
 *
 * The node of a stream that was taken over is told by what it gave the log to say for that: within
 * the same step, so that only a node that is not connected does not hear it.  Such a node asks for
 * all its streams with tickets when it is back (SHARED_TICKET_LIVE).
 */
#ifndef BUGLE_SHARED_TICKET_H
#define BUGLE_SHARED_TICKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/sse.h"

/* Of a ticket's name: [A-Za-z0-9_-], with a NUL. */
#define SHARED_TICKET_NAME_BYTES 33
/* Of what is said to a node. */
#define SHARED_TICKET_SAY_BYTES_MAX 256
/* News in one question. */
#define SHARED_TICKET_NEWS_MAX 64

enum shared_ticket_verdict {
    SHARED_TICKET_GOOD,
    SHARED_TICKET_LATE,    /* the first use came too late, or its time is over */
    SHARED_TICKET_USED,    /* what was shown is no id that its stream could have sent */
    SHARED_TICKET_REVOKED, /* two fight over it */
};

/* A use that is asked for.  All times: wall clock. */
struct shared_ticket_use {
    char name[SHARED_TICKET_NAME_BYTES];
    uint64_t mark; /* by which the node knows this use from all others of its own; not 0 */
    int64_t made_ms;
    int64_t first_until_ms; /* its first use must come before this */
    int64_t until_ms;       /* its streams end here */
    uint64_t made_at;       /* the newest position when it was made */

    char epoch[SSE_EPOCH_BYTES + 1]; /* of the id that the client showed; empty: none */
    uint64_t position;               /* of that id */
    uint64_t from;                   /* its stream begins there, or behind */
    int64_t now_ms;                  /* 0: the clock of the log, which all nodes share */

    /* Said to this node (shared_log_say()) when another one takes the stream over.  Borrowed until
     * the answer; at most SHARED_TICKET_SAY_BYTES_MAX. */
    const char *say;
    size_t say_n;

    /* the answer */
    enum shared_ticket_verdict verdict;
    uint64_t older; /* also where it is refused: the use of this node that must go; 0: none */
};

/* What became of a use. */
struct shared_ticket_news {
    enum {
        SHARED_TICKET_OVER,  /* its stream is, or it came to none */
        SHARED_TICKET_LIVE,  /* its stream is live: is the ticket still this use's? */
        SHARED_TICKET_FORGET /* the node has too many: forget it, unless it has a live stream */
    } what;
    char name[SHARED_TICKET_NAME_BYTES];
    uint64_t mark;
    uint64_t position; /* OVER: the last that was sent; LIVE: where the stream began */
    int64_t until_ms;  /* LIVE: for a log that has lost it.  So is the next */
    const char *say;   /* as of the use */
    size_t say_n;

    bool is_ours; /* the answer, to LIVE; if not, the stream must go */
};

#endif
