/* SPDX-License-Identifier: MIT */
/*
 * GET /api/history: stored events as JSON, a part at a time.
 *
 * Reads block, so the pager makes them; between two of them the worker decides whether to go on.
 * An answer ends at its limit, at the end of the history, or when its time or size is used up, and
 * says where to go on.  The number of such requests is bounded (limits.history_requests), each
 * until its answer is out.
 *
 * Where several gateways share a history the place that a client names may be open
 * (stream_place.h): then the request waits a little for the log's word, and for what this gateway
 * lacks.  A stream waits for as long as it takes; here who asks is told to ask again.
 */
#include "config.h"
#include "api/route.h"

#include <errno.h>
#include <event2/event.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "api/access.h"
#include "api/history_listing.h"
#include "api/query_params.h"
#include "base/clock.h"
#include "history/page_reader.h"
#include "http/respond.h"
#include "http/service.h"
#include "hub/hub_share.h"
#include "stream/page_ask.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000
#define PAGE_BYTES 32768
#define ANSWER_BYTES 1048576
#define READING_MS 200
/* For an open place, looked at so often. */
#define OPEN_MS 1000
#define OPEN_LOOK_MS 50
/* For the place of the latest events. */
#define SEARCH_MS 2000

/* Between the handler and its answer.  The request owns it; the pager's threads pass its address
 * on without looking, and that stays good: a suspended request is completed by nothing but what
 * happens after its own request_wake(), whatever became of the client. */
struct work {
    struct request *request;
    struct filter *filter;
    struct history_listing *listing; /* NULL: it is not known yet where to begin */
    const char *after;               /* as the client sent it, the request's; NULL: the oldest */
    size_t after_n;
    size_t limit;
    size_t left_n;       /* of the latest events: still to be found; 0: none are searched */
    uint64_t before;     /* of that search, as page_reader_request */
    const char *epoch;   /* of the history, when the listing began */
    int64_t since_ms;    /* when the request came */
    int64_t until_ms;    /* no read begins after this */
    struct event *looks; /* while the place is open */
    int result;          /* of the read that ended it; -EAGAIN: it is to be asked again; -ETIME: the
                          * search took too long */
};

/* ---- asking ---- */

/* What the query says. */
struct question {
    struct query_params_names names;
    size_t limit;
    const char *after; /* NULL: from the oldest */
    size_t after_n;
    size_t last; /* 0: not the latest */
};

static bool history_get_read_question(struct request *request, struct question *ret_question,
                                      struct problem *ret_problem)
{
    const char *epoch;
    uint64_t position;

    ret_question->after = request_query(request, "after", &ret_question->after_n);
    if (ret_question->after != NULL &&
        !sse_parse_id(ret_question->after, ret_question->after_n, &epoch, &position))
        return problem_set(ret_problem, 400, "invalid_position",
                           "after must be the id of an event, or the next of an earlier answer.");
    if (!query_params_read_latest(request, &ret_question->last, ret_problem))
        return false;
    if (ret_question->last > 0 &&
        (ret_question->after != NULL || request_query(request, "limit", &(size_t){0}) != NULL))
        return problem_set(ret_problem, 400, "invalid_last",
                           "last gives the latest events, and goes with neither after nor limit.");
    return query_params_read_names(request, &ret_question->names, ret_problem) &&
           access_limit_listing(request, &ret_question->names, ret_problem) &&
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
    if (work->looks != NULL)
        event_free(work->looks);
    history_listing_free(work->listing);
    filter_unref(work->filter);
    free(work);
}

/* Find where to begin.  Returns whether it is known. */
static bool history_get_find_place(const struct work *work, const struct hub_share_facts *word,
                                   struct history_listing_ask *ask)
{
    struct hub *hub = work->request->service->shared->hub;
    struct history_bounds bounds;
    struct stream_place place;

    ask->from_oldest = work->after == NULL;
    if (ask->from_oldest) {
        history_bounds(hub_history(hub), &bounds);
        ask->after = bounds.trimmed;
        return true;
    }
    stream_find_place(hub, work->after, work->after_n, word, &place);
    ask->after = place.position;
    ask->reset = place.reset;
    return !place.is_open;
}

