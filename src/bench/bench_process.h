/* SPDX-License-Identifier: MIT */
/* What the processes of a server have used so far, as Linux accounts for it under /proc. */
#ifndef BUGLE_BENCH_PROCESS_H
#define BUGLE_BENCH_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * CPU time of all living threads together, in nanoseconds: from schedstat where the kernel keeps
 * it, else user and system time in ticks.  A thread that ends takes its time with it.
 * Returns 0, or -ESRCH when one of the processes is gone or may not be looked at.
 */
int bench_process_cpu(const pid_t *pids, size_t pids_n, uint64_t *ret_ns);

/* Private memory (clean and dirty pages mapped by nobody else) of all together, in bytes.
 * Returns 0 or -ESRCH.  Costs the kernel a walk over the page tables. */
int bench_process_private(const pid_t *pids, size_t pids_n, uint64_t *ret_bytes);

#endif
