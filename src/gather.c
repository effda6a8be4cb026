/* SPDX-License-Identifier: MIT */
/* One question to all workers.  See gather.h. */
#include "config.h"
#include "gather.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "respond.h"
#include "service.h"

/* What a worker is sent. */
struct errand {
    struct gather *gather;
    struct service *service;
    unsigned index;
};

static void free_gather(void *arg)
{
    struct gather *gather = arg;
    unsigned services_n = gather->request->service->shared->services_n;

    for (unsigned i = 0; i < services_n; i++)
        json_decref(gather->slots[i].rows);
    filter_unref(gather->filter);
    free(gather);
}

struct gather *gather_new(struct request *request)
{
    unsigned services_n = request->service->shared->services_n;
    struct gather *gather = calloc(1, sizeof(*gather) + services_n * sizeof(struct gather_slot));

    if (gather == NULL)
        return NULL;
    gather->request = request;
    request->work = gather;
    request->free_work = free_gather;
    return gather;
}

static void all_answered(void *arg)
{
    struct gather *gather = arg;

    request_wake(gather->request);
}

static void run_errand(void *arg)
{
    struct errand *errand = arg;
    struct gather *gather = errand->gather;

    gather->ask(gather, errand->service, errand->index);
    free(errand);
    if (atomic_fetch_sub(&gather->left, 1) != 1)
        return;
    if (worker_post(gather->request->service->worker, all_answered, gather) != 0)
        abort();
}

static struct errand *new_errand(struct gather *gather, unsigned index)
{
    struct errand *errand = malloc(sizeof(*errand));

    if (errand == NULL)
        abort(); /* a few bytes, with half of the workers asked already: there is no way back */
    *errand = (struct errand){
        .gather = gather,
        .service = &gather->request->service->shared->services[index],
        .index = index,
    };
    return errand;
}

int gather_start(struct gather *gather)
{
    unsigned services_n = gather->request->service->shared->services_n;

    gather->left = services_n;
    for (unsigned i = 0; i < services_n; i++) {
        struct errand *errand = new_errand(gather, i);

        if (worker_post(errand->service->worker, run_errand, errand) != 0)
            abort();
    }
    return request_suspend(gather->request, gather->resumed);
}
