/* SPDX-License-Identifier: MIT */
/* The store on disk: files that are linked, moved, removed and replaced under it, and what keeps
 * events from being stored, at the start and later. */
#include "history/sqlite/sqlite_store.h"

#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "../../support/scratch.h"
#include "../../support/vfs_shim.h"
#include "base/log.h"
#include "history/sqlite/sqlite_vfs.h"

static struct scratch scratch;

static int clean(void **state)
{
    (void)state;
    vfs_shim_watch(NULL);
    vfs_shim_heal();
    scratch_empty(&scratch);
    return 0;
}

/* A file beside the store; valid until the fourth call from here. */
static const char *beside(const char *ending)
{
    static char paths[4][128];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, sizeof(paths[0]), "%s%s", scratch.path, ending);
    return path;
}

static int add_data(struct history *history, const char *data)
{
    struct message *message = make_message(.topics = "a", .data = data);
    int result = history_append(history, &message, 1, 1000);

    message_unref(message);
    return result;
}

static int add(struct history *history)
{
    return add_data(history, "x");
}

static void assert_refused(const char *path, const char *why)
{
    struct conf_error error = {.text = ""};

    assert_null(scratch_try(path, NULL, &error));
    if (strstr(error.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.text, why);
}

static void assert_goes_on(struct history *history, uint64_t newest)
{
    struct history_bounds bounds;

    history_watch(history);
    assert_int_equal(history_trouble(history), HISTORY_FINE);
    assert_int_equal(add(history), 0);
    history_bounds(history, &bounds);
    assert_int_equal(bounds.newest, newest);
}

static void assert_stands(struct history *history)
{
    history_watch(history);
    assert_int_equal(history_trouble(history), HISTORY_GONE);
    assert_int_equal(add(history), -ESTALE);
}

/* ---- names ---- */

static void a_file_with_two_names_is_refused(void **state)
{
    (void)state;
    history_free(scratch_open(scratch.path, NULL));
    assert_int_equal(link(scratch.path, beside("-link")), 0);
    assert_refused(scratch.path, "hard link");
    assert_refused(beside("-link"), "hard link");
    assert_int_equal(unlink(beside("-link")), 0);
    history_free(scratch_open(scratch.path, NULL));
}

static void a_file_in_use_is_locked_under_any_name(void **state)
{
    struct history *history = scratch_open(scratch.path, NULL);

    (void)state;
    assert_int_equal(link(scratch.path, beside("-link")), 0);
    assert_refused(beside("-link"), "in use by another process");
    assert_int_equal(unlink(beside(".lock")), 0); /* nor is this one all that locks it */
    assert_refused(scratch.path, "in use by another process");
    assert_goes_on(history, 1);
    history_free(history);
}

static void a_file_that_is_moved_stands_until_it_is_back(void **state)
{
    struct history *history = scratch_open(scratch.path, NULL);

    (void)state;
    assert_goes_on(history, 1);
    assert_int_equal(rename(scratch.path, beside("-away")), 0);
    assert_int_equal(add(history), -ESTALE); /* at once, not at the next look */
    assert_stands(history);
    assert_int_equal(rename(beside("-away"), scratch.path), 0);
    assert_goes_on(history, 2);
    history_free(history);
    history = scratch_open(scratch.path, NULL);
    assert_goes_on(history, 3);
    history_free(history);
}

static void a_file_that_is_replaced_is_left_alone(void **state)
{
    struct history *history = scratch_open(scratch.path, NULL);
    char bytes[8] = "";

    (void)state;
    assert_goes_on(history, 1);
    assert_int_equal(unlink(scratch.path), 0);
    FILE *other = fopen(scratch.path, "w");
    fputs("other", other);
    fclose(other);
    assert_stands(history);
    history_free(history);
    other = fopen(scratch.path, "r");
    assert_int_equal(fread(bytes, 1, sizeof(bytes), other), 5);
    fclose(other);
}

static void the_log_is_watched_too(void **state)
{
    static const char *const endings[] = {"-wal", "-shm"};
    struct history *history = scratch_open(scratch.path, NULL);
    struct stat facts;

    (void)state;
    assert_goes_on(history, 1);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(rename(beside(endings[i]), beside("-away")), 0);
        assert_stands(history);
        assert_int_equal(rename(beside("-away"), beside(endings[i])), 0);
        assert_goes_on(history, 2 + i);
    }
    assert_int_equal(unlink(beside("-wal")), 0);
    FILE *other = fopen(beside("-wal"), "w");
    fputs("other", other);
    fclose(other);
    assert_stands(history);
    history_free(history); /* moves the log into the file, and leaves what has its name */
    assert_int_equal(stat(beside("-wal"), &facts), 0);
    assert_int_equal(facts.st_size, 5);
    assert_int_equal(unlink(beside("-wal")), 0);
    history = scratch_open(scratch.path, NULL);
    assert_goes_on(history, 4);
    history_free(history);
}

