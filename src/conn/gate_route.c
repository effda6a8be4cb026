/* SPDX-License-Identifier: MIT */
/* Where a request goes.  See gate_route.h. */
#include "config.h"
#include "conn/gate_route.h"

#include <string.h>

#include "conn/mhd_quirks.h"
#include "wire/sse.h"

/* Up to here a body fits into half of a small pool, behind an ordinary head, and is read in one
 * piece.  Others are read faster through a large pool. */
#define SMALL_BODY_BYTES 1536

static size_t count_query_fields(const struct http_head *head)
{
    size_t count = 1;

    for (const char *at = head->path + head->path_n; *at != ' '; at++)
        count += *at == '&';
    return count;
}

static size_t needs_of(const struct http_head *head)
{
    size_t records = head->headers_n + count_query_fields(head) + head->cookies_n;

    return mhd_head_needs(head->head_bytes, head->cookie_bytes, records);
}

bool gate_route_has_room(const struct http_head *head)
{
    return needs_of(head) <= MHD_NEEDS_LARGE_BYTES;
}

enum cell_kind gate_route(const struct http_head *head, enum memory_budget_level level)
{
    bool large = needs_of(head) > MHD_NEEDS_SMALL_BYTES;
    bool has_large_body = head->chunked || head->content_length > SMALL_BODY_BYTES;

    if (head->method == HTTP_GET && head->path_n == sizeof(SSE_PATH) - 1 &&
        memcmp(head->path, SSE_PATH, head->path_n) == 0)
        return large ? CELL_STREAM_LARGE : CELL_STREAM;
    if (has_large_body && level < MEMORY_BUDGET_NEAR)
        large = true;
    return large ? CELL_API_LARGE : CELL_API;
}

bool gate_route_is_stream(enum cell_kind kind)
{
    return kind == CELL_STREAM || kind == CELL_STREAM_LARGE;
}

bool gate_route_fits(enum cell_kind now, enum cell_kind kind, enum memory_budget_level level)
{
    return now == kind || (now == CELL_API_LARGE && kind == CELL_API && level < MEMORY_BUDGET_NEAR);
}

bool gate_route_is_last(const struct http_head *head, const char *text, size_t text_n)
{
    size_t left_n = text_n - head->head_bytes;

    if (head->chunked) /* where its body ends is not known here */
        return true;
    if (left_n <= head->content_length)
        return false;
    left_n -= head->content_length;
    /* a line end after a body is an old mistake of clients and no request: RFC 9112 section 2.2 */
    return left_n != 2 || memcmp(text + text_n - 2, "\r\n", 2) != 0;
}
