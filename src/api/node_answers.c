/* SPDX-License-Identifier: MIT */
/*
 * Answers to what other nodes ask, and to what this node asks all, itself too.  A long answer goes
 * out in parts.  How many are under way is bounded, and so is each: who asks need not be a gateway.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/node_service_internal.h"
#include "api/streams_visit.h"

/* Of other nodes. */
#define ANSWERS_MAX 8
#define ANSWER_BYTES_MAX ((uint32_t)4 << 20)
/* Of a row, to begin with. */
#define ROW_BYTES 2048

struct node_answer {
    struct hub_share_task task;
    struct node_service *nodes;
    char to[SHARED_LOG_NODE_BYTES];
    bool is_own;
    uint64_t id;
    uint64_t count;
    uint32_t limit;
    uint32_t bytes_max;
    size_t counted; /* in limits.memory */
    char *rows;
    size_t rows_bytes_n;
};

static struct memory_budget *answer_memory(const struct node_answer *answer)
{
    return answer->nodes->conf.shared->services[0].context->memory;
}

static void answer_free(struct node_answer *answer)
{
    if (!answer->is_own)
        atomic_fetch_sub(&answer->nodes->answering_n, 1);
    memory_budget_add(answer_memory(answer), MEMORY_BUDGET_ANSWERS, -(int64_t)answer->counted);
    free(answer->rows);
    free(answer);
}

/* ---- parts ---- */

/* The rows of the next part, from the `*rows_n` bytes at `*rows` on. */
static struct node_message_answer answer_next_part(const char **rows, size_t *rows_n)
{
    struct node_message_answer part = {.rows = *rows};
    const char *next = *rows;
    size_t left = *rows_n, row_n;

    while (node_message_take_row(&next, &left, &row_n) != NULL &&
           (size_t)(next - part.rows) <= NODE_MESSAGE_ROWS_BYTES_MAX) {
        part.rows_n++;
        part.rows_bytes_n = (size_t)(next - part.rows);
    }
    if (part.rows_n == 0)
        return part; /* perhaps there are no bytes to point to */
    *rows += part.rows_bytes_n;
    *rows_n -= part.rows_bytes_n;
    return part;
}

/* What does not fit into as many parts as there may be is left out. */
static uint32_t answer_count_parts(const struct node_answer *answer)
{
    const char *rows = answer->rows;
    size_t rows_n = answer->rows_bytes_n;
    uint32_t parts_n = 0;

    do {
        answer_next_part(&rows, &rows_n);
        parts_n++;
    } while (rows_n > 0 && parts_n < NODE_MESSAGE_PARTS_MAX);
    return parts_n;
}

static bool answer_say_part(const struct node_answer *answer, struct shared_log *log,
                            const struct node_message_answer *part)
{
    struct node_message message = {.kind = NODE_MESSAGE_ANSWER, .answer = *part};

    snprintf(message.from, sizeof(message.from), "%s", answer->nodes->conf.node);
    size_t bytes_n = node_message_bytes(&message);
    char *bytes = malloc(bytes_n);
    if (bytes == NULL)
        return false;
    node_message_write(bytes, &message);
    int result = shared_log_say(log, answer->to, bytes, bytes_n);
    free(bytes);
    return result == 0;
}

/* Who asked notes that parts are missing, and waits no longer than it wants to. */
static void answer_run(struct hub_share_task *task, struct shared_log *log)
{
    struct node_answer *answer = (struct node_answer *)task;
    uint32_t parts_n = answer_count_parts(answer);
    const char *rows = answer->rows;
    size_t rows_n = answer->rows_bytes_n;

    for (uint32_t i = 0; log != NULL && i < parts_n; i++) {
        struct node_message_answer part = answer_next_part(&rows, &rows_n);

        part.id = answer->id;
        part.part = i;
        part.parts_n = parts_n;
        part.count = answer->count;
        if (!answer_say_part(answer, log, &part))
            break;
    }
    answer_free(answer);
}

/* ---- what is answered ---- */

/* As many rows of the workers, one after the other, as were asked for. */
static void answer_take_rows(struct node_answer *answer, const struct ask_workers *question)
{
    size_t taken_n = 0, all_n = 0;

    for (unsigned i = 0; i < question->shared->services_n; i++)
        all_n += question->slots[i].text_n;
    answer->rows = all_n > 0 ? malloc(all_n) : NULL;
    if (answer->rows == NULL)
        return;
    for (unsigned i = 0; i < question->shared->services_n; i++) {
        const char *rows = question->slots[i].text, *row = rows;
        size_t left = question->slots[i].text_n, row_n;

        while (taken_n < answer->limit && node_message_take_row(&rows, &left, &row_n) != NULL &&
               answer->rows_bytes_n + (size_t)(rows - row) <= answer->bytes_max) {
            memcpy(answer->rows + answer->rows_bytes_n, row, (size_t)(rows - row));
            answer->rows_bytes_n += (size_t)(rows - row);
            row = rows;
            taken_n++;
        }
    }
}

