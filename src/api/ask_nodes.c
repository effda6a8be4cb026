/* SPDX-License-Identifier: MIT */
/* A question to nodes.  See ask_nodes.h. */
#include "config.h"
#include "api/ask_nodes.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/node_service_internal.h"
#include "base/clock.h"
#include "http/respond.h"

/* Of the rows of all nodes; with NODE_TALK_QUESTIONS_MAX of them less than what the log's server
 * may keep for one client that reads slowly. */
#define ROWS_BYTES_MAX ((size_t)4 << 20)
#define RETRY_AFTER_S 1
/* So often it looks whether the gateway is to stop. */
#define LOOK_MS 250

/* ---- beginning and end ---- */

static void ask_free(void *arg)
{
    struct ask_nodes *ask = arg;

    node_talk_end(ask->nodes->talk, &ask->question);
    node_talk_clear(&ask->question);
    if (ask->timer != NULL)
        event_free(ask->timer);
    free(ask);
}

/* Posted by who brought the last answer; the talk has let go of the question then. */
static void ask_on_all(void *arg)
{
    struct ask_nodes *ask = arg;

    node_talk_end(ask->nodes->talk, &ask->question);
    request_wake(ask->request);
}

static void ask_on_complete(struct node_talk_question *question)
{
    struct ask_nodes *ask = (struct ask_nodes *)question;

    worker_post_note(ask->request->service->worker, &ask->note, ask_on_all, ask);
}

static void ask_set_timer(struct ask_nodes *ask)
{
    int64_t left_ms = ask->until_ms - clock_mono_ms();
    struct timeval look = {.tv_usec =
                               (left_ms < LOOK_MS ? left_ms > 0 ? left_ms : 0 : LOOK_MS) * 1000};

    evtimer_add(ask->timer, &look);
}

/* A gateway that is to stop is not kept waiting by others. */
static void ask_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct ask_nodes *ask = arg;

    (void)fd, (void)what;
    if (clock_mono_ms() < ask->until_ms && !ask->request->service->shared->draining)
        ask_set_timer(ask);
    else if (node_talk_end(ask->nodes->talk, &ask->question))
        request_wake(ask->request);
}

static bool ask_set_busy(struct problem *problem)
{
    problem_set(problem, 503, "nodes_busy",
                "As many questions to the other gateways are under way as may be.");
    problem->retry_after_s = RETRY_AFTER_S;
    return false;
}

struct ask_nodes *ask_nodes_new(struct request *request, struct problem *ret_problem)
{
    struct ask_nodes *ask = calloc(1, sizeof(*ask));

    if (ask == NULL) {
        problem_set_out_of_memory(ret_problem);
        return NULL;
    }
    ask->nodes = request->service->shared->nodes;
    ask->request = request;
    ask->question.complete = ask_on_complete;
    ask->question.node_bytes_max = ask->question.bytes_max = ROWS_BYTES_MAX;
    request->work = ask;
    request->free_work = ask_free;
    ask->timer = evtimer_new(request->service->context->base, ask_on_timer, ask);
    if (ask->timer == NULL) {
        problem_set_out_of_memory(ret_problem);
        return NULL;
    }
    if (node_talk_begin(ask->nodes->talk, &ask->question) != 0) {
        ask_set_busy(ret_problem);
        return NULL;
    }
    ask->nodes->conf.get_facts(ask->nodes->conf.arg, &ask->facts);
    return ask;
}

/* ---- questions ---- */

bool ask_nodes_can(const struct ask_nodes *ask)
{
    return ask->facts.state == LOG_NODE_FOLLOWING || ask->facts.state == LOG_NODE_ATTACHING;
}

/* Wait for nodes, from now on. */
static void ask_wait(struct ask_nodes *ask, char (*nodes)[SHARED_LOG_NODE_BYTES], size_t nodes_n)
{
    ask->until_ms = clock_mono_ms() + ask->nodes->conf.ask_timeout_ms;
    ask_set_timer(ask);
    node_talk_expect(ask->nodes->talk, &ask->question, nodes, nodes_n);
}

