/* SPDX-License-Identifier: MIT */
/*
 * One cookie among those that a request brings (RFC 6265, 4.2.1).  Several Cookie lines are one, as
 * front ends make them that speak HTTP/2 (RFC 9113, 8.2.3): look through each.
 *
 * libmicrohttpd has parsed cookies too, but of several lines only one, and of a line that it cannot
 * read none: a credential that is there would be one that is not.
 *
 * Pure; any thread.
 */
#ifndef BUGLE_COOKIE_H
#define BUGLE_COOKIE_H

#include <stddef.h>

/* What is looked for, and what was found so far.  Set the name and zero the rest. */
struct cookie {
    const char *name;
    const char *value; /* of the last one; borrowed from its line, not ended by NUL */
    size_t value_n;
    size_t n; /* how often it is there */
};

/* Look through the value of one Cookie line.  Blanks around names and values are no part of them,
 * and neither are quotes around a value. */
void cookie_look(struct cookie *cookie, const char *line, size_t line_n);

#endif
