/* SPDX-License-Identifier: MIT */
/* The service manager's protocol.  See systemd.h. */
#include "config.h"
#include "conn/systemd.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3
#define FDS_MAX INHERITED_SOCKETS_MAX
#define STATE_BYTES 256

/* A whole number from the environment; -1 when there is none. */
static long long number_in_env(const char *name)
{
    const char *text = getenv(name);

    if (text == NULL || text[0] == '\0' || text[strspn(text, "0123456789")] != '\0' ||
        strlen(text) > 18)
        return -1;
    return atoll(text);
}

int systemd_take(struct inherited_sockets *inherited, struct conf_error *ret_error)
{
    long long fds_n = number_in_env("LISTEN_FDS");
    bool is_ours = number_in_env("LISTEN_PID") == (long long)getpid();

    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (!is_ours || fds_n <= 0)
        return 0;
    if (fds_n > FDS_MAX) {
        snprintf(ret_error->text, sizeof(ret_error->text), "LISTEN_FDS is %lld: at most %d sockets",
                 fds_n, FDS_MAX);
        return -1;
    }
    for (int fd = FIRST_FD; fd < FIRST_FD + fds_n; fd++) {
        if (inherited_sockets_add(inherited, fd, NULL, true) == 0)
            continue;
        snprintf(ret_error->text, sizeof(ret_error->text),
                 "LISTEN_FDS is %lld, but descriptor %d is no listening stream socket", fds_n, fd);
        return -1;
    }
    return 0;
}

/* A name that begins with @ is one without a file.  Returns 0 when it is too long. */
static socklen_t fill_address(struct sockaddr_un *address, const char *name)
{
    size_t n = strlen(name);

    if (n == 0 || n >= sizeof(address->sun_path))
        return 0;
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, name, n);
    if (name[0] != '@')
        return (socklen_t)sizeof(*address);
    address->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
}

void systemd_notify(const char *format, ...)
{
    const char *name = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address;
    socklen_t address_n = name != NULL ? fill_address(&address, name) : 0;
    char state[STATE_BYTES];
    va_list arguments;

    if (address_n == 0)
        return;
    va_start(arguments, format);
    int n = vsnprintf(state, sizeof(state), format, arguments);
    va_end(arguments);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (n > 0 && (size_t)n < sizeof(state))
        (void)!sendto(fd, state, (size_t)n, MSG_NOSIGNAL, (const struct sockaddr *)(void *)&address,
                      address_n);
    close(fd);
}

int64_t systemd_watchdog_ms(void)
{
    long long us = number_in_env("WATCHDOG_USEC"), pid = number_in_env("WATCHDOG_PID");

    if (us <= 0 || (getenv("WATCHDOG_PID") != NULL && pid != (long long)getpid()))
        return 0;
    return us / 1000 > 0 ? us / 1000 : 1;
}
