/* SPDX-License-Identifier: MIT */
/* What the files of the server share: the struct, and what they need of each other. */
#ifndef BUGLE_SERVER_INTERNAL_H
#define BUGLE_SERVER_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cluster/cluster_conf.h"
#include "conn/inherited_sockets.h"
#include "conn/mhd_quirks.h"
#include "http/service.h"
#include "server/placement.h"
#include "server/server.h"

#define SERVER_SIGNALS 7

struct event;
struct reload;
struct tls_credentials;

struct server {
    const struct conf *conf; /* a reference, until the next reload */
    const struct server_source *source;
    struct event_base *base;
    struct event *signals[SERVER_SIGNALS];
    struct event *look_timer;
    struct event *memory_timer;
    struct memory_budget *memory;
    struct mhd_quirks quirks; /* of the HTTP library that is loaded */
    struct history *history;
    struct hub *hub;
    struct cluster_conf *cluster; /* NULL without cluster.log */
    struct page_reader *pager;
    struct thread_pool *readers; /* of large publish bodies */
    struct listener *listener;
    struct reload *reload;
    struct key_rollout *key_rollout; /* NULL without auth.mode=token */
    struct tls_credentials *tls;     /* what handshakes use; NULL without tls.listen */
    struct placements placements;
    struct stats stats;
    struct service_shared shared;
    struct worker_shutdown *shutdowns; /* one a worker */
    int status;                        /* to exit with */

    struct inherited_sockets inherited; /* listening sockets that others opened */
    struct handover_new *takeover;   /* from the process before this one, until this one serves */
    struct handover_link *host_link; /* to that process from then on; NULL: there was none */
    struct relay_host *host;         /* for what its clients still publish */
    struct handover_old *handover;   /* to the process after this one; NULL: not set */
    int stop_wanted;                 /* a signal that came while a hand-over was under way */
    pid_t upgrade_child;             /* a process that SIGUSR2 started; 0: none */
    struct watchdog *watchdog;
    int64_t drain_until_ms;
    _Atomic unsigned quiet_n;  /* workers that have drained */
    _Atomic unsigned empty_n;  /* workers that have no stream any more, after a hand-over */
    _Atomic unsigned closed_n; /* workers that have closed everything */
};

/* The end of one worker's work; runs on the worker. */
struct worker_shutdown {
    struct server *server;
    struct service *service;
    struct event *timer;
    bool is_empty; /* of streams, once it has begun */
};

/* server.c */

/* Say in the log why the gateway cannot start.  Returns -1. */
int server_fail(const char *what);

/* Have the main loop handle signals, and be woken to look while it drains.  Returns 0 or -1. */
int server_build_signals(struct server *server);

/* For what must reach a worker: without a few bytes for it there is no way on. */
void server_post_to(struct worker *worker, void (*call)(void *arg), void *arg);

/* server_build.c */

/* Everything, from the settings; no thread of the hub or of a worker runs yet.  Returns 0 or -1,
 * and then the log has said why; server_free() frees what there is. */
int server_build(struct server *server);

/* server_stop.c */

/* With the workers built.  Returns 0 or -1. */
int server_build_shutdowns(struct server *server);

/* Call it on every worker, with its worker_shutdown. */
void server_post_to_all(struct server *server, void (*call)(void *arg));

/* End requests and streams, then the main loop; they may take until the deadline. */
void server_drain(struct server *server, int64_t until_ms);

/* As at SIGTERM. */
void server_stop(struct server *server, const char *why);

/* Serve until the workers have drained or the deadline has come, then end all threads but the
 * log's. Ends the process when connections do not close in time. */
void server_stop_threads(struct server *server);

/* Free what there is, with the server itself; the threads have ended or never ran. */
void server_free(struct server *server);

/* server_resources.c */

/* Refuse a limit on descriptors with which the gateway could start and not serve.  Returns 0 or
 * -1. */
int server_check_descriptors(const struct server *server, size_t limit);

/* With everything built: streams stop short of the limit, so that publishing still works. */
void server_part_descriptors(struct server *server, size_t limit);

/* The cores this process may use, which a container or taskset makes fewer than there are. */
unsigned server_count_workers(const struct conf *conf);

/* Returns 0 or -1. */
int server_build_memory(struct server *server);

/* server_cluster.c */

/* Refuse a cluster.log that will not do; one that cannot be reached will.  With what comes of
 * another process found, and before it gives its store up.  Returns 0 or -1. */
int server_build_cluster(struct server *server);

/* Have the hub share that log, before it starts.  Returns 0 or -1. */
int server_share_hub(struct server *server);

/* Say at the start what is shared. */
void server_announce_cluster(const struct server *server);

/* server_reload.c */

/*
 * SIGHUP: read the settings again, without waiting for that.  They hold as soon as they are read.
 * What is wrong with them is told in the log, and then nothing has changed; so it is when they are
 * not read within 10 seconds.  Asked for during a reload, another one follows it.
 */
void server_reload(struct server *server);

/* Returns 0, or -1 without memory or descriptors. */
int server_build_reload(struct server *server);

/* False when a thread still waits for a file: then the process cannot end but by log_exit(). */
bool server_free_reload(struct server *server);

/* server_tls.c */

/* Read certificates and keys, and give them to the workers, which do not run yet. */
int server_build_tls(struct server *server);

/* Read what settings name, to follow the set `before`, if there is one; returns NULL in `ret_set`
 * without TLS.  -1 with a line in `ret_error` when it cannot be used.  Any thread; blocks. */
int server_read_tls(const struct conf *conf, const struct tls_credentials *before,
                    struct tls_credentials **ret_set, struct conf_error *ret_error);

/* From now on handshakes use the set, whose reference is the server's then.  Accepts NULL. */
void server_use_tls(struct server *server, struct tls_credentials *set);

/* server_handover.c: the start, in this order. */

/* Find the sockets that others opened. */
int server_find_sockets(struct server *server);

/* With the hub built: be ready for what comes from the process before this one, and for the one
 * after it. */
int server_build_handover(struct server *server);

/* With everything built: have the process before this one confirm that it is this one's turn. */
int server_confirm(struct server *server);

/* With the threads running: serve from here on. */
void server_begin(struct server *server);

/* server_handover.c: the rest. */

/* SIGUSR2: start the program again, to take over.  SIGCHLD: it ended. */
void server_upgrade(struct server *server);
void server_reap(struct server *server);

/* A stop was asked for.  Returns whether a hand-over has to end first, which then stops. */
bool server_stop_waits(struct server *server, int number);

/* In each look while the process drains.  Returns whether anything is still to be waited for. */
bool server_host_is_busy(struct server *server);

void server_free_handover(struct server *server);

#endif
