/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target for the strict check of a head.  Two promises are watched: the verdicts on growing
 * prefixes never contradict each other, and what is called good is plainly one request by the
 * measure of a second, slower reader that works on whole lines.
 */
#include "wire/http_head.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_bad(const struct http_head *head)
{
    unsigned status = head->status;

    assert(status == 400 || status == 414 || status == 431 || status == 501 || status == 505);
    assert(head->why && *head->why);
}

/* Every prefix of short text; of longer text some thirty, other ones for each length. */
static void check_prefixes(const char *text, size_t text_n, const struct http_head_limits *limits,
                           enum http_head_verdict whole, const struct http_head *head)
{
    enum http_head_verdict last = HTTP_HEAD_MORE;
    size_t step = 1 + text_n / 32;

    for (size_t n = text_n % step; n < text_n; n += step) {
        struct http_head part;
        enum http_head_verdict verdict = http_head_check(text, n, limits, &part);

        assert(last == HTTP_HEAD_MORE || verdict == last);
        last = verdict;
        if (verdict == HTTP_HEAD_MORE)
            continue;
        assert(verdict == whole);
        assert(verdict == HTTP_HEAD_GOOD
                   ? part.head_bytes == head->head_bytes && part.head_bytes <= n
                   : part.status == head->status && part.why == head->why);
    }
}

/* Only CRLF, HTAB, visible bytes and those of UTF-8. */
static void check_bytes(const char *text, size_t text_n)
{
    for (size_t i = 0; i < text_n; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '\r')
            assert(i + 1 < text_n && text[i + 1] == '\n');
        else if (c == '\n')
            assert(i > 0 && text[i - 1] == '\r');
        else
            assert(c == '\t' || (c >= ' ' && c != 0x7F));
    }
}

/* How many header lines have this name; the value of the last one, without white space. */
static size_t count(const char *lines, const char *name, char **ret_value)
{
    size_t found = 0, name_n = strlen(name);

    for (const char *line = lines; line; line = strstr(line, "\r\n")) {
        size_t value_n;

        line += line == lines ? 0 : 2;
        if (strncasecmp(line, name, name_n) != 0 || line[name_n] != ':')
            continue;
        found++;
        line += name_n + 1;
        line += strspn(line, " \t");
        value_n = strcspn(line, "\r");
        while (value_n > 0 && strchr(" \t", line[value_n - 1]))
            value_n--;
        free(*ret_value);
        *ret_value = strndup(line, value_n);
        assert(*ret_value);
    }
    return found;
}

static void check_line(const char *line, size_t line_n)
{
    const char *colon = memchr(line, ':', line_n);

    assert(colon && colon > line);
    for (const char *at = line; at < colon; at++)
        assert(*at > ' ' && *at < 0x7F && !strchr("\"(),/:;<=>?@[\\]{}", *at));
}

/* `lines` ends with the CRLF of its last line. */
static void check_lines(const char *lines, const struct http_head *head)
{
    size_t lines_n = 0;

    for (const char *line = lines; *line; line = strstr(line, "\r\n") + 2) {
        check_line(line, strcspn(line, "\r"));
        lines_n++;
    }
    assert(lines_n == head->headers_n);
}

static void check_framing(const char *lines, const struct http_head *head)
{
    static const char *const once[] = {"Authorization", "Last-Event-ID", "Content-Type",
                                       "Origin",        "Expect",        "Host"};
    char *value = NULL;

    for (size_t i = 0; i < sizeof once / sizeof once[0]; i++)
        assert(count(lines, once[i], &value) <= 1);
    assert(head->http_1_0 || count(lines, "Host", &value) == 1);
    assert(count(lines, "Content-Length", &value) == head->has_content_length);
    if (head->has_content_length) {
        assert(*value && strspn(value, "0123456789") == strlen(value));
        assert(strtoull(value, NULL, 10) == head->content_length);
        assert(head->content_length <= INT64_MAX && !head->chunked);
    }
    assert(count(lines, "Transfer-Encoding", &value) == head->chunked);
    if (head->chunked)
        assert(!head->http_1_0 && strcasecmp(value, "chunked") == 0);
    free(value);
}

/* Three words, parted by single spaces. */
static void check_request_line(const char *line, const struct http_head *head,
                               const struct http_head_limits *limits)
{
    static const char *const methods[] = {"GET ", "HEAD ", "POST ", "DELETE ", "OPTIONS "};
    const char *target = strchr(line, ' ') + 1;
    size_t target_n = strcspn(target, " ");
    const char *version = target + target_n + 1;

    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        bool is = strncmp(line, methods[i], strlen(methods[i])) == 0;

        assert(is == (head->method == (enum http_head_method)i));
    }
    assert(target_n > 0 && target_n <= limits->target_bytes_max);
    assert(strncmp(version, head->http_1_0 ? "HTTP/1.0\r\n" : "HTTP/1.1\r\n", 10) == 0);
    if (*target == '*')
        assert(head->method == HTTP_OPTIONS && target_n == 1);
    else
        assert(*target == '/' || strncasecmp(target, "http://", 7) == 0);
}

static void check_good(const char *text, const struct http_head *head,
                       const struct http_head_limits *limits)
{
    size_t skip = text[0] == '\r' ? 2 : 0;
    char *copy = strndup(text + skip, head->head_bytes - skip - 2);
    char *end = strstr(copy, "\r\n");

    check_bytes(text, head->head_bytes);
    assert(strlen(copy) == head->head_bytes - skip - 2 && end);
    assert(!strstr(copy, "\r\n\r\n"));
    assert(memcmp(text + head->head_bytes - 4, "\r\n\r\n", 4) == 0);
    assert(head->head_bytes <= limits->head_bytes_max && head->headers_n <= limits->headers_max);
    assert(head->path_n > 0 && head->path > text);
    assert(head->path + head->path_n < text + head->head_bytes);
    assert(head->path[0] == '/' || (head->path[0] == '*' && head->path_n == 1));
    assert(!memchr(head->path, '?', head->path_n) && !memchr(head->path, ' ', head->path_n));
    check_request_line(copy, head, limits);
    check_lines(end + 2, head);
    check_framing(end + 2, head);
    free(copy);
}

static void check(const char *text, size_t text_n, const struct http_head_limits *limits)
{
    struct http_head head = {.status = 0};
    enum http_head_verdict verdict = http_head_check(text, text_n, limits, &head);

    if (verdict == HTTP_HEAD_MORE)
        assert(!head.path && head.status == 0 && text_n < limits->head_bytes_max);
    if (verdict == HTTP_HEAD_GOOD)
        check_good(text, &head, limits);
    if (verdict == HTTP_HEAD_BAD)
        check_bad(&head);
    check_prefixes(text, text_n, limits, verdict, &head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct http_head_limits wide = {16384, 8192, 100};
    static const struct http_head_limits narrow = {128, 24, 3};
    const char *text = size > 0 ? (const char *)data : "";

    check(text, size, &wide);
    check(text, size, &narrow);
    return 0;
}
