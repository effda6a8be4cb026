/* SPDX-License-Identifier: MIT */
/* A node among others: what it says, and what it hears.  See node_service.h. */
#include "config.h"
#include "api/node_service.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/node_service_internal.h"

#define ID_DIGITS 16

struct node_service *node_service_new(const struct node_service_conf *conf)
{
    struct node_service *nodes = calloc(1, sizeof(*nodes));
    uint64_t first_id = 0;

    if (nodes == NULL)
        return NULL;
    nodes->conf = *conf;
    node_orders_init(nodes);
    if (gnutls_rnd(GNUTLS_RND_NONCE, &first_id, sizeof(first_id)) == 0)
        nodes->talk = node_talk_new(first_id);
    nodes->tickets = node_tickets_new(nodes);
    if (nodes->talk != NULL && nodes->tickets != NULL)
        return nodes;
    node_service_free(nodes);
    return NULL;
}

void node_service_free(struct node_service *nodes)
{
    if (nodes == NULL)
        return;
    node_orders_free(nodes);
    node_tickets_free(nodes->tickets);
    node_talk_free(nodes->talk);
    free(nodes);
}

void node_service_look(struct node_service *nodes)
{
    node_tickets_look(nodes);
}

/* ---- ids of streams ---- */

void node_service_put_stream(const struct node_service *nodes, uint64_t stream_id,
                             char to[NODE_SERVICE_STREAM_BYTES])
{
    snprintf(to, NODE_SERVICE_STREAM_BYTES, "%s%s%016llx", nodes != NULL ? nodes->conf.node : "",
             nodes != NULL ? "." : "", (unsigned long long)stream_id);
}

bool node_service_read_stream(const struct node_service *nodes, const char *text,
                              char ret_node[SHARED_LOG_NODE_BYTES], uint64_t *ret_stream_id)
{
    const char *dot = nodes != NULL ? strrchr(text, '.') : NULL;
    const char *id = dot != NULL ? dot + 1 : text;
    size_t node_n = dot != NULL ? (size_t)(dot - text) : 0;

    if (strspn(id, "0123456789abcdef") != ID_DIGITS || id[ID_DIGITS] != '\0' ||
        (dot != NULL && !node_message_is_node(text, node_n)))
        return false;
    snprintf(ret_node, SHARED_LOG_NODE_BYTES, "%.*s", (int)node_n, text);
    if (nodes != NULL && strcmp(ret_node, nodes->conf.node) == 0)
        ret_node[0] = '\0';
    *ret_stream_id = strtoull(id, NULL, 16);
    return *ret_stream_id != 0;
}

/* ---- saying ---- */

struct said {
    struct hub_share_task task;
    char to[SHARED_LOG_NODE_BYTES]; /* empty: all */
    size_t bytes_n;
    char bytes[];
};

static void say_run(struct hub_share_task *task, struct shared_log *log)
{
    struct said *said = (struct said *)task;

    if (log != NULL) /* else, and when it fails, nobody hears it, as may happen anyway */
        shared_log_say(log, said->to[0] != '\0' ? said->to : NULL, said->bytes, said->bytes_n);
    free(said);
}

int node_service_say(struct node_service *nodes, const char *to, const struct node_message *message)
{
    size_t bytes_n = node_message_bytes(message);
    struct said *said = malloc(sizeof(*said) + bytes_n);

    if (said == NULL)
        return -ENOMEM;
    said->task.run = say_run;
    snprintf(said->to, sizeof(said->to), "%s", to != NULL ? to : "");
    said->bytes_n = bytes_n;
    node_message_write(said->bytes, message);
    if (nodes->conf.run(nodes->conf.arg, &said->task))
        return 0;
    free(said);
    return -ENOTCONN;
}

/* ---- hearing ---- */

void node_service_count(struct node_service *nodes, enum stats_id id)
{
    stats_add(hub_stats(nodes->conf.shared->hub), id, 1);
}

/* Many streams are ended by an order only, which all nodes have. */
static void node_hear_question(struct node_service *nodes, const struct node_message *message)
{
    const struct node_message_question *question = &message->question;

    if (question->what == NODE_MESSAGE_ASK_END && question->stream_id == 0)
        node_service_count(nodes, STATS_NODE_MESSAGES_UNREAD);
    else if (!node_answers_begin(nodes, message->from, question))
        node_service_count(nodes, STATS_NODE_QUESTIONS_SHED);
}

static void node_hear(struct node_service *nodes, const struct node_message *message)
{
    switch (message->kind) {
    case NODE_MESSAGE_QUESTION:
        node_hear_question(nodes, message);
        break;
    case NODE_MESSAGE_ANSWER:
        if (node_talk_hear(nodes->talk, message->from, &message->answer) != NODE_TALK_TAKEN)
            node_service_count(nodes, STATS_NODE_ANSWERS_LATE);
        break;
    case NODE_MESSAGE_STREAM_END:
        node_tickets_end(nodes, message->stream_end.mark);
        break;
    case NODE_MESSAGE_EVENTS: /* the hub's */
        break;
    }
}

/* What this node said to all comes back to it; of that it wants only what it had the log say. */
void node_service_heard(struct node_service *nodes, const char *bytes, size_t bytes_n)
{
    struct node_message message;

    if (node_message_read(bytes, bytes_n, &message) != NODE_MESSAGE_FINE)
        node_service_count(nodes, STATS_NODE_MESSAGES_UNREAD);
    else if (strcmp(message.from, nodes->conf.node) != 0 || message.kind == NODE_MESSAGE_STREAM_END)
        node_hear(nodes, &message);
}
