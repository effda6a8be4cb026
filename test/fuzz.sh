#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Run fuzz targets for some time each, and print what came of it; `make fuzz` does that in a build
# folder that was configured with --with-fuzzer.
#
#   test/fuzz.sh SECONDS SEEDS TARGET...
#
# What a target has learned is kept in ./fuzz-corpus for the next time; an input that breaks one is
# left in ./fuzz-findings, and makes this fail.

set -uo pipefail
seconds=$1 seeds=$2
shift 2
failed=0

printf '%-24s %12s %10s %8s %8s  %s\n' target executions per-second inputs features findings
for target in "$@"; do
    name=${target##*/fuzz_}
    corpus=fuzz-corpus/$name findings=fuzz-findings/$name log=fuzz-findings/$name.log
    mkdir -p "$corpus" "$findings"
    "./$target" -max_total_time="$seconds" -print_final_stats=1 -timeout=10 \
        -artifact_prefix="$findings/" "$corpus" "$seeds/$name" >"$log" 2>&1
    status=$?
    found=$(find "$findings" -type f | wc -l)
    stat() { sed -n "s/^stat::$1: *//p" "$log" | tail -1; }
    features=$(grep -oE ' ft: [0-9]+' "$log" | tail -1 | tr -dc 0-9)
    printf '%-24s %12s %10s %8s %8s  %s\n' "$name" "$(stat number_of_executed_units)" \
        "$(stat average_exec_per_sec)" "$(find "$corpus" -type f | wc -l)" "$features" "$found"
    if [ "$status" != 0 ] || [ "$found" != 0 ]; then
        tail -20 "$log"
        failed=1
    fi
done
exit "$failed"
