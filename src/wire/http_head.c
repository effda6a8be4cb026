/* SPDX-License-Identifier: MIT */
/*
 * The strict check of a request's head.  The text is read once from left to right, and what is
 * decided at a byte depends on nothing behind it: so a refusal stands however much more arrives,
 * and a prefix of a head is never taken for one.
 */
#include "config.h"

#include "wire/http_head.h"

#include <string.h>
#include <strings.h>

#include "wire/span.h"

/* What a byte may be part of. */
enum {
    TOKEN = 1,  /* RFC 9110 section 5.6.2 */
    VALUE = 2,  /* field value: HTAB, SP, visible, and the bytes of UTF-8 */
    TARGET = 4, /* request target: visible but '#', and UTF-8, which curl sends as it is typed */
    HOST = 8,   /* host and port, RFC 3986 section 3.2.2, but ',', by which lists are merged */
};

#define V VALUE
#define R (VALUE | TARGET)
#define T (VALUE | TARGET | TOKEN)
#define H (VALUE | TARGET | HOST)
#define A (VALUE | TARGET | TOKEN | HOST)

/* clang-format off */
static const unsigned char classes[256] = {
    ['\t'] = V,
    [' '] = V, ['!'] = A, ['"'] = R, ['#'] = V | TOKEN, ['$'] = A, ['%'] = A, ['&'] = A,
    ['\''] = A, ['('] = H, [')'] = H, ['*'] = A, ['+'] = A, [','] = R, ['-'] = A, ['.'] = A,
    ['/'] = R, ['0' ... '9'] = A, [':'] = H, [';'] = H, ['<'] = R, ['='] = H, ['>'] = R,
    ['?'] = R, ['@'] = R, ['A' ... 'Z'] = A, ['['] = H, ['\\'] = R, [']'] = H, ['^'] = T,
    ['_'] = A, ['`'] = T, ['a' ... 'z'] = A, ['{'] = R, ['|'] = T, ['}'] = R, ['~'] = A,
    [0x80 ... 0xFF] = R,
};
/* clang-format on */

static bool is(char c, int prio)
{
    return classes[(unsigned char)c] & prio;
}

struct reader {
    const char *at;
    const char *end;
    const struct http_head_limits *limits;
    struct http_head head;
    struct span authority; /* of an absolute target */
    unsigned seen;         /* a bit for each row of `known` */
    bool blank_behind;     /* the value that is looked at */
};

static enum http_head_verdict http_head_refuse(struct reader *reader, unsigned status,
                                               const char *why)
{
    reader->head = (struct http_head){.status = status, .why = why};
    return HTTP_HEAD_BAD;
}

static enum http_head_verdict refuse_400(struct reader *reader, const char *why)
{
    return http_head_refuse(reader, 400, why);
}

/* Take all bytes of a class.  (Nearly all of a head goes through here, so the place is kept out of
 * memory meanwhile.) */
static struct span http_head_take(struct reader *reader, int prio)
{
    const char *start = reader->at, *at = start, *end = reader->end;

    while (at < end && is(*at, prio))
        at++;
    reader->at = at;
    return (struct span){start, (size_t)(at - start)};
}

static bool part_is_nocase(struct span part, const char *text)
{
    return part.n == strlen(text) && strncasecmp(part.at, text, part.n) == 0;
}

static bool part_starts(struct span part, const char *text)
{
    return part.n >= strlen(text) && strncasecmp(part.at, text, strlen(text)) == 0;
}

/* CRLF and nothing else. */
static enum http_head_verdict read_line_end(struct reader *reader)
{
    if (reader->at == reader->end)
        return HTTP_HEAD_MORE;
    if (*reader->at == '\n')
        return refuse_400(reader, "has a line that ends in LF without CR");
    if (*reader->at != '\r')
        return refuse_400(reader, "has a control character in it");
    if (reader->at + 1 == reader->end)
        return HTTP_HEAD_MORE;
    if (reader->at[1] != '\n')
        return refuse_400(reader, "has a CR without LF in it");
    reader->at += 2;
    return HTTP_HEAD_GOOD;
}

