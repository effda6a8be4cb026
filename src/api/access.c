/* SPDX-License-Identifier: MIT */
/* The rights of a caller. See access.h. */
#include "config.h"
#include "api/access.h"

#include <stdio.h>
#include <string.h>

#include "api/access_read.h"
#include "api/challenge.h"
#include "api/credential.h"
#include "api/route.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "http/respond.h"
#include "http/service.h"

static const struct conf *access_conf(const struct request *request)
{
    return request->service->context->conf;
}

static bool access_is_on(const struct request *request)
{
    return access_conf(request)->auth.mode == CONF_AUTH_TOKEN;
}

/* ---- routes ---- */

/* Whether a stream may be anonymous: if the settings allow it, and the client does not ask with
 * anonymous=no to be told that its login is over. */
static bool access_may_be_anonymous(const struct request *request, struct problem *ret_problem)
{
    bool anonymous;

    if (!query_params_read_anonymous(request, &anonymous, ret_problem))
        return false;
    return (anonymous && access_conf(request)->auth.anonymous.items_n > 0) ||
           challenge_no_credential(ret_problem);
}

static bool access_has_right(const struct request *request, struct problem *ret_problem)
{
    const struct identity *identity = request->identity;
    enum route_right right = request->route->right;

    if (right == ROUTE_READ && identity == NULL)
        return access_may_be_anonymous(request, ret_problem);
    if (identity == NULL)
        return challenge_no_credential(ret_problem);
    if (right == ROUTE_CALLER)
        return true;
    /* Not past the end of its token, not even within the leeway: the stream would end at once, and
     * its client would try again and again. */
    if (right == ROUTE_READ)
        return identity->until_ms > clock_wall_ms() ||
               challenge_bad_credential(ret_problem, "The token has expired.");
    if (right == ROUTE_PUBLISH)
        return access_may_publish_some(identity, access_conf(request), ret_problem);
    return identity->admin || challenge_no_right(ret_problem, "admin");
}

static int access_refuse(struct request *request, struct problem *problem)
{
    challenge_count(request->service->context->stats, problem);
    return request->route->refuse != NULL ? request->route->refuse(request, problem)
                                          : respond_problem(request, problem);
}

int access_check(struct request *request)
{
    struct problem problem;

    if (!access_is_on(request) || request->route->right == ROUTE_OPEN)
        return -1;
    if (credential_identify(request, &problem) && access_has_right(request, &problem))
        return -1;
    return access_refuse(request, &problem);
}

/* ---- streams ---- */

static bool access_is_own_user(const struct identity *own, const char *user, size_t user_n)
{
    return own != NULL && own->user.bytes != NULL &&
           bytes_equal(own->user.bytes, own->user.bytes_n, user, user_n);
}

static void access_add_topic(struct query_params_names *names, const char *bytes, size_t bytes_n)
{
    if (names->topics_n < QUERY_PARAMS_TOPICS_ROOM)
        names->topics[names->topics_n++] =
            (struct message_name){.bytes = bytes, .bytes_n = bytes_n};
}

static void access_add_topics(struct query_params_names *names, const struct grants_list *list)
{
    for (size_t i = 0; i < list->patterns_n; i++)
        access_add_topic(names, list->patterns[i].bytes, list->patterns[i].bytes_n);
}

/* All that the caller may read.  A filter without patterns would accept everything, so a caller
 * that may read no topic gets a pattern that matches none. */
static void access_ask_for_all(const struct conf *conf, const struct identity *identity,
                               struct query_params_names *names)
{
    const struct conf_list *list = &conf->auth.anonymous;

    if (access_read_may(conf, identity, "**", 2))
        return;
    for (size_t i = 0; i < list->items_n; i++)
        if (access_read_public(conf, list->items[i], strlen(list->items[i])))
            access_add_topic(names, list->items[i], strlen(list->items[i]));
    if (identity != NULL) {
        access_add_topics(names, &identity->subscribe);
        access_add_topics(names, &identity->public_topics);
    }
    if (names->topics_n == 0)
        access_add_topic(names, ACCESS_READ_NO_TOPIC, strlen(ACCESS_READ_NO_TOPIC));
}

static bool access_check_topics(const struct conf *conf, const struct identity *identity,
                                const struct query_params_names *names, struct problem *ret_problem)
{
    for (size_t i = 0; i < names->topics_n; i++) {
        const struct message_name *topic = &names->topics[i];

        if (access_read_may(conf, identity, topic->bytes, topic->bytes_n))
            continue;
        if (identity == NULL)
            return challenge_no_credential(ret_problem);
        return challenge_no_right_to(ret_problem, "subscribe", topic->bytes, topic->bytes_n);
    }
    return true;
}

