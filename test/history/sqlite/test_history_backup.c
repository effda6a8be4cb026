/* SPDX-License-Identifier: MIT */
/* Copies of the store on disk: what is in them, what becomes of them when they are opened, and what
 * a copy that fails or is given up leaves. */
#include "history/sqlite/sqlite_store.h"

#include <setjmp.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "../../support/scratch.h"
#include "../../support/vfs_shim.h"
#include "base/log.h"
#include "history/history_memory.h"
#include "history/sqlite/sqlite_vfs.h"

#define LOTS SCRATCH_LOTS
#define FOR_EVER SCRATCH_FOR_EVER
#define ROUNDS_MAX 100000
/* A copy of so many takes several steps, each at most 1 MiB. */
#define MANY 3000

static struct scratch scratch;
static char copy_path[128];

static int clean(void **state)
{
    (void)state;
    vfs_shim_watch(NULL);
    vfs_shim_heal();
    scratch_empty(&scratch);
    return 0;
}

static struct history *open_store(void)
{
    return scratch_open(scratch.path, NULL);
}

/* As one commit, with a kilobyte each, topics of many kinds and users of some. */
static int try_add(struct history *history, size_t events_n)
{
    struct message **events = malloc(events_n * sizeof(struct message *));
    char data[1024], topics[64];

    for (size_t i = 0; i < events_n; i++) {
        snprintf(data, sizeof(data), "%01000zu", i);
        snprintf(topics, sizeof(topics), "t/%zu all", i * 7919 % 1000);
        events[i] =
            make_message(.topics = topics, .data = data, .users = i % 10 == 0 ? "ann bob" : NULL);
    }
    int result = history_append(history, events, events_n, 1000);
    for (size_t i = 0; i < events_n; i++)
        message_unref(events[i]);
    free(events);
    return result;
}

static void add(struct history *history, size_t events_n)
{
    assert_int_equal(try_add(history, events_n), 0);
}

static void store_many(struct history *history)
{
    for (size_t i = 0; i < MANY; i += 100)
        add(history, 100);
}

static uint64_t newest_of(struct history *history)
{
    struct history_bounds bounds;

    history_bounds(history, &bounds);
    return bounds.newest;
}

/* Put what a client would get into a file, and close the descriptor. */
static void save(const struct history_backup *backup)
{
    char *bytes = malloc(backup->bytes);
    struct stat facts;

    assert_int_equal(fstat(backup->fd, &facts), 0);
    assert_int_equal(facts.st_size, backup->bytes);
    assert_int_equal(facts.st_mode & 0777, 0600);
    assert_int_equal(facts.st_nlink, 0);
    assert_int_equal(pread(backup->fd, bytes, backup->bytes, 0), backup->bytes);
    FILE *file = fopen(copy_path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, backup->bytes, file), backup->bytes);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(close(backup->fd), 0);
    free(bytes);
}

/* Step to the end.  Returns the result; a copy is saved. */
static int finish(struct history *history, struct history_backup *ret_backup)
{
    int result = 1;

    for (size_t i = 0; result > 0; i++) {
        assert_true(i < ROUNDS_MAX);
        result = history_backup_step(history, ret_backup);
    }
    if (result == 0)
        save(ret_backup);
    return result;
}

static struct history_backup copy_all(struct history *history)
{
    struct history_backup backup;

    assert_int_equal(history_backup_begin(history), 0);
    assert_int_equal(finish(history, &backup), 0);
    return backup;
}

