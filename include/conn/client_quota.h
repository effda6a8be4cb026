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
#ifndef BUGLE_CLIENT_QUOTA_H
#define BUGLE_CLIENT_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/peer.h"
#include "conf/conf.h"

struct client_quota;
struct keyed_count_entry;

/* Reads server.trusted_proxies, which was checked.  NULL when out of memory. */
struct client_quota *client_quota_new(const struct conf *conf);
void client_quota_free(struct client_quota *admission); /* accepts NULL */

/* Whether what this peer says about its clients is believed. */
bool client_quota_trusts(const struct client_quota *admission, const struct peer *peer);

/* Count a connection in, unless its address has `most` of them; for each true, count it off. */
bool client_quota_add_connection(struct client_quota *admission, const struct peer *peer,
                                 uint64_t most);
void client_quota_drop_connection(struct client_quota *admission, const struct peer *peer);

/* The places of one stream; zeroed, it has none. */
struct client_quota_entry {
    struct keyed_count_entry *address, *user; /* NULL: not counted */
};

struct client_quota_limits {
    uint64_t streams_per_address;
    uint64_t streams_per_user;
};

enum client_quota_verdict {
    CLIENT_QUOTA_GRANTED,
    CLIENT_QUOTA_ADDRESS_FULL,
    CLIENT_QUOTA_USER_FULL
};

/*
 * Take the places of a stream, all or none.
 *
 * client  behind any trusted proxies
 * user    borrowed; NULL: nobody in particular, who is not counted
 *
 * Being out of memory is the limit of the address.
 */
enum client_quota_verdict client_quota_enter(struct client_quota *admission,
                                             const struct peer *client, const char *user,
                                             size_t user_n,
                                             const struct client_quota_limits *limits,
                                             struct client_quota_entry *ret_seat);

/* Give them back; the seat has none afterwards. */
void client_quota_leave(struct client_quota *admission, struct client_quota_entry *seat);

#endif
