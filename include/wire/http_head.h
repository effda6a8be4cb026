/* SPDX-License-Identifier: MIT */
/*
 * The strict check of a request's head, before libmicrohttpd sees it.
 *
 * libmicrohttpd 0.9.75 lets requests pass that two parsers can read in two ways: doubled or
 * signed lengths, lengths together with codings, folded lines, bare line feeds, NUL.  Some of it
 * it merges so that its handler never sees it.  This function reads the head as RFC 9112 has it
 * and refuses what is not plainly one request.  It is pure, keeps no state, and is fuzzed: called
 * again with more bytes it starts again.
 */
#ifndef BUGLE_HTTP_HEAD_H
#define BUGLE_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_head_limits {
    size_t head_bytes_max;   /* request line, headers and the blank line: 431 beyond */
    size_t target_bytes_max; /* request target: 414 beyond */
    size_t headers_max;      /* number of header lines: 431 beyond */
};

enum http_head_verdict {
    HTTP_HEAD_MORE, /* fine so far, not complete */
    HTTP_HEAD_GOOD,
    HTTP_HEAD_BAD, /* answer `status` and close */
};

enum http_head_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_DELETE, HTTP_OPTIONS, HTTP_OTHER };
enum http_head_method http_head_method_of(const char *name);

/* What the gate wants to know.  Pointers are into the text given to http_head_check(). */
struct http_head {
    /* set when GOOD */
    enum http_head_method method;
    const char *path; /* of the target, up to its '?', not decoded; "*" for OPTIONS *, "/" for
                       * an absolute URL that has none */
    size_t path_n;
    size_t head_bytes; /* with the blank line */
    size_t headers_n;
    size_t cookie_bytes; /* of all Cookie values: libmicrohttpd keeps them twice */
    size_t cookies_n;    /* at most so many in them */
    bool http_1_0;
    bool chunked; /* Transfer-Encoding: chunked */
    bool has_content_length;
    uint64_t content_length;
    /* set when BAD */
    unsigned status; /* 400, 414, 431, 501 (unknown Transfer-Encoding) or 505 */
    const char *why; /* static text, ends the sentence "the request …" */
};

/*
 * Look at the first bytes of a connection.
 *
 * Refused with 400: anything but CRLF as line end (bare LF or CR), NUL and other control bytes
 * (HTAB is allowed in values), white space before a colon, an empty or non-token header name,
 * folded lines, a request line that is not `token SP target SP HTTP/1.x`, a target that is neither
 * `/…` nor `*` (OPTIONS only) nor an absolute http URL, or has a '#'; no Host with HTTP/1.1, a Host
 * that cannot be one or is not the one of an absolute target; more than one Host, Content-Length,
 * Transfer-Encoding, Authorization, Last-Event-ID, Content-Type, Origin or Expect line; blanks
 * behind the value of Content-Length, Transfer-Encoding or Expect, which RFC 9110 section 5.5
 * allows and the library misreads (other values are trimmed by request.h); a Content-Length that is
 * not digits only or beyond INT64_MAX, Content-Length together with Transfer-Encoding,
 * Transfer-Encoding with HTTP/1.0.  Transfer-Encoding other than exactly `chunked` (in any case):
 * 501.  HTTP versions other than 1.0 and 1.1: 505.  A first byte that cannot start a method (a TLS
 * hello) and an HTTP/2 preface: 400 at once, without waiting for more.  A certain refusal does not
 * wait for the end of the head; later bytes cannot change it.  RFC 9112 section 2.2 lets a server
 * skip empty lines before the request line: up to one CRLF is skipped here.
 *
 * text      borrowed; the first `text_n` bytes that arrived
 * ret_head  filled as its comment says; untouched for MORE
 *
 * Cost: one pass.  Any thread.
 */
enum http_head_verdict http_head_check(const char *text, size_t text_n,
                                       const struct http_head_limits *limits,
                                       struct http_head *ret_head);

#endif
