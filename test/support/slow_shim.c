/* SPDX-License-Identifier: MIT */
/*
 * Loaded before the C library (LD_PRELOAD): a disk whose syncs take SLOW_SHIM_US microseconds
 * longer than they do.
 */
#define _GNU_SOURCE

#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_for_disk(void)
{
    const char *text = getenv("SLOW_SHIM_US");
    long us = text != NULL ? strtol(text, NULL, 10) : 0;
    struct timespec wait = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

    nanosleep(&wait, NULL);
}

int fdatasync(int fd)
{
    wait_for_disk();
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    wait_for_disk();
    return (int)syscall(SYS_fsync, fd);
}
