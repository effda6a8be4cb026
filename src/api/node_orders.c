/* SPDX-License-Identifier: MIT */
/*
 * Orders of the log: streams that all nodes are to end.  They are carried out one after the other,
 * so that a node with much to make up for serves its streams in between:
 *
 *     queue --> ask the log for its time --> workers --> say how many there were --> the next
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/node_service_internal.h"
#include "base/clock.h"
#include "base/log.h"

/* What a node that was cut off may have to make up for. */
#define ORDERS_MAX 10000
/* Who gave an order waits for no answer that comes later. */
#define ANSWER_MS 120000
/* Many orders that come together have one look at the clock. */
#define CLOCK_GOOD_MS 1000
/* A stream that was there for so long when an order was given certainly had begun: the order's time
 * and a stream's are cut to milliseconds. */
#define SLACK_MS 20

struct node_order {
    STAILQ_ENTRY(node_order) link;
    struct hub_share_task task;
    struct shared_log_question clock;
    struct node_service *nodes;
    char from[SHARED_LOG_NODE_BYTES];
    uint64_t id;
    int64_t given_ms;        /* by the clock of the log's server */
    struct ask_workers *ask; /* NULL: given to the workers */
    bool is_late;
};

static void orders_go_on(struct node_service *nodes);

static void order_free(struct node_order *order)
{
    ask_workers_free(order->ask);
    free(order);
}

void node_orders_init(struct node_service *nodes)
{
    pthread_mutex_init(&nodes->lock, NULL);
    STAILQ_INIT(&nodes->orders);
}

void node_orders_free(struct node_service *nodes)
{
    struct node_order *order;

    while ((order = STAILQ_FIRST(&nodes->orders)) != NULL) {
        STAILQ_REMOVE_HEAD(&nodes->orders, link);
        order_free(order);
    }
    pthread_mutex_destroy(&nodes->lock);
}

/* ---- carrying one out ---- */

static void order_end(struct node_order *order)
{
    struct node_service *nodes = order->nodes;

    pthread_mutex_lock(&nodes->lock);
    nodes->orders_n--;
    nodes->is_ordered = false;
    pthread_mutex_unlock(&nodes->lock);
    order_free(order);
    orders_go_on(nodes);
}

static void order_done(struct ask_workers *question, void *arg)
{
    struct node_order *order = arg;

    if (!question->failed && !order->is_late)
        node_answers_say_count(order->nodes, order->from, order->id, ask_workers_count(question));
    ask_workers_free(question);
    order_end(order);
}

/* `now_ms` is the time by the clock that gave the order its own. */
static void order_carry_out(struct node_order *order, int64_t now_ms)
{
    struct ask_workers *ask = order->ask;
    int64_t given_ms = clock_mono_ms() - (now_ms - order->given_ms) + SLACK_MS;

    order->is_late = now_ms - order->given_ms > ANSWER_MS;
    order->ask = NULL;
    ask->begun_by_ms = given_ms > 0 ? given_ms : 1;
    ask->done = order_done;
    ask->arg = order;
    ask_workers_send(ask);
}

static void order_on_clock(struct shared_log_question *clock)
{
    struct node_order *order =
        (struct node_order *)((char *)clock - offsetof(struct node_order, clock));
    struct node_service *nodes = order->nodes;

    if (clock->outcome == SHARED_LOG_DONE) {
        nodes->clock_ms = clock->now_ms;
        nodes->clock_read_ms = clock_mono_ms();
    }
    /* else the clocks of nodes and of the log's server agree as well as they can */
    order_carry_out(order, clock->outcome == SHARED_LOG_DONE ? clock->now_ms : clock_wall_ms());
}

static void order_run(struct hub_share_task *task, struct shared_log *log)
{
    struct node_order *order =
        (struct node_order *)((char *)task - offsetof(struct node_order, task));

    struct node_service *nodes = order->nodes;
    int64_t since_ms = clock_mono_ms() - nodes->clock_read_ms;

    order->clock =
        (struct shared_log_question){.kind = SHARED_LOG_ASK_HEAD, .answered = order_on_clock};
    if (nodes->clock_read_ms != 0 && since_ms < CLOCK_GOOD_MS)
        order_carry_out(order, nodes->clock_ms + since_ms);
    else if (log != NULL)
        shared_log_ask(log, &order->clock);
    else
        order_carry_out(order, clock_wall_ms());
}

/* ---- one after the other ---- */

static struct node_order *orders_take(struct node_service *nodes)
{
    struct node_order *order = NULL;

    pthread_mutex_lock(&nodes->lock);
    if (!nodes->is_ordered && (order = STAILQ_FIRST(&nodes->orders)) != NULL) {
        STAILQ_REMOVE_HEAD(&nodes->orders, link);
        nodes->is_ordered = true;
    }
    pthread_mutex_unlock(&nodes->lock);
    return order;
}

/* Begin the next, if none is under way.  Once the log was left, this process ends or has handed
 * over, and its streams end anyway. */
static void orders_go_on(struct node_service *nodes)
{
    struct node_order *order = orders_take(nodes);

    while (order != NULL && !nodes->conf.run(nodes->conf.arg, &order->task)) {
        pthread_mutex_lock(&nodes->lock);
        nodes->orders_n--;
        nodes->is_ordered = false;
        pthread_mutex_unlock(&nodes->lock);
        order_free(order);
        order = orders_take(nodes);
    }
}

static struct node_order *order_new(struct node_service *nodes, const char *from,
                                    const struct node_message_question *question)
{
    struct node_order *order = calloc(1, sizeof(*order));

    if (order == NULL)
        return NULL;
    order->task.run = order_run;
    order->nodes = nodes;
    snprintf(order->from, sizeof(order->from), "%s", from);
    order->id = question->id;
    order->given_ms = question->given_ms;
    order->ask = node_answers_ask(nodes, question);
    if (order->ask != NULL)
        return order;
    free(order);
    return NULL;
}

static bool orders_add(struct node_service *nodes, struct node_order *order)
{
    pthread_mutex_lock(&nodes->lock);
    bool has_room = nodes->orders_n < ORDERS_MAX;
    if (has_room) {
        nodes->orders_n++;
        STAILQ_INSERT_TAIL(&nodes->orders, order, link);
    }
    pthread_mutex_unlock(&nodes->lock);
    return has_room;
}

void node_service_order(struct node_service *nodes, const char *from, const char *bytes,
                        size_t bytes_n)
{
    struct node_message message;

    if (node_message_read(bytes, bytes_n, &message) != NODE_MESSAGE_FINE ||
        message.kind != NODE_MESSAGE_QUESTION || message.question.what != NODE_MESSAGE_ASK_END ||
        message.question.user.bytes == NULL) {
        node_service_count(nodes, STATS_NODE_MESSAGES_UNREAD);
        log_warning("an order of node %s in the shared log cannot be read: if that is of a later "
                    "version, streams may be open here that it has ended",
                    from);
        return;
    }
    struct node_order *order = order_new(nodes, from, &message.question);
    if (order == NULL || !orders_add(nodes, order)) {
        if (order != NULL)
            order_free(order);
        node_service_count(nodes, STATS_ORDERS_DROPPED);
        log_warning("an order of node %s to end streams is not carried out here: out of memory, "
                    "or %d are waiting",
                    from, ORDERS_MAX);
        return;
    }
    orders_go_on(nodes);
}
