/* SPDX-License-Identifier: MIT */
/*
 * The client of a request that came through proxies: X-Forwarded-For, and Forwarded of
 * RFC 7239.
 *
 * Each proxy appends the address of its own peer, so the last entry comes from the peer on the
 * socket, the one before it from the host that this entry names, and so on.  Entries of trusted
 * proxies are believed; the first entry from the right that is not a trusted proxy is the client,
 * and the entries left of it may be forged.  An entry that names no address, or that cannot be
 * read, is an unknown client: PEER_UNKNOWN.  It must not be taken for the proxy, which no limit
 * counts: then a client could hide by sending a header that its proxy spoils.
 *
 * The lines are read once, from left to right, without memory of them: it is enough to know the
 * last entry that is no trusted proxy.  Pure and fuzzed; any thread.
 */
#ifndef BUGLE_FORWARDED_H
#define BUGLE_FORWARDED_H

#include <stdbool.h>
#include <stddef.h>

#include "base/address.h"

enum forwarded_form {
    FORWARDED_X_FORWARDED_FOR, /* addresses, ports allowed */
    FORWARDED_RFC_7239,        /* for=...;by=...;proto=... */
};

struct forwarded {
    bool (*trusts)(void *arg, const struct peer *peer);
    void *arg;
    bool believes; /* the peer on the socket is trusted */
    bool is_known; /* a trusted proxy has said something, which is `client` */
    struct peer peer;
    struct peer client;
};

/* Begin with the peer on the socket.  `trusts` tells a trusted proxy. */
void forwarded_begin(struct forwarded *forwarded, const struct peer *peer,
                     bool (*trusts)(void *arg, const struct peer *peer), void *arg);

/* Add the value of one header line; in the order in which they stand in the request. */
void forwarded_add(struct forwarded *forwarded, enum forwarded_form form, const char *value,
                   size_t value_n);

/* The client that the trusted proxies name; without one, the peer on the socket. */
const struct peer *forwarded_client(const struct forwarded *forwarded);

#endif