/* A number that a file has, read through the checksums of its pages. */
static int64_t ask(const char *path, const char *sql)
{
    sqlite3_stmt *statement;
    sqlite3 *db;

    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, sqlite_vfs()), SQLITE_OK);
    assert_int_equal(sqlite_vfs_check(db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return number;
}

/* Rows that the copy has and the closed store has not, and the other way round up to a position. */
static int64_t count_differences(const char *table, uint64_t upto)
{
    char sql[700];

    snprintf(sql, sizeof(sql),
             "SELECT (SELECT count(*) FROM (SELECT * FROM s.%s WHERE position <= %llu"
             "   EXCEPT SELECT * FROM main.%s))"
             " + (SELECT count(*) FROM (SELECT * FROM main.%s EXCEPT SELECT * FROM s.%s))",
             table, (unsigned long long)upto, table, table, table);
    sqlite3 *db;
    sqlite3_stmt *statement;
    char attach[200];
    assert_int_equal(sqlite3_open(copy_path, &db), SQLITE_OK);
    snprintf(attach, sizeof(attach), "ATTACH '%s' AS s", scratch.path);
    assert_int_equal(sqlite3_exec(db, attach, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t count = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return count;
}

static void assert_is_prefix(uint64_t newest)
{
    assert_int_equal(ask(copy_path, "SELECT max(position) FROM events"), newest);
    assert_int_equal(count_differences("events", newest), 0);
    assert_int_equal(count_differences("topics", newest), 0);
    assert_int_equal(count_differences("users", newest), 0);
    assert_int_equal(ask(copy_path, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"),
                     1);
}

/* Files in the folder, without the store and what belongs to it. */
static size_t count_strangers(void)
{
    static const char *const known[] = {"h.db", "h.db-wal", "h.db-shm", "h.db.lock"};
    DIR *folder = opendir(scratch.folder);
    struct dirent *entry;
    size_t count = 0;

    while ((entry = readdir(folder)) != NULL) {
        bool is_known = entry->d_name[0] == '.';

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            is_known |= strcmp(known[i], entry->d_name) == 0;
        count += !is_known;
    }
    closedir(folder);
    return count;
}

static size_t count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;

    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

#define SETTLED_LOOKS 50

/* Once those of the copy before, which a thread of its own closes, are closed. */
static size_t settled_descriptors(void)
{
    size_t count = count_descriptors();

    for (size_t same_n = 0; same_n < SETTLED_LOOKS; same_n++) {
        usleep(1000);
        size_t now_n = count_descriptors();
        if (now_n != count)
            same_n = 0;
        count = now_n;
    }
    return count;
}

/* A copy's own is closed by a thread of its own. */
static void await_descriptors(size_t wanted_n)
{
    for (size_t i = 0; i < ROUNDS_MAX && count_descriptors() != wanted_n; i++)
        usleep(1000);
    assert_int_equal(count_descriptors(), wanted_n);
}

/* ---- what is in a copy ---- */

static void a_copy_is_a_prefix_though_appends_go_on(void **state)
{
    struct history *history = open_store();
    struct history_backup backup;
    size_t steps_n = 0;
    uint64_t newest;
    int result;

    (void)state;
    store_many(history);
    assert_int_equal(history_backup_begin(history), 0);
    do {
        newest = newest_of(history);
        result = history_backup_step(history, &backup);
        steps_n++;
        if (result > 0 && steps_n < 200)
            add(history, 10);
        history_trim(history, 1000);
    } while (result > 0);
    assert_int_equal(result, 0);
    assert_true(steps_n > 3);
    assert_true(newest > MANY);
    assert_int_equal(backup.newest, newest);
    save(&backup);
    add(history, 50); /* too late for it */
    history_free(history);
    assert_is_prefix(newest);
}

static void what_is_forgotten_meanwhile_is_not_in_the_copy(void **state)
{
    struct history_limits limits = {FOR_EVER, MANY, LOTS, FOR_EVER, LOTS};
    struct history *history = scratch_open(scratch.path, &limits);
    struct history_backup backup;
    struct history_bounds bounds;
    int result;

    (void)state;
    store_many(history);
    assert_int_equal(history_backup_begin(history), 0);
    while ((result = history_backup_step(history, &backup)) > 0) {
        if (newest_of(history) < 2 * MANY)
            add(history, 20);
        history_trim(history, 1000);
    }
    assert_int_equal(result, 0);
    save(&backup);
    history_bounds(history, &bounds);
    assert_true(bounds.trimmed > 0);
    history_free(history);
    assert_is_prefix(bounds.newest);
    assert_int_equal(ask(copy_path, "SELECT min(position) FROM events"), bounds.trimmed + 1);
}

/* No log and no other file is needed, and every page is sealed. */
static void a_copy_stands_alone(void **state)
{
    struct history *history = open_store();

    (void)state;
    add(history, 300);
    struct history_backup backup = copy_all(history);
    assert_int_equal(backup.newest, 300);
    assert_int_equal(backup.bytes % SQLITE_VFS_PAGE_BYTES, 0);
    history_free(history);
    assert_int_equal(ask(copy_path, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 0);
    assert_int_equal(ask(copy_path, "SELECT page_count FROM pragma_page_count") *
                         SQLITE_VFS_PAGE_BYTES,
                     backup.bytes);
    assert_is_prefix(300);
}

static void an_empty_store_can_be_copied(void **state)
{
    struct history *history = open_store();
    struct history_backup backup = copy_all(history);

    (void)state;
    assert_int_equal(backup.newest, 0);
    history_free(history);
    history = scratch_open(copy_path, NULL);
    add(history, 1);
    assert_int_equal(newest_of(history), 1);
    history_free(history);
}

/* Up to where ids of an epoch are good; 0: not known. */
static uint64_t end_of(const struct history *history, const char *epoch)
{
    uint64_t end = 0;

    lineage_find(history_lineage(history), epoch, &end);
    return end;
}

/* ---- what becomes of it ---- */

static void a_copy_begins_a_new_epoch_once(void **state)
{
    struct history *history = open_store();
    char before[SSE_EPOCH_BYTES + 1], told[SSE_EPOCH_BYTES + 1], after[SSE_EPOCH_BYTES + 1];
    struct conf_error error;
    bool copied = false;

    (void)state;
    add(history, 20);
    copy_all(history);
    strcpy(before, history_epoch(history));
    history_free(history);
    assert_int_equal(sqlite_store_read_epoch(copy_path, told, &copied, &error), 0);
    assert_true(copied);
    assert_string_equal(told, before);

    history = scratch_open(copy_path, NULL);
    strcpy(after, history_epoch(history));
    assert_string_not_equal(after, before);
    assert_int_equal(end_of(history, before), 20);
    add(history, 1);
    assert_int_equal(newest_of(history), 21);
    history_free(history);
    history = scratch_open(copy_path, NULL);
    assert_string_equal(history_epoch(history), after);
    assert_int_equal(end_of(history, before), 20);
    assert_int_equal(end_of(history, after), UINT64_MAX);
    history_free(history);
    assert_int_equal(sqlite_store_read_epoch(copy_path, told, &copied, &error), 0);
    assert_false(copied);
    assert_string_equal(told, after);

    history = open_store(); /* which is no copy */
    assert_string_equal(history_epoch(history), before);
    history_free(history);
}

/* Its pages would be played into the copy. */
static void the_log_of_another_file_beside_a_copy_is_refused(void **state)
{
    struct history *history = open_store();
    struct conf_error error = {.text = ""};
    char log[160];

    (void)state;
    add(history, 20);
    copy_all(history);
    history_free(history);
    snprintf(log, sizeof(log), "%s-wal", copy_path);
    FILE *file = fopen(log, "w");
    fputs("the newest of another file", file);
    fclose(file);
    assert_null(scratch_try(copy_path, NULL, &error));
    assert_non_null(strstr(error.text, "copy.db-wal belongs to another file"));
    assert_int_equal(access(log, F_OK), 0);
    unlink(log);
    history = scratch_open(copy_path, NULL);
    assert_int_equal(newest_of(history), 20);
    history_free(history);
}

static void a_damaged_page_of_a_copy_is_told(void **state)
{
    struct history *history = open_store();

    (void)state;
    add(history, 500);
    struct history_backup backup = copy_all(history);
    history_free(history);
    for (uint64_t page = 0; page < backup.bytes / SQLITE_VFS_PAGE_BYTES; page += 13) {
        off_t at = (off_t)(page * SQLITE_VFS_PAGE_BYTES + 1000);
        int fd = open(copy_path, O_RDWR);
        sqlite3 *db;
        char byte;

        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        assert_int_equal(sqlite3_open_v2(copy_path, &db, SQLITE_OPEN_READWRITE, sqlite_vfs()), 0);
        sqlite_vfs_check(db);
        sqlite3_exec(db, "PRAGMA integrity_check", NULL, NULL, NULL);
        sqlite3_extended_result_codes(db, 1);
        assert_int_not_equal(sqlite3_errcode(db), SQLITE_OK);
        sqlite3_close(db);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
    }
    assert_is_prefix(500);
}

/* Each page in turn becomes zeros: a copy tells, or it is sound and has all. */
static void no_copy_hides_a_page_that_was_lost(void **state)
{
    static const char blank[SQLITE_VFS_PAGE_BYTES];
    struct history_limits limits = {FOR_EVER, 150, LOTS, INT64_MAX / 2, SIZE_MAX};
    struct history *history = scratch_open(scratch.path, &limits);
    unsigned copies_n = 0, told_n = 0;
    char page[SQLITE_VFS_PAGE_BYTES];
    struct conf_error error;
    struct stat facts;

    (void)state;
    add(history, 200);
    history_trim(history, 1000); /* so that some pages are free */
    history_free(history);
    for (off_t at = 0; stat(scratch.path, &facts) == 0 && at < facts.st_size; at += sizeof(page)) {
        struct history_backup backup;
        int fd = open(scratch.path, O_RDWR);

        assert_int_equal(pread(fd, page, sizeof(page), at), sizeof(page));
        assert_int_equal(pwrite(fd, blank, sizeof(page), at), sizeof(page));
        history = scratch_try(scratch.path, &limits, &error);
        if (history != NULL && history_backup_begin(history) == 0 &&
            finish(history, &backup) == 0) {
            assert_int_equal(ask(copy_path, "SELECT count(*) FROM events"), 150);
            assert_int_equal(ask(copy_path, "SELECT count(*) FROM pragma_integrity_check"
                                            " WHERE integrity_check = 'ok'"),
                             1);
            copies_n++;
        } else {
            told_n++;
        }
        history_free(history);
        assert_int_equal(pwrite(fd, page, sizeof(page), at), sizeof(page));
        close(fd);
        history_free(scratch_open(scratch.path, &limits));
    }
    assert_true(copies_n > 5); /* pages that are free */
    assert_true(told_n > 50);
}

static void a_renewed_epoch_stays(void **state)
{
    struct history *history = open_store();
    char before[SSE_EPOCH_BYTES + 1], after[SSE_EPOCH_BYTES + 1];

    (void)state;
    add(history, 3);
    strcpy(before, history_epoch(history));
    assert_int_equal(sqlite_store_renew_epoch(history), 0);
    strcpy(after, history_epoch(history));
    assert_string_not_equal(after, before);
    history_free(history);
    history = open_store();
    assert_string_equal(history_epoch(history), after);
    assert_int_equal(end_of(history, before), 3);
    assert_int_equal(newest_of(history), 3);
    history_free(history);
}

static void the_epoch_is_read_beside_the_writer_and_changes_nothing(void **state)
{
    struct history *history = open_store();
    char told[SSE_EPOCH_BYTES + 1], epoch[SSE_EPOCH_BYTES + 1];
    struct conf_error error;
    bool copied = true;

    (void)state;
    add(history, 3);
    strcpy(epoch, history_epoch(history));
    assert_int_equal(sqlite_store_read_epoch(scratch.path, told, &copied, &error), 0);
    assert_string_equal(told, epoch);
    assert_false(copied);
    history_free(history);

    char log[128];
    struct stat facts;
    snprintf(log, sizeof(log), "%s-wal", scratch.path);
    assert_int_equal(sqlite_store_read_epoch(scratch.path, told, &copied, &error), 0);
    assert_string_equal(told, epoch);
    assert_int_equal(stat(log, &facts), -1);
    assert_int_equal(sqlite_store_read_epoch("/dev/null", told, &copied, &error), -1);
    assert_int_equal(sqlite_store_read_epoch("/nowhere", told, &copied, &error), -1);
    assert_string_equal(error.text, "/nowhere: No such file or directory");
}

/* ---- what fails ---- */

static void a_copy_that_fails_does_no_harm(void **state)
{
    static const struct {
        int code;
        int result;
    } faults[] = {{SQLITE_FULL, -ENOSPC}, {SQLITE_IOERR_WRITE, -EIO}};
    struct history *history = open_store();
    struct history_backup backup;
    uint64_t failures_n = 0;
    char watched[128];

    (void)state;
    snprintf(watched, sizeof(watched), "%s.copying", scratch.path);
    add(history, 600);
    size_t descriptors_n = settled_descriptors();
    for (size_t i = 0; i < 2; i++)
        for (uint64_t nth = 1; nth < 200; nth += nth / 3 + 1) {
            vfs_shim_watch(watched);
            vfs_shim_fail(VFS_SHIM_WRITE, nth, 1, faults[i].code);
            int result = history_backup_begin(history);
            if (result == 0)
                result = finish(history, &backup);
            assert_int_equal(result, vfs_shim_has_failed() ? faults[i].result : 0);
            failures_n += vfs_shim_has_failed();
            vfs_shim_heal();
            vfs_shim_watch(NULL);
            add(history, 1);
            unlink(copy_path);
            assert_int_equal(count_strangers(), 0);
        }
    assert_true(failures_n > 20);
    await_descriptors(descriptors_n);
    backup = copy_all(history);
    assert_int_equal(backup.newest, newest_of(history));
    history_free(history);
    assert_is_prefix(backup.newest);
}

/* A commit that outgrows the cache is in the log, and so in the copy, before it fails. */
static void an_append_that_fails_meanwhile_is_not_in_the_copy(void **state)
{
    struct history_backup backup;
    size_t failures_n = 0;
    char log[128];
    int result = 1;

    (void)state;
    snprintf(log, sizeof(log), "%s-wal", scratch.path);
    vfs_shim_watch(log);
    struct history *history = open_store();
    store_many(history);
    assert_int_equal(history_backup_begin(history), 0);
    for (size_t i = 0; result > 0; i++) {
        assert_true(i < ROUNDS_MAX);
        failures_n += i == 1 || i == 3;
        if (i == 1 || i == 3) {
            vfs_shim_fail(VFS_SHIM_WRITE, i == 1 ? 7 : 2000, 1, SQLITE_FULL);
            assert_int_equal(try_add(history, i == 1 ? 20 : 20000), -ENOSPC);
            vfs_shim_heal();
        } else if (i < 20) {
            add(history, 5);
        }
        result = history_backup_step(history, &backup);
    }
    assert_int_equal(result, 0);
    assert_int_equal(failures_n, 2);
    assert_in_range(backup.newest, MANY, MANY + 100);
    assert_int_equal(backup.newest, newest_of(history));
    save(&backup);
    history_free(history);
    vfs_shim_watch(NULL);
    assert_is_prefix(backup.newest);
}

static void a_copy_that_is_given_up_leaves_nothing(void **state)
{
    struct history *history = open_store();
    struct history_backup backup;

    (void)state;
    store_many(history);
    size_t descriptors_n = settled_descriptors();
    history_backup_end(history); /* none under way */
    assert_int_equal(history_backup_begin(history), 0);
    history_backup_end(history);
    assert_int_equal(history_backup_begin(history), 0);
    assert_int_equal(history_backup_step(history, &backup), 1);
    add(history, 10);
    history_backup_end(history);
    assert_int_equal(count_strangers(), 0);
    await_descriptors(descriptors_n);
    assert_int_equal(copy_all(history).newest, MANY + 10);
    unlink(copy_path);

    assert_int_equal(history_backup_begin(history), 0);
    assert_int_equal(history_backup_step(history, &backup), 1);
    history_free(history);
    assert_int_equal(count_strangers(), 0);
}

static void leavings_of_a_killed_gateway_are_removed(void **state)
{
    static const char *const endings[] = {"", "-wal", "-journal", "-shm"};
    char name[160];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "%s.copying%s", scratch.path, endings[i]);
        FILE *file = fopen(name, "w");
        fputs("half of a copy", file);
        fclose(file);
    }
    struct history *history = open_store();
    assert_int_equal(count_strangers(), 0);
    add(history, 5);
    assert_int_equal(copy_all(history).newest, 5);
    history_free(history);
}

static void a_damaged_store_is_not_copied(void **state)
{
    struct history *history = open_store();
    struct history_backup backup;

    (void)state;
    add(history, 500);
    history_free(history);
    int fd = open(scratch.path, O_RDWR);
    assert_int_equal(pwrite(fd, "x", 1, 40 * SQLITE_VFS_PAGE_BYTES + 100), 1);
    close(fd);
    history = open_store();
    assert_int_equal(history_backup_begin(history), 0);
    assert_int_equal(finish(history, &backup), -EIO);
    add(history, 1); /* it goes on as it was */
    history_free(history);
    assert_int_equal(count_strangers(), 0);
}

static void a_store_that_failed_is_not_copied(void **state)
{
    struct history_backup backup;
    char log[128];

    (void)state;
    snprintf(log, sizeof(log), "%s-wal", scratch.path);
    vfs_shim_watch(log);
    struct history *history = open_store();
    store_many(history);
    assert_int_equal(history_backup_begin(history), 0);
    assert_int_equal(history_backup_step(history, &backup), 1);
    vfs_shim_fail(VFS_SHIM_SYNC, 1, 1, SQLITE_IOERR_FSYNC);
    assert_int_equal(try_add(history, 1), -EIO);
    assert_int_equal(history_backup_step(history, &backup), -EIO);
    assert_int_equal(history_backup_begin(history), -EIO);
    history_free(history);
    assert_int_equal(count_strangers(), 0);
}

static void there_is_nothing_to_copy_in_memory(void **state)
{
    static const struct history_limits limits = {FOR_EVER, LOTS, LOTS, FOR_EVER, LOTS};
    struct history *history = history_memory_new(&limits);

    (void)state;
    assert_int_equal(history_backup_begin(history), -ENOTSUP);
    history_backup_end(history);
    history_free(history);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, clean)
    const struct CMUnitTest tests[] = {
        TEST(a_copy_is_a_prefix_though_appends_go_on),
        TEST(what_is_forgotten_meanwhile_is_not_in_the_copy),
        TEST(a_copy_stands_alone),
        TEST(an_empty_store_can_be_copied),
        TEST(a_copy_begins_a_new_epoch_once),
        TEST(the_log_of_another_file_beside_a_copy_is_refused),
        TEST(a_damaged_page_of_a_copy_is_told),
        TEST(no_copy_hides_a_page_that_was_lost),
        TEST(a_renewed_epoch_stays),
        TEST(the_epoch_is_read_beside_the_writer_and_changes_nothing),
        TEST(a_copy_that_fails_does_no_harm),
        TEST(an_append_that_fails_meanwhile_is_not_in_the_copy),
        TEST(a_copy_that_is_given_up_leaves_nothing),
        TEST(leavings_of_a_killed_gateway_are_removed),
        TEST(a_damaged_store_is_not_copied),
        TEST(a_store_that_failed_is_not_copied),
        TEST(there_is_nothing_to_copy_in_memory),
    };

    vfs_shim_install();
    scratch_make(&scratch);
    snprintf(copy_path, sizeof(copy_path), "%s/copy.db", scratch.folder);
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_remove(&scratch);
    return failed;
}
