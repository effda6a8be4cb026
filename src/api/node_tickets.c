/* SPDX-License-Identifier: MIT */
/* Tickets that several nodes take.  See node_tickets.h. */
#include "config.h"
#include "api/node_tickets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/node_service_internal.h"
#include "api/ticket_use.h"

#define NEWS_ROOM_MIN 256

struct node_news {
    unsigned char id[TICKET_ID_BYTES];
    bool is_over; /* else the ticket is to be forgotten */
    uint64_t mark;
    uint64_t position;
};

struct node_tickets {
    struct node_service *nodes;

    pthread_mutex_t lock;
    struct node_news *queue; /* what is to be told, a ring */
    size_t first, n, room;
    size_t dropped_n; /* that had no room, to be counted on the hub's thread */
    bool is_busy;     /* a task is posted, or a batch is at the log */
    bool is_looking;
    unsigned round; /* of looks at all live streams */

    uint64_t follows_n; /* of whoever looks: how often the node has begun to follow the log */

    /* the hub's thread's, while busy */
    struct hub_share_task task;
    struct shared_log_question question;
    struct shared_ticket_news batch[SHARED_TICKET_NEWS_MAX];
    struct ticket_table_live live[SHARED_TICKET_NEWS_MAX];
    char says[SHARED_TICKET_NEWS_MAX][NODE_TICKETS_SAY_BYTES];
};

static void tickets_run(struct hub_share_task *task, struct shared_log *log);

struct node_tickets *node_tickets_new(struct node_service *nodes)
{
    struct node_tickets *tickets = calloc(1, sizeof(*tickets));

    if (tickets == NULL)
        return NULL;
    pthread_mutex_init(&tickets->lock, NULL);
    tickets->nodes = nodes;
    tickets->task.run = tickets_run;
    return tickets;
}

void node_tickets_free(struct node_tickets *tickets)
{
    if (tickets == NULL)
        return;
    pthread_mutex_destroy(&tickets->lock);
    free(tickets->queue);
    free(tickets);
}

static struct ticket_table *tickets_table(const struct node_service *nodes)
{
    return nodes->conf.shared->ticket_table;
}

static void tickets_put_name(char to[SHARED_TICKET_NAME_BYTES],
                             const unsigned char id[TICKET_ID_BYTES])
{
    for (size_t i = 0; i < TICKET_ID_BYTES; i++)
        snprintf(to + 2 * i, 3, "%02x", id[i]);
}

/* What the log is to say to this node when another use has the ticket.  Returns its length. */
static size_t tickets_put_say(const struct node_service *nodes, uint64_t mark,
                              char to[NODE_TICKETS_SAY_BYTES])
{
    struct node_message message = {.kind = NODE_MESSAGE_STREAM_END, .stream_end = {.mark = mark}};

    snprintf(message.from, sizeof(message.from), "%s", nodes->conf.node);
    node_message_write(to, &message);
    return node_message_bytes(&message);
}

/* ---- asking ---- */

static void ask_answered(struct shared_log_question *question)
{
    struct node_tickets_ask *ask =
        (struct node_tickets_ask *)((char *)question - offsetof(struct node_tickets_ask, question));

    ask->outcome = question->outcome;
    worker_post_note(ask->service->worker, &ask->note, ask->done, ask);
}

static void ask_run(struct hub_share_task *task, struct shared_log *log)
{
    struct node_tickets_ask *ask =
        (struct node_tickets_ask *)((char *)task - offsetof(struct node_tickets_ask, task));

    ask->question = (struct shared_log_question){
        .kind = SHARED_LOG_ASK_TICKET, .answered = ask_answered, .use = &ask->use};
    /* before the log is followed, ids of streams that would begin now may be nobody's */
    if (log != NULL && !hub_is_cut_off(ask->service->shared->hub)) {
        shared_log_ask(log, &ask->question);
        return;
    }
    ask->question.outcome = SHARED_LOG_UNREACHABLE;
    ask_answered(&ask->question);
}

