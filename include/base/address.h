/* SPDX-License-Identifier: MIT */
/*
 * Addresses of peers as text, as a sockaddr, and as what a limit counts them by; and the networks
 * that an operator lists.  Pure; any thread.
 */
#ifndef BUGLE_ADDRESS_H
#define BUGLE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/peer.h"

struct conf_list;

/*
 * Read an address without a port: "192.0.2.1", "2001:db8::1".  Nothing but that: no zone, no
 * brackets, no blanks, no leading zeros in IPv4.
 *
 * text  borrowed; `text_n` bytes, any bytes
 */
bool address_parse(const char *text, size_t text_n, struct peer *ret_peer);

/* Write it for the kernel or the HTTP library; AF_UNSPEC for an unknown one.  Returns the length.
 */
socklen_t address_to_sockaddr(const struct peer *peer, struct sockaddr_storage *ret_address);

#define ADDRESS_KEY_BYTES 9
/* What limits count a peer by, as bytes: an IPv4 address, or the /64 of an IPv6 address, since one
 * host usually has the whole /64.  Returns the length. */
size_t address_key(const struct peer *peer, uint8_t to[ADDRESS_KEY_BYTES]);

/* A range of addresses: those that begin with `bits` of `base`. */
struct address_network {
    struct peer base; /* family 0: unix sockets */
    unsigned bits;
};

/* "192.0.2.1", "10.0.0.0/8", "2001:db8::/32", or "unix" for every peer on a unix socket. */
bool address_parse_network(const char *text, struct address_network *ret_network);
bool address_in_network(const struct peer *peer, const struct address_network *network);

/* Whether an item of server.trusted_proxies has a form that can be used. */
bool address_is_network(const char *text);

#endif
