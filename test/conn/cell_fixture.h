/* SPDX-License-Identifier: MIT */
/*
 * Real cells over a stand-in for libmicrohttpd, with a handler that answers every request, for the
 * tests of cells.  The worker's loop is run by hand.
 */
#ifndef BUGLE_CELL_FIXTURE_H
#define BUGLE_CELL_FIXTURE_H

#include <setjmp.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "../support/fake_mhd.h"
#include "conn/cell.h"

#define PORT 4711
#define HEAD "GET / HTTP/1.1\r\nHost: h\r\n"

/* The owner of a connection; the address stands in it, as in the gate's. */
struct owner {
    struct cell_conn_owner base;
    struct sockaddr_in address;
    struct MHD_Connection *connection; /* for fake_mhd_free() */
    int theirs;
    size_t idle_n, gone_n;
};

struct bench {
    struct conf conf;
    struct history *history;
    struct hub *hub;
    struct worker *worker;
    struct streams *streams;
    struct cells *cells;
    struct MHD_Response *response;

    /* of the handler: the request that comes next is suspended; where it is then */
    bool suspends;
    struct cell_waiter waiter;
    struct cell *cell;
    size_t begun_n, unexpected_n, answered_n, completed_n, cut_n;
    const struct cell_conn_owner *seen_owner;

    size_t closed_n;
    int closed_port;
};

int build(void **state);
int tear_down(void **state);

void turn(struct bench *bench);
int64_t stat_of(struct bench *bench, enum stats_id id);

/* A connection with a first request, given to a cell of this kind.  Returns what cells_add() does.
 * Then the peer is gone, and the fake's connection freed, whatever became of them. */
int add(struct bench *bench, enum cell_kind kind, struct owner *owner);
void end(struct bench *bench, struct owner *owner);

#endif
