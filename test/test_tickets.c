/* SPDX-License-Identifier: MIT */
/* One live stream a ticket: who may use it when, and who has to go. */
#include "tickets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define BORN_MS 10000
#define NO_ID UINT64_MAX

static const unsigned char key[TICKET_KEY_BYTES];
static const struct ticket ticket = {
    .id = {1}, .made_ms = 20000, .first_until_ms = 21000, .until_ms = 90000, .position = 100};

static enum tickets_verdict enter(struct tickets *tickets, const struct ticket *which,
                                  int64_t now_ms, uint64_t position, uint64_t *ret_older)
{
    struct tickets_use use = {.now_ms = now_ms,
                              .has_id = position != NO_ID,
                              .position = position,
                              .committed = 200,
                              .tickets_max = 3};

    return tickets_enter(tickets, which, &use, ret_older);
}

static void the_first_use_comes_in_time(void **state)
{
    struct tickets *tickets = tickets_new(key, BORN_MS);
    uint64_t older;

    (void)state;
    assert_int_equal(enter(tickets, &ticket, 21000, NO_ID, &older), TICKETS_LATE);
    /* an id makes no use of a ticket that nobody used */
    assert_int_equal(enter(tickets, &ticket, 21000, 150, &older), TICKETS_LATE);
    assert_int_equal(tickets_count(tickets), 0);
    assert_int_equal(enter(tickets, &ticket, 20999, NO_ID, &older), TICKETS_GOOD);
    assert_int_equal(older, 0);
    assert_int_equal(enter(tickets, &ticket, 20999, NO_ID, &older), TICKETS_USED);
    tickets_free(tickets);
}

static void later_uses_show_an_id_of_theirs(void **state)
{
    struct tickets *tickets = tickets_new(key, BORN_MS);
    uint64_t older;

    (void)state;
    assert_int_equal(enter(tickets, &ticket, 20000, NO_ID, &older), TICKETS_GOOD);
    /* its stream has not begun yet, so no id can be its own */
    assert_int_equal(enter(tickets, &ticket, 20000, 150, &older), TICKETS_USED);
    tickets_opened(tickets, ticket.id, 77, 120);
    /* live: up to the newest event, and the older stream has to go */
    assert_int_equal(enter(tickets, &ticket, 50000, 119, &older), TICKETS_USED);
    assert_int_equal(enter(tickets, &ticket, 50000, 201, &older), TICKETS_USED);
    assert_int_equal(enter(tickets, &ticket, 50000, 150, &older), TICKETS_GOOD);
    assert_int_equal(older, 77);
    tickets_opened(tickets, ticket.id, 78, 150);
    tickets_closed(tickets, ticket.id, 77, 160);
    /* over: up to the last that was sent */
    tickets_closed(tickets, ticket.id, 78, 170);
    assert_int_equal(enter(tickets, &ticket, 50000, 171, &older), TICKETS_USED);
    assert_int_equal(enter(tickets, &ticket, 50000, NO_ID, &older), TICKETS_USED);
    assert_int_equal(enter(tickets, &ticket, 50000, 170, &older), TICKETS_GOOD);
    assert_int_equal(older, 0);
    assert_int_equal(enter(tickets, &ticket, 90000, 170, &older), TICKETS_LATE);
    tickets_free(tickets);
}

static void a_ticket_that_is_fought_over_is_revoked(void **state)
{
    struct tickets *tickets = tickets_new(key, BORN_MS);
    uint64_t older;

    (void)state;
    assert_int_equal(enter(tickets, &ticket, 20000, NO_ID, &older), TICKETS_GOOD);
    for (uint64_t i = 0; i < TICKETS_FIGHTS_MAX; i++) {
        tickets_opened(tickets, ticket.id, 70 + i, 120);
        assert_int_equal(enter(tickets, &ticket, 20000, 120, &older), TICKETS_GOOD);
    }
    tickets_opened(tickets, ticket.id, 80, 120);
    assert_int_equal(enter(tickets, &ticket, 20000, 120, &older), TICKETS_REVOKED);
    assert_int_equal(older, 80);
    tickets_closed(tickets, ticket.id, 80, 120);
    assert_int_equal(enter(tickets, &ticket, 20000, 120, &older), TICKETS_REVOKED);
    tickets_free(tickets);
}

