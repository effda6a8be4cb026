/* SPDX-License-Identifier: MIT */
/*
 * Which web pages may talk to the gateway: the Origin header (RFC 6454) against an exact list.
 *
 * Scheme, host and port are compared as the browser wrote them, byte by byte; nothing matches by
 * prefix or suffix.  The word `loopback` in the list stands for http and https origins on a
 * loopback address or `localhost`, with any port or none.
 *
 * And by which name the gateway may be asked: the Host header, against pages whose own name has been
 * made to lead here (DNS rebinding), for whom the gateway is the origin that they came from.
 */
#ifndef BUGLE_ORIGIN_H
#define BUGLE_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "conf.h"

enum origin_verdict {
    ORIGIN_ABSENT, /* no Origin: not a page of another site, or no browser at all */
    ORIGIN_LISTED,
    ORIGIN_FOREIGN,
};

/* origin  the header's value, borrowed; NULL when there is none
 * list    auth.origins */
enum origin_verdict origin_check(const char *origin, const struct conf_list *list);

/*
 * Whether the gateway answers to this name.
 *
 * host  the header's value, borrowed; NULL, as HTTP/1.0 may have it, is fine
 * list  server.hosts: a name without a port fits with any; `loopback` stands for localhost and
 *       loopback addresses.  Case does not matter; a dot at the end does.
 */
bool origin_host_is_served(const char *host, const struct conf_list *list);

#endif
