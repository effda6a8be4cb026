/* SPDX-License-Identifier: MIT */
/*
 * What there is to know of a path and a method before its handler is called.  The table of them is
 * in routes.c, and nothing else decides by path.  Worker's thread.
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
    int (*check)(struct request *request); /* before the caller is asked for; -1: go on.  NULL:
                                            * nothing to ask */
    int (*begin)(struct request *request); /* before the body, so too */
    /* Tell why the caller may not; NULL: respond_problem() */
    int (*refuse)(struct request *request, struct problem *problem);
    size_t body_bytes; /* at most, within limits.body_bytes; 0: it takes none */
    bool is_prefix;    /* of paths; what follows it is the request's `tail` */
    bool is_stream;    /* its credential may be in the query */
    bool is_first;     /* answered in the first call, and ends its connection */
    bool any_host;     /* served under any name, also one that server.hosts does not list */
};

/* The handlers that are all there is of their files.  They return as respond.h. */
int admin_health_live(struct request *request);
int admin_health_ready(struct request *request);
int admin_health_stats(struct request *request);
int admin_streams_list(struct request *request);
int admin_streams_list_evictions(struct request *request);
int admin_streams_end(struct request *request);     /* by ?user= */
int admin_streams_end_one(struct request *request); /* by /api/streams/{id} */
int backup_post_handle(struct request *request);
int history_get_handle(struct request *request);
int ticket_post_handle(struct request *request);

#endif
