#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The manual and the sample file say what the program says: every setting with its default and what
# it takes, every option of every command, every path, code of an error and figure, and nothing that
# is not there.  TAP.
#
#   BUGLE    the program (default: ./bugle)
#   srcdir   the sources (default: the folder above this script)

srcdir=${srcdir:-$(dirname "$0")/..}
BUGLE=${BUGLE:-./bugle}
manual=$srcdir/doc/bugle.1
settings=$srcdir/doc/bugle.conf.5
wire=$srcdir/doc/bugle-wire.7
sample=$srcdir/doc/bugle.conf.sample
commands='serve publish subscribe backup epoch token bench check-config'

# What stands in the environment is for the gateway, not for this check.
for name in $(env | sed -n 's/^\(BUGLE_[A-Za-z0-9_]*\)=.*/\1/p'); do
    unset "$name"
done

scratch=$(mktemp -d "${TMPDIR:-/tmp}/check_docs.XXXXXX") || exit 99
trap 'rm -rf "$scratch"' EXIT

if ! "$BUGLE" serve --help-config >"$scratch/help"; then
    echo "Bail out! '$BUGLE serve --help-config' failed"
    exit 99
fi

test_number=0
status=0

# Report one test: its name, and a file that names the faults and is empty when all is well.
report() {
    test_number=$((test_number + 1))
    if [ -s "$2" ]; then
        status=1
        echo "not ok $test_number - $1"
        sed 's/^/#   /' "$2"
    else
        echo "ok $test_number - $1"
    fi
}

# Lines of the first file that the second lacks, with a word on what that means.
missing() {
    sort -u "$1" >"$scratch/wanted"
    sort -u "$2" >"$scratch/there"
    comm -23 "$scratch/wanted" "$scratch/there" | sed "s|^|$3: |"
}

# A manual page as plain text would have it: without the macros' quoting and escapes.
plain() {
    sed -e 's/\\://g' -e 's/\\-/-/g' -e 's/\\(aq/'"'"'/g' -e 's/\\f[A-Z]//g' "$1"
}

# "section.key = default" of every setting; the default of server.www depends on the installation,
# and behind that of an empty list is a blank, or none.
without_www() {
    sed -e 's|^\(server\.www\) = .*|\1 = (installed)|' -e 's/ *$//'
}

sed -n '/^[a-z]*\.[a-z_]* =/p' "$scratch/help" | without_www >"$scratch/table"
cut -d' ' -f1 "$scratch/table" >"$scratch/names"
echo "1..13"

if [ -s "$scratch/names" ]; then : >"$scratch/faults"; else echo "none" >"$scratch/faults"; fi
report "the program has settings" "$scratch/faults"

plain "$settings" | sed -n 's/^\.BR \([a-z]*\.[a-z_]*\) " = \(.*\)"$/\1 = \2/p' | without_www \
    >"$scratch/manual"
{
    missing "$scratch/table" "$scratch/manual" "not in bugle.conf.5"
    missing "$scratch/manual" "$scratch/table" "only in bugle.conf.5"
} >"$scratch/faults"
report "bugle.conf.5 has every setting with its default" "$scratch/faults"

# In the program's help and in the manual the setting stands right before what it takes.
takes() {
    awk '$1 ~ /^[a-z]+\.[a-z_]+$/ { name = $1 } $1 == "Takes" { $1 = $1; print name ": " $0 }'
}
takes <"$scratch/help" >"$scratch/table_takes"
plain "$settings" | sed 's/^\.BR //' | takes >"$scratch/manual_takes"
{
    missing "$scratch/table_takes" "$scratch/manual_takes" "not in bugle.conf.5"
    missing "$scratch/manual_takes" "$scratch/table_takes" "only in bugle.conf.5"
} >"$scratch/faults"
report "bugle.conf.5 says what every setting takes" "$scratch/faults"

sed -n -e 's/^\[\([a-z]*\)\]$/[\1/p' -e 's/^#\([a-z_]* =.*\)/\1/p' "$sample" |
    awk '/^\[/ { section = substr($0, 2); next } { print section "." $0 }' |
    without_www >"$scratch/sample"
{
    missing "$scratch/table" "$scratch/sample" "not in bugle.conf.sample"
    missing "$scratch/sample" "$scratch/table" "only in bugle.conf.sample"
} >"$scratch/faults"
report "bugle.conf.sample has every setting with its default" "$scratch/faults"

{
    "$BUGLE" check-config --config "$sample" >"$scratch/as_it_is"
    sed 's/^#\([a-z_]* =\)/\1/' "$sample" >"$scratch/all.conf"
    "$BUGLE" check-config --config "$scratch/all.conf" >"$scratch/all_written"
    without_www <"$scratch/as_it_is" >"$scratch/one"
    without_www <"$scratch/all_written" >"$scratch/other"
    diff "$scratch/one" "$scratch/other"
} >"$scratch/faults" 2>&1
report "bugle.conf.sample is accepted, and with every line in force changes nothing" \
    "$scratch/faults"

