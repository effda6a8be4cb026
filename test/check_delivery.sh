#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The delivery path costs no more instructions than test/bench/delivery.bounds says, and allocates
# nothing.  Callgrind counts, so the machine and what else runs on it do not matter.  TAP.
#
#   DELIVERY  the program (default: test/bench/delivery)
#   srcdir    the sources (default: the folder above this script)

srcdir=${srcdir:-$(dirname "$0")/..}
DELIVERY=${DELIVERY:-test/bench/delivery}

hindrance=$("$DELIVERY")
command -v valgrind >/dev/null || hindrance='no valgrind'
if [ -n "$hindrance" ]; then
    echo "1..0 # SKIP $hindrance"
    exit 0
fi

scratch=$(mktemp -d "${TMPDIR:-/tmp}/check_delivery.XXXXXX") || exit 99
trap 'rm -rf "$scratch"' EXIT
test_number=0
status=0

report() {
    test_number=$((test_number + 1))
    [ "$1" = ok ] || status=1
    echo "$1 $test_number - $2"
}

# Run a case; leaves the deliveries in $scratch/made and the profile in $scratch/profile.
count() {
    valgrind --tool=callgrind --callgrind-out-file="$scratch/profile" --collect-atstart=no \
        --toggle-collect=deliver "$DELIVERY" "$1" >"$scratch/made" 2>"$scratch/log" &&
        [ -s "$scratch/profile" ]
}

check() {
    if ! count "$1"; then
        report 'not ok' "$1: cannot be counted"
        sed 's/^/#   /' "$scratch/log"
        return
    fi
    spent=$(sed -n 's/^summary: *//p' "$scratch/profile")
    each=$((spent / $(cat "$scratch/made")))
    verdict='ok'
    [ $((each * 10)) -le $(($2 * 11)) ] || verdict='not ok'
    report "$verdict" "$1: $each instructions a delivery, $2 are the measure"
    if [ $((each * 11)) -lt $(($2 * 10)) ]; then
        echo "# fewer than the measure: lower it in test/bench/delivery.bounds"
    fi
    verdict='ok'
    if grep -E '^c?fn=\([0-9]+\) (malloc|calloc|realloc|aligned_alloc)$' "$scratch/profile" \
        >"$scratch/allocates"; then
        verdict='not ok'
    fi
    report "$verdict" "$1: no allocation"
}

while read -r name bound; do
    case $name in
    '#'* | '') ;;
    *) check "$name" "$bound" ;;
    esac
done <"$srcdir/test/bench/delivery.bounds"
echo "1..$test_number"
exit $status
