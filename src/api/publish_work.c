/* SPDX-License-Identifier: MIT */
/* One publish, from its text to the hub and back.  See publish_work.h. */
#include "config.h"
#include "api/publish_work.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/access.h"
#include "api/challenge.h"
#include "api/publish_plain.h"
#include "history/history.h"
#include "http/service.h"
#include "hub/hub_share.h"
#include "wire/json_span.h"

/* What is not plain takes 20 to 70 ns a byte, the most where events are small.  Beyond this, 0.1 to
 * 0.3 ms, it is done beside the loop, whose streams would wait for it, and for all the others that
 * came in the same turn. */
#define ASIDE_BYTES 4096
/* And holding topics against the patterns that a caller may publish to takes up to 2 ns a byte and
 * pattern: so many of these cost as much as reading. */
#define ASIDE_PATTERNS 32
/* What one turn of the loop reads, 3 to 9 ms: a client may have many texts arrive in one turn. */
#define READ_BYTES_A_TURN ((size_t)128 << 10)
/* What an event costs at least, whatever its text has. */
#define EVENT_BYTES_MIN 256

static struct hub *work_hub(const struct publish_work *work)
{
    return work->service->shared->hub;
}

static const struct context *work_context(const struct publish_work *work)
{
    return work->service->context;
}

/* ---- what is refused ---- */

/* What a log that is shared (hub_share.h) keeps from being answered with 201, and what to do. */
static const struct log_refusal {
    int error;
    enum stats_id counter;
    unsigned status;
    const char *code, *detail;
} log_refusals[] = {
    {HUB_LOG_UNREACHABLE, STATS_PUBLISHES_LOG_UNREACHABLE, 503, "log_unreachable",
     "The log that the gateways share cannot be reached; nothing of this request was stored. Send "
     "it again."},
    {HUB_LOG_LOST, STATS_PUBLISHES_LOG_LOST, 503, "log_lost",
     "The log that the gateways share did not answer: whether this was stored is unknown. Send it "
     "again with the same idempotency key, then it is stored once."},
    {HUB_LOG_UNCONFIRMED, STATS_PUBLISHES_LOG_UNCONFIRMED, 503, "log_unconfirmed",
     "This was stored, but not on as many replicas as cluster.replicas names: a failover may lose "
     "it. Send it again with the same idempotency key, then it is stored once."},
    {HUB_LOG_FULL, STATS_PUBLISHES_LOG_FULL, 507, "log_full",
     "The server of the log that the gateways share has no room; nothing was stored. Make room in "
     "its memory or on its disk, or set a smaller cluster.log_bytes."},
    {HUB_LOG_REFUSED, STATS_PUBLISHES_LOG_REFUSED, 503, "log_refused",
     "The server of the log that the gateways share does not let this gateway write; nothing was "
     "stored. The gateway's log says what the server said."},
};

/* Returns whether it is such an error; then the problem is set and counted. */
static bool work_set_log_refusal(struct stats *stats, int error, struct problem *ret_problem)
{
    for (size_t i = 0; i < sizeof(log_refusals) / sizeof(log_refusals[0]); i++)
        if (log_refusals[i].error == error) {
            stats_add(stats, log_refusals[i].counter, 1);
            problem_set(ret_problem, log_refusals[i].status, log_refusals[i].code, "%s",
                        log_refusals[i].detail);
            ret_problem->retry_after_s = problem_retry_after_s();
            return true;
        }
    return false;
}

bool publish_work_set_overload(struct service *service, struct problem *ret_problem)
{
    struct stats *stats = service->context->stats;

    stats_add(stats, STATS_PUBLISHES_SHED, 1);
    /* then it is not for the gateway's own pace that so much waits */
    if (hub_is_cut_off(service->shared->hub)) {
        work_set_log_refusal(stats, HUB_LOG_UNREACHABLE, ret_problem);
        return false;
    }
    problem_set(ret_problem, 503, "overloaded",
                "Too many events wait to be stored; nothing of this request was stored.");
    ret_problem->retry_after_s = problem_retry_after_s();
    return false;
}

static bool work_refuse_memory(const struct publish_work *work, struct problem *problem)
{
    struct stats *stats = work_context(work)->stats;

    stats_add(stats, STATS_PUBLISHES_SHED, 1);
    stats_add(stats, STATS_PUBLISHES_REFUSED_MEMORY, 1);
    return problem_set_memory_short(problem);
}

