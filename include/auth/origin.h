/* SPDX-License-Identifier: MIT */
/*
 * Which web pages may talk to the gateway: the Origin header (RFC 6454) against an exact list.
 *
 * Scheme, host and port are compared as the browser wrote them, byte by byte; nothing matches by
 * prefix or suffix.  The word `loopback` in the list stands for http and https origins on a
 * loopback address or `localhost`, with any port or none.
 *
 * And by which name the gateway may be asked: the Host header, against pages whose own name has
 * been made to lead here (DNS rebinding), for whom the gateway is the origin that they came from.
 */
#ifndef BUGLE_ORIGIN_H
#define BUGLE_ORIGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "conf/conf.h"

enum origin_verdict {
    ORIGIN_ABSENT, /* no Origin: not a page of another site, or no browser at all */
    ORIGIN_LISTED,
    ORIGIN_FOREIGN,
};

/* origin  the header's value, borrowed; NULL when there is none
 * list    auth.origins */
enum origin_verdict origin_check(const char *origin, const struct conf_list *list);

/* The same by two lists: a page of the gateway's own is as good as a listed one. */
enum origin_verdict origin_judge(const char *origin, const struct conf_list *own,
                                 const struct conf_list *list);

/* What an answer that is written by hand says to a page. */
#define ORIGIN_LINES_BYTES 512

/*
 * Write the CORS headers for a page that may read the answer (Fetch, "CORS protocol"), as whole
 * lines and NUL.
 *
 * With `origin` NULL caches are told that one would matter, and no more; so with one that has no
 * room here.  `has_cookie` tells whether pages may send their credentials.
 */
void origin_write_lines(char to[ORIGIN_LINES_BYTES], const char *origin, bool has_cookie);

#define ORIGIN_BYTES_MAX 256

/* Find the Origin in a head that was not parsed, since it is wrong or not complete.  `text`
 * need not be a head at all.  Returns `to`, or NULL when there is none that is shorter than the
 * room. */
const char *origin_find(const char *text, size_t text_n, char to[ORIGIN_BYTES_MAX]);

/*
 * Whether the gateway answers to this name.
 *
 * host  the header's value, borrowed; NULL, as HTTP/1.0 may have it, is fine
 * list  server.hosts: a name without a port fits with any; `loopback` stands for localhost and
 *       loopback addresses.  Case does not matter; a dot at the end does.
 */
bool origin_host_is_served(const char *host, const struct conf_list *list);

#endif
