/* SPDX-License-Identifier: MIT */
/* Which query parameters pass, and what a name that is not known was probably meant to be. */
#include "http/parameters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- a stand-in for requests ---- */

static const char *query; /* names, comma separated */

void request_each_query(const struct request *request,
                        bool (*see)(void *arg, const char *name, size_t name_n, const char *value,
                                    size_t value_n),
                        void *arg)
{
    char name[100];

    (void)request;
    for (const char *at = query; *at != '\0';) {
        size_t n = strcspn(at, ",");

        memcpy(name, at, n);
        name[n] = '\0';
        if (!see(arg, name, n, "", 0))
            return;
        at += n + (at[n] == ',');
    }
}

static bool passes(const char *names, const struct parameter *known, struct problem *ret_problem)
{
    query = names;
    return parameters_check(NULL, known, ret_problem);
}

static void assert_passes(const char *names, const struct parameter *known)
{
    struct problem problem = {0};

    if (!passes(names, known, &problem))
        fail_msg("%s: %s", names, problem.detail);
}

static void assert_refused(const char *names, const struct parameter *known, const char *code)
{
    struct problem problem = {0};

    if (passes(names, known, &problem))
        fail_msg("%s passed", names);
    assert_int_equal(problem.status, 400);
    assert_string_equal(problem.code, code);
}

/* ---- tests ---- */

static void known_names_pass(void **state)
{
    (void)state;
    assert_passes("", parameters_of_events);
    assert_passes("topic,topic,topics,user,last_event_id,lastEventId,lastEventID",
                  parameters_of_events);
    assert_passes("since,heartbeat,ping,padding,ticket,access_token,envelope",
                  parameters_of_events);
    assert_passes("topic[],topic[0],topic[17],topics[],user[]", parameters_of_events);
    assert_passes("topic,user,after,limit,last", parameters_of_history);
    assert_passes("topic,user,limit", parameters_of_listing);
    assert_passes("user", parameters_of_ending);
}

static void what_proxies_and_pages_add_passes(void **state)
{
    (void)state;
    assert_passes("utm_source,utm_medium,_,cb,v,_,cb", parameters_of_events);
    assert_passes("utm_source,_", parameters_none);
    assert_passes("topic,", parameters_of_events);
    assert_refused("utm_,", parameters_of_events, "unknown_parameter");
    assert_refused("__", parameters_of_events, "unknown_parameter");
}

static void what_is_not_known_is_refused(void **state)
{
    static const char *const names[] = {
        "topcs", "Topic", "TOPIC",  "channel", "topic[x]", "topic[", "topic]", "topic[0][1]", "[]",
        "[0]",   "limit", "topic ", "since[]", "x",        "after",  "event",  "usr",         "[",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_refused(names[i], parameters_of_events, "unknown_parameter");
    assert_refused("user", parameters_of_evictions, "unknown_parameter");
    assert_refused("user,topc", parameters_of_ending, "unknown_parameter");
    assert_refused("limit", parameters_none, "unknown_parameter");
}

static void what_counts_once_is_there_once(void **state)
{
    (void)state;
    assert_refused("since,since", parameters_of_events, "repeated_parameter");
    assert_refused("user,user", parameters_of_ending, "repeated_parameter");
    assert_refused("topic,topic", parameters_of_listing, "repeated_parameter");
    assert_refused("user[]", parameters_of_ending, "unknown_parameter");
}

static void a_name_with_a_nul_is_none_of_ours(void **state)
{
    (void)state;
    assert_false(parameters_is("topic\0", 6, "topic"));
    assert_false(parameters_is("topic\0[]", 8, "topic"));
    assert_true(parameters_is("topic[]", 7, "topic"));
    assert_null(parameters_guess("topic\0x", 7, parameters_of_events));
}

static void guesses_what_was_meant(void **state)
{
    static const struct {
        const char *name;
        const char *guess; /* NULL: none */
    } cases[] = {
        {"topcs", "topics"},
        {"tpoic", "topic"},
        {"Topic", "topic"},
        {"channel", "topic"},
        {"Channel[]", "topic"},
        {"usr", "user"},
        {"users", "user"},
        {"user_id", "user"},
        {"topic_name", "topic"},
        {"last-event-id", "last_event_id"},
        {"LastEventId", "lastEventId"},
        {"hartbeat", "heartbeat"},
        {"token", "access_token"},
        {"sinec", "since"},
        {"x", NULL},
        {"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", NULL},
        {"", NULL},
        {"callback", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *guess =
            parameters_guess(cases[i].name, strlen(cases[i].name), parameters_of_events);

        if ((guess == NULL) != (cases[i].guess == NULL) ||
            (guess != NULL && strcmp(guess, cases[i].guess) != 0))
            fail_msg("%s: %s", cases[i].name, guess != NULL ? guess : "none");
    }
    assert_null(parameters_guess("channel", 7, parameters_of_evictions));
}

static void says_what_there_is(void **state)
{
    struct problem problem;

    (void)state;
    assert_false(passes("channel", parameters_of_events, &problem));
    assert_non_null(strstr(problem.detail, "did you mean \"topic\"?"));
    assert_false(passes("zzzzzz\x1b", parameters_of_events, &problem));
    assert_non_null(strstr(problem.detail, "\"zzzzzz\\x1b\""));
    assert_non_null(strstr(problem.detail, "takes topic, topics, user,"));
    assert_non_null(strstr(problem.detail, "anonymous."));
    assert_false(passes("zzzzzz", parameters_none, &problem));
    assert_non_null(strstr(problem.detail, "takes none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_names_pass),
        cmocka_unit_test(what_proxies_and_pages_add_passes),
        cmocka_unit_test(what_is_not_known_is_refused),
        cmocka_unit_test(what_counts_once_is_there_once),
        cmocka_unit_test(a_name_with_a_nul_is_none_of_ours),
        cmocka_unit_test(guesses_what_was_meant),
        cmocka_unit_test(says_what_there_is),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
