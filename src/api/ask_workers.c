/* SPDX-License-Identifier: MIT */
/* One question to all workers.  See ask_workers.h. */
#include "config.h"
#include "api/ask_workers.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "http/respond.h"
#include "http/service.h"

static void ask_workers_free(void *arg)
{
    struct ask_workers *question = arg;
    unsigned services_n = question->request->service->shared->services_n;

    for (unsigned i = 0; i < services_n; i++)
        json_decref(question->slots[i].rows);
    filter_unref(question->filter);
    free(question);
}

struct ask_workers *ask_workers_new(struct request *request)
{
    unsigned services_n = request->service->shared->services_n;
    struct ask_workers *question =
        calloc(1, sizeof(*question) + services_n * sizeof(struct ask_workers_slot));

    if (question == NULL)
        return NULL;
    question->request = request;
    for (unsigned i = 0; i < services_n; i++)
        question->slots[i].question = question;
    request->work = question;
    request->free_work = ask_workers_free;
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

    question->ask(&question->request->service->shared->services[slot - question->slots], slot);
    if (atomic_fetch_sub(&question->left, 1) != 1)
        return;
    worker_post_note(question->request->service->worker, &question->note, ask_workers_all_answered,
                     question);
}

static int ask_workers_respond(struct request *request)
{
    struct ask_workers *question = request->work;

    if (question->failed)
        return respond_out_of_memory(request);
    return question->resumed(request);
}

int ask_workers_start(struct ask_workers *question)
{
    struct service_shared *shared = question->request->service->shared;

    question->left = shared->services_n + 1;
    for (unsigned i = 0; i < shared->services_n; i++)
        if (worker_post(shared->services[i].worker, ask_workers_run, &question->slots[i]) != 0) {
            question->failed = true;
            atomic_fetch_sub(&question->left, 1);
        }
    if (atomic_fetch_sub(&question->left, 1) == 1)
        return ask_workers_respond(question->request);
    return request_suspend(question->request, ask_workers_respond);
}
