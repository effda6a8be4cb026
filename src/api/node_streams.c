/* SPDX-License-Identifier: MIT */
/* Streams of all nodes.  See node_streams.h. */
#include "config.h"
#include "api/node_streams.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "api/ask_nodes.h"
#include "http/respond.h"
#include "http/service.h"
#include "wire/json_alloc.h"
#include "wire/json_guard.h"
#include "wire/json_writer.h"

/* A row is an object that has an array. */
#define ROW_DEPTH_MAX 2
#define ROW_TREE_BYTES_MAX ((size_t)4 << 20)
#define RETRY_AFTER_S 1

/* ---- a list ---- */

/* Whether another node's row is one that can stand in an answer. */
static bool list_is_row(const char *row, size_t row_n)
{
    struct json_span span = {row, row_n};
    struct json_alloc *parsed;

    if (!json_guard_is_small(span, ROW_DEPTH_MAX, ROW_TREE_BYTES_MAX) ||
        json_alloc_load(row, row_n, JSON_REJECT_DUPLICATES, NULL, &parsed) != 0)
        return false;
    bool is_object = json_is_object(parsed->root);
    json_alloc_free(parsed);
    return is_object;
}

/* Write rows until there are `limit` of them. */
static void list_put_rows(const struct ask_nodes *ask, const struct node_talk_answer *answer,
                          struct json_writer *writer, size_t *rows_n)
{
    bool is_own = strcmp(answer->node, ask->node) == 0;
    const char *rows = answer->rows, *row;
    size_t left = answer->rows_bytes_n, row_n;

    while (*rows_n < ask->limit && (row = node_message_take_row(&rows, &left, &row_n)) != NULL) {
        if (!is_own && !list_is_row(row, row_n)) {
            stats_add(ask->request->service->context->stats, STATS_NODE_MESSAGES_UNREAD, 1);
            continue;
        }
        if ((*rows_n)++ > 0)
            json_writer_text(writer, ",");
        json_writer_raw(writer, row, row_n);
    }
}

/* The asked node first, then the others by name. */
static int list_compare(const void *a, const void *b)
{
    return strcmp((*(const struct node_talk_answer *const *)a)->node,
                  (*(const struct node_talk_answer *const *)b)->node);
}

static size_t list_sort(const struct ask_nodes *ask,
                        const struct node_talk_answer *sorted[NODE_TALK_NODES_MAX + 1])
{
    const struct node_talk_answer *own = ask_nodes_answer_of(ask, ask->node);
    size_t n = 0;

    if (own != NULL)
        sorted[n++] = own;
    for (size_t i = 0; i < ask->question.answers_n; i++)
        if (ask->question.answers[i].is_whole && &ask->question.answers[i] != own)
            sorted[n++] = &ask->question.answers[i];
    size_t own_n = own != NULL;
    qsort(sorted + own_n, n - own_n, sizeof(*sorted), list_compare);
    return n;
}

static void list_put_missing(const struct ask_nodes *ask, struct json_writer *writer)
{
    json_t *missing = ask_nodes_missing(ask);
    char *text = json_dumps(missing, JSON_COMPACT);

    json_decref(missing);
    json_writer_text(writer, text != NULL ? text : "[]");
    writer->failed |= text == NULL;
    free(text);
}

static int list_respond(struct request *request)
{
    const struct ask_nodes *ask = request->work;
    const struct node_talk_answer *sorted[NODE_TALK_NODES_MAX + 1];
    size_t nodes_n = list_sort(ask, sorted), rows_n = 0, text_n;
    struct json_writer writer;
    uint64_t total = 0;

    json_writer_init(&writer);
    json_writer_text(&writer, "{\"streams\":[");
    for (size_t i = 0; i < nodes_n; i++) {
        list_put_rows(ask, sorted[i], &writer, &rows_n);
        total += sorted[i]->count;
    }
    json_writer_text(&writer, "],\"total\":");
    json_writer_number(&writer, (int64_t)(total & INT64_MAX));
    json_writer_text(&writer, ",\"nodes\":");
    json_writer_number(&writer, (int64_t)nodes_n);
    json_writer_text(&writer, ",\"missing\":");
    list_put_missing(ask, &writer);
    json_writer_text(&writer, "}\n");
    char *text = json_writer_take(&writer, &text_n);
    if (text == NULL)
        return respond_out_of_memory(request);
    return respond_json_text(request, MHD_HTTP_OK, text, text_n);
}

