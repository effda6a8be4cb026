/* SPDX-License-Identifier: MIT */
/* What the query of a request for events says.  See query.h. */
#include "config.h"
#include "query.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "conf.h"
#include "sse.h"
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

bool query_read_anonymous(const struct request *request, bool *ret_anonymous,
                          struct problem *ret_problem)
{
    const char *text = request_query(request, "anonymous", NULL);

    *ret_anonymous = text == NULL || strcmp(text, "yes") == 0;
    if (*ret_anonymous || strcmp(text, "no") == 0)
        return true;
    return problem_set(ret_problem, 400, "invalid_anonymous", "anonymous must be yes or no.");
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

static bool read_last_event_id(const struct request *request, struct stream_start *start,
                               struct problem *ret_problem)
{
    static const char *const aliases[] = {"last_event_id", "lastEventId", "lastEventID"};
    const char *id = request_header(request, "Last-Event-ID");
    size_t id_n = id != NULL ? strlen(id) : 0;

    if (request_header_count(request, "Last-Event-ID") > 1)
        return problem_set(ret_problem, 400, "invalid_position",
                           "There is more than one Last-Event-ID header.");
    for (size_t i = 0; id_n == 0 && i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if ((id = request_query(request, aliases[i], &id_n)) == NULL)
            id_n = 0;
    if (id_n > SSE_LAST_EVENT_ID_BYTES_MAX)
        return problem_set(ret_problem, 400, "invalid_position",
                           "The last event id has more than %d bytes.",
                           SSE_LAST_EVENT_ID_BYTES_MAX);
    if (id_n > 0) {
        start->from = STREAM_FROM_ID;
        start->id = id;
        start->id_n = id_n;
    }
    return true;
}

static bool read_since(const struct request *request, struct stream_start *start,
                       struct problem *ret_problem)
{
    size_t since_n = 0;
    const char *since = request_query(request, "since", &since_n);
    uint64_t duration_ms, position;
    const char *epoch;

    if (since == NULL || start->from == STREAM_FROM_ID)
        return true;
    if (strlen(since) != since_n) { /* a NUL in it: what stands before would be taken for all */
        since = "";
        since_n = 0;
    }
    if (strcmp(since, "latest") == 0)
        return true;
    if (strcmp(since, "earliest") == 0) {
        start->from = STREAM_FROM_EARLIEST;
    } else if (sse_parse_id(since, since_n, &epoch, &position)) {
        start->from = STREAM_FROM_ID;
        start->id = since;
        start->id_n = since_n;
    } else if (conf_parse_duration_ms(since, &duration_ms)) {
        start->from = STREAM_FROM_TIME;
        start->since_ms = clock_wall_ms() - (int64_t)duration_ms;
        if (start->since_ms < 0)
            start->since_ms = 0;
    } else {
        return problem_set(ret_problem, 400, "invalid_since",
                           "since must be latest, earliest, a duration such as 10m, or an id.");
    }
    return true;
}

bool query_read_start(const struct request *request, struct stream_start *ret_start,
                      struct problem *ret_problem)
{
    *ret_start = (struct stream_start){.from = STREAM_FROM_LATEST};
    return read_last_event_id(request, ret_start, ret_problem) &&
           read_since(request, ret_start, ret_problem);
}
