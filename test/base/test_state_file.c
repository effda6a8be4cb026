/* SPDX-License-Identifier: MIT */
/* Small files: made whole or not at all, never over one that is there. */
#include "base/state_file.h"

#include <setjmp.h>
#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[32];
static char path[64];

static int begin(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test_state_file.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/key", folder);
    return 0;
}

static size_t files_n(void)
{
    char pattern[64];
    glob_t found;

    snprintf(pattern, sizeof(pattern), "%s/*", folder);
    size_t n = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return n;
}

static int end(void **state)
{
    char aside[80];

    (void)state;
    snprintf(aside, sizeof(aside), "%s.bad", path);
    unlink(aside);
    unlink(path);
    return rmdir(folder);
}

static void a_file_is_made_once(void **state)
{
    char bytes[9] = "";
    struct stat facts;

    (void)state;
    assert_int_equal(state_file_read(path, bytes, 8), -ENOENT);
    assert_int_equal(state_file_make(path, "12345678", 8), 0);
    assert_int_equal(state_file_make(path, "abcdefgh", 8), -EEXIST);
    assert_int_equal(state_file_read(path, bytes, 8), 0);
    assert_string_equal(bytes, "12345678");
    assert_int_equal(stat(path, &facts), 0);
    assert_int_equal(facts.st_mode & 0777, 0600);
    assert_int_equal(files_n(), 1);
}

/* A disk that is full, here a limit on the size of files. */
static void what_cannot_be_written_leaves_nothing(void **state)
{
    struct rlimit before, four;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    four = (struct rlimit){.rlim_cur = 4, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &four), 0);
    int result = state_file_make(path, "12345678", 8);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(result, -EFBIG);
    assert_int_equal(files_n(), 0);
}

static void another_size_is_a_bad_file(void **state)
{
    char bytes[9];

    (void)state;
    assert_int_equal(state_file_make(path, "1234567", 7), 0);
    assert_int_equal(state_file_read(path, bytes, 8), -EBADMSG);
    assert_int_equal(state_file_read(path, bytes, 6), -EBADMSG);
    assert_int_equal(state_file_set_aside(path), 0);
    assert_int_equal(state_file_read(path, bytes, 8), -ENOENT);
    assert_int_equal(state_file_make(path, "12345678", 8), 0);
    assert_int_equal(files_n(), 2);
}

static void nobody_waits_for_a_fifo(void **state)
{
    char bytes[9];

    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(state_file_read(path, bytes, 8), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_made_once, begin, end),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_leaves_nothing, begin, end),
        cmocka_unit_test_setup_teardown(another_size_is_a_bad_file, begin, end),
        cmocka_unit_test_setup_teardown(nobody_waits_for_a_fifo, begin, end),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
