/* SPDX-License-Identifier: MIT */
/*
 * What signals mean to the gateway (signal(7)).
 *
 *   SIGTERM, SIGINT, SIGQUIT, SIGXCPU   stop in good order
 *   SIGHUP                              read the settings again
 *   SIGUSR2                             start the process that takes over
 *   SIGCHLD                             that process ended
 *
 * All others that would end a process without a fault of its own are ignored: SIGPIPE and SIGXFSZ
 * (the call that failed says so: EPIPE, EFBIG), SIGALRM, SIGUSR1, SIGPWR, real-time signals and so
 * on. While the gateway starts SIGHUP and SIGUSR2 wait, and those that stop it end it at once.
 */
#ifndef BUGLE_SIGNALS_H
#define BUGLE_SIGNALS_H

#include <signal.h>
#include <spawn.h>

/* Call this first, before there are threads.  What the parent process blocked or ignored does not
 * matter. */
void signals_begin(void);

/* Their handlers are there: let come what waited.  The thread that will hear them. */
void signals_ready(void);

/* No signal reaches this thread, nor one that it starts, until signals_restore(); `ret_before` may
 * be NULL, for good. */
void signals_block(sigset_t *ret_before);
void signals_restore(const sigset_t *before);

/* Have a new process begin with nothing blocked or ignored.  Returns 0 or an errno. */
int signals_clean(posix_spawnattr_t *attributes);

#endif
