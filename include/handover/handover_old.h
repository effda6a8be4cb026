/* SPDX-License-Identifier: MIT */
/*
 * Handing over to another gateway on the same machine: the old process's side.
 *
 * It listens at server.handover.  Who comes and may (the same user, or root) is offered the
 * listening sockets, builds everything but the store, and says so.  From there on publishers wait:
 * this process stops accepting, commits what is under way, gives the store up, and goes on as
 * before if anything goes wrong until the other one serves.  Then its hub passes on what its
 * clients still publish (relay_client.h), and it leaves when the last of them has.
 *
 *   FREE > GREETED > OFFERED > LEAVING > AWAY > GOING > GONE > OVER
 *
 * FREE again from GREETED and OFFERED at once, and from LEAVING, AWAY and GOING by way of RETURNING
 * when the other one refuses, ends, or takes longer than server.handover_timeout for a step; for
 * GOING only when it ends, since it may serve from there on.  OVER: the other one is gone.
 *
 * The store's lock has one owner at each moment; where both processes might have the store, the
 * lock decides.  Main thread.
 */
#ifndef BUGLE_HANDOVER_OLD_H
#define BUGLE_HANDOVER_OLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "hub/hub.h"

struct handover_old;
struct event_base;
struct listener;

struct handover_old_hooks {
    void *arg;
    void (*stop_accepting)(void *arg);
    void (*go_on)(void *arg, int result); /* it came to nothing; < 0: the store is lost, too */
    void (*gone)(void *arg);              /* the other process serves: leave, in peace */
    void (*unfed)(void *arg);             /* streams get no events any more: end them at once */
    void (*over)(void *arg);              /* the other process is gone, too: leave soon */
};

/*
 * Make the socket, not yet known at its path.  Borrows all it is given.
 *
 * store  as store_text() has it; copied
 *
 * NULL with a line for the operator.
 */
struct handover_old *handover_old_new(struct event_base *base, const struct conf *conf,
                                      const char *store, struct hub *hub, struct listener *listener,
                                      const struct handover_old_hooks *hooks,
                                      struct conf_error *ret_error);

/* Listen at the path from here on, in place of an earlier gateway.  Returns 0, or -1 with a line.
 */
int handover_old_open(struct handover_old *handover, struct conf_error *ret_error);

/* Whether a hand-over is under way that may still come to nothing: a stop has to wait. */
bool handover_old_is_under_way(const struct handover_old *handover);

/* No stream is left here. */
void handover_old_want_no_feed(struct handover_old *handover);

/* The process stops: take no one any more, and answer what was passed on. */
void handover_old_close(struct handover_old *handover);
void handover_old_free(struct handover_old *handover); /* the hub is stopped; accepts NULL */

#endif
