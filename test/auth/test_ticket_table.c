/* SPDX-License-Identifier: MIT */
/* One live stream a ticket: who may use it when, and who has to go. */
#include "auth/ticket_table.h"

#include <setjmp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <cmocka.h>

#include "ticket_rules.h"

#define BORN_MS RULES_BORN_MS
#define NO_ID RULES_NO_ID

static struct ticket_table_limits limits = {.all = 3};
static struct ticket_table_answer answer;

static enum ticket_table_verdict enter(struct ticket_table *tickets, const struct ticket *which,
                                       int64_t now_ms, uint64_t position, uint64_t *ret_older)
{
    struct ticket_table_use use = {.now_ms = now_ms,
                                   .has_id = position != NO_ID,
                                   .position = position,
                                   .committed = RULES_COMMITTED,
                                   .limits = &limits};
    enum ticket_table_verdict verdict = ticket_table_enter(tickets, which, &use, &answer);

    *ret_older = answer.older;
    return verdict;
}

/* ---- the rules ---- */

static struct ticket_table *of_rules;

static void rules_begin(int64_t born_ms)
{
    of_rules = ticket_table_new(born_ms);
}

static void rules_end(void)
{
    ticket_table_free(of_rules);
}

static enum ticket_table_verdict rules_use(uint64_t number, int64_t now_ms, uint64_t position,
                                           uint64_t from, uint64_t *ret_older)
{
    enum ticket_table_verdict verdict = enter(of_rules, &rules_ticket, now_ms, position, ret_older);

    if (verdict == TICKET_TABLE_GOOD)
        ticket_table_opened(of_rules, rules_ticket.id, number, from);
    return verdict;
}

static void rules_over(uint64_t number, uint64_t position, int64_t now_ms)
{
    ticket_table_closed(of_rules, rules_ticket.id, number, position, now_ms);
}

/* ---- uses on their way ---- */

/* Its stream has not begun yet, so no id can be its own, and nothing can be taken over. */
static void one_on_its_way_comes_first(void **state)
{
    struct ticket_table *tickets = ticket_table_new(BORN_MS);
    uint64_t older;

    (void)state;
    assert_int_equal(enter(tickets, &rules_ticket, 20000, NO_ID, &older), TICKET_TABLE_GOOD);
    assert_int_equal(enter(tickets, &rules_ticket, 20000, NO_ID, &older), TICKET_TABLE_USED);
    assert_int_equal(enter(tickets, &rules_ticket, 20000, 150, &older), TICKET_TABLE_USED);
    assert_int_equal(older, 0);
    assert_int_equal(ticket_table_count(tickets, 0), 1);
    ticket_table_free(tickets);
}

/* A use that came to nothing leaves the ticket as it was. */
static void a_use_may_come_to_nothing(void **state)
{
    struct ticket_table *tickets = ticket_table_new(BORN_MS);
    uint64_t older;

    (void)state;
    assert_int_equal(enter(tickets, &rules_ticket, 20000, NO_ID, &older), TICKET_TABLE_GOOD);
    ticket_table_failed(tickets, rules_ticket.id, 20000);
    assert_int_equal(enter(tickets, &rules_ticket, 20100, NO_ID, &older), TICKET_TABLE_GOOD);
    ticket_table_opened(tickets, rules_ticket.id, 70, 120);
    assert_int_equal(enter(tickets, &rules_ticket, 60000, 120, &older), TICKET_TABLE_GOOD);
    /* the older one is over before the newer one has begun */
    ticket_table_closed(tickets, rules_ticket.id, 70, 130, 60000);
    assert_int_equal(enter(tickets, &rules_ticket, 60000, 130, &older), TICKET_TABLE_USED);
    ticket_table_failed(tickets, rules_ticket.id, 60000);
    assert_int_equal(enter(tickets, &rules_ticket, 60000, 130, &older), TICKET_TABLE_GOOD);
    assert_int_equal(older, 0);
    ticket_table_free(tickets);
}

/* ---- shares ---- */

/* A ticket, told from others by its number, of a user and of a key. */
static struct ticket ticket_of(unsigned number, const char *user, unsigned char of_key)
{
    struct ticket made = rules_ticket;

    memcpy(made.id, &number, sizeof(number));
    made.key_fingerprint[0] = of_key;
    made.user = (struct grants_pattern){user, user != NULL ? strlen(user) : 0};
    return made;
}

