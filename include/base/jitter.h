/* SPDX-License-Identifier: MIT */
/*
 * Numbers by chance for times that are to differ, such as when clients reconnect: for nothing that
 * somebody could gain by guessing.  The kernel seeds a generator once; arc4random_uniform() of
 * glibc 2.36 is a system call for each number.
 *
 * One thread at a time for each generator.
 */
#ifndef BUGLE_JITTER_H
#define BUGLE_JITTER_H

#include <stdint.h>

struct jitter {
    uint64_t state;
};

/* Seed it from the kernel. */
void jitter_begin(struct jitter *jitter);

/* A number from 0 to `end` - 1, each as likely as any other but for one in 2^32 / `end`. */
uint32_t jitter_below(struct jitter *jitter, uint32_t end);

#endif
