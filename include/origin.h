/* SPDX-License-Identifier: MIT */
/*
 * Which web pages may talk to the gateway: the Origin header (RFC 6454) against an exact list.
 *
 * Scheme, host and port are compared as the browser wrote them, byte by byte; nothing matches by
 * prefix or suffix.  The word `loopback` in the list stands for http and https origins on a
 * loopback address or `localhost`, with any port or none.
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

#endif
