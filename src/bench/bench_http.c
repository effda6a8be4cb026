/* SPDX-License-Identifier: MIT */
/* A cheap incremental reader of HTTP/1.1 responses. */
#include "config.h"
#include "bench/bench_http.h"

#include <string.h>
#include <strings.h>

void bench_http_start(struct bench_http *http)
{
    http->state = BENCH_HTTP_STATUS;
    http->status = 0;
    http->chunked = false;
    http->counted = false;
    http->closes = false;
    http->left = 0;
    http->line.kept_n = 0;
}

/* The value of a header line when its name is `name`, else NULL.  `name` has the colon. */
static const char *bench_http_value_of(const char *text, size_t text_n, const char *name,
                                       size_t *ret_n)
{
    size_t name_n = strlen(name);

    if (text_n < name_n || strncasecmp(text, name, name_n) != 0)
        return NULL;
    text += name_n;
    text_n -= name_n;
    while (text_n && (*text == ' ' || *text == '\t')) {
        text++;
        text_n--;
    }
    *ret_n = text_n;
    return text;
}

static bool has_token(const char *value, size_t value_n, const char *token)
{
    size_t token_n = strlen(token);

    for (size_t i = 0; i + token_n <= value_n; i++)
        if (strncasecmp(value + i, token, token_n) == 0)
            return true;
    return false;
}

static uint64_t bench_http_read_number(const char *text, size_t text_n, unsigned base,
                                       size_t *ret_digits)
{
    uint64_t number = 0;
    size_t i;

    for (i = 0; i < text_n; i++) {
        int c = text[i] | 0x20; /* lower case; digits stay */
        unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                         : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                                : base;

        if (digit >= base || number > UINT64_MAX / 32)
            break;
        number = number * base + digit;
    }
    *ret_digits = i;
    return number;
}

static enum bench_http_state read_status(struct bench_http *http, const char *text, size_t text_n)
{
    if (text_n < 12 || memcmp(text, "HTTP/1.", 7) != 0 || text[8] != ' ')
        return BENCH_HTTP_BAD;
    size_t digits;
    http->status = (int)bench_http_read_number(text + 9, 3, 10, &digits);
    http->closes = text[7] == '0';
    return digits == 3 ? BENCH_HTTP_HEAD : BENCH_HTTP_BAD;
}

static void bench_http_read_header(struct bench_http *http, const char *text, size_t text_n)
{
    const char *value;
    size_t value_n, digits;

    if ((value = bench_http_value_of(text, text_n, "transfer-encoding:", &value_n))) {
        http->chunked = has_token(value, value_n, "chunked");
    } else if ((value = bench_http_value_of(text, text_n, "content-length:", &value_n))) {
        http->left = bench_http_read_number(value, value_n, 10, &digits);
        http->counted = digits > 0;
    } else if ((value = bench_http_value_of(text, text_n, "connection:", &value_n))) {
        http->closes = has_token(value, value_n, "close");
    }
}

/* What follows the blank line (RFC 9112 section 6.3). */
static enum bench_http_state after_head(struct bench_http *http)
{
    if (http->status == 101)
        return BENCH_HTTP_DONE;
    if (http->status < 200) {
        bench_http_start(http);
        return BENCH_HTTP_STATUS;
    }
    if (http->status == 204 || http->status == 304)
        return BENCH_HTTP_DONE;
    if (http->chunked)
        return BENCH_HTTP_CHUNK_SIZE;
    if (http->counted)
        return http->left ? BENCH_HTTP_BODY : BENCH_HTTP_DONE;
    http->left = UINT64_MAX;
    http->closes = true;
    return BENCH_HTTP_BODY;
}

static enum bench_http_state read_chunk_size(struct bench_http *http, const char *text,
                                             size_t text_n)
{
    size_t digits;

    http->left = bench_http_read_number(text, text_n, 16, &digits);
    if (digits == 0)
        return BENCH_HTTP_BAD;
    return http->left ? BENCH_HTTP_CHUNK : BENCH_HTTP_TRAILER;
}

static enum bench_http_state bench_http_read_line(struct bench_http *http, const char *text,
                                                  size_t text_n)
{
    switch (http->state) {
    case BENCH_HTTP_STATUS:
        return read_status(http, text, text_n);
    case BENCH_HTTP_HEAD:
        if (text_n == 0)
            return after_head(http);
        bench_http_read_header(http, text, text_n);
        return BENCH_HTTP_HEAD;
    case BENCH_HTTP_CHUNK_SIZE:
        return read_chunk_size(http, text, text_n);
    case BENCH_HTTP_CHUNK_END:
        return text_n == 0 ? BENCH_HTTP_CHUNK_SIZE : BENCH_HTTP_BAD;
    case BENCH_HTTP_TRAILER:
        return text_n == 0 ? BENCH_HTTP_DONE : BENCH_HTTP_TRAILER;
    case BENCH_HTTP_BODY:
    case BENCH_HTTP_CHUNK:
    case BENCH_HTTP_DONE:
    case BENCH_HTTP_BAD:
        break;
    }
    return BENCH_HTTP_BAD;
}

/* Pass on what lies here of the body, and move on when its end is reached. */
static const char *bench_http_read_body(struct bench_http *http, const char *at, const char *end,
                                        bench_http_body_fn *body, void *context)
{
    size_t piece_n = (size_t)(end - at);

    if (piece_n > http->left)
        piece_n = http->left;
    if (body != NULL)
        body(context, at, piece_n);
    if (http->left != UINT64_MAX)
        http->left -= piece_n;
    if (http->left == 0)
        http->state = http->state == BENCH_HTTP_CHUNK ? BENCH_HTTP_CHUNK_END : BENCH_HTTP_DONE;
    return at + piece_n;
}

size_t bench_http_feed(struct bench_http *http, const char *bytes, size_t bytes_n,
                       bench_http_body_fn *body, void *context)
{
    const char *at = bytes, *end = bytes + bytes_n, *text;
    size_t text_n;

    while (at < end && http->state < BENCH_HTTP_DONE) {
        if (http->state == BENCH_HTTP_BODY || http->state == BENCH_HTTP_CHUNK)
            at = bench_http_read_body(http, at, end, body, context);
        else if (bench_line_take(&http->line, &at, end, &text, &text_n))
            http->state = bench_http_read_line(http, text, text_n);
    }
    return (size_t)(at - bytes);
}
