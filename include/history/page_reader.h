/* SPDX-License-Identifier: MIT */
/*
 * Reads of the history, off the workers' loops: a few threads of its own and two queues.  The
 * number of threads bounds how many reads run at once, so a storm of replays waits here and not
 * in front of live delivery.
 *
 * Streams and listings wait in a queue each, served in turn while both have something, so neither
 * can starve the other.
 */
#ifndef BUGLE_PAGE_READER_H
#define BUGLE_PAGE_READER_H

#include <stdint.h>

#include "base/thread_pool.h"
#include "event/filter.h"
#include "history/history.h"

struct page_reader;

enum page_reader_queue { PAGE_READER_STREAMS, PAGE_READER_LISTINGS, PAGE_READER_QUEUES };

/*
 * One read, and afterwards its answer.  Names its stream by id, never by pointer, since the
 * stream may be gone by then.  Owned by the pager from page_reader_read() to `done`, then by
 * `done`.
 */
struct page_reader_request {
    struct thread_pool_task task; /* the pager's own use, as is the next */
    struct page_reader *pager;
    void (*done)(struct page_reader_request *request); /* on a pager's thread: only hand over */
    void *arg;
    enum page_reader_queue queue;
    uint64_t stream_id;    /* of PAGE_READER_STREAMS */
    struct filter *filter; /* a reference of the request's own */
    int64_t since_ms;      /* >= 0: begin at this wall-clock time instead of `after` */
    size_t left_n;         /* > 0: begin with the latest so many, `since_ms` does not matter */
    uint64_t before;       /* and this is a history_search() under way; UINT64_MAX: it begins */
    uint64_t after;        /* set from since_ms, or by the search, before the read */
    uint64_t upto;
    size_t bytes_max;
    size_t reserved; /* by the asker: bytes counted until the page has come */

    int result;                   /* as history_read(), or -ESHUTDOWN */
    struct history_page *page;    /* when `result` is 0 and `left_n` is; the request's.  Else the
                                   * search goes on with another request */
    struct history_bounds bounds; /* as they were after the read */
};

/* Start `threads_n` threads over a history it borrows.  NULL when that failed. */
struct page_reader *page_reader_new(struct history *history, unsigned threads_n);

/* Queue a read.  Takes the request.  Any thread. */
void page_reader_read(struct page_reader *pager, struct page_reader_request *request);

/* Drop a request with what it holds.  Accepts NULL. */
void page_reader_request_free(struct page_reader_request *request);

/* Answer what is queued with -ESHUTDOWN and end the threads.  Accepts NULL. */
void page_reader_free(struct page_reader *pager);

#endif
