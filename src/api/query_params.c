/* SPDX-License-Identifier: MIT */
/* What the query of a request for events says.  See query_params.h. */
#include "config.h"
#include "api/query_params.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "conf/conf.h"
#include "event/topic.h"
#include "http/parameters.h"
#include "wire/sse.h"

/* Before how many of the latest events a stream is to begin with. */
#define LAST "last:"

/* What a query says, while it is read. */
struct reading {
    struct query_params_names *names;
    struct problem *problem;
    bool good;
};

static bool query_params_refuse_name(struct reading *reading, const char *what,
                                     enum topic_error error)
{
    reading->good = problem_set(reading->problem, 400, "invalid_topic", "The %s %s.", what,
                                topic_error_text(error));
    return false;
}

static bool query_params_add_topic(struct reading *reading, const char *value, size_t value_n)
{
    enum topic_error error = topic_check_pattern(value, value_n);
    struct query_params_names *names = reading->names;

    if (error != TOPIC_OK)
        return query_params_refuse_name(reading, "topic", error);
    if (names->topics_n == QUERY_PARAMS_TOPICS_MAX) {
        reading->good =
            problem_set(reading->problem, 400, "too_many_topics",
                        "A request may have at most %d topics.", QUERY_PARAMS_TOPICS_MAX);
        return false;
    }
    names->topics[names->topics_n++] = (struct message_name){.bytes = value, .bytes_n = value_n};
    return true;
}

static bool query_params_set_user(struct reading *reading, const char *value, size_t value_n)
{
    enum topic_error error = topic_check_user(value, value_n);
    const struct message_name *before = &reading->names->user;

    if (error != TOPIC_OK)
        return query_params_refuse_name(reading, "user", error);
    if (before->bytes != NULL && !bytes_equal(before->bytes, before->bytes_n, value, value_n)) {
        reading->good = problem_set(reading->problem, 400, "repeated_parameter",
                                    "The query names more than one user.");
        return false;
    }
    reading->names->user = (struct message_name){.bytes = value, .bytes_n = value_n};
    return true;
}

static bool query_params_see(void *arg, const char *name, size_t name_n, const char *value,
                             size_t value_n)
{
    struct reading *reading = arg;

    if (parameters_is(name, name_n, "topic") || parameters_is(name, name_n, "topics"))
        return query_params_add_topic(reading, value, value_n);
    if (parameters_is(name, name_n, "user"))
        return query_params_set_user(reading, value, value_n);
    return true;
}

bool query_params_read_names(const struct request *request, struct query_params_names *ret_names,
                             struct problem *ret_problem)
{
    struct reading reading = {.names = ret_names, .problem = ret_problem, .good = true};

    ret_names->topics_n = 0;
    ret_names->user = (struct message_name){.bytes = NULL};
    request_each_query(request, query_params_see, &reading);
    return reading.good;
}

static bool query_params_see_topic(void *arg, const char *name, size_t name_n, const char *value,
                                   size_t value_n)
{
    bool *has_topics = arg;

    (void)value;
    (void)value_n;
    *has_topics = parameters_is(name, name_n, "topic") || parameters_is(name, name_n, "topics");
    return !*has_topics;
}

bool query_params_has_topics(const struct request *request)
{
    bool has_topics = false;

    request_each_query(request, query_params_see_topic, &has_topics);
    return has_topics;
}

bool query_params_check_size(const struct query_params_names *names, struct problem *ret_problem)
{
    size_t segments_n = 0;

    for (size_t i = 0; i < names->topics_n; i++)
        segments_n += topic_segments(names->topics[i].bytes, names->topics[i].bytes_n);
    if (segments_n <= QUERY_PARAMS_SEGMENTS_MAX)
        return true;
    return problem_set(ret_problem, 400, "too_many_segments",
                       "The topics have %zu segments together, and the limit is %d: ask for fewer "
                       "topics, or for a pattern that covers several.",
                       segments_n, QUERY_PARAMS_SEGMENTS_MAX);
}

struct filter *query_params_make_filter(const struct query_params_names *names)
{
    return filter_new(names->topics, names->topics_n,
                      names->user.bytes != NULL ? &names->user : NULL);
}

bool query_params_read_anonymous(const struct request *request, bool *ret_anonymous,
                                 struct problem *ret_problem)
{
    size_t text_n = 0;
    const char *text = request_query(request, "anonymous", &text_n);

    *ret_anonymous = text == NULL || bytes_are(text, text_n, "yes");
    if (*ret_anonymous || bytes_are(text, text_n, "no"))
        return true;
    return problem_set(ret_problem, 400, "invalid_anonymous", "anonymous must be yes or no.");
}

bool query_params_read_switch(const struct request *request, const char *name, const char *value,
                              bool *ret_on, struct problem *ret_problem)
{
    size_t given_n = 0;
    const char *given = request_query(request, name, &given_n);

    *ret_on = given != NULL && bytes_are(given, given_n, value);
    if (given == NULL || strlen(given) == given_n)
        return true;
    return problem_set(ret_problem, 400, "invalid_value", "%s has a NUL in it.", name);
}

bool query_params_read_envelope(const struct request *request, bool *ret_envelope,
                                struct problem *ret_problem)
{
    size_t text_n = 0;
    const char *text = request_query(request, "envelope", &text_n);

    *ret_envelope = text != NULL;
    if (text == NULL || bytes_are(text, text_n, "json"))
        return true;
    return problem_set(ret_problem, 400, "invalid_envelope",
                       "envelope must be json; without it events come as they were published.");
}

bool query_params_read_limit(const struct request *request, size_t fallback, size_t max,
                             size_t *ret_limit, struct problem *ret_problem)
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

