/* SPDX-License-Identifier: MIT */
/*
 * The acceptor: listening sockets on the main loop, each new connection handed to the worker that
 * has fewest.  Options are set once, on the listening sockets, and inherited.  When descriptors
 * run out it closes one connection by means of a spare descriptor, so that nobody waits in vain,
 * and pauses.
 */
#ifndef BUGLE_LISTENER_H
#define BUGLE_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "conf.h"
#include "stats.h"

struct event_base;
struct listener;

/* Who takes a connection: called on the main thread, takes the descriptor. */
struct listener_sink {
    void (*take)(void *arg, int fd, const struct sockaddr *address, socklen_t address_n);
    void *arg;
};

/*
 * Open every address of server.listen.  Borrows all it is given; `stats` is the main thread's
 * block.
 *
 * Returns NULL with one line for the operator in `ret_error` when an address cannot be had.
 */
struct listener *listener_new(struct event_base *base, const struct conf *conf,
                              const struct listener_sink *sink, struct stats *stats,
                              struct conf_error *ret_error);

/* Accept what already waits, then close the listening sockets. */
void listener_close(struct listener *listener);
void listener_free(struct listener *listener); /* accepts NULL */

/* The addresses as they came out (a port 0 has become a real one): "http://127.0.0.1:8080/" or
 * "unix:/path" by index, NULL past the last. */
const char *listener_url(const struct listener *listener, size_t index);

#endif
