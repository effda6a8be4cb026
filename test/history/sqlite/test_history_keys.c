/* SPDX-License-Identifier: MIT */
/* Idempotency keys as every store keeps them: the same tests over each. */
#include "history/history.h"

#include <setjmp.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <cmocka.h>

#include "../../support/scratch.h"
#include "../../support/vfs_shim.h"
#include "history/history_memory.h"

#define WINDOW_MS 1000
#define LOTS SCRATCH_LOTS
#define FOR_EVER SCRATCH_FOR_EVER

struct bench {
    struct scratch scratch;
    struct history_limits limits;
    struct history *history;
    bool on_disk;
};

static void open_bench(struct bench *bench)
{
    bench->history = bench->on_disk ? scratch_open(bench->scratch.path, &bench->limits)
                                    : history_memory_new(&bench->limits);
    assert_non_null(bench->history);
}

static struct bench *make_bench(bool on_disk, size_t events_max, size_t keys_max)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    bench->limits = (struct history_limits){FOR_EVER, events_max, LOTS, WINDOW_MS, keys_max};
    bench->on_disk = on_disk;
    scratch_make(&bench->scratch);
    open_bench(bench);
    return bench;
}

static void free_bench(struct bench *bench)
{
    history_free(bench->history);
    scratch_remove(&bench->scratch);
    free(bench);
}

static void add(struct bench *bench, const char *key, const char *data, int64_t now_ms)
{
    struct message *message = make_message(.key = key, .data = data);

    assert_int_equal(history_append(bench->history, &message, 1, now_ms), 0);
    message_unref(message);
}

/* A store may keep a key somewhat longer than it counts; at the end of trimming it does not. */
static void trim(struct bench *bench, int64_t now_ms)
{
    while (history_trim(bench->history, now_ms))
        ;
}

static int find(struct bench *bench, const char *key, const char *data, int64_t now_ms,
                uint64_t *ret_position)
{
    struct message *message = make_message(.key = key, .data = data);
    int known = history_find_key(bench->history, message, now_ms, ret_position);

    message_unref(message);
    return known;
}

static void assert_same(struct bench *bench, const char *key, const char *data, int64_t now_ms,
                        uint64_t position)
{
    uint64_t found = 0;

    assert_int_equal(find(bench, key, data, now_ms, &found), HISTORY_KEY_SAME);
    assert_int_equal(found, position);
}

static void assert_new(struct bench *bench, const char *key, int64_t now_ms)
{
    uint64_t found = 77;

    assert_int_equal(find(bench, key, "x", now_ms, &found), HISTORY_KEY_NEW);
    assert_int_equal(found, 77);
}

static void knows_a_key_and_its_content(bool on_disk)
{
    struct bench *bench = make_bench(on_disk, LOTS, LOTS);
    uint64_t position = 0;

    assert_new(bench, "a", 0);
    add(bench, NULL, "x", 0);
    add(bench, "a", "x", 0);
    add(bench, "b", "y", 0);
    assert_same(bench, "a", "x", 1, 2);
    assert_same(bench, "b", "y", 1, 3);
    assert_int_equal(find(bench, "a", "y", 1, &position), HISTORY_KEY_OTHER);
    assert_new(bench, "ab", 1);
    assert_int_equal(usage_of(bench->history).keys_n, 2);
    free_bench(bench);
}

static int find_json(struct bench *bench, const char *key, const char *data, uint64_t *ret_position)
{
    struct message *message = make_message(.key = key, .data = data, .is_json = true);
    int known = history_find_key(bench->history, message, 1, ret_position);

    message_unref(message);
    return known;
}

/* 1 and "1" are two events, though their bytes are the same. */
static void tells_json_from_text(bool on_disk)
{
    struct bench *bench = make_bench(on_disk, LOTS, LOTS);
    struct message *json = make_message(.key = "json", .data = "1", .is_json = true);
    uint64_t position = 0;

    add(bench, "text", "1", 0);
    assert_int_equal(history_append(bench->history, &json, 1, 0), 0);
    message_unref(json);
    assert_same(bench, "text", "1", 1, 1);
    assert_int_equal(find_json(bench, "json", "1", &position), HISTORY_KEY_SAME);
    assert_int_equal(position, 2);
    assert_int_equal(find_json(bench, "text", "1", &position), HISTORY_KEY_OTHER);
    assert_int_equal(find(bench, "json", "1", 1, &position), HISTORY_KEY_OTHER);
    free_bench(bench);
}

static void forgets_a_key_when_its_window_is_over(bool on_disk)
{
    struct bench *bench = make_bench(on_disk, LOTS, LOTS);

    add(bench, "a", "x", 100);
    add(bench, "b", "x", 600);
    assert_same(bench, "a", "x", 100 + WINDOW_MS - 1, 1);
    assert_new(bench, "a", 100 + WINDOW_MS);
    trim(bench, 100 + WINDOW_MS);
    assert_int_equal(usage_of(bench->history).keys_n, 1);
    assert_int_equal(usage_of(bench->history).keys_early_n, 0);
    assert_same(bench, "b", "x", 100 + WINDOW_MS, 2);
    trim(bench, 600 + WINDOW_MS);
    assert_int_equal(usage_of(bench->history).keys_n, 0);
    free_bench(bench);
}

