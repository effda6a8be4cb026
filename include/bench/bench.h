/* SPDX-License-Identifier: MIT */
/* `bugle bench`: hold streams, publish events, and report losses, order, latency and cost. */
#ifndef BUGLE_BENCH_H
#define BUGLE_BENCH_H

/* Returns an exit status, as CLI_FINE and its like. */
int bench_main(int argc, char **argv);

#endif
