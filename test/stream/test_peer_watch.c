/* SPDX-License-Identifier: MIT */
/* What is reported of the peers of watched sockets. */
#include "config.h"
#include "stream/peer_watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

struct scene {
    struct event_base *base;
    struct peer_watch watch;
    int fds[2];
    char reports[16]; /* in their order */
};

static void note(void *owner, const char *what)
{
    struct scene *scene = owner;

    strncat(scene->reports, what, sizeof(scene->reports) - strlen(scene->reports) - 1);
}

static void on_gone(void *owner, bool is_closed)
{
    note(owner, is_closed ? "C" : "G");
}

static void on_half_closed(void *owner)
{
    note(owner, "H");
}

static void on_room(void *owner)
{
    note(owner, "R");
}

static void on_readable(void *owner, bool is_end)
{
    note(owner, is_end ? "E" : "D");
}

static const struct peer_watch_reports reports = {on_gone, on_half_closed, on_room, on_readable};

static int build(void **state)
{
    static struct scene scene;

    memset(&scene, 0, sizeof(scene));
    scene.base = event_base_new();
    assert_int_equal(peer_watch_init(&scene.watch, scene.base, &reports), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, scene.fds),
                     0);
    assert_true(peer_watch_add(&scene.watch, scene.fds[0], &scene, 0));
    *state = &scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;

    peer_watch_stop(&scene->watch);
    peer_watch_stop(&scene->watch); /* harmless */
    event_base_free(scene->base);
    close(scene->fds[0]);
    close(scene->fds[1]);
    return 0;
}

static const char *reports_of(struct scene *scene)
{
    scene->reports[0] = '\0';
    event_base_loop(scene->base, EVLOOP_NONBLOCK);
    return scene->reports;
}

static void fill_socket(int fd)
{
    char bytes[4096] = {0};

    while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
}

static void drain_socket(int fd)
{
    char bytes[4096];

    while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
}

static void one_that_leaves_is_reported_once(void **state)
{
    struct scene *scene = *state;

    assert_string_equal(reports_of(scene), "");
    close(scene->fds[1]);
    scene->fds[1] = -1;
    assert_string_equal(reports_of(scene), "C");
    assert_string_equal(reports_of(scene), "");
}

static void one_that_closes_its_sending_half_is_told_apart(void **state)
{
    struct scene *scene = *state;

    shutdown(scene->fds[1], SHUT_WR);
    assert_string_equal(reports_of(scene), "H");
    shutdown(scene->fds[1], SHUT_RDWR);
    close(scene->fds[1]);
    scene->fds[1] = -1;
    assert_string_equal(reports_of(scene), "C");
}

static void bytes_that_a_peer_sends_are_of_no_interest(void **state)
{
    struct scene *scene = *state;

    assert_int_equal(send(scene->fds[1], "x", 1, 0), 1);
    assert_string_equal(reports_of(scene), "");
}

static void room_is_reported_while_it_is_awaited(void **state)
{
    struct scene *scene = *state;

    fill_socket(scene->fds[0]);
    peer_watch_change(&scene->watch, scene->fds[0], scene, PEER_WATCH_ROOM);
    assert_string_equal(reports_of(scene), "");
    drain_socket(scene->fds[1]);
    assert_string_equal(reports_of(scene), "R");
    peer_watch_change(&scene->watch, scene->fds[0], scene, 0);
    fill_socket(scene->fds[0]);
    drain_socket(scene->fds[1]);
    assert_string_equal(reports_of(scene), "");
}

static void one_that_is_removed_is_watched_no_more(void **state)
{
    struct scene *scene = *state;

    peer_watch_remove(&scene->watch, scene->fds[0]);
    peer_watch_remove(&scene->watch, scene->fds[0]); /* harmless */
    close(scene->fds[1]);
    scene->fds[1] = -1;
    assert_string_equal(reports_of(scene), "");
}

static void what_cannot_be_watched_is_said(void **state)
{
    struct scene *scene = *state;

    assert_false(peer_watch_add(&scene->watch, scene->fds[0], scene, 0)); /* it is already */
    assert_false(peer_watch_add(&scene->watch, -1, scene, 0));
}

/* Of one that is read from, what it sends and that it ends are told in one way. */
static void what_a_peer_sends_is_reported_where_it_is_read(void **state)
{
    struct scene *scene = *state;

    peer_watch_change(&scene->watch, scene->fds[0], scene, PEER_WATCH_READS);
    assert_int_equal(send(scene->fds[1], "x", 1, 0), 1);
    assert_string_equal(reports_of(scene), "D");
    assert_string_equal(reports_of(scene), ""); /* an edge */
    assert_int_equal(send(scene->fds[1], "y", 1, 0), 1);
    assert_int_equal(shutdown(scene->fds[1], SHUT_WR), 0);
    assert_string_equal(reports_of(scene), "E");
    assert_string_equal(reports_of(scene), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_that_leaves_is_reported_once, build, tear_down),
        cmocka_unit_test_setup_teardown(one_that_closes_its_sending_half_is_told_apart, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(bytes_that_a_peer_sends_are_of_no_interest, build,
                                        tear_down),
        cmocka_unit_test_setup_teardown(room_is_reported_while_it_is_awaited, build, tear_down),
        cmocka_unit_test_setup_teardown(one_that_is_removed_is_watched_no_more, build, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_watched_is_said, build, tear_down),
        cmocka_unit_test_setup_teardown(what_a_peer_sends_is_reported_where_it_is_read, build,
                                        tear_down),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
