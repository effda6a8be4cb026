/* SPDX-License-Identifier: MIT */
/*
 * One allocation of the test's own thread fails, the Nth from when the test says so: for tests of
 * what is left behind then.  Link with FAIL_ALLOC_FLAGS, and include it in one file.
 *
 *     for (int n = 0; fail_alloc(n), !try_it(); n++)
 *         ...
 *     fail_alloc(-1);
 */
#ifndef BUGLE_FAIL_ALLOC_H
#define BUGLE_FAIL_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

static _Thread_local long fail_alloc_left = -1;

/* So many go well, the next fails, and all after it go well.  Negative: none fails. */
static inline void fail_alloc(long left)
{
    fail_alloc_left = left;
}

/* Whether the one that was to fail has. */
static inline bool fail_alloc_is_over(void)
{
    return fail_alloc_left < 0;
}

static bool fail_alloc_now(void)
{
    if (fail_alloc_left < 0)
        return false;
    return fail_alloc_left-- == 0;
}

void *__wrap_malloc(size_t bytes)
{
    return fail_alloc_now() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return fail_alloc_now() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fail_alloc_now() ? NULL : __real_realloc(old, bytes);
}

#endif