int node_streams_list(struct request *request, const struct message_name *user,
                      const struct message_name *topic, size_t limit)
{
    struct node_message_question question = {
        .what = NODE_MESSAGE_ASK_LIST, .user = *user, .topic = *topic, .limit = (uint32_t)limit};
    struct problem problem;
    struct ask_nodes *ask = ask_nodes_new(request, &problem);

    if (ask == NULL)
        return respond_problem(request, &problem);
    ask->limit = limit;
    return ask_nodes_start(ask, NULL, &question, list_respond);
}

/* ---- ending ---- */

static int end_respond(struct request *request)
{
    const struct ask_nodes *ask = request->work;
    uint64_t ended = 0;

    if (ask->problem.status != 0)
        return respond_problem(request, &ask->problem);
    for (size_t i = 0; i < ask->question.answers_n; i++)
        if (ask->question.answers[i].is_whole)
            ended += ask->question.answers[i].count;
    return respond_json(request, MHD_HTTP_OK,
                        json_pack("{s:I, s:o}", "ended", (json_int_t)(ended & INT64_MAX), "missing",
                                  ask_nodes_missing(ask)));
}

int node_streams_end(struct request *request, const struct message_name *user,
                     const struct message_name *topic)
{
    struct problem problem;

    /* after a hand-over the log is another process's */
    if (request->service->shared->draining)
        return respond_unavailable(request, RETRY_AFTER_S, "stopping",
                                   "The gateway is stopping; no stream was ended.");
    struct ask_nodes *ask = ask_nodes_new(request, &problem);
    if (ask == NULL)
        return respond_problem(request, &problem);
    return ask_nodes_order(ask, user, topic, end_respond);
}

static int end_one_respond(struct request *request)
{
    const struct ask_nodes *ask = request->work;
    const struct node_talk_answer *answer = ask_nodes_answer_of(ask, ask->node);

    if (answer == NULL)
        return respond_error(request, 504, "node_timeout",
                             "The gateway %s did not answer within cluster.ask_timeout: whether "
                             "its stream was ended is unknown.",
                             ask->node);
    if (answer->count == 0)
        return respond_error(request, 404, "no_such_stream", "There is no stream with this id.");
    return respond_json(request, MHD_HTTP_OK, json_pack("{s:i}", "ended", 1));
}

static bool end_one_can(const struct ask_nodes *ask, const char *node, struct problem *ret_problem)
{
    bool has_lease = false;

    if (!ask_nodes_can(ask)) {
        problem_set(ret_problem, 503, "log_unreachable",
                    "The log that the gateways share cannot be reached: no other gateway can be "
                    "asked.");
        ret_problem->retry_after_s = problem_retry_after_s();
        return false;
    }
    for (size_t i = 0; i < ask->facts.nodes_n; i++)
        has_lease |= strcmp(ask->facts.nodes[i], node) == 0;
    if (has_lease)
        return true;
    problem_set(ret_problem, 503, "node_unreachable",
                "There is no gateway %s now: it has ended, is cut off, or never was.", node);
    ret_problem->retry_after_s = problem_retry_after_s();
    return false;
}

int node_streams_end_one(struct request *request, const char *node, uint64_t stream_id)
{
    struct node_message_question question = {.what = NODE_MESSAGE_ASK_END, .stream_id = stream_id};
    struct problem problem;
    struct ask_nodes *ask = ask_nodes_new(request, &problem);

    if (ask == NULL || !end_one_can(ask, node, &problem))
        return respond_problem(request, &problem);
    return ask_nodes_start(ask, node, &question, end_one_respond);
}
