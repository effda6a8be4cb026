/* SPDX-License-Identifier: MIT */
/*
 * The client of a request: the peer on the connection, or whom a trusted proxy there names in the
 * header that server.forwarded_header says.  What a monitor shows, the log tells and limits count.
 */
#ifndef BUGLE_CLIENT_ADDRESS_H
#define BUGLE_CLIENT_ADDRESS_H

#include "base/peer.h"
#include "http/request.h"

/* Worker's thread.  Cost: a look at the connection, and at each header if it is a proxy's. */
void client_address_of(const struct request *request, struct peer *ret_client);

#endif
