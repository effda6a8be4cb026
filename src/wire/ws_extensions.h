/* SPDX-License-Identifier: MIT */
/* Sec-WebSocket-Extensions of a client: is there an offer of permessage-deflate that we can take?
 * (RFC 6455 section 9.1, RFC 7692 section 7.1.)  Pure and fuzzed. */
#ifndef BUGLE_WS_EXTENSIONS_H
#define BUGLE_WS_EXTENSIONS_H

#include "wire/span.h"

/* A character of a token (RFC 9110 section 5.6.2). */
bool ws_is_token(struct span text);

/* What was found so far.  Zero it first. */
struct ws_offer {
    bool is_taken;     /* the first offer that can be taken is among them */
    bool names_window; /* and it wants server_max_window_bits=15 said */
};

/* Look through a line.  Returns false if it is no list of extensions. */
bool ws_offer_look(struct ws_offer *offer, struct span line);

#endif
