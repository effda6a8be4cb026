/* SPDX-License-Identifier: MIT */
/* Tests of what `bugle subscribe` writes on a standard output that is a pipe. */
#include "config.h"
#include "cli/cli_show.h"

#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Standard output is a pipe from begin() to end(), between which cmocka says nothing. */
struct output {
    struct cli_show show;
    int kept;      /* the standard output of the test */
    int read_fd;   /* what is shown comes out here */
    int interrupt; /* a byte to here interrupts */
    int signal_fd;
};

static void begin(struct output *output, bool json)
{
    int fds[2], signals[2];

    fflush(stdout);
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    assert_int_equal(pipe(signals), 0);
    output->kept = dup(STDOUT_FILENO);
    dup2(fds[1], STDOUT_FILENO);
    close(fds[1]);
    output->read_fd = fds[0];
    output->signal_fd = signals[0];
    output->interrupt = signals[1];
    cli_show_open(&output->show, "test", signals[0], json, true);
}

static void end(struct output *output)
{
    cli_show_close(&output->show);
    dup2(output->kept, STDOUT_FILENO);
    close(output->kept);
    if (output->read_fd >= 0)
        close(output->read_fd);
    close(output->signal_fd);
    close(output->interrupt);
}

static struct sse_parser_event event_of(const char *id, const char *name, const char *data,
                                        size_t data_n)
{
    struct sse_parser_event event = {0};

    event.has_id = id != NULL;
    event.id = id != NULL ? id : "";
    event.id_n = strlen(event.id);
    event.name = name;
    event.name_n = strlen(name);
    event.data = data;
    event.data_n = data_n;
    return event;
}

/* What one event is shown as; for free(). */
static char *shown(bool json, bool screen, struct sse_parser_event event)
{
    static char text[1024];
    struct output output;

    begin(&output, json);
    output.show.is_screen = screen;
    cli_show_event(&output.show, &event);
    int result = cli_show_flush(&output.show);
    ssize_t n = read(output.read_fd, text, sizeof(text) - 1);
    end(&output);
    assert_int_equal(result, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void test_a_program_gets_the_data_as_it_came(void **state)
{
    (void)state;
    assert_string_equal(shown(false, false, event_of("a-1", "message", "x\ny\x1b", 4)),
                        "x\ny\x1b\n");
}

static void test_a_person_gets_a_line_that_commands_nothing(void **state)
{
    (void)state;
    assert_string_equal(shown(false, true, event_of("a-1", "paid", "x\ny\x1b", 4)),
                        "a-1  paid  x\n    y^[\n");
    assert_string_equal(shown(false, true, event_of(NULL, "paid", "x", 1)), "-  paid  x\n");
}

static void test_json_is_one_object_a_line(void **state)
{
    (void)state;
    assert_string_equal(shown(true, false, event_of("a-1", "paid", "x\ny", 3)),
                        "{\"id\":\"a-1\",\"event\":\"paid\",\"data\":\"x\\ny\"}\n");
    assert_string_equal(shown(true, false, event_of(NULL, "paid", "", 0)),
                        "{\"id\":null,\"event\":\"paid\",\"data\":\"\"}\n");
}

static void test_json_hides_what_commands_a_terminal(void **state)
{
    (void)state;
    assert_string_equal(shown(true, false, event_of("a-1", "e", "\x7f\xc2\x9b", 3)),
                        "{\"id\":\"a-1\",\"event\":\"e\",\"data\":\"\\u007f\\u009B\"}\n");
    assert_string_equal(shown(true, false, event_of("a-1", "e", "\xff", 1)),
                        "{\"id\":\"a-1\",\"event\":\"e\",\"data\":\"\xef\xbf\xbd\"}\n");
}

static void test_a_reader_that_is_gone(void **state)
{
    (void)state;
    struct sse_parser_event event = event_of("a-1", "e", "x", 1);
    struct output output;

    signal(SIGPIPE, SIG_IGN);
    begin(&output, false);
    close(output.read_fd);
    output.read_fd = -1;
    cli_show_event(&output.show, &event);
    int result = cli_show_flush(&output.show);
    end(&output);
    assert_int_equal(result, -EPIPE);
}

/* The pipe takes 64 KiB and nobody reads it. */
static void test_an_interrupt_ends_the_wait_for_a_reader(void **state)
{
    (void)state;
    static char data[200000];
    struct output output;

    memset(data, 'x', sizeof(data));
    struct sse_parser_event event = event_of("a-1", "e", data, sizeof(data));
    begin(&output, false);
    cli_show_event(&output.show, &event);
    ssize_t n = write(output.interrupt, "", 1);
    int result = cli_show_flush(&output.show);
    end(&output);
    assert_int_equal(n, 1);
    assert_int_equal(result, -EINTR);
}

static void test_nothing_is_nothing(void **state)
{
    (void)state;
    struct output output;

    begin(&output, false);
    int result = cli_show_flush(&output.show);
    cli_show_state(&output.show, "quiet: %s", "never drawn");
    cli_show_note(&output.show, "quiet: %s", "never written");
    end(&output);
    assert_int_equal(result, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_program_gets_the_data_as_it_came),
        cmocka_unit_test(test_a_person_gets_a_line_that_commands_nothing),
        cmocka_unit_test(test_json_is_one_object_a_line),
        cmocka_unit_test(test_json_hides_what_commands_a_terminal),
        cmocka_unit_test(test_a_reader_that_is_gone),
        cmocka_unit_test(test_an_interrupt_ends_the_wait_for_a_reader),
        cmocka_unit_test(test_nothing_is_nothing),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