static void a_store_that_changes_hands_keeps_its_lock(void **state)
{
    struct history *history = scratch_open(scratch.path, NULL);

    (void)state;
    assert_goes_on(history, 1);
    assert_int_equal(history_release(history), 0);
    struct history *next = scratch_open(scratch.path, NULL);
    assert_goes_on(next, 2);
    assert_refused(scratch.path, "in use");
    history_free(next);
    assert_int_equal(history_reclaim(history), -EIO); /* it has an event more */
    assert_int_equal(history_trouble(history), HISTORY_FAILED);
    history_free(history);

    history = scratch_open(scratch.path, NULL);
    assert_int_equal(history_release(history), 0);
    assert_int_equal(history_reclaim(history), 0);
    assert_refused(scratch.path, "in use");
    assert_goes_on(history, 3);
    history_free(history);
}

/* ---- storing ---- */

static void a_start_tries_a_commit_and_leaves_nothing_of_it(void **state)
{
    char epoch[SSE_EPOCH_BYTES + 1] = "";
    struct history_usage usage;

    (void)state;
    for (uint64_t i = 1; i <= 3; i++) {
        struct history *history = scratch_open(scratch.path, NULL);

        assert_goes_on(history, i);
        history_usage(history, &usage);
        assert_int_equal(usage.events_n, i);
        assert_int_equal(usage.keys_n, 0);
        assert_true(i == 1 || strcmp(epoch, history_epoch(history)) == 0);
        strcpy(epoch, history_epoch(history));
        history_free(history);
    }
}

static void a_start_whose_sync_fails_is_refused(void **state)
{
    (void)state;
    history_free(scratch_open(scratch.path, NULL));
    vfs_shim_watch(scratch.path);
    vfs_shim_fail(VFS_SHIM_SYNC, 1, UINT64_MAX, 1034 /* SQLITE_IOERR_FSYNC */);
    assert_refused(scratch.path, "cannot be written: disk I/O error");
    vfs_shim_heal();
    vfs_shim_watch(NULL);
    struct history *history = scratch_open(scratch.path, NULL);
    assert_goes_on(history, 1);
    history_free(history);
}

static void a_failed_sync_is_a_trouble_that_stays(void **state)
{
    (void)state;
    vfs_shim_watch(scratch.path);
    struct history *history = scratch_open(scratch.path, NULL);
    vfs_shim_fail(VFS_SHIM_SYNC, 1, 1, 1034);
    assert_int_equal(add(history), -EIO);
    history_watch(history);
    assert_int_equal(history_trouble(history), HISTORY_FAILED);
    assert_int_equal(add(history), -EIO);
    history_free(history);
}

