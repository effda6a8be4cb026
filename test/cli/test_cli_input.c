/* SPDX-License-Identifier: MIT */
/* Tests of standard input as `bugle publish` takes it, from a pipe. */
#include "config.h"
#include "cli/cli_input.h"

#include <setjmp.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct pipe {
    struct cli_input input;
    int write_fd;
};

static struct pipe open_pipe(void)
{
    int fds[2];
    struct pipe made;

    assert_int_equal(pipe(fds), 0);
    made.input = (struct cli_input){.fd = fds[0]};
    made.write_fd = fds[1];
    return made;
}

static void close_pipe(struct pipe *open)
{
    close(open->input.fd);
    cli_input_clear(&open->input);
}

static void put(const struct pipe *open, const char *text)
{
    assert_int_equal(write(open->write_fd, text, strlen(text)), strlen(text));
}

static void assert_line(struct pipe *open, const char *expected)
{
    const char *line;
    size_t line_n;

    assert_int_equal(cli_input_next_line(&open->input, 0, &line, &line_n), CLI_INPUT_LINE);
    assert_int_equal(line_n, strlen(expected));
    assert_memory_equal(line, expected, line_n);
}

static int next(struct pipe *open)
{
    const char *line;
    size_t line_n;

    return cli_input_next_line(&open->input, 0, &line, &line_n);
}

static void test_lines_end_with_lf_or_crlf(void **state)
{
    (void)state;
    struct pipe open = open_pipe();

    put(&open, "one\ntwo\r\n\n\r\nthree\rfour\nlast");
    assert_line(&open, "one");
    assert_line(&open, "two");
    assert_line(&open, "");
    assert_line(&open, "");
    assert_line(&open, "three\rfour");
    assert_int_equal(next(&open), CLI_INPUT_QUIET);
    close(open.write_fd);
    assert_line(&open, "last");
    assert_int_equal(next(&open), CLI_INPUT_END);
    assert_int_equal(next(&open), CLI_INPUT_END);
    close_pipe(&open);
}

static void test_a_line_may_come_in_pieces(void **state)
{
    (void)state;
    struct pipe open = open_pipe();

    put(&open, "be");
    assert_int_equal(next(&open), CLI_INPUT_QUIET);
    put(&open, "gin\nne");
    assert_line(&open, "begin");
    assert_int_equal(next(&open), CLI_INPUT_QUIET);
    put(&open, "xt\r");
    assert_int_equal(next(&open), CLI_INPUT_QUIET);
    put(&open, "\n");
    assert_line(&open, "next");
    close(open.write_fd);
    assert_int_equal(next(&open), CLI_INPUT_END);
    close_pipe(&open);
}

struct writer {
    int fd;
    size_t bytes_n;
    const char *end;
};

static void *write_long(void *arg)
{
    struct writer *writer = arg;
    char *bytes = calloc(1, writer->bytes_n);

    memset(bytes, 'x', writer->bytes_n);
    for (size_t at = 0; at < writer->bytes_n;)
        at += (size_t)write(writer->fd, bytes + at, writer->bytes_n - at);
    if (write(writer->fd, writer->end, strlen(writer->end)) < 0)
        abort();
    close(writer->fd);
    free(bytes);
    return NULL;
}

static void test_a_line_that_is_too_long_is_dropped_whole(void **state)
{
    (void)state;
    struct pipe open = open_pipe();
    struct writer writer = {open.write_fd, CLI_INPUT_BYTES_MAX + 100000, "\nafter\n"};
    const char *line;
    size_t line_n;
    pthread_t thread;

    pthread_create(&thread, NULL, write_long, &writer);
    assert_int_equal(cli_input_next_line(&open.input, -1, &line, &line_n), -EMSGSIZE);
    pthread_join(thread, NULL);
    assert_line(&open, "after");
    assert_int_equal(next(&open), CLI_INPUT_END);
    assert_true(open.input.room < 3 * CLI_INPUT_BYTES_MAX);
    close_pipe(&open);
}

static void test_the_longest_line_is_taken(void **state)
{
    (void)state;
    struct pipe open = open_pipe();
    struct writer writer = {open.write_fd, CLI_INPUT_BYTES_MAX, "\n"};
    const char *line;
    size_t line_n;
    pthread_t thread;

    pthread_create(&thread, NULL, write_long, &writer);
    assert_int_equal(cli_input_next_line(&open.input, -1, &line, &line_n), CLI_INPUT_LINE);
    assert_int_equal(line_n, CLI_INPUT_BYTES_MAX);
    pthread_join(thread, NULL);
    close_pipe(&open);
}

static void test_all_of_it_and_too_much(void **state)
{
    (void)state;
    const char *text;
    size_t text_n;
    struct pipe open = open_pipe();

    put(&open, "a\nb\n");
    close(open.write_fd);
    assert_int_equal(cli_input_read_all(&open.input, &text, &text_n), 0);
    assert_int_equal(text_n, 4);
    assert_memory_equal(text, "a\nb\n", 4);
    close_pipe(&open);

    open = open_pipe();
    struct writer writer = {open.write_fd, CLI_INPUT_BYTES_MAX + 1, ""};
    pthread_t thread;
    pthread_create(&thread, NULL, write_long, &writer);
    assert_int_equal(cli_input_read_all(&open.input, &text, &text_n), -EMSGSIZE);
    pthread_join(thread, NULL);
    close_pipe(&open);
}

static void test_a_descriptor_that_cannot_be_read(void **state)
{
    (void)state;
    struct pipe open = open_pipe();

    close(open.input.fd);
    open.input.fd = open.write_fd;
    assert_true(next(&open) < 0);
    close_pipe(&open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_end_with_lf_or_crlf),
        cmocka_unit_test(test_a_line_may_come_in_pieces),
        cmocka_unit_test(test_a_line_that_is_too_long_is_dropped_whole),
        cmocka_unit_test(test_the_longest_line_is_taken),
        cmocka_unit_test(test_all_of_it_and_too_much),
        cmocka_unit_test(test_a_descriptor_that_cannot_be_read),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
