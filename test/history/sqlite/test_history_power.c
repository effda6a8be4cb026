/* SPDX-License-Identifier: MIT */
/*
 * The store on disk when the disk lets it down: power cuts at any moment, full disks, writes and
 * syncs that fail.  What was acknowledged is there afterwards; with syncs switched off it is not,
 * or these tests would show nothing.
 */
#include "history/sqlite/sqlite_store.h"

#include <setjmp.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "../../support/scratch.h"
#include "../../support/vfs_shim.h"
#include "base/log.h"

#define CUTS 240
#define BATCH_MAX 12

static struct scratch scratch; /* the disk that runs */
static struct scratch image;   /* what is left of it */

static int clean(void **state)
{
    (void)state;
    vfs_shim_on_op(NULL, NULL);
    vfs_shim_watch(NULL);
    vfs_shim_heal();
    vfs_shim_never_sync(false);
    scratch_empty(&scratch);
    scratch_empty(&image);
    return 0;
}

/* ---- events that tell which they are ---- */

static struct message *numbered(uint64_t number)
{
    static const char *const topics[] = {"a", "b/c", NULL, "a b/d"};
    size_t fill_n = (size_t)(number * 7919 % 3000);
    char data[3100];

    memset(data, 'a' + (int)(number % 26), sizeof(data));
    data[sprintf(data, "%llu", (unsigned long long)number)] = ' ';
    data[30 + fill_n] = '\0';
    return make_message(.topics = topics[number % 4], .users = number % 9 == 0 ? "ada" : NULL,
                        .data = data);
}

/* Append events with these numbers, which are to be their positions. */
static int append_numbered(struct history *history, uint64_t first, size_t events_n)
{
    struct message *events[BATCH_MAX];

    for (size_t i = 0; i < events_n; i++)
        events[i] = numbered(first + i);
    int result = history_append(history, events, events_n, 1000);
    for (size_t i = 0; i < events_n; i++) {
        if (result == 0)
            assert_int_equal(events[i]->position, first + i);
        else
            assert_int_equal(events[i]->published_ms, 0); /* nothing was sealed */
        message_unref(events[i]);
    }
    return result;
}

/* Whether all after `trimmed` up to `newest` are there and what they were. */
static bool has_all(struct history *history, uint64_t trimmed, uint64_t newest)
{
    struct filter *filter = make_filter(NULL, "ada");
    struct history_query query = {
        .after = trimmed, .upto = UINT64_MAX, .filter = filter, .bytes_max = SCRATCH_LOTS};
    bool sound = true;

    while (sound && query.after < newest) {
        struct history_page *page = NULL;

        if (history_read(history, &query, &page) != 0 || page->damaged || page->events_n == 0) {
            history_page_free(page);
            sound = false;
            break;
        }
        for (size_t i = 0; sound && i < page->events_n; i++) {
            struct message *expected = numbered(++query.after);
            const struct message *found = page->events[i];

            sound = found->position == query.after &&
                    message_body_bytes(found) == message_body_bytes(expected) &&
                    memcmp(found->frame, expected->frame, message_body_bytes(found)) == 0;
            message_unref(expected);
        }
        history_page_free(page);
    }
    filter_unref(filter);
    return sound;
}

static bool is_intact(const char *path)
{
    sqlite3_stmt *statement = NULL;
    sqlite3 *db = NULL;
    bool intact =
        sqlite3_open(path, &db) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW &&
        strcmp((const char *)sqlite3_column_text(statement, 0), "ok") == 0;

    sqlite3_finalize(statement);
    sqlite3_close(db);
    return intact;
}

/* ---- power cuts ---- */

struct outage {
    uint64_t at; /* the operation before which the power goes */
    unsigned seed;
    bool happened;
};

static void cut_when_due(void *arg, uint64_t ops_n)
{
    struct outage *outage = arg;

    if (outage->happened || ops_n < outage->at)
        return;
    vfs_shim_cut(image.folder, outage->seed);
    outage->happened = true;
}

