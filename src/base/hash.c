/* SPDX-License-Identifier: MIT */
/* A hash with a secret seed.  See hash.h. */
#include "config.h"
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static uint64_t seed;

static void hash_draw_seed(void)
{
    ssize_t got;

    do
        got = getrandom(&seed, sizeof seed, 0);
    while (got < 0 && errno == EINTR);
    assert(got == sizeof seed);
}

uint64_t hash_bytes(const char *bytes, size_t bytes_n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, hash_draw_seed);
    return XXH3_64bits_withSeed(bytes, bytes_n, seed);
}
