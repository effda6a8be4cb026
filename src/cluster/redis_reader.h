/* SPDX-License-Identifier: MIT */
/*
 * Replies of a Redis out of bytes that come in any pieces: hiredis' reader, with bounds.  What a
 * server claims costs no memory before it is sent, and what it sends has a limit.
 */
#ifndef BUGLE_REDIS_READER_H
#define BUGLE_REDIS_READER_H

#include <hiredis.h>
#include <stdbool.h>
#include <stddef.h>

/* Of one reply, all arrays in it together. */
#define REDIS_ELEMENTS_MAX 65536
/* Arrays within arrays; an answer to XREAD has five. */
#define REDIS_DEPTH_MAX 6

struct redis_reader {
    redisReader *reader;
    redisReplyObjectFunctions theirs, ours; /* ours differ in how an array is made */
    size_t bytes_max;
    size_t bytes_n; /* of the reply that is under way */
    size_t elements_n;
    bool is_too_large;
};

/* bytes_max  of one reply, within what is fed at once.  Returns 0 or -ENOMEM.  It must not move. */
int redis_reader_begin(struct redis_reader *reader, size_t bytes_max);
void redis_reader_end(struct redis_reader *reader); /* also without a beginning, of zeros */

/* More bytes.  Returns 0 or -ENOMEM. */
int redis_reader_feed(struct redis_reader *reader, const char *bytes, size_t n);

/*
 * The next reply, for freeReplyObject().  Returns 1; 0: it is not complete; -EPROTO: this is no
 * reply; -EMSGSIZE: too large; -ENOMEM.  After an error it is of no more use.
 */
int redis_reader_next(struct redis_reader *reader, redisReply **ret_reply);

/* The last error in words. */
const char *redis_reader_why(const struct redis_reader *reader);

#endif