/* After a power cut: all that was acknowledged is there, and nothing that nobody sent. */
static bool survived(uint64_t trimmed, uint64_t acknowledged, uint64_t sent)
{
    struct history_limits limits = {SCRATCH_FOR_EVER, 500, SCRATCH_LOTS, INT64_MAX / 2, SIZE_MAX};
    struct conf_error error;
    struct history *history = scratch_try(image.path, &limits, &error);
    struct history_bounds bounds;
    bool sound;

    if (history == NULL)
        return false;
    history_bounds(history, &bounds);
    sound = bounds.newest >= acknowledged && bounds.newest <= sent && bounds.trimmed <= trimmed &&
            has_all(history, bounds.trimmed, bounds.newest);
    history_free(history);
    return sound && is_intact(image.path);
}

/* Publish and forget under power cuts at random operations; returns how many lost something. */
static unsigned count_losses(unsigned cuts_n)
{
    struct history_limits limits = {SCRATCH_FOR_EVER, 500, SCRATCH_LOTS, INT64_MAX / 2, SIZE_MAX};
    struct outage outage = {.at = 40};
    unsigned seed = 7, losses_n = 0;
    uint64_t acknowledged = 0;

    vfs_shim_watch(scratch.path);
    struct history *history = scratch_open(scratch.path, &limits);
    vfs_shim_on_op(cut_when_due, &outage);
    for (unsigned cut = 0; cut < cuts_n;) {
        size_t events_n = 1 + (size_t)rand_r(&seed) % BATCH_MAX;
        struct history_bounds bounds;

        assert_int_equal(append_numbered(history, acknowledged + 1, events_n), 0);
        bool in_append = outage.happened;
        history_bounds(history, &bounds);
        uint64_t trimmed = bounds.trimmed;
        if (!in_append) {
            acknowledged += events_n;
            history_settle(history);
            history_trim(history, 1000);
            history_bounds(history, &bounds);
            trimmed = bounds.trimmed;
        }
        if (!outage.happened)
            continue;
        vfs_shim_on_op(NULL, NULL);
        losses_n +=
            !survived(trimmed, acknowledged, in_append ? acknowledged + events_n : acknowledged);
        if (in_append)
            acknowledged += events_n;
        scratch_empty(&image);
        outage.at += 1 + (uint64_t)rand_r(&seed) % 60;
        outage.seed = ++cut;
        outage.happened = false;
        vfs_shim_on_op(cut_when_due, &outage);
    }
    vfs_shim_on_op(NULL, NULL);
    history_free(history);
    return losses_n;
}

static void loses_nothing_when_the_power_goes(void **state)
{
    (void)state;
    assert_int_equal(count_losses(CUTS), 0);
}

/* The control: without syncs the same cuts do lose events, so the test above can fail. */
static void would_lose_events_without_syncs(void **state)
{
    (void)state;
    vfs_shim_never_sync(true);
    assert_in_range(count_losses(CUTS), CUTS / 10, CUTS);
}

/* ---- faults ---- */

enum { ROUNDS = 400 };

static void assert_reads_go_on(struct history *history, uint64_t acknowledged)
{
    struct history_bounds bounds;

    history_bounds(history, &bounds);
    assert_int_equal(bounds.newest, acknowledged);
    assert_true(has_all(history, bounds.trimmed, acknowledged));
}

