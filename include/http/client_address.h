/* SPDX-License-Identifier: MIT */
/*
 * The client of a request: the peer on the connection, or the address that a trusted proxy names in
 * the header of server.forwarded_header.  Monitors show it, the log names it and limits count it.
 */
#ifndef BUGLE_CLIENT_ADDRESS_H
#define BUGLE_CLIENT_ADDRESS_H

#include "base/peer.h"
#include "http/request.h"

/* Worker's thread.  Cost: a look at the connection, and at each header if it is a proxy's. */
void client_address_of(const struct request *request, struct peer *ret_client);

#endif
