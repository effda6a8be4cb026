/* SPDX-License-Identifier: MIT */
/* The store on disk: a file of the format before this one, and the way from it to the present one,
 * which leaves one or the other whole wherever it ends. */
#include "history/sqlite/sqlite_store.h"

#include <setjmp.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "../../support/history_read.h"
#include "../../support/scratch.h"
#include "../../support/vfs_shim.h"
#include "base/log.h"
#include "history/sqlite/sqlite_vfs.h"

#define OLD_EVENTS 4

static struct scratch scratch; /* the disk that runs */
static struct scratch image;   /* what is left of it */

static int clean(void **state)
{
    (void)state;
    vfs_shim_on_op(NULL, NULL);
    vfs_shim_watch(NULL);
    vfs_shim_heal();
    scratch_empty(&scratch);
    scratch_empty(&image);
    return 0;
}

/* Another program with the file: through the checksums of pages, as if it were the gateway. */
static void change_file(const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open_v2(scratch.path, &db, SQLITE_OPEN_READWRITE, sqlite_vfs()), 0);
    sqlite_vfs_check(db);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int ask_path(const char *path, const char *sql)
{
    sqlite3_stmt *statement;
    sqlite3 *db;

    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int number = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return number;
}

static bool has_column(const char *path)
{
    return ask_path(path, "SELECT count(*) FROM pragma_table_info('events') WHERE name = 'json'");
}

static void assert_format(const char *path, int format)
{
    assert_int_equal(ask_path(path, "PRAGMA user_version"), format);
    assert_int_equal(has_column(path), format == SQLITE_STORE_FORMAT);
}

static struct message *event_at(uint64_t position)
{
    char data[2] = {(char)('0' + position), '\0'};

    return make_message(.data = data, .topics = position % 2 == 0 ? "a" : NULL,
                        .key = position == 2 ? "once" : NULL);
}

/* A closed file of format 2 with OLD_EVENTS events, whose path is watched by nobody. */
static void make_old_file(void)
{
    struct history *history = scratch_open(scratch.path, NULL);

    for (uint64_t position = 1; position <= OLD_EVENTS; position++)
        add_at(history, event_at(position), 1000);
    history_free(history);
    change_file("ALTER TABLE events DROP COLUMN json;"
                "UPDATE keys SET digest = substr(digest, 1, 16);"
                "PRAGMA user_version = 2");
    assert_format(scratch.path, 2);
}

static struct history *open_old(void)
{
    make_old_file();
    struct history *history = scratch_open(scratch.path, NULL);
    assert_int_equal(sqlite_of(history)->format, 2);
    return history;
}

static void add_json(struct history *history)
{
    add_at(history, make_message(.data = "{}", .is_json = true), 2000);
}

/* The old events are there as texts; those behind them are JSON. */
static void assert_sound(struct history *history, uint64_t newest)
{
    struct history_page *page = read_where(history, .upto = newest);

    assert_false(page->damaged);
    assert_int_equal(page->events_n, newest);
    for (uint64_t position = 1; position <= newest; position++) {
        const struct message *found = page->events[position - 1];
        struct message *expected = position <= OLD_EVENTS
                                       ? event_at(position)
                                       : make_message(.data = "{}", .is_json = true);

        assert_int_equal(found->is_json, expected->is_json);
        assert_int_equal(message_body_bytes(found), message_body_bytes(expected));
        assert_memory_equal(found->frame, expected->frame, message_body_bytes(found));
        message_unref(expected);
    }
    history_page_free(page);
}

static void is_brought_up_to_date_at_the_start(void **state)
{
    struct history *history = open_old();

    (void)state;
    history_adopt(history);
    assert_int_equal(sqlite_of(history)->format, SQLITE_STORE_FORMAT);
    assert_sound(history, OLD_EVENTS);
    add_json(history);
    history_adopt(history); /* no more than once */
    assert_sound(history, OLD_EVENTS + 1);
    history_free(history);
    assert_format(scratch.path, SQLITE_STORE_FORMAT);
    history = scratch_open(scratch.path, NULL);
    assert_bounds(history, 0, OLD_EVENTS + 1);
    assert_sound(history, OLD_EVENTS + 1);
    history_free(history);
}

