#!/bin/bash
# SPDX-License-Identifier: MIT
#
# All tests, in every build they are for; `./bootstrap check` runs this.  Closes with a line
# `N passed, N failed`.
#
#   build          gcc, warnings are errors: unit tests, seeds, documents, every scenario, and
#                  those about events once more with their history on disk
#   build-address  clang, address and undefined-behaviour sanitizers: unit tests, and the scenarios
#                  that take the program along paths of its own
#   build-thread   gcc, thread sanitizer: unit tests, and the scenarios in which threads meet
#
# and, in a root of the other supported release of Debian, what its libraries can break:
# test/on_debian.sh, which needs root and namespaces (BUGLE_ONE_RELEASE=1 leaves it out).  Tests
# marked `long` run with gcc only.
#
# Most scenarios wait most of their time, and those with a sanitizer compute.  So once the units of
# gcc have passed there are two lanes beside each other: gcc and the other release, and the
# sanitizers.  What a part prints comes when it is over, with its time.

set -uo pipefail
cd "$(dirname "$0")/.." || exit

about_events='test_push.py or test_resume.py or test_fanout.py or test_stop.py or test_topics.py'

# Where the address sanitizer would see nothing more.  The requests of browsers, of the libraries of
# others and of proxies are those of the other files, the scripts behind `make bench` and the judge
# of failures are not C, and system calls are counted in the gcc build.  Failures of a shared log
# take minutes; `make clustertest` runs in a build with a sanitizer too.
no_address='test_page.py or test_auth_browser.py or test_tls_browser.py or test_bench_table.py
    or test_bench_cluster.py or test_syscalls.py or test_ws_browser.py or test_ws_clients.py
    or test_ws_proxies.py or test_bugle_js.py'

# What the thread sanitizer would not see more of, in addition: programs of one thread (the command
# line tools, `bugle bench`, mistakes in settings, the echo around the parser of WebSockets), and what
# one worker makes of one request without asking another thread (forms of heads and of origins, tokens
# one at a time).  Failing allocations end in paths of one thread, and the address sanitizer is what
# looks at those.
no_thread="$no_address or test_bench.py or test_cli.py or test_config.py
    or test_hostile_server.py or test_token_tool.py
    or test_heads.py or test_smuggling.py or test_origin.py or test_tokens.py or test_memory.py
    or test_ws_cases.py or test_cluster_start.py"

# Newer compilers look for this by themselves: what points into a function's stack after its end.
export ASAN_OPTIONS="detect_stack_use_after_return=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# Tests that passed and that failed; from any lane.
count() {
    echo "$1 $2" >>"$logs/counts"
}

one_line() {
    tr -s ' \n' '  ' <<<"$1"
}

# Name a part, run it, and print in one piece what it said, how long it took and how much CPU.
#   part NAME COMMAND...
TIMEFORMAT='(%0R s; CPU %0U s and %0S s in the kernel)'
part() {
    local name=$1 log status
    log=$(mktemp "$logs/part.XXXXXX")
    shift
    say "$name"
    { time "$@"; } >"$log" 2>&1
    status=$?
    {
        flock 9
        printf '\n== %s\n' "$name"
        cat "$log"
    } 9>>"$logs/printing"
    return "$status"
}

# The sums of automake's TAP harness.
units() {
    local folder=$1 log
    log=$(mktemp "$logs/units.XXXXXX")
    make -C "$folder" --no-print-directory -s -j"$(nproc)" check >"$log" 2>&1 || true
    if ! grep -q '^# PASS:' "$log"; then
        tail -50 "$log"
        count 0 1
        return
    fi
    grep -E '^(# (PASS|FAIL|ERROR|SKIP|TOTAL)|FAIL|ERROR)' "$log"
    if grep -qE '^(FAIL|ERROR): ' "$log"; then
        cat "$folder/test-suite.log"
    fi
    count "$(sed -n 's/^# PASS: *//p' "$log")" \
        "$(awk '/^# (FAIL|ERROR|XPASS):/ { sum += $3 } END { print sum + 0 }' "$log")"
}

# The sums of pytest.
scenarios() {
    local folder=$1 log good bad
    log=$(mktemp "$logs/scenarios.XXXXXX")
    make -C "$folder" --no-print-directory -s check-scenarios PYTEST_ARGS="${2:-}" \
        PYTEST_JOBS=8 >"$log" 2>&1
    grep -vE '^[.sxFE]+ +\[ *[0-9]+%\]$' "$log"
    good=$(grep -oE '[0-9]+ passed' "$log" | tail -1 | grep -oE '[0-9]+')
    bad=$(grep -oE '[0-9]+ (failed|errors?)' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
    [ -n "$good" ] || bad=$((bad + 1))
    count "${good:-0}" "$bad"
}

# A folder's program and unit tests, made.
make_tests() {
    build "$@" && make -C "$1" --no-print-directory -s -j"$(nproc)" check TESTS= && return
    count 0 1
    return 1
}

# They compute, and wait for longer than usual; what runs beside them without has the cores first.
with_sanitizers() {
    renice -n $(($(nice) + 5)) "$BASHPID" >/dev/null
    export BUGLE_TEST_SLOW=2 BUGLE_TEST_PORTS=1
    if CC=clang part "build-address" make_tests build-address --enable-werror \
        --enable-sanitizer=address,undefined; then
        part "unit tests in build-address" units build-address
        part "scenarios in build-address" scenarios build-address \
            "-m 'not long' -k 'not ($(one_line "$no_address"))'"
    fi
    if part "build-thread" make_tests build-thread --enable-werror --enable-sanitizer=thread; then
        part "unit tests in build-thread" units build-thread
        part "scenarios in build-thread" scenarios build-thread \
            "-m 'not long' -k 'not ($(one_line "$no_thread"))'"
    fi
}

# Nothing is missing from the other passes where this one cannot be made.  It makes ready what it
# needs beside the lanes, and tests when its standard input ends.
on_other_release() {
    local log=$logs/release other=trixie sum
    [ "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" != trixie ] || other=bookworm
    if ! unshare --mount --pid --fork true 2>/dev/null; then
        echo "not tested on Debian $other: that needs root and namespaces"
        return
    fi
    exec 8<&0 </dev/null
    BUGLE_AHEAD=8 BUGLE_TEST_PORTS=2 test/on_debian.sh "$other" quick 2>&1 | tee "$log"
    sum=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -1)
    [ -n "$sum" ] || sum="0 passed, 1 failed"
    count "${sum%% *}" "$(sed -E 's/.*, ([0-9]+) failed$/\1/' <<<"$sum")"
}

if part "build" make_tests build --enable-werror; then
    part "unit tests in build" units build
    with_sanitizers &
    sanitizers=$!
    if [ -z "${BUGLE_ONE_RELEASE:-}" ]; then
        exec {ahead}> >(part "other release of Debian" on_other_release)
        other=$!
    fi
    part "scenarios in build" scenarios build
    BUGLE_TEST_STORE=sqlite part "scenarios in build, history on disk" scenarios build \
        "-k '($about_events) and not test_quiet'"
    if [ -z "${BUGLE_ONE_RELEASE:-}" ]; then
        exec {ahead}>&-
        wait "$other"
    fi
    wait "$sanitizers"
fi

echo
awk '{ good += $1; bad += $2 } END { print good + 0 " passed, " bad + 0 " failed"; exit bad > 0 }' \
    "$logs/counts"
