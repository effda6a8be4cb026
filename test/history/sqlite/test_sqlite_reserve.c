/* SPDX-License-Identifier: MIT */
/* The reserve of the disk: refused before anything is written, and only for want of room.  The file
 * system is a fake that says what the test wants. */
#include "history/sqlite/sqlite_store.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <cmocka.h>

#include "../../support/scratch.h"
#include "base/log.h"

#define RESERVE ((uint64_t)10 << 20)
/* What a commit of one small event is taken for at the very most. */
#define SMALL ((uint64_t)64 << 10)

static struct scratch scratch;

/* ---- a file system that says what it is told to ---- */

static struct {
    uint64_t free_blocks;
    uint64_t blocks;
    unsigned long block_bytes;
    int result;
    unsigned asked_n;
} disk;

/* Instead of the C library's. */
int fstatvfs(int fd, struct statvfs *facts)
{
    (void)fd;
    disk.asked_n++;
    memset(facts, 0, sizeof(*facts));
    facts->f_blocks = disk.blocks;
    facts->f_bfree = disk.blocks; /* root has more, which is not for us */
    facts->f_bavail = disk.free_blocks;
    facts->f_bsize = 1 << 20; /* for transfers only */
    facts->f_frsize = disk.block_bytes;
    errno = EIO;
    return disk.result;
}

static void set_free(uint64_t bytes)
{
    disk.free_blocks = bytes / disk.block_bytes;
}

