/* SPDX-License-Identifier: MIT */
/*
 * The key set that auth.jwks names, from a file or over HTTP: fetched on a thread of its own, again
 * every auth.jwks_refresh, earlier when a token shows a key that is not known, and after failures
 * at growing distances.  Until a fetch succeeds, the last good set stays.
 */
#ifndef BUGLE_JWKS_H
#define BUGLE_JWKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct jwks;

/* Called on the thread of the jwks after each try: must only hand over. */
struct jwks_listener {
    void (*tried)(void *arg, bool changed); /* whether the text is another one than before */
    void *arg;
};

/* Not yet running, without a source.  NULL when out of memory. */
struct jwks *jwks_new(const struct jwks_listener *listener);
void jwks_free(struct jwks *jwks); /* accepts NULL; stops its thread */

/* Returns 0 or -errno. */
int jwks_start(struct jwks *jwks);

/* Name the source, empty for none, and fetch it now.  Without a source the set is forgotten; from
 * another source it is replaced once that has answered.  Any thread.  Returns 0 or -ENOMEM. */
int jwks_set_source(struct jwks *jwks, const char *source, int64_t refresh_ms);

/* Wait until the first fetch is over, however it went, at most so long. */
void jwks_wait(struct jwks *jwks, int64_t max_ms);

/* A token came with a key that is not known: fetch soon, but not more often than every 10 seconds,
 * since anybody can make up such a token.  Any thread; one lock. */
void jwks_wish(struct jwks *jwks);

/* The text as it is now, for free(); NULL when there is none.  Any thread. */
char *jwks_text(struct jwks *jwks, size_t *ret_n);

/* How often fetching worked, and how often not. */
void jwks_counts(struct jwks *jwks, int64_t *ret_fetched, int64_t *ret_failed);

#endif
