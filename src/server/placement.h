/* SPDX-License-Identifier: MIT */
/*
 * A new socket, from accept() to the gate of its worker: whether it may come in at all, and which
 * worker has fewest.
 *
 * Main thread.
 */
#ifndef BUGLE_PLACEMENT_H
#define BUGLE_PLACEMENT_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/log.h"
#include "conn/listener.h"
#include "http/service.h"

struct placements {
    struct service_shared *shared;
    const struct conf *conf; /* borrowed; replaced by a reload */
    struct stats *stats;     /* borrowed; the main thread's block */
    struct log_valve valve;
    struct log_valve crowd_valve;
    int uncounted; /* descriptors in use beyond those known of, by the latest one's number */
    int64_t tight_since_ms; /* near the end of what clients may have; 0: it is not */
};

/* Whether to accept another one.  Where it is tight not at once: workers make room first, and if
 * nobody is idle, those who are served have a quarter of a second to be done.  As for
 * listener_sink. */
bool placement_wants(void *arg);

/*
 * Take a connected descriptor.  At a limit it is closed and counted, and when descriptors are
 * scarce, the worker with the most idle connections is asked to close the idlest.
 *
 * arg     struct placements, as for listener_sink
 * layers  what is to come before HTTP
 */
enum listener_room placement_take(void *arg, int fd, const struct sockaddr *address,
                                  socklen_t address_n, struct listener_layers layers);

#endif
