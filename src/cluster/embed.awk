# SPDX-License-Identifier: MIT
# Scripts of the server's as texts of a C program: redis_script.h.  Lines that are comments stay
# here.

# As a text of C has it.  Not by gsub(): what a backslash means in its replacement differs between
# versions of awk.
function escape(text,  out, i, c) {
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        out = out (c == "\\" || c == "\"" ? "\\" c : c)
    }
    return out
}

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
    sub(/^ +/, "")
    print "        \"" escape($0) "\\n\""
}
END { print "};" }
