/* SPDX-License-Identifier: MIT */
/* A hub on a shared log: ephemeral events, which are said.  See hub_share.h. */
#include "config.h"

#include "hub/hub_share_internal.h"

int share_say(struct hub_share *share, const struct hub_op *op)
{
    (void)share, (void)op;
    return HUB_LOG_UNREACHABLE;
}

void share_heard(void *arg, const char *bytes, size_t bytes_n)
{
    struct hub_share *share = arg;

    share->conf.heard(share->conf.arg, bytes, bytes_n);
}

void share_release_held(struct hub_share *share)
{
    (void)share;
}

void share_drop_held(struct hub_share *share)
{
    (void)share;
}
