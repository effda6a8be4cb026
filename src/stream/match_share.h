/* SPDX-License-Identifier: MIT */
/*
 * Who has how many of the rare shapes of patterns (match_tree.h), which are few and for all: no
 * owner, be it an address or a user, has listeners with more than MATCH_SHARE_SHAPES different
 * ones.
 *
 * An owner is known by a pointer that is the same for all that is its own, and is not looked into.
 * One thread, no lock.
 */
#ifndef BUGLE_MATCH_SHARE_H
#define BUGLE_MATCH_SHARE_H

#include <stddef.h>

/* An eighth of them: a page that is in use asks for one or two. */
#define MATCH_SHARE_SHAPES 16
/* An address and a user. */
#define MATCH_OWNERS 2

struct match_share;

/* Zeroed, it has none; and is so again when all that was taken is given back. */
struct match_shares {
    struct match_share *all;
    size_t bytes;
};

/*
 * Count one more pattern of a shape for each owner that is not NULL, or for none of them.
 *
 * Returns 0, -ENOMEM, or -EDQUOT: an owner has as many shapes as it may, and this is another.
 */
int match_share_take(struct match_shares *shares, const void *const owners[MATCH_OWNERS],
                     size_t shape);

/* Count it off again. */
void match_share_leave(struct match_shares *shares, const void *const owners[MATCH_OWNERS],
                       size_t shape);

#endif
