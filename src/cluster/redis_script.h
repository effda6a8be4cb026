/* SPDX-License-Identifier: MIT */
/*
 * The scripts that run inside the server: the files *.lua of this folder, built in by embed.awk.
 * A connection sends a script's text the first time, which makes it known, and its SHA-1 later.
 * Of the link's thread.
 */
#ifndef BUGLE_REDIS_SCRIPT_H
#define BUGLE_REDIS_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/redis_link.h"

enum redis_script {
    REDIS_SCRIPT_APPEND,
    REDIS_SCRIPT_ATTACH,
    REDIS_SCRIPT_CHECK,
    REDIS_SCRIPT_HEAD,
    REDIS_SCRIPT_LEASE,
    REDIS_SCRIPT_PEEK,
    REDIS_SCRIPT_TICKET,
    REDIS_SCRIPT_TICKETS,
    REDIS_SCRIPT_TRIM,
    REDIS_SCRIPTS_N
};

extern const char *const redis_script_texts[REDIS_SCRIPTS_N];

#define REDIS_SHA_BYTES 41 /* in hex, with a NUL */

/* What one connection's server knows; zeros at first and after a new connection. */
struct redis_scripts {
    bool is_known[REDIS_SCRIPTS_N];
    char shas[REDIS_SCRIPTS_N][REDIS_SHA_BYTES];
};

/* Forget what is known: the connection is a new one, or REDIS_NOSCRIPT came. */
void redis_scripts_forget(struct redis_scripts *scripts);

/* One call. */
struct redis_call {
    enum redis_script script;
    unsigned keys_n; /* of the words, the first */
    unsigned words_n;
    const char *const *words; /* borrowed for the call */
    const size_t *bytes;
    int64_t timeout_ms;
};

/* As redis_link_send().  When REDIS_NOSCRIPT is the answer nothing was done: forget, and call
 * again. */
int redis_script_call(struct redis_link *link, struct redis_scripts *scripts,
                      const struct redis_call *call, redis_link_done *done, void *arg);

/* The same with texts, keys first and NULL at the end. */
int redis_script_call_texts(struct redis_link *link, struct redis_scripts *scripts,
                            enum redis_script script, unsigned keys_n, int64_t timeout_ms,
                            redis_link_done *done, void *arg, ...) __attribute__((sentinel));

#endif