static int set_up(void **state)
{
    (void)state;
    scratch_make(&scratch);
    disk.blocks = (uint64_t)1 << 30;
    disk.block_bytes = 512;
    disk.result = 0;
    disk.asked_n = 0;
    set_free((uint64_t)1 << 30);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

static struct history *open_reserving(uint64_t reserve)
{
    struct history *history = scratch_open(scratch.path, NULL);

    history_set_reserve(history, reserve);
    return history;
}

static int add(struct history *history, struct message *message)
{
    int result = history_append(history, &message, 1, 1000);

    if (result != 0)
        assert_int_equal(message->published_ms, 0); /* nothing was sealed */
    message_unref(message);
    return result;
}

static int64_t log_bytes(void)
{
    char path[128];
    struct stat facts;

    snprintf(path, sizeof(path), "%s-wal", scratch.path);
    assert_int_equal(stat(path, &facts), 0);
    return facts.st_size;
}

static uint64_t newest_of(struct history *history)
{
    struct history_bounds bounds;

    history_bounds(history, &bounds);
    return bounds.newest;
}

/* ---- tests ---- */

static void leaves_the_reserve_alone(void **state)
{
    struct history *history = open_reserving(RESERVE);

    (void)state;
    set_free(RESERVE + SMALL);
    assert_int_equal(add(history, make_message(.topics = "a")), 0);
    set_free(RESERVE + 1024); /* not for the event and its pages too */
    int64_t before = log_bytes();
    assert_int_equal(add(history, make_message(.topics = "a")), -ENOSPC);
    set_free(0);
    assert_int_equal(add(history, make_message(.topics = "a")), -ENOSPC);
    assert_int_equal(log_bytes(), before);
    assert_int_equal(newest_of(history), 1);

    set_free(RESERVE + SMALL); /* by itself, as soon as there is room */
    assert_int_equal(add(history, make_message(.topics = "a")), 0);
    assert_int_equal(newest_of(history), 2);
    history_free(history);
}

static void counts_what_is_to_be_written(void **state)
{
    struct history *history = open_reserving(RESERVE);
    char *large = calloc(1, 2 << 20), users[4 * MAKE_NAMES_MAX + 1] = "";

    (void)state;
    memset(large, 'x', (2 << 20) - 1);
    for (size_t i = 0; i < MAKE_NAMES_MAX; i++)
        sprintf(users + strlen(users), "%c%zu ", i < 10 ? 'u' : 'v', i);
    set_free(RESERVE + SMALL);
    /* once in the log and once in the file */
    set_free(RESERVE + (3 << 20));
    assert_int_equal(add(history, make_message(.data = large)), -ENOSPC);
    set_free(RESERVE + (4 << 20) + SMALL);
    assert_int_equal(add(history, make_message(.data = large)), 0);
    /* a page for each name */
    set_free(RESERVE + MAKE_NAMES_MAX * 4096);
    assert_int_equal(add(history, make_message(.users = users)), -ENOSPC);
    set_free(RESERVE + MAKE_NAMES_MAX * 4096 + SMALL);
    assert_int_equal(add(history, make_message(.users = users)), 0);
    history_free(history);
    free(large);
}

/* What it takes a commit for is not less than what the commit takes. */
static void what_is_counted_is_enough(void **state)
{
    struct history *history = open_reserving(RESERVE);
    char data[9000], topic[32];
    unsigned refused_n = 0;

    (void)state;
    memset(data, 'x', sizeof(data));
    for (size_t i = 0; i < 300; i++) {
        int64_t before = log_bytes();
        uint64_t room = 0;

        data[i * 29] = '\0';
        snprintf(topic, sizeof(topic), "%zu/%zu a%zu", i * 7919 % 1000, i, i);
        do { /* the least room with which it is taken */
            room += 4096;
            set_free(RESERVE + room);
            refused_n++;
        } while (add(history, make_message(.topics = topic, .data = data)) != 0);
        data[i * 29] = 'x';
        assert_in_range(log_bytes() - before, 0, room);
    }
    assert_true(refused_n > 300);
    history_free(history);
}

static void goes_on_reading_and_forgetting(void **state)
{
    struct history_limits limits = {SCRATCH_FOR_EVER, 2, SCRATCH_LOTS, SCRATCH_FOR_EVER,
                                    SCRATCH_LOTS};
    struct filter *filter = make_filter(NULL, NULL);
    struct history_page *page = NULL;
    struct history_bounds bounds;

    (void)state;
    struct history *history = scratch_open(scratch.path, &limits);
    for (int i = 0; i < 5; i++)
        assert_int_equal(add(history, make_message(.topics = "a")), 0);
    history_set_reserve(history, UINT64_C(1) << 50);
    assert_int_equal(add(history, make_message(.topics = "a")), -ENOSPC);
    assert_false(history_trim(history, 1000));
    history_bounds(history, &bounds);
    assert_int_equal(bounds.trimmed, 3);
    struct history_query query = {
        .after = 3, .upto = 5, .filter = filter, .bytes_max = SCRATCH_LOTS};
    assert_int_equal(history_read(history, &query, &page), 0);
    assert_int_equal(page->events_n, 2);
    history_page_free(page);
    filter_unref(filter);
    history_free(history);
}

static void without_a_reserve_nobody_asks(void **state)
{
    struct history *history = scratch_open(scratch.path, NULL);

    (void)state;
    set_free(0);
    assert_int_equal(add(history, make_message(.data = "x")), 0);
    assert_int_equal(disk.asked_n, 0);
    history_set_reserve(history, RESERVE);
    assert_int_equal(add(history, make_message(.data = "x")), -ENOSPC);
    assert_int_equal(disk.asked_n, 1);
    history_set_reserve(history, 0);
    assert_int_equal(add(history, make_message(.data = "x")), 0);
    assert_int_equal(disk.asked_n, 1);
    history_free(history);
}

/* Where nobody knows how much room there is, the write will tell. */
static void a_file_system_that_does_not_know_is_tried(void **state)
{
    struct history *history = open_reserving(RESERVE);

    (void)state;
    set_free(0);
    disk.result = -1;
    assert_int_equal(add(history, make_message(.data = "x")), 0);
    disk.result = 0;
    disk.blocks = 0;
    assert_int_equal(add(history, make_message(.data = "x")), 0);
    assert_int_equal(disk.asked_n, 2);
    history_free(history);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(leaves_the_reserve_alone),      TEST(counts_what_is_to_be_written),
        TEST(what_is_counted_is_enough),     TEST(goes_on_reading_and_forgetting),
        TEST(without_a_reserve_nobody_asks), TEST(a_file_system_that_does_not_know_is_tried),
    };

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
