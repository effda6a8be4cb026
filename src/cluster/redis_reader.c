/* SPDX-License-Identifier: MIT */
/* Replies of a Redis, with bounds.  See redis_reader.h. */
#include "config.h"
#include "cluster/redis_reader.h"

#include <errno.h>

#if HIREDIS_MAJOR >= 1
typedef size_t elements_count;
#else
typedef int elements_count;
#endif

/* Later versions of hiredis go as deep as they are led, and replies are freed by recursion. */
static bool reader_is_deep(const redisReadTask *task)
{
    unsigned depth = 0;

    for (; task->parent != NULL; task = task->parent)
        depth++;
    return depth >= REDIS_DEPTH_MAX;
}

/* The length of an array comes before its elements, and memory for all of them is taken at once. */
static void *reader_create_array(const redisReadTask *task, elements_count elements_n)
{
    struct redis_reader *reader = task->privdata;

    if (reader_is_deep(task) || (size_t)elements_n > REDIS_ELEMENTS_MAX - reader->elements_n) {
        reader->is_too_large = true;
        return NULL;
    }
    reader->elements_n += (size_t)elements_n;
    return reader->theirs.createArray(task, elements_n);
}

int redis_reader_begin(struct redis_reader *reader, size_t bytes_max)
{
    *reader = (struct redis_reader){.reader = redisReaderCreate(), .bytes_max = bytes_max};
    if (reader->reader == NULL)
        return -ENOMEM;
    reader->theirs = *reader->reader->fn;
    reader->ours = reader->theirs;
    reader->ours.createArray = reader_create_array;
    reader->reader->fn = &reader->ours;
    reader->reader->privdata = reader;
    return 0;
}

void redis_reader_end(struct redis_reader *reader)
{
    if (reader->reader != NULL)
        redisReaderFree(reader->reader);
    reader->reader = NULL;
}

int redis_reader_feed(struct redis_reader *reader, const char *bytes, size_t n)
{
    reader->bytes_n += n;
    return redisReaderFeed(reader->reader, bytes, n) == REDIS_OK ? 0 : -ENOMEM;
}

int redis_reader_next(struct redis_reader *reader, redisReply **ret_reply)
{
    void *reply = NULL;

    if (redisReaderGetReply(reader->reader, &reply) != REDIS_OK) {
        if (reader->is_too_large)
            return -EMSGSIZE;
        return reader->reader->err == REDIS_ERR_OOM ? -ENOMEM : -EPROTO;
    }
    *ret_reply = reply;
    if (reply != NULL) {
        reader->bytes_n = reader->elements_n = 0;
        return 1;
    }
    reader->is_too_large = reader->bytes_n > reader->bytes_max;
    return reader->is_too_large ? -EMSGSIZE : 0;
}

const char *redis_reader_why(const struct redis_reader *reader)
{
    return reader->is_too_large ? "an answer that is too large" : reader->reader->errstr;
}
