/* SPDX-License-Identifier: MIT */
/* Threads that read pages.  See pager.h. */
#include "config.h"
#include "pager.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "clock.h"
#include "thread.h"

struct pager {
    struct history *history;
    pthread_mutex_t lock; /* over `waiting`, `turn` and `stopping` */
    pthread_cond_t wake;
    STAILQ_HEAD(, pager_request) waiting[PAGER_QUEUES];
    enum pager_queue turn; /* the queue to look into first */
    bool stopping;
    unsigned threads_n;
    pthread_t threads[];
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

/* Take the next request, NULL when none waits. */
static struct pager_request *take(struct pager *pager)
{
    enum pager_queue first = pager->turn;
    enum pager_queue other = first == PAGER_STREAMS ? PAGER_LISTINGS : PAGER_STREAMS;
    enum pager_queue queue = STAILQ_EMPTY(&pager->waiting[first]) ? other : first;
    struct pager_request *request = STAILQ_FIRST(&pager->waiting[queue]);

    if (request == NULL)
        return NULL;
    STAILQ_REMOVE_HEAD(&pager->waiting[queue], link);
    pager->turn = queue == PAGER_STREAMS ? PAGER_LISTINGS : PAGER_STREAMS;
    return request;
}

static void *run(void *arg)
{
    struct pager *pager = arg;

    thread_begin("bugle-pager", THREAD_LATER);
    pthread_mutex_lock(&pager->lock);
    for (;;) {
        struct pager_request *request = take(pager);
        bool stopping = pager->stopping;

        if (request == NULL && stopping)
            break;
        if (request == NULL) {
            pthread_cond_wait(&pager->wake, &pager->lock);
            continue;
        }
        pthread_mutex_unlock(&pager->lock);
        if (stopping)
            request->result = -ESHUTDOWN;
        else
            read_page(pager, request);
        request->done(request);
        pthread_mutex_lock(&pager->lock);
    }
    pthread_mutex_unlock(&pager->lock);
    return NULL;
}

struct pager *pager_new(struct history *history, unsigned threads_n)
{
    struct pager *pager = calloc(1, sizeof(*pager) + threads_n * sizeof(pthread_t));

    if (pager == NULL)
        return NULL;
    pager->history = history;
    for (size_t i = 0; i < PAGER_QUEUES; i++)
        STAILQ_INIT(&pager->waiting[i]);
    pthread_mutex_init(&pager->lock, NULL);
    pthread_cond_init(&pager->wake, NULL);
    for (; pager->threads_n < threads_n; pager->threads_n++)
        if (pthread_create(&pager->threads[pager->threads_n], NULL, run, pager) != 0) {
            pager_free(pager);
            return NULL;
        }
    return pager;
}

void pager_read(struct pager *pager, struct pager_request *request)
{
    pthread_mutex_lock(&pager->lock);
    STAILQ_INSERT_TAIL(&pager->waiting[request->queue], request, link);
    pthread_cond_signal(&pager->wake);
    pthread_mutex_unlock(&pager->lock);
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
    pthread_mutex_lock(&pager->lock);
    pager->stopping = true;
    pthread_cond_broadcast(&pager->wake);
    pthread_mutex_unlock(&pager->lock);
    for (unsigned i = 0; i < pager->threads_n; i++)
        pthread_join(pager->threads[i], NULL);
    pthread_cond_destroy(&pager->wake);
    pthread_mutex_destroy(&pager->lock);
    free(pager);
}
