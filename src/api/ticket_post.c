/* SPDX-License-Identifier: MIT */
/* POST /api/tickets: a ticket for one EventSource.  See ticket_table.h for what becomes of it. */
#include "config.h"
#include "api/route.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <microhttpd.h>
#include <string.h>

#include "api/access.h"
#include "api/ticket_use.h"
#include "base/clock.h"
#include "http/respond.h"
#include "http/service.h"
#include "wire/json_alloc.h"
#include "wire/json_guard.h"

#define TTL_DEFAULT_S 60
#define TTL_MAX_S 3600

/* What is asked for.  Names are borrowed from `parsed`. */
struct ask {
    struct json_alloc *parsed;
    struct grants_pattern user;
    struct grants_pattern topics[TICKET_TOPICS_MAX];
    size_t topics_n;
    uint16_t public_topics;
    json_int_t ttl_s;
};

static bool ticket_post_refuse_field(struct problem *problem, const char *field, const char *what)
{
    problem_set(problem, 422, "invalid_field", "The field \"%s\" %s.", field, what);
    return problem_point(problem, "/%s", field);
}

static bool ticket_post_read_user(struct ask *ask, const json_t *value, struct problem *ret_problem)
{
    ask->user = (struct grants_pattern){json_string_value(value), json_string_length(value)};
    if (ask->user.bytes == NULL || topic_check_user(ask->user.bytes, ask->user.bytes_n) != TOPIC_OK)
        return ticket_post_refuse_field(ret_problem, "user", "must be a user, as text");
    return true;
}

static bool ticket_post_read_topics(struct ask *ask, const json_t *list,
                                    struct problem *ret_problem)
{
    if (!json_is_array(list) || json_array_size(list) < 1 ||
        json_array_size(list) > TICKET_TOPICS_MAX)
        return ticket_post_refuse_field(ret_problem, "topics",
                                        "must be an array of 1 to 16 patterns");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        struct grants_pattern topic = {json_string_value(item), json_string_length(item)};

        if (topic.bytes == NULL || topic_check_pattern(topic.bytes, topic.bytes_n) != TOPIC_OK)
            return ticket_post_refuse_field(ret_problem, "topics",
                                            "has an item that is neither a topic nor a pattern");
        ask->topics[ask->topics_n++] = topic;
    }
    return true;
}

static bool ticket_post_read_ttl(struct ask *ask, const json_t *value, struct problem *ret_problem)
{
    ask->ttl_s = json_integer_value(value);
    if (!json_is_integer(value) || ask->ttl_s < 1 || ask->ttl_s > TTL_MAX_S)
        return ticket_post_refuse_field(ret_problem, "ttl", "must be whole seconds from 1 to 3600");
    return true;
}

static bool ticket_post_read_fields(struct ask *ask, struct problem *ret_problem)
{
    const char *field;
    json_t *value;

    json_object_foreach(ask->parsed->root, field, value)
    {
        if (strcmp(field, "user") == 0) {
            if (!ticket_post_read_user(ask, value, ret_problem))
                return false;
        } else if (strcmp(field, "topics") == 0) {
            if (!ticket_post_read_topics(ask, value, ret_problem))
                return false;
        } else if (strcmp(field, "ttl") == 0) {
            if (!ticket_post_read_ttl(ask, value, ret_problem))
                return false;
        } else {
            return problem_set(ret_problem, 422, "invalid_field",
                               "A ticket has only the fields user, topics and ttl.");
        }
    }
    return true;
}

static struct json_span ticket_post_body(const struct request *request)
{
    return (struct json_span){request->body != NULL ? request->body : "", request->body_n};
}

static bool ticket_post_read(const struct request *request, struct ask *ask,
                             struct problem *ret_problem)
{
    size_t depth_max = request->service->context->conf->limits.json_depth;
    struct json_span body = ticket_post_body(request);

    if (!json_guard_check(body, depth_max, ret_problem))
        return false;
    ask->ttl_s = TTL_DEFAULT_S;
    int result = json_alloc_load(body.at, body.bytes_n, JSON_REJECT_DUPLICATES, NULL, &ask->parsed);
    if (result == -ENOMEM)
        return problem_set(ret_problem, 503, "out_of_memory", "No ticket can be made now.");
    if (result < 0)
        return problem_set(ret_problem, 400, "invalid_json", "The body is not valid JSON.");
    if (!json_is_object(ask->parsed->root))
        return problem_set(ret_problem, 422, "not_an_object", "The body must be an object.");
    if (!ticket_post_read_fields(ask, ret_problem))
        return false;
    if (ask->user.bytes == NULL && ask->topics_n == 0)
        return ticket_post_refuse_field(ret_problem, "topics", "or \"user\" is required");
    return true;
}

static int ticket_post_give(struct request *request, const struct ask *ask)
{
    struct service_shared *shared = request->service->shared;
    const struct identity *identity = request->identity;
    int64_t now_ms = clock_wall_ms();
    int64_t life_ms = (int64_t)request->service->context->conf->auth.ticket_life_ms;
    struct ticket ticket = {
        .made_ms = now_ms,
        .until_ms = clock_earlier(identity->until_ms, now_ms + life_ms),
        .position = hub_committed(shared->hub),
        .user = ask->user,
        .topics = {ask->topics, ask->topics_n},
        .public_topics = ask->public_topics,
        .claims = identity->claims,
    };
    char text[TICKET_TEXT_ROOM];
    struct problem problem;

    ticket.first_until_ms = clock_earlier(ticket.until_ms, now_ms + ask->ttl_s * 1000);
    memcpy(ticket.key_fingerprint, identity->key_fingerprint, IDENTITY_FINGERPRINT_BYTES);
    if (gnutls_rnd(GNUTLS_RND_RANDOM, ticket.id, TICKET_ID_BYTES) < 0)
        return respond_error(request, 503, "out_of_memory", "No ticket can be made now.");
    ssize_t text_n = ticket_seal(text, &ticket, ticket_use_keys(request->service)->keys[0]);
    if (text_n < 0)
        return respond_error(request, 503, "out_of_memory", "No ticket can be made now.");
    if (text_n == 0) {
        ticket_post_refuse_field(&problem, "topics", "has, with the user, more than 1024 bytes");
        return respond_problem(request, &problem);
    }
    stats_add(request->service->context->stats, STATS_TICKETS_MADE, 1);
    return respond_json(request, MHD_HTTP_CREATED,
                        json_pack("{s:s, s:I}", "ticket", text, "ttl", ask->ttl_s));
}

static int ticket_post_answer(struct request *request)
{
    struct ask ask = {.parsed = NULL};
    struct problem problem;
    int result;

    if (!ticket_post_read(request, &ask, &problem) ||
        !access_may_give_ticket(request, &ask.user, ask.topics, ask.topics_n, &ask.public_topics,
                                &problem))
        result = respond_problem(request, &problem);
    else
        result = ticket_post_give(request, &ask);
    json_alloc_free(ask.parsed);
    return result;
}

int ticket_post_handle(struct request *request)
{
    struct memory_budget *memory = request->service->context->memory;
    size_t bytes = json_span_tree_bytes(ticket_post_body(request));

    if (request->identity == NULL)
        return respond_error(
            request, 409, "no_tickets",
            "Without auth.mode=token every client may read, and there are no tickets.");
    if (!memory_budget_admit(memory, MEMORY_BUDGET_PARSING, bytes, memory_budget_level_for(bytes)))
        return respond_memory_short(request);
    int result = ticket_post_answer(request);
    memory_budget_add(memory, MEMORY_BUDGET_PARSING, -(int64_t)bytes);
    return result;
}
