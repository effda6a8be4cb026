/* SPDX-License-Identifier: MIT */
/*
 * Questions of this node to other nodes, while they are under way: who is to answer, who has, and
 * what.  It sends nothing and has no clock.
 *
 *     begin --> (ask) --> expect --> complete, or the asker's deadline --> end
 *
 * Answers may come before it is known who is to answer, and from nodes that were not known; the
 * parts of a long one come in order, and one that is not the next is none.  An answer counts when
 * it is whole.  Anybody who may use the log's server can send answers: what is kept of them is
 * bounded, for each node and in all.
 *
 * Any thread; a lock.
 */
#ifndef BUGLE_NODE_TALK_H
#define BUGLE_NODE_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "cluster/node_message.h"
#include "cluster/shared_log.h"

#define NODE_TALK_QUESTIONS_MAX 16
#define NODE_TALK_NODES_MAX 64

struct node_talk;

/* What a node has answered so far. */
struct node_talk_answer {
    char node[SHARED_LOG_NODE_BYTES];
    bool is_expected;
    bool is_whole; /* nothing below counts before */
    uint32_t parts_n;
    uint32_t seen_n; /* parts that have come */
    uint64_t count;
    char *rows; /* node_message_take_row(); NULL: none */
    size_t rows_bytes_n;
};

/* A question.  The asker owns it, zeroed, and leaves it alone from node_talk_begin() to
 * node_talk_end(). */
struct node_talk_question {
    /* All that are expected have answered.  Once at most, with the lock held, on a thread that
     * brings answers or within node_talk_expect(): must only hand over. */
    void (*complete)(struct node_talk_question *question);
    size_t node_bytes_max; /* of the rows of one node */
    size_t bytes_max;      /* and of all */

    uint64_t id; /* set by node_talk_begin(), for the messages */

    /* when it has ended */
    struct node_talk_answer answers[NODE_TALK_NODES_MAX];
    size_t answers_n;

    bool is_under_way, has_list, is_complete; /* the talk's own use, as are the next */
    size_t bytes_n;
    LIST_ENTRY(node_talk_question) link;
};

/* What became of an answer. */
enum node_talk_result {
    NODE_TALK_TAKEN,
    NODE_TALK_LATE,    /* nobody waits for it any more */
    NODE_TALK_REFUSED, /* it does not fit what its node said before, or is more than was asked for
                        */
};

/* first_id  of the first question, drawn: an answer to another process of this node's name is none
 *
 * NULL when out of memory. */
struct node_talk *node_talk_new(uint64_t first_id);
void node_talk_free(struct node_talk *talk); /* accepts NULL; nothing may be under way */

/* Returns 0; -EBUSY: NODE_TALK_QUESTIONS_MAX are under way. */
int node_talk_begin(struct node_talk *talk, struct node_talk_question *question);

/* These are to answer; may call `complete`.  Once. */
void node_talk_expect(struct node_talk *talk, struct node_talk_question *question,
                      char (*nodes)[SHARED_LOG_NODE_BYTES], size_t nodes_n);

/* An answer has come, or a part of one; copied. */
enum node_talk_result node_talk_hear(struct node_talk *talk, const char *from,
                                     const struct node_message_answer *answer);

/* Wait no longer.  Returns false when `complete` was called, now or at some time before; then what
 * it left behind is still on its way to the asker.  May be called again. */
bool node_talk_end(struct node_talk *talk, struct node_talk_question *question);

/* Free the answers, once it has ended. */
void node_talk_clear(struct node_talk_question *question);

#endif