bool access_limit_names(const struct conf *conf, const struct identity *identity,
                        struct query_params_names *names, struct problem *ret_problem)
{
    const struct message_name *user = &names->user;

    if (conf->auth.mode != CONF_AUTH_TOKEN)
        return true;
    if (user->bytes != NULL && !access_is_own_user(identity, user->bytes, user->bytes_n))
        return problem_set(ret_problem, 403, "foreign_user",
                           "The user must be the sub of the token.");
    if (!access_check_topics(conf, identity, names, ret_problem))
        return false;
    names->user = (struct message_name){.bytes = NULL};
    if (identity != NULL && identity->user.bytes != NULL)
        names->user =
            (struct message_name){.bytes = identity->user.bytes, .bytes_n = identity->user.bytes_n};
    if (names->topics_n == 0)
        access_ask_for_all(conf, identity, names);
    return true;
}

bool access_limit_stream(struct request *request, struct query_params_names *names,
                         struct problem *ret_problem)
{
    if (access_limit_names(access_conf(request), request->identity, names, ret_problem))
        return true;
    challenge_count(request->service->context->stats, ret_problem);
    return false;
}

bool access_limit_listing(struct request *request, struct query_params_names *names,
                          struct problem *ret_problem)
{
    const struct identity *identity = request->identity;

    return (identity != NULL && identity->admin) ||
           access_limit_stream(request, names, ret_problem);
}

/* ---- publishing ---- */

static bool access_may_publish_one(const struct identity *identity, const struct message *message,
                                   struct problem *ret_problem)
{
    if (message->topics_n == 0 && !grants_cover_all(&identity->publish)) {
        challenge_no_right(ret_problem, "publish");
        snprintf(ret_problem->detail, sizeof(ret_problem->detail),
                 "The event has no topic%s: this needs a publish right that covers \"**\". Name a "
                 "topic that the caller may publish to.",
                 message->users_n > 0 ? "" : " and no user, so it is for every stream");
        return false;
    }
    for (size_t i = 0; i < message->topics_n; i++) {
        const struct message_name *topic = &message_topics(message)[i];

        if (!grants_cover(&identity->publish, topic->bytes, topic->bytes_n))
            return challenge_no_right_to(ret_problem, "publish", topic->bytes, topic->bytes_n);
    }
    return true;
}

bool access_may_publish_some(const struct identity *identity, const struct conf *conf,
                             struct problem *ret_problem)
{
    if (conf->auth.mode != CONF_AUTH_TOKEN)
        return true;
    if (identity == NULL)
        return challenge_no_credential(ret_problem);
    return identity->publish.patterns_n > 0 || challenge_no_right(ret_problem, "publish");
}

bool access_may_publish_to(const struct identity *identity, const struct conf *conf,
                           const char *topic, size_t topic_n, struct problem *ret_problem)
{
    if (conf->auth.mode != CONF_AUTH_TOKEN)
        return true;
    if (identity == NULL)
        return challenge_no_credential(ret_problem);
    return grants_cover(&identity->publish, topic, topic_n) ||
           challenge_no_right_to(ret_problem, "publish", topic, topic_n);
}

bool access_may_publish(const struct identity *identity, const struct conf *conf,
                        const struct publish_body *body, struct problem *ret_problem)
{
    if (conf->auth.mode != CONF_AUTH_TOKEN)
        return true;
    for (size_t i = 0; i < body->messages_n; i++) {
        const struct message *message = body->messages[i];

        if (access_may_publish_one(identity, message, ret_problem))
            continue;
        const char *fields[] = {"", "/topic", "/topics"};
        const char *field = fields[message->topics_n < 2 ? message->topics_n : 2];
        return body->is_array ? problem_point(ret_problem, "/%zu%s", i, field)
                              : problem_point(ret_problem, "%s", field);
    }
    return true;
}

/* ---- tickets ---- */

bool access_may_give_ticket(const struct request *request, struct grants_pattern *user,
                            const struct grants_pattern *topics, size_t topics_n,
                            uint16_t *ret_public, struct problem *ret_problem)
{
    const struct identity *identity = request->identity;

    *ret_public = 0;
    if (identity->admin)
        return true;
    if (user->bytes == NULL)
        *user = identity->user;
    else if (!identity->ticket && !access_is_own_user(identity, user->bytes, user->bytes_n))
        return challenge_no_right(ret_problem, "ticket");
    for (size_t i = 0; i < topics_n; i++) {
        if (grants_cover(&identity->subscribe, topics[i].bytes, topics[i].bytes_n))
            continue;
        if (!access_read_public(access_conf(request), topics[i].bytes, topics[i].bytes_n))
            return challenge_no_right_to(ret_problem, "subscribe", topics[i].bytes,
                                         topics[i].bytes_n);
        *ret_public |= (uint16_t)(1U << i);
    }
    return true;
}
