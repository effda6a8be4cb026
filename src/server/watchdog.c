/* SPDX-License-Identifier: MIT */
/* Signs of life.  See watchdog.h. */
#include "config.h"
#include "server/watchdog.h"

#include <event2/event.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "conn/systemd.h"

struct watchdog {
    struct event *timer;
    _Atomic size_t awaited_n; /* workers that have not turned since the last sign */
    size_t workers_n;
    struct worker *workers[];
};

/* On each worker's thread. */
static void on_turn(void *arg)
{
    struct watchdog *watchdog = arg;

    watchdog->awaited_n--;
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    struct watchdog *watchdog = arg;

    (void)fd;
    (void)what;
    if (watchdog->awaited_n > 0)
        return;
    systemd_notify("WATCHDOG=1");
    for (size_t i = 0; i < watchdog->workers_n; i++) {
        watchdog->awaited_n++;
        if (worker_post(watchdog->workers[i], on_turn, watchdog) != 0)
            watchdog->awaited_n--;
    }
}

struct watchdog *watchdog_new(struct event_base *base, int64_t granted_ms, size_t workers_max)
{
    struct watchdog *watchdog =
        calloc(1, sizeof(*watchdog) + workers_max * sizeof(struct worker *));
    int64_t each_ms = granted_ms / 2 > 0 ? granted_ms / 2 : 1;
    struct timeval wait = {.tv_sec = (time_t)(each_ms / 1000),
                           .tv_usec = (suseconds_t)(each_ms % 1000 * 1000)};

    if (watchdog == NULL)
        return NULL;
    watchdog->timer = event_new(base, -1, EV_PERSIST, on_time, watchdog);
    if (watchdog->timer != NULL && event_add(watchdog->timer, &wait) == 0)
        return watchdog;
    watchdog_free(watchdog);
    return NULL;
}

void watchdog_add(struct watchdog *watchdog, struct worker *worker)
{
    watchdog->workers[watchdog->workers_n++] = worker;
}

void watchdog_free(struct watchdog *watchdog)
{
    if (watchdog == NULL)
        return;
    if (watchdog->timer != NULL)
        event_free(watchdog->timer);
    free(watchdog);
}

void watchdog_rest(struct watchdog *watchdog)
{
    if (watchdog != NULL)
        event_del(watchdog->timer);
}
