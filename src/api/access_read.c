/* SPDX-License-Identifier: MIT */
/* What a caller may read.  See access_read.h. */
#include "config.h"
#include "api/access_read.h"

#include <string.h>

#include "base/bytes.h"

/* Whether a topic that `wanted` can match is in auth.private. */
static bool access_read_is_private(const struct conf *conf, const char *wanted, size_t wanted_n)
{
    const struct conf_list *list = &conf->auth.private;

    for (size_t i = 0; i < list->items_n; i++)
        if (grants_patterns_overlap(list->items[i], strlen(list->items[i]), wanted, wanted_n))
            return true;
    return false;
}

bool access_read_public(const struct conf *conf, const char *wanted, size_t wanted_n)
{
    const struct conf_list *list = &conf->auth.anonymous;

    if (access_read_is_private(conf, wanted, wanted_n))
        return false;
    for (size_t i = 0; i < list->items_n; i++)
        if (grants_pattern_covers(list->items[i], strlen(list->items[i]), wanted, wanted_n))
            return true;
    return false;
}

/* The caller's own rights first: they are few. */
bool access_read_may(const struct conf *conf, const struct identity *identity, const char *wanted,
                     size_t wanted_n)
{
    return (identity != NULL && grants_cover(&identity->subscribe, wanted, wanted_n)) ||
           access_read_public(conf, wanted, wanted_n);
}

/* ---- again ---- */

static bool access_read_filter_may(const struct conf *conf, const struct identity *identity,
                                   const struct filter *filter)
{
    if (filter->patterns_n == 0)
        return access_read_may(conf, identity, "**", 2);
    for (size_t i = 0; i < filter->patterns_n; i++) {
        const struct message_name *name = &filter->patterns[i].name;

        if (!bytes_are(name->bytes, name->bytes_n, ACCESS_READ_NO_TOPIC) &&
            !access_read_may(conf, identity, name->bytes, name->bytes_n))
            return false;
    }
    return true;
}

/* Whether everybody may read less than before, or other things. */
static bool access_read_lost_public(const struct conf *before, const struct conf *after)
{
    return !conf_list_has_all(&after->auth.anonymous, &before->auth.anonymous) ||
           !conf_list_has_all(&before->auth.private, &after->auth.private);
}

/* A cookie of another name, or of a page that may not be listed any more.  Which page it was is not
 * kept: all of them come again, and those that are still listed get on. */
static bool access_read_cookie_counts(const struct conf *before, const struct conf *after,
                                      enum identity_way way)
{
    if (strcmp(before->auth.cookie, after->auth.cookie) != 0)
        return false;
    return way != IDENTITY_BY_COOKIE_OF_PAGE ||
           conf_list_has_all(&after->auth.origins, &before->auth.origins);
}

static bool access_read_way_is_open(const struct conf *before, const struct conf *after,
                                    enum identity_way way)
{
    switch (way) {
    case IDENTITY_BY_HEADER:
    case IDENTITY_BY_TICKET:
        return true;
    case IDENTITY_BY_QUERY:
        return after->auth.query_token;
    case IDENTITY_BY_COOKIE:
    case IDENTITY_BY_COOKIE_OF_PAGE:
        return access_read_cookie_counts(before, after, way);
    }
    return false;
}

bool access_read_still_may(const struct conf *conf, const struct stream_grant *grant,
                           const struct filter *filter)
{
    if (grant->conf == conf)
        return true;
    if (grant->identity == NULL && conf->auth.anonymous.items_n == 0)
        return false;
    if (grant->identity != NULL && !access_read_way_is_open(grant->conf, conf, grant->way))
        return false;
    return !access_read_lost_public(grant->conf, conf) ||
           access_read_filter_may(conf, grant->identity, filter);
}