/* Use a ticket for a stream that begins and ends at these times; 0: it goes on. */
static enum ticket_table_verdict use_up(struct ticket_table *tickets, const struct ticket *made,
                                        int64_t begin_ms, int64_t end_ms)
{
    uint64_t older;
    enum ticket_table_verdict verdict = enter(tickets, made, begin_ms, NO_ID, &older);

    if (verdict != TICKET_TABLE_GOOD)
        return verdict;
    ticket_table_opened(tickets, made->id, made->id[0], 120);
    if (end_ms != 0)
        ticket_table_closed(tickets, made->id, made->id[0], 120, end_ms);
    return verdict;
}

static void one_that_is_over_makes_room(void **state)
{
    struct ticket_table *tickets = ticket_table_new(BORN_MS);
    struct ticket last = ticket_of(9, NULL, 0);

    (void)state;
    limits = (struct ticket_table_limits){.all = 3};
    for (unsigned i = 1; i <= 3; i++) {
        struct ticket each = ticket_of(i, NULL, 0);
        assert_int_equal(use_up(tickets, &each, 20000, 0), TICKET_TABLE_GOOD);
    }
    last.first_until_ms = last.until_ms = 200000;
    assert_int_equal(use_up(tickets, &last, 95000, 0), TICKET_TABLE_FULL);
    assert_int_equal(answer.wait_ms, 30000);
    /* its time is over, and its stream has gone */
    ticket_table_closed(tickets, ticket_of(1, NULL, 0).id, 1, 120, 95000);
    assert_int_equal(use_up(tickets, &last, 95000, 0), TICKET_TABLE_GOOD);
    assert_int_equal(answer.forgotten_n, 0);
    assert_int_equal(ticket_table_count(tickets, 95000), 3);
    ticket_table_free(tickets);
}

/* One that is used first and lives long hides none that is over. */
static void what_is_over_is_found_behind_what_is_not(void **state)
{
    struct ticket_table *tickets = ticket_table_new(BORN_MS);
    struct ticket each;

    (void)state;
    limits = (struct ticket_table_limits){.all = 1000};
    for (unsigned i = 1; i <= 200; i++) {
        each = ticket_of(i, NULL, 0);
        each.until_ms = i % 2 == 1 ? 900000 : 90000;
        assert_int_equal(use_up(tickets, &each, 20000, i <= 10 ? 0 : 20001), TICKET_TABLE_GOOD);
    }
    assert_int_equal(ticket_table_count(tickets, 89999), 200);
    assert_int_equal(ticket_table_count(tickets, 90000), 105);
    ticket_table_free(tickets);
}

static void a_user_forgets_its_own(void **state)
{
    struct ticket_table *tickets = ticket_table_new(BORN_MS);
    struct ticket each;
    uint64_t older;

    (void)state;
    limits = (struct ticket_table_limits){.all = 1000, .per_user = 3};
    for (unsigned i = 1; i <= 3; i++) {
        each = ticket_of(i, "anna", 0);
        assert_int_equal(use_up(tickets, &each, 20000, 20000 + i), TICKET_TABLE_GOOD);
    }
    /* none is forgotten before the end of its ttl: it would be new again */
    each = ticket_of(4, "anna", 0);
    each.first_until_ms = 90000;
    assert_int_equal(use_up(tickets, &each, 20500, 0), TICKET_TABLE_USER_FULL);
    assert_int_equal(answer.wait_ms, 500);
    struct ticket first = ticket_of(1, "anna", 0);
    assert_int_equal(use_up(tickets, &first, 20500, 20500), TICKET_TABLE_GOOD);
    /* the same user of another key, and others, have their own share */
    struct ticket other = ticket_of(5, "anna", 1), berta = ticket_of(6, "berta", 0);
    assert_int_equal(use_up(tickets, &other, 20500, 20500), TICKET_TABLE_GOOD);
    assert_int_equal(use_up(tickets, &berta, 20500, 20500), TICKET_TABLE_GOOD);
    assert_int_equal(use_up(tickets, &each, 21000, 0), TICKET_TABLE_GOOD);
    assert_int_equal(answer.forgotten_n, 1);
    assert_int_equal(ticket_table_count(tickets, 21000), 5);
    /* and what was forgotten comes too late, whatever it shows */
    unsigned good = 0;
    for (unsigned i = 1; i <= 3; i++) {
        struct ticket old = ticket_of(i, "anna", 0);
        good += enter(tickets, &old, 30000, 120, &older) == TICKET_TABLE_GOOD;
        assert_int_not_equal(enter(tickets, &old, 30000, NO_ID, &older), TICKET_TABLE_GOOD);
    }
    assert_int_equal(good, 2);
    ticket_table_free(tickets);
}

