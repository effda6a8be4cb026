/* SPDX-License-Identifier: MIT */
/* Frames between two gateways: whole, in order, with sockets, and what comes before an end. */
#include "handover/handover_link.h"

#include <setjmp.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define LARGE_BYTES (4 << 20)
#define MANY 2000

struct pair {
    struct handover_link *ours;
    struct handover_link *theirs;
};

static struct pair make_pair(void)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct pair pair = {.ours = handover_link_new(fds[0]), .theirs = handover_link_new(fds[1])};
    assert_non_null(pair.ours);
    assert_non_null(pair.theirs);
    return pair;
}

static void free_pair(struct pair *pair)
{
    handover_link_free(pair->ours);
    handover_link_free(pair->theirs);
}

static void assert_frame(struct handover_link *link, enum handover_link_type type,
                         const char *bytes, size_t n)
{
    struct handover_link_frame frame;

    assert_int_equal(handover_link_receive(link, 5000, &frame), 0);
    assert_int_equal(frame.type, type);
    assert_int_equal(frame.n, n);
    if (n > 0)
        assert_memory_equal(frame.bytes, bytes, n);
}

static void hands_over_frames_in_order(void **state)
{
    struct pair pair = make_pair();
    struct handover_link_frame frame;

    (void)state;
    assert_int_equal(handover_link_send(pair.ours, HANDOVER_LINK_HELLO, "hello", 5), 0);
    assert_int_equal(handover_link_send(pair.ours, HANDOVER_LINK_READY, NULL, 0), 0);
    assert_int_equal(handover_link_send(pair.theirs, HANDOVER_LINK_GO, "x", 1), 0);
    assert_frame(pair.theirs, HANDOVER_LINK_HELLO, "hello", 5);
    assert_frame(pair.theirs, HANDOVER_LINK_READY, NULL, 0);
    assert_frame(pair.ours, HANDOVER_LINK_GO, "x", 1);
    assert_int_equal(handover_link_receive(pair.ours, 1, &frame), -ETIMEDOUT);
    free_pair(&pair);
}