/* Who comes back after a cut, again and again, fights with nobody. */
static void coming_back_is_no_fight(void **state)
{
    struct tickets *tickets = tickets_new(key, BORN_MS);
    uint64_t older;

    (void)state;
    assert_int_equal(enter(tickets, &ticket, 20000, NO_ID, &older), TICKETS_GOOD);
    for (uint64_t i = 0; i < 100; i++) {
        tickets_opened(tickets, ticket.id, 70 + i, 120);
        tickets_closed(tickets, ticket.id, 70 + i, 120);
        assert_int_equal(enter(tickets, &ticket, 20000, 120, &older), TICKETS_GOOD);
    }
    tickets_free(tickets);
}

static void a_restart_is_survived(void **state)
{
    struct tickets *tickets = tickets_new(key, 30000);
    uint64_t older;

    (void)state;
    assert_int_equal(enter(tickets, &ticket, 40000, NO_ID, &older), TICKETS_LATE);
    assert_int_equal(enter(tickets, &ticket, 40000, 99, &older), TICKETS_LATE);
    assert_int_equal(enter(tickets, &ticket, 40000, 201, &older), TICKETS_LATE);
    assert_int_equal(enter(tickets, &ticket, 40000, 100, &older), TICKETS_GOOD);
    tickets_free(tickets);
}

static void there_is_an_end_to_them(void **state)
{
    struct tickets *tickets = tickets_new(key, BORN_MS);
    struct ticket each = ticket;
    uint64_t older;

    (void)state;
    for (unsigned char i = 0; i < 3; i++) {
        each.id[0] = i;
        assert_int_equal(enter(tickets, &each, 20000, NO_ID, &older), TICKETS_GOOD);
        tickets_opened(tickets, each.id, 70 + i, 120);
    }
    each.id[0] = 9;
    assert_int_equal(enter(tickets, &each, 20000, NO_ID, &older), TICKETS_FULL);
    /* one that is over makes room once its stream has gone */
    each.first_until_ms = each.until_ms = 200000;
    assert_int_equal(enter(tickets, &each, 95000, NO_ID, &older), TICKETS_FULL);
    tickets_closed(tickets, (const unsigned char[TICKET_ID_BYTES]){0}, 70, 120);
    assert_int_equal(enter(tickets, &each, 95000, NO_ID, &older), TICKETS_GOOD);
    assert_int_equal(tickets_count(tickets), 3);
    tickets_free(tickets);
}

static void the_key_is_kept_beside_the_store(void **state)
{
    char folder[] = "/tmp/test_tickets.XXXXXX", store[64], path[64];
    unsigned char first[TICKET_KEY_BYTES], second[TICKET_KEY_BYTES];
    struct conf_error error;
    struct stat facts;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(store, sizeof(store), "sqlite:%s/h.db", folder);
    snprintf(path, sizeof(path), "%s/h.db.tickets", folder);
    assert_int_equal(tickets_read_key(store, first, &error), 0);
    assert_int_equal(tickets_read_key(store, second, &error), 0);
    assert_memory_equal(first, second, TICKET_KEY_BYTES);
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0600);
    /* a bad one is replaced, and kept for whoever wants to know */
    for (int cut = 0; cut < 2; cut++) {
        assert_int_equal(truncate(path, cut), 0);
        assert_int_equal(truncate(path, cut == 0 ? 31 : TICKET_KEY_BYTES), 0);
        assert_int_equal(tickets_read_key(store, second, &error), 0);
        assert_memory_not_equal(first, second, TICKET_KEY_BYTES);
        assert_int_equal(tickets_read_key(store, first, &error), 0);
        assert_memory_equal(first, second, TICKET_KEY_BYTES);
    }
    unlink(path);
    /* one that cannot be read is told */
    assert_int_equal(symlink(path, path), 0);
    assert_int_not_equal(tickets_read_key(store, second, &error), 0);
    assert_non_null(strstr(error.text, path));
    unlink(path);
    strcat(path, ".bad");
    unlink(path);
    rmdir(folder);
    assert_int_equal(tickets_read_key("memory:", first, &error), 0);
    assert_int_equal(tickets_read_key("memory:", second, &error), 0);
    assert_memory_not_equal(first, second, TICKET_KEY_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_use_comes_in_time),
        cmocka_unit_test(later_uses_show_an_id_of_theirs),
        cmocka_unit_test(a_ticket_that_is_fought_over_is_revoked),
        cmocka_unit_test(coming_back_is_no_fight),
        cmocka_unit_test(a_restart_is_survived),
        cmocka_unit_test(there_is_an_end_to_them),
        cmocka_unit_test(the_key_is_kept_beside_the_store),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
