#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Measure the gateway against the floor (floor.c), in turns, the server on one core and the load
# on another, and print a table of medians.
#
#   test/bench/run.sh BUGLE [ROUNDS [CASE...]]
#
# BUGLE   the program: it is both the server and, as `bugle bench`, the load
# ROUNDS  how often each case is run (3)
# CASE    some of broadcast, burst, fastest, targeted, idle, publish, batch (all of them)
#
# From the environment:
#   SERVERS     what to measure, in turns (bugle floor)
#   BUGLE_ARGS  more arguments for `bugle serve` (--store memory:, so that no disk is measured; for
#               the one on disk, --store sqlite:FILE on the disk that it is to be)
#   SERVER_CPU  core of the server (0); LOAD_CPU of the load (1)
#   STREAMS     how many streams are many (15000)
#   SECONDS_EACH  length of the measured part (5)
#   RESULTS     folder for the JSON of each run (a temporary one, removed at the end)
#   CC          compiler of the floor (cc)

set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
if [ $# -lt 1 ] || [ ! -x "$1" ]; then
    sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
bugle=$(realpath "$1")
rounds=${2:-3}
cases=("${@:3}")
[ ${#cases[@]} -gt 0 ] || cases=(broadcast burst fastest targeted idle publish batch)
read -ra servers <<<"${SERVERS:-bugle floor}"
read -ra bugle_args <<<"${BUGLE_ARGS:---store memory:}"
server_cpu=${SERVER_CPU:-0}
load_cpu=${LOAD_CPU:-1}
streams=${STREAMS:-15000}
seconds=${SECONDS_EACH:-5}

work=$(mktemp -d)
results=${RESULTS:-$work/results}
mkdir -p "$results"
server_pid=
trap 'stop_server; rm -rf "$work"' EXIT
ulimit -n "$(ulimit -Hn)"

fail() {
    echo "run.sh: $*" >&2
    exit 1
}

# A port that nobody listens on, below those of outgoing connections.
free_port() {
    local port
    while port=$((10000 + RANDOM % 20000)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

start_server() {
    local command
    port=$(free_port)
    case $1 in
    bugle) command=("$bugle" serve --listen "127.0.0.1:$port" --workers 1 "${bugle_args[@]}") ;;
    floor) command=("$work/floor" --port "$port") ;;
    *) fail "no server is called $1" ;;
    esac
    (cd "$work" && exec taskset -c "$server_cpu" "${command[@]}") >"$work/log" 2>&1 &
    server_pid=$!
    for _ in {1..200}; do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && return
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.05
    done
    cat "$work/log" >&2
    fail "$1 does not listen"
}

stop_server() {
    [ -n "$server_pid" ] || return 0
    kill "$server_pid" 2>/dev/null || true
    for _ in {1..200}; do
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.05
    done
    kill -9 "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
}

# What the load does in a case, for a server.
load_of() {
    case $1 in
    broadcast) echo --streams 1000 --rate 50 --warmup 2 ;;
    # More than the floor can send: it shows how much it does.
    burst) if [ "$2" = floor ]; then load_of fastest; else echo --streams 1000 --rate 400; fi ;;
    fastest) echo --streams 1000 --rate max --connections 32 ;;
    targeted) echo --streams "$streams" --topics "$streams" --random --rate 500 --warmup 2 ;;
    idle) echo --streams "$streams" --topics "$streams" --idle --settle 3 ;;
    publish) echo --publish-only --rate max --connections 64 ;;
    batch) echo --publish-only --rate max --connections 64 --batch 100 ;;
    *) fail "no case is called $1" ;;
    esac
}

measure() {
    local case=$1 server=$2 round=$3 url load status=0
    start_server "$server"
    url=http://127.0.0.1:$port
    read -ra load <<<"$(load_of "$case" "$server")"
    taskset -c "$load_cpu" "$bugle" bench --json --server-pid "$server_pid" \
        --stream-url "$url/events?topic={topic}" --publish-url "$url/api/push" \
        --seconds "$seconds" "${load[@]}" \
        >"$results/$case.$server.$round.json" 2>"$work/load.log" || status=$?
    stop_server
    [ "$status" -eq 0 ] && return
    echo "run.sh: $case against $server, round $round: exit status $status" >&2
    cat "$work/load.log" "$work/log" >&2
}

if [[ " ${servers[*]} " == *" floor "* ]]; then
    ${CC:-cc} -std=gnu11 -O2 -o "$work/floor" "$here/floor.c"
fi
for case in "${cases[@]}"; do
    load_of "$case" bugle >/dev/null
done
for ((round = 1; round <= rounds; round++)); do
    for case in "${cases[@]}"; do
        for server in "${servers[@]}"; do
            [ -t 2 ] && printf '\rround %d of %d: %s, %s\e[K' "$round" "$rounds" "$case" "$server" >&2
            measure "$case" "$server" "$round"
        done
    done
done
[ -t 2 ] && printf '\r\e[K' >&2
echo "bugle serve ${bugle_args[*]}"
/usr/bin/env python3 "$here/table.py" "$results" "${servers[@]}"
