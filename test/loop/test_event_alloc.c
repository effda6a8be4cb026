/* SPDX-License-Identifier: MIT */
/* What libevent keeps for each descriptor lies apart from what others take from malloc(). */
#include "config.h"
#include "loop/event_alloc.h"

#include <setjmp.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define DESCRIPTORS 200
#define RECORD_BYTES 32
/* A sanitizer has an allocator of its own, with a plan of its own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(__clang__)
#define TOGETHER_MIN 0
#else
#define TOGETHER_MIN (DESCRIPTORS * 9 / 10)
#endif

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

/* Watch a pipe's end under a number of its own, once. */
static void watch(struct event_base *base, int fd)
{
    struct event *event = event_new(base, fd, EV_READ, on_event, NULL);

    assert_non_null(event);
    assert_int_equal(event_add(event, NULL), 0);
    event_free(event);
}

/* Between what two connections take there is nothing of the loop's: with records in between, the
 * pieces would be further apart. */
static void records_do_not_lie_between_what_others_take(void **state)
{
    int fds[2], numbers[DESCRIPTORS];
    char *pieces[DESCRIPTORS];
    size_t together_n = 0;

    (void)state;
    event_alloc_begin();
    event_alloc_begin();
    struct event_base *base = event_base_new();
    assert_non_null(base);
    assert_int_equal(pipe(fds), 0);
    for (size_t i = 0; i < DESCRIPTORS; i++) {
        numbers[i] = dup(fds[0]);
        assert_true(numbers[i] >= 0);
        pieces[i] = malloc(4000);
        assert_non_null(pieces[i]);
        watch(base, numbers[i]);
    }
    for (size_t i = 1; i < DESCRIPTORS; i++)
        together_n += (uintptr_t)pieces[i] - (uintptr_t)pieces[i - 1] < 4000 + RECORD_BYTES;
    assert_in_range(together_n, TOGETHER_MIN, DESCRIPTORS);
    for (size_t i = 0; i < DESCRIPTORS; i++) {
        free(pieces[i]);
        close(numbers[i]);
    }
    close(fds[0]);
    close(fds[1]);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_do_not_lie_between_what_others_take),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
