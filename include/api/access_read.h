/* SPDX-License-Identifier: MIT */
/*
 * What a caller may read: what its own rights cover, and what auth.anonymous gives to everybody and
 * auth.private does not take back.  And whether a stream that was let in under other settings would
 * be let in under these.
 *
 * Pure; any thread.
 */
#ifndef BUGLE_ACCESS_READ_H
#define BUGLE_ACCESS_READ_H

#include "auth/identity.h"
#include "conf/conf.h"
#include "event/filter.h"
#include "stream/stream.h"

/* Matches no topic, since nothing can be published below it: for callers that may read only what is
 * addressed to their user. */
#define ACCESS_READ_NO_TOPIC "$bugle/none"

/* Whether everybody may read all that a topic or pattern can match.  Costs a comparison with each
 * pattern of both settings; so do the next two for each pattern that they ask about. */
bool access_read_public(const struct conf *conf, const char *wanted, size_t wanted_n);

/* Whether this caller may; NULL is anonymous. */
bool access_read_may(const struct conf *conf, const struct identity *identity, const char *wanted,
                     size_t wanted_n);

/*
 * Whether an open stream would be admitted under these settings, with its filter and its
 * credential.  Whether its key is still there is asked of auth_key_is_current().
 *
 * grant  how it was let in; under the same settings the answer is yes at once
 */
bool access_read_still_may(const struct conf *conf, const struct stream_grant *grant,
                           const struct filter *filter);

#endif
