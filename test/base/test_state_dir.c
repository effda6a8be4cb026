/* SPDX-License-Identifier: MIT */
/* The state directory: which variable decides, and how a folder is made. */
#include "base/state_dir.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char scratch[] = "/tmp/bugle-test-XXXXXX";

static void set(const char *variable, const char *value)
{
    if (value != NULL)
        setenv(variable, value, 1);
    else
        unsetenv(variable);
}

/* ---- where ---- */

static void the_first_variable_that_is_set_decides(void **state)
{
    static const struct {
        const char *state_directory, *xdg_state_home, *home, *expected;
    } rows[] = {
        {"/var/lib/a", "/x", "/home/ada", "/var/lib/a"},
        {"/var/lib/a:/var/lib/b", "/x", "/home/ada", "/var/lib/a"},
        {"/var/lib/a/", NULL, NULL, "/var/lib/a"},
        {NULL, "/x", "/home/ada", "/x/bugle"},
        {NULL, "/x//", "/home/ada", "/x/bugle"},
        {NULL, "/a:b", NULL, "/a:b/bugle"},
        {NULL, NULL, "/home/ada", "/home/ada/.local/state/bugle"},
        {NULL, NULL, "/home/ada/", "/home/ada/.local/state/bugle"},
        {NULL, NULL, NULL, "/var/lib/bugle"},
        /* empty is not set */
        {"", "/x", "/home/ada", "/x/bugle"},
        {"", "", "/home/ada", "/home/ada/.local/state/bugle"},
        {"", "", "", "/var/lib/bugle"},
        /* nor is a relative path */
        {"a", "/x", "/home/ada", "/x/bugle"},
        {NULL, "x", "/home/ada", "/home/ada/.local/state/bugle"},
        {NULL, "~/x", "/home/ada", "/home/ada/.local/state/bugle"},
        {"a", "x", "ada", "/var/lib/bugle"},
        {":/var/lib/a", NULL, "/home/ada", "/home/ada/.local/state/bugle"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        set("STATE_DIRECTORY", rows[i].state_directory);
        set("XDG_STATE_HOME", rows[i].xdg_state_home);
        set("HOME", rows[i].home);
        char *path = state_dir_path();
        assert_non_null(path);
        assert_string_equal(path, rows[i].expected);
        free(path);
    }
}

/* ---- making it ---- */

static int make_scratch(void **state)
{
    (void)state;
    strcpy(scratch + strlen(scratch) - 6, "XXXXXX");
    return mkdtemp(scratch) == NULL ? -1 : 0;
}

static char *within(const char *name)
{
    static char path[200];

    snprintf(path, sizeof(path), "%s%s", scratch, name);
    return path;
}

/* Folders and a file of these tests, from the inside out. */
static int remove_scratch(void **state)
{
    static const char *const names[] = {"/a/b/c", "/a/b", "/a", "/file", "/link", "/dangling", ""};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        remove(within(names[i]));
    return access(scratch, F_OK) == 0 ? -1 : 0;
}

static void assert_mode(const char *name, mode_t expected)
{
    struct stat facts;

    assert_int_equal(stat(within(name), &facts), 0);
    assert_true(S_ISDIR(facts.st_mode));
    assert_int_equal(facts.st_mode & 07777, expected);
}

static void what_is_missing_is_made_for_the_owner_only(void **state)
{
    mode_t before = umask(0);

    (void)state;
    assert_int_equal(chmod(scratch, 0755), 0);
    assert_int_equal(state_dir_make(within("/a/b/c")), 0);
    umask(before);
    assert_mode("/a", 0700);
    assert_mode("/a/b", 0700);
    assert_mode("/a/b/c", 0700);
    assert_mode("", 0755);
}

static void what_is_there_stays_as_it_is(void **state)
{
    (void)state;
    assert_int_equal(mkdir(within("/a"), 0700), 0);
    assert_int_equal(chmod(within("/a"), 0751), 0);
    assert_int_equal(state_dir_make(within("/a")), 0);
    assert_int_equal(state_dir_make(within("/a/b//")), 0);
    assert_int_equal(state_dir_make(within("//a///b")), 0);
    assert_mode("/a", 0751);
    assert_mode("/a/b", 0700);
    assert_int_equal(symlink("a", within("/link")), 0);
    assert_int_equal(state_dir_make(within("/link/b/c")), 0);
    assert_mode("/a/b/c", 0700);
}

static void what_cannot_be_a_folder_is_told(void **state)
{
    FILE *file = fopen(within("/file"), "w");

    (void)state;
    assert_non_null(file);
    fclose(file);
    assert_int_equal(state_dir_make(within("/file")), -ENOTDIR);
    assert_int_equal(state_dir_make(within("/file/a")), -ENOTDIR);
    assert_int_equal(symlink("nowhere", within("/dangling")), 0);
    assert_int_equal(state_dir_make(within("/dangling")), -ENOENT);
    assert_true(state_dir_make("/proc/bugle") < 0);
    assert_int_equal(access("/proc/bugle", F_OK), -1);
}

/* In a process of its own, since root may write everywhere. */
static void a_folder_without_the_right_to_write_is_told(void **state)
{
    int status = -1;

    (void)state;
    assert_int_equal(chmod(scratch, 0555), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        bool may_not_write = geteuid() != 0 || setuid(65534) == 0;

        _exit(may_not_write && state_dir_make(within("/a")) == -EACCES ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_relative_path_is_under_the_working_directory(void **state)
{
    char before[4096];

    (void)state;
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(scratch), 0);
    int error = state_dir_make("a/b");
    assert_int_equal(chdir(before), 0);
    assert_int_equal(error, 0);
    assert_mode("/a/b", 0700);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_variable_that_is_set_decides),
        TEST(what_is_missing_is_made_for_the_owner_only),
        TEST(what_is_there_stays_as_it_is),
        TEST(what_cannot_be_a_folder_is_told),
        TEST(a_folder_without_the_right_to_write_is_told),
        TEST(a_relative_path_is_under_the_working_directory),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
