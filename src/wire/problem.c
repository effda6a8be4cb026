/* SPDX-License-Identifier: MIT */
/* What is wrong with a request.  See problem.h. */
#include "config.h"
#include "wire/problem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_AFTER_MIN_S 1
#define RETRY_AFTER_MAX_S 5

bool problem_set(struct problem *problem, unsigned status, const char *code, const char *format,
                 ...)
{
    va_list args;

    memset(problem, 0, sizeof(*problem));
    problem->status = status;
    problem->code = code;
    va_start(args, format);
    vsnprintf(problem->detail, sizeof(problem->detail), format, args);
    va_end(args);
    return false;
}

bool problem_point(struct problem *problem, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(problem->pointer, sizeof(problem->pointer), format, args);
    va_end(args);
    return false;
}

void problem_escape_pointer(char *to, size_t to_n, const char *name)
{
    char *end = to + to_n - 2;

    for (; *name != '\0' && to < end; name++) {
        *to++ = *name == '/' ? '~' : *name;
        if (*name == '/' || *name == '~')
            *to++ = *name == '/' ? '1' : '0';
    }
    *to = '\0';
}

bool problem_set_out_of_memory(struct problem *problem)
{
    return problem_set(problem, 503, "out_of_memory", "The gateway is out of memory.");
}

bool problem_set_memory_short(struct problem *problem)
{
    problem_set(problem, 503, "memory_short",
                "The gateway has no memory for this now; nothing was done.");
    problem->retry_after_s = problem_retry_after_s();
    return false;
}

const char *problem_title(unsigned status)
{
    static const struct {
        unsigned status;
        const char *title;
    } titles[] = {
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };

    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
        if (titles[i].status == status)
            return titles[i].title;
    return "Error";
}

unsigned problem_retry_after_s(void)
{
    return RETRY_AFTER_MIN_S + arc4random_uniform(RETRY_AFTER_MAX_S - RETRY_AFTER_MIN_S + 1);
}

size_t problem_write_http(char to[PROBLEM_HTTP_BYTES], unsigned status, const char *code,
                          const char *detail, const char *lines, unsigned retry_after_s)
{
    char body[512], retry[40] = "";
    const char *title = problem_title(status);
    int body_n = snprintf(body, sizeof(body),
                          "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,"
                          "\"detail\":\"%s\",\"code\":\"%s\"}\n",
                          title, status, detail, code);
    if (retry_after_s > 0)
        snprintf(retry, sizeof(retry), "Retry-After: %u\r\n", retry_after_s);
    int n =
        snprintf(to, PROBLEM_HTTP_BYTES,
                 "HTTP/1.1 %u %s\r\nContent-Type: application/problem+json\r\n"
                 "Content-Length: %d\r\nCache-Control: no-store\r\n%s%sConnection: close\r\n\r\n%s",
                 status, title, body_n, lines, retry, body);

    assert(body_n < (int)sizeof(body) && n < PROBLEM_HTTP_BYTES);
    return (size_t)n;
}
