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
    int status = bench_options_parse(&options, argc, argv);

    if (status != CLI_FINE)
        return status == CLI_HELPED ? CLI_FINE : status;
    return bench_run(&options);
}
