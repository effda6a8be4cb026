/* SPDX-License-Identifier: MIT */
/*
 * One HTTP request as the handlers see it, from libmicrohttpd's first call to its completion.
 *
 *   first call   request_new(); the route may refuse at once, before any body is read
 *   body         gathered up to the route's bound
 *   last call    the route's handler: answers, or opens a stream, or suspends
 *   (again)      after request_wake(), the function that the handler left in `resumed`
 *   completed    request_complete()
 *
 * That is the order in which the library means to call.  It also calls in the body phase with
 * nothing, where a byte is behind a head with an Expect and without a body; again in the same run,
 * before a request that is to wait is suspended; and it may end a connection at any time.  What
 * such a call finds is `request_waits()`, or a piece of a body that is empty, and it does nothing.
 * A request whose connection ends while it waits stays until request_wake(), for the part that
 * makes its answer.
 *
 * Worker's thread throughout.
 */
#ifndef BUGLE_REQUEST_H
#define BUGLE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "auth/identity.h"
#include "auth/origin.h"
#include "base/min_rate.h"
#include "conn/cell.h"
#include "conn/client_quota.h"

struct cached_response;
struct service;
struct route;
struct MHD_Connection;

/* Headers that are asked for with every request, some of them several times: found in one walk. */
enum request_field {
    REQUEST_HOST,
    REQUEST_ORIGIN,
    REQUEST_CONTENT_TYPE,
    REQUEST_CONTENT_LENGTH,
    REQUEST_CONTENT_ENCODING,
    REQUEST_TRANSFER_ENCODING,
    REQUEST_AUTHORIZATION,
    REQUEST_IDEMPOTENCY_KEY,
    REQUEST_FIELDS,
};

struct request {
    struct service *service;
    struct cell *cell;
    struct MHD_Connection *connection;
    struct gnutls_session_int *session; /* of the connection; NULL: no TLS */
    const struct route *route;          /* NULL until it is chosen */
    const char *method;                 /* libmicrohttpd's, where it has read the head */
    const char *path;                   /* decoded, libmicrohttpd's */
    const char *tail;                   /* what follows a route's prefix */
    const char *fields[REQUEST_FIELDS]; /* the first of each, trimmed; NULL: none */
    size_t fields_n;                    /* of all headers, also others */
    struct trimmed *trimmed;            /* values that had blanks behind them */
    uint64_t content_length;            /* the header's; 0: none, UINT64_MAX: beyond all bounds */
    enum origin_verdict origin_verdict;
    const char *origin; /* the header, borrowed from libmicrohttpd; NULL: none */
    const char *bearer; /* GET /ws: the token in a subprotocol, borrowed as `origin`, set
                           before the caller is asked for; NULL: none */
    size_t bearer_n;
    struct identity *identity; /* the caller; NULL: anonymous */
    enum identity_way way;     /* how that was shown */
    struct ticket *ticket;     /* it came with; its names are not set.  NULL: none */
    bool has_secret_url;       /* its URL has a credential in it */

    char *body;
    size_t body_n;
    size_t body_room;
    struct cached_response
        *cached;           /* the response that answers it, until the request is over; NULL: none */
    size_t answer_bytes;   /* counted for the answer, until the request is over */
    int64_t body_until_ms; /* absolute deadline */
    struct min_rate rate;  /* of the body, or of the answer once that is measured */
    bool receiving;        /* in the service's list of that name */
    bool answering;        /* in the other one */
    bool measured;
    bool answered; /* a response is queued, or was written by hand */
    bool has_body; /* the client announced one */
    bool lingers;  /* part of the body stays unread: close gently */
    bool is_head;
    bool is_last; /* its connection ends with it */
    bool http_1_0;

    struct cell_waiter waiter;
    bool client_left;                        /* its connection ended while it waited */
    int (*resumed)(struct request *request); /* MHD_YES or MHD_NO */
    void *work;                              /* of the handler between suspend and answer */
    void (*free_work)(void *work);
    /* What is taken for a stream while the shared log is asked about its ticket; NULL: nothing.
     * Freed with the request. */
    void *admission;
    void (*free_admission)(struct request *request);
    struct stream *stream; /* GET /events once it is open */
    struct client_quota_entry quota_entry;
    LIST_ENTRY(request) link;
};

