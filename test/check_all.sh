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
# test/on_debian.sh, which needs root and namespaces (BUGLE_ONE_RELEASE=1 leaves it out).  Tests marked `long` run with gcc only.

set -uo pipefail
cd "$(dirname "$0")/.."

about_events='test_push.py or test_resume.py or test_fanout.py or test_stop.py or test_topics.py'

# What the address sanitizer would not see more of.  The browser's requests are those of the other
# files; the scripts behind `make bench` are no C; counts of system calls are those of the gcc build.
no_address='test_page.py or test_auth_browser.py or test_tls_browser.py or test_bench_table.py
    or test_syscalls.py'

# What the thread sanitizer would not see more of, in addition: programs of one thread (the command
# line tools, `bugle bench`, mistakes in settings), and what one worker makes of one request without
# asking another thread (forms of heads and of origins, tokens one at a time).  Failing allocations
# end in paths of one thread, and the address sanitizer is what looks at those.
no_thread="$no_address or test_bench.py or test_cli.py or test_config.py
    or test_hostile_server.py or test_token_tool.py
    or test_heads.py or test_smuggling.py or test_origin.py or test_tokens.py or test_memory.py"

# Newer compilers look for this by themselves: what points into a function's stack after its end.
export ASAN_OPTIONS="detect_stack_use_after_return=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
passed=0
failed=0

count() {
    passed=$((passed + $1))
    failed=$((failed + $2))
}

one_line() {
    tr -s ' \n' '  ' <<<"$1"
}

# The sums of automake's TAP harness.
units() {
    local folder=$1 log=$logs/units
    say "unit tests in $folder"
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
    local folder=$1 log=$logs/scenarios
    say "scenarios in $folder${BUGLE_TEST_STORE:+, store $BUGLE_TEST_STORE}"
    make -C "$folder" --no-print-directory -s check-scenarios PYTEST_ARGS="${2:-}" \
        PYTEST_JOBS=8 2>&1 |
        tee "$log" | grep -vE '^[.sxFE]+ +\[ *[0-9]+%\]$'
    local good bad
    good=$(grep -oE '[0-9]+ passed' "$log" | tail -1 | grep -oE '[0-9]+')
    bad=$(grep -oE '[0-9]+ (failed|errors?)' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
    [ -n "$good" ] || bad=$((bad + 1))
    count "${good:-0}" "$bad"
}

# How long a part took, and how much CPU: what it does not use of the cores is waiting.
TIMEFORMAT='%0R s, %0U + %0S s CPU'
timed() {
    time "$@"
}

try_build() {
    if ! build "$@"; then
        say "$1 does not build"
        count 0 1
        return 1
    fi
}

# Build the next folder while scenarios of another run, which mostly wait: it gets what they leave.
# try_build then finds everything made, or fails as it would have without.
build_ahead() {
    (
        renice -n 19 "$BASHPID"
        build "$@" && make -C "$1" --no-print-directory -s check TESTS=
    ) >"$logs/ahead-$1" 2>&1 &
    ahead=$!
}
ahead=

wait_ahead() {
    [ -z "$ahead" ] || wait "$ahead" || true
    ahead=
}

if timed try_build build --enable-werror; then
    timed units build
    CC=clang build_ahead build-address --enable-werror --enable-sanitizer=address,undefined
    timed scenarios build
    BUGLE_TEST_STORE=sqlite timed scenarios build "-k '($about_events) and not test_quiet'"
fi
wait_ahead
if CC=clang timed try_build build-address --enable-werror --enable-sanitizer=address,undefined; then
    timed units build-address
    build_ahead build-thread --enable-werror --enable-sanitizer=thread
    BUGLE_TEST_SLOW=2 timed scenarios build-address "-m 'not long' -k 'not ($(one_line "$no_address"))'"
fi
wait_ahead
if timed try_build build-thread --enable-werror --enable-sanitizer=thread; then
    timed units build-thread
    BUGLE_TEST_SLOW=2 timed scenarios build-thread "-m 'not long' -k 'not ($(one_line "$no_thread"))'"
fi

# Nothing is missing from the other passes where this one cannot be made.
other_release() {
    local log=$logs/release other=trixie
    [ "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" != trixie ] || other=bookworm
    [ -z "${BUGLE_ONE_RELEASE:-}" ] || return 0
    if ! unshare --mount --pid --fork true 2>/dev/null; then
        say "not tested on Debian $other: that needs root and namespaces"
        return
    fi
    say "on Debian $other"
    test/on_debian.sh "$other" quick 2>&1 | tee "$log"
    local sum
    sum=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -1)
    [ -n "$sum" ] || sum="0 passed, 1 failed"
    count $(sed -E 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/' <<<"$sum")
}
timed other_release

echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
