/* SPDX-License-Identifier: MIT */
/*
 * GET /api/history: stored events as JSON, a part at a time.
 *
 * Reads block, so the pager makes them; between two of them the worker decides whether to go on.
 * An answer ends at its limit, at the end of the history, or when its time or size is used up, and
 * says where to go on.  The number of such requests is bounded (limits.history_requests), each
 * until its answer is out.
 */
#include "config.h"
#include "api/route.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "api/history_listing.h"
#include "api/query_params.h"
#include "base/clock.h"
#include "history/page_reader.h"
#include "http/respond.h"
#include "http/service.h"
#include "stream/page_ask.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000
#define PAGE_BYTES 32768
#define ANSWER_BYTES 1048576
#define READING_MS 200

/* Between the handler and its answer.  The request owns it; the pager's threads pass its address
 * on without looking, and that stays good: a suspended request is completed by nothing but what
 * happens after its own request_wake(), whatever became of the client. */
struct work {
    struct request *request;
    struct filter *filter;
    struct history_listing *listing;
    int64_t until_ms; /* no read begins after this */
    int result;       /* of the read that ended it */
};

/* ---- asking ---- */

/* What the query says. */
struct question {
    struct query_params_names names;
    size_t limit;
    const char *after; /* NULL: from the oldest */
    size_t after_n;
};

static bool history_get_read_question(const struct request *request, struct question *ret_question,
                                      struct problem *ret_problem)
{
    const char *epoch;
    uint64_t position;

    ret_question->after = request_query(request, "after", &ret_question->after_n);
    if (ret_question->after != NULL &&
        !sse_parse_id(ret_question->after, ret_question->after_n, &epoch, &position))
        return problem_set(ret_problem, 400, "invalid_position",
                           "after must be the id of an event, or the next of an earlier answer.");
    return query_params_read_names(request, &ret_question->names, ret_problem) &&
           query_params_check_size(&ret_question->names, ret_problem) &&
           query_params_read_limit(request, LIMIT_DEFAULT, LIMIT_MAX, &ret_question->limit,
                                   ret_problem);
}

/* Count the request in, unless there are too many. */
static bool history_get_take_place(struct request *request)
{
    struct service_shared *shared = request->service->shared;
    struct stats *stats = request->service->context->stats;

    if (atomic_fetch_add(&shared->history_requests_n, 1) <
        request->service->context->conf->limits.history_requests) {
        stats_add(stats, STATS_HISTORY_REQUESTS, 1);
        return true;
    }
    atomic_fetch_sub(&shared->history_requests_n, 1);
    stats_add(stats, STATS_HISTORY_SHED, 1);
    return false;
}

/* A listing is a text as it grows, and at its end the answer: both as large as answers get. */
static bool history_get_memory_has_room(struct request *request)
{
    struct service *service = request->service;

    if (memory_budget_level(service->context->memory) < MEMORY_BUDGET_NEAR)
        return request_admit_answer(request, (size_t)2 * ANSWER_BYTES);
    stats_add(service->context->stats, STATS_ANSWERS_REFUSED_MEMORY, 1);
    return false;
}

static void history_get_free(void *arg)
{
    struct work *work = arg;
    struct service *service = work->request->service;

    atomic_fetch_sub(&service->shared->history_requests_n, 1);
    stats_add(service->context->stats, STATS_HISTORY_REQUESTS, -1);
    history_listing_free(work->listing);
    filter_unref(work->filter);
    free(work);
}

static struct history_listing *history_get_begin_listing(const struct work *work,
                                                         const struct question *question)
{
    struct hub *hub = work->request->service->shared->hub;
    struct history_listing_ask ask = {
        .epoch = history_epoch(hub_history(hub)),
        .user = &work->filter->user,
        .from_oldest = question->after == NULL,
        .events_max = question->limit,
        .bytes_max = ANSWER_BYTES,
    };
    struct history_bounds bounds;

    if (ask.from_oldest) {
        history_bounds(hub_history(hub), &bounds);
        ask.after = bounds.trimmed;
    } else {
        ask.reset = stream_find_place(hub, question->after, question->after_n, &ask.after);
    }
    ask.upto = hub_committed(hub);
    return history_listing_new(&ask);
}

/* The place is taken; the work gives it back, however far it came. */
static struct work *history_get_new(struct request *request, const struct question *question)
{
    struct work *work = calloc(1, sizeof(*work));

