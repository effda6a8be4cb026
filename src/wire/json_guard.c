/* SPDX-License-Identifier: MIT */
/* Before a parser.  See json_guard.h. */
#include "config.h"
#include "wire/json_guard.h"

#include <string.h>

bool json_guard_check(struct json_span text, size_t depth_max, struct problem *ret_problem)
{
    const char *nul = memchr(text.at, '\0', text.bytes_n);

    if (json_span_depth(text) > depth_max)
        return problem_set(ret_problem, 400, "json_too_deep",
                           "The JSON is nested deeper than limits.json_depth allows (%zu).",
                           depth_max);
    if (nul == NULL)
        return true;
    problem_set(ret_problem, 400, "invalid_json", "The body has a NUL byte.");
    json_span_place(text.at, (size_t)(nul - text.at), &ret_problem->line, &ret_problem->column);
    return false;
}

bool json_guard_is_small(struct json_span text, size_t depth_max, size_t tree_bytes_max)
{
    return json_span_depth(text) <= depth_max && json_span_tree_bytes(text) <= tree_bytes_max;
}