/* Those that have a lease; this node too, which may have lost its own. */
static void ask_add_own(struct ask_nodes *ask)
{
    struct hub_share_facts *facts = &ask->facts;

    for (size_t i = 0; i < facts->nodes_n; i++)
        if (strcmp(facts->nodes[i], ask->nodes->conf.node) == 0)
            return;
    if (facts->nodes_n == HUB_SHARE_NODES_MAX)
        facts->nodes_n--;
    snprintf(facts->nodes[facts->nodes_n++], SHARED_LOG_NODE_BYTES, "%s", ask->nodes->conf.node);
}

static void ask_say(struct ask_nodes *ask, const char *to,
                    const struct node_message_question *question)
{
    struct node_message message = {.kind = NODE_MESSAGE_QUESTION, .question = *question};

    snprintf(message.from, sizeof(message.from), "%s", ask->nodes->conf.node);
    node_service_say(ask->nodes, to, &message); /* what fails is an answer that does not come */
}

int ask_nodes_start(struct ask_nodes *ask, const char *to, struct node_message_question *question,
                    int (*resumed)(struct request *request))
{
    bool can = ask_nodes_can(ask);

    ask_add_own(ask);
    question->id = ask->question.id;
    question->bytes_max = (uint32_t)(ROWS_BYTES_MAX / ask->facts.nodes_n);
    ask->question.node_bytes_max = question->bytes_max;
    if (can)
        ask_say(ask, to, question);
    if (to != NULL) {
        snprintf(ask->node, sizeof(ask->node), "%s", to);
        ask_wait(ask, &ask->node, 1);
        return request_suspend(ask->request, resumed);
    }
    if (!node_answers_begin(ask->nodes, ask->nodes->conf.node, question))
        return respond_out_of_memory(ask->request);
    snprintf(ask->node, sizeof(ask->node), "%s", ask->nodes->conf.node);
    if (can)
        ask_wait(ask, ask->facts.nodes, ask->facts.nodes_n);
    else /* nobody else would hear it */
        ask_wait(ask, &ask->node, 1);
    return request_suspend(ask->request, resumed);
}

/* ---- an order ---- */

static void ask_refuse(struct ask_nodes *ask, int error)
{
    struct problem *problem = &ask->problem;

    switch (error) {
    case -ENOMEM:
        problem_set_out_of_memory(problem);
        return;
    case -ESHUTDOWN:
        problem_set(problem, 503, "stopping", "The gateway is stopping; no stream was ended.");
        break;
    case -EBUSY:
        problem_set(problem, 503, "overloaded",
                    "Too many events wait to be stored; no stream was ended.");
        break;
    case HUB_LOG_UNREACHABLE:
        problem_set(problem, 503, "log_unreachable",
                    "The log that the gateways share cannot be reached; no stream was ended. Send "
                    "it again.");
        break;
    case HUB_LOG_LOST:
        problem_set(problem, 503, "log_lost",
                    "The log that the gateways share did not answer: whether streams are ended is "
                    "unknown. Send it again.");
        break;
    case HUB_LOG_UNCONFIRMED:
        problem_set(problem, 503, "log_unconfirmed",
                    "Streams were ended, but not as many replicas as cluster.replicas names have "
                    "that: a failover may keep it from a gateway that is cut off. Send it again.");
        break;
    case HUB_LOG_FULL:
        problem_set(problem, 507, "log_full",
                    "The server of the log that the gateways share has no room; no stream was "
                    "ended.");
        break;
    case HUB_LOG_REFUSED:
        problem_set(problem, 503, "log_refused",
                    "The server of the log that the gateways share does not let this gateway "
                    "write; no stream was ended. The gateway's log says what the server said.");
        break;
    default:
        problem_set(problem, 503, "store_failed", "The store failed; no stream was ended.");
        break;
    }
    problem->retry_after_s = problem_retry_after_s();
}

void ask_nodes_answered(struct hub_op *op)
{
    struct ask_nodes *ask = (struct ask_nodes *)((char *)op - offsetof(struct ask_nodes, op));

    ask->request->service->publishes_n--;
    if (op->result != 0) {
        ask_refuse(ask, op->result);
        request_wake(ask->request);
        return;
    }
    ask->nodes->conf.get_facts(ask->nodes->conf.arg, &ask->facts);
    ask_add_own(ask);
    ask_wait(ask, ask->facts.nodes, ask->facts.nodes_n);
}

