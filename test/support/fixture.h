/* SPDX-License-Identifier: MIT */
/*
 * A gateway without sockets that listen, threads of workers and the HTTP library, for tests of what
 * answers requests: real cells over fake_mhd.h, with a real hub, history in memory, page reader and
 * streams.  A test says what a client sends, lets the loops turn, and looks at the answer.
 *
 *     struct fixture *fixture = fixture_new("limits.body_bytes=100");
 *     struct client *client = client_ask(fixture, "POST", "/api/push", JSON, "{\"data\":\"x\"}");
 *
 *     assert_int_equal(client->status, 201);
 *     fixture_free(fixture);
 *
 * What must not be left behind by any request is checked by fixture_free().
 */
#ifndef BUGLE_FIXTURE_H
#define BUGLE_FIXTURE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fake_mhd.h"
#include "http/service.h"
#include "wire/http_head.h"

#define FIXTURE_WORKERS_MAX 2
#define FIXTURE_ORIGIN "https://app.example"   /* listed, unless a setting says otherwise */
#define FIXTURE_FOREIGN "https://evil.example" /* never */
#define FIXTURE_JSON "Content-Type: application/json\n"
#define FIXTURE_SECRET "0123456789abcdef0123456789abcdef"

struct fixture {
    struct conf *conf;
    struct history *history;
    struct hub *hub;
    struct memory_budget *memory;
    struct service_shared shared;
    struct service services[FIXTURE_WORKERS_MAX];

    /* of clients to come; the test's to set */
    const char *address;                     /* "192.0.2.1" at first; "unix" */
    unsigned worker;                         /* who serves them; 0 at first */
    bool is_last;                            /* as for a request with another one behind it */
    void (*misread)(struct http_head *head); /* what the gate has read; NULL: what there is */

    /* what the store says instead of doing it; 0: nothing */
    _Atomic int append_error;
    _Atomic int read_error;
    _Atomic bool holds_store; /* what is to be stored waits until this is false */

    /* the fixture's own */
    bool by_library;
    size_t responses_n; /* that a test before has left, which failed then */
    struct history_ops ops;
    const struct history_ops *real_ops;
    int64_t filled_bytes;
    LIST_HEAD(, client) clients;
};

/* A connection with one request after the other.  The fixture frees it. */
struct client {
    struct fixture *fixture;
    struct MHD_Connection *connection;
    int fd; /* the client's end; -1: hung up */
    struct cell_conn_owner owner;
    bool has_owner;
    bool is_idle; /* between two requests */

    /* the answer, whichever way it came, as far as it has come */
    unsigned status; /* 0: none yet */
    const struct fake_mhd_pairs *headers;
    const char *body; /* never NULL */
    size_t body_n;
    bool is_by_hand; /* it went past the library */
    size_t taken_n;  /* of the body, by fixture_ws.h */

    char *wire; /* what came over the socket */
    size_t wire_n;
    struct fake_mhd_pairs wire_headers;
    char *wire_body;
    LIST_ENTRY(client) link;
};

/*
 * A gateway with these settings, "section.key=value" with blanks between.  auth.origins is
 * FIXTURE_ORIGIN and server.workers 1 to begin with; without the one, keys of auth.mode=token are
 * those of HS256 with FIXTURE_SECRET.
 */
struct fixture *fixture_new(const char *settings);

/* One whose streams never send past the library, as inside TLS. */
struct fixture *fixture_new_by_library(const char *settings);
void fixture_free(struct fixture *fixture);

/* Let every loop turn once, or until nothing but time would change anything. */
void fixture_turn(struct fixture *fixture);
void fixture_settle(struct fixture *fixture);

/* As if so much time had passed for bodies and answers, and for streams. */
void fixture_tick(struct fixture *fixture, int64_t later_ms);

/* Fill limits.memory up to a level, or empty it again. */
void fixture_fill_memory(struct fixture *fixture, enum memory_budget_level level);

/* A figure of all workers together. */
int64_t fixture_stat(struct fixture *fixture, enum stats_id id);

/* Connections that are closed gently. */
size_t fixture_lingering(struct fixture *fixture);

/* A token with these claims, signed with FIXTURE_SECRET: "Authorization: Bearer ..." and a line
 * end, good until the next call. */
const char *fixture_token(const char *claims);

/*
 * Open a connection and send the head of a request.
 *
 * headers  lines with "\n" behind each, or ""; a Host is put before them unless there is one
 * body_n   of a Content-Length; 0: none.  -1: chunked
 */
struct client *client_begin(struct fixture *fixture, const char *method, const char *target,
                            const char *headers, long body_n);

/* Another request on the same connection, which must be idle. */
void client_begin_again(struct client *client, const char *method, const char *target,
                        const char *headers, long body_n);

/* The same for one that the library had read beyond the end of the last, so that no gate saw it. */
void client_begin_unchecked(struct client *client, const char *method, const char *target);

/* A piece of its body; and no more of it comes. */
void client_send(struct client *client, const void *bytes, size_t bytes_n);
void client_send_end(struct client *client);

/* Let the loops turn until the answer is whole, its connection is closed, or a stream has begun. */
void client_wait(struct client *client);

/* Let the loops turn until this has come in the body: pages of the history take a thread. */
void client_wait_for(struct client *client, const char *text);

/* All of it.  `body` NULL: none. */
struct client *client_ask(struct fixture *fixture, const char *method, const char *target,
                          const char *headers, const char *body);
void client_ask_again(struct client *client, const char *method, const char *target,
                      const char *headers, const char *body);

/* The client is gone, as its socket says. */
void client_hang_up(struct client *client);

/* Whether the gateway has closed the connection, or will as soon as the client has. */
bool client_is_closed(const struct client *client);

const char *client_header(const struct client *client, const char *name); /* NULL: none */

/* Whether what has come of the body has this in it. */
bool client_has(const struct client *client, const char *text);

/* The answer is a problem with this status and code, whole, and made as all problems are. */
void client_is_refused(const struct client *client, unsigned status, const char *code);

/* The answer's JSON; for json_decref(). */
json_t *client_json(const struct client *client);

#endif
