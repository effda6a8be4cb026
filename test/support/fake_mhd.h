/* SPDX-License-Identifier: MIT */
/*
 * A stand-in for libmicrohttpd: a program that links fake_mhd.c has its functions from there, and
 * none of the library.  So a test hands requests to the real cells, and sees what the gateway does
 * with the library: what it answers, in which call, and what it has suspended.
 *
 * A test fills a connection and adds its descriptor to a cell; each run of the cell's daemon then
 * takes it as far as it goes, in the library's order:
 *
 *   first call    the head has come; an answer in it ends the connection after it
 *   a piece       as often as fake_mhd_piece() has left something
 *   last call     the body is whole; without an answer twice in one run, as the library does it
 *   answer        read until it is whole, or the connection is suspended
 *   completed     then it waits for the next head, or ends
 *
 * It aborts where the gateway does what the library forbids.  Nothing is sent: what has come over
 * the socket was sent past the library.  There is no TLS.
 */
#ifndef BUGLE_FAKE_MHD_H
#define BUGLE_FAKE_MHD_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define FAKE_MHD_PAIRS_MAX 128

/* A header or a query parameter; `value` NULL: a parameter without "=". */
struct fake_mhd_pair {
    char *name, *value;
    size_t name_n, value_n;
};

struct fake_mhd_pairs {
    struct fake_mhd_pair list[FAKE_MHD_PAIRS_MAX];
    size_t n;
};

enum fake_mhd_state {
    FAKE_MHD_IDLE,   /* waits for a head */
    FAKE_MHD_HEAD,   /* the first call is to come */
    FAKE_MHD_BODY,   /* pieces are to come */
    FAKE_MHD_LAST,   /* the last call is to come, and those after a resume */
    FAKE_MHD_ANSWER, /* an answer is queued */
    FAKE_MHD_CLOSED,
};

struct MHD_Connection {
    /* the request: fake_mhd_request() and so on fill it */
    char *head;
    const char *method, *version;
    char *url; /* decoded, without its query */
    struct fake_mhd_pairs headers, query;
    bool has_body;
    char *pending; /* of the body: came, and not taken yet */
    size_t pending_n;
    bool is_whole;

    /* what goes wrong, for the test to say */
    bool fails_in_run;    /* it ends in the run in which the last call was made */
    bool takes_no_answer; /* what is queued stays so */

    /* what became of it: to be looked at */
    enum fake_mhd_state state;
    bool suspended;
    unsigned calls_n; /* of the handler for this request */
    unsigned status;  /* 0: nothing was queued */
    struct fake_mhd_pairs answer_headers;
    char *body; /* of the answer, as far as it has come; NULL: nothing */
    size_t body_n;
    bool is_complete;   /* the answer is whole, */
    bool is_cut;        /* or will never be */
    unsigned timeout_s; /* as the gateway set it */

    /* the fake's own */
    int fd;
    struct MHD_Daemon *daemon;
    struct sockaddr_storage address;
    struct MHD_Response *response;
    bool is_told; /* the handler knows of the request under way */
    bool is_first_call, ends;
    void *context, *socket_context;
    union MHD_ConnectionInfo info;
    TAILQ_ENTRY(MHD_Connection) link;
};

/* How many of the next calls of each kind fail, as without memory. */
struct fake_mhd_faults {
    unsigned responses;   /* MHD_create_response_*() */
    unsigned queues;      /* MHD_queue_response() */
    unsigned daemons;     /* MHD_start_daemon() */
    unsigned connections; /* MHD_add_connection() */
};
extern struct fake_mhd_faults fake_mhd_faults;

/* Responses made so far, and how many of them there still are. */
extern size_t fake_mhd_responses_made, fake_mhd_responses_alive;

/* A connection that the next MHD_add_connection() of this descriptor is about.  fake_mhd_free()
 * once it is closed, or was never added. */
struct MHD_Connection *fake_mhd_new(int fd);
void fake_mhd_free(struct MHD_Connection *connection); /* accepts NULL */

/*
 * A head has come.  The answer to the request before is forgotten.
 *
 * head  request line and headers, "\r\n" behind each, without the empty line
 */
void fake_mhd_request(struct MHD_Connection *connection, const char *head);

/* A piece of the body has come; and the last has. */
void fake_mhd_piece(struct MHD_Connection *connection, const void *bytes, size_t bytes_n);
void fake_mhd_end_body(struct MHD_Connection *connection);

/* A header of the answer; NULL: there is none. */
const char *fake_mhd_answer_header(const struct MHD_Connection *connection, const char *name);

#endif