/* Of several ids the one that counts. */
struct last_id {
    const struct query_params_past *past;
    const char *id; /* NULL: none yet */
    size_t id_n;
    bool is_given;     /* by this history */
    uint64_t position; /* then */
};

/* Whether the history has given it, and what tells which is the latest. */
static bool query_params_is_given(const struct query_params_past *past, const char *id, size_t id_n,
                                  uint64_t *ret_position)
{
    const char *epoch;
    uint64_t end;

    if (!sse_parse_id(id, id_n, &epoch, ret_position))
        return false;
    if (lineage_find(past->lineage, epoch, &end))
        return *ret_position <= end && (*ret_position <= past->committed || past->is_shared);
    *ret_position = UINT64_MAX; /* of an epoch that another gateway knows, if at all */
    return past->is_shared;
}

static void query_params_weigh_id(struct last_id *last, const char *id, size_t id_n)
{
    uint64_t position = 0;
    bool is_given = query_params_is_given(last->past, id, id_n, &position);

    if (id_n == 0 || (last->id != NULL && !is_given) ||
        (last->is_given && position <= last->position))
        return;
    last->id = id;
    last->id_n = id_n;
    last->is_given = is_given;
    last->position = position;
}

static bool query_params_see_id(void *arg, const char *name, size_t name_n, const char *value,
                                size_t value_n)
{
    if (parameters_is(name, name_n, "last_event_id") ||
        parameters_is(name, name_n, "lastEventId") || parameters_is(name, name_n, "lastEventID"))
        query_params_weigh_id(arg, value, value_n);
    return true;
}

static bool query_params_read_last_event_id(const struct request *request, struct last_id *last,
                                            struct stream_start *start, struct problem *ret_problem)
{
    const char *header = request_header(request, "Last-Event-ID");

    if (request_header_count(request, "Last-Event-ID") > 1)
        return problem_set(ret_problem, 400, "invalid_position",
                           "The request has more than one Last-Event-ID header.");
    if (header != NULL)
        query_params_weigh_id(last, header, strlen(header));
    request_each_query(request, query_params_see_id, last);
    if (last->id != NULL) {
        start->from = STREAM_FROM_ID;
        start->id = last->id;
        start->id_n = last->id_n;
    }
    return true;
}

/* Ten digits are seconds of UNIX time, from 2001 to 2286. */
static bool query_params_parse_moment_ms(const char *text, size_t text_n, int64_t *ret_ms)
{
    if (text_n != 10 || strspn(text, "0123456789") != 10 || text[0] == '0')
        return false;
    *ret_ms = 1000 * strtoll(text, NULL, 10);
    return true;
}

/* What is ahead of the clock is now, and what is before 1970 is then. */
static void query_params_start_at(struct stream_start *start, int64_t ms, int64_t now_ms)
{
    start->from = STREAM_FROM_TIME;
    start->since_ms = ms < 0 ? 0 : ms < now_ms ? ms : now_ms;
}

static bool query_params_read_last(const char *text, size_t text_n, const char *name,
                                   const char *code, size_t *ret_last, struct problem *ret_problem)
{
    size_t digits_n = strspn(text, "0123456789");

    *ret_last = digits_n > 0 && digits_n < 5 && digits_n == text_n ? strtoul(text, NULL, 10) : 0;
    if (*ret_last >= 1 && *ret_last <= STREAM_LAST_MAX)
        return true;
    return problem_set(ret_problem, 400, code,
                       "%s takes how many of the latest events to begin with: a whole number from "
                       "1 to %d.",
                       name, STREAM_LAST_MAX);
}

bool query_params_read_latest(const struct request *request, size_t *ret_last,
                              struct problem *ret_problem)
{
    size_t text_n = 0;
    const char *text = request_query(request, "last", &text_n);

    *ret_last = 0;
    return text == NULL ||
           query_params_read_last(text, text_n, "last=", "invalid_last", ret_last, ret_problem);
}

static bool query_params_read_since(const struct request *request, struct stream_start *start,
                                    struct problem *ret_problem)
{
    size_t since_n = 0;
    const char *since = request_query(request, "since", &since_n);
    int64_t moment_ms, now_ms = clock_wall_ms();
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
    if (strncmp(since, LAST, strlen(LAST)) == 0) {
        start->from = STREAM_FROM_LAST;
        return query_params_read_last(since + strlen(LAST), since_n - strlen(LAST), "since=" LAST,
                                      "invalid_since", &start->last_n, ret_problem);
    }
    if (strcmp(since, "earliest") == 0) {
        start->from = STREAM_FROM_EARLIEST;
    } else if (sse_parse_id(since, since_n, &epoch, &position)) {
        start->from = STREAM_FROM_ID;
        start->id = since;
        start->id_n = since_n;
    } else if (query_params_parse_moment_ms(since, since_n, &moment_ms)) {
        query_params_start_at(start, moment_ms, now_ms);
    } else if (conf_parse_duration_ms(since, &duration_ms)) {
        query_params_start_at(start, now_ms - (int64_t)duration_ms, now_ms);
    } else {
        return problem_set(
            ret_problem, 400, "invalid_since",
            "since must be latest, earliest, last:N for the latest N events, a duration such as "
            "10m, a moment in UNIX seconds (10 digits), or an id.");
    }
    return true;
}

bool query_params_read_start(const struct request *request, const struct query_params_past *past,
                             struct stream_start *ret_start, struct problem *ret_problem)
{
    struct last_id last = {.past = past};

    *ret_start = (struct stream_start){.from = STREAM_FROM_LATEST};
    return query_params_read_last_event_id(request, &last, ret_start, ret_problem) &&
           query_params_read_since(request, ret_start, ret_problem);
}
