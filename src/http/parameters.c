/* SPDX-License-Identifier: MIT */
/* Query parameters of routes.  See parameters.h. */
#include "config.h"
#include "http/parameters.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/edit_distance.h"
#include "base/log.h"

/* Longer names are no slip of ours. */
#define GUESS_BYTES 32
#define SLIPS_MAX 2
#define TABLE_MAX 16

/* Clients that come again add the id to a URL that may have one. */
const struct parameter parameters_of_events[] = {
    {"topic", true},         {"topics", true},      {"user", true},      {"last_event_id", true},
    {"lastEventId", true},   {"lastEventID", true}, {"since", false},    {"heartbeat", false},
    {"ping", false},         {"padding", false},    {"envelope", false}, {"ticket", false},
    {"access_token", false}, {"anonymous", false},  {NULL, false},
};

const struct parameter parameters_of_ws[] = {
    {"topic", true},       {"topics", true},      {"user", true},    {"last_event_id", true},
    {"lastEventId", true}, {"lastEventID", true}, {"since", false},  {"heartbeat", false},
    {"ping", false},       {"padding", false},    {"ticket", false}, {"access_token", false},
    {"anonymous", false},  {"publish", true},     {NULL, false},
};

const struct parameter parameters_of_history[] = {
    {"topic", true},  {"topics", true}, {"user", true}, {"after", false},
    {"limit", false}, {"last", false},  {NULL, false},
};

const struct parameter parameters_of_listing[] = {
    {"topic", false}, {"user", false}, {"limit", false}, {"local", false}, {NULL, false},
};

const struct parameter parameters_of_ending[] = {
    {"user", false},
    {"topic", false},
    {NULL, false},
};

const struct parameter parameters_of_evictions[] = {
    {"limit", false},
    {NULL, false},
};

const struct parameter parameters_none[] = {{NULL, false}};

/* ---- names ---- */

/* The length of a name without `[]` or `[digits]` behind it. */
static size_t parameters_base_length(const char *name, size_t name_n)
{
    size_t at = name_n;

    if (at < 3 || name[at - 1] != ']')
        return name_n;
    at--;
    while (at > 1 && isdigit((unsigned char)name[at - 1]))
        at--;
    return name[at - 1] == '[' ? at - 1 : name_n;
}

bool parameters_is(const char *name, size_t name_n, const char *wanted)
{
    return bytes_are(name, parameters_base_length(name, name_n), wanted);
}

/* What others add to any URL. */
static bool parameters_is_for_caches(const char *name, size_t name_n, size_t value_n)
{
    return name_n + value_n == 0 || bytes_are(name, name_n, "_") || bytes_are(name, name_n, "cb") ||
           bytes_are(name, name_n, "v") || (name_n > 4 && memcmp(name, "utm_", 4) == 0);
}

/* ---- guessing ---- */

/* What other servers and frameworks call it. */
static const char *const other_words[][2] = {
    {"channel", "topic"}, {"channels", "topic"},     {"room", "topic"},  {"subject", "topic"},
    {"uid", "user"},      {"from", "since"},         {"count", "limit"}, {"id", "last_event_id"},
    {"start", "since"},   {"token", "access_token"},
};

static const char *parameters_find(const char *wanted, const struct parameter *known)
{
    for (; known->name != NULL; known++)
        if (strcasecmp(known->name, wanted) == 0)
            return known->name;
    return NULL;
}

static const char *parameters_guess_word(const char *name, const struct parameter *known)
{
    for (size_t i = 0; i < sizeof(other_words) / sizeof(other_words[0]); i++)
        if (strcasecmp(name, other_words[i][0]) == 0)
            return parameters_find(other_words[i][1], known);
    return NULL;
}

static const char *parameters_guess_slip(const char *name, const struct parameter *known)
{
    size_t least = SLIPS_MAX + 1;
    const char *guess = NULL;

    for (; known->name != NULL; known++) {
        size_t known_n = strlen(known->name);
        size_t slips = edit_distance(name, known->name);

        if (slips < least && 2 * slips < known_n) {
            least = slips;
            guess = known->name;
        }
    }
    return guess;
}

/* `user_id`, `topic_name`: one of ours with something around it. */
static const char *parameters_guess_part(const char *name, const struct parameter *known)
{
    for (; known->name != NULL; known++)
        if (strcasestr(name, known->name) != NULL)
            return known->name;
    return NULL;
}

const char *parameters_guess(const char *name, size_t name_n, const struct parameter *known)
{
    char text[GUESS_BYTES + 1];
    size_t text_n = parameters_base_length(name, name_n);

    if (text_n > GUESS_BYTES || memchr(name, '\0', text_n) != NULL)
        return NULL;
    memcpy(text, name, text_n);
    text[text_n] = '\0';
    const char *guess = parameters_find(text, known);
    if (guess == NULL)
        guess = parameters_guess_word(text, known);
    if (guess == NULL)
        guess = parameters_guess_slip(text, known);
    return guess != NULL ? guess : parameters_guess_part(text, known);
}

/* ---- checking ---- */

struct check {
    const struct parameter *known;
    bool seen[TABLE_MAX];
    struct problem *problem;
    bool good;
};

static void parameters_list(const struct parameter *known, char *to, size_t to_n)
{
    size_t n = 0;

    to[0] = '\0';
    for (; known->name != NULL && n < to_n; known++)
        n += (size_t)snprintf(to + n, to_n - n, "%s%s", n > 0 ? ", " : "", known->name);
}

static bool parameters_refuse_unknown(struct problem *problem, const char *name, size_t name_n,
                                      const struct parameter *known)
{
    const char *guess = parameters_guess(name, name_n, known);
    char shown[64], list[192];

    log_visible(shown, sizeof(shown), name, name_n);
    if (guess != NULL)
        return problem_set(problem, 400, "unknown_parameter",
                           "There is no query parameter \"%s\" here; did you mean \"%s\"?", shown,
                           guess);
    parameters_list(known, list, sizeof(list));
    if (list[0] == '\0')
        return problem_set(problem, 400, "unknown_parameter",
                           "There is no query parameter \"%s\" here: this path takes none.", shown);
    return problem_set(problem, 400, "unknown_parameter",
                       "There is no query parameter \"%s\" here; this path takes %s.", shown, list);
}

static bool parameters_see(void *arg, const char *name, size_t name_n, const char *value,
                           size_t value_n)
{
    struct check *check = arg;

    (void)value;
    if (parameters_is_for_caches(name, name_n, value_n))
        return true;
    for (size_t i = 0; check->known[i].name != NULL; i++) {
        assert(i < TABLE_MAX);
        const struct parameter *entry = &check->known[i];

        if (entry->repeats ? !parameters_is(name, name_n, entry->name)
                           : !bytes_are(name, name_n, entry->name))
            continue;
        if (check->seen[i] && !entry->repeats)
            check->good =
                problem_set(check->problem, 400, "repeated_parameter",
                            "The query has the parameter \"%s\" more than once.", entry->name);
        check->seen[i] = true;
        return check->good;
    }
    check->good = parameters_refuse_unknown(check->problem, name, name_n, check->known);
    return false;
}

bool parameters_check(const struct request *request, const struct parameter *known,
                      struct problem *ret_problem)
{
    struct check check = {.known = known, .problem = ret_problem, .good = true};

    request_each_query(request, parameters_see, &check);
    return check.good;
}
