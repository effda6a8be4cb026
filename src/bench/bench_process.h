/* SPDX-License-Identifier: MIT */
/* What the processes of a server have used so far, as Linux accounts for it under /proc. */
#ifndef BUGLE_BENCH_PROCESS_H
#define BUGLE_BENCH_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Look at all together.
 *
 * ret_cpu_ns  CPU time of all living threads: from schedstat where the kernel keeps it, else user
 *             and system time in ticks.  A thread that ends takes its time with it.  NULL: not
 * asked ret_bytes   private memory: clean and dirty pages mapped by nobody else; costs the kernel a
 * walk over the page tables.  NULL: not asked
 *
 * Returns 0, or -ESRCH when one of the processes is gone or may not be looked at.
 */
int bench_process_look(const pid_t *pids, size_t pids_n, uint64_t *ret_cpu_ns, uint64_t *ret_bytes);

#endif