LIST_HEAD(request_list, request);

/* Make the context of a request.  NULL when out of memory. */
struct request *request_new(struct service *service, struct cell *cell,
                            struct MHD_Connection *connection, const char *method,
                            const char *version);

/* The library is done with it.  It is freed now, or by request_wake() if it waits for that. */
void request_complete(struct request *request);

/*
 * Compare the head, as the library read it, with the head that the gate has checked.
 *
 * REQUEST_HEAD_CHECKED    they are the same
 * REQUEST_HEAD_UNCHECKED  the library had read it together with the one before; the gate has not
 *                         seen it
 * REQUEST_HEAD_DIFFERS    the library reads the head in another way than the gate did
 * REQUEST_HEAD_IN_TLS     the gate cannot see it; tls_head_check() can
 *
 * Once, in the first call.
 */
enum request_head_state {
    REQUEST_HEAD_CHECKED,
    REQUEST_HEAD_UNCHECKED,
    REQUEST_HEAD_DIFFERS,
    REQUEST_HEAD_IN_TLS,
};
enum request_head_state request_compare_head(struct request *request);

/* Whether its method, POST or DELETE, changes something. */
bool request_is_change(const struct request *request);

/* The value of the first header of this name, NULL when there is none.  For those of `fields`, look
 * there.  This, `fields` and request_each_header() are the only ways to read a header: the value is
 * without the blanks around it, which are no part of it (RFC 9110 section 5.5). */
const char *request_header(const struct request *request, const char *name);

/* Call `see` for the value of each header of this name, in order. */
void request_each_header(const struct request *request, const char *name,
                         void (*see)(void *arg, const char *value), void *arg);

/* How often a header stands in the request. */
size_t request_header_count(const struct request *request, const char *name);

/* Value of a query parameter of which the first counts; NULL when there is none.  `*ret_n` (may
 * be NULL) is its length: it may contain NUL. */
const char *request_query(const struct request *request, const char *name, size_t *ret_n);

/* Call `see` for every query parameter in order until it returns false.  `value` is "" and 0 long
 * for a parameter without one.  Both are decoded and may contain NUL, and end in one. */
void request_each_query(const struct request *request,
                        bool (*see)(void *arg, const char *name, size_t name_n, const char *value,
                                    size_t value_n),
                        void *arg);

/* Count bytes for an answer that is being made, until the request is over.  Returns whether memory
 * allows it; if not, it is counted as refused. */
bool request_admit_answer(struct request *request, size_t bytes);

/* Suspend until request_wake(); then `resumed` is called, unless the connection has ended, and with
 * it the request is gone when request_wake() returns.  Returns MHD_YES, for the handler to return.
 */
int request_suspend(struct request *request, int (*resumed)(struct request *request));
void request_wake(struct request *request);

/* Whether it is suspended, or will be as soon as the library lets it. */
bool request_waits(const struct request *request);

/* The lines of a head, for an answer that is written by hand, about origins (origin.h). */
void request_write_origin_lines(const struct request *request, char to[ORIGIN_LINES_BYTES]);

/* The socket; -1 when libmicrohttpd does not say, or has closed it. */
int request_fd(const struct request *request);

/* Write a finished answer by hand and drop the connection: for the middle of a body, where
 * libmicrohttpd takes no answer.  Returns MHD_NO, for the handler to return. */
int request_cut(struct request *request, unsigned status, const char *code, const char *detail);

/* The same with an answer that is all there. */
int request_cut_with(struct request *request, const char *answer, size_t answer_n);

/* The same for a body that limits.memory has no room for: 503, and when to try again. */
int request_cut_busy(struct request *request);

/* Write a problem by hand, and no more: what becomes of the connection is up to the caller. */
void request_write_problem(struct request *request, unsigned status, const char *code,
                           const char *detail);

#endif
