/* SPDX-License-Identifier: MIT */
/* Noting what the JSON parser does not say.  See json_memory.h. */
#include "config.h"
#include "json_memory.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>

static _Thread_local bool has_failed;

static void *allocate(size_t bytes)
{
    void *at = malloc(bytes);

    has_failed |= at == NULL;
    return at;
}

static void install(void)
{
    json_set_alloc_funcs(allocate, free);
}

void json_memory_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, install);
    has_failed = false;
}

bool json_memory_failed(void)
{
    return has_failed;
}
