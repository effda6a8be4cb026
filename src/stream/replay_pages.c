/* SPDX-License-Identifier: MIT */
/* Pages of the history for streams that catch up.  See stream_internal.h. */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "stream/page_ask.h"
#include "stream/stream_internal.h"

#define PAGE_BYTES 32768

/* Events that were read from a disk for this page are held by nobody else yet. */
static void charge_page(const struct streams *streams, const struct history_page *page)
{
    _Atomic int64_t *account =
        memory_budget_counter(streams->context->memory, MEMORY_BUDGET_EVENTS);

    for (size_t i = 0; i < page->events_n; i++)
        message_charge(page->events[i], account);
}

/* The pager's answer, on its way to the stream. */
static void page_arrived(void *arg)
{
    struct page_reader_request *request = arg;
    struct streams *streams = request->arg;
    struct stream *stream = streams_find(streams, request->stream_id);

    if (request->result == 0 || request->result == -ESTALE)
        stats_add(streams->stats, STATS_PAGES_READ, 1);
    if (request->page != NULL && request->page->damaged)
        stats_add(streams->stats, STATS_PAGES_DAMAGED, 1);
    memory_budget_add(streams->context->memory, MEMORY_BUDGET_PAGES, -(int64_t)request->reserved);
    if (request->page != NULL)
        charge_page(streams, request->page);
    if (stream != NULL) {
        stream_page_done(stream, request);
        return;
    }
    page_reader_request_free(request);
    replay_pages_returned(streams);
}

static void page_read(struct page_reader_request *request)
{
    struct streams *streams = request->arg;

    worker_post_note(streams->worker, &((struct page_ask *)(void *)request)->note, page_arrived,
                     request);
}

/* Ask for a page, for which `reserved` bytes are counted already; if it fails, they are off. */
static int send_request(struct streams *streams, struct stream *stream, size_t reserved)
{
    struct page_ask *ask = calloc(1, sizeof(*ask));

    if (ask == NULL) {
        memory_budget_add(streams->context->memory, MEMORY_BUDGET_PAGES, -(int64_t)reserved);
        return -ENOMEM;
    }
    struct page_reader_request *request = &ask->request;
    request->done = page_read;
    request->arg = streams;
    request->stream_id = stream->id;
    request->filter = filter_ref(stream->listener.filter);
    request->since_ms = stream->since_ms;
    request->left_n = stream->last_n > 0 ? stream->last_left_n : 0;
    request->before = stream->last_before;
    request->after = stream->position;
    request->upto = ring_head_position(streams->ring);
    request->bytes_max = PAGE_BYTES;
    request->reserved = reserved;
    streams->pages_n++;
    page_reader_read(streams->pager, request);
    return 0;
}

/* Whether one more page may be asked for, and if so the bytes that are counted for it.  One is
 * always, so that every stream that waits gets a page in the end. */
static bool page_allowed(struct streams *streams, size_t *ret_reserved)
{
    struct memory_budget *memory = streams->context->memory;

    /* at most a page's bytes, or an event that is larger than a page */
    *ret_reserved = 2 * PAGE_BYTES + (size_t)streams->context->conf->limits.event_bytes;
    if (streams->pages_n == 0) {
        memory_budget_add(memory, MEMORY_BUDGET_PAGES, (int64_t)*ret_reserved);
        return true;
    }
    return streams->pages_n <
               memory_budget_ration(memory, streams->context->conf->stream.replay_pages) &&
           memory_budget_admit(memory, MEMORY_BUDGET_PAGES, *ret_reserved, MEMORY_BUDGET_SCARCE);
}

int replay_pages_ask(struct streams *streams, struct stream *stream)
{
    size_t reserved;

    assert(!stream->page_asked);
    stream_set_behind(stream, true);
    if (page_allowed(streams, &reserved)) {
        if (send_request(streams, stream, reserved) != 0)
            return -ENOMEM;
    } else {
        TAILQ_INSERT_TAIL(&streams->waiting, stream, in_waiting);
        stream->page_waits = true;
        stats_add(streams->stats, STATS_REPLAYS_WAITING, 1);
    }
    stream->page_asked = true;
    return 0;
}

void replay_pages_stop_waiting(struct streams *streams, struct stream *stream)
{
    if (!stream->page_waits)
        return;
    TAILQ_REMOVE(&streams->waiting, stream, in_waiting);
    stream->page_waits = false;
    stats_add(streams->stats, STATS_REPLAYS_WAITING, -1);
}

void replay_pages_hand_out(struct streams *streams)
{
    struct stream *next;
    size_t reserved;

    while ((next = TAILQ_FIRST(&streams->waiting)) != NULL && page_allowed(streams, &reserved)) {
        replay_pages_stop_waiting(streams, next);
        if (send_request(streams, next, reserved) != 0)
            stream_end(next, STREAM_END_FAILED);
    }
}

void replay_pages_returned(struct streams *streams)
{
    assert(streams->pages_n > 0);
    streams->pages_n--;
    replay_pages_hand_out(streams);
}
