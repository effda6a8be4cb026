/* SPDX-License-Identifier: MIT */
/*
 * Every answer that is not a stream: made, given its headers, queued and released here.
 *
 * All return what the request handler is to return: MHD_YES, or MHD_NO when there was no memory
 * for an answer, and then libmicrohttpd closes the connection.  Worker's thread.
 */
#ifndef BUGLE_RESPOND_H
#define BUGLE_RESPOND_H

#include <jansson.h>
#include <stddef.h>

#include "http/request.h"
#include "wire/problem.h"

struct MHD_Response;

/* Queue a response with the headers that all answers have: nosniff, no-store unless it has a
 * Cache-Control, CORS for listed origins, Vary.  Takes the response. */
int respond_with(struct request *request, unsigned status, struct MHD_Response *response);

/* application/json from bytes, which are copied. */
int respond_json_bytes(struct request *request, unsigned status, const char *json, size_t json_n);

/* application/json from a text that is taken and freed. */
int respond_json_text(struct request *request, unsigned status, char *json, size_t json_n);

/* application/json from a value; takes the reference, accepts NULL as out of memory. */
int respond_json(struct request *request, unsigned status, json_t *json);

/* application/problem+json. */
int respond_problem(struct request *request, const struct problem *problem);

/* A problem in one call. */
int respond_error(struct request *request, unsigned status, const char *code, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));

/* 503 with a time to try again; 0 seconds: drawn by problem_retry_after_s(). */
int respond_unavailable(struct request *request, unsigned retry_after_s, const char *code,
                        const char *detail);

/* 503: an allocation failed. */
int respond_out_of_memory(struct request *request);

/* 503 with a time to try again, for what limits.memory has no room for. */
int respond_memory_short(struct request *request);

/* The same for a publish, counted in publishes_shed and publishes_refused_memory. */
int respond_publish_shed(struct request *request);

/* 204 without a body, for OPTIONS: what `allow` lists, and CORS to a listed origin. */
int respond_options(struct request *request, const char *allow);

/* The CORS headers that a response to this request needs; streams add them too. */
void respond_add_cors(struct request *request, struct MHD_Response *response);

#endif
