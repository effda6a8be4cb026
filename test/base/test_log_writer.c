/* SPDX-License-Identifier: MIT */
/*
 * Lines on their way to a reader that reads, that stops for a while, and that is gone.  Standard
 * error is a pipe here, which holds 64 KiB by itself.
 */
#include "base/log.h"
#include "base/log_writer.h"

#include <setjmp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define LINES_N 20000
#define THREADS_N 4

static int saved_stderr;
static int reader;

static int begin(void **state)
{
    int pair[2];

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    alarm(20); /* a line that waits would wait for ever */
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    if (pipe(pair) != 0)
        return -1;
    saved_stderr = dup(STDERR_FILENO);
    dup2(pair[1], STDERR_FILENO);
    close(pair[1]);
    reader = pair[0];
    return log_begin();
}

static int end(void **state)
{
    (void)state;
    log_end();
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    if (reader >= 0)
        close(reader);
    return 0;
}

/* Read until what was read ends with `last`; gives memory for free(). */
static char *read_until(const char *last)
{
    size_t size = 4 << 20, n = 0;
    char *text = malloc(size);

    assert_non_null(text);
    do {
        ssize_t more = read(reader, text + n, size - n - 1);

        assert_true(more > 0);
        n += (size_t)more;
        text[n] = '\0';
    } while (n < strlen(last) || strcmp(text + n - strlen(last), last) != 0);
    return text;
}

static size_t count(const char *text, const char *word)
{
    size_t n = 0;

    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        n++;
    return n;
}

static void lines_come_in_their_order(void **state)
{
    uint64_t before = log_dropped();
    char wanted[32];

    (void)state;
    for (int i = 0; i < 500; i++)
        log_info("line %d.", i);
    char *text = read_until("line 499.\n");
    const char *at = text;
    for (int i = 0; i < 500; i++) {
        snprintf(wanted, sizeof(wanted), "line %d.\n", i);
        at = strstr(at, wanted);
        assert_non_null(at);
    }
    assert_int_equal(log_dropped(), before);
    free(text);
}

static void *fill(void *arg)
{
    (void)arg;
    for (int i = 0; i < LINES_N / THREADS_N; i++)
        log_info("a line that says nothing of importance, with the number %d", i);
    return NULL;
}

static void no_thread_waits_for_a_reader_that_stopped(void **state)
{
    pthread_t threads[THREADS_N];
    uint64_t before = log_dropped();
    char wanted[64];

    (void)state;
    for (int i = 0; i < THREADS_N; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fill, NULL), 0);
    for (int i = 0; i < THREADS_N; i++)
        pthread_join(threads[i], NULL);
    log_error("an urgent one");
    uint64_t dropped = log_dropped() - before;
    assert_true(dropped > 0 && dropped < LINES_N);
    char *text = read_until("the reader of standard error was too slow\n");
    snprintf(wanted, sizeof(wanted), " %llu log lines were dropped", (unsigned long long)dropped);
    assert_non_null(strstr(text, wanted));
    assert_int_equal(count(text, "log lines were dropped"), 1);
    /* behind the news come those that waited before it */
    log_info("the last one");
    char *rest = read_until("the last one\n");
    assert_int_equal(count(text, "importance") + count(rest, "importance"), LINES_N - dropped);
    assert_int_equal(count(text, "an urgent one") + count(rest, "an urgent one"), 1);
    free(text);
    free(rest);
}

static void a_reader_that_is_gone_harms_nobody(void **state)
{
    uint64_t before = log_dropped();

    (void)state;
    close(reader);
    reader = -1;
    log_info("nobody hears this");
    assert_true(log_writer_flush());
    assert_int_equal(log_dropped(), before + 1);
}

/* A process of its own, whose log the test reads; returns how it ended. */
static int run_child(void (*act)(void), char **ret_text)
{
    int status;

    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        /* threads are not copied */
        act();
        _exit(99);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    *ret_text = read_until("\n");
    return status;
}

static void abort_with_a_last_word(void)
{
    if (log_begin() != 0)
        _exit(98);
    log_error("the last word");
    abort();
}

static void fail_an_assertion(void)
{
    if (log_begin() != 0)
        _exit(98);
    /* as assert() does, which cmocka has taken over here */
    extern _Noreturn void __assert_fail(const char *, const char *, unsigned, const char *);
    __assert_fail("1 == 2", "some.c", 7, "some");
}

static void leave(void)
{
    if (log_begin() != 0)
        _exit(98);
    log_info("leaving");
    log_exit(3);
}

static int begin_without_writer(void **state)
{
    int result = begin(state);

    log_end();
    return result;
}

static void a_last_word_is_not_lost(void **state)
{
    char *text;

    (void)state;
    int status = run_child(abort_with_a_last_word, &text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "the last word"));
    free(text);
    status = run_child(fail_an_assertion, &text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "some.c:7: some: Assertion `1 == 2' failed."));
    free(text);
    status = run_child(leave, &text);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    assert_non_null(strstr(text, "leaving"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_come_in_their_order, begin, end),
        cmocka_unit_test_setup_teardown(no_thread_waits_for_a_reader_that_stopped, begin, end),
        cmocka_unit_test_setup_teardown(a_reader_that_is_gone_harms_nobody, begin, end),
        cmocka_unit_test_setup_teardown(a_last_word_is_not_lost, begin_without_writer, end),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