/* The problem is known already: count it. */
static bool work_refuse(const struct publish_work *work, const struct problem *problem)
{
    struct stats *stats = work_context(work)->stats;

    stats_add(stats, STATS_PUBLISHES_REFUSED, 1);
    challenge_count(stats, problem);
    return false;
}

/* A publisher may see these figures: they help to solve the problem. */
static void work_set_no_room(struct problem *problem, const struct history *history)
{
    if (history_trouble(history) != HISTORY_NO_ROOM)
        problem_set(problem, 507, "disk_reserve",
                    "The disk of the store is full; nothing was stored.");
    else
        problem_set(problem, 507, "disk_reserve",
                    "Nothing was stored: %llu KiB are free on the disk of the store, "
                    "history.disk_reserve is %llu KiB, and the commit takes up to %llu KiB.  Make "
                    "room on that disk, or set a smaller history.disk_reserve.",
                    (unsigned long long)history->free_bytes / 1024,
                    (unsigned long long)history->disk_reserve / 1024,
                    (unsigned long long)(history->asked_bytes + 1023) / 1024);
}

static bool work_refuse_failure(const struct publish_work *work, int error, struct problem *problem)
{
    if (work_set_log_refusal(work_context(work)->stats, error, problem))
        return false;
    stats_add(work_context(work)->stats,
              error == -ENOSPC ? STATS_PUBLISHES_REFUSED_DISK : STATS_PUBLISHES_FAILED, 1);
    if (error == -ENOSPC)
        work_set_no_room(problem, hub_history(work_hub(work)));
    else if (error == -ESTALE)
        problem_set(problem, 503, "store_gone",
                    "The file of the store was moved, removed or replaced; nothing was stored. Put "
                    "the file back or restart the gateway.");
    else if (error == -ESHUTDOWN)
        problem_set(problem, 503, "stopping", "The gateway is stopping; nothing was stored.");
    else if (error == -ECONNRESET)
        problem_set(problem, 503, "handover_lost",
                    "The gateway that took over has ended: whether this was stored is unknown. "
                    "Send it again with the same idempotency key, then it is stored once.");
    else
        problem_set(problem, 503, "store_failed", "The store failed; nothing was stored.");
    problem->retry_after_s = problem_retry_after_s();
    return false;
}

static bool work_refuse_conflict(const struct publish_work *work, struct problem *problem)
{
    stats_add(work_context(work)->stats, STATS_PUBLISHES_REFUSED, 1);
    problem_set(problem, 422, "idempotency_conflict",
                "The key was used before with other content; nothing of this request was stored.");
    return work->body.is_array
               ? problem_point(problem, "/%zu/idempotency_key", work->op.conflict_at)
               : problem_point(problem, "/idempotency_key");
}

/* ---- reading ---- */

static struct publish_limits work_limits(const struct conf *conf,
                                         const struct publish_work_ask *ask)
{
    return (struct publish_limits){
        .event_bytes_max = conf->limits.event_bytes,
        .json_depth_max = conf->limits.json_depth,
        .key = ask->key,
        .key_n = ask->key_n,
        .scope = ask->identity != NULL ? ask->identity->scope : NULL,
    };
}

/* A text that is plainly one event, which takes no more than that.  Any thread. */
static bool work_read_plain(const struct publish_work_ask *ask, const struct publish_limits *limits,
                            struct publish_body *ret_body)
{
    return ask->is_json && ask->text_n > 0 &&
           publish_plain(ask->text, ask->text_n, limits, ret_body);
}

/* Any other.  Any thread. */
static bool work_read_other(const struct publish_work_ask *ask, const struct publish_limits *limits,
                            struct publish_body *ret_body, struct problem *ret_problem)
{
    const char *text = ask->text != NULL ? ask->text : "";

    if (ask->is_json)
        return publish_body_json(text, ask->text_n, limits, ret_body, ret_problem);
    return publish_body_text(text, ask->text_n, ask->fields, ask->fields_n, limits, ret_body,
                             ret_problem);
}

/* ---- memory ---- */

/* Reading a text takes the messages and room to compose them in. */
static size_t work_composing_bytes(const struct publish_work_ask *ask)
{
    return 2 * ask->text_n;
}

/* And what is not plain JSON takes the parser's tree. */
static size_t work_tree_bytes(const struct publish_work_ask *ask)
{
    struct json_span text = {ask->text != NULL ? ask->text : "", ask->text_n};

    return ask->is_json ? json_span_tree_bytes(text) : 0;
}

