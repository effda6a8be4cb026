/* SPDX-License-Identifier: MIT */
/* Listening sockets that others opened: which address is whose. */
#include "conn/inherited_sockets.h"

#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/scratch.h"

union any {
    struct sockaddr base;
    struct sockaddr_in inet;
    struct sockaddr_in6 inet6;
    struct sockaddr_un un;
};

/* Bind to the address and see what came of it. */
static int listen_on(union any *address, socklen_t n)
{
    int fd = socket(address->base.sa_family, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, &address->base, n) != 0 || listen(fd, 1) != 0)
        return -1;
    getsockname(fd, &address->base, &n);
    return fd;
}

static union any loopback(void)
{
    return (union any){.inet = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
}

static int take(struct inherited_sockets *inherited, const char *item, const union any *address,
                bool *ret_kept)
{
    return inherited_sockets_take(inherited, item, &address->base, sizeof(*address), ret_kept);
}

static void finds_sockets_by_their_address(void **state)
{
    struct inherited_sockets inherited = {.n = 0};
    struct scratch scratch;
    union any inet = loopback(),
              inet6 = {.inet6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}};
    union any file = {.un = {.sun_family = AF_UNIX}}, other = loopback();
    char left[200];
    bool kept = false;

    (void)state;
    scratch_make(&scratch);
    snprintf(file.un.sun_path, sizeof(file.un.sun_path), "%s/s", scratch.folder);
    int fds[] = {listen_on(&inet, sizeof(inet.inet)), listen_on(&file, sizeof(file.un)),
                 listen_on(&inet6, sizeof(inet6.inet6))};
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0) /* a machine may lack IPv6 */
            assert_int_equal(inherited_sockets_add(&inherited, fds[i], NULL, i == 1), 0);
    other.inet.sin_port = inet.inet.sin_port ^ 1;
    assert_int_equal(take(&inherited, "x", &other, &kept), -1);
    assert_string_equal(
        inherited_sockets_left(&inherited, left, sizeof(left)) != NULL ? "some" : "none", "some");
    assert_int_equal(take(&inherited, "x", &inet, &kept), fds[0]);
    assert_false(kept);
    assert_int_equal(take(&inherited, "x", &inet, &kept), -1);
    assert_int_equal(
        strncmp(inherited_sockets_left(&inherited, left, sizeof(left)), "unix:/tmp/", 10), 0);
    assert_int_equal(take(&inherited, "x", &file, &kept), fds[1]);
    assert_true(kept);
    if (fds[2] >= 0)
        assert_int_equal(take(&inherited, "x", &inet6, &kept), fds[2]);
    assert_null(inherited_sockets_left(&inherited, left, sizeof(left)));
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    inherited_sockets_clear(&inherited);
    assert_true(fcntl(fds[0], F_GETFD) >= 0); /* the taker's */
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    scratch_remove(&scratch);
}

/* "127.0.0.1:0" stands for whatever port it was given. */
static void finds_sockets_by_their_item(void **state)
{
    struct inherited_sockets inherited = {.n = 0};
    union any address = loopback(), asked = loopback();
    bool kept;

    (void)state;
    int fd = listen_on(&address, sizeof(address.inet));
    assert_int_equal(inherited_sockets_add(&inherited, fd, "127.0.0.1:0", false), 0);
    assert_int_equal(take(&inherited, "127.0.0.1:1", &asked, &kept), -1);
    assert_int_equal(take(&inherited, "127.0.0.1:0", &asked, &kept), fd);
    inherited_sockets_clear(&inherited);
    close(fd);
}

static void closes_what_nobody_took_and_what_is_none(void **state)
{
    struct inherited_sockets inherited = {.n = 0};
    union any address = loopback();
    int fd = listen_on(&address, sizeof(address.inet)), pipes[2];

    (void)state;
    assert_int_equal(inherited_sockets_add(&inherited, fd, "x", false), 0);
    inherited_sockets_clear(&inherited);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(inherited_sockets_add(&inherited, pipes[0], NULL, false), -EINVAL);
    assert_int_equal(fcntl(pipes[0], F_GETFD), -1);
    close(pipes[1]);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(inherited_sockets_add(&inherited, fd, NULL, false), -EINVAL);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(inherited_sockets_add(&inherited, fd, NULL, false), -EINVAL);
    assert_int_equal(inherited.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_sockets_by_their_address),
        cmocka_unit_test(finds_sockets_by_their_item),
        cmocka_unit_test(closes_what_nobody_took_and_what_is_none),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
