/* SPDX-License-Identifier: MIT */
/* JSON parsed into memory that was set aside before.  See json_memory.h. */
#include "config.h"
#include "wire/json_memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json_span.h"
#include "base/log.h"

#define ALIGNMENT 16

/* One that was not counted, kept until all is freed. */
struct json_memory_block {
    struct json_memory_block *next;
    _Alignas(ALIGNMENT) char bytes[];
};

/* What the parser of this thread takes its memory from; NULL while it does not run: values that
 * are made by hand come from malloc(). */
static _Thread_local struct json_memory *parsing;

static void *take_uncounted(size_t bytes)
{
    struct json_memory_block *block = malloc(sizeof(*block) + bytes);

    if (block == NULL) /* the library would write beyond its blocks */
        log_abort_without_memory("the JSON parser");
    block->next = parsing->more;
    parsing->more = block;
    return block->bytes;
}

static void *take(size_t bytes)
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

static void install(void)
{
    json_set_alloc_funcs(take, give_back);
}

static struct json_memory *set_aside(struct json_span text)
{
    size_t head_bytes = (sizeof(struct json_memory) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    size_t bytes = head_bytes + json_span_tree_bytes(text);
    struct json_memory *memory = malloc(bytes);

    if (memory == NULL)
        return NULL;
    *memory = (struct json_memory){.at = (char *)memory + head_bytes,
                                   .end = (char *)memory + bytes};
    return memory;
}

int json_memory_load(const char *text, size_t text_n, size_t flags, json_error_t *ret_error,
                     struct json_memory **ret_parsed)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct json_memory *memory = set_aside((struct json_span){text, text_n});

    *ret_parsed = NULL;
    if (memory == NULL)
        return -ENOMEM;
    pthread_once(&once, install);
    parsing = memory;
    memory->root = json_loadb(text, text_n, flags, ret_error);
    parsing = NULL;
    if (memory->root == NULL) {
        json_memory_free(memory);
        return -EINVAL;
    }
    *ret_parsed = memory;
    return 0;
}

void json_memory_free(struct json_memory *parsed)
{
    if (parsed == NULL)
        return;
    for (struct json_memory_block *block = parsed->more, *next; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    free(parsed);
}

bool json_memory_was_short(const struct json_memory *parsed)
{
    return parsed->more != NULL;
}