static const char *const names[] = {
    [HTTP_GET] = "GET",       [HTTP_HEAD] = "HEAD",       [HTTP_POST] = "POST",
    [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
};

static enum http_head_method method_of(struct span token)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (span_is(token, names[i]))
            return (enum http_head_method)i;
    }
    return HTTP_OTHER;
}

enum http_head_method http_head_method_of(const char *name)
{
    return method_of((struct span){name, strlen(name)});
}

static enum http_head_verdict read_method(struct reader *reader)
{
    struct span token = http_head_take(reader, TOKEN);

    if (reader->at == reader->end)
        return HTTP_HEAD_MORE;
    if (token.n == 0)
        return refuse_400(reader, "does not begin with an HTTP method");
    if (*reader->at != ' ')
        return refuse_400(reader, "has no request line");
    if (span_is(token, "PRI"))
        return refuse_400(reader, "is HTTP/2, which this server does not support");
    reader->at++;
    reader->head.method = method_of(token);
    return HTTP_HEAD_GOOD;
}

static void set_path(struct reader *reader, const char *at, const char *end)
{
    const char *query = memchr(at, '?', (size_t)(end - at));

    reader->head.path = at;
    reader->head.path_n = (size_t)((query ? query : end) - at);
}

/* `http://host:port/path?query`; the path may be missing and means "/" then. */
static bool set_absolute(struct reader *reader, struct span target)
{
    static const char scheme[] = "http://";
    const char *end = target.at + target.n;
    const char *at = target.at + sizeof scheme - 1;

    if (!part_starts(target, scheme))
        return false;
    reader->authority.at = at;
    while (at < end && is(*at, HOST))
        at++;
    reader->authority.n = (size_t)(at - reader->authority.at);
    if (reader->authority.n == 0 || (at < end && *at != '/' && *at != '?'))
        return false;
    set_path(reader, at, end);
    if (reader->head.path_n == 0) {
        reader->head.path = reader->authority.at - 1;
        reader->head.path_n = 1;
    }
    return true;
}

static bool set_target(struct reader *reader, struct span target)
{
    if (span_is(target, "*")) {
        set_path(reader, target.at, target.at + 1);
        return reader->head.method == HTTP_OPTIONS;
    }
    if (target.n > 0 && target.at[0] == '/') {
        set_path(reader, target.at, target.at + target.n);
        return true;
    }
    return set_absolute(reader, target);
}

static enum http_head_verdict read_target(struct reader *reader)
{
    struct span target = http_head_take(reader, TARGET);

    if (target.n > reader->limits->target_bytes_max)
        return http_head_refuse(reader, 414, "has a target longer than this server takes");
    if (reader->at == reader->end)
        return HTTP_HEAD_MORE;
    if (*reader->at != ' ')
        return refuse_400(reader, "has a request line that is not method, target and version");
    if (!set_target(reader, target))
        return refuse_400(reader, "has a target that is no path and no http URL");
    reader->at++;
    return HTTP_HEAD_GOOD;
}

static enum http_head_verdict read_version(struct reader *reader)
{
    static const char form[] = "HTTP/d.d\r";

    for (size_t i = 0; i < sizeof form - 1; i++) {
        char c = form[i];

        if (reader->at + i == reader->end)
            return HTTP_HEAD_MORE;
        if (c == '\r' && reader->at[i] == '\n')
            break;
        if (c == 'd' ? reader->at[i] < '0' || reader->at[i] > '9' : reader->at[i] != c)
            return refuse_400(reader, "has a request line that does not end in an HTTP version");
    }
    if (reader->at[5] != '1' || reader->at[7] > '1')
        return http_head_refuse(reader, 505, "is of an HTTP version other than 1.0 and 1.1");
    reader->head.http_1_0 = reader->at[7] == '0';
    reader->at += sizeof form - 2;
    return read_line_end(reader);
}