bool node_tickets_ask(struct node_service *nodes, struct service *service,
                      const unsigned char id[TICKET_ID_BYTES], struct node_tickets_ask *ask)
{
    tickets_put_name(ask->use.name, id);
    ask->use.say = ask->say;
    ask->use.say_n = tickets_put_say(nodes, ask->use.mark, ask->say);
    ask->service = service;
    ask->task.run = ask_run;
    return nodes->conf.run(nodes->conf.arg, &ask->task);
}

/* ---- telling ---- */

/* With the lock. */
static void tickets_forget_all(struct node_tickets *tickets)
{
    tickets->n = 0;
    tickets->is_looking = tickets->is_busy = false;
}

static void tickets_post(struct node_tickets *tickets)
{
    const struct node_service_conf *conf = &tickets->nodes->conf;

    if (conf->run(conf->arg, &tickets->task))
        return;
    pthread_mutex_lock(&tickets->lock);
    tickets_forget_all(tickets);
    pthread_mutex_unlock(&tickets->lock);
}

/* With the lock. */
static bool tickets_grow(struct node_tickets *tickets)
{
    size_t room = tickets->room > 0 ? 2 * tickets->room : NEWS_ROOM_MIN;
    struct node_news *queue = NULL;

    if (room <= NODE_TICKETS_NEWS_MAX)
        queue = malloc(room * sizeof(*queue));
    if (queue == NULL)
        return false;
    for (size_t i = 0; i < tickets->n; i++)
        queue[i] = tickets->queue[(tickets->first + i) % tickets->room];
    free(tickets->queue);
    tickets->queue = queue;
    tickets->first = 0;
    tickets->room = room;
    return true;
}

static void tickets_tell(struct node_service *nodes, const struct node_news *news)
{
    struct node_tickets *tickets = nodes->tickets;

    pthread_mutex_lock(&tickets->lock);
    bool has_room = tickets->n < tickets->room || tickets_grow(tickets);
    if (has_room)
        tickets->queue[(tickets->first + tickets->n++) % tickets->room] = *news;
    bool is_first = has_room && !tickets->is_busy;
    tickets->is_busy |= is_first;
    tickets->dropped_n += !has_room && news->is_over;
    pthread_mutex_unlock(&tickets->lock);
    if (is_first)
        tickets_post(tickets);
}

void node_tickets_over(struct node_service *nodes, const unsigned char id[TICKET_ID_BYTES],
                       uint64_t mark, uint64_t position)
{
    struct node_news news = {.is_over = true, .mark = mark, .position = position};

    memcpy(news.id, id, TICKET_ID_BYTES);
    tickets_tell(nodes, &news);
}

void node_tickets_forget(struct node_service *nodes, const unsigned char id[TICKET_ID_BYTES])
{
    struct node_news news = {.is_over = false};

    memcpy(news.id, id, TICKET_ID_BYTES);
    tickets_tell(nodes, &news);
}

/* ---- on the hub's thread ---- */

/* With the lock. */
static size_t tickets_take_news(struct node_tickets *tickets)
{
    size_t n = 0;

    for (; n < SHARED_TICKET_NEWS_MAX && tickets->n > 0; n++) {
        const struct node_news *news = &tickets->queue[tickets->first];

        tickets->batch[n] = (struct shared_ticket_news){
            .what = news->is_over ? SHARED_TICKET_OVER : SHARED_TICKET_FORGET,
            .mark = news->mark,
            .position = news->position,
            .say = ""};
        tickets_put_name(tickets->batch[n].name, news->id);
        tickets->first = (tickets->first + 1) % tickets->room;
        tickets->n--;
    }
    return n;
}

