/* SPDX-License-Identifier: MIT */
/*
 * The rules of tickets, held against whoever decides: the table of one node (ticket_table.h) and
 * the log of many (shared_ticket.h).  Who includes this defines the four functions below and has
 * TICKET_RULES among its tests.
 */
#ifndef BUGLE_TICKET_RULES_H
#define BUGLE_TICKET_RULES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include "auth/ticket_table.h"

#define RULES_BORN_MS 10000
#define RULES_COMMITTED 200 /* the newest event */
#define RULES_NO_ID UINT64_MAX

static const struct ticket rules_ticket = {
    .id = {1}, .made_ms = 20000, .first_until_ms = 21000, .until_ms = 90000, .position = 100};

/* born_ms  what was made before may have been used without a trace */
static void rules_begin(int64_t born_ms);
static void rules_end(void);

/* Use the ticket at a time, showing the id of a position; if it is good it is a live stream from
 * then on, the one of this number, which begins behind `from`.  `ret_older` is the number of the
 * stream that must go; 0: none. */
static enum ticket_table_verdict rules_use(uint64_t number, int64_t now_ms, uint64_t position,
                                           uint64_t from, uint64_t *ret_older);

/* That stream is over, and this was sent last. */
static void rules_over(uint64_t number, uint64_t position, int64_t now_ms);

/* Use it for a stream that begins at 120. */
static void rules_expect(uint64_t number, int64_t now_ms, uint64_t position, uint64_t older,
                         enum ticket_table_verdict verdict)
{
    uint64_t came;

    assert_int_equal(rules_use(number, now_ms, position, 120, &came), verdict);
    assert_int_equal(came, older);
}

static void the_first_use_comes_in_time(void **state)
{
    (void)state;
    rules_begin(RULES_BORN_MS);
    rules_expect(70, 21000, RULES_NO_ID, 0, TICKET_TABLE_LATE);
    /* an id makes no use of a ticket that nobody used */
    rules_expect(70, 21000, 150, 0, TICKET_TABLE_LATE);
    rules_expect(70, 20999, RULES_NO_ID, 0, TICKET_TABLE_GOOD);
    rules_expect(71, 20999, RULES_NO_ID, 0, TICKET_TABLE_USED);
    rules_end();
}

static void later_uses_show_an_id_of_theirs(void **state)
{
    uint64_t older;

    (void)state;
    rules_begin(RULES_BORN_MS);
    rules_expect(77, 20000, RULES_NO_ID, 0, TICKET_TABLE_GOOD);
    /* live: up to the newest event, and the older stream has to go */
    rules_expect(78, 50000, 119, 0, TICKET_TABLE_USED);
    rules_expect(78, 50000, 201, 0, TICKET_TABLE_USED);
    assert_int_equal(rules_use(78, 50000, 150, 150, &older), TICKET_TABLE_GOOD);
    assert_int_equal(older, 77);
    rules_over(77, 160, 50000);
    /* over: up to the last that was sent */
    rules_over(78, 170, 50000);
    rules_expect(79, 50000, 171, 0, TICKET_TABLE_USED);
    rules_expect(79, 50000, RULES_NO_ID, 0, TICKET_TABLE_USED);
    rules_expect(79, 50000, 170, 0, TICKET_TABLE_GOOD);
    rules_expect(80, 90000, 170, 0, TICKET_TABLE_LATE);
    rules_end();
}

/* The older stream tells last what it was sent. */
static void what_any_stream_was_sent_counts(void **state)
{
    (void)state;
    rules_begin(RULES_BORN_MS);
    rules_expect(77, 20000, RULES_NO_ID, 0, TICKET_TABLE_GOOD);
    rules_expect(78, 50000, 130, 77, TICKET_TABLE_GOOD);
    rules_over(78, 140, 50000);
    rules_over(77, 160, 50000);
    rules_expect(79, 50000, 161, 0, TICKET_TABLE_USED);
    rules_expect(79, 50000, 160, 0, TICKET_TABLE_GOOD);
    rules_end();
}

