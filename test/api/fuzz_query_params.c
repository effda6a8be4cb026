/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for what a request for events says: the cursor (Last-Event-ID and its other names,
 * `since`), topics, user and limit.  The input is the Last-Event-ID headers, a line each that
 * begins with '!', and then the decoded query as `name=value&name=value`; '\1' stands for no
 * header value.  What is taken must be what the manual says, told by a second, plainer reading.
 */
#include "api/query_params.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "conf/conf.h"
#include "event/topic.h"
#include "http/parameters.h"
#include "wire/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FIELDS_MAX 100
#define LIMIT_MAX 1000
#define LIMIT_FALLBACK 77
#define EPOCH "ntyu997oyw4m"
#define COMMITTED 1000

static const struct lineage lineage = {.epoch = EPOCH};
static const struct query_params_past past = {&lineage, COMMITTED, false};

struct field {
    const char *name;
    size_t name_n;
    const char *value;
    size_t value_n;
};

/* ---- a stand-in for requests ---- */

static struct {
    const char *last_event_id; /* NULL: no header */
    size_t headers_n;
    struct field fields[FIELDS_MAX];
    size_t fields_n;
} said;

static bool is_text(const char *text, size_t text_n, const char *other)
{
    return text_n == strlen(other) && memcmp(text, other, text_n) == 0;
}

const char *request_header(const struct request *request, const char *name)
{
    (void)request;
    assert(strcmp(name, "Last-Event-ID") == 0);
    return said.last_event_id;
}

size_t request_header_count(const struct request *request, const char *name)
{
    (void)request;
    assert(strcmp(name, "Last-Event-ID") == 0);
    return said.headers_n;
}

const char *request_query(const struct request *request, const char *name, size_t *ret_n)
{
    (void)request;
    for (size_t i = 0; i < said.fields_n; i++) {
        if (!is_text(said.fields[i].name, said.fields[i].name_n, name))
            continue;
        if (ret_n != NULL)
            *ret_n = said.fields[i].value_n;
        return said.fields[i].value;
    }
    return NULL;
}

void request_each_query(const struct request *request,
                        bool (*see)(void *arg, const char *name, size_t name_n, const char *value,
                                    size_t value_n),
                        void *arg)
{
    (void)request;
    for (size_t i = 0; i < said.fields_n; i++)
        if (!see(arg, said.fields[i].name, said.fields[i].name_n, said.fields[i].value,
                 said.fields[i].value_n))
            return;
}

/* ---- reading the input ---- */

/* Names and values may hold NUL, as decoded ones may; the text ends in one of ours. */
static void add_field(char *text, size_t text_n)
{
    char *equals = memchr(text, '=', text_n);
    char *value = equals != NULL ? equals + 1 : text + text_n;

    if (said.fields_n == FIELDS_MAX)
        return;
    text[text_n] = '\0';
    if (equals != NULL)
        *equals = '\0';
    size_t name_n = equals != NULL ? (size_t)(equals - text) : text_n;
    said.fields[said.fields_n++] =
        (struct field){text, name_n, value, (size_t)(text + text_n - value)};
}

static char *read_headers(char *at, char *end)
{
    while (at < end && *at == '!') {
        char *line_end = memchr(at, '\n', (size_t)(end - at));

        if (line_end == NULL)
            line_end = end;
        *line_end = '\0';
        if (said.headers_n++ == 0)
            said.last_event_id = at + 1;
        at = line_end < end ? line_end + 1 : end;
    }
    return at;
}

static void read_input(char *text, size_t text_n)
{
    char *end = text + text_n;

    memset(&said, 0, sizeof(said));
    for (char *at = read_headers(text, end); at < end;) {
        char *field_end = memchr(at, '&', (size_t)(end - at));

        if (field_end == NULL)
            field_end = end;
        add_field(at, (size_t)(field_end - at));
        at = field_end + 1;
    }
}

/* ---- what must be true ---- */

