/* SPDX-License-Identifier: MIT */
/* The shared log on a Redis: questions to it.  See shared_log.h. */
#include "config.h"

#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/redis_log_internal.h"

/* A question on its way. */
struct asked {
    struct redis_log *log;
    struct shared_log_question *question;
};

static void ask_answer(struct shared_log_question *question, enum shared_log_outcome outcome)
{
    question->outcome = outcome;
    question->answered(question);
}

/* ---- answers ---- */

static bool ask_read_nodes(struct shared_log_question *question, const redisReply *nodes,
                           const char **names)
{
    if (names == NULL)
        return false;
    for (size_t i = 0; i < nodes->elements; i++)
        names[i] = redis_log_word(nodes, i);
    question->nodes = names;
    question->nodes_n = nodes->elements;
    return true;
}

static void ask_answer_nodes(struct shared_log_question *question, const redisReply *nodes)
{
    const char **names = calloc(nodes->elements + 1, sizeof(*names));
    bool is_read = ask_read_nodes(question, nodes, names);

    ask_answer(question, is_read ? SHARED_LOG_DONE : SHARED_LOG_NO_MEMORY);
    free(names);
}

/* {epoch, head, {node, ...}, ms} */
static void ask_answer_head(struct shared_log_question *question, const redisReply *reply)
{
    const char *epoch = redis_log_word(reply, 0);
    uint64_t head, now_ms;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 4 ||
        reply->element[2]->type != REDIS_REPLY_ARRAY || !redis_log_number(reply, 1, &head) ||
        !redis_log_number(reply, 3, &now_ms)) {
        ask_answer(question, SHARED_LOG_DAMAGED);
    } else if (question->kind == SHARED_LOG_ASK_NODES) {
        ask_answer_nodes(question, reply->element[2]);
    } else if (strlen(epoch) != SSE_EPOCH_BYTES) {
        ask_answer(question, epoch[0] == '\0' ? SHARED_LOG_TERM : SHARED_LOG_DAMAGED);
    } else {
        memcpy(question->epoch, epoch, SSE_EPOCH_BYTES + 1);
        question->head = head;
        question->now_ms = (int64_t)now_ms;
        ask_answer_nodes(question, reply->element[2]);
    }
}

static void ask_answer_ticket(struct shared_log_question *question, const redisReply *reply)
{
    ask_answer(question,
               redis_log_ticket_read(question, reply) ? SHARED_LOG_DONE : SHARED_LOG_DAMAGED);
}

static bool ask_is_of_tickets(const struct shared_log_question *question)
{
    return question->kind == SHARED_LOG_ASK_TICKET || question->kind == SHARED_LOG_ASK_TICKETS;
}

static int ask_send(struct redis_log *log, struct asked *asked);

static void log_answered(void *arg, enum redis_fault fault, const redisReply *reply)
{
    struct asked *asked = arg;
    struct redis_log *log = asked->log;
    struct shared_log_question *question = asked->question;

    if (fault == REDIS_NOSCRIPT) {
        redis_scripts_forget(&log->scripts);
        if (ask_send(log, asked) == 0)
            return;
    }
    free(asked);
    if (reply == NULL)
        ask_answer(question, log->is_freed || ask_is_of_tickets(question) ? SHARED_LOG_LOST
                                                                          : SHARED_LOG_UNREACHABLE);
    else if (fault != REDIS_FINE)
        ask_answer(question, redis_log_outcome_of(fault));
    else if (ask_is_of_tickets(question))
        ask_answer_ticket(question, reply);
    else
        ask_answer_head(question, reply);
    redis_log_stands(log, fault, reply);
}

/* ---- asking ---- */

static int ask_send(struct redis_log *log, struct asked *asked)
{
    if (ask_is_of_tickets(asked->question))
        return redis_log_ticket_send(log, asked->question, log_answered, asked);
    return redis_script_call_texts(log->append_link, &log->scripts, REDIS_SCRIPT_HEAD, 2,
                                   log->conf.timeout_ms, log_answered, asked, log->meta_key,
                                   log->nodes_key, (char *)NULL);
}

void redis_log_ask(struct shared_log *shared, struct shared_log_question *question)
{
    struct redis_log *log = (struct redis_log *)shared;
    struct asked *asked = log->is_up ? malloc(sizeof(*asked)) : NULL;

    if (asked != NULL) {
        *asked = (struct asked){log, question};
        if (ask_send(log, asked) == 0)
            return;
        free(asked);
    }
    question->next = log->unasked; /* answered from the loop */
    log->unasked = question;
    event_active(log->soon, EV_TIMEOUT, 0);
}

static void ask_answer_unasked(struct redis_log *log, enum shared_log_outcome outcome)
{
    struct shared_log_question *questions = log->unasked, *question;

    log->unasked = NULL;
    while ((question = questions) != NULL) {
        questions = question->next;
        ask_answer(question, outcome);
    }
}

static void ask_on_soon(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    ask_answer_unasked(arg, SHARED_LOG_UNREACHABLE);
}

void redis_log_ask_begin(struct redis_log *log)
{
    log->soon = event_new(log->base, -1, 0, ask_on_soon, log);
}

void redis_log_ask_end(struct redis_log *log)
{
    ask_answer_unasked(log, SHARED_LOG_LOST);
    if (log->soon != NULL)
        event_free(log->soon);
}
