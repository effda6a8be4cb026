/* SPDX-License-Identifier: MIT */
/* `bugle bench`: load a server with streams and events, and report what it did with them. */
#include "config.h"
#include "bench/bench.h"

#include "bench/bench_options.h"
#include "bench/bench_run.h"
#include "cli/cli_common.h"

int bench_main(int argc, char **argv)
{
    struct bench_options options;
    int rc = bench_options_parse(&options, argc, argv);
    if (rc != 0)
        return rc == BENCH_OPTIONS_HELPED ? CLI_FINE : CLI_USAGE;
    return bench_run(&options);
}