/* After a restart an id makes an old ticket good once: it is remembered as long as it holds. */
static void what_outlived_a_restart_is_not_forgotten(void **state)
{
    struct ticket_table *tickets = ticket_table_new(30000);
    struct ticket old = ticket_of(1, "anna", 0), next = ticket_of(2, "anna", 0);
    uint64_t older;

    (void)state;
    limits = (struct ticket_table_limits){.all = 1000, .per_user = 1};
    assert_int_equal(enter(tickets, &old, 40000, 120, &older), TICKET_TABLE_GOOD);
    ticket_table_opened(tickets, old.id, 7, 120);
    ticket_table_closed(tickets, old.id, 7, 120, 40000);
    next.made_ms = 30000;
    next.first_until_ms = 60000;
    assert_int_equal(enter(tickets, &next, 50000, NO_ID, &older), TICKET_TABLE_USER_FULL);
    assert_int_equal(answer.wait_ms, 40000);
    ticket_table_free(tickets);
}

static void a_key_forgets_its_own(void **state)
{
    struct ticket_table *tickets = ticket_table_new(BORN_MS);
    struct ticket each;

    (void)state;
    limits = (struct ticket_table_limits){.all = 8, .per_key = 5};
    for (unsigned i = 1; i <= 5; i++) {
        each = ticket_of(i, i <= 3 ? NULL : "anna", 1);
        assert_int_equal(use_up(tickets, &each, 20000, i == 1 ? 0 : 20000 + i), TICKET_TABLE_GOOD);
    }
    each = ticket_of(6, "berta", 1);
    assert_int_equal(use_up(tickets, &each, 20500, 0), TICKET_TABLE_KEY_FULL);
    for (unsigned i = 7; i <= 9; i++) {
        each = ticket_of(i, NULL, 2);
        assert_int_equal(use_up(tickets, &each, 20500, 20500), TICKET_TABLE_GOOD);
    }
    /* all is full, and the largest of the keys pays */
    each = ticket_of(10, NULL, 3);
    each.first_until_ms = 90000;
    assert_int_equal(use_up(tickets, &each, 20500, 0), TICKET_TABLE_FULL);
    assert_int_equal(use_up(tickets, &each, 21000, 0), TICKET_TABLE_GOOD);
    assert_int_equal(ticket_table_count(tickets, 21000), 8);
    each = ticket_of(2, NULL, 1);
    assert_int_equal(use_up(tickets, &each, 21000, 0), TICKET_TABLE_LATE);
    ticket_table_free(tickets);
}

/* Those who act for nobody leave half of their key to its users. */
static void nobody_has_half_of_a_key(void **state)
{
    struct ticket_table *tickets = ticket_table_new(BORN_MS);
    struct ticket each;

    (void)state;
    limits = (struct ticket_table_limits){.all = 1000, .per_user = 1, .per_key = 5};
    for (unsigned i = 1; i <= 4; i++) {
        each = ticket_of(i, NULL, 1);
        assert_int_equal(use_up(tickets, &each, 20000, 0),
                         i <= 3 ? TICKET_TABLE_GOOD : TICKET_TABLE_KEY_FULL);
    }
    each = ticket_of(5, "anna", 1);
    assert_int_equal(use_up(tickets, &each, 20000, 0), TICKET_TABLE_GOOD);
    ticket_table_free(tickets);
}

/* A limit that was lowered is reached step by step. */
static void shares_shrink(void **state)
{
    struct ticket_table *tickets = ticket_table_new(BORN_MS);

    (void)state;
    limits = (struct ticket_table_limits){.all = 1000};
    for (unsigned i = 1; i <= 40; i++) {
        struct ticket each = ticket_of(i, "anna", 1);
        assert_int_equal(use_up(tickets, &each, 20000, 20001), TICKET_TABLE_GOOD);
    }
    limits.per_user = 4;
    for (unsigned i = 41; i <= 80; i++) {
        struct ticket each = ticket_of(i, "anna", 1);
        each.first_until_ms = 30000 + i;
        assert_int_equal(use_up(tickets, &each, 30000 + i - 1, 30000 + i), TICKET_TABLE_GOOD);
    }
    assert_int_equal(ticket_table_count(tickets, 40000), 4);
    ticket_table_free(tickets);
}

/* ---- at once ---- */

