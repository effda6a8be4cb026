/* SPDX-License-Identifier: MIT */
/* Connections between two requests.  See resting.h. */
#include "config.h"
#include "resting.h"

#include <stdlib.h>
#include <sys/socket.h>

void resting_init(struct resting_pool *pool, struct stats *stats)
{
    TAILQ_INIT(&pool->list);
    pool->stats = stats;
}

struct resting *resting_new(int fd)
{
    struct resting *resting = calloc(1, sizeof(*resting));

    if (resting != NULL)
        resting->fd = fd;
    return resting;
}

void resting_free(struct resting_pool *pool, struct resting *resting)
{
    resting_end(pool, resting);
    free(resting);
}

void resting_begin(struct resting_pool *pool, struct resting *resting, int64_t now_ms)
{
    if (resting == NULL || resting->rests)
        return;
    resting->rests = true;
    resting->since_ms = now_ms;
    TAILQ_INSERT_TAIL(&pool->list, resting, link);
    stats_add(pool->stats, STATS_CONNECTIONS_RESTING, 1);
}

void resting_end(struct resting_pool *pool, struct resting *resting)
{
    if (resting == NULL || !resting->rests)
        return;
    resting->rests = false;
    TAILQ_REMOVE(&pool->list, resting, link);
    stats_add(pool->stats, STATS_CONNECTIONS_RESTING, -1);
}

int64_t resting_since_ms(const struct resting_pool *pool)
{
    const struct resting *first = TAILQ_FIRST(&pool->list);

    return first != NULL ? first->since_ms : INT64_MAX;
}

bool resting_cut_first(struct resting_pool *pool)
{
    struct resting *resting;
    char byte;

    while ((resting = TAILQ_FIRST(&pool->list)) != NULL) {
        bool speaks = recv(resting->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;

        resting_end(pool, resting); /* whichever it is, it rests no longer */
        if (speaks)
            continue;
        stats_add(pool->stats, STATS_CONNECTIONS_CROWDED_OUT, 1);
        shutdown(resting->fd, SHUT_RDWR);
        return true;
    }
    return false;
}
