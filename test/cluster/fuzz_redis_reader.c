/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for what a server sends.  The first byte is the size of pieces.  In one piece and in
 * such pieces the replies must be the same, and none may have more elements than there are bytes
 * for; of a claim without bytes, no memory is taken.
 */
#include "config.h"
#include "cluster/redis_reader.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/redis_fault.h"

#define INPUT_MAX 20000
#define REPLY_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was read, as a number that depends on all of it. */
struct told {
    uint64_t sum;
    size_t elements_n;
};

static void tell(struct told *told, uint64_t more)
{
    told->sum = (told->sum ^ more) * UINT64_C(0x9e3779b97f4a7c15);
}

static void tell_reply(struct told *told, const redisReply *reply)
{
    tell(told, (uint64_t)reply->type);
    tell(told, (uint64_t)reply->integer);
    if (reply->type == REDIS_REPLY_ERROR)
        tell(told, redis_fault_of(reply->str, (size_t)reply->len));
    if (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_ERROR)
        for (size_t i = 0; i < (size_t)reply->len; i++)
            tell(told, (unsigned char)reply->str[i]);
    if (reply->type != REDIS_REPLY_ARRAY)
        return;
    told->elements_n += reply->elements;
    for (size_t i = 0; i < reply->elements; i++)
        tell_reply(told, reply->element[i]);
}

/* Returns how it ended. */
static int read_all(struct told *told, const char *bytes, size_t n, size_t piece_n)
{
    struct redis_reader reader;
    redisReply *reply;
    int result = redis_reader_begin(&reader, REPLY_MAX);

    while (n > 0 && result == 0) {
        size_t some = piece_n < n ? piece_n : n;

        result = redis_reader_feed(&reader, bytes, some);
        while (result == 0 && redis_reader_next(&reader, &reply) == 1) {
            tell_reply(told, reply);
            freeReplyObject(reply);
        }
        if (result == 0 && (reader.reader->err != 0 || reader.is_too_large))
            result = 1;
        bytes += some;
        n -= some;
    }
    redis_reader_end(&reader);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct told whole = {0}, pieces = {0};

    if (size < 1 || size > INPUT_MAX)
        return 0;
    const char *bytes = (const char *)data + 1;
    int ended = read_all(&whole, bytes, size - 1, size);
    int ended_in_pieces = read_all(&pieces, bytes, size - 1, data[0] > 0 ? data[0] : 1);
    assert(whole.elements_n <= size);
    if (size - 1 <= REPLY_MAX) { /* beyond, a long reply ends in pieces only */
        assert(ended == ended_in_pieces);
        assert(whole.sum == pieces.sum);
    }
    return 0;
}