static void check_problem(const struct problem *problem)
{
    assert(problem->status == 400 && problem->code != NULL && problem->code[0] != '\0');
    assert(strlen(problem->detail) < sizeof(problem->detail) && problem->detail[0] != '\0');
}

/* A name, with or without what makes it a list. */
static bool is_named(const struct field *field, const char *name)
{
    size_t n = strlen(name);
    const char *rest = field->name + n;

    if (field->name_n < n || memcmp(field->name, name, n) != 0)
        return false;
    if (field->name_n == n)
        return true;
    if (*rest != '[')
        return false;
    rest += 1 + strspn(rest + 1, "0123456789");
    return *rest == ']' && rest + 1 == field->name + field->name_n;
}

static bool is_topic_field(const struct field *field)
{
    return is_named(field, "topic") || is_named(field, "topics");
}

static bool is_id_field(const struct field *field)
{
    return is_named(field, "last_event_id") || is_named(field, "lastEventId") ||
           is_named(field, "lastEventID");
}

/* Names are taken when each of them is one and there are not too many. */
static bool names_are_good(size_t *ret_topics_n)
{
    const struct field *user = NULL;
    size_t topics_n = 0;

    for (size_t i = 0; i < said.fields_n; i++) {
        const struct field *field = &said.fields[i];

        if (is_topic_field(field)) {
            topics_n++;
            if (topic_check_pattern(field->value, field->value_n) != TOPIC_OK)
                return false;
        } else if (is_named(field, "user")) {
            if (topic_check_user(field->value, field->value_n) != TOPIC_OK)
                return false;
            if (user != NULL && (user->value_n != field->value_n ||
                                 memcmp(user->value, field->value, user->value_n) != 0))
                return false;
            user = field;
        }
    }
    *ret_topics_n = topics_n;
    return topics_n <= QUERY_PARAMS_TOPICS_MAX;
}

static bool has_user(void)
{
    for (size_t i = 0; i < said.fields_n; i++)
        if (is_named(&said.fields[i], "user"))
            return true;
    return false;
}

static void check_names(void)
{
    struct query_params_names names;
    struct problem problem = {0};
    size_t topics_n;
    bool good = query_params_read_names(NULL, &names, &problem);

    assert(good == names_are_good(&topics_n));
    if (!good) {
        check_problem(&problem);
        return;
    }
    assert(names.topics_n == topics_n);
    assert((names.user.bytes != NULL) == has_user());
    struct filter *filter = query_params_make_filter(&names);
    assert(filter != NULL);
    filter_unref(filter);
}

static void check_limit(void)
{
    struct problem problem = {0};
    size_t limit = 0, text_n = 0;
    const char *text = request_query(NULL, "limit", &text_n);
    bool good = query_params_read_limit(NULL, LIMIT_FALLBACK, LIMIT_MAX, &limit, &problem);

    if (!good) {
        assert(text != NULL);
        check_problem(&problem);
    } else if (text == NULL) {
        assert(limit == LIMIT_FALLBACK);
    } else {
        assert(limit >= 1 && limit <= LIMIT_MAX && text_n > 0);
        assert(strspn(text, "0123456789") == text_n && strtoul(text, NULL, 10) == limit);
    }
}

struct id {
    const char *text;
    size_t text_n;
};

/* Whether the history of this test has given the id, and where. */
static bool is_given(struct id id, uint64_t *ret_position)
{
    const char *epoch;

    return sse_parse_id(id.text, id.text_n, &epoch, ret_position) &&
           memcmp(epoch, EPOCH, SSE_EPOCH_BYTES) == 0 && *ret_position <= COMMITTED;
}

/* All ids that are there, the header's first. */
static size_t list_ids(struct id ids[FIELDS_MAX + 1])
{
    size_t n = 0;

    if (said.last_event_id != NULL && said.last_event_id[0] != '\0')
        ids[n++] = (struct id){said.last_event_id, strlen(said.last_event_id)};
    for (size_t i = 0; i < said.fields_n; i++)
        if (is_id_field(&said.fields[i]) && said.fields[i].value_n > 0)
            ids[n++] = (struct id){said.fields[i].value, said.fields[i].value_n};
    return n;
}

