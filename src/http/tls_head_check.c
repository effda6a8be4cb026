/* SPDX-License-Identifier: MIT */
/* Heads inside TLS.  See tls_head_check.h. */
#include "config.h"
#include "http/tls_head_check.h"

#include <stdio.h>
#include <stdlib.h>

#include "conn/gate_route.h"
#include "conn/mhd_quirks.h"
#include "http/service.h"
#include "wire/http_head.h"

static enum http_head_verdict tls_head_judge(struct request *request, const char *text,
                                             size_t text_n, struct http_head *ret_head)
{
    const struct conf *conf = request->service->context->conf;
    struct http_head_limits limits = {.head_bytes_max = conf->limits.header_bytes,
                                      .target_bytes_max = conf->limits.url_bytes,
                                      .headers_max = conf->limits.header_count};
    enum http_head_verdict verdict = http_head_check(text, text_n, &limits, ret_head);

    if (verdict != HTTP_HEAD_GOOD || gate_route_has_room(ret_head))
        return verdict;
    ret_head->status = 431;
    ret_head->why = GATE_ROUTE_NO_ROOM;
    return HTTP_HEAD_BAD;
}

static int tls_head_refuse(struct request *request, const struct http_head *head)
{
    char detail[160];

    stats_add(request->service->context->stats, STATS_HEADS_REFUSED, 1);
    snprintf(detail, sizeof(detail), "The request %s.", head->why);
    return request_cut(request, head->status, "bad_request", detail);
}

int tls_head_check(struct request *request, const char *version)
{
    struct http_head head = {.status = 400,
                             .why = "has parts that are not separated as HTTP requires"};
    enum http_head_verdict verdict = HTTP_HEAD_BAD;
    bool is_plain = false;
    size_t text_n;
    char *text = NULL, *target = cell_take_target(request->connection);

    if (target != NULL)
        text = mhd_write_head_again(request->connection, request->method, target, version,
                                    &is_plain, &text_n);
    free(target);
    if (text == NULL)
        return request_cut(request, 503, "out_of_memory", "The gateway is out of memory.");
    if (is_plain)
        verdict = tls_head_judge(request, text, text_n, &head);
    free(text);
    if (verdict != HTTP_HEAD_GOOD)
        return tls_head_refuse(request, &head);
    request->is_last = head.chunked; /* behind chunks the library may overlook what comes next */
    return -1;
}
