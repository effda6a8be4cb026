/* SPDX-License-Identifier: MIT */
/* 401 and 403.  See challenge.h. */
#include "config.h"
#include "api/challenge.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define CHALLENGE "Bearer realm=\"bugle\""
#define SHOWN_BYTES 200

bool challenge_no_credential(struct problem *problem)
{
    problem_set(problem, 401, "no_credentials",
                "This request needs a token or a key: Authorization: Bearer ...");
    strcpy(problem->challenge, CHALLENGE);
    return false;
}

bool challenge_bad_credential(struct problem *problem, const char *sentence)
{
    problem_set(problem, 401, "invalid_token", "%s", sentence);
    snprintf(problem->challenge, sizeof(problem->challenge),
             CHALLENGE ", error=\"invalid_token\", error_description=\"%s\"", sentence);
    return false;
}

bool challenge_no_right(struct problem *problem, const char *right)
{
    problem_set(problem, 403, "missing_right", "This request needs the %s right.", right);
    snprintf(problem->challenge, sizeof(problem->challenge),
             CHALLENGE ", error=\"insufficient_scope\", scope=\"%s\"", right);
    return false;
}

bool challenge_no_right_to(struct problem *problem, const char *right, const char *topic,
                           size_t topic_n)
{
    char shown[SHOWN_BYTES];

    challenge_no_right(problem, right);
    log_visible(shown, sizeof(shown), topic, topic_n);
    snprintf(problem->detail, sizeof(problem->detail),
             "This request needs a %s right that covers \"%s\".", right, shown);
    return false;
}

void challenge_count(struct stats *stats, const struct problem *problem)
{
    stats_add(stats, STATS_REQUESTS_UNAUTHORIZED, problem->status == 401);
    stats_add(stats, STATS_REQUESTS_FORBIDDEN, problem->status == 403);
}