/* Set room aside for what reading takes; JSON takes many times its bytes. */
static bool work_reserve(struct publish_work *work, size_t bytes)
{
    struct memory_budget *memory = work_context(work)->memory;

    if (!memory_budget_admit(memory, MEMORY_BUDGET_PARSING, bytes, memory_budget_level_for(bytes)))
        return false;
    work->parsing_bytes += bytes;
    return true;
}

/* The text is read: what it became is counted instead, each event until it is freed. */
static void work_end_parsing(struct publish_work *work)
{
    struct memory_budget *memory = work_context(work)->memory;
    _Atomic int64_t *account = memory_budget_counter(memory, MEMORY_BUDGET_EVENTS);

    for (size_t i = 0; i < work->body.messages_n; i++)
        message_charge(work->body.messages[i], account);
    memory_budget_add(memory, MEMORY_BUDGET_PARSING, -(int64_t)work->parsing_bytes);
    work->parsing_bytes = 0;
}

/* ---- to the hub and back ---- */

/* There will be no operation for what the hub counts. */
static void work_release_admitted(struct publish_work *work)
{
    if (work->admitted_bytes > 0)
        hub_charge(work_hub(work), work->admitted_bytes, 0);
    work->admitted_bytes = 0;
}

/* The text is good: off to the hub.  Returns 0, or -ENOMEM. */
static int work_submit(struct publish_work *work)
{
    if (work->let_go != NULL)
        work->let_go(work); /* it is in the messages */
    work->op.events = work->body.messages;
    work->op.events_n = work->body.messages_n;
    work->op.bytes = work->body.bytes;
    if (work->body.has_keys) {
        work->op.duplicate_of = calloc(work->op.events_n, sizeof(work->op.duplicate_of[0]));
        if (work->op.duplicate_of == NULL)
            return -ENOMEM;
    }
    hub_charge(work_hub(work), work->admitted_bytes, work->op.bytes);
    work->admitted_bytes = 0;
    worker_publish(work->service->worker, &work->op);
    return 0;
}

static void work_is_done(struct publish_work *work)
{
    work->service->publishes_n--;
    work->done(work);
}

void publish_work_answered(struct hub_op *op)
{
    work_is_done((struct publish_work *)((char *)op - offsetof(struct publish_work, op)));
}

void publish_work_probe(struct publish_work *work, struct service *service)
{
    work->service = service;
    service->publishes_n++;
    worker_publish(service->worker, &work->op);
}

/* ---- large texts, beside the loop ---- */

struct publish_work_aside {
    struct thread_pool_task task;
    struct inbox_note note;
    struct publish_work *work;
    struct publish_work_ask ask;
    struct publish_limits limits;
    const struct conf *conf; /* of when the text came; a reference */
    struct problem problem;
    bool good;
    bool stopping;
    bool submitted;
    struct publish_field fields[]; /* behind them, where who asked may leave, what all points to */
};

/* Set the problem of what was not good, and count it. */
static void work_refuse_read(struct publish_work *work)
{
    struct publish_work_aside *aside = work->aside;

    work_release_admitted(work);
    if (aside->stopping)
        work_refuse_failure(work, -ESHUTDOWN, &aside->problem);
    else if (!aside->good)
        work_refuse(work, &aside->problem);
    else
        problem_set_out_of_memory(&aside->problem);
}

/* Back on the loop.  A text that was good goes on to the hub, whose answer ends the work. */
static void work_take_back(void *arg)
{
    struct publish_work_aside *aside = arg;
    struct publish_work *work = aside->work;

    conf_unref(aside->conf);
    identity_unref(aside->ask.identity);
    work_end_parsing(work);
    aside->submitted = aside->good && work_submit(work) == 0;
    if (aside->submitted)
        return;
    work_refuse_read(work);
    work_is_done(work);
}

/* On a thread of the pool. */
static void work_run_aside(struct thread_pool_task *task, bool stopping)
{
    struct publish_work_aside *aside =
        (struct publish_work_aside *)((char *)task - offsetof(struct publish_work_aside, task));
    struct publish_work *work = aside->work;

    aside->stopping = stopping;
    aside->good =
        !stopping && (work_read_plain(&aside->ask, &aside->limits, &work->body) ||
                      work_read_other(&aside->ask, &aside->limits, &work->body, &aside->problem));
    aside->good = aside->good && access_may_publish(aside->ask.identity, aside->conf, &work->body,
                                                    &aside->problem);
    worker_post_note(work->service->worker, &aside->note, work_take_back, aside);
}

