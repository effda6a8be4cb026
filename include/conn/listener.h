/* SPDX-License-Identifier: MIT */
/*
 * The acceptor: listening sockets on the main loop; each new connection goes to a sink, which
 * chooses its worker.  Socket options are set once, on the listening sockets, and inherited.
 * Connections beyond limits.accept_rate wait in the kernel's queue.  When the sink has no
 * descriptors for clients it closes some connections, and accepting pauses.  When accept() itself
 * fails, one connection is accepted with the help of a spare descriptor and closed, so that its
 * client need not wait, and accepting pauses longer each time.
 */
#ifndef BUGLE_LISTENER_H
#define BUGLE_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/stats.h"
#include "conf/conf.h"
#include "conn/inherited_sockets.h"

struct event_base;
struct listener;

/* Whether the sink had a descriptor for it. */
enum listener_room {
    LISTENER_ROOM,
    LISTENER_TIGHT,   /* it was taken, and others should have a moment to go */
    LISTENER_NO_ROOM, /* it was closed */
};

/* What comes on a connection before HTTP, by where it came in. */
struct listener_layers {
    bool proxied; /* a PROXY header: it is in server.proxy_protocol */
    bool tls;     /* behind that, a handshake: it is in tls.listen */
};

/* What takes a connection: called on the main thread, takes the descriptor.  `wants` is asked
 * before; false: connections wait a moment. */
struct listener_sink {
    bool (*wants)(void *arg);
    enum listener_room (*take)(void *arg, int fd, const struct sockaddr *address,
                               socklen_t address_n, struct listener_layers layers);
    void *arg;
};

/*
 * Open every address of server.listen and tls.listen, or take it from `inherited`.  Borrows all it
 * is given; `stats` is the main thread's block.
 *
 * Returns NULL with one line for the operator in `ret_error` when an address cannot be opened.
 */
struct listener *listener_new(struct event_base *base, const struct conf *conf,
                              const struct listener_sink *sink, struct stats *stats,
                              struct inherited_sockets *inherited, struct conf_error *ret_error);

/* Settings of a reload; borrowed. */
void listener_set_conf(struct listener *listener, const struct conf *conf);

/* Accept what already waits, then close the listening sockets.  What a service manager keeps open
 * is left to the next process. */
void listener_close(struct listener *listener);

/* Another process serves them: close them here, and leave the waiting connections to it. */
void listener_leave(struct listener *listener);

/* Stop accepting for now; connections wait in the kernel's queue.  And go on. */
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);

/* The listening sockets by index, each with its name: the item of server.listen, or "tls:" and that
 * of tls.listen.  NULL past the last. */
const char *listener_socket(const struct listener *listener, size_t index, int *ret_fd,
                            bool *ret_kept);
void listener_free(struct listener *listener); /* accepts NULL */

/* The addresses as they came out (a port 0 has become a real one): "http://127.0.0.1:8080/",
 * "https://..." or "unix:/path" by index, NULL past the last. */
const char *listener_url(const struct listener *listener, size_t index);

/* How many there are. */
size_t listener_count(const struct listener *listener);

#endif
