#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The folders are layers: each includes only those that test/layers.table allows it, and of another
# folder only what stands in include/.  TAP.
#
# To move a call that points upward: have the lower folder take a callback or a value, or move what
# is shared down.  A new arrow goes into test/layers.table and doc/design, with a reason.
#
#   srcdir   the sources (default: the folder above this script)
#   LAYERS   the table (default: test/layers.table)

srcdir=${srcdir:-$(dirname "$0")/..}
LAYERS=${LAYERS:-$srcdir/test/layers.table}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/check_layers.XXXXXX") || exit 99
trap 'rm -rf "$scratch"' EXIT
test_number=0
status=0

# Report one test: its name, a file that names the faults and is empty when all is well, and what
# to do about them.
report() {
    test_number=$((test_number + 1))
    if [ -s "$2" ]; then
        status=1
        echo "not ok $test_number - $1"
        sed 's/^/#   /' "$2"
        echo "# What to do: $3"
    else
        echo "ok $test_number - $1"
    fi
}

# Every include line with a folder, as "FILE FOLDER HEADER-FOLDER HEADER".  main.c is a folder.
includes() {
    (cd "$1" && find src include -name '*.[ch]' -exec grep -H '^#include "' {} +) |
        awk -F'[:"]' '{
            folder = $1; header = $3
            sub(/^(src|include)\//, "", folder)
            if (!sub(/\/[^\/]*$/, "", folder)) folder = "main"
            of = header
            if (!sub(/\/[^\/]*$/, "", of)) of = ""
            if (header != "config.h") print $1, folder, of, header
        }'
}

check() {
    includes "$1" >"$scratch/includes"
    grep -v '^#' "$2" >"$scratch/table"

    awk '{
            for (i = 2; i <= NF; i++)
                if (!($i in seen)) print $1 " uses " $i ", which does not stand before it"
            seen[$1]
        }' "$scratch/table" >"$scratch/circles"

    awk 'NR == FNR { known[$1]; for (i = 2; i <= NF; i++) may[$1, $i]; next }
        !($2 in known) { print $1 ": the folder " $2 " is not in the table"; next }
        $3 == "" { print $1 ": \"" $4 "\" is written without its folder"; next }
        $2 != $3 && !(($2, $3) in may) { print $1 ": " $2 " may not include \"" $4 "\"" }' \
        "$scratch/table" "$scratch/includes" >"$scratch/upward"

    while read -r file folder of header; do
        [ "$folder" = "$of" ] || [ -f "$1/include/$header" ] ||
            echo "$file includes \"$header\", which is private to $of"
    done <"$scratch/includes" >"$scratch/private"

    # A header in include/ that no other folder includes, itself or through another one that stands
    # there, belongs beside its source.
    awk '$2 != $3 || $1 ~ /include\// { print $4 }' "$scratch/includes" | sort -u >"$scratch/shared"
    (cd "$1/include" && find . -name '*.h' | sed 's|^\./||' | sort) >"$scratch/faces"
    comm -13 "$scratch/shared" "$scratch/faces" |
        sed 's|.*|include/&: no other folder includes it|' >"$scratch/unused"

    awk '{ print $3, $2 }' "$scratch/includes" | awk '$1 != $2' | sort -u >"$scratch/used"
    awk '{ for (i = 2; i <= NF; i++) print $i, $1 }' "$scratch/table" | sort >"$scratch/allowed"
    comm -13 "$scratch/used" "$scratch/allowed" |
        awk '{ print $2 " may include " $1 " and does not" }' >"$scratch/idle"

    # x.c and x.h of one folder are a pair; any other two of a name are one too many.
    (cd "$1" && find src include -name '*.[ch]') |
        awk '{
            folder = file = $1
            sub(/^(src|include)\//, "", folder); sub(/\/?[^\/]*$/, "", folder)
            sub(/.*\//, "", file)
            name = file; sub(/\.[ch]$/, "", name)
            if (file in first) print $1 " and " first[file] " have one name"
            else if (name in home && home[name] != folder)
                print $1 " and " of[name] " have one name"
            first[file] = of[name] = $1; home[name] = folder
        }' >"$scratch/names"
}

# The check finds what it is for: each of these would be a hole in a wall.
plant() {
    rm -rf "$scratch/tree"
    mkdir -p "$scratch/tree/src/base" "$scratch/tree/src/hub" "$scratch/tree/include/base" \
        "$scratch/tree/include/hub"
    echo '#include "base/x.h"' >"$scratch/tree/src/hub/y.c"
    : >"$scratch/tree/include/base/x.h"
    printf '%s\n' "$2" >"$scratch/tree/src/$1"
    printf 'base\nhub base\n' >"$scratch/tree.table"
    check "$scratch/tree" "$scratch/tree.table"
    [ -s "$scratch/$3" ] || echo "src/$1 with $2 goes unnoticed"
}

echo "1..9"
{
    plant base/a.c '#include "hub/y.h"' upward
    plant hub/a.c '#include "y.h"' upward
    plant hub/x.c '' names
    : >"$scratch/tree/src/base/z.h"
    plant hub/a.c '#include "base/z.h"' private
} >"$scratch/planted"
check "$srcdir" "$LAYERS"
report "planted faults are found" "$scratch/planted" "mend this script"
report "the table has no circle: a folder stands after those that it uses" "$scratch/circles" \
    "order the lines of test/layers.table, or take an arrow out"
report "no folder includes one that it may not" "$scratch/upward" \
    "see the head of test/check_layers.sh"
report "no folder includes a private header of another" "$scratch/private" \
    "use a header in include/, or move this one there if it is for others"
report "headers in include/ are for other folders" "$scratch/unused" \
    "git mv it beside its source in src/, and change its line in files.mk"
report "the table allows nothing that is not needed" "$scratch/idle" \
    "take it out of test/layers.table and doc/design"
report "no two files have one base name" "$scratch/names" \
    "begin the name with that of the folder"

(cd "$srcdir" && grep -rlF '<microhttpd.h>' src include) |
    grep -vE '^(src|include)/(conn|http|api|server)/' >"$scratch/library"
report "no folder below conn includes the HTTP library" "$scratch/library" \
    "use struct stream_host_ops, or put it into src/conn/stream_mhd.c"

grep -v '^#' "$LAYERS" >"$scratch/table"
sed -n '/^    base$/,/^$/s/^    //p' "$srcdir/doc/design" |
    diff "$scratch/table" - >"$scratch/shown"
report "doc/design shows the table as it is" "$scratch/shown" \
    "change the table of doc/design, under Folders"
exit $status
