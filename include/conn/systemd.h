/* SPDX-License-Identifier: MIT */
/*
 * What a service manager passes to the gateway and expects from it, by the protocol of
 * sd_listen_fds(3), sd_notify(3) and sd_watchdog_enabled(3).  It is three variables and a datagram,
 * so there is no library for it here.  Main thread.
 */
#ifndef BUGLE_SYSTEMD_H
#define BUGLE_SYSTEMD_H

#include <stdint.h>

#include "conf/conf.h"
#include "conn/inherited_sockets.h"

/* Take the sockets that LISTEN_FDS tells of, if LISTEN_PID is this process, and forget both
 * variables.  Returns 0, or -1 with a line for the operator. */
int systemd_take(struct inherited_sockets *inherited, struct conf_error *ret_error);

/* Send a state such as "READY=1" to NOTIFY_SOCKET.  Does nothing without one; errors are ignored.
 */
void systemd_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* How often the manager wants a sign of life at least, 0 for never. */
int64_t systemd_watchdog_ms(void);

#endif