static void hands_over_sockets_with_their_frame(void **state)
{
    struct pair pair = make_pair();
    struct pack pack = {0};
    int fds[HANDOVER_LINK_SOCKETS_MAX], sent[3], got[HANDOVER_LINK_SOCKETS_MAX];

    (void)state;
    for (int i = 0; i < 3; i++)
        sent[i] = socket(AF_INET, SOCK_STREAM, 0);
    pack_text(&pack, "three");
    assert_int_equal(handover_link_send_sockets(pair.ours, HANDOVER_LINK_OFFER, &pack, sent, 3), 0);
    assert_frame(pair.theirs, HANDOVER_LINK_OFFER, pack.bytes, pack.n);
    assert_int_equal(handover_link_take_sockets(pair.theirs, got), 3);
    assert_int_equal(handover_link_take_sockets(pair.theirs, fds), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_not_equal(got[i], sent[i]);
        assert_true(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
        close(got[i]);
        close(sent[i]);
    }
    pack_clear(&pack);
    free_pair(&pair);
}

static void hears_what_was_said_before_the_end(void **state)
{
    struct pair pair = make_pair();
    struct handover_link_frame frame;

    (void)state;
    handover_link_send(pair.ours, HANDOVER_LINK_REFUSED, "why", 3);
    handover_link_close(pair.ours);
    assert_true(handover_link_is_closed(pair.ours));
    assert_frame(pair.theirs, HANDOVER_LINK_REFUSED, "why", 3);
    assert_int_equal(handover_link_receive(pair.theirs, 5000, &frame), -EPIPE);
    assert_int_equal(handover_link_send(pair.theirs, HANDOVER_LINK_READY, NULL, 0), -EPIPE);
    assert_int_equal(handover_link_send(pair.ours, HANDOVER_LINK_READY, NULL, 0), -EPIPE);
    free_pair(&pair);
}

static void refuses_what_is_no_frame(void **state)
{
    struct handover_link_frame frame;
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct handover_link *link = handover_link_new(fds[0]);
    assert_int_equal(write(fds[1], "\xff\xff\xff\xff\1", 5), 5);
    assert_int_equal(handover_link_receive(link, 5000, &frame), -EPROTO);
    handover_link_free(link);
    close(fds[1]);
}

/* ---- on a loop ---- */

struct ear {
    struct event_base *base;
    size_t frames_n;
    size_t frames_max; /* leave the loop after so many */
    size_t ends_n;
    size_t bytes;
};

static void on_frame(void *arg, const struct handover_link_frame *frame)
{
    struct ear *ear = arg;
    uint32_t number;

    assert_int_equal(frame->type, HANDOVER_LINK_PUBLISH);
    memcpy(&number, frame->bytes, sizeof(number));
    assert_int_equal(number, ear->frames_n);
    ear->bytes += frame->n;
    if (++ear->frames_n == ear->frames_max)
        event_base_loopbreak(ear->base);
}

static void on_end(void *arg)
{
    struct ear *ear = arg;

    ear->ends_n++;
    event_base_loopbreak(ear->base);
}

static void send_numbered(struct handover_link *link, uint32_t number, size_t n)
{
    char *bytes = calloc(1, n);

    memcpy(bytes, &number, sizeof(number));
    assert_int_equal(handover_link_send(link, HANDOVER_LINK_PUBLISH, bytes, n), 0);
    free(bytes);
}

static void *send_many(void *arg)
{
    for (uint32_t i = 0; i < MANY; i++)
        send_numbered(arg, i, i % 1000 == 999 ? LARGE_BYTES : 4 + i % 100);
    return NULL;
}

/* More than a socket holds, from another thread, both ends on one loop. */
static void serves_both_ends_on_a_loop(void **state)
{
    struct ear ear = {.base = event_base_new(), .frames_max = MANY};
    struct handover_link_hooks hooks = {.arg = &ear, .frame = on_frame, .end = on_end};
    struct pair pair = make_pair();
    pthread_t thread;

    (void)state;
    assert_int_equal(handover_link_attach(pair.ours, ear.base, &hooks), 0);
    assert_int_equal(handover_link_attach(pair.theirs, ear.base, &hooks), 0);
    pthread_create(&thread, NULL, send_many, pair.ours);
    event_base_dispatch(ear.base);
    pthread_join(thread, NULL);
    assert_int_equal(ear.frames_n, MANY);
    assert_true(ear.bytes > 2 * LARGE_BYTES);
    assert_int_equal(handover_link_unsent(pair.ours), 0);
    assert_int_equal(ear.ends_n, 0);
    handover_link_break(pair.ours);
    event_base_dispatch(ear.base);
    event_base_loop(ear.base, EVLOOP_NONBLOCK);
    assert_int_equal(ear.ends_n, 2);
    assert_true(handover_link_is_closed(pair.ours));
    free_pair(&pair);
    event_base_free(ear.base);
}

/* What came while nobody looked, and an end right behind it. */
static void hears_everything_that_came_before_its_loop(void **state)
{
    struct ear ear = {.base = event_base_new(), .frames_max = 100};
    struct handover_link_hooks hooks = {.arg = &ear, .frame = on_frame, .end = on_end};
    struct pair pair = make_pair();

    (void)state;
    handover_link_send(pair.ours, HANDOVER_LINK_READY, NULL, 0);
    for (uint32_t i = 0; i < 3; i++)
        send_numbered(pair.ours, i, 10);
    assert_frame(pair.theirs, HANDOVER_LINK_READY, NULL, 0); /* the rest is read along with it */
    assert_int_equal(handover_link_attach(pair.theirs, ear.base, &hooks), 0);
    handover_link_close(pair.ours);
    event_base_dispatch(ear.base);
    assert_int_equal(ear.frames_n, 3);
    assert_int_equal(ear.ends_n, 1);
    free_pair(&pair);
    event_base_free(ear.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hands_over_frames_in_order),
        cmocka_unit_test(hands_over_sockets_with_their_frame),
        cmocka_unit_test(hears_what_was_said_before_the_end),
        cmocka_unit_test(refuses_what_is_no_frame),
        cmocka_unit_test(serves_both_ends_on_a_loop),
        cmocka_unit_test(hears_everything_that_came_before_its_loop),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