static void takes_a_key_again_after_its_window(bool on_disk)
{
    struct bench *bench = make_bench(on_disk, LOTS, LOTS);

    add(bench, "a", "x", 0);
    add(bench, "a", "y", WINDOW_MS); /* without a step of trimming between them */
    assert_same(bench, "a", "y", WINDOW_MS + 1, 2);
    trim(bench, WINDOW_MS + 1);
    assert_same(bench, "a", "y", WINDOW_MS + 1, 2);
    trim(bench, 2 * WINDOW_MS);
    assert_new(bench, "a", 2 * WINDOW_MS);
    assert_int_equal(usage_of(bench->history).keys_n, 0);
    free_bench(bench);
}

static void a_key_outlives_its_event(bool on_disk)
{
    struct bench *bench = make_bench(on_disk, 1, LOTS);
    struct history_bounds bounds;

    add(bench, "a", "x", 0);
    add(bench, NULL, "x", 0);
    trim(bench, 0);
    history_bounds(bench->history, &bounds);
    assert_int_equal(bounds.trimmed, 1);
    assert_same(bench, "a", "x", 1, 1);
    free_bench(bench);
}

static void forgets_the_oldest_for_want_of_room_and_says_so(bool on_disk)
{
    struct bench *bench = make_bench(on_disk, LOTS, 1500);
    char key[16];

    for (int i = 0; i < 5000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        add(bench, key, "x", i / 10);
    }
    trim(bench, 500);
    assert_int_equal(usage_of(bench->history).keys_n, 1500);
    assert_int_equal(usage_of(bench->history).keys_early_n, 3500);
    assert_new(bench, "k3499", 500);
    assert_same(bench, "k3500", "x", 500, 3501);
    assert_same(bench, "k4999", "x", 500, 5000);
    free_bench(bench);
}

static void over_each_store(void (*test)(bool on_disk))
{
    test(false);
    test(true);
}

#define OVER_EACH_STORE(name)                                                                      \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        over_each_store(name);                                                                     \
    }

OVER_EACH_STORE(knows_a_key_and_its_content)
OVER_EACH_STORE(tells_json_from_text)
OVER_EACH_STORE(forgets_a_key_when_its_window_is_over)
OVER_EACH_STORE(takes_a_key_again_after_its_window)
OVER_EACH_STORE(a_key_outlives_its_event)
OVER_EACH_STORE(forgets_the_oldest_for_want_of_room_and_says_so)

/* ---- on disk ---- */

static void keeps_keys_over_a_restart(void **state)
{
    struct bench *bench = make_bench(true, LOTS, LOTS);

    (void)state;
    add(bench, "a", "x", 0);
    add(bench, "b", "x", 500);
    history_free(bench->history);
    open_bench(bench);
    assert_int_equal(usage_of(bench->history).keys_n, 2);
    assert_same(bench, "a", "x", 999, 1);
    trim(bench, 1000);
    assert_int_equal(usage_of(bench->history).keys_n, 1);
    add(bench, "c", "x", 1001);
    assert_same(bench, "b", "x", 1001, 2);
    assert_same(bench, "c", "x", 1001, 3);
    trim(bench, 5000);
    history_free(bench->history);
    open_bench(bench);
    assert_int_equal(usage_of(bench->history).keys_n, 0);
    add(bench, "c", "y", 5000);
    assert_same(bench, "c", "y", 5000, 4);
    free_bench(bench);
}

/* A commit that failed leaves no key behind, so that trying again stores the event. */
static void a_key_is_stored_with_its_event_or_not_at_all(void **state)
{
    struct bench *bench = make_bench(true, LOTS, LOTS);
    struct message *message = make_message(.key = "a", .data = "x");

    (void)state;
    add(bench, NULL, "x", 0);
    history_free(bench->history);
    vfs_shim_watch(bench->scratch.path);
    open_bench(bench);
    vfs_shim_fail(VFS_SHIM_WRITE, 1, 1, SQLITE_FULL);
    assert_int_equal(history_append(bench->history, &message, 1, 0), -ENOSPC);
    assert_true(vfs_shim_has_failed());
    vfs_shim_heal();
    assert_new(bench, "a", 1);
    assert_int_equal(usage_of(bench->history).keys_n, 0);
    assert_int_equal(history_append(bench->history, &message, 1, 1), 0);
    assert_same(bench, "a", "x", 2, 2);
    message_unref(message);
    history_free(bench->history);
    bench->history = NULL;
    vfs_shim_watch(NULL);
    free_bench(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_knows_a_key_and_its_content),
        cmocka_unit_test(test_tells_json_from_text),
        cmocka_unit_test(test_forgets_a_key_when_its_window_is_over),
        cmocka_unit_test(test_takes_a_key_again_after_its_window),
        cmocka_unit_test(test_a_key_outlives_its_event),
        cmocka_unit_test(test_forgets_the_oldest_for_want_of_room_and_says_so),
        cmocka_unit_test(keeps_keys_over_a_restart),
        cmocka_unit_test(a_key_is_stored_with_its_event_or_not_at_all),
    };

    vfs_shim_install();
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
