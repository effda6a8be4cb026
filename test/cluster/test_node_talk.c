/* SPDX-License-Identifier: MIT */
/* Questions to other nodes: who has answered, what is kept of it, and who is missing. */
#include "config.h"
#include "cluster/node_talk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#define FIRST_ID 1000

/* A question, and how often it was complete. */
struct asked {
    struct node_talk_question question;
    int complete_n;
};

static void on_complete(struct node_talk_question *question)
{
    ((struct asked *)question)->complete_n++;
}

static struct asked *ask(struct node_talk *talk)
{
    struct asked *asked = calloc(1, sizeof(*asked));

    assert_non_null(asked);
    asked->question.complete = on_complete;
    asked->question.node_bytes_max = 100;
    asked->question.bytes_max = 250;
    assert_int_equal(node_talk_begin(talk, &asked->question), 0);
    return asked;
}

static void expect(struct node_talk *talk, struct asked *asked, const char *names)
{
    char nodes[NODE_TALK_NODES_MAX][SHARED_LOG_NODE_BYTES] = {{0}};
    size_t n = strlen(names);

    for (size_t i = 0; i < n; i++) /* one letter a name */
        nodes[i][0] = names[i];
    node_talk_expect(talk, &asked->question, nodes, n);
}

static void forget(struct node_talk *talk, struct asked *asked)
{
    node_talk_end(talk, &asked->question);
    node_talk_clear(&asked->question);
    free(asked);
}

/* Part `part` of `parts_n`, with a row of so many bytes. */
static enum node_talk_result say(struct node_talk *talk, const struct asked *asked,
                                 const char *from, uint32_t part, uint32_t parts_n, size_t row_n)
{
    char text[256], rows[256];
    struct node_message_answer answer = {
        .id = asked->question.id, .part = part, .parts_n = parts_n, .count = 7};

    memset(text, from[0], sizeof(text));
    if (row_n > 0) {
        answer.rows = rows;
        answer.rows_bytes_n =
            (size_t)(node_message_put_row(rows, text, row_n - NODE_MESSAGE_ROW_EXTRA) - rows);
        answer.rows_n = 1;
    }
    return node_talk_hear(talk, from, &answer);
}

static const struct node_talk_answer *answer_of(const struct asked *asked, const char *node)
{
    for (size_t i = 0; i < asked->question.answers_n; i++)
        if (strcmp(asked->question.answers[i].node, node) == 0)
            return &asked->question.answers[i];
    return NULL;
}

static void is_complete_when_all_have_answered(void **state)
{
    struct node_talk *talk = node_talk_new(FIRST_ID);
    struct asked *asked = ask(talk);

    (void)state;
    assert_int_equal(asked->question.id, FIRST_ID);
    expect(talk, asked, "ab");
    assert_int_equal(say(talk, asked, "a", 0, 1, 0), NODE_TALK_TAKEN);
    assert_int_equal(asked->complete_n, 0);
    assert_int_equal(say(talk, asked, "b", 0, 1, 0), NODE_TALK_TAKEN);
    assert_int_equal(asked->complete_n, 1);
    assert_false(node_talk_end(talk, &asked->question));
    assert_int_equal(answer_of(asked, "a")->count, 7);
    forget(talk, asked);
    node_talk_free(talk);
}

static void answers_may_come_before_it_is_known_who_is_asked(void **state)
{
    struct node_talk *talk = node_talk_new(FIRST_ID);
    struct asked *asked = ask(talk);

    (void)state;
    assert_int_equal(say(talk, asked, "a", 0, 1, 0), NODE_TALK_TAKEN);
    assert_int_equal(say(talk, asked, "b", 0, 1, 0), NODE_TALK_TAKEN);
    assert_int_equal(asked->complete_n, 0);
    expect(talk, asked, "a");
    assert_int_equal(asked->complete_n, 1);
    assert_true(answer_of(asked, "b")->is_whole);
    assert_false(answer_of(asked, "b")->is_expected);
    forget(talk, asked);
    node_talk_free(talk);
}

static void who_is_missing_at_the_end_is_known(void **state)
{
    struct node_talk *talk = node_talk_new(FIRST_ID);
    struct asked *asked = ask(talk);

    (void)state;
    expect(talk, asked, "abc");
    say(talk, asked, "a", 0, 1, 0);
    say(talk, asked, "b", 0, 2, 20); /* and never the rest */
    assert_true(node_talk_end(talk, &asked->question));
    assert_true(node_talk_end(talk, &asked->question));
    assert_true(answer_of(asked, "a")->is_whole);
    assert_false(answer_of(asked, "b")->is_whole);
    assert_false(answer_of(asked, "c")->is_whole);
    assert_int_equal(say(talk, asked, "c", 0, 1, 0), NODE_TALK_LATE);
    assert_int_equal(asked->complete_n, 0);
    forget(talk, asked);
    node_talk_free(talk);
}

