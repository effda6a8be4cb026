/* SPDX-License-Identifier: MIT */
/* Reads of the history beside the loops.  See page_reader.h. */
#include "config.h"
#include "history/page_reader.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/thread.h"

struct page_reader {
    struct history *history;
    struct thread_pool *pool;
};

/* One step of a search, so that others have their turn.  Returns whether it is over. */
static bool find_last(struct page_reader *pager, struct page_reader_request *request)
{
    struct history_search search = {
        .filter = request->filter,
        .now_ms = clock_wall_ms(),
        .before = request->before <= request->upto ? request->before : request->upto + 1,
        .left_n = request->left_n,
    };
    int result = history_search(pager->history, &search);

    request->before = search.before;
    request->left_n = result == 1 ? search.left_n : 0;
    request->result = result == 1 ? 0 : result;
    request->after = search.before - 1;
    return result == 0;
}

static void read_page(struct page_reader *pager, struct page_reader_request *request)
{
    struct history_query query = {
        .upto = request->upto,
        .filter = request->filter,
        .now_ms = clock_wall_ms(),
        .bytes_max = request->bytes_max,
    };

    if (request->left_n > 0) {
        if (!find_last(pager, request)) {
            history_bounds(pager->history, &request->bounds);
            return;
        }
    } else if (request->since_ms >= 0) {
        request->after = history_find_time(pager->history, request->since_ms);
    }
    query.after = request->after;
    request->result = history_read(pager->history, &query, &request->page);
    history_bounds(pager->history, &request->bounds);
}

static void page_reader_run(struct thread_pool_task *task, bool stopping)
{
    struct page_reader_request *request =
        (struct page_reader_request *)((char *)task - offsetof(struct page_reader_request, task));

    if (stopping)
        request->result = -ESHUTDOWN;
    else
        read_page(request->pager, request);
    request->done(request);
    thread_make_way();
}

struct page_reader *page_reader_new(struct history *history, unsigned threads_n)
{
    struct page_reader *pager = calloc(1, sizeof(*pager));

    if (pager == NULL)
        return NULL;
    pager->history = history;
    pager->pool = thread_pool_new("bugle-pager", THREAD_LATER, threads_n, PAGE_READER_QUEUES);
    if (pager->pool == NULL) {
        free(pager);
        return NULL;
    }
    return pager;
}

void page_reader_read(struct page_reader *pager, struct page_reader_request *request)
{
    request->pager = pager;
    request->task.run = page_reader_run;
    thread_pool_give(pager->pool, request->queue, &request->task);
}

void page_reader_request_free(struct page_reader_request *request)
{
    if (request == NULL)
        return;
    history_page_free(request->page);
    filter_unref(request->filter);
    free(request);
}

void page_reader_free(struct page_reader *pager)
{
    if (pager == NULL)
        return;
    thread_pool_free(pager->pool);
    free(pager);
}
