/* SPDX-License-Identifier: MIT */
/* Reads and the bar that the hub puts before them while it moves the log into the file. */
#include "history/sqlite/sqlite_internal.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../support/scratch.h"
#include "base/clock.h"

#define TOO_LONG_S 60 /* for the whole program: something waits for ever */

static struct scratch scratch;

static int set_up(void **state)
{
    scratch_make(&scratch);
    *state = sqlite_of(scratch_open(scratch.path, NULL));
    return 0;
}

static int tear_down(void **state)
{
    struct sqlite_store *sqlite = *state;

    history_free(&sqlite->base);
    scratch_remove(&scratch);
    return 0;
}

static struct sqlite_reader *begin(struct sqlite_store *sqlite)
{
    struct sqlite_reader *reader;

    assert_int_equal(sqlite_begin_read(sqlite, &reader), 0);
    return reader;
}

/* ---- tests ---- */

static void a_read_that_is_over_leaves_its_connection_to_the_next(void **state)
{
    struct sqlite_reader *one = begin(*state), *other = begin(*state);

    assert_ptr_not_equal(one, other);
    sqlite_end_read(*state, one);
    assert_ptr_equal(begin(*state), one);
    sqlite_end_read(*state, one);
    sqlite_end_read(*state, other);
}

static void says_no_while_a_read_is_under_way(void **state)
{
    struct sqlite_reader *one = begin(*state), *other = begin(*state);

    assert_false(sqlite_bar_reads(*state));
    sqlite_end_read(*state, one);
    assert_false(sqlite_bar_reads(*state));
    sqlite_end_read(*state, other);
    assert_true(sqlite_bar_reads(*state));
    sqlite_admit_reads(*state);
}

struct latecomer {
    struct sqlite_store *sqlite;
    int64_t began_ns;
};

static void *read_late(void *arg)
{
    struct latecomer *latecomer = arg;
    struct sqlite_reader *reader = begin(latecomer->sqlite);

    latecomer->began_ns = clock_mono_ns();
    sqlite_end_read(latecomer->sqlite, reader);
    return NULL;
}

static void a_read_waits_until_it_is_admitted(void **state)
{
    struct sqlite_store *sqlite = *state;
    struct latecomer latecomer = {.sqlite = sqlite};
    pthread_t thread;

    assert_true(sqlite_bar_reads(sqlite));
    sqlite->barred_until_ns += (int64_t)3600 * 1000000000; /* none comes by its own end */
    assert_int_equal(pthread_create(&thread, NULL, read_late, &latecomer), 0);
    usleep(20000); /* it would have begun by now, were it let in */
    int64_t admitted_ns = clock_mono_ns();
    sqlite_admit_reads(sqlite);
    pthread_join(thread, NULL);
    assert_true(latecomer.began_ns >= admitted_ns);
}

static void a_bar_that_nobody_lifts_ends_by_itself(void **state)
{
    assert_true(sqlite_bar_reads(*state));
    sqlite_end_read(*state, begin(*state));
}

/* Commits that are far apart: the bar has ended when the next one asks. */
static void who_asks_late_waits_for_the_reads(void **state)
{
    struct sqlite_store *sqlite = *state;
    struct sqlite_reader *reader = begin(sqlite);

    assert_false(sqlite_bar_reads(sqlite));
    sqlite->barred_until_ns = 1; /* long ago */
    int64_t asked_ns = clock_mono_ns();
    assert_true(sqlite_bar_reads(sqlite)); /* it gave up: the read goes on */
    assert_true(clock_mono_ns() - asked_ns >= 20 * 1000000);
    assert_int_equal(sqlite->reading_n, 1);
    sqlite_admit_reads(sqlite);
    sqlite_end_read(sqlite, reader);
}

static void who_finds_the_file_gone_waits_for_a_connection(void **state)
{
    struct sqlite_store *sqlite = *state;
    struct sqlite_reader *reader = begin(sqlite);
    struct latecomer latecomer = {.sqlite = sqlite};
    char *path = sqlite->path, nowhere[] = "/nowhere/at/all";
    pthread_t thread;

    sqlite->path = nowhere;
    assert_int_equal(pthread_create(&thread, NULL, read_late, &latecomer), 0);
    usleep(20000); /* it would have begun by now, did it open one */
    int64_t ended_ns = clock_mono_ns();
    sqlite_end_read(sqlite, reader);
    pthread_join(thread, NULL);
    sqlite->path = path;
    assert_true(latecomer.began_ns >= ended_ns);
    assert_int_equal(sqlite->readers_n, 1);
}

static void a_read_that_fails_to_begin_is_not_counted(void **state)
{
    struct sqlite_store *sqlite = *state;
    struct sqlite_reader *one = begin(sqlite), *reader;
    char *path = sqlite->path, nowhere[] = "/nowhere/at/all";

    sqlite->path = nowhere;
    sqlite->readers_n = 0;
    assert_int_equal(sqlite_begin_read(sqlite, &reader), -EIO);
    sqlite->readers_n = 1;
    sqlite->path = path;
    sqlite_end_read(sqlite, one);
    assert_true(sqlite_bar_reads(sqlite));
    sqlite_admit_reads(sqlite);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_read_that_is_over_leaves_its_connection_to_the_next),
        TEST(says_no_while_a_read_is_under_way),
        TEST(a_read_waits_until_it_is_admitted),
        TEST(a_bar_that_nobody_lifts_ends_by_itself),
        TEST(who_asks_late_waits_for_the_reads),
        TEST(who_finds_the_file_gone_waits_for_a_connection),
        TEST(a_read_that_fails_to_begin_is_not_counted),
    };

    alarm(TOO_LONG_S);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