static void parts_are_put_together_in_order(void **state)
{
    struct node_talk *talk = node_talk_new(FIRST_ID);
    struct asked *asked = ask(talk);

    (void)state;
    expect(talk, asked, "ab");
    say(talk, asked, "a", 0, 3, 10);
    say(talk, asked, "b", 0, 2, 20);
    say(talk, asked, "a", 1, 3, 30);
    say(talk, asked, "b", 1, 2, 40);
    assert_int_equal(asked->complete_n, 0);
    say(talk, asked, "a", 2, 3, 0);
    assert_int_equal(asked->complete_n, 1);

    const struct node_talk_answer *answer = answer_of(asked, "a");
    const char *rows = answer->rows, *row;
    size_t rows_n = answer->rows_bytes_n, row_n, expected[] = {10, 30}, i = 0;

    assert_int_equal(rows_n, 40);
    while ((row = node_message_take_row(&rows, &rows_n, &row_n)) != NULL) {
        assert_int_equal(row_n + NODE_MESSAGE_ROW_EXTRA, expected[i++]);
        for (size_t j = 0; j < row_n; j++)
            assert_int_equal(row[j], 'a');
    }
    assert_int_equal(i, 2);
    assert_int_equal(answer_of(asked, "b")->rows_bytes_n, 60);
    forget(talk, asked);
    node_talk_free(talk);
}

static void a_part_out_of_order_is_none(void **state)
{
    struct node_talk *talk = node_talk_new(FIRST_ID);
    struct asked *asked = ask(talk);

    (void)state;
    expect(talk, asked, "a");
    assert_int_equal(say(talk, asked, "a", 1, 3, 10), NODE_TALK_REFUSED);
    assert_int_equal(say(talk, asked, "a", 0, 3, 10), NODE_TALK_TAKEN);
    assert_int_equal(say(talk, asked, "a", 0, 3, 10), NODE_TALK_REFUSED);
    assert_int_equal(say(talk, asked, "a", 2, 3, 10), NODE_TALK_REFUSED);
    assert_int_equal(say(talk, asked, "a", 1, 4, 10), NODE_TALK_REFUSED);
    assert_int_equal(say(talk, asked, "a", 1, 3, 10), NODE_TALK_TAKEN);
    assert_int_equal(say(talk, asked, "a", 2, 3, 10), NODE_TALK_TAKEN);
    assert_int_equal(say(talk, asked, "a", 2, 3, 10), NODE_TALK_LATE);
    assert_int_equal(asked->complete_n, 1);
    forget(talk, asked);
    node_talk_free(talk);
}

static void a_flood_is_cut_off(void **state)
{
    struct node_talk *talk = node_talk_new(FIRST_ID);
    struct asked *asked = ask(talk);

    (void)state;
    expect(talk, asked, "abcd");
    assert_int_equal(say(talk, asked, "a", 0, 9, 100), NODE_TALK_TAKEN);
    assert_int_equal(say(talk, asked, "a", 1, 9, 10), NODE_TALK_REFUSED); /* more than a node's */
    assert_int_equal(say(talk, asked, "b", 0, 1, 101), NODE_TALK_REFUSED);
    assert_int_equal(say(talk, asked, "c", 0, 1, 100), NODE_TALK_TAKEN);
    assert_int_equal(say(talk, asked, "d", 0, 1, 60), NODE_TALK_REFUSED); /* more than all of it */
    assert_int_equal(say(talk, asked, "d", 0, 1, 50), NODE_TALK_TAKEN);
    assert_int_equal(asked->complete_n, 0);
    forget(talk, asked);
    node_talk_free(talk);
}

static void names_have_an_end_too(void **state)
{
    struct node_talk *talk = node_talk_new(FIRST_ID);
    struct asked *asked = ask(talk);
    char name[8];

    (void)state;
    for (int i = 0; i < NODE_TALK_NODES_MAX; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(say(talk, asked, name, 0, 1, 0), NODE_TALK_TAKEN);
    }
    assert_int_equal(say(talk, asked, "one-more", 0, 1, 0), NODE_TALK_REFUSED);
    forget(talk, asked);
    node_talk_free(talk);
}

static void questions_are_told_apart_and_bounded(void **state)
{
    struct node_talk *talk = node_talk_new(UINT64_MAX);
    struct asked *asked[NODE_TALK_QUESTIONS_MAX], more = {.complete_n = 0};

    (void)state;
    for (size_t i = 0; i < NODE_TALK_QUESTIONS_MAX; i++)
        asked[i] = ask(talk);
    assert_int_equal(node_talk_begin(talk, &more.question), -EBUSY);
    expect(talk, asked[0], "a");
    expect(talk, asked[1], "a");
    say(talk, asked[1], "a", 0, 1, 0);
    assert_int_equal(asked[0]->complete_n, 0);
    assert_int_equal(asked[1]->complete_n, 1);
    for (size_t i = 0; i < NODE_TALK_QUESTIONS_MAX; i++)
        forget(talk, asked[i]);
    forget(talk, ask(talk));
    node_talk_free(talk);
    node_talk_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_complete_when_all_have_answered),
        cmocka_unit_test(answers_may_come_before_it_is_known_who_is_asked),
        cmocka_unit_test(who_is_missing_at_the_end_is_known),
        cmocka_unit_test(parts_are_put_together_in_order),
        cmocka_unit_test(a_part_out_of_order_is_none),
        cmocka_unit_test(a_flood_is_cut_off),
        cmocka_unit_test(names_have_an_end_too),
        cmocka_unit_test(questions_are_told_apart_and_bounded),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
