/* SPDX-License-Identifier: MIT */
/*
 * What can go wrong with a Redis, in classes that somebody can act upon: of the connection, and of
 * what the server answers.  Pure; any thread.
 */
#ifndef BUGLE_REDIS_FAULT_H
#define BUGLE_REDIS_FAULT_H

#include <stdbool.h>
#include <stddef.h>

enum redis_fault {
    REDIS_FINE,

    /* of the connection, which is over; whether a command was carried out is unknown */
    REDIS_CLOSED, /* by its owner */
    REDIS_UNRESOLVED,
    REDIS_REFUSED,
    REDIS_UNREACHABLE,
    REDIS_UNTRUSTED, /* TLS: the handshake or the certificate */
    REDIS_TIMEOUT,
    REDIS_LOST,
    REDIS_GARBLED,   /* what came is not the protocol, or nobody had asked */
    REDIS_TOO_LARGE, /* more than the connection may take */
    REDIS_NO_MEMORY, /* here */

    /* answers; nothing was carried out, but for NOREPLICAS and UNBLOCKED */
    REDIS_READONLY, /* a replica, or no longer the master */
    REDIS_LOADING,
    REDIS_MASTERDOWN,
    REDIS_CLUSTERDOWN,
    REDIS_MOVED,   /* names the server that has the key */
    REDIS_BUSY,    /* a script runs too long */
    REDIS_OOM,     /* maxmemory */
    REDIS_MISCONF, /* it cannot write its disk */
    REDIS_NOREPLICAS,
    REDIS_UNBLOCKED, /* its role changed while it waited */
    REDIS_NOAUTH,
    REDIS_WRONGPASS,
    REDIS_NOPERM,
    REDIS_NOSCRIPT,
    REDIS_WRONGTYPE,
    REDIS_UNKNOWN, /* the command, or a form of it */
    REDIS_ERROR,   /* any other */
};

/* The class of an error reply, also of one that a script passes on.  Borrows; any bytes. */
enum redis_fault redis_fault_of(const char *error, size_t error_n);

/* A word or two for the log. */
const char *redis_fault_text(enum redis_fault fault);

/* Whether the connection is over. */
bool redis_fault_is_end(enum redis_fault fault);

/* Whether another server may be the master now: ask again where it is. */
bool redis_fault_is_elsewhere(enum redis_fault fault);

#endif
