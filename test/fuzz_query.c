/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for what a request for events says: the cursor (Last-Event-ID and its other names,
 * `since`), topics, user and limit.  The input is the Last-Event-ID headers, a line each that
 * begins with '!', and then the decoded query as `name=value&name=value`; '\1' stands for no
 * header value.  What is taken must be what the manual says, told by a second, plainer reading.
 */
#include "query.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "conf.h"
#include "sse.h"
#include "topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FIELDS_MAX 100
#define LIMIT_MAX 1000
#define LIMIT_FALLBACK 77

struct field {
    const char *name;
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
        if (strcmp(said.fields[i].name, name) != 0)
            continue;
        if (ret_n != NULL)
            *ret_n = said.fields[i].value_n;
        return said.fields[i].value;
    }
    return NULL;
}

void request_each_query(const struct request *request,
                        bool (*see)(void *arg, const char *name, const char *value, size_t value_n),
                        void *arg)
{
    (void)request;
    for (size_t i = 0; i < said.fields_n; i++)
        if (!see(arg, said.fields[i].name, said.fields[i].value, said.fields[i].value_n))
            return;
}

/* ---- reading the input ---- */

/* Values may hold NUL, as decoded ones may; the text ends in one of ours. */
static void add_field(char *text, size_t text_n)
{
    char *equals = memchr(text, '=', text_n);
    char *value = equals != NULL ? equals + 1 : text + text_n;

    if (said.fields_n == FIELDS_MAX)
        return;
    text[text_n] = '\0';
    if (equals != NULL)
        *equals = '\0';
    said.fields[said.fields_n++] = (struct field){text, value, (size_t)(text + text_n - value)};
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

static bool is_topic_field(const struct field *field)
{
    return strcmp(field->name, "topic") == 0 || strcmp(field->name, "topics") == 0;
}

/* Names are taken when each of them is one and there are not too many. */
static bool names_are_good(size_t *ret_topics_n)
{
    size_t topics_n = 0;

    for (size_t i = 0; i < said.fields_n; i++) {
        const struct field *field = &said.fields[i];

        if (is_topic_field(field)) {
            topics_n++;
            if (topic_check_pattern(field->value, field->value_n) != TOPIC_OK)
                return false;
        } else if (strcmp(field->name, "user") == 0 &&
                   topic_check_user(field->value, field->value_n) != TOPIC_OK) {
            return false;
        }
    }
    *ret_topics_n = topics_n;
    return topics_n <= QUERY_TOPICS_MAX;
}

static void check_names(void)
{
    struct query_names names;
    struct problem problem = {0};
    size_t topics_n;
    bool good = query_read_names(NULL, &names, &problem);

    assert(good == names_are_good(&topics_n));
    if (!good) {
        check_problem(&problem);
        return;
    }
    assert(names.topics_n == topics_n);
    assert((names.user.bytes != NULL) == (request_query(NULL, "user", NULL) != NULL));
    struct filter *filter = query_make_filter(&names);
    assert(filter != NULL);
    filter_unref(filter);
}

static void check_limit(void)
{
    struct problem problem = {0};
    size_t limit = 0, text_n = 0;
    const char *text = request_query(NULL, "limit", &text_n);
    bool good = query_read_limit(NULL, LIMIT_FALLBACK, LIMIT_MAX, &limit, &problem);

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

/* The id that counts: the header if it says anything, else the first parameter that does. */
static const char *last_id(size_t *ret_n)
{
    static const char *const aliases[] = {"last_event_id", "lastEventId", "lastEventID"};

    *ret_n = said.last_event_id != NULL ? strlen(said.last_event_id) : 0;
    if (*ret_n > 0)
        return said.last_event_id;
    for (size_t i = 0; i < 3; i++) {
        const char *value = request_query(NULL, aliases[i], ret_n);

        if (value != NULL && *ret_n > 0)
            return value;
    }
    *ret_n = 0;
    return NULL;
}

static bool is_text(const char *text, size_t text_n, const char *other)
{
    return text_n == strlen(other) && memcmp(text, other, text_n) == 0;
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
        assert(conf_parse_duration_ms(since, &ms) && strlen(since) == since_n);
        assert(start->since_ms >= 0 && start->since_ms <= clock_wall_ms());
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
    size_t id_n, since_n = 0;
    const char *id = last_id(&id_n);
    const char *since = request_query(NULL, "since", &since_n);

    if (!query_read_start(NULL, &start, &problem)) {
        check_problem(&problem);
        assert(said.headers_n > 1 || id_n > SSE_LAST_EVENT_ID_BYTES_MAX || since != NULL);
        return;
    }
    assert(said.headers_n <= 1 && id_n <= SSE_LAST_EVENT_ID_BYTES_MAX);
    if (id_n > 0)
        assert(start.from == STREAM_FROM_ID && start.id == id && start.id_n == id_n);
    else
        check_since(&start, since, since_n);
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
    free(text);
    return 0;
}
