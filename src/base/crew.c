/* SPDX-License-Identifier: MIT */
/* Threads beside the loops.  See crew.h. */
#include "config.h"
#include "base/crew.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

STAILQ_HEAD(crew_tasks, crew_task);

struct crew {
    const char *name;
    enum thread_urgency urgency;
    unsigned queues_n;
    pthread_mutex_t lock; /* over the next five */
    pthread_cond_t wake;
    struct crew_tasks waiting[CREW_QUEUES_MAX];
    unsigned turn; /* the queue to look into first */
    bool stopping;
    bool ending; /* once nothing waits */
    unsigned threads_n;
    pthread_t threads[];
};

/* Take the next task, NULL when none waits. */
static struct crew_task *take(struct crew *crew)
{
    for (unsigned i = 0; i < crew->queues_n; i++) {
        unsigned queue = (crew->turn + i) % crew->queues_n;
        struct crew_task *task = STAILQ_FIRST(&crew->waiting[queue]);

        if (task == NULL)
            continue;
        STAILQ_REMOVE_HEAD(&crew->waiting[queue], link);
        crew->turn = (queue + 1) % crew->queues_n;
        return task;
    }
    return NULL;
}

static void *run(void *arg)
{
    struct crew *crew = arg;

    thread_begin(crew->name, crew->urgency);
    pthread_mutex_lock(&crew->lock);
    for (;;) {
        struct crew_task *task = take(crew);
        bool stopping = crew->stopping;

        if (task == NULL && crew->ending)
            break;
        if (task == NULL) {
            pthread_cond_wait(&crew->wake, &crew->lock);
            continue;
        }
        pthread_mutex_unlock(&crew->lock);
        task->run(task, stopping);
        pthread_mutex_lock(&crew->lock);
    }
    pthread_mutex_unlock(&crew->lock);
    return NULL;
}

struct crew *crew_new(const char *name, enum thread_urgency urgency, unsigned threads_n,
                      unsigned queues_n)
{
    struct crew *crew = calloc(1, sizeof(*crew) + threads_n * sizeof(pthread_t));

    assert(queues_n >= 1 && queues_n <= CREW_QUEUES_MAX);
    if (crew == NULL)
        return NULL;
    crew->name = name;
    crew->urgency = urgency;
    crew->queues_n = queues_n;
    for (unsigned i = 0; i < queues_n; i++)
        STAILQ_INIT(&crew->waiting[i]);
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->wake, NULL);
    for (; crew->threads_n < threads_n; crew->threads_n++)
        if (pthread_create(&crew->threads[crew->threads_n], NULL, run, crew) != 0) {
            crew_free(crew);
            return NULL;
        }
    return crew;
}

void crew_give(struct crew *crew, unsigned queue, struct crew_task *task)
{
    assert(queue < crew->queues_n);
    pthread_mutex_lock(&crew->lock);
    STAILQ_INSERT_TAIL(&crew->waiting[queue], task, link);
    pthread_cond_signal(&crew->wake);
    pthread_mutex_unlock(&crew->lock);
}

void crew_stop(struct crew *crew)
{
    pthread_mutex_lock(&crew->lock);
    crew->stopping = true;
    pthread_mutex_unlock(&crew->lock);
}

void crew_free(struct crew *crew)
{
    if (crew == NULL)
        return;
    pthread_mutex_lock(&crew->lock);
    crew->stopping = crew->ending = true;
    pthread_cond_broadcast(&crew->wake);
    pthread_mutex_unlock(&crew->lock);
    for (unsigned i = 0; i < crew->threads_n; i++)
        pthread_join(crew->threads[i], NULL);
    pthread_cond_destroy(&crew->wake);
    pthread_mutex_destroy(&crew->lock);
    free(crew);
}