static void ask_write_order(struct ask_nodes *ask)
{
    bool is_told = ask->clock.outcome == SHARED_LOG_DONE;
    struct node_message message = {
        .kind = NODE_MESSAGE_QUESTION,
        .question = {.id = ask->question.id,
                     .what = NODE_MESSAGE_ASK_END,
                     .user = ask->user,
                     .topic = ask->topic,
                     .given_ms = is_told ? ask->clock.now_ms : clock_wall_ms()},
    };

    snprintf(message.from, sizeof(message.from), "%s", ask->nodes->conf.node);
    ask->op.order = ask->order;
    ask->op.order_n = node_message_bytes(&message);
    ask->op.bytes = ask->op.order_n;
    node_message_write(ask->order, &message);
}

/* The time is known, or will not be. */
static void ask_on_time(void *arg)
{
    struct ask_nodes *ask = arg;
    struct service *service = ask->request->service;

    ask_write_order(ask);
    if (!hub_admit(service->shared->hub, ask->op.bytes, &ask->op)) {
        ask_refuse(ask, hub_is_cut_off(service->shared->hub) ? HUB_LOG_UNREACHABLE : -EBUSY);
        request_wake(ask->request);
        return;
    }
    service->publishes_n++;
    worker_publish(service->worker, &ask->op);
}

/* Hub's thread. */
static void ask_on_clock(struct shared_log_question *clock)
{
    struct ask_nodes *ask = (struct ask_nodes *)((char *)clock - offsetof(struct ask_nodes, clock));

    worker_post_note(ask->request->service->worker, &ask->note, ask_on_time, ask);
}

static void ask_run_clock(struct hub_share_task *task, struct shared_log *log)
{
    struct ask_nodes *ask = (struct ask_nodes *)((char *)task - offsetof(struct ask_nodes, task));

    ask->clock =
        (struct shared_log_question){.kind = SHARED_LOG_ASK_HEAD, .answered = ask_on_clock};
    if (log != NULL) {
        shared_log_ask(log, &ask->clock);
        return;
    }
    ask->clock.outcome = SHARED_LOG_UNREACHABLE;
    ask_on_clock(&ask->clock);
}

static struct message_name ask_copy_name(char *to, const struct message_name *name)
{
    if (name->bytes == NULL)
        return *name;
    memcpy(to, name->bytes, name->bytes_n);
    return (struct message_name){.bytes = to, .bytes_n = name->bytes_n};
}

int ask_nodes_order(struct ask_nodes *ask, const struct message_name *user,
                    const struct message_name *topic, int (*resumed)(struct request *request))
{
    ask->user = ask_copy_name(ask->user_bytes, user);
    ask->topic = ask_copy_name(ask->topic_bytes, topic);
    ask->task.run = ask_run_clock;
    if (!ask->nodes->conf.run(ask->nodes->conf.arg, &ask->task)) {
        ask_refuse(ask, -ESHUTDOWN);
        return respond_problem(ask->request, &ask->problem);
    }
    return request_suspend(ask->request, resumed);
}

/* ---- what was answered ---- */

const struct node_talk_answer *ask_nodes_answer_of(const struct ask_nodes *ask, const char *node)
{
    for (size_t i = 0; i < ask->question.answers_n; i++) {
        const struct node_talk_answer *answer = &ask->question.answers[i];

        if (answer->is_whole && strcmp(answer->node, node) == 0)
            return answer;
    }
    return NULL;
}

static int ask_compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

json_t *ask_nodes_missing(const struct ask_nodes *ask)
{
    struct hub_share_facts facts = ask->facts;
    json_t *missing = json_array();

    qsort(facts.nodes, facts.nodes_n, sizeof(facts.nodes[0]), ask_compare_names);
    for (size_t i = 0; i < facts.nodes_n; i++)
        if (ask_nodes_answer_of(ask, facts.nodes[i]) == NULL)
            json_array_append_new(missing, json_string(facts.nodes[i]));
    return missing;
}