static void is_brought_up_to_date_by_the_first_append(void **state)
{
    struct history *history = open_old();

    (void)state;
    assert_sound(history, OLD_EVENTS); /* by a connection that stays */
    add_json(history);
    assert_sound(history, OLD_EVENTS + 1);
    history_free(history);
    assert_format(scratch.path, SQLITE_STORE_FORMAT);
}

/* An earlier version can have the file back: what is done to it before is the same in both. */
static void stays_as_it_was_until_then(void **state)
{
    struct history_limits limits = {SCRATCH_FOR_EVER, 2, SCRATCH_LOTS, 0, 1};

    (void)state;
    make_old_file();
    struct history *history = scratch_open(scratch.path, &limits);
    while (history_trim(history, 3000))
        ;
    assert_bounds(history, OLD_EVENTS - 2, OLD_EVENTS);
    assert_int_equal(sqlite_store_renew_epoch(history), 0);
    history_settle(history);
    assert_int_equal(history_release(history), 0);
    assert_int_equal(history_reclaim(history), 0);
    history_free(history);
    assert_format(scratch.path, 2);
}

static void a_new_file_is_of_the_present_format(void **state)
{
    (void)state;
    history_free(scratch_open(scratch.path, NULL));
    assert_format(scratch.path, SQLITE_STORE_FORMAT);
}

/* Nobody knows of a key of old whether its event was JSON, so a repeat of either kind is one. */
static void old_keys_know_their_repeats(void **state)
{
    struct history *history = open_old();
    struct message *repeats[] = {
        make_message(.data = "2", .topics = "a", .key = "once"),
        make_message(.data = "2", .topics = "a", .key = "once", .is_json = true)};
    struct message *other = make_message(.data = "3", .topics = "a", .key = "once");
    uint64_t position = 0;

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 2; i++)
            assert_int_equal(history_find_key(history, repeats[i], 2000, &position),
                             HISTORY_KEY_SAME);
        assert_int_equal(position, 2);
        assert_int_equal(history_find_key(history, other, 2000, &position), HISTORY_KEY_OTHER);
        history_adopt(history);
    }
    history_free(history);
    message_unref(repeats[0]);
    message_unref(repeats[1]);
    message_unref(other);
}

/* A bit that flips in the column makes neither JSON of text nor another JSON of it. */
static void damage_makes_no_json(void **state)
{
    (void)state;
    for (uint64_t bit = 0; bit < 64; bit += 9)
        for (uint64_t position = 1; position <= 2; position++) {
            char sql[120];
            struct history *history = scratch_open(scratch.path, NULL);

            add_at(history, make_message(.data = "text"), 1000);
            add_at(history, make_message(.data = "{}", .is_json = true), 1000);
            history_free(history);
            snprintf(sql, sizeof(sql),
                     "UPDATE events SET json = (json | %lld) - (json & %lld) WHERE position = %d",
                     (long long)(UINT64_C(1) << bit), (long long)(UINT64_C(1) << bit),
                     (int)position);
            change_file(sql);
            history = scratch_open(scratch.path, NULL);
            assert_page(read_where(history, .after = position - 1),
                        position == 1 ? "damaged 1" : "damaged 2");
            history_free(history);
            scratch_empty(&scratch);
        }
}

/* ---- where it ends in the middle ---- */

struct outage {
    uint64_t left; /* so many operations before the power goes */
    unsigned seed;
    bool happened;
};

static void cut_when_due(void *arg, uint64_t ops_n)
{
    struct outage *outage = arg;

    (void)ops_n;
    if (outage->happened || outage->left-- > 0)
        return;
    vfs_shim_cut(image.folder, outage->seed);
    outage->happened = true;
}

