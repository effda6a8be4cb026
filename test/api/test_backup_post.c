/* SPDX-License-Identifier: MIT */
/* POST /api/backup, with a store that makes its copy as a test says. */
#include "config.h"
#include "api/route.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/fixture.h"

#define ROWS(table) (sizeof(table) / sizeof((table)[0]))
#define COPY "SQLite format 3, and so on"

/* Of the copy that is made next.  The hub's thread reads them, and counts its calls. */
static struct {
    _Atomic int begin_result, step_result;
    _Atomic bool holds; /* there is always more to do */
    _Atomic unsigned ended_n;
} store;

static int begin_copy(struct history *history)
{
    (void)history;
    return store.begin_result;
}

static int step_copy(struct history *history, struct history_backup *ret_backup)
{
    (void)history;
    usleep(500);
    if (store.holds)
        return 1;
    if (store.step_result != 0)
        return store.step_result;
    ret_backup->fd = memfd_create("copy", MFD_CLOEXEC);
    ret_backup->bytes = sizeof(COPY) - 1;
    ret_backup->newest = 7;
    assert_int_equal(write(ret_backup->fd, COPY, sizeof(COPY) - 1), sizeof(COPY) - 1);
    return 0;
}

static void end_copy(struct history *history)
{
    (void)history;
    store.ended_n++;
}

static struct fixture *with_store(void)
{
    struct fixture *fixture = fixture_new("");

    memset(&store, 0, sizeof(store));
    fixture->ops.backup_begin = begin_copy;
    fixture->ops.backup_step = step_copy;
    fixture->ops.backup_end = end_copy;
    return fixture;
}

static struct client *ask(struct fixture *fixture)
{
    return client_ask(fixture, "POST", "/api/backup", "", NULL);
}

static void the_copy_is_sent_as_a_file(void **state)
{
    struct fixture *fixture = with_store();
    struct client *client = ask(fixture);
    char name[128];

    (void)state;
    assert_int_equal(client->status, 200);
    assert_string_equal(client->body, COPY);
    assert_string_equal(client_header(client, "Content-Type"), "application/vnd.sqlite3");
    assert_string_equal(client_header(client, "Cache-Control"), "no-store");
    snprintf(name, sizeof(name), "attachment; filename=\"bugle-%s-0000000000000007.db\"",
             history_epoch(fixture->history));
    assert_string_equal(client_header(client, "Content-Disposition"), name);
    assert_int_equal(fixture_stat(fixture, STATS_BACKUPS_MADE), 1);
    assert_false(fixture->shared.has_backup);
    assert_int_equal(ask(fixture)->status, 200); /* the next */
    fixture_free(fixture);
}

static void there_is_one_at_a_time(void **state)
{
    struct fixture *fixture = with_store();

    (void)state;
    store.holds = true;
    struct client *first = client_begin(fixture, "POST", "/api/backup", "", 0);
    fixture_settle(fixture);
    struct client *second = ask(fixture);
    client_is_refused(second, 503, "backup_running");
    assert_string_equal(client_header(second, "Retry-After"), "10");
    store.holds = false;
    client_wait(first);
    assert_int_equal(first->status, 200);
    fixture_free(fixture);
}

static void the_next_waits_until_the_last_was_taken(void **state)
{
    struct fixture *fixture = with_store();
    struct client *client = client_begin(fixture, "POST", "/api/backup", "", 0);

    (void)state;
    client->connection->takes_no_answer = true;
    client_wait(client);
    assert_int_equal(fixture->services[0].unawaited_n, 1); /* no stop waits for it */
    client_is_refused(ask(fixture), 503, "backup_running");
    client->connection->takes_no_answer = false;
    client_send_end(client);
    client_wait(client);
    assert_string_equal(client->body, COPY);
    assert_int_equal(fixture->services[0].unawaited_n, 0);
    assert_int_equal(ask(fixture)->status, 200);
    fixture_free(fixture);
}

static void a_copy_that_fails_is_told(void **state)
{
    static const struct {
        int begin_result, step_result;
        unsigned status;
        const char *code;
        bool counts;
    } cases[] = {
        {-ENOTSUP, 0, 409, "nothing_on_disk", false}, {-ENOSPC, 0, 507, "no_room_for_copy", true},
        {-EIO, 0, 500, "backup_failed", true},        {0, -ENOSPC, 507, "no_room_for_copy", true},
        {0, -EIO, 500, "backup_failed", true},        {0, -ENOMEM, 500, "backup_failed", true},
    };
    struct fixture *fixture = with_store();
    int64_t failed_n = 0;

    (void)state;
    for (size_t i = 0; i < ROWS(cases); i++) {
        store.begin_result = cases[i].begin_result;
        store.step_result = cases[i].step_result;
        client_is_refused(ask(fixture), cases[i].status, cases[i].code);
        failed_n += cases[i].counts;
        assert_int_equal(fixture_stat(fixture, STATS_BACKUPS_FAILED), failed_n);
        assert_false(fixture->shared.has_backup);
    }
    fixture_free(fixture);
}

static void a_store_in_memory_has_no_file(void **state)
{
    struct fixture *fixture = fixture_new("");

    (void)state;
    client_is_refused(ask(fixture), 409, "nothing_on_disk");
    fixture_free(fixture);
}

static void without_a_response_the_copy_is_given_up(void **state)
{
    struct fixture *fixture = with_store();

    (void)state;
    fake_mhd_faults.responses = 1;
    client_is_refused(ask(fixture), 503, "out_of_memory");
    assert_false(fixture->shared.has_backup);
    assert_int_equal(ask(fixture)->status, 200);
    fixture_free(fixture);
}

static void a_gateway_that_stops_or_lacks_memory_makes_none(void **state)
{
    struct fixture *fixture = with_store();

    (void)state;
    fixture_fill_memory(fixture, MEMORY_BUDGET_NEAR);
    client_is_refused(ask(fixture), 503, "memory_short");
    fixture_fill_memory(fixture, MEMORY_BUDGET_FINE);
    store.holds = true;
    struct client *client = client_begin(fixture, "POST", "/api/backup", "", 0);
    fixture_settle(fixture);
    hub_refuse_backups(fixture->hub);
    client_wait(client);
    client_is_refused(client, 503, "stopping");
    assert_true(store.ended_n > 0);
    fixture->shared.draining = true;
    client_is_refused(ask(fixture), 503, "stopping");
    fixture_free(fixture);
}

static void nobody_is_told_who_has_left(void **state)
{
    struct fixture *fixture = with_store();

    (void)state;
    store.holds = true;
    struct client *client = client_begin(fixture, "POST", "/api/backup", "", 0);
    fixture_settle(fixture);
    client_hang_up(client);
    client_wait(client);
    assert_true(client_is_closed(client));
    assert_int_equal(client->status, 0);
    assert_true(store.ended_n > 0);
    assert_false(fixture->shared.has_backup);
    fixture_free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_copy_is_sent_as_a_file),
        cmocka_unit_test(there_is_one_at_a_time),
        cmocka_unit_test(the_next_waits_until_the_last_was_taken),
        cmocka_unit_test(a_copy_that_fails_is_told),
        cmocka_unit_test(a_store_in_memory_has_no_file),
        cmocka_unit_test(without_a_response_the_copy_is_given_up),
        cmocka_unit_test(a_gateway_that_stops_or_lacks_memory_makes_none),
        cmocka_unit_test(nobody_is_told_who_has_left),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