static size_t tickets_take_live(struct node_tickets *tickets)
{
    size_t n = ticket_table_next_live(tickets_table(tickets->nodes), tickets->round, tickets->live,
                                      SHARED_TICKET_NEWS_MAX);

    for (size_t i = 0; i < n; i++) {
        const struct ticket_table_live *live = &tickets->live[i];

        tickets->batch[i] = (struct shared_ticket_news){
            .what = SHARED_TICKET_LIVE,
            .mark = live->mark,
            .position = live->from,
            .until_ms = live->until_ms,
            .say = tickets->says[i],
            .say_n = tickets_put_say(tickets->nodes, live->mark, tickets->says[i])};
        tickets_put_name(tickets->batch[i].name, live->id);
    }
    return n;
}

/* The next batch; 0: there is no more, and nobody is busy. */
static size_t tickets_take(struct node_tickets *tickets)
{
    pthread_mutex_lock(&tickets->lock);
    size_t n = tickets_take_news(tickets);
    for (; tickets->dropped_n > 0; tickets->dropped_n--)
        node_service_count(tickets->nodes, STATS_TICKETS_UNTOLD);
    if (n == 0 && tickets->is_looking)
        n = tickets_take_live(tickets);
    if (n == 0)
        tickets_forget_all(tickets);
    pthread_mutex_unlock(&tickets->lock);
    return n;
}

/* What was told and got lost is not told again; the look at all begins anew with the log. */
static void tickets_answered(struct shared_log_question *question)
{
    struct node_tickets *tickets =
        (struct node_tickets *)((char *)question - offsetof(struct node_tickets, question));
    bool is_done = question->outcome == SHARED_LOG_DONE;

    for (size_t i = 0; i < question->news_n; i++) {
        const struct shared_ticket_news *news = &tickets->batch[i];

        if (is_done && news->what == SHARED_TICKET_LIVE && !news->is_ours)
            node_tickets_end(tickets->nodes, news->mark);
        if (!is_done && news->what == SHARED_TICKET_OVER)
            node_service_count(tickets->nodes, STATS_TICKETS_UNTOLD);
    }
    if (!is_done) {
        pthread_mutex_lock(&tickets->lock);
        tickets->is_looking = false;
        pthread_mutex_unlock(&tickets->lock);
    }
    tickets_post(tickets);
}

static void tickets_run(struct hub_share_task *task, struct shared_log *log)
{
    struct node_tickets *tickets =
        (struct node_tickets *)((char *)task - offsetof(struct node_tickets, task));

    if (log == NULL) {
        pthread_mutex_lock(&tickets->lock);
        tickets_forget_all(tickets);
        pthread_mutex_unlock(&tickets->lock);
        return;
    }
    size_t n = tickets_take(tickets);
    if (n == 0)
        return;
    tickets->question = (struct shared_log_question){.kind = SHARED_LOG_ASK_TICKETS,
                                                     .answered = tickets_answered,
                                                     .news = tickets->batch,
                                                     .news_n = n};
    shared_log_ask(log, &tickets->question);
}

void node_tickets_look(struct node_service *nodes)
{
    struct node_tickets *tickets = nodes->tickets;
    struct hub_share_facts facts;

    if (tickets_table(nodes) == NULL)
        return;
    nodes->conf.get_facts(nodes->conf.arg, &facts);
    if (facts.follows_n == tickets->follows_n)
        return;
    tickets->follows_n = facts.follows_n;
    pthread_mutex_lock(&tickets->lock);
    tickets->is_looking = true;
    tickets->round++;
    bool is_first = !tickets->is_busy;
    tickets->is_busy = true;
    pthread_mutex_unlock(&tickets->lock);
    if (is_first)
        tickets_post(tickets);
}

/* ---- streams that are taken over ---- */

void node_tickets_end(struct node_service *nodes, uint64_t mark)
{
    struct service_shared *shared = nodes->conf.shared;
    uint64_t stream_id =
        shared->ticket_table != NULL ? ticket_table_taken(shared->ticket_table, mark) : 0;

    if (stream_id != 0)
        ticket_use_end_stream(shared, stream_id);
}
