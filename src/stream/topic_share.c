/* SPDX-License-Identifier: MIT */
/* Shares of the rare shapes.  See topic_share.h. */
#include "config.h"
#include "stream/topic_share.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "stream/topic_tree.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct topic_share {
    UT_hash_handle hh;
    const void *owner;
    size_t shapes_n;
    uint32_t patterns_n[TOPIC_TREE_RARE_SHAPES];
};

static struct topic_share *find(const struct topic_shares *shares, const void *owner)
{
    struct topic_share *share;

    HASH_FIND_PTR(shares->all, &owner, share);
    return share;
}

static struct topic_share *find_or_add(struct topic_shares *shares, const void *owner)
{
    struct topic_share *share = find(shares, owner);

    if (share != NULL)
        return share;
    share = calloc(1, sizeof(*share));
    if (share == NULL)
        return NULL;
    share->owner = owner;
    HASH_ADD_PTR(shares->all, owner, share);
    if (share->hh.tbl == NULL) {
        free(share);
        return NULL;
    }
    shares->bytes += sizeof(*share);
    return share;
}

static void forget_if_empty(struct topic_shares *shares, struct topic_share *share)
{
    if (share->shapes_n > 0)
        return;
    HASH_DEL(shares->all, share);
    shares->bytes -= sizeof(*share);
    free(share);
}

static int take_share(struct topic_shares *shares, const void *owner, size_t shape)
{
    struct topic_share *share = owner != NULL ? find_or_add(shares, owner) : NULL;

    if (share == NULL)
        return owner != NULL ? -ENOMEM : 0;
    if (share->patterns_n[shape] == 0) {
        if (share->shapes_n == TOPIC_SHARE_SHAPES)
            return -EDQUOT;
        share->shapes_n++;
    }
    share->patterns_n[shape]++;
    return 0;
}

static void leave(struct topic_shares *shares, const void *owner, size_t shape)
{
    struct topic_share *share = owner != NULL ? find(shares, owner) : NULL;

    if (share == NULL)
        return;
    if (--share->patterns_n[shape] == 0)
        share->shapes_n--;
    forget_if_empty(shares, share);
}

int topic_share_take(struct topic_shares *shares, const void *const owners[TOPIC_SHARE_OWNERS],
                     size_t shape)
{
    for (size_t i = 0; i < TOPIC_SHARE_OWNERS; i++) {
        int result = take_share(shares, owners[i], shape);

        if (result == 0)
            continue;
        while (i-- > 0)
            leave(shares, owners[i], shape);
        return result;
    }
    return 0;
}

void topic_share_leave(struct topic_shares *shares, const void *const owners[TOPIC_SHARE_OWNERS],
                       size_t shape)
{
    for (size_t i = 0; i < TOPIC_SHARE_OWNERS; i++)
        leave(shares, owners[i], shape);
}