/* What is left opens, in one format or the other; gives which. */
static int assert_survived(void)
{
    struct history *history = scratch_open(image.path, NULL);
    int format = sqlite_of(history)->format;

    assert_sound(history, OLD_EVENTS);
    add_json(history);
    assert_sound(history, OLD_EVENTS + 1);
    history_free(history);
    assert_format(image.path, SQLITE_STORE_FORMAT);
    assert_int_equal(ask_path(image.path, "SELECT count(*) FROM pragma_integrity_check "
                                          "WHERE integrity_check <> 'ok'"),
                     0);
    return format;
}

static void a_power_cut_leaves_one_format_or_the_other(void **state)
{
    struct outage outage = {.happened = true};
    unsigned found_n[SQLITE_STORE_FORMAT + 1] = {0};

    (void)state;
    for (uint64_t nth = 0; outage.happened; nth++)
        for (unsigned seed = 0; seed < 3; seed++) {
            vfs_shim_watch(scratch.path);
            struct history *history = open_old();
            outage = (struct outage){.left = nth, .seed = seed};
            vfs_shim_on_op(cut_when_due, &outage);
            history_adopt(history);
            history_settle(history);
            history_free(history);
            vfs_shim_on_op(NULL, NULL);
            vfs_shim_watch(NULL);
            if (outage.happened)
                found_n[assert_survived()]++;
            scratch_empty(&scratch);
            scratch_empty(&image);
        }
    assert_true(found_n[2] > 0 && found_n[SQLITE_STORE_FORMAT] > 0);
}

/* Each write fails once, for want of room. */
static void a_full_disk_leaves_it_for_a_later_append(void **state)
{
    bool failed = true;
    unsigned failures_n = 0;

    (void)state;
    for (uint64_t nth = 1; failed; nth++) {
        vfs_shim_watch(scratch.path);
        struct history *history = open_old();
        vfs_shim_fail(VFS_SHIM_WRITE, nth, 1, SQLITE_FULL);
        history_adopt(history);
        failed = vfs_shim_has_failed();
        failures_n += failed;
        vfs_shim_heal();
        assert_int_equal(sqlite_of(history)->format, failed ? 2 : SQLITE_STORE_FORMAT);
        assert_sound(history, OLD_EVENTS);
        add_json(history);
        assert_sound(history, OLD_EVENTS + 1);
        history_free(history);
        assert_format(scratch.path, SQLITE_STORE_FORMAT);
        vfs_shim_watch(NULL);
        scratch_empty(&scratch);
    }
    assert_true(failures_n > 2);
}

/* After an error of the disk nobody knows which one it is, until the next start. */
static void a_failed_sync_leaves_one_format_or_the_other(void **state)
{
    struct message *message = make_message(.data = "x");
    bool failed = true;

    (void)state;
    for (uint64_t nth = 1; failed; nth++) {
        vfs_shim_watch(scratch.path);
        struct history *history = open_old();
        vfs_shim_fail(VFS_SHIM_SYNC, nth, 1, SQLITE_IOERR_FSYNC);
        history_adopt(history);
        failed = vfs_shim_has_failed();
        vfs_shim_heal();
        if (failed)
            assert_int_equal(history_append(history, &message, 1, 2000), -EIO);
        assert_sound(history, OLD_EVENTS);
        history_free(history);
        history = scratch_open(scratch.path, NULL);
        assert_sound(history, OLD_EVENTS);
        add_json(history);
        assert_sound(history, OLD_EVENTS + 1);
        history_free(history);
        vfs_shim_watch(NULL);
        scratch_empty(&scratch);
    }
    message_unref(message);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, clean)
    const struct CMUnitTest tests[] = {
        TEST(is_brought_up_to_date_at_the_start),
        TEST(is_brought_up_to_date_by_the_first_append),
        TEST(stays_as_it_was_until_then),
        TEST(a_new_file_is_of_the_present_format),
        TEST(old_keys_know_their_repeats),
        TEST(damage_makes_no_json),
        TEST(a_power_cut_leaves_one_format_or_the_other),
        TEST(a_full_disk_leaves_it_for_a_later_append),
        TEST(a_failed_sync_leaves_one_format_or_the_other),
    };

    vfs_shim_install();
    scratch_make(&scratch);
    scratch_make(&image);
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_remove(&scratch);
    scratch_remove(&image);
    return failed;
}
