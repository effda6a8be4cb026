/* SPDX-License-Identifier: MIT */
/* The service manager's protocol: the sockets it gives, and what it hears. */
#include "conn/systemd.h"

#include <setjmp.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "../support/scratch.h"

/* A socket on a free port of loopback, listening or not. */
static int make_socket(bool listens)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (const struct sockaddr *)(void *)&address, sizeof(address)), 0);
    if (listens)
        assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void set_number(const char *name, long long number)
{
    char text[32];

    snprintf(text, sizeof(text), "%lld", number);
    setenv(name, text, 1);
}

/* What the program had at 3 and 4 stays beside. */
static int take(long long pid, long long fds_n, int third, int fourth,
                struct inherited_sockets *inherited)
{
    int kept[] = {fcntl(3, F_DUPFD_CLOEXEC, 10), fcntl(4, F_DUPFD_CLOEXEC, 10)};
    struct conf_error error = {.text = ""};

    dup2(third, 3);
    dup2(fourth, 4);
    set_number("LISTEN_PID", pid);
    set_number("LISTEN_FDS", fds_n);
    int result = systemd_take(inherited, &error);
    assert_true(result == 0 || strstr(error.text, "LISTEN_FDS is ") != NULL);
    assert_null(getenv("LISTEN_PID"));
    assert_null(getenv("LISTEN_FDS"));
    inherited_sockets_clear(inherited);
    for (int i = 0; i < 2; i++) {
        if (kept[i] < 0)
            close(3 + i);
        else
            dup2(kept[i], 3 + i);
        if (kept[i] >= 0)
            close(kept[i]);
    }
    return result;
}

static void takes_the_sockets_that_are_for_this_process(void **state)
{
    int one = fcntl(make_socket(true), F_DUPFD, 20), two = fcntl(make_socket(true), F_DUPFD, 20);
    int none = fcntl(make_socket(false), F_DUPFD, 20);
    struct inherited_sockets inherited = {.n = 0};

    (void)state;
    assert_int_equal(take(getpid(), 2, one, two, &inherited), 0);
    assert_int_equal(take(getpid() + 1, 2, none, none, &inherited), 0); /* another's */
    assert_int_equal(take(getpid(), 2, one, none, &inherited), -1);
    assert_int_equal(take(getpid(), 1000, one, two, &inherited), -1);
    assert_int_equal(take(getpid(), 0, one, two, &inherited), 0);
    close(one);
    close(two);
    close(none);
}

static int make_ear(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    memcpy(address.sun_path, name, strlen(name));
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    assert_int_equal(bind(fd, (const struct sockaddr *)(void *)&address, n), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static void tells_the_manager(void **state)
{
    struct scratch scratch;
    char names[2][120], heard[64];

    (void)state;
    scratch_make(&scratch);
    snprintf(names[0], sizeof(names[0]), "%s/notify", scratch.folder);
    snprintf(names[1], sizeof(names[1]), "@%s", scratch.folder);
    for (int i = 0; i < 2; i++) {
        int ear = make_ear(names[i]);

        systemd_notify("READY=1\nMAINPID=%d", 42);
        assert_int_equal(recv(ear, heard, sizeof(heard), 0), 18);
        assert_memory_equal(heard, "READY=1\nMAINPID=42", 18);
        close(ear);
        systemd_notify("STOPPING=1"); /* nobody hears it */
    }
    unsetenv("NOTIFY_SOCKET");
    systemd_notify("STOPPING=1");
    scratch_remove(&scratch);
}

static void knows_how_often_a_sign_of_life_is_due(void **state)
{
    (void)state;
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    assert_int_equal(systemd_watchdog_ms(), 0);
    setenv("WATCHDOG_USEC", "10000000", 1);
    assert_int_equal(systemd_watchdog_ms(), 10000);
    set_number("WATCHDOG_PID", getpid());
    assert_int_equal(systemd_watchdog_ms(), 10000);
    set_number("WATCHDOG_PID", getpid() + 1);
    assert_int_equal(systemd_watchdog_ms(), 0);
    unsetenv("WATCHDOG_PID");
    setenv("WATCHDOG_USEC", "soon", 1);
    assert_int_equal(systemd_watchdog_ms(), 0);
    setenv("WATCHDOG_USEC", "1", 1);
    assert_int_equal(systemd_watchdog_ms(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_sockets_that_are_for_this_process),
        cmocka_unit_test(tells_the_manager),
        cmocka_unit_test(knows_how_often_a_sign_of_life_is_due),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