static void a_ticket_that_is_fought_over_is_revoked(void **state)
{
    uint64_t last = 70;

    (void)state;
    rules_begin(RULES_BORN_MS);
    rules_expect(last, 20000, RULES_NO_ID, 0, TICKET_TABLE_GOOD);
    for (int i = 0; i < TICKET_TABLE_TAKEOVERS_MAX; i++, last++)
        rules_expect(last + 1, 21000 + i * 200, 120, last, TICKET_TABLE_GOOD);
    /* those that come at once with it are none by themselves */
    for (int i = 0; i < 20; i++, last++)
        rules_expect(last + 1, 21999, 120, last, TICKET_TABLE_GOOD);
    rules_expect(last + 1, 22000, 120, last, TICKET_TABLE_REVOKED);
    rules_over(last, 120, 22000);
    rules_expect(last + 1, 22000, 120, 0, TICKET_TABLE_REVOKED);
    rules_end();
}

static void a_minute_forgives(void **state)
{
    uint64_t last = 70;

    (void)state;
    rules_begin(RULES_BORN_MS);
    rules_expect(last, 20000, RULES_NO_ID, 0, TICKET_TABLE_GOOD);
    for (int i = 0; i < TICKET_TABLE_TAKEOVERS_MAX; i++, last++)
        rules_expect(last + 1, 21000 + i * 200, 120, last, TICKET_TABLE_GOOD);
    rules_expect(last + 1, 81000, 120, last, TICKET_TABLE_GOOD);
    rules_end();
}

/* Who comes back after a cut, again and again, fights with nobody. */
static void coming_back_is_no_fight(void **state)
{
    (void)state;
    rules_begin(RULES_BORN_MS);
    rules_expect(70, 20000, RULES_NO_ID, 0, TICKET_TABLE_GOOD);
    for (uint64_t i = 70; i < 100; i++) {
        rules_over(i, 120, 20000);
        rules_expect(i + 1, 20000, 120, 0, TICKET_TABLE_GOOD);
    }
    rules_end();
}

static void a_restart_is_survived(void **state)
{
    (void)state;
    rules_begin(30000);
    rules_expect(70, 40000, RULES_NO_ID, 0, TICKET_TABLE_LATE);
    rules_expect(70, 40000, 99, 0, TICKET_TABLE_LATE);
    rules_expect(70, 40000, 201, 0, TICKET_TABLE_LATE);
    rules_expect(70, 40000, 100, 0, TICKET_TABLE_GOOD);
    rules_end();
}

/* A page that is opened, closed and opened again at once shows no id. */
static void a_page_may_begin_again_at_once(void **state)
{
    (void)state;
    rules_begin(RULES_BORN_MS);
    rules_expect(70, 20000, RULES_NO_ID, 0, TICKET_TABLE_GOOD);
    rules_expect(71, 20100, RULES_NO_ID, 0, TICKET_TABLE_USED);
    rules_over(70, 120, 20200);
    rules_expect(71, 20300, RULES_NO_ID, 0, TICKET_TABLE_GOOD);
    rules_over(71, 120, 24000);
    rules_expect(72, 25000, RULES_NO_ID, 0, TICKET_TABLE_USED);
    rules_expect(72, 25000, 120, 0, TICKET_TABLE_GOOD);
    rules_end();
}

#define TICKET_RULES                                                                               \
    cmocka_unit_test(the_first_use_comes_in_time),                                                 \
        cmocka_unit_test(later_uses_show_an_id_of_theirs),                                         \
        cmocka_unit_test(what_any_stream_was_sent_counts),                                         \
        cmocka_unit_test(a_ticket_that_is_fought_over_is_revoked),                                 \
        cmocka_unit_test(a_minute_forgives), cmocka_unit_test(coming_back_is_no_fight),            \
        cmocka_unit_test(a_restart_is_survived), cmocka_unit_test(a_page_may_begin_again_at_once)

#endif
