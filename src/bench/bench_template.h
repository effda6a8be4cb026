/* SPDX-License-Identifier: MIT */
/*
 * A text with places for what changes from event to event: `{topic}`, `{data}` and `{seq}`.  All
 * other braces stand for themselves, so JSON needs no escaping.  Also the address part of a URL.
 */
#ifndef BUGLE_BENCH_TEMPLATE_H
#define BUGLE_BENCH_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum bench_place { BENCH_PLACE_TOPIC, BENCH_PLACE_DATA, BENCH_PLACE_SEQ, BENCH_PLACES };

/* What is put in, by place. */
struct bench_values {
    struct {
        const char *text;
        size_t text_n;
    } at[BENCH_PLACES];
};

#define BENCH_TEMPLATE_PARTS 16

/* Plain bytes each followed by a place, except after the last. */
struct bench_template {
    size_t parts_n;
    struct {
        const char *text; /* borrowed from the text that was compiled */
        size_t text_n;
        enum bench_place place; /* BENCH_PLACES after the last */
    } parts[BENCH_TEMPLATE_PARTS];
};

/* Borrows `text` for the life of the template.  0, or -EINVAL after saying on standard error that
 * it has too many places. */
int bench_template_compile(struct bench_template *template, const char *text);

bool bench_template_names(const struct bench_template *template, enum bench_place place);

size_t bench_template_bytes(const struct bench_template *template,
                            const struct bench_values *values);

/* Write bench_template_bytes() bytes, no NUL; returns the place behind them. */
char *bench_template_write(const struct bench_template *template, char *to,
                           const struct bench_values *values);

/* Where a URL leads. */
struct bench_url {
    char authority[256]; /* as it goes into Host */
    bool is_tls;
    const char *path; /* borrowed from the URL; begins with '/', or is "/" */
    struct sockaddr_storage address;
    socklen_t address_n;
};

/* Read and resolve a URL of http, ws, https or wss; borrows it.  0, or -EINVAL after saying on
 * standard error what is wrong with it.  May block in the resolver. */
int bench_url_resolve(struct bench_url *url, const char *text);

#endif
