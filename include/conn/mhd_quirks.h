/* SPDX-License-Identifier: MIT */
/*
 * What the gateway needs of libmicrohttpd that the library's documentation does not promise.
 *
 * All of it is in this file and mhd_probe.c.  Both supported versions, 0.9.75 and 1.0.1, have the
 * same soname, so the version counts that is loaded, not the one whose header was compiled.  And a
 * version number proves nothing about a version that was not tested.  So mhd_probe() tries
 * everything at the start, over socket pairs, in a few milliseconds:
 *
 *     safety  a connection has its record when it has been added
 *             a suspended connection is neither read nor timed, and touches no descriptor
 *             a head can be judged from what the library made of it
 *             TLS has a session at once, whose database pointer is free
 *             the largest head that the gate lets pass leaves room for an answer
 *     speed   a chunk may be sent past the library while the connection is suspended, and so may a
 *             whole answer, from the handler that suspends it to its next call
 *             the bytes of a response may be written again before it is queued again
 *     memory  a connection's pool begins where its request line stands
 *
 * Without one of the first the gateway does not start.  Without one of the others it works without
 * what depends on it, and logs so.  doc/design, "The inside of libmicrohttpd", has the reasons.
 */
#ifndef BUGLE_MHD_QUIRKS_H
#define BUGLE_MHD_QUIRKS_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>

struct sockaddr;
struct gnutls_session_int;

/* The pool of a connection holds the head, its parsed records and the room for chunks or a piece of
 * a body.  All of a stream's small one is resident, so it is no larger than the largest head for it
 * (MHD_NEEDS_SMALL_BYTES) and a chunk of 1 KiB need; the large one is the last size that the
 * library takes from malloc().  Those of requests are zeroed by the library for each: 64 publishers
 * fill the second cache with pools of twice the size. */
#define MHD_POOL_STREAM_BYTES 3584
#define MHD_POOL_API_BYTES 4096
#define MHD_POOL_LARGE_BYTES 32768

/* What was found out about the library that is loaded. */
struct mhd_quirks {
    char version[16];    /* such as "1.0.1" */
    bool sends_past;     /* a suspended stream may send chunks, and its whole answer, by itself */
    bool reuses_buffers; /* the bytes of a response may be written again */
    bool knows_pools;    /* where a connection's pool begins */
    char without[160];   /* which of these are missing and why; "" when none is */
};

/*
 * Try the library that is loaded.  In a child process, so that one that behaves otherwise cannot
 * take the gateway along; the child ends within two seconds.
 *
 * with_tls  daemons with TLS as well: costs a millisecond more
 * why       what is wrong, a sentence for the operator; of `why_n` bytes
 *
 * Returns 0, or -ENOTSUP: the gateway would not be safe with this library.  Before other threads
 * exist.
 */
int mhd_probe(bool with_tls, struct mhd_quirks *ret, char *why, size_t why_n);

/* The version that is loaded, as MHD_VERSION has it: 0x01000100 for 1.0.1. */
unsigned mhd_version(void);

/* ---- daemons ---- */

struct mhd_daemon_conf {
    void *arg; /* of all three */
    MHD_AccessHandlerCallback request;
    MHD_RequestCompletedCallback completed;
    MHD_NotifyConnectionCallback connected;
    unsigned connections_max;
    unsigned timeout_s;
    size_t pool_bytes;
    bool tls;
    void *(*target)(void *arg, const char *target,
                    struct MHD_Connection *connection); /* TLS only */
};

/*
 * A daemon without a thread and without a listening socket.
 *
 * From 0.9.77 on the library queues connections that are added, unless it is told that one thread
 * uses it; and it takes folded lines and bare line feeds, unless it is told to be strict.
 *
 * NULL as MHD_start_daemon() has it.
 */
struct MHD_Daemon *mhd_start(const struct mhd_daemon_conf *conf);

/* ---- connections ---- */

/*
 * Suspend a connection from outside the callbacks of the library, between two runs of its daemon.
 * The documentation allows it inside callbacks only.  From there the library would still take the
 * connection for one to read from, which costs a useless recv() and an entry in its epoll set;
 * and behind an answer there is no callback in which it is not too late.
 */
void mhd_suspend(struct MHD_Connection *connection);

/* What mhd_suspend() suspended; the next run of the daemon goes on with it. */
void mhd_resume(struct MHD_Connection *connection);

bool mhd_is_suspended(struct MHD_Connection *connection);

int mhd_descriptor(struct MHD_Connection *connection);

/*
 * Take the descriptor of a suspended connection away from the library, which cannot be asked to
 * part with it.  Under its number it finds `ended_fd` then, a socket whose peer has closed, and so
 * ends the connection in the next run after a resume.
 *
 * Returns a descriptor for the same socket below `end`, the caller's; or -1: out of descriptors,
 * and the connection is shut down instead.
 */
int mhd_take_descriptor(struct MHD_Connection *connection, int ended_fd, int end);

/* The session of a TLS connection, whose database pointer the library does not use; NULL: none. */
struct gnutls_session_int *mhd_session(struct MHD_Connection *connection);

/* ---- heads ---- */

/*
 * What the library will need in a connection's pool for a head: its bytes, Cookie values once
 * more, and a record for each header, query field and cookie.
 */
size_t mhd_head_needs(size_t head_bytes, size_t cookie_bytes, size_t records_n);

/* With needs up to here a small pool of a stream keeps room for chunks of 1 KiB. */
#define MHD_NEEDS_SMALL_BYTES 2200
/* The largest that limits.header_bytes may be. */
#define MHD_HEAD_BYTES_MAX 24576
/* Beyond this even a large pool has no room for an answer, and the client would wait for ever. */
#define MHD_NEEDS_LARGE_BYTES (MHD_POOL_LARGE_BYTES - 1024)

/*
 * Write down again what the library made of a head: request line, fields, empty line, as they
 * would stand in a head of the plainest form.
 *
 * method, version  as the library gives them to the handler, in the first call of a request
 * target           as the client sent it
 * ret_is_plain     whether the library took the parts from where they stand in such a head, so
 *                  that it has joined nothing and passed over nothing (RFC 9112, sections 2.2, 5)
 *
 * Returns text of `*ret_n` bytes, the caller's to free(); NULL when out of memory.
 */
char *mhd_write_head_again(struct MHD_Connection *connection, const char *method,
                           const char *target, const char *version, bool *ret_is_plain,
                           size_t *ret_n);

/* ---- pools ---- */

/*
 * Where the pool of a connection begins that was made with MHD_POOL_LARGE_BYTES: with what is read
 * first, the request line, or the one empty line that may stand before it; malloc() aligns it.
 */
char *mhd_pool_of(const char *method);

/* Whether it begins right there, inside TLS too, where any number of empty lines may stand before:
 * the last of them would end in front of the request line. */
bool mhd_pool_begins_with(const char *method);

#endif
