/* SPDX-License-Identifier: MIT */
/*
 * One run of the load tool, from the first connection to the last delivery: connect, settle,
 * warm up, measure, drain.  One thread, one epoll.
 */
#ifndef BUGLE_BENCH_RUN_H
#define BUGLE_BENCH_RUN_H

#include "bench/bench_options.h"

/*
 * Do what `options` ask, and report on standard output; progress goes to standard error.
 * Blocks for as long as that takes.  SIGINT ends the events early and still reports; the signal
 * stays blocked afterwards.
 *
 * Returns an enum cli_exit.
 */
int bench_run(const struct bench_options *options);

#endif
