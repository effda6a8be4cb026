/* SPDX-License-Identifier: MIT */
/* Whether the shared log can be had.  See redis_start.h. */
#include "config.h"
#include "cluster/redis_start.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/clock.h"
#include "conf/conf.h"

/* Without a sound reason to wait longer: a look at the clock. */
#define LOOK_MS 50

struct start {
    bool is_up;
    bool is_down; /* it could not be reached */
    bool is_refused;
    struct conf_error *error;
};

static void start_up(void *arg)
{
    ((struct start *)arg)->is_up = true;
}

static void start_down(void *arg, enum shared_log_outcome why, const char *line)
{
    struct start *start = arg;

    start->is_up = false;
    start->is_down = true;
    start->is_refused = why == SHARED_LOG_REFUSED;
    conf_refuse(start->error, -EINVAL, "%s", line);
}

static void start_heard(void *arg, const char *bytes, size_t bytes_n)
{
    (void)arg, (void)bytes, (void)bytes_n;
}

static void start_ended(void *arg)
{
    (void)arg;
}

static void start_look(struct event_base *base)
{
    const struct timeval look = {.tv_usec = LOOK_MS * 1000};

    event_base_loopexit(base, &look);
    event_base_dispatch(base);
}

static void start_run(struct event_base *base, const struct start *start, int64_t patience_ms,
                      int64_t lease_ms)
{
    int64_t until_ms = clock_mono_ms() + patience_ms;

    while (!start->is_up && !start->is_refused &&
           clock_mono_ms() < until_ms + (start->is_down ? 0 : lease_ms))
        start_look(base);
    if (start->is_up)
        start_look(base); /* for what became of the lease */
}

int redis_start(const struct redis_log_conf *conf, int64_t patience_ms,
                struct conf_error *ret_error)
{
    struct event_base *base = event_base_new();
    struct start start = {.error = ret_error};
    struct shared_log_hooks hooks = {.up = start_up,
                                     .down = start_down,
                                     .ended = start_ended,
                                     .heard = start_heard,
                                     .arg = &start};
    struct shared_log *log = base != NULL ? redis_log_new(base, conf, &hooks) : NULL;

    conf_refuse(ret_error, -EAGAIN, "the server of cluster.log does not answer");
    if (log != NULL) {
        shared_log_open(log);
        start_run(base, &start, patience_ms, conf->lease_ms);
        shared_log_free(log);
    }
    if (base != NULL)
        event_base_free(base);
    if (log == NULL)
        return conf_refuse(ret_error, -ENOMEM, "out of memory");
    if (start.is_up)
        return 0;
    return start.is_refused ? -EINVAL : -EAGAIN;
}
