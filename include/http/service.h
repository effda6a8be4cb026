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

#include "auth/auth.h"
#include "auth/jwks.h"
#include "auth/ticket_keys.h"
#include "auth/ticket_table.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "conn/cell.h"
#include "conn/client_quota.h"
#include "conn/fd_budget.h"
#include "conn/gate.h"
#include "conn/lingering_close.h"
#include "conn/ws_conn.h"
#include "http/request.h"
#include "http/response_cache.h"
#include "hub/hub.h"
#include "loop/context.h"
#include "loop/worker.h"
#include "stream/streams.h"

struct node_service;
struct service;

/* Over all workers. */
struct service_shared {
    struct hub *hub;
    struct page_reader *page_reader;
    struct thread_pool *body_readers; /* of large publish bodies, beside the loops */
    struct static_files *static_files;
    struct eviction_log *eviction_log;
    struct node_service *nodes;         /* what nodes say to each other; NULL: no log is shared */
    struct ticket_table *ticket_table;  /* NULL without auth.mode=token */
    struct ticket_keys own_ticket_keys; /* while there are none in the settings */
    struct jwks *jwks;                  /* NULL without auth.mode=token */
    struct service *services;           /* one a worker */
    unsigned services_n;
    struct conf_list own_origins; /* of the gateway's own page, from its listeners */
    struct stats *main_stats;
    struct client_quota *client_quota;
    struct fd_budget fd_budget;
    int64_t started_ms; /* monotonic */
    size_t streams_max;
    _Atomic size_t streams_n;
    _Atomic size_t room_asked_n; /* asked of workers to make room, and not answered yet */
    _Atomic size_t history_requests_n;
    _Atomic bool draining;
    _Atomic bool handed_over; /* draining, while another process serves */
    _Atomic bool has_backup;  /* a copy of the store is being made or sent */
};

struct service {
    struct service_shared *shared;
    struct worker *worker;
    const struct context *context; /* of the worker */
    struct auth *auth;
    struct streams *streams;
    struct lingering_close_pool *lingering_close;
    struct cells *cells;
    struct gate *gate;
    struct ws_conns *ws_conns;
    struct response_cache response_cache;
    struct request_list receiving; /* requests whose body is not complete */
    struct request_list answering; /* requests whose answer is under way */
    struct log_valve limit_valve;  /* streams refused at a limit of one client */
    struct log_valve ticket_valve; /* streams ended by a later use of their ticket */
    uint64_t publish_turn;         /* the turn of the worker in which it last read bodies, */
    size_t publish_turn_bytes;     /* and how many bytes of them */
    size_t publishes_n; /* that the hub or a reader of bodies has, also of clients that have left */
    size_t requests_n;  /* under way, streams too */
    size_t unawaited_n; /* of them, those that a stop does not wait for */
};

#endif
