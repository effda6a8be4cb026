/* SPDX-License-Identifier: MIT */
/*
 * What must be known of a peer's JSON before a parser sees it.
 *
 * A parser works through nested arrays by recursion and makes of three bytes a tree of some
 * hundred, so depth and memory are looked at first, in one pass each, on unchecked bytes.  Every
 * handler that parses JSON calls this.  Any thread.
 */
#ifndef BUGLE_JSON_GUARD_H
#define BUGLE_JSON_GUARD_H

#include "wire/json_span.h"
#include "wire/problem.h"

/*
 * Whether a text may be parsed: it is nested no deeper than `depth_max`, and has no NUL, which the
 * parser lets pass behind some tokens.  Otherwise the problem is filled, with status 400.
 *
 * What the tree may take, json_span_tree_bytes(), the caller counts, as long as the tree is there.
 */
bool json_guard_check(struct json_span text, size_t depth_max, struct problem *ret_problem);

/* The same for a text that is no body, without an account: its tree may take `tree_bytes_max`. */
bool json_guard_is_small(struct json_span text, size_t depth_max, size_t tree_bytes_max);

#endif
