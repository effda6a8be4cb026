/* SPDX-License-Identifier: MIT */
/* One question to all workers.  See ask_workers.h. */
#include "config.h"
#include "api/ask_workers.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "http/respond.h"
#include "http/service.h"

void ask_workers_free(struct ask_workers *question)
{
    if (question == NULL)
        return;
    for (unsigned i = 0; i < question->shared->services_n; i++) {
        json_decref(question->slots[i].rows);
        free(question->slots[i].text);
    }
    filter_unref(question->filter);
    free(question);
}

static void ask_workers_free_work(void *arg)
{
    ask_workers_free(arg);
}

struct ask_workers *ask_workers_new_for(struct service_shared *shared)
{
    struct ask_workers *question =
        calloc(1, sizeof(*question) + shared->services_n * sizeof(struct ask_workers_slot));

    if (question == NULL)
        return NULL;
    question->shared = shared;
    for (unsigned i = 0; i < shared->services_n; i++)
        question->slots[i].question = question;
    return question;
}

struct ask_workers *ask_workers_new(struct request *request)
{
    struct ask_workers *question = ask_workers_new_for(request->service->shared);

    if (question == NULL)
        return NULL;
    question->request = request;
    request->work = question;
    request->free_work = ask_workers_free_work;
    return question;
}

static void ask_workers_all_answered(void *arg)
{
    struct ask_workers *question = arg;

    request_wake(question->request);
}

/* On one of the workers: its slot tells which. */
static void ask_workers_run(void *arg)
{
    struct ask_workers_slot *slot = arg;
    struct ask_workers *question = slot->question;

    question->ask(&question->shared->services[slot - question->slots], slot);
    if (atomic_fetch_sub(&question->left, 1) != 1)
        return;
    if (question->request == NULL)
        question->done(question, question->arg);
    else
        worker_post_note(question->request->service->worker, &question->note,
                         ask_workers_all_answered, question);
}

static int ask_workers_respond(struct request *request)
{
    struct ask_workers *question = request->work;

    if (question->failed)
        return respond_out_of_memory(request);
    return question->resumed(request);
}

/* Returns whether all had answered before it was over. */
static bool ask_workers_post(struct ask_workers *question)
{
    struct service_shared *shared = question->shared;

    question->left = shared->services_n + 1;
    for (unsigned i = 0; i < shared->services_n; i++)
        if (worker_post(shared->services[i].worker, ask_workers_run, &question->slots[i]) != 0) {
            question->failed = true;
            atomic_fetch_sub(&question->left, 1);
        }
    return atomic_fetch_sub(&question->left, 1) == 1;
}

int ask_workers_start(struct ask_workers *question)
{
    struct request *request = question->request;

    if (ask_workers_post(question))
        return ask_workers_respond(request);
    return request_suspend(request, ask_workers_respond);
}

void ask_workers_send(struct ask_workers *question)
{
    if (ask_workers_post(question))
        question->done(question, question->arg);
}

size_t ask_workers_count(const struct ask_workers *question)
{
    size_t count = 0;

    for (unsigned i = 0; i < question->shared->services_n; i++)
        count += question->slots[i].count;
    return count;
}
