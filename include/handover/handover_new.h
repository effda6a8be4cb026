/* SPDX-License-Identifier: MIT */
/*
 * Taking over from a gateway that runs: the new process's side of a hand-over (handover_old.h), up
 * to the moment when it serves.  Nothing else runs in this process meanwhile, so each step waits.
 *
 * The process that has the store's lock decides: if the old one refuses, this one exits; if the old
 * one dies, at whatever step, this one opens the store, which it can then have, and serves alone.
 */
#ifndef BUGLE_HANDOVER_NEW_H
#define BUGLE_HANDOVER_NEW_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "conn/inherited_sockets.h"
#include "handover/handover_link.h"

struct handover_new;

/*
 * Ask the gateway that listens at `path` for its sockets.
 *
 * store       as store_text() has it: both must have the same
 * timeout_ms  for each step
 *
 * Returns 0 with `ret_takeover`; 0 with NULL when no process listens; or -1 with a line for the
 * operator.
 */
int handover_new_begin(const char *path, const char *store, int timeout_ms,
                       struct inherited_sockets *inherited, struct handover_new **ret_takeover,
                       struct conf_error *ret_error);

/* Everything but the store is there: wait until the store can be opened.  From here on publishers
 * wait.  Returns 0, or -1 with a line for the operator. */
int handover_new_wait_for_store(struct handover_new *takeover, struct conf_error *ret_error);

/* The store is open, at this position: wait until the old process has confirmed it.  Returns 0, or
 * -1 with a line for the operator: it must be closed again then. */
int handover_new_confirm(struct handover_new *takeover, const char *epoch, uint64_t newest,
                         struct conf_error *ret_error);

/* Whether the old process is gone, and its store free, now or soon.  NULL is no takeover. */
bool handover_new_is_alone(const struct handover_new *takeover);

/* The link that handover_new_serve() will give if it gives one; NULL: alone. */
struct handover_link *handover_new_link(const struct handover_new *takeover);

/* Say that this process serves from here on; before it accepts or commits anything.  Gives the
 * link, NULL when the old process is gone. */
struct handover_link *handover_new_serve(struct handover_new *takeover);

/* End it; before handover_new_serve() the old process is told to go on.  Accepts NULL. */
void handover_new_free(struct handover_new *takeover);

#endif
