# SPDX-License-Identifier: MIT
# Scripts of the server's as texts of a C program: redis_script.h.  Lines that are comments stay
# here.
BEGIN {
    print "/* Made by embed.awk from the scripts beside it. */"
    print "#include \"cluster/redis_script.h\""
    print "const char *const redis_script_texts[REDIS_SCRIPTS_N] = {"
}
FNR == 1 {
    if (NR > 1) print ","
    name = FILENAME
    sub(/.*\//, "", name)
    sub(/\.lua$/, "", name)
    print "    [REDIS_SCRIPT_" toupper(name) "] ="
}
/^ *--/ || /^ *$/ { next }
{
    gsub(/\\/, "\\\\\\\\") # two of them: awk reads the text, and then gsub does
    gsub(/"/, "\\\"")
    sub(/^ +/, "")
    print "        \"" $0 "\\n\""
}
END { print "};" }