static void without_memory_is_a_trouble_until_there_is_some(void **state)
{
    (void)state;
    vfs_shim_watch(scratch.path);
    struct history *history = scratch_open(scratch.path, NULL);
    for (int by_itself = 0; by_itself < 2; by_itself++) {
        vfs_shim_fail(VFS_SHIM_WRITE, 1, 1, SQLITE_IOERR_NOMEM);
        assert_int_equal(add(history), -ENOMEM);
        assert_int_equal(history_trouble(history), HISTORY_NO_MEMORY);
        if (by_itself)
            history_watch(history);
        else
            assert_int_equal(add(history), 0);
        assert_int_equal(history_trouble(history), HISTORY_FINE);
    }
    history_free(history);
}

/* Each page in turn, all of its bits: whoever starts can store an event. */
static void damage_where_any_event_goes_is_found_at_the_start(void **state)
{
    char page[SQLITE_VFS_PAGE_BYTES], broken[SQLITE_VFS_PAGE_BYTES];
    struct history *history = scratch_open(scratch.path, NULL);
    unsigned refused_n = 0, started_n = 0;
    char data[3000] = "";
    struct conf_error error;
    struct stat facts;

    (void)state;
    memset(data, 'x', sizeof(data) - 1);
    for (int i = 0; i < 40; i++)
        assert_int_equal(add_data(history, data), 0);
    history_free(history);
    for (off_t at = 0; stat(scratch.path, &facts) == 0 && at < facts.st_size; at += sizeof(page)) {
        int fd = open(scratch.path, O_RDWR);

        assert_int_equal(pread(fd, page, sizeof(page), at), sizeof(page));
        for (size_t i = 0; i < sizeof(page); i++)
            broken[i] = (char)~page[i];
        assert_int_equal(pwrite(fd, broken, sizeof(page), at), sizeof(page));
        history = scratch_try(scratch.path, NULL, &error);
        if (history == NULL) {
            refused_n++;
        } else {
            started_n++;
            assert_int_equal(add(history), 0);
            history_free(history);
        }
        assert_int_equal(pwrite(fd, page, sizeof(page), at), sizeof(page));
        close(fd);
        history_free(scratch_open(scratch.path, NULL));
    }
    assert_true(refused_n >= 5); /* the first page, the ends of tables */
    assert_true(started_n >= 5);
}

/* Damage that comes later is found out by the first event that meets it, and is over when it is. */
static void damage_that_comes_later_is_a_trouble_while_it_is_there(void **state)
{
    struct history *history = scratch_open(scratch.path, NULL);
    struct sqlite_store *sqlite = sqlite_of(history);

    (void)state;
    assert_goes_on(history, 1);
    vfs_shim_watch(NULL);
    history_free(history);
    history = scratch_open(scratch.path, NULL);
    sqlite = sqlite_of(history);
    sqlite->damaged = true; /* as append() leaves it */
    sqlite_tell_trouble(sqlite);
    assert_int_equal(history_trouble(history), HISTORY_DAMAGED);
    sqlite->tried_ms = 0;
    history_watch(history);
    assert_int_equal(history_trouble(history), HISTORY_FINE);
    assert_goes_on(history, 2);
    history_free(history);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, clean)
    const struct CMUnitTest tests[] = {
        TEST(a_file_with_two_names_is_refused),
        TEST(a_file_in_use_is_locked_under_any_name),
        TEST(a_file_that_is_moved_stands_until_it_is_back),
        TEST(a_file_that_is_replaced_is_left_alone),
        TEST(the_log_is_watched_too),
        TEST(a_store_that_changes_hands_keeps_its_lock),
        TEST(a_start_tries_a_commit_and_leaves_nothing_of_it),
        TEST(a_start_whose_sync_fails_is_refused),
        TEST(a_failed_sync_is_a_trouble_that_stays),
        TEST(without_memory_is_a_trouble_until_there_is_some),
        TEST(damage_where_any_event_goes_is_found_at_the_start),
        TEST(damage_that_comes_later_is_a_trouble_while_it_is_there),
    };

    vfs_shim_install();
    scratch_make(&scratch);
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_remove(&scratch);
    return failed;
}