/* The id that counts: the latest that was given, or else the first. */
static struct id last_id(size_t *ret_n)
{
    struct id ids[FIELDS_MAX + 1];
    struct id best = {NULL, 0};
    uint64_t position, latest = 0;
    bool found = false;

    *ret_n = list_ids(ids);
    for (size_t i = 0; i < *ret_n; i++)
        if (is_given(ids[i], &position) && (!found || position > latest)) {
            found = true;
            latest = position;
            best = ids[i];
        }
    return found || *ret_n == 0 ? best : ids[0];
}

static void check_since(const struct stream_start *start, const char *since, size_t since_n)
{
    const char *epoch;
    uint64_t position, ms;

    switch (start->from) {
    case STREAM_FROM_LATEST:
        assert(since == NULL || is_text(since, since_n, "latest"));
        break;
    case STREAM_FROM_EARLIEST:
        assert(is_text(since, since_n, "earliest"));
        break;
    case STREAM_FROM_TIME:
        assert(strlen(since) == since_n);
        assert(conf_parse_duration_ms(since, &ms) ||
               (since_n == 10 && strspn(since, "0123456789") == 10));
        assert(start->since_ms >= 0 && start->since_ms <= clock_wall_ms());
        break;
    case STREAM_FROM_LAST:
        assert(strncmp(since, "last:", 5) == 0 && strspn(since + 5, "0123456789") == since_n - 5);
        assert(start->last_n >= 1 && start->last_n <= STREAM_LAST_MAX);
        assert(strtoul(since + 5, NULL, 10) == start->last_n);
        break;
    case STREAM_FROM_ID:
        assert(sse_parse_id(start->id, start->id_n, &epoch, &position));
        assert(start->id == since && start->id_n == since_n && position <= SSE_POSITION_MAX);
        break;
    }
}

static void check_start(void)
{
    struct stream_start start;
    struct problem problem = {0};
    size_t ids_n, since_n = 0;
    const struct id last = last_id(&ids_n);
    const char *since = request_query(NULL, "since", &since_n);

    if (!query_params_read_start(NULL, &past, &start, &problem)) {
        check_problem(&problem);
        assert(said.headers_n > 1 || (ids_n == 0 && since != NULL));
        return;
    }
    assert(said.headers_n <= 1);
    if (ids_n > 0)
        assert(start.from == STREAM_FROM_ID && start.id == last.text && start.id_n == last.text_n);
    else
        check_since(&start, since, since_n);
}

/* ---- which parameters there are ---- */

static bool is_known(const struct field *field)
{
    static const char *const once[] = {"since",  "heartbeat",    "ping",     "padding",
                                       "ticket", "access_token", "anonymous"};
    static const char *const others[] = {"_", "cb", "v"};

    for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++)
        if (is_text(field->name, field->name_n, once[i]))
            return true;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (is_text(field->name, field->name_n, others[i]))
            return true;
    if (field->name_n == 0 && field->value_n == 0)
        return true;
    return is_topic_field(field) || is_id_field(field) || is_named(field, "user") ||
           (field->name_n > 4 && memcmp(field->name, "utm_", 4) == 0);
}

/* Nothing that is not known is ignored, and nothing that is known is refused but for its number. */
static void check_parameters(void)
{
    struct problem problem = {0};
    bool all_known = true;

    for (size_t i = 0; i < said.fields_n; i++)
        all_known = all_known && is_known(&said.fields[i]);
    if (parameters_check(NULL, parameters_of_events, &problem)) {
        assert(all_known);
        return;
    }
    check_problem(&problem);
    assert(!all_known || strcmp(problem.code, "repeated_parameter") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    assert(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    read_input(text, size);
    check_names();
    check_limit();
    check_start();
    check_parameters();
    free(text);
    return 0;
}