#define THREADS 8
#define ROUNDS 2000

static struct at_once {
    struct ticket_table *tickets;
    pthread_barrier_t together;
    struct ticket ticket;
    uint64_t position;
    int64_t now_ms;
    _Atomic unsigned ended[THREADS]; /* streams that were told to go */
    _Atomic unsigned opened[THREADS];
} at_once;

/* Each thread asks for one use a round, as a worker does for a stream of its own. */
static void *use_at_once(void *arg)
{
    uint64_t stream_id = (uint64_t)(uintptr_t)arg, older;

    for (int i = 0; i < ROUNDS; i++) {
        struct ticket_table_use use = {.committed = RULES_COMMITTED};

        pthread_barrier_wait(&at_once.together);
        struct ticket_table_answer mine;
        use.now_ms = at_once.now_ms;
        use.position = at_once.position;
        use.limits = &limits;
        use.has_id = at_once.position != NO_ID;
        if (ticket_table_enter(at_once.tickets, &at_once.ticket, &use, &mine) ==
            TICKET_TABLE_GOOD) {
            ticket_table_opened(at_once.tickets, at_once.ticket.id, stream_id, 120);
            at_once.opened[stream_id - 1] = 1;
        }
        older = mine.older;
        if (older != 0)
            at_once.ended[older - 1] = 1;
        pthread_barrier_wait(&at_once.together);
    }
    return NULL;
}

/* How many streams stand after a round: opened, and not told to go. */
static unsigned end_round(void)
{
    unsigned live = 0;

    for (unsigned i = 0; i < THREADS; i++) {
        if (at_once.opened[i] && !at_once.ended[i])
            live++;
        if (at_once.opened[i])
            ticket_table_closed(at_once.tickets, at_once.ticket.id, i + 1, 120, at_once.now_ms);
        at_once.opened[i] = 0;
        at_once.ended[i] = 0;
    }
    return live;
}

/* Whether a ticket is new or its stream has ended, of all that ask at once one has the stream. */
static void uses_at_once_are_one_stream(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    limits = (struct ticket_table_limits){.all = 1000};
    at_once.tickets = ticket_table_new(BORN_MS);
    pthread_barrier_init(&at_once.together, NULL, THREADS + 1);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_at_once, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        at_once.ticket = ticket_of(i / 2, "anna", 1);
        at_once.position = i % 2 == 0 ? NO_ID : 120;
        at_once.now_ms = 20000 + i % 2 * 50000;
        pthread_barrier_wait(&at_once.together);
        pthread_barrier_wait(&at_once.together);
        assert_int_equal(end_round(), 1);
    }
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&at_once.together);
    ticket_table_free(at_once.tickets);
}

/* ---- where a log decides ---- */

/* A use of it that the log is asked for; 0: it is refused here. */
static uint64_t share(struct ticket_table *tickets, const struct ticket *made, int64_t now_ms,
                      enum ticket_table_verdict verdict)
{
    struct ticket_table_use use = {.now_ms = now_ms, .limits = &limits};
    uint64_t mark = 0;

    assert_int_equal(ticket_table_share(tickets, made, &use, &answer, &mark), verdict);
    return mark;
}

/* The same, and it becomes a stream. */
static uint64_t share_live(struct ticket_table *tickets, const struct ticket *made,
                           uint64_t stream_id)
{
    uint64_t mark = share(tickets, made, 20000, TICKET_TABLE_GOOD);

    ticket_table_granted(tickets, mark);
    assert_true(ticket_table_begun(tickets, mark, stream_id, 120));
    return mark;
}

static void who_is_taken_over_is_known_by_its_mark(void **state)
{
    struct ticket_table *tickets = ticket_table_new(BORN_MS);

    (void)state;
    limits = (struct ticket_table_limits){.all = 3};
    uint64_t first = share_live(tickets, &rules_ticket, 70);
    uint64_t second = share(tickets, &rules_ticket, 20000, TICKET_TABLE_GOOD);
    assert_true(first != 0 && second != 0 && first != second);
    assert_int_equal(ticket_table_taken(tickets, first), 70);
    assert_int_equal(ticket_table_taken(tickets, first), 0); /* it was told */
    /* before its own answer has come */
    assert_int_equal(ticket_table_taken(tickets, second), 0);
    ticket_table_granted(tickets, second);
    assert_false(ticket_table_begun(tickets, second, 71, 120));
    assert_int_equal(ticket_table_count(tickets, 20000), 1);
    ticket_table_left(tickets, first, 20000);
    ticket_table_left(tickets, second, 20000);
    assert_int_equal(ticket_table_count(tickets, 20000), 0); /* it is another node's */
    ticket_table_left(tickets, second, 20000);
    assert_int_equal(ticket_table_taken(tickets, second), 0);
    assert_false(ticket_table_begun(tickets, second, 71, 120));
    assert_int_equal(share(tickets, &rules_ticket, 90000, TICKET_TABLE_LATE), 0);
    ticket_table_free(tickets);
}

