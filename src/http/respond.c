/* SPDX-License-Identifier: MIT */
/* Answers.  See respond.h. */
#include "config.h"
#include "http/respond.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/request_deadline.h"
#include "http/service.h"

#define PREFLIGHT_SECONDS "600"

/* Fetch: a listed origin is echoed as it came, never "*"; whether it was listed depends on the
 * request, so caches must know (the Vary header). */
void respond_add_cors(struct request *request, struct MHD_Response *response)
{
    MHD_add_response_header(response, "Vary", "Origin");
    if (request->has_secret_url)
        MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    if (request->origin_verdict != ORIGIN_LISTED)
        return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", request->origin);
    if (request->service->context->conf->auth.cookie[0] != '\0')
        MHD_add_response_header(response, "Access-Control-Allow-Credentials", "true");
    MHD_add_response_header(response, "Access-Control-Expose-Headers", "Retry-After");
}

static void respond_count(struct request *request, unsigned status)
{
    struct stats *stats = request->service->context->stats;

    if (status >= 500)
        stats_add(stats, STATS_RESPONSES_5XX, 1);
    else if (status >= 400)
        stats_add(stats, STATS_RESPONSES_4XX, 1);
}

static bool respond_ends_connection(const struct request *request)
{
    return request->service->shared->draining || request->is_last;
}

static void respond_add_headers(struct request *request, struct MHD_Response *response)
{
    if (MHD_get_response_header(response, "Cache-Control") == NULL)
        MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    respond_add_cors(request, response);
    if (respond_ends_connection(request))
        MHD_add_response_header(response, "Connection", "close");
}

static int respond_queue(struct request *request, unsigned status, struct MHD_Response *response)
{
    int result = MHD_queue_response(request->connection, status, response);

    request->answered = true;
    request_deadline_watch_answer(request);
    respond_count(request, status);
    return result;
}

int respond_with(struct request *request, unsigned status, struct MHD_Response *response)
{
    respond_add_headers(request, response);
    int result = respond_queue(request, status, response);
    MHD_destroy_response(response);
    return result;
}

/* Whether the answer has no header that others have not. */
static bool respond_has_common_headers(const struct request *request)
{
    return request->origin_verdict != ORIGIN_LISTED && !request->has_secret_url &&
           !respond_ends_connection(request);
}

static int respond_cached(struct request *request, unsigned status, const char *json, size_t json_n)
{
    struct cached_response *cached =
        response_cache_take(&request->service->response_cache, json, json_n);

    if (cached == NULL)
        return MHD_NO;
    if (cached->is_new) {
        MHD_add_response_header(cached->response, "Content-Type", "application/json");
        respond_add_headers(request, cached->response);
        cached->is_new = false;
    }
    request->cached = cached;
    return respond_queue(request, status, cached->response);
}

int respond_json_bytes(struct request *request, unsigned status, const char *json, size_t json_n)
{
    if (json_n <= RESPONSE_CACHE_BYTES_MAX && respond_has_common_headers(request))
        return respond_cached(request, status, json, json_n);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(json_n, (void *)(uintptr_t)json, MHD_RESPMEM_MUST_COPY);

    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "application/json");
    return respond_with(request, status, response);
}

/* With a line end, for people with curl. */
static char *respond_dump(json_t *json, size_t *ret_n)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    if (text == NULL)
        return NULL;
    size_t n = strlen(text);
    char *line = realloc(text, n + 2);
    if (line == NULL) {
        free(text);
        return NULL;
    }
    line[n] = '\n';
    line[n + 1] = '\0';
    *ret_n = n + 1;
    return line;
}

/* Takes the text, also when it fails. */
static struct MHD_Response *respond_make(char *text, size_t text_n, const char *type)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(text_n, text, MHD_RESPMEM_MUST_FREE);

    if (response == NULL)
        free(text);
    else
        MHD_add_response_header(response, "Content-Type", type);
    return response;
}

int respond_json_text(struct request *request, unsigned status, char *json, size_t json_n)
{
    if (json_n > request->answer_bytes &&
        !request_admit_answer(request, json_n - request->answer_bytes)) {
        free(json);
        return respond_memory_short(request);
    }
    struct MHD_Response *response = respond_make(json, json_n, "application/json");
    return response != NULL ? respond_with(request, status, response) : MHD_NO;
}