/* What the copies take of all that an ask points to; their names are not its own. */
static size_t work_copied_bytes(const struct publish_work_ask *ask)
{
    size_t bytes = ask->text_n + ask->key_n;

    for (size_t i = 0; i < ask->fields_n; i++)
        bytes += ask->fields[i].value_n + 1;
    return ask->may_leave ? bytes : 0;
}

static const char *work_copy(char **to, const char *bytes, size_t bytes_n)
{
    char *begin = *to;

    if (bytes == NULL)
        return NULL;
    memcpy(begin, bytes, bytes_n);
    *to += bytes_n;
    return begin;
}

/* `to` is behind the fields. */
static void work_copy_ask(struct publish_work_aside *aside, char *to)
{
    struct publish_work_ask *ask = &aside->ask;

    ask->text = work_copy(&to, ask->text, ask->text_n);
    ask->key = work_copy(&to, ask->key, ask->key_n);
    for (size_t i = 0; i < ask->fields_n; i++) {
        struct publish_field *field = &aside->fields[i];

        field->value = work_copy(&to, field->value, field->value_n);
        *to++ = '\0';
    }
}

static struct publish_work_aside *work_new_aside(struct publish_work *work,
                                                 const struct publish_work_ask *ask)
{
    size_t fields_bytes = ask->fields_n * sizeof(ask->fields[0]);
    struct publish_work_aside *aside =
        malloc(sizeof(*aside) + fields_bytes + work_copied_bytes(ask));

    if (aside == NULL)
        return NULL;
    memset(aside, 0, sizeof(*aside));
    aside->task.run = work_run_aside;
    aside->work = work;
    aside->ask = *ask;
    aside->ask.fields = aside->fields;
    if (ask->fields_n > 0)
        memcpy(aside->fields, ask->fields, fields_bytes);
    if (ask->may_leave)
        work_copy_ask(aside, (char *)aside->fields + fields_bytes);
    aside->conf = conf_ref(work_context(work)->conf);
    aside->limits = work_limits(aside->conf, &aside->ask);
    identity_ref(ask->identity);
    return aside;
}

static bool work_begin_aside(struct publish_work *work, const struct publish_work_ask *ask,
                             struct problem *problem)
{
    size_t bytes = work_composing_bytes(ask) + work_tree_bytes(ask) + work_copied_bytes(ask);

    if (!work_reserve(work, bytes))
        return work_refuse_memory(work, problem);
    work->aside = work_new_aside(work, ask);
    if (work->aside == NULL) {
        work_end_parsing(work);
        return problem_set_out_of_memory(problem);
    }
    stats_add(work_context(work)->stats, STATS_PUBLISHES_ASIDE, 1);
    thread_pool_give(work->service->shared->body_readers, 0, &work->aside->task);
    return true;
}

/* ---- on the loop ---- */

static bool work_begin_on_loop(struct publish_work *work, const struct publish_work_ask *ask,
                               struct problem *problem)
{
    const struct conf *conf = work_context(work)->conf;
    struct publish_limits limits = work_limits(conf, ask);

    if (!work_reserve(work, work_composing_bytes(ask)))
        return work_refuse_memory(work, problem);
    bool good = work_read_plain(ask, &limits, &work->body);
    if (!good && !work_reserve(work, work_tree_bytes(ask))) {
        work_end_parsing(work);
        return work_refuse_memory(work, problem);
    }
    if (!good)
        good = work_read_other(ask, &limits, &work->body, problem);
    work_end_parsing(work);
    if (!good || !access_may_publish(ask->identity, conf, &work->body, problem))
        return work_refuse(work, problem);
    return work_submit(work) == 0 || problem_set_out_of_memory(problem);
}

/* What reading a text takes, with what the caller's rights add. */
static size_t work_reading_cost(const struct publish_work_ask *ask)
{
    size_t patterns_n = ask->identity != NULL ? ask->identity->publish.patterns_n : 0;

    return ask->text_n + ask->text_n * patterns_n / ASIDE_PATTERNS;
}

