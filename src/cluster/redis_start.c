/* SPDX-License-Identifier: MIT */
/* Whether the shared log can be had.  See redis_start.h. */
#include "config.h"
#include "cluster/redis_start.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/clock.h"
#include "conf/conf.h"

/* Without a sound reason to wait longer: a look at the clock. */
#define LOOK_MS 50

struct start {
    struct event_base *base;
    struct shared_log *log;
    bool is_trial;
    bool is_up;
    bool is_down; /* it could not be reached */
    bool is_refused;
    struct shared_log_question question;
    bool is_over; /* nothing more is to be learned */
    struct conf_error *error;
};

static void start_end(struct start *start)
{
    start->is_over = true;
    event_base_loopbreak(start->base);
}

/* So the answer to the lease has come: it was asked for before, over the same connection. */
static void start_answered(struct shared_log_question *question)
{
    struct start *start = (struct start *)((char *)question - offsetof(struct start, question));

    if (question->outcome != SHARED_LOG_UNREACHABLE && question->outcome != SHARED_LOG_LOST)
        start_end(start);
}

static void start_up(void *arg)
{
    struct start *start = arg;

    start->is_up = true;
    start->question =
        (struct shared_log_question){.kind = SHARED_LOG_ASK_HEAD, .answered = start_answered};
    if (start->is_trial)
        start_end(start);
    else
        shared_log_ask(start->log, &start->question);
}

static void start_down(void *arg, enum shared_log_outcome why, const char *line)
{
    struct start *start = arg;

    start->is_up = false;
    start->is_down = true;
    start->is_refused = why == SHARED_LOG_REFUSED;
    conf_refuse(start->error, -EINVAL, "%s", line);
    if (start->is_refused)
        start_end(start);
}

static void start_heard(void *arg, const char *bytes, size_t bytes_n)
{
    (void)arg, (void)bytes, (void)bytes_n;
}

static void start_ended(void *arg)
{
    (void)arg;
}

static void start_run(struct start *start, int64_t patience_ms, int64_t lease_ms)
{
    const struct timeval look = {.tv_usec = LOOK_MS * 1000};
    int64_t until_ms = clock_mono_ms() + patience_ms;

    while (!start->is_over && clock_mono_ms() < until_ms + (start->is_down ? 0 : lease_ms)) {
        event_base_loopexit(start->base, &look);
        event_base_dispatch(start->base);
    }
}

int redis_start(const struct redis_log_conf *conf, int64_t patience_ms,
                struct conf_error *ret_error)
{
    struct event_base *base = event_base_new();
    struct start start = {.base = base, .is_trial = conf->is_trial, .error = ret_error};
    struct shared_log_hooks hooks = {.up = start_up,
                                     .down = start_down,
                                     .ended = start_ended,
                                     .heard = start_heard,
                                     .arg = &start};
    struct shared_log *log = base != NULL ? redis_log_new(base, conf, &hooks) : NULL;

    conf_refuse(ret_error, -EAGAIN, "the server of cluster.log does not answer");
    if (log != NULL) {
        start.log = log;
        shared_log_open(log);
        start_run(&start, patience_ms, conf->is_trial ? 0 : conf->lease_ms);
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
