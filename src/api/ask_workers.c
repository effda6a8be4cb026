/* SPDX-License-Identifier: MIT */
/* One question to all workers.  See ask_workers.h. */
#include "config.h"
#include "api/ask_workers.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "http/respond.h"
#include "http/service.h"

static void free_gather(void *arg)
{
    struct ask_workers *gather = arg;
    unsigned services_n = gather->request->service->shared->services_n;

    for (unsigned i = 0; i < services_n; i++)
        json_decref(gather->slots[i].rows);
    filter_unref(gather->filter);
    free(gather);
}

struct ask_workers *ask_workers_new(struct request *request)
{
    unsigned services_n = request->service->shared->services_n;
    struct ask_workers *gather =
        calloc(1, sizeof(*gather) + services_n * sizeof(struct ask_workers_slot));

    if (gather == NULL)
        return NULL;
    gather->request = request;
    for (unsigned i = 0; i < services_n; i++)
        gather->slots[i].gather = gather;
    request->work = gather;
    request->free_work = free_gather;
    return gather;
}

static void all_answered(void *arg)
{
    struct ask_workers *gather = arg;

    request_wake(gather->request);
}

/* On one of the workers: its slot tells which. */
static void run_errand(void *arg)
{
    struct ask_workers_slot *slot = arg;
    struct ask_workers *gather = slot->gather;
    unsigned index = (unsigned)(slot - gather->slots);

    gather->ask(gather, &gather->request->service->shared->services[index], index);
    if (atomic_fetch_sub(&gather->left, 1) != 1)
        return;
    worker_post_note(gather->request->service->worker, &gather->note, all_answered, gather);
}

static int respond(struct request *request)
{
    struct ask_workers *gather = request->work;

    if (gather->failed)
        return respond_error(request, 503, "out_of_memory", "The gateway is out of memory.");
    return gather->resumed(request);
}

int ask_workers_start(struct ask_workers *gather)
{
    struct service_shared *shared = gather->request->service->shared;

    gather->left = shared->services_n + 1;
    for (unsigned i = 0; i < shared->services_n; i++)
        if (worker_post(shared->services[i].worker, run_errand, &gather->slots[i]) != 0) {
            gather->failed = true;
            atomic_fetch_sub(&gather->left, 1);
        }
    if (atomic_fetch_sub(&gather->left, 1) == 1)
        return respond(gather->request);
    return request_suspend(gather->request, respond);
}
