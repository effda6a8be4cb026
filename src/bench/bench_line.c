/* SPDX-License-Identifier: MIT */
/* Lines out of pieces. */
#include "config.h"
#include "bench/bench_line.h"

#include <string.h>

static void bench_line_keep(struct bench_line *line, const char *bytes, size_t bytes_n)
{
    size_t room = BENCH_LINE_BYTES - line->kept_n;

    if (bytes_n > room)
        bytes_n = room;
    memcpy(line->kept + line->kept_n, bytes, bytes_n);
    line->kept_n += (uint32_t)bytes_n;
}

bool bench_line_take(struct bench_line *line, const char **at, const char *end,
                     const char **ret_text, size_t *ret_n)
{
    const char *text = *at;

    if (text == end)
        return false;
    const char *line_end = memchr(text, '\n', (size_t)(end - text));
    if (line_end == NULL) {
        bench_line_keep(line, text, (size_t)(end - text));
        *at = end;
        return false;
    }
    *at = line_end + 1;
    size_t text_n = (size_t)(line_end - text);
    if (line->kept_n) {
        bench_line_keep(line, text, text_n);
        text = line->kept;
        text_n = line->kept_n;
        line->kept_n = 0;
    }
    if (text_n && text[text_n - 1] == '\r')
        text_n--;
    *ret_text = text;
    *ret_n = text_n;
    return true;
}
