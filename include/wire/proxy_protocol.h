/* SPDX-License-Identifier: MIT */
/*
 * The PROXY protocol, versions 1 and 2: the header in which a proxy that forwards bytes names its
 * client, before those bytes (haproxy.org, proxy-protocol.txt).
 *
 * Pure, keeps no state, and is fuzzed: called again with more bytes it starts again.  Any thread.
 */
#ifndef BUGLE_PROXY_PROTOCOL_H
#define BUGLE_PROXY_PROTOCOL_H

#include <stddef.h>

#include "base/peer.h"

/* The longest header that is read: that of version 2 with its additions, such as a client's
 * certificate.  A version 1 header has at most 107 bytes. */
#define PROXY_PROTOCOL_BYTES_MAX 4096

enum proxy_protocol_verdict {
    PROXY_PROTOCOL_MORE, /* fine so far, not complete */
    PROXY_PROTOCOL_GOOD,
    PROXY_PROTOCOL_BAD,
};

/* Set when GOOD. */
struct proxy_protocol {
    size_t header_bytes; /* what follows is the client's */
    bool is_local;       /* the proxy speaks for itself, as for a health check */
    struct peer client;  /* unless `is_local`; PEER_UNKNOWN when the proxy does not say, or when it
                          * was called over something that is neither IPv4 nor IPv6 */
};

/*
 * Look at the first bytes of a connection.  Additions (TLV) are passed over unread, a version 2
 * checksum among them.  A refusal is final: later bytes cannot change it.
 *
 * text  borrowed; the first `text_n` bytes that arrived
 */
enum proxy_protocol_verdict proxy_protocol_read(const char *text, size_t text_n,
                                                struct proxy_protocol *ret_header);

#endif
