/* SPDX-License-Identifier: MIT */
/* Questions to other nodes.  See node_talk.h. */
#include "config.h"
#include "cluster/node_talk.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct node_talk {
    pthread_mutex_t lock;
    LIST_HEAD(, node_talk_question) questions;
    size_t questions_n;
    uint64_t next_id;
};

struct node_talk *node_talk_new(uint64_t first_id)
{
    struct node_talk *talk = calloc(1, sizeof(*talk));

    if (talk == NULL)
        return NULL;
    if (pthread_mutex_init(&talk->lock, NULL) != 0) {
        free(talk);
        return NULL;
    }
    talk->next_id = first_id;
    LIST_INIT(&talk->questions);
    return talk;
}

void node_talk_free(struct node_talk *talk)
{
    if (talk == NULL)
        return;
    assert(LIST_EMPTY(&talk->questions));
    pthread_mutex_destroy(&talk->lock);
    free(talk);
}

/* ---- who answers ---- */

static struct node_talk_answer *find_answer(struct node_talk_question *question, const char *node)
{
    for (size_t i = 0; i < question->answers_n; i++)
        if (strcmp(question->answers[i].node, node) == 0)
            return &question->answers[i];
    return NULL;
}

/* NULL when there is no room for more nodes. */
static struct node_talk_answer *find_or_add(struct node_talk_question *question, const char *node)
{
    struct node_talk_answer *answer = find_answer(question, node);

    if (answer != NULL || question->answers_n == NODE_TALK_NODES_MAX)
        return answer;
    answer = &question->answers[question->answers_n++];
    *answer = (struct node_talk_answer){.rows = NULL};
    strncpy(answer->node, node, sizeof(answer->node) - 1);
    return answer;
}

/* The last answer, or the list of who is to give one, may have come. */
static void look_if_complete(struct node_talk_question *question)
{
    if (!question->has_list || question->is_complete)
        return;
    for (size_t i = 0; i < question->answers_n; i++)
        if (question->answers[i].is_expected && !question->answers[i].is_whole)
            return;
    question->is_complete = true;
    question->complete(question);
}

int node_talk_begin(struct node_talk *talk, struct node_talk_question *question)
{
    int result = 0;

    pthread_mutex_lock(&talk->lock);
    if (talk->questions_n == NODE_TALK_QUESTIONS_MAX) {
        result = -EBUSY;
    } else {
        question->id = talk->next_id++;
        question->is_under_way = true;
        LIST_INSERT_HEAD(&talk->questions, question, link);
        talk->questions_n++;
    }
    pthread_mutex_unlock(&talk->lock);
    return result;
}

void node_talk_expect(struct node_talk *talk, struct node_talk_question *question,
                      char (*nodes)[SHARED_LOG_NODE_BYTES], size_t nodes_n)
{
    pthread_mutex_lock(&talk->lock);
    assert(question->is_under_way && !question->has_list);
    for (size_t i = 0; i < nodes_n; i++) {
        struct node_talk_answer *answer = find_or_add(question, nodes[i]);

        if (answer != NULL)
            answer->is_expected = true;
    }
    question->has_list = true;
    look_if_complete(question);
    pthread_mutex_unlock(&talk->lock);
}

bool node_talk_end(struct node_talk *talk, struct node_talk_question *question)
{
    pthread_mutex_lock(&talk->lock);
    if (question->is_under_way) {
        question->is_under_way = false;
        LIST_REMOVE(question, link);
        talk->questions_n--;
    }
    bool is_complete = question->is_complete;
    pthread_mutex_unlock(&talk->lock);
    return !is_complete;
}

void node_talk_clear(struct node_talk_question *question)
{
    for (size_t i = 0; i < question->answers_n; i++)
        free(question->answers[i].rows);
    question->answers_n = 0;
}

/* ---- answers ---- */

static struct node_talk_question *find_question(struct node_talk *talk, uint64_t id)
{
    struct node_talk_question *question;

    LIST_FOREACH (question, &talk->questions, link)
        if (question->id == id)
            return question;
    return NULL;
}

/* Whether this part follows what its node said before, and there is room for it. */
static bool part_fits(const struct node_talk_question *question,
                      const struct node_talk_answer *answer, const struct node_message_answer *part)
{
    if (answer->is_whole || part->part != answer->seen_n)
        return false;
    if (part->part > 0 && (part->parts_n != answer->parts_n || part->count != answer->count))
        return false;
    return part->rows_bytes_n <= question->node_bytes_max - answer->rows_bytes_n &&
           part->rows_bytes_n <= question->bytes_max - question->bytes_n;
}

static bool add_rows(struct node_talk_question *question, struct node_talk_answer *answer,
                     const struct node_message_answer *part)
{
    if (part->rows_bytes_n == 0)
        return true;
    char *rows = realloc(answer->rows, answer->rows_bytes_n + part->rows_bytes_n);
    if (rows == NULL)
        return false;
    memcpy(rows + answer->rows_bytes_n, part->rows, part->rows_bytes_n);
    answer->rows = rows;
    answer->rows_bytes_n += part->rows_bytes_n;
    question->bytes_n += part->rows_bytes_n;
    return true;
}

static enum node_talk_result take_part(struct node_talk_question *question, const char *from,
                                       const struct node_message_answer *part)
{
    struct node_talk_answer *answer = find_or_add(question, from);

    if (answer == NULL || !part_fits(question, answer, part) || !add_rows(question, answer, part))
        return NODE_TALK_REFUSED;
    answer->parts_n = part->parts_n;
    answer->count = part->count;
    answer->seen_n++;
    answer->is_whole = answer->seen_n == answer->parts_n;
    return NODE_TALK_TAKEN;
}

enum node_talk_result node_talk_hear(struct node_talk *talk, const char *from,
                                     const struct node_message_answer *answer)
{
    enum node_talk_result result = NODE_TALK_LATE;

    pthread_mutex_lock(&talk->lock);
    struct node_talk_question *question = find_question(talk, answer->id);
    if (question != NULL && !question->is_complete) {
        result = take_part(question, from, answer);
        look_if_complete(question);
    }
    pthread_mutex_unlock(&talk->lock);
    return result;
}