/* Whether a text is read on the loop, which is counted then. */
static bool work_is_for_loop(struct service *service, const struct publish_work_ask *ask)
{
    uint64_t turn = worker_turns(service->worker);
    size_t cost = work_reading_cost(ask);

    if (service->publish_turn != turn)
        service->publish_turn_bytes = 0;
    service->publish_turn = turn;
    if (cost > ASIDE_BYTES || service->publish_turn_bytes + cost > READ_BYTES_A_TURN)
        return false;
    service->publish_turn_bytes += cost;
    return true;
}

bool publish_work_begin(struct publish_work *work, struct service *service,
                        const struct publish_work_ask *ask, struct problem *ret_problem)
{
    size_t bytes = ask->text_n + EVENT_BYTES_MIN;

    work->service = service;
    /* before the text is read: what is refused for overload must cost little */
    if (!hub_admit(work_hub(work), bytes, &work->op))
        return publish_work_set_overload(service, ret_problem);
    work->admitted_bytes = bytes;
    bool begun = work_is_for_loop(service, ask) ? work_begin_on_loop(work, ask, ret_problem)
                                                : work_begin_aside(work, ask, ret_problem);
    if (begun)
        service->publishes_n++;
    else
        work_release_admitted(work);
    return begun;
}

/* ---- what became of it ---- */

bool publish_work_result(const struct publish_work *work, struct problem *ret_problem)
{
    if (work->aside != NULL && !work->aside->submitted) {
        *ret_problem = work->aside->problem;
        return false;
    }
    if (work->op.result == -EEXIST)
        return work_refuse_conflict(work, ret_problem);
    return work->op.result == 0 || work_refuse_failure(work, work->op.result, ret_problem);
}

static bool work_is_duplicate(const struct publish_work *work, size_t index)
{
    return work->op.duplicate_of != NULL && work->op.duplicate_of[index] != 0;
}

static const char *work_duplicate_text(const struct publish_work *work, size_t index)
{
    return work_is_duplicate(work, index) ? "true" : "false";
}

/* The answer is built by hand: this is the one that must be fast. */
static char *work_put_id(char *to, const struct publish_work *work, size_t index, const char *epoch)
{
    const struct message *message = work->body.messages[index];

    if (message->kind != MESSAGE_STORED)
        return stpcpy(to, "null");
    /* that in which it was stored, where the history has another by now (hub_share.h) */
    if (message->published_ms != 0 && !work_is_duplicate(work, index))
        epoch = message->frame + message->id_offset;
    *to++ = '"';
    sse_put_id(to, epoch,
               work_is_duplicate(work, index) ? work->op.duplicate_of[index] : message->position);
    to += SSE_ID_BYTES;
    *to++ = '"';
    return to;
}

static const char *work_durability(const struct publish_work *work)
{
    for (size_t i = 0; i < work->body.messages_n; i++)
        if (work->body.messages[i]->kind == MESSAGE_STORED)
            return hub_durability_text(work_hub(work));
    return "none";
}

static char *work_put_one(char *to, const struct publish_work *work, const struct history *history)
{
    to = work_put_id(stpcpy(to, "\"id\":"), work, 0, history_epoch(history));
    to = stpcpy(stpcpy(to, ",\"durability\":\""), work_durability(work));
    return stpcpy(stpcpy(to, "\",\"duplicate\":"), work_duplicate_text(work, 0));
}

static char *work_put_many(char *to, const struct publish_work *work, const struct history *history)
{
    to = stpcpy(to, "\"ids\":[");
    for (size_t i = 0; i < work->body.messages_n; i++) {
        if (i > 0)
            *to++ = ',';
        to = work_put_id(to, work, i, history_epoch(history));
    }
    to = stpcpy(to, "],\"duplicates\":[");
    for (size_t i = 0; i < work->body.messages_n; i++) {
        if (i > 0)
            *to++ = ',';
        to = stpcpy(to, work_duplicate_text(work, i));
    }
    to = stpcpy(stpcpy(to, "],\"durability\":\""), work_durability(work));
    return stpcpy(to, "\"");
}

char *publish_work_put_answer(char *to, const struct publish_work *work)
{
    const struct history *history = hub_history(work_hub(work));

    return work->body.is_array ? work_put_many(to, work, history) : work_put_one(to, work, history);
}

size_t publish_work_answer_bytes(const struct publish_work *work)
{
    return 128 + work->body.messages_n * (SSE_ID_BYTES + 3 + 6);
}

void publish_work_end(struct publish_work *work)
{
    work_release_admitted(work);
    publish_body_free(&work->body);
    free(work->op.duplicate_of);
    free(work->aside);
}
