/* SPDX-License-Identifier: MIT */
/*
 * Where the shared log is, as cluster.log says it:
 *
 *     redis://[USER:PASSWORD@]HOST[:PORT][/DB]
 *     rediss://...                                      the same inside TLS
 *     redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT].../NAME
 *
 * HOST is a name, an IPv4 address or an IPv6 address in brackets.  USER may be missing before the
 * colon.  USER and PASSWORD may have %XX.  The ports are 6379 and 26379 unless they are given.
 * Pure; any thread.
 */
#ifndef BUGLE_REDIS_URL_H
#define BUGLE_REDIS_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REDIS_HOST_BYTES 256 /* with a NUL */
#define REDIS_NAME_BYTES 512
#define REDIS_URL_PLACES_MAX 16
#define REDIS_PLACE_TEXT_BYTES (REDIS_HOST_BYTES + 8)

struct conf_error;

/* A server: without brackets around IPv6. */
struct redis_place {
    char host[REDIS_HOST_BYTES];
    uint16_t port;
};

struct redis_url {
    bool is_tls;
    bool is_sentinel; /* the places are sentinels, and `master` is the name they know */
    struct redis_place places[REDIS_URL_PLACES_MAX];
    size_t places_n;
    char user[REDIS_NAME_BYTES]; /* empty: none */
    char password[REDIS_NAME_BYTES];
    char master[REDIS_NAME_BYTES];
    unsigned db;
};

/* Returns 0, or -EINVAL with a line for the operator that never has the password in it. */
int redis_url_parse(const char *text, struct redis_url *ret_url, struct conf_error *ret_error);

/* Read HOST[:PORT], such as a server answers with MOVED.  The port is `port` unless it is given;
 * 0: it must be.  Returns NULL, or what is wrong, to follow "the host". */
const char *redis_place_parse(const char *text, size_t text_n, uint16_t port,
                              struct redis_place *ret_place);

bool redis_place_equal(const struct redis_place *one, const struct redis_place *other);

/* "host:port", "[::1]:6379", for the log.  Returns `to`. */
const char *redis_place_text(const struct redis_place *place, char to[REDIS_PLACE_TEXT_BYTES]);

#endif
