/* SPDX-License-Identifier: MIT */
/*
 * Which query parameters a route knows.  An unknown parameter may be a misspelt one, and to ignore
 * it would give the caller more than was asked for: every event instead of those of a topic, the
 * end of all streams instead of some.  So it is refused, by its name as decoded (RFC 3986 2.1), and
 * what was probably meant is told.
 *
 * Let pass on every route: `utm_...`, `_`, `cb` and `v`, which pages, scripts and proxies add to
 * any URL, and nothing at all, as behind a last `&`.
 */
#ifndef BUGLE_PARAMETERS_H
#define BUGLE_PARAMETERS_H

#include <stdbool.h>
#include <stddef.h>

#include "http/request.h"
#include "wire/problem.h"

struct parameter {
    const char *name; /* NULL: the end of a table */
    bool repeats;     /* may be there more than once, and be written `name[]` or `name[3]` */
};

extern const struct parameter parameters_of_events[];
extern const struct parameter parameters_of_ws[];
extern const struct parameter parameters_of_history[];
extern const struct parameter parameters_of_listing[];   /* GET /api/streams */
extern const struct parameter parameters_of_ending[];    /* DELETE /api/streams */
extern const struct parameter parameters_of_evictions[]; /* GET /api/evictions */
extern const struct parameter parameters_none[];

/* Whether every parameter of the request is in the table, and once if it may not repeat.  Returns
 * false with 400 unknown_parameter or repeated_parameter.  Any thread that may read the request;
 * linear in parameters and table. */
bool parameters_check(const struct request *request, const struct parameter *known,
                      struct problem *ret_problem);

/* Whether a decoded name is this one: as it is, with `[]`, or with `[digits]` behind it, as PHP,
 * jQuery and others write lists. */
bool parameters_is(const char *name, size_t name_n, const char *wanted);

/* The entry that was probably meant: the same but for case, brackets, a slip or two of the
 * fingers, or a word that other servers have for it.  NULL: no guess. */
const char *parameters_guess(const char *name, size_t name_n, const struct parameter *known);

#endif