# Each command against its own section: SERVE, PUBLISH and so on.
options_of() {
    grep -o -e '--[a-z][a-z-]*' | sort -u
}
for command in $commands; do
    [ "$command" != check-config ] || continue # takes the options of serve, and says so
    if ! "$BUGLE" "$command" --help >"$scratch/command_help"; then
        echo "bugle $command --help failed"
    fi
    section=$(echo "$command" | tr '[:lower:]' '[:upper:]')
    options_of <"$scratch/command_help" >"$scratch/options"
    plain "$manual" | awk -v section="$section" '/^\.SH / { inside = $2 == section } inside' |
        options_of >"$scratch/documented"
    missing "$scratch/options" "$scratch/documented" "$command, not in bugle.1"
    missing "$scratch/documented" "$scratch/options" "$command, only in bugle.1"
done >"$scratch/faults"
report "bugle.1 has every option of every command" "$scratch/faults"

# The lines of a section (.SH) of bugle-wire.7.
wire_section() {
    plain "$wire" | awk -v name="$1" '/^\.SH / { inside = substr($0, 5) == name } inside'
}

# Every code a problem can have is told: programs depend on them.  In the other direction counts what
# stands in the headings of ERRORS.
find "$srcdir/src" -name '*.c' -exec cat {} + | tr '\n' ' ' |
    grep -oE '(problem_set|respond_error|request_cut)\([^"]*[0-9]{3}, *"[a-z0-9_]+"' |
    sed 's/.*"\([a-z0-9_]*\)"/\1/' | sort -u >"$scratch/codes"
plain "$wire" | grep -oE '[a-z0-9_]+' | sort -u >"$scratch/documented"
if [ ! -s "$scratch/codes" ]; then
    echo "no codes found in the sources"
fi >"$scratch/faults"
missing "$scratch/codes" "$scratch/documented" "code, not in bugle-wire.7" >>"$scratch/faults"
wire_section ERRORS | awk 'heading { print } { heading = /^\.TP/ }' |
    sed -e 's/^\.[A-Z]* //' -e 's/" with .*//' | grep -oE '[a-z][a-z0-9_]+' >"$scratch/headings"
find "$srcdir/src" -name '*.c' -exec cat {} + | grep -oE '"[a-z0-9_]+\\?"' | tr -d '\\"' >"$scratch/words"
missing "$scratch/headings" "$scratch/words" "code, only in bugle-wire.7" >>"$scratch/faults"
report "bugle-wire.7 has every code of an error, and no other" "$scratch/faults"

# Every path with its method, from the table in routes.c.
stream_path=$(sed -n 's|^#define SSE_PATH "\(.*\)"$|\1|p' "$srcdir/include/wire/sse.h")
sed -nE -e "s|\{SSE_PATH,|{\"$stream_path\",|" \
    -e 's|^ *\{"(/[a-z/]*)", "([A-Z]+)", [a-z_]+, .*|\2 \1|p' "$srcdir/src/api/routes.c" |
    sed 's|\([a-z]\)/$|\1|' >"$scratch/routes"
if [ ! -s "$scratch/routes" ]; then
    echo "no routes found in the sources"
fi >"$scratch/faults"
plain "$wire" | sed 's/\\~/ /g' | grep -oE '(GET|POST|DELETE|PUT) /[a-z/]*' | sed 's|\([a-z]\)/$|\1|' \
    >"$scratch/documented"
missing "$scratch/routes" "$scratch/documented" "path, not in bugle-wire.7" >>"$scratch/faults"
plain "$manual" | sed -n '/^\.SH HTTP/,/^\.SH EXIT/p' |
    grep -oE '(GET|POST|DELETE|PUT) /[a-z/]*' >>"$scratch/documented"
missing "$scratch/documented" "$scratch/routes" "path, only in a manual" >>"$scratch/faults"
plain "$wire" | grep -oE '(^| )/(api/[a-z]+|metrics|events|ws|readyz|healthz)' | tr -d ' ' \
    >"$scratch/documented"
cut -d' ' -f2 "$scratch/routes" >"$scratch/paths"
missing "$scratch/documented" "$scratch/paths" "path, only in bugle-wire.7" >>"$scratch/faults"
report "bugle-wire.7 has every path, and no other" "$scratch/faults"

# Every figure of stats.h, whether it counts up, and what it means.
tr -d '\\\n' <"$srcdir/include/base/stats.h" |
    grep -oE 'row\([A-Z0-9_]+, *[a-z0-9_]+, *(true|false), *"[^"]*"\)' |
    sed -E -e 's/row\([A-Z0-9_]+, *([a-z0-9_]+), *(true|false), *"(.)(.*)"\)/\2 \1: \u\3\4./' \
        -e 's/^true/gauge/' -e 's/^false/counter/' >"$scratch/figures"
if [ ! -s "$scratch/figures" ]; then
    echo "no figures found in the sources"
