/* SPDX-License-Identifier: MIT */
/*
 * One message of permessage-deflate, inflated as it comes (RFC 7692 section 7.2.2).  Each begins
 * anew, as no context is taken over, so there is one of these only while a message is part
 * received.
 */
#ifndef BUGLE_WS_INFLATE_H
#define BUGLE_WS_INFLATE_H

#include <stdbool.h>
#include <stddef.h>

struct ws_inflate;

/* About 8 KiB of memory, and 32 KiB for a window once it is needed.  NULL when there is none. */
struct ws_inflate *ws_inflate_new(void);
void ws_inflate_free(struct ws_inflate *inflater); /* accepts NULL */

enum ws_inflate_result {
    WS_INFLATE_FINE, /* all of the input is used and all that it makes is out */
    WS_INFLATE_FULL, /* the room is full: there may be more */
    WS_INFLATE_BAD,  /* what was written is good, what follows is no deflate */
    WS_INFLATE_NO_MEMORY,
};

/*
 * Inflate more.
 *
 * in, in_n  what came; moved forward by what was used
 * to, room  borrowed; at least one byte
 * ret_n     bytes written
 */
enum ws_inflate_result ws_inflate_more(struct ws_inflate *inflater, const char **in, size_t *in_n,
                                       char *to, size_t room, size_t *ret_n);

/* The four bytes that every message has lost at its end; to be given to
 * ws_inflate_more() until they are used.  No bytes if the message ended its stream by itself
 * (section 7.2.3.5) or is empty. */
void ws_inflate_tail(const struct ws_inflate *inflater, const char **ret_in, size_t *ret_n);

/* Whether the message ended where a block ends, after its tail. */
bool ws_inflate_is_whole(const struct ws_inflate *inflater);

size_t ws_inflate_held_bytes(const struct ws_inflate *inflater);

#endif
