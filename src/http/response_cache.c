/* SPDX-License-Identifier: MIT */
/* Responses that are used again.  See response_cache.h. */
#include "config.h"
#include "http/response_cache.h"

#include <assert.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

/* As many as publishers that have an answer under way at a time, within reason. */
#define SPARE_MAX 128

static void response_cache_free(struct cached_response *cached)
{
    MHD_destroy_response(cached->response);
    free(cached);
}

static struct cached_response *response_cache_new(const char *bytes, size_t bytes_n)
{
    struct cached_response *cached = malloc(sizeof(*cached));

    if (cached == NULL)
        return NULL;
    memcpy(cached->bytes, bytes, bytes_n);
    cached->response =
        MHD_create_response_from_buffer(bytes_n, cached->bytes, MHD_RESPMEM_PERSISTENT);
    cached->is_new = true;
    cached->bytes_n = bytes_n;
    if (cached->response != NULL)
        return cached;
    free(cached);
    return NULL;
}

static struct cached_response *response_cache_pop(struct response_cache *cache)
{
    struct cached_response *cached = SLIST_FIRST(&cache->spare);

    if (cached == NULL)
        return NULL;
    SLIST_REMOVE_HEAD(&cache->spare, link);
    cache->spare_n--;
    return cached;
}

struct cached_response *response_cache_take(struct response_cache *cache, const char *bytes,
                                            size_t bytes_n)
{
    struct cached_response *cached = response_cache_pop(cache);

    assert(bytes_n <= RESPONSE_CACHE_BYTES_MAX);
    /* nearly all are of one length, so others are not searched for */
    if (cached != NULL && cached->bytes_n != bytes_n) {
        response_cache_free(cached);
        cached = NULL;
    }
    if (cached == NULL)
        return response_cache_new(bytes, bytes_n);
    memcpy(cached->bytes, bytes, bytes_n);
    return cached;
}

void response_cache_give_back(struct response_cache *cache, struct cached_response *cached)
{
    if (!cache->reuses || cache->spare_n == SPARE_MAX) {
        response_cache_free(cached);
        return;
    }
    SLIST_INSERT_HEAD(&cache->spare, cached, link);
    cache->spare_n++;
}

void response_cache_clear(struct response_cache *cache)
{
    struct cached_response *cached;

    while ((cached = response_cache_pop(cache)) != NULL)
        response_cache_free(cached);
}
