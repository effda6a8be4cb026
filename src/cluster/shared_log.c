/* SPDX-License-Identifier: MIT */
/* What all implementations share.  See shared_log.h. */
#include "config.h"
#include "cluster/shared_log.h"

void shared_log_open(struct shared_log *log)
{
    log->ops->open(log);
}

int shared_log_attach(struct shared_log *log, const struct shared_log_node *node)
{
    return log->ops->attach(log, node);
}

int shared_log_tail(struct shared_log *log, uint64_t after, uint64_t sub)
{
    return log->ops->tail(log, after, sub);
}

void shared_log_tail_end(struct shared_log *log)
{
    log->ops->tail_end(log);
}

int shared_log_append(struct shared_log *log, const struct shared_log_group *group)
{
    return log->ops->append(log, group);
}

int shared_log_say(struct shared_log *log, const char *to, const char *bytes, size_t bytes_n)
{
    return log->ops->say(log, to, bytes, bytes_n);
}

void shared_log_ask(struct shared_log *log, struct shared_log_question *question)
{
    log->ops->ask(log, question);
}

void shared_log_free(struct shared_log *log)
{
    if (log != NULL)
        log->ops->free(log);
}

const char *shared_log_outcome_text(enum shared_log_outcome outcome)
{
    static const char *const texts[] = {
        [SHARED_LOG_DONE] = "done",
        [SHARED_LOG_TERM] = "its term is over",
        [SHARED_LOG_KEYS] = "keys are taken",
        [SHARED_LOG_FULL] = "no room",
        [SHARED_LOG_UNREACHABLE] = "unreachable",
        [SHARED_LOG_REFUSED] = "refused",
        [SHARED_LOG_SEEN] = "stored before",
        [SHARED_LOG_UNCONFIRMED] = "not confirmed",
        [SHARED_LOG_LOST] = "no answer",
        [SHARED_LOG_DAMAGED] = "damaged",
        [SHARED_LOG_NO_MEMORY] = "out of memory",
    };

    return texts[outcome];
}

bool shared_log_is_nothing(enum shared_log_outcome outcome)
{
    switch (outcome) {
    case SHARED_LOG_TERM:
    case SHARED_LOG_KEYS:
    case SHARED_LOG_FULL:
    case SHARED_LOG_UNREACHABLE:
    case SHARED_LOG_REFUSED:
    case SHARED_LOG_NO_MEMORY:
        return true;
    default:
        return false;
    }
}
