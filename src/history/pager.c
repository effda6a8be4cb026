/* SPDX-License-Identifier: MIT */
/* Reads of the history beside the loops.  See pager.h. */
#include "config.h"
#include "history/pager.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/thread.h"

struct pager {
    struct history *history;
    struct crew *crew;
};

static void read_page(struct pager *pager, struct pager_request *request)
{
    struct history_query query = {
        .upto = request->upto,
        .filter = request->filter,
        .now_ms = clock_wall_ms(),
        .bytes_max = request->bytes_max,
    };

    if (request->since_ms >= 0)
        request->after = history_find_time(pager->history, request->since_ms);
    query.after = request->after;
    request->result = history_read(pager->history, &query, &request->page);
    history_bounds(pager->history, &request->bounds);
}

static void run(struct crew_task *task, bool stopping)
{
    struct pager_request *request =
        (struct pager_request *)((char *)task - offsetof(struct pager_request, task));

    if (stopping)
        request->result = -ESHUTDOWN;
    else
        read_page(request->pager, request);
    request->done(request);
    thread_make_way();
}

struct pager *pager_new(struct history *history, unsigned threads_n)
{
    struct pager *pager = calloc(1, sizeof(*pager));

    if (pager == NULL)
        return NULL;
    pager->history = history;
    pager->crew = crew_new("bugle-pager", THREAD_LATER, threads_n, PAGER_QUEUES);
    if (pager->crew == NULL) {
        free(pager);
        return NULL;
    }
    return pager;
}

void pager_read(struct pager *pager, struct pager_request *request)
{
    request->pager = pager;
    request->task.run = run;
    crew_give(pager->crew, request->queue, &request->task);
}

void pager_request_free(struct pager_request *request)
{
    if (request == NULL)
        return;
    history_page_free(request->page);
    filter_unref(request->filter);
    free(request);
}

void pager_free(struct pager *pager)
{
    if (pager == NULL)
        return;
    crew_free(pager->crew);
    free(pager);
}