static void answer_give_own(const struct node_answer *answer)
{
    const struct node_message_answer whole = {.id = answer->id,
                                              .parts_n = 1,
                                              .count = answer->count,
                                              .rows = answer->rows,
                                              .rows_bytes_n = answer->rows_bytes_n};

    node_talk_hear(answer->nodes->talk, answer->nodes->conf.node, &whole);
}

static void answer_give(struct node_answer *answer)
{
    struct node_service *nodes = answer->nodes;

    if (!answer->is_own && nodes->conf.run(nodes->conf.arg, &answer->task))
        return;
    if (answer->is_own)
        answer_give_own(answer);
    answer_free(answer);
}

/* Of a question that not every worker could be asked there is no answer. */
static void answer_done(struct ask_workers *question, void *arg)
{
    struct node_answer *answer = arg;
    bool is_list = question->ask == streams_visit_write;

    if (question->failed) {
        answer_free(answer);
    } else {
        answer->count = is_list ? question->shared->streams_n : ask_workers_count(question);
        if (is_list)
            answer_take_rows(answer, question);
        answer_give(answer);
    }
    ask_workers_free(question);
}

/* ---- beginning ---- */

static struct node_answer *answer_new(struct node_service *nodes, const char *to, uint64_t id)
{
    struct node_answer *answer = calloc(1, sizeof(*answer));

    if (answer == NULL)
        return NULL;
    answer->task.run = answer_run;
    answer->nodes = nodes;
    snprintf(answer->to, sizeof(answer->to), "%s", to);
    answer->is_own = strcmp(to, nodes->conf.node) == 0;
    answer->id = id;
    if (answer->is_own || atomic_fetch_add(&nodes->answering_n, 1) < ANSWERS_MAX)
        return answer;
    answer_free(answer);
    return NULL;
}

/* A short list is always given, as to who asks for one here. */
static bool answer_admit_rows(struct node_answer *answer,
                              const struct node_message_question *question)
{
    size_t rows = answer->nodes->conf.shared->streams_n;

    answer->limit = question->limit;
    answer->bytes_max =
        question->bytes_max < ANSWER_BYTES_MAX ? question->bytes_max : ANSWER_BYTES_MAX;
    rows = rows < question->limit ? rows : question->limit;
    size_t bytes = rows < answer->bytes_max / ROW_BYTES ? rows * ROW_BYTES : answer->bytes_max;
    if (bytes > MEMORY_BUDGET_LARGE_BYTES &&
        !memory_budget_admit(answer_memory(answer), MEMORY_BUDGET_ANSWERS, bytes,
                             memory_budget_level_for(bytes)))
        return false;
    answer->counted = bytes > MEMORY_BUDGET_LARGE_BYTES ? bytes : 0;
    return true;
}

struct ask_workers *node_answers_ask(struct node_service *nodes,
                                     const struct node_message_question *question)
{
    struct ask_workers *ask = ask_workers_new_for(nodes->conf.shared);
    const struct message_name *user = question->user.bytes != NULL ? &question->user : NULL;
    bool has_topic = question->topic.bytes != NULL;

    if (ask == NULL)
        return NULL;
    ask->ask = question->what == NODE_MESSAGE_ASK_LIST ? streams_visit_write : streams_visit_end;
    ask->stream_id = question->stream_id;
    ask->limit = question->limit;
    if (user == NULL && !has_topic)
        return ask;
    ask->filter = filter_new(&question->topic, has_topic, user);
    if (ask->filter != NULL)
        return ask;
    ask_workers_free(ask);
    return NULL;
}

bool node_answers_begin(struct node_service *nodes, const char *from,
                        const struct node_message_question *question)
{
    struct node_answer *answer = answer_new(nodes, from, question->id);
    bool is_list = question->what == NODE_MESSAGE_ASK_LIST;

    if (answer == NULL)
        return false;
    struct ask_workers *ask =
        !is_list || answer_admit_rows(answer, question) ? node_answers_ask(nodes, question) : NULL;
    if (ask == NULL) {
        answer_free(answer);
        return false;
    }
    ask->bytes_max = answer->bytes_max;
    ask->done = answer_done;
    ask->arg = answer;
    ask_workers_send(ask);
    return true;
}

void node_answers_say_count(struct node_service *nodes, const char *to, uint64_t id, uint64_t count)
{
    struct node_message message = {.kind = NODE_MESSAGE_ANSWER,
                                   .answer = {.id = id, .parts_n = 1, .count = count}};

    if (strcmp(to, nodes->conf.node) == 0) {
        node_talk_hear(nodes->talk, to, &message.answer);
        return;
    }
    snprintf(message.from, sizeof(message.from), "%s", nodes->conf.node);
    node_service_say(nodes, to, &message);
}
