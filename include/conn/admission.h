/* SPDX-License-Identifier: MIT */
/*
 * Who counts against which limit: connections and streams of an address, streams of a user, over
 * all workers; and which proxies are believed when they say who their client is.
 *
 * Two kinds of peers are not counted by address: those on a loopback address or a unix socket, and
 * trusted proxies, who speak for many.  Behind a trusted proxy its client counts.  An IPv6 address
 * counts as its /64.
 *
 * Everybody is counted, whatever the limits; a limit only decides whether one more may come.  So
 * limits may change at any time.  A limit of 0 is none.  Any thread.
 */
#ifndef BUGLE_ADMISSION_H
#define BUGLE_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "base/peer.h"

struct admission;
struct tally_entry;

/* Reads server.trusted_proxies, which was checked.  NULL when out of memory. */
struct admission *admission_new(const struct conf *conf);
void admission_free(struct admission *admission); /* accepts NULL */

/* Whether what this peer says about its clients is believed. */
bool admission_trusts(const struct admission *admission, const struct peer *peer);

/* Count a connection in, unless its address has `most` of them; for each true, count it off. */
bool admission_add_connection(struct admission *admission, const struct peer *peer, uint64_t most);
void admission_drop_connection(struct admission *admission, const struct peer *peer);

/* The places of one stream; zeroed, it has none. */
struct admission_seat {
    struct tally_entry *address, *user; /* NULL: not counted */
};

struct admission_limits {
    uint64_t streams_per_address;
    uint64_t streams_per_user;
};

enum admission_verdict { ADMISSION_GRANTED, ADMISSION_ADDRESS_FULL, ADMISSION_USER_FULL };

/*
 * Take the places of a stream, all or none.
 *
 * client  behind any trusted proxies
 * user    borrowed; NULL: nobody in particular, who is not counted
 *
 * Being out of memory is the limit of the address.
 */
enum admission_verdict admission_take_seat(struct admission *admission, const struct peer *client,
                                           const char *user, size_t user_n,
                                           const struct admission_limits *limits,
                                           struct admission_seat *ret_seat);

/* Give them back; the seat has none afterwards. */
void admission_leave_seat(struct admission *admission, struct admission_seat *seat);

#endif
