/* SPDX-License-Identifier: MIT */
/* Names and urgency of threads.  See thread.h. */
#include "config.h"
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NICENESS_MAX 19

/* The first version of the kernel's struct sched_attr (sched_setattr(2)): its own header cannot be
 * had beside the C library's <sched.h>. */
struct sched_attr_1 {
    uint32_t size;
    uint32_t sched_policy;
    uint64_t sched_flags;
    int32_t sched_nice;
    uint32_t sched_priority;
    uint64_t sched_runtime;
    uint64_t sched_deadline;
    uint64_t sched_period;
};

/*
 * Slices: since Linux 6.12 a thread that asks for short ones, from 0.1 ms on, is let in as soon as
 * it wakes, before one with long ones has used up its own; it gets no more of the core in all.
 *
 * Niceness: reading the past takes a tenth of what a worker takes, if both want the same core.  Not
 * less: a reader may hold a lock of the store that a commit waits for, so it must get on.  Its
 * slice is short since it gives up the rest of it whenever it makes way.
 */
static const struct {
    uint64_t slice_ns;
    int32_t niceness;
} shares[] = {
    [THREAD_AT_ONCE] = {100000, 0}, [THREAD_SOON] = {500000, 0},   [THREAD_BESIDE] = {3000000, 0},
    [THREAD_ACCEPTS] = {500000, 5}, [THREAD_LATER] = {200000, 10},
};

void thread_begin(const char *name, enum thread_urgency urgency)
{
    struct sched_attr_1 attr = {.size = sizeof(attr)};

    pthread_setname_np(pthread_self(), name);
    /* relative to what the operator started us with */
    if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) != 0 ||
        (attr.sched_policy != SCHED_OTHER && attr.sched_policy != SCHED_BATCH))
        return;
    attr.sched_nice += shares[urgency].niceness;
    attr.sched_nice = attr.sched_nice > NICENESS_MAX ? NICENESS_MAX : attr.sched_nice;
    attr.sched_runtime = shares[urgency].slice_ns;
    syscall(SYS_sched_setattr, 0, &attr, 0);
}

/* Of its own accord a thread is put aside for another that could run only at a tick of the kernel's
 * clock, which may be 4 ms away. */
void thread_make_way(void)
{
    sched_yield();
}
