#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every C file looks as clang-format 14 writes it with the .clang-format of the tree: `make format`
# makes it so.  Other versions format otherwise, so without this one the check is left out.  TAP.
#
#   test/check_format.sh          check
#   test/check_format.sh --write  format
#
#   srcdir        the sources (default: the folder above this script)
#   CLANG_FORMAT  the program (default: clang-format-14, or clang-format if it is of version 14)

srcdir=${srcdir:-$(dirname "$0")/..}

is_14() {
    "$1" --version 2>/dev/null | grep -q 'version 14\.'
}

for program in ${CLANG_FORMAT:-clang-format-14 clang-format}; do
    is_14 "$program" && break
    program=
done
if [ -z "$program" ]; then
    if [ "$1" = --write ]; then
        echo "there is no clang-format 14 (Debian 12: clang-format-14)" >&2
        exit 1
    fi
    echo "1..0 # SKIP no clang-format 14"
    exit 0
fi

sources() {
    (cd "$srcdir" && find src include test -name '*.[ch]' -exec "$program" "$@" {} +) 2>&1
}

if [ "$1" = --write ]; then
    sources -i
    exit
fi
echo "1..1"
faults=$(sources --dry-run --ferror-limit=1 | sed -n 's/:\([0-9]*\):[0-9]*: warning: .*/:\1/p')
if [ -z "$faults" ]; then
    echo "ok 1 - every C file is formatted"
    exit 0
fi
echo "not ok 1 - every C file is formatted"
echo "$faults" | sed 's/^/#   /'
echo "# run: make format"
exit 1
