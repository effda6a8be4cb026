/* SPDX-License-Identifier: MIT */
/* The libraries' own messages.  See libraries.h. */
#include "config.h"
#include "server/libraries.h"

#include <event2/event.h>
#include <microhttpd.h>
#include <stdlib.h>

#include "base/log.h"

static void on_message(int severity, const char *message)
{
    if (severity == EVENT_LOG_ERR)
        log_error("libevent: %s", message);
    else if (severity == EVENT_LOG_WARN)
        log_warning("libevent: %s", message);
}

/* Neither may go on after this. */
static void on_fatal(int error)
{
    log_error("libevent cannot go on (error %d): aborting", error);
    abort();
}

static void on_panic(void *arg, const char *file, unsigned line, const char *reason)
{
    (void)arg;
    log_error("libmicrohttpd cannot go on (%s:%u): %s: aborting", file, line,
              reason != NULL ? reason : "no reason told");
    abort();
}

void libraries_log(void)
{
    event_set_log_callback(on_message);
    event_set_fatal_callback(on_fatal);
    MHD_set_panic_func(on_panic, NULL);
}
