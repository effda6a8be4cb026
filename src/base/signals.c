/* SPDX-License-Identifier: MIT */
/* What signals mean.  See signals.h. */
#include "config.h"
#include "base/signals.h"

#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const int stops[] = {SIGTERM, SIGINT, SIGQUIT, SIGXCPU};
static const int waits[] = {SIGHUP, SIGUSR2};
static const int without_meaning[] = {SIGPIPE, SIGXFSZ,   SIGALRM, SIGVTALRM, SIGPROF,
                                      SIGUSR1, SIGSTKFLT, SIGIO,   SIGPWR};

/* The default ends it, but not the first process of a container, for which there is none. */
static void on_early_stop(int number)
{
    signal(number, SIG_DFL);
    raise(number);
    _exit(128 + number);
}

/* A profiler that was loaded with the program may have a handler of its own. */
static void ignore(int number)
{
    struct sigaction now;

    if (sigaction(number, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(number, SIG_IGN);
}

void signals_begin(void)
{
    struct sigaction stop = {.sa_handler = on_early_stop, .sa_flags = SA_NODEFER};
    sigset_t waiting;

    sigemptyset(&waiting);
    for (size_t i = 0; i < COUNT(waits); i++)
        sigaddset(&waiting, waits[i]);
    pthread_sigmask(SIG_SETMASK, &waiting, NULL);
    for (size_t i = 0; i < COUNT(without_meaning); i++)
        ignore(without_meaning[i]);
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        ignore(number);
    for (size_t i = 0; i < COUNT(stops); i++)
        sigaction(stops[i], &stop, NULL);
}

void signals_ready(void)
{
    sigset_t none;

    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
}

void signals_block(sigset_t *ret_before)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, ret_before);
}

void signals_restore(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

int signals_clean(posix_spawnattr_t *attributes)
{
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawnattr_setsigmask(attributes, &none);
    if (error == 0)
        error = posix_spawnattr_setsigdefault(attributes, &all);
    if (error == 0)
        error =
            posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return error;
}
