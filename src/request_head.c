/* SPDX-License-Identifier: MIT */
/*
 * The check of a head that the gate cannot see, inside TLS.  What libmicrohttpd made of it is
 * written down again, and judged as the gate judges heads; where the lines of it stood in memory
 * tells what the library has joined or passed over.
 */
#include "config.h"
#include "request.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gate.h"
#include "http_head.h"
#include "service.h"

struct again {
    FILE *to;
    const char *end; /* of the line before, where the library has it */
    bool is_plain;   /* nothing but line ends is between the parts so far */
};

/* The library reads in one buffer, and puts NUL for each byte of a line end.  From 1.0 on it
 * refuses NUL that was sent, and puts more of them for blanks in front of a line end. */
static bool is_line_end(const char *from, const char *to)
{
    if ((uintptr_t)to < (uintptr_t)from + 2)
        return false;
#if MHD_VERSION >= 0x01000000
    while (to - from > 2 && (*from == '\0' || *from == ' ' || *from == '\t'))
        from++;
#endif
    return to == from + 2;
}

static bool are_blanks(const char *from, const char *to)
{
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    return from == to;
}

/* A line that is folded is joined to the name of the one before, and both are moved. */
static bool stands_plainly(const struct again *again, const char *name, size_t name_n,
                           const char *value)
{
    return is_line_end(again->end, name) && (uintptr_t)value > (uintptr_t)name + name_n &&
           are_blanks(name + name_n + 1, value);
}

static enum MHD_Result write_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                    size_t name_n, const char *value, size_t value_n)
{
    struct again *again = cls;

    (void)kind;
    if (value == NULL || !stands_plainly(again, name, name_n, value)) {
        again->is_plain = false;
        return MHD_NO;
    }
    fwrite(name, 1, name_n, again->to);
    fputs(": ", again->to);
    fwrite(value, 1, value_n, again->to);
    fputs("\r\n", again->to);
    again->end = value + value_n;
    return MHD_YES;
}

/* Method, target and version stand side by side, and the head ends with an empty line. */
static bool is_whole(const struct request *request, const struct again *again, const char *method,
                     const char *target, const char *version)
{
    size_t head_n =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)
            ->header_size;

    return again->is_plain && method + strlen(method) + 1 + strlen(target) + 1 == version &&
           is_line_end(again->end, method + head_n - 2);
}

/* The caller's to free(); NULL when out of memory. */
static char *write_again(struct request *request, const char *method, const char *version,
                         bool *ret_is_plain, size_t *ret_n)
{
    char *text = NULL, *target = cell_take_target(request->connection);
    struct again again = {
        .to = open_memstream(&text, ret_n), .end = version + strlen(version), .is_plain = true};

    if (again.to != NULL && target != NULL) {
        fprintf(again.to, "%s %s %s\r\n", method, target, version);
        MHD_get_connection_values_n(request->connection, MHD_HEADER_KIND, write_header, &again);
        fputs("\r\n", again.to);
        *ret_is_plain = is_whole(request, &again, method, target, version);
    }
    bool is_written = again.to != NULL && fclose(again.to) == 0 && target != NULL;
    free(target);
    if (is_written)
        return text;
    free(text);
    return NULL;
}

static enum http_head_verdict judge(struct request *request, const char *text, size_t text_n,
                                    struct http_head *ret_head)
{
    const struct conf *conf = worker_conf(request->service->worker);
    struct http_head_limits limits = {.head_bytes_max = conf->limits.header_bytes,
                                      .target_bytes_max = conf->limits.url_bytes,
                                      .headers_max = conf->limits.header_count};
    enum http_head_verdict verdict = http_head_check(text, text_n, &limits, ret_head);

    if (verdict != HTTP_HEAD_GOOD || gate_has_room_for(ret_head))
        return verdict;
    ret_head->status = 431;
    ret_head->why = GATE_NO_ROOM_FOR_HEAD;
    return HTTP_HEAD_BAD;
}

static int refuse(struct request *request, const struct http_head *head)
{
    char detail[160];

    stats_add(worker_stats(request->service->worker), STATS_HEADS_REFUSED, 1);
    snprintf(detail, sizeof(detail), "The request %s.", head->why);
    return request_cut(request, head->status, "bad_request", detail);
}

int request_check_head(struct request *request, const char *method, const char *version)
{
    struct http_head head = {.status = 400, .why = "has parts that are not parted as HTTP has it"};
    enum http_head_verdict verdict = HTTP_HEAD_BAD;
    bool is_plain = false;
    size_t text_n;
    char *text = write_again(request, method, version, &is_plain, &text_n);

    if (text == NULL)
        return request_cut(request, 503, "out_of_memory", "The gateway is out of memory.");
    if (is_plain)
        verdict = judge(request, text, text_n, &head);
    free(text);
    if (verdict != HTTP_HEAD_GOOD)
        return refuse(request, &head);
    request->is_last = head.chunked; /* behind chunks the library may overlook what comes next */
    return -1;
}
