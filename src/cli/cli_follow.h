/* SPDX-License-Identifier: MIT */
/*
 * Following a stream for as long as wanted, as `bugle subscribe` does: connect, print, and when
 * the connection ends go on from the last event id in the next one.
 */
#ifndef BUGLE_CLI_FOLLOW_H
#define BUGLE_CLI_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/cli_common.h"
#include "cli/cli_http.h"

/* The longest id that a gateway takes; a longer one is not sent. */
#define CLI_FOLLOW_ID_BYTES_MAX 128

/* What to follow and how.  All texts are borrowed. */
struct cli_follow_options {
    struct cli_http_target target;
    struct cli_list topics;
    struct cli_list events;    /* names to print; none: all */
    const char *user;          /* NULL: do not say */
    const char *since;         /* NULL: do not say */
    const char *last_event_id; /* NULL: no position yet */
    uint64_t count;            /* events to print; 0: no end */
    uint64_t heartbeat_s;      /* silence asked of the gateway; three times as long is too long */
    bool json;
    bool quiet;
    bool no_reconnect;
};

/*
 * Follow until `count` events are printed, SIGINT or SIGTERM comes, the reader of standard output
 * is gone, or the gateway refuses.  Takes those two signals over for the rest of the process and
 * ignores SIGPIPE.
 *
 * tool     borrowed; begins every message
 * options  borrowed
 *
 * Returns an enum cli_exit; what is not CLI_FINE has been told.
 */
int cli_follow(const char *tool, const struct cli_follow_options *options);

#endif
