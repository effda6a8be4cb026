/* SPDX-License-Identifier: MIT */
/* JSON parsed into memory that was set aside before.  See json_alloc.h. */
#include "config.h"
#include "wire/json_alloc.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "wire/json_span.h"

#define ALIGNMENT 16

/* One that was not counted, kept until all is freed. */
struct json_alloc_block {
    struct json_alloc_block *next;
    _Alignas(ALIGNMENT) char bytes[];
};

/* What the parser of this thread takes its memory from; NULL while it does not run: values that
 * are made by hand come from malloc(). */
static _Thread_local struct json_alloc *parsing;

static void *take_uncounted(size_t bytes)
{
    struct json_alloc_block *block = malloc(sizeof(*block) + bytes);

    if (block == NULL) /* the library would write beyond its blocks */
        log_abort_without_memory("the JSON parser");
    block->next = parsing->more;
    parsing->more = block;
    return block->bytes;
}

static void *json_alloc_take(size_t bytes)
{
    if (parsing == NULL)
        return malloc(bytes);
    size_t left = (size_t)(parsing->end - parsing->at);
    if (bytes > left)
        return take_uncounted(bytes);
    char *block = parsing->at;
    size_t room = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    parsing->at += room < left ? room : left;
    return block;
}

/* What the parser gives back stays where it is until all is freed. */
static void give_back(void *block)
{
    if (parsing == NULL)
        free(block);
}

static void json_alloc_install(void)
{
    json_set_alloc_funcs(json_alloc_take, give_back);
}

static struct json_alloc *json_alloc_set_aside(struct json_span text)
{
    size_t head_bytes = (sizeof(struct json_alloc) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    size_t bytes = head_bytes + json_span_tree_bytes(text);
    struct json_alloc *memory = malloc(bytes);

    if (memory == NULL)
        return NULL;
    *memory = (struct json_alloc){.at = (char *)memory + head_bytes, .end = (char *)memory + bytes};
    return memory;
}

int json_alloc_load(const char *text, size_t text_n, size_t flags, json_error_t *ret_error,
                    struct json_alloc **ret_parsed)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct json_alloc *memory = json_alloc_set_aside((struct json_span){text, text_n});

    *ret_parsed = NULL;
    if (memory == NULL)
        return -ENOMEM;
    pthread_once(&once, json_alloc_install);
    parsing = memory;
    memory->root = json_loadb(text, text_n, flags, ret_error);
    parsing = NULL;
    if (memory->root == NULL) {
        json_alloc_free(memory);
        return -EINVAL;
    }
    *ret_parsed = memory;
    return 0;
}

void json_alloc_free(struct json_alloc *parsed)
{
    if (parsed == NULL)
        return;
    for (struct json_alloc_block *block = parsed->more, *next; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    free(parsed);
}

bool json_alloc_was_short(const struct json_alloc *parsed)
{
    return parsed->more != NULL;
}
