/* SPDX-License-Identifier: MIT */
/* Files that an operator names, and what is none. */
#include "base/file_read.h"

#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char path[] = "/tmp/test_file_read.XXXXXX";

static int begin(void **state)
{
    (void)state;
    strcpy(path + strlen(path) - 6, "XXXXXX");
    int fd = mkstemp(path);

    return fd < 0 ? -1 : close(fd);
}

static int end(void **state)
{
    (void)state;
    return unlink(path);
}

static void fill(size_t bytes_n)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    for (size_t i = 0; i < bytes_n; i++)
        fputc('a' + (int)(i % 26), file);
    assert_int_equal(fclose(file), 0);
}

static void a_file_is_read_whole(void **state)
{
    static const size_t sizes[] = {0, 1, 4094, 4095, 4096, 8191, 100000};
    char *text;
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        fill(sizes[i]);
        assert_int_equal(file_read(path, 100000, &text, &n), 0);
        assert_int_equal(n, sizes[i]);
        assert_int_equal(strlen(text), n);
        assert_true(n == 0 || text[n - 1] == 'a' + (int)((n - 1) % 26));
        free(text);
    }
}

static void too_much_is_refused(void **state)
{
    char *text;
    size_t n;

    (void)state;
    fill(5001);
    assert_int_equal(file_read(path, 5000, &text, &n), -EFBIG);
    assert_int_equal(file_read("/dev/zero", 5000, &text, &n), -EFBIG);
    assert_int_equal(file_read(path, 5001, &text, &n), 0);
    free(text);
}

static void what_is_no_file_is_told(void **state)
{
    char *text;
    size_t n;

    (void)state;
    assert_int_equal(file_read("/tmp", 10, &text, &n), -EISDIR);
    assert_int_equal(file_read("/tmp/there/is/none", 10, &text, &n), -ENOENT);
    assert_int_equal(file_read("/dev/null", 10, &text, &n), 0);
    assert_int_equal(n, 0);
    free(text);
}

static void make_fifo(void)
{
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
}

static void *write_late(void *arg)
{
    int fd = open(path, O_WRONLY);

    (void)arg;
    assert_int_equal(write(fd, "late", 4), 4);
    poll(NULL, 0, 20);
    assert_int_equal(write(fd, "r", 1), 1);
    close(fd);
    return NULL;
}

static void a_fifo_is_read_to_its_end(void **state)
{
    pthread_t writer;
    char *text;
    size_t n;

    (void)state;
    make_fifo();
    assert_int_equal(pthread_create(&writer, NULL, write_late, NULL), 0);
    assert_int_equal(file_read(path, 10, &text, &n), 0);
    pthread_join(writer, NULL);
    assert_string_equal(text, "later");
    free(text);
}

static void nobody_waits_for_ever(void **state)
{
    char *text;
    size_t n;

    (void)state;
    make_fifo();
    assert_int_equal(file_read(path, 10, &text, &n), -ENODATA);
    int fd = open(path, O_RDWR);
    assert_int_equal(file_read(path, 10, &text, &n), -ETIMEDOUT);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_read_whole, begin, end),
        cmocka_unit_test_setup_teardown(too_much_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_told, begin, end),
        cmocka_unit_test_setup_teardown(a_fifo_is_read_to_its_end, begin, end),
        cmocka_unit_test_setup_teardown(nobody_waits_for_ever, begin, end),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
