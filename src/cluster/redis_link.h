/* SPDX-License-Identifier: MIT */
/*
 * One connection to a Redis (RESP2): commands go out in their order, as many as are given, without
 * waiting for answers, and each has a deadline.  hiredis writes commands and reads replies; sockets
 * and time are libevent's.
 *
 * Connecting ends with AUTH, SELECT and ROLE, as far as they are wanted.  A connection that ends
 * answers all its commands and says why; its owner opens it again, there or elsewhere.  All of it
 * belongs to the thread of its loop.
 */
#ifndef BUGLE_REDIS_LINK_H
#define BUGLE_REDIS_LINK_H

#include <hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/redis_fault.h"
#include "cluster/redis_url.h"

struct event_base;
struct redis_link;
struct redis_trust;

struct redis_link_conf {
    const char *user; /* borrowed, as the next: as long as the link; NULL or empty: none */
    const char *password;
    const struct redis_trust *trust; /* NULL: no TLS */
    unsigned db;
    bool wants_master;      /* else whoever answers */
    int64_t timeout_ms;     /* until it is up */
    size_t reply_bytes_max; /* of one reply on the wire, within some KiB */
};

/* Called from the loop, never from within a function below. */
struct redis_link_hooks {
    void (*up)(void *arg); /* commands may be given now */
    /* It could not be opened, or is over; every command was answered before.  `why` is borrowed:
     * the server's or the system's words.  May open the link again, not free it. */
    void (*down)(void *arg, enum redis_fault fault, const char *why);
    /* a message on a channel; borrowed.  NULL: none are wanted */
    void (*message)(void *arg, const redisReply *channel, const redisReply *text);
    void *arg;
};

/*
 * The answer to a command.  May give commands and close the link, not free it.
 *
 * fault  REDIS_FINE; the class of an error reply; or how the connection ended, then without a reply
 * reply  borrowed
 */
typedef void redis_link_done(void *arg, enum redis_fault fault, const redisReply *reply);

/* NULL when out of memory. */
struct redis_link *redis_link_new(struct event_base *base, const struct redis_link_conf *conf,
                                  const struct redis_link_hooks *hooks);

/* Who it says that it is from the next opening on; borrowed as those before. */
void redis_link_set_password(struct redis_link *link, const char *user, const char *password);

/* Begin to connect; up() or down() follows.  The link is closed or was down. */
void redis_link_open(struct redis_link *link, const struct redis_place *place);

/* End it without a word: commands are answered with REDIS_CLOSED, from within. */
void redis_link_close(struct redis_link *link);
void redis_link_free(struct redis_link *link); /* the same, and accepts NULL */

bool redis_link_is_up(const struct redis_link *link);
/* Where it is, or was last. */
const struct redis_place *redis_link_place(const struct redis_link *link);

/*
 * Give a command.  With a deadline that passes the whole connection ends, as REDIS_TIMEOUT: what
 * comes late could be taken for the answer to another command.
 *
 * words    borrowed for the call, as `bytes`, the length of each
 * timeout_ms  from now; longer if a command ahead of it has longer
 *
 * Returns 0: `done` will be called, -ENOTCONN, or -ENOMEM: it will not.
 */
int redis_link_send(struct redis_link *link, int words_n, const char *const *words,
                    const size_t *bytes, int64_t timeout_ms, redis_link_done *done, void *arg);

/* The same from a format of hiredis: words with blanks between them, %s and %b (bytes, size_t) for
 * what may have blanks in it, %d, %u, %lld, %llu. */
int redis_link_ask(struct redis_link *link, int64_t timeout_ms, redis_link_done *done, void *arg,
                   const char *format, ...);

/* Listen to a channel; from then on the link takes no other commands than this and PING. */
int redis_link_subscribe(struct redis_link *link, const char *channel, int64_t timeout_ms,
                         redis_link_done *done, void *arg);

/* Commands that wait for their answer. */
size_t redis_link_waiting(const struct redis_link *link);
/* Bytes of commands that the kernel has not taken yet. */
size_t redis_link_unsent(const struct redis_link *link);

#endif