/* Fail the nth operation of a kind, for every n from opening to past a checkpoint. */
static void an_error_of_the_disk_ends_publishing(enum vfs_shim_op op, int code, uint64_t step)
{
    struct history_limits limits = {SCRATCH_FOR_EVER, 100, SCRATCH_LOTS, INT64_MAX / 2, SIZE_MAX};
    unsigned failures_n = 0, rounds_n = 0;
    bool failed = true;

    for (uint64_t nth = 1; failed; nth += step, rounds_n++) {
        uint64_t acknowledged = 0;

        vfs_shim_watch(scratch.path);
        struct history *history = scratch_open(scratch.path, &limits);
        vfs_shim_fail(op, nth, 1, code);
        int result = 0;
        for (int i = 0; i < ROUNDS && result == 0; i++) {
            result = append_numbered(history, acknowledged + 1, 3);
            if (result == 0)
                acknowledged += 3;
            history_settle(history);
            history_trim(history, 1000);
        }
        failed = vfs_shim_has_failed();
        if (failed) {
            assert_true(result == -EIO || result == 0); /* or the last step of trimming failed */
            for (int i = 0; i < 5; i++)                 /* though the disk is well again */
                assert_int_equal(append_numbered(history, acknowledged + 1, 1), -EIO);
            history_settle(history);
            history_trim(history, 1000);
            failures_n++;
        }
        assert_reads_go_on(history, acknowledged);
        history_free(history);
        vfs_shim_heal();
        history = scratch_open(scratch.path, &limits);
        struct history_bounds bounds;
        history_bounds(history, &bounds);
        /* what was refused may be there all the same, but only as what it was */
        assert_in_range(bounds.newest, acknowledged, acknowledged + 3);
        assert_true(has_all(history, bounds.trimmed, bounds.newest));
        assert_int_equal(append_numbered(history, bounds.newest + 1, 1), 0);
        history_free(history);
        assert_true(is_intact(scratch.path));
        scratch_empty(&scratch);
    }
    assert_true(failures_n >= 20);
}

static void a_failed_sync_ends_publishing(void **state)
{
    (void)state;
    an_error_of_the_disk_ends_publishing(VFS_SHIM_SYNC, SQLITE_IOERR_FSYNC, 7);
}

static void a_failed_write_ends_publishing(void **state)
{
    (void)state;
    an_error_of_the_disk_ends_publishing(VFS_SHIM_WRITE, SQLITE_IOERR_WRITE, 97);
}

static void a_full_disk_ends_publishing_until_there_is_room(void **state)
{
    struct history_limits limits = {SCRATCH_FOR_EVER, 100, SCRATCH_LOTS, INT64_MAX / 2, SIZE_MAX};
    unsigned failures_n = 0;
    bool failed = true;

    (void)state;
    for (uint64_t nth = 1; failed; nth += 97) {
        uint64_t acknowledged = 0, refused_n = 0;

        vfs_shim_watch(scratch.path);
        struct history *history = scratch_open(scratch.path, &limits);
        vfs_shim_fail(VFS_SHIM_WRITE, nth, 5, SQLITE_FULL);
        for (int i = 0; i < ROUNDS; i++) {
            int result = append_numbered(history, acknowledged + 1, 3);

            if (result == 0) {
                acknowledged += 3;
            } else {
                assert_int_equal(result, -ENOSPC);
                assert_reads_go_on(history, acknowledged);
                refused_n++;
            }
            history_settle(history);
            history_trim(history, 1000);
        }
        failed = vfs_shim_has_failed();
        vfs_shim_heal();
        failures_n += refused_n > 0;
        assert_int_equal(acknowledged, 3 * (ROUNDS - refused_n));
        assert_reads_go_on(history, acknowledged);
        history_free(history);
        history = scratch_open(scratch.path, &limits);
        assert_reads_go_on(history, acknowledged);
        history_free(history);
        assert_true(is_intact(scratch.path));
        scratch_empty(&scratch);
    }
    assert_true(failures_n >= 20);
}

int main(void)
{
#ifdef __SANITIZE_THREAD__
    /* one thread does it all, thousands of times, and the sanitizer for threads would look at each
     * for minutes; the other builds run it */
    puts("1..0 # SKIP one thread only");
    return 0;
#endif
#define TEST(name) cmocka_unit_test_teardown(name, clean)
    const struct CMUnitTest tests[] = {
        TEST(loses_nothing_when_the_power_goes),
        TEST(would_lose_events_without_syncs),
        TEST(a_failed_sync_ends_publishing),
        TEST(a_failed_write_ends_publishing),
        TEST(a_full_disk_ends_publishing_until_there_is_room),
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
