#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Build and test on another release of Debian: in a fresh root of it, which is gone afterwards.
#
#   test/on_debian.sh bookworm|trixie [WHAT]
#
#   quick    build with gcc, unit tests, and the scenarios that the libraries of the release can
#            break: heads, framing, TLS, sends, stops, clients, stalls, WebSockets (default; 2 to 4
#            minutes)
#   check    ./bootstrap check, all of it
#   run      ./bootstrap, then the program: does it start, answer and stop
#   shell    a shell in it
#
# Needs root, namespaces, debootstrap and the package archive.  BUGLE_DEBS names a folder in which
# packages are kept for the next time, and BUGLE_ROOTS one in which a root of each release with what
# the tests need is kept, to be copied.  With a descriptor in BUGLE_AHEAD the root and the build are
# made at a lower priority, and `quick` begins its tests when that descriptor comes to its end.
# The mounts are in a namespace of their own, so nothing of them is left, however it ends.  Closes
# with a line `N passed, N failed`.

set -euo pipefail
cd "$(dirname "$0")/.."

scenarios_of_libraries='test_wire.py or test_heads.py or test_smuggling.py or test_tls.py
    or test_send.py or test_stop.py or test_clients.py or test_stall.py or test_ws.py
    or test_ws_frames.py or test_ws_ends.py or test_ws_tls.py'
archive=http://deb.debian.org/debian

usage() {
    sed -n '5,21p' "$0" | sed 's/^# \{0,1\}//' >&2
    exit 2
}

# ---- outside: the root ----

