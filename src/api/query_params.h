/* SPDX-License-Identifier: MIT */
/*
 * What requests for events say in their query, read in one place so that it means the same for
 * all: which topics, as which user, how many, from where on.
 *
 * Worker's thread; texts are borrowed from the request and good as long as it is.
 */
#ifndef BUGLE_QUERY_PARAMS_H
#define BUGLE_QUERY_PARAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "event/filter.h"
#include "history/lineage.h"
#include "http/request.h"
#include "stream/stream.h"
#include "wire/problem.h"

#define QUERY_PARAMS_TOPICS_MAX 64
/* Of all topics of a stream or a listing together. */
#define QUERY_PARAMS_SEGMENTS_MAX 512
/* With the topics that a caller gets who names none. */
#define QUERY_PARAMS_TOPICS_ROOM (4 * QUERY_PARAMS_TOPICS_MAX)

/* The names that a query asks for, checked. */
struct query_params_names {
    struct message_name topics[QUERY_PARAMS_TOPICS_ROOM];
    size_t topics_n;          /* 0: every topic */
    struct message_name user; /* `bytes` NULL: nobody */
};

/* Read `topic` (or `topics`), as often as it is there, and `user`, also as `topic[]` and so on.
 * Returns false with a problem of status 400; two users that differ are one. */
bool query_params_read_names(const struct request *request, struct query_params_names *ret_names,
                             struct problem *ret_problem);

/* Whether the query names a topic. */
bool query_params_has_topics(const struct request *request);

/* Whether their topics have no more than QUERY_PARAMS_SEGMENTS_MAX segments together, which bounds
 * what a stream holds and what it takes to compare them.  As query_params_read_names(). */
bool query_params_check_size(const struct query_params_names *names, struct problem *ret_problem);

/* The filter that these names make.  Gives one reference; NULL when out of memory. */
struct filter *query_params_make_filter(const struct query_params_names *names);

/* What ids are held against: the history.  And whether several gateways share it: then one that is
 * not known here, or not yet, may be the latest of all. */
struct query_params_past {
    const struct lineage *lineage;
    uint64_t committed;
    bool is_shared;
};

/*
 * Read where a stream is to begin: after the last event id, else where `since` says, else with what
 * comes next.  As query_params_read_names().
 *
 * past  of several ids, in Last-Event-ID and in the parameters that stand for it, the latest that
 *       the history has given and still has counts, else the first
 */
bool query_params_read_start(const struct request *request, const struct query_params_past *past,
                             struct stream_start *ret_start, struct problem *ret_problem);

/* Read `anonymous`: whether a stream may be anonymous; yes when it is not there.  As
 * query_params_read_names(). */
bool query_params_read_anonymous(const struct request *request, bool *ret_anonymous,
                                 struct problem *ret_problem);

/* Read a switch, which is on with this value.  Another is passed over, unless a NUL hides what
 * makes it another.  As query_params_read_names(). */
bool query_params_read_switch(const struct request *request, const char *name, const char *value,
                              bool *ret_on, struct problem *ret_problem);

/* Read `envelope`: whether events come in one.  As query_params_read_names(). */
bool query_params_read_envelope(const struct request *request, bool *ret_envelope,
                                struct problem *ret_problem);

/* Read `last`, from 1 to STREAM_LAST_MAX; 0 when it is not there.  As query_params_read_names(). */
bool query_params_read_latest(const struct request *request, size_t *ret_last,
                              struct problem *ret_problem);

/* Read `limit`, from 1 to `max`, `fallback` when it is not there.  As query_params_read_names(). */
bool query_params_read_limit(const struct request *request, size_t fallback, size_t max,
                             size_t *ret_limit, struct problem *ret_problem);

#endif
