/* SPDX-License-Identifier: MIT */
/*
 * Where a client that shows an id goes on: the rule that streams and listings share.
 *
 * Where several gateways share one history (hub_share.h) another one may have given the id, and
 * this one may be behind, cut off, or not know the newest epoch yet.  A `reset` at once would be a
 * loss that did not happen.  So a place that this gateway does not have is open until the log was
 * asked, later than the id was shown:
 *
 *     this gateway's history     the log's last word                   the place is
 *     has the position           (not needed)                          the id's
 *     does not, or the epoch     none since, or of an epoch that this  open
 *     is not known, or ended     gateway has not attached to
 *     before that position       has the position, or the end of its   open: it will come here
 *                                epoch, and this gateway does not yet
 *                                does not have it either               told by a reset
 *
 * So a place that is known is always one that this gateway's history has come to.
 *
 * Any thread.
 */
#ifndef BUGLE_STREAM_PLACE_H
#define BUGLE_STREAM_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hub;
struct hub_share_facts;

/* Why a place is not available any more; the words are on the wire. */
enum stream_reset {
    STREAM_RESET_NONE,
    STREAM_RESET_EXPIRED,
    STREAM_RESET_UNKNOWN,
    STREAM_RESET_EPOCH,
    STREAM_RESET_DAMAGED,
};
const char *stream_reset_text(enum stream_reset reset);

struct stream_place {
    bool is_open;            /* nothing can be said yet, and the next two mean nothing */
    enum stream_reset reset; /* why it is another place than the id's */
    uint64_t position;       /* the id's own, or with a reset the place to go on from */
};

/*
 * Find it.
 *
 * word  the log's last word, asked for after the id was shown, borrowed; NULL: there is none.
 *       Without a shared log it does not matter, and no place is open
 */
void stream_find_place(const struct hub *hub, const char *id, size_t id_n,
                       const struct hub_share_facts *word, struct stream_place *ret_place);

#endif
