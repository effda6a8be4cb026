/* SPDX-License-Identifier: MIT */
/*
 * Keys that seal tickets: those of auth.ticket_key, which every gateway has that is to take them,
 * or else one of this gateway's own, beside the file of its history.
 */
#ifndef BUGLE_TICKET_KEYS_H
#define BUGLE_TICKET_KEYS_H

#include <stddef.h>

#include "auth/ticket.h"
#include "conf/conf.h"

#define TICKET_KEYS_MAX                                                                            \
    4 /* of auth.ticket_key: while one takes the place of another there are two */

/* The first seals, and all open. */
struct ticket_keys {
    size_t n;
    unsigned char keys[TICKET_KEYS_MAX][TICKET_KEY_BYTES];
};

/* Those of the settings, which conf_read_secrets() has read; none if there are none.  Returns 0, or
 * -EINVAL: there are more than TICKET_KEYS_MAX.  Pure; any thread. */
int ticket_keys_from_conf(struct ticket_keys *ret_keys, const struct conf *conf);

/* The gateway's own: from a file beside that of its history, made if it is not there; a random one
 * for a history without a file (`history_path` is NULL).  A file that holds no key is set aside
 * with a warning in the log, and replaced.  Returns 0, or -errno with what to do about it.  Blocks.
 */
int ticket_keys_read_own(const char *history_path, unsigned char to[TICKET_KEY_BYTES],
                         struct conf_error *ret_error);

/* As ticket_open(), with whichever of the keys it was sealed with. */
int ticket_keys_open(const struct ticket_keys *keys, const char *text, size_t text_n,
                     struct ticket_room *room, struct ticket *ret_ticket);

#endif