int respond_json(struct request *request, unsigned status, json_t *json)
{
    size_t text_n;
    char *text = respond_dump(json, &text_n);

    return text != NULL ? respond_json_text(request, status, text, text_n) : MHD_NO;
}

static json_t *respond_problem_json(const struct problem *problem)
{
    json_t *json = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", "about:blank", "title",
                             problem_title(problem->status), "status", (int)problem->status,
                             "detail", problem->detail, "code", problem->code);

    if (json == NULL)
        return NULL;
    if (problem->line > 0) {
        json_object_set_new(json, "line", json_integer((json_int_t)problem->line));
        json_object_set_new(json, "column", json_integer((json_int_t)problem->column));
    }
    if (problem->pointer[0] != '\0')
        json_object_set_new(json, "pointer", json_string(problem->pointer));
    return json;
}

int respond_problem(struct request *request, const struct problem *problem)
{
    size_t text_n;
    char *text = respond_dump(respond_problem_json(problem), &text_n);
    char seconds[16];

    if (text == NULL)
        return MHD_NO;
    struct MHD_Response *response = respond_make(text, text_n, "application/problem+json");
    if (response == NULL)
        return MHD_NO;
    if (problem->allow != NULL)
        MHD_add_response_header(response, "Allow", problem->allow);
    if (problem->upgrades) {
        MHD_add_response_header(response, "Upgrade", "websocket");
        MHD_add_response_header(response, "Sec-WebSocket-Version", "13");
    }
    if (problem->challenge[0] != '\0')
        MHD_add_response_header(response, "WWW-Authenticate", problem->challenge);
    if (problem->retry_after_s > 0) {
        snprintf(seconds, sizeof(seconds), "%u", problem->retry_after_s);
        MHD_add_response_header(response, "Retry-After", seconds);
    }
    return respond_with(request, problem->status, response);
}

int respond_error(struct request *request, unsigned status, const char *code, const char *format,
                  ...)
{
    struct problem problem;
    char detail[sizeof(problem.detail)];
    va_list args;

    va_start(args, format);
    vsnprintf(detail, sizeof(detail), format, args);
    va_end(args);
    problem_set(&problem, status, code, "%s", detail);
    return respond_problem(request, &problem);
}

int respond_unavailable(struct request *request, unsigned retry_after_s, const char *code,
                        const char *detail)
{
    struct problem problem;

    problem_set(&problem, 503, code, "%s", detail);
    problem.retry_after_s = retry_after_s > 0 ? retry_after_s : problem_retry_after_s();
    return respond_problem(request, &problem);
}

int respond_out_of_memory(struct request *request)
{
    struct problem problem;

    problem_set_out_of_memory(&problem);
    return respond_problem(request, &problem);
}

int respond_memory_short(struct request *request)
{
    struct problem problem;

    problem_set_memory_short(&problem);
    return respond_problem(request, &problem);
}

int respond_publish_shed(struct request *request)
{
    struct stats *stats = request->service->context->stats;

    stats_add(stats, STATS_PUBLISHES_SHED, 1);
    stats_add(stats, STATS_PUBLISHES_REFUSED_MEMORY, 1);
    return respond_memory_short(request);
}

/* Fetch, 4.8: what a page of a listed origin may send.  Without memory a header less. */
static void respond_add_allowed_headers(const struct request *request,
                                        struct MHD_Response *response)
{
    const struct conf_list *more = &request->service->context->conf->auth.allow_headers;
    char *text = NULL;
    size_t text_n;
    FILE *to = open_memstream(&text, &text_n);

    if (to == NULL)
        return;
    fputs("authorization, cache-control, content-type, idempotency-key, last-event-id", to);
    for (size_t i = 0; i < more->items_n; i++)
        fprintf(to, ", %s", more->items[i]);
    if (fclose(to) == 0)
        MHD_add_response_header(response, "Access-Control-Allow-Headers", text);
    free(text);
}

int respond_options(struct request *request, const char *allow)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);

    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, "Allow", allow);
    if (request->origin_verdict == ORIGIN_LISTED) {
        MHD_add_response_header(response, "Access-Control-Allow-Methods", allow);
        respond_add_allowed_headers(request, response);
        MHD_add_response_header(response, "Access-Control-Max-Age", PREFLIGHT_SECONDS);
    }
    return respond_with(request, MHD_HTTP_NO_CONTENT, response);
}
