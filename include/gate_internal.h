/* SPDX-License-Identifier: MIT */
/* What the files of the gate share: gate.c and gate_proxy.c. */
#ifndef BUGLE_GATE_INTERNAL_H
#define BUGLE_GATE_INTERNAL_H

#include <event2/event_struct.h>
#include <stdbool.h>

#include "gate.h"
#include "log.h"

enum place {
    AT_DOOR, /* the first head is awaited; the descriptor is the gate's */
    INSIDE,  /* a cell has the connection and works on a request */
    RESTING, /* a cell has it, and nothing of a next request is there */
    SPEAKING /* a cell has it, and the next head is under way */
};

struct visitor {
    struct cell_guest guest;
    struct gate *gate;
    struct event readable;
    int fd;
    enum place place;
    bool watched;
    bool arrived;     /* in the list of those that nobody has looked at */
    bool proxied;     /* a PROXY header is to come first */
    bool stirred;     /* something came while a cell worked */
    size_t looked_at; /* bytes of an incomplete head that were gone through */
    int64_t since_ms; /* it is in this place */
    int64_t until_ms;
    struct sockaddr_storage address;
    socklen_t address_n;
    TAILQ_ENTRY(visitor) link; /* AT_DOOR and SPEAKING: in `heads`; RESTING: in `resting` */
    TAILQ_ENTRY(visitor) in_arrived;
};

TAILQ_HEAD(visitors, visitor);

struct gate {
    struct worker *worker;
    struct cells *cells;
    struct linger_pool *linger;
    struct admission *admission;
    size_t heads_n;
    size_t resting_n;
    size_t inside_n;
    struct visitors heads; /* the oldest first */
    struct visitors resting;
    TAILQ_HEAD(, visitor) arrived; /* of those at the door, whom to look at for the first time */
    struct worker_job job;
    bool closing;
    struct log_valve valve;
    struct log_valve proxy_valve;
    size_t peek_bytes;
    char peek[];
};

/* Close without a word.  Whom a cell has it closes itself, which takes no further descriptor. */
void gate_drop(struct visitor *visitor);

/* Read the PROXY header off the socket.  Returns whether it is gone and the visitor still there. */
bool gate_take_proxy_header(struct visitor *visitor, bool may_grow);

/* Drop a visitor for want of one; `why` goes into the log. */
void gate_refuse_proxy(struct visitor *visitor, const char *why);

#endif
