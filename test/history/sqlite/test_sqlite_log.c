/* SPDX-License-Identifier: MIT */
/* The store on disk: logs that do not belong to the file beside which they are, and logs that are
 * missing.  What a crash leaves always fits. */
#include "history/sqlite/sqlite_store.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "../../support/scratch.h"
#include "base/log.h"
#include "history/sqlite/sqlite_vfs.h"

#define COMMITS 80
#define COMMIT_EVENTS 30 /* of two kilobytes: a commit is some 20 pages, and 50 move the log */

static struct scratch scratch;

static int clean(void **state)
{
    (void)state;
    scratch_empty(&scratch);
    return 0;
}

/* A file of the folder; valid until the eighth call from here. */
static const char *named(const char *name)
{
    static char paths[8][128];
    static unsigned turn;
    char *path = paths[turn++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", scratch.folder, name);
    return path;
}

static void copy(const char *from, const char *to)
{
    FILE *in = fopen(from, "r"), *out;
    char bytes[65536];
    size_t n;

    assert_non_null(in);
    assert_non_null(out = fopen(to, "w"));
    while ((n = fread(bytes, 1, sizeof(bytes), in)) > 0)
        assert_int_equal(fwrite(bytes, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

static void commit(struct history *history)
{
    struct message *events[COMMIT_EVENTS];
    char data[2048];

    memset(data, 'x', sizeof(data) - 1);
    data[sizeof(data) - 1] = '\0';
    for (size_t i = 0; i < COMMIT_EVENTS; i++)
        events[i] = make_message(.topics = "a", .data = data);
    assert_int_equal(history_append(history, events, COMMIT_EVENTS, 1000), 0);
    for (size_t i = 0; i < COMMIT_EVENTS; i++)
        message_unref(events[i]);
    history_settle(history);
}

/* Without closing it: what a kill at this moment leaves, under another name. */
static void image(const char *from, const char *to)
{
    char from_log[160], to_log[160];

    snprintf(from_log, sizeof(from_log), "%s-wal", from);
    snprintf(to_log, sizeof(to_log), "%s-wal", to);
    copy(from, to);
    copy(from_log, to_log);
}

static void forget(const char *path)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    char name[160];

    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "%s%s", path, endings[i]);
        unlink(name);
    }
}

static uint64_t newest_in(const char *path)
{
    struct history *history = scratch_open(path, NULL);
    struct history_bounds bounds;

    history_bounds(history, &bounds);
    history_free(history);
    return bounds.newest;
}

/* Nothing of either file changes. */
static void assert_refused(const char *path, const char *why)
{
    struct conf_error error = {.text = ""};

    copy(path, named("before"));
    assert_null(scratch_try(path, NULL, &error));
    if (strstr(error.text, why) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.text, why);
    FILE *one = fopen(path, "r"), *other = fopen(named("before"), "r");
    int a, b;
    do {
        a = getc(one);
        b = getc(other);
    } while (a == b && a != EOF);
    assert_int_equal(a, b);
    fclose(one);
    fclose(other);
}

static void what_a_kill_leaves_always_fits(void **state)
{
    struct history *history = scratch_open(scratch.path, NULL);
    unsigned fits_n = 0;

    (void)state;
    for (uint64_t i = 1; i <= 2 * COMMITS; i++) {
        commit(history);
        if (i % 3 == 0)
            assert_int_equal(history_trim(history, 1000), false);
        if (i % 5 != 0)
            continue;
        image(scratch.path, named("image"));
        assert_int_equal(newest_in(named("image")), i * COMMIT_EVENTS);
        assert_int_equal(newest_in(named("image")), i * COMMIT_EVENTS);
        forget(named("image"));
        fits_n++;
    }
    assert_true(fits_n > 20);
    history_free(history);
}

/* Begun again after each kill, on what that left. */
static void kill_upon_kill_fits(void **state)
{
    uint64_t newest = 0;

    (void)state;
    for (unsigned i = 0; i < 12; i++) {
        struct history *history = scratch_open(scratch.path, NULL);

        for (unsigned n = 0; n < 7 * i; n++, newest += COMMIT_EVENTS)
            commit(history);
        image(scratch.path, named("image"));
        history_free(history);
        forget(scratch.path);
        image(named("image"), scratch.path);
        forget(named("image"));
    }
    assert_int_equal(newest_in(scratch.path), newest);
}

static void the_log_of_another_store_is_refused(void **state)
{
    struct history *one = scratch_open(scratch.path, NULL);
    struct history *other = scratch_open(named("other"), NULL);

    (void)state;
    for (unsigned i = 0; i < COMMITS; i++)
        commit(one);
    commit(other);
    image(scratch.path, named("image"));
    copy(named("other-wal"), named("image-wal"));
    assert_refused(named("image"), "does not belong");
    copy(named("h.db-wal"), named("image-wal")); /* back again */
    assert_int_equal(newest_in(named("image")), COMMITS * COMMIT_EVENTS);
    history_free(one);
    history_free(other);
    /* a file that was closed, too */
    copy(scratch.path, named("image"));
    one = scratch_open(scratch.path, NULL);
    other = scratch_open(named("other"), NULL);
    commit(other);
    copy(named("other-wal"), named("image-wal"));
    assert_refused(named("image"), "does not belong");
    history_free(one);
    history_free(other);
}

static void a_newer_log_beside_an_older_file_is_refused(void **state)
{
    struct history *history = scratch_open(scratch.path, NULL);

    (void)state;
    commit(history);
    image(scratch.path, named("old"));
    for (unsigned i = 0; i < 2 * COMMITS; i++)
        commit(history);
    image(scratch.path, named("new"));
    copy(named("old"), named("mixed"));
    copy(named("new-wal"), named("mixed-wal"));
    assert_refused(named("mixed"), "does not belong");
    forget(named("mixed"));
    copy(named("new"), named("mixed")); /* and an older one beside a newer file */
    copy(named("old-wal"), named("mixed-wal"));
    assert_refused(named("mixed"), "does not belong");
    history_free(history);
}

/* The log of the first events too, of a file that was closed before. */
static void a_missing_log_is_told_from_the_start(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct history *history = scratch_open(scratch.path, NULL);

        commit(history);
        image(scratch.path, named("image"));
        history_free(history);
        assert_int_equal(unlink(named("image-wal")), 0);
        assert_refused(named("image"), "is missing");
        forget(named("image"));
    }
    assert_int_equal(newest_in(scratch.path), 3 * COMMIT_EVENTS);
}