static enum http_head_verdict read_request_line(struct reader *reader)
{
    enum http_head_verdict verdict = HTTP_HEAD_GOOD;

    /* RFC 9112 section 2.2 */
    if (reader->at < reader->end && *reader->at == '\r')
        verdict = read_line_end(reader);
    if (verdict == HTTP_HEAD_GOOD)
        verdict = read_method(reader);
    if (verdict == HTTP_HEAD_GOOD)
        verdict = read_target(reader);
    if (verdict == HTTP_HEAD_GOOD)
        verdict = read_version(reader);
    return verdict;
}

static bool all_are(struct span part, int prio)
{
    for (size_t i = 0; i < part.n; i++) {
        if (!is(part.at[i], prio))
            return false;
    }
    return true;
}

static enum http_head_verdict on_host(struct reader *reader, struct span value)
{
    if (!all_are(value, HOST))
        return refuse_400(reader, "has an invalid Host");
    /* RFC 9112 section 3.2.2 has the target win; what wins elsewhere is anybody's guess */
    if (reader->authority.at && (value.n != reader->authority.n ||
                                 strncasecmp(value.at, reader->authority.at, value.n) != 0))
        return refuse_400(reader, "has a Host that is not the host of its target");
    return HTTP_HEAD_GOOD;
}

static enum http_head_verdict on_content_length(struct reader *reader, struct span value)
{
    uint64_t length = 0;

    if (reader->head.chunked)
        return refuse_400(reader, "has both Content-Length and Transfer-Encoding");
    if (value.n == 0)
        return refuse_400(reader, "has an empty Content-Length");
    for (size_t i = 0; i < value.n; i++) {
        int digit = value.at[i] - '0';

        if (digit < 0 || digit > 9)
            return refuse_400(reader, "has a Content-Length that is not digits only");
        if (length > (uint64_t)(INT64_MAX - digit) / 10)
            return refuse_400(reader, "has a Content-Length that is too large");
        length = length * 10 + (uint64_t)digit;
    }
    reader->head.has_content_length = true;
    reader->head.content_length = length;
    return HTTP_HEAD_GOOD;
}

static enum http_head_verdict on_transfer_encoding(struct reader *reader, struct span value)
{
    if (reader->head.has_content_length)
        return refuse_400(reader, "has both Content-Length and Transfer-Encoding");
    if (reader->head.http_1_0)
        return refuse_400(reader, "has a Transfer-Encoding, which HTTP/1.0 does not know");
    if (!part_is_nocase(value, "chunked"))
        return http_head_refuse(reader, 501, "has a Transfer-Encoding other than chunked");
    reader->head.chunked = true;
    return HTTP_HEAD_GOOD;
}

static enum http_head_verdict on_cookie(struct reader *reader, struct span value)
{
    reader->head.cookie_bytes += value.n;
    reader->head.cookies_n++;
    for (size_t i = 0; i < value.n; i++) /* libmicrohttpd parts them at commas too */
        reader->head.cookies_n += value.at[i] == ';' || value.at[i] == ',';
    return HTTP_HEAD_GOOD;
}

#define NAME(text) text, sizeof(text) - 1
#define ONCE(text) NAME(text), "has more than one " text

/* The headers that are looked at. */
static const struct {
    const char *name;
    size_t name_n;
    const char *twice; /* why a second one is refused; NULL when it is not */
    enum http_head_verdict (*check)(struct reader *reader, struct span value);
    bool is_librarys; /* it acts on the value as it finds it, and 0.9.75 with the blanks behind */
} known[] = {
    {ONCE("Host"), on_host, false}, /* first: HOST_BIT */
    {ONCE("Content-Length"), on_content_length, true},
    {ONCE("Transfer-Encoding"), on_transfer_encoding, true},
    {ONCE("Authorization"), NULL, false},
    {ONCE("Last-Event-ID"), NULL, false},
    {ONCE("Content-Type"), NULL, false},
    {ONCE("Origin"), NULL, false},
    {ONCE("Expect"), NULL, true},
    {NAME("Cookie"), NULL, on_cookie, false},
};

