/* SPDX-License-Identifier: MIT */
/* Threads beside the loops.  See thread_pool.h. */
#include "config.h"
#include "base/thread_pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

STAILQ_HEAD(crew_tasks, thread_pool_task);

struct thread_pool {
    const char *name;
    enum thread_urgency urgency;
    unsigned queues_n;
    pthread_mutex_t lock; /* over the next five */
    pthread_cond_t wake;
    struct crew_tasks waiting[THREAD_POOL_QUEUES_MAX];
    unsigned turn; /* the queue to look into first */
    bool stopping;
    bool ending; /* once nothing waits */
    unsigned threads_n;
    pthread_t threads[];
};

/* Take the next task, NULL when none waits. */
static struct thread_pool_task *take(struct thread_pool *pool)
{
    for (unsigned i = 0; i < pool->queues_n; i++) {
        unsigned queue = (pool->turn + i) % pool->queues_n;
        struct thread_pool_task *task = STAILQ_FIRST(&pool->waiting[queue]);

        if (task == NULL)
            continue;
        STAILQ_REMOVE_HEAD(&pool->waiting[queue], link);
        pool->turn = (queue + 1) % pool->queues_n;
        return task;
    }
    return NULL;
}

static void *run(void *arg)
{
    struct thread_pool *pool = arg;

    thread_begin(pool->name, pool->urgency);
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        struct thread_pool_task *task = take(pool);
        bool stopping = pool->stopping;

        if (task == NULL && pool->ending)
            break;
        if (task == NULL) {
            pthread_cond_wait(&pool->wake, &pool->lock);
            continue;
        }
        pthread_mutex_unlock(&pool->lock);
        task->run(task, stopping);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

struct thread_pool *thread_pool_new(const char *name, enum thread_urgency urgency,
                                    unsigned threads_n, unsigned queues_n)
{
    struct thread_pool *pool = calloc(1, sizeof(*pool) + threads_n * sizeof(pthread_t));

    assert(queues_n >= 1 && queues_n <= THREAD_POOL_QUEUES_MAX);
    if (pool == NULL)
        return NULL;
    pool->name = name;
    pool->urgency = urgency;
    pool->queues_n = queues_n;
    for (unsigned i = 0; i < queues_n; i++)
        STAILQ_INIT(&pool->waiting[i]);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    for (; pool->threads_n < threads_n; pool->threads_n++)
        if (pthread_create(&pool->threads[pool->threads_n], NULL, run, pool) != 0) {
            thread_pool_free(pool);
            return NULL;
        }
    return pool;
}

void thread_pool_give(struct thread_pool *pool, unsigned queue, struct thread_pool_task *task)
{
    assert(queue < pool->queues_n);
    pthread_mutex_lock(&pool->lock);
    STAILQ_INSERT_TAIL(&pool->waiting[queue], task, link);
    pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

void thread_pool_stop(struct thread_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_mutex_unlock(&pool->lock);
}

void thread_pool_free(struct thread_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = pool->ending = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->threads_n; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
