/* SPDX-License-Identifier: MIT */
/*
 * Who has how many of the rare shapes of patterns (topic_tree.h), which are few and for all: no
 * owner, be it an address or a user, has listeners with more than TOPIC_SHARE_SHAPES different
 * ones.
 *
 * An owner is known by a pointer that is the same for all that is its own, and is not looked into.
 * One thread, no lock.
 */
#ifndef BUGLE_TOPIC_SHARE_H
#define BUGLE_TOPIC_SHARE_H

#include <stddef.h>

/* An eighth of them: a page that is in use asks for one or two. */
#define TOPIC_SHARE_SHAPES 16
/* An address and a user. */
#define TOPIC_SHARE_OWNERS 2

struct topic_share;

/* Zeroed, it has none; and is so again when all that was taken is given back. */
struct topic_shares {
    struct topic_share *all;
    size_t bytes;
};

/*
 * Count one more pattern of a shape for each owner that is not NULL, or, if that fails, for no
 * owner.
 *
 * Returns 0, -ENOMEM, or -EDQUOT: an owner has as many shapes as it may, and this is another.
 */
int topic_share_take(struct topic_shares *shares, const void *const owners[TOPIC_SHARE_OWNERS],
                     size_t shape);

/* Count it off again. */
void topic_share_leave(struct topic_shares *shares, const void *const owners[TOPIC_SHARE_OWNERS],
                       size_t shape);

#endif