fi >"$scratch/faults"
wire_section FIGURES | awk '
    /^\.SS Counters/ { kind = "counter" }
    /^\.SS Gauges/ { kind = "gauge" }
    text { print kind, name ": " $0; text = 0 }
    /^\.B / && kind { name = $2; text = 1 }' >"$scratch/documented"
missing "$scratch/figures" "$scratch/documented" "figure, not in bugle-wire.7" >>"$scratch/faults"
missing "$scratch/documented" "$scratch/figures" "figure, only in bugle-wire.7" >>"$scratch/faults"
report "bugle-wire.7 has every figure, its kind and its meaning, and no other" "$scratch/faults"

# A setting that a manual or README names is one.
sections=$(cut -d. -f1 "$scratch/names" | sort -u | paste -sd'|')
for page in "$manual" "$settings" "$wire" "$srcdir/README" "$srcdir/contrib"/*; do
    plain "$page" | grep -oE "(^|[ \"(\`=])($sections)\.[a-z_]+" | grep -oE "[a-z_]+\.[a-z_]+" |
        grep -vE '\.(c|h|db|conf|service|socket|sock|py|html)$' >"$scratch/documented"
    missing "$scratch/documented" "$scratch/names" "setting, only in ${page##*/}"
done >"$scratch/faults"
report "no manual names a setting that is not there" "$scratch/faults"

# Every file that a document or a comment names is there, or is a header that somebody includes.
# Names with capitals, such as test_X.c, are patterns.
comments() {
    awk 'FNR == 1 { inside = 0 }
        /^#include/ { next }
        { for (rest = $0; rest != "";) {
              end = index(rest, inside ? "*/" : "/*")
              if (inside) print FILENAME, end ? substr(rest, 1, end - 1) : rest
              rest = end ? substr(rest, end + 2) : ""
              if (end) inside = !inside
          } }' "$@"
}
{
    cd "$srcdir" || exit 99
    for page in README doc/design doc/measurements doc/contributing doc/*.[1-9]; do
        plain "$page" | sed "s|^|$page |"
    done
    comments $(find src include test -name '*.[ch]')
    cd - >"$scratch/where" || exit 99
} | awk '{
        rest = $0
        sub(/^[^ ]* /, "", rest)
        while (match(rest, /[A-Za-z0-9_\/.-]*[a-z0-9_]\.(c|h|mk|py|sh|table|bounds)([^A-Za-z_]|$)/)) {
            name = substr(rest, RSTART, RLENGTH)
            rest = substr(rest, RSTART + RLENGTH)
            sub(/[^a-z]$/, "", name)
            if (name !~ /[A-Z]/) print $1, name
        } }' >"$scratch/named"
(cd "$srcdir" && find src include test doc -type f | sed -E 'p; s|^[a-z]+/||; p; s|.*/||' &&
    find src include test -name '*.[ch]' -exec sed -nE 's/^#include <(.*)>/\1/p' {} +) |
    awk 'NR == FNR { there[$0]; next } !($2 in there) { print $1 ": there is no " $2 }' \
        - "$scratch/named" | sort -u >"$scratch/faults"
[ -s "$scratch/named" ] || echo "no names found" >"$scratch/faults"
# So are the functions of doc/design; x_new() and its like are patterns.
(cd "$srcdir" && find src include test -name '*.[ch]' -exec cat {} +) | grep -oE '[A-Za-z_0-9]+' |
    sort -u >"$scratch/words"
grep -ohE '[a-zA-Z_0-9]+\(\)' "$srcdir/doc/design" "$srcdir/doc/contributing" | tr -d '()' |
    grep -v '^x_' >"$scratch/functions"
missing "$scratch/functions" "$scratch/words" "function, only in a document" >>"$scratch/faults"
report "every file and function that a document or a comment names is there" "$scratch/faults"

# doc/design is cited by the names of its sections, which stand over a line of dashes.
awk '/^-+$/ { print before } { before = $0 }' "$srcdir/doc/design" >"$scratch/sections"
(cd "$srcdir" && find src include test doc -type f ! -path '*/seeds/*' -exec cat {} +) | tr '\n' ' ' |
    sed 's/ [ *#]*/ /g' | grep -aoE 'doc/design,? "[^"]*"' | sed -e 's/^[^"]*"//' -e 's/"$//' \
    >"$scratch/cited"
missing "$scratch/cited" "$scratch/sections" "no such section" >"$scratch/faults"
[ -s "$scratch/sections" ] || echo "no sections found" >"$scratch/faults"
report "every section of doc/design that a source names is there" "$scratch/faults"

if command -v man >"$scratch/where"; then
    for page in "$manual" "$settings" "$wire"; do
        man -l --warnings -E UTF-8 "$page" >"$scratch/page"
    done >"$scratch/faults" 2>&1
    report "the pages have no formatting mistakes" "$scratch/faults"
else
    test_number=$((test_number + 1))
    echo "ok $test_number - the pages have no formatting mistakes # SKIP no man(1)"
fi
exit $status
