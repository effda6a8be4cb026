/* SPDX-License-Identifier: MIT */
/* What is wrong with a request, for the answer's application/problem+json (RFC 9457). */
#ifndef BUGLE_PROBLEM_H
#define BUGLE_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>

struct problem {
    unsigned status;
    const char *code;       /* static, stable, for programs */
    char detail[320];       /* one sentence for a person; text of the peer's made visible */
    size_t line, column;    /* of a JSON mistake, from 1; 0: none */
    char pointer[96];       /* JSON pointer (RFC 6901) to a wrong field; empty: none */
    unsigned retry_after_s; /* 0: none */
    const char *allow;      /* static, for 405; NULL: none */
    char challenge[192];    /* WWW-Authenticate; empty: none */
    bool upgrades;          /* 426: to WebSocket */
};

/* Fill a problem; the rest is zeroed.  Always returns false, so that a check can end with it. */
bool problem_set(struct problem *problem, unsigned status, const char *code, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

/* Point at the field that is wrong.  Returns false, as problem_set(). */
bool problem_point(struct problem *problem, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Write a member's name as a JSON pointer has it (RFC 6901 section 3), cut to fit and ended with
 * NUL. */
void problem_escape_pointer(char *to, size_t to_n, const char *name);

/* 503: an allocation failed. */
bool problem_set_out_of_memory(struct problem *problem);

/* 503, and when to try again: limits.memory has no room for what was asked. */
bool problem_set_memory_short(struct problem *problem);

/* A `retry_after_s` for what there is no room for just now: drawn at random, so that clients that
 * were refused together do not come back together. */
unsigned problem_retry_after_s(void);

#define PROBLEM_HTTP_BYTES 1536

/*
 * Write a whole HTTP/1.1 answer that closes the connection, for where the HTTP library takes none:
 * before it has the socket, and in the middle of a body.
 *
 * detail         static text of ours that needs no escaping in JSON
 * lines          header lines of origin_write_lines(), or ""
 * retry_after_s  0: none
 *
 * Returns the bytes written, without a NUL.
 */
size_t problem_write_http(char to[PROBLEM_HTTP_BYTES], unsigned status, const char *code,
                          const char *detail, const char *lines, unsigned retry_after_s);

/* The status's own words, "Bad Request". */
const char *problem_title(unsigned status);

#endif
