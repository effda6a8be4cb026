/* SPDX-License-Identifier: MIT */
/*
 * How long a body may take to come, and an answer to be taken: each within a time, and not more
 * slowly than the settings allow.  A request is watched in one of the two at a time.  Worker's
 * thread.
 */
#ifndef BUGLE_REQUEST_DEADLINE_H
#define BUGLE_REQUEST_DEADLINE_H

#include <stdint.h>

#include "http/request.h"

/* A body is to come: limits.body_timeout and limits.body_rate hold from now on.  Once a request. */
void request_deadline_watch_body(struct request *request);

/* An answer has been queued: stream.stall_timeout and limits.answer_rate hold from now on.  Once a
 * request. */
void request_deadline_watch_answer(struct request *request);

/* What was watched has come, or is of no interest any more.  Of one that is not watched, nothing
 * happens. */
void request_deadline_unwatch(struct request *request);

/* Cut every request of the service that is past its deadline or too slow.  Cost: a system call or
 * two for each answer that has been under way for a second. */
void request_deadline_tick(struct service *service, int64_t now_ms);

#endif
