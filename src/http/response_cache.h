/* SPDX-License-Identifier: MIT */
/*
 * Short answers whose response object of the library is used again.
 *
 * Making a response and its headers takes some twenty allocations, and the answer to a publish
 * differs from the last one only in the id.  The library reads a response's bytes until the request
 * that it was queued for is completed; from then on they may be written anew, for another.  Only
 * its length cannot change.
 *
 * Knows nothing of headers: the caller sets them on a new response.
 * Worker's thread.
 */
#ifndef BUGLE_RESPONSE_CACHE_H
#define BUGLE_RESPONSE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#define RESPONSE_CACHE_BYTES_MAX 192

struct MHD_Response;

struct cached_response {
    SLIST_ENTRY(cached_response) link;
    struct MHD_Response *response; /* the library's count has one for this struct */
    bool is_new;                   /* without headers */
    size_t bytes_n;
    char bytes[RESPONSE_CACHE_BYTES_MAX];
};

/* Those that wait for their next use: zeroed, there are none. */
struct response_cache {
    SLIST_HEAD(, cached_response) spare;
    size_t spare_n;
    bool reuses; /* the owner's: the library lets their bytes be written again (mhd_quirks.h) */
};

/* Make or find an answer of these bytes, at most RESPONSE_CACHE_BYTES_MAX.  Taken for one request,
 * until response_cache_give_back().  NULL when out of memory. */
struct cached_response *response_cache_take(struct response_cache *cache, const char *bytes,
                                            size_t bytes_n);

/* The request is completed, or the answer was not queued. */
void response_cache_give_back(struct response_cache *cache, struct cached_response *cached);

/* Let go of those that wait. */
void response_cache_clear(struct response_cache *cache);

#endif
