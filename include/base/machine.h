/* SPDX-License-Identifier: MIT */
/*
 * How much memory this process may hope for: what the machine has, or the limit of its control
 * group or of one above it, of version 1 or 2, if that is less.
 */
#ifndef BUGLE_MACHINE_H
#define BUGLE_MACHINE_H

#include <stdint.h>

/*
 * Reads some small files below /proc and /sys/fs/cgroup.  Any thread.
 *
 * root  stands before every path: "" for the real ones
 *
 * Returns bytes; 1 GiB when nothing can be read.
 */
uint64_t machine_memory_bytes(const char *root);

/* The limit of the control groups alone; UINT64_MAX when there is none. */
uint64_t machine_cgroup_bytes(const char *root);

#endif