make_fresh_root() {
    local root=$1 release=$2 cache=()

    if [ -n "${BUGLE_DEBS:-}" ]; then
        mkdir -p "$BUGLE_DEBS"
        cache=("--cache-dir=$(realpath "$BUGLE_DEBS")")
    fi
    debootstrap --variant=minbase "${cache[@]}" "$release" "$root" "$archive" >"$root.log" 2>&1 || {
        tail -20 "$root.log"
        echo "debootstrap failed" >&2
        exit 1
    }
    cp /etc/hosts /etc/resolv.conf "$root/etc/"
    # It is thrown away, so its packages need not be safe on the disk, and have no documents.
    printf 'force-unsafe-io\npath-exclude=/usr/share/doc/*\n' >"$root/etc/dpkg/dpkg.cfg.d/bugle"
    if [ ${#cache[@]} -gt 0 ]; then
        mkdir -p "$root/var/cache/apt/archives"
        mount --bind "$BUGLE_DEBS" "$root/var/cache/apt/archives"
        echo 'Binary::apt::APT::Keep-Downloaded-Packages "true";' >"$root/etc/apt/apt.conf.d/90keep"
    fi
}

# A root is kept once it is whole.
make_kept_root() {
    local kept=$BUGLE_ROOTS/$2 half

    if [ ! -d "$kept" ]; then
        mkdir -p "$BUGLE_ROOTS"
        half=$(mktemp -d "$kept.XXXXXX")
        chmod 755 "$half"
        BUGLE_DEBS='' make_fresh_root "$half" "$2"
        cp bootstrap "$half/"
        mount -t proc proc "$half/proc"
        in_root "$half" /bootstrap packages quick
        umount "$half/proc"
        mv "$half" "$kept"
    fi
    cp -a "$kept" "$1"
}

make_root() {
    if [ -n "${BUGLE_ROOTS:-}" ]; then
        make_kept_root "$1" "$2"
    else
        make_fresh_root "$1" "$2"
    fi
}

# A program in a root, with nothing of this environment but what follows.
in_root() {
    local root=$1
    shift
    chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

# What git knows, as it stands in the working tree.
copy_sources() {
    mkdir -p "$1"
    git ls-files -z --cached --others --exclude-standard |
        tar --null --ignore-failed-read -c -T - 2>/dev/null | tar -x -C "$1"
}

in_namespace() {
    local root=$1 release=$2 what=$3

    BUGLE_NICE=$(nice)
    [ -z "${BUGLE_AHEAD:-}" ] || renice -n $((BUGLE_NICE + 5)) -p $$ >/dev/null
    mount --make-rprivate /
    make_root "$root" "$release"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    copy_sources "$root/bugle"
    in_root "$root" BUGLE_AHEAD="${BUGLE_AHEAD:-}" BUGLE_NICE="$BUGLE_NICE" \
        BUGLE_TEST_PORTS="${BUGLE_TEST_PORTS:-}" \
        /bin/bash /bugle/test/on_debian.sh --inside "$release" "$what"
}

# ---- inside ----

passed=0
failed=0

count() {
    passed=$((passed + $1))
    failed=$((failed + $2))
}

make_ready() {
    ./bootstrap packages quick
    ./bootstrap build --enable-werror
    make -C build -s -j"$(nproc)" check TESTS= >/dev/null 2>&1 || true
}

quick() {
    make_ready
    if [ -n "${BUGLE_AHEAD:-}" ]; then
        read -r -u "$BUGLE_AHEAD" || true
        renice -n "$BUGLE_NICE" -p $$ >/dev/null || true
    fi
    make -C build -s -j"$(nproc)" check >units.log 2>&1 || true
    grep -E '^(# (PASS|FAIL|ERROR|TOTAL)|FAIL|ERROR)' units.log || tail -30 units.log
    count "$(sed -n 's/^# PASS: *//p' units.log | grep . || echo 0)" \
        "$(awk '/^# (FAIL|ERROR|XPASS):/ { n += $3 } END { print NR && n ~ /./ ? n : 1 }' units.log)"
    make -C build -s check-scenarios PYTEST_JOBS=8 \
        PYTEST_ARGS="-k '$(tr -s ' \n' '  ' <<<"$scenarios_of_libraries")'" 2>&1 |
        tee scenarios.log | grep -vE '^[.sxFE]+ +\[ *[0-9]+%\]$' || true
    count "$(grep -oE '[0-9]+ passed' scenarios.log | tail -1 | grep -oE '[0-9]+' || echo 0)" \
        "$(grep -oE '[0-9]+ (failed|errors?)' scenarios.log |
            awk '{ n += $1 } END { print n + 0 }')"
    grep -q ' passed' scenarios.log || count 0 1
    echo
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

run() {
    local port=18080 gateway status=1
    ./bootstrap
    ./bootstrap run --listen 127.0.0.1:$port --store memory: >/dev/null 2>run.log &
    gateway=$!
    for _ in $(seq 100); do
        if exec 3<>/dev/tcp/127.0.0.1/$port; then
            break
        fi 2>/dev/null
        sleep 0.1
    done
    printf 'GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' $port >&3
    grep -q '200 OK' <&3 && status=0
    kill "$gateway" && wait "$gateway" || status=1
    if [ "$status" = 0 ]; then echo "1 passed, 0 failed"; else
        cat run.log
        echo "0 passed, 1 failed"
    fi
    return "$status"
}

inside() {
    local what=$2
    cd /bugle
    export DEBIAN_FRONTEND=noninteractive
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    apt-get update -qq
    echo "libmicrohttpd $(apt-cache policy libmicrohttpd-dev | sed -n 's/ *Candidate: //p')," \
        "Debian $1"
    case $what in
    quick) quick ;;
    run) run ;;
    check) BUGLE_ONE_RELEASE=1 ./bootstrap check ;;
    shell) exec /bin/bash ;;
    esac
}

case ${1:-} in
--inside) inside "$2" "$3" ;;
--namespace) in_namespace "$2" "$3" "$4" ;;
bookworm | trixie)
    what=${2:-quick}
    case $what in quick | check | run | shell) ;; *) usage ;; esac
    if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
        echo "needs root and debootstrap" >&2
        exit 2
    fi
    folder=$(mktemp -d "${TMPDIR:-/tmp}/on_debian.XXXXXX")
    trap 'rm -rf --one-file-system "$folder"' EXIT
    unshare --mount --pid --fork --kill-child \
        /bin/bash "$0" --namespace "$folder/root" "$1" "$what"
    ;;
*) usage ;;
esac
