/* SPDX-License-Identifier: MIT */
/* From the text of history.store to a store. */
#include "server/history_open.h"

#include "history/store_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "../support/scratch.h"
#include "base/log.h"

static const struct history_limits limits = {SCRATCH_FOR_EVER, 1000, SCRATCH_LOTS, SCRATCH_FOR_EVER,
                                             SCRATCH_LOTS};
static struct scratch scratch;
static char state_folder[96];

static int set_up(void **state)
{
    (void)state;
    scratch_make(&scratch);
    snprintf(state_folder, sizeof(state_folder), "%s/state", scratch.folder);
    return setenv("STATE_DIRECTORY", state_folder, 1);
}

static int tear_down(void **state)
{
    DIR *folder = opendir(state_folder);
    struct dirent *entry;

    (void)state;
    while (folder != NULL && (entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder != NULL)
        closedir(folder);
    rmdir(state_folder);
    scratch_remove(&scratch);
    return access(scratch.folder, F_OK) == 0 ? -1 : 0;
}

static void assert_path(const char *store, const char *expected)
{
    char *path = store_path(store);

    if (expected == NULL)
        assert_null(path);
    else
        assert_string_equal(path, expected);
    free(path);
}

static void a_path_is_as_it_was_given_or_in_the_state_directory(void **state)
{
    char expected[128];

    (void)state;
    snprintf(expected, sizeof(expected), "%s/history.db", state_folder);
    assert_path("sqlite:", expected);
    assert_path("sqlite:h.db", "h.db");
    assert_path("sqlite:/srv/h.db", "/srv/h.db");
    assert_path("memory:", NULL);
    assert_int_equal(access(state_folder, F_OK), -1); /* asking makes nothing */
}

static struct history *must_open(const char *store)
{
    struct conf_error error;
    struct history *history = history_open(store, &limits, &error);

    if (history == NULL)
        fail_msg("%s", error.text);
    return history;
}

static void assert_text(const char *store, const char *expected)
{
    char *text = store_text(store);

    assert_string_equal(text, expected);
    free(text);
}

static void the_default_is_made_and_found_again(void **state)
{
    char epoch[SSE_EPOCH_BYTES + 1], expected[128];
    struct stat facts;

    (void)state;
    struct history *history = must_open("sqlite:");
    assert_string_equal(history_durability_text(history), "disk");
    assert_int_equal(stat(state_folder, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0700);
    snprintf(expected, sizeof(expected), "sqlite:%s/history.db", state_folder);
    assert_text("sqlite:", expected);
    strcpy(epoch, history_epoch(history));
    history_free(history);
    history = must_open("sqlite:");
    assert_string_equal(history_epoch(history), epoch);
    history_free(history);
}

static void a_path_of_ones_own_is_another_store(void **state)
{
    char store[128], expected[128], before[4096];

    (void)state;
    snprintf(store, sizeof(store), "sqlite:%s", scratch.path);
    history_free(must_open(store));
    assert_text(store, store);
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(scratch.folder), 0);
    history_free(must_open("sqlite:other.db"));
    snprintf(expected, sizeof(expected), "sqlite:%s/other.db", scratch.folder);
    assert_text("sqlite:other.db", expected);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(access(state_folder, F_OK), -1);
}

static void memory_needs_no_folder(void **state)
{
    struct history *history = must_open("memory:");

    (void)state;
    assert_string_equal(history_durability_text(history), "memory");
    assert_text("memory:", "memory:");
    history_free(history);
    assert_int_equal(access(state_folder, F_OK), -1);
}

static void assert_refused(const char *store, const char *expected)
{
    struct conf_error error = {.text = ""};

    assert_null(history_open(store, &limits, &error));
    assert_string_equal(error.text, expected);
}

static void a_default_that_cannot_be_says_what_else_can(void **state)
{
    char expected[400];
    FILE *file = fopen(state_folder, "w");

    (void)state;
    assert_non_null(file);
    fclose(file);
    snprintf(expected, sizeof(expected),
             "history.store: the folder %s cannot be made: Not a directory; --store sqlite:PATH "
             "names another file, --store memory: does without a disk",
             state_folder);
    assert_refused("sqlite:", expected);
    remove(state_folder);

    assert_int_equal(mkdir(state_folder, 0700), 0);
    snprintf(expected, sizeof(expected), "%s/history.db", state_folder);
    file = fopen(expected, "w");
    assert_non_null(file);
    for (int i = 0; i < 5000; i++)
        fputs("no history", file);
    fclose(file);
    snprintf(expected, sizeof(expected),
             "history.store: %s/history.db is not a history of bugle; --store sqlite:PATH names "
             "another file, --store memory: does without a disk",
             state_folder);
    assert_refused("sqlite:", expected);
}

/* Whoever named a file needs no advice on names; and no folder is made for a slip of the pen. */
static void a_path_that_cannot_be_is_told(void **state)
{
    char store[128], expected[256];

    (void)state;
    snprintf(store, sizeof(store), "sqlite:%s/nowhere/h.db", scratch.folder);
    snprintf(expected, sizeof(expected), "%s cannot be made: No such file or directory",
             store + strlen("sqlite:"));
    assert_refused(store, expected);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_path_is_as_it_was_given_or_in_the_state_directory),
        TEST(the_default_is_made_and_found_again),
        TEST(a_path_of_ones_own_is_another_store),
        TEST(memory_needs_no_folder),
        TEST(a_default_that_cannot_be_says_what_else_can),
        TEST(a_path_that_cannot_be_is_told),
    };

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
