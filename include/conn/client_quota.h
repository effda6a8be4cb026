/* SPDX-License-Identifier: MIT */
/*
 * Limits per client: connections and streams of an address, streams of a user, over all workers;
 * and which proxies are trusted to name their client.
 *
 * Two kinds of peers are not counted by address: those on a loopback address or a unix socket, and
 * trusted proxies, which forward for many clients.  Behind a trusted proxy its client counts.  An
 * IPv6 address counts as its /64.
 *
 * Clients are counted even without a limit; a limit only decides whether one more is admitted. So
 * limits may change at any time.  A limit of 0 means no limit.  Any thread.
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
void client_quota_free(struct client_quota *quota); /* accepts NULL */

/* Whether this peer is a trusted proxy. */
bool client_quota_trusts(const struct client_quota *quota, const struct peer *peer);

/* Count one more connection, unless its address has `most` of them.  After true the caller owes one
 * client_quota_drop_connection(). */
bool client_quota_add_connection(struct client_quota *quota, const struct peer *peer,
                                 uint64_t most);
void client_quota_drop_connection(struct client_quota *quota, const struct peer *peer);

/* What one stream is counted in; zeroed: nothing. */
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
 * Count one more stream for its address and its user, both or neither.
 *
 * client  behind any trusted proxies
 * user    borrowed; NULL: an anonymous client, counted by address only
 *
 * Out of memory is reported as CLIENT_QUOTA_ADDRESS_FULL.
 */
enum client_quota_verdict client_quota_enter(struct client_quota *quota, const struct peer *client,
                                             const char *user, size_t user_n,
                                             const struct client_quota_limits *limits,
                                             struct client_quota_entry *ret_entry);

/* Count it off; the entry is zeroed afterwards. */
void client_quota_leave(struct client_quota *quota, struct client_quota_entry *entry);

#endif
