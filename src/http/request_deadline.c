/* SPDX-License-Identifier: MIT */
/* Deadlines of bodies and answers.  See request_deadline.h. */
#include "config.h"
#include "http/request_deadline.h"

#include <assert.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "http/service.h"

/* Nearly all answers are in the kernel's hands before that. */
#define ANSWER_LOOK_AFTER_MS 1000
/* How much later than ours the kernel's judgement comes. */
#define PATIENCE_BEYOND_STALL_MS 10000

void request_deadline_watch_body(struct request *request)
{
    struct service *service = request->service;
    int64_t now_ms = clock_mono_ms();

    request->body_until_ms = now_ms + (int64_t)service->context->conf->limits.body_timeout_ms;
    min_rate_begin(&request->rate, now_ms, 0);
    LIST_INSERT_HEAD(&service->receiving, request, link);
    request->receiving = true;
}

void request_deadline_watch_answer(struct request *request)
{
    struct service *service = request->service;

    assert(!request->receiving && !request->answering);
    request->rate.begun_ms = worker_now_ms(service->worker);
    LIST_INSERT_HEAD(&service->answering, request, link);
    request->answering = true;
}

void request_deadline_unwatch(struct request *request)
{
    if (request->receiving || request->answering)
        LIST_REMOVE(request, link);
    request->receiving = request->answering = false;
}

/* A body that does not come.  The answer is written by hand, and its daemon sees the shutdown and
 * completes the request. */
static void deadline_cut_body(struct request *request, enum stats_id counter, const char *code,
                              const char *detail)
{
    stats_add(request->service->context->stats, counter, 1);
    request_deadline_unwatch(request);
    request_write_problem(request, 408, code, detail);
    shutdown(request_fd(request), SHUT_RDWR);
}

static void deadline_check_body(struct request *request, int64_t now_ms)
{
    const struct conf *conf = request->service->context->conf;

    min_rate_note(&request->rate, now_ms, (int64_t)request->body_n);
    if (request->body_until_ms <= now_ms)
        deadline_cut_body(request, STATS_BODIES_TIMED_OUT, "body_timeout",
                          "The body did not arrive within limits.body_timeout.");
    else if (min_rate_is_slow(&request->rate, now_ms, conf->limits.body_rate))
        deadline_cut_body(request, STATS_BODIES_TOO_SLOW, "body_too_slow",
                          "The body arrived more slowly than limits.body_rate allows.");
}

static void deadline_cut_answer(struct request *request, enum stats_id counter)
{
    stats_add(request->service->context->stats, counter, 1);
    request_deadline_unwatch(request);
    peer_abort(request_fd(request));
}

/* The kernel would take a slow reader for one that is gone; see peer_set_patience(). */
static void deadline_extend_kernel(struct request *request, int64_t now_ms)
{
    const struct conf *conf = request->service->context->conf;

    if (request->rate.moved_ms == now_ms)
        peer_set_patience(request_fd(request), now_ms - request->rate.begun_ms +
                                                   (int64_t)conf->stream.stall_timeout_ms +
                                                   PATIENCE_BEYOND_STALL_MS);
}

/* A count below 0 is of a unix socket, which tells no rate. */
static void deadline_check_answer(struct request *request, int64_t now_ms)
{
    const struct conf *conf = request->service->context->conf;
    struct min_rate *rate = &request->rate;
    struct tcp_progress flow;

    if (now_ms - rate->begun_ms < ANSWER_LOOK_AFTER_MS ||
        tcp_progress(request_fd(request), &flow) != 0)
        return;
    if (flow.outstanding == 0) { /* and then it does not tell how much was acknowledged */
        min_rate_moved(rate, now_ms);
        return;
    }
    if (!request->measured)
        min_rate_begin(rate, now_ms, flow.acknowledged);
    request->measured = true;
    min_rate_note(rate, now_ms, flow.acknowledged);
    deadline_extend_kernel(request, now_ms);
    if (min_rate_still_ms(rate, now_ms) >= (int64_t)conf->stream.stall_timeout_ms)
        deadline_cut_answer(request, STATS_ANSWERS_STALLED);
    else if (flow.acknowledged >= 0 && min_rate_is_slow(rate, now_ms, conf->limits.answer_rate))
        deadline_cut_answer(request, STATS_ANSWERS_TOO_SLOW);
}

static void deadline_check_each(struct request_list *list, int64_t now_ms,
                                void (*check)(struct request *request, int64_t now_ms))
{
    struct request *request = LIST_FIRST(list);

    while (request != NULL) {
        struct request *next = LIST_NEXT(request, link);

        check(request, now_ms);
        request = next;
    }
}

void request_deadline_tick(struct service *service, int64_t now_ms)
{
    deadline_check_each(&service->receiving, now_ms, deadline_check_body);
    deadline_check_each(&service->answering, now_ms, deadline_check_answer);
}
