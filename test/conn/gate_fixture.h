/* SPDX-License-Identifier: MIT */
/*
 * The gate between real sockets and a stand-in for the cells, for the tests of its files.  The
 * worker's loop is run by hand.
 */
#ifndef BUGLE_GATE_FIXTURE_H
#define BUGLE_GATE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "conn/gate_internal.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define OWNERS_MAX 16
#define HEAD_ROOM 16384

#define GOOD_HEAD "GET /events HTTP/1.1\r\nHost: h\r\n\r\n"
#define GOOD_POST "POST /api/push HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"

/* The stand-in for the cells: what it was given, the last in `kind` to `owner`, and what it was
 * told. */
struct cells {
    struct worker *worker;
    int result; /* of the next cells_add() */
    size_t calls_n;
    enum cell_kind kind;
    int fd;
    struct sockaddr_storage address;
    socklen_t address_n;
    struct cell_conn_owner *owner;
    struct cell_conn_owner *owners[OWNERS_MAX]; /* those who are still there */
    size_t resumed_n, let_close_n, taken_back_n;
    bool has_pending;
    bool cannot_take_back;
};

struct bench {
    struct conf conf;
    struct history *history;
    struct hub *hub;
    struct worker *worker;
    struct lingering_close_pool *lingering_close;
    struct cells cells;
    struct client_quota *client_quota;
    struct gate *gate;
};

struct pair {
    int ours, theirs;
};

/* Deadlines: 10 s for a head, 5 s for a handshake, 60 s between two requests. */
struct bench *build(void);
void tear_down(struct bench *bench);

void turn(struct bench *bench);
int64_t stat_of(struct bench *bench, enum stats_id id);
bool is_open(int fd);

/* A connection, already counted, whose peer has sent `text`. */
struct pair connected(struct bench *bench, const char *text);

/* It comes in, and the loop turns once. */
void take(struct bench *bench, struct pair pair, struct listener_layers layers);
struct pair taken(struct bench *bench, const char *text);

/* A plain connection whose first request has been answered. */
struct pair kept(struct bench *bench);

void say(struct pair pair, const char *text);
void say_bytes(struct pair pair, const void *bytes, size_t n);

/* The cell reads what is there. */
void drain(int fd);

void close_pair(struct pair pair);

/* The text with so many letters in the place of its '%'. */
void fill_in(char *to, const char *text, size_t letters_n);

/* No connection waits, none was admitted, and the peer reads nothing but the end. */
void assert_dropped(struct bench *bench, struct pair pair);

/* The answer is whole, a problem of this status, and the connection lingers until it is read. */
void assert_refused(struct bench *bench, struct pair pair, unsigned status);

void assert_admitted(struct bench *bench, struct pair pair, enum cell_kind kind);

/* Its cell is left to close it, and reads an end. */
void assert_let_close(struct bench *bench, struct pair pair);

#endif
