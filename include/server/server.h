/* SPDX-License-Identifier: MIT */
/*
 * The gateway as a whole: owns every long-lived object, builds them in order, runs the main loop
 * (acceptor and signals), reloads, drains, and frees them in reverse.
 */
#ifndef BUGLE_SERVER_H
#define BUGLE_SERVER_H

#include <stdbool.h>

#include "conf/conf.h"

/* How to read the settings again, for SIGHUP, and how this process was started. */
struct server_source {
    /* Gives a new, checked struct, or NULL with a line for the operator. */
    struct conf *(*load)(void *arg, struct conf_error *ret_error);
    void *arg;
    bool takes_over;            /* from the gateway at server.handover, if there is one */
    const char *program;        /* the file that runs; NULL: not known */
    char *const *upgrade_words; /* the command line of one that takes over from this one */
};

/*
 * Serve until SIGTERM or SIGINT, then drain and return.  After signals_begin().
 *
 * conf  taken
 *
 * Returns the exit status: 0, or 1 after a line in the log.  Main thread.
 */
int server_run(struct conf *conf, const struct server_source *source);

#endif