#define HOST_BIT 1u

static enum http_head_verdict on_header(struct reader *reader, struct span name, struct span value)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        unsigned bit = 1u << i;

        if (known[i].name_n != name.n || strncasecmp(known[i].name, name.at, name.n))
            continue;
        if (known[i].twice && (reader->seen & bit))
            return refuse_400(reader, known[i].twice);
        reader->seen |= bit;
        if (known[i].is_librarys && reader->blank_behind)
            return refuse_400(reader, "has a blank behind its Content-Length, Transfer-Encoding or "
                                      "Expect");
        return known[i].check ? known[i].check(reader, value) : HTTP_HEAD_GOOD;
    }
    return HTTP_HEAD_GOOD;
}

/* A header name with its colon. */
static enum http_head_verdict http_head_read_name(struct reader *reader, struct span *ret_name)
{
    struct span name = http_head_take(reader, TOKEN);

    if (reader->at == reader->end)
        return HTTP_HEAD_MORE;
    if (span_is_blank(*reader->at))
        return refuse_400(reader,
                          name.n == 0 ? "has a folded line" : "has white space in a header name");
    if (*reader->at != ':')
        return refuse_400(reader, "has a header line that is not a name and a colon");
    if (name.n == 0)
        return refuse_400(reader, "has a header without a name");
    reader->at++;
    *ret_name = name;
    return HTTP_HEAD_GOOD;
}

/* A header value without the white space around it, and the end of its line. */
static enum http_head_verdict http_head_read_value(struct reader *reader, struct span *ret_value)
{
    struct span value = http_head_take(reader, VALUE);
    enum http_head_verdict verdict = read_line_end(reader);

    if (verdict != HTTP_HEAD_GOOD)
        return verdict;
    reader->blank_behind = value.n > 0 && span_is_blank(value.at[value.n - 1]);
    *ret_value = span_trim(value);
    return HTTP_HEAD_GOOD;
}

static enum http_head_verdict read_header(struct reader *reader)
{
    struct span name, value;
    enum http_head_verdict verdict;

    if (reader->head.headers_n == reader->limits->headers_max)
        return http_head_refuse(reader, 431, "has more header lines than this server takes");
    verdict = http_head_read_name(reader, &name);
    if (verdict == HTTP_HEAD_GOOD)
        verdict = http_head_read_value(reader, &value);
    if (verdict != HTTP_HEAD_GOOD)
        return verdict;
    reader->head.headers_n++;
    return on_header(reader, name, value);
}

static enum http_head_verdict read_headers(struct reader *reader)
{
    enum http_head_verdict verdict = HTTP_HEAD_GOOD;

    while (reader->at < reader->end && *reader->at != '\r' && verdict == HTTP_HEAD_GOOD)
        verdict = read_header(reader);
    if (verdict == HTTP_HEAD_GOOD)
        verdict = read_line_end(reader);
    if (verdict == HTTP_HEAD_GOOD && !reader->head.http_1_0 && !(reader->seen & HOST_BIT))
        return refuse_400(reader, "has no Host");
    return verdict;
}

enum http_head_verdict http_head_check(const char *text, size_t text_n,
                                       const struct http_head_limits *limits,
                                       struct http_head *ret_head)
{
    size_t most = limits->head_bytes_max;
    struct reader reader = {
        .at = text,
        .end = text + (text_n < most ? text_n : most),
        .limits = limits,
    };
    enum http_head_verdict verdict = read_request_line(&reader);

    if (verdict == HTTP_HEAD_GOOD)
        verdict = read_headers(&reader);
    if (verdict == HTTP_HEAD_MORE && text_n >= most)
        verdict = http_head_refuse(&reader, 431, "has a head larger than this server takes");
    if (verdict == HTTP_HEAD_MORE)
        return verdict;
    if (verdict == HTTP_HEAD_GOOD)
        reader.head.head_bytes = (size_t)(reader.at - text);
    *ret_head = reader.head;
    return verdict;
}
