/* SPDX-License-Identifier: MIT */
/*
 * What there is to know of a path and a method before its handler is called.  The table of them is
 * in routes.c, and nothing else decides by path.
 */
#ifndef BUGLE_ROUTE_H
#define BUGLE_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "http/parameters.h"
#include "http/request.h"

/* What the caller of a route needs with auth.mode=token.  Zero is the most, so that a route that
 * names nothing is closed. */
enum route_right {
    ROUTE_ADMIN,   /* the admin right */
    ROUTE_PUBLISH, /* a right to publish something; each event is checked once it is read */
    ROUTE_READ,    /* a right to read something, or none where auth.anonymous has patterns */
    ROUTE_CALLER,  /* any good credential */
    ROUTE_OPEN,    /* nothing */
};

struct route {
    const char *path;
    const char *method; /* a GET serves HEAD too */
    int (*handle)(struct request *request);
    enum route_right right;
    const struct parameter *parameters;    /* NULL: not checked, or the handler does it */
    int (*begin)(struct request *request); /* before the body; -1: go on.  NULL: nothing to ask */
    size_t body_bytes;                     /* at most, within limits.body_bytes; 0: it takes none */
    bool is_prefix;                        /* of paths; what follows it is the request's `tail` */
    bool is_stream; /* answered in the first call, ends its connection; its credential may be in the
                       query, and it is refused as EventSource understands it */
    bool any_host;  /* served under any name, also one that server.hosts does not list */
};

#endif
