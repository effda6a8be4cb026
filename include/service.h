/* SPDX-License-Identifier: MIT */
/*
 * What the handlers of one worker work with: one struct for each worker, filled by the server and
 * borrowed by every handler.  The only part that workers share is `shared`.
 */
#ifndef BUGLE_SERVICE_H
#define BUGLE_SERVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "admission.h"
#include "answers.h"
#include "auth.h"
#include "cell.h"
#include "crew.h"
#include "descriptors.h"
#include "gate.h"
#include "hub.h"
#include "jwks.h"
#include "linger.h"
#include "log.h"
#include "pages.h"
#include "request.h"
#include "streams.h"
#include "tickets.h"
#include "worker.h"

struct service;

/* Over all workers. */
struct service_shared {
    struct hub *hub;
    struct pager *pager;
    struct crew *readers; /* of large publish bodies, beside the loops */
    struct pages *pages;
    struct evictions *evictions;
    struct tickets *tickets; /* NULL without auth.mode=token */
    struct jwks *jwks;        /* NULL without auth.mode=token */
    struct service *services; /* one a worker */
    unsigned services_n;
    struct conf_list own_origins; /* of the gateway's own page, from its listeners */
    struct stats *main_stats;
    struct admission *admission;
    struct descriptors descriptors;
    int64_t started_ms; /* monotonic */
    size_t streams_max;
    _Atomic size_t streams_n;
    _Atomic size_t room_asked_n; /* asked of workers to make room, and not answered yet */
    _Atomic size_t history_requests_n;
    _Atomic bool draining;
    _Atomic bool handed_over; /* draining, while another process serves */
    _Atomic bool has_backup; /* a copy of the store is being made or sent */
};

struct service {
    struct service_shared *shared;
    struct worker *worker;
    struct auth *auth;
    struct streams *streams;
    struct linger_pool *linger;
    struct cells *cells;
    struct gate *gate;
    struct answers answers;
    struct request_list receiving; /* requests whose body is not complete */
    struct request_list answering; /* requests whose answer is under way */
    struct log_valve limit_valve;  /* streams refused at a limit of one client */
    struct log_valve ticket_valve; /* streams ended by a later use of their ticket */
    uint64_t read_turn;            /* the worker's turn in which bodies were read last, */
    size_t read_bytes;             /* and how much */
    size_t requests_n;             /* under way, streams too */
    size_t unawaited_n;            /* of them, those that a stop does not wait for */
};

#endif
