/* SPDX-License-Identifier: MIT */
/* Topics, user and limit of a query.  See query.h. */
#include "config.h"
#include "query.h"

#include <stdlib.h>
#include <string.h>

#include "topic.h"

/* What a query says, while it is read. */
struct reading {
    struct query_names *names;
    struct problem *problem;
    bool good;
};

static bool refuse_name(struct reading *reading, const char *what, enum topic_error error)
{
    reading->good = problem_set(reading->problem, 400, "invalid_topic", "The %s %s.", what,
                                topic_error_text(error));
    return false;
}

static bool add_topic(struct reading *reading, const char *value, size_t value_n)
{
    enum topic_error error = topic_check_pattern(value, value_n);
    struct query_names *names = reading->names;

    if (error != TOPIC_OK)
        return refuse_name(reading, "topic", error);
    if (names->topics_n == QUERY_TOPICS_MAX) {
        reading->good = problem_set(reading->problem, 400, "too_many_topics",
                                    "At most %d topics may be asked for.", QUERY_TOPICS_MAX);
        return false;
    }
    names->topics[names->topics_n++] = (struct message_name){.bytes = value, .bytes_n = value_n};
    return true;
}

static bool set_user(struct reading *reading, const char *value, size_t value_n)
{
    enum topic_error error = topic_check_user(value, value_n);

    if (error != TOPIC_OK)
        return refuse_name(reading, "user", error);
    reading->names->user = (struct message_name){.bytes = value, .bytes_n = value_n};
    return true;
}

static bool see_parameter(void *arg, const char *name, const char *value, size_t value_n)
{
    struct reading *reading = arg;

    if (strcmp(name, "topic") == 0 || strcmp(name, "topics") == 0)
        return add_topic(reading, value, value_n);
    if (strcmp(name, "user") == 0)
        return set_user(reading, value, value_n);
    return true;
}

bool query_read_names(const struct request *request, struct query_names *ret_names,
                      struct problem *ret_problem)
{
    struct reading reading = {.names = ret_names, .problem = ret_problem, .good = true};

    ret_names->topics_n = 0;
    ret_names->user = (struct message_name){.bytes = NULL};
    request_each_query(request, see_parameter, &reading);
    return reading.good;
}

struct filter *query_make_filter(const struct query_names *names)
{
    return filter_new(names->topics, names->topics_n,
                      names->user.bytes != NULL ? &names->user : NULL);
}

bool query_read_limit(const struct request *request, size_t fallback, size_t max, size_t *ret_limit,
                      struct problem *ret_problem)
{
    size_t text_n = 0;
    const char *text = request_query(request, "limit", &text_n);
    unsigned long limit;
    char *end;

    *ret_limit = fallback;
    if (text == NULL)
        return true;
    limit = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || end != text + text_n || limit < 1 || limit > max)
        return problem_set(ret_problem, 400, "invalid_limit",
                           "limit must be a whole number from 1 to %zu.", max);
    *ret_limit = limit;
    return true;
}