    if (work == NULL) {
        atomic_fetch_sub(&request->service->shared->history_requests_n, 1);
        stats_add(request->service->context->stats, STATS_HISTORY_REQUESTS, -1);
        return NULL;
    }
    work->request = request;
    work->until_ms = clock_mono_ms() + READING_MS;
    request->work = work;
    request->free_work = history_get_free;
    work->filter = query_params_make_filter(&question->names);
    if (work->filter != NULL)
        work->listing = history_get_begin_listing(work, question);
    return work->listing != NULL ? work : NULL;
}

/* ---- reading ---- */

static void history_get_take_page(void *arg);

/* On a pager's thread. */
static void history_get_page_read(struct page_reader_request *page)
{
    struct work *work = page->arg;

    worker_post_note(work->request->service->worker, &((struct page_ask *)(void *)page)->note,
                     history_get_take_page, page);
}

static int history_get_ask_page(struct work *work)
{
    struct page_ask *ask = calloc(1, sizeof(*ask));

    if (ask == NULL)
        return -ENOMEM;
    struct page_reader_request *page = &ask->request;
    page->done = history_get_page_read;
    page->arg = work;
    page->queue = PAGE_READER_LISTINGS;
    page->filter = filter_ref(work->filter);
    page->since_ms = -1;
    page->after = history_listing_position(work->listing);
    page->upto = history_listing_upto(work->listing);
    page->bytes_max = PAGE_BYTES;
    page_reader_read(work->request->service->shared->page_reader, page);
    return 0;
}

/* A client that left needs no more, and a stop should not wait. */
static bool history_get_goes_on(const struct work *work)
{
    return history_listing_wants_more(work->listing) && clock_mono_ms() < work->until_ms &&
           !work->request->service->shared->draining &&
           peer_probe(request_fd(work->request)) != PEER_GONE;
}

static void history_get_count_page(const struct work *work, const struct page_reader_request *page)
{
    struct stats *stats = work->request->service->context->stats;

    if (page->result == 0 || page->result == -ESTALE)
        stats_add(stats, STATS_PAGES_READ, 1);
    if (page->page != NULL && page->page->damaged)
        stats_add(stats, STATS_PAGES_DAMAGED, 1);
}

/* The pager's answer, on the request's worker. */
static void history_get_take_page(void *arg)
{
    struct page_reader_request *page = arg;
    struct work *work = page->arg;

    history_get_count_page(work, page);
    work->result = history_listing_take(work->listing, page->result, page->page, &page->bounds);
    page_reader_request_free(page);
    if (work->result == 0 && history_get_goes_on(work)) {
        work->result = history_get_ask_page(work);
        if (work->result == 0)
            return;
    }
    request_wake(work->request);
}

/* ---- answering ---- */

static int history_get_respond_failure(struct request *request, int error)
{
    if (error == -ENOMEM)
        return respond_unavailable(request, 0, "out_of_memory", "The gateway is out of memory.");
    if (error == -ESHUTDOWN)
        return respond_unavailable(request, 0, "stopping", "The gateway is stopping.");
    return respond_unavailable(request, 0, "store_failed", "The history cannot be read.");
}

static int history_get_respond_listing(struct request *request)
{
    struct work *work = request->work;
    struct history_bounds bounds;
    size_t text_n;

    if (work->result != 0)
        return history_get_respond_failure(request, work->result);
    history_bounds(hub_history(request->service->shared->hub), &bounds);
    char *text = history_listing_finish(work->listing, &bounds, &text_n);
    if (text == NULL)
        return history_get_respond_failure(request, -ENOMEM);
    return respond_json_text(request, MHD_HTTP_OK, text, text_n);
}

int history_get_handle(struct request *request)
{
    struct question question;
    struct problem problem;

    if (!history_get_read_question(request, &question, &problem))
        return respond_problem(request, &problem);
    if (!history_get_memory_has_room(request))
        return respond_memory_short(request);
    if (!history_get_take_place(request))
        return respond_unavailable(
            request, 0, "overloaded",
            "As many requests for the history are in progress as limits.history_requests allows.");
    struct work *work = history_get_new(request, &question);
    if (work == NULL)
        return history_get_respond_failure(request, -ENOMEM);
    if (!history_listing_wants_more(work->listing))
        return history_get_respond_listing(request);
    if (history_get_ask_page(work) != 0)
        return history_get_respond_failure(request, -ENOMEM);
    return request_suspend(request, history_get_respond_listing);
}