static void a_missing_log_is_told(void **state)
{
    struct history *history = scratch_open(scratch.path, NULL);
    char epoch[SSE_EPOCH_BYTES + 1];
    struct history_limits none = {SCRATCH_FOR_EVER, SCRATCH_LOTS, SCRATCH_LOTS, SCRATCH_FOR_EVER,
                                  SCRATCH_LOTS};
    struct conf_error error;

    (void)state;
    strcpy(epoch, history_epoch(history));
    for (unsigned i = 0; i < COMMITS; i++)
        commit(history);
    image(scratch.path, named("image"));
    history_free(history);
    assert_int_equal(unlink(named("image-wal")), 0);
    assert_refused(named("image"), "is missing");
    history = sqlite_store_open_without_log(named("image"), &none, &error);
    assert_non_null(history);
    assert_int_equal(sqlite_store_renew_epoch(history), 0);
    history_free(history);
    history = scratch_open(named("image"), NULL);
    assert_string_not_equal(history_epoch(history), epoch);
    history_free(history);
}

/* SQLite would remove the log. */
static void a_log_without_its_file_is_kept(void **state)
{
    struct history *history = scratch_open(scratch.path, NULL);
    struct stat facts;

    (void)state;
    commit(history);
    image(scratch.path, named("image"));
    history_free(history);
    assert_int_equal(rename(named("image"), named("away")), 0);
    struct conf_error error = {.text = ""};
    assert_null(scratch_try(named("image"), NULL, &error));
    assert_non_null(strstr(error.text, "holds events"));
    assert_int_equal(stat(named("image-wal"), &facts), 0);
    assert_int_equal(rename(named("away"), named("image")), 0);
    assert_int_equal(newest_in(named("image")), COMMIT_EVENTS);
}

/* Files of earlier versions say nothing of their log, and take what is there. */
static void a_file_that_says_nothing_takes_its_log(void **state)
{
    struct history *history = scratch_open(scratch.path, NULL);
    sqlite3 *db;

    (void)state;
    commit(history);
    history_free(history);
    assert_int_equal(sqlite3_open_v2(scratch.path, &db, SQLITE_OPEN_READWRITE, sqlite_vfs()), 0);
    sqlite_vfs_check(db);
    assert_int_equal(sqlite3_exec(db, "DELETE FROM meta WHERE name = 'log'", NULL, NULL, NULL), 0);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    history = scratch_open(scratch.path, NULL);
    commit(history);
    image(scratch.path, named("image"));
    assert_int_equal(newest_in(named("image")), 2 * COMMIT_EVENTS);
    history_free(history);
    assert_int_equal(newest_in(scratch.path), 2 * COMMIT_EVENTS);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, clean)
    const struct CMUnitTest tests[] = {
        TEST(what_a_kill_leaves_always_fits),
        TEST(kill_upon_kill_fits),
        TEST(the_log_of_another_store_is_refused),
        TEST(a_newer_log_beside_an_older_file_is_refused),
        TEST(a_missing_log_is_told),
        TEST(a_missing_log_is_told_from_the_start),
        TEST(a_log_without_its_file_is_kept),
        TEST(a_file_that_says_nothing_takes_its_log),
    };

    scratch_make(&scratch);
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_remove(&scratch);
    return failed;
}