/* Begin the listing, if it is known where.  Returns 0; -EAGAIN: it is not; or -ENOMEM. */
static int history_get_begin_listing(struct work *work, const struct hub_share_facts *word)
{
    struct hub *hub = work->request->service->shared->hub;
    struct history_listing_ask ask = {
        .epoch = work->epoch = history_epoch(hub_history(hub)),
        .user = &work->filter->user,
        .events_max = work->limit,
        .bytes_max = ANSWER_BYTES,
    };

    if (!history_get_find_place(work, word, &ask))
        return -EAGAIN;
    ask.upto = hub_committed(hub);
    work->until_ms = clock_mono_ms() + READING_MS;
    work->listing = history_listing_new(&ask);
    return work->listing != NULL ? 0 : -ENOMEM;
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
    work->after = question->after;
    work->after_n = question->after_n;
    work->limit = question->last > 0 ? question->last : question->limit;
    work->left_n = question->last;
    work->before = UINT64_MAX;
    work->since_ms = clock_mono_ms();
    request->work = work;
    request->free_work = history_get_free;
    work->filter = query_params_make_filter(&question->names);
    return work->filter != NULL ? work : NULL;
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
    page->left_n = work->left_n;
    page->before = work->before;
    page->after = history_listing_position(work->listing);
    page->upto = history_listing_upto(work->listing);
    page->bytes_max = PAGE_BYTES;
    page_reader_read(work->request->service->shared->page_reader, page);
    return 0;
}

/* The listing's time begins when it is known where it does.  Returns 0 or -ETIME. */
static int history_get_note_search(struct work *work, const struct page_reader_request *page)
{
    int64_t now_ms = clock_mono_ms();

    if (work->left_n == 0)
        return 0;
    work->left_n = page->left_n;
    work->before = page->before;
    work->until_ms = now_ms + READING_MS;
    return work->left_n > 0 && now_ms - work->since_ms >= SEARCH_MS ? -ETIME : 0;
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
    work->result = page->result == 0 || page->result == -ESTALE
                       ? history_get_note_search(work, page)
                       : page->result;
    if (work->result == 0 && work->left_n == 0)
        work->result = history_listing_take(work->listing, page->result, page->page, &page->bounds);
    page_reader_request_free(page);
    if (work->result == 0 && history_get_goes_on(work)) {
        work->result = history_get_ask_page(work);
        if (work->result == 0)
            return;
    }
    request_wake(work->request);
}

/* ---- waiting for the place ---- */

/* Returns 0; -ENODATA: there is nothing to read; or -ENOMEM. */
static int history_get_begin_reading(struct work *work)
{
    return history_listing_wants_more(work->listing) ? history_get_ask_page(work) : -ENODATA;
}

/* As it is known now.  As history_get_begin_listing(). */
static int history_get_look_once(struct work *work)
{
    struct hub *hub = work->request->service->shared->hub;
    struct hub_share_facts facts;
    bool has_word;

    hub_share_get_facts(hub, &facts);
    has_word = facts.asked_ms > work->since_ms;
    if (!has_word)
        hub_share_ask_soon(hub);
    return history_get_begin_listing(work, has_word ? &facts : NULL);
}

/* Some times a second. */
static void history_get_look(evutil_socket_t fd, short what, void *arg)
{
    struct work *work = arg;
    int result = history_get_look_once(work);

    (void)fd, (void)what;
    if (result == -EAGAIN && clock_mono_ms() - work->since_ms < OPEN_MS &&
        !work->request->service->shared->draining)
        return;
    event_del(work->looks);
    if (result == 0)
        result = history_get_begin_reading(work);
    if (result == 0)
        return;
    work->result = result == -ENODATA ? 0 : result;
    request_wake(work->request);
}

/* Returns 0 or -ENOMEM. */
static int history_get_await_place(struct work *work)
{
    const struct service *service = work->request->service;
    const struct timeval pause = {.tv_usec = OPEN_LOOK_MS * 1000};

    work->looks = event_new(service->context->base, -1, EV_PERSIST, history_get_look, work);
    if (work->looks == NULL || event_add(work->looks, &pause) != 0)
        return -ENOMEM;
    hub_share_ask_soon(service->shared->hub);
    return 0;
}

/* ---- answering ---- */

static int history_get_respond_failure(struct request *request, int error)
{
    if (error == -EAGAIN)
        return respond_unavailable(request, 1, "behind",
                                   "This node does not have what the id names yet, or its history "
                                   "has just changed: ask again, here or another node.");
    if (error == -ETIME)
        return respond_unavailable(
            request, 0, "search_too_long",
            "The latest events of these topics are too far back to be "
            "found in time: ask for fewer, or for topics without wildcards.");
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
    /* what was read may be of two orders */
    if (work->epoch != history_epoch(hub_history(request->service->shared->hub)))
        return history_get_respond_failure(request, -EAGAIN);
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
    int result = history_get_begin_listing(work, NULL);
    if (result == 0)
        result = history_get_begin_reading(work);
    else if (result == -EAGAIN)
        result = history_get_await_place(work);
    if (result == -ENODATA)
        return history_get_respond_listing(request);
    if (result != 0)
        return history_get_respond_failure(request, result);
    return request_suspend(request, history_get_respond_listing);
}