/* Those that the log refuses were never there; the others count until they are over. */
static void uses_here_count_here(void **state)
{
    struct ticket_table *tickets = ticket_table_new(30000);
    struct ticket first = ticket_of(1, "anna", 0), second = ticket_of(2, "anna", 0);

    (void)state;
    limits = (struct ticket_table_limits){.all = 1000, .per_user = 1};
    uint64_t mark = share(tickets, &first, 20000, TICKET_TABLE_GOOD);
    assert_int_equal(share(tickets, &second, 20000, TICKET_TABLE_USER_FULL), 0);
    ticket_table_left(tickets, mark, 20000);
    mark = share_live(tickets, &first, 70);
    share(tickets, &second, 20000, TICKET_TABLE_USER_FULL);
    assert_int_equal(answer.wait_ms, 30000);
    ticket_table_left(tickets, mark, 20500);
    share(tickets, &second, 20500, TICKET_TABLE_USER_FULL); /* it would be new without its entry */
    assert_int_equal(answer.wait_ms, 500);
    mark = share(tickets, &first, 20500, TICKET_TABLE_GOOD); /* refused, but it was used here */
    ticket_table_left(tickets, mark, 20500);
    assert_int_equal(ticket_table_count(tickets, 20500), 1);
    assert_int_not_equal(share(tickets, &second, 21000, TICKET_TABLE_GOOD), 0);
    assert_int_equal(answer.forgotten_n, 1);
    assert_memory_equal(answer.forgotten[0], first.id, TICKET_ID_BYTES);
    ticket_table_free(tickets);
}

static void all_live_ones_are_gone_through(void **state)
{
    struct ticket_table *tickets = ticket_table_new(BORN_MS);
    struct ticket_table_live live[4];
    uint64_t marks[10];
    unsigned seen = 0;
    size_t n;

    (void)state;
    limits = (struct ticket_table_limits){.all = 1000};
    for (unsigned i = 0; i < 10; i++) {
        struct ticket each = ticket_of(i + 1, NULL, 0);
        marks[i] = share_live(tickets, &each, 70 + i);
    }
    ticket_table_left(tickets, marks[0], 20000);
    ticket_table_taken(tickets, marks[1]);
    while ((n = ticket_table_next_live(tickets, 1, live, 4)) > 0) {
        for (size_t i = 0; i < n; i++) {
            unsigned number = live[i].id[0];

            assert_int_equal(live[i].mark, marks[number - 1]);
            assert_int_equal(live[i].from, 120);
            assert_int_equal(live[i].until_ms, 90000);
            assert_false(seen & 1U << number);
            seen |= 1U << number;
        }
        if (seen == 0x78) { /* one that begins meanwhile is no part of it */
            struct ticket late = ticket_of(31, NULL, 0);
            share_live(tickets, &late, 99);
        }
    }
    assert_int_equal(seen, 0x7f8);
    for (seen = 0; (n = ticket_table_next_live(tickets, 2, live, 4)) > 0;)
        seen += (unsigned)n;
    assert_int_equal(seen, 9);
    ticket_table_free(tickets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TICKET_RULES,
        cmocka_unit_test(one_on_its_way_comes_first),
        cmocka_unit_test(a_use_may_come_to_nothing),
        cmocka_unit_test(one_that_is_over_makes_room),
        cmocka_unit_test(what_is_over_is_found_behind_what_is_not),
        cmocka_unit_test(a_user_forgets_its_own),
        cmocka_unit_test(what_outlived_a_restart_is_not_forgotten),
        cmocka_unit_test(a_key_forgets_its_own),
        cmocka_unit_test(nobody_has_half_of_a_key),
        cmocka_unit_test(shares_shrink),
        cmocka_unit_test(uses_at_once_are_one_stream),
        cmocka_unit_test(who_is_taken_over_is_known_by_its_mark),
        cmocka_unit_test(uses_here_count_here),
        cmocka_unit_test(all_live_ones_are_gone_through),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
